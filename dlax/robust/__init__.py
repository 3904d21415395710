"""Robust rules: how a node combines vectors of which some are lies. For one node; the channel maps them."""

from collections.abc import Callable

from dlax.robust.centre import centered_clipping, geometric_median
from dlax.robust.filters import caf
from dlax.robust.flag import flag
from dlax.robust.gossip import clipped_gossip, cs_plus, faba, gts, ios, rtc
from dlax.robust.krum import bulyan, krum, multi_krum
from dlax.robust.mean import mean
from dlax.robust.nearest import nna, nnm
from dlax.robust.order import meamed, median, phocas, trimmed_mean
from dlax.robust.pre import arc, bucketing, clipping
from dlax.robust.similarity import foolsgold, mean_of_units
from dlax.robust.subsets import mda, smea
from dlax.types import PreRule, Rule

RULES: dict[str, Callable[..., Rule]] = {
    "bulyan": bulyan,
    "caf": caf,
    "centered_clipping": centered_clipping,
    "clipped_gossip": clipped_gossip,
    "cs_plus": cs_plus,
    "faba": faba,
    "flag": flag,
    "foolsgold": foolsgold,
    "geometric_median": geometric_median,
    "gts": gts,
    "ios": ios,
    "krum": krum,
    "mda": mda,
    "meamed": meamed,
    "mean": mean,
    "mean_of_units": mean_of_units,
    "median": median,
    "multi_krum": multi_krum,
    "nna": nna,
    "phocas": phocas,
    "rtc": rtc,
    "smea": smea,
    "trimmed_mean": trimmed_mean,
}

PRE_RULES: dict[str, Callable[..., PreRule]] = {
    "arc": arc,
    "bucketing": bucketing,
    "clipping": clipping,
    "nnm": nnm,
}

__all__ = [
    "PRE_RULES",
    "RULES",
    "arc",
    "bucketing",
    "bulyan",
    "caf",
    "centered_clipping",
    "clipped_gossip",
    "clipping",
    "cs_plus",
    "faba",
    "flag",
    "foolsgold",
    "geometric_median",
    "gts",
    "ios",
    "krum",
    "mda",
    "meamed",
    "mean",
    "mean_of_units",
    "median",
    "multi_krum",
    "nna",
    "nnm",
    "phocas",
    "rtc",
    "smea",
    "trimmed_mean",
]
