"""Randomised gossip: pairs of neighbours meet at random times and take their mean.

Boyd, Ghosh, Prabhakar, Shah. Randomized Gossip Algorithms. IEEE Trans. Information Theory 2006.
"""

from typing import Any, NamedTuple

import jax
import numpy as np

from dlax.timing import exchange_rates, poisson
from dlax.topology import Topology
from dlax.types import Asynchronous, Event, Info, Timing, Tree


class PairwiseState(NamedTuple):
    """A node's row."""

    params: Tree  # x: the value


def pairwise_gossip(*, rate: float = 1.0) -> Asynchronous:
    """Randomised pairwise gossip.

    When the clock of edge {i, j} ticks,

        xᵢ, xⱼ ← (xᵢ + xⱼ) / 2

    Edges have Poisson clocks of rate λ_ij = rate/2 · (1/dᵢ + 1/dⱼ), as if every node sought a neighbour, drawn
    uniformly, `rate`/2 times per unit of time. The mean is kept, and with Λ the Laplacian of these rates

        E ‖X(t) − X̄‖² ≤ exp(−λ₂(Λ) t / 2) ‖X(0) − X̄‖²

    since an exchange takes ½ (xᵢ − xⱼ)² off the distance.

    Args:
      rate: exchanges that a node takes part in per unit of time, on average over nodes.

    Returns:
      The asynchronous algorithm; both ends send their value.

    Raises:
      ValueError: if `rate` is not positive; in a run, if the topology is directed.
    """
    if not rate > 0:
        raise ValueError(f"pairwise_gossip: rate must be positive, got {rate}")

    def timing(topology: Topology) -> Timing:
        edges, rates = exchange_rates(topology, rate)
        return Timing(poisson(np.zeros(topology.n), edges, rates), {})

    def init(params: Tree, facts: dict[str, Any]) -> PairwiseState:
        return PairwiseState(params)

    def meet(
        own: PairwiseState, peer: PairwiseState, event: Event
    ) -> tuple[PairwiseState, PairwiseState, Info]:
        mean = PairwiseState(jax.tree.map(lambda a, b: (a + b) / 2, own.params, peer.params))
        return mean, mean, {}

    return Asynchronous(timing, init, meet=meet)
