"""Streaming DiLoCo: fragments of the model synchronised in turn, each all-reduce behind some inner steps.

Douillard, Donchev, Rush, Kale, Charles, Garrett, Teston, Lacey, McIlroy, Shen, Ramé, Szlam, Ranzato, Barham.
Streaming DiLoCo with overlapping communication: Towards a Distributed Free Lunch. 2025 (as described to us; the even
spread of the offsets and the direction of `keep` are inferred).
"""

import re
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from dlax import tree
from dlax.algorithms.diloco import ADAMW
from dlax.algorithms.dmsgd import check_momentum
from dlax.algorithms.local import check_steps, init_optimizer, update
from dlax.algorithms.outer import catch_up, first_revision, nesterov, raised, unless_alone
from dlax.channel import ring_all_reduce
from dlax.optimizers import at_round, constant
from dlax.types import Algorithm, Channel, Info, Optimizer, Round, Scalar, Schedule, Tree

Pattern = Literal["strided", "sequential"]


class StreamingState(NamedTuple):
    """What one round hands to the next; every leaf leads with n."""

    params: Tree  # Wᵢ: the inner parameters
    memory: Any  # of the inner optimiser
    anchor: Tree  # θ: the outer parameters, the same in every up-to-date row
    momentum: Tree  # M: of the outer optimiser, likewise
    pending: Tree  # the means that are on their way, likewise
    revision: jax.Array  # [n], of the shared state
    link: Any  # of the channel, one a fragment


class _Inside(NamedTuple):
    """What one inner step hands to the next."""

    params: Tree
    memory: Any
    loss: jax.Array
    anchor: list[jax.Array]
    momentum: list[jax.Array]
    pending: list[jax.Array]
    link: Any
    bits: jax.Array


def streaming_diloco(
    lr: Scalar = 4e-4,
    outer_lr: Scalar = 0.7,
    outer_momentum: Scalar = 0.9,
    keep: Scalar = 0.5,
    *,
    local_steps: int = 30,
    fragments: int | None = None,
    pattern: Pattern = "strided",
    overlap: int = 1,
    reduce: Channel = ring_all_reduce(),
    optimizer: Optimizer = ADAMW,
    schedule: Schedule = constant(),
) -> Algorithm:
    """DiLoCo by fragments; one round here is H inner steps, in which each of the P fragments is synchronised once.

        every inner step s = 1, 2, ...:  Wᵢ ← inner optimiser
        fragment p when s + p ⌊H/P⌋ ≡ 0 mod H:   D_p = mean of θ_p − W_{i,p} is sent, and arrives τ inner steps later:
            M_p ← μ M_p + D_p;   θ_p ← θ_p − α (D_p + μ M_p);   W_{i,p} ← keep · W_{i,p} + (1 − keep) θ_p

    P = 1, τ = 0 and keep = 0 is `diloco`. A layer is an entry at the top of the parameter tree, in the order of their
    names (numbers count as numbers). Membership is as in `diloco`, by whole rounds: who joins gets θ, M and what is
    on its way, and begins from W = θ.

    Args:
      lr: step size of the inner optimiser.
      outer_lr: α.
      outer_momentum: μ, in [0, 1).
      keep: how much of its own a node keeps where the two are merged; 0 and 0.5 in the paper, which uses 0.5.
      local_steps: H, gradients a round; 30 in the paper's study of overlap.
      fragments: P; None makes every layer a fragment.
      pattern: "strided" gives layer l to fragment l mod P, which the paper prefers; "sequential" cuts the model
        into P pieces.
      overlap: τ, in 0, ..., H − 1; the paper finds no harm below 5.
      reduce: how outer gradients are averaged; the default is exact, beside the graph.
      optimizer: the inner optimiser; AdamW as in `diloco` by default.
      schedule: factor s(t) on lr, of the round t.

    Returns:
      The (init, step) pair; a message is one fragment's outer gradient.

    Raises:
      ValueError: if local_steps < 1, outer_momentum or keep is a number out of range, overlap is not in
        0, ..., H − 1, the pattern is unknown, or there are fewer layers than fragments; in a run, if its channel is
        not plain.
    """
    check_momentum("streaming_diloco", outer_momentum=outer_momentum)
    check_steps("streaming_diloco", local_steps)
    if not isinstance(keep, jax.Array) and not 0 <= keep <= 1:
        raise ValueError(f"streaming_diloco: keep must be in [0, 1], got {keep}")
    if not 0 <= overlap < local_steps:
        raise ValueError(f"streaming_diloco: overlap must be in 0..{local_steps - 1}, got {overlap}")
    if pattern not in get_args(Pattern):
        raise ValueError(
            f"streaming_diloco: pattern must be one of {', '.join(get_args(Pattern))}, got {pattern!r}"
        )

    def init(params: Tree, round: Round) -> StreamingState:
        theta = tree.broadcast(tree.node_mean(params), tree.num_nodes(params))
        zero = tree.zeros_like(theta)
        leaves, channel = jax.tree.leaves(theta), round.over(reduce)
        link = [channel.open([leaves[i] for i in part]) for part in fragments_of(theta, fragments, pattern)]
        memory = init_optimizer(theta, optimizer)
        return StreamingState(theta, memory, theta, zero, zero, first_revision(theta), link)

    def step(state: StreamingState, round: Round) -> tuple[StreamingState, Info]:
        shared, memory, outdated, handed = catch_up(
            (state.anchor, state.momentum, state.pending),
            state.memory, state.revision, round.active, optimizer,
        )  # fmt: skip
        params = tree.where_nodes(outdated, shared[0], state.params)
        structure, channel = jax.tree.structure(params), round.over(reduce)
        parts = fragments_of(params, fragments, pattern)
        keys = round.key[None] if local_steps == 1 else jax.random.split(round.key, local_steps)
        inner_lr = at_round(lr, schedule, round.t)
        begun = jnp.max(state.revision) > 0  # in the first round nothing is on its way yet

        def inner(h: jax.Array, now: _Inside) -> _Inside:
            loss, grads = round.grad(now.params, keys[h])
            params, memory = update(now.params, grads, now.memory, optimizer, inner_lr)
            return now._replace(params=params, memory=memory, loss=now.loss + loss / local_steps)

        def send(p: int, now: _Inside) -> _Inside:
            w = jax.tree.leaves(now.params)
            mean, link, bits = channel.mix(
                now.link[p], [tree.add(now.anchor[i], w[i], -1.0) for i in parts[p]]
            )
            pending = _put(now.pending, parts[p], mean)
            links = [*now.link[:p], link, *now.link[p + 1 :]]
            return now._replace(pending=pending, link=links, bits=now.bits + bits)

        def arrive(p: int, wrapped: bool, now: _Inside) -> _Inside:
            w = jax.tree.leaves(now.params)
            theta, momentum, merged = [], [], []
            for i in parts[p]:
                x, m = nesterov(now.anchor[i], now.momentum[i], now.pending[i], outer_lr, outer_momentum)
                new = (keep * w[i] + (1 - keep) * x).astype(x.dtype)
                theta.append(x)
                momentum.append(m)
                merged.append(jnp.where(begun, new, w[i]) if wrapped else new)
            return now._replace(
                params=jax.tree.unflatten(structure, _put(w, parts[p], merged)),
                anchor=_put(now.anchor, parts[p], theta),
                momentum=_put(now.momentum, parts[p], momentum),
            )

        events = _events(len(parts), local_steps, overlap)
        branches = [
            lambda now, e=e: send(e[2], now) if e[1] == "send" else arrive(e[2], e[3], now) for e in events
        ]
        times = [0, *(time for time, *_ in events)]

        def until(now: _Inside, event: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[_Inside, None]:
            begin, end, which = event
            now = jax.lax.fori_loop(begin, end, inner, now)
            return jax.lax.switch(which, branches, now), None

        zero = jnp.zeros(tree.num_nodes(params), jax.tree.leaves(params)[0].dtype)
        theta, momentum, pending = (jax.tree.leaves(each) for each in shared)
        bits = jnp.zeros_like(jax.eval_shape(channel.mix, state.link[0], _some(params, parts[0]))[2])
        now = _Inside(params, memory, zero, theta, momentum, pending, state.link, bits)
        order = (jnp.array(times[:-1]), jnp.array(times[1:]), jnp.arange(len(events)))
        now, _ = jax.lax.scan(until, now, order)
        if times[-1] < local_steps:
            now = jax.lax.fori_loop(times[-1], local_steps, inner, now)
        new = state._replace(
            params=now.params,
            memory=now.memory,
            anchor=jax.tree.unflatten(structure, now.anchor),
            momentum=jax.tree.unflatten(structure, now.momentum),
            pending=jax.tree.unflatten(structure, now.pending),
            revision=raised(state.revision),
            link=now.link,
        )
        info = {"loss": now.loss, "bits": now.bits + handed.astype(now.bits.dtype), "gradients": local_steps}
        return unless_alone(new, state, round.active), info

    return Algorithm(init, step)


def fragments_of(params: Tree, count: int | None, pattern: Pattern) -> list[list[int]]:
    """Which leaves are in which fragment: P lists of places among the leaves of `params`.

    Raises:
      ValueError: unless 1 ≤ P ≤ the number of layers.
    """
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
    names = [jax.tree_util.keystr(path[:1]) for path in paths]
    layers = sorted(set(names), key=_natural)
    count = len(layers) if count is None else count
    if not 1 <= count <= len(layers):
        raise ValueError(
            f"streaming_diloco: fragments must be in 1..{len(layers)}, the number of layers, got {count}"
        )
    place = {
        name: layer % count if pattern == "strided" else layer * count // len(layers)
        for layer, name in enumerate(layers)
    }
    return [[i for i, name in enumerate(names) if place[name] == p] for p in range(count)]


def _events(count: int, steps: int, overlap: int) -> list[tuple[int, str, int, bool]]:
    """What happens after which inner step of a round: (step, "send" or "arrive", fragment, sent in the round before).

    In the order of time; a fragment that arrives at once is sent first.
    """
    events = []
    for p in range(count):
        sent = steps - p * (steps // count)
        events += [(sent, "send", p, False)]
        arrives = sent + overlap
        events += (
            [(arrives - steps, "arrive", p, True)] if arrives > steps else [(arrives, "arrive", p, False)]
        )
    return sorted(events, key=lambda event: (event[0], event[1] == "arrive"))


def _some(x: Tree, part: list[int]) -> list[jax.Array]:
    leaves = jax.tree.leaves(x)
    return [leaves[i] for i in part]


def _put(leaves: list[jax.Array], part: list[int], new: list[jax.Array]) -> list[jax.Array]:
    """The leaves with those of one fragment replaced."""
    replaced = dict(zip(part, new, strict=True))
    return [replaced.get(i, leaf) for i, leaf in enumerate(leaves)]


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sorts Dense_10 after Dense_9."""
    words = re.split(r"(\d+)", name)
    return [(1, int(word), "") if word.isdigit() else (0, 0, word) for word in words]
