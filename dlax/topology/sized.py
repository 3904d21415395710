"""A graph whose nodes average in proportion to how much data each holds."""

from collections.abc import Sequence

import numpy as np

from dlax.topology.topology import Topology, from_matrix


def weighted_by_data(topology: Topology, sizes: Sequence[float] | np.ndarray) -> Topology:
    """The same graph with the weights of federated averaging in every neighbourhood.

        W_ij = sⱼ / Σ_{k in Nᵢ ∪ {i}} sₖ   for j = i and for every j that i hears

    Row stochastic; on an undirected graph a connected part agrees on the mean with weights proportional to
    sᵢ · Σ_{k in Nᵢ ∪ {i}} sₖ. A node of size 0 is heard by nobody: it relays nothing, though it hears others. A
    node that hears nothing but sizes of 0 keeps its own: row i is eᵢ.

    Args:
      topology: who hears whom; fixed.
      sizes: s `[n]`, finite and at least 0, such as numbers of samples.

    Returns:
      A fixed topology of the same name; not connected where data-less nodes join the others.

    Raises:
      ValueError: if the topology is not fixed, or the sizes are not n such numbers.
    """
    s = np.asarray(sizes, float)
    if not topology.is_fixed:
        raise ValueError(f"weighted_by_data: needs a fixed topology, and {topology.name!r} changes")
    if s.shape != (topology.n,) or not np.isfinite(s).all() or s.min() < 0:
        raise ValueError(
            f"weighted_by_data: sizes must be {topology.n} finite numbers that are at least 0, one a node"
        )
    hears = (topology.dense() != 0) | np.eye(topology.n, dtype=bool)
    W = hears * s[None, :]
    W = np.where(W.sum(axis=1, keepdims=True) > 0, W, np.eye(topology.n))
    W /= W.sum(axis=1, keepdims=True)
    return from_matrix(W, name=topology.name, allow_disconnected=True)
