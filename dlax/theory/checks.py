"""What the predictions refuse, in one voice."""

import numpy as np

from dlax.topology import Topology
from dlax.types import Problem


def check_finite(**numbers: float) -> None:
    """Refuses numbers that are negative or not finite.

    Raises:
      ValueError: with the number's name.
    """
    for name, value in numbers.items():
        if not 0.0 <= value < float("inf"):
            raise ValueError(f"theory: {name} must be at least 0 and finite, got {value}")


def check_gap(gap: float) -> None:
    """Refuses a gap outside (0, 1].

    Raises:
      ValueError: as said.
    """
    if not 0.0 < gap <= 1.0:
        raise ValueError(f"theory: gap must be in (0, 1], got {gap}")


def check_topology(problem: Problem, topology: Topology, *words: str) -> None:
    """Refuses a topology of another size, of matrices unknown in advance, or that lacks a property.

    Raises:
      ValueError: as said, with the topology's name.
    """
    if problem.n != topology.n:
        raise ValueError(
            f"theory: the problem has {problem.n} nodes, topology {topology.name!r} {topology.n}"
        )
    if topology.order not in ("fixed", "cyclic"):
        raise ValueError(f"theory: needs a fixed or cyclic topology, and {topology.name!r} is random")
    for word in words:
        if word not in topology.properties:
            raise ValueError(f"theory: needs a topology that is {word}, got {topology!r}")


def close(values: np.ndarray, want: np.ndarray) -> bool:
    """Whether two arrays are equal but for rounding, relative to the largest entry; NaN equals nothing."""
    return bool(np.abs(values - want).max() <= 1e-9 * max(1.0, np.abs(want).max()))
