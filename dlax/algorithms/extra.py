"""EXTRA: decentralised gradient descent whose bias is corrected by the differences that mixing makes.

Shi, Ling, Wu, Yin. EXTRA: An Exact First-Order Algorithm for Decentralized Consensus Optimization. SIAM J.
Optimization 2015.
"""

from typing import Any, NamedTuple

import jax

from dlax import tree
from dlax.optimizers import at_round, constant
from dlax.types import Algorithm, Info, Round, Scalar, Schedule, Tree


class ExtraState(NamedTuple):
    """What one round hands to the next; every leaf leads with n."""

    params: Tree  # x: the models
    correction: Tree  # c = Σ (W − I) x / 2 over the rounds so far; sums to 0 over nodes
    link: Any  # of the channel


def extra(lr: Scalar = 0.1, *, schedule: Schedule = constant()) -> Algorithm:
    """EXTRA, with W̃ = (I + W)/2.

        X₁ = W X₀ − lr G(X₀)
        Xₖ₊₂ = (I + W) Xₖ₊₁ − W̃ Xₖ − lr (G(Xₖ₊₁) − G(Xₖ))

    It is run in the summed form, which is the same and remembers one tree instead of three:

        X ← W X − lr G(X) + C;   C ← C + (W X − X) / 2   (old X)      C₀ = 0

    Exact: with full gradients and a constant lr < 2 λ_min(W̃) / L the nodes reach the optimum, however the data
    are split. C settles at lr times the gradients at the optimum, so it has to settle anew where lr changes.

    Args:
      lr: step size.
      schedule: factor s(t) on lr, of the round t.

    Returns:
      The (init, step) pair; a message is the model.

    Raises:
      ValueError: in a run, if W is not symmetric, doubly stochastic and fixed, or nodes sit rounds out.
    """

    def init(params: Tree, round: Round) -> ExtraState:
        round.require("extra", "symmetric", "doubly stochastic", "fixed", "full participation")
        return ExtraState(params, tree.zeros_like(params), round.open(params))

    def step(state: ExtraState, round: Round) -> tuple[ExtraState, Info]:
        loss, grads = round.grad(state.params, round.key)
        mixed, link, bits = round.mix(state.link, state.params)
        params = tree.add(tree.add(mixed, state.correction), grads, -at_round(lr, schedule, round.t))
        correction = jax.tree.map(
            lambda c, new, old: c + (new - old) / 2, state.correction, mixed, state.params
        )
        return ExtraState(params, correction, link), {"loss": loss, "bits": bits}

    return Algorithm(init, step)
