"""Pre-rules: buckets, and lengths that are cut.

Karimireddy, He, Jaggi. Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing. ICLR 2022.
Allouah, Guerraoui, Gupta, Jellouli, Rizk, Stephan. Adaptive Gradient Clipping for Robust Federated Learning. ICLR
2025 (ARC).
"""

import jax
import jax.numpy as jnp

from dlax.types import Heard, PreRule, Scalar


def bucketing(*, size: int = 2) -> PreRule:
    """Vectors in random buckets of `size` are averaged; the last one may be smaller.

    The node's own vector is in the first bucket, so that rules around the own vector look from there; f stays.

    Args:
      size: s, vectors in a bucket.

    Returns:
      A pre-rule: ⌈m/s⌉ vectors of m.

    Raises:
      ValueError: if `size` is below 1.
    """
    if size < 1:
        raise ValueError(f"bucketing: size must be at least 1, got {size}")

    def matrix(heard: Heard) -> tuple[jax.Array, jax.Array]:
        m = len(heard.present)
        draw = jax.random.uniform(heard.key, (m,), jnp.float32).at[0].set(-1)
        order = jnp.argsort(jnp.where(heard.present, draw, 2), stable=True)
        bucket = jnp.zeros(m, jnp.int32).at[order].set(jnp.arange(m, dtype=jnp.int32)) // size
        inside = (bucket[None] == jnp.arange(m)[:, None]) & heard.present[None]
        count = jnp.sum(inside, axis=1)
        return inside / jnp.maximum(count, 1)[:, None], count > 0

    return PreRule(matrix, rows=lambda m: -(-m // size))


def clipping(radius: Scalar = 2.0) -> PreRule:
    """Longer vectors are cut to a fixed length: x · min(1, radius / ‖x‖).

    What is not finite is cut to nothing.

    Args:
      radius: the length.

    Returns:
      A pre-rule.
    """

    def matrix(heard: Heard) -> tuple[jax.Array, jax.Array]:
        return _cut(heard, jnp.asarray(radius, heard.inner.dtype)), heard.present

    return PreRule(matrix, translates=False)


def arc() -> PreRule:
    """Adaptive robust clipping: the k longest vectors are cut to the length of the longest of the others.

        k = ⌊2 (f/m)(m − f)⌋

    Returns:
      A pre-rule; with f = 0 it changes nothing.
    """

    def matrix(heard: Heard) -> tuple[jax.Array, jax.Array]:
        m, f = heard.present.sum(), heard.tolerated
        k = 2 * f * (m - f) // m
        norms = jnp.where(heard.finite, jnp.sqrt(jnp.diagonal(heard.inner)), jnp.inf)
        ranked = jnp.sort(jnp.where(heard.present, norms, jnp.inf))
        return _cut(heard, ranked[jnp.maximum(m - k - 1, 0)]), heard.present

    return PreRule(matrix, translates=False)


def _cut(heard: Heard, radius: jax.Array) -> jax.Array:
    """The diagonal matrix that cuts lengths to a radius."""
    norms = jnp.sqrt(jnp.diagonal(heard.inner))
    share = jnp.where(norms > radius, radius / jnp.where(norms > 0, norms, 1), 1)
    return jnp.diag(jnp.where(heard.present & heard.finite, share, 0))
