"""Quadratics with everything known: optimum, condition number, heterogeneity, gradient noise."""

import zlib
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from dlax.types import Key, Problem, Scalar, Tree


def quadratic(
    n: int,
    *,
    dim: int = 10,
    condition: float = 10.0,
    heterogeneity: float = 1.0,
    noise: float = 0.0,
    hessian: Literal["common", "random"] = "random",
    seed: int = 0,
) -> Problem:
    """A strongly convex quadratic on every node.

        fᵢ(x) = ½ (x − x*)ᵀ Aᵢ (x − x*) + gᵢᵀ (x − x*),   Σᵢ gᵢ = 0,   ∇ samples are ∇fᵢ(x) + ξ

    x* minimises f = (1/n) Σᵢ fᵢ by construction, f(x*) = 0 and ‖x*‖ = 1. Every Aᵢ has eigenvalues spaced
    evenly on a log scale from μ = 1/κ to L = 1, so step sizes are in units of 1/L. Starts at x = 0.

    Args:
      n: number of nodes.
      dim: d, the number of parameters.
      condition: κ ≥ 1, the condition number of every Aᵢ.
      heterogeneity: ζ ≥ 0 with (1/n) Σᵢ ‖∇fᵢ(x*)‖² = ζ² exactly (0 when n = 1, where no other value exists).
      noise: σ ≥ 0 with E‖ξ‖² = σ² for every sampled gradient; 0 means exact gradients.
      hessian: "random": every node its own eigenvectors, hence n matrices; "common": one diagonal A for all,
        which a million nodes can afford.
      seed: of the matrices and vectors.

    Returns:
      A problem with parameters `x` `[d]`, without held-out data, with optimum and minimum. Its proximal steps and
      gradients of conjugates are those of the exact fᵢ, by a direct solve.

    Raises:
      ValueError: if `dim` < 1, `condition` < 1, or `heterogeneity` or `noise` is negative.
    """
    if dim < 1:
        raise ValueError(f"quadratic: dim must be at least 1, got {dim}")
    if condition < 1:
        raise ValueError(f"quadratic: condition must be at least 1, got {condition}")
    if min(heterogeneity, noise) < 0:
        raise ValueError(
            f"quadratic: heterogeneity and noise must be at least 0, got {heterogeneity} and {noise}"
        )
    rng = np.random.default_rng([seed, zlib.crc32(b"problem")])
    eigenvalues = np.logspace(-np.log10(condition), 0, dim) if dim > 1 else np.ones(1)
    optimum = rng.normal(size=dim)
    optimum /= np.linalg.norm(optimum)
    g = rng.normal(size=(n, dim))
    g -= g.mean(axis=0)
    scale = np.sqrt(np.mean(np.sum(g**2, axis=1)))
    g *= heterogeneity / scale if n > 1 else 0.0
    local = {"g": g}
    shared = {"optimum": optimum, "noise": np.float64(noise / np.sqrt(dim))}
    if hessian == "random":
        rotations = np.linalg.qr(rng.normal(size=(n, dim, dim)))[0]
        local["A"] = np.einsum("nij,j,nkj->nik", rotations, eigenvalues, rotations)
    else:
        shared["a"] = eigenvalues

    def init(key: Key) -> Tree:
        del key
        return {"x": jnp.zeros(dim)}

    def exact(params: Tree, local: Tree, shared: Tree) -> jax.Array:
        z = params["x"] - shared["optimum"]
        curved = local["A"] @ z if hessian == "random" else shared["a"] * z
        return 0.5 * jnp.dot(z, curved) + jnp.dot(local["g"], z)

    def loss(params: Tree, key: Key, local: Tree, shared: Tree) -> jax.Array:
        value = exact(params, local, shared)
        if noise == 0:  # static: drawing numbers is half the work of a small quadratic
            return value
        x = params["x"]
        # The noise term is zero in value and ξ in gradient, so that losses stay exact.
        xi = shared["noise"] * jax.random.normal(key, x.shape, x.dtype)
        return value + jnp.dot(xi, x - jax.lax.stop_gradient(x))

    def objective(params: Tree, local: Tree, shared: Tree) -> jax.Array:
        z = params["x"] - shared["optimum"]
        curved = jnp.mean(local["A"], axis=0) @ z if hessian == "random" else shared["a"] * z
        value = 0.5 * jnp.dot(z, curved)
        if len(local["g"]) == n:  # over all nodes the slopes g cancel
            return value
        return value + jnp.dot(jnp.mean(local["g"], axis=0), z)

    def solve(scale: Scalar, shift: Scalar, b: jax.Array, local: Tree, shared: Tree) -> jax.Array:
        """(scale · A + shift · I)⁻¹ b, for one node."""
        if hessian == "common":
            return b / (scale * shared["a"] + shift)
        matrix = scale * local["A"] + shift * jnp.eye(dim, dtype=b.dtype)
        return jax.scipy.linalg.solve(matrix, b, assume_a="pos")

    def prox(v: Tree, scale: Scalar, local: Tree, shared: Tree) -> Tree:
        away = v["x"] - shared["optimum"] - scale * local["g"]
        return {"x": shared["optimum"] + solve(scale, 1.0, away, local, shared)}

    def conjugate(y: Tree, local: Tree, shared: Tree) -> Tree:
        return {"x": shared["optimum"] + solve(1.0, 0.0, y["x"] - local["g"], local, shared)}

    return Problem(
        n, init, loss, local, shared, objective,
        optimum={"x": optimum}, minimum=0.0, prox=prox, conjugate=conjugate, exact=exact,
    )  # fmt: skip
