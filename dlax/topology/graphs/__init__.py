"""Graphs that stay as they are: named, random, from networkx and from files."""

from dlax.topology.graphs.adjacency import directed, from_adjacency, undirected
from dlax.topology.graphs.files import from_file, from_networkx
from dlax.topology.graphs.lattices import complete, hypercube, path, ring, star, static_exponential, torus
from dlax.topology.graphs.random import barabasi_albert, erdos_renyi, random_regular, watts_strogatz

__all__ = [
    "barabasi_albert",
    "complete",
    "directed",
    "erdos_renyi",
    "from_adjacency",
    "from_file",
    "from_networkx",
    "hypercube",
    "path",
    "random_regular",
    "ring",
    "star",
    "static_exponential",
    "torus",
    "undirected",
    "watts_strogatz",
]
