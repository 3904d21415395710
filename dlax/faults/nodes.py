"""Nodes that leave, sleep, or run out of power."""

from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from dlax.topology import Topology
from dlax.types import Fault, Holds, Outage, Scalar, Site

Order = Literal["random", "degree", "betweenness", "k_core", "disc"]
Phases = Literal["spread", "random", "together"]


def node_loss(
    share: Scalar = 0.2,
    at: Scalar = 0.0,
    until: Scalar = float("inf"),
    *,
    by: Order = "random",
    holds: Holds = "old",
) -> Fault:
    """A share of the nodes leaves at a round, for good or until another.

        gone in round t:  the first ⌊share · n⌋ nodes of an order, n − 1 at most, while at ≤ t < until

        by              the order
        "random"        drawn from the run's seed
        "degree"        most neighbours first
        "betweenness"   most shortest paths through it first
        "k_core"        innermost core first, of one core by degree
        "disc"          nearest first to the place of a node drawn from the run's seed; of graphs in the plane

    Of equals the smaller index comes first. A node that is gone is not heard, keeps its state, and does not count in
    metrics; what becomes of the weights of its edges is the channel's affair (`linear`'s `lost`).

    Args:
      share: of the nodes, in [0, 1).
      at: the round in which they are gone for the first time.
      until: the round in which they are back; never by default.
      by: the order.
      holds: what a node holds when it is back: "old", all it had; "neighbour", the model of a node it hears, drawn
        among those awake over links that work, which sends it; "start", the model it started from. The rest of its
        state is then as at the start.

    Returns:
      A fault.

    Raises:
      ValueError: if a number is out of range, or an option is none of the words; on a topology without places in the
        plane, if `by` is "disc".
    """
    check_share("node_loss", "share", share)
    check_span("node_loss", at, until)
    check_word("node_loss", "by", by, Order)
    check_word("node_loss", "holds", holds, Holds)

    def prepare(topology: Topology) -> Any:
        if by == "random":
            return np.zeros(topology.n)
        if by == "disc":
            if topology.positions is None:
                raise ValueError(
                    f"node_loss: by 'disc' needs nodes with places in the plane, as of random_geometric and grid; "
                    f"{topology.name!r} has none"
                )
            return np.asarray(topology.positions)
        return rank(topology, by)

    def begin(site: Site) -> jax.Array:
        if by in ("degree", "betweenness", "k_core"):
            return site.arrays
        n = len(site.arrays)
        if by == "random":
            return jax.random.permutation(site.key, n)
        centre = jax.random.randint(site.key, (), 0, n)
        far = jnp.sum(jnp.square(site.arrays - site.arrays[centre][None]), axis=1)
        return jnp.argsort(jnp.argsort(far, stable=True), stable=True)

    def step(order: jax.Array, site: Site) -> tuple[Outage, jax.Array]:
        chosen = order < jnp.minimum(jnp.floor(share * len(order) + 1e-5), len(order) - 1)
        out = (site.t >= at) & (site.t < until)
        returns = (site.t == jnp.ceil(until)) & (site.t - 1 >= at)
        back = None if holds == "old" else chosen & returns
        return Outage(gone=chosen & out, back=back), order

    return Fault(step, prepare, begin, holds=holds)


def rank(topology: Topology, by: Order) -> np.ndarray:
    """Every node's place in an order by centrality, from 0, the most central; `[n]` int32."""
    degree = topology.degrees.astype(float)
    keys = [-degree]
    if by != "degree":
        import networkx as nx

        graph = topology.graph()
        measured = nx.betweenness_centrality(graph) if by == "betweenness" else nx.core_number(graph)
        keys = [-degree, -np.array([measured[i] for i in range(topology.n)])]
    order = np.lexsort((np.arange(topology.n), *keys))
    places = np.empty(topology.n, np.int32)
    places[order] = np.arange(topology.n)
    return places


def on_off(fall: Scalar = 0.1, wake: Scalar = 0.3) -> Fault:
    """Every node falls asleep and wakes at random: a Markov chain of two states.

        P(asleep next round | awake) = fall,   P(awake next round | asleep) = wake

    In round 0 nodes are awake with the chain's stationary probability, wake / (fall + wake). Naps last 1/wake rounds
    on average. `participation` is the chain without memory, fall = 1 − wake.

    Args:
      fall: in [0, 1].
      wake: in (0, 1].

    Raises:
      ValueError: if one is out of range.
    """
    check_share("on_off", "fall", fall, most=1)
    check_share("on_off", "wake", wake, least=0, most=1, above=True)

    def begin(site: Site) -> jax.Array:
        n = len(site.arrays)
        return jax.random.uniform(site.key, (n,), jnp.float32) < wake / (fall + wake)

    def step(awake: jax.Array, site: Site) -> tuple[Outage, jax.Array]:
        draw = jax.random.uniform(jax.random.fold_in(site.key, 1), awake.shape, jnp.float32)
        return Outage(asleep=~awake), jnp.where(awake, draw >= fall, draw < wake)

    return Fault(step, _size, begin)


def cyclic(period: Scalar = 24.0, awake: Scalar = 12.0, *, phases: Phases = "spread") -> Fault:
    """Every node is awake for a part of each period, as devices that charge at night.

        awake in round t:  (t + φᵢ) mod period < awake

    Args:
      period: rounds.
      awake: rounds of each, at most the period.
      phases: φᵢ; "spread": i · period / n; "random": uniform, drawn from the run's seed; "together": 0.

    Raises:
      ValueError: if a number is out of range or the word is none of the three.
    """
    check_amount("cyclic", "period", period, above=True)
    if all(isinstance(each, int | float) for each in (period, awake)) and not 0 < awake <= period:
        raise ValueError(f"cyclic: awake must be in (0, period = {period:g}], got {awake:g}")
    check_word("cyclic", "phases", phases, Phases)

    def begin(site: Site) -> jax.Array:
        n = len(site.arrays)
        if phases == "random":
            return jax.random.uniform(site.key, (n,), jnp.float32)
        return jnp.arange(n, dtype=jnp.float32) * (phases == "spread")

    def step(phase: jax.Array, site: Site) -> tuple[Outage, jax.Array]:
        # In units of 1/n of a round, so that whole numbers are compared with whole numbers.
        unit = 1 if phases == "random" else len(phase)
        now = jnp.mod(jnp.mod(site.t, period) * unit + phase * period, period * unit)
        return Outage(asleep=now >= awake * unit), phase

    return Fault(step, _size, begin)


class Charge(NamedTuple):
    """Of every node's battery, `[n]` each."""

    level: jax.Array
    resting: jax.Array  # bool: it waits until there is enough again


def battery(
    capacity: Scalar = 50.0,
    work: Scalar = 1.0,
    radio: Scalar = 1e-6,
    recharge: Scalar = 0.5,
    resume: Scalar = 0.2,
) -> Fault:
    """Work and radio drain a node's battery, and an empty one makes it rest until it has charged.

        level ← min(capacity, level + recharge − work · gradients − radio · bits sent)

    A node rests from the round after its level fell below 0 until the level is back at resume · capacity. Levels
    start uniform in [resume · capacity, capacity], drawn from the run's seed, so that not all rest at once. The unit
    of energy is what one minibatch gradient costs.

    Args:
      capacity: of every battery.
      work: energy of a gradient.
      radio: energy of a bit sent; what is received costs nothing.
      recharge: energy gained in a round, asleep or awake.
      resume: share of the capacity at which a resting node wakes, in (0, 1].

    Raises:
      ValueError: if a number is out of range.
    """
    check_amount("battery", "capacity", capacity, above=True)
    check_amount("battery", "recharge", recharge, above=True)
    check_amount("battery", "work", work)
    check_amount("battery", "radio", radio)
    check_share("battery", "resume", resume, most=1, above=True)

    def begin(site: Site) -> Charge:
        n = len(site.arrays)
        share = jax.random.uniform(site.key, (n,), jnp.float32)
        return Charge(capacity * (resume + (1 - resume) * share), jnp.zeros(n, bool))

    def step(charge: Charge, site: Site) -> tuple[Outage, Charge]:
        del site
        return Outage(asleep=charge.resting), charge

    def after(charge: Charge, awake: jax.Array, gradients: jax.Array, bits: jax.Array) -> Charge:
        spent = jnp.where(awake, work * gradients + radio * bits, 0)
        level = jnp.minimum(capacity, charge.level + recharge - spent).astype(charge.level.dtype)
        return Charge(level, jnp.where(charge.resting, level < resume * capacity, level < 0))

    return Fault(step, _size, begin, after)


def _size(topology: Topology) -> np.ndarray:
    """An array of the nodes' number."""
    return np.zeros(topology.n)


def check_word(who: str, option: str, value: Any, words: Any) -> None:
    """Refuses what is none of the words of a literal type."""
    if value not in get_args(words):
        raise ValueError(f"{who}: {option} must be one of {', '.join(get_args(words))}, got {value!r}")


def check_span(who: str, at: Any, until: Any) -> None:
    """Refuses rounds that are none, or not one after the other. Tracers pass."""
    if isinstance(at, int | float) and not at >= 0:
        raise ValueError(f"{who}: at must be a round, at least 0, got {at}")
    if isinstance(at, int | float) and isinstance(until, int | float) and not until > at:
        raise ValueError(f"{who}: until must be after at = {at:g}, got {until:g}")


def check_amount(who: str, option: str, value: Any, *, above: bool = False) -> None:
    """Refuses what is infinite or below 0; `above`: 0 too. Tracers pass."""
    if not isinstance(value, int | float):
        return
    if not (value < float("inf") and (value > 0 if above else value >= 0)):
        raise ValueError(f"{who}: {option} must be {'positive' if above else 'at least 0'}, got {value}")


def check_share(
    who: str, option: str, value: Any, *, least: float = 0, most: float | None = None, above: bool = False
) -> None:
    """Refuses a share outside [least, 1), or up to and with `most`; `above`: the least itself too. Tracers pass."""
    if not isinstance(value, int | float):
        return
    low = value > least if above else value >= least
    high = value < 1 if most is None else value <= most
    if not (low and high):
        left, right = "(" if above else "[", "1)" if most is None else f"{most:g}]"
        raise ValueError(f"{who}: {option} must be in {left}{least:g}, {right}, got {value}")
