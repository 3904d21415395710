"""The search for the strength of an attack that hurts most: a fixed number of trials along a ray."""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

Search = Literal["monna", "byzfl"]
_RATIO = 0.8  # by which steps shrink


def best_factor(
    value: Callable[[jax.Array], jax.Array],
    shape: tuple[int, ...],
    dtype: jax.typing.DTypeLike,
    search: Search,
) -> jax.Array:
    """The factor q ≥ 0 of largest value among those tried; one search for every entry of `shape`.

        expand     try best + step; while it is better, step ← 2 step; when it is not, step ← 0.8 step, contract
        contract   try the next; step ← 0.8 step

    The first trial is q = 0. "byzfl" makes 20 trials with a first step of 10 and goes on trying best + step.
    "monna" makes 16 with a first step of 1; from its last trial it steps towards the best so far, and from
    the best or beyond it downwards, where what falls below 0 is halved back to the right side.

    Args:
      value: `q [shape] -> [shape]`, what is to be large.
      shape: of q.
      dtype: of q.
      search: which of the two.

    References:
      The released code of MoNNA (Farhadkhani et al., ICML 2023) and of ByzFL (2024).
    """
    trials, first_step = {"monna": (16, 1.0), "byzfl": (20, 10.0)}[search]

    def trial(i: jax.Array, state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        best, highest, last, step, expanding = state
        onward = best + step
        if search == "monna":
            beside = jnp.where(last < best, last + step, _fold(last - step, last))
            onward = jnp.where(expanding, onward, beside)
        q = jnp.where(i == 0, 0, onward)
        now = value(q)
        better = (now > highest) | (i == 0)
        grown = jnp.where(expanding & better, jnp.where(i == 0, step, 2 * step), _RATIO * step)
        return (
            jnp.where(better, q, best),
            jnp.where(better, now, highest),
            q,
            grown,
            expanding & better,
        )

    zero = jnp.zeros(shape, dtype)
    start = (zero, zero, zero, zero + first_step, jnp.ones(shape, bool))
    return jax.lax.fori_loop(0, trials, trial, start)[0]


def _fold(x: jax.Array, last: jax.Array) -> jax.Array:
    """Halves the way back to `last` until x is not negative."""
    return jax.lax.while_loop(lambda x: jnp.any(x < 0), lambda x: jnp.where(x < 0, (x + last) / 2, x), x)
