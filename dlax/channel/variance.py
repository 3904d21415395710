"""Averaging that keeps the scale of every layer: any channel, and a rescaling of what it hands on."""

from typing import Literal, get_args

import jax
import jax.numpy as jnp

from dlax.channel.linear import linear
from dlax.types import Channel, Network, Tree

Target = Literal["others", "self", "weighted"]


def variance_corrected(
    *, channel: Channel = linear(), target: Target = "others", biases: bool = False
) -> Channel:
    """Whatever an inner channel makes of the messages, rescaled to the variance that layers had before.

        a_i = what the inner channel hands on, leaf by leaf
        received_i = mean(a_i) + (a_i − mean(a_i)) · √(v_i / var(a_i))

    Averages of k independent draws have 1/k of their variance: networks that start from their own draws and
    average lose the scale that keeps signals and gradients alive. mean and var are over the entries of one leaf of
    one node. The target v_i, per leaf, with W the inner channel's weights:

        target        v_i                                         sent along
        "others"      Σ_{j≠i} W_ij var(x_j) / Σ_{j≠i} W_ij        one number a leaf
        "self"        var(x_i)                                    nothing
        "weighted"    Σⱼ W_ij var(x_j), with i's own              one number a leaf

    The variances travel through the inner channel too, beside the message. What it loses counts as the receiver's
    own; over channels that are no weighted means (a median) "others" makes little sense, the other two do.
    Where all nodes agree nothing changes. Tensors whose average is constant stay so.

    The ratio is pure: the later of the authors' programs adds 1e-4 to both variances. Which tensors are corrected
    is not known from the paper; its first program left biases alone, the later one takes everything.

    Args:
      channel: how messages travel.
      target: which variance a leaf gets.
      biases: also correct vectors. False corrects leaves of at least two axes a node, such as layers' weights.

    Returns:
      A channel with the inner one's state. A message counts what it occupies and, unless the target is "self",
      one number for each corrected leaf. Of a tuple of several things (model and tracker) only the first is
      corrected: it must be the model. Models must be other trees than tuples for that, such as dicts or lists.

    Raises:
      ValueError: if `target` is none of the three.

    References:
      Tian, Al-Ars, Kitsak, Hofstee. Vanishing Variance Problem in Fully Decentralized Neural-Network Systems.
      arXiv 2404.04616, 2024.
    """
    if target not in get_args(Target):
        raise ValueError(
            f"variance_corrected: target must be one of {', '.join(get_args(Target))}, got {target!r}"
        )

    def corrected(message: Tree) -> list[bool]:
        """Which leaves of a message are corrected."""
        several = type(message) is tuple
        first = len(jax.tree.leaves(message[0])) if several and message else None
        axes = 2 if biases else 3  # with the node axis
        return [
            leaf.ndim >= axes and leaf.size > leaf.shape[0] and (first is None or place < first)
            for place, leaf in enumerate(jax.tree.leaves(message))
        ]

    def variances(message: Tree) -> jax.Array:
        """Of every corrected leaf, `[n, leaves]`."""
        chosen = zip(jax.tree.leaves(message), corrected(message), strict=True)
        return jnp.stack([leaf_variance(leaf) for leaf, yes in chosen if yes], axis=1)

    def travels(message: Tree) -> Tree:
        """What goes through the inner channel."""
        return (message, variances(message)) if target != "self" and any(corrected(message)) else message

    def open_link(message: Tree, network: Network) -> Tree:
        return channel.open(travels(message), network)

    def mix(link: Tree, message: Tree, network: Network) -> tuple[Tree, Tree, jax.Array]:
        received, link, bits = channel.mix(link, travels(message), network)
        if not any(corrected(message)):
            return received, link, bits
        own = variances(message)
        goal = own
        if target != "self":
            received, goal = received
        if target == "others":
            self_weight = network.table()[2][:, None]
            rest = jnp.where(self_weight < 1, 1 - self_weight, 1)
            # Rounding may leave a little less than nothing.
            others = jnp.maximum((goal - self_weight * own) / rest, 0)
            goal = jnp.where(self_weight < 1, others, own).astype(own.dtype)
        leaves, structure = jax.tree.flatten(received)
        place = 0
        for number, yes in enumerate(corrected(message)):
            if yes:
                leaves[number] = with_variance(leaves[number], goal[:, place])
                place += 1
        return jax.tree.unflatten(structure, leaves), link, bits

    return Channel(open_link, mix)


def leaf_variance(leaf: jax.Array) -> jax.Array:
    """The variance of a leaf `[n, ...]` over its entries, node by node: `[n]`, at least float32."""
    wide = leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))
    return jnp.var(wide.reshape(leaf.shape[0], -1), axis=1)


def with_variance(leaf: jax.Array, goal: jax.Array) -> jax.Array:
    """A leaf `[n, ...]` stretched around its mean, node by node, until its variance is `goal` `[n]`."""
    rows = leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32)).reshape(leaf.shape[0], -1)
    mean = jnp.mean(rows, axis=1, keepdims=True)
    now = jnp.var(rows, axis=1)
    known = now > jnp.finfo(rows.dtype).tiny  # nothing to stretch otherwise
    scale = jnp.where(known, jnp.sqrt(goal / jnp.where(known, now, 1)), 1)
    return ((rows - mean) * scale[:, None] + mean).reshape(leaf.shape).astype(leaf.dtype)
