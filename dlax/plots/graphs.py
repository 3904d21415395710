"""The graph, with its nodes coloured by what they reached."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from dlax.plots.curve import Curve, Results, curves, need
from dlax.plots.style import COLOURS, EDGE, GREY, INK, blank, count, frame_bar
from dlax.results import Result

MAX_NODES_DRAWN = 400  # a larger graph is a blot
MAX_PANELS = 12  # graphs in one picture


def graph(results: Results, metric: str | None = None) -> Figure:
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
      ValueError: if there is nothing to draw, no result has edges, the graph has more than `MAX_NODES_DRAWN`
        nodes, or a result has no such metric.
    """
    drawn = [curve for curve in curves(results) if len(curve.result.edges)]
    if not drawn:
        raise ValueError("no result has a graph; clients of a server have none")
    shown = drawn[:MAX_PANELS]
    columns = min(4, len(shown))
    rows = math.ceil(len(shown) / columns)
    side = 3.4 if len(shown) > 1 else 4.6
    figure, panels = blank(1.2 + side * columns, (side + 0.2) * rows, rows, columns)
    draw_graphs(figure, panels[: len(shown)], shown, metric)
    for empty in panels[len(shown) :]:
        empty.set_axis_off()
    if len(shown) < len(drawn):
        figure.suptitle(f"the first {len(shown)} of {len(drawn)}", fontsize=9, color=GREY)
    return figure


def size(result: Result) -> int:
    """Count the nodes of a result.

    Args:
      result: one result.

    Returns:
      n, from its config, or its partition, per-node table and edges.
    """
    if "nodes" in result.config:
        return int(result.config["nodes"])
    table = 0 if result.partition is None else len(result.partition)
    last = int(np.max(result.edges, initial=-1))
    return max([table, last + 1, *(int(row["node"]) + 1 for row in result.nodes)])


def draw_graphs(
    figure: Figure, panels: Sequence[Axes], drawn: Sequence[Curve], metric: str | None = None
) -> None:
    """Draw one graph a panel, on one colour scale; arguments as for `graph`."""
    if metric is None:
        metric = next(
            (m for m in ("accuracy", "test_loss") if all(m in curve.nodes for curve in drawn)), None
        )
    values = [_node_values(curve, metric) for curve in drawn]
    finite = np.concatenate([v[np.isfinite(v)] for v in values])
    low, high = (finite.min(), finite.max()) if len(finite) else (0.0, 1.0)
    pad = 0.0 if high > low else max(1e-3, 0.01 * abs(high))
    norm = Normalize(low - pad, high + pad)
    for axes, curve, value in zip(panels, drawn, values, strict=True):
        _draw(axes, curve, value, norm)
        dead = len(curve.diverged())
        note = f"\n{dead} of {count([curve.seeds()], 'seed')} diverged" if dead else ""
        axes.set_title(textwrap.fill(curve.label, 34) + note, fontsize=10, color=INK)
    if len(finite) and metric:
        sound = [curve.seeds() - len(curve.diverged()) for curve in drawn]
        sound = [number for number in sound if number]
        text = {"accuracy": "accuracy", "test_loss": "loss"}.get(metric, metric)
        mean = f", mean over {count(sound, 'seed')}" if max(sound) > 1 else ""
        scale = ScalarMappable(norm, colormaps["viridis"])
        bar = figure.colorbar(scale, ax=list(panels), shrink=0.8, aspect=24, pad=0.02)
        frame_bar(bar, f"node {text}{mean}")
        if metric == "accuracy":
            bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))


def _draw(axes: Axes, curve: Curve, values: np.ndarray, norm: Normalize) -> None:
    """Draw one graph: edges, then nodes with the colours of `values`, `[n]`; NaN is a plain or hollow node."""
    n, dead = len(values), bool(curve.diverged())
    edges = np.asarray(curve.result.edges, int).reshape(-1, 2)
    edges = edges[edges[:, 0] != edges[:, 1]]
    place = layout(n, edges)
    faint = float(np.clip(4 * n / max(1, len(edges)), 0.2, 1))
    width = 0.9 if n <= 100 else 0.5
    axes.add_collection(LineCollection(place[edges], colors=EDGE, lw=width, alpha=faint, zorder=1))
    area = float(np.clip(5_500 / n, 10, 240)) * _sizes(curve.nodes, n)
    empty = ~np.isfinite(values)
    colours = colormaps["viridis"](norm(np.where(empty, norm.vmin or 0, values)))
    colours[empty, :3] = to_rgb("white" if dead else COLOURS[0])
    rims = [GREY if hollow else "white" for hollow in empty & dead]
    axes.scatter(place[:, 0], place[:, 1], area, colours, edgecolors=rims, linewidths=0.8, zorder=2)
    names: dict[str, Any] = {"ha": "center", "va": "center_baseline"}
    for node, (x, y) in enumerate(place if n <= 40 else []):
        dark = np.dot(colours[node, :3], (0.299, 0.587, 0.114)) < 0.6
        points = float(np.clip(0.5 * math.sqrt(area[node]), 4.5, 8))
        axes.text(x, y, str(node), size=points, color="white" if dark else "black", **names)
    axes.set_aspect("equal")
    axes.margins(0.09)
    axes.set_axis_off()


def layout(n: int, edges: np.ndarray) -> np.ndarray:
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
    if metric is None:
        return np.full(n, np.nan)
    need(curve.nodes, metric, "node metric", curve.result.label)
    mean = curve.sound(curve.nodes).groupby("node")[metric].mean()
    return mean.reindex(range(n)).replace([np.inf, -np.inf], np.nan).to_numpy(float)


def _sizes(nodes: pd.DataFrame, n: int) -> np.ndarray:
    """Areas of nodes relative to their mean, `[n]`, from their samples, in 0.45 to 1.8."""
    if "samples" not in nodes or nodes["samples"].sum() == 0:
        return np.ones(n)
    samples = nodes.groupby("node")["samples"].mean().reindex(range(n), fill_value=1)
    return np.clip(samples / samples.mean(), 0.45, 1.8).to_numpy(float)
