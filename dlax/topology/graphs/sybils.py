"""An honest graph to which Sybils attach themselves."""

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np
from scipy.sparse import csr_array

from dlax.topology.graphs.adjacency import from_adjacency, graph_stream, node_count, undirected
from dlax.topology.graphs.lattices import ring
from dlax.topology.matrix import off_diagonal
from dlax.topology.topology import Base, Topology
from dlax.topology.weights import Weights, metropolis


def with_sybils(
    n: int,
    *,
    graph: Base = ring,
    sybils: int = 1,
    density: float = 1.0,
    weights: Weights = metropolis(),
    seed: int = 0,
) -> Topology:
    """A graph of n − s honest nodes, whose last s nodes are Sybils spread over it (SpreadSybil).

    Every honest node has ⌊φ⌋ edges to Sybils; what is left of φ (h (φ − ⌊φ⌋) edges for h honest nodes,
    rounded) goes to nodes far apart: one drawn, then again and again the node with most hops to those chosen.
    For each of these layers the attacked nodes are grouped: the first left over and those nearest to it, in
    groups of (nearly) equal size, a Sybil each. No node has two edges to one Sybil; Sybils have none among
    themselves.

    SybilWall's code spreads by k-medoids of the hop distances, which takes them all, and makes as many Sybils
    as it takes for none to have more than the largest honest degree; here their number is given.

    Args:
      n: number of nodes, Sybils included.
      graph: who hears whom among the honest; fixed and undirected. In a config, a topology without n.
      sybils: s, at least 1.
      density: φ, attack edges per honest node, at most s.
      weights: the rule for the mixing weights, of the whole graph.
      seed: of the spreading.

    Returns:
      A fixed topology; place attackers on its `last` s nodes.

    Raises:
      ValueError: if there is no honest node, φ is not in (0, s], some Sybil would have no edge, or `graph` is
        not fixed and undirected.

    References:
      Werthenbach, Pouwelse. Towards Sybil Resilience in Decentralized Learning. 2023.
    """
    n = node_count("with_sybils", n)
    if not 1 <= sybils < n:
        raise ValueError(f"with_sybils: sybils must be from 1 to n - 1, got {sybils} with n = {n}")
    if not 0 < density <= sybils:
        raise ValueError(
            f"with_sybils: density must be above 0 and at most the {sybils} Sybils, got {density}"
        )
    honest = n - sybils
    base = graph(honest)
    if not base.is_fixed or base.is_directed:
        raise ValueError(f"with_sybils: graph must be fixed and undirected, {base.name!r} is not")
    adjacency = off_diagonal(base.matrices[0])
    rng = graph_stream(seed)
    layers = int(density + 1e-9)
    rest = round((density - layers) * honest)
    if (honest if layers else rest) < sybils:
        raise ValueError(
            f"with_sybils: {sybils} Sybils need as many nodes to attack, density {density} of {honest} honest "
            f"nodes are {honest if layers else rest}; take fewer, or a higher density"
        )
    edges: set[tuple[int, int]] = set()
    for layer in range(layers):
        _attach(edges, _groups(adjacency, np.arange(honest), sybils, rng), layer, sybils)
    if rest:
        spread = _spread(adjacency, rest, rng)
        _attach(edges, _groups(adjacency, spread, min(sybils, rest), rng), layers, sybils)
    node, sybil = np.array(sorted(edges)).T
    whole = adjacency.tocoo()
    i, j = np.concatenate([whole.row, node]), np.concatenate([whole.col, honest + sybil])
    return from_adjacency("with_sybils", undirected(n, i, j), weights)


def _attach(edges: set[tuple[int, int]], groups: list[list[int]], turn: int, sybils: int) -> None:
    """One edge for every node of a group to the group's Sybil, or the next that it has no edge to."""
    for number, group in enumerate(groups):
        for node in group:
            sybil = (number + turn) % sybils
            while (node, sybil) in edges:
                sybil = (sybil + 1) % sybils
            edges.add((node, sybil))


def _spread(adjacency: csr_array, count: int, rng: np.random.Generator) -> np.ndarray:
    """That many nodes far apart: the next is one with most hops to those chosen; sorted."""
    far = adjacency.shape[0]  # more hops than there can be
    hops = np.full(far, far)
    chosen = [int(rng.integers(far))]
    while True:
        for node, distance in _search(adjacency, chosen[-1], hops):
            hops[node] = distance
        if len(chosen) == count:
            return np.sort(np.array(chosen))
        chosen.append(int(np.argmax(hops)))


def _groups(adjacency: csr_array, nodes: np.ndarray, count: int, rng: np.random.Generator) -> list[list[int]]:
    """The nodes in so many groups of nearly equal size, each a node and those nearest to it that are left."""
    left = set(nodes.tolist())
    order: Iterable[int] = np.roll(nodes, int(rng.integers(len(nodes)))).tolist()
    sizes = [len(part) for part in np.array_split(nodes, count)]
    groups: list[list[int]] = []
    for first in order:
        if first not in left or len(groups) == count:
            continue
        group: list[int] = []
        for node, _ in _search(adjacency, first):
            if node in left:
                group.append(node)
            if len(group) == sizes[len(groups)]:
                break
        for node in order:  # of other components
            if len(group) < sizes[len(groups)] and node in left and node not in group:
                group.append(node)
        left -= set(group)
        groups.append(group)
    return groups


def _search(adjacency: csr_array, first: int, less: np.ndarray | None = None) -> Iterator[tuple[int, int]]:
    """(node, hops) breadth first; `less` leaves out, and does not go beyond, what is at so few hops already."""
    seen = {first}
    queue = deque([(first, 0)])
    while queue:
        node, distance = queue.popleft()
        yield node, distance
        for other in adjacency.indices[adjacency.indptr[node] : adjacency.indptr[node + 1]].tolist():
            if other not in seen and (less is None or distance + 1 < less[other]):
                seen.add(other)
                queue.append((other, distance + 1))
