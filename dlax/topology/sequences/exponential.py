"""The exponential graph one edge at a time."""

import numpy as np

from dlax.topology.graphs.adjacency import node_count, shifts
from dlax.topology.topology import Topology, from_matrix
from dlax.topology.weights import uniform_neighbour


def one_peer_exponential(n: int) -> Topology:
    """In round t node i hears only i + 2^(t mod q) (mod n), q = ⌈log₂ n⌉, and averages with it.

    Every matrix is doubly stochastic; single rounds have a gap near 0. The product of q rounds is exactly
    11ᵀ/n if n = 2^q, and only then.

    Args:
      n: number of nodes, at least 1.

    Returns:
      A cyclic topology of q circulant matrices of degree 1 (fixed when n ≤ 2).

    Raises:
      ValueError: if n is not a positive integer.

    References:
      Ying, Yuan, Chen, Hu, Pan, Yin. Exponential graph is provably efficient for decentralized deep training.
      NeurIPS 2021.
    """
    q = (node_count("one_peer_exponential", n) - 1).bit_length()
    rounds = [uniform_neighbour()(shifts(n, [1 << k])) for k in range(q)]
    return from_matrix(rounds or [np.ones((1, 1))], name="one_peer_exponential")
