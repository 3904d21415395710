"""Gradient tracking: every node follows a running estimate of the average gradient.

Nedić, Olshevsky, Shi. Achieving Geometric Convergence for Distributed Optimization over Time-Varying Graphs.
SIAM J. Optimization 2017 (DIGing). Di Lorenzo, Scutari. NEXT. IEEE TSIPN 2016.
"""

from typing import Any, NamedTuple

import jax

from dlax import tree
from dlax.optimizers import at_round, constant
from dlax.types import Algorithm, Info, Round, Scalar, Schedule, Tree


class TrackingState(NamedTuple):
    """What one round hands to the next; every leaf leads with n."""

    params: Tree  # x: the models
    tracker: Tree  # y: each node's estimate of the average gradient
    grads: Tree  # g: the gradients already counted in `tracker`
    link: Any  # of the channel


def gradient_tracking(lr: Scalar = 0.1, *, schedule: Schedule = constant()) -> Algorithm:
    """Gradient tracking (DIGing).

    With g(x) the stacked local gradients and W doubly stochastic, round t is

        yₜ₊₁ = W yₜ + g(xₜ) − g(xₜ₋₁)      with y₀ = g(x₋₁) = 0
        xₜ₊₁ = W xₜ − lr · yₜ₊₁

    The node-mean of y equals the node-mean of g after every round, so the fixed point does not depend on how
    the data are split (D-SGD's does). The index of y is one ahead of the paper's, which removes the special
    first round; over changing graphs y is mixed by W of round t where the paper has that of t − 1. On samples,
    g is the sampled gradient, each evaluated once.

    Args:
      lr: step size.
      schedule: factor s(t) on lr, of the round t.

    Returns:
      The (init, step) pair; a message is (x, y), twice the model.

    Raises:
      ValueError: if W is not doubly stochastic.
    """

    def init(params: Tree, round: Round) -> TrackingState:
        round.require("gradient_tracking", "doubly stochastic")
        zero = tree.zeros_like(params)
        return TrackingState(params, tracker=zero, grads=zero, link=round.open((params, zero)))

    def step(state: TrackingState, round: Round) -> tuple[TrackingState, Info]:
        loss, grads = round.grad(state.params, round.key)
        (wx, wy), link, bits = round.mix(state.link, (state.params, state.tracker))
        tracker = jax.tree.map(lambda y, g, old: y + g - old, wy, grads, state.grads)
        params = tree.add(wx, tracker, -at_round(lr, schedule, round.t))
        return TrackingState(params, tracker, grads, link), {"loss": loss, "bits": bits}

    return Algorithm(init, step)
