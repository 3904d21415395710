"""EquiDyn: one random shift of all nodes a round, whose rate does not depend on the number of nodes."""

from typing import Any

import numpy as np

from dlax.topology.graphs.adjacency import node_count
from dlax.topology.matrix import as_csr
from dlax.topology.sequences.drawn import SYMMETRIC, alike, drawn, pair_arrays, pairs
from dlax.topology.topology import Draw, Topology, from_matrix


def equi_dyn(n: int, *, directed: bool = False, step: float = 0.5) -> Topology:
    """In every round all nodes hear the node that is a ahead, or are paired so; a is drawn from 1 ... n − 1.

        W = (1 − h) I + h A,   A_ij = 1 − 1/n for the node j that i hears, A_ii the rest

    Directed (OD-EquiDyn): i hears i + a (mod n), one node a round, and ρ² = 1 − 2h + 2h² (n − 1)/n: for
    h = ½ that is (n − 1)/(2n), below ½ however large n is.

    Undirected (OU-EquiDyn): from a drawn start s, the nodes s, s + 1, ... are gone through in turn, and i is
    paired with i + a if both are still free. Who is left over sleeps. With P the share of rounds in which two
    nodes meet, as a graph, and h' = h (1 − 1/n): ρ² = 1 − 2h' (1 − h') λ₂(L_P), exact too.

    Args:
      n: number of nodes, at least 1.
      directed: OD-EquiDyn instead of OU-EquiDyn.
      step: h, in (0, 1].

    Returns:
      A drawn topology; fixed if n ≤ 2, where nothing is left to draw.

    Raises:
      ValueError: if `step` is outside (0, 1].

    References:
      Song, Li, Jin, Shi, Yan, Yin, Yuan. Communication-efficient topologies for decentralized learning with
      O(1) consensus rate. NeurIPS 2022.
    """
    n = node_count("equi_dyn", n)
    if not 0.0 < step <= 1.0:
        raise ValueError(f"equi_dyn: step must be in (0, 1], got {step}")
    share = step * (1.0 - 1.0 / n)
    if n <= 2:
        return from_matrix(alike(n, share), name="equi_dyn")
    arrays = pair_arrays(n, share)
    if directed:
        squared = 1.0 - 2.0 * step + 2.0 * step * share
        words = SYMMETRIC - {"symmetric", "undirected"}
        return drawn("equi_dyn", alike(n, share / (n - 1)), Draw(_shift, arrays, words, lambda: squared))
    met, place = _meetings(n), np.arange(n)
    row = share * met
    row[0] += 1.0 - share
    expected = as_csr(row[(place - place[:, None]) % n])

    def contraction() -> float:
        least = (1.0 - np.fft.fft(met).real[1:]).min()  # of the Laplacian of who meets whom
        return float(1.0 - 2.0 * share * (1.0 - share) * least)

    return drawn("equi_dyn", expected, Draw(_shift_pairs, arrays, SYMMETRIC, contraction, 1.0 - 2.0 * share))


def partners(ahead: Any, a: Any, n: int, where: Any) -> Any:
    """Whom each node is paired with when the nodes are gone through in turn, all nodes at once.

    The node `ahead` places after the start takes the one a further on if both are free. For a ≤ n/2 the nodes
    r, r + a, r + 2a, ... < n pair up from the first, as whoever could take one of them from behind comes
    later. For a > n/2 the first b = n − a nodes take those at r + a; what is left hears b back, and 2b ... 3b
    take b ... 2b, 4b ... 5b take 3b ... 4b, and so on.

    Args:
      ahead: `[n]` int, each node's place counted from the start.
      a: `[]` int, the shift, from 1 to n − 1.
      n: number of nodes.
      where: `numpy.where`, or that of jax.

    Returns:
      `[n]` the place of each node's partner, its own if it has none.
    """
    b = n - a
    upward = where(ahead + a < n, ahead + a, ahead)
    short = where(ahead // a % 2 == 0, upward, ahead - a)
    inner = where(ahead // b % 2 == 0, ahead - b, where(ahead + b < a, ahead + b, ahead))
    long = where(ahead < b, ahead + a, where(ahead >= a, ahead - a, inner))
    return where(2 * a <= n, short, long)


def _meetings(n: int) -> np.ndarray:
    """`[n]` the probability that a node is paired with the one o ahead; entry 0: with nobody."""
    place, met = np.arange(n), np.zeros(n)
    for a in range(1, n):
        offset = (partners(place, a, n, np.where) - place) % n
        met += np.bincount(offset, minlength=n)
    return met / (n * (n - 1))


def _shift(t: Any, key: Any, arrays: Any) -> Any:
    import jax
    import jax.numpy as jnp

    del t
    node = arrays["node"]
    n = node.shape[0]
    return pairs((node + jax.random.randint(key, (), 1, n, jnp.int32)) % n, arrays)


def _shift_pairs(t: Any, key: Any, arrays: Any) -> Any:
    import jax
    import jax.numpy as jnp

    del t
    node = arrays["node"]
    n = node.shape[0]
    shift_key, start_key = jax.random.split(key)
    a = jax.random.randint(shift_key, (), 1, n, jnp.int32)
    start = jax.random.randint(start_key, (), 0, n, jnp.int32)
    return pairs((partners((node - start) % n, a, n, jnp.where) + start) % n, arrays)
