"""What happens to a message between sending and having received: bits, drops, sleepers, combination."""

import jax
import jax.numpy as jnp

from dlax import mixing, tree
from dlax.types import Channel, Network, Scalar, Tree


def linear(drop: Scalar | None = None, *, symmetric: bool = False) -> Channel:
    """Every node receives the weighted mean of what its neighbours sent.

        received_i = Σⱼ W_ij · message_j

    Where a message is lost, or its sender or receiver takes no part in the round, its weight returns to the
    receiver's own message: rows still sum to one, so consensus stays a fixed point. The mean over nodes is
    kept only if both directions of a link fail together (`symmetric`, or sleeping nodes) and W is symmetric;
    else it is kept in expectation. A node that takes no part keeps its own message.

    Args:
      drop: probability in [0, 1] that a message is lost, independently by directed edge and round. None, the
        default, means perfect links and takes the fast kernel.
      symmetric: True makes the two directions of a link fail together.

    Returns:
      A channel without state. A sender pays for lost messages: it sends one uncompressed message to each
      active neighbour, 32 bits a float32 entry.

    Raises:
      ValueError: if `drop` is a number outside [0, 1].
    """
    if isinstance(drop, int | float) and not 0 <= drop <= 1:
        raise ValueError(f"linear: drop must be in [0, 1], got {drop}")

    def open_link(message: Tree) -> tuple[()]:
        del message  # nothing to remember
        return ()

    def mix(link: tuple[()], message: Tree, network: Network) -> tuple[Tree, tuple[()], jax.Array]:
        size = tree.message_bits(message)
        if drop is None and network.active is None:
            return network.mix(message), link, network.out_degree * size
        index, weight, own = network.table()
        sent = weight != 0
        if network.active is not None:
            sent &= network.active[:, None] & network.active[index]
        arrived = sent
        if drop is not None:
            arrived = sent & (_uniform_by_edge(network.key, index, symmetric) >= drop)
        kept = jnp.where(arrived, weight, 0)
        returned = jnp.sum(weight - kept, axis=1)
        received = mixing.combine(message, index, kept, own + returned)
        messages = jnp.zeros_like(network.out_degree).at[index].add(sent.astype(network.out_degree.dtype))
        return received, link, messages * size

    return Channel(open_link, mix)


def _uniform_by_edge(key: jax.Array, index: jax.Array, symmetric: bool) -> jax.Array:
    """A uniform number a directed edge [n, k]; the same for both directions if symmetric."""
    if not symmetric:
        return jax.random.uniform(key, index.shape, jnp.float32)
    nodes = jnp.broadcast_to(jnp.arange(index.shape[0])[:, None], index.shape)
    low, high = jnp.minimum(nodes, index), jnp.maximum(nodes, index)

    def one(low: jax.Array, high: jax.Array) -> jax.Array:
        edge_key = jax.random.fold_in(jax.random.fold_in(key, low), high)
        return jax.random.uniform(edge_key, (), jnp.float32)

    return jax.vmap(jax.vmap(one))(low, high)


CHANNELS = {"linear": linear}
