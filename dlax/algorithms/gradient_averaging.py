"""Gradients travel, models stay: parallel SGD without a server, for rules that aggregate gradients.

Dean et al. Large Scale Distributed Deep Networks. NIPS 2012 (at a server).
"""

from typing import Any, NamedTuple

from dlax import tree
from dlax.algorithms.local import init_optimizer, update
from dlax.optimizers import at_round, constant, sgd
from dlax.types import Algorithm, Info, Optimizer, Round, Scalar, Schedule, Tree


class GradientAveragingState(NamedTuple):
    """What one round hands to the next; every leaf leads with n."""

    params: Tree  # x: the models
    memory: Any  # of the optimiser
    link: Any  # of the channel


def gradient_averaging(
    lr: Scalar = 0.1, *, optimizer: Optimizer = sgd(), schedule: Schedule = constant()
) -> Algorithm:
    """Every node steps along what the channel makes of its own gradient and its neighbours'.

        gᵢ = ∇fᵢ(xᵢ; minibatch);  xᵢ ← xᵢ − lr · opt(Σⱼ W_ij gⱼ)

    On the complete graph with a common start all nodes hold one model, and any robust channel is an aggregation rule
    of a parameter server that everyone computes: the setting of Krum, Bulyan or Flag. Where what nodes receive
    differs (another graph, lies by receiver, rules around the own vector) nothing pulls the models back together.

    Args:
      lr: step size.
      optimizer: applied to the combined gradient, as a server would; `{name: sgd, momentum: 0.9}` is common.
      schedule: factor s(t) on lr, of the round t.

    Returns:
      The (init, step) pair; a message is a gradient.
    """

    def init(params: Tree, round: Round) -> GradientAveragingState:
        link = round.open(tree.zeros_like(params))
        return GradientAveragingState(params, init_optimizer(params, optimizer), link)

    def step(state: GradientAveragingState, round: Round) -> tuple[GradientAveragingState, Info]:
        loss, grads = round.grad(state.params, round.key)
        combined, link, bits = round.mix(state.link, grads)
        step_size = at_round(lr, schedule, round.t)
        params, memory = update(state.params, combined, state.memory, optimizer, step_size)
        return GradientAveragingState(params, memory, link), {"loss": loss, "bits": bits}

    return Algorithm(init, step)
