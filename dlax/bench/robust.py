"""What robustness costs: whole rounds of D-SGD under every rule by plain ones, and one Gram matrix."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlax import channel, robust
from dlax.algorithms import dsgd
from dlax.bench.engine import peak_memory
from dlax.bench.programs.dlax_dsgd import BATCH, random_samples
from dlax.bench.timing import interleave, row
from dlax.problems import classification
from dlax.simulate import simulate
from dlax.topology import Topology, complete, random_regular
from dlax.types import Channel

BY_COORDINATE = ("median", "trimmed_mean", "meamed", "phocas")
BY_WEIGHT = (
    *("nna", "krum", "multi_krum", "geometric_median", "centered_clipping", "clipped_gossip"),
    *("cs_plus", "ios", "caf", "foolsgold", "flag"),
)


def rows(quick: bool) -> Iterator[dict[str, Any]]:
    """Time of a round, n = 64, MLP 784-100-10, f = 12 on the complete graph, 2 of 9 on an 8-regular one."""
    n, rounds = (16, 3) if quick else (64, 10)
    problem = classification(n, dataset=random_samples(6_000), batch_size=BATCH)
    for topology, f in ((complete(n), n * 12 // 64), (random_regular(n, degree=8), 2)):
        names = ("nna", "median") if quick else (*BY_WEIGHT, *BY_COORDINATE)
        channels: dict[str, Channel] = {"plain": channel.linear()}
        channels |= {
            name: channel.robust(rule=robust.RULES[name](), tolerated=f, beyond=True) for name in names
        }

        def run(made: Channel, topology: Topology = topology) -> None:
            options: Any = {"rounds": rounds, "eval_every": rounds, "hyper": {"lr": 0.05}}
            simulate(dsgd, problem, topology, channel=made, **options)

        calls = {name: (lambda made=made: run(made)) for name, made in channels.items()}
        calls["Gram"] = _gram(n, rounds)
        seconds = interleave(calls, repeats=2 if quick else 3)
        gram = _median(seconds["Gram"])
        for name in names:
            over = _median(seconds[name])
            base = _median(seconds["plain"])
            what = f"robust round, {topology.name} n={n}, f={f}: {name} / plain"
            if name in BY_COORDINATE:
                yield row(what, over / base, "x", most=6)
            else:
                yield row(f"{what} + Gram / 2", over / (base + gram / 2), "x", most=2)
    for graph in ("complete(n)", "random_regular(n, degree=8)"):
        for name in ("nna", "median"):
            made = f"robust(rule=robust.{name}(), tolerated=2)"
            yield from peak_memory(f"{name} on {graph.partition('(')[0]}", graph, made, quick, most=6)


def _median(values: np.ndarray) -> float:
    return float(np.median(values))


def _gram(n: int, rounds: int) -> Any:
    """`rounds` Gram matrices of all models, as one call."""
    rows = jax.random.normal(jax.random.key(0), (n, 784 * 100 + 100 + 1010))

    @jax.jit
    def grams(rows: jax.Array) -> jax.Array:
        def body(_: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            rows, total = carry
            gram = jnp.matmul(rows, rows.T, precision=jax.lax.Precision.HIGHEST)
            return rows + 1e-9 * gram[0, 0], total + gram

        return jax.lax.fori_loop(0, rounds, body, (rows, jnp.zeros((n, n))))[1]

    return lambda: jax.block_until_ready(grams(rows))
