"""A topology by itself: who hears whom, and the spectrum that says how fast it averages."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch

from dlax.plots.graphs import MAX_NODES_DRAWN, layout
from dlax.plots.style import COLOURS, DASHES, EDGE, GREY, INK, blank, frame
from dlax.topology import Topology

_MOST_ROUNDS = 4  # graphs of a sequence drawn side by side
_MOST_ARROWS = 400  # edges; with more, arrowheads cover the lines
_MOST_NODES = 2_000  # for a whole spectrum


def topology_picture(topology: Topology) -> Figure:
    """Draw the graph of a topology and its spectrum.

    A sequence shows its first rounds, at most four, and how far a run of rounds contracts instead of a
    spectrum. A drawn topology shows its union and the spectrum of E[W].

    Args:
      topology: with at most 2,000 nodes; above 400 nodes the graph is left out.

    Returns:
      The figure.

    Raises:
      ValueError: if there are too many nodes for either.
    """
    if topology.n > _MOST_NODES:
        raise ValueError(
            f"a topology is drawn up to {_MOST_NODES:,} nodes, and {topology.name!r} has {topology.n:,}"
        )
    drawn = min(topology.period, _MOST_ROUNDS) if topology.n <= MAX_NODES_DRAWN else 0
    figure, panels = blank(4.0 * (drawn + 1) + 0.6, 4.2, 1, drawn + 1)
    if topology.period > 1:  # rounds are easier to compare on a circle
        angle = 2 * np.pi * np.arange(topology.n) / topology.n
        place = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    elif drawn:
        place = layout(topology.n, topology.edges)
    for t, axes in enumerate(panels[:drawn]):
        draw_graph(axes, topology.dense(t), place)
        title = f"{topology.name}, n = {topology.n}" if t == 0 else ""
        if topology.period > 1:
            title = f"{title}, round 0 of {topology.period}" if t == 0 else f"round {t}"
        elif topology.order == "drawn":
            title += ": all edges that may be drawn"
        axes.set_title(title, loc="left", fontsize=9, color=INK)
    if topology.period > 1:
        _draw_contraction(panels[-1], topology)
    else:
        _draw_spectrum(panels[-1], topology)
    return figure


def draw_graph(axes: Axes, W: np.ndarray, place: np.ndarray) -> None:
    """Draw nodes at `place` `[n, 2]` and an edge wherever W `[n, n]` has a weight, arrows where one-sided."""
    n = len(W)
    receiver, sender = np.nonzero(W)
    both = (W[sender, receiver] != 0) & (sender < receiver)
    one_sided = (W[sender, receiver] == 0) & (sender != receiver)
    count = int(both.sum() + one_sided.sum())
    faint = float(np.clip(4 * n / max(1, count), 0.2, 1))
    width = 0.9 if n <= 100 else 0.5
    straight = both if one_sided.sum() <= _MOST_ARROWS else both | one_sided
    lines = np.stack([place[sender[straight]], place[receiver[straight]]], axis=1)
    axes.add_collection(LineCollection(list(lines), colors=EDGE, lw=width, alpha=faint, zorder=1))
    area = float(np.clip(5_500 / n, 8, 160))
    if one_sided.sum() <= _MOST_ARROWS:
        for i, j in zip(sender[one_sided], receiver[one_sided], strict=True):
            shrink = np.sqrt(area) / 2
            axes.add_patch(
                FancyArrowPatch(
                    place[i], place[j], arrowstyle="-|>", mutation_scale=7, shrinkA=shrink, shrinkB=shrink,
                    color=EDGE, lw=width, alpha=max(faint, 0.5), zorder=1,
                )
            )  # fmt: skip
    axes.scatter(place[:, 0], place[:, 1], area, COLOURS[0], edgecolors="white", linewidths=0.8, zorder=2)
    axes.set_aspect("equal")
    axes.margins(0.09)
    axes.set_axis_off()


def _draw_spectrum(axes: Axes, topology: Topology) -> None:
    W = topology.dense()
    rho = 1.0 - topology.spectral_gap
    what = "E[W]" if topology.order == "drawn" else "W"
    if np.allclose(W, W.T, atol=1e-9):
        values = np.linalg.eigvalsh(W)[::-1]
        size = float(np.clip(600 / topology.n, 4, 30))
        axes.scatter(np.arange(1, topology.n + 1), values, size, COLOURS[0], zorder=3)
        if topology.order != "drawn":
            for level in (rho, -rho)[: 1 + (values[-1] < 0)]:
                axes.axhline(level, color=COLOURS[1], lw=1, ls=DASHES[1], zorder=2)
        dashed = "" if topology.order == "drawn" else f", dashed: {'±' if values[-1] < 0 else ''}ρ"
        note = f"gap 1 − ρ = {1 - rho:.4g}{dashed}"
        frame(axes, "rank", f"eigenvalue of {what}", note)
        low = min(values[-1], -rho) if values[-1] < 0 and topology.order != "drawn" else min(values[-1], 0)
        axes.set_ylim(low - 0.05, 1.05)
        return
    values = np.linalg.eigvals(W)
    axes.add_patch(Circle((0, 0), 1, fill=False, color=GREY, lw=0.8))
    axes.add_patch(Circle((0, 0), rho, fill=False, color=COLOURS[1], lw=1, ls="--"))
    axes.scatter(values.real, values.imag, 16, COLOURS[0], zorder=3)
    axes.set_aspect("equal")
    axes.set_xlim(-1.1, 1.1)
    axes.set_ylim(-1.1, 1.1)
    axes.set_xticks([-1, -0.5, 0, 0.5, 1])
    axes.set_yticks([-1, -0.5, 0, 0.5, 1])
    note = f"gap 1 − ρ = {1 - rho:.4g}, dashed: |λ| = ρ"
    frame(
        axes,
        f"real part of the eigenvalues of {what}",
        "imaginary part",
        f"gap 1 − ρ = {1 - rho:.4g}, dashed: |λ| = ρ",
    )


def _draw_contraction(axes: Axes, topology: Topology) -> None:
    """How far the first t rounds shrink the worst start, over two periods."""
    n = topology.n
    rounds = min(2 * topology.period, 40)
    product, norms = np.eye(n), [1.0]
    for t in range(rounds):
        product = topology.matrices[t % topology.period] @ product
        norms.append(float(np.linalg.norm(product - product.mean(axis=0), 2)))
    floor = 1e-16
    axes.semilogy(np.maximum(norms, floor), "o-", color=COLOURS[0], lw=1, markersize=4)
    order = "in turn" if topology.order == "cyclic" else "in the order of the list"
    frame(axes, "round t", "worst contraction of the first t rounds", f"period {topology.period}, {order}")
