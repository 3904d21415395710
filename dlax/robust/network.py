"""Sorting a few rows of many columns with a network of comparisons, which vectorises over the columns.

Batcher. Sorting networks and their applications. AFIPS 1968 (bitonic merging).
"""

import jax
import jax.numpy as jnp


def sort(values: jax.Array) -> jax.Array:
    """Sorts every column of `[m, c]` ascending; m is small. Values must not be NaN.

    Of 2^p rows (padded with +inf) p (p + 1) / 2 sweeps compare rows at a distance; each is one minimum and one
    maximum of whole rows.
    """
    m = len(values)
    size = 1 << (m - 1).bit_length()
    rows = jnp.pad(values, ((0, size - m), (0, 0)), constant_values=jnp.inf)
    length = 2
    while length <= size:
        rows = _compare(rows, length, mirror=True)
        apart = length // 2
        while apart >= 2:
            rows = _compare(rows, apart, mirror=False)
            apart //= 2
        length *= 2
    return rows[:m]


def _compare(rows: jax.Array, length: int, *, mirror: bool) -> jax.Array:
    """Puts in order the pairs of every block of `length` rows: halves row by row, or the second one mirrored."""
    blocks = rows.reshape(-1, 2, length // 2, rows.shape[-1])
    first, second = blocks[:, 0], blocks[:, 1]
    if mirror:
        second = second[:, ::-1]
    low, high = jnp.minimum(first, second), jnp.maximum(first, second)
    if mirror:
        high = high[:, ::-1]
    return jnp.stack([low, high], axis=1).reshape(rows.shape)
