"""Bristle: output layers merged class by class, by what they score on a tiny test set of one's own.

Verbraeken, de Vos, Pouwelse. Bristle: Decentralized Federated Learning in Byzantine, Non-i.i.d. Environments. 2021
(arXiv 2110.11006). The formulas are those of the authors' code of May 2021; the paper's own were not to be had.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from dlax import tree
from dlax.channel.inner import inner_products
from dlax.channel.links import messages, sent_and_arrived
from dlax.channel.robust import look
from dlax.types import Channel, Key, Network, Tree

Prioritizer = Literal["thirds", "random", "nearest"]


class Exam(NamedTuple):
    """What every node tests the models of others on; C classes, T the most samples of a node.

    Attributes:
      x: `[n, T, ...]`, NumPy's or jax's, as all fields.
      y: `[n, T]` int.
      used: `[n, T]` bool, False of padding.
      familiar: `[n, C]` bool, which classes a node has data of, and so samples here.
    """

    x: jax.Array
    y: jax.Array
    used: jax.Array
    familiar: jax.Array


class Trust(NamedTuple):
    """What every node made of those it heard in the last round.

    Attributes:
      who: `[n, k]` int32, whom it hears.
      chosen: `[n, k]` bool, whose models it tested.
      weight: `[n, k]`, the mean over classes of their weights, where its own model has weight 1.
    """

    who: jax.Array
    chosen: jax.Array
    weight: jax.Array


def bristle(
    exam: Exam,
    apply: Callable[[Tree, jax.Array], jax.Array],
    *,
    prioritizer: Prioritizer = "thirds",
    candidates: int = 10,
    explore: float = 0.4,
    centre: bool = True,
) -> Channel:
    """Some of what was heard is tested on one's own samples, and averaged into one's model, class by class.

        column_ic ← (column_ic + Σ_p w_ipc column_pc) / (1 + Σ_p w_ipc),   then minus its mean over features

    with the weights of `weights`. A column is what belongs to one class: the last axis of every leaf. Who is tested,
    of N = `candidates` and with α = `explore`:

        "thirds"    by distance from one's own model: round((1 − α)² N) of the nearest third, round(2 α (1 − α) N) of
                    the middle and round(α² N) of the farthest one, at random
        "random"    N at random (the authors' last commit)
        "nearest"   the N nearest and round(α² N) of the others at random (an earlier version, without its history)

    A model that is not finite is never tested. How many classes two nodes share is known, as private set intersection
    would tell (the authors' simulation takes 3). What a node learns of classes it has no data of is up to the
    problem: Bristle leaves those columns to others (CWR*'s two copies).

    Args:
      exam: the nodes' test sets.
      apply: the model of one node, `(params, x [T, ...]) -> logits [T, C]`.
      prioritizer: which of the three.
      candidates: N, at least 1.
      explore: α in [0, 1].
      centre: take its mean from every column of a leaf with more than one number a class.

    Returns:
      A channel whose link is a `Trust`. Every message is tested by every node: n² T forward passes a round,
      whatever the graph.

    Raises:
      ValueError: if an option is out of range; in a run, if the exam is of another number of nodes, or a leaf has
        not one column a class.
    """
    if prioritizer not in get_args(Prioritizer):
        allowed = ", ".join(get_args(Prioritizer))
        raise ValueError(f"bristle: prioritizer must be one of {allowed}, got {prioritizer!r}")
    if candidates < 1:
        raise ValueError(f"bristle: candidates must be at least 1, got {candidates}")
    if not 0 <= explore <= 1:
        raise ValueError(f"bristle: explore must be in [0, 1], got {explore}")
    nodes, classes = exam.familiar.shape
    if not len(exam.x) == len(exam.y) == len(exam.used) == nodes:
        raise ValueError(f"bristle: exam must have {nodes} nodes in every field, as familiar has")

    def open_link(message: Tree, network: Network) -> Trust:
        for leaf in jax.tree.leaves(message):
            if leaf.shape[0] != nodes or leaf.ndim < 2 or leaf.shape[-1] != classes:
                raise ValueError(
                    f"bristle: exam is of {nodes} nodes and {classes} classes; a leaf of the message must be "
                    f"[{nodes}, ..., {classes}], got {list(leaf.shape)}"
                )
        index, weight, _ = network.table()
        return Trust(index, jnp.zeros(index.shape, bool), jnp.zeros_like(weight))

    def mix(link: Trust, message: Tree, network: Network) -> tuple[Tree, Trust, jax.Array]:
        index, gossip, _ = network.table()
        sent, arrived = sent_and_arrived(network, index, gossip, None)
        bits = messages(sent, index, network.out_degree) * tree.message_bits(message)
        if index.shape[1] == 0:
            return message, link, bits
        view = look(message, network, index, arrived)
        usable, lies = (view.present & view.finite)[:, 1:], view.lies[:, 1:]
        inner = inner_products(message, network.told, view, True)
        far = inner[:, :1, 0] + jnp.diagonal(inner, axis1=1, axis2=2)[:, 1:] - 2 * inner[:, 0, 1:]
        keys = jax.vmap(lambda node: jax.random.fold_in(network.key, node))(jnp.arange(nodes))

        def choose(key: Key, far: jax.Array, usable: jax.Array) -> jax.Array:
            return prioritised(key, far, usable, prioritizer, candidates, explore)

        chosen = jax.vmap(choose)(keys, far, usable)

        x, y, used = jnp.asarray(exam.x, gossip.dtype), jnp.asarray(exam.y), jnp.asarray(exam.used)
        familiar = jnp.asarray(exam.familiar)
        clean = _clean(message)
        logits = jax.vmap(lambda own: jax.vmap(lambda params: apply(params, own))(clean))(x)
        scores = jax.vmap(jax.vmap(f1, (0, None, None)))(logits, y, used)  # [node, sender, C]
        rows = jnp.arange(nodes)
        mine, theirs = scores[rows, rows], scores[rows[:, None], index]
        if network.told is not None:
            told = _clean(network.told)
            of_lie = jax.vmap(f1)(jax.vmap(apply)(told, x), y, used)
            theirs = jnp.where(lies[:, :, None], of_lie[:, None], theirs)
        shared = jnp.sum(familiar[:, None] & familiar[index], axis=2)
        w = jax.vmap(jax.vmap(weights, (None, 0, None, 0)))(mine, theirs, familiar, shared)
        w = jnp.where(chosen[:, :, None], w, 0).astype(gossip.dtype)

        apart = jnp.where(lies[:, :, None], w, 0) if network.told is not None else jnp.zeros_like(w)
        by_sender = jnp.zeros((nodes, nodes, classes), w.dtype).at[rows[:, None], index].add(w - apart)
        total, any_arrived = 1 + jnp.sum(w, axis=1), jnp.any(arrived, axis=1)

        def merged(leaf: jax.Array, clean: jax.Array, lie: jax.Array | None) -> jax.Array:
            own, others = (each.reshape(nodes, -1, classes) for each in (leaf, clean))
            high = jax.lax.Precision.HIGHEST
            heard = jnp.einsum("ijc,jdc->idc", by_sender, others, precision=high)
            if lie is not None:
                heard = heard + jnp.sum(apart, axis=1)[:, None] * lie.reshape(own.shape)
            new = (own + heard) / total[:, None]
            if centre and own.shape[1] > 1:
                mean = jnp.mean(new, axis=1, keepdims=True)
                new = new - jnp.where(any_arrived[:, None, None], mean, 0)
            return new.reshape(leaf.shape).astype(leaf.dtype)

        if network.told is None:
            received = jax.tree.map(lambda leaf, row: merged(leaf, row, None), message, clean)
        else:
            received = jax.tree.map(merged, message, clean, told)
        return received, Trust(index, chosen, jnp.mean(w, axis=2)), bits

    return Channel(open_link, mix, faces=True)


def weights(mine: jax.Array, theirs: jax.Array, familiar: jax.Array, shared: jax.Array) -> jax.Array:
    """How much every column of ONE candidate counts for ONE node, whose own columns count 1.

    S: of the node's familiar classes the `shared` ones in which the candidate is best.

        s_c = (10 |f_c − g_c|)^(3 + f_c) if g_c > f_c, else −(10 |f_c − g_c|)^(4 + f_c),   for c in S
        cert = max(0, mean_S g − std_S g)
        w_c = cert · sig(max(s_c, −100)) in S,   0 in other familiar classes,   cert · sig(Σ_S s) in foreign ones
        sig(s) = max(0, 10 / (1 + exp(−s / 100)) − 4)

    so that w is in [0, 6]: an equal candidate counts cert, and one that is 0.22 worse where f = 0.9 counts nothing.

    Args:
      mine: f, `[C]`, F1 of the node's own model on its test set.
      theirs: g, `[C]`, of the candidate's.
      familiar: `[C]` bool, classes that the node has data of.
      shared: `[]`, how many of those the candidate has data of, too; with 0 it counts nothing.

    Returns:
      `[C]`.
    """
    rank = _rank(jnp.where(familiar, -theirs, jnp.inf))
    best = familiar & (rank < shared)
    count = jnp.maximum(jnp.sum(best), 1)
    gap = 10 * jnp.abs(mine - theirs)
    score = jnp.where(theirs > mine, gap ** (3 + mine), -(gap ** (4 + mine)))
    mean = jnp.sum(jnp.where(best, theirs, 0)) / count
    deviation = jnp.sqrt(jnp.sum(jnp.where(best, jnp.square(theirs - mean), 0)) / count)
    certainty = jnp.maximum(mean - deviation, 0)
    known = jnp.where(best, _sig(jnp.maximum(score, -100)), 0)
    foreign = _sig(jnp.sum(jnp.where(best, score, 0)))
    return certainty * jnp.where(familiar, known, foreign)


def f1(logits: jax.Array, y: jax.Array, used: jax.Array) -> jax.Array:
    """F1 of every class `[C]`: 2 hits / (samples of it + predictions of it), 0 where there is neither.

    Args:
      logits: `[T, C]`.
      y: `[T]`.
      used: `[T]` bool; other samples do not count.
    """
    classes = jnp.arange(logits.shape[1])[None]
    true = (y[:, None] == classes) & used[:, None]
    said = (jnp.argmax(logits, axis=1)[:, None] == classes) & used[:, None]
    return 2 * jnp.sum(true & said, axis=0) / jnp.maximum(jnp.sum(true, axis=0) + jnp.sum(said, axis=0), 1)


def prioritised(
    key: Key, far: jax.Array, usable: jax.Array, prioritizer: Prioritizer, candidates: int, explore: float
) -> jax.Array:
    """Whom ONE node tests, `[k]` bool, by squared distances `far` `[k]` from its own model; see `bristle`."""
    draw = jax.random.uniform(key, far.shape, jnp.float32)

    def some(members: jax.Array, count: int) -> jax.Array:
        return members & (_rank(jnp.where(members, draw, jnp.inf)) < count)

    few = round(explore**2 * candidates)
    rank = _rank(jnp.where(usable, far, jnp.inf))
    if prioritizer == "random":
        return some(usable, candidates)
    if prioritizer == "nearest":
        near = usable & (rank < candidates)
        return near | some(usable & ~near, few)
    third = 3 * rank // jnp.maximum(jnp.sum(usable), 1)
    counts = (round((1 - explore) ** 2 * candidates), round(2 * explore * (1 - explore) * candidates), few)
    parts = [some(usable & (third == part), count) for part, count in enumerate(counts)]
    return parts[0] | parts[1] | parts[2]


def _sig(score: jax.Array) -> jax.Array:
    return jnp.maximum(0, 10 / (1 + jnp.exp(-score / 100)) - 4)


def _rank(values: jax.Array) -> jax.Array:
    """The place of every entry `[k]` when sorted; earlier entries first among equals."""
    return jnp.argsort(jnp.argsort(values, stable=True), stable=True)


def _clean(message: Tree) -> Tree:
    """Zeros for what is not finite: it has no weight, and 0 · ∞ would spoil a sum."""
    return jax.tree.map(lambda leaf: jnp.where(jnp.isfinite(leaf), leaf, 0), message)
