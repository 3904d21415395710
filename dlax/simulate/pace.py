"""What a round costs in simulated time: work, latency and bandwidth, of every node and edge its own."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import ndtri

from dlax.simulate.streams import round_key, stream
from dlax.tables import read_table
from dlax.types import Key

if TYPE_CHECKING:
    import pandas as pd

Law = Literal["constant", "normal", "exponential", "log_normal"]
Barrier = Literal["all", "neighbours"]


@dataclass(frozen=True, eq=False)
class Clock:
    """What a round costs in simulated time.

        node i is done when its gradients, and then its bits, are:    ready + gradients · g + bits / bandwidth
        it is ready again when it and what it waits for are done, and a latency later where that comes over an edge

    Under barrier "all" everyone waits for everyone: a round takes until the last message has arrived. Under
    "neighbours" a node waits for those it hears, so that the slow hold up the far away only after as many rounds as
    they are away. `time` is when the last is ready. Who takes no part in a round costs nothing.

    Attributes:
      gradient: g, time of one minibatch gradient; 1 makes it the unit; or `[n]`, of each node's; or `[T, n]`, of each
        node's by round, from the first again after T rounds. `speeds` reads it, `record_speeds` writes it.
      latency: time until a message arrives; or `[n, n]`, at i from j.
      bandwidth: bits per unit of time that a node can send; or `[n]`.
      law: how the time of a node's gradients varies from round to round, by a factor of mean 1: "constant"; "normal"
        with deviation sigma, at least 0.1; "exponential"; "log_normal" with sigma of the logarithm. Drawn among 2¹⁶
        quantiles of the law.
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
      varies: whether the time of a node's gradients is drawn in every round.
      stragglers: whether there are some.
      barrier: whom a node waits for.
      even: whether all nodes and edges are alike and nothing varies.
    """

    varies: bool = False
    stragglers: bool = False
    barrier: Barrier = "all"
    even: bool = True


EVEN = Pace()
_AHEAD, _NUMBERS = 64, 2**16  # rounds whose times are drawn together, and how many numbers at most


def pace_of(clock: Clock, n: int) -> tuple[Pace, dict[str, np.ndarray]]:
    """The static part of a clock, and its numbers.

    Raises:
      ValueError: if a number is out of range, an array has not n entries, or a word is unknown.
    """
    arrays = {}
    for name, shape in (("gradient", (n,)), ("latency", (n, n)), ("bandwidth", (n,))):
        value = np.asarray(getattr(clock, name), np.float64)
        by_round = name == "gradient" and value.ndim == 2 and value.shape[0] > 0 and value.shape[1] == n
        if value.shape not in ((), shape) and not by_round:
            rounds = f" or [T, {n}]" if name == "gradient" else ""
            raise ValueError(
                f"clock.{name}: expected a number or an array {list(shape)}{rounds}, got {list(value.shape)}"
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
    varies, stragglers = clock.law != "constant", clock.stragglers > 0
    alike = all(array.ndim == 0 for array in arrays.values())
    even = alike and not varies and not stragglers and clock.barrier == "all"
    arrays |= {name: np.asarray(getattr(clock, name)) for name in ("stragglers", "slowdown")}
    if varies:
        arrays["factors"] = _factors(clock.law, clock.sigma)
    return Pace(varies, stragglers, clock.barrier, even), arrays


def _factors(law: Law, sigma: float) -> np.ndarray:
    """Quantiles of a law of mean 1, equally likely, `[2¹⁶]`."""
    u = (np.arange(2**16) + 0.5) / 2**16
    if law == "exponential":
        return -np.log1p(-u)
    z = ndtri(u)
    return np.maximum(1 + sigma * z, 0.1) if law == "normal" else np.exp(sigma * z - 0.5 * sigma**2)


def speeds(path: str, n: int) -> np.ndarray:
    """Times for a gradient from a table: each node's, `[n]`, or each node's by round, `[T, n]`.

    Columns `node` and `seconds`, a row for every node; with a third, `round`, a row for every node in every round
    from 0 on. `record_speeds` writes the same.

    Raises:
      ValueError: if the file cannot be read as such a table, a number is none or below 0, or a node is missing or
        named twice.
    """
    table = read_table(path, "clock.speeds", ("node", "seconds"))

    def refuse(row: int, name: str, allowed: str) -> None:
        got = table[name].iloc[row]
        raise ValueError(f"clock.speeds: {path}: row {row + 1}: {name} must be {allowed}, got {got}")

    nodes, when = _whole(table["node"]), np.zeros(len(table))
    wrong = ~((nodes >= 0) & (nodes < n))
    if wrong.any():
        refuse(int(wrong.argmax()), "node", f"a whole number from 0 to {n - 1}")
    if "round" in table:
        when = _whole(table["round"])
        if (wrong := ~(when >= 0)).any():
            refuse(int(wrong.argmax()), "round", "a whole number, at least 0")
    seconds = _numbers(table["seconds"])
    if (wrong := ~((seconds >= 0) & (seconds < np.inf))).any():
        refuse(int(wrong.argmax()), "seconds", "a finite number, at least 0")
    rounds = int(when.max(initial=0)) + 1
    if len(table) != rounds * n or len(np.unique(when * n + nodes)) != rounds * n:
        over = f" in every round from 0 to {rounds - 1}" if "round" in table else ""
        raise ValueError(
            f"clock.speeds: {path}: expected every node from 0 to {n - 1} once{over}, got {len(table)} rows"
        )
    found = np.empty((rounds, n))
    found[when.astype(int), nodes.astype(int)] = seconds
    return found if "round" in table else found[0]


def record_speeds(
    clock: Clock,
    n: int,
    *,
    rounds: int,
    seed: int = 0,
    precision: Literal["float32", "float64"] = "float32",
) -> "pd.DataFrame":
    """The table of times for a gradient that a clock draws in a run of this seed, as `speeds` reads it.

    A run with `Clock(speeds(path, n), ...)`, and the clock's latency, bandwidth and barrier, then takes the same
    simulated time, bit for bit; in a config that is `clock.speeds`.

    Args:
      clock: of the run.
      n: its nodes.
      rounds: how many rounds to write down.
      seed: of the run.
      precision: of the run.

    Returns:
      A data frame with columns `round`, `node` and `seconds`, without `round` if no round differs from another; save
      it with `to_csv(path, index=False)`.

    Raises:
      ValueError: if the clock is none of n nodes, or rounds is below 1.
    """
    import pandas as pd

    if rounds < 1:
        raise ValueError(f"record_speeds: rounds must be at least 1, got {rounds}")
    pace, numbers = pace_of(clock, n)
    with jax.enable_x64(precision == "float64"):
        arrays = {name: jnp.asarray(value, precision) for name, value in numbers.items()}
        step = rounds_ahead(n)

        def chunk(first: jax.Array) -> jax.Array:
            return times_ahead(pace, arrays, first, jax.random.key(seed), n)

        starts = step * jnp.arange(-(-rounds // step), dtype=jnp.int32)
        drawn = np.asarray(jax.jit(lambda: jax.lax.map(chunk, starts))(), np.float64).reshape(-1, n)[:rounds]
    if not pace.varies and numbers["gradient"].ndim < 2:
        return pd.DataFrame({"node": np.arange(n), "seconds": drawn[0]})
    when, who = np.divmod(np.arange(rounds * n), n)
    return pd.DataFrame({"round": when, "node": who, "seconds": drawn.reshape(-1)})


def rounds_ahead(n: int) -> int:
    """How many rounds' times are drawn together."""
    return max(1, min(_AHEAD, _NUMBERS // n))


def times_ahead(pace: Pace, clock: dict[str, jax.Array], first: jax.Array, run_key: Key, n: int) -> jax.Array:
    """Every node's time for a gradient in so many rounds from `first` on, `[rounds_ahead, n]`."""
    nodes = jnp.arange(n, dtype=jnp.int32)
    rounds = first + jnp.arange(rounds_ahead(n), dtype=jnp.int32)
    return jax.lax.optimization_barrier(jax.vmap(lambda t: _seconds(pace, clock, t, run_key, nodes))(rounds))


def work_time(
    pace: Pace,
    clock: dict[str, jax.Array],
    t: jax.Array,
    run_key: Key,
    nodes: jax.Array,
    gradients: jax.Array,
) -> jax.Array:
    """How long these nodes take for their gradients in round t, `[s]`."""
    return gradients * jax.lax.optimization_barrier(_seconds(pace, clock, t, run_key, nodes))


def _seconds(
    pace: Pace, clock: dict[str, jax.Array], t: jax.Array, run_key: Key, nodes: jax.Array
) -> jax.Array:
    """How long these nodes take for one gradient in round t, `[s]`.

    Products of numbers from tables, and draws that are whole numbers: no program rounds them otherwise than another,
    so that what was recorded is what a run took. (Of exponentials and logarithms the last digits depend on what
    a compiler fuses them with.)
    """
    gradient = clock["gradient"]
    if gradient.ndim == 2:
        gradient = gradient[t % len(gradient)]
    time = jnp.broadcast_to(gradient, nodes.shape) if gradient.ndim == 0 else gradient[nodes]
    dtype = time.dtype

    def keys(key: Key) -> Key:
        return jax.vmap(lambda node: jax.random.fold_in(key, node))(nodes)

    if pace.varies:
        mine = keys(jax.random.fold_in(stream(round_key(run_key, t), "faults"), 2))
        place = jax.vmap(lambda key: jax.random.bits(key, (), jnp.uint16))(mine)
        time = time * clock["factors"][place.astype(jnp.int32)]
    if pace.stragglers:
        draw = jax.vmap(lambda key: jax.random.uniform(key, (), dtype))(keys(stream(run_key, "faults")))
        time = jnp.where(draw < clock["stragglers"], clock["slowdown"] * time, time)
    return time


def _numbers(column: "pd.Series") -> np.ndarray:
    """A column as float64, NaN where it holds no number."""
    import pandas as pd

    return pd.to_numeric(column, errors="coerce").to_numpy(np.float64)


def _whole(column: "pd.Series") -> np.ndarray:
    """A column as float64, NaN where it holds no whole number."""
    values = _numbers(column)
    return np.where(values == np.floor(values), values, np.nan)


def links_of(pace: Pace, clock: dict[str, jax.Array], table: Any) -> tuple[jax.Array, jax.Array] | None:
    """Whom each node waits for and how long a message takes, `[n, k]` each; −∞ in slots without a link.

    None where the time of a round needs no links. `table` is `() -> (index [n, k], weight [n, k], own [n])`.
    """
    latency = clock["latency"]
    if pace.even or (pace.barrier == "all" and latency.ndim == 0):
        return None
    index, weight, _ = table()
    late = latency if latency.ndim == 0 else latency[jnp.arange(len(index))[:, None], index]
    return index, jnp.where(weight != 0, late, -jnp.inf)


def elapsed(
    pace: Pace,
    clock: dict[str, jax.Array],
    seconds: jax.Array,
    gradients: jax.Array,
    bits: jax.Array,
    awake: jax.Array | None,
    works: jax.Array | None,
    links: tuple[jax.Array, jax.Array] | None,
    lag: Any,
) -> tuple[jax.Array, jax.Array]:
    """By how much a round brings the last node's clock forward, `[]`, and how far each then lags behind, `[n]`.

    Args:
      pace: the static part of the clock.
      clock: its numbers.
      seconds: what each node takes for a gradient, `[]` or `[n]`.
      gradients: that each node took, `[]` or `[n]`.
      bits: that each node sent, `[n]`.
      awake: `[n]` bool, or None: all.
      works: `[n, k]` bool, which links work, or None: all.
      links: of `links_of`.
      lag: `[n]`, by how much each node was ready before the last; anything where all wait for all.
    """
    busy = gradients * seconds + bits / clock["bandwidth"]
    if awake is not None:
        busy = jnp.where(awake, busy, 0)
    if links is None:  # all wait for all, so nobody lags behind
        some = jnp.bool_(True) if awake is None else jnp.any(awake)
        return jnp.max(busy) + jnp.where(some, clock["latency"], 0), lag
    done = busy - lag  # from when the last was ready
    index, late = links
    if awake is not None:
        late = jnp.where(awake[:, None] & awake[index], late, -jnp.inf)
    if works is not None:
        late = jnp.where(works, late, -jnp.inf)
    arrived = jnp.max(done[index] + late, axis=1, initial=-jnp.inf)
    ready = jnp.maximum(done, arrived)
    last = jnp.max(ready)
    return last, jnp.zeros_like(lag) if pace.barrier == "all" else last - ready
