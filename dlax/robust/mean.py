"""The mean of everything: no defence, and what every defence is compared with."""

import jax

from dlax.types import Heard, Rule


def mean() -> Rule:
    """The plain mean of all vectors heard.

        (1/m) Σⱼ xⱼ

    One vector that is not finite spoils the result, and the run is flagged.

    Returns:
      A rule of weights that withstands nobody.
    """

    def weigh(heard: Heard) -> jax.Array:
        return heard.present / heard.present.sum()

    return Rule(weigh, most=lambda m: 0, symmetric=True)
