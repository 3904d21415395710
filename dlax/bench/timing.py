"""Interleaved timing and the rows that it fills."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


def interleave(calls: Mapping[str, Callable[[], Any]], *, repeats: int) -> dict[str, np.ndarray]:
    """Times calls in turn, so that a drifting machine slows all of them alike.

    Args:
      calls: functions that return when their work is done; each runs once before, untimed.
      repeats: how often each is timed.

    Returns:
      Seconds by name, `[repeats]`.
    """
    for call in calls.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: np.array(values) for name, values in seconds.items()}


def ratio(seconds: Mapping[str, np.ndarray], a: str, b: str) -> float:
    """Median over the repetitions of the time of a by the time of b in the same repetition."""
    return float(np.median(seconds[a] / seconds[b]))


def row(
    name: str, value: float, unit: str, *, most: float | None = None, least: float | None = None
) -> dict[str, Any]:
    """A row of the table; its target is a largest or a smallest value, or there is none."""
    if most is not None:
        return {
            "name": name,
            "value": value,
            "unit": unit,
            "target": f"≤ {most:g}",
            "holds": bool(value <= most),
        }
    if least is not None:
        return {
            "name": name,
            "value": value,
            "unit": unit,
            "target": f"≥ {least:g}",
            "holds": bool(value >= least),
        }
    return {"name": name, "value": value, "unit": unit, "target": "", "holds": None}
