"""LED: exact diffusion with local steps.

Alghunaim. Local Exact-Diffusion for Decentralized Optimization and Learning. IEEE Trans. Automatic Control 2024.
"""

from typing import Any, NamedTuple

import jax

from dlax import tree
from dlax.algorithms.local import check_steps, descend_shifted
from dlax.optimizers import at_round, constant
from dlax.types import Algorithm, Info, Round, Scalar, Schedule, Tree


class LEDState(NamedTuple):
    """What one round hands to the next; every leaf leads with n."""

    params: Tree  # x: the models
    dual: Tree  # y: what a round's local steps are corrected by; sums to 0 over nodes
    link: Any  # of the channel


def led(lr: Scalar = 0.1, *, local_steps: int = 5, schedule: Schedule = constant()) -> Algorithm:
    """LED (local exact diffusion), one message a round.

        φ = X;   repeat K times:  φ ← φ − lr G(φ) − Y/K
        X ← W φ;   Y ← Y + φ − X                                       Y₀ = 0

    Exact: with full gradients and a constant lr the nodes reach the optimum, however the data are split. K = 1 is
    D2, which needs a least eigenvalue above −1/3; that is not checked here, and lazy weights, (I + W)/2, have it.

    Args:
      lr: step size of the local steps.
      local_steps: K, gradients a round (the paper's τ; its β is 1/τ here).
      schedule: factor s(t) on lr, of the round t.

    Returns:
      The (init, step) pair; a message is the model.

    Raises:
      ValueError: if local_steps < 1; in a run, if W is not symmetric, doubly stochastic and fixed, or nodes sit
        rounds out.
    """
    check_steps("led", local_steps)

    def init(params: Tree, round: Round) -> LEDState:
        round.require("led", "symmetric", "doubly stochastic", "fixed", "full participation")
        return LEDState(params, tree.zeros_like(params), round.open(params))

    def step(state: LEDState, round: Round) -> tuple[LEDState, Info]:
        shift = jax.tree.map(lambda y: y / local_steps, state.dual)
        rate = at_round(lr, schedule, round.t)
        moved, _, loss = descend_shifted(state.params, shift, round, lr=rate, local_steps=local_steps)
        params, link, bits = round.mix(state.link, moved)
        dual = jax.tree.map(lambda y, own, mixed: y + (own - mixed), state.dual, moved, params)
        return LEDState(params, dual, link), {"loss": loss, "bits": bits, "gradients": local_steps}

    return Algorithm(init, step)
