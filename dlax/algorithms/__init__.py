"""Algorithms, one file each: a factory of options that returns the pair (init, step)."""

from collections.abc import Callable

from dlax.algorithms.beer import beer
from dlax.algorithms.centralized_sgd import centralized_sgd
from dlax.algorithms.chebyshev_gossip import chebyshev_gossip
from dlax.algorithms.choco_sgd import choco_sgd
from dlax.algorithms.deep_squeeze import deep_squeeze
from dlax.algorithms.dsgd import dsgd
from dlax.algorithms.fedavg import fedavg
from dlax.algorithms.gossip import gossip
from dlax.algorithms.gradient_tracking import gradient_tracking
from dlax.algorithms.lead import lead
from dlax.algorithms.local_only import local_only
from dlax.algorithms.power_gossip_sgd import power_gossip_sgd
from dlax.algorithms.push_sum import push_sum
from dlax.algorithms.relay_sgd import relay_sgd
from dlax.algorithms.second_order_gossip import second_order_gossip
from dlax.algorithms.through import through
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
    "choco_sgd": choco_sgd,
    "deep_squeeze": deep_squeeze,
    "beer": beer,
    "lead": lead,
    "power_gossip_sgd": power_gossip_sgd,
    "relay_sgd": relay_sgd,
}

__all__ = [
    "ALGORITHMS",
    "beer",
    "centralized_sgd",
    "chebyshev_gossip",
    "choco_sgd",
    "deep_squeeze",
    "dsgd",
    "fedavg",
    "gossip",
    "gradient_tracking",
    "lead",
    "local_only",
    "power_gossip_sgd",
    "push_sum",
    "relay_sgd",
    "second_order_gossip",
    "through",
]
