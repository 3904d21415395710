"""What happens to a message between sending and having received: bits, losses, sleepers, combination."""

from collections.abc import Callable

from dlax.channel.extremum import extremum
from dlax.channel.linear import linear
from dlax.channel.median import median
from dlax.channel.running_sums import running_sums
from dlax.channel.variance import variance_corrected
from dlax.types import Channel

CHANNELS: dict[str, Callable[..., Channel]] = {
    "linear": linear,
    "extremum": extremum,
    "median": median,
    "running_sums": running_sums,
    "variance_corrected": variance_corrected,
}

__all__ = ["CHANNELS", "extremum", "linear", "median", "running_sums", "variance_corrected"]
