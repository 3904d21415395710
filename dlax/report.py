"""The final numbers of results as a table, and everything about them as one self-contained web page."""

import base64
import io
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from matplotlib.figure import Figure

from dlax import plots
from dlax.results import METRICS, Result

_SHOWN = (
    *("accuracy_mean", "accuracy_worst", "accuracy_merged", "test_loss_mean", "bits_per_character_mean"),
    *("suboptimality", "distance", "objective", "grad_norm", "consensus"),
)
# column of the summary -> (heading, what it means)
_HEADS = {
    "result": ("result", "algorithm and graph, with swept values"),
    "seeds": ("seeds", "runs that differ in their random seed alone"),
    "diverged": (
        "diverged",
        "runs that met a non-finite loss or parameter; the other columns leave them out",
    ),
    "rounds": ("rounds", METRICS["round"]),
    "accuracy_mean": (
        "accuracy",
        METRICS["accuracy_mean"] + "; ± is the standard deviation over seeds, blue the best",
    ),
    "accuracy_worst": ("worst node", METRICS["accuracy_worst"]),
    "accuracy_merged": ("averaged model", METRICS["accuracy_merged"]),
    "test_loss_mean": ("loss", METRICS["test_loss_mean"]),
    "bits_per_character_mean": ("bits a character", METRICS["bits_per_character_mean"]),
    "suboptimality": ("suboptimality", METRICS["suboptimality"]),
    "distance": ("distance", METRICS["distance"]),
    "objective": ("objective", METRICS["objective"]),
    "grad_norm": ("gradient norm", METRICS["grad_norm"]),
    "consensus": ("consensus", METRICS["consensus"]),
    "megabytes_node": ("MB sent", "megabytes sent in the whole run, mean per node"),
    "seconds_compile": ("compile, s", "seconds to compile, all seeds and swept values together"),
    "seconds_run": ("run, s", "seconds to run, all seeds and swept values together"),
}
_CAPTIONS = {
    "learning_curves": "Learning curves",
    "consensus": "How far the nodes are from one another",
    "accuracy_against_bits": "What is reached for the bytes sent",
    "accuracy_against_time": "What is reached in simulated time",
    "accuracy_per_node": "Every node of every seed at the end",
    "partition": "Who holds what: training samples of every node, by class",
    "graph": "The graph; larger nodes hold more samples",
}

_CSS = """
:root { color-scheme: light dark; --page: #ffffff; --ink: #1c1e21; --soft: #62676e; --line: #e2e5e9;
  --card: #f6f7f9; --blue: #0064a3; --red: #b3400a; --green: #00795a; --warm: #fdf1ea; }
@media (prefers-color-scheme: dark) { :root { --page: #15171a; --ink: #e6e8eb; --soft: #9ba1a9;
  --line: #31353b; --card: #1e2125; --blue: #6db9ea; --red: #f2996b; --green: #4fc7a1; --warm: #2d221b; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 2.5rem 1.5rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 1.25rem; letter-spacing: -0.01em; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 0.75rem; }
dl { display: flex; flex-wrap: wrap; gap: 0.35rem 2.25rem; margin: 0 0 1.75rem; }
dl > div { flex: 1 1 100%; display: flex; align-items: baseline; gap: 0.75rem; font-size: 0.92rem; }
dl > div dt { flex: 0 0 5.5rem; }
dl > div.short { flex: 0 0 auto; display: block; margin-bottom: 0.7rem; }
dl > div.short dd { font-size: 1.35rem; font-weight: 600; line-height: 1.25; }
dt { color: var(--soft); font-size: 0.85rem; }
dd { margin: 0; overflow-wrap: anywhere; }
.pictures { display: grid; gap: 1.25rem; margin-top: 1.75rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); }
figure { margin: 0; border: 1px solid var(--line); border-radius: 10px; overflow: hidden;
  background: #ffffff; display: flex; flex-direction: column; justify-content: space-between; }
figure.wide { grid-column: 1 / -1; }
figure.odd { grid-column: 1 / -1; }
figure.odd img { max-width: 760px; }
figure img { display: block; width: 100%; padding: 14px; margin: auto; }
figcaption { padding: 0.55rem 0.9rem; color: var(--soft); font-size: 0.85rem; background: var(--card);
  border-top: 1px solid var(--line); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 0.92rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.5rem 0.8rem; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); }
thead th { color: var(--soft); font-weight: 500; font-size: 0.85rem; vertical-align: bottom; }
tbody th { font-weight: 600; }
table.final thead th:not(:first-child), .number { text-align: right; white-space: nowrap; }
.best { color: var(--blue); font-weight: 600; }
.yes { color: var(--green); font-weight: 600; }
.no { color: var(--red); font-weight: 600; }
.flag { margin: 0 0 0.75rem; padding: 0.6rem 0.9rem; border-left: 4px solid var(--red);
  background: var(--warm); border-radius: 0 6px 6px 0; font-size: 0.92rem; }
details { margin: 0.6rem 0; border: 1px solid var(--line); border-radius: 8px; padding: 0.55rem 0.9rem; }
summary { cursor: pointer; font-size: 0.92rem; }
dl.notes { display: block; margin: 0.75rem 0 0.25rem; }
dl.notes > div { margin-bottom: 0.3rem; }
dl.notes > div dt { flex-basis: 9rem; }
pre { margin: 0.75rem 0 0.25rem; padding: 0.8rem; background: var(--card); border-radius: 6px;
  overflow-x: auto; font: 0.82rem/1.45 ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
"""


def summary(results: Result | Sequence[Result]) -> pd.DataFrame:
    """Tabulate the final numbers, means over the seeds that did not diverge.

    Args:
      results: one result or several.

    Returns:
      One row a result and swept value. Columns: `result`; the swept paths; `seeds`; `diverged`, how many of
      them did; `rounds`; of the accuracies, `test_loss_mean`, `bits_per_character_mean`, `suboptimality`,
      `distance`, `objective`, `grad_norm` and `consensus` those that any result has, NaN where it has none;
      `accuracy_mean_std`, over seeds (ddof 1, NaN for one seed); `megabytes_node` (8e6 bits); `seconds_compile`
      and `seconds_run`, of the whole result.

    Raises:
      ValueError: if there is no result, or one has no rows.
    """
    out = []
    for curve in plots.curves(results):
        rows = curve.rows.sort_values("round")
        dead = curve.diverged()
        last = rows[~rows["seed"].isin(list(dead))].groupby("seed").tail(1)
        line: dict[str, Any] = {"result": curve.label, **curve.swept}
        line |= {"seeds": rows["seed"].nunique(), "diverged": len(dead), "rounds": int(rows["round"].max())}
        for metric in _SHOWN:
            if metric in rows and (rows[metric].notna().any() or dead):
                line[metric] = last[metric].mean()
                if metric == "accuracy_mean":
                    line["accuracy_mean_std"] = last[metric].std()
        if "bits_node" in rows:
            line["megabytes_node"] = last["bits_node"].mean() / 8e6
        line |= {f"seconds_{part}": s for part, s in curve.result.seconds.items()}
        out.append(line)
    return pd.DataFrame(out)


def write_report(
    results: Result | Sequence[Result],
    path: str | os.PathLike[str],
    *,
    title: str,
    summary_rows: Sequence[Mapping[str, Any]] | None = None,
) -> Path:
    """Write one web page that needs nothing else: pictures, final numbers, configs.

    The page has no scripts and loads nothing. It is written in one step: a reader never sees half of it.

    Args:
      results: one result or several; those of one experiment compare best.
      path: the file, or an existing folder, which gets a `report.html`.
      title: the heading.
      summary_rows: a table of your own to open with, one mapping a row, such as claims and whether they
        hold; True and False become "yes" and "no" in colour.

    Returns:
      The file.

    Raises:
      ValueError: if there is no result, or one has no rows.
    """
    results = [results] if isinstance(results, Result) else list(results)
    path = Path(path)
    path = path / "report.html" if path.is_dir() else path
    page = _page(results, title, summary_rows or [])
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(page, encoding="utf-8")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return path


def _page(results: list[Result], title: str, own: Sequence[Mapping[str, Any]]) -> str:
    """The whole page."""
    numbers = summary(results)
    parts = [
        _what_was_run(results),
        _own_table(own),
        _pictures(results),
        "<h2>Final numbers</h2>",
        _flags(results),
        _numbers(numbers),
        "<h2>How it was run</h2>",
        *(_details(result) for result in results),
    ]
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_CSS}</style>\n</head>\n<body>\n<main>\n<h1>{escape(title)}</h1>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def _what_was_run(results: list[Result]) -> str:
    """Nodes, data, rounds, seeds: what the configs share is said once."""
    tables = [result.to_pandas() for result in results]
    facts = {
        "nodes": [str(plots.size(result)) for result in results],
        "seeds": [str(table["seed"].nunique()) for table in tables],
        "rounds": [f"{int(table['round'].max()):,}" for table in tables],
        "samples": [f"{int(r.partition.sum()):,}" for r in results if r.partition is not None],
        "classes": [str(r.partition.shape[1]) for r in results if r.partition is not None],
    }
    for part in ("problem", "topology", "cohort", "scheduler", "speeds", "channel", "algorithm", "faults"):
        facts[part] = [_say(result.config[part]) for result in results if result.config.get(part)]
    out = []
    for name, values in facts.items():
        distinct = [value for value in dict.fromkeys(values) if value]
        shown = "; ".join(distinct[:6]) + (f" and {len(distinct) - 6} more" if len(distinct) > 6 else "")
        kind = ' class="short"' if len(shown) <= 12 else ""
        out += [f"<div{kind}><dt>{name}</dt><dd>{escape(shown)}</dd></div>"] if distinct else []
    return "<dl>" + "".join(out) + "</dl>"


def _say(value: Any) -> str:
    """A part of a config on one line: name(option=value, ...)."""
    if isinstance(value, Mapping):
        rest = {key: item for key, item in value.items() if key != "name" and item is not None}
        inside = ", ".join(f"{key}={_say(item)}" for key, item in rest.items())
        name = str(value.get("name", ""))
        return f"{name}({inside})" if name and inside else name or inside
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_say(item) for item in value) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _own_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The caller's table."""
    if not rows:
        return ""
    heads = list(dict.fromkeys(key for row in rows for key in row))
    body = "".join("<tr>" + "".join(_cell(row.get(head)) for head in heads) + "</tr>" for row in rows)
    head = "".join(f"<th>{escape(str(head))}</th>" for head in heads)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(value: Any) -> str:
    """One cell of the caller's table."""
    if isinstance(value, bool | np.bool_):
        return f'<td class="{"yes" if value else "no"}">{"yes" if value else "no"}</td>'
    if value is None:
        return "<td>–</td>"
    if isinstance(value, int | float | np.number):
        return f'<td class="number">{value:.4g}</td>'
    return f"<td>{escape(str(value))}</td>"


def _pictures(results: list[Result]) -> str:
    """The pictures that the results have the data for, in pairs; wide ones follow and take the full width."""
    names = plots.available(results)
    figures = {name: plots.PLOTS[name](results) for name in _CAPTIONS if name in names}
    wide = [name for name, figure in figures.items() if figure.get_figwidth() > 8]
    narrow = [name for name in figures if name not in wide]
    kinds = dict.fromkeys(wide, ' class="wide"')
    if len(narrow) % 2:
        kinds[narrow[-1]] = ' class="odd"'
    out = []
    for name in narrow + wide:
        kind = kinds.get(name, "")
        out.append(
            f'<figure{kind}><img alt="{_CAPTIONS[name]}" src="data:image/png;base64,{_png(figures[name])}">'
            f"<figcaption>{_CAPTIONS[name]}</figcaption></figure>"
        )
    return f'<section class="pictures">{"".join(out)}</section>' if out else ""


def _png(figure: Figure) -> str:
    """A figure as base64 of a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _flags(results: list[Result]) -> str:
    """What diverged, in words."""
    out = []
    for curve in plots.curves(results):
        dead, seeds = curve.diverged(), curve.rows["seed"].nunique()
        if not dead:
            continue
        runs = ", ".join(f"seed {seed} in round {first}" for seed, first in sorted(dead.items()))
        if len(dead) == seeds:
            rest = "No run is left, so there are no final numbers."
        else:
            rest = f"The numbers below are those of the other {seeds - len(dead)}."
        text = f"{len(dead)} of {seeds} runs diverged ({runs}). {rest}"
        out.append(f'<p class="flag"><strong>{escape(curve.label)}</strong>: {text}</p>')
    return "".join(out)


def _numbers(numbers: pd.DataFrame) -> str:
    """The summary as a table, with what its columns mean below."""
    columns = [
        c for c in numbers if c != "accuracy_mean_std" and not (c == "diverged" and not numbers[c].any())
    ]
    heads = [_HEADS.get(str(c), (str(c), "swept hyper-parameter")) for c in columns]
    best = {c: numbers[c].max() for c in columns if str(c).startswith("accuracy") and len(numbers) > 1}
    body = []
    for row in numbers.to_dict("records"):
        cells = []
        for column in columns:
            value = row[column]
            if column == "result":
                cells.append(f"<th>{escape(str(value))}</th>")
                continue
            kind = "number best" if column in best and value == best[column] else "number"
            cells.append(f'<td class="{kind}">{_number(str(column), value, row)}</td>')
        body.append("<tr>" + "".join(cells) + "</tr>")
    head = "".join(f'<th title="{escape(text)}">{escape(name)}</th>' for name, text in heads)
    notes = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in heads)
    return (
        f'<div class="scroll"><table class="final"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>\n"
        f'<details><summary>What the columns mean</summary><dl class="notes">{notes}</dl></details>'
    )


def _number(column: str, value: Any, row: Mapping[Any, Any]) -> str:
    """A number as the table shows it."""
    if not isinstance(value, int | float | np.number):
        return escape(str(value))
    if not np.isfinite(value):
        return "–"
    if column.startswith("accuracy"):
        spread = row.get(f"{column}_std", np.nan)
        return f"{100 * value:.1f}" + (f" ± {100 * spread:.1f}" if np.isfinite(spread) else "") + " %"
    if column in ("seeds", "diverged", "rounds"):
        return f"{int(value):,}"
    if column.startswith("seconds") or column == "megabytes_node":
        return f"{value:,.1f}" if value >= 0.1 or value == 0 else f"{value:.2g}"
    return f"{value:.3g}"


def _details(result: Result) -> str:
    """The resolved config, versions and seconds of one result, folded away."""
    config = yaml.safe_dump(result.config, sort_keys=False, allow_unicode=True)
    extra = {
        name: values
        for name, values in (("seconds", result.seconds), ("versions", result.versions))
        if values
    }
    rest = yaml.safe_dump(extra, sort_keys=False, allow_unicode=True) if extra else ""
    return (
        f"<details><summary>{escape(result.label)}</summary>"
        f"<pre>{escape(config)}</pre>" + (f"<pre>{escape(rest)}</pre>" if rest else "") + "</details>"
    )
