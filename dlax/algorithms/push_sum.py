"""Push-sum: averages over directed graphs, where nobody can make W doubly stochastic.

Kempe, Dobra, Gehrke. Gossip-based computation of aggregate information. FOCS 2003.
Bénézit, Blondel, Thiran, Tsitsiklis, Vetterli. Weighted gossip: distributed averaging using non-doubly stochastic
matrices. ISIT 2010.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlax import tree
from dlax.types import Algorithm, Info, Round, Tree


class PushSumState(NamedTuple):
    """What one round hands to the next; every leaf leads with n."""

    params: Tree  # z = s/w: the estimates
    mass: Tree  # s: what is passed on
    weight: jax.Array  # w: [n], how much of the network a node's mass stands for
    link: Any  # of the channel


def push_sum() -> Algorithm:
    """Push-sum (ratio consensus, weighted gossip).

        s ← P s,   w ← P w,   z = s / w        s₀ = X₀,  w₀ = 1

    With column-stochastic P (weights `push`) the sums of s and w over nodes are kept, so every zᵢ tends to
    their ratio, the mean of X₀, at the rate |λ₂(P)| on a fixed graph. Over lossy links and with sleeping nodes
    that is true of the channels that keep the sums: `linear` with lost: sender, and `running_sums`.

    Returns:
      The (init, step) pair; a message is (s, w): one number more than the value.

    Raises:
      ValueError: if P is not column stochastic.
    """

    def init(params: Tree, round: Round) -> PushSumState:
        round.require("push_sum", "column stochastic")
        weight = jnp.ones(round.active.shape[0], jax.tree.leaves(params)[0].dtype)
        return PushSumState(params, params, weight, round.open((params, weight)))

    def step(state: PushSumState, round: Round) -> tuple[PushSumState, Info]:
        (mass, weight), link, bits = round.mix(state.link, (state.mass, state.weight))
        return PushSumState(ratio(mass, weight), mass, weight, link), {"bits": bits}

    return Algorithm(init, step)


def ratio(mass: Tree, weight: jax.Array) -> Tree:
    """s / w for leaves `[n, ...]` and w `[n]`."""
    return jax.tree.map(lambda s: s / tree.beside(weight, s).astype(s.dtype), mass)
