"""Distances and ranks among the vectors that one node heard, for rules that select."""

import jax
import jax.numpy as jnp

from dlax.types import Heard


def squared_distances(heard: Heard) -> jax.Array:
    """‖xⱼ − xₗ‖², `[m, m]`; +inf to and from vectors that are absent or not finite, 0 on the diagonal."""
    norms = jnp.diagonal(heard.inner)
    distances = jnp.maximum(norms[:, None] + norms[None] - 2 * heard.inner, 0)
    usable = heard.present & heard.finite
    distances = jnp.where(usable[:, None] & usable[None], distances, jnp.inf)
    return jnp.where(jnp.eye(len(norms), dtype=bool), 0, distances)


def ranks(values: jax.Array) -> jax.Array:
    """The place of every value in ascending order along the last axis, from 0; ties go to the lower index."""
    return jnp.argsort(jnp.argsort(values, axis=-1, stable=True), axis=-1, stable=True)


def nearest(distances: jax.Array, heard: Heard, keep: jax.Array) -> jax.Array:
    """Equal weights of the `keep` vectors present that are nearest, by rows of distances `[..., m]`."""
    present = jnp.broadcast_to(heard.present, distances.shape)
    # An absent vector must come after one that is present but infinitely far.
    order = jnp.lexsort((distances, ~present), axis=-1)
    chosen = (jnp.argsort(order, axis=-1, stable=True) < keep) & present
    return chosen / jnp.maximum(jnp.sum(chosen, axis=-1, keepdims=True), 1)
