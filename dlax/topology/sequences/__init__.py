"""Graphs that change from round to round."""

from dlax.topology.sequences.base_graph import base_graph
from dlax.topology.sequences.combine import b_connected, cyclic, random_sequence
from dlax.topology.sequences.drawn import random_pairwise, redrawn_erdos_renyi
from dlax.topology.sequences.equi import equi_dyn
from dlax.topology.sequences.exponential import one_peer_exponential
from dlax.topology.sequences.matchings import edge_matchings, matcha, random_matching
from dlax.topology.sequences.pulls import random_pull, scheduled_pull
from dlax.topology.sequences.switched import switched

__all__ = [
    "b_connected",
    "base_graph",
    "cyclic",
    "edge_matchings",
    "equi_dyn",
    "matcha",
    "one_peer_exponential",
    "random_matching",
    "random_pairwise",
    "random_pull",
    "random_sequence",
    "redrawn_erdos_renyi",
    "scheduled_pull",
    "switched",
]
