"""What happens to a message between sending and having received: bits, losses, sleepers, combination."""

from collections.abc import Callable

from dlax.channel.attacked import attacked
from dlax.channel.bristle import bristle
from dlax.channel.choco import choco
from dlax.channel.delayed import delayed
from dlax.channel.error_feedback import error_feedback
from dlax.channel.extremum import extremum
from dlax.channel.linear import linear
from dlax.channel.matching import matching
from dlax.channel.median import median
from dlax.channel.power_gossip import power_gossip
from dlax.channel.ring_all_reduce import ring_all_reduce
from dlax.channel.robust import robust
from dlax.channel.running_sums import running_sums
from dlax.channel.sybilwall import sybilwall
from dlax.channel.ubar import ubar
from dlax.channel.variance import variance_corrected
from dlax.types import Channel

CHANNELS: dict[str, Callable[..., Channel]] = {
    "linear": linear,
    "delayed": delayed,
    "extremum": extremum,
    "matching": matching,
    "median": median,
    "ring_all_reduce": ring_all_reduce,
    "robust": robust,
    "running_sums": running_sums,
    "sybilwall": sybilwall,
    "ubar": ubar,
    "choco": choco,
    "error_feedback": error_feedback,
    "power_gossip": power_gossip,
    "variance_corrected": variance_corrected,
}

__all__ = [
    "CHANNELS",
    "attacked",
    "bristle",
    "choco",
    "delayed",
    "error_feedback",
    "extremum",
    "linear",
    "matching",
    "median",
    "power_gossip",
    "ring_all_reduce",
    "robust",
    "running_sums",
    "sybilwall",
    "ubar",
    "variance_corrected",
]
