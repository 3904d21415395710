"""Weighted means of what was heard: the channel of ordinary gossip."""

from typing import Literal, get_args

import jax
import jax.numpy as jnp

from dlax import mixing, tree
from dlax.channel.links import check_drop, messages, sent_and_arrived
from dlax.types import Channel, Network, Scalar, Tree

Lost = Literal["receiver", "sender", "renormalise", "gone"]


def linear(drop: Scalar | None = None, *, symmetric: bool = False, lost: Lost = "receiver") -> Channel:
    """Every node receives the weighted mean of what its neighbours sent.

        received_i = Σⱼ W_ij · message_j

    Where a message is lost, or its sender or receiver takes no part in the round, its weight goes where `lost`
    says.

        lost          the weight W_ij of a lost message     kept for sure
        "receiver"    returns to i's own message            sums of rows: consensus is a fixed point
        "sender"      returns to j's own message            sums of columns: the mean over nodes
        "renormalise" is shared by all that i combines,     sums of rows
                      in proportion to their weights
        "gone"        is gone                               nothing; push-sum then agrees on a wrong mean

    With symmetric W and both directions of a link failing together (`symmetric`, or sleeping nodes) the first two
    are the same and keep both; with independent losses of one rate on doubly stochastic W the first keeps the mean in
    expectation. The second needs senders who learn of a loss, the last is what happens if nobody does; a node whose
    weights are all lost, its own being zero, keeps its message under "renormalise". In a run a node that takes no
    part keeps its whole state, whatever the channel makes of its message.

    Args:
      drop: probability in [0, 1] that a message is lost, independently by directed edge and round. None, the
        default, means perfect links and takes the fast kernel.
      symmetric: True makes the two directions of a link fail together.
      lost: where the weight of a lost message goes; "receiver" suits row-, "sender" column-stochastic weights.

    Returns:
      A channel without state. A sender pays for lost messages: it sends one uncompressed message to each
      active neighbour, 32 bits a float32 entry.

    Raises:
      ValueError: if `drop` is a number outside [0, 1], or `lost` is none of the four.
    """
    check_drop("linear", drop)
    if lost not in get_args(Lost):
        raise ValueError(f"linear: lost must be one of {', '.join(get_args(Lost))}, got {lost!r}")

    def open_link(message: Tree, network: Network) -> tuple[()]:
        del message, network  # nothing to remember
        return ()

    def mix(link: tuple[()], message: Tree, network: Network) -> tuple[Tree, tuple[()], jax.Array]:
        size = tree.message_bits(message)
        if drop is None and network.perfect and network.told is None:
            return network.mix(message), link, network.out_degree * size
        index, weight, own = network.table()
        sent, arrived = sent_and_arrived(network, index, weight, drop, symmetric)
        kept = jnp.where(arrived, weight, 0)
        # Who is not heard is not read: 0 times a NaN is one.
        read = jnp.where(arrived, index, jnp.arange(len(own), dtype=index.dtype)[:, None])
        if lost == "receiver":
            own = own + jnp.sum(weight - kept, axis=1)
        elif lost == "sender":
            own = own.at[index].add(weight - kept)
        elif lost == "renormalise":
            total = own + jnp.sum(kept, axis=1)
            heard = total > 0
            own = jnp.where(heard, own, 1) / jnp.where(heard, total, 1)
            kept = kept / jnp.where(heard, total, 1)[:, None]
        count = messages(sent, index, network.out_degree)
        if network.told is not None:
            assert network.byzantine is not None
            lies = jnp.where(network.byzantine[index], kept, 0)
            share = jnp.sum(lies, axis=1)
            told = jax.tree.map(lambda leaf: jnp.where(tree.beside(share, leaf) != 0, leaf, 0), network.told)
            told = mixing.pull(told, index[:, :0], lies[:, :0], share)
            received = tree.add(mixing.pull(message, read, kept - lies, own), told)
            return received, link, count * size
        received = mixing.pull(message, read, kept, own)
        return received, link, count * size

    aged = drop is None or lost != "sender"
    return Channel(open_link, mix, plain=drop is None, faces=True, aged=aged, server=drop is None)
