"""Messages that take rounds to arrive, each its own time: they wait, overtake one another, come twice."""

from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from dlax import mixing, tree
from dlax.channel.linear import linear
from dlax.channel.links import check_drop, messages, sent_and_arrived, uniform_by_edge
from dlax.types import Channel, Network, Scalar, Tree

Law = Literal["fixed", "uniform", "geometric"]
Use = Literal["newest", "each"]


class DelayedLink(NamedTuple):
    """What is under way; B = `most`, the message of round r in slot r mod B. Rows of sleepers stay as they are."""

    clock: jax.Array  # [n] int32: the next round, as far as the node knows
    stamp: jax.Array  # [n, B] int32: the round of a slot, in which the node was awake; -1: none
    past: Tree  # [n, B, ...]: what the node sent then
    takes: (
        jax.Array
    )  # [n, B, k] int32: how many rounds that of its neighbours takes to reach it; B + 1: for ever
    inner: Any  # of the channel that combines


def delayed(
    drop: Scalar | None = None,
    mean: Scalar = 1.0,
    duplicate: Scalar = 0.0,
    *,
    law: Law = "geometric",
    most: int = 4,
    use: Use = "newest",
    channel: Channel = linear(),
) -> Channel:
    """Every message takes a random number of rounds to arrive, so that receivers combine old messages.

        a message of round s arrives in round s + τ,  τ drawn anew for every edge and round:

        law           P(τ = k)
        "fixed"       1 at k = mean
        "uniform"     1 / (2 mean + 1), k = 0, ..., 2 mean
        "geometric"   ∝ qᵏ with mean q/(1 − q), all beyond `most` at `most`

        use           what node i takes of neighbour j in round t           a message that comes twice
        "newest"      the latest-sent that has arrived, again and again     changes nothing
        "each"        all that arrive in this round, each once, with the    counts twice
                      weight W_ij of this round

    A node's own message is never late. "newest" is stale gossip: rows of weights still sum to one, so consensus is a
    fixed point, but the mean is not kept; before anything has arrived, or if it is older than `most` rounds, the
    weight goes where `channel` puts that of a lost message. "each" hands every message over exactly once, so that on
    column-stochastic weights nothing is lost or made, only under way: what push-sum needs; single rows do not sum to
    one. Messages overtake one another under every law but the first.

    Args:
      drop: probability in [0, 1] that a message never arrives; None: all do.
      mean: of the delay in rounds; under "fixed" and "uniform" a whole number, or half of one under "uniform".
      duplicate: probability in [0, 1] that a message arrives a second time, one round after the first, unless the
        first took `most`.
      law: of the delays.
      most: B, the longest delay in rounds: as many past messages are kept.
      use: what a receiver takes.
      channel: what combines: `linear` or `robust`.

    Returns:
      A channel whose state holds B + 1 messages. A sender pays when it sends, to every active neighbour.

    Raises:
      ValueError: if an option is out of range, a delay can be longer than `most`, `channel` looks at anything but
        messages in slots, or "each" is to go with another channel than `linear`; in a run, on a topology that
        changes from round to round.

    References:
      Tsianos, Rabbat. Distributed consensus and optimization under communication delays. Allerton 2011.
    """
    check_drop("delayed", drop)
    if isinstance(duplicate, int | float) and not 0 <= duplicate <= 1:
        raise ValueError(f"delayed: duplicate must be in [0, 1], got {duplicate}")
    for option, value, words in (("law", law, get_args(Law)), ("use", use, get_args(Use))):
        if value not in words:
            raise ValueError(f"delayed: {option} must be one of {', '.join(words)}, got {value!r}")
    if most < 1:
        raise ValueError(f"delayed: most must be at least 1, got {most}")
    if isinstance(mean, int | float):
        if not 0 <= mean < float("inf"):
            raise ValueError(f"delayed: mean must be at least 0 and finite, got mean {mean:g}")
        longest = {"fixed": mean, "uniform": 2 * mean, "geometric": 0}[law]
        if longest > most:
            raise ValueError(
                f"delayed: with law {law!r} a delay may be {longest:g} rounds, and most is {most}; got mean {mean:g}"
            )
        if longest != int(longest):
            raise ValueError(f"delayed: law {law!r} needs whole rounds, got mean {mean:g}")
    if not channel.aged:
        raise ValueError(
            "delayed: channel must combine messages in slots, as linear and robust do, and lose none to its sender"
        )
    if use == "each" and not channel.plain:
        raise ValueError("delayed: use 'each' needs the channel linear, without drop")

    def open_link(message: Tree, network: Network) -> DelayedLink:
        network.require("delayed", "fixed")
        if use == "each" and network.active is not None:
            raise ValueError(
                "delayed: use 'each' needs every node in every round, as sleepers lose what arrives"
            )
        n, k = network.table()[0].shape
        return DelayedLink(
            clock=jnp.zeros(n, jnp.int32),
            stamp=jnp.full((n, most), -1, jnp.int32),
            past=jax.tree.map(lambda leaf: jnp.zeros((n, most, *leaf.shape[1:]), leaf.dtype), message),
            takes=jnp.full((n, most, k), most + 1, jnp.int32),
            inner=channel.open(message, network),
        )

    def mix(link: DelayedLink, message: Tree, network: Network) -> tuple[Tree, DelayedLink, jax.Array]:
        index, weight, own = network.table()
        n = len(index)
        t = jnp.max(link.clock)
        sent, arrives = sent_and_arrived(network, index, weight, drop)
        now = jnp.where(arrives, rounds_under_way(network.key, index, mean, law, most), most + 1)
        # All that may arrive, by lag: the message of this round, of the last, ...
        lags = jnp.arange(1, most + 1)
        slots = (t - lags) % most
        known = link.stamp[:, slots] == (t - lags)[None]
        takes = jnp.where(known[:, :, None], link.takes[:, slots], most + 1)
        takes = jnp.concatenate([now[:, None], takes], axis=1)
        lag = jnp.arange(most + 1)[None, :, None]
        # Rows of all messages: those of this round, then every node's slots.
        old = n + index[:, None] * most + slots[None, :, None]
        where = jnp.concatenate([index[:, None], old], axis=1)
        pool = jax.tree.map(
            lambda new, past: jnp.concatenate([new, past.reshape(n * most, *new.shape[1:])]),
            message,
            link.past,
        )
        if use == "newest":
            age = jnp.argmax(takes <= lag, axis=1)[:, None]
            usable = jnp.any(takes <= lag, axis=1)
            where, seen = jnp.take_along_axis(where, age, axis=1)[:, 0], weight
        else:
            keys = jax.vmap(lambda r: jax.random.fold_in(network.key, r))(2 + jnp.arange(most + 1))
            draws = jax.vmap(lambda key: uniform_by_edge(key, index, False))(keys).swapaxes(0, 1)
            times = (takes == lag).astype(weight.dtype) + ((takes == lag - 1) & (draws < duplicate))
            where, seen = where.reshape(n, -1), (weight[:, None] * times).reshape(n, -1)
            usable = seen != 0
        byzantine = network.byzantine
        if byzantine is not None:
            byzantine = jnp.concatenate([byzantine, jnp.repeat(byzantine, most)])
        there = network._replace(
            mix=lambda rows, semiring=mixing.SUM: mixing.pull(rows, where, seen, own, semiring),
            table=lambda: (where, seen, own),
            active=None,
            works=usable if use == "newest" else None,
            byzantine=byzantine,
            complete=False,
        )
        received, inner, _ = channel.mix(link.inner, pool, there)
        slot = t % most
        link = DelayedLink(
            clock=jnp.full(n, t + 1),
            stamp=link.stamp.at[:, slot].set(t),
            past=jax.tree.map(lambda past, new: past.at[:, slot].set(new), link.past, message),
            takes=link.takes.at[:, slot].set(now),
            inner=inner,
        )
        return received, link, messages(sent, index, network.out_degree) * tree.message_bits(message)

    return Channel(open_link, mix)


def rounds_under_way(key: jax.Array, index: jax.Array, mean: Scalar, law: Law, most: int) -> jax.Array:
    """How many rounds this round's message takes over every edge, `[n, k]` int32."""
    if law == "fixed":
        return jnp.full(index.shape, jnp.round(mean), jnp.int32)
    u = uniform_by_edge(jax.random.fold_in(key, 1), index, False)
    if law == "uniform":
        return jnp.minimum(jnp.floor(u * (2 * jnp.asarray(mean) + 1)), most).astype(jnp.int32)
    q = jnp.asarray(mean) / (1 + jnp.asarray(mean))
    small = jnp.finfo(u.dtype).tiny
    steps = jnp.floor(jnp.log(jnp.maximum(u, small)) / jnp.log(jnp.maximum(q, small)))
    return jnp.clip(steps, 0, most).astype(jnp.int32)
