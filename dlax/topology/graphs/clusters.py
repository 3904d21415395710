"""Complete graphs joined by few edges: what averages slowly though most nodes are near each other.

The first argument is the number of nodes; options follow the `*`. Cliques hold all their edges: one of a nodes
has a(a − 1)/2.
"""

import numpy as np

from dlax.topology.graphs.adjacency import from_adjacency, node_count, undirected
from dlax.topology.graphs.lattices import largest_divisor, whole
from dlax.topology.topology import Topology
from dlax.topology.weights import Weights, metropolis


def barbell(n: int, *, bridge: int = 0, weights: Weights = metropolis()) -> Topology:
    """Two cliques joined by a path: all that one half knows of the other passes through one edge.

    The first ⌈(n − bridge)/2⌉ nodes are one clique, the next `bridge` the path, the rest the other clique. Gap
    with Metropolis weights for even n ≥ 4, no bridge, cliques of a = n/2 nodes:

        1 − (a + √(a² + 4a − 4)) / (2(a + 1)) ≈ 8/n²

    and about 4/n² with a bridge that is short against n.

    Args:
      n: number of nodes, at least 1.
      bridge: number of nodes on the path between the cliques, from 0 to n − 2. 0: one edge.
      weights: the rule for the mixing weights.

    Returns:
      A fixed topology.

    Raises:
      ValueError: if n is not a positive integer, or if `bridge` is out of its range.
    """
    n = node_count("barbell", n)
    bridge = whole("barbell", "bridge", bridge, 0, max(0, n - 2), n)
    left = (n - bridge + 1) // 2
    right = left + bridge  # its first node
    path = np.arange(left - 1, min(right, n - 1))
    i, j = _cliques(np.array([0, right]), np.array([left, n - right]))
    return from_adjacency("barbell", undirected(n, np.append(i, path), np.append(j, path + 1)), weights)


def lollipop(n: int, *, tail: int | None = None, weights: Weights = metropolis()) -> Topology:
    """A clique with a path attached: the first n − tail nodes are the clique, its last node holds the path.

    Gap with Metropolis weights and the default tail: Θ(1/n²), like a path's; n² · gap = 3.48, 3.53, 3.56, 3.57 at
    n = 16, 32, 100, 400.

    Args:
      n: number of nodes, at least 1.
      tail: number of nodes outside the clique, from 0 (a complete graph) to n − 1 (a path). None: ⌊n/2⌋.
      weights: the rule for the mixing weights.

    Returns:
      A fixed topology.

    Raises:
      ValueError: if n is not a positive integer, or if `tail` is out of its range.
    """
    n = node_count("lollipop", n)
    head = n - (n // 2 if tail is None else whole("lollipop", "tail", tail, 0, n - 1, n))
    path = np.arange(head - 1, n - 1)
    i, j = _cliques(np.array([0]), np.array([head]))
    return from_adjacency("lollipop", undirected(n, np.append(i, path), np.append(j, path + 1)), weights)


def caveman(n: int, *, cliques: int | None = None, weights: Weights = metropolis()) -> Topology:
    """A ring of cliques, each of which has turned one of its edges towards the clique before it.

    Clique c holds the nodes from ck to ck + k − 1 for k = n/cliques. Its edge {ck, ck + 1} becomes
    {ck, ck − 1} (mod n), so that the number of edges and the mean degree k − 1 stay. Gap with Metropolis weights:
    below (2/k²)(1 − cos(2π/cliques)), and near it for large k (0.76 of it for 10 cliques of 10 nodes, 0.87 for
    20 of 20): Θ(1/n²) with the default.

    Args:
      n: number of nodes, at least 6 and not prime.
      cliques: number of cliques, a divisor of n; at least 2, of at least 3 nodes each (pairs that turn their
        only edge fall apart). None: the divisor of n nearest to √n, which is the largest up to √n.
      weights: the rule for the mixing weights.

    Returns:
      A fixed topology of degree up to n/cliques.

    Raises:
      ValueError: if n is less than 6 or prime, or if `cliques` does not divide n into at least 2 cliques of at
        least 3 nodes.

    References:
      Watts. Networks, dynamics, and the small-world phenomenon. American Journal of Sociology 1999.
    """
    n = node_count("caveman", n)
    if n < 6:
        raise ValueError(f"caveman: n must be at least 6, two cliques of three nodes, got {n}")
    if cliques is None:
        cliques = largest_divisor(n)
        if cliques == 1:
            raise ValueError(f"caveman: n must not be prime, got {n}")
    cliques = whole("caveman", "cliques", cliques, 2, n // 3, n)
    if n % cliques:
        raise ValueError(f"caveman: cliques must divide n = {n}, got {cliques}")
    size = n // cliques
    first = np.arange(0, n, size)
    i, j = _cliques(first, np.full(cliques, size))
    turned = (i % size == 0) & (j == i + 1)
    j[turned] = (i[turned] - 1) % n
    return from_adjacency("caveman", undirected(n, i, j), weights)


def _cliques(first: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The edges i < j of disjoint complete graphs on the nodes first[c] ... first[c] + sizes[c] − 1."""
    pairs = {int(size): np.triu_indices(size, 1) for size in np.unique(sizes)}
    ends = [np.stack(pairs[int(size)]) + start for start, size in zip(first, sizes, strict=True)]
    i, j = np.concatenate(ends, axis=1)
    return i, j
