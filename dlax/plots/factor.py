"""A sweep along a number: where a run ends against a setting, such as accuracy against the number of attackers."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from dlax.ablation import ablation, factors
from dlax.plots.scale import unit
from dlax.plots.style import COLOURS, DASHES, GREY, MARKERS, blank, frame, plain_log
from dlax.results import Result

_MOST_LINES = 24
_PERCENT = ("accuracy", "attack_success")


def factor_curves(results: Sequence[Result], metric: str | None = None, x: str | None = None) -> Figure:
    """Draw a metric at the end of every run of a sweep against a number that the runs differ in.

    With the number of Byzantine nodes across it is a breakdown curve. One line for every combination of the other
    factors; bands are one standard deviation over seeds. Of values swept by `vmap` the best is drawn, of an attack's
    the worst; a combination that diverged at all of them is a cross at the edge.

    Args:
      results: of a sweep, one a combination.
      metric: a column of the tidy table; default as in `dlax.ablation.ablation`.
      x: dotted path of the setting across, such as "byzantine.count"; default the first with the most numbers.

    Returns:
      The figure.

    Raises:
      ValueError: if no setting is a number of at least two values, or there are more than 24 lines.
    """
    x = x or numeric_factor(results)
    if x is None:
        raise ValueError("factor_curves: the results differ in no number; sweep one by grid")
    table = ablation(results, metric=metric, columns=x)
    rows = list(table.mean.index)
    if len(rows) > _MOST_LINES:
        raise ValueError(f"factor_curves: draws at most {_MOST_LINES} lines, got {len(rows)}")
    across = np.array([float(value) for value in table.mean.columns])
    order = np.argsort(across)
    figure, (axes,) = blank(7.2, 4.1)
    percent = table.metric.startswith(_PERCENT)
    size, label = unit(table.metric)
    lost = False
    alone = table.mean.index.names == ["label"]
    for number, row in enumerate(rows):
        mean = table.mean.loc[row].to_numpy(float)[order] / size
        spread = np.nan_to_num(table.spread.loc[row].to_numpy(float)[order] / size)
        style = {"color": COLOURS[number % len(COLOURS)], "ls": DASHES[number // len(COLOURS) % len(DASHES)]}
        words = ", ".join(str(value) for value in (row if isinstance(row, tuple) else (row,)))
        marker = MARKERS[number % len(MARKERS)]
        axes.plot(across[order], mean, marker=marker, ms=5, lw=1.9, label="" if alone else words, **style)
        axes.fill_between(across[order], mean - spread, mean + spread, color=style["color"], alpha=0.15, lw=0)
        gone = ~np.isfinite(mean) & (table.diverged.loc[row].to_numpy()[order] > 0)
        lost |= bool(gone.any())
        shift = 0.02 * (number - (len(rows) - 1) / 2) * (across.max() - across.min()) / max(len(rows), 1)
        axes.plot(
            across[order][gone] + shift, np.full(gone.sum(), 0.02), "X", ms=8, color=style["color"],
            mec="white", mew=0.7, transform=axes.get_xaxis_transform(),
        )  # fmt: skip
    positive = (across > 0).all() and across.max() > 30 * across.min()
    if positive:
        axes.set_xscale("log")
        plain_log(axes.xaxis)
    elif np.equal(across, np.round(across)).all():
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if percent:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    note = f"mean and standard deviation of {table.seeds} seeds" if table.seeds > 1 else "one seed"
    note += "; crosses: diverged" if lost else ""
    frame(axes, x.replace(".", " ").replace("_", " "), label, note)
    if not alone:
        columns = min(len(rows), 4)
        figure.legend(
            loc="outside lower center", ncols=columns, frameon=False, fontsize=9, handlelength=3.2,
            title=", ".join(str(name).replace("_", " ") for name in table.mean.index.names),
            title_fontproperties={"size": 9}, labelcolor=GREY,
        )  # fmt: skip
        figure.set_figheight(4.3 + 0.21 * -(-len(rows) // columns))
    return figure


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
