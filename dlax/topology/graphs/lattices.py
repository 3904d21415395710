"""Regular and otherwise fully known graphs. The first argument is the number of nodes; options follow the `*`.

Rings, exponential and complete graphs number their nodes so that W is circulant: node i hears i + o (mod n)
for a fixed set of offsets o. One node is the graph whose only matrix is [[1]].
"""

import math

import numpy as np

from dlax.topology.graphs.adjacency import circulant, from_adjacency, node_count, undirected
from dlax.topology.topology import Topology, from_matrix
from dlax.topology.weights import Weights, metropolis, uniform_neighbour


def ring(n: int, *, weights: Weights = metropolis()) -> Topology:
    """A cycle: node i hears i − 1 and i + 1 (mod n).

    Gap with Metropolis weights (1/3 each) for n ≥ 3: (2/3)(1 − cos(2π/n)) ≈ 4π²/(3n²). Two nodes share one
    edge.

    Args:
      n: number of nodes, at least 1.
      weights: the rule for the mixing weights.

    Returns:
      A fixed circulant topology of degree 2.

    Raises:
      ValueError: if n is not a positive integer.
    """
    return circulant("ring", node_count("ring", n), [1, -1], weights)


def path(n: int, *, weights: Weights = metropolis()) -> Topology:
    """A line: node i hears i − 1 and i + 1 where they exist.

    Gap with Metropolis weights for n ≥ 3: (2/3)(1 − cos(π/n)) ≈ π²/(3n²).

    Args:
      n: number of nodes, at least 1.
      weights: the rule for the mixing weights.

    Returns:
      A fixed topology.

    Raises:
      ValueError: if n is not a positive integer.
    """
    left = np.arange(node_count("path", n) - 1)
    return from_adjacency("path", undirected(n, left, left + 1), weights)


def torus(n: int, *, rows: int | None = None, weights: Weights = metropolis()) -> Topology:
    """A grid with both pairs of sides glued together: node r · columns + c hears the four nodes around it.

    Gap with Metropolis weights (1/5 each) when both sides are at least 3, the longer of length s:
    (2/5)(1 − cos(2π/s)). Sides of length 2 have one edge, not two; a side of length 1 leaves a ring.

    Args:
      n: number of nodes, at least 1.
      rows: number of rows, a divisor of n. None: the largest divisor up to √n, so that the torus is as near
        to a square as n allows.
      weights: the rule for the mixing weights.

    Returns:
      A fixed topology of degree up to 4.

    Raises:
      ValueError: if n is prime and `rows` is not given, or if `rows` does not divide n.
    """
    n = node_count("torus", n)
    if rows is None:
        rows = next(r for r in range(math.isqrt(n), 0, -1) if n % r == 0)
        if rows == 1 and n > 1:
            raise ValueError(f"torus: n must not be prime, got {n}; pass rows=1 if a ring is meant")
    elif not 1 <= rows <= n or n % rows:
        raise ValueError(f"torus: rows must divide n = {n}, got {rows}")
    node = np.arange(n).reshape(rows, n // rows)
    ends = [node, node]
    others = [np.roll(node, -1, axis=0), np.roll(node, -1, axis=1)]
    return from_adjacency("torus", undirected(n, np.stack(ends).ravel(), np.stack(others).ravel()), weights)


def hypercube(n: int, *, weights: Weights = metropolis()) -> Topology:
    """The q-dimensional cube, n = 2^q: nodes whose numbers differ in one binary digit hear each other.

    Gap with Metropolis weights (1/(q + 1) each) for q ≥ 1: 2/(q + 1).

    Args:
      n: number of nodes, a power of two.
      weights: the rule for the mixing weights.

    Returns:
      A fixed topology of degree q.

    Raises:
      ValueError: if n is not a power of two.
    """
    q = node_count("hypercube", n).bit_length() - 1
    if n != 1 << q:
        raise ValueError(
            f"hypercube: n must be a power of two, got {n}; the nearest are {1 << q} and {2 << q}"
        )
    node = np.tile(np.arange(n), q)
    return from_adjacency("hypercube", undirected(n, node, node ^ np.repeat(1 << np.arange(q), n)), weights)


def star(n: int, *, weights: Weights = metropolis()) -> Topology:
    """A hub, node 0, that hears everyone and that everyone hears.

    Gap with Metropolis weights (1/n each) for n ≥ 3: 1/n.

    Args:
      n: number of nodes, at least 1.
      weights: the rule for the mixing weights.

    Returns:
      A fixed topology with one node of degree n − 1.

    Raises:
      ValueError: if n is not a positive integer.
    """
    leaves = np.arange(1, node_count("star", n))
    return from_adjacency("star", undirected(n, np.zeros_like(leaves), leaves), weights)


def complete(n: int) -> Topology:
    """Everyone hears everyone: W = 11ᵀ/n, exact averaging in one round; gap 1.

    Holds n² weights: 1.2 GB at n = 10,000.

    Args:
      n: number of nodes, at least 1.

    Returns:
      A fixed topology of degree n − 1.

    Raises:
      ValueError: if n is not a positive integer.
    """
    n = node_count("complete", n)
    return from_matrix(np.full((n, n), 1.0 / n), name="complete")


def static_exponential(n: int) -> Topology:
    """The directed graph in which node i hears i + 2ᵏ (mod n) for k = 0 ... q − 1, q = ⌈log₂ n⌉.

    All weights are 1/(1 + q); doubly stochastic, and symmetric only for n ≤ 3. Gap: 2/(1 + q) for even n, at
    least that for odd n.

    Args:
      n: number of nodes, at least 1.

    Returns:
      A fixed circulant topology of degree ⌈log₂ n⌉.

    Raises:
      ValueError: if n is not a positive integer.

    References:
      Ying, Yuan, Chen, Hu, Pan, Yin. Exponential graph is provably efficient for decentralized deep training.
      NeurIPS 2021.
    """
    q = (node_count("static_exponential", n) - 1).bit_length()
    return circulant("static_exponential", n, [1 << k for k in range(q)], uniform_neighbour())
