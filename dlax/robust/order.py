"""Rules by coordinate that sort: median, trimmed mean, and means around them."""

import jax
import jax.numpy as jnp

from dlax.robust.network import sort
from dlax.types import Heard, Rule


def trimmed_mean() -> Rule:
    """Every coordinate: without the f smallest and the f largest values, the mean of the rest.

    With f = 0 it is the mean. At least one value is kept. BRIDGE-T and ByRDiE are this rule in D-SGD of order
    combine_then_adapt.

    Returns:
      A rule by coordinate.

    References:
      Yin, Chen, Ramchandran, Bartlett. Byzantine-robust distributed learning. ICML 2018.
    """

    def reduce(values: jax.Array, heard: Heard) -> jax.Array:
        return trimmed(sort(values), heard.present.sum(), heard.tolerated)

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


def meamed() -> Rule:
    """Mean around the median: every coordinate, the mean of the m − f values nearest to the median.

    With f = 0 it is the mean.

    Returns:
      A rule by coordinate.

    References:
      Xie, Koyejo, Gupta. Generalized Byzantine-tolerant SGD. 2018.
    """

    def reduce(values: jax.Array, heard: Heard) -> jax.Array:
        count, ranked = heard.present.sum(), sort(values)
        return closest(ranked, count, heard.tolerated, middle(ranked, count))

    return Rule(reduce=reduce)


def phocas() -> Rule:
    """Mean around the trimmed mean: every coordinate, the mean of the m − f values nearest to the trimmed mean.

    With f = 0 it is the mean.

    Returns:
      A rule by coordinate.

    References:
      Xie, Koyejo, Gupta. Phocas: dimensional Byzantine-resilient stochastic gradient descent. 2018.
    """

    def reduce(values: jax.Array, heard: Heard) -> jax.Array:
        count, ranked = heard.present.sum(), sort(values)
        return closest(ranked, count, heard.tolerated, trimmed(ranked, count, heard.tolerated))

    return Rule(reduce=reduce)


def trimmed(ranked: jax.Array, count: jax.Array, f: jax.Array) -> jax.Array:
    """The mean of the first `count` of sorted values `[m, c]` without the f first and last of them."""
    drop = jnp.minimum(f, (count - 1) // 2)
    place = jnp.arange(len(ranked))
    kept = (place >= drop) & (place < count - drop)
    return jnp.sum(jnp.where(kept[:, None], ranked, 0), axis=0) / (count - 2 * drop)


def closest(ranked: jax.Array, count: jax.Array, drop: jax.Array, centre: jax.Array) -> jax.Array:
    """The mean of the first `count` of sorted values `[m, c]` without the `drop` farthest from a centre `[c]`.

    What is kept is a run of sorted values, so one end or the other goes at a time; the upper one if both are as far.
    """

    def shorten(_: jax.Array, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = ends
        first = jnp.take_along_axis(ranked, low[None], axis=0)[0]
        last = jnp.take_along_axis(ranked, high[None], axis=0)[0]
        upper = last - centre >= centre - first
        return jnp.where(upper, low, low + 1), jnp.where(upper, high - 1, high)

    width = ranked.shape[1]
    ends = jnp.zeros(width, jnp.int32), jnp.full(width, count - 1, jnp.int32)
    low, high = jax.lax.fori_loop(0, drop, shorten, ends)
    place = jnp.arange(len(ranked))[:, None]
    kept = (place >= low[None]) & (place <= high[None])
    return jnp.sum(jnp.where(kept, ranked, 0), axis=0) / (count - drop)


def middle(ranked: jax.Array, count: jax.Array) -> jax.Array:
    """The median of the first `count` of sorted values `[m, c]`."""
    low, high = ranked[(count - 1) // 2], ranked[count // 2]
    # Halves first: the sum of two large numbers would overflow.
    return jnp.where(low == high, low, low / 2 + high / 2)
