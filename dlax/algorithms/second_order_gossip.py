"""Gossip with a shift register: one remembered round, constant coefficients.

Muthukrishnan, Ghosh, Schultz. First- and second-order diffusive methods for rapid, coarse, distributed load
balancing. Theory of Computing Systems 1998. Cao, Spielman, Yeh. Accelerated gossip algorithms for distributed
computation. Allerton 2006.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp

from dlax.algorithms.chebyshev_gossip import check_gap, extrapolate
from dlax.types import Algorithm, Info, Round, Scalar, Tree


class SecondOrderState(NamedTuple):
    """What one round hands to the next; every leaf leads with n."""

    params: Tree  # x: the nodes' values
    previous: Tree  # x of the round before
    link: Any  # of the channel


def second_order_gossip(gap: Scalar | None = None) -> Algorithm:
    """Second-order gossip (shift register, heavy ball): the limit of Chebyshev gossip.

        Xₖ₊₁ = ω W Xₖ + (1 − ω) Xₖ₋₁,   X₁ = W X₀,   ω = 2 / (1 + √(1 − ρ²))

    ‖Xₖ − X̄‖ ≤ (1 + k √(1 − ρ²)) (ω − 1)^(k/2) ‖X₀ − X̄‖: a round shrinks it to about 1 − √(2 gap) where plain
    gossip has 1 − gap. The mean is kept.

    Args:
      gap: 1 − ρ of the topology, in (0, 1]. None asks the topology. Any other converges too, and is slower.

    Returns:
      The (init, step) pair; a message is the value.

    Raises:
      ValueError: if `gap` is a number outside (0, 1]; in a run, if W is not symmetric, doubly stochastic and
        fixed, or nodes sit rounds out.
    """
    check_gap("second_order_gossip", gap)

    def init(params: Tree, round: Round) -> SecondOrderState:
        round.require("second_order_gossip", "symmetric", "doubly stochastic", "fixed", "full participation")
        return SecondOrderState(params, params, round.open(params))

    def step(state: SecondOrderState, round: Round) -> tuple[SecondOrderState, Info]:
        known = round.fact("spectral gap") if gap is None else jnp.asarray(gap)
        omega = 2 / (1 + jnp.sqrt(known * (2 - known)))  # 1 − ρ² without cancellation
        omega = jnp.where(round.t == 0, 1, omega)
        mixed, link, bits = round.mix(state.link, state.params)
        params = extrapolate(mixed, state.previous, jnp.broadcast_to(omega, round.active.shape))
        return SecondOrderState(params, state.params, link), {"bits": bits}

    return Algorithm(init, step)
