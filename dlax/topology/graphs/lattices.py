"""Regular and otherwise fully known graphs. The first argument is the number of nodes; options follow the `*`.

Rings, exponential and complete graphs number their nodes so that W is circulant: node i hears i + o (mod n)
for a fixed set of offsets o. One node is the graph whose only matrix is [[1]].
"""

import math
import operator
from dataclasses import replace
from typing import Any

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
    rows = _rows("torus", n, rows, otherwise="ring")
    node = np.arange(n).reshape(rows, n // rows)
    ends = [node, node]
    others = [np.roll(node, -1, axis=0), np.roll(node, -1, axis=1)]
    return from_adjacency("torus", undirected(n, np.stack(ends).ravel(), np.stack(others).ravel()), weights)


def grid(n: int, *, rows: int | None = None, weights: Weights = metropolis()) -> Topology:
    """A torus without the glue: node r · columns + c hears those of the four nodes around it that exist.

    The Laplacian has the sums of the two sides' path eigenvalues,

        λ_ij(L) = 4 − 2 cos(πi/rows) − 2 cos(πj/columns),   0 ≤ i < rows, 0 ≤ j < columns,

    so that the gap with `max_degree` weights (W = I − L/5) is (2/5)(1 − cos(π/s)) when both sides are at least
    3, the longer of length s. Metropolis weights are larger at the border, which leaves no simple closed form;
    their gap is a little larger, by 16 % at 3 × 3, 5 % at 10 × 10 and 2 % at 20 × 20.

    Args:
      n: number of nodes, at least 1.
      rows: number of rows, a divisor of n. None: the largest divisor up to √n, so that the grid is as near to
        a square as n allows.
      weights: the rule for the mixing weights.

    Returns:
      A fixed topology of degree up to 4.

    Raises:
      ValueError: if n is prime and `rows` is not given, or if `rows` does not divide n.
    """
    n = node_count("grid", n)
    rows = _rows("grid", n, rows, otherwise="path")
    node = np.arange(n).reshape(rows, n // rows)
    ends = np.concatenate([node[:-1].ravel(), node[:, :-1].ravel()])
    others = np.concatenate([node[1:].ravel(), node[:, 1:].ravel()])
    topology = from_adjacency("grid", undirected(n, ends, others), weights)
    place = np.arange(n)
    return replace(
        topology, positions=np.stack([place // (n // rows), place % (n // rows)], axis=1).astype(float)
    )


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


def binary_tree(n: int, *, weights: Weights = metropolis()) -> Topology:
    """A tree filled level by level: node i hears its children 2i + 1 and 2i + 2 and its parent ⌊(i − 1)/2⌋.

    Gap with Metropolis weights: Θ(1/n), since all that the root's two sides know of each other passes through
    one node; n · gap = 0.36, 0.31, 0.29, 0.27 at n = 15, 31, 63, 127.

    Args:
      n: number of nodes, at least 1; the last level may be half empty.
      weights: the rule for the mixing weights.

    Returns:
      A fixed topology of degree up to 3.

    Raises:
      ValueError: if n is not a positive integer.
    """
    child = np.arange(1, node_count("binary_tree", n))
    return from_adjacency("binary_tree", undirected(n, child, (child - 1) // 2), weights)


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


def largest_divisor(n: int) -> int:
    """The largest divisor of n up to √n, which is also the divisor nearest to √n."""
    return next(r for r in range(math.isqrt(n), 0, -1) if n % r == 0)


def whole(name: str, option: str, value: Any, least: int, most: int | None, n: int) -> int:
    """Check an option that counts something: an integer from `least` to `most` (None: no limit)."""
    try:
        count = operator.index(value)
    except TypeError:
        count = least - 1
    if count < least or (most is not None and count > most):
        span = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name}: {option} must be an integer {span} for n = {n}, got {value!r}")
    return count


def _rows(name: str, n: int, rows: int | None, otherwise: str) -> int:
    """The number of rows of a torus or grid, chosen or checked."""
    if rows is None:
        rows = largest_divisor(n)
        if rows == 1 and n > 1:
            raise ValueError(f"{name}: n must not be prime, got {n}; pass rows=1 if a {otherwise} is meant")
    elif not 1 <= rows <= n or n % rows:
        raise ValueError(f"{name}: rows must divide n = {n}, got {rows}")
    return rows
