"""What a line of a metric is: means, bands and diverged runs, in units and on a scale that can be read."""

import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dlax.results import METRICS

_VANISHING = (
    "consensus",
    "suboptimality",
    "distance",
    "grad_norm",
)  # zero is the goal: log axis with a floor
_RELATIVE_ZERO = 1e-8  # a consensus this far below the others' is rounding


class Line(NamedTuple):
    """What one curve draws; NaN where there is nothing.

    Attributes:
      x: `[t]`, where its t evaluations stand.
      mean: `[t]`, over the sound runs.
      band: `[2, t]`, the smallest and the largest of them.
      stops: x and y, `[points]` each, of every diverged run up to its last finite value.
    """

    x: np.ndarray
    mean: np.ndarray
    band: np.ndarray
    stops: list[tuple[np.ndarray, np.ndarray]]


def split(x: pd.DataFrame, y: pd.DataFrame, gone: dict[int, int]) -> Line:
    """Make a line of two tables `[t, seeds]` and of what diverged, `{seed: first round}`."""
    sound = [seed for seed in y if seed not in gone]
    at = x[sound or list(x)].mean(axis=1, skipna=False)
    mean, low, high = (getattr(y[sound], f)(axis=1, skipna=False) for f in ("mean", "min", "max"))
    stops = []
    for seed, first in gone.items():
        keep = x[seed].notna() & y[seed].notna() & (y.index < first)
        if keep.any():
            stops.append((x.loc[keep, seed].to_numpy(float), y.loc[keep, seed].to_numpy(float)))
    return Line(at.to_numpy(float), mean.to_numpy(float), np.array([low, high], float), stops)


def unit(name: str) -> tuple[float, str]:
    """What to divide a metric by, and its axis label: bits become megabytes."""
    text = METRICS.get(name, name)
    return (8e6, text.replace("bits", "MB", 1)) if name.startswith("bits") else (1.0, text)


def is_log(lines: Sequence[Line], metric: str) -> bool:
    """Whether a metric is drawn on a log axis: positive losses, and what should vanish and is not negative."""
    least = -largest(-y for line in lines for y in _heights(line))
    if "loss" in metric or metric == "objective":
        return least > 0
    rounding = 1e-6 * largest(y for line in lines for y in _heights(line))
    return metric in _VANISHING and least >= -rounding


def lay_floor(
    lines: list[Line], labels: Sequence[str], metric: str
) -> tuple[list[Line], tuple[float, str] | None]:
    """Lay what has no place on a log axis, zeros and rounding, on a floor a decade below the rest.

    Returns the lines, and where the floor is with what to write over it; None when all is positive.
    """
    peaks = [largest([line.band[1, len(line.x) > 1 :]]) for line in lines]  # the start is no peak
    rounding = [metric == "consensus" and peak <= _RELATIVE_ZERO * largest([peaks]) for peak in peaks]
    seen = [np.concatenate(_heights(line)) for line in lines]
    below = [label for label, r, y in zip(labels, rounding, seen, strict=True) if r or (y <= 0).any()]
    if not below:
        return lines, None
    least = -largest(-y[y > 0] for y, r in zip(seen, rounding, strict=True) if not r)
    at = 10.0 ** (math.floor(math.log10(least)) - 1) if math.isfinite(least) else 1e-16
    lines = [
        Line(x, np.maximum(mean, at), np.maximum(band, at), [(a, np.maximum(y, at)) for a, y in stops])
        for x, mean, band, stops in lines
    ]
    most = largest([[peak for peak, r in zip(peaks, rounding, strict=True) if r]])
    size = f"at most {most:.0e}" if most > 0 else "0"
    return lines, (at, textwrap.fill(f"drawn on the dotted line: {size} ({'; '.join(below)})", 64))


def ceiling(lines: Sequence[Line], log: bool) -> float:
    """The largest value worth an axis when some runs blow up and others do not; infinite when none does."""
    sound = largest(line.band[1] for line in lines)
    first = largest(y[:1] for line in lines for _, y in line.stops)
    worst = largest(y for line in lines for _, y in line.stops)
    top = max(sound, first) * (10 if log else 1.5)
    return top if 0 < top < worst else math.inf


def largest(arrays: Iterable[Any]) -> float:
    """The largest finite entry, or NaN when there is none."""
    values = np.concatenate([np.zeros(0), *arrays])
    values = values[np.isfinite(values)]
    return float(values.max()) if len(values) else math.nan


def _heights(line: Line) -> list[np.ndarray]:
    """All values that a line reaches."""
    return [*line.band, *(y for _, y in line.stops)]
