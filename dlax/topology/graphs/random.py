"""Random graphs, drawn from `seed` alone in a stream of their own, and redrawn until they are connected.

The first argument is the number of nodes; options follow the `*`.
"""

import math
from dataclasses import replace

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
from dlax.topology.graphs.lattices import whole
from dlax.topology.matrix import as_csr
from dlax.topology.topology import Topology, from_matrix
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


def stochastic_block(
    n: int,
    *,
    blocks: int = 2,
    inside: float | None = None,
    outside: float | None = None,
    seed: int = 0,
    weights: Weights = metropolis(),
) -> Topology:
    """Communities: a pair of nodes is an edge with one probability inside a block, with another across blocks.

    Pairs are independent; redrawn until connected. Block b holds the nodes from ⌊b · n/blocks⌋ on, so that
    sizes differ by one at most. With the defaults a node has about 2 log n edges in its own block and a tenth
    of that outside, and the gap stays away from 0 as n grows for a fixed number of blocks. Takes time in
    proportion to the edges.

    Args:
      n: number of nodes, at least `blocks`.
      blocks: number of blocks. With one, this is `erdos_renyi` and `outside` has no use.
      inside: probability of an edge between two nodes of one block, in [0, 1]. None: 2 log(n)/s (at most 1)
        for blocks of s = n/blocks nodes, above the threshold at which each block is connected by itself.
      outside: probability of an edge between nodes of two blocks, in (0, 1]. None: what gives a node
        2 log(n) · max(1/10, 1/s) edges to other blocks (at most 1); no block then has fewer than about
        2 log(n), so that small blocks too are connected with each other.
      seed: of the graph.
      weights: the rule for the mixing weights.

    Returns:
      A fixed topology.

    Raises:
      ValueError: if `blocks` is not in 1 ... n, if a probability is out of its range, or if none of 100 draws
        is connected.

    References:
      Holland, Laskey, Leinhardt. Stochastic blockmodels: first steps. Social Networks 1983.
    """
    n = node_count("stochastic_block", n)
    blocks = whole("stochastic_block", "blocks", blocks, 1, n, n)
    if inside is not None and not 0.0 <= inside <= 1.0:
        raise ValueError(f"stochastic_block: inside must be in [0, 1], got {inside}")
    if outside is not None and not 0.0 < outside <= 1.0:
        raise ValueError(f"stochastic_block: outside must be in (0, 1], got {outside}")
    size = n / blocks
    within = min(1.0, 2.0 * math.log(n) / size) if inside is None else float(inside)
    if blocks == 1:
        across = 0.0
    elif outside is None:
        across = min(1.0, 2.0 * math.log(n) * max(0.1, 1.0 / size) / (n - size))
    else:
        across = float(outside)
    rng = graph_stream(seed)
    adjacency = until_connected(
        "stochastic_block",
        lambda: _block_edges(n, blocks, within, across, rng),
        f"blocks={blocks}, inside={within:.4g}, outside={across:.4g}",
    )
    return from_adjacency("stochastic_block", adjacency, weights)


def random_geometric(
    n: int, *, radius: float | None = None, seed: int = 0, weights: Weights = metropolis()
) -> Topology:
    """Points drawn uniformly in the unit square; nodes no farther apart than r hear each other.

    Redrawn until connected. The gap with Metropolis weights is Θ(r²): a round moves what a node knows by about
    r. It is near r² itself where nodes have 75 neighbours or more, and 0.7 to 0.8 r² at the default radius for n
    from 500 to 2,000.

    Args:
      n: number of nodes, at least 1.
      radius: r, positive; from √2 on, the graph is complete. None: √(2 log(n)/(πn)), so that a node has about
        2 log n neighbours, twice the threshold of connectedness. Then a draw is connected with probability
        about 0.35 at n = 8, 0.7 at n = 100 and 0.9 at n = 1,000, and nearly always from n = 10,000 on.
      seed: of the graph.
      weights: the rule for the mixing weights.

    Returns:
      A fixed topology that knows where its nodes are.

    Raises:
      ValueError: if `radius` is not positive and finite, or if none of 100 draws is connected.

    References:
      Gupta, Kumar. Critical power for asymptotic connectivity in wireless networks. 1999.
      Boyd, Ghosh, Prabhakar, Shah. Randomized gossip algorithms. IEEE Trans. Information Theory 2006.
    """
    from scipy.spatial import KDTree

    n = node_count("random_geometric", n)
    if radius is not None and not 0.0 < radius < math.inf:
        raise ValueError(f"random_geometric: radius must be positive and finite, got {radius}")
    r = math.sqrt(2.0 * math.log(n) / (math.pi * n)) if radius is None else float(radius)
    rng = graph_stream(seed)
    positions = np.empty((n, 2))

    def draw() -> csr_array:
        positions[:] = rng.random((n, 2))
        ends = KDTree(positions).query_pairs(r, output_type="ndarray")
        return undirected(n, ends[:, 0], ends[:, 1])

    threshold = math.sqrt(math.log(n) / (math.pi * n))
    advice = f"radius={r:.4g}; graphs get connected above about √(log(n)/(πn)) = {threshold:.4g}"
    topology = from_adjacency("random_geometric", until_connected("random_geometric", draw, advice), weights)
    return replace(topology, positions=positions)


def equi_static(n: int, *, degree: int | None = None, directed: bool = False, seed: int = 0) -> Topology:
    """EquiTopo's fixed graphs: an average of M random shifts, whose gap does not fall as n grows.

        W = (1/M) Σ_k A(a_k),   A(a) = (1 − 1/n) Shift(a) + I/n,   a_k uniform in 1 ... n − 1

    where Shift(a) lets node i hear i + a (mod n). Each A(a) has mean 11ᵀ/n over a. Without direction every
    A(a) becomes (A(a) + A(a)ᵀ)/2. Doubly stochastic and circulant. M = (8/3) ln(2n/p)/ε² gives ρ ≤ ε with
    probability at least 1 − p. With the default M, about half of all draws have ρ below 0.7 (directed: 0.77), at
    n = 64 as at n = 32,768; a few are much slower, fewer the larger n.

    Drawn with repetition, as in the paper; redrawn until connected, which the paper does not do: all shifts may
    share a divisor with n.

    Args:
      n: number of nodes, at least 1.
      degree: M, the number of shifts, at least 1: a node hears at most M others, or 2M without direction.
        None: ⌈log₂ n⌉, as many as in `static_exponential`.
      directed: D-EquiStatic instead of U-EquiStatic.
      seed: of the graph.

    Returns:
      A fixed circulant topology.

    Raises:
      ValueError: if `degree` is not a positive integer, or if none of 100 draws is connected.

    References:
      Song, Li, Jin, Shi, Yan, Yin, Yuan. Communication-efficient topologies for decentralized learning with
      O(1) consensus rate. NeurIPS 2022.
    """
    n = node_count("equi_static", n)
    default = max(1, (n - 1).bit_length())
    M = default if degree is None else whole("equi_static", "degree", degree, 1, None, n)
    rng = graph_stream(seed)
    node = np.arange(n)

    def draw() -> csr_array:
        shift = rng.integers(1, max(n, 2), size=M) % n
        row = np.bincount(shift, minlength=n) / M * (1.0 - 1.0 / n)
        if not directed:
            row = (row + row[-node % n]) / 2.0
        row[0] = 1.0 / n
        offsets = np.flatnonzero(row)
        sender = (node[:, None] + offsets) % n
        receiver = np.repeat(node, len(offsets))
        return csr_array((np.tile(row[offsets], n), (receiver, sender.ravel())), shape=(n, n))

    return from_matrix(until_connected("equi_static", draw, f"degree={M}"), name="equi_static")


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
    """One draw of G(n, p), in time proportional to its edges."""
    return undirected(n, *_ends(_successes(n * (n - 1) // 2, p, rng)))


def _block_edges(n: int, blocks: int, within: float, across: float, rng: np.random.Generator) -> csr_array:
    """One draw of the block model, in time proportional to its edges."""
    start = np.arange(blocks + 1) * n // blocks
    size = np.diff(start)
    before = np.concatenate([[0], np.cumsum(size * (size - 1) // 2)])  # pairs in all earlier blocks
    number = _successes(int(before[-1]), within, rng)
    block = np.searchsorted(before, number, side="right") - 1
    i, j = _ends(number - before[block])
    # Pairs across: all pairs of nodes, without those that fall inside a block.
    k, l = _ends(_successes(n * (n - 1) // 2, across, rng))  # noqa: E741
    home = np.repeat(np.arange(blocks), size)
    apart = home[k] != home[l]
    i, j = i + start[block], j + start[block]
    return undirected(n, np.concatenate([i, k[apart]]), np.concatenate([j, l[apart]]))


def _successes(count: int, p: float, rng: np.random.Generator) -> np.ndarray:
    """Which of `count` independent trials succeed, sorted: jump from one to the next by geometric gaps.

    Batagelj, Brandes. Phys. Rev. E 2005.
    """
    found = [np.zeros(0, dtype=np.int64)]
    last = -1 if p > 0.0 else count
    while last < count - 1:
        gaps = rng.geometric(p, size=int(1.1 * p * (count - last)) + 10)
        places = last + np.cumsum(np.minimum(gaps, count + 1))
        found.append(places[places < count])
        last = int(places[-1])
    return np.concatenate(found)


def _ends(number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nodes (i, j) with j < i of pairs numbered i(i − 1)/2 + j."""
    i = ((1.0 + np.sqrt(1.0 + 8.0 * number)) / 2.0).astype(np.int64)
    i -= i * (i - 1) // 2 > number  # the root may round across an integer
    i += i * (i + 1) // 2 <= number
    return i, number - i * (i - 1) // 2
