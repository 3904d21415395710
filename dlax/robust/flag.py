"""The Flag aggregator: the subspace that explains most vectors best, and the sum of their projections.

Almasi, Mishra, Vamanan, Ravi. Flag Aggregator: Scalable Distributed Training under Failures and Augmented Losses
using Convex Optimization. ICLR 2024.
"""

from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp

from dlax.types import Heard, Key, Rule, Scalar

_SMALL = 1e-7  # of the released code: keeps weights finite
_SETTLED = 1e-10  # of the released code: an objective, or a decrease of it, at which it stops

Start = Literal["none", "random"]
Pairs = Literal["objective", "release"]


def flag(
    lam: Scalar = 0.0,
    *,
    rank: int | None = None,
    iterations: int = 1,
    start: Start = "none",
    pairs: Pairs = "objective",
    rescale: bool = False,
) -> Rule:
    """Flag: unit vectors, projected on the r-dimensional subspace that is nearest to most of them.

        xᵢ = gᵢ / ‖gᵢ‖;  min over orthonormal Y [d, r] of Σᵢ √(1 − ‖Yᵀxᵢ‖²) + λ/(p(p−1)) Σ_{i≠j} √(1 − ‖Yᵀ(xᵢ − xⱼ)‖²)
        by reweighted least squares:  aᵢ = (|1 − ‖Yᵀxᵢ‖²| + 10⁻⁷)^(−1/4), likewise for pairs;
        Y ← first r left singular vectors of the weighted columns.  Result:  (1/r) Σᵢ Y Yᵀ xᵢ

    All of it is done on the p × p inner products. The released code takes one step, which from where nothing is
    explained makes a truncated SVD. A step after the first that raises the objective is taken back; with λ > 0 one
    may, since differences are no unit vectors and |·| stands under the root. Lengths are lost: the result is a
    direction, at most p/r long.

    Args:
      lam: λ ≥ 0, of the pairwise regulariser.
      rank: r; None is ⌈(p + 1)/2⌉ of the p vectors.
      iterations: steps; the paper's number is not known, the code takes 1.
      start: "none": nothing is explained, so that the first weights are equal, which is what the random directions of
        the released code amount to for d ≫ r; "random": directions drawn in the span of the vectors.
      pairs: "objective" weighs their columns with √(λ/(p(p−1))), which makes λ the coefficient of the objective;
        "release" with λ/(p(p−1)), whose square is then the coefficient, and a stopping rule that leaves pairs out.
      rescale: times the median length of the vectors, which the paper does not do.

    Returns:
      A rule of weights, for gradients.

    Raises:
      ValueError: if `rank` or `iterations` is below 1, `lam` a negative number, or a choice is none of its two.
    """
    if iterations < 1 or (rank is not None and rank < 1):
        raise ValueError(f"flag: iterations and rank must be at least 1, got {iterations} and {rank}")
    if isinstance(lam, int | float) and lam < 0:
        raise ValueError(f"flag: lam must be at least 0, got {lam}")
    if start not in get_args(Start):
        raise ValueError(f"flag: start must be none or random, got {start!r}")
    if pairs not in get_args(Pairs):
        raise ValueError(f"flag: pairs must be objective or release, got {pairs!r}")

    def weigh(heard: Heard) -> jax.Array:
        norms = jnp.sqrt(jnp.diagonal(heard.inner))
        usable = heard.present & heard.finite & (norms > 0)
        scale = jnp.where(usable, 1 / jnp.where(norms > 0, norms, 1), 0)
        K = scale[:, None] * heard.inner * scale[None]
        r = dimension(usable, rank)
        with jax.default_matmul_precision(
            "highest"
        ):  # accelerators would round float32 products to fewer bits
            explained = random_start(K, r, heard.key) if start == "random" else None
            M, _ = flag_subspace(K, usable, lam, r, iterations, start=explained, release=pairs == "release")
            weights = M @ (K @ usable.astype(K.dtype))
        length = jnp.ones((), norms.dtype)
        if rescale:
            ranked = jnp.sort(jnp.where(usable, norms, jnp.inf))
            length = ranked[(usable.sum() - 1) // 2]
        return weights * scale * length / r

    return Rule(weigh, translates=False, symmetric=True)


def dimension(usable: jax.Array, rank: int | None) -> jax.Array:
    """r: the rank asked for, or ⌈(p + 1)/2⌉, of p usable vectors; at most p."""
    p = usable.sum()
    return jnp.minimum((p + 2) // 2 if rank is None else rank, jnp.maximum(p, 1))


def random_start(K: jax.Array, r: jax.Array, key: Key) -> jax.Array:
    """Inner products `[m, m]` of projections on r combinations of the vectors with coefficients from U[−½, ½)."""
    m = len(K)
    draws = jax.random.uniform(key, (m, m), K.dtype, -0.5, 0.5)
    C = jnp.where(jnp.arange(m)[None] < r, draws, 0)
    A = K @ C
    return A @ jnp.linalg.pinv(C.T @ A, hermitian=True) @ A.T


def flag_subspace(
    K: jax.Array,
    usable: jax.Array,
    lam: Scalar,
    r: jax.Array,
    iterations: int,
    *,
    start: jax.Array | None = None,
    release: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """The subspace of Flag in terms of K = XᵀX `[m, m]`, the inner products of unit vectors.

    Args:
      K: zero where a vector is not usable.
      usable: `[m]` bool.
      lam: λ.
      r: the dimension.
      iterations: steps.
      start: `[m, m]`, inner products XᵀY₀Y₀ᵀX of the vectors' projections on the subspace to start from, which need
        not lie in the span of the vectors; None is 0.
      release: pairs as in the released code.

    Returns:
      M = C Cᵀ `[m, m]` with Y = X C, so that Y Yᵀ = X M Xᵀ; and the objective after every step, `[iterations]`.
    """
    p = usable.sum()
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

    def explained(P: jax.Array) -> tuple[jax.Array, jax.Array]:
        """‖Yᵀxᵢ‖² and ‖Yᵀ(xᵢ − xⱼ)‖²."""
        each = jnp.diagonal(P)
        return each, each[:, None] + each[None] - 2 * P

    def objective(M: jax.Array) -> jax.Array:
        each, both = explained(K @ M @ K)
        rest = jnp.sum(jnp.sqrt(jnp.maximum(1 - each, 0)) * usable)
        if release:
            return rest
        return rest + share * jnp.sum(jnp.where(pairs, jnp.sqrt(jnp.abs(1 - both)), 0))

    def step(P: jax.Array) -> jax.Array:
        each, both = explained(P)
        own = jnp.where(usable, 1 / jnp.sqrt(jnp.abs(1 - each) + _SMALL), 0)
        factor = share**2 if release else share
        shared = jnp.where(pairs, factor / jnp.sqrt(jnp.abs(1 - both) + _SMALL), 0)
        S = jnp.diag(own + 2 * shared.sum(axis=1)) - 2 * shared  # every pair comes twice, as i, j and j, i
        _, U = jnp.linalg.eigh(R @ S @ R)
        first = jnp.arange(len(usable)) >= len(usable) - r  # ascending order
        C = R_inverse @ jnp.where(first[None], U, 0)
        return C @ C.T

    def improve(carry: tuple[jax.Array, jax.Array, jax.Array], _: None) -> tuple[Any, jax.Array]:
        M, value, done = carry
        new = step(K @ M @ K)
        lower = objective(new)
        stay = done | (lower > value)
        settled = stay | (value - lower <= _SETTLED) | (lower <= _SETTLED)
        value = jnp.where(stay, value, lower)
        return (jnp.where(stay, M, new), value, settled), value

    M = step(jnp.zeros_like(K) if start is None else start)
    value = objective(M)
    if iterations == 1:
        return M, value[None]
    (M, _, _), later = jax.lax.scan(improve, (M, value, value <= _SETTLED), length=iterations - 1)
    return M, jnp.concatenate([value[None], later])
