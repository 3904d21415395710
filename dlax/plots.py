"""Pictures of results: learning curves, consensus, bits, node accuracies, the graph and the partition.

Every function takes results and returns a `matplotlib.figure.Figure` of its own; pyplot's global state is
never touched, so all of it works without a display. What the pictures share:

* A line is one result, or one swept value of it (`curves`): the mean over its runs that did not diverge, with
  a band from the smallest to the largest of them.
* A run that diverged is drawn alone, thin, and ends in a cross at its last finite point; the legend counts
  it.
* Colours and dashes depend only on the labels and their order. When labels read "algorithm, graph", the
  colour is the algorithm and the dashes are the graph.
"""

import difflib
import math
import os
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import networkx as nx
import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colorbar import Colorbar
from matplotlib.colors import ListedColormap, Normalize, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from dlax.results import METRICS, Result

MAX_NODES_DRAWN = 400  # a larger graph is a blot
MAX_PANELS = 12  # graphs in one picture

# Okabe and Ito's palette, the ones that read best on white first
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#B8A800")
_DASHES: tuple[Any, ...] = (
    "solid",
    (0, (5, 2)),
    (0, (1.2, 1.6)),
    (0, (7, 2, 1.5, 2)),
    (0, (9, 3)),
    (0, (4, 1.5, 1.2, 1.5, 1.2, 1.5)),
)
_MARKERS = ("o", "s", "^", "D", "v", "P", "*")
# Tol's muted scheme: ten classes that stay apart for every kind of colour vision
_CLASSES = (
    *("#332288", "#88CCEE", "#44AA99", "#117733", "#999933"),
    *("#DDCC77", "#CC6677", "#882255", "#AA4499", "#BBBBBB"),
)
_INK, _GREY, _EDGE, _GRID = "#222222", "#666666", "#8A8A8A", "#E3E3E3"
_MAIN = (
    *("accuracy_mean", "test_loss_mean", "suboptimality", "distance"),
    *("objective", "grad_norm", "train_loss"),
)
_VANISHING = (
    "consensus",
    "suboptimality",
    "distance",
    "grad_norm",
)  # zero is the goal: log axis with a floor
_RELATIVE_ZERO = 1e-8  # a consensus this far below the others' is rounding
_FORMATS = ("jpg", "pdf", "png", "svg", "webp")


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
        """One metric as a table: one row a round, one column a seed.

        Args:
          metric: a column of the tidy table.

        Returns:
          `[evaluations, seeds]`, in increasing rounds.

        Raises:
          ValueError: if the metric is not in the table.
        """
        _need(self.rows, metric, "metric", self.result.label)
        return self.rows.assign(value=self.rows[metric]).pivot(index="round", columns="seed", values="value")

    def diverged(self, metric: str | None = None) -> dict[int, int]:
        """The runs that diverged.

        Args:
          metric: count also the runs whose values of this metric end before the run does.

        Returns:
          `{seed: first round without a finite value}`; empty when every run is sound.
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


def curves(results: Result | Sequence[Result]) -> list[Curve]:
    """Split results into the lines that a picture shows, each with its label and style.

    Args:
      results: one result or several.

    Returns:
      One curve for every result and every combination of its swept values (columns of `rows` that are neither
      `seed` nor in `METRICS`), in the order of the results. Equal labels are numbered.

    Raises:
      ValueError: if there is no result, or one has no rows.
    """
    results = _listed(results)
    names = [result.label for result in results]
    names = [
        f"{name} #{names[:i].count(name) + 1}" if names.count(name) > 1 else name
        for i, name in enumerate(names)
    ]
    styles = _styles(names)
    out = []
    for name, result, (colour, dashes) in zip(names, results, styles, strict=True):
        rows = result.to_pandas()
        numbers = [column for column in METRICS if column in rows]
        rows[numbers] = rows[numbers].astype(float).where(np.isfinite(rows[numbers].astype(float)))
        nodes = result.nodes_to_pandas()
        swept = [c for c in rows if c != "seed" and c not in METRICS and rows[c].nunique(dropna=False) > 1]
        values = rows[swept].drop_duplicates().to_dict("records") if swept else [{}]
        for i, value in enumerate(values):
            label = ", ".join([name, *_settings(value)])
            if len(values) == 1:
                style = (colour, dashes, "")
            elif len(results) == 1:  # values are ordered, and so is the colour map
                tone = colormaps["viridis"](0.9 * i / (len(values) - 1))
                style = (to_hex(tone), _DASHES[i % len(_DASHES)], "")
            else:
                style = (_lighter(colour, 0.6 * i / (len(values) - 1)), dashes, _MARKERS[i % len(_MARKERS)])
            mine = {str(k): v for k, v in value.items()}
            out.append(Curve(label, result, mine, _where(rows, mine), _where(nodes, mine), *style))
    return out


def main_metric(results: Result | Sequence[Result]) -> str:
    """The metric that tells most about these results.

    Args:
      results: one result or several.

    Returns:
      The first of accuracy_mean, test_loss_mean, suboptimality, distance, objective, grad_norm and train_loss
      that every result has; metrics with a finite value in every result come first.

    Raises:
      ValueError: if the results share none of them.
    """
    tables = [result.to_pandas() for result in _listed(results)]
    shared = [metric for metric in _MAIN if all(metric in table for table in tables)]
    finite = [m for m in shared if all(np.isfinite(table[m].astype(float)).any() for table in tables)]
    for metric in finite + shared:
        return metric
    raise ValueError(f"the results share none of the metrics {', '.join(_MAIN)}")


def learning_curves(
    results: Result | Sequence[Result], metric: str | None = None, x: str = "round"
) -> Figure:
    """Draw a metric against rounds, time or bits.

    Lines are means over seeds, bands go from the smallest to the largest seed, crosses end diverged runs.
    Losses are on a log axis when they are positive; so are distances and gaps, whose zeros lie on a floor
    that is drawn and noted.

    Args:
      results: one result or several, one line each and a line for every swept value.
      metric: a column of the tidy table. Default: `main_metric`.
      x: the column across, such as "round", "time" or "bits_node".

    Returns:
      The figure.

    Raises:
      ValueError: if there is nothing to draw, or a result has no such metric.
    """
    return _figure_of_curves(results, metric or main_metric(results), x)


def consensus(results: Result | Sequence[Result]) -> Figure:
    """Draw the distance to consensus on a log axis.

    A result whose distance is zero, or rounding beside that of the others (a complete graph), lies on a floor
    one decade below them, which is drawn and noted.

    Args:
      results: one result or several.

    Returns:
      The figure.

    Raises:
      ValueError: if there is nothing to draw, or a result has no such metric.
    """
    return _figure_of_curves(results, "consensus", "round")


def accuracy_against_bits(results: Result | Sequence[Result], metric: str | None = None) -> Figure:
    """Draw what is reached for the bits that a node has sent.

    Args:
      results: one result or several.
      metric: a column of the tidy table. Default: `main_metric`, the accuracy where there is one.

    Returns:
      The figure; log axis across, in B, kB, MB or GB. Evaluations before the first message are left out.

    Raises:
      ValueError: if there is nothing to draw, or a result has no such metric or no bits.
    """
    return _figure_of_curves(results, metric or main_metric(results), "bits_node")


def accuracy_per_node(results: Result | Sequence[Result]) -> Figure:
    """Draw the final accuracy of every node of every seed, one strip a result.

    Args:
      results: one result or several.

    Returns:
      The figure: a thin row of points a seed, a bar at the mean over nodes and sound seeds, a diamond for the
      averaged model. Nodes of diverged runs are crosses and count in no mean.

    Raises:
      ValueError: if there is nothing to draw, or a result has no accuracy of nodes.
    """
    drawn = curves(results)
    for curve in drawn:
        _need(curve.nodes, "accuracy", "node metric", curve.result.label)
    figure, axes = _figure(7.2, 1.5 + 0.52 * len(drawn))
    sound = np.concatenate([_sound(curve, curve.nodes)["accuracy"].to_numpy(float) for curve in drawn])
    sound = sound[np.isfinite(sound)]
    edge = float(sound.min() - 0.1 * np.ptp(sound) - 0.005) if len(sound) else 0.0
    everything = np.concatenate([curve.nodes["accuracy"].to_numpy(float) for curve in drawn])
    beyond = bool((everything < edge).any())
    kinds = set().union(*(_strip(axes, row, curve, edge) for row, curve in enumerate(drawn)))
    note = f"one row of points a seed ({_count([c.nodes['seed'].nunique() for c in drawn], 'seed')})"
    note += "; mean at the right" + ("\ncrosses on the left edge are beyond it" if beyond else "")
    _frame(axes, "held-out accuracy at the end", "", note)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    labels = [textwrap.fill(c.label, 34) + _divergence(c, c.diverged()).replace(" (", "\n(") for c in drawn]
    axes.set_yticks(range(len(drawn)), labels)
    axes.set_ylim(len(drawn) - 0.45, -0.55)
    if beyond:
        axes.set_xlim(left=edge)
    axes.grid(visible=False, axis="y")
    hollow: dict[str, Any] = {"mfc": "white", "mec": _INK, "ms": 6}
    looks: dict[str, dict[str, Any]] = {
        "a node": {"marker": "o", "color": _GREY, "ms": 4},
        "a node of a diverged run": {"marker": "x", "color": _GREY, "ms": 5},
        "mean over nodes": {"marker": "|", "color": _INK, "ms": 11, "mew": 2},
        "averaged model": {"marker": "D", **hollow},
    }
    handles = [Line2D([], [], ls="", label=name, **look) for name, look in looks.items() if name in kinds]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def graph(results: Result | Sequence[Result], metric: str | None = None) -> Figure:
    """Draw the graph, nodes coloured by what they reached, mean over the sound seeds.

    Circulant graphs (rings, exponential, complete) are drawn as circles, others by springs. The area of a
    node grows with its samples. Panels share one colour scale.

    Args:
      results: one result or several, a panel for each and for every swept value, at most `MAX_PANELS`.
      metric: a column of the per-node table. Default: "accuracy", then "test_loss"; where a result has
        neither, its nodes are plain.

    Returns:
      The figure.

    Raises:
      ValueError: if there is nothing to draw, the graph has more than `MAX_NODES_DRAWN` nodes, or a result
        has no such metric.
    """
    drawn = curves(results)
    shown = drawn[:MAX_PANELS]
    columns = min(4, len(shown))
    height = math.ceil(len(shown) / columns)
    side = 3.4 if len(shown) > 1 else 4.6
    size = (1.2 + side * columns, (side + 0.2) * height)
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    panels = list(figure.subplots(height, columns, squeeze=False).flat)
    _graphs(figure, panels[: len(shown)], shown, metric or _node_metric(shown))
    for empty in panels[len(shown) :]:
        empty.set_axis_off()
    if len(shown) < len(drawn):
        figure.suptitle(f"the first {len(shown)} of {len(drawn)}", fontsize=9, color=_GREY)
    return figure


def partition(results: Result | Sequence[Result]) -> Figure:
    """Draw who holds what: the training samples of every node, stacked by class.

    Args:
      results: one result or several; those that share a partition share a panel.

    Returns:
      The figure. More than 100 nodes are drawn as one area, more than 10 classes get a colour bar.

    Raises:
      ValueError: if no result has a partition.
    """
    tables: list[tuple[np.ndarray, list[str]]] = []
    for result in _listed(results):
        if result.partition is None:
            continue
        same = [labels for table, labels in tables if np.array_equal(table, result.partition)]
        if same:
            same[0].append(result.label)
        else:
            tables.append((np.asarray(result.partition), [result.label]))
    if not tables:
        raise ValueError("no result has a partition; there is none without labels")
    figure = Figure(figsize=(7.2, 0.6 + 3.4 * len(tables)), layout="constrained", facecolor="white")
    panels = list(figure.subplots(len(tables), 1, squeeze=False).flat)
    for axes, (table, labels) in zip(panels, tables, strict=True):
        _bars(figure, axes, table)
        if len(tables) > 1:
            axes.set_title(_shorten(labels), loc="left", fontsize=10, color=_INK)
    return figure


def panel(results: Result | Sequence[Result]) -> Figure:
    """Draw the composite picture: learning curves, consensus, and the graph or the partition, side by side.

    The graph is that of the first result with sound runs, and left to the partition when it is too large.

    Args:
      results: one result or several.

    Returns:
      The figure, three times as wide as high; panels without data are left out.

    Raises:
      ValueError: if there is nothing to draw.
    """
    results = _listed(results)
    drawn = curves(results)
    metrics = [main_metric(results)]
    if all("consensus" in curve.rows for curve in drawn):
        metrics.append("consensus")
    last = next((name for name in ("graph", "partition") if name in available(results)), None)
    widths = [1.25] * len(metrics) + ([1.0] if last else [])
    figure = Figure(figsize=(4.1 * sum(widths), 4.4), layout="constrained", facecolor="white")
    panels = list(figure.subplots(1, len(widths), squeeze=False, width_ratios=widths).flat)
    figure.get_layout_engine().set(w_pad=0.1, wspace=0.03)  # type: ignore[union-attr, call-arg]
    stopped = [
        _curves_into(axes, drawn, metric, "round") for axes, metric in zip(panels, metrics, strict=False)
    ]
    if last == "graph":
        shown = next((c for c in drawn if len(c.diverged()) < c.rows["seed"].nunique()), drawn[0])
        _graphs(figure, panels[-1:], [shown], _node_metric([shown]))
    elif last == "partition":
        _bars(figure, panels[-1], np.asarray(next(r.partition for r in results if r.partition is not None)))
    _legend(figure, drawn, stopped[0])
    return figure


def save(figure: Figure, path: str | os.PathLike[str], *, dpi: int = 200) -> Path:
    """Write a figure to a file, in one step: a reader never sees half of it.

    Args:
      figure: what to write.
      path: the file; its ending says the format, one of jpg, pdf, png, svg and webp. Folders are made.
      dpi: pixels per inch of the pixel formats.

    Returns:
      The path.

    Raises:
      ValueError: if the ending is not a format.
    """
    path = Path(path)
    ending = path.suffix.lower().removeprefix(".")
    if ending not in _FORMATS:
        raise ValueError(f"{path.name}: pictures are {', '.join(_FORMATS)}, got the ending {path.suffix!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        figure.savefig(draft, format=ending, dpi=dpi)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return path


def size(result: Result) -> int:
    """Count the nodes of a result.

    Args:
      result: one result.

    Returns:
      n, from its partition, its per-node table and its edges.
    """
    edges = np.asarray(result.edges, int).reshape(-1)
    tables = [len(result.partition)] if result.partition is not None else []
    return max([*tables, *(int(row["node"]) + 1 for row in result.nodes), int(edges.max(initial=-1)) + 1])


PLOTS: dict[str, Callable[[Sequence[Result]], Figure]] = {
    "learning_curves": learning_curves,
    "consensus": consensus,
    "accuracy_against_bits": accuracy_against_bits,
    "accuracy_per_node": accuracy_per_node,
    "graph": graph,
    "partition": partition,
    "panel": panel,
}


def available(results: Result | Sequence[Result]) -> list[str]:
    """The pictures that these results have the data for.

    Args:
      results: one result or several.

    Returns:
      Names of `PLOTS`, in its order.

    Raises:
      ValueError: if there is no result, or one has no rows.
    """
    results = _listed(results)
    tables = [result.to_pandas() for result in results]
    main = any(all(metric in table for table in tables) for metric in _MAIN)
    bits = all("bits_node" in table and (table["bits_node"] > 0).any() for table in tables)
    has = {
        "learning_curves": main,
        "consensus": all("consensus" in table for table in tables),
        "accuracy_against_bits": main and bits,
        "accuracy_per_node": all("accuracy" in result.nodes_to_pandas() for result in results),
        "graph": all(0 < size(result) <= MAX_NODES_DRAWN for result in results),
        "partition": any(result.partition is not None for result in results),
        "panel": main,
    }
    return [name for name in PLOTS if has[name]]


# --- lines ---


class _Stop(NamedTuple):
    """A diverged run up to its last finite value: x and y, `[points]`."""

    x: np.ndarray
    y: np.ndarray


class _Line(NamedTuple):
    """What one curve draws: mean and band of the sound runs `[evaluations]`, and the diverged runs."""

    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    stops: list[_Stop]


def _figure_of_curves(results: Result | Sequence[Result], metric: str, x: str) -> Figure:
    """A figure with one set of axes and the legend below it."""
    drawn = curves(results)
    figure, axes = _figure(7.2, 4.1)
    stopped = _curves_into(axes, drawn, metric, x)
    rows = _legend(figure, drawn, stopped)
    figure.set_figheight(4.1 + 0.21 * rows)
    return figure


def _curves_into(axes: Axes, drawn: list[Curve], metric: str, x: str) -> list[dict[int, int]]:
    """Draw the curves of one metric; returns what diverged, per curve."""
    for curve in drawn:
        _need(curve.rows, x, "x", curve.result.label)
    stopped = [curve.diverged(metric) for curve in drawn]
    lines = [_line(curve, metric, x, gone) for curve, gone in zip(drawn, stopped, strict=True)]
    lines, x_label = _in_unit(lines, x, ("x",))
    lines, y_label = _in_unit(lines, metric, ("mean", "low", "high"))
    if x.startswith("bits"):  # nothing sent has no logarithm
        lines = [line._replace(x=np.where(line.x > 0, line.x, np.nan)) for line in lines]
        lines = [line._replace(stops=[_cut(s, s.x > 0) for s in line.stops]) for line in lines]
    lines, log, floor, notes = _scaled(lines, metric, [curve.label for curve in drawn])
    ceiling = _ceiling(lines, log)
    if any((stop.y > ceiling).any() for line in lines for stop in line.stops):
        notes.append("crosses on the upper edge are beyond it")
    band = False
    for curve, line in zip(drawn, lines, strict=True):
        band |= _draw(axes, curve, line, ceiling)
    if log:
        axes.set_yscale("log")
    if x.startswith("bits"):
        axes.set_xscale("log")
        _plain_log(axes, "x")
    seeds = [c.rows["seed"].nunique() - len(gone) for c, gone in zip(drawn, stopped, strict=True)]
    seeds = [count for count in seeds if count] or [0]
    lower = ["; ".join(notes)] if notes else []
    heading = {0: "every run diverged", 1: "one seed, no band"}.get(
        max(seeds), f"mean over {_count(seeds, 'seed')}"
    )
    _frame(axes, x_label, y_label, "\n".join([heading + (", band: min to max" if band else ""), *lower]))
    if floor is not None:
        axes.axhline(floor.at, color=_GREY, linewidth=0.8, linestyle=":", label="floor", zorder=1)
        halo = [Stroke(linewidth=2.5, foreground="white"), Normal()]
        where: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "path_effects": halo, "zorder": 6}
        axes.text(0.03, floor.at * 1.25, floor.text, fontsize=8, color=_GREY, va="bottom", **where)
    if np.isfinite(ceiling):
        axes.set_ylim(top=ceiling * (1.15 if log else 1.02))
    if log:
        _plain_log(axes, "y")
    elif metric.startswith("accuracy"):
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    if x == "round":
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        if all(len(line.x) == 1 for line in lines):
            axes.set_xlim(lines[0].x[0] - 1, lines[0].x[0] + 1)
    if not any(np.isfinite(line.mean).any() or line.stops for line in lines):
        axes.text(0.5, 0.5, "no finite value", transform=axes.transAxes, ha="center", color=_GREY)
    return stopped


def _line(curve: Curve, metric: str, x: str, gone: dict[int, int]) -> _Line:
    """Split a curve into the mean and band of its sound runs and its diverged runs."""
    y, across = curve.table(metric), curve.table(x) if x != "round" else None
    rounds = y.index.to_numpy(float)
    sound = [seed for seed in y if seed not in gone]
    good = y[sound].to_numpy(float)
    empty = np.full(len(y), np.nan)
    at = rounds if across is None else across[sound].to_numpy(float).mean(axis=1) if sound else empty
    mean, low, high = (
        (good.mean(axis=1), good.min(axis=1), good.max(axis=1)) if sound else (empty, empty, empty)
    )
    stops = []
    for seed, first in gone.items():
        values = y[seed].to_numpy(float)
        where = rounds if across is None else across[seed].to_numpy(float)
        stop = _cut(_Stop(where, values), np.isfinite(values) & np.isfinite(where) & (rounds < first))
        stops += [stop] if len(stop.x) else []
    return _Line(at, mean, low, high, stops)


def _draw(axes: Axes, curve: Curve, line: _Line, ceiling: float) -> bool:
    """Draw one curve; returns whether it has a band."""
    style: dict[str, Any] = {"color": curve.colour, "linestyle": curve.dashes}
    finite = int(np.isfinite(line.mean).sum())
    marker = curve.marker or ("o" if finite <= 1 else "")
    every = max(1, finite // 8)
    points: dict[str, Any] = {"marker": marker, "markevery": every, "ms": 5}
    axes.plot(line.x, line.mean, linewidth=1.9, label=curve.label, zorder=3, **style, **points)
    band = bool((line.high > line.low).any())
    if band and finite == 1:
        axes.vlines(line.x, line.low, line.high, colors=curve.colour, linewidth=4, alpha=0.3)
    elif band:
        axes.fill_between(line.x, line.low, line.high, color=curve.colour, alpha=0.2, linewidth=0, zorder=2)
    for stop in line.stops:
        y = np.minimum(stop.y, ceiling)
        axes.plot(stop.x, y, linewidth=0.9, label="_diverged", zorder=3, **style)
        cross: dict[str, Any] = {"marker": "X", "mec": "white", "mew": 0.8, "ms": 10, "clip_on": False}
        axes.plot(stop.x[-1:], y[-1:], color=curve.colour, label="_cross", zorder=5, **cross)
    return band


class _Floor(NamedTuple):
    """The line on a log axis that stands for zero, and what lies on it."""

    at: float
    text: str


def _scaled(
    lines: list[_Line], metric: str, labels: list[str]
) -> tuple[list[_Line], bool, _Floor | None, list[str]]:
    """Decide on a log axis, and lay what has no place on it on a floor: (lines, log, floor, notes)."""
    values = np.concatenate([np.zeros(0), *(a for line in lines for a in (line.low, line.high))])
    values = np.concatenate([values, *(stop.y for line in lines for stop in line.stops)])
    values = values[np.isfinite(values)]
    loss = "loss" in metric or metric == "objective"
    if not len(values) or not (loss or metric in _VANISHING) or (loss and values.min() <= 0):
        return lines, False, None, []
    if values.min() < -1e-6 * abs(values).max():  # truly negative, not rounding
        return lines, False, None, []
    notes = []
    if metric == "consensus" and all(len(line.x) > 1 and line.low[0] == 0 == line.high[0] for line in lines):
        lines = [_without_start(line) for line in lines]
        notes.append("starts at 0, not drawn")
    peaks = [_largest([line.high[1:] if len(line.x) > 1 else line.high]) for line in lines]
    rounding = _RELATIVE_ZERO * _largest([np.array(peaks)])
    gone = [metric == "consensus" and peak <= rounding for peak in peaks]
    below = [bool(g or (line.low <= 0).any()) for g, line in zip(gone, lines, strict=True)]
    if not any(below) and not any((stop.y <= 0).any() for line in lines for stop in line.stops):
        return lines, True, None, notes
    seen = [np.concatenate([line.low, *(stop.y for stop in line.stops)]) for line in lines]
    positive = np.concatenate([np.zeros(0), *(v[v > 0] for v, g in zip(seen, gone, strict=True) if not g)])
    at = 10.0 ** (math.floor(math.log10(positive.min())) - 1) if len(positive) else 1e-16
    lines = [
        line._replace(
            **{name: np.maximum(getattr(line, name), at) for name in ("mean", "low", "high")},
            stops=[stop._replace(y=np.maximum(stop.y, at)) for stop in line.stops],
        )
        for line in lines
    ]
    most = _largest([np.array([peak for peak, g in zip(peaks, gone, strict=True) if g])])
    names = "; ".join(label for label, b in zip(labels, below, strict=True) if b)
    size = f"at most {most:.0e}" if most > 0 else "0"
    return lines, True, _Floor(at, textwrap.fill(f"drawn on the dotted line: {size} ({names})", 64)), notes


def _without_start(line: _Line) -> _Line:
    """A line without its first evaluation."""
    blank = {name: np.r_[np.nan, getattr(line, name)[1:]] for name in ("mean", "low", "high")}
    return line._replace(**blank, stops=[_cut(stop, stop.x > line.x[0]) for stop in line.stops])


def _ceiling(lines: list[_Line], log: bool) -> float:
    """The largest value worth an axis when some runs blow up and others do not; infinite when none does."""
    sound = _largest([line.high for line in lines])
    first = _largest([stop.y[:1] for line in lines for stop in line.stops])
    worst = _largest([stop.y for line in lines for stop in line.stops])
    top = max(sound, first) * (10 if log else 1.5)
    return top if math.isfinite(sound) and math.isfinite(worst) and 0 < top < worst else math.inf


def _largest(arrays: Iterable[np.ndarray]) -> float:
    """The largest finite entry, or NaN when there is none."""
    values = np.concatenate([np.zeros(0), *arrays])
    values = values[np.isfinite(values)]
    return float(values.max()) if len(values) else math.nan


def _cut(stop: _Stop, keep: np.ndarray) -> _Stop:
    """The points that `keep` names."""
    return _Stop(stop.x[keep], stop.y[keep])


def _in_unit(lines: list[_Line], name: str, fields: tuple[str, ...]) -> tuple[list[_Line], str]:
    """Bring bits to bytes of a readable size; other metrics stay. Returns (lines, axis label)."""
    text = METRICS.get(name, name)
    if not name.startswith("bits"):
        return lines, text
    axis = "x" if fields == ("x",) else "y"
    stops = [getattr(stop, axis) for line in lines for stop in line.stops]
    largest = _largest([getattr(line, field) for line in lines for field in fields] + stops)
    unit, bits = _byte_unit(largest / 100 if axis == "x" else largest)  # across, the axis is logarithmic
    lines = [
        line._replace(
            **{field: getattr(line, field) / bits for field in fields},
            stops=[stop._replace(**{axis: getattr(stop, axis) / bits}) for stop in line.stops],
        )
        for line in lines
    ]
    return lines, text.replace("bits", unit, 1)


def _byte_unit(bits: float) -> tuple[str, float]:
    """The unit that keeps this many bits readable, and its size in bits."""
    for unit, size in (("GB", 8e9), ("MB", 8e6), ("kB", 8e3)):
        if bits >= size:
            return unit, size
    return "B", 8.0


# --- nodes, graphs and partitions ---


def _strip(axes: Axes, row: int, curve: Curve, edge: float) -> set[str]:
    """Draw the nodes of one curve in one row, none left of `edge`; returns the kinds of marks it used."""
    kinds, rng = set(), np.random.default_rng(row)
    seeds, dead = sorted(curve.nodes["seed"].unique()), curve.diverged()
    step = 0.66 / max(1, len(seeds))
    for place, seed in enumerate(seeds):
        values = curve.nodes.loc[curve.nodes["seed"] == seed, "accuracy"].to_numpy(float)
        height = row - 0.33 + step * (place + 0.5 + rng.uniform(-0.32, 0.32, len(values)))
        style: dict[str, Any] = {"s": float(np.clip(600 / max(1, len(values)), 4, 22)), "linewidths": 0}
        if seed in dead:
            style |= {"marker": "x", "linewidths": 1, "clip_on": False}
        label = f"{curve.label}, seed {seed}"
        axes.scatter(np.maximum(values, edge), height, color=curve.colour, alpha=0.6, label=label, **style)
        kinds.add("a node of a diverged run" if seed in dead else "a node")
    mean = _sound(curve, curve.nodes)["accuracy"].mean()
    if np.isfinite(mean):
        axes.plot([mean, mean], [row - 0.4, row + 0.4], color=_INK, linewidth=2, label=f"{curve.label}, mean")
        end = axes.get_yaxis_transform()
        axes.text(1.015, row, f"{mean:.1%}", transform=end, va="center", fontsize=9, color=_INK)
        kinds.add("mean over nodes")
    merged = _final(curve).get("accuracy_merged", math.nan)
    if np.isfinite(merged):
        hollow: dict[str, Any] = {"mfc": "white", "mec": _INK, "mew": 1.3, "ms": 6}
        axes.plot(merged, row, "D", zorder=4, label=f"{curve.label}, averaged model", **hollow)
        kinds.add("averaged model")
    return kinds


def _graphs(figure: Figure, panels: Sequence[Axes], drawn: Sequence[Curve], metric: str | None) -> None:
    """Draw one graph a panel, on one colour scale."""
    values = [_node_values(curve, metric) for curve in drawn]
    finite = np.concatenate([v[np.isfinite(v)] for v in values])
    low, high = (finite.min(), finite.max()) if len(finite) else (0.0, 1.0)
    pad = 0.0 if high > low else max(1e-3, 0.01 * abs(high))
    norm = Normalize(low - pad, high + pad)
    sound = []
    for axes, curve, value in zip(panels, drawn, values, strict=True):
        _graph_into(axes, curve, value, norm)
        seeds, dead = curve.rows["seed"].nunique(), len(curve.diverged())
        sound += [seeds - dead] if seeds > dead else []
        note = f"\n{dead} of {_count([seeds], 'seed')} diverged" if dead else ""
        axes.set_title(textwrap.fill(curve.label, 34) + note, fontsize=10, color=_INK)
    if len(finite) and metric:
        text = {"accuracy": "accuracy", "test_loss": "loss"}.get(metric, metric)
        mean = f", mean over {_count(sound, 'seed')}" if max(sound) > 1 else ""
        scale = ScalarMappable(norm, colormaps["viridis"])
        bar = figure.colorbar(scale, ax=list(panels), shrink=0.8, aspect=24, pad=0.02)
        _frame_bar(bar, f"node {text}{mean}")
        if metric == "accuracy":
            bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))


def _graph_into(axes: Axes, curve: Curve, values: np.ndarray, norm: Normalize) -> None:
    """Draw one graph: edges, then nodes with the colours of `values`, `[n]`; NaN is a hollow node."""
    n = len(values)
    edges = np.asarray(curve.result.edges, int).reshape(-1, 2)
    edges = edges[edges[:, 0] != edges[:, 1]]
    place = _layout(n, edges)
    strength = float(np.clip(4 * n / max(1, len(edges)), 0.2, 1)) * (1 if n <= 100 else 0.5)
    width = 0.9 if n <= 100 else 0.5
    axes.add_collection(LineCollection(place[edges], colors=_EDGE, lw=width, alpha=strength, zorder=1))
    area = float(np.clip(5_500 / n, 10, 240)) * _sizes(curve.nodes, n)
    hollow = ~np.isfinite(values)
    colours = colormaps["viridis"](norm(np.where(hollow, norm.vmin or 0, values)))
    colours[hollow] = (*to_rgb("white" if curve.diverged() else _COLOURS[0]), 1)
    rims = [_GREY if empty and curve.diverged() else "white" for empty in hollow]
    axes.scatter(place[:, 0], place[:, 1], area, colours, edgecolors=rims, linewidths=0.8, zorder=2)
    names: dict[str, Any] = {"ha": "center", "va": "center_baseline"}
    for node, (x, y) in enumerate(place if n <= 40 else []):
        dark = np.dot(colours[node, :3], (0.299, 0.587, 0.114)) < 0.6
        size = float(np.clip(0.5 * math.sqrt(area[node]), 4.5, 8))
        axes.text(x, y, str(node), size=size, color="white" if dark else "black", **names)
    axes.set_aspect("equal")
    axes.margins(0.09)
    axes.set_axis_off()


def _layout(n: int, edges: np.ndarray) -> np.ndarray:
    """Where nodes stand, `[n, 2]`: a circle for circulant graphs, springs for others; always the same."""
    shifted = {tuple(sorted(edge)) for edge in ((edges + 1) % n).tolist()}
    if n < 3 or shifted == {tuple(sorted(edge)) for edge in edges.tolist()}:
        angle = 2 * np.pi * np.arange(n) / n
        return np.stack([np.sin(angle), np.cos(angle)], axis=1)
    net = nx.Graph()
    net.add_nodes_from(range(n))
    net.add_edges_from(edges.tolist())
    if n <= 80:
        at = nx.kamada_kawai_layout(net)
    else:
        at = nx.spring_layout(net, seed=0, iterations=120, k=1.6 / math.sqrt(n))
    return np.array([at[node] for node in range(n)])


def _node_values(curve: Curve, metric: str | None) -> np.ndarray:
    """A node metric, mean over the sound runs: `[n]`, NaN where there is none."""
    n = size(curve.result)
    if n > MAX_NODES_DRAWN:
        raise ValueError(
            f"a graph is drawn up to {MAX_NODES_DRAWN} nodes and {curve.result.label!r} has {n}; "
            "accuracy_per_node and partition take any number"
        )
    out = np.full(n, np.nan)
    if metric is not None:
        _need(curve.nodes, metric, "node metric", curve.result.label)
        mean = _sound(curve, curve.nodes).groupby("node")[metric].mean()
        out[mean.index.to_numpy(int)] = mean.to_numpy(float)
    return np.where(np.isfinite(out), out, np.nan)


def _node_metric(drawn: Sequence[Curve]) -> str | None:
    """What colours the nodes: accuracy, else loss, else nothing."""
    return next((m for m in ("accuracy", "test_loss") if all(m in curve.nodes for curve in drawn)), None)


def _sizes(nodes: pd.DataFrame, n: int) -> np.ndarray:
    """Areas of nodes relative to their mean, `[n]`, from their samples, in 0.45 to 1.8."""
    samples = np.ones(n)
    if "samples" in nodes and nodes["samples"].sum() > 0:
        mean = nodes.groupby("node")["samples"].mean()
        samples[mean.index.to_numpy(int)] = mean.to_numpy(float)
    return np.clip(samples / samples.mean(), 0.45, 1.8)


def _bars(figure: Figure, axes: Axes, table: np.ndarray) -> None:
    """Draw `[n, classes]` counts as stacked bars with the colours of the classes."""
    n, classes = table.shape
    few = classes <= len(_CLASSES)
    colours = [
        _CLASSES[c] if few else to_hex(colormaps["viridis"](c / (classes - 1))) for c in range(classes)
    ]
    tops = np.cumsum(table, axis=1)
    for c in range(classes):
        base = tops[:, c] - table[:, c]
        if n <= 100:
            axes.bar(np.arange(n), table[:, c], 0.86, base, color=colours[c], label=f"class {c}")
        else:
            edge = np.arange(n + 1) - 0.5
            low, high = np.append(base, base[-1]), np.append(tops[:, c], tops[-1, c])
            axes.fill_between(edge, low, high, step="post", color=colours[c], lw=0, label=f"class {c}")
    _frame(axes, "node" if n <= 100 else f"node, 0 to {n - 1}", "training samples", "")
    axes.set_xlim(-0.6, n - 0.4)
    axes.set_ylim(0, 1.04 * max(1, int(tops[:, -1].max(initial=1))))
    axes.grid(visible=False, axis="x")
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    if few:
        handles = [Patch(color=colours[c], label=str(c)) for c in reversed(range(classes))]
        box: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.02), "frameon": False}
        box |= {"fontsize": 8.5, "title": "class", "title_fontsize": 9, "labelspacing": 0.25}
        axes.legend(handles=handles, **box)
    else:
        scale = ScalarMappable(Normalize(-0.5, classes - 0.5), ListedColormap(colours))
        bar = figure.colorbar(scale, ax=axes, pad=0.02, aspect=24)
        _frame_bar(bar, f"class, 0 to {classes - 1}")
        bar.ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))


# --- the frame around the data ---


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure on white with one set of axes, in inches."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    return figure, figure.subplots()


def _frame(axes: Axes, x_label: str, y_label: str, note: str) -> None:
    """Axis labels, a quiet grid, and the note over the axes."""
    axes.set_facecolor("white")
    axes.set_xlabel(textwrap.fill(_sentence(x_label), 60), fontsize=10, color=_INK)
    axes.set_ylabel(textwrap.fill(_sentence(y_label), 42), fontsize=10, color=_INK)
    axes.set_title(note, loc="left", fontsize=8.5, color=_GREY)
    axes.tick_params(labelsize=9, colors=_GREY, labelcolor=_INK, length=3, width=0.7)
    axes.grid(visible=True, color=_GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")


def _frame_bar(bar: Colorbar, label: str) -> None:
    """The label and the quiet ticks of a colour bar."""
    bar.set_label(label, fontsize=9, color=_INK)
    bar.ax.tick_params(labelsize=8.5, colors=_GREY, length=2)
    bar.outline.set_visible(False)


def _legend(figure: Figure, drawn: list[Curve], stopped: list[dict[int, int]]) -> int:
    """Put the legend below the axes; returns its number of rows."""
    handles = []
    for curve, gone in zip(drawn, stopped, strict=True):
        marker: dict[str, Any] = {"marker": curve.marker, "ms": 5}
        if gone:
            marker = {"marker": "X", "ms": 8, "mec": "white", "mew": 0.7}
        label = curve.label + _divergence(curve, gone)
        handles.append(Line2D([], [], color=curve.colour, ls=curve.dashes, lw=1.9, label=label, **marker))
    inches = np.array([0.75 + 0.075 * len(str(handle.get_label())) for handle in handles])
    groups = len({curve.colour for curve in drawn})  # a column a colour where that comes out even
    choices = [groups] if 1 < groups < len(handles) and len(handles) % groups == 0 else []
    choices += range(len(handles), 0, -1)
    width = {k: sum(part.max() for part in np.array_split(inches, k)) for k in choices}
    columns = next((k for k in choices if width[k] <= figure.get_figwidth()), 1)
    rows = math.ceil(len(handles) / columns)
    columns = math.ceil(len(handles) / rows)
    box: dict[str, Any] = {"frameon": False, "fontsize": 9, "handlelength": 3.2}
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, **box)
    return rows


def _divergence(curve: Curve, gone: dict[int, int]) -> str:
    """What a label adds for diverged runs, such as " (1 of 3 diverged, round 120)"."""
    if not gone:
        return ""
    first, last = min(gone.values()), max(gone.values())
    when = f"round {first}" if first == last else f"rounds {first}–{last}"
    return f" ({len(gone)} of {curve.rows['seed'].nunique()} diverged, {when})"


def _plain_log(axes: Axes, which: str) -> None:
    """Write plain numbers on a log axis that spans little, where powers of ten alone would leave it bare."""
    low, high = axes.get_ylim() if which == "y" else axes.get_xlim()
    axis = axes.yaxis if which == "y" else axes.xaxis
    decades = math.log10(high / low)
    if decades < 2:
        dense = tuple(np.arange(1.0, 10.0, 0.5 if decades < 0.35 else 1.0))
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades > 0.7 else dense, numticks=20))
        axis.set_minor_formatter(NullFormatter())
    if low >= 1e-3 and high <= 1e5:
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _count(counts: Sequence[int], noun: str) -> str:
    """A number with its noun, or a range: "3 seeds", "1 to 3 seeds"."""
    low, high = min(counts), max(counts)
    return f"{low} to {high} {noun}s" if low < high else f"{low} {noun}{'' if low == 1 else 's'}"


def _sentence(text: str) -> str:
    """The text with a capital, unless it opens with a formula or a unit: f(x), kB."""
    word = text[:2].isalpha() and text[:2].islower()
    return text[:1].upper() + text[1:] if word else text


def _shorten(labels: list[str]) -> str:
    """A few labels in one line."""
    return "; ".join(labels[:3]) + (f" and {len(labels) - 3} more" if len(labels) > 3 else "")


# --- tables and styles ---


def _listed(results: Result | Sequence[Result]) -> list[Result]:
    """A list of results, each with rows."""
    out = [results] if isinstance(results, Result) else list(results)
    if not out:
        raise ValueError("no results to draw")
    for result in out:
        if not result.rows:
            raise ValueError(f"{result.label!r} has no rows; there is nothing to draw")
    return out


def _need(table: pd.DataFrame, column: str, what: str, label: str) -> None:
    """Check that a table has a column."""
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


def _sound(curve: Curve, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the runs that did not diverge."""
    return table[~table["seed"].isin(list(curve.diverged()))]


def _final(curve: Curve) -> dict[str, float]:
    """The last value of every metric, mean over the sound runs."""
    last = _sound(curve, curve.rows).sort_values("round").groupby("seed").tail(1)
    return {str(name): float(last[name].mean()) for name in last if name in METRICS}


def _settings(swept: dict[Any, Any]) -> list[str]:
    """Swept values for a label: the last word of every path, or the whole path where that is ambiguous."""
    words = [str(path).rpartition(".")[2] for path in swept]
    names = [word if words.count(word) == 1 else str(path) for word, path in zip(words, swept, strict=True)]
    values = [f"{value:g}" if isinstance(value, float) else str(value) for value in swept.values()]
    return [f"{name}={value}" for name, value in zip(names, values, strict=True)]


def _styles(labels: list[str]) -> list[tuple[str, Any]]:
    """Colour and dashes of every label; by its two halves when all read "algorithm, graph"."""
    halves = [label.partition(", ")[::2] for label in labels]
    first, second = (list(dict.fromkeys(half[i] for half in halves)) for i in (0, 1))
    if all(b for _, b in halves) and 1 < len(first) <= len(_COLOURS) and len(second) <= len(_DASHES):
        return [(_COLOURS[first.index(a)], _DASHES[second.index(b)]) for a, b in halves]
    return [(_COLOURS[i % len(_COLOURS)], _DASHES[i % len(_DASHES)]) for i in range(len(labels))]


def _lighter(colour: str, share: float) -> str:
    """A colour mixed with a share of white."""
    red, green, blue = (c + share * (1 - c) for c in to_rgb(colour))
    return to_hex((red, green, blue))
