"""Decentralised SGD: a local step, an average with the neighbours.

Lian, Zhang, Zhang, Hsieh, Zhang, Liu. Can Decentralized Algorithms Outperform Centralized Algorithms? NeurIPS 2017.
Chen, Sayed. Diffusion Adaptation Strategies for Distributed Optimization. IEEE TSP 2012 (the orders).
"""

from typing import Any, Literal, NamedTuple, get_args

from dlax import tree
from dlax.algorithms.local import check_steps, descend, init_optimizer
from dlax.optimizers import constant, sgd
from dlax.types import Algorithm, Info, Optimizer, Round, Scalar, Schedule, Tree

Order = Literal["adapt_then_combine", "combine_then_adapt", "combine_while_adapt"]


class DSGDState(NamedTuple):
    """What one round hands to the next; every leaf leads with n."""

    params: Tree  # x: the models
    memory: Any  # of the local optimiser (momentum, ...)
    link: Any  # of the channel


def dsgd(
    lr: Scalar = 0.1,
    *,
    order: Order = "adapt_then_combine",
    local_steps: int = 1,
    optimizer: Optimizer = sgd(),
    schedule: Schedule = constant(),
) -> Algorithm:
    """Decentralised SGD (D-PSGD, DGD, diffusion; Local-DSGD when local_steps > 1; MATCHA over that topology).

    With X `[n, d]` the stacked models, G(X) the stacked minibatch gradients and W row stochastic:

        adapt_then_combine    X ← W (X − lr G(X))
        combine_then_adapt    Y = W X;  X ← Y − lr G(Y)
        combine_while_adapt   X ← W X − lr G(X)

    −lr G(X) stands for the sum of K = `local_steps` optimiser steps; the minibatches are the same in all three.
    With a constant step size and different fᵢ the nodes do not reach the optimum: the bias is of order
    lr² ζ² / (1 − ρ)². The optimiser's memory is not mixed. Some texts call the third order
    "combine-then-adapt", since its mixing can overlap the gradient. W may change from round to round: MATCHA is
    this algorithm over the topology `matcha`.

    Args:
      lr: step size of the local optimiser.
      order: which of the three.
      local_steps: K, gradients a round; the drift away from the optimum grows with K.
      optimizer: the local optimiser; plain SGD by default.
      schedule: factor s(t) on lr, of the round t.

    Returns:
      The (init, step) pair; a message is the model.

    Raises:
      ValueError: if local_steps < 1, the order is none of the three, or W is not row stochastic.
    """
    check_steps("dsgd", local_steps)
    if order not in get_args(Order):
        raise ValueError(f"dsgd: order must be one of {', '.join(get_args(Order))}, got {order!r}")

    def local(params: Tree, memory: Any, round: Round) -> Any:
        return descend(
            params, memory, round, lr=lr, optimizer=optimizer, schedule=schedule, local_steps=local_steps
        )

    def init(params: Tree, round: Round) -> DSGDState:
        round.require("dsgd", "row stochastic")
        return DSGDState(params, init_optimizer(params, optimizer), round.open(params))

    def step(state: DSGDState, round: Round) -> tuple[DSGDState, Info]:
        if order == "adapt_then_combine":
            adapted, memory, loss = local(state.params, state.memory, round)
            params, link, bits = round.mix(state.link, adapted)
        elif order == "combine_then_adapt":
            combined, link, bits = round.mix(state.link, state.params)
            params, memory, loss = local(combined, state.memory, round)
        else:
            adapted, memory, loss = local(state.params, state.memory, round)
            combined, link, bits = round.mix(state.link, state.params)
            params = tree.add(combined, tree.add(adapted, state.params, -1.0))
        return DSGDState(params, memory, link), {"loss": loss, "bits": bits, "gradients": local_steps}

    return Algorithm(init, step)
