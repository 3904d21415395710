"""Named graphs. The first argument is the number of nodes; options follow the `*`.

Rings, exponential and complete graphs number their nodes so that W is circulant: node i hears i + o (mod n)
for a fixed set of offsets o. Random graphs are drawn from `seed` alone, in a stream of their own, and redrawn
until they are connected. One node is the graph whose only matrix is [[1]].
"""

import math
import operator
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array

from dlax.topology.spectrum import as_csr
from dlax.topology.topology import Topology, components, from_matrix
from dlax.topology.weights import Weights, metropolis, uniform_neighbour

if TYPE_CHECKING:
    import networkx as nx

_TRIES = 100  # draws of a random graph before we say that it does not want to be connected
_SMALL = 2_000  # nodes: below, networkx draws regular graphs; above, arrays are several times faster


def ring(n: int, *, weights: Weights = metropolis()) -> Topology:
    """A cycle: node i hears i − 1 and i + 1 (mod n).

    Gap with Metropolis weights (1/3 each) for n ≥ 3: (2/3)(1 − cos(2π/n)) ≈ 4π²/(3n²). Two nodes share one
    edge.

    Args:
      n: number of nodes, at least 1.
      weights: the rule for the mixing weights.

    Returns:
      A fixed circulant topology of degree 2.

    Raises:
      ValueError: if n is not a positive integer.
    """
    return _circulant("ring", _nodes("ring", n), [1, -1], weights)


def path(n: int, *, weights: Weights = metropolis()) -> Topology:
    """A line: node i hears i − 1 and i + 1 where they exist.

    Gap with Metropolis weights for n ≥ 3: (2/3)(1 − cos(π/n)) ≈ π²/(3n²).

    Args:
      n: number of nodes, at least 1.
      weights: the rule for the mixing weights.

    Returns:
      A fixed topology.

    Raises:
      ValueError: if n is not a positive integer.
    """
    left = np.arange(_nodes("path", n) - 1)
    return from_adjacency("path", undirected(n, left, left + 1), weights)


def torus(n: int, *, rows: int | None = None, weights: Weights = metropolis()) -> Topology:
    """A grid with both pairs of sides glued together: node r · columns + c hears the four nodes around it.

    Gap with Metropolis weights (1/5 each) when both sides are at least 3, the longer of length s:
    (2/5)(1 − cos(2π/s)). Sides of length 2 have one edge, not two; a side of length 1 leaves a ring.

    Args:
      n: number of nodes, at least 1.
      rows: number of rows, a divisor of n. None: the largest divisor up to √n, so that the torus is as near
        to a square as n allows.
      weights: the rule for the mixing weights.

    Returns:
      A fixed topology of degree up to 4.

    Raises:
      ValueError: if n is prime and `rows` is not given, or if `rows` does not divide n.
    """
    n = _nodes("torus", n)
    if rows is None:
        rows = next(r for r in range(math.isqrt(n), 0, -1) if n % r == 0)
        if rows == 1 and n > 1:
            raise ValueError(f"torus: n must not be prime, got {n}; pass rows=1 if a ring is meant")
    elif not 1 <= rows <= n or n % rows:
        raise ValueError(f"torus: rows must divide n = {n}, got {rows}")
    node = np.arange(n).reshape(rows, n // rows)
    ends = [node, node]
    others = [np.roll(node, -1, axis=0), np.roll(node, -1, axis=1)]
    return from_adjacency("torus", undirected(n, np.stack(ends).ravel(), np.stack(others).ravel()), weights)


def hypercube(n: int, *, weights: Weights = metropolis()) -> Topology:
    """The q-dimensional cube, n = 2^q: nodes whose numbers differ in one binary digit hear each other.

    Gap with Metropolis weights (1/(q + 1) each) for q ≥ 1: 2/(q + 1).

    Args:
      n: number of nodes, a power of two.
      weights: the rule for the mixing weights.

    Returns:
      A fixed topology of degree q.

    Raises:
      ValueError: if n is not a power of two.
    """
    q = _nodes("hypercube", n).bit_length() - 1
    if n != 1 << q:
        raise ValueError(
            f"hypercube: n must be a power of two, got {n}; the nearest are {1 << q} and {2 << q}"
        )
    node = np.tile(np.arange(n), q)
    return from_adjacency("hypercube", undirected(n, node, node ^ np.repeat(1 << np.arange(q), n)), weights)


def star(n: int, *, weights: Weights = metropolis()) -> Topology:
    """A hub, node 0, that hears everyone and that everyone hears.

    Gap with Metropolis weights (1/n each) for n ≥ 3: 1/n.

    Args:
      n: number of nodes, at least 1.
      weights: the rule for the mixing weights.

    Returns:
      A fixed topology with one node of degree n − 1.

    Raises:
      ValueError: if n is not a positive integer.
    """
    leaves = np.arange(1, _nodes("star", n))
    return from_adjacency("star", undirected(n, np.zeros_like(leaves), leaves), weights)


def complete(n: int) -> Topology:
    """Everyone hears everyone: W = 11ᵀ/n, exact averaging in one round; gap 1.

    Holds n² weights: 1.2 GB at n = 10,000.

    Args:
      n: number of nodes, at least 1.

    Returns:
      A fixed topology of degree n − 1.

    Raises:
      ValueError: if n is not a positive integer.
    """
    n = _nodes("complete", n)
    return from_matrix(np.full((n, n), 1.0 / n), name="complete")


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
    n = _nodes("random_regular", n)
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
    rng = _stream(seed)
    if degree == 2:  # a connected one is a ring; drawing until connected would take about √n tries
        order = rng.permutation(n)
        adjacency = undirected(n, order, np.roll(order, 1))
    else:
        adjacency = _until_connected("random_regular", lambda: _regular(n, degree, rng), f"degree={degree}")
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
    n = _nodes("erdos_renyi", n)
    if p is not None and not 0.0 < p <= 1.0:
        raise ValueError(f"erdos_renyi: p must be in (0, 1], got {p}")
    chance = min(1.0, 2.0 * math.log(n) / n) if p is None else float(p)
    rng = _stream(seed)
    advice = f"p={chance:.4g}; graphs get connected above log(n)/n = {math.log(n) / n:.4g}"
    adjacency = _until_connected("erdos_renyi", lambda: _bernoulli_edges(n, chance, rng), advice)
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

    n = _nodes("barabasi_albert", n)
    if not 1 <= m < n:
        raise ValueError(f"barabasi_albert: m must be from 1 to n - 1, got {m} with n = {n}")
    graph = nx.barabasi_albert_graph(n, m, seed=_networkx_seed(_stream(seed)))
    return from_adjacency("barabasi_albert", _from_edges(n, graph), weights)


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

    n = _nodes("watts_strogatz", n)
    if k % 2 or not 2 <= k < n:
        raise ValueError(f"watts_strogatz: k must be even and from 2 to n - 1, got {k} with n = {n}")
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"watts_strogatz: p must be in [0, 1], got {p}")
    rng = _stream(seed)

    def draw() -> csr_array:
        return _from_edges(n, nx.watts_strogatz_graph(n, k, p, seed=_networkx_seed(rng)))

    return from_adjacency(
        "watts_strogatz", _until_connected("watts_strogatz", draw, f"k={k}, p={p}"), weights
    )


def static_exponential(n: int) -> Topology:
    """The directed graph in which node i hears i + 2ᵏ (mod n) for k = 0 ... q − 1, q = ⌈log₂ n⌉.

    All weights are 1/(1 + q); doubly stochastic, and symmetric only for n ≤ 3. Gap: 2/(1 + q) for even n, at
    least that for odd n.

    Args:
      n: number of nodes, at least 1.

    Returns:
      A fixed circulant topology of degree ⌈log₂ n⌉.

    Raises:
      ValueError: if n is not a positive integer.

    References:
      Ying, Yuan, Chen, Hu, Pan, Yin. Exponential graph is provably efficient for decentralized deep training.
      NeurIPS 2021.
    """
    q = (_nodes("static_exponential", n) - 1).bit_length()
    return _circulant("static_exponential", n, [1 << k for k in range(q)], uniform_neighbour())


def one_peer_exponential(n: int) -> Topology:
    """In round t node i hears only i + 2^(t mod q) (mod n), q = ⌈log₂ n⌉, and averages with it.

    Every matrix is doubly stochastic; single rounds have a gap near 0. The product of q rounds is exactly
    11ᵀ/n if n = 2^q, and only then.

    Args:
      n: number of nodes, at least 1.

    Returns:
      A cyclic topology of q circulant matrices of degree 1 (fixed when n ≤ 2).

    Raises:
      ValueError: if n is not a positive integer.

    References:
      Ying, Yuan, Chen, Hu, Pan, Yin. Exponential graph is provably efficient for decentralized deep training.
      NeurIPS 2021.
    """
    q = (_nodes("one_peer_exponential", n) - 1).bit_length()
    rounds = [uniform_neighbour()(_shifts(n, [1 << k])) for k in range(q)]
    return from_matrix(rounds or [np.ones((1, 1))], name="one_peer_exponential")


def from_adjacency(
    name: str, adjacency: csr_array, weights: Weights, allow_disconnected: bool = False
) -> Topology:
    """Make a fixed topology of an adjacency `[n, n]` in canonical form, with entry (i, j) where i hears j.

    Negative weights pass: the rule was chosen by name, and the best constant of `laplacian` has some at hubs.
    """
    return from_matrix(
        weights(adjacency), name=name, allow_negative=True, allow_disconnected=allow_disconnected
    )


def undirected(n: int, i: np.ndarray, j: np.ndarray) -> csr_array:
    """Return the symmetric adjacency `[n, n]` of edges {i, j} `[m]`; drops loops and double edges."""
    return directed(n, np.concatenate([i, j]), np.concatenate([j, i]))


def directed(n: int, receiver: np.ndarray, sender: np.ndarray) -> csr_array:
    """Return the adjacency `[n, n]` of arcs sender -> receiver `[m]`; drops loops and double arcs."""
    keep = receiver != sender
    adjacency = as_csr(csr_array((np.ones(keep.sum()), (receiver[keep], sender[keep])), shape=(n, n)))
    adjacency.data[:] = 1.0  # double entries were added up
    return adjacency


def _nodes(name: str, n: int) -> int:
    """Check the number of nodes."""
    try:
        count = operator.index(n)
    except TypeError:
        count = 0
    if count < 1:
        raise ValueError(f"{name}: n must be an integer of at least 1, got {n!r}")
    return count


def _circulant(name: str, n: int, offsets: list[int], weights: Weights) -> Topology:
    return from_adjacency(name, _shifts(n, offsets), weights)


def _shifts(n: int, offsets: list[int]) -> csr_array:
    """The adjacency in which i hears i + o (mod n) for every offset o."""
    node = np.arange(n)
    sender = [(node + offset) % n for offset in offsets]
    return directed(n, np.tile(node, len(offsets)), np.concatenate([node[:0], *sender]))


def _stream(seed: int) -> np.random.Generator:
    """The stream of random graphs: no other use of the same seed shares its numbers."""
    if seed < 0:
        raise ValueError(f"the seed of a graph must be at least 0, got {seed}")
    return np.random.default_rng([seed, zlib.crc32(b"graph")])


def _networkx_seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**32))


def _from_edges(n: int, graph: "nx.Graph") -> csr_array:
    """The adjacency of a networkx graph whose nodes are 0 ... n − 1."""
    ends = np.array(list(graph.edges), dtype=np.int64).reshape(-1, 2)
    return undirected(n, ends[:, 0], ends[:, 1])


def _until_connected(name: str, draw: Callable[[], csr_array], advice: str) -> csr_array:
    for _ in range(_TRIES):
        adjacency = draw()
        if components(adjacency)[0] == 1:
            return adjacency
    raise ValueError(f"{name}: none of {_TRIES} draws with n={adjacency.shape[0]} is connected ({advice})")


def _regular(n: int, degree: int, rng: np.random.Generator) -> csr_array:
    """One draw of a simple regular graph, connected or not."""
    if 2 * degree > n - 1:  # dense: draw who does not hear whom
        others = _regular(n, n - 1 - degree, rng).toarray()
        return as_csr(1.0 - np.eye(n) - others)
    if n < _SMALL:
        import networkx as nx

        return _from_edges(n, nx.random_regular_graph(degree, n, seed=_networkx_seed(rng)))
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
