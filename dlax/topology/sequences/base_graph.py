"""The Base-(k+1) graph: exact averaging in finitely many rounds, for every number of nodes and degree."""

import numpy as np

from dlax.topology.graphs.adjacency import node_count
from dlax.topology.sequences.drawn import from_edge_weights
from dlax.topology.topology import Topology, from_matrix

_Round = tuple[np.ndarray, np.ndarray]  # edges [m, 2] and their weights [m]


def base_graph(n: int, *, degree: int = 1, simple: bool = False) -> Topology:
    """A cycle of sparse graphs, of degree at most k each, whose product is exactly 11ᵀ/n for every n.

    If no prime factor of n exceeds k + 1, the hyper-hypercube: n = q₁ ⋯ q_r with factors of at most k + 1, and
    round s averages the groups of nodes that agree in all mixed-radix digits but digit s.

    Otherwise the Simple Base-(k+1) graph: n = Σ a_l (k+1)^p_l is written in base k + 1, and nodes fall into
    sets of a_l (k+1)^p_l. Each set averages within itself; then one set after the other, from the largest,
    hands its average to one partner each in the smaller sets; last, the parts of the sets spread what came
    back. A node of a set that has no partner in such a round sleeps.

    The Base-(k+1) graph runs p simple graphs of n/p nodes side by side, p the largest divisor of n that has a
    hyper-hypercube, and then hyper-hypercubes across them; it falls back to the simple graph where that is
    shorter. The cycle takes at most 2 log_{k+1} n + 2 rounds.

    Args:
      n: number of nodes, at least 1.
      degree: k, the largest degree in a round, at least 1. From n − 1 on, one round averages everyone.
      simple: always take the Simple Base-(k+1) graph.

    Returns:
      A cyclic topology of symmetric, doubly stochastic matrices; fixed if one round is enough.

    Raises:
      ValueError: if `degree` is below 1.

    References:
      Takezawa, Sato, Bao, Niwa, Yamada. Beyond exponential graph: communication-efficient topologies for
      decentralized learning via finite-time convergence. NeurIPS 2023.
    """
    n = node_count("base_graph", n)
    if degree < 1:
        raise ValueError(f"base_graph: degree must be at least 1, got {degree}")
    rounds = _simple(n, degree)
    if not simple:
        rest = _factors(n, degree)[1]
        split = np.arange(n).reshape(n // rest, rest)
        within = [_lift(part, split) for part in _simple(rest, degree)] if rest > 1 else []
        across = _each(split.T, degree) if rest < n else []
        if within + across and len(within + across) <= len(rounds):
            rounds = within + across
    return from_matrix([from_edge_weights(n, *part) for part in rounds], name="base_graph")


def _simple(n: int, k: int) -> list[_Round]:
    """The Simple Base-(k+1) graph on nodes 0 ... n − 1."""
    if _factors(n, k)[1] == 1:
        return _hyper_hypercube(n, k)
    size = 1
    while size * (k + 1) <= n:
        size *= k + 1
    sets, start = [], 0  # the nodes of a set, as [parts, size of a part]
    while start < n:
        count = (n - start) // size
        if count:
            sets.append(np.arange(start, start + count * size).reshape(count, size))
        start += count * size
        size //= k + 1
    alone = [_each(nodes.reshape(1, -1), k) for nodes in sets]
    spread = [_each(nodes if nodes.shape[1] > 1 else nodes.T, k) for nodes in sets]
    rounds = [_join([own[t % len(own)] for own in alone]) for t in range(len(alone[0]))]
    last = len(sets) - 1
    for t in range(1 + len(spread[0])):
        parts = [_hand_over(sets[t], np.arange(sets[t].max() + 1, n))] if t < last else []
        free = spread if t >= last else spread[:t]
        parts += [own[(t - number - 1) % len(own)] for number, own in enumerate(free)]
        rounds.append(_join(parts))
    return rounds


def _hand_over(given: np.ndarray, smaller: np.ndarray) -> _Round:
    """Every node of the smaller sets meets one node in each part `given` `[parts, size]`."""
    parts, used = len(given), len(smaller)
    met = np.stack([np.tile(smaller, parts), given[:, :used].ravel()], axis=1)
    weight = given.size / (given.size + used) / parts
    return met, np.full(len(met), weight)


def _hyper_hypercube(n: int, k: int) -> list[_Round]:
    """Averages nodes 0 ... n − 1, whose number has factors of at most k + 1; one empty round if n = 1."""
    sizes = _factors(n, k)[0][::-1] or [1]
    digits = np.arange(n).reshape(sizes)
    return [_averages(np.moveaxis(digits, s, -1).reshape(-1, size)) for s, size in enumerate(sizes)]


def _each(nodes: np.ndarray, k: int) -> list[_Round]:
    """A hyper-hypercube on each row of `nodes` `[copies, size]`, side by side."""
    return [_lift(part, nodes) for part in _hyper_hypercube(nodes.shape[1], k)]


def _averages(groups: np.ndarray) -> _Round:
    """Every row of `groups` `[groups, size]` averages uniformly."""
    size = groups.shape[1]
    i, j = np.triu_indices(size, 1)
    edges = np.stack([groups[:, i], groups[:, j]], axis=-1).reshape(-1, 2)
    return edges, np.full(len(edges), 1.0 / size)


def _factors(n: int, k: int) -> tuple[list[int], int]:
    """Factors k + 1 ... 2 of n, divided out from the largest, and what is left."""
    found, factor = [], min(k + 1, n)
    while factor > 1:
        if n % factor:
            factor -= 1
        else:
            found.append(factor)
            n //= factor
    return found, n


def _lift(part: _Round, nodes: np.ndarray) -> _Round:
    """The round on each row of `nodes` `[copies, size]`, side by side."""
    edges, weight = part
    return nodes[:, edges].reshape(-1, 2), np.tile(weight, len(nodes))


def _join(parts: list[_Round]) -> _Round:
    """Rounds of different nodes at once."""
    edges, weight = zip(*parts, strict=True)
    return np.concatenate(edges), np.concatenate(weight)
