"""Mixing weights from a graph: factories of functions `adjacency -> W`.

The adjacency is a CSR array `[n, n]` without self loops, in canonical form (`as_csr`); only its support
counts: an entry (i, j) says that node i hears node j. dᵢ is the number of nodes that node i hears, and
L = diag(d) − A is the Laplacian.

What else is optimal for a graph is computed beside them: the rates of edge clocks, the probabilities of
matchings.
"""

from collections.abc import Callable

from dlax.topology.weights.balanced import sinkhorn
from dlax.topology.weights.local import (
    Weights,
    lazy_metropolis,
    max_degree,
    metropolis,
    push,
    uniform_neighbour,
)
from dlax.topology.weights.optimal import activation_probabilities, best_mixing, fastest_mixing, fdla
from dlax.topology.weights.rates import EdgeRates, edge_rates, uniform_rates
from dlax.topology.weights.spectral import best_constant, laplacian

WEIGHTS: dict[str, Callable[..., Weights]] = {
    "best_constant": best_constant,
    "fastest_mixing": fastest_mixing,
    "fdla": fdla,
    "laplacian": laplacian,
    "lazy_metropolis": lazy_metropolis,
    "max_degree": max_degree,
    "metropolis": metropolis,
    "push": push,
    "sinkhorn": sinkhorn,
    "uniform_neighbour": uniform_neighbour,
}

__all__ = [
    "WEIGHTS",
    "EdgeRates",
    "Weights",
    "activation_probabilities",
    "best_constant",
    "best_mixing",
    "edge_rates",
    "fastest_mixing",
    "fdla",
    "laplacian",
    "lazy_metropolis",
    "max_degree",
    "metropolis",
    "push",
    "sinkhorn",
    "uniform_neighbour",
    "uniform_rates",
]
