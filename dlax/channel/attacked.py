"""A channel with liars on it: what Byzantine nodes send in place of their messages."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from dlax import mixing, tree
from dlax.types import Attack, Channel, Knowledge, Lies, Network, Sight, Tree

KNOWLEDGE: tuple[Knowledge, ...] = ("own", "neighbourhood", "everything")


class AttackedLink(NamedTuple):
    """What the channel and the attackers remember."""

    inner: Any  # of the channel
    memory: Any  # of the attack


def attacked(channel: Channel, attack: Attack, knowledge: Knowledge = "everything") -> Channel:
    """Any channel, on which Byzantine nodes replace their messages after all honest ones are formed.

    The attack acts before the channel does (before compression, losses and combination). A Byzantine node does not
    combine what it hears as the channel would: it takes the mean of the honest messages that it knows (or what the
    attack keeps), so that the state from which its own messages are made stays sane whatever it sends.

    Args:
      channel: how messages travel and are combined.
      attack: what Byzantine nodes send; `Network.byzantine` says who they are.
      knowledge: what they know: their "own" messages, the honest ones in their "neighbourhood", or "everything".

    Returns:
      The channel itself if the attack only poisons data.

    Raises:
      ValueError: if the attack needs more knowledge, or tells each receiver another thing over a channel that hands
        the same message to all.
    """
    if knowledge not in KNOWLEDGE:
        raise ValueError(f"knowledge: must be one of {', '.join(KNOWLEDGE)}, got {knowledge!r}")
    if attack.craft is None:
        return channel
    if KNOWLEDGE.index(knowledge) < KNOWLEDGE.index(attack.needs):
        raise ValueError(f"knowledge: this attack needs {attack.needs!r}, got {knowledge!r}")
    if attack.faces and not channel.faces:
        raise ValueError(
            "attack: tells each receiver another thing, or nothing, which this channel cannot carry; take robust "
            "or linear"
        )
    craft = attack.craft

    def open_link(message: Tree, network: Network) -> AttackedLink:
        key = jax.random.fold_in(network.key, _STREAM)
        return AttackedLink(channel.open(message, network), attack.init(message, key))

    def mix(link: AttackedLink, message: Tree, network: Network) -> tuple[Tree, AttackedLink, jax.Array]:
        assert network.byzantine is not None
        byzantine = network.byzantine
        omniscient = knowledge == "everything"

        def only_theirs(rows: Tree) -> Tree:
            return tree.where_nodes(byzantine, rows, tree.zeros_like(rows))

        def send(lies: Lies) -> tuple[Tree, Any, jax.Array]:
            sent = tree.where_nodes(byzantine, lies.sent, message)
            active = network.active
            if lies.silent:
                active = ~byzantine if active is None else active & ~byzantine
            return channel.mix(link.inner, sent, network._replace(told=lies.told, active=active))

        def need_everything() -> None:
            if not omniscient:
                raise ValueError(f"knowledge: this attack needs 'everything', got {knowledge!r}")

        def respond(lies: Lies) -> Tree:
            need_everything()
            return send(lies)[0]

        def around() -> tuple[Tree, Tree]:
            need_everything()
            return _of_neighbourhood(message, byzantine, network)

        def moments() -> tuple[Tree, Tree]:
            if omniscient:
                return _of_honest(message, byzantine)
            if knowledge == "own":
                return only_theirs(message), tree.zeros_like(message)
            mean, deviation = _of_neighbourhood(message, byzantine, network)
            return only_theirs(mean), only_theirs(deviation)

        sight = Sight(
            key=jax.random.fold_in(network.key, _STREAM),
            message=message if omniscient else only_theirs(message),
            byzantine=byzantine,
            mean=lambda: moments()[0],
            deviation=lambda: moments()[1],
            around=around,
            table=network.table,
            respond=respond,
        )
        lies, memory = craft(link.memory, sight)
        received, inner, bits = send(lies)
        kept = sight.mean() if lies.kept is None else lies.kept
        return tree.where_nodes(byzantine, kept, received), AttackedLink(inner, memory), bits

    return channel._replace(open=open_link, mix=mix, plain=False)


def where_rows(mask: jax.Array, ours: Tree, others: Tree, *, memory: Literal["ours", "others"]) -> Tree:
    """`tree.where_nodes` of a state that may hold an `AttackedLink`: attackers' memory has no rows, and goes whole.

    Args:
      mask: `[n]` bool.
      ours: state `[n, ...]`, of the nodes in the mask.
      others: of the others.
      memory: whose memory of the attack is kept.
    """

    def link(a: Any, b: Any) -> Any:
        if not isinstance(a, AttackedLink):
            return jnp.where(tree.beside(mask, b), a, b).astype(b.dtype)
        inner = tree.where_nodes(mask, a.inner, b.inner)
        return AttackedLink(inner, a.memory if memory == "ours" else b.memory)

    return jax.tree.map(link, ours, others, is_leaf=lambda part: isinstance(part, AttackedLink))


_STREAM = 0x1E5  # the attack draws apart from the channel


def _of_honest(message: Tree, byzantine: jax.Array) -> tuple[Tree, Tree]:
    """Mean and deviation over all honest nodes, leaves `[1, ...]`."""
    count = jnp.sum(~byzantine)
    honest = jax.tree.map(lambda leaf: jnp.where(tree.beside(byzantine, leaf), 0, leaf), message)

    def total(leaf: jax.Array) -> jax.Array:
        ones = jnp.ones(len(leaf), leaf.dtype)
        rows = leaf.reshape(len(leaf), -1)
        summed = jnp.einsum("n,nd->d", ones, rows, precision=jax.lax.Precision.HIGHEST)
        return summed.reshape((1, *leaf.shape[1:]))

    mean = jax.tree.map(lambda leaf: (total(leaf) / count).astype(leaf.dtype), honest)

    def deviation(leaf: jax.Array, mean: jax.Array) -> jax.Array:
        squares = jnp.where(tree.beside(byzantine, leaf), 0, jnp.square(leaf - mean))
        return jnp.sqrt(total(squares) / jnp.maximum(count - 1, 1)).astype(leaf.dtype)

    return mean, jax.tree.map(deviation, honest, mean)


def _of_neighbourhood(message: Tree, byzantine: jax.Array, network: Network) -> tuple[Tree, Tree]:
    """Mean and deviation over the honest nodes in every closed neighbourhood, leaves `[n, ...]`.

    A node that hears nobody honest and is not honest itself knows its own message.
    """
    index, weight, _ = network.table()
    linked = (weight != 0) & ~byzantine[index]
    if network.active is not None:
        linked &= network.active[index]
    if network.works is not None:
        linked &= network.works
    alone = byzantine & ~jnp.any(linked, axis=1)
    own = (~byzantine | alone).astype(weight.dtype)
    count = own + jnp.sum(linked, axis=1)
    share = jnp.where(linked, 1 / count[:, None], 0).astype(weight.dtype)
    clean = jax.tree.map(lambda leaf: jnp.where(tree.beside(byzantine & ~alone, leaf), 0, leaf), message)
    mean = mixing.pull(clean, index, share, own / count)

    def deviation(leaf: jax.Array, mean: jax.Array) -> jax.Array:
        def slot(s: jax.Array, total: jax.Array) -> jax.Array:
            return total + tree.beside(linked[:, s], leaf) * jnp.square(leaf[index[:, s]] - mean)

        first = tree.beside(own, leaf) * jnp.square(leaf - mean)
        total = jax.lax.fori_loop(0, index.shape[1], slot, first)
        return jnp.sqrt(total / tree.beside(jnp.maximum(count - 1, 1), leaf)).astype(leaf.dtype)

    return mean, jax.tree.map(deviation, clean, mean)
