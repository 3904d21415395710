"""What the named graphs are made with: adjacencies of edges, their checks, and the stream of random graphs."""

import operator
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array

from dlax.topology.matrix import as_csr, components
from dlax.topology.topology import Topology, from_matrix
from dlax.topology.weights import Weights

if TYPE_CHECKING:
    import networkx as nx

_TRIES = 100  # draws of a random graph before we say that it does not want to be connected


def from_adjacency(
    name: str, adjacency: csr_array, weights: Weights, allow_disconnected: bool = False
) -> Topology:
    """Make a fixed topology of an adjacency `[n, n]` in canonical form, with entry (i, j) where i hears j.

    Negative weights and rows that do not sum to one pass: the rule was chosen by name, and the best constant
    has negative ones at hubs, as `push` has such rows.
    """
    return from_matrix(
        weights(adjacency),
        name=name,
        allow_negative=True,
        allow_column=True,
        allow_disconnected=allow_disconnected,
    )


def undirected(n: int, i: np.ndarray, j: np.ndarray) -> csr_array:
    """Return the symmetric adjacency `[n, n]` of edges {i, j} `[m]`; drops loops and double edges."""
    return directed(n, np.concatenate([i, j]), np.concatenate([j, i]))


def directed(n: int, receiver: np.ndarray, sender: np.ndarray) -> csr_array:
    """Return the adjacency `[n, n]` of arcs sender -> receiver `[m]`; drops loops and double arcs."""
    keep = receiver != sender
    adjacency = as_csr(csr_array((np.ones(keep.sum()), (receiver[keep], sender[keep])), shape=(n, n)))
    adjacency.data[:] = 1.0  # double entries were added up
    return adjacency


def node_count(name: str, n: int) -> int:
    """Check the number of nodes."""
    try:
        count = operator.index(n)
    except TypeError:
        count = 0
    if count < 1:
        raise ValueError(f"{name}: n must be an integer of at least 1, got {n!r}")
    return count


def circulant(name: str, n: int, offsets: list[int], weights: Weights) -> Topology:
    """Make a fixed topology in which node i hears i + o (mod n) for every offset o."""
    return from_adjacency(name, shifts(n, offsets), weights)


def shifts(n: int, offsets: list[int]) -> csr_array:
    """The adjacency in which i hears i + o (mod n) for every offset o."""
    node = np.arange(n)
    sender = [(node + offset) % n for offset in offsets]
    return directed(n, np.tile(node, len(offsets)), np.concatenate([node[:0], *sender]))


def graph_stream(seed: int) -> np.random.Generator:
    """The stream of random graphs: no other use of the same seed shares its numbers."""
    if seed < 0:
        raise ValueError(f"the seed of a graph must be at least 0, got {seed}")
    return np.random.default_rng([seed, zlib.crc32(b"graph")])


def networkx_seed(rng: np.random.Generator) -> int:
    """Draw a seed for a networkx generator."""
    return int(rng.integers(2**32))


def from_edges(n: int, graph: "nx.Graph") -> csr_array:
    """The adjacency of a networkx graph whose nodes are 0 ... n − 1."""
    ends = np.array(list(graph.edges), dtype=np.int64).reshape(-1, 2)
    return undirected(n, ends[:, 0], ends[:, 1])


def until_connected(name: str, draw: Callable[[], csr_array], advice: str) -> csr_array:
    """Repeat `draw` until the adjacency is connected; `ValueError` with `advice` after 100 tries."""
    for _ in range(_TRIES):
        adjacency = draw()
        if components(adjacency)[0] == 1:
            return adjacency
    raise ValueError(f"{name}: none of {_TRIES} draws with n={adjacency.shape[0]} is connected ({advice})")
