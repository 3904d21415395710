"""Push-DIGing: gradient tracking over directed graphs.

Nedić, Olshevsky, Shi. Achieving Geometric Convergence for Distributed Optimization over Time-Varying Graphs.
SIAM J. Optimization 2017.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlax import tree
from dlax.algorithms.push_sum import ratio
from dlax.optimizers import at_round, constant
from dlax.types import Algorithm, Info, Round, Scalar, Schedule, Tree


class PushDIGingState(NamedTuple):
    """What one round hands to the next; every leaf leads with n."""

    params: Tree  # x = u/v: the models
    mass: Tree  # u: what is passed on
    weight: jax.Array  # v: [n]
    tracker: Tree  # P y: the estimate of the average gradient, as last passed on
    grads: Tree  # g: the gradients already counted in `tracker`
    link: Any  # of the channel


def push_diging(lr: Scalar = 0.1, *, schedule: Schedule = constant()) -> Algorithm:
    """Push-DIGing, with P column stochastic; it may change from round to round.

        u ← P (u − lr y);   v ← P v;   x⁺ = u / v;   y ← P y + g(x⁺) − g(x)      u₀ = x₀, v₀ = 1, y₀ = g(x₀)

    Exact: with full gradients and a constant, small enough lr the nodes reach the optimum over any strongly
    connected digraph. The last step is taken at the start of the next round, with P y kept and g(x₋₁) = 0; on
    samples, every sampled gradient is evaluated once.

    Args:
      lr: step size.
      schedule: factor s(t) on lr, of the round t.

    Returns:
      The (init, step) pair; a message is (u, v, y), twice the model and one number.

    Raises:
      ValueError: in a run, if P is not column stochastic.
    """

    def init(params: Tree, round: Round) -> PushDIGingState:
        round.require("push_diging", "column stochastic")
        zero = tree.zeros_like(params)
        weight = jnp.ones(round.active.shape[0], jax.tree.leaves(params)[0].dtype)
        return PushDIGingState(params, params, weight, zero, zero, round.open((params, weight, zero)))

    def step(state: PushDIGingState, round: Round) -> tuple[PushDIGingState, Info]:
        loss, grads = round.grad(state.params, round.key)
        tracker = jax.tree.map(lambda y, g, old: y + g - old, state.tracker, grads, state.grads)
        moved = tree.add(state.mass, tracker, -at_round(lr, schedule, round.t))
        (mass, weight, tracker), link, bits = round.mix(state.link, (moved, state.weight, tracker))
        params = ratio(mass, weight)
        return PushDIGingState(params, mass, weight, tracker, grads, link), {"loss": loss, "bits": bits}

    return Algorithm(init, step)
