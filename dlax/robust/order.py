"""Rules by coordinate that sort: median and trimmed mean."""

import jax
import jax.numpy as jnp

from dlax.robust.network import sort
from dlax.types import Heard, Rule


def trimmed_mean() -> Rule:
    """Every coordinate: without the f smallest and the f largest values, the mean of the rest.

    With f = 0 it is the mean. At least one value is kept.

    Returns:
      A rule by coordinate.

    References:
      Yin, Chen, Ramchandran, Bartlett. Byzantine-robust distributed learning. ICML 2018.
    """

    def reduce(values: jax.Array, heard: Heard) -> jax.Array:
        count = heard.present.sum()
        drop = jnp.minimum(heard.tolerated, (count - 1) // 2)
        place = jnp.arange(len(values))
        kept = (place >= drop) & (place < count - drop)
        return jnp.sum(jnp.where(kept[:, None], sort(values), 0), axis=0) / (count - 2 * drop)

    return Rule(reduce=reduce)


def median() -> Rule:
    """Every coordinate: the value in the middle, or the mean of the two.

    It needs no f.

    Returns:
      A rule by coordinate.

    References:
      Yin, Chen, Ramchandran, Bartlett. Byzantine-robust distributed learning. ICML 2018.
    """

    def reduce(values: jax.Array, heard: Heard) -> jax.Array:
        return middle(sort(values), heard.present.sum())

    return Rule(reduce=reduce)


def middle(ranked: jax.Array, count: jax.Array) -> jax.Array:
    """The median of the first `count` of sorted values `[m, c]`."""
    low, high = ranked[(count - 1) // 2], ranked[count // 2]
    # Halves first: the sum of two large numbers would overflow.
    return jnp.where(low == high, low, low / 2 + high / 2)
