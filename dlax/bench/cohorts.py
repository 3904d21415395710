"""What a round of the cohorts clock costs: by the cohort, not by the crowd."""

from collections.abc import Iterator
from typing import Any

from dlax import sampling
from dlax.algorithms import fedavg, scaffold
from dlax.bench.timing import interleave, ratio, row
from dlax.problems import least_squares
from dlax.simulate import simulate

_DIM, _SIZE = 20, 100


def rows(quick: bool) -> Iterator[dict[str, Any]]:
    """Rounds of 100 clients out of a thousand and out of a million, with and without a state of each client."""
    few, many = (1_000, 4_000) if quick else (1_000, 1_000_000)
    rounds = 20 if quick else 5_000
    problems = {n: least_squares(n, dim=_DIM, samples=1) for n in (few, many)}
    cohort = sampling.uniform(size=_SIZE)
    for algorithm in (fedavg, scaffold):

        def run(n: int, rounds: int, algorithm: Any = algorithm) -> Any:
            options: Any = {"rounds": rounds, "eval_every": rounds, "hyper": {"lr": 0.01}}
            return simulate(algorithm, problems[n], cohort=cohort, **options)

        # Start and evaluation see every client once: what remains of many rounds less few is the rounds'.
        calls = {f"{n}, {r}": (lambda n=n, r=r: run(n, r)) for n in (few, many) for r in (1, 1 + rounds)}
        seconds = interleave(calls, repeats=2 if quick else 3)
        seconds |= {str(n): seconds[f"{n}, {1 + rounds}"] - seconds[f"{n}, 1"] for n in (few, many)}
        what = f"cohorts of {_SIZE}, {algorithm.__name__}, d={_DIM}: a round among {many:,} / among {few:,} clients"
        yield row(what, ratio(seconds, str(many), str(few)), "x", most=2)
