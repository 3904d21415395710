"""What simulated time costs a run: clocks in which nodes and edges differ by one in which all are alike."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from dlax.algorithms import dsgd
from dlax.bench.programs.dlax_dsgd import BATCH, random_samples
from dlax.bench.timing import interleave, ratio, row
from dlax.data import digits
from dlax.problems import classification, softmax
from dlax.simulate import Clock, simulate
from dlax.topology import random_regular


def rows(quick: bool) -> Iterator[dict[str, Any]]:
    """D-SGD, a heavy and a light round, 8-regular and 4-regular."""
    n, rounds, repeats = (16, 10, 2) if quick else (64, 100, 5)
    heavy = classification(n, dataset=random_samples(6_000), batch_size=BATCH)
    yield from _of("MLP 784-100-10", heavy, 8, rounds, repeats)
    light = softmax(16, dataset=digits(), optimum=False)
    yield from _of("softmax on digits", light, 4, 20 if quick else 4_000, 2 if quick else 15)


def _of(what: str, problem: Any, degree: int, rounds: int, repeats: int) -> Iterator[dict[str, Any]]:
    n, rng = problem.n, np.random.default_rng(0)
    own, edges, bandwidth = rng.uniform(1, 2, n), rng.uniform(0.1, 1, (n, n)), rng.uniform(1e6, 2e6, n)
    topology = random_regular(n, degree=degree)
    clocks = {
        "even": Clock(),
        "log-normal work, stragglers, waiting for all": Clock(
            own, 0.1, bandwidth, "log_normal", stragglers=0.1
        ),
        "latency of edges too": Clock(own, edges, bandwidth, "log_normal", stragglers=0.1),
        "and waiting for neighbours": Clock(
            own, edges, bandwidth, "log_normal", stragglers=0.1, barrier="neighbours"
        ),
    }

    def run(clock: Clock) -> None:
        options: Any = {"rounds": rounds, "eval_every": rounds, "hyper": {"lr": 0.05}}
        simulate(dsgd, problem, topology, clock=clock, **options)

    calls = {name: (lambda clock=clock: run(clock)) for name, clock in clocks.items()}
    seconds = interleave(calls, repeats=repeats)
    for name in list(clocks)[1:]:
        yield row(f"clock, {what} n={n}: {name} / even", ratio(seconds, name, "even"), "x", most=1.05)
