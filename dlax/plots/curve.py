"""The lines of a picture: which results and swept values they stand for, their tables and their styles."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import to_hex, to_rgb

from dlax.plots.style import COLOURS, DASHES, MARKERS
from dlax.results import METRICS, Result

Results = Result | Sequence[Result]

_MAIN = (
    *("accuracy_mean", "test_loss_mean", "suboptimality", "distance"),
    *("objective", "grad_norm", "train_loss"),
)


@dataclass(frozen=True, eq=False)
class Curve:
    """One line of a picture: a result, or one swept value of it.

    Attributes:
      label: unique in the picture, such as "dsgd, ring, lr=0.1".
      result: where it comes from.
      swept: the swept values it stands for, such as {"algorithm.lr": 0.1}.
      rows: its part of the tidy table, finite values or NaN.
      nodes: its part of the per-node table.
      colour: "#rrggbb".
      dashes: a matplotlib line style.
      marker: a matplotlib marker, "" for none.
    """

    label: str
    result: Result
    swept: dict[str, Any]
    rows: pd.DataFrame
    nodes: pd.DataFrame
    colour: str
    dashes: Any
    marker: str

    def table(self, metric: str) -> pd.DataFrame:
        """One metric, `[evaluations, seeds]`: one row a round, increasing, and one column a seed.

        Raises:
          ValueError: if the metric is not in the table.
        """
        need(self.rows, metric, "metric", self.result.label)
        return self.rows.assign(value=self.rows[metric]).pivot(index="round", columns="seed", values="value")

    def diverged(self, metric: str | None = None) -> dict[int, int]:
        """The runs that diverged, `{seed: first round without a finite value}`.

        Args:
          metric: count also the runs whose values of this metric end before the run does.
        """
        out: dict[int, int] = {}
        if "diverged" in self.rows:
            first = self.rows.groupby("seed")["diverged"].max()
            out = {int(seed): int(t) for seed, t in first.items() if t >= 0}
        if metric is not None and metric in self.rows:
            for seed, values in self.table(metric).items():
                last = values.last_valid_index()
                if int(seed) not in out and last is not None and last != values.index[-1]:
                    out[int(seed)] = int(values.index[values.index > last][0])
        return out

    def sound(self, table: pd.DataFrame) -> pd.DataFrame:
        """The part of `rows` or `nodes` that comes from runs that did not diverge."""
        return table[~table["seed"].isin(list(self.diverged()))]

    def seeds(self) -> int:
        """How many runs there are."""
        return self.rows["seed"].nunique()

    def note(self, gone: dict[int, int]) -> str:
        """What a label adds for diverged runs, such as " (1 of 3 diverged, round 120)"."""
        if not gone:
            return ""
        first, last = min(gone.values()), max(gone.values())
        when = f"round {first}" if first == last else f"rounds {first}–{last}"
        return f" ({len(gone)} of {self.seeds()} diverged, {when})"


def curves(results: Results) -> list[Curve]:
    """Split results into the lines that a picture shows, each with its label and style.

    Args:
      results: one result or several.

    Returns:
      One curve for every result and every combination of its swept values (the names in its `runs`; without
      those, columns of `rows` that are neither `seed` nor in `METRICS`), in the order of the results. Equal labels
      are numbered.

    Raises:
      ValueError: if there is no result, or one has no rows.
    """
    results = listed(results)
    names = [result.label for result in results]
    names = [
        f"{name} #{names[:i].count(name) + 1}" if names.count(name) > 1 else name
        for i, name in enumerate(names)
    ]
    out = []
    for name, result, (colour, dashes) in zip(names, results, _styles(names), strict=True):
        rows, nodes = result.to_pandas(), result.nodes_to_pandas()
        numbers = [column for column in METRICS if column in rows]
        rows[numbers] = rows[numbers].astype(float).replace([np.inf, -np.inf], np.nan)
        # An algorithm may report numbers of its own, which are not swept.
        named = set(result.runs[0]) if result.runs else set(rows) - set(METRICS)
        swept = [c for c in rows if c != "seed" and c in named and rows[c].nunique(dropna=False) > 1]
        values = rows[swept].drop_duplicates().to_dict("records") if swept else [{}]
        for i, value in enumerate(values):
            style, share = (colour, dashes, ""), i / max(1, len(values) - 1)
            if len(values) > 1 and len(results) == 1:  # values are ordered, and so is the colour map
                style = (to_hex(colormaps["viridis"](0.9 * share)), DASHES[i % len(DASHES)], "")
            elif len(values) > 1:  # lighter and lighter
                tone = 1 - (1 - 0.6 * share) * (1 - np.array(to_rgb(colour)))
                style = (to_hex(tone.tolist()), dashes, MARKERS[i % len(MARKERS)])
            mine = {str(path): setting for path, setting in value.items()}
            label = ", ".join([name, *_settings(mine)])
            out.append(Curve(label, result, mine, _where(rows, mine), _where(nodes, mine), *style))
    return out


def main_axis(results: Results) -> str:
    """What belongs across: "time" when one of the results is asynchronous, else "round"."""
    return (
        "time"
        if any("exchanges" in row for result in listed(results) for row in result.rows[:1])
        else "round"
    )


def main_metric(results: Results) -> str:
    """The metric that tells most about these results.

    Args:
      results: one result or several.

    Returns:
      The first of accuracy_mean, test_loss_mean, suboptimality, distance, objective, grad_norm and train_loss
      that every result has; metrics with a finite value in every result come first.

    Raises:
      ValueError: if the results share none of them.
    """
    tables = [result.to_pandas() for result in listed(results)]
    shared = shared_metrics(tables)
    finite = [m for m in shared if all(np.isfinite(table[m].astype(float)).any() for table in tables)]
    if not shared:
        raise ValueError(f"the results share none of the metrics {', '.join(_MAIN)}")
    return (finite + shared)[0]


def shared_metrics(tables: Sequence[pd.DataFrame]) -> list[str]:
    """What `main_metric` chooses from: the metrics of a goal that every table has."""
    return [metric for metric in _MAIN if all(metric in table for table in tables)]


def listed(results: Results) -> list[Result]:
    """A list of results; a ValueError if there is none, or one has no rows."""
    out = [results] if isinstance(results, Result) else list(results)
    if not out:
        raise ValueError("no results to draw")
    for result in out:
        if not result.rows:
            raise ValueError(f"{result.label!r} has no rows; there is nothing to draw")
    return out


def need(table: pd.DataFrame, column: str, what: str, label: str) -> None:
    """A ValueError with a suggestion unless a table has a column."""
    if column in table:
        return
    known = [str(name) for name in table if name not in ("seed", "diverged")]
    close = difflib.get_close_matches(column, known, 1, 0.5)
    hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(known) or 'no column'}"
    raise ValueError(f"{what} {column!r} is not in the table of {label!r}; {hint}")


def _where(table: pd.DataFrame, values: dict[str, Any]) -> pd.DataFrame:
    """The rows of a table that have these values."""
    for column, value in values.items():
        if column in table:
            table = table[table[column] == value]
    return table


def _settings(swept: dict[str, Any]) -> list[str]:
    """Swept values for a label, with the last word of every path."""
    texts = (f"{value:g}" if isinstance(value, float) else str(value) for value in swept.values())
    return [f"{path.rpartition('.')[2]}={text}" for path, text in zip(swept, texts, strict=True)]


def _styles(labels: list[str]) -> list[tuple[str, Any]]:
    """Colour and dashes of every label; by its two halves when all read "algorithm, graph"."""
    halves = [label.partition(", ")[::2] for label in labels]
    first, second = (list(dict.fromkeys(half[i] for half in halves)) for i in (0, 1))
    if all(b for _, b in halves) and 1 < len(first) <= len(COLOURS) and len(second) <= len(DASHES):
        return [(COLOURS[first.index(a)], DASHES[second.index(b)]) for a, b in halves]
    return [(COLOURS[i % len(COLOURS)], DASHES[i % len(DASHES)]) for i in range(len(labels))]
