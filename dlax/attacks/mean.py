"""Attacks made of the mean μ and the deviation s of the honest messages.

Baruch, Baruch, Goldberg. A Little Is Enough: Circumventing Defenses For Distributed Learning. NeurIPS 2019
(ALIE). Xie, Koyejo, Gupta. Fall of Empires: Breaking Byzantine-tolerant SGD by Inner Product Manipulation.
UAI 2019 (FOE).
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri

from dlax import tree
from dlax.types import Attack, Lies, Scalar, Sight


def sign_flip(scale: Scalar = 1.0) -> Attack:
    """Every Byzantine node sends the mean of the honest messages with its sign turned.

        −scale · μ

    Messages that are models are mirrored at the origin. With knowledge "own" it is the node's own message.

    Args:
      scale: 1 flips the sign; MoNNA's scaled sign flip takes h/f, honest nodes over Byzantine ones, the
        reverse attack on the Flag Aggregator 10.

    Returns:
      An attack without memory.
    """

    def craft(memory: Any, sight: Sight) -> tuple[Lies, Any]:
        return Lies(jax.tree.map(lambda leaf: -scale * leaf, sight.mean())), memory

    return Attack(craft)


def foe(factor: Scalar = 2.0) -> Attack:
    """Fall of Empires, or inner-product manipulation: against the mean of the honest messages.

        −factor · μ

    A small factor (0.1) hides among honest messages and still turns the mean of all around; the form (1 − q)
    μ of other papers is factor = q − 1.

    Args:
      factor: how long the lie is.

    Returns:
      An attack without memory.
    """

    def craft(memory: Any, sight: Sight) -> tuple[Lies, Any]:
        return Lies(jax.tree.map(lambda leaf: -factor * leaf, sight.mean())), memory

    return Attack(craft, needs="neighbourhood")


def alie(factor: Scalar | None = 1.5, *, by_receiver: bool = False) -> Attack:
    """A Little Is Enough: so many standard deviations from the mean of the honest messages, by coordinate.

        μ + factor · s

    s has ddof = 1. The original's factor for n nodes of which m are Byzantine is −z with

        z = Φ⁻¹((n − m − s₀)/(n − m)),   s₀ = ⌊n/2 + 1⌋ − m

    s₀ honest messages beyond the lie would make a majority with it; the argument of Φ⁻¹ is kept half an honest node
    off 0 and 1.

    Args:
      factor: in standard deviations; either sign. None: −z.
      by_receiver: each receiver is told the lie of the honest messages in its closed neighbourhood, n and m
        counted there; needs all knowledge, and a channel that can carry it. False: all hear the same of a
        Byzantine node, n and m are of the whole graph.

    Returns:
      An attack without memory.
    """

    def craft(memory: Any, sight: Sight) -> tuple[Lies, Any]:
        byzantine = sight.byzantine
        mean, s = sight.around() if by_receiver else (sight.mean(), sight.deviation())
        if factor is None and by_receiver:
            index, weight, _ = sight.table()
            heard = weight != 0
            lying = jnp.sum(heard & byzantine[index], axis=1) + byzantine
            shift: Any = -hidden_deviations(1 + jnp.sum(heard, axis=1), lying)
        elif factor is None:
            shift = -hidden_deviations(jnp.array([len(byzantine)]), jnp.sum(byzantine)[None])
        else:
            shift = jnp.full((1,), factor)
        moved = jax.tree.map(
            lambda mean, s: (mean + tree.beside(shift, mean) * s).astype(mean.dtype), mean, s
        )
        return (Lies(sight.message, moved) if by_receiver else Lies(moved)), memory

    return Attack(craft, faces=by_receiver, needs="everything" if by_receiver else "neighbourhood")


def hidden_deviations(n: jax.Array, m: jax.Array) -> jax.Array:
    """z of A Little Is Enough for n nodes with m Byzantine ones among them."""
    honest = n - m
    share = (honest - (n // 2 + 1 - m)) / honest
    return ndtri(jnp.clip(share, 0.5 / honest, 1 - 0.5 / honest))
