"""Mixing weights from a graph: factories of functions `adjacency -> W`.

The adjacency is a CSR array `[n, n]` without self loops, in canonical form (`as_csr`); only its support
counts: an entry (i, j) says that node i hears node j. Rules are vectorised over edges: a million nodes take
seconds. dᵢ is the number of nodes that node i hears, and L = diag(d) − A is the Laplacian.
"""

from collections.abc import Callable

import numpy as np
from scipy.sparse import csr_array, diags_array
from scipy.sparse.linalg import eigsh

from dlax.topology.matrix import same_support
from dlax.topology.spectra.gap import DENSE

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
        _undirected("metropolis", adjacency)
        degrees = np.diff(adjacency.indptr)
        receiver = np.repeat(np.arange(adjacency.shape[0]), degrees)
        return _with_self(adjacency, 1.0 / (1.0 + np.maximum(degrees[receiver], degrees[adjacency.indices])))

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
        _undirected("max_degree", adjacency)
        largest = np.diff(adjacency.indptr).max()
        return _with_self(adjacency, np.full(adjacency.nnz, 1.0 / (1.0 + largest)))

    return rule


def laplacian(*, step: float | None = None) -> Weights:
    """One weight a on every edge, chosen by hand or best for the spectrum of the graph.

        W = I − a L,   0 < a < 2/λ_max(L)

    Symmetric; rows and columns sum to one. Self weights 1 − a dᵢ are negative at nodes of large degree when a
    is large, and so they may be with the best constant.

    Args:
      step: a. None: the best constant a = 2/(λ₂ + λ_max), whose ρ is (λ_max − λ₂)/(λ_max + λ₂); above 2,000
        nodes, where the spectrum would cost too much, 1/(1 + max d) as in `max_degree`.

    Returns:
      The rule; it raises `ValueError` on a directed graph, and when `step` is not below 2/λ_max.

    Raises:
      ValueError: if `step` is not positive and finite.

    References:
      Xiao, Boyd. Fast linear iterations for distributed averaging. Systems & Control Letters 2004.
    """
    if step is not None and not 0.0 < step < np.inf:
        raise ValueError(f"laplacian: step must be positive and finite, got {step}")

    def rule(adjacency: csr_array) -> csr_array:
        _undirected("laplacian", adjacency)
        n = adjacency.shape[0]
        degrees = np.diff(adjacency.indptr).astype(np.float64)
        if adjacency.nnz == 0:
            return _with_self(adjacency, np.zeros(0))
        ones = csr_array((np.ones(adjacency.nnz), adjacency.indices, adjacency.indptr), shape=(n, n))
        matrix = (diags_array(degrees) - ones).tocsr()
        if step is None and n <= DENSE:
            spectrum = np.linalg.eigvalsh(matrix.toarray())
            # Zero once per component; the others of a disconnected graph must not count as λ₂.
            a = 2.0 / (spectrum[spectrum > 1e-9 * spectrum[-1]][0] + spectrum[-1])
        elif step is None:
            a = 1.0 / (1.0 + degrees.max())
        else:
            a = step
            receiver = np.repeat(np.arange(n), np.diff(adjacency.indptr))
            # λ_max ≤ max over edges of dᵢ + dⱼ (Anderson, Morley): mostly spares the eigenvalue.
            if a >= 2.0 / (degrees[receiver] + degrees[adjacency.indices]).max():
                largest = _largest_eigenvalue(matrix)
                if a >= 2.0 / largest * (1.0 - 1e-12):
                    raise ValueError(
                        f"laplacian: step must be below 2/λ_max = {2.0 / largest:.6g}, got {step}"
                    )
        return _with_self(adjacency, np.full(adjacency.nnz, a))

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
        return _with_self(adjacency, np.repeat(1.0 / (1.0 + degrees), degrees))

    return rule


def _with_self(adjacency: csr_array, values: np.ndarray) -> csr_array:
    """W with `values` `[nnz]` on the edges, and the self weights that make rows sum to one."""
    W = csr_array((values, adjacency.indices, adjacency.indptr), shape=adjacency.shape)
    return (W + diags_array(1.0 - W.sum(axis=1))).tocsr()


def _undirected(name: str, adjacency: csr_array) -> None:
    if not same_support(adjacency, adjacency.T):
        raise ValueError(
            f"{name} weights need an undirected graph, and this one has edges in one direction only; use "
            "uniform_neighbour, or make the graph undirected"
        )


def _largest_eigenvalue(matrix: csr_array) -> float:
    n = matrix.shape[0]
    if n <= DENSE:
        return float(np.linalg.eigvalsh(matrix.toarray())[-1])
    start = np.random.default_rng(0).normal(size=n)  # ARPACK would draw one from global state
    return float(eigsh(matrix, k=1, which="LA", v0=start, return_eigenvectors=False)[0])
