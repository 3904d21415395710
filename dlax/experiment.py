"""Config in, results out: runs a resolved config, or sweeps a grid of them."""

import contextlib
import itertools
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from dlax import registry, rundir
from dlax.config import TRACED_SPECS, Config, Experiment, expand, load, resolve
from dlax.data import cache_dir
from dlax.results import Result, last_round
from dlax.schedulers import Schedule
from dlax.simulate import Clock, Snapshot, run_cohorts, run_events, run_rounds, run_served
from dlax.simulate.cohorts import Crowd, check_cohort
from dlax.simulate.compiled import Fits
from dlax.simulate.liars import under_attack
from dlax.simulate.pace import pace_of, speeds
from dlax.simulate.program import Hyper
from dlax.topology import Topology
from dlax.types import Asynchronous, LocalTraining, Pieces, Placement, Problem, Sampling

OnBlock = Callable[[Snapshot], bool | None]


def run(
    config: Config | Experiment,
    overrides: tuple[str, ...] | list[str] = (),
    *,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    checkpoint_seconds: float = 60.0,
    on_block: OnBlock | None = None,
) -> Result:
    """Runs one experiment: all seeds and `vmap` values as one compiled program.

    Args:
      config: path of a YAML file, its content as a mapping, or a resolved experiment.
      overrides: `dotted.path=value` strings.
      out: run directory for config, metrics, checkpoints; None keeps everything in memory.
      resume: go on from the directory's checkpoint, bit for bit; the config must be the same, but for a larger
        `rounds`.
      overwrite: discard what `out` holds.
      checkpoint_seconds: wall clock between checkpoints; there is always one at the end and on interruption.
      on_block: called after every block with the snapshot; True stops the run there.

    Returns:
      The result.

    Raises:
      ValueError: on any mistake in the config, before the run; on a run directory that is in use.
      KeyboardInterrupt: after an interrupt, once the block is done and the checkpoint written.
    """
    experiment = config if isinstance(config, Experiment) else resolve(load(config, overrides))
    if experiment.grid:
        raise ValueError("grid: a config with a grid is a sweep; use dlax.sweep, or `dlax sweep`")
    use_compilation_cache()
    pieces = build(experiment)
    plain = experiment.model_dump(mode="json")
    if out is None:
        result = _simulate(experiment, pieces, on_block=on_block)
        return _finish(result, plain)
    with rundir.RunDirectory(
        Path(out), plain, resume=resume, overwrite=overwrite, checkpoint_seconds=checkpoint_seconds
    ) as directory:
        if directory.finished:
            directory.open()
            return Result.load(out)

        last = last_round(plain)

        def after_block(snapshot: Snapshot) -> bool:
            stop = bool(on_block and on_block(snapshot))
            return directory.record(snapshot, last=snapshot.round >= last or stop) or stop

        result = _simulate(experiment, pieces, on_block=after_block, resume=directory.restore)
        result = _finish(result, plain)
        directory.finish(result)
    return result


def sweep(
    config: Config,
    overrides: tuple[str, ...] | list[str] = (),
    *,
    out: str | Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    on_start: Callable[[int, int, Experiment], OnBlock | None] | None = None,
) -> list[Result]:
    """Runs every combination of a grid; seeds and `vmap` values share one compilation each.

    Args:
      config: path of a YAML file, or its content as a mapping.
      overrides: `dotted.path=value` strings.
      out: directory with a run directory for each combination and a table of all; None keeps it in memory.
      resume: skip combinations that are done and go on with the others.
      overwrite: discard what `out` holds.
      on_start: called with (index, count, experiment) before each; may return an `on_block`.

    Returns:
      One result a combination, in the order of the grid.

    Raises:
      ValueError: on any mistake in any combination, before the first runs.
    """
    raw = load(config, overrides)
    experiments = expand(raw)
    for experiment in experiments:
        check(experiment)  # a mistake in the last combination shows before the first runs
    folder = None if out is None else rundir.open_sweep(Path(out), raw, resume=resume, overwrite=overwrite)
    results = []
    for index, experiment in enumerate(experiments):
        on_block = on_start(index, len(experiments), experiment) if on_start else None
        place = None if folder is None else folder / rundir.slug(index, str(experiment.label))
        here = resume and place is not None and place.exists()
        results.append(run(experiment, out=place, resume=here, on_block=on_block))
    if folder is not None:
        rundir.write_table(folder, results)
    return results


@dataclass(frozen=True)
class Recipe:
    """Builds algorithm, channel, attack and faults inside the trace; equal recipes share a compilation.

    Attributes:
      algorithm: resolved spec as JSON, without the options that are traced.
      channel: likewise.
      attack: likewise; "null" when there is none.
      faults: likewise.
    """

    algorithm: str
    channel: str
    attack: str = "null"
    faults: str = "null"

    def __call__(self, hyper: Hyper) -> Pieces:
        """The pieces with their traced options, named such as "algorithm.lr"."""
        made: dict[str, Any] = {}
        for part, kind in TRACED_SPECS.items():
            spec = json.loads(getattr(self, part))
            options = {key.partition(".")[2]: v for key, v in hyper.items() if key.startswith(part + ".")}
            made[part] = None if spec is None else registry.build(kind, {**spec, **options})
        return Pieces(**made)


@dataclass(frozen=True)
class EventRecipe:
    """Builds an asynchronous algorithm inside the trace, from a recipe whose channel is not used."""

    recipe: Recipe

    def __call__(self, hyper: dict[str, Any]) -> Asynchronous:
        """The algorithm with its traced options."""
        return self.recipe(hyper).algorithm  # type: ignore[return-value]


@dataclass(frozen=True)
class ScheduledRecipe:
    """Builds clients' training inside the trace, from a recipe whose channel is not used."""

    recipe: Recipe

    def __call__(self, hyper: Hyper) -> LocalTraining:
        """The training with its traced options."""
        return self.recipe(hyper).algorithm  # type: ignore[return-value]


def build(experiment: Experiment) -> tuple[Recipe, dict[str, list[float]], Problem, Topology | None]:
    """Builds the pieces of a run without running it; factories' own complaints get the path of their spec.

    Args:
      experiment: resolved, without a grid.

    Returns:
      What the compiled run is built by, the values of its traced options, the problem, and the topology or None.

    Raises:
      ValueError: on whatever does not fit.
    """
    hyper: dict[str, list[float]] = {}
    texts = []
    for part, kind in TRACED_SPECS.items():
        spec = getattr(experiment, part)
        if spec is None:
            texts.append("null")
            continue
        static = dict(spec)
        for option in registry.traced_options(kind, spec["name"]):
            values = experiment.vmap.get(f"{part}.{option}")
            if values is None and isinstance(spec[option], float):
                values = [spec[option]]
            if values is not None:
                hyper[f"{part}.{option}"] = values
                del static[option]
        for combination in _combinations(part, hyper):
            _with_path(part, lambda: registry.build(kind, {**static, **combination}))  # noqa: B023 - called at once
        texts.append(json.dumps(static, sort_keys=True))
    problem = _with_path("problem", lambda: _problem(json.dumps(experiment.problem), experiment.nodes))
    topology = None
    if experiment.topology is not None:
        topology = _with_path(
            "topology", lambda: _topology(json.dumps(experiment.topology), experiment.nodes)
        )
    recipe = Recipe(*texts)
    pieces = recipe({name: jnp.asarray(values[0]) for name, values in hyper.items()})
    faults = pieces.faults
    if faults is not None:  # what does not fit shows before a run directory is made
        _with_path("faults", lambda: faults.prepare(topology or Crowd(problem.n)))
    pace_of(_clock(experiment), problem.n)
    if experiment.scheduler is not None:
        _schedules(experiment)
    if experiment.cohort is not None:
        check_cohort(pieces, problem, _sampling(experiment))
        _with_path("cohort", lambda: _sampling(experiment).prepare(problem))
    if experiment.byzantine is not None and topology is not None:
        under_attack(problem, pieces, topology, _placement(experiment), experiment.knowledge)
    return recipe, hyper, problem, topology


def check(experiment: Experiment) -> None:
    """Builds a run and traces its first round, without compiling anything, to see that everything fits together.

    Args:
      experiment: resolved, without a grid.

    Raises:
      ValueError: on whatever does not fit.
    """
    with contextlib.suppress(Fits):
        _simulate(experiment, build(experiment), on_block=None, dry=True)


def _simulate(
    experiment: Experiment,
    pieces: tuple[Recipe, dict[str, list[float]], Problem, Topology | None],
    *,
    on_block: OnBlock | None,
    resume: Any = None,
    dry: bool = False,
) -> Result:
    recipe, hyper, problem, topology = pieces
    assert experiment.eval_every is not None
    shared: dict[str, Any] = {
        "seeds": _seeds(experiment),
        "hyper": hyper,
        "swept": list(experiment.vmap),
        "precision": experiment.precision,
        "label": str(experiment.label),
        "on_block": on_block,
        "resume": resume,
        "dry": dry,
    }
    if experiment.cohort is not None:
        assert experiment.rounds is not None
        return run_cohorts(
            recipe, problem, _sampling(experiment), rounds=experiment.rounds,
            eval_every=int(experiment.eval_every), execution=experiment.execution,
            clock=_clock(experiment), **shared,
        )  # fmt: skip
    if experiment.scheduler is not None:
        return run_served(
            ScheduledRecipe(recipe),
            problem,
            _schedules(experiment),
            eval_every=experiment.eval_every,
            **shared,
        )
    assert topology is not None
    shared["start"] = experiment.start
    if experiment.duration is not None:
        every = experiment.eval_every
        build = EventRecipe(recipe)
        return run_events(build, problem, topology, duration=experiment.duration, eval_every=every, **shared)
    assert experiment.rounds is not None
    return run_rounds(
        recipe,
        problem,
        topology,
        rounds=experiment.rounds,
        eval_every=int(experiment.eval_every),
        participation=experiment.participation,
        execution=experiment.execution,
        clock=_clock(experiment),
        byzantine=None if experiment.byzantine is None else _placement(experiment),
        knowledge=experiment.knowledge,
        **shared,
    )


def _clock(experiment: Experiment) -> Clock:
    options = experiment.clock.model_dump()
    path = options.pop("speeds")
    if path is not None:
        options["gradient"] = options["gradient"] * speeds(path, experiment.nodes)
    return Clock(**options)


def _seeds(experiment: Experiment) -> list[int]:
    return list(range(experiment.seeds)) if isinstance(experiment.seeds, int) else experiment.seeds


def _schedules(experiment: Experiment) -> list[Schedule]:
    """One a seed, which draws the speeds too."""

    def one(seed: int) -> Schedule:
        speeds = _with_path(
            "speeds", lambda: registry.build("speeds", experiment.speeds, m=experiment.nodes, seed=seed)
        )
        spec, duration = experiment.scheduler, experiment.duration
        return _with_path(
            "scheduler", lambda: registry.build("scheduler", spec, seconds=speeds, duration=duration)
        )

    return [one(seed) for seed in _seeds(experiment)]


def _sampling(experiment: Experiment) -> Sampling:
    return _with_path("cohort", lambda: _made_sampling(json.dumps(experiment.cohort)))


@lru_cache(maxsize=16)
def _made_sampling(spec: str) -> Sampling:
    """The same object for the same spec, so that a program is found again."""
    return registry.build("sampling", json.loads(spec))


def _placement(experiment: Experiment) -> Placement:
    return _with_path("byzantine", lambda: registry.build("placement", experiment.byzantine))


def _finish(result: Result, plain: dict[str, Any]) -> Result:
    result.config = plain
    result.versions = rundir.versions()
    return result


def _combinations(part: str, hyper: Mapping[str, list[float]]) -> list[dict[str, float]]:
    mine = {key.partition(".")[2]: values for key, values in hyper.items() if key.startswith(part + ".")}
    return [dict(zip(mine, values, strict=True)) for values in itertools.product(*mine.values())]


@lru_cache(maxsize=4)
def _problem(spec: str, nodes: int) -> Problem:
    return registry.build("problem", json.loads(spec), n=nodes)


@lru_cache(maxsize=16)
def _topology(spec: str, nodes: int) -> Topology:
    return registry.build("topology", json.loads(spec), n=nodes)


def _with_path(path: str, make: Callable[[], Any]) -> Any:
    try:
        return make()
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def use_compilation_cache() -> None:
    """Turns on jax's persistent compilation cache, unless the user has set one or said off."""
    if os.environ.get("DLAX_COMPILATION_CACHE", "on").lower() in ("off", "0", "false"):
        return
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_dir() / "jax"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


__all__ = ["Experiment", "Recipe", "build", "check", "expand", "load", "resolve", "run", "sweep"]
