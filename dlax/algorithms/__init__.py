"""Algorithms, one file each: a factory of options that returns the pair (init, step)."""

from collections.abc import Callable

from dlax.algorithms.adom_plus import adom_plus
from dlax.algorithms.apm import apm
from dlax.algorithms.centralized_sgd import centralized_sgd
from dlax.algorithms.chebyshev_gossip import chebyshev_gossip
from dlax.algorithms.dadmm import dadmm
from dlax.algorithms.decentralized_proxskip import decentralized_proxskip
from dlax.algorithms.dlm import dlm
from dlax.algorithms.dsgd import dsgd
from dlax.algorithms.fedavg import fedavg
from dlax.algorithms.fedopt import fedopt
from dlax.algorithms.fedprox import fedprox
from dlax.algorithms.gossip import gossip
from dlax.algorithms.gradient_tracking import gradient_tracking
from dlax.algorithms.local_only import local_only
from dlax.algorithms.msda import msda
from dlax.algorithms.mudag import mudag
from dlax.algorithms.proxskip import proxskip
from dlax.algorithms.push_sum import push_sum
from dlax.algorithms.scaffold import scaffold
from dlax.algorithms.second_order_gossip import second_order_gossip
from dlax.types import Algorithm

ALGORITHMS: dict[str, Callable[..., Algorithm]] = {
    "dsgd": dsgd,
    "gradient_tracking": gradient_tracking,
    "local_only": local_only,
    "centralized_sgd": centralized_sgd,
    "fedavg": fedavg,
    "fedprox": fedprox,
    "fedopt": fedopt,
    "scaffold": scaffold,
    "proxskip": proxskip,
    "decentralized_proxskip": decentralized_proxskip,
    "dlm": dlm,
    "dadmm": dadmm,
    "mudag": mudag,
    "apm": apm,
    "msda": msda,
    "adom_plus": adom_plus,
    "gossip": gossip,
    "chebyshev_gossip": chebyshev_gossip,
    "second_order_gossip": second_order_gossip,
    "push_sum": push_sum,
}

__all__ = [
    "ALGORITHMS",
    "adom_plus",
    "apm",
    "centralized_sgd",
    "chebyshev_gossip",
    "dadmm",
    "decentralized_proxskip",
    "dlm",
    "dsgd",
    "fedavg",
    "fedopt",
    "fedprox",
    "gossip",
    "gradient_tracking",
    "local_only",
    "msda",
    "mudag",
    "proxskip",
    "push_sum",
    "scaffold",
    "second_order_gossip",
]
