"""The command line: run, sweep, reproduce, list, topology, plot, table, bench."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import rich.box
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from dlax.experiment import Experiment
    from dlax.results import Result
    from dlax.simulate import Snapshot

# Columns of the table that ends a run; the report has all.
_SUMMARY = {
    "accuracy_mean": "accuracy",
    "accuracy_worst": "worst",
    "accuracy_merged": "merged",
    "bits_per_character_mean": "bits/char",
    "suboptimality": "f(x̄) − f*",
    "distance": "distance",
    "consensus": "consensus",
    "megabytes_node": "MB/node",
    "seconds_run": "seconds",
}

app = typer.Typer(
    help="Decentralized learning in JAX: a network of learners trained as one compiled run.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(width=None if sys.stdout.isatty() else 120)
errors = Console(stderr=True)

Overrides = Annotated[list[str] | None, typer.Argument(help="dotted.path=value, such as algorithm.lr=0.1")]
Out = Annotated[Path | None, typer.Option(help="Directory for the results; default runs/CONFIG_NAME.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the directory's checkpoint, bit for bit.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Discard what the directory holds.")]


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="A YAML config.")],
    overrides: Overrides = None,
    out: Out = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    checkpoint_seconds: Annotated[float, typer.Option(help="Wall clock between checkpoints.")] = 60.0,
    track: Annotated[str | None, typer.Option(help="Also send metrics to 'tensorboard' or 'wandb'.")] = None,
) -> None:
    """Run one config: all its seeds and vmap values as one compiled program."""
    from dlax import experiment, registry, trackers

    folder = out or Path("runs") / config.stem
    resolved = experiment.resolve(experiment.load(config, overrides or []))
    calls: list[Callable[[Snapshot], None]] = []
    if track is not None:
        if track not in trackers.TRACKERS:
            known = ", ".join(trackers.TRACKERS)
            near = registry.suggest(track, trackers.TRACKERS)
            raise ValueError(f"track: unknown tracker {track!r}; choose from {known}{near}")
        calls.append(trackers.TRACKERS[track](folder, resolved.model_dump(mode="json")))

    def on_block(snapshot: "Snapshot") -> None:
        for call in calls:
            call(snapshot)

    with _Bar() as bar:
        calls.append(bar.start(0, 1, resolved))
        result = experiment.run(
            resolved,
            out=folder,
            resume=resume,
            overwrite=overwrite,
            checkpoint_seconds=checkpoint_seconds,
            on_block=on_block,
        )
    _finish([result], folder)


@app.command()
def sweep(
    config: Annotated[Path, typer.Argument(help="A YAML config with a grid.")],
    overrides: Overrides = None,
    out: Out = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Run every combination of a config's grid, with pictures and a one-page report."""
    from dlax import experiment

    folder = out or Path("runs") / config.stem
    with _Bar() as bar:
        results = experiment.sweep(
            config, overrides or [], out=folder, resume=resume, overwrite=overwrite, on_start=bar.start
        )
    _finish(results, folder)


@app.command(name="list")
def list_(
    kind: Annotated[str | None, typer.Argument(help="algorithm, topology, problem, ...")] = None,
    name: Annotated[str | None, typer.Argument(help="An entry: its options and documentation.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the README's table.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the entry's JSON Schema.")] = False,
) -> None:
    """List what is inside; with a kind and a name, show its options."""
    from dlax import registry

    if markdown:
        sys.stdout.write(inventory() + "\n")
    elif kind is None:
        table = Table("kind", "entries", show_lines=True)
        for each, entries in registry.REGISTRY.items():
            table.add_row(each, ", ".join(entries))
        console.print(table)
    elif name is None:
        table = Table(kind, "", "options")
        for entry in registry.list_registry(kind):
            factory = registry.lookup(kind, entry, path=kind)
            table.add_row(entry, _first_line(factory), ", ".join(_options(kind, entry)))
        console.print(table)
    elif schema:
        sys.stdout.write(json.dumps(registry.json_schema(kind, name), indent=2) + "\n")
    else:
        factory = registry.lookup(kind, name, path=kind)
        console.print(f"[bold]{name}[/bold]({', '.join(_options(kind, name))})\n", highlight=False)
        console.print(factory.__doc__ or "", markup=False, highlight=False)


@app.command()
def topology(
    name: Annotated[str, typer.Argument(help="A graph or sequence; see dlax list topology.")],
    options: Annotated[
        list[str] | None, typer.Argument(help="n=16 and the graph's own options, such as weights=sinkhorn")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Picture; default runs/topology/NAME_nN.png.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the numbers.")] = None,
    picture: Annotated[bool, typer.Option("--picture/--no-picture", help="Draw graph and spectrum.")] = True,
) -> None:
    """Print what a topology is: properties, gap, resistance, mixing time; draw graph and spectrum."""
    from dlax import registry
    from dlax.config import load
    from dlax.topology import describe

    spec = load({"topology": {"name": name}}, [f"topology.{option}" for option in options or []])["topology"]
    n = spec.pop("n", None)
    if n is None and name != "file":
        registry.lookup("topology", name, path="topology")
        raise ValueError("topology: how many nodes? say n=16, for instance")
    made = registry.build("topology", registry.resolve("topology", spec, path="topology", given=("n",)), n=n)
    numbers = describe(made)
    table = Table(f"{made.name}, n = {made.n}", "", box=rich.box.SIMPLE, pad_edge=False)
    for quantity, value in numbers.items():
        table.add_row(quantity, _fact(value))
    console.print(table)
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps({"name": made.name, **numbers}, indent=2, ensure_ascii=False) + "\n")
    if picture:
        from dlax import plots

        path = out or Path("runs") / "topology" / f"{Path(made.name).stem}_n{made.n}.png"
        try:
            figure = plots.topology_picture(made)
        except ValueError as error:  # too large to draw: the numbers stand
            if out is not None:
                raise
            errors.print(f"no picture: {error}", highlight=False)
            return
        plots.save(figure, path)
        console.print(str(path), highlight=False)


@app.command()
def reproduce(
    name: Annotated[str | None, typer.Argument(help="A paper; default: list them.")] = None,
    slow: Annotated[
        bool, typer.Option("--slow", help="The full version: minutes instead of seconds.")
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write rows {claim, paper, here, holds}.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Picture; default runs/reproduce/NAME.png.")] = None,
) -> None:
    """Run a paper at small scale and say which of its claims hold, each verdict computed."""
    from dlax import experiment, papers, plots

    if name is None:
        table = Table("paper", "what it is about", box=rich.box.SIMPLE, pad_edge=False)
        for each, about in papers.PAPERS.items():
            table.add_row(each, about)
        console.print(table)
        return
    run_paper = papers.load(name)
    path = plots.check_picture(out or Path("runs") / "reproduce" / f"{name}{'_slow' if slow else ''}.png")
    experiment.use_compilation_cache()
    with errors.status(f"{name}: running"):
        made = run_paper(slow=slow)
    console.print(f"[bold]{made.title}[/bold]\n{made.setting}\n", highlight=False)
    table = Table("claim", "paper", "here", "holds?", box=rich.box.SIMPLE, pad_edge=False)
    for row in made.rows():
        cells = (
            row["claim"],
            row["paper"],
            row["here"],
            "yes" if row["holds"] else "[bold red]NO[/bold red]",
        )
        table.add_row(*cells)
    console.print(table)
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(made.rows(), indent=2, ensure_ascii=False) + "\n")
    plots.save(made.figure, path)
    console.print(str(path), highlight=False)


@app.command()
def plot(
    paths: Annotated[list[Path], typer.Argument(help="Run directories, or folders of them.")],
    out: Annotated[Path | None, typer.Option(help="Where the pictures go; default: the first path.")] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Names of pictures to draw; default: all that fit.")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="Metric of the learning curves.")] = None,
    x: Annotated[
        str | None, typer.Option(help="What goes across in them: round, time, bits_node, gradients, ...")
    ] = None,
) -> None:
    """Draw the pictures of finished or running runs, side by side, and a report."""
    from dlax import rundir
    from dlax.results import Result

    folders = [folder for path in paths for folder in rundir.find_runs(path)]
    results = [Result.load(folder) for folder in folders]
    for file in draw(results, out or paths[0], only=only, metric=metric, x=x):
        console.print(str(file))


@app.command()
def table(
    paths: Annotated[list[Path], typer.Argument(help="A sweep's folder, or run directories.")],
    metric: Annotated[str | None, typer.Option(help="Column of the tidy table; default: accuracy.")] = None,
    columns: Annotated[
        str | None, typer.Option(help="What goes across, such as topology; default: the algorithm.")
    ] = None,
    reach: Annotated[
        float | None,
        typer.Option(help="In place of the end: when the metric first gets here, as in time to accuracy."),
    ] = None,
    along: Annotated[str, typer.Option(help="With --reach, what it took: time, bits_node, round.")] = "time",
    form: Annotated[str, typer.Option("--format", help="markdown, latex or text.")] = "markdown",
    out: Annotated[Path | None, typer.Option(help="A file; default: the screen.")] = None,
) -> None:
    """Lay a sweep out as a table, mean ± standard deviation over seeds, at the best of what vmap swept."""
    from dlax import rundir
    from dlax.ablation import ablation
    from dlax.results import Result

    folders = [folder for path in paths for folder in rundir.find_runs(path)]
    made = ablation(
        [Result.load(folder) for folder in folders], metric=metric, columns=columns, reach=reach, along=along
    )
    text = made.text(form) + "\n"
    if out is None:
        sys.stdout.write(text)
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text)
        console.print(str(out), highlight=False)


@app.command()
def bench(
    names: Annotated[list[str] | None, typer.Argument(help="Groups of rows; default: all.")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write rows {name, value, unit, target, holds}.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes: does it run, not how fast.")] = False,
) -> None:
    """Measure speed and memory as ratios of interleaved runs on this machine."""
    from dlax import bench as benchmarks

    rows = []
    for row in benchmarks.measure(names or None, quick=quick):
        errors.print(f"{row['name']}: {row['value']:.3g} {row['unit']}", highlight=False)
        rows.append(row)
    table = Table("name", "value", "unit", "target", "holds")
    for row in rows:
        holds = "" if row["holds"] is None else ("yes" if row["holds"] else "NO")
        table.add_row(row["name"], f"{row['value']:.3g}", row["unit"], row["target"], holds)
    console.print(table)
    if json_file is not None:
        json_file.write_text(json.dumps(rows, indent=2) + "\n")


def draw(
    results: list["Result"],
    folder: Path,
    *,
    only: list[str] | None = None,
    metric: str | None = None,
    x: str | None = None,
) -> list[Path]:
    """Writes every picture that fits the results, and the report, into a folder.

    Args:
      results: what to draw.
      folder: where.
      only: names of pictures; None means all that fit.
      metric: of the learning curves; None means accuracy, or the objective where there is none.
      x: across in the learning curves; None means rounds, or simulated time where there are none.

    Returns:
      The files written.

    Raises:
      ValueError: if a name in `only` is no picture, or a picture asked for does not fit.
    """
    from dlax import plots, registry, report

    for name in only or []:
        if name not in plots.PLOTS:
            known = ", ".join(plots.PLOTS)
            near = registry.suggest(name, plots.PLOTS)
            raise ValueError(f"plot: unknown picture {name!r}; choose from {known}{near}")
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    available = plots.available(results)
    for name, picture in plots.PLOTS.items():
        if name not in (only or available):
            continue
        with_metric = ("learning_curves", "heat_map", "factor_curves")
        options = {"metric": metric} if metric and name in with_metric else {}
        if x and name == "learning_curves":
            options["x"] = x
        try:
            figure = picture(results, **options)
        except ValueError:
            if only or options:
                raise
            continue  # a picture that these results have no data for
        path = folder / f"{name}.png"
        plots.save(figure, path)
        files.append(path)
    if not only and "heat_map" in available:
        from dlax.ablation import ablation

        laid_out = ablation(results, metric=metric)
        for form, ending in (("markdown", "md"), ("latex", "tex")):
            files.append(folder / f"table.{ending}")
            files[-1].write_text(laid_out.text(form) + "\n")
    if not only:
        files.append(report.write_report(results, folder / "report.html", title=folder.name))
    return files


def inventory() -> str:
    """What is inside, as a Markdown table made from the registries."""
    from dlax import registry

    lines = ["| kind | entries |", "|---|---|"]
    lines += [
        f"| {kind} | {', '.join(f'`{name}`' for name in entries)} |"
        for kind, entries in registry.REGISTRY.items()
    ]
    return "\n".join(lines)


def main() -> None:
    """Entry point: a user's mistake is one clear line and exit code 2, an interrupt 130."""
    try:
        app()
    except ValueError as error:
        errors.print("[bold red]error[/bold red]", end=" ")
        errors.print(str(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
    except SystemExit as ended:  # typer turns an interrupt into exit code 130 without a word
        if ended.code == 130:
            errors.print("interrupted; go on with --resume")
        raise


class _Bar:
    """A progress bar with rounds/s and time left."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=errors,
        )

    def __enter__(self) -> "_Bar":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def start(self, index: int, count: int, experiment: "Experiment") -> Callable[["Snapshot"], None]:
        """A bar for one experiment; returns what to call after each block."""
        from dlax.results import last_round

        prefix = f"[{index + 1}/{count}] " if count > 1 else ""
        last = last_round(experiment.model_dump())
        task = self._progress.add_task(
            f"{prefix}{experiment.label}".replace("[", "\\["), total=last, rate="compiling"
        )

        def after_block(snapshot: "Snapshot") -> None:
            run_seconds = snapshot.seconds["run"]
            done, what = snapshot.round, "rounds"
            if experiment.duration is not None:
                row = snapshot.rows[-1]
                done, what = row["gradients"] + row["exchanges"], "events"
            rate = f"{done / run_seconds:,.0f} {what}/s" if done and run_seconds else ""
            self._progress.update(task, completed=snapshot.round, rate=rate)

        return after_block


def _finish(results: list["Result"], folder: Path) -> None:
    from dlax import report

    draw(results, folder)
    summary = report.summary(results)
    shown = {column: heading for column, heading in _SUMMARY.items() if column in summary.columns}
    table = Table("result", *shown.values(), box=rich.box.SIMPLE, pad_edge=False)
    for row in summary[["result", *shown]].itertuples(index=False):
        table.add_row(*[_cell(value) for value in row])
    console.print(table)
    for result in results:
        for run in result.diverged:
            where = ", ".join(f"{key} {run[key]}" for key in run if key == "seed" or "." in key)
            errors.print(
                f"warning: {result.label} ({where}) is not finite from round {run['diverged']}",
                highlight=False,
            )
    console.print(f"{folder}/report.html", highlight=False)


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _fact(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _first_line(factory: Callable[..., Any]) -> str:
    return (factory.__doc__ or "").strip().partition("\n")[0]


def _options(kind: str, name: str) -> list[str]:
    """Options as they stand in a signature; a bare * divides traced from static."""
    import inspect

    from dlax import registry

    signature = inspect.signature(registry.lookup(kind, name, path=kind))
    texts, star = [], False
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            texts.append("*")
            star = True
        default = registry.default_text(kind, name, parameter.name)
        texts.append(parameter.name if default is None else f"{parameter.name}={default}")
    return texts


if __name__ == "__main__":
    main()
