"""The nodes one by one: the final accuracy of each, and the samples that each holds."""

import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter

from dlax.plots.curve import Curve, Results, curves, listed, need
from dlax.plots.style import GREY, INK, blank, count, frame, frame_bar
from dlax.results import Result

_MARKS: dict[str, dict[str, Any]] = {
    "a node": {"marker": "o", "color": GREY, "ms": 4},
    "a node of a diverged run": {"marker": "x", "color": GREY, "ms": 5},
    "mean over nodes": {"marker": "|", "color": INK, "ms": 11, "mew": 2},
    "averaged model": {"marker": "D", "mfc": "white", "mec": INK, "mew": 1.3, "ms": 6},
}
# Tol's muted scheme: ten classes that stay apart for every kind of colour vision
_CLASSES = (
    *("#332288", "#88CCEE", "#44AA99", "#117733", "#999933"),
    *("#DDCC77", "#CC6677", "#882255", "#AA4499", "#BBBBBB"),
)


def accuracy_per_node(results: Results) -> Figure:
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
        need(curve.nodes, "accuracy", "node metric", curve.result.label)
    figure, (axes,) = blank(7.2, 1.5 + 0.52 * len(drawn))
    sound = pd.concat([curve.sound(curve.nodes)["accuracy"] for curve in drawn]).dropna()
    edge = float(1.1 * sound.min() - 0.1 * sound.max() - 0.005) if len(sound) else 0.0
    beyond = any((curve.nodes["accuracy"] < edge).any() for curve in drawn)
    for row, curve in enumerate(drawn):
        _strip(axes, row, curve, edge)
    note = f"one row of points a seed ({count([c.nodes['seed'].nunique() for c in drawn], 'seed')})"
    note += "; mean at the right" + ("\ncrosses on the left edge are beyond it" if beyond else "")
    frame(axes, "held-out accuracy at the end", "", note)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    labels = [textwrap.fill(c.label, 34) + c.note(c.diverged()).replace(" (", "\n(") for c in drawn]
    axes.set_yticks(range(len(drawn)), labels)
    axes.set_ylim(len(drawn) - 0.45, -0.55)
    if beyond:
        axes.set_xlim(left=edge)
    axes.grid(visible=False, axis="y")
    handles = [Line2D([], [], ls="", label=name, **look) for name, look in _MARKS.items()]
    if not any(curve.diverged() for curve in drawn):
        del handles[1]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def partition(results: Results) -> Figure:
    """Draw who holds what: the training samples of every node, stacked by class.

    Args:
      results: one result or several; those that share a partition share a panel.

    Returns:
      The figure. More than 100 nodes are drawn as one area, more than 10 classes get a colour bar.

    Raises:
      ValueError: if no result has a partition.
    """
    groups: dict[str, list[Result]] = {}
    for result in listed(results):
        if result.partition is not None:
            groups.setdefault(str(result.partition.tolist()), []).append(result)
    if not groups:
        raise ValueError("no result has a partition; there is none without labels")
    figure, panels = blank(7.2, 0.6 + 3.4 * len(groups), len(groups))
    for axes, group in zip(panels, groups.values(), strict=True):
        draw_partition(figure, axes, np.asarray(group[0].partition))
        if len(groups) > 1:
            more = f" and {len(group) - 3} more" if len(group) > 3 else ""
            names = "; ".join(result.label for result in group[:3])
            axes.set_title(names + more, loc="left", fontsize=10, color=INK)
    return figure


def draw_partition(figure: Figure, axes: Axes, table: np.ndarray) -> None:
    """Draw `[n, classes]` counts as stacked bars, or as one area when n is above 100."""
    n, classes = table.shape
    few = classes <= len(_CLASSES)
    colours = _CLASSES[:classes] if few else colormaps["viridis"](np.linspace(0, 1, classes))
    nodes, tops = np.arange(n), np.cumsum(table, axis=1)
    for c in range(classes):
        base, label = tops[:, c] - table[:, c], f"class {c}"
        if n <= 100:
            axes.bar(nodes, table[:, c], 0.86, base, color=colours[c], label=label)
        else:
            axes.fill_between(nodes, base, tops[:, c], step="mid", color=colours[c], lw=0, label=label)
    frame(axes, "node" if n <= 100 else f"node, 0 to {n - 1}", "training samples")
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
        frame_bar(bar, f"class, 0 to {classes - 1}")
        bar.ax.yaxis.set_major_locator(MaxNLocator(6, integer=True))


def _strip(axes: Axes, row: int, curve: Curve, edge: float) -> None:
    """Draw the nodes of one curve in one row, none left of `edge`."""
    rng, seeds, dead = np.random.default_rng(row), curve.nodes["seed"].unique(), curve.diverged()
    step = 0.66 / max(1, len(seeds))
    for place, seed in enumerate(seeds):
        values = curve.nodes.loc[curve.nodes["seed"] == seed, "accuracy"].to_numpy(float)
        height = row - 0.33 + step * (place + 0.5 + rng.uniform(-0.32, 0.32, len(values)))
        style: dict[str, Any] = {"s": float(np.clip(600 / max(1, len(values)), 4, 22)), "linewidths": 0}
        if seed in dead:
            style |= {"marker": "x", "linewidths": 1, "clip_on": False}
        label = f"{curve.label}, seed {seed}"
        axes.scatter(np.maximum(values, edge), height, color=curve.colour, alpha=0.6, label=label, **style)
    mean = curve.sound(curve.nodes)["accuracy"].mean()
    if np.isfinite(mean):
        axes.plot([mean, mean], [row - 0.4, row + 0.4], color=INK, linewidth=2, label=f"{curve.label}, mean")
        end = axes.get_yaxis_transform()
        axes.text(1.015, row, f"{mean:.1%}", transform=end, va="center", fontsize=9, color=INK)
    if "accuracy_merged" in curve.rows:
        final = curve.sound(curve.rows).sort_values("round").groupby("seed").tail(1)["accuracy_merged"]
        look = {"ls": "", "zorder": 4, **_MARKS["averaged model"]}
        axes.plot(final.mean(), row, label=f"{curve.label}, averaged model", **look)
