"""Schedulers of a server and its clients: who trains for how many local steps, and when updates are taken in.

Host side, NumPy. A scheduler sees compute times, never a model, so a whole run's `Schedule` is known before it
starts, and `dlax.simulate.serve` runs it compiled.
"""

from collections.abc import Callable

from dlax.schedulers.compass import compass
from dlax.schedulers.fedasync import fedasync
from dlax.schedulers.fedbuff import fedbuff
from dlax.schedulers.schedule import Schedule, Tasks
from dlax.schedulers.speeds import SPEEDS, Seconds, Speeds, exponential, homogeneous, listed, normal, slowed
from dlax.schedulers.staleness import STALENESS, Staleness, constant, hinge, polynomial
from dlax.schedulers.synchronous import synchronous
from dlax.schedulers.tiered import tiered

SCHEDULERS: dict[str, Callable[..., Schedule]] = {
    "compass": compass,
    "fedasync": fedasync,
    "fedbuff": fedbuff,
    "synchronous": synchronous,
    "tiered": tiered,
}

__all__ = [
    "SCHEDULERS",
    "SPEEDS",
    "STALENESS",
    "Schedule",
    "Seconds",
    "Speeds",
    "Staleness",
    "Tasks",
    "compass",
    "constant",
    "exponential",
    "fedasync",
    "fedbuff",
    "hinge",
    "homogeneous",
    "listed",
    "normal",
    "polynomial",
    "slowed",
    "synchronous",
    "tiered",
]
