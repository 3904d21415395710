"""Gradient tracking: every node follows a running estimate of the average gradient.

Nedić, Olshevsky, Shi. Achieving Geometric Convergence for Distributed Optimization over Time-Varying Graphs.
SIAM J. Optimization 2017 (DIGing). Di Lorenzo, Scutari. NEXT: In-Network Nonconvex Optimization. IEEE TSIPN 2016;
Pu, Nedić. Distributed stochastic gradient tracking methods. Math. Programming 2021 (the order "semi"). Xu, Zhu, Soh,
Xie. Augmented distributed gradient methods. CDC 2015 (Aug-DGM, the order "adapt_then_combine").
"""

from typing import Any, Literal, NamedTuple, get_args

import jax

from dlax import tree
from dlax.optimizers import at_round, constant
from dlax.types import Algorithm, Info, Round, Scalar, Schedule, Tree

Order = Literal["combine_then_adapt", "semi", "adapt_then_combine"]


class TrackingState(NamedTuple):
    """What one round hands to the next; every leaf leads with n."""

    params: Tree  # x: the models
    tracker: Tree  # y: each node's estimate of the average gradient; W y in the order "semi"
    grads: Tree  # g: the gradients already counted in `tracker`
    link: Any  # of the channel; of two messages in the order "adapt_then_combine"


def gradient_tracking(
    lr: Scalar = 0.1, *, order: Order = "combine_then_adapt", schedule: Schedule = constant()
) -> Algorithm:
    """Gradient tracking: DIGing, NEXT (DSGT, SONATA) or Aug-DGM (ATC-DIGing).

    With g(x) the stacked local gradients, W doubly stochastic and y₀ = g(x₋₁) = 0, round t is

        combine_then_adapt    yₜ₊₁ = W yₜ + g(xₜ) − g(xₜ₋₁);     xₜ₊₁ = W xₜ − lr yₜ₊₁
        semi                  yₜ₊₁ = W yₜ + g(xₜ) − g(xₜ₋₁);     xₜ₊₁ = W (xₜ − lr yₜ₊₁)
        adapt_then_combine    yₜ₊₁ = W (yₜ + g(xₜ) − g(xₜ₋₁));   xₜ₊₁ = W (xₜ − lr yₜ₊₁)

    The node-mean of y equals the node-mean of g after every round, so the fixed point does not depend on how
    the data are split (D-SGD's does). The index of y is one ahead of the papers', which removes the special
    first round. Over changing graphs DIGing then mixes y by W of round t where the paper has that of t − 1
    ("semi" is as published), and Aug-DGM starts from y = W g(x₀) where the paper has g(x₀); the node-mean is
    the same. On samples, g is the sampled gradient, each evaluated once.

    Args:
      lr: step size.
      order: which of the three. The third allows the largest steps and waits for the network twice a round.
      schedule: factor s(t) on lr, of the round t.

    Returns:
      The (init, step) pair; a message is (x, y), twice the model. In the third order y is sent before x.

    Raises:
      ValueError: if the order is none of the three; in a run, if W is not doubly stochastic.
    """
    if order not in get_args(Order):
        raise ValueError(
            f"gradient_tracking: order must be one of {', '.join(get_args(Order))}, got {order!r}"
        )

    def init(params: Tree, round: Round) -> TrackingState:
        round.require("gradient_tracking", "doubly stochastic")
        zero = tree.zeros_like(params)
        if order == "adapt_then_combine":
            return TrackingState(params, zero, zero, (round.open(zero), round.open(params)))
        return TrackingState(params, tracker=zero, grads=zero, link=round.open((params, zero)))

    def step(state: TrackingState, round: Round) -> tuple[TrackingState, Info]:
        rate = at_round(lr, schedule, round.t)
        loss, grads = round.grad(state.params, round.key)
        if order == "combine_then_adapt":
            (wx, wy), link, bits = round.mix(state.link, (state.params, state.tracker))
            tracker = jax.tree.map(lambda y, g, old: y + g - old, wy, grads, state.grads)
            params = tree.add(wx, tracker, -rate)
            return TrackingState(params, tracker, grads, link), {"loss": loss, "bits": bits}
        tracker = jax.tree.map(lambda y, g, old: y + g - old, state.tracker, grads, state.grads)
        if order == "semi":
            message = (tree.add(state.params, tracker, -rate), tracker)
            (params, tracker), link, bits = round.mix(state.link, message)
            return TrackingState(params, tracker, grads, link), {"loss": loss, "bits": bits}
        tracker, first, sent = round.mix(state.link[0], tracker)
        params, second, bits = round.mix(state.link[1], tree.add(state.params, tracker, -rate))
        return TrackingState(params, tracker, grads, (first, second)), {"loss": loss, "bits": sent + bits}

    return Algorithm(init, step)
