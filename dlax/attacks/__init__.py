"""Attacks: what Byzantine nodes do, and who they are."""

from collections.abc import Callable

from dlax.attacks.mean import alie, foe, sign_flip
from dlax.attacks.placement import at, random
from dlax.types import Attack, Placement

ATTACKS: dict[str, Callable[..., Attack]] = {
    "alie": alie,
    "foe": foe,
    "sign_flip": sign_flip,
}

PLACEMENTS: dict[str, Callable[..., Placement]] = {
    "at": at,
    "random": random,
}

__all__ = ["ATTACKS", "PLACEMENTS", "alie", "at", "foe", "random", "sign_flip"]
