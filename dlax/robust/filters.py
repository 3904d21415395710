"""The covariance-bound-agnostic filter: weights fall where vectors stick out.

Allouah, Guerraoui, Stephan. Towards Trustworthy Federated Learning with Untrusted Participants. ICML 2025 (CAF).
"""

import jax
import jax.numpy as jnp

from dlax.types import Heard, Rule


def caf(*, iterations: int = 1000) -> Rule:
    """CAF: soft weights fall along the direction of largest variance, and the mean of least variance is kept.

        c = 1;  while Σ c > m − 2f:
          μ = Σ cᵢ xᵢ / Σ c;  (λ, v) = top eigenpair of Σ cᵢ (xᵢ − μ)(xᵢ − μ)ᵀ / Σ c;  keep μ if λ is the least yet
          tᵢ = ⟨xᵢ − μ, v⟩²;  cᵢ ← cᵢ (1 − tᵢ / maxⱼ tⱼ)

    The maximum is over all vectors, those of weight 0 too, as in ByzFL; progress can then be slow (61 passes for
    five vectors). The eigenpair is exact, of an m × m problem, where ByzFL takes one power step from a random start.
    With f = 0 it is the mean. Written from ByzFL's code; the paper was not at hand.

    Args:
      iterations: passes after which it stops with the best so far.

    Returns:
      A rule of weights.

    Raises:
      ValueError: if `iterations` is below 1.
    """
    if iterations < 1:
        raise ValueError(f"caf: iterations must be at least 1, got {iterations}")

    def weigh(heard: Heard) -> jax.Array:
        usable = (heard.present & heard.finite).astype(heard.inner.dtype)
        goal = heard.present.sum() - 2 * heard.tolerated

        def more(carry: tuple[jax.Array, ...]) -> jax.Array:
            c, _, _, passes = carry
            return (jnp.sum(c) > goal) & (passes < iterations)

        def filtered(carry: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            c, least, best, passes = carry
            mean = c / jnp.sum(c)
            across = heard.inner @ mean
            centred = heard.inner - across[:, None] - across[None] + jnp.dot(mean, across)
            root = jnp.sqrt(mean)
            values, vectors = jnp.linalg.eigh(root[:, None] * centred * root[None])
            top = jnp.maximum(values[-1], 0)
            along = jnp.square(centred @ (root * vectors[:, -1])) * usable  # of vᵀ(x − μ), up to a factor
            largest = jnp.max(along)
            best = jnp.where(top < least, mean, best)
            # Rounding must not take a weight below nothing.
            c = c * jnp.maximum(1 - along / jnp.where(largest > 0, largest, 1), 0)
            c = jnp.where(largest > 0, c, 0)  # all agree: done
            return c, jnp.minimum(top, least), best, passes + 1

        start = (
            usable,
            jnp.asarray(jnp.inf, usable.dtype),
            usable / jnp.maximum(usable.sum(), 1),
            jnp.int32(0),
        )
        return jax.lax.while_loop(more, filtered, start)[2]  # type: ignore[arg-type]

    return Rule(weigh, symmetric=True)
