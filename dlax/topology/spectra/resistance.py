"""The graph as an electrical network: Laplacian, effective resistances, and the χ₁ and χ₂ made of them."""

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_array, diags_array
from scipy.sparse.linalg import splu

from dlax.topology.matrix import as_csr, components, off_diagonal, same_support
from dlax.topology.spectra.extremes import extremes
from dlax.topology.spectra.gap import DENSE, circulant_eigenvalues

if TYPE_CHECKING:
    from dlax.topology.topology import Topology

_WORK = 3e10  # nodes times entries of the factor: what chi2 solves in a minute or so


def edge_list(graph: "Topology | Any") -> np.ndarray:
    """List the edges {i, j}, i < j, of an undirected graph, ordered by j, then by i.

    Args:
      graph: a topology (the union of its rounds counts, not its weights), or an adjacency `[n, n]`, dense or
        sparse, of which only the support off the diagonal counts.

    Returns:
      `[m, 2]` int: the half of `Topology.edges` whose first node is the smaller.

    Raises:
      ValueError: if the graph is directed.
    """
    return _read(graph)[2]


def laplacian_matrix(graph: "Topology | Any", rates: Any = None) -> csr_array:
    """Build the Laplacian of an undirected graph with a rate on every edge:

        Λ = Σ λ_ij (eᵢ − eⱼ)(eᵢ − eⱼ)ᵀ

    Args:
      graph: a topology or an adjacency, as in `edge_list`.
      rates: λ `[m]`, not negative, in the order of `edge_list`. None: all 1, which makes L = diag(d) − A.

    Returns:
      `[n, n]` float64, sparse.

    Raises:
      ValueError: if the graph is directed, or if the rates are not m finite numbers of at least 0.
    """
    name, n, edges = _read(graph)
    m = len(edges)
    if rates is None:
        values = np.ones(m)
    else:
        values = np.asarray(rates, dtype=np.float64)
        if values.shape != (m,):
            raise ValueError(
                f"{name}: rates must be [m] for its m = {m} undirected edges, got shape {values.shape}"
            )
        wrong = np.flatnonzero(~(np.isfinite(values) & (values >= 0.0)))
        if len(wrong):
            raise ValueError(
                f"{name}: rates must be finite and at least 0, got rates[{wrong[0]}] = {values[wrong[0]]}"
            )
    i, j = edges.T
    ends = np.concatenate([i, j]), np.concatenate([j, i])
    A = csr_array((np.concatenate([values, values]), ends), shape=(n, n))
    return as_csr(diags_array(A.sum(axis=1)) - A)


def effective_resistance(graph: "Topology | Any", rates: Any = None) -> np.ndarray:
    """Compute the resistance between every two nodes when each edge conducts at its rate:

        R_ij = (eᵢ − eⱼ)ᵀ Λ⁺ (eᵢ − eⱼ)

    A distance that counts all paths. The sum over pairs, `R.sum() / 2`, is the Kirchhoff index n Σ 1/λₖ over
    the eigenvalues of Λ above zero.

    Args:
      graph: a topology or an adjacency, as in `edge_list`; connected, at most 2,000 nodes.
      rates: conductances λ `[m]`, as in `laplacian_matrix`. None: all 1.

    Returns:
      `[n, n]` float64, symmetric, zero on the diagonal.

    Raises:
      ValueError: if the graph is directed, not connected by edges of positive rate, or too large.

    References:
      Klein, Randić. Resistance distance. Journal of Mathematical Chemistry 1993.
    """
    name, n, L = _connected("effective_resistance", graph, rates)
    if n > DENSE:
        raise ValueError(
            f"effective_resistance: takes at most {DENSE:,} nodes, and {name} has {n:,}; chi2 needs no dense matrix"
        )
    # 11ᵀ, at the scale of Λ, fills its kernel and drops out of every difference.
    scale = max(float(L.diagonal().mean()), 1e-300)
    inverse = np.linalg.inv(L.toarray() / scale + 1.0 / n)
    inverse = (inverse + inverse.T) / (2.0 * scale)
    own = np.diag(inverse)
    return own[:, None] + own - 2.0 * inverse


def chi1(graph: "Topology | Any", rates: Any = None) -> float:
    """Compute χ₁ = 1 / λ₂(Λ), the time constant of averaging by pairs that meet at rate λ_ij.

    With uniform probabilities p = 1/|E|: (n − 1)/2 for the complete graph, n − 1 for the star,
    n/(2 − 2 cos(2π/n)) for the ring and (n − 1)/(2 − 2 cos(π/n)) for the path. Rates c p divide it by c.

    Args:
      graph: a topology or an adjacency, as in `edge_list`; connected.
      rates: λ `[m]`, as in `laplacian_matrix`. None: the probabilities 1/m, which sum to one.

    Returns:
      χ₁; 0 for one node, which has nobody to agree with.

    Raises:
      ValueError: if the graph is directed, or not connected by edges of positive rate.

    References:
      Nabli, Oyallon. DADAO: Decoupled accelerated decentralized asynchronous optimization. ICML 2023.
    """
    _, n, L = _connected("chi1", graph, rates, uniform=True)
    if n == 1:
        return 0.0
    spectrum = circulant_eigenvalues([L])
    if spectrum is not None:
        return 1.0 / float(spectrum[0, 1:].real.min())
    if n <= DENSE:
        return 1.0 / float(np.linalg.eigvalsh(L.toarray())[1])
    return 1.0 / extremes(lambda x: L @ x, n, "low", fallback=lambda: L, centred=True)[0]


def chi2(graph: "Topology | Any", rates: Any = None) -> float:
    """Compute χ₂ = ½ max R_ij over the edges {i, j}: half the largest effective resistance of an edge.

    At most χ₁. With uniform probabilities (n − 1)/2 for complete graph, star, ring and path: every tree, and
    every graph whose edges are all alike. Rates c p divide it by c.

    Args:
      graph: a topology or an adjacency, as in `edge_list`; connected. Edges of rate 0 count in the maximum.
      rates: λ `[m]`, as in `laplacian_matrix`. None: the probabilities 1/m, which sum to one.

    Returns:
      χ₂; 0 for one node.

    Raises:
      ValueError: if the graph is directed, or not connected by edges of positive rate; above 2,000 nodes also
        if its Laplacian fills in too much when factorised, as that of an expander does above about 5,000.

    References:
      Nabli, Oyallon. DADAO: Decoupled accelerated decentralized asynchronous optimization. ICML 2023.
    """
    name, n, L = _connected("chi2", graph, rates, uniform=True)
    if n == 1:
        return 0.0
    i, j = edge_list(graph).T
    spectrum = circulant_eigenvalues([L])
    if spectrum is not None:
        inverse = np.fft.ifft(np.concatenate([[0.0], 1.0 / spectrum[0, 1:].real])).real
        return float((inverse[0] - inverse[j - i]).max())
    conductance = np.full(len(i), 1.0 / len(i)) if rates is None else np.asarray(rates, dtype=np.float64)
    if n <= DENSE:
        return 0.5 * float(effective_resistance(graph, conductance)[i, j].max())
    # An edge has at most its own resistance, and a leaf's edge has no way round it.
    weakest = float(conductance.min())
    leaf = np.bincount(np.concatenate([i, j]))[np.stack([i, j])].min(axis=0) == 1
    if weakest > 0.0 and conductance[leaf].min(initial=np.inf) == weakest:
        return 0.5 / weakest
    # Without node 0 the Laplacian is regular, and its inverse has the same resistances.
    grounded = L[1:, 1:].tocsc()
    factor = splu(
        grounded, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True}
    )
    if n * float(factor.nnz) > _WORK:
        raise ValueError(
            f"chi2: {name} has {n:,} nodes and its Laplacian {factor.nnz:,} entries when factorised, too "
            f"many to solve for every edge; up to {DENSE:,} nodes any graph will do"
        )
    own = np.zeros(n)  # entry (i, i) of the inverse, 0 at the ground
    across = np.zeros(len(i))  # entry (i, j) for every edge
    for block in np.array_split(np.arange(1, n), -(-n // 256)):
        unit = np.zeros((n, len(block)))
        unit[block, np.arange(len(block))] = 1.0
        unit[1:] = factor.solve(unit[1:])
        own[block] = unit[block, np.arange(len(block))]
        here = np.flatnonzero((j >= block[0]) & (j <= block[-1]))
        across[here] = unit[i[here], j[here] - block[0]]
    return 0.5 * float((own[i] + own[j] - 2.0 * across).max())


def _connected(
    who: str, graph: "Topology | Any", rates: Any, uniform: bool = False
) -> tuple[str, int, csr_array]:
    """(name, n, Laplacian) of a graph that the positive rates connect."""
    name, n, edges = _read(graph)
    if rates is None and uniform and len(edges) > 0:
        rates = np.full(len(edges), 1.0 / len(edges))
    L = laplacian_matrix(graph, rates)
    count = components(L)[0]
    if count > 1:
        by = "" if rates is None else " by edges of positive rate"
        raise ValueError(
            f"{who}: needs a connected graph, and {name} has {count} components{by}, between which the "
            "resistance is infinite"
        )
    return name, n, L


def _read(graph: "Topology | Any") -> tuple[str, int, np.ndarray]:
    """(name, n, edges `[m, 2]`) of an undirected topology or adjacency."""
    from dlax.topology.topology import Topology  # which imports this package

    if isinstance(graph, Topology):
        name, n, directed = graph.name, graph.n, graph.is_directed
        sender, receiver = graph.edges.T
    else:
        A = off_diagonal(as_csr(graph))
        name, n, directed = "the graph", A.shape[0], not same_support(A, A.T)
        receiver, sender = (end.astype(np.int64) for end in A.nonzero())
    if directed:
        raise ValueError(
            f"{name} is directed: a node hears another that does not hear it; Laplacians and resistances need "
            "an undirected graph"
        )
    once = sender < receiver
    return name, n, np.stack([sender[once], receiver[once]], axis=1)
