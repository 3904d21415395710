"""The events clock: layers of events that commute, against one event at a time."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlax.algorithms.asynchronous import pairwise_gossip
from dlax.bench.timing import interleave, ratio, row
from dlax.problems import average
from dlax.simulate import simulate
from dlax.simulate.events import generator
from dlax.topology import Topology, ring
from dlax.types import EventList


def rows(quick: bool) -> Iterator[dict[str, Any]]:
    """Pairwise averaging on a ring, 50 exchanges a node; all of them end in the same bits.

    One event at a time is measured twice: in the same engine, whose steps then are layers with all slots but one
    empty, and as the simplest loop by hand, which only goes through a list that lies ready: the fairer of the two.
    Runs are compared with compiled programs and packed lists at hand; drawing and packing the events, on the host,
    has a row of its own.
    """
    for d in (10, 100):
        yield from _averaging(d, quick)


def _averaging(d: int, quick: bool) -> Iterator[dict[str, Any]]:
    n, duration = (32, 5.0) if quick else (1000, 50.0)
    problem, topology = average(n, dim=d), ring(n)
    runs: dict[str, list[float]] = {"layers": [], "one at a time": []}

    def through_simulate(name: str) -> Any:
        result = simulate(
            pairwise_gossip, problem, topology, duration=duration, eval_every=duration,
            one_at_a_time=name == "one at a time",
        )  # fmt: skip
        runs[name].append(result.seconds["run"])
        return result.params["x"][0]

    by_loop = by_hand(problem, topology, duration)
    calls: dict[str, Callable[[], Any]] = {name: partial(through_simulate, name) for name in runs}
    calls["by hand"] = by_loop
    ends = {name: call() for name, call in calls.items()}
    for name, values in ends.items():
        if not np.array_equal(values, ends["layers"]):
            raise AssertionError(f"bench: {name} and layers end in different bits, which they never may")
    whole = interleave(calls, repeats=2 if quick else 5)
    repeats = len(whole["by hand"])
    alone = {name: np.array(seconds[-repeats:]) for name, seconds in runs.items()} | {
        "by hand": whole["by hand"]
    }
    what = f"pairwise averaging n={n}, d={d}, {_events(topology, duration).node.size:,} events"
    for name in ("one at a time", "by hand"):
        yield row(f"{what}: {name} / layers", ratio(alone, name, "layers"), "x", least=20)
    packing = whole["layers"] - alone["layers"]
    yield row(f"{what}: drawing and packing / layers", float(np.median(packing / alone["layers"])), "x")


def _events(topology: Topology, duration: float) -> EventList:
    return pairwise_gossip().timing(topology).draw(duration, generator(0))


def by_hand(problem: Any, topology: Topology, duration: float) -> Callable[[], np.ndarray]:
    """The same events as one `fori_loop` over a list that lies ready, without any of dlax's engine.

    Args:
      problem: a problem of averaging.
      topology: who meets whom.
      duration: simulated time.

    Returns:
      A function that runs it and gives the final values `[n, d]`.
    """
    events = _events(topology, duration)
    own, peer = jnp.asarray(events.node), jnp.asarray(events.peer)
    start = jnp.asarray(problem.starts["x"], jnp.float32)

    @jax.jit
    def run(x: jax.Array, own: jax.Array, peer: jax.Array) -> jax.Array:
        def body(e: jax.Array, x: jax.Array) -> jax.Array:
            i, j = own[e], peer[e]
            mean = (x[i] + x[j]) / 2
            return x.at[i].set(mean).at[j].set(mean)

        return jax.lax.fori_loop(0, own.shape[0], body, x)

    return lambda: np.asarray(run(start, own, peer))


__all__ = ["by_hand", "rows"]
