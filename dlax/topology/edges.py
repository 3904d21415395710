"""Edges as slots of nodes: where state that lives on edges is kept, and where its twin is."""

from typing import NamedTuple

import numpy as np

from dlax.topology.matrix import off_diagonal
from dlax.topology.topology import Topology


class EdgeTable(NamedTuple):
    """The neighbours of every node, in slots.

    Attributes:
      neighbour: `[n, k]` int32, who is in a slot; i itself where the slot is empty.
      weight: `[n, k]`, W_ij; 0 where the slot is empty.
      twin: `[n, k]` int32, the slot of i at that neighbour; the slot itself where it is empty.
    """

    neighbour: np.ndarray
    weight: np.ndarray
    twin: np.ndarray


def edge_table(topology: Topology) -> EdgeTable:
    """Lays the edges of a fixed undirected topology out in slots, k the largest degree.

    Slot `twin[i, s]` of node `neighbour[i, s]` is the same edge seen from its other end.

    Raises:
      ValueError: if the topology changes over rounds or is directed.
    """
    if not topology.is_fixed or topology.is_directed:
        raise ValueError(f"{topology.name}: edges with state need a fixed undirected topology")
    A = off_diagonal(topology.matrices[0])
    n, degree = topology.n, np.diff(A.indptr)
    k = int(degree.max(initial=0))
    slot = np.arange(len(A.indices)) - np.repeat(A.indptr[:-1], degree)
    row = np.repeat(np.arange(n), degree)
    index = np.repeat(np.arange(n, dtype=np.int32)[:, None], k, axis=1)
    weight = np.zeros((n, k))
    twin = np.repeat(np.arange(k, dtype=np.int32)[None], n, axis=0)
    index[row, slot] = A.indices
    weight[row, slot] = A.data
    # Sorted by (column, row), the entries of A are those of its transpose in A's own order.
    twin[row, slot] = slot[np.lexsort((row, A.indices))]
    return EdgeTable(index, weight, twin)
