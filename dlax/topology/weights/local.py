"""Mixing weights that a node can set knowing little more than its own degree and its neighbours'.

Rules are vectorised over edges: a million nodes take seconds.
"""

from collections.abc import Callable

import numpy as np
from scipy.sparse import csr_array, diags_array, eye_array

from dlax.topology.matrix import same_support

Weights = Callable[[csr_array], csr_array]  # adjacency [n, n] -> W [n, n]


def metropolis() -> Weights:
    """Metropolis-Hastings weights, which two neighbours can agree on knowing only each other's degree.

        W_ij = 1 / (1 + max(dᵢ, dⱼ)),   W_ii = 1 − Σⱼ W_ij

    Symmetric, doubly stochastic, with positive self weights: averages on every connected graph.

    Returns:
      The rule; it raises `ValueError` on a directed graph.

    References:
      Xiao, Boyd, Lall. A scheme for robust distributed sensor fusion based on average consensus. IPSN 2005.
    """

    def rule(adjacency: csr_array) -> csr_array:
        require_undirected("metropolis", adjacency)
        degrees = np.diff(adjacency.indptr)
        receiver = np.repeat(np.arange(adjacency.shape[0]), degrees)
        return with_self(adjacency, 1.0 / (1.0 + np.maximum(degrees[receiver], degrees[adjacency.indices])))

    return rule


def lazy_metropolis() -> Weights:
    """Metropolis weights of which every node keeps half: no eigenvalue is negative.

        W = (I + W_MH) / 2

    Symmetric, doubly stochastic and positive semidefinite, as D² and several proofs want it; ρ = (1 + λ₂)/2
    with λ₂ that of `metropolis`.

    Returns:
      The rule; it raises `ValueError` on a directed graph.

    References:
      Olshevsky. Linear time average consensus and distributed optimization on fixed graphs. SIAM Journal on
      Control and Optimization 2017.
    """
    whole = metropolis()

    def rule(adjacency: csr_array) -> csr_array:
        require_undirected("lazy_metropolis", adjacency)
        return ((whole(adjacency) + eye_array(adjacency.shape[0])) / 2.0).tocsr()

    return rule


def max_degree() -> Weights:
    """One weight on every edge, set by the largest degree of the graph.

        W = I − L / (1 + max d)

    Symmetric, doubly stochastic, with positive self weights. Slow when hubs are few and large; the largest
    degree is global knowledge.

    Returns:
      The rule; it raises `ValueError` on a directed graph.

    References:
      Xiao, Boyd. Fast linear iterations for distributed averaging. Systems & Control Letters 2004.
    """

    def rule(adjacency: csr_array) -> csr_array:
        require_undirected("max_degree", adjacency)
        largest = np.diff(adjacency.indptr).max()
        return with_self(adjacency, np.full(adjacency.nnz, 1.0 / (1.0 + largest)))

    return rule


def uniform_neighbour() -> Weights:
    """Every node averages itself and the nodes it hears, all alike.

        W_ij = 1 / (1 + dᵢ)   for j = i and for every j that i hears

    Row stochastic; doubly stochastic only where in- and out-degrees are all the same. Works on directed
    graphs. On other graphs the consensus is a weighted mean (undirected: node i weighs 1 + dᵢ).

    Returns:
      The rule.
    """

    def rule(adjacency: csr_array) -> csr_array:
        degrees = np.diff(adjacency.indptr)
        return with_self(adjacency, np.repeat(1.0 / (1.0 + degrees), degrees))

    return rule


def push() -> Weights:
    """Every node splits what it has evenly over itself and those that hear it.

        W_ji = 1 / (1 + d̂ᵢ)   for j = i and for every j that hears i, d̂ᵢ the number of those

    Column stochastic on every directed graph: the sum over nodes is kept. Rows do not sum to one unless in- and
    out-degrees are all the same, so that values alone agree on nothing; push-sum divides them by what ones
    become.

    Returns:
      The rule.

    References:
      Kempe, Dobra, Gehrke. Gossip-based computation of aggregate information. FOCS 2003.
    """

    def rule(adjacency: csr_array) -> csr_array:
        hearers = np.bincount(adjacency.indices, minlength=adjacency.shape[0])
        share = 1.0 / (1.0 + hearers)
        values = share[adjacency.indices]
        W = csr_array((values, adjacency.indices, adjacency.indptr), shape=adjacency.shape)
        return (W + diags_array(share)).tocsr()

    return rule


def with_self(adjacency: csr_array, values: np.ndarray) -> csr_array:
    """W with `values` `[nnz]` on the edges, and the self weights that make rows sum to one."""
    W = csr_array((values, adjacency.indices, adjacency.indptr), shape=adjacency.shape)
    return (W + diags_array(1.0 - W.sum(axis=1))).tocsr()


def require_undirected(name: str, adjacency: csr_array) -> None:
    """Refuse a graph in which someone hears a node that does not hear it."""
    if not same_support(adjacency, adjacency.T):
        raise ValueError(
            f"{name} weights need an undirected graph, and this one has edges in one direction only; use "
            "uniform_neighbour, sinkhorn or push, or make the graph undirected"
        )
