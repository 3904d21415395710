"""Rates of the clocks by which the ends of edges meet, for asynchronous averaging."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dlax.topology.spectra.resistance import chi1, chi2, edge_list
from dlax.topology.weights.optimal import incidence, load_cvxpy, solve

if TYPE_CHECKING:
    from dlax.topology.topology import Topology

_NODES, _EDGES = 60, 200  # two minutes


class EdgeRates(NamedTuple):
    """Rates of the clocks by which the two ends of an edge communicate.

    Attributes:
      edges: {i, j} `[m, 2]`, in the order of `edge_list`.
      rates: λ_ij `[m]`, ticks per unit of time.
      total: Σ λ_ij.
      chi1: χ₁ of these rates.
      chi2: χ₂ of these rates.
    """

    edges: np.ndarray
    rates: np.ndarray
    total: float
    chi1: float
    chi2: float


def uniform_rates(graph: "Topology | Any") -> EdgeRates:
    """Set one rate for all edges, the least that meets DADAO's communication condition 2 χ₁ χ₂ ≤ 1.

        λ_ij = √(2 χ₁(p) χ₂(p)) / m,   p = 1/m the uniform probabilities

    Args:
      graph: a topology or an adjacency `[n, n]`, undirected, connected, with at least one edge.

    Returns:
      The rates, with 2 χ₁ χ₂ = 1.

    Raises:
      ValueError: if the graph is directed, disconnected or without edges, or too large for `chi2`.

    References:
      Nabli, Oyallon. DADAO: Decoupled accelerated decentralized asynchronous optimization. ICML 2023.
    """
    return _least_total("uniform_rates", graph, None)


def edge_rates(graph: "Topology | Any") -> EdgeRates:
    """Set the rates of least total that meet DADAO's communication condition 2 χ₁ χ₂ ≤ 1.

        minimise Σ λ_ij   over λ ≥ 0 and u v ≥ 1, where
        Λ ≽ u (I − J)                         says χ₁ ≤ 1/u
        Λ ≽ v bᵢⱼ bᵢⱼᵀ, bᵢⱼ = eᵢ − eⱼ, on every edge   says χ₂ ≤ 1/(2v)

    Both χ are the inverse of concave functions of λ, λ₂(Λ) and the least effective conductance of an edge, whose
    geometric mean is concave: all is one convex programme, with no search over χ₁. Graphs whose edges are all
    alike gain nothing, nor does a path; two cliques of ten joined by an edge gain a factor of five. An edge of
    rate 0 still counts in χ₂, so that dropping it altogether might save a little more.

    The paper optimises edge rates by a semidefinite relaxation, which was not available to us; this programme
    is the exact one for the condition above. The result is within 1e-5 of the optimum, and never above
    `uniform_rates`. Seconds for 30 nodes, two minutes for 60 nodes and 200 edges.

    Args:
      graph: a topology or an adjacency `[n, n]`, undirected, connected, with at least one edge; at most 60
        nodes and 200 edges.

    Returns:
      The rates, with 2 χ₁ χ₂ = 1.

    Raises:
      ValueError: if the graph is directed, disconnected, without edges or too large; without `cvxpy`.

    References:
      Nabli, Oyallon. DADAO: Decoupled accelerated decentralized asynchronous optimization. ICML 2023.
    """
    edges = edge_list(graph)
    m, n = len(edges), int(edges.max(initial=-1)) + 1
    if n > _NODES or m > _EDGES:
        raise ValueError(
            f"edge_rates: takes at most {_NODES} nodes and {_EDGES} edges, got {n} and {m}; use uniform_rates"
        )
    uniform = _least_total("edge_rates", graph, None)
    cp = load_cvxpy("edge_rates")
    # Everything in units of the uniform solution, where u = v = 1. All of these matrices vanish on 1, so that
    # nothing is lost without node 0, and inner points exist.
    b = incidence(n, edges)[:, 1:]
    rest = (np.eye(n) - 1.0 / n)[1:, 1:] / uniform.chi1
    rate, u, v = cp.Variable(m, nonneg=True), cp.Variable(), cp.Variable()
    total = b.T @ cp.diag(rate) @ b * uniform.rates[0]
    solve(
        "edge_rates",
        cp.Minimize(cp.sum(rate)),
        [
            cp.inv_pos(v) <= u,
            total - u * rest >> 0,
            *(total - v * np.outer(row, row) / (2.0 * uniform.chi2) >> 0 for row in b),
        ],
    )
    found = _least_total("edge_rates", graph, np.maximum(rate.value, 0.0))
    return found if found.total < uniform.total else uniform


def _least_total(who: str, graph: "Topology | Any", shares: np.ndarray | None) -> EdgeRates:
    """The rates in proportion to `shares` `[m]` (None: all alike) with 2 χ₁ χ₂ = 1."""
    edges = edge_list(graph)
    if len(edges) == 0:
        raise ValueError(f"{who}: needs a graph with at least one edge")
    p = np.full(len(edges), 1.0 / len(edges)) if shares is None else shares / shares.sum()
    one, two = chi1(graph, p), chi2(graph, p)
    total = float(np.sqrt(2.0 * one * two))
    return EdgeRates(edges, total * p, total, one / total, two / total)
