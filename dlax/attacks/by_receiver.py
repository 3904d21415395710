"""Attacks that tell each receiver another thing, made of where the receiver stands among its honest neighbours.

He, Karimireddy, Jaggi. Byzantine-Robust Decentralized Learning via ClippedGossip. 2022 (dissensus).
Gaucher, Dieuleveut, Hendrikx. Byzantine-Robust Gossip: Insights from a Dual Approach. ICML 2025 (spectral
heterogeneity; the search for the factor of each receiver).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlax import tree
from dlax.attacks.nodes import dtype_of, links, square, weighted
from dlax.attacks.search import best_factor
from dlax.types import Attack, Key, Lies, Scalar, Sight, Tree


class SpectralMemory(NamedTuple):
    """The direction over the honest nodes that gossip contracts least, as far as it is found."""

    fiedler: jax.Array  # [n], of length 1, orthogonal to 1, 0 at Byzantine nodes


def dissensus(factor: Scalar | None = 1.5) -> Attack:
    """Byzantine neighbours of i push it away from its honest neighbours.

        xᵢ − factor · Σ_{j honest} W_ij (xⱼ − xᵢ) / Σ_{j Byzantine} W_ij

    With a linear channel i then moves by (1 − factor) times what its honest neighbours would have moved it.

    Args:
      factor: ε; 1 holds i where it is. None: sent is xᵢ − q Σ_{j honest} W_ij (xⱼ − xᵢ) with the q of 16 trials
        (see `best_factor`) that takes what i makes of it farthest from the mean of all honest messages; q is
        of the receiver and round.

    Returns:
      An attack without memory; it takes everybody to be awake.
    """

    def craft(memory: Any, sight: Sight) -> tuple[Lies, Any]:
        away, lying = _away(sight)
        if factor is None:
            return _searched(away, sight), memory
        share = factor / jnp.where(lying > 0, lying, 1)
        return _told(share, away, sight), memory

    return Attack(craft, faces=True, needs="everything")


def isolation() -> Attack:
    """Byzantine neighbours of i tell it what makes the weighted mean of all its neighbours xᵢ: it hears nobody else.

        (1 − W_ii) xᵢ = Σ_{j honest} W_ij xⱼ + Σ_{j Byzantine} W_ij · sent

    With rows that sum to one this is `dissensus` with factor 1.

    Returns:
      An attack without memory; it takes everybody to be awake.
    """
    return dissensus(1.0)


def spectral(factor: Scalar | None = None, *, steps: int = 10) -> Attack:
    """Spectral heterogeneity: Byzantine neighbours of i push it along the direction that gossip contracts least.

        xᵢ + q · vᵢ Σⱼ vⱼ xⱼ

    SpH for short. v is the Fiedler vector of the honest nodes' graph, the eigenvector of the second smallest
    eigenvalue of its Laplacian L with weights W_ij. Power steps with 2 max_i L_ii · I − L find it, some in
    every round, from a random start and kept orthogonal to 1: the first rounds' direction is rougher than the
    paper's, which needs one eigendecomposition.

    Args:
      factor: q, of all receivers. None: of the receiver and round, the q of 16 trials (see `best_factor`)
        that takes what i makes of it farthest from the mean of all honest messages.
      steps: of power iteration in a round.

    Returns:
      An attack that remembers v; for symmetric weights.

    Raises:
      ValueError: if `steps` is below 1.
    """
    if steps < 1:
        raise ValueError(f"spectral: steps must be at least 1, got {steps}")

    def init(message: Tree, key: Key) -> SpectralMemory:
        return SpectralMemory(jax.random.normal(key, (tree.num_nodes(message),), dtype_of(message)))

    def craft(memory: SpectralMemory, sight: Sight) -> tuple[Lies, SpectralMemory]:
        v = _fiedler(memory.fiedler, sight, steps)
        total = weighted(v, sight.message)
        direction = jax.tree.map(lambda leaf: tree.beside(v, leaf).astype(leaf.dtype) * leaf, total)
        if factor is None:
            return _searched(direction, sight), SpectralMemory(v)
        return _told(jnp.full_like(v, factor), direction, sight), SpectralMemory(v)

    return Attack(craft, init, faces=True, needs="everything")


def _told(q: jax.Array, direction: Tree, sight: Sight) -> Lies:
    """xᵢ + qᵢ · directionᵢ, told to i."""
    told = jax.tree.map(lambda x, d: (x + tree.beside(q, d) * d).astype(x.dtype), sight.message, direction)
    return Lies(sight.message, told)


def _searched(direction: Tree, sight: Sight) -> Lies:
    """The same with the qᵢ that takes i farthest from the mean of all honest messages."""
    mean = sight.mean()

    def value(q: jax.Array) -> jax.Array:
        return square(jax.tree.map(jnp.subtract, sight.respond(_told(q, direction, sight)), mean))

    dtype = dtype_of(direction)
    return _told(best_factor(value, sight.byzantine.shape, dtype, "monna"), direction, sight)


def _away(sight: Sight) -> tuple[Tree, jax.Array]:
    """Σ_{j honest} W_ij (xᵢ − xⱼ), leaves `[n, ...]`, and Σ_{j Byzantine} W_ij `[n]`."""
    index = sight.table()[0]
    honest, lying = links(sight.table(), sight.byzantine)
    return _laplacian(sight.message, index, honest), jnp.sum(lying, axis=1)


def _laplacian(rows: Tree, index: jax.Array, weight: jax.Array) -> Tree:
    """Σⱼ weight_ij (xᵢ − xⱼ) over the slots of i."""

    def one(leaf: jax.Array) -> jax.Array:
        def slot(s: jax.Array, total: jax.Array) -> jax.Array:
            return total + tree.beside(weight[:, s], leaf) * (leaf - leaf[index[:, s]])

        return jax.lax.fori_loop(0, index.shape[1], slot, jnp.zeros_like(leaf))

    return jax.tree.map(one, rows)


def _fiedler(v: jax.Array, sight: Sight, steps: int) -> jax.Array:
    """Power steps towards the Fiedler vector of the honest graph."""
    index = sight.table()[0]
    weight, _ = links(sight.table(), sight.byzantine)
    weight = jnp.where(sight.byzantine[:, None], 0, weight).astype(v.dtype)
    shift = 2 * jnp.max(jnp.sum(weight, axis=1))

    def project(v: jax.Array) -> jax.Array:
        honest = ~sight.byzantine
        mean = jnp.sum(jnp.where(honest, v, 0)) / jnp.sum(honest)
        v = jnp.where(honest, v - mean, 0)
        return v / jnp.maximum(jnp.sqrt(jnp.sum(v * v)), jnp.finfo(v.dtype).tiny)

    def step(_: Any, v: jax.Array) -> jax.Array:
        return project(shift * v - _laplacian(v, index, weight))

    return jax.lax.fori_loop(0, steps, step, project(v))
