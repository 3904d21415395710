"""The median of what was heard."""

import jax
import jax.numpy as jnp

from dlax import mixing, tree
from dlax.channel.links import check_drop, messages, sent_and_arrived
from dlax.types import Channel, Network, Scalar, Tree

_ENTRIES_AT_ONCE = 4_000_000  # of the [n, k + 1, columns] array that is sorted


def median(drop: Scalar | None = None) -> Channel:
    """Every node receives the median, entry by entry, of its own message and those of its neighbours.

        received_i = median({message_i} ∪ {message_j : i hears j})

    An even number of messages gives the mean of the two in the middle. Weights do not count, only who hears
    whom. The mean over nodes is not kept. Nobody leaves the range of the messages in its neighbourhood, but nodes
    need not agree: groups that are their own majority keep their value. NaN counts as the largest number.

    Args:
      drop: probability in [0, 1] that a message is lost, independently by directed edge and round. None means
        perfect links.

    Returns:
      A channel without state; a sender pays for lost messages.

    Raises:
      ValueError: if `drop` is a number outside [0, 1]; in a run, if a message is not floating.

    References:
      Yin, Chen, Ramchandran, Bartlett. Byzantine-robust distributed learning. ICML 2018 (the rule, at a server).
    """
    check_drop("median", drop)

    def open_link(message: Tree, network: Network) -> tuple[()]:
        del message, network  # nothing to remember
        return ()

    def mix(link: tuple[()], message: Tree, network: Network) -> tuple[Tree, tuple[()], jax.Array]:
        index, weight, _ = network.table()
        sent, arrived = sent_and_arrived(network, index, weight, drop)
        received = jax.tree.map(lambda leaf: _leaf_median(leaf, index, arrived), message)
        count = messages(sent, index, network.out_degree)
        return received, link, count * tree.message_bits(message)

    return Channel(open_link, mix, server=drop is None)


def _leaf_median(leaf: jax.Array, index: jax.Array, arrived: jax.Array) -> jax.Array:
    """The median over own and arrived messages of a leaf [n, ...], in slabs of columns."""
    if not jnp.issubdtype(leaf.dtype, jnp.floating):
        raise ValueError(f"median: a message must be floating, got a leaf of dtype {leaf.dtype}")
    n, k = index.shape
    rows = leaf.reshape(n, -1)
    count = 1 + jnp.sum(arrived, axis=1)
    low, high = (count - 1) // 2, count // 2

    def slab(columns: jax.Array) -> jax.Array:  # [n, c] -> [n, c]
        heard = jnp.where(arrived[:, :, None], mixing.gather(columns, index), jnp.nan)
        ranked = jnp.sort(jnp.concatenate([columns[:, None], heard], axis=1), axis=1)  # NaN comes last
        pick = jnp.stack([low, high], axis=1)[:, :, None]
        middle = jnp.take_along_axis(ranked, pick, axis=1)
        # Halves first: the sum of two large numbers would overflow.
        return jnp.where((low == high)[:, None], middle[:, 0], middle[:, 0] / 2 + middle[:, 1] / 2)

    width = max(1, _ENTRIES_AT_ONCE // (n * (k + 1)))
    d = rows.shape[1]
    if d <= width:
        return slab(rows).reshape(leaf.shape)
    padded = jnp.pad(rows, ((0, 0), (0, -d % width)))
    slabs = padded.reshape(n, -1, width).swapaxes(0, 1)
    whole = jax.lax.map(slab, slabs).swapaxes(0, 1).reshape(n, -1)
    return whole[:, :d].reshape(leaf.shape)
