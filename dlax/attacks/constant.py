"""Attacks that look at nothing: zeros, infinities, NaN, messages with holes, or no message at all.

Farhadkhani et al. ByzFL, 2024 (Inf); Kairouz et al. Advances and Open Problems in Federated Learning, 2021,
on crashed nodes as the mildest Byzantine ones; Almasi et al. Flag Aggregator, ICLR 2024 (lost entries).
"""

from typing import Any

import jax
import jax.numpy as jnp

from dlax.types import Attack, Lies, Scalar, Sight


def drop() -> Attack:
    """Every Byzantine node stays silent.

    Over a linear channel the weight of a message that does not come returns to the receiver's own (or goes
    where `lost` says); a robust channel combines fewer vectors, of which none is a lie. Honest nodes learn of
    the silence, as of a sleeping neighbour's, and do not pay for messages to it. Where "drop" means a
    fraction of the entries zeroed, see `erase`.

    Returns:
      An attack without memory; over channels that may tell each receiver another thing.
    """

    def craft(memory: Any, sight: Sight) -> tuple[Lies, Any]:
        return Lies(sight.message, silent=True), memory

    return Attack(craft, faces=True)


def erase(fraction: Scalar = 0.1) -> Attack:
    """Entries of a Byzantine node's own message get lost: receivers take them for zeros.

        every entry → 0 with probability `fraction`, independently

    The "drop" of the Flag Aggregator's experiments, whose released code loses nothing, as it does not keep what
    it masked.

    Args:
      fraction: in [0, 1].

    Returns:
      An attack without memory.
    """

    def craft(memory: Any, sight: Sight) -> tuple[Lies, Any]:
        leaves, structure = jax.tree.flatten(sight.message)
        kept = [
            jnp.where(jax.random.uniform(jax.random.fold_in(sight.key, k), leaf.shape) < fraction, 0, leaf)
            for k, leaf in enumerate(leaves)
        ]
        return Lies(jax.tree.unflatten(structure, kept)), memory

    return Attack(craft)


def infinity() -> Attack:
    """Every Byzantine node sends +∞ in every entry.

    A rule that looks at distances must put it at an infinite one, where ∞ − ∞ is NaN; plain averaging breaks
    at once.

    Returns:
      An attack without memory.
    """
    return _constant("inf")


def nan() -> Attack:
    """Every Byzantine node sends NaN in every entry.

    Returns:
      An attack without memory.
    """
    return _constant("nan")


def zero() -> Attack:
    """Every Byzantine node sends zeros.

    Returns:
      An attack without memory.
    """
    return _constant("0")


def _constant(number: str) -> Attack:
    def craft(memory: Any, sight: Sight) -> tuple[Lies, Any]:
        return Lies(jax.tree.map(lambda leaf: jnp.full_like(leaf[:1], float(number)), sight.message)), memory

    return Attack(craft)
