"""UBAR: near models that do no worse on the node's own samples.

Guo, Zhang, Xu, Xie, Guo, Yu, Zhang. Byzantine-Resilient Decentralized Stochastic Gradient Descent. IEEE TCSVT 2021
(UBAR; also known as Mozi).
"""

import jax
import jax.numpy as jnp

from dlax import tree
from dlax.channel.inner import finite_rows
from dlax.channel.links import messages, sent_and_arrived
from dlax.channel.robust import View, combine, look
from dlax.types import Channel, Network, Scalar, Tree


def ubar(own: Scalar = 0.5, *, share: float | None = None) -> Channel:
    """Of the nearest neighbours, those whose model loses no more than the node's own on its minibatch.

        near = the ⌊ρ |N|⌋ neighbours of smallest ‖xⱼ − xᵢ‖
        good = {j in near: ℓᵢ(xⱼ) ≤ ℓᵢ(xᵢ)}, or the nearest neighbour if there is none
        received = α xᵢ + (1 − α) mean of good

    ℓᵢ is the loss on the minibatch of which the round's gradient is taken. The paper's update is D-SGD of order
    combine_while_adapt over this channel. A model that is not finite is never good; a node that hears no other keeps
    its own. Where none is good one released code keeps the nearest, as here, and another takes a plain step.

    Args:
      own: α in [0, 1].
      share: ρ, the share of neighbours believed honest. None: each node knows how many of its neighbours are.

    Returns:
      A channel without state, for messages that are models. k losses a node and round.

    Raises:
      ValueError: if an option is outside (0, 1]; in a run, if the message is a tuple of several things.
    """
    if isinstance(own, int | float) and not 0 <= own <= 1:
        raise ValueError(f"ubar: own must be in [0, 1], got {own}")
    if share is not None and not 0 < share <= 1:
        raise ValueError(f"ubar: share must be in (0, 1], or null, got {share}")

    def open_link(message: Tree, network: Network) -> tuple[()]:
        if type(message) is tuple or network.losses is None:
            raise ValueError("ubar: compares losses of models, and takes messages that are models alone")
        return ()

    def mix(link: tuple[()], message: Tree, network: Network) -> tuple[Tree, tuple[()], jax.Array]:
        assert network.losses is not None
        losses = network.losses
        index, weight, _ = network.table()
        sent, arrived = sent_and_arrived(network, index, weight, None)
        view = look(message, network, index, arrived)
        usable = (view.present & view.finite)[:, 1:]
        k = index.shape[1]
        bits = messages(sent, index, network.out_degree) * tree.message_bits(message)
        if k == 0:
            return message, link, bits

        def measure(slot: jax.Array) -> tuple[jax.Array, jax.Array]:
            there = heard(message, network, view, slot)
            gap = jax.tree.map(
                lambda a, b: jnp.sum(jnp.square(a - b).reshape(len(a), -1), axis=1), there, message
            )
            return sum(jax.tree.leaves(gap), jnp.zeros_like(network.out_degree)), losses(there)

        far, loss = jax.lax.map(measure, jnp.arange(k))
        far, loss = jnp.where(usable, far.T, jnp.inf), loss.T
        degree = jnp.sum(arrived, axis=1)
        if share is None:
            near = degree - jnp.sum((view.lies & view.present)[:, 1:], axis=1)
        else:
            near = jnp.floor(share * degree + 1e-6).astype(degree.dtype)
        rank = jnp.argsort(jnp.argsort(far, axis=1, stable=True), axis=1, stable=True)
        good = usable & (rank < near[:, None]) & (loss <= losses(message)[:, None])
        none = ~jnp.any(good, axis=1, keepdims=True)
        good = jnp.where(none, usable & (rank == 0), good)
        count = jnp.sum(good, axis=1, keepdims=True)
        others = (1 - own) * good / jnp.maximum(count, 1)
        mine = jnp.where(count > 0, own, 1)
        weights = jnp.concatenate([mine, others], axis=1).astype(weight.dtype)
        return combine(message, network, view, weights), link, bits

    return Channel(open_link, mix, faces=True)


def heard(message: Tree, network: Network, view: View, slot: jax.Array) -> Tree:
    """What every node hears in one of its slots, leaves `[n, ...]`; 0 where it is not finite."""
    lies, who = view.lies[:, slot + 1], view.who[:, slot + 1]

    there = jax.tree.map(lambda leaf: leaf[who], message)
    if network.told is not None:
        there = tree.where_nodes(lies, network.told, there)
    return tree.where_nodes(finite_rows(there), there, tree.zeros_like(there))
