"""Mudag: Nesterov's method whose every step is averaged several times, with gradient tracking inside.

Ye, Luo, Zhou, Zhang. Multi-consensus Decentralized Accelerated Gradient Descent. 2020.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp

from dlax import tree
from dlax.algorithms.accelerated_mixing import check_mixes, fast_mix
from dlax.types import Algorithm, Info, Round, Scalar, Tree


class MudagState(NamedTuple):
    """What one round hands to the next; every leaf leads with n."""

    params: Tree  # x: the models
    point: Tree  # y: where gradients are taken
    correction: Tree  # x less the step that it came from; sums to zero over the nodes
    link: Any  # of the channel


def mudag(smoothness: Scalar = 1.0, strong_convexity: Scalar = 0.1, *, mixes: int = 10) -> Algorithm:
    """Mudag.

        X⁺ = FastMix(Y + (X − Y₋) − (G(Y) − G(Y₋)) / L, K);   Y⁺ = X⁺ + (1 − a) / (1 + a) (X⁺ − X),   a = √(μ/L)

    from X₁ = FastMix(Y₀ − G(Y₀)/L, K), with Y₋ the Y of the round before. FastMix is K mixes with momentum; see
    `accelerated_mixing`. As written here, Z = Y − G(Y)/L, X⁺ = FastMix(Z + C), C⁺ = X⁺ − Z from C = 0.

    Gradients of order √(L/μ) log 1/ε, as for the best method on one machine, if K is of order log(κ)/√gap; a
    smaller K diverges (on a ring of ten with κ = 13, K = 2 does and 3 does not). μ and L may be those of the average, which can be far better conditioned than the
    nodes' own.

    Args:
      smoothness: L; the step size is 1/L.
      strong_convexity: μ.
      mixes: K, messages along every edge and round.

    Returns:
      The (init, step) pair; a message is the model, sent K times a round.

    Raises:
      ValueError: if `mixes` < 1; in a run, if W is not symmetric, doubly stochastic and fixed, or nodes sit rounds
        out.
    """
    check_mixes("mudag", mixes)

    def init(params: Tree, round: Round) -> MudagState:
        round.require("mudag", "symmetric", "doubly stochastic", "fixed", "full participation")
        return MudagState(params, params, tree.zeros_like(params), round.open(params))

    def step(state: MudagState, round: Round) -> tuple[MudagState, Info]:
        loss, grads = round.grad(state.point, round.key)
        z = tree.add(state.point, grads, -1 / smoothness)
        gap = round.fact("spectral gap")
        params, link, bits = fast_mix(round, state.link, tree.add(z, state.correction), mixes, gap)
        a = jnp.sqrt(strong_convexity / smoothness)
        point = tree.add(params, tree.add(params, state.params, -1.0), (1 - a) / (1 + a))
        return MudagState(params, point, tree.add(params, z, -1.0), link), {"loss": loss, "bits": bits}

    return Algorithm(init, step)
