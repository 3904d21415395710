"""A sweep as one table: what its runs differ in along both sides, a metric with its spread over seeds inside."""

import itertools
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from dlax.registry import suggest
from dlax.results import METRICS, Result, more_is_better

FORMATS = {"markdown": "github", "latex": "latex_raw", "text": "simple"}  # tabulate's names


@dataclass(frozen=True, eq=False)
class Ablation:
    """A metric at the end of every run of a sweep, or what it took to reach a target, laid out.

    Attributes:
      metric: what is in the cells: a metric, or what a target took, such as time.
      mean: over the seeds, rows (a MultiIndex of factors) by columns; NaN where nothing is finite.
      spread: standard deviation over the seeds (n − 1 below the sum; NaN for one seed).
      chosen: per cell, the swept values that were best on average over seeds, such as {"algorithm.lr": 0.1}.
      diverged: per cell, how many runs of the sweep diverged, at any swept value.
      seeds: how many seeds a mean is over, at most.
      maximise: whether more is better.
      target: what is to be reached, such as "accuracy_mean 0.8"; "" if the cells are of the end.
    """

    metric: str
    mean: pd.DataFrame
    spread: pd.DataFrame
    chosen: pd.DataFrame
    diverged: pd.DataFrame
    seeds: int
    maximise: bool
    target: str = ""

    @property
    def best(self) -> pd.DataFrame:
        """The best cell of every row: True there; of every column, where what goes across is not ours to choose."""
        down = self.given
        ends = self.mean.max(axis=0 if down else 1) if self.maximise else self.mean.min(axis=0 if down else 1)
        return self.mean.eq(ends, axis=1 if down else 0)

    @property
    def given(self) -> bool:
        """Whether an adversary or nature chooses what goes across: rows then compete in every column."""
        return str(self.mean.columns.name).partition(".")[0] in ("attack", "byzantine", "faults", "knowledge")

    def text(self, form: str = "markdown") -> str:
        """The table as text, mean ± spread, the best of a row (of a column of attacks) in bold.

        Args:
          form: "markdown", "latex" (with booktabs) or "text".

        Raises:
          ValueError: if the form is none of these.
        """
        if form not in FORMATS:
            known = ", ".join(FORMATS)
            raise ValueError(f"table: format must be one of {known}, got {form!r}{suggest(form, FORMATS)}")
        from tabulate import tabulate

        percent = self.metric.startswith(("accuracy", "attack_success"))
        best = self.best

        def cell(row: Any, column: Any) -> str:
            mean, spread = self.mean.loc[row, column], self.spread.loc[row, column]
            if not np.isfinite(mean):
                never = "never" if self.target and isinstance(self.chosen.loc[row, column], dict) else ""
                return "diverged" if self.diverged.loc[row, column] else never
            scale, digits = (100.0, ".1f") if percent else (1.0, ".3g")
            words = f"{scale * mean:{digits}}"
            near = ".1f" if percent else (".0f" if 10 <= spread < 1e4 else ".1g")
            words += f" ± {scale * spread:{near}}" if np.isfinite(spread) else ""
            words += "*" if self.diverged.loc[row, column] else ""
            if form == "latex":
                words = words.replace("±", r"$\pm$")
                return rf"\textbf{{{words}}}" if best.loc[row, column] else words
            return f"**{words}**" if best.loc[row, column] and form == "markdown" else words

        names = list(self.mean.index.names)
        rows = [
            [
                *map(_plain, row if isinstance(row, tuple) else (row,)),
                *(cell(row, c) for c in self.mean.columns),
            ]
            for row in self.mean.index
        ]
        heads = [*map(_short, names), *map(_plain, self.mean.columns)]
        if form != "latex":
            return tabulate(rows, heads, tablefmt=FORMATS[form], disable_numparse=True)
        rows = [[*map(_latex, line[: len(names)]), *line[len(names) :]] for line in rows]
        drawn = tabulate(rows, map(_latex, heads), tablefmt="latex_raw", disable_numparse=True)
        # Its booktabs form would escape the bold cells.
        for rule in ("toprule", "midrule", "bottomrule"):
            drawn = drawn.replace(r"\hline", rf"\{rule}", 1)
        return drawn


def ablation(
    results: Sequence[Result],
    *,
    metric: str | None = None,
    columns: str | None = None,
    maximise: bool | None = None,
    reach: float | None = None,
    along: str = "time",
) -> Ablation:
    """Lays the last row of every run of a sweep out as a table, or what it took to reach a target.

    Factors are the dotted paths in which the configs of the results differ; of specs with different names the
    options count only where they differ under one name. One factor goes across, all others down. Values swept by
    `vmap` do not make cells: the best of them, on average over seeds, fills the cell, among those for which no seed
    diverged. The choice is by the metric shown: on held-out data that flatters every cell a little. An attack's
    values are the attacker's to choose: of them the worst counts, and one that makes a seed diverge is the worst. A
    fault's are nobody's: each makes a cell of its own.

    Args:
      results: of a sweep, one a combination.
      metric: a column of the tidy table; default the first of accuracy_merged, accuracy_mean, suboptimality,
        distance, objective that all results have; with faults accuracy_mean before accuracy_merged.
      columns: the factor that goes across; default the attack, else the algorithm, or the last one.
      maximise: whether more is better; default by the metric.
      reach: a value of the metric: the cells then say when it was first reached, as `Result.reach` does, at the swept
        values that got there first. A cell of which a seed never got there says so.
      along: with `reach`, what it took: "time", "bits_node", "round".

    Returns:
      The table.

    Raises:
      ValueError: if there are no results, they differ in nothing, or a name is unknown.
    """
    if not results:
        raise ValueError("table: there is no result")
    results = by_fault(results)
    found = factors(results)
    if not found:
        raise ValueError("table: the results differ in nothing; a table needs the runs of a sweep")
    metric = metric or _main(results)
    for result in results:
        if not result.rows or metric not in result.rows[-1]:
            known = [name for name in METRICS if result.rows and name in result.rows[-1]]
            raise ValueError(
                f"table: {result.label} has no metric {metric!r}; it has {', '.join(known)}{suggest(metric, known)}"
            )
    if columns is not None and columns not in found:
        raise ValueError(
            f"table: the results do not differ in {columns!r}, but in {', '.join(found)}{suggest(columns, found)}"
        )
    if maximise is None:
        maximise = more_is_better(metric) and reach is None
    first = (path for part in ("attack", "algorithm") for path in found if path.startswith(part))
    across = columns or next(first, list(found)[-1])
    down = [path for path in found if path != across] or ["label"]
    cells, shown = [], metric if reach is None else along
    for number, result in enumerate(results):
        if reach is None:
            ends = result.to_pandas().groupby("round").get_group(result.rows[-1]["round"])
        else:
            ends = pd.DataFrame(result.reach(reach, metric, along=along))
        keys = {path: found[path][number] for path in found} | {"label": shown}
        keys = {
            path: "none" if key is None else key for path, key in keys.items()
        }  # pandas takes None for NaN
        cells.append({**{p: keys[p] for p in [*down, across]}, **_cell(result, ends, shown, maximise)})
    table = pd.DataFrame(cells)
    if table.duplicated([*down, across]).any():
        raise ValueError("table: two results have the same settings; give the runs of one sweep")
    rows = list(dict.fromkeys(table[down].itertuples(index=False, name=None)))
    index = pd.MultiIndex.from_tuples(rows, names=down)
    order = pd.Index(list(dict.fromkeys(table[across])), name=across)

    def laid_out(value: str) -> pd.DataFrame:
        frame = table.set_index([*down, across])[value].unstack(across)
        return frame.set_axis(pd.MultiIndex.from_tuples(map(_tuple, frame.index), names=down)).reindex(
            index=index, columns=order
        )

    return Ablation(
        shown,
        laid_out("mean").astype(float),
        laid_out("spread").astype(float),
        laid_out("chosen"),
        laid_out("diverged").fillna(0).astype(int),
        int(table["seeds"].max()),
        maximise,
        "" if reach is None else f"{metric} {reach:g}",
    )


def by_fault(results: Sequence[Result]) -> list[Result]:
    """The same runs, those with other swept values of a fault as results of their own: as if a grid had set them."""
    made = []
    for result in results:
        swept = [name for name in (result.runs[0] if result.runs else {}) if name.startswith("faults.")]
        for values in dict.fromkeys(tuple(run[name] for name in swept) for run in result.runs or [{}]):
            given = dict(zip(swept, values, strict=True))
            made.append(_part(result, given) if swept else result)
    return made


def _part(result: Result, given: Mapping[str, float]) -> Result:
    """The runs with these values, which then stand in the config; the values are no columns any more."""

    def kept(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        chosen = [row for row in rows if all(row[name] == value for name, value in given.items())]
        return [{key: value for key, value in row.items() if key not in given} for row in chosen]

    config = deepcopy(result.config)
    for path, value in given.items():
        *around, last = path.split(".")
        spec = config
        for key in around:
            spec = spec[int(key)] if isinstance(spec, list) else spec[key]
        spec[last] = value
    label = ", ".join([result.label, *(f"{_short(path)} {value:g}" for path, value in given.items())])
    rows, nodes, runs = kept(result.rows), kept(result.nodes), kept(result.runs)
    return replace(result, label=label, config=config, rows=rows, nodes=nodes, runs=runs, params=())


def factors(results: Sequence[Result]) -> dict[str, list[Any]]:
    """What the configs of the results differ in: dotted path -> its value in every result, in order."""
    flat = [_flatten(result.config) for result in results]
    paths = list(dict.fromkeys(itertools.chain.from_iterable(flat)))
    varied = [p for p in paths if p != "label" and len({repr(config.get(p)) for config in flat}) > 1]
    named = [path for path in varied if path.endswith(".name")]

    def own(path: str) -> bool:
        """Whether an option varies among results whose specs around it have the same names."""
        around = [name for name in named if name != path and path.startswith(name.removesuffix("name"))]
        groups: dict[str, set[str]] = {}
        for config in flat:
            groups.setdefault(repr([config.get(n) for n in around]), set()).add(repr(config.get(path)))
        return any(len(values) > 1 for values in groups.values())

    kept = [path for path in varied if own(path)]
    return {path.removesuffix(".name"): [config.get(path) for config in flat] for path in kept}


def _cell(result: Result, last: pd.DataFrame, metric: str, maximise: bool) -> dict[str, Any]:
    """Mean and spread over seeds of the best swept value, of the last row of each run."""
    swept = [name for name in (result.runs[0] if result.runs else {}) if name != "seed"]
    bad = last["diverged"] >= 0 if "diverged" in last else pd.Series(False, last.index)
    nothing: dict[str, Any] = {"mean": np.nan, "spread": np.nan, "chosen": {}, "seeds": 0}

    def measured(values: tuple[Any, ...], part: pd.DataFrame) -> dict[str, Any]:
        if bad[part.index].any() or not np.isfinite(part[metric].astype(float)).all():
            return nothing
        spread = float(part[metric].std(ddof=1)) if len(part) > 1 else np.nan
        chosen = dict(zip(swept, values, strict=True))
        return {"mean": float(part[metric].mean()), "spread": spread, "chosen": chosen, "seeds": len(part)}

    ours = [place for place, name in enumerate(swept) if not name.startswith("attack.")]
    options: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for values, part in last.groupby(swept, sort=False) if swept else [((), last)]:
        values = values if isinstance(values, tuple) else (values,)
        options.setdefault(tuple(values[place] for place in ours), []).append(measured(values, part))
    sign = 1 if maximise else -1
    worst = [
        min(cells, key=lambda cell: sign * cell["mean"] if np.isfinite(cell["mean"]) else -np.inf)
        for cells in options.values()
    ]
    best = max(worst, key=lambda cell: sign * cell["mean"] if np.isfinite(cell["mean"]) else -np.inf)
    return {**best, "diverged": int(bad.sum())}


def _main(results: Sequence[Result]) -> str:
    wanted = ["accuracy_merged", "accuracy_mean", "suboptimality", "distance", "objective"]
    if any("alive" in result.rows[-1] for result in results if result.rows):
        wanted[:2] = wanted[1::-1]  # nodes that faults cut off from one another will not be merged
    shared = [name for name in wanted if all(name in result.rows[-1] for result in results if result.rows)]
    if not shared:
        raise ValueError(f"table: the results share none of the metrics {', '.join(wanted)}")
    return shared[0]


def _flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted path -> value; lists are values."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and key not in ("vmap", "grid"):
            flat |= _flatten(value, f"{prefix}{key}.")
        elif key not in ("vmap", "grid"):
            flat[f"{prefix}{key}"] = value
    return flat


def _tuple(row: Any) -> tuple[Any, ...]:
    return row if isinstance(row, tuple) else (row,)


def _short(path: str) -> str:
    """The last part of a dotted path: what a table's head says."""
    return str(path).rpartition(".")[2]


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _latex(text: str) -> str:
    return text.replace("_", r"\_").replace("%", r"\%").replace("&", r"\&")
