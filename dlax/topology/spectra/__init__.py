"""How fast matrices average, and what else a graph's spectrum says."""

from dlax.topology.spectra.gap import Order, least_eigenvalue, spectral_gap

__all__ = ["Order", "least_eigenvalue", "spectral_gap"]
