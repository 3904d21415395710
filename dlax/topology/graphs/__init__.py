"""Graphs that stay as they are: named, random, from networkx and from files."""

from dlax.topology.graphs.adjacency import directed, from_adjacency, undirected
from dlax.topology.graphs.clusters import barbell, caveman, lollipop
from dlax.topology.graphs.digraphs import directed_ring, random_directed
from dlax.topology.graphs.files import from_file, from_networkx
from dlax.topology.graphs.lattices import (
    binary_tree,
    complete,
    grid,
    hypercube,
    path,
    ring,
    star,
    static_exponential,
    torus,
)
from dlax.topology.graphs.random import (
    barabasi_albert,
    equi_static,
    erdos_renyi,
    random_geometric,
    random_regular,
    stochastic_block,
    watts_strogatz,
)
from dlax.topology.graphs.sybils import with_sybils

__all__ = [
    "barabasi_albert",
    "barbell",
    "binary_tree",
    "caveman",
    "complete",
    "directed",
    "directed_ring",
    "equi_static",
    "erdos_renyi",
    "from_adjacency",
    "from_file",
    "from_networkx",
    "grid",
    "hypercube",
    "lollipop",
    "path",
    "random_directed",
    "random_geometric",
    "random_regular",
    "ring",
    "star",
    "static_exponential",
    "stochastic_block",
    "torus",
    "undirected",
    "watts_strogatz",
    "with_sybils",
]
