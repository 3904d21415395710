"""Algorithms of the events clock: rules for one event, which touches one node or two."""

from collections.abc import Callable

from dlax.algorithms.asynchronous.acid import acid
from dlax.algorithms.asynchronous.ad_psgd import ad_psgd
from dlax.algorithms.asynchronous.continuized import continuized
from dlax.algorithms.asynchronous.dadao import dadao
from dlax.algorithms.asynchronous.pairwise_gossip import pairwise_gossip
from dlax.types import Asynchronous

ASYNCHRONOUS: dict[str, Callable[..., Asynchronous]] = {
    "acid": acid,
    "ad_psgd": ad_psgd,
    "continuized": continuized,
    "dadao": dadao,
    "pairwise_gossip": pairwise_gossip,
}

__all__ = ["ASYNCHRONOUS", "acid", "ad_psgd", "continuized", "dadao", "pairwise_gossip"]
