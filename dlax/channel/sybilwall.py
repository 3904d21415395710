"""SybilWall: neighbours who resemble one another, or distant nodes that gossip has told of, lose their weight.

Werthenbach, Pouwelse. Towards Sybil Resilience in Decentralized Learning. 2023 (arXiv 2306.15044).
"""

from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from dlax import mixing, tree
from dlax.channel.inner import finite_rows
from dlax.channel.links import messages, sent_and_arrived
from dlax.channel.robust import combine, look
from dlax.robust.similarity import foolsgold_weights
from dlax.types import Channel, Key, Network, Scalar, Tree

History = Literal["model", "delta"]
_DIRECT = -1  # the source of a history that came from its owner
_NOBODY = -1  # who is in an empty slot
_LATER = 1 << 24  # more rounds than a run has


class Known(NamedTuple):
    """Of whom every node has a history, in slots."""

    who: jax.Array  # [n, S] int32, -1 where the slot is empty
    round: jax.Array  # [n, S] int32, whose model it is of
    distance: jax.Array  # [n, S] int32, hops that it has come; 1 if its owner sent it
    source: jax.Array  # [n, S] int32, the neighbour who told it; -1 if its owner did


class SybilWallLink(NamedTuple):
    """What the nodes remember."""

    known: Known
    rounds: jax.Array  # [n] int32, rounds so far
    ring: Tree  # leaves [n, R, ...]: every node's history as it was after each of the last R rounds
    first: Tree  # leaves [n, ...]: the first model that a node sent; of history = "delta"


def sybilwall(
    decay: Scalar = 0.8, *, history: History = "model", slots: int | None = None, memory: int = 40
) -> Channel:
    """FoolsGold over the histories of neighbours and of distant nodes, which spread by probabilistic gossip.

        H_p = x_p, or the sum of p's updates since its first model
        w = FoolsGold({H_p : p a neighbour of i, or one it was told of})
        received_i = (x_i + Σ_{j neighbour} w_j x_j) / (1 + Σ_{j neighbour} w_j)

    With its model a node sends every neighbour q one history out of those it knew at the end of the last
    round, drawn with probability proportional to

        λ exp(−λ (distance_p − 1))    over p ∉ {i, q} that q did not tell

    and none if there is none left. q keeps it, one hop farther, if it does not know p, or if it is of a later
    round and q's own did not come from p itself. Distant nodes serve for comparison only. Mixing weights do not
    count.

    After the released code, which adds each update to a sum that began with the first model: while models arrive
    in every round that sum is the latest model, so slots hold (who, round, distance, source) and each model is
    kept once. There a slip hands the first distant node's weight to the own model and divides by distant weights
    too; here is the rule that is meant. Byzantine nodes gossip no histories. A model that is not finite is as one
    that did not arrive.

    Args:
      decay: λ, at least 0: how much rather near nodes are told of.
      history: "model", as in the released code; "delta" without the first model, the sum of updates that FoolsGold
        means. A node has none in its first round, and nobody resembles it.
      slots: S, of how many others a node keeps a history, at least the most neighbours that one has; the oldest
        distant one makes room. None: of all.
      memory: R, rounds after which a history is forgotten; R models of every node are kept. The code forgets
        none: take the number of rounds where they fit.

    Returns:
      A channel for floating messages. A history costs as much as a model; its round, distance and names are not
      counted.

    Raises:
      ValueError: if an option is out of range; in a run, if a node has more neighbours than slots, or the message
        is not floating.
    """
    if isinstance(decay, int | float) and not 0 <= decay < float("inf"):
        raise ValueError(f"sybilwall: decay must be at least 0, got {decay}")
    if history not in get_args(History):
        raise ValueError(f"sybilwall: history must be one of {', '.join(get_args(History))}, got {history!r}")
    for name, value in (("slots", slots), ("memory", memory)):
        if value is not None and value < 1:
            raise ValueError(f"sybilwall: {name} must be at least 1, got {value}")

    def open_link(message: Tree, network: Network) -> SybilWallLink:
        n, k = network.table()[0].shape
        size = max(n - 1, 1) if slots is None else slots
        if size < k:
            raise ValueError(f"sybilwall: slots must be at least the {k} neighbours of a node, got {size}")
        for leaf in jax.tree.leaves(message):
            if not jnp.issubdtype(leaf.dtype, jnp.floating):
                raise ValueError(f"sybilwall: a message must be floating, got a leaf of dtype {leaf.dtype}")
        none = jnp.full((n, size), _NOBODY, jnp.int32)
        zero = jnp.zeros((n, size), jnp.int32)
        ring = jax.tree.map(lambda x: jnp.zeros((n, memory, *x.shape[1:]), x.dtype), message)
        first = tree.zeros_like(message) if history == "delta" else ()
        return SybilWallLink(Known(none, zero, zero, none), jnp.zeros(n, jnp.int32), ring, first)

    def mix(link: SybilWallLink, message: Tree, network: Network) -> tuple[Tree, SybilWallLink, jax.Array]:
        index, weight, _ = network.table()
        n = len(index)
        if index.shape[1] == 0:  # nobody to hear
            return message, link, jnp.zeros_like(network.out_degree)
        sent, over = sent_and_arrived(network, index, weight, None)
        arrived = over & finite_rows(message)[index]
        now = jnp.max(link.rounds)  # of those who slept it is less
        known = forget(link.known, now - memory)

        told, tells = draw(jax.random.fold_in(network.key, _GOSSIP), known, index, sent, decay)
        if network.byzantine is not None:
            tells &= ~network.byzantine[index]
        direct = Known(index, jnp.full_like(index, now), jnp.ones_like(index), jnp.full_like(index, _DIRECT))
        known = jax.vmap(keep)(known, direct, arrived)
        known = jax.vmap(keep)(known, told, tells & over)

        first = link.first
        if history == "delta":
            old = link.rounds > 0
            first = jax.tree.map(lambda was, x: jnp.where(tree.beside(old, x), was, x), first, message)
        clean = _zero_where_not_finite(message)
        entry = clean if history == "model" else tree.add(clean, _zero_where_not_finite(first), -1.0)
        place = now % memory
        ring = jax.tree.map(lambda all_, x: all_.at[:, place].set(x), link.ring, entry)

        weights = jax.vmap(foolsgold_weights)(_inner(ring, known, memory), known.who != _NOBODY)
        same = (known.who[:, None] == index[:, :, None]) & arrived[:, :, None]  # [n, k, S]
        trust = jnp.sum(jnp.where(same, weights[:, None], 0), axis=2)
        shares = jnp.concatenate([jnp.ones((n, 1), trust.dtype), trust], axis=1)
        shares = shares / jnp.sum(shares, axis=1, keepdims=True)
        received = combine(message, network, look(message, network, index, arrived), shares)
        counts = messages(sent, index, network.out_degree) + messages(tells, index, network.out_degree)
        link = SybilWallLink(known, jnp.broadcast_to(now + 1, (n,)), ring, first)
        return received, link, counts * tree.message_bits(message)

    return Channel(open_link, mix)


_GOSSIP = 0x9055  # the stream of the draws


def forget(known: Known, before: jax.Array) -> Known:
    """Empties the slots with histories of round `before` and earlier."""
    return known._replace(who=jnp.where(known.round > before, known.who, _NOBODY))


def draw(key: Key, known: Known, index: jax.Array, sent: jax.Array, decay: Scalar) -> tuple[Known, jax.Array]:
    """What every node is told by those it hears: one history a directed edge.

    Args:
      key: of the draws.
      known: what the tellers know.
      index: `[n, k]`, whom each node hears.
      sent: `[n, k]` bool, over which of these slots something is sent.
      decay: λ.

    Returns:
      The histories as the receiver may keep them, leaves `[n, k]`, and whether there is one `[n, k]`.
    """
    receiver = jnp.arange(len(index), dtype=index.dtype)[:, None, None]
    theirs = mixing.gather(known, index)  # leaves [n, k, S]
    who = theirs.who
    allowed = (who != _NOBODY) & (who != receiver) & (who != index[:, :, None]) & (theirs.source != receiver)
    logits = jnp.where(allowed, -jnp.asarray(decay, jnp.float32) * (theirs.distance - 1), -jnp.inf)
    chosen = jax.random.categorical(key, logits, axis=-1)[:, :, None]
    picked = jax.tree.map(lambda leaf: jnp.take_along_axis(leaf, chosen, axis=2)[:, :, 0], theirs)
    return picked._replace(distance=picked.distance + 1, source=index), sent & jnp.any(allowed, axis=2)


def keep(known: Known, items: Known, there: jax.Array) -> Known:
    """What one node knows after it was told one thing after the other; leaves `[S]`, items `[k]`."""
    slots = jnp.arange(known.who.shape[0], dtype=known.who.dtype)

    def one(s: jax.Array, known: Known) -> Known:
        item = jax.tree.map(lambda leaf: leaf[s], items)
        direct = item.source == _DIRECT
        same = known.who == item.who
        # An empty slot, else the oldest distant history, else the oldest.
        rank = known.round + jnp.where(known.distance > 1, 0, _LATER)
        rank = jnp.where(known.who == _NOBODY, -1, rank)
        rank = jnp.where(same, -2, rank)
        chosen = slots == jnp.argmin(rank).astype(slots.dtype)
        later = (known.distance > 1) & (item.round > known.round)
        # Masks in place of an index: under two vmaps a scatter is a loop over nodes and seeds.
        takes = chosen & there[s] & (direct | (known.who == _NOBODY) | later)
        return jax.tree.map(lambda leaf, new: jnp.where(takes, new, leaf), known, item)

    return jax.lax.fori_loop(0, len(there), one, known)


def _inner(ring: Tree, known: Known, memory: int) -> jax.Array:
    """Inner products of the histories that each node knows, `[n, S, S]`; 0 where it knows none."""
    flat = [leaf.reshape(*leaf.shape[:2], -1) for leaf in jax.tree.leaves(ring)]
    wide = [leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32)) for leaf in flat]

    def one(slots: tuple[jax.Array, jax.Array]) -> jax.Array:
        who, round = slots
        rows = [leaf[jnp.maximum(who, 0), round % memory] for leaf in wide]
        rows = [jnp.where((who != _NOBODY)[:, None], leaf, 0) for leaf in rows]
        parts: list[Any] = [jnp.matmul(x, x.T, precision=jax.lax.Precision.HIGHEST) for x in rows]
        return sum(parts[1:], start=parts[0])

    return jax.lax.map(one, (known.who, known.round))


def _zero_where_not_finite(message: Tree) -> Tree:
    """Zeros for rows with a number that is not finite."""
    finite = finite_rows(message)
    return jax.tree.map(lambda leaf: jnp.where(tree.beside(finite, leaf), leaf, 0), message)
