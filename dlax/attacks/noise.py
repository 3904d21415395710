"""Attacks that send noise.

Farhadkhani et al. ByzFL, 2024 (N(0, 1)); the decentralised code of Wu, Chen and Ling takes scale 30. The
Flag Aggregator's (Almasi et al., ICLR 2024) takes U[0, 1): all entries are positive, so that the lies are
aligned with each other.
"""

from collections.abc import Callable
from typing import Any

import jax

from dlax.types import Attack, Lies, Scalar, Sight


def gaussian(mean: Scalar = 0.0, scale: Scalar = 1.0) -> Attack:
    """Independent normal numbers in every entry, other ones from every Byzantine node.

        mean + scale · N(0, I)

    Args:
      mean: of every entry.
      scale: its standard deviation.

    Returns:
      An attack without memory.
    """
    return _noise(lambda key, shape, dtype: mean + scale * jax.random.normal(key, shape, dtype))


def uniform(low: Scalar = 0.0, high: Scalar = 1.0) -> Attack:
    """Independent uniform numbers in every entry, other ones from every Byzantine node.

        U[low, high)

    Args:
      low: the least value; −1 with `high` 0 is an attack on BRIDGE.
      high: the largest.

    Returns:
      An attack without memory.
    """
    return _noise(lambda key, shape, dtype: low + (high - low) * jax.random.uniform(key, shape, dtype))


def _noise(draw: Callable[..., jax.Array]) -> Attack:
    def craft(memory: Any, sight: Sight) -> tuple[Lies, Any]:
        leaves, structure = jax.tree.flatten(sight.message)
        keys = [jax.random.fold_in(sight.key, place) for place in range(len(leaves))]
        noise = [draw(key, leaf.shape, leaf.dtype) for key, leaf in zip(keys, leaves, strict=True)]
        return Lies(jax.tree.unflatten(structure, noise)), memory

    return Attack(craft)
