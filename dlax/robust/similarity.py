"""Weights from directions: FoolsGold, and the mean of unit vectors.

Fung, Yoon, Beschastnikh. The Limitations of Federated Learning in Sybil Settings. RAID 2020.
"""

import jax
import jax.numpy as jnp

from dlax.types import Heard, Rule


def foolsgold(*, own: bool = True) -> Rule:
    """FoolsGold: vectors that point where others point lose their weight.

        cᵢⱼ = cos(xᵢ, xⱼ), cᵢᵢ = 0;  vᵢ = maxⱼ cᵢⱼ + 10⁻⁵;  cᵢⱼ ← cᵢⱼ vᵢ / vⱼ where vᵢ < vⱼ  (pardoning)
        wᵢ = 1 − maxⱼ cᵢⱼ in [0, 1], over the largest;  wᵢ ← ln(wᵢ / (1 − wᵢ)) + ½ in [0, 1]

    Constants as in SybilWall's code; the original replaces w = 1 by 0.99. The messages themselves are compared: send
    what has a history (the sum of a node's updates) to compare histories. Where all weights vanish only the own
    vector is left, or nothing.

    Args:
      own: True trusts the node's own vector with weight 1 and judges the others; False judges all.

    Returns:
      A rule of weights.
    """

    def weigh(heard: Heard) -> jax.Array:
        judged = heard.present & heard.finite
        judged = judged.at[0].set(False) if own else judged
        weights = foolsgold_weights(heard.inner, judged)
        weights = weights.at[0].set(1) if own else weights
        return weights / jnp.maximum(jnp.sum(weights), jnp.finfo(weights.dtype).tiny)

    return Rule(weigh, translates=False, symmetric=not own)


def foolsgold_weights(inner: jax.Array, judged: jax.Array) -> jax.Array:
    """The weights `[m]` in [0, 1] of the vectors in a mask, 0 outside it, from inner products `[m, m]`."""
    norms = jnp.sqrt(jnp.diagonal(inner))
    scale = jnp.where(judged & (norms > 0), 1 / jnp.where(norms > 0, norms, 1), 0)
    cosines = scale[:, None] * inner * scale[None]
    m = len(judged)
    cosines = jnp.where(jnp.eye(m, dtype=bool), 0, cosines)
    seen = jnp.where(judged[:, None] & judged[None], cosines, 0)
    v = jnp.max(seen, axis=1) + 1e-5
    pardoned = jnp.where(v[:, None] < v[None], seen * v[:, None] / v[None], seen)
    pardoned = jnp.where(judged[None], pardoned, -jnp.inf).at[jnp.arange(m), jnp.arange(m)].set(0)
    weights = jnp.where(judged, jnp.clip(1 - jnp.max(pardoned, axis=1), 0, 1), 0)
    largest = jnp.max(weights)
    weights = weights / jnp.where(largest > 0, largest, 1)
    odds = jnp.log(jnp.maximum(weights, 1e-38)) - jnp.log(jnp.maximum(1 - weights, 1e-38))
    return jnp.where(judged & (largest > 0), jnp.clip(odds + 0.5, 0, 1), 0)


def mean_of_units() -> Rule:
    """The mean of the vectors' directions: nobody's length counts.

        (1/m) Σⱼ xⱼ / ‖xⱼ‖

    The baseline without which the Flag aggregator says little: most of its gain against loud attackers is this.

    Returns:
      A rule of weights, for gradients; the length of the result is at most 1. A minority cannot outweigh the rest.
    """

    def weigh(heard: Heard) -> jax.Array:
        norms = jnp.sqrt(jnp.diagonal(heard.inner))
        usable = heard.present & heard.finite & (norms > 0)
        return jnp.where(usable, 1 / jnp.where(norms > 0, norms, 1), 0) / heard.present.sum()

    return Rule(weigh, translates=False, symmetric=True)
