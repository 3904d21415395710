"""Who hears whom, and with which weight.

A graph gets its mixing weights here, on the host, in float64; a run sees arrays of fixed shape made of them.
A `Topology` knows what it is (symmetric, doubly stochastic, connected, its spectral gap, ...), so that an
algorithm can refuse a graph it is not valid on.

    ring(16).spectral_gap
    from_networkx(networkx.petersen_graph(), weights=laplacian())
    cyclic(ring(16), star(16))

Four rooms: `graphs/` (who hears whom), `weights/` (how much), `sequences/` (graphs that change from round to
round), `spectra/` (how fast they average, and other quantities). A new graph or sequence is one function and
one line in `TOPOLOGIES`; a new rule for weights is one function and one line in `WEIGHTS`.
"""

from collections.abc import Callable

from dlax.topology.graphs import (
    barabasi_albert,
    complete,
    erdos_renyi,
    from_file,
    from_networkx,
    hypercube,
    path,
    random_regular,
    ring,
    star,
    static_exponential,
    torus,
    watts_strogatz,
)
from dlax.topology.sequences import cyclic, one_peer_exponential, random_sequence
from dlax.topology.spectra import Order, least_eigenvalue, spectral_gap
from dlax.topology.topology import Topology, check, dense, from_matrix
from dlax.topology.weights import (
    WEIGHTS,
    Weights,
    laplacian,
    max_degree,
    metropolis,
    uniform_neighbour,
)

TOPOLOGIES: dict[str, Callable[..., Topology]] = {
    "barabasi_albert": barabasi_albert,
    "complete": complete,
    "erdos_renyi": erdos_renyi,
    "file": from_file,
    "hypercube": hypercube,
    "one_peer_exponential": one_peer_exponential,
    "path": path,
    "random_regular": random_regular,
    "ring": ring,
    "star": star,
    "static_exponential": static_exponential,
    "torus": torus,
    "watts_strogatz": watts_strogatz,
}

__all__ = [
    "TOPOLOGIES",
    "WEIGHTS",
    "Order",
    "Topology",
    "Weights",
    "barabasi_albert",
    "check",
    "complete",
    "cyclic",
    "dense",
    "erdos_renyi",
    "from_file",
    "from_matrix",
    "from_networkx",
    "hypercube",
    "laplacian",
    "least_eigenvalue",
    "max_degree",
    "metropolis",
    "one_peer_exponential",
    "path",
    "random_regular",
    "random_sequence",
    "ring",
    "spectral_gap",
    "star",
    "static_exponential",
    "torus",
    "uniform_neighbour",
    "watts_strogatz",
]
