"""Algorithms, one file each: a factory of options that returns the pair (init, step)."""

from collections.abc import Callable

from dlax.algorithms.centralized_sgd import centralized_sgd
from dlax.algorithms.chebyshev_gossip import chebyshev_gossip
from dlax.algorithms.dsgd import dsgd
from dlax.algorithms.fedavg import fedavg
from dlax.algorithms.gossip import gossip
from dlax.algorithms.gradient_tracking import gradient_tracking
from dlax.algorithms.local_only import local_only
from dlax.algorithms.network_lasso import network_lasso
from dlax.algorithms.push_sum import push_sum
from dlax.algorithms.second_order_gossip import second_order_gossip
from dlax.types import Algorithm

ALGORITHMS: dict[str, Callable[..., Algorithm]] = {
    "dsgd": dsgd,
    "gradient_tracking": gradient_tracking,
    "local_only": local_only,
    "centralized_sgd": centralized_sgd,
    "fedavg": fedavg,
    "gossip": gossip,
    "chebyshev_gossip": chebyshev_gossip,
    "second_order_gossip": second_order_gossip,
    "push_sum": push_sum,
    "network_lasso": network_lasso,
}

__all__ = [
    "ALGORITHMS",
    "centralized_sgd",
    "chebyshev_gossip",
    "dsgd",
    "fedavg",
    "gossip",
    "gradient_tracking",
    "local_only",
    "network_lasso",
    "push_sum",
    "second_order_gossip",
]
