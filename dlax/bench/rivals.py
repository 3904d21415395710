"""dlax against the strongest PyTorch form of D-SGD on a CPU: steady rounds, and from process start.

PyTorch is a benchmark extra only; without it these rows are skipped with a message.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dlax.bench.programs import dlax_dsgd, torch_dsgd
from dlax.bench.timing import interleave, ratio, row

HIDDEN = {"logistic 784-10": 0, "MLP 784-100-10": 100}


def rows(quick: bool) -> Iterator[dict[str, Any]]:
    """Steady rounds and cold starts of dlax by PyTorch."""
    if importlib.util.find_spec("torch") is None:
        sys.stderr.write('bench: PyTorch is not installed, its rows are skipped; pip install "dlax[bench]"\n')
        return
    yield from _steady(quick)
    yield from _cold(quick)


def _steady(quick: bool) -> Iterator[dict[str, Any]]:
    for name, hidden in HIDDEN.items():
        for n in (4,) if quick else (16, 64):
            samples = 4_000 if quick else dlax_dsgd.SAMPLES
            rounds = (
                3 if quick else (800 if hidden else 4_000) * 16 // n
            )  # a run's start and end then do not count
            ours, theirs = dlax_dsgd.prepare(hidden, n, samples), torch_dsgd.prepare(hidden, n, samples)
            calls = {"dlax": lambda: ours(rounds), "torch": lambda: theirs(rounds)}  # noqa: B023 - timed at once
            seconds = interleave(calls, repeats=2 if quick else 7)
            target = None if n != 64 else (2.0 if hidden else 3.0)
            yield row(
                f"{name}, n={n}, steady: PyTorch / dlax", ratio(seconds, "torch", "dlax"), "x", least=target
            )


def _cold(quick: bool) -> Iterator[dict[str, Any]]:
    """From process start to the result of 200 rounds, n = 16."""
    n, rounds = (4, 5) if quick else (16, 200)
    for name, hidden in HIDDEN.items():
        with tempfile.TemporaryDirectory() as cache:
            arguments = [str(hidden), str(n), str(rounds)]
            times: dict[str, list[float]] = {"PyTorch": [], "dlax first": [], "dlax cached": []}
            _process(dlax_dsgd.__file__, arguments, cache)  # fills the cache
            for _ in range(1 if quick else 5):
                times["PyTorch"].append(_process(torch_dsgd.__file__, arguments, None))
                times["dlax first"].append(_process(dlax_dsgd.__file__, arguments, None))
                times["dlax cached"].append(_process(dlax_dsgd.__file__, arguments, cache))
        middle = {key: sorted(values)[len(values) // 2] for key, values in times.items()}
        for which, most in (("dlax first", 1.5), ("dlax cached", 1.0)):
            text = f"{name}, n={n}, {rounds} rounds from process start: {which} / PyTorch"
            yield row(text, middle[which] / middle["PyTorch"], "x", most=most)


def _process(program: str, arguments: list[str], cache: str | None) -> float:
    """Seconds of a fresh process, with jax's compilation cache in a folder or off."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    environment["JAX_ENABLE_COMPILATION_CACHE"] = "false" if cache is None else "true"
    environment["JAX_COMPILATION_CACHE_DIR"] = cache or ""
    environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    start = time.perf_counter()
    subprocess.run([sys.executable, program, *arguments], check=True, capture_output=True, env=environment)
    return time.perf_counter() - start
