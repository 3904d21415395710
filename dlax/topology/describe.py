"""Everything that is known of a topology, as one table."""

from collections.abc import Callable
from typing import Any

import numpy as np

from dlax.topology.spectra import quantities, resistance
from dlax.topology.topology import Topology


def describe(topology: Topology) -> dict[str, Any]:
    """Collect a topology's properties and numbers under the names that people read.

    Args:
      topology: any.

    Returns:
      Name -> number, text, or list of words, in reading order. A number that does not exist for this topology,
      or would cost too much, is left out.
    """
    edges = len(topology.edges)
    degrees = topology.degrees
    facts: dict[str, Any] = {
        "order": topology.order if topology.period == 1 else f"{topology.order}, period {topology.period}",
        "properties": sorted(topology.properties - {"fixed"}),
        "edges" if topology.is_directed else "edges (undirected)": edges
        if topology.is_directed
        else edges // 2,
        "degree, least": int(degrees.min()),
        "degree, mean": float(degrees.mean()),
        "degree, largest": int(degrees.max()),
        "spectral gap 1 - rho": topology.spectral_gap,
    }
    rho = 1.0 - topology.spectral_gap
    if 0.0 < rho < 1.0:
        facts["rounds to a tenth"] = float(np.log(0.1) / np.log(rho))
    numbers: dict[str, Callable[[], Any]] = {
        "second eigenvalue, modulus": lambda: float(abs(quantities.second_eigenvalue(topology))),
        "least eigenvalue": lambda: topology.least_eigenvalue,
        "mixing time (1/4)": lambda: quantities.mixing_time(topology),
        "effective neighbours (decay 0.9)": lambda: quantities.effective_neighbours(topology, decay=0.9),
        "effective neighbours (decay 0.99)": lambda: quantities.effective_neighbours(topology, decay=0.99),
        "Perron weight, least · n": lambda: _perron(topology).min() * topology.n,
        "Perron weight, largest · n": lambda: _perron(topology).max() * topology.n,
    }
    if topology.is_fixed:
        numbers |= {
            "effective resistance, largest": lambda: resistance.effective_resistance(topology).max(),
            "effective resistance, total": lambda: resistance.effective_resistance(topology).sum() / 2,
            "chi1 (uniform edge probabilities)": lambda: resistance.chi1(topology),
            "chi2 (uniform edge probabilities)": lambda: resistance.chi2(topology),
        }
    else:
        numbers["connectivity window"] = lambda: quantities.connectivity_window(topology)
    for name, number in numbers.items():
        try:
            value = number()
        except ValueError:  # not defined for this topology, or too large
            continue
        if value is not None:
            facts[name] = value if isinstance(value, int | str) else float(value)
    return facts


def _perron(topology: Topology) -> np.ndarray:
    """The Perron vector that is not constant; refuses where both are."""
    if topology.is_doubly_stochastic:
        raise ValueError("doubly stochastic: both Perron vectors are constant")
    left, right = quantities.perron_vectors(topology)
    return left if topology.is_row_stochastic else right
