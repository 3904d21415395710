"""How fast matrices average, and what else a graph's spectrum says."""

from dlax.topology.spectra.gap import Order, least_eigenvalue, spectral_gap
from dlax.topology.spectra.quantities import (
    connectivity_window,
    effective_neighbours,
    eigenvalues,
    heterogeneity,
    is_jointly_connected,
    mixing_time,
    neighbourhood_heterogeneity,
    perron_vectors,
    second_eigenvalue,
)
from dlax.topology.spectra.resistance import chi1, chi2, edge_list, effective_resistance, laplacian_matrix

__all__ = [
    "Order",
    "chi1",
    "chi2",
    "connectivity_window",
    "edge_list",
    "effective_neighbours",
    "effective_resistance",
    "eigenvalues",
    "heterogeneity",
    "is_jointly_connected",
    "laplacian_matrix",
    "least_eigenvalue",
    "mixing_time",
    "neighbourhood_heterogeneity",
    "perron_vectors",
    "second_eigenvalue",
    "spectral_gap",
]
