"""Graphs drawn afresh in every round, from the round's key and inside the compiled run."""

import math
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from dlax.topology.graphs.adjacency import node_count
from dlax.topology.graphs.lattices import complete
from dlax.topology.matrix import as_csr
from dlax.topology.spectra import spectral_gap
from dlax.topology.topology import Base, Draw, Topology, check, from_matrix

SYMMETRIC = frozenset({"symmetric", "row stochastic", "column stochastic", "nonnegative", "undirected"})
_LARGEST = 4_096  # nodes of a W [n, n] drawn inside the run: 17 million numbers a round


def random_pairwise(n: int, *, base: Base = complete) -> Topology:
    """In every round one edge of a graph, drawn uniformly, averages its two ends; the others sleep.

        W = I − ½ (eᵢ − eⱼ)(eᵢ − eⱼ)ᵀ   with probability 1/|E| for every edge {i, j}

    Randomised pairwise gossip, one tick a round. W is a projection, so E[WᵀW] = E[W] = I − L/(2|E|) and
    E‖x − x̄‖² shrinks by 1 − λ₂(L)/(2|E|) a tick.

    Args:
      n: number of nodes, at least 1.
      base: the graph whose edges are drawn; its weights do not count. In a config, a topology without n.

    Returns:
      A drawn topology; the fixed one if n ≤ 2.

    Raises:
      ValueError: if the base is directed or not connected.

    References:
      Boyd, Ghosh, Prabhakar, Shah. Randomized gossip algorithms. IEEE Trans. Information Theory 2006.
    """
    n = node_count("random_pairwise", n)
    edges = undirected_edges("random_pairwise", base(n))
    if n <= 2:
        return from_matrix(np.full((n, n), 1.0 / n), name="random_pairwise")
    expected = from_edge_weights(n, edges, np.full(len(edges), 0.5 / len(edges)))
    arrays = pair_arrays(n, 0.5) | {"edges": edges.astype(np.int32)}
    draw = Draw(_one_edge, arrays, SYMMETRIC, lambda: 1.0 - spectral_gap(expected), 0.0)
    return drawn("random_pairwise", expected, draw)


def redrawn_erdos_renyi(n: int, *, p: float | None = None) -> Topology:
    """In every round each pair of nodes is an edge with probability p, independently; Metropolis weights.

        W_ij = 1 / (1 + max(dᵢ, dⱼ))   on the edges of the round, with the degrees of the round

    A single round may be disconnected. As nodes are alike, E[WᵀW] is a multiple of I up to one of J, hence

        ρ² = E‖W − J‖²_F / (n − 1)

    which is computed exactly: given an edge, or two that share a node, the degrees at their ends are sums of
    independent binomials. A round costs n² random numbers and a dense matrix product.

    Args:
      n: number of nodes, from 1 to 4,096.
      p: probability of an edge, in (0, 1]. None: 2 log(n)/n (at most 1), twice the threshold of
        connectedness.

    Returns:
      A drawn topology; the fixed complete graph if p = 1 or n = 1.

    Raises:
      ValueError: if p is outside (0, 1], or if n is above 4,096.
    """
    n = node_count("redrawn_erdos_renyi", n)
    if n > _LARGEST:
        raise ValueError(
            f"redrawn_erdos_renyi: n must be at most {_LARGEST}, as a round draws n² numbers; got {n}"
        )
    if p is not None and not 0.0 < p <= 1.0:
        raise ValueError(f"redrawn_erdos_renyi: p must be in (0, 1], got {p}")
    chance = min(1.0, 2.0 * math.log(n) / n) if p is None else float(p)
    if n == 1 or chance == 1.0:
        return from_matrix(np.full((n, n), 1.0 / n), name="redrawn_erdos_renyi")
    weight, square = _metropolis_moments(n, chance)
    arrays = {"node": np.arange(n, dtype=np.int32), "p": np.array(chance)}
    draw = Draw(_gnp, arrays, SYMMETRIC, lambda: max(0.0, (square - 1.0) / (n - 1)))
    return drawn("redrawn_erdos_renyi", alike(n, weight), draw)


def drawn(name: str, expected: csr_array, draw: Draw, allow_negative: bool = False) -> Topology:
    """Make a topology of a draw and its expected matrix, checked like every other."""
    return check(Topology(name, (expected,), "drawn", draw), allow_negative=allow_negative)


def undirected_edges(who: str, topology: Topology) -> np.ndarray:
    """Return the edges {i, j} `[m, 2]`, i < j, of a base; it must be undirected and connected."""
    if topology.is_directed:
        raise ValueError(f"{who}: base must be undirected, and {topology.name!r} is directed")
    if not topology.is_connected:
        raise ValueError(f"{who}: base must be connected, and {topology.name!r} is not")
    return topology.edges[topology.edges[:, 0] < topology.edges[:, 1]]


def from_edge_weights(n: int, edges: np.ndarray, weight: np.ndarray) -> csr_array:
    """Return W = I − Σ w (eᵢ − eⱼ)(eᵢ − eⱼ)ᵀ over edges {i, j} `[m, 2]` of weights w `[m]`."""
    i, j = edges.T
    both, node = np.concatenate([weight, weight]), np.arange(n)
    own = 1.0 - np.bincount(np.concatenate([i, j]), both, minlength=n)
    places = np.concatenate([i, j, node]), np.concatenate([j, i, node])
    return as_csr(csr_array((np.concatenate([both, own]), places), shape=(n, n)))


def alike(n: int, weight: float) -> csr_array:
    """Return the W `[n, n]` of rows that sum to one with one weight everywhere off the diagonal."""
    W = np.full((n, n), weight)
    np.fill_diagonal(W, 1.0 - (n - 1) * weight)
    return as_csr(W)


def pair_arrays(n: int, share: float) -> dict[str, np.ndarray]:
    """What `pairs` needs: the nodes, and the weight of a partner."""
    return {"node": np.arange(n, dtype=np.int32), "share": np.array(share)}


def pairs(partner: Any, arrays: Any) -> Any:
    """The slots of a round in which node i hears partner `[n]` i only; nobody if that is i itself."""
    import jax.numpy as jnp

    met = partner != arrays["node"]
    weight = jnp.where(met, arrays["share"], 0)
    return partner[:, None], weight[:, None], 1 - weight


def _one_edge(t: Any, key: Any, arrays: Any) -> Any:
    import jax
    import jax.numpy as jnp

    del t
    edges, node = arrays["edges"], arrays["node"]
    i, j = edges[jax.random.randint(key, (), 0, edges.shape[0], jnp.int32)]
    return pairs(jnp.where(node == i, j, jnp.where(node == j, i, node)), arrays)


def _gnp(t: Any, key: Any, arrays: Any) -> Any:
    import jax
    import jax.numpy as jnp

    del t
    n, p = arrays["node"].shape[0], arrays["p"]
    above = jnp.triu(jax.random.uniform(key, (n, n), jnp.float32) < p, 1)
    linked = above | above.T
    degree = linked.sum(axis=1).astype(p.dtype)
    W = jnp.where(linked, 1 / (1 + jnp.maximum(degree[:, None], degree[None])), 0)
    return W + jnp.diag(1 - W.sum(axis=1))


def _metropolis_moments(n: int, p: float) -> tuple[float, float]:
    """E[W_ij] and E tr(W²) of Metropolis weights on G(n, p), n ≥ 2."""
    chance = _binomial(n - 2, p)  # of a neighbour's further links
    largest = np.diff(np.cumsum(chance) ** 2, prepend=0.0)  # ... of the larger number of two ends
    inverse = 1.0 / (2.0 + np.arange(n - 1))
    mean, square = p * largest @ inverse, p * largest @ inverse**2
    product = 0.0  # E[W_ij W_ik]; the edge {j, k} belongs to both their degrees
    if n > 2:
        chance, more = _binomial(n - 3, p), np.arange(n - 2)
        for closed in (0, 1):
            given = 1.0 / (1.0 + np.maximum.outer(2 + more, 1 + closed + more)) @ chance
            product += p**2 * (p if closed else 1.0 - p) * (chance @ given**2)
    own = 1.0 - 2.0 * (n - 1) * mean + (n - 1) * square + (n - 1) * (n - 2) * product
    return float(mean), float(n * (n - 1) * square + n * own)


def _binomial(trials: int, p: float) -> np.ndarray:
    """The probabilities `[trials + 1]` of 0, 1, ... successes, 0 < p < 1."""
    from scipy.special import gammaln, xlog1py, xlogy

    x = np.arange(trials + 1)
    choices = gammaln(trials + 1) - gammaln(x + 1) - gammaln(trials - x + 1)
    return np.exp(choices + xlogy(x, p) + xlog1py(trials - x, -p))
