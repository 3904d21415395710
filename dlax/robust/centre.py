"""Centres found by steps that bound every vector's pull: geometric median, centred clipping.

Pillutla, Kakade, Harchaoui. Robust Aggregation for Federated Learning. IEEE TSP 2022 (smoothed Weiszfeld).
Karimireddy, He, Jaggi. Learning from History for Byzantine Robust Optimization. ICML 2021 (centred clipping).
"""

from typing import Literal

import jax
import jax.numpy as jnp

from dlax.types import Heard, Rule, Scalar


def geometric_median(nu: Scalar = 0.1, *, iterations: int = 3) -> Rule:
    """The smoothed geometric median, by Weiszfeld's steps from the origin.

        z ← 0;  T times:  βⱼ = 1 / max(ν, ‖xⱼ − z‖),  z ← Σ βⱼ xⱼ / Σ βⱼ

    z is a weighted mean throughout, so that all is done on inner products. The start at 0, not at the mean, is
    ByzFL's and MoNNA's and matters with few steps; there too vectors that are not finite are left out.

    Args:
      nu: ν > 0, below which distances count as ν.
      iterations: T.

    Returns:
      A rule of weights.

    Raises:
      ValueError: if `iterations` is below 1.
    """
    if iterations < 1:
        raise ValueError(f"geometric_median: iterations must be at least 1, got {iterations}")

    def weigh(heard: Heard) -> jax.Array:
        usable = heard.present & heard.finite

        def step(_: jax.Array, weights: jax.Array) -> jax.Array:
            pull = jnp.where(usable, 1 / jnp.maximum(nu, away(heard, weights)), 0)
            return pull / jnp.maximum(pull.sum(), jnp.finfo(pull.dtype).tiny)

        return jax.lax.fori_loop(0, iterations, step, jnp.zeros_like(heard.weight))

    return Rule(weigh, translates=False, symmetric=True)


def centered_clipping(
    radius: Scalar = 1.0, *, iterations: int = 1, start: Literal["own", "zero"] = "own"
) -> Rule:
    """Centred clipping: no vector moves the centre by more than radius / m.

        v ← start;  L times:  v ← v + (1/m) Σⱼ (xⱼ − v) · min(1, radius / ‖xⱼ − v‖)

    From the node's own vector it is the self-centred form of MoNNA's baselines (L = 3, radius 2 on MNIST). The
    server form starts each call where the last one ended; on vectors that all nodes agree on "own" comes near to it.

    Args:
      radius: τ > 0.
      iterations: L.
      start: the node's "own" vector, or "zero".

    Returns:
      A rule of weights.

    Raises:
      ValueError: if `iterations` is below 1, or the start is neither.
    """
    if iterations < 1:
        raise ValueError(f"centered_clipping: iterations must be at least 1, got {iterations}")
    if start not in ("own", "zero"):
        raise ValueError(f"centered_clipping: start must be own or zero, got {start!r}")

    def weigh(heard: Heard) -> jax.Array:
        usable = heard.present & heard.finite

        def step(_: jax.Array, weights: jax.Array) -> jax.Array:
            far = away(heard, weights)
            share = jnp.where(usable, jnp.where(far > radius, radius / jnp.where(far > 0, far, 1), 1), 0)
            return weights + (share - share.sum() * weights) / heard.present.sum()

        first = jnp.zeros_like(heard.weight)
        return jax.lax.fori_loop(0, iterations, step, first.at[0].set(1) if start == "own" else first)

    return Rule(weigh, translates=start == "own", symmetric=start == "zero")


def away(heard: Heard, weights: jax.Array) -> jax.Array:
    """‖xⱼ − Σ wₗ xₗ‖, `[m]`, from inner products."""
    across = heard.inner @ weights
    squares = jnp.diagonal(heard.inner) - 2 * across + jnp.dot(weights, across)
    return jnp.sqrt(jnp.maximum(squares, 0))
