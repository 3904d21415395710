"""Fewer bits a number, or all of them."""

import jax

from dlax.types import Compressor, Key


def identity() -> Compressor:
    """C(x) = x: nothing is lost, and every bit is paid for.

    Returns:
      A compressor; one [d] vector costs d · width bits, with width 32 for float32 entries.
    """

    def compress(key: Key, x: jax.Array) -> jax.Array:
        del key
        return x

    return Compressor(compress, lambda d, width: d * width, contraction=lambda d: 1.0, variance=lambda d: 0.0)


def bfloat16() -> Compressor:
    """Every entry is rounded to the nearest bfloat16: the range of float32 with 8 significant bits.

    Biased and deterministic. Rounding moves an entry by at most 2⁻⁸ of its size, hence

        ‖C(x) − x‖² ≤ 2⁻¹⁶ ‖x‖²

    for entries of size 2⁻¹²⁶ to 3.38e38, or 0; larger ones become infinite, smaller ones may be rounded coarsely.

    Returns:
      A compressor; one [d] vector costs 16 d bits.
    """

    def compress(key: Key, x: jax.Array) -> jax.Array:
        del key
        # A cast there and back is one that XLA may leave out.
        return jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=7).astype(x.dtype)

    return Compressor(compress, lambda d, width: 16 * d, contraction=lambda d: 1 - 2.0**-16)
