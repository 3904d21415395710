"""Several mixes in one round, accelerated: the inner loop of the methods that average well before they step."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dlax.types import Round, Scalar, Tree

Mixed = tuple[Tree, Any, jax.Array]  # (message [n, ...], link, bits [n])
Next = Callable[[Any, Tree, Tree, Tree], Tree]  # (k, W x, x, x before) -> x after


def check_mixes(who: str, mixes: int) -> None:
    """Refuses fewer than one mix."""
    if mixes < 1:
        raise ValueError(f"{who}: mixes must be at least 1, got {mixes}")


def repeated_mix(round: Round, link: Any, x: Tree, mixes: int | jax.Array) -> Mixed:
    """Wᴷ X, with K = `mixes` ≥ 1."""
    return _recursion(round, link, x, mixes, lambda k, mixed, x, before: mixed)


def fast_mix(round: Round, link: Any, x: Tree, mixes: int | jax.Array, gap: Scalar) -> Mixed:
    """FastMix: K mixes with constant momentum.

        Xₖ₊₁ = (1 + e) W Xₖ − e Xₖ₋₁,   X₋₁ = X₀,   e = (1 − √(1 − ρ²)) / (1 + √(1 − ρ²))

    Keeps the mean, and shrinks the rest by about 1 − √gap a mix.

    Args:
      round: of a symmetric, doubly stochastic W.
      link: the channel's.
      x: X₀ `[n, ...]`.
      mixes: K ≥ 1; a Python number is written out, so that every mix draws its own losses, an array is a loop.
      gap: 1 − ρ.

    Returns:
      X_K, the link, and the bits of K messages.
    """
    root = jnp.sqrt(gap * (2 - gap))  # √(1 − ρ²) without cancellation
    e = (1 - root) / (1 + root)

    def after(k: Any, mixed: Tree, x: Tree, before: Tree) -> Tree:
        return jax.tree.map(lambda m, b: ((1 + e) * m - e * b).astype(m.dtype), mixed, before)

    return _recursion(round, link, x, mixes, after)


def chebyshev_mix(
    round: Round, link: Any, x: Tree, mixes: int | jax.Array, least: Scalar, second: Scalar
) -> Mixed:
    """The Chebyshev polynomial of degree K for a W whose eigenvalues but one lie in [least, second].

        Xₖ₊₁ = ωₖ₊₁ M Xₖ + (1 − ωₖ₊₁) Xₖ₋₁,   M = I − 2 (I − W) / (2 − least − second)
        ω₁ = 1,  ω₂ = 1 / (1 − r²/2),  ωₖ₊₁ = 1 / (1 − r² ωₖ/4),   r = (second − least) / (2 − least − second)

    This is Tₖ(M/r) / Tₖ(1/r) in a form that also stands for r = 0.

    Args:
      round: of a symmetric, doubly stochastic W.
      link: the channel's.
      x: X₀ `[n, ...]`.
      mixes: K ≥ 1; see `fast_mix`.
      least: λₙ of W.
      second: λ₂ of W.

    Returns:
      X_K, the link, and the bits of K messages.
    """
    width = 2 - least - second
    r = (second - least) / width

    def after(k: Any, mixed: Tree, x: Tree, before: Tree) -> Tree:
        omega = _omega(k, r)
        return jax.tree.map(
            lambda m, a, b: (omega * (a - 2 / width * (a - m)) + (1 - omega) * b).astype(m.dtype),
            mixed, x, before,
        )  # fmt: skip

    return _recursion(round, link, x, mixes, after)


def _omega(k: Any, r: Any) -> jax.Array:
    """ωₖ₊₁ in closed form.

    ωₖ₊₁ = 2 Tₖ(1/r) / (r Tₖ₊₁(1/r)) = (1 + q²) (1 + q²ᵏ) / (1 + q²ᵏ⁺²),   q = r / (1 + √(1 − r²)),   k ≥ 1
    """
    q2 = jnp.square(r / (1 + jnp.sqrt(1 - jnp.square(r))))
    power = q2**k
    return jnp.where(k == 0, 1.0, (1 + q2) * (1 + power) / (1 + power * q2))


def _recursion(round: Round, link: Any, x: Tree, mixes: int | jax.Array, after: Next) -> Mixed:
    """x and the x before it, K times."""

    def once(k: Any, carry: tuple[Tree, Tree, Any, jax.Array]) -> tuple[Tree, Tree, Any, jax.Array]:
        x, before, link, bits = carry
        mixed, link, sent = round.mix(link, x)
        return after(k, mixed, x, before), x, link, bits + sent

    mixed, link, bits = round.mix(link, x)
    carry = (after(0, mixed, x, x), x, link, bits)
    if isinstance(mixes, int):
        for k in range(1, mixes):
            carry = once(k, carry)
    else:
        carry = jax.lax.fori_loop(1, mixes, once, carry)
    return carry[0], carry[2], carry[3]
