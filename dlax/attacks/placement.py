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


def last(*, count: int | None = None, fraction: float | None = None) -> Placement:
    """The nodes of largest index, where `with_sybils` puts its Sybils.

    Args:
      count: how many; or
      fraction: ⌊fraction · n⌋ of them.

    Returns:
      A placement.

    Raises:
      ValueError: unless exactly one of `count` and `fraction` is given, in range.
    """
    check_number("last", count, fraction)

    def place(topology: Topology) -> np.ndarray:
        return np.arange(topology.n) >= topology.n - number("last", count, fraction, topology.n)

    return place


def by_degree(*, count: int | None = None, fraction: float | None = None) -> Placement:
    """The nodes of highest degree; of equal ones those of smallest index.

    Args:
      count: how many; or
      fraction: ⌊fraction · n⌋ of them.

    Returns:
      A placement.

    Raises:
      ValueError: unless exactly one of `count` and `fraction` is given, in range.
    """
    check_number("by_degree", count, fraction)

    def place(topology: Topology) -> np.ndarray:
        many = number("by_degree", count, fraction, topology.n)
        mask = np.zeros(topology.n, bool)
        mask[np.argsort(-topology.degrees, kind="stable")[:many]] = True
        return mask

    return place


def clustered(
    *, count: int | None = None, fraction: float | None = None, start: int | None = None, seed: int = 0
) -> Placement:
    """One node and those nearest to it, in the order in which a search breadth first finds them.

    Nodes at the same distance come by index; where a component ends, the search goes on from the smallest
    index left.

    Args:
      count: how many; or
      fraction: ⌊fraction · n⌋ of them.
      start: where the search begins; None draws it.
      seed: of the draw.

    Returns:
      A placement.

    Raises:
      ValueError: unless exactly one of `count` and `fraction` is given, in range; on a topology without node
        `start`.
    """
    check_number("clustered", count, fraction)

    def place(topology: Topology) -> np.ndarray:
        n = topology.n
        first = int(np.random.default_rng(seed).integers(n)) if start is None else start
        if not 0 <= first < n:
            raise ValueError(f"clustered: start must be in 0..{n - 1}, got {start}")
        many = number("clustered", count, fraction, n)
        neighbours = _receivers(topology, both=True)
        mask, found = np.zeros(n, bool), np.zeros(n, bool)
        layer = np.array([first])
        while many > 0:
            found[layer] = True
            mask[layer[:many]] = True
            many -= len(layer)
            near = np.unique(np.concatenate([neighbours[i] for i in layer]))
            layer = near[~found[near]]
            if not len(layer):
                layer = np.flatnonzero(~found)[:1]
        return mask

    return place


_TRIES = 20  # orders of nodes in which `bounded` tries to place


def bounded(
    *, most: int = 1, count: int | None = None, fraction: float | None = None, seed: int = 0
) -> Placement:
    """Nodes drawn at random so that no honest node hears more than a few of them.

    One after the other in random order, each where it leaves at most `most` Byzantine nodes in the closed
    neighbourhood of every honest one (of the union over rounds); again in the same order while some are
    added, and in up to 20 orders.

    Args:
      most: b, that number.
      count: how many; or
      fraction: ⌊fraction · n⌋ of them.
      seed: of the orders.

    Returns:
      A placement.

    Raises:
      ValueError: unless exactly one of `count` and `fraction` is given, in range; if `most` is negative; on a
        topology where no order places all.
    """
    check_number("bounded", count, fraction)
    if most < 0:
        raise ValueError(f"bounded: most must be at least 0, got {most}")

    def place(topology: Topology) -> np.ndarray:
        many = number("bounded", count, fraction, topology.n)
        receivers = _receivers(topology)
        rng = np.random.default_rng(seed)
        best = 0
        for _ in range(_TRIES):
            mask = _fill(receivers, rng.permutation(topology.n), most, many)
            best = max(best, int(mask.sum()))
            if best == many:
                return mask
        raise ValueError(
            f"bounded: with at most {most} among the messages of an honest node, {best} of {many} Byzantine nodes "
            f"found a place in {_TRIES} orders; take fewer, a larger most, or a sparser graph"
        )

    return place


def _fill(receivers: list[np.ndarray], order: np.ndarray, most: int, many: int) -> np.ndarray:
    """Places nodes in this order, until none can be added."""
    mask, heard = np.zeros(len(order), bool), np.zeros(len(order), int)
    added = True
    while added and mask.sum() < many:
        added = False
        for node in order:
            if mask.sum() == many:
                break
            hearing = receivers[node]
            if not mask[node] and (heard[hearing[~mask[hearing]]] < most).all():
                mask[node], added = True, True
                heard[hearing] += 1
    return mask


def _receivers(topology: Topology, *, both: bool = False) -> list[np.ndarray]:
    """Who hears each node, sorted; or who hears it or is heard by it."""
    edges = np.asarray(topology.edges).reshape(-1, 2)
    if both:
        edges = np.unique(np.concatenate([edges, edges[:, ::-1]]), axis=0)
    edges = edges[np.lexsort((edges[:, 1], edges[:, 0]))]
    return np.split(edges[:, 1], np.searchsorted(edges[:, 0], np.arange(1, topology.n)))


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
