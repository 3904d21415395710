"""Momentum tracking: heavy-ball momentum without heterogeneity's bias.

Takezawa, Bao, Niwa, Sato, Yamada. Momentum Tracking: Momentum Acceleration for Decentralized Deep Learning on
Heterogeneous Data. TMLR 2023.
"""

from typing import Any, NamedTuple

import jax

from dlax import tree
from dlax.algorithms.dmsgd import check_momentum
from dlax.optimizers import at_round, constant
from dlax.types import Algorithm, Info, Round, Scalar, Schedule, Tree


class MomentumTrackingState(NamedTuple):
    """What one round hands to the next; every leaf leads with n."""

    params: Tree  # x: the models
    momentum: Tree  # u
    correction: Tree  # c: one's own momentum less the average one, as last estimated; sums to 0 over nodes
    link: Any  # of the channel


def momentum_tracking(
    lr: Scalar = 0.1, momentum: Scalar = 0.9, *, schedule: Schedule = constant()
) -> Algorithm:
    """Momentum tracking.

        U ← β U + G(X);   X ← W X − lr (U − C);   C ← W (C − U) + U    U₀ = C₀ = 0

    Exact: with full gradients and a constant lr the nodes reach the optimum, however the data are split. β = 0 is
    gradient tracking (DIGing, over changing graphs as published).

    Args:
      lr: step size.
      momentum: β, in [0, 1).
      schedule: factor s(t) on lr, of the round t.

    Returns:
      The (init, step) pair; a message is (X, C − U), twice the model.

    Raises:
      ValueError: if momentum is a number outside [0, 1); in a run, if W is not doubly stochastic.
    """
    check_momentum("momentum_tracking", momentum=momentum)

    def init(params: Tree, round: Round) -> MomentumTrackingState:
        round.require("momentum_tracking", "doubly stochastic")
        zero = tree.zeros_like(params)
        return MomentumTrackingState(params, zero, zero, round.open((params, zero)))

    def step(state: MomentumTrackingState, round: Round) -> tuple[MomentumTrackingState, Info]:
        loss, grads = round.grad(state.params, round.key)
        velocity = tree.add(grads, state.momentum, momentum)
        less = tree.add(state.correction, velocity, -1.0)
        (mixed, heard), link, bits = round.mix(state.link, (state.params, less))
        params = tree.add(mixed, less, at_round(lr, schedule, round.t))
        correction = jax.tree.map(lambda c, u: c + u, heard, velocity)
        return MomentumTrackingState(params, velocity, correction, link), {"loss": loss, "bits": bits}

    return Algorithm(init, step)
