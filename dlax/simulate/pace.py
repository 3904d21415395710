"""What a round costs in simulated time: work, latency and bandwidth, of every node and edge its own."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from dlax.simulate.streams import round_key, stream
from dlax.tables import read_table
from dlax.types import Key

Law = Literal["constant", "normal", "exponential", "log_normal"]
Barrier = Literal["all", "neighbours"]


@dataclass(frozen=True, eq=False)
class Clock:
    """What a round costs in simulated time.

        node i is done when its gradients, and then its bits, are:    ready + gradients · g + bits / bandwidth
        it is ready again when it and what it waits for are done, and a latency later where that comes over an edge

    Under barrier "all" everyone waits for everyone: a round takes the longest work and sending, and the longest
    latency. Under "neighbours" a node waits for those it hears, so that the slow hold up the far away only after as
    many rounds as they are away. `time` is when the last is ready. Who takes no part in a round costs nothing.

    Attributes:
      gradient: g, time of one minibatch gradient; 1 makes it the unit; or `[n]`, of each node's.
      latency: time until a message arrives; or `[n, n]`, at i from j.
      bandwidth: bits per unit of time that a node can send; or `[n]`.
      law: how the time of a node's gradients varies from round to round, by a factor of mean 1: "constant"; "normal"
        with deviation sigma, at least 0.1; "exponential"; "log_normal" with sigma of the logarithm.
      sigma: of that.
      stragglers: the chance of a node to be slow, for the whole run; drawn from the run's seed.
      slowdown: how many times as long the gradients of stragglers take.
      barrier: whom a node waits for.
    """

    gradient: float | np.ndarray = 1.0
    latency: float | np.ndarray = 0.0
    bandwidth: float | np.ndarray = float("inf")
    law: Law = "constant"
    sigma: float = 0.5
    stragglers: float = 0.0
    slowdown: float = 5.0
    barrier: Barrier = "all"


class Pace(NamedTuple):
    """What is static of a clock: part of the compiled program's identity.

    Attributes:
      law: of the work.
      stragglers: whether there are some.
      barrier: whom a node waits for.
      even: whether all nodes and edges are alike and nothing varies.
    """

    law: Law = "constant"
    stragglers: bool = False
    barrier: Barrier = "all"
    even: bool = True


EVEN = Pace()


def pace_of(clock: Clock, n: int) -> tuple[Pace, dict[str, np.ndarray]]:
    """The static part of a clock, and its numbers.

    Raises:
      ValueError: if a number is out of range, an array has not n entries, or a word is unknown.
    """
    arrays = {}
    for name, shape in (("gradient", (n,)), ("latency", (n, n)), ("bandwidth", (n,))):
        value = np.asarray(getattr(clock, name), np.float64)
        if value.shape not in ((), shape):
            raise ValueError(
                f"clock.{name}: expected a number or an array {list(shape)}, got {list(value.shape)}"
            )
        if np.isnan(value).any() or (value.min() <= 0 if name == "bandwidth" else value.min() < 0):
            least = "positive" if name == "bandwidth" else "at least 0"
            raise ValueError(f"clock.{name}: must be {least}, got {value.min():g}")
        if np.isinf(value).any() and (name == "gradient" or (name == "latency" and value.ndim == 0)):
            raise ValueError(f"clock.{name}: must be finite, got inf")
        arrays[name] = value
    for name, word, words in (
        ("law", clock.law, get_args(Law)),
        ("barrier", clock.barrier, get_args(Barrier)),
    ):
        if word not in words:
            raise ValueError(f"clock.{name}: must be one of {', '.join(words)}, got {word!r}")
    if not 0 <= clock.stragglers <= 1:
        raise ValueError(f"clock.stragglers: must be in [0, 1], got {clock.stragglers}")
    if not (0 <= clock.sigma < np.inf and 0 < clock.slowdown < np.inf):
        raise ValueError(
            "clock: sigma must be at least 0 and slowdown positive, both finite, got "
            f"{clock.sigma} and {clock.slowdown}"
        )
    arrays |= {name: np.asarray(getattr(clock, name)) for name in ("sigma", "stragglers", "slowdown")}
    even = (
        clock.law == "constant" and not clock.stragglers and all(array.ndim == 0 for array in arrays.values())
    )
    return Pace(clock.law, clock.stragglers > 0, clock.barrier, even and clock.barrier == "all"), arrays


def speeds(path: str, n: int) -> np.ndarray:
    """Each node's time for a gradient from a table, `[n]`; columns `node` and `seconds`, a row for every node.

    Raises:
      ValueError: if the file cannot be read as such a table, or a node is missing or named twice.
    """
    table = read_table(path, "clock.speeds", ("node", "seconds"))
    nodes, seconds = table["node"].to_numpy(), table["seconds"].to_numpy()
    if sorted(nodes.tolist()) != list(range(n)):
        raise ValueError(
            f"clock.speeds: {path}: expected every node from 0 to {n - 1} once, got {len(nodes)} rows"
        )
    found = np.empty(n)
    found[nodes] = seconds
    return found


def work_time(
    pace: Pace,
    clock: dict[str, jax.Array],
    t: jax.Array,
    run_key: Key,
    nodes: jax.Array,
    gradients: jax.Array,
) -> jax.Array:
    """How long these nodes take for their gradients in round t, `[s]`."""
    each = clock["gradient"] if clock["gradient"].ndim == 0 else clock["gradient"][nodes]
    time = jnp.broadcast_to(gradients * each, nodes.shape)
    dtype, sigma = time.dtype, clock["sigma"]

    def keys(key: Key) -> Key:
        return jax.vmap(lambda node: jax.random.fold_in(key, node))(nodes)

    if pace.law != "constant":
        mine = keys(jax.random.fold_in(stream(round_key(run_key, t), "faults"), 2))
        if pace.law == "exponential":
            factor = jax.vmap(lambda key: jax.random.exponential(key, (), dtype))(mine)
        else:
            z = jax.vmap(lambda key: jax.random.normal(key, (), dtype))(mine)
            normal = pace.law == "normal"
            factor = jnp.maximum(1 + sigma * z, 0.1) if normal else jnp.exp(sigma * z - 0.5 * sigma**2)
        time = time * factor
    if pace.stragglers:
        draw = jax.vmap(lambda key: jax.random.uniform(key, (), dtype))(keys(stream(run_key, "faults")))
        time = jnp.where(draw < clock["stragglers"], clock["slowdown"] * time, time)
    return time


def elapsed(
    pace: Pace,
    clock: dict[str, jax.Array],
    t: jax.Array,
    run_key: Key,
    gradients: jax.Array,
    bits: jax.Array,
    awake: jax.Array | None,
    table: Any,
    lag: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """By how much round t brings the last node's clock forward, `[]`, and how far each then lags behind, `[n]`.

    Args:
      pace: the static part of the clock.
      clock: its numbers.
      t: the round.
      run_key: of the run.
      gradients: that each node took, `[]` or `[n]`.
      bits: that each node sent, `[n]`.
      awake: `[n]` bool, or None: all.
      table: `() -> (index [n, k], weight [n, k], own [n])`.
      lag: `[n]`, by how much each node was ready before the last.
    """
    nodes = jnp.arange(len(bits), dtype=jnp.int32)
    busy = work_time(pace, clock, t, run_key, nodes, gradients) + bits / clock["bandwidth"]
    if awake is not None:
        busy = jnp.where(awake, busy, 0)
    done = busy - lag  # from when the last was ready
    latency = clock["latency"]
    if pace.barrier == "all" and latency.ndim == 0:
        return jnp.max(done) + latency, jnp.zeros_like(lag)
    index, weight, _ = table()
    heard = weight != 0
    if awake is not None:
        heard &= awake[:, None] & awake[index]
    late = latency if latency.ndim == 0 else latency[nodes[:, None], index]
    arrived = jnp.max(jnp.where(heard, done[index] + late, -jnp.inf), axis=1, initial=-jnp.inf)
    ready = jnp.maximum(done, arrived)
    last = jnp.max(ready)
    return last, jnp.zeros_like(lag) if pace.barrier == "all" else last - ready
