"""A sweep as a heat map: one cell a combination of its settings."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dlax.ablation import Ablation, ablation
from dlax.plots.scale import unit
from dlax.plots.style import COLOURS, GREY, INK, blank, frame_bar
from dlax.results import Result

_MOST_CELLS = 400


def heat_map(results: "Sequence[Result] | Ablation", metric: str | None = None) -> Figure:
    """Draw a metric at the end of every combination of a sweep, each cell with its number.

    Rows are combinations of all factors but one, which goes across; darker is better. The best cell of a row is
    framed, of a column where what goes across is the attacker's choice. A cell is the mean over seeds at the best
    swept value; a star says that some swept value diverged.

    Args:
      results: the results of a sweep, or `dlax.ablation.ablation` of them with choices of your own.
      metric: what to draw; default as in `ablation`.

    Returns:
      The figure.

    Raises:
      ValueError: if the results differ in nothing, or make more than 400 cells.
    """
    table = results if isinstance(results, Ablation) else ablation(results, metric=metric)
    mean, best = table.mean, table.best.to_numpy()
    if mean.size > _MOST_CELLS:
        raise ValueError(f"heat_map: draws at most {_MOST_CELLS} cells, got {mean.size}")
    rows, columns = mean.shape
    rivals = rows if table.given else columns
    labels = [
        ", ".join(_word(name, value) for name, value in zip(mean.index.names, row, strict=True))
        for row in mean.index
    ]
    percent = table.metric.startswith(("accuracy", "attack_success"))
    values = mean.to_numpy() * (100 if percent else 1)
    height, width = 0.34 * rows + 1.7, 1.15 * columns + 0.085 * max(map(len, labels)) + 1.9
    figure, (axes,) = blank(max(width, 4.0), max(height, 2.4))
    shown = values if table.maximise or not (values[np.isfinite(values)] > 0).all() else np.log10(values)
    order = shown if table.maximise else -shown
    image = axes.imshow(order, cmap="YlGnBu", aspect="auto")
    low, high = image.get_clim()
    for r in range(rows):
        for c in range(columns):
            text = f"{values[r, c]:.1f}" if percent else f"{values[r, c]:.2g}"
            text = text if np.isfinite(values[r, c]) else "diverged"
            text += "*" if table.diverged.iloc[r, c] and np.isfinite(values[r, c]) else ""
            dark = np.isfinite(order[r, c]) and order[r, c] > low + 0.55 * (high - low)
            axes.text(c, r, text, ha="center", va="center", fontsize=8.5, color="white" if dark else INK)
            if best[r, c] and rivals > 1:
                box = Rectangle((c - 0.47, r - 0.44), 0.94, 0.88, fill=False, edgecolor=COLOURS[1], lw=1.8)
                axes.add_patch(box)
    axes.set_xticks(range(columns), [_plain(value) for value in mean.columns], fontsize=9, color=INK)
    if max(len(str(value)) for value in mean.columns) > 12:
        axes.tick_params(axis="x", rotation=20)
    axes.set_yticks(range(rows), labels, fontsize=9, color=INK)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    what = unit(table.metric)[1] + (", %" if percent else "")
    axes.set_xlabel(str(mean.columns.name).replace("_", " "), fontsize=10, color=INK)
    note = f"mean over {table.seeds} seeds" if table.seeds > 1 else "one seed"
    chosen = {name for cell in table.chosen.to_numpy().ravel() if isinstance(cell, dict) for name in cell}
    for who in ("best", "the attack's worst"):
        mine = sorted(n.rpartition(".")[2] for n in chosen if (who == "best") != n.startswith("attack."))
        note += f", {who} {' and '.join(mine)}" if mine else ""
    note += f"; frame: best of the {'column' if table.given else 'row'}" if rivals > 1 else ""
    note += "; *: diverged for another value" if table.diverged.to_numpy().any() else ""
    axes.set_title(textwrap.fill(note, int(14 * columns + 10)), loc="left", fontsize=8.5, color=GREY)
    bar = figure.colorbar(image, ax=axes, fraction=0.05, pad=0.02)
    frame_bar(bar, what if table.maximise else f"{what}: darker is less")
    if not table.maximise:
        bar.set_ticks([])
    return figure


def _word(name: str, value: object) -> str:
    """A row's setting: a spec by its name, a number with what it is."""
    return str(value) if isinstance(value, str) else f"{name.rpartition('.')[2]} {_plain(value)}"


def _plain(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
