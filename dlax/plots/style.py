"""How every picture looks: colours and dashes, the frame around the data, its numbers, and its file."""

import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

# Okabe and Ito's palette, the ones that read best on white first
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#B8A800")
DASHES: tuple[Any, ...] = (
    "solid",
    (0, (5, 2)),
    (0, (1.2, 1.6)),
    (0, (7, 2, 1.5, 2)),
    (0, (9, 3)),
    (0, (4, 1.5, 1.2, 1.5, 1.2, 1.5)),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "*")
INK, GREY, EDGE, GRID = "#222222", "#666666", "#8A8A8A", "#E3E3E3"
_FORMATS = ("jpg", "pdf", "png", "svg", "webp")


def blank(
    width: float, height: float, rows: int = 1, columns: int = 1, **options: Any
) -> tuple[Figure, list[Axes]]:
    """A white figure, in inches, and its axes, row by row."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    return figure, list(figure.subplots(rows, columns, squeeze=False, **options).flat)


def frame(axes: Axes, x_label: str, y_label: str, note: str = "") -> None:
    """Axis labels, a quiet grid, and the note over the axes."""
    axes.set_xlabel(textwrap.fill(_sentence(x_label), 60), fontsize=10, color=INK)
    axes.set_ylabel(textwrap.fill(_sentence(y_label), 42), fontsize=10, color=INK)
    axes.set_title(note, loc="left", fontsize=8.5, color=GREY)
    axes.tick_params(labelsize=9, colors=GREY, labelcolor=INK, length=3, width=0.7)
    axes.grid(visible=True, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")


def frame_bar(bar: Colorbar, label: str) -> None:
    """The label and the quiet ticks of a colour bar."""
    bar.set_label(label, fontsize=9, color=INK)
    bar.ax.tick_params(labelsize=8.5, colors=GREY, length=2)
    bar.outline.set_visible(False)


def plain_log(axis: Axis) -> None:
    """Write plain numbers on a log axis that spans little, where powers of ten alone would leave it bare."""
    low, high = axis.get_view_interval()
    if high < 100 * low:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=20) if high > 5 * low else MaxNLocator(6))
        axis.set_minor_formatter(NullFormatter())
    if high < 100 * low or (low >= 1e-3 and high <= 1e5):
        axis.set_major_formatter("{x:g}")


def count(counts: Sequence[int], noun: str) -> str:
    """A number with its noun, or a range: "3 seeds", "1 to 3 seeds"."""
    low, high = min(counts), max(counts)
    return f"{low} to {high} {noun}s" if low < high else f"{low} {noun}{'' if low == 1 else 's'}"


def check_picture(path: str | os.PathLike[str]) -> Path:
    """The path, whose ending is a format of pictures: one of jpg, pdf, png, svg and webp.

    Raises:
      ValueError: if it is not.
    """
    path = Path(path)
    if path.suffix.lower().removeprefix(".") not in _FORMATS:
        raise ValueError(f"{path.name}: pictures are {', '.join(_FORMATS)}, got the ending {path.suffix!r}")
    return path


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
    path = check_picture(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        figure.savefig(draft, format=path.suffix.lower().removeprefix("."), dpi=dpi)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return path


def _sentence(text: str) -> str:
    """The text with a capital, unless it opens with a formula or a unit: f(x), kB."""
    word = text[:2].isalpha() and text[:2].islower()
    return text[:1].upper() + text[1:] if word else text
