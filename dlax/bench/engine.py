"""The engine against the same update written by hand, and how it grows."""

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlax.algorithms import dsgd
from dlax.bench.programs.dlax_dsgd import BATCH, random_samples
from dlax.bench.timing import interleave, ratio, row
from dlax.data import digits
from dlax.models import cnn, mlp
from dlax.problems import classification, quadratic
from dlax.results import Result
from dlax.simulate import simulate
from dlax.topology import random_regular, ring


def rows(quick: bool) -> Iterator[dict[str, Any]]:
    """Overhead, sweeps over seeds, per-node convolutions, growth, a million nodes, memory, compilation."""
    yield from _overhead(quick)
    yield from _sweep(quick)
    yield from _convolution(quick)
    yield from _growth(quick)
    yield from _million(quick)
    yield from _memory(quick)
    yield from _compilation(quick)


def _overhead(quick: bool) -> Iterator[dict[str, Any]]:
    """D-SGD through simulate, metrics every 50 rounds, by one hand-written loop without any."""
    n, rounds = (8, 20) if quick else (64, 400)
    problem = classification(n, dataset=random_samples(6_000), batch_size=BATCH)
    topology = ring(n)

    def through_simulate() -> None:
        simulate(dsgd, problem, topology, rounds=rounds, eval_every=50, hyper={"lr": 0.05})

    seconds = interleave(
        {"simulate": through_simulate, "by hand": by_hand(problem, rounds)}, repeats=2 if quick else 5
    )
    yield row(
        f"D-SGD run, MLP n={n}: simulate / by hand", ratio(seconds, "simulate", "by hand"), "x", most=1.05
    )


def _sweep(quick: bool) -> Iterator[dict[str, Any]]:
    """Eight seeds in one compiled run by one seed, as an ablation has them: digits, 16 nodes, MLP 64-64-10."""
    rounds = 20 if quick else 300
    problem = classification(16, dataset=digits(), model=mlp(hidden=(64,)), batch_size=16)
    topology = ring(16)

    def run(seeds: int) -> Result:
        return simulate(
            dsgd, problem, topology, rounds=rounds, eval_every=rounds, seeds=seeds, hyper={"lr": 0.1}
        )

    first = {seeds: run(seeds).seconds for seeds in (1, 8)}
    calls = {str(seeds): lambda seeds=seeds: run(seeds) for seeds in (1, 8)}
    seconds = interleave(calls, repeats=2 if quick else 7)
    yield row("sweep, MLP n=16: 8 seeds together / 1 seed", ratio(seconds, "8", "1"), "x", most=5)
    whole = {seeds: parts["compile"] + parts["run"] for seeds, parts in first.items()}
    yield row(
        "sweep, MLP n=16: 8 seeds together / 1 seed, compilation included", whole[8] / whole[1], "x", most=5
    )


def by_hand(problem: Any, rounds: int) -> Callable[[], None]:
    """The same D-SGD run on a ring as one `fori_loop`, without any of dlax's engine.

    Args:
      problem: a classification problem; its model, data layout and batch rule are used.
      rounds: T.
    """
    n = problem.n
    put = lambda leaf: jnp.asarray(leaf.astype(np.float32) if leaf.dtype == np.float64 else leaf)  # noqa: E731
    local = jax.tree.map(put, problem.local)
    shared = jax.tree.map(put, problem.shared)

    @jax.jit
    def run(key: jax.Array, local: Any, shared: Any) -> Any:
        params = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (n, *leaf.shape)), problem.init(key))

        def body(t: jax.Array, params: Any) -> Any:
            keys = jax.random.split(jax.random.fold_in(key, t), n)
            grads = jax.vmap(jax.grad(problem.loss), in_axes=(0, 0, 0, None))(params, keys, local, shared)
            half = jax.tree.map(lambda x, g: x - 0.05 * g, params, grads)
            mix = lambda x: (x + jnp.roll(x, 1, 0) + jnp.roll(x, -1, 0)) / 3  # noqa: E731
            return jax.tree.map(mix, half)

        return jax.lax.fori_loop(0, rounds, body, params)

    return lambda: jax.block_until_ready(run(jax.random.key(0), local, shared))


def _convolution(quick: bool) -> Iterator[dict[str, Any]]:
    """Gradients of per-node CNNs under the engine's choice, by n separate jitted calls."""
    n = 2 if quick else 16
    model = cnn()((28, 28, 1), 10)
    params = jax.vmap(model.init)(jax.random.split(jax.random.key(0), n))
    x = jax.random.normal(jax.random.key(1), (n, BATCH, 28, 28, 1))
    y = jax.random.randint(jax.random.key(2), (n, BATCH), 0, 10)

    def loss(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        outputs = model.apply(params, x)
        return jnp.mean(jax.nn.logsumexp(outputs, -1) - jnp.take_along_axis(outputs, y[:, None], 1)[:, 0])

    grad = jax.grad(loss)
    together = jax.jit(
        (lambda p, x, y: jax.lax.map(lambda a: grad(*a), (p, x, y)))
        if model.on_cpu == "map"
        else jax.vmap(grad)
    )
    single = jax.jit(grad)
    apart = [jax.tree.map(lambda leaf: leaf[i], (params, x, y)) for i in range(n)]  # noqa: B023 - used at once
    seconds = interleave(
        {
            "together": lambda: jax.block_until_ready(together(params, x, y)),
            "separate": lambda: jax.block_until_ready([single(*one) for one in apart]),
        },
        repeats=2 if quick else 9,
    )
    yield row(
        f"CNN gradients n={n}: together / separate calls",
        ratio(seconds, "together", "separate"),
        "x",
        most=1.2,
    )


def _growth(quick: bool) -> Iterator[dict[str, Any]]:
    """Time per round from 64 to 65,536 nodes with the model fixed: slope on log-log axes.

    With d = 10 all models stay in a 32 MB cache; with d = 100 the largest network leaves it.
    """
    for d in (10, 100):
        yield from _growth_of(d, quick)


def _growth_of(d: int, quick: bool) -> Iterator[dict[str, Any]]:
    sizes = (16, 64) if quick else (64, 256, 1024, 4096, 16384, 65536)
    per_round = []
    for n in sizes:
        problem = quadratic(n, dim=d, hessian="common")
        topology = random_regular(n, degree=4)
        rounds = 4 if quick else max(20, 200_000 // n)
        best = math.inf
        for _ in range(2 if quick else 4):
            result = simulate(
                dsgd, problem, topology, rounds=rounds, eval_every=rounds, hyper={"lr": 0.1}, seeds=1
            )
            best = min(best, result.seconds["run"] / rounds)
        per_round.append(best)
    slope = float(np.polyfit(np.log(sizes), np.log(per_round), 1)[0])
    yield row(
        f"growth of time per round, quadratic d={d}, n={sizes[0]} to {sizes[-1]}",
        slope,
        "exponent",
        most=1.05,
    )


def _million(quick: bool) -> Iterator[dict[str, Any]]:
    n = 10_000 if quick else 1_000_000
    start = time.perf_counter()
    problem = quadratic(n, dim=10, hessian="common")
    topology = random_regular(n, degree=4)
    simulate(dsgd, problem, topology, rounds=100, eval_every=100, hyper={"lr": 0.1})
    yield row(
        f"{n:,} nodes, d=10, 4-regular, 100 rounds, all included", time.perf_counter() - start, "s", most=60
    )


_MEMORY = """
import json, resource, sys
import jax
from dlax.algorithms import dsgd
from dlax.bench.programs.dlax_dsgd import BATCH, random_samples
from dlax.models import mlp
from dlax.problems import classification
from dlax.simulate import simulate
from dlax import channel, robust, topology

n, hidden = {n}, {hidden}
data = random_samples(6000)

def go(hidden):
    problem = classification(n, dataset=data, model=mlp(hidden=(hidden,)), batch_size=BATCH)
    options = dict(rounds=20, eval_every=10, hyper={{"lr": 0.05}})
    return simulate(dsgd, problem, topology.{graph}, channel=channel.{channel}, **options)

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

go(8)  # everything but the parameters: imports, data, compilation
before = resident()
result = go(hidden)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
copies = (peak - before) / sum(leaf.nbytes for leaf in jax.tree.leaves(result.params))
print(json.dumps(copies))
"""


def _memory(quick: bool) -> Iterator[dict[str, Any]]:
    """Peak resident memory of a run beyond that of the same with a tiny model, in copies of the parameters."""
    yield from peak_memory("D-SGD", "ring(n)", "linear()", quick, most=3.5)


def peak_memory(what: str, graph: str, channel: str, quick: bool, *, most: float) -> Iterator[dict[str, Any]]:
    """The row of one run in a process of its own; graph and channel as Python, of n nodes."""
    if not Path("/proc/self/statm").exists():
        sys.stderr.write("bench: memory is measured on Linux only\n")
        return
    n, hidden = (16, 64) if quick else (64, 4000)
    code = _MEMORY.format(n=n, hidden=hidden, graph=graph, channel=channel)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    copies = json.loads(done.stdout.splitlines()[-1])
    yield row(
        f"peak memory, {what}, MLP 784-{hidden}-10, n={n}", copies, "copies of the parameters", most=most
    )


def _compilation(quick: bool) -> Iterator[dict[str, Any]]:
    """Seconds to compile every shipped config without a cache, and that a second run compiles nothing."""
    from dlax import experiment
    from dlax.data import DataNotFound

    folder = Path(__file__).parents[2] / "configs"
    configs = sorted(folder.glob("*.yaml"))
    slowest, name = 0.0, "none found"
    cached = jax.config.values["jax_enable_compilation_cache"]
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        for path in configs[:1] if quick else configs:
            raw = experiment.load(path)
            cell = experiment.expand(raw)[-1]
            length = "duration" if cell.duration else "rounds"
            cell = cell.model_copy(update={length: 2, "eval_every": 1})
            try:
                result = experiment.run(cell)
            except ValueError as error:
                if isinstance(error.__cause__, DataNotFound):
                    continue  # its data are not on this machine
                raise
            slowest, name = max((slowest, name), (result.seconds["compile"], path.stem))
        if configs:
            yield row(f"compile, slowest shipped config ({name})", slowest, "s", most=10)
        count = cell.seeds if isinstance(cell.seeds, int) else len(cell.seeds)
        changed = cell.model_copy(update={"seeds": list(range(5, 5 + count))})
        changed.algorithm = {**changed.algorithm, "lr": 0.0123}
        again = experiment.run(changed).seconds["compile"]
        yield row("compile, same structure with other seeds and lr", again, "s", most=0)
    finally:
        jax.config.update("jax_enable_compilation_cache", cached)


__all__ = ["by_hand", "rows"]
