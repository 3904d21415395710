"""Robust rules: how a node combines vectors of which some are lies. For one node; the channel maps them."""

from collections.abc import Callable

from dlax.robust.mean import mean
from dlax.robust.nearest import nna, nnm
from dlax.robust.order import median, trimmed_mean
from dlax.types import PreRule, Rule

RULES: dict[str, Callable[..., Rule]] = {
    "mean": mean,
    "median": median,
    "nna": nna,
    "trimmed_mean": trimmed_mean,
}

PRE_RULES: dict[str, Callable[..., PreRule]] = {
    "nnm": nnm,
}

__all__ = ["PRE_RULES", "RULES", "mean", "median", "nna", "nnm", "trimmed_mean"]
