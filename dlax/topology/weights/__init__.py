"""Mixing weights from a graph: factories of functions `adjacency -> W`.

The adjacency is a CSR array `[n, n]` without self loops, in canonical form (`as_csr`); only its support
counts: an entry (i, j) says that node i hears node j. dᵢ is the number of nodes that node i hears, and
L = diag(d) − A is the Laplacian.
"""

from collections.abc import Callable

from dlax.topology.weights.local import Weights, laplacian, max_degree, metropolis, uniform_neighbour

WEIGHTS: dict[str, Callable[..., Weights]] = {
    "laplacian": laplacian,
    "max_degree": max_degree,
    "metropolis": metropolis,
    "uniform_neighbour": uniform_neighbour,
}

__all__ = ["WEIGHTS", "Weights", "laplacian", "max_degree", "metropolis", "uniform_neighbour"]
