"""Speed and memory on this machine, as rows with a target: what `dlax bench` prints.

Times are medians of interleaved repetitions in one process, reported as ratios, since machines drift.
"""

from collections.abc import Callable, Iterator
from typing import Any

from dlax.bench import clocks, cohorts, engine, events, graphs, kernels, rivals, robust
from dlax.registry import suggest

GROUPS: dict[str, Callable[[bool], Iterator[dict[str, Any]]]] = {
    "kernels": kernels.rows,
    "graphs": graphs.rows,
    "engine": engine.rows,
    "events": events.rows,
    "robust": robust.rows,
    "cohorts": cohorts.rows,
    "clocks": clocks.rows,
    "torch": rivals.rows,
}


def measure(names: list[str] | None = None, *, quick: bool = False) -> Iterator[dict[str, Any]]:
    """Runs groups of measurements.

    Args:
      names: of `GROUPS`; None means all.
      quick: small sizes, to see that everything runs; the numbers then mean nothing.

    Yields:
      Rows `{name, value, unit, target, holds}`; `holds` is None where there is no target.

    Raises:
      ValueError: if a name is no group.
    """
    for name in names or list(GROUPS):
        if name not in GROUPS:
            raise ValueError(
                f"bench: unknown group {name!r}; choose from {', '.join(GROUPS)}{suggest(name, GROUPS)}"
            )
    for name in names or list(GROUPS):
        yield from GROUPS[name](quick)


__all__ = ["GROUPS", "measure"]
