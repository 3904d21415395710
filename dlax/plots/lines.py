"""Metrics as lines: learning curves, distance to consensus, what is reached for the bits sent."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import MaxNLocator, PercentFormatter

from dlax.plots.curve import Curve, Results, curves, main_axis, main_metric, need
from dlax.plots.scale import Line, ceiling, is_log, lay_floor, split, unit
from dlax.plots.style import GREY, blank, count, frame, plain_log


def learning_curves(results: Results, metric: str | None = None, x: str | None = None) -> Figure:
    """Draw a metric against rounds, time or bits.

    Lines are means over seeds, bands go from the smallest to the largest seed, crosses end diverged runs.
    Losses are on a log axis when they are positive; so are distances and gaps, whose zeros lie on a floor
    that is drawn and noted.

    Args:
      results: one result or several, one line each and a line for every swept value.
      metric: a column of the tidy table. Default: `main_metric`.
      x: the column across, such as "round", "time" or "bits_node". Default: `main_axis`.

    Returns:
      The figure.

    Raises:
      ValueError: if there is nothing to draw, or a result has no such metric.
    """
    drawn = curves(results)
    figure, (axes,) = blank(7.2, 4.1)
    stopped = draw_curves(axes, drawn, metric or main_metric(results), x or main_axis(results))
    rows = legend(figure, drawn, stopped)
    figure.set_figheight(4.1 + 0.21 * rows)
    return figure


def consensus(results: Results) -> Figure:
    """Draw `learning_curves` of the distance to consensus, on a log axis.

    A result whose distance is zero, or rounding beside that of the others (a complete graph), lies on a floor
    one decade below them, which is drawn and noted.
    """
    return learning_curves(results, "consensus")


def accuracy_against_bits(results: Results, metric: str | None = None) -> Figure:
    """Draw `learning_curves` against the megabytes that a node has sent, on a log axis.

    Evaluations before the first message are left out.
    """
    return learning_curves(results, metric, "bits_node")


def accuracy_against_time(results: Results, metric: str | None = None) -> Figure:
    """Draw `learning_curves` against simulated time: what a reader takes a time to accuracy from."""
    return learning_curves(results, metric, "time")


def draw_curves(axes: Axes, drawn: Sequence[Curve], metric: str, x: str = "round") -> list[dict[int, int]]:
    """Draw the curves of one metric; returns what diverged, per curve, as `Curve.diverged` says it."""
    for curve in drawn:
        need(curve.rows, metric, "metric", curve.result.label)
        need(curve.rows, x, "x", curve.result.label)
    (x_unit, x_label), (y_unit, y_label) = unit(x), unit(metric)
    across = [curve.table(x) / x_unit for curve in drawn]
    if x.startswith("bits"):  # nothing sent has no logarithm
        across = [table.where(table > 0) for table in across]
    values = [curve.table(metric) / y_unit for curve in drawn]
    notes = []
    if metric == "consensus" and all(len(table) > 1 and not table.iloc[0].any() for table in values):
        values = [table.iloc[1:].reindex(table.index) for table in values]
        notes.append("starts at 0, not drawn")
    stopped = [curve.diverged(metric) for curve in drawn]
    lines = [split(*parts) for parts in zip(across, values, stopped, strict=True)]
    log, floor = is_log(lines, metric), None
    if log:
        lines, floor = lay_floor(lines, [curve.label for curve in drawn], metric)
    top = ceiling(lines, log)
    if any((y > top).any() for line in lines for _, y in line.stops):
        notes.append("crosses on the upper edge are beyond it")
    for curve, line in zip(drawn, lines, strict=True):
        _draw(axes, curve, line, top)

    seeds = [curve.seeds() - len(gone) for curve, gone in zip(drawn, stopped, strict=True)]
    seeds = [number for number in seeds if number] or [0]
    few = {0: "every run diverged", 1: "one seed, no band"}
    heading = few.get(max(seeds), f"mean over {count(seeds, 'seed')}")
    heading += ", band: min to max" if any(_banded(line) for line in lines) else ""
    frame(axes, x_label, y_label, "\n".join([heading, "; ".join(notes)]).rstrip())
    if x.startswith("bits"):
        axes.set_xscale("log")
        plain_log(axes.xaxis)
    if log:
        axes.set_yscale("log")
    if floor:
        _draw_floor(axes, *floor)
    if math.isfinite(top):
        axes.set_ylim(top=top * (1.15 if log else 1.02))
    if log:
        plain_log(axes.yaxis)
    elif metric.startswith("accuracy"):
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    if x == "round":
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        if all(len(line.x) == 1 for line in lines):
            axes.set_xlim(lines[0].x[0] - 1, lines[0].x[0] + 1)
    if not any(np.isfinite(line.mean).any() or line.stops for line in lines):
        axes.text(0.5, 0.5, "no finite value", transform=axes.transAxes, ha="center", color=GREY)
    return stopped


def legend(figure: Figure, drawn: Sequence[Curve], stopped: Sequence[dict[int, int]]) -> int:
    """Put the legend below the axes, with what diverged as `draw_curves` returns it; returns its rows."""
    handles, inches = [], []
    for curve, gone in zip(drawn, stopped, strict=True):
        marker: dict[str, Any] = {"marker": curve.marker, "ms": 5}
        if gone:
            marker = {"marker": "X", "ms": 8, "mec": "white", "mew": 0.7}
        label = curve.label + curve.note(gone)
        handles.append(Line2D([], [], color=curve.colour, ls=curve.dashes, lw=1.9, label=label, **marker))
        inches.append(0.75 + 0.075 * len(label))
    groups = len({curve.colour for curve in drawn})  # a column a colour where that comes out even
    choices = [*([groups] if len(drawn) % groups == 0 else []), *range(len(drawn), 0, -1)]
    wide = {k: sum(map(max, np.array_split(inches, k))) for k in choices}
    columns = next((k for k in choices if wide[k] <= figure.get_figwidth()), 1)
    rows = math.ceil(len(handles) / columns)
    columns = math.ceil(len(handles) / rows)
    box: dict[str, Any] = {"frameon": False, "fontsize": 9, "handlelength": 3.2}
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, **box)
    return rows


def _draw(axes: Axes, curve: Curve, line: Line, top: float) -> None:
    """Draw one curve, its diverged runs no higher than `top`."""
    style: dict[str, Any] = {"color": curve.colour, "linestyle": curve.dashes, "zorder": 3}
    finite = int(np.isfinite(line.mean).sum())
    marker = curve.marker or ("o" if finite <= 1 else "")
    points: dict[str, Any] = {"marker": marker, "markevery": max(1, finite // 8), "ms": 5}
    axes.plot(line.x, line.mean, linewidth=1.9, label=curve.label, **style, **points)
    if finite == 1:
        axes.vlines(line.x, line.band[0], line.band[1], colors=curve.colour, linewidth=4, alpha=0.3)
    elif _banded(line):
        axes.fill_between(line.x, *line.band, color=curve.colour, alpha=0.2, linewidth=0, zorder=2)
    cross: dict[str, Any] = {"marker": "X", "mec": "white", "mew": 0.8, "ms": 10, "clip_on": False}
    for x, y in line.stops:
        y = np.minimum(y, top)
        axes.plot(x, y, linewidth=0.9, label="_diverged", **style)
        axes.plot(x[-1:], y[-1:], color=curve.colour, label="_cross", **cross, zorder=5)


def _banded(line: Line) -> bool:
    """Whether the sound runs differ."""
    return bool((line.band[0] < line.band[1]).any())


def _draw_floor(axes: Axes, at: float, text: str) -> None:
    """Draw the line that stands for zero on a log axis, and say what lies on it."""
    axes.axhline(at, color=GREY, linewidth=0.8, linestyle=":", label="floor", zorder=1)
    halo = [Stroke(linewidth=2.5, foreground="white"), Normal()]
    where: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "path_effects": halo, "zorder": 6}
    axes.text(0.03, at * 1.25, text, fontsize=8, color=GREY, va="bottom", **where)
