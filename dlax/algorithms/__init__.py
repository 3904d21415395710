"""Algorithms, one file each: a factory of options that returns the pair (init, step)."""

from collections.abc import Callable

from dlax.algorithms.centralized_sgd import centralized_sgd
from dlax.algorithms.dsgd import dsgd
from dlax.algorithms.fedavg import fedavg
from dlax.algorithms.gradient_tracking import gradient_tracking
from dlax.algorithms.local_only import local_only
from dlax.types import Algorithm

ALGORITHMS: dict[str, Callable[..., Algorithm]] = {
    "dsgd": dsgd,
    "gradient_tracking": gradient_tracking,
    "local_only": local_only,
    "centralized_sgd": centralized_sgd,
    "fedavg": fedavg,
}

__all__ = ["ALGORITHMS", "centralized_sgd", "dsgd", "fedavg", "gradient_tracking", "local_only"]
