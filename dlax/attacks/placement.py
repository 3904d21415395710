"""Who is Byzantine: masks over the nodes of a topology, made on the host."""

import numpy as np

from dlax.topology import Topology
from dlax.types import Placement


def at(*, nodes: tuple[int, ...]) -> Placement:
    """These nodes.

    Args:
      nodes: their indices.

    Returns:
      A placement.

    Raises:
      ValueError: if an index repeats, or, on a topology, is not one of its nodes.
    """
    if len(set(nodes)) != len(nodes):
        raise ValueError(f"at: nodes must not repeat, got {list(nodes)}")

    def place(topology: Topology) -> np.ndarray:
        bad = [node for node in nodes if not 0 <= node < topology.n]
        if bad:
            raise ValueError(f"at: nodes must be in 0..{topology.n - 1}, got {bad[0]}")
        mask = np.zeros(topology.n, bool)
        mask[list(nodes)] = True
        return mask

    return place


def random(*, count: int | None = None, fraction: float | None = None, seed: int = 0) -> Placement:
    """Nodes drawn uniformly.

    Args:
      count: how many; or
      fraction: ⌊fraction · n⌋ of them.
      seed: of the draw.

    Returns:
      A placement.

    Raises:
      ValueError: unless exactly one of `count` and `fraction` is given, in range.
    """
    check_number("random", count, fraction)

    def place(topology: Topology) -> np.ndarray:
        mask = np.zeros(topology.n, bool)
        chosen = np.random.default_rng(seed).permutation(topology.n)
        mask[chosen[: number("random", count, fraction, topology.n)]] = True
        return mask

    return place


def check_number(who: str, count: int | None, fraction: float | None) -> None:
    """Refuses both or neither of a count and a fraction, and what is out of range."""
    if (count is None) == (fraction is None):
        raise ValueError(f"{who}: give count or fraction, and not both, got {count} and {fraction}")
    if count is not None and count < 0:
        raise ValueError(f"{who}: count must be at least 0, got {count}")
    if fraction is not None and not 0 <= fraction < 1:
        raise ValueError(f"{who}: fraction must be in [0, 1), got {fraction}")


def number(who: str, count: int | None, fraction: float | None, n: int) -> int:
    """How many of n nodes."""
    many = count if count is not None else int(np.floor((fraction or 0) * n + 1e-9))
    if many >= n:
        raise ValueError(f"{who}: count must be below the {n} nodes, got {many}")
    return many
