"""MSDA: Nesterov's method on the dual, with Chebyshev gossip in the place of one exchange.

Scaman, Bach, Bubeck, Lee, Massoulié. Optimal Algorithms for Smooth and Strongly Convex Distributed Optimization in
Networks. ICML 2017.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlax import tree
from dlax.algorithms.accelerated_mixing import chebyshev_mix, check_mixes
from dlax.types import Algorithm, Info, Round, Scalar, Tree


class MSDAState(NamedTuple):
    """What one round hands to the next; every leaf leads with n."""

    params: Tree  # θ = ∇f*(x): the models
    point: Tree  # x: where dual gradients are taken; sums to zero over the nodes
    dual: Tree  # y: likewise
    link: Any  # of the channel


def msda(smoothness: Scalar = 1.0, strong_convexity: Scalar = 0.1, *, mixes: int | None = None) -> Algorithm:
    """MSDA (SSDA where mixes = 1).

        Θ = ∇f*(X),   Y⁺ = X − η (Θ − P_K(W) Θ),   X⁺ = (1 + m) Y⁺ − m Y          X₀ = Y₀ = 0

    P_K(W) is the Chebyshev polynomial of degree K for the eigenvalues of W but the 1, with P_K(1) = 1: K mixes. With
    γ = (1 − λ₂) / (1 − λₙ), c = (1 − √γ) / (1 + √γ) and κ = L/μ,

        η = μ (1 + c²ᴷ) / (1 + cᴷ)²,   m = ((1 + cᴷ) √κ − 1 + cᴷ) / ((1 + cᴷ) √κ + 1 − cᴷ)

    Optimal among methods with dual gradients: of order √κ log 1/ε rounds of K = ⌊1/√γ⌋ mixes. The start of the run
    is not used. The constants are those of published code of another paper's baseline, whose gossip matrix (any
    multiple of the Laplacian) is I − W here.

    Args:
      smoothness: L, of every node's function.
      strong_convexity: μ, of every node's function.
      mixes: K; None takes ⌊1/√γ⌋ of the topology.

    Returns:
      The (init, step) pair; a message is the model, sent K times a round. A dual gradient counts as one gradient.

    Raises:
      ValueError: if `mixes` < 1; in a run, if W is not symmetric, doubly stochastic and fixed, nodes sit rounds out,
        or the problem has no gradient of the conjugate.
    """
    if mixes is not None:
        check_mixes("msda", mixes)

    def init(params: Tree, round: Round) -> MSDAState:
        round.require("msda", "symmetric", "doubly stochastic", "fixed", "full participation")
        zero = tree.zeros_like(params)
        return MSDAState(params, zero, zero, round.open(params))

    def step(state: MSDAState, round: Round) -> tuple[MSDAState, Info]:
        least, second = round.fact("least eigenvalue"), round.fact("second largest eigenvalue")
        root = jnp.sqrt((1 - second) / (1 - least))
        times = jnp.floor(1 / root * (1 + 1e-6)).astype(jnp.int32) if mixes is None else mixes
        c = ((1 - root) / (1 + root)) ** times
        eta = strong_convexity * (1 + c**2) / (1 + c) ** 2
        kappa = jnp.sqrt(smoothness / strong_convexity)
        momentum = ((1 + c) * kappa - 1 + c) / ((1 + c) * kappa + 1 - c)

        theta = round.conjugate(state.point)
        mixed, link, bits = chebyshev_mix(round, state.link, theta, times, least, second)
        dual = tree.add(state.point, tree.add(theta, mixed, -1.0), -eta)
        point = jax.tree.map(
            lambda new, old: ((1 + momentum) * new - momentum * old).astype(new.dtype), dual, state.dual
        )
        return MSDAState(theta, point, dual, link), {"bits": bits, "gradients": 1}

    return Algorithm(init, step)
