"""How long large graphs take to build, with their weights and their spectral gap."""

import time
from collections.abc import Iterator
from typing import Any

from dlax.bench.timing import row
from dlax.topology import barabasi_albert, random_regular


def rows(quick: bool) -> Iterator[dict[str, Any]]:
    """Seconds for 100,000 nodes, on the host."""
    n = 3_000 if quick else 100_000
    for name, build in (("random 4-regular", random_regular), ("Barabasi-Albert(2)", barabasi_albert)):
        begin = time.perf_counter()
        topology = build(n)
        built = time.perf_counter()
        gap = topology.spectral_gap
        seconds = time.perf_counter() - begin
        what = f"{name} n={n}: graph and weights ({built - begin:.1f} s), spectral gap {gap:.3g}"
        yield row(what, seconds, "s", most=20.0)


__all__ = ["rows"]
