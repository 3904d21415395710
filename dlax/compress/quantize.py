"""Few levels: every entry of a vector becomes one of a small set of numbers."""

import math

import jax
import jax.numpy as jnp

from dlax.types import Compressor, Key


def sign() -> Compressor:
    """Every entry becomes the mean magnitude, with its sign.

        C(x) = (‖x‖₁ / d) sign(x),   ‖C(x) − x‖² = ‖x‖² − ‖x‖₁² / d

    Biased and deterministic. The contraction factor ‖x‖₁² / (d ‖x‖²) depends on x: near 2/π for normal entries,
    and 1/d, what holds for every x, for a vector with one entry. A zero counts as positive: a bit has no third
    value.

    Returns:
      A compressor; one [d] vector costs d + width bits.

    References:
      Karimireddy, Rebjock, Stich, Jaggi. Error Feedback Fixes SignSGD. ICML 2019.
    """

    def compress(key: Key, x: jax.Array) -> jax.Array:
        del key
        scale = _largest(x)  # large entries must not overflow in the sum
        mean = scale * jnp.mean(jnp.abs(x / scale))
        return jnp.where(x >= 0, mean, -mean)

    return Compressor(compress, lambda d, width: d + width, contraction=lambda d: 1 / d)


def qsgd(*, levels: int = 16) -> Compressor:
    """Every magnitude is rounded at random to one of `levels` equal parts of the norm, so that C(x) is x on average.

        C(x) = (‖x‖₂ / s) sign(x) ⌊s |x| / ‖x‖₂ + u⌋,   u uniform in [0, 1)ᵈ
        E C(x) = x,   E‖C(x) − x‖² ≤ min(d/s², √d/s) ‖x‖²

    Args:
      levels: s ≥ 1; 1 gives the ternary quantiser.

    Returns:
      A compressor; one [d] vector costs width + ⌈d log₂(2s + 1)⌉ bits: the norm, and d digits of 2s + 1 values
      packed as one number. The paper's Elias code, whose length depends on x, is shorter where most digits are
      zero (s well below √d).

    Raises:
      ValueError: if `levels` < 1.

    References:
      Alistarh, Grubic, Li, Tomioka, Vojnović. QSGD. NeurIPS 2017.
    """
    if levels < 1:
        raise ValueError(f"qsgd: levels must be at least 1, got {levels}")

    def compress(key: Key, x: jax.Array) -> jax.Array:
        scale = _largest(x)
        return _dither(key, x, scale * jnp.linalg.norm(x / scale), levels)

    def variance(d: int) -> float:
        return min(d / levels**2, math.sqrt(d) / levels)

    return Compressor(compress, lambda d, width: width + _packed(d, 2 * levels + 1), variance=variance)


def dithered(*, bits: int = 2) -> Compressor:
    """LEAD's quantiser: magnitudes are rounded at random to multiples of the largest one over 2ᵇ⁻¹.

        C(x) = (‖x‖_∞ / 2ᵇ⁻¹) sign(x) ⌊2ᵇ⁻¹ |x| / ‖x‖_∞ + u⌋,   u uniform in [0, 1)ᵈ
        E C(x) = x,   E‖C(x) − x‖² ≤ d ‖x‖_∞² / 4ᵇ ≤ (d / 4ᵇ) ‖x‖²

    Args:
      bits: b ≥ 1.

    Returns:
      A compressor; one [d] vector costs width + ⌈d log₂(2ᵇ + 1)⌉ bits: the largest magnitude, and d digits of
      2ᵇ + 1 values packed as one number. Papers count b bits an entry, one value too few.

    Raises:
      ValueError: if `bits` is outside 1, ..., 16.

    References:
      Liu, Li, Wang, Tang, Yan. Linear Convergent Decentralized Optimization with Compression. ICLR 2021.
    """
    if not 1 <= bits <= 16:
        raise ValueError(f"dithered: bits must be between 1 and 16, got {bits}")

    def compress(key: Key, x: jax.Array) -> jax.Array:
        return _dither(key, x, jnp.max(jnp.abs(x), initial=0), 2 ** (bits - 1))

    return Compressor(
        compress, lambda d, width: width + _packed(d, 2**bits + 1), variance=lambda d: d / 4.0**bits
    )


def _dither(key: Key, x: jax.Array, norm: jax.Array, levels: int) -> jax.Array:
    """Rounds |x| at random to multiples of norm / levels; |x| is at most the norm."""
    norm = jnp.where(norm == 0, jnp.ones_like(norm), norm)
    u = jax.random.uniform(key, x.shape, jnp.promote_types(x.dtype, jnp.float32))
    # A norm that came out a little small must not bring forth one more level.
    digits = jnp.minimum(jnp.floor(levels * (jnp.abs(x) / norm) + u), levels)
    return (jnp.sign(x) * digits * (norm / levels)).astype(x.dtype)


def _largest(x: jax.Array) -> jax.Array:
    """The largest magnitude, `[]`; 1 for a vector of zeros, since it is divided by."""
    largest = jnp.max(jnp.abs(x), initial=0)
    return jnp.where(largest == 0, jnp.ones_like(largest), largest)


def _packed(d: int, values: int) -> int:
    """Bits of d digits of so many values each, packed as one number."""
    return math.ceil(d * math.log2(values))
