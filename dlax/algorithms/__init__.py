"""Algorithms, one file each: a factory of options that returns the pair (init, step).

The baselines from `extra` on follow their papers as these are generally quoted, not line by line; what each must do
(reach the optimum, or stand still where it is known to) is tested.
"""

from collections.abc import Callable

from dlax.algorithms.adom_plus import adom_plus
from dlax.algorithms.apm import apm
from dlax.algorithms.beer import beer
from dlax.algorithms.centralized_sgd import centralized_sgd
from dlax.algorithms.chebyshev_gossip import chebyshev_gossip
from dlax.algorithms.choco_sgd import choco_sgd
from dlax.algorithms.dadam import dadam
from dlax.algorithms.dadmm import dadmm
from dlax.algorithms.decentlam import decentlam
from dlax.algorithms.decentralized_amsgrad import decentralized_amsgrad
from dlax.algorithms.decentralized_proxskip import decentralized_proxskip
from dlax.algorithms.deep_squeeze import deep_squeeze
from dlax.algorithms.delayed_diloco import delayed_diloco
from dlax.algorithms.dfedavg import dfedavg
from dlax.algorithms.dfedsam import dfedsam
from dlax.algorithms.diloco import diloco
from dlax.algorithms.dlm import dlm
from dlax.algorithms.dmsgd import dmsgd
from dlax.algorithms.dsgd import dsgd
from dlax.algorithms.eager_diloco import eager_diloco
from dlax.algorithms.exact_diffusion import exact_diffusion
from dlax.algorithms.extra import extra
from dlax.algorithms.fedamd import fedamd
from dlax.algorithms.fedavg import fedavg
from dlax.algorithms.fedopt import fedopt
from dlax.algorithms.fedprox import fedprox
from dlax.algorithms.gossip import gossip
from dlax.algorithms.gossip_pga import gossip_pga
from dlax.algorithms.gradient_averaging import gradient_averaging
from dlax.algorithms.gradient_tracking import gradient_tracking
from dlax.algorithms.k_gt import k_gt
from dlax.algorithms.lead import lead
from dlax.algorithms.led import led
from dlax.algorithms.local_only import local_only
from dlax.algorithms.local_training import local_training
from dlax.algorithms.momentum_tracking import momentum_tracking
from dlax.algorithms.msda import msda
from dlax.algorithms.mudag import mudag
from dlax.algorithms.network_lasso import network_lasso
from dlax.algorithms.nids import nids
from dlax.algorithms.power_gossip_sgd import power_gossip_sgd
from dlax.algorithms.proxskip import proxskip
from dlax.algorithms.push_diging import push_diging
from dlax.algorithms.push_sum import push_sum
from dlax.algorithms.qg_dsgdm import qg_dsgdm
from dlax.algorithms.relay_sgd import relay_sgd
from dlax.algorithms.scaffold import scaffold
from dlax.algorithms.second_order_gossip import second_order_gossip
from dlax.algorithms.sgp import sgp
from dlax.algorithms.slowmo import slowmo
from dlax.algorithms.streaming_diloco import streaming_diloco
from dlax.algorithms.through import through
from dlax.types import Algorithm, LocalTraining

ALGORITHMS: dict[str, Callable[..., Algorithm]] = {
    "dsgd": dsgd,
    "gradient_tracking": gradient_tracking,
    "local_only": local_only,
    "centralized_sgd": centralized_sgd,
    "fedavg": fedavg,
    "fedprox": fedprox,
    "fedopt": fedopt,
    "scaffold": scaffold,
    "fedamd": fedamd,
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
    "extra": extra,
    "exact_diffusion": exact_diffusion,
    "nids": nids,
    "led": led,
    "k_gt": k_gt,
    "momentum_tracking": momentum_tracking,
    "dmsgd": dmsgd,
    "decentlam": decentlam,
    "qg_dsgdm": qg_dsgdm,
    "gossip_pga": gossip_pga,
    "gradient_averaging": gradient_averaging,
    "slowmo": slowmo,
    "diloco": diloco,
    "delayed_diloco": delayed_diloco,
    "eager_diloco": eager_diloco,
    "streaming_diloco": streaming_diloco,
    "sgp": sgp,
    "push_diging": push_diging,
    "dfedavg": dfedavg,
    "dadam": dadam,
    "decentralized_amsgrad": decentralized_amsgrad,
    "choco_sgd": choco_sgd,
    "deep_squeeze": deep_squeeze,
    "beer": beer,
    "lead": lead,
    "power_gossip_sgd": power_gossip_sgd,
    "relay_sgd": relay_sgd,
    "dfedsam": dfedsam,
    "network_lasso": network_lasso,
}

# Of clients under a scheduler.
SCHEDULED: dict[str, Callable[..., LocalTraining]] = {"local_training": local_training}

__all__ = [
    "ALGORITHMS",
    "SCHEDULED",
    "adom_plus",
    "apm",
    "beer",
    "centralized_sgd",
    "chebyshev_gossip",
    "choco_sgd",
    "dadam",
    "dadmm",
    "decentlam",
    "decentralized_amsgrad",
    "decentralized_proxskip",
    "deep_squeeze",
    "delayed_diloco",
    "dfedavg",
    "dfedsam",
    "diloco",
    "dlm",
    "dmsgd",
    "dsgd",
    "eager_diloco",
    "exact_diffusion",
    "extra",
    "fedamd",
    "fedavg",
    "fedopt",
    "fedprox",
    "gossip",
    "gossip_pga",
    "gradient_averaging",
    "gradient_tracking",
    "k_gt",
    "lead",
    "led",
    "local_only",
    "local_training",
    "momentum_tracking",
    "msda",
    "mudag",
    "network_lasso",
    "nids",
    "power_gossip_sgd",
    "proxskip",
    "push_diging",
    "push_sum",
    "qg_dsgdm",
    "relay_sgd",
    "scaffold",
    "second_order_gossip",
    "sgp",
    "slowmo",
    "streaming_diloco",
    "through",
]
