"""Attacks made of the mean μ and the deviation s of the honest messages.

Baruch, Baruch, Goldberg. A Little Is Enough: Circumventing Defenses For Distributed Learning. NeurIPS 2019 (ALIE).
Xie, Koyejo, Gupta. Fall of Empires: Breaking Byzantine-tolerant SGD by Inner Product Manipulation. UAI 2019 (FOE).
"""

from typing import Any

import jax

from dlax.types import Attack, Lies, Scalar, Sight


def sign_flip(scale: Scalar = 1.0) -> Attack:
    """Every Byzantine node sends the mean of the honest messages with its sign turned.

        −scale · μ

    Messages that are models are mirrored at the origin. With knowledge "own" it is the node's own message.

    Args:
      scale: 1 flips the sign; the scaled attack of some papers takes the honest nodes' number over f.

    Returns:
      An attack without memory.
    """

    def craft(memory: Any, sight: Sight) -> tuple[Lies, Any]:
        return Lies(jax.tree.map(lambda leaf: -scale * leaf, sight.mean())), memory

    return Attack(craft)


def foe(factor: Scalar = 2.0) -> Attack:
    """Fall of Empires, or inner-product manipulation: against the mean of the honest messages.

        −factor · μ

    A small factor (0.1) hides among honest messages and still turns the mean of all around; the form (1 − q) μ of
    other papers is factor = q − 1.

    Args:
      factor: how long the lie is.

    Returns:
      An attack without memory.
    """

    def craft(memory: Any, sight: Sight) -> tuple[Lies, Any]:
        return Lies(jax.tree.map(lambda leaf: -factor * leaf, sight.mean())), memory

    return Attack(craft, needs="neighbourhood")


def alie(factor: Scalar = 1.5) -> Attack:
    """A Little Is Enough: so many standard deviations from the mean of the honest messages, by coordinate.

        μ + factor · s

    s has ddof = 1.

    Args:
      factor: in standard deviations; either sign.

    Returns:
      An attack without memory.
    """

    def craft(memory: Any, sight: Sight) -> tuple[Lies, Any]:
        moved = jax.tree.map(lambda mean, s: mean + factor * s, sight.mean(), sight.deviation())
        return Lies(moved), memory

    return Attack(craft, needs="neighbourhood")
