"""Attacks that copy an honest node, so that some data count for more than they should.

Karimireddy, He, Jaggi. Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing. ICLR 2022.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlax import tree
from dlax.attacks.nodes import dtype_of, inner, square, weighted
from dlax.types import Attack, Key, Lies, Scalar, Sight, Tree

_TINY = 1e-30  # shorter vectors have no direction


class MimicMemory(NamedTuple):
    """What has been learned of how the honest messages differ; leaves `[1, ...]`."""

    mean: Tree
    direction: Tree
    t: jax.Array  # [] int32


def mimic(*, which: int = 0) -> Attack:
    """Every Byzantine node sends what one honest node sends.

    Args:
      which: that node is the one so many honest nodes come before; the last one where there are fewer.

    Returns:
      An attack without memory.

    Raises:
      ValueError: if `which` is negative.
    """
    if which < 0:
        raise ValueError(f"mimic: which must be at least 0, got {which}")

    def craft(memory: Any, sight: Sight) -> tuple[Lies, Any]:
        return Lies(_row(sight.message, _honest(which, sight.byzantine))), memory

    return Attack(craft, needs="everything")


def mimic_heuristic(*, learning: int = 100) -> Attack:
    """Copies the honest node that lies farthest out along the direction in which honest messages differ most.

        m ← (t m + μ)/(t + 1),   z ← normalise((t + 1)/(t + 2) · z + 1/(t + 2) · normalise(Σᵢ ⟨xᵢ − m, z⟩ (xᵢ
        − m))) the first `learning` rounds copy the first honest node, the others argmaxᵢ |⟨xᵢ, z⟩|

    m is the running mean of the honest messages, z starts in a random direction. As in MoNNA's code, the
    largest inner product is with xᵢ and not with xᵢ − m.

    Args:
      learning: rounds, at least 0.

    Returns:
      An attack that remembers two messages.

    Raises:
      ValueError: if `learning` is negative.
    """
    if learning < 0:
        raise ValueError(f"mimic_heuristic: learning must be at least 0, got {learning}")

    def init(message: Tree, key: Key) -> MimicMemory:
        leaves, structure = jax.tree.flatten(jax.tree.map(lambda leaf: leaf[:1], message))
        drawn = [
            jax.random.normal(jax.random.fold_in(key, place), leaf.shape, leaf.dtype)
            for place, leaf in enumerate(leaves)
        ]
        zero = jax.tree.unflatten(structure, [jnp.zeros_like(leaf) for leaf in leaves])
        return MimicMemory(zero, _normalised(jax.tree.unflatten(structure, drawn)), jnp.int32(0))

    def craft(memory: MimicMemory, sight: Sight) -> tuple[Lies, MimicMemory]:
        dtype = dtype_of(memory.mean)
        t = memory.t.astype(dtype)
        mean = _between(t / (t + 1), memory.mean, 1 / (t + 1), sight.mean())
        apart = jax.tree.map(jnp.subtract, sight.message, mean)
        along = inner(apart, memory.direction).astype(dtype)
        step = _normalised(weighted(jnp.where(sight.byzantine, 0, along), apart))
        direction = _normalised(_between((t + 1) / (t + 2), memory.direction, 1 / (t + 2), step))
        extreme = jnp.where(sight.byzantine, -1, jnp.abs(inner(sight.message, direction)))
        first = _honest(0, sight.byzantine)
        copied = _row(sight.message, jnp.where(memory.t < learning, first, jnp.argmax(extreme)))
        return Lies(copied), MimicMemory(mean, direction, memory.t + 1)

    return Attack(craft, init, needs="everything")


def _honest(which: int, byzantine: jax.Array) -> jax.Array:
    """The index of an honest node, counted among them."""
    place = jnp.cumsum(~byzantine)
    return jnp.argmax(place == jnp.minimum(which + 1, place[-1]))


def _row(rows: Tree, i: jax.Array) -> Tree:
    return jax.tree.map(lambda leaf: leaf[i][None], rows)


def _between(a: Scalar, x: Tree, b: Scalar, y: Tree) -> Tree:
    return jax.tree.map(lambda x, y: (a * x + b * y).astype(x.dtype), x, y)


def _normalised(x: Tree) -> Tree:
    length = jnp.sqrt(square(x))
    return jax.tree.map(
        lambda leaf: leaf / tree.beside(jnp.maximum(length, _TINY), leaf).astype(leaf.dtype), x
    )
