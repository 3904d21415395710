"""Graphs that change from round to round."""

from dlax.topology.sequences.combine import cyclic, random_sequence
from dlax.topology.sequences.exponential import one_peer_exponential

__all__ = ["cyclic", "one_peer_exponential", "random_sequence"]
