"""Robust combination of what was heard: any rule, each node for its own neighbourhood."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlax import mixing, tree
from dlax.channel.inner import finite_rows, inner_products
from dlax.channel.links import check_drop, messages, sent_and_arrived
from dlax.robust import nna
from dlax.types import Channel, Heard, Network, PreRule, Rule, Scalar, Tree

_ENTRIES_AT_ONCE = 2_000_000  # of the [n, m, columns] array that a rule by coordinate looks at


def robust(
    drop: Scalar | None = None,
    *,
    rule: Rule = nna(),
    pre: tuple[PreRule, ...] = (),
    tolerated: int | float | None = None,
    beyond: bool = False,
) -> Channel:
    """Every node combines its own message and those it heard by a robust rule.

        received_i = rule({message_i} ∪ {message_j : i hears j}; fᵢ)

    Distances are over the whole message: all leaves, and all parts of a tuple, count as one vector. Rules of weights
    cost one matrix of inner products and ride the gossip kernel; rules by coordinate sort slabs of columns.
    A message that is not finite is at an infinite distance from all others: a rule that gives it no weight does
    not see its numbers, one that does hands on NaN, and the run is flagged.

    Args:
      drop: probability in [0, 1] that a message is lost, independently by directed edge and round. None means
        perfect links.
      rule: how the vectors are combined; see `dlax list rule`.
      pre: what is done to them before, in this order; see `dlax list pre_rule`.
      tolerated: fᵢ, how many of the m messages that a node combines (its own is one) may be lies. A whole number is
        the same for every node, a share below 1 is ⌊share · m⌋. None: each node knows the true number in its
        neighbourhood, as many papers assume. Never more than the rule can withstand among m.
      beyond: False refuses, before the run, more Byzantine messages in some honest node's neighbourhood than fᵢ.
        True lets it run, as breakdown curves want.

    Returns:
      A channel without state; a sender pays for lost messages.

    Raises:
      ValueError: if an option is out of range; before a run, as `beyond` says; in a run, if a message is not
        floating.
    """
    check_drop("robust", drop)
    if tolerated is not None and (tolerated < 0 or (tolerated >= 1) != (tolerated == int(tolerated) != 0)):
        raise ValueError(
            f"robust: tolerated must be a whole number of messages or a share below 1, got {tolerated}"
        )

    if rule.select is not None:
        pre = (*pre, rule.select)

    def most(m: int) -> int:
        """The largest number withstood among m messages, less of them after buckets."""
        for each in pre:
            m = each.rows(m)
        return rule.most(m) if m else 0

    def open_link(message: Tree, network: Network) -> tuple[()]:
        del network
        for leaf in jax.tree.leaves(message):
            if not jnp.issubdtype(leaf.dtype, jnp.floating):
                raise ValueError(f"robust: a message must be floating, got a leaf of dtype {leaf.dtype}")
        return ()

    def mix(link: tuple[()], message: Tree, network: Network) -> tuple[Tree, tuple[()], jax.Array]:
        index, weight, own = network.table()
        sent, arrived = sent_and_arrived(network, index, weight, drop)
        bits = messages(sent, index, network.out_degree) * tree.message_bits(message)
        view = look(message, network, index, arrived)
        shared = network.complete and drop is None and network.perfect and network.told is None
        if shared and (rule.reduce is not None or rule.symmetric):  # all hear the same, in another order
            view = jax.tree.map(lambda leaf: leaf[:1], view)
            if network.byzantine is not None:  # node 0 stands for all, and may be one of them
                view = view._replace(lies=network.byzantine[view.who])
        n = len(view.who)
        gossip = jnp.concatenate([own[:n, None], jnp.where(arrived, weight, 0)[:n]], axis=1)
        count = 1 + jnp.sum(arrived, axis=1)[:n]
        among = view.who.shape[1]
        faces = view.lies & view.present
        limit = jnp.asarray([most(m) for m in range(among + 1)])[count]
        if tolerated is None:
            wanted = jnp.sum(faces, axis=1)
            mass = jnp.sum(jnp.where(faces, gossip, 0), axis=1)
        else:
            share = isinstance(tolerated, float) and tolerated < 1
            wanted = jnp.floor(tolerated * count + 1e-6) if share else jnp.full_like(count, int(tolerated))
            wanted = wanted.astype(jnp.int32)
            mass = wanted * jnp.max(gossip[:, 1:], axis=1, initial=0)
        needs_inner = rule.weigh is not None or pre
        centred = rule.translates and all(each.translates for each in pre)
        inner = (
            inner_products(message, network.told, view, centred)
            if needs_inner
            else jnp.zeros((n, among, among), gossip.dtype)
        )
        keys = jax.vmap(lambda node: jax.random.fold_in(network.key, node))(jnp.arange(n))
        heard = Heard(
            inner=inner,
            present=view.present,
            finite=view.finite,
            weight=gossip,
            tolerated=jnp.minimum(wanted, limit).astype(jnp.int32),
            mass=mass.astype(gossip.dtype),
            key=keys,
            lies=faces,
        )
        before = jnp.broadcast_to(jnp.eye(among, dtype=gossip.dtype), (n, among, among))
        for place, each in enumerate(pre):
            heard, before = _after(each, place, heard, before)
        if rule.weigh is not None:
            weights = jax.vmap(rule.weigh)(heard).astype(gossip.dtype)
            if pre:
                weights = jnp.einsum("nr,nrm->nm", weights, before)
            received = combine(message, network, view, weights)
        else:
            received = _reduced(rule, message, network, view, heard, before if pre else None)
        everyone = len(index)
        if n < everyone:
            received = jax.tree.map(lambda leaf: jnp.repeat(leaf, everyone, axis=0), received)
        return received, link, bits

    def check(heard: np.ndarray, byzantine: np.ndarray) -> None:
        limit = np.array([most(int(m)) for m in heard])
        if tolerated is None:
            allowed = limit
        else:
            wanted = (
                np.floor(tolerated * heard + 1e-6) if 0 < tolerated < 1 else np.full(len(heard), tolerated)
            )
            allowed = np.minimum(limit, wanted)
        bad = np.flatnonzero(byzantine > allowed)
        if beyond or not len(bad):
            return
        i = int(bad[0])
        why = "the rule" if byzantine[i] > limit[i] else f"tolerated: {tolerated}"
        raise ValueError(
            f"channel: {len(bad)} honest nodes hear more Byzantine messages than {why} withstands; "
            f"node {i} combines {heard[i]}, of which {byzantine[i]} are Byzantine and {int(allowed[i])} are "
            "withstood. Place fewer attackers, take a denser graph, or set channel.beyond to true to see it break"
        )

    alike = drop is None and (rule.reduce is not None or rule.symmetric)
    return Channel(open_link, mix, faces=True, aged=True, server=alike, check=check)


class View(NamedTuple):
    """Who is in which slot of the nodes that combine; slot 0 is a node itself."""

    who: jax.Array  # [n, m] int32
    present: jax.Array  # [n, m] bool
    lies: jax.Array  # [n, m] bool, Byzantine: where `told` holds, if there is such a thing
    finite: jax.Array  # [n, m] bool


def look(message: Tree, network: Network, index: jax.Array, arrived: jax.Array) -> View:
    """Who is in every node's slots, from a table `[n, k]` of whom it hears and what arrived."""
    n = len(index)
    self = jnp.arange(n, dtype=index.dtype)[:, None]
    who = jnp.concatenate([self, index], axis=1)
    present = jnp.concatenate([jnp.ones((n, 1), bool), arrived], axis=1)
    lies = jnp.zeros_like(present)
    if network.byzantine is not None:
        lies = network.byzantine[who].at[:, 0].set(False)
    finite = finite_rows(message)[who]
    if network.told is not None:
        finite = jnp.where(lies, finite_rows(network.told)[:, None], finite)
    return View(who, present, lies, finite)


def _after(pre: PreRule, place: int, heard: Heard, before: jax.Array) -> tuple[Heard, jax.Array]:
    """What a pre-rule makes of what every node heard, and the product of all matrices so far."""
    keys = jax.vmap(lambda key: jax.random.fold_in(key, place))(heard.key)
    matrix, present = jax.vmap(pre.matrix)(heard._replace(key=keys))
    matrix = matrix.astype(before.dtype)
    spoilt = jnp.einsum("nrm,nm->nr", jnp.abs(matrix), (~heard.finite).astype(matrix.dtype)) > 0
    inner = jnp.einsum("nra,nab,nsb->nrs", matrix, heard.inner, matrix, precision=jax.lax.Precision.HIGHEST)
    inner = jnp.where(spoilt[:, :, None] | spoilt[:, None], 0, inner)
    weight = present / jnp.maximum(
        jnp.sum(present, axis=1, keepdims=True), 1
    )  # gossip weights are of senders
    made = heard._replace(
        inner=inner,
        present=present,
        finite=~spoilt,
        weight=weight.astype(inner.dtype),
        lies=jnp.zeros_like(present),
    )
    return made, jnp.einsum("nrs,nsm->nrm", matrix, before)


def combine(message: Tree, network: Network, view: View, weights: jax.Array) -> Tree:
    """Σⱼ weights_j x_j for every node; NaN where a vector that is not finite has a weight."""
    n, m = view.who.shape
    everyone = tree.num_nodes(message)
    spoilt = jnp.any((weights != 0) & ~view.finite, axis=1)
    clean = _clean(message, finite_rows(message))
    rest = weights
    if network.told is not None:
        rest = jnp.where(view.lies, 0, weights)
    if everyone <= 4 * m:
        rows = jnp.arange(n)[:, None]
        W = jnp.zeros((n, everyone), weights.dtype).at[rows, view.who].add(rest)
        result = jax.tree.map(lambda leaf: mixing.product(W, leaf), clean)
    else:
        result = mixing.pull(clean, view.who[:, 1:], rest[:, 1:], rest[:, 0])
    if network.told is not None:
        share = jnp.sum(weights - rest, axis=1)
        told = _clean(network.told, finite_rows(network.told))
        result = jax.tree.map(lambda leaf, lie: leaf + tree.beside(share, lie) * lie, result, told)
    return jax.tree.map(lambda leaf: jnp.where(tree.beside(spoilt, leaf), jnp.nan, leaf), result)


def _clean(message: Tree, finite: jax.Array) -> Tree:
    """Zeros in place of rows that are not finite: 0 · ∞ would spoil a sum."""
    return tree.where_nodes(finite, message, tree.zeros_like(message))


def _reduced(
    rule: Rule, message: Tree, network: Network, view: View, heard: Heard, before: jax.Array | None
) -> Tree:
    """A rule by coordinate, slab by slab of columns."""
    assert rule.reduce is not None
    reduce = rule.reduce
    n, m = view.who.shape
    width = max(16, _ENTRIES_AT_ONCE // (n * m) // 16 * 16)

    def slab(rows: jax.Array, told: jax.Array | None) -> jax.Array:  # [nodes, c] -> [n, c]
        values = mixing.gather(rows, view.who)
        if told is not None:
            values = jnp.where(view.lies[:, :, None], told[:, None], values)
        if before is not None:
            values = jnp.einsum("nrm,nmc->nrc", before, jnp.where(jnp.isfinite(values), values, 0))
        usable = heard.present[:, :, None] & heard.finite[:, :, None] & jnp.isfinite(values)
        return jax.vmap(reduce)(jnp.where(usable, values, jnp.inf), heard)

    def one(leaf: jax.Array, told: jax.Array | None) -> jax.Array:
        rows = leaf.reshape(len(leaf), -1)
        lies = None if told is None else told.reshape(len(told), -1)
        d = rows.shape[1]
        if d <= width:
            return slab(rows, lies).reshape((n, *leaf.shape[1:])).astype(leaf.dtype)
        whole = d // width

        def at(i: jax.Array) -> jax.Array:
            part = jax.lax.dynamic_slice_in_dim(rows, i * width, width, axis=1)
            other = None if lies is None else jax.lax.dynamic_slice_in_dim(lies, i * width, width, axis=1)
            return slab(part, other)

        def body(i: jax.Array, result: jax.Array) -> jax.Array:
            return jax.lax.dynamic_update_slice_in_dim(result, at(i).astype(result.dtype), i * width, axis=1)

        result = jax.lax.fori_loop(0, whole, body, jnp.zeros((n, d), leaf.dtype))
        if d % width:
            rest = slab(rows[:, whole * width :], None if lies is None else lies[:, whole * width :])
            result = result.at[:, whole * width :].set(rest.astype(leaf.dtype))
        return result.reshape((n, *leaf.shape[1:]))

    if network.told is None:
        return jax.tree.map(lambda leaf: one(leaf, None), message)
    return jax.tree.map(one, message, network.told)
