"""The only loops, one engine a clock: rounds, cohorts, events, a server's schedule; `dlax.simulate` is `simulate`."""

import sys
from types import ModuleType
from typing import Any

from dlax.results import Result
from dlax.simulate.cohorts import run_cohorts
from dlax.simulate.events import run_events
from dlax.simulate.pace import Clock, record_speeds, speeds
from dlax.simulate.rounds import Snapshot, run_rounds, simulate
from dlax.simulate.served import run_served, serve
from dlax.simulate.streams import STREAMS, stream
from dlax.simulate.unroll import Unrolled, unroll

__all__ = [
    "STREAMS",
    "Clock",
    "Snapshot",
    "Unrolled",
    "record_speeds",
    "run_cohorts",
    "run_events",
    "run_rounds",
    "run_served",
    "serve",
    "simulate",
    "speeds",
    "stream",
    "unroll",
]


class _Callable(ModuleType):
    """The package and its main function share a name, so `dlax.simulate` is both."""

    def __call__(self, *args: Any, **options: Any) -> Result:
        return simulate(*args, **options)


sys.modules[__name__].__class__ = _Callable
