"""APM-C: Nesterov's method with ever longer averaging.

Li, Fang, Yin, Lin. A Sharp Convergence Rate Analysis for Distributed Accelerated Gradient Methods. 2018.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp

from dlax import tree
from dlax.algorithms.accelerated_mixing import fast_mix
from dlax.types import Algorithm, Info, Round, Scalar, Tree


class APMState(NamedTuple):
    """What one round hands to the next; every leaf leads with n."""

    params: Tree  # x: the models
    previous: Tree  # x of the round before
    link: Any  # of the channel


def apm(smoothness: Scalar = 1.0, strong_convexity: Scalar = 0.1, growth: Scalar = 1.0) -> Algorithm:
    """APM-C for strongly convex functions.

        Y = X + b (X − X₋),   X⁺ = FastMix(Y − G(Y)/L, Tₖ),   b = (√L − √μ) / (√L + √μ)
        Tₖ = ⌈growth · k √(μ/L) / √gap⌉ in round k = 1, 2, ...

    Without tracking: the bias of a round is what FastMix leaves of the nodes' differences, so the number of mixes
    grows for the error to fall. After T rounds that is of order T² mixes. The orders of Tₖ are the paper's; its
    constants were not at hand, hence `growth`, and b is Nesterov's.

    Args:
      smoothness: L; the step size is 1/L.
      strong_convexity: μ.
      growth: the constant in Tₖ. Too small, mixing and not L/μ sets the rate: on a ring of ten with κ = 13, 1/2
        takes twice the rounds of 1, and 1/10 ten times.

    Returns:
      The (init, step) pair; a message is the model, sent Tₖ times in round k.

    Raises:
      ValueError: in a run, if W is not symmetric, doubly stochastic and fixed, or nodes sit rounds out.
    """

    def init(params: Tree, round: Round) -> APMState:
        round.require("apm", "symmetric", "doubly stochastic", "fixed", "full participation")
        return APMState(params, params, round.open(params))

    def step(state: APMState, round: Round) -> tuple[APMState, Info]:
        root, gap = jnp.sqrt(strong_convexity / smoothness), round.fact("spectral gap")
        point = tree.add(state.params, tree.add(state.params, state.previous, -1.0), (1 - root) / (1 + root))
        loss, grads = round.grad(point, round.key)
        mixes = jnp.ceil(growth * (round.t + 1) * root / jnp.sqrt(gap)).astype(jnp.int32)
        stepped = tree.add(point, grads, -1 / smoothness)
        params, link, bits = fast_mix(round, state.link, stepped, mixes, gap)
        return APMState(params, state.params, link), {"loss": loss, "bits": bits}

    return Algorithm(init, step)
