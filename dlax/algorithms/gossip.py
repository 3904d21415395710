"""Gossip: average with the neighbours, and nothing else.

Xiao, Boyd. Fast linear iterations for distributed averaging. Systems & Control Letters 2004.
Boyd, Ghosh, Prabhakar, Shah. Randomized gossip algorithms. IEEE Trans. Information Theory 2006.
"""

from typing import Any, NamedTuple

from dlax.types import Algorithm, Info, Round, Tree


class GossipState(NamedTuple):
    """What one round hands to the next; every leaf leads with n."""

    params: Tree  # x: the nodes' values
    link: Any  # of the channel


def gossip() -> Algorithm:
    """Synchronous gossip; what a round makes of the values is the channel's and the graph's.

        X ← W X

    Over the `linear` channel and doubly stochastic W the mean is kept, the values tend to it, and E‖X − X̄‖²
    shrinks by ρ² a round or more (on a cyclic sequence of L matrices, by ρ²ᴸ a period). Over `random_pairwise`
    this is randomised pairwise gossip, over the channel `extremum` it spreads the maximum, over `median` it is
    median-of-neighbours. No gradient is taken, so there is no training loss.

    Returns:
      The (init, step) pair; a message is the value.
    """

    def init(params: Tree, round: Round) -> GossipState:
        return GossipState(params, round.open(params))

    def step(state: GossipState, round: Round) -> tuple[GossipState, Info]:
        params, link, bits = round.mix(state.link, state.params)
        return GossipState(params, link), {"bits": bits}

    return Algorithm(init, step)
