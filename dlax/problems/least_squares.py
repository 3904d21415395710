"""Linear least squares over nodes with rows of their own, with the optimum from a direct solve."""

import zlib

import jax
import jax.numpy as jnp
import numpy as np

from dlax.types import Key, Problem, Scalar, Tree


def least_squares(
    n: int,
    *,
    dim: int = 10,
    samples: int = 50,
    batch_size: int | None = None,
    heterogeneity: float = 1.0,
    noise: float = 0.1,
    seed: int = 0,
) -> Problem:
    """Synthetic linear regression.

        fᵢ(x) = (1/2s) ‖Aᵢ x − bᵢ‖²,   bᵢ = Aᵢ (x₀ + ζ hᵢ) + noise

    Rows of Aᵢ are standard normal; hᵢ is a unit vector of node i, so ζ is how far the nodes' own solutions lie
    from each other.

    Args:
      n: number of nodes.
      dim: d, the number of parameters.
      samples: s, rows on every node.
      batch_size: rows in a sampled gradient, drawn with replacement; None takes all s (exact gradients).
      heterogeneity: ζ ≥ 0.
      noise: standard deviation of the noise on b.
      seed: of the data.

    Returns:
      A problem with parameters `x` `[d]`, with optimum and minimum in float64. Its proximal steps and gradients
      of conjugates take all s rows and are direct solves; with s < d no fᵢ is strongly convex, and there are no
      conjugates.

    Raises:
      ValueError: if sizes are below 1, a scale is negative, or all n · s rows are fewer than d.
    """
    if min(dim, samples) < 1 or (batch_size is not None and batch_size < 1):
        raise ValueError(
            "least_squares: dim, samples and batch_size must be at least 1, "
            f"got {dim}, {samples} and {batch_size}"
        )
    if min(heterogeneity, noise) < 0:
        raise ValueError(
            f"least_squares: heterogeneity and noise must be at least 0, got {heterogeneity} and {noise}"
        )
    if n * samples < dim:
        raise ValueError(
            f"least_squares: n · samples = {n * samples} rows cannot determine dim = {dim} numbers"
        )
    rng = np.random.default_rng([seed, zlib.crc32(b"problem")])
    A = rng.normal(size=(n, samples, dim))
    common = rng.normal(size=dim) / np.sqrt(dim)
    offsets = rng.normal(size=(n, dim))
    offsets /= np.linalg.norm(offsets, axis=1, keepdims=True)
    b = np.einsum("nsd,nd->ns", A, common + heterogeneity * offsets) + noise * rng.normal(size=(n, samples))
    rows, values = A.reshape(-1, dim), b.reshape(-1)
    optimum = np.linalg.lstsq(rows, values, rcond=None)[0]
    minimum = float(np.mean((rows @ optimum - values) ** 2) / 2)

    def init(key: Key) -> Tree:
        del key
        return {"x": jnp.zeros(dim)}

    def loss(params: Tree, key: Key, local: Tree, shared: Tree) -> jax.Array:
        del shared
        A, b = local["A"], local["b"]
        if batch_size is not None:
            drawn = jax.random.randint(key, (batch_size,), 0, samples)
            A, b = A[drawn], b[drawn]
        return 0.5 * jnp.mean(jnp.square(A @ params["x"] - b))

    def exact(params: Tree, local: Tree, shared: Tree) -> jax.Array:
        del shared
        return 0.5 * jnp.mean(jnp.square(local["A"] @ params["x"] - local["b"]))

    def objective(params: Tree, local: Tree, shared: Tree) -> jax.Array:
        del shared
        return 0.5 * jnp.mean(jnp.square(local["A"] @ params["x"] - local["b"]))

    def solve(scale: Scalar, shift: Scalar, y: jax.Array, local: Tree) -> jax.Array:
        """(scale · AᵀA/s + shift · I)⁻¹ (y + scale · Aᵀb/s), for one node."""
        A, b = local["A"], local["b"]
        matrix = scale / samples * (A.T @ A) + shift * jnp.eye(dim, dtype=y.dtype)
        return jax.scipy.linalg.solve(matrix, y + scale / samples * (A.T @ b), assume_a="pos")

    def prox(v: Tree, scale: Scalar, local: Tree, shared: Tree) -> Tree:
        del shared
        return {"x": solve(scale, 1.0, v["x"], local)}

    def conjugate(y: Tree, local: Tree, shared: Tree) -> Tree:
        del shared
        return {"x": solve(1.0, 0.0, y["x"], local)}

    return Problem(
        n, init, loss, {"A": A, "b": b}, {}, objective,
        optimum={"x": optimum}, minimum=minimum, prox=prox, conjugate=conjugate if samples >= dim else None,
        exact=exact,
    )  # fmt: skip
