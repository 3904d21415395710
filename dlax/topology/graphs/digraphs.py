"""Graphs whose edges go one way: to hear a node is not to be heard by it.

The first argument is the number of nodes; options follow the `*`.
"""

import numpy as np

from dlax.topology.graphs.adjacency import circulant, directed, from_adjacency, graph_stream, node_count
from dlax.topology.graphs.lattices import whole
from dlax.topology.topology import Topology
from dlax.topology.weights import Weights, uniform_neighbour


def directed_ring(n: int, *, weights: Weights = uniform_neighbour()) -> Topology:
    """A cycle in one direction: node i hears only i − 1 (mod n).

    With weights 1/2, W is doubly stochastic and normal, with eigenvalues of modulus |cos(πk/n)|, k = 0 ... n − 1:
    ρ = |λ₂| = ‖W − J‖₂ = cos(π/n), and the gap is 1 − cos(π/n) ≈ π²/(2n²). Two nodes hear each other.

    Args:
      n: number of nodes, at least 1.
      weights: the rule for the mixing weights, one that takes directed graphs.

    Returns:
      A fixed circulant topology of degree 1.

    Raises:
      ValueError: if n is not a positive integer, or if the weights need an undirected graph (n > 2).
    """
    return circulant("directed_ring", node_count("directed_ring", n), [-1], weights)


def random_directed(
    n: int, *, degree: int = 3, seed: int = 0, weights: Weights = uniform_neighbour()
) -> Topology:
    """Every node sends to the same number of others, chosen at random; how many it hears varies.

    One of the arcs of a node leads to its successor on a cycle through all nodes in random order, which keeps
    the graph strongly connected; the `degree` − 1 others end anywhere else, all choices alike. Without the
    cycle a node would hear nobody with probability about e^−degree: of degree 3, one draw in 30 is strongly
    connected at n = 64, one in 2,000 at n = 128.

    `uniform_neighbour` is row but not column stochastic here, unless all in-degrees happen to be equal. Its gap
    does not fall as n grows: mostly 0.2 to 0.25 for degree 3 and n from 300 to 100,000. In some draws it is
    1/6, where two nodes hear mostly each other: weights 1/2, 1/2 and 1/3, 1/3 have the eigenvalue 5/6.

    Args:
      n: number of nodes, more than `degree`.
      degree: number of others that each node sends to, at least 1 (a directed ring in random order).
      seed: of the graph.
      weights: the rule for the mixing weights, one that takes directed graphs.

    Returns:
      A fixed topology of mean degree `degree`.

    Raises:
      ValueError: if `degree` is not in 1 ... n − 1 (0 for one node), or if the weights need an undirected graph.
    """
    n = node_count("random_directed", n)
    degree = whole("random_directed", "degree", degree, min(1, n - 1), n - 1, n)
    rng = graph_stream(seed)
    order = rng.permutation(n)
    place = np.repeat(np.arange(n), degree)  # on the cycle
    steps = np.ones((n, degree), dtype=np.int64)
    steps[:, 1:] = 2 + _subsets(n, max(0, degree - 1), n - 2, rng)
    receiver = order[(place + steps.ravel()) % n]
    return from_adjacency("random_directed", directed(n, receiver, order[place]), weights)


def _subsets(rows: int, size: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw `rows` independent uniform subsets of 0 ... count − 1, `[rows, size]`.

    Floyd's method, a column at a time: take a number up to `top`, or `top` itself if that number is in already.
    """
    chosen = np.empty((rows, size), dtype=np.int64)
    for column, top in enumerate(range(count - size, count)):
        number = rng.integers(top + 1, size=rows)
        taken = (chosen[:, :column] == number[:, None]).any(axis=1)
        chosen[:, column] = np.where(taken, top, number)
    return chosen
