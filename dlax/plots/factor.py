"""A sweep along a number: where a run ends against a setting, such as accuracy against the number of attackers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from dlax.ablation import Ablation, ablation, by_fault, factors
from dlax.plots.scale import unit
from dlax.plots.style import COLOURS, DASHES, GREY, MARKERS, blank, frame, plain_log
from dlax.results import Result

_MOST_LINES, _MANY_LINES, _MOST_PANELS = 24, 6, 4
_PERCENT = ("accuracy", "attack_success")


def factor_curves(results: Sequence[Result], metric: str | None = None, x: str | None = None) -> Figure:
    """Draw a metric at the end of every run of a sweep against a number that the runs differ in.

    With the number of Byzantine nodes across it is a breakdown curve, with the share of nodes that fail a curve of
    resilience. One line for every combination of the other factors; bands are one standard deviation over seeds. More
    than six lines of several factors are split: a panel for every graph, or for every value of the factor that has
    the fewest; in a panel one factor makes the colours and one the dashes. Of values swept by `vmap` the best is
    drawn, of an attack's the worst, of a fault's all; a combination that diverged at all of them is a cross at the
    edge.

    Args:
      results: of a sweep, one a combination.
      metric: a column of the tidy table; default as in `dlax.ablation.ablation`.
      x: dotted path of the setting across, such as "byzantine.count"; default the first with the most numbers.

    Returns:
      The figure.

    Raises:
      ValueError: if no setting is a number of at least two values, or there are more than 24 lines in a panel.
    """
    results = by_fault(results)
    x = x or numeric_factor(results)
    if x is None:
        raise ValueError("factor_curves: the results differ in no number; sweep one by grid")
    table = ablation(results, metric=metric, columns=x)
    names, rows = list(table.mean.index.names), list(table.mean.index)
    split = _split(names, rows)
    panels: dict[Any, list[tuple[Any, ...]]] = {}
    for row in rows:
        panels.setdefault(None if split is None else row[split], []).append(row)
    most = max(map(len, panels.values()))
    if most > _MOST_LINES:
        raise ValueError(f"factor_curves: draws at most {_MOST_LINES} lines, got {most}")
    others = [place for place in range(len(names)) if place != split]
    lines = list(dict.fromkeys(tuple(row[place] for place in others) for row in rows))
    styles = _styles(lines)
    width = 7.2 if len(panels) == 1 else 1.2 + 3.7 * len(panels)
    figure, drawn = blank(width, 4.1, 1, len(panels), sharey=True)
    size, label = unit(table.metric)
    alone = names == ["label"]
    lost = False
    for axes, (value, inside) in zip(drawn, panels.items(), strict=True):
        for row in inside:
            line = tuple(row[place] for place in others)
            words = "" if alone else ", ".join(map(str, line))
            lost |= _line(axes, table, row, size, styles[line], lines.index(line) / len(lines) - 0.5, words)
        _scale(axes, table)
        note = f"{names[split]}: {value}".replace("_", " ") if split is not None else ""
        frame(axes, x.replace(".", " ").replace("_", " "), label if axes is drawn[0] else "", note)
        if table.metric.startswith(_PERCENT):
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    note = f"mean and standard deviation of {table.seeds} seeds" if table.seeds > 1 else "one seed"
    note += "; crosses: diverged" if lost else ""
    if split is None:
        drawn[0].set_title(note, loc="left", fontsize=8.5, color=GREY)
    else:
        figure.suptitle(note, x=0.01, ha="left", fontsize=8.5, color=GREY)
    if not alone:
        longest = max(len(", ".join(map(str, line))) for line in lines)
        columns = max(
            1, min(len(lines), int(width / (0.9 + 0.075 * longest)))
        )  # inches of a handle and its words
        found = {str(line.get_label()): line for axes in drawn for line in axes.lines}
        handles = {words: line for words, line in found.items() if not words.startswith("_")}
        figure.legend(
            handles=list(handles.values()), loc="outside lower center", ncols=columns, frameon=False, fontsize=9,
            handlelength=3.2, title=", ".join(str(names[place]).replace("_", " ") for place in others),
            title_fontproperties={"size": 9}, labelcolor=GREY,
        )  # fmt: skip
        figure.set_figheight(4.3 + 0.21 * -(-len(lines) // columns))
    return figure


def _split(names: list[str], rows: list[tuple[Any, ...]]) -> int | None:
    """Which factor makes the panels: the graph, else the one with the fewest values; None for a few lines."""
    counts = [len({row[place] for row in rows}) for place in range(len(names))]
    fit = [place for place, number in enumerate(counts) if 1 < number <= _MOST_PANELS]
    if len(rows) <= _MANY_LINES or len(names) < 2 or not fit:
        return None
    return min(fit, key=lambda place: (names[place] != "topology", counts[place]))


def _styles(lines: list[tuple[Any, ...]]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Two factors are colours and dashes; else lines are told apart in order."""
    if lines and len(lines[0]) == 2:
        first, second = (list(dict.fromkeys(line[place] for line in lines)) for place in (0, 1))
        places = [(first.index(line[0]), second.index(line[1])) for line in lines]
        if len(first) <= len(COLOURS) and len(second) <= len(DASHES):
            return {
                line: {"color": COLOURS[i], "ls": DASHES[j], "marker": MARKERS[j % len(MARKERS)]}
                for line, (i, j) in zip(lines, places, strict=True)
            }
    return {
        line: {
            "color": COLOURS[number % len(COLOURS)],
            "ls": DASHES[number // len(COLOURS) % len(DASHES)],
            "marker": MARKERS[number % len(MARKERS)],
        }
        for number, line in enumerate(lines)
    }


def _across(table: Ablation) -> np.ndarray:
    return np.array([float(value) for value in table.mean.columns])


def _line(
    axes: Axes, table: Ablation, row: Any, size: float, style: dict[str, Any], shift: float, words: str
) -> bool:
    """Draw one combination; whether it has points where everything diverged."""
    across = _across(table)
    order = np.argsort(across)
    across = across[order]
    mean = table.mean.loc[row].to_numpy(float)[order] / size
    spread = np.nan_to_num(table.spread.loc[row].to_numpy(float)[order] / size)
    axes.plot(across, mean, ms=5, lw=1.9, label=words, **style)
    axes.fill_between(across, mean - spread, mean + spread, color=style["color"], alpha=0.15, lw=0)
    gone = ~np.isfinite(mean) & (table.diverged.loc[row].to_numpy()[order] > 0)
    axes.plot(
        across[gone] + 0.02 * shift * (across[-1] - across[0]), np.full(gone.sum(), 0.02), "X", ms=8,
        color=style["color"], mec="white", mew=0.7, transform=axes.get_xaxis_transform(),
    )  # fmt: skip
    return bool(gone.any())


def _scale(axes: Axes, table: Ablation) -> None:
    """A log axis for numbers that span much, whole numbers where all are."""
    across = _across(table)
    if (across > 0).all() and across.max() > 30 * across.min():
        axes.set_xscale("log")
        plain_log(axes.xaxis)
    elif np.equal(across, np.round(across)).all():
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))


def numeric_factor(results: Sequence[Result]) -> str | None:
    """The dotted path of the number that most values were tried of, or None."""
    counts = {}
    for path, values in factors(results).items():
        numbers = {
            value for value in values if isinstance(value, int | float) and not isinstance(value, bool)
        }
        if len(numbers) > 1 and all(value in numbers for value in values):
            counts[path] = len(numbers)
    return max(counts, key=lambda path: counts[path]) if counts else None
