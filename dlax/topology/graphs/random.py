"""Random graphs, drawn from `seed` alone in a stream of their own, and redrawn until they are connected.

The first argument is the number of nodes; options follow the `*`.
"""

import math

import numpy as np
from scipy.sparse import csr_array

from dlax.topology.graphs.adjacency import (
    from_adjacency,
    from_edges,
    graph_stream,
    networkx_seed,
    node_count,
    undirected,
    until_connected,
)
from dlax.topology.matrix import as_csr
from dlax.topology.topology import Topology
from dlax.topology.weights import Weights, metropolis

_SMALL = 2_000  # nodes: below, networkx draws regular graphs; above, arrays are several times faster


def random_regular(n: int, *, degree: int = 4, seed: int = 0, weights: Weights = metropolis()) -> Topology:
    """A random graph in which every node has the same degree d.

    Below 2,000 nodes by `networkx` (Steger-Wormald); above by pairing stubs at random and swapping the ends
    of loops and double edges with those of random other edges, which takes seconds for a million nodes. Gap
    with Metropolis weights for large n: about 1 − (1 + 2√(d − 1))/(d + 1).

    Args:
      n: number of nodes, more than `degree`.
      degree: d. Graphs of degree 2 are rings in random order.
      seed: of the graph.
      weights: the rule for the mixing weights.

    Returns:
      A fixed topology.

    Raises:
      ValueError: if `degree` is not in 0 ... n − 1, if n · degree is odd, or if no graph of this degree is
        connected (degree 1 with n > 2, degree 0 with n > 1).
    """
    n = node_count("random_regular", n)
    if not 0 <= degree < n:
        raise ValueError(f"random_regular: degree must be from 0 to n - 1, got {degree} with n = {n}")
    if n * degree % 2:
        raise ValueError(
            f"random_regular: n * degree must be even, got the odd {n} * {degree}; change either by one"
        )
    if degree < 2 and degree != n - 1:
        raise ValueError(
            f"random_regular: no graph of degree {degree} on {n} nodes is connected; use degree >= 2"
        )
    rng = graph_stream(seed)
    if degree == 2:  # a connected one is a ring; drawing until connected would take about √n tries
        order = rng.permutation(n)
        adjacency = undirected(n, order, np.roll(order, 1))
    else:
        adjacency = until_connected("random_regular", lambda: _regular(n, degree, rng), f"degree={degree}")
    return from_adjacency("random_regular", adjacency, weights)


def erdos_renyi(
    n: int, *, p: float | None = None, seed: int = 0, weights: Weights = metropolis()
) -> Topology:
    """Every pair of nodes is an edge with probability p, independently; redrawn until connected.

    The gap stays away from 0 as n grows, for p = c log(n)/n with c > 1.

    Args:
      n: number of nodes, at least 1.
      p: probability of an edge, in (0, 1]. None: 2 log(n)/n (at most 1), twice the threshold of
        connectedness.
      seed: of the graph.
      weights: the rule for the mixing weights.

    Returns:
      A fixed topology.

    Raises:
      ValueError: if p is outside (0, 1], or if none of 100 draws is connected.
    """
    n = node_count("erdos_renyi", n)
    if p is not None and not 0.0 < p <= 1.0:
        raise ValueError(f"erdos_renyi: p must be in (0, 1], got {p}")
    chance = min(1.0, 2.0 * math.log(n) / n) if p is None else float(p)
    rng = graph_stream(seed)
    advice = f"p={chance:.4g}; graphs get connected above log(n)/n = {math.log(n) / n:.4g}"
    adjacency = until_connected("erdos_renyi", lambda: _bernoulli_edges(n, chance, rng), advice)
    return from_adjacency("erdos_renyi", adjacency, weights)


def barabasi_albert(n: int, *, m: int = 2, seed: int = 0, weights: Weights = metropolis()) -> Topology:
    """Nodes arrive one by one and link to m earlier ones, with odds in proportion to degree: a few hubs.

    Always connected. Starts from a star of m + 1 nodes, as `networkx` does.

    Args:
      n: number of nodes, more than m.
      m: links of a new node, at least 1. The mean degree is about 2m.
      seed: of the graph.
      weights: the rule for the mixing weights.

    Returns:
      A fixed topology.

    Raises:
      ValueError: if m is not in 1 ... n − 1.
    """
    import networkx as nx

    n = node_count("barabasi_albert", n)
    if not 1 <= m < n:
        raise ValueError(f"barabasi_albert: m must be from 1 to n - 1, got {m} with n = {n}")
    graph = nx.barabasi_albert_graph(n, m, seed=networkx_seed(graph_stream(seed)))
    return from_adjacency("barabasi_albert", from_edges(n, graph), weights)


def watts_strogatz(
    n: int, *, k: int = 4, p: float = 0.1, seed: int = 0, weights: Weights = metropolis()
) -> Topology:
    """A small world: a ring in which everyone hears its k nearest, each edge rewired with probability p.

    Redrawn until connected.

    Args:
      n: number of nodes, more than k.
      k: nodes that each node hears before rewiring; even, at least 2.
      p: probability that an edge is rewired, in [0, 1].
      seed: of the graph.
      weights: the rule for the mixing weights.

    Returns:
      A fixed topology.

    Raises:
      ValueError: if k is odd or not in 2 ... n − 1, if p is outside [0, 1], or if none of 100 draws is
        connected.
    """
    import networkx as nx

    n = node_count("watts_strogatz", n)
    if k % 2 or not 2 <= k < n:
        raise ValueError(f"watts_strogatz: k must be even and from 2 to n - 1, got {k} with n = {n}")
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"watts_strogatz: p must be in [0, 1], got {p}")
    rng = graph_stream(seed)

    def draw() -> csr_array:
        return from_edges(n, nx.watts_strogatz_graph(n, k, p, seed=networkx_seed(rng)))

    return from_adjacency("watts_strogatz", until_connected("watts_strogatz", draw, f"k={k}, p={p}"), weights)


def _regular(n: int, degree: int, rng: np.random.Generator) -> csr_array:
    """One draw of a simple regular graph, connected or not."""
    if 2 * degree > n - 1:  # dense: draw who does not hear whom
        others = _regular(n, n - 1 - degree, rng).toarray()
        return as_csr(1.0 - np.eye(n) - others)
    if n < _SMALL:
        import networkx as nx

        return from_edges(n, nx.random_regular_graph(degree, n, seed=networkx_seed(rng)))
    i, j = np.split(rng.permutation(np.repeat(np.arange(n), degree)), 2)
    m = len(i)
    for _ in range(1_000):  # a pass leaves a small share of what was wrong; sparse graphs take about five
        present, place = np.unique(_pair(n, i, j), return_index=True)
        fault = np.ones(m, dtype=bool)
        fault[place] = False  # one of each set of equal edges is right, unless it is a loop
        fault |= i == j
        wrong = np.flatnonzero(fault)
        if len(wrong) == 0:
            return undirected(n, i, j)
        # Each wrong edge {i, j} and a random edge {k, l} become {i, l} and {k, j}, which keeps all degrees.
        other = rng.choice(m, size=len(wrong), replace=False)
        wrong, other = wrong[~fault[other]], other[~fault[other]]
        new = np.stack([_pair(n, i[wrong], j[other]), _pair(n, i[other], j[wrong])])
        found = present[np.minimum(np.searchsorted(present, new), len(present) - 1)] == new
        better = ~found.any(axis=0)
        better &= (i[wrong] != j[other]) & (i[other] != j[wrong])
        wrong, other = wrong[better], other[better]
        j[wrong], j[other] = j[other], j[wrong]
    raise ValueError(f"random_regular: found no simple graph with n={n}, degree={degree}; try another seed")


def _pair(n: int, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """One number for each unordered pair."""
    return np.minimum(i, j) * n + np.maximum(i, j)


def _bernoulli_edges(n: int, p: float, rng: np.random.Generator) -> csr_array:
    """One draw of G(n, p), in time proportional to its edges: jump from edge to edge by geometric gaps.

    Pairs are numbered i(i − 1)/2 + j for j < i. Batagelj, Brandes. Phys. Rev. E 2005.
    """
    pairs = n * (n - 1) // 2
    found = [np.zeros(0, dtype=np.int64)]
    last = -1
    while last < pairs - 1:
        gaps = rng.geometric(p, size=int(1.1 * p * (pairs - last)) + 10)
        places = last + np.cumsum(np.minimum(gaps, pairs + 1))
        found.append(places[places < pairs])
        last = int(places[-1])
    number = np.concatenate(found)
    i = ((1.0 + np.sqrt(1.0 + 8.0 * number)) / 2.0).astype(np.int64)
    i -= i * (i - 1) // 2 > number  # the root may round across an integer
    i += i * (i + 1) // 2 <= number
    return undirected(n, i, number - i * (i - 1) // 2)
