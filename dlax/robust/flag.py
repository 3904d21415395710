"""The Flag aggregator: the subspace that explains most vectors best, and the sum of their projections.

Almasi, Mishra, Vamanan, Ravi. Flag Aggregator: Scalable Distributed Training under Failures and Augmented Losses
using Convex Optimization. ICLR 2024.
"""

import jax
import jax.numpy as jnp

from dlax.types import Heard, Rule, Scalar

_SMALL = 1e-7  # of the released code: keeps weights finite
_SETTLED = 1e-10  # of the released code: an objective, or a decrease of it, at which it stops


def flag(
    lam: Scalar = 0.0,
    *,
    rank: int | None = None,
    iterations: int = 1,
    rescale: bool = False,
) -> Rule:
    """Flag: unit vectors, projected on the r-dimensional subspace that is nearest to most of them.

        xᵢ = gᵢ / ‖gᵢ‖;  min over orthonormal Y [d, r] of Σᵢ √(1 − ‖Yᵀxᵢ‖²) + λ/(p(p−1)) Σ_{i≠j} √(1 − ‖Yᵀ(xᵢ − xⱼ)‖²)
        by reweighted least squares:  aᵢ = (|1 − ‖Yᵀxᵢ‖²| + 10⁻⁷)^(−1/4), likewise for pairs;
        Y ← first r left singular vectors of the weighted columns.  Result:  (1/r) Σᵢ Y Yᵀ xᵢ

    All of it is done on the p × p inner products. The first step has weights 1, which is what the random start of the
    released code amounts to for d ≫ r; that code takes one step, which makes a truncated SVD. A step that raises the
    objective is taken back; with λ > 0 one may, since differences are no unit vectors and |·| stands under the root.
    Pairs enter with √(λ/(p(p−1))) · a, which makes λ the coefficient of the objective; the released code's is its
    square, and its stopping rule leaves pairs out. Lengths are lost: the result is a direction, at most p/r long.

    Args:
      lam: λ ≥ 0, of the pairwise regulariser.
      rank: r; None is ⌈(p + 1)/2⌉ of the p vectors.
      iterations: steps; the paper's number is not known, the code takes 1.
      rescale: times the median length of the vectors, which the paper does not do.

    Returns:
      A rule of weights, for gradients.

    Raises:
      ValueError: if `rank` or `iterations` is below 1, or `lam` a negative number.
    """
    if iterations < 1 or (rank is not None and rank < 1):
        raise ValueError(f"flag: iterations and rank must be at least 1, got {iterations} and {rank}")
    if isinstance(lam, int | float) and lam < 0:
        raise ValueError(f"flag: lam must be at least 0, got {lam}")

    def weigh(heard: Heard) -> jax.Array:
        norms = jnp.sqrt(jnp.diagonal(heard.inner))
        usable = heard.present & heard.finite & (norms > 0)
        scale = jnp.where(usable, 1 / jnp.where(norms > 0, norms, 1), 0)
        weights, dimension = flag_weights(
            scale[:, None] * heard.inner * scale[None], usable, lam, rank, iterations
        )
        length = jnp.ones((), norms.dtype)
        if rescale:
            ranked = jnp.sort(jnp.where(usable, norms, jnp.inf))
            length = ranked[(usable.sum() - 1) // 2]
        return weights * scale * length / dimension

    return Rule(weigh, translates=False, symmetric=True)


def flag_weights(
    K: jax.Array, usable: jax.Array, lam: Scalar, rank: int | None, iterations: int
) -> tuple[jax.Array, jax.Array]:
    """C Cᵀ K 1 `[m]`, weights of the unit vectors in the sum of projections on Y = X C, and r, from K = XᵀX."""
    p = usable.sum()
    dimension = jnp.minimum((p + 2) // 2 if rank is None else rank, jnp.maximum(p, 1))
    values, vectors = jnp.linalg.eigh((K + K.T) / 2)
    rounding = (
        10 * jnp.finfo(K.dtype).eps * len(usable)
    )  # eigenvalues below this share of the largest are none
    inside = values > rounding * jnp.maximum(values[-1], rounding)
    root = jnp.sqrt(jnp.where(inside, values, 0))
    inverse = jnp.where(inside, 1 / jnp.where(inside, root, 1), 0)
    R, R_inverse = (vectors * root[None]) @ vectors.T, (vectors * inverse[None]) @ vectors.T
    pairs = usable[:, None] & usable[None] & ~jnp.eye(len(usable), dtype=bool)
    share = lam / jnp.maximum(p * (p - 1), 1)

    def subspace(own: jax.Array, both: jax.Array) -> jax.Array:
        """C Cᵀ for squared weights of the vectors `[m]` and of the pairs `[m, m]`."""
        S = jnp.diag(own + 2 * both.sum(axis=1)) - 2 * both  # every pair comes twice, as i, j and j, i
        _, U = jnp.linalg.eigh(R @ S @ R)
        first = jnp.arange(len(usable)) >= len(usable) - dimension  # ascending order
        C = R_inverse @ jnp.where(first[None], U, 0)
        return C @ C.T

    def explained(M: jax.Array) -> tuple[jax.Array, jax.Array]:
        """‖Yᵀxᵢ‖² and ‖Yᵀ(xᵢ − xⱼ)‖²."""
        P = K @ M @ K
        each = jnp.diagonal(P)
        return each, each[:, None] + each[None] - 2 * P

    def objective(M: jax.Array) -> jax.Array:
        each, both = explained(M)
        rest = jnp.sqrt(jnp.maximum(1 - each, 0)) * usable
        return rest.sum() + share * jnp.sum(jnp.where(pairs, jnp.sqrt(jnp.abs(1 - both)), 0))

    def step(M: jax.Array) -> jax.Array:
        each, both = explained(M)
        own = jnp.where(usable, 1 / jnp.sqrt(jnp.abs(1 - each) + _SMALL), 0)
        return subspace(own, jnp.where(pairs, share / jnp.sqrt(jnp.abs(1 - both) + _SMALL), 0))

    ones = usable.astype(K.dtype)
    M = subspace(ones, jnp.where(pairs, jnp.asarray(share, K.dtype), 0))
    if iterations > 1:

        def improve(_: jax.Array, carry: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, ...]:
            M, value, done = carry
            new = step(M)
            lower = objective(new)
            stay = done | (lower > value)
            settled = stay | (value - lower <= _SETTLED) | (lower <= _SETTLED)
            return jnp.where(stay, M, new), jnp.where(stay, value, lower), settled

        M, _, _ = jax.lax.fori_loop(0, iterations - 1, improve, (M, objective(M), jnp.asarray(False)))
    return M @ (K @ ones), dimension
