"""One weight on every edge, by hand or by the spectrum of the Laplacian."""

import numpy as np
from scipy.sparse import csr_array

from dlax.topology.matrix import components
from dlax.topology.spectra.extremes import extremes
from dlax.topology.spectra.gap import DENSE
from dlax.topology.spectra.resistance import laplacian_matrix
from dlax.topology.weights.local import Weights, require_undirected, with_self


def laplacian(*, step: float) -> Weights:
    """One weight a on every edge, chosen by hand; `best_constant` chooses it by the spectrum.

        W = I − a L,   0 < a < 2/λ_max(L)

    Symmetric; rows and columns sum to one. Self weights 1 − a dᵢ are negative at nodes of large degree when a
    is large.

    Args:
      step: a.

    Returns:
      The rule; it raises `ValueError` on a directed graph, and when `step` is not below 2/λ_max.

    Raises:
      ValueError: if `step` is not positive and finite.

    References:
      Xiao, Boyd. Fast linear iterations for distributed averaging. Systems & Control Letters 2004.
    """
    if not 0.0 < step < np.inf:
        raise ValueError(f"laplacian: step must be positive and finite, got {step}")

    def rule(adjacency: csr_array) -> csr_array:
        require_undirected("laplacian", adjacency)
        degrees = np.diff(adjacency.indptr)
        receiver, sender = adjacency.nonzero()
        # λ_max ≤ max over edges of dᵢ + dⱼ (Anderson, Morley): mostly spares the eigenvalue.
        if step * (degrees[receiver] + degrees[sender]).max(initial=0) >= 2.0:
            limit = 2.0 / laplacian_extremes(adjacency)[1]
            if step >= limit * (1.0 - 1e-12):
                raise ValueError(f"laplacian: step must be below 2/λ_max = {limit:.6g}, got {step}")
        return with_self(adjacency, np.full(adjacency.nnz, step))

    return rule


def best_constant() -> Weights:
    """One weight on every edge, the best one for the spectrum of the graph.

        W = I − a L,   a = 2/(λ₂ + λ_max),   ρ = (λ_max − λ₂)/(λ_max + λ₂)

    Symmetric; rows and columns sum to one. Self weights 1 − a dᵢ may be negative at nodes of large degree.
    Where all edges look alike (ring, star, hypercube, complete graph) no symmetric weights are faster, not even
    those of `fdla`. It takes the whole graph in one place: seconds for a hundred thousand nodes.

    Returns:
      The rule; it raises `ValueError` on a directed graph.

    References:
      Xiao, Boyd. Fast linear iterations for distributed averaging. Systems & Control Letters 2004.
    """

    def rule(adjacency: csr_array) -> csr_array:
        require_undirected("best_constant", adjacency)
        if adjacency.nnz == 0:
            return with_self(adjacency, np.zeros(0))
        return with_self(adjacency, np.full(adjacency.nnz, 2.0 / sum(laplacian_extremes(adjacency))))

    return rule


def laplacian_extremes(adjacency: csr_array) -> tuple[float, float]:
    """Compute the least eigenvalue above zero and the largest of the Laplacian of an undirected graph.

    Args:
      adjacency: `[n, n]` with at least one edge. Of a disconnected graph, the extremes over its components.

    Returns:
      (λ₂, λ_max): by LAPACK up to 2,000 nodes, by Lanczos above.
    """
    count, label = components(adjacency)
    if count > 1:
        parts = [np.flatnonzero(label == part) for part in range(count)]
        found = [laplacian_extremes(adjacency[part][:, part]) for part in parts if len(part) > 1]
        return min(low for low, _ in found), max(high for _, high in found)
    n = adjacency.shape[0]
    L = laplacian_matrix(adjacency)
    if n <= DENSE:
        spectrum = np.linalg.eigvalsh(L.toarray())
        return float(spectrum[1]), float(spectrum[-1])
    return extremes(lambda x: L @ x, n, "both", fallback=lambda: L, centred=True)
