"""ADOM+: accelerated primal gradients and accelerated gossip side by side, over graphs that may change.

Kovalev, Gasanov, Gasnikov, Richtárik. Lower Bounds and Optimal Algorithms for Smooth and Strongly Convex
Decentralized Optimization Over Time-Varying Networks. NeurIPS 2021.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlax import tree
from dlax.algorithms.accelerated_mixing import repeated_mix
from dlax.types import Algorithm, Info, Round, Scalar, Tree


class AdomState(NamedTuple):
    """What one round hands to the next, in the paper's letters; every leaf leads with n."""

    params: Tree  # x
    x_f: Tree
    y: Tree
    y_f: Tree
    z: Tree  # z, z_f and m sum to zero over the nodes
    z_f: Tree
    m: Tree  # what gossip has not yet delivered: error feedback
    link: Any  # of the channel


def adom_plus(
    smoothness: Scalar = 1.0,
    strong_convexity: Scalar = 0.1,
    chi: Scalar | None = None,
    *,
    multi_consensus: bool = False,
) -> Algorithm:
    """ADOM+.

    With P = I − W, G = G(X_g), ν = μ/2 and every other constant a function of L, μ and χ (in the code):

        X_g = τ₁ X + (1 − τ₁) X_f,   likewise Y_g, Z_g with σ₁;   S = Y_g + Z_g,   Q = (γ/ν) S + M
        Y⁺, X⁺ solve   Y⁺ = Y + θβ (G − ν X_g − Y⁺) − (θ/ν) S − θ X⁺
                       X⁺ = X + ηα (X_g − X⁺) − η (G − ν X_g − Y⁺)
        Z⁺ = Z + γδ (Z_g − Z) − P Q,   M⁺ = (I − P) Q
        X_f⁺ = X_g + τ₂ (X⁺ − X),   Y_f⁺ = Y_g + σ₂ (Y⁺ − Y),   Z_f⁺ = Z_g − ζ P S

    Of order √(L/μ) χ log 1/ε rounds of one gradient each. With `multi_consensus` P = I − Wᵏ, k = ⌈χ ln 2⌉, and the
    constants are those of χ = 2: √(L/μ) log 1/ε gradients, k times the messages in a round; the graph stays as it
    is within a round. The constants are those of published code of another paper's baseline. It has P = L/λ_max of
    the Laplacian and χ = λ_max/λ_min⁺; weights W = I − L/λ_max give the same here.

    Args:
      smoothness: L, of every node's function.
      strong_convexity: μ, of every node's function.
      chi: χ ≥ 1 with ‖W x‖ ≤ (1 − 1/χ) ‖x‖ for every round's W and every x that sums to zero over the nodes. None
        takes 1/gap of the worst round.
      multi_consensus: mix k times in a round.

    Returns:
      The (init, step) pair; a message is (S, Q), twice the model.

    Raises:
      ValueError: if `chi` is a number below 1; in a run, if W is not symmetric and doubly stochastic, nodes sit
        rounds out, or `chi` is None and the worst round is not known.
    """
    if isinstance(chi, int | float) and chi < 1:
        raise ValueError(f"adom_plus: chi must be at least 1, got {chi}")

    def init(params: Tree, round: Round) -> AdomState:
        round.require("adom_plus", "symmetric", "doubly stochastic", "full participation")
        zero = tree.zeros_like(params)
        return AdomState(params, params, zero, zero, zero, zero, zero, round.open((zero, zero)))

    def step(state: AdomState, round: Round) -> tuple[AdomState, Info]:
        L, mu = smoothness, strong_convexity
        worst = 1 / round.fact("worst gap") if chi is None else jnp.asarray(chi)
        mixes = jnp.maximum(jnp.ceil(worst * jnp.log(2.0)), 1).astype(jnp.int32) if multi_consensus else 1
        x_ = 2.0 if multi_consensus else worst  # χ of what a round does
        tau2 = jnp.sqrt(mu / L)
        sigma2 = tau2 / (16 * x_)
        tau1, sigma1 = 1 / (1 / tau2 + 0.5), 1 / (1 / sigma2 + 0.5)
        eta, alpha, beta, delta, nu = 1 / (L * tau2), mu / 2, 1 / (2 * L), 1 / (17 * L), mu / 2
        gamma, theta, zeta = nu / (14 * sigma2 * x_**2), nu / (4 * sigma2), 0.5

        def between(x: Tree, x_f: Tree, weight: Any) -> Tree:
            return _combine((weight, x), (1 - weight, x_f))

        x_g = between(state.params, state.x_f, tau1)
        y_g, z_g = between(state.y, state.y_f, sigma1), between(state.z, state.z_f, sigma1)
        loss, grads = round.grad(x_g, round.key)
        s = tree.add(y_g, z_g)
        # Y⁺ with X⁺ put in.
        d = 1 + eta * alpha
        y = _combine(
            (1.0, state.y),
            (theta * (beta + eta / d), grads),
            (-theta * (beta * nu + eta * (nu + alpha) / d), x_g),
            (-theta / d, state.params),
            (-theta / nu, s),
        )
        scale = d / ((1 + theta * beta) * d + theta * eta)
        y = jax.tree.map(lambda leaf: (scale * leaf).astype(leaf.dtype), y)
        x = _combine(
            (1 / d, state.params), ((eta * alpha + eta * nu) / d, x_g), (-eta / d, grads), (eta / d, y)
        )
        q = _combine((gamma / nu, s), (1.0, state.m))
        (ws, wq), link, bits = repeated_mix(round, state.link, (s, q), mixes)
        gd = gamma * delta
        z = _combine((1 - gd, state.z), (gd, z_g), (-1.0, q), (1.0, wq))
        x_f = _combine((1.0, x_g), (tau2, x), (-tau2, state.params))
        y_f = _combine((1.0, y_g), (sigma2, y), (-sigma2, state.y))
        z_f = _combine((1.0, z_g), (-zeta, s), (zeta, ws))
        return AdomState(x, x_f, y, y_f, z, z_f, wq, link), {"loss": loss, "bits": bits}

    return Algorithm(init, step)


def _combine(*terms: tuple[Any, Tree]) -> Tree:
    """Σ weight · tree, in the dtype of the first."""
    weights = [weight for weight, _ in terms]

    def total(*leaves: jax.Array) -> jax.Array:
        value = sum(weight * leaf for weight, leaf in zip(weights[1:], leaves[1:], strict=True))
        return (weights[0] * leaves[0] + value).astype(leaves[0].dtype)

    return jax.tree.map(total, *[leaf for _, leaf in terms])
