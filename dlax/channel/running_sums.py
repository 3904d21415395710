"""Nothing is lost for ever: senders send the sum of all they ever sent."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dlax import tree
from dlax.channel.links import check_drop, messages, sent_and_arrived
from dlax.types import Channel, Network, Scalar, Tree


class SumsLink(NamedTuple):
    """What a link remembers."""

    sent: Tree  # σ: the sum of all messages that each node sent, leaves [n, ...]
    heard: Tree  # ρ: σ of every neighbour as the node last heard it, leaves [n, k, ...]


def running_sums(drop: Scalar | None = None) -> Channel:
    """Weighted sums over lossy links: what is lost arrives with the next message that is not.

        σⱼ ← σⱼ + message_j                                   sent to everyone who hears j
        received_i = W_ii · message_i + Σⱼ W_ij (σⱼ − ρ_ij),   ρ_ij ← σⱼ    over the j that arrive

    With column-stochastic weights the mass of the nodes and of the links together is kept, although no sender
    ever learns of a loss:

        Σᵢ xᵢ + Σᵢⱼ W_ij (σⱼ − ρ_ij) = const.

    Push-sum over this channel therefore reaches the exact mean. Without losses it is `linear`. Nodes that sit
    rounds out do no harm: they hear everything when they wake. Sums grow with the rounds, so float32 loses
    digits in long runs.

    Args:
      drop: probability in [0, 1] that a message is lost, independently by directed edge and round. None means
        perfect links.

    Returns:
      A channel whose state holds 1 + k messages a node, with k the most that a node hears. A sender pays for
      lost messages.

    Raises:
      ValueError: if `drop` is a number outside [0, 1]; in a run, if the graph changes, or a node returns without its
        old state.

    References:
      Vaidya, Hadjicostis, Domínguez-García. Robust average consensus over packet dropping links. CDC 2011.
      Hadjicostis, Vaidya, Domínguez-García. Robust distributed average consensus via exchange of running sums.
      IEEE Trans. Automatic Control 2016.
    """
    check_drop("running_sums", drop)

    def open_link(message: Tree, network: Network) -> SumsLink:
        network.require("running_sums", "fixed")
        n, k = network.table()[0].shape
        heard = jax.tree.map(lambda leaf: jnp.zeros((n, k, *leaf.shape[1:]), leaf.dtype), message)
        return SumsLink(tree.zeros_like(message), heard)

    def mix(link: SumsLink, message: Tree, network: Network) -> tuple[Tree, SumsLink, jax.Array]:
        index, weight, own = network.table()
        sent, arrived = sent_and_arrived(network, index, weight, drop)
        total = tree.add(link.sent, message)

        def hear(now: jax.Array, old: jax.Array) -> jax.Array:
            return jnp.where(tree.beside(arrived, old), now[index], old)

        def combine(x: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
            highest = jax.lax.Precision.HIGHEST  # accelerators would round float32 products to fewer bits
            gained = jnp.einsum("nk,nk...->n...", weight, new - old, precision=highest)
            return (tree.beside(own, x) * x + gained).astype(x.dtype)

        heard = jax.tree.map(hear, total, link.heard)
        received = jax.tree.map(combine, message, heard, link.heard)
        bits = messages(sent, index, network.out_degree) * tree.message_bits(message)
        return received, SumsLink(total, heard), bits

    return Channel(open_link, mix, reopens=False)
