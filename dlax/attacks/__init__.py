"""Attacks: what Byzantine nodes do, and who they are."""

from collections.abc import Callable

from dlax.attacks.by_receiver import dissensus, isolation, spectral
from dlax.attacks.constant import drop, erase, infinity, nan, zero
from dlax.attacks.fang import fang_krum, fang_trimmed_mean
from dlax.attacks.history import model_replacement, replay
from dlax.attacks.mean import alie, foe, sign_flip
from dlax.attacks.mimic import mimic, mimic_heuristic
from dlax.attacks.noise import gaussian, uniform
from dlax.attacks.optimised import optimised_alie, optimised_foe
from dlax.attacks.placement import at, bounded, by_degree, clustered, last, random
from dlax.attacks.poison import augment, backdoor, label_flip
from dlax.attacks.sybil import sybil
from dlax.types import Attack, Placement

ATTACKS: dict[str, Callable[..., Attack]] = {
    "alie": alie,
    "augment": augment,
    "backdoor": backdoor,
    "dissensus": dissensus,
    "drop": drop,
    "erase": erase,
    "fang_krum": fang_krum,
    "fang_trimmed_mean": fang_trimmed_mean,
    "foe": foe,
    "gaussian": gaussian,
    "infinity": infinity,
    "isolation": isolation,
    "label_flip": label_flip,
    "mimic": mimic,
    "mimic_heuristic": mimic_heuristic,
    "model_replacement": model_replacement,
    "nan": nan,
    "optimised_alie": optimised_alie,
    "optimised_foe": optimised_foe,
    "replay": replay,
    "sign_flip": sign_flip,
    "spectral": spectral,
    "sybil": sybil,
    "uniform": uniform,
    "zero": zero,
}

PLACEMENTS: dict[str, Callable[..., Placement]] = {
    "at": at,
    "bounded": bounded,
    "by_degree": by_degree,
    "clustered": clustered,
    "last": last,
    "random": random,
}

__all__ = [
    "ATTACKS",
    "PLACEMENTS",
    "alie",
    "at",
    "augment",
    "backdoor",
    "bounded",
    "by_degree",
    "clustered",
    "dissensus",
    "drop",
    "erase",
    "fang_krum",
    "fang_trimmed_mean",
    "foe",
    "gaussian",
    "infinity",
    "isolation",
    "label_flip",
    "last",
    "mimic",
    "mimic_heuristic",
    "model_replacement",
    "nan",
    "optimised_alie",
    "optimised_foe",
    "random",
    "replay",
    "sign_flip",
    "spectral",
    "sybil",
    "uniform",
    "zero",
]
