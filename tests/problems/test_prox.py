"""Proximal steps and gradients of conjugates: where the gradients that define them vanish, in plain NumPy."""

import jax
import numpy as np
import pytest

from dlax.problems import average, least_squares, quadratic

N, DIM = 4, 3


def affine(problem):
    """Hᵢ and hᵢ with ∇fᵢ(x) = Hᵢ x − hᵢ, from a problem's own arrays."""
    local, shared = problem.local, problem.shared
    if "v" in local:
        return np.tile(np.eye(DIM), (N, 1, 1)), local["v"]
    if "b" in local:
        A, b = local["A"], local["b"]
        H = np.stack([a.T @ a / len(a) for a in A])
        return H, np.stack([a.T @ y / len(a) for a, y in zip(A, b, strict=True)])
    H = local["A"] if "A" in local else np.tile(np.diag(shared["a"]), (N, 1, 1))
    return H, np.stack([H[i] @ shared["optimum"] - local["g"][i] for i in range(N)])


PROBLEMS = {
    "quadratic": quadratic(N, dim=DIM),
    "quadratic-common": quadratic(N, dim=DIM, hessian="common", condition=1e4),
    "quadratic-noisy": quadratic(N, dim=DIM, noise=3.0),
    "least_squares": least_squares(N, dim=DIM, samples=5),
    "least_squares-sampled": least_squares(N, dim=DIM, samples=5, batch_size=1),
    "least_squares-wide": least_squares(N, dim=DIM, samples=2),
    "average": average(N, dim=DIM),
}
POINTS = np.random.default_rng(0).normal(size=(N, DIM))


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("scale", [1e-3, 0.7, 1e3])
def test_a_proximal_step_is_that_of_the_exact_function(name, scale):
    problem = PROBLEMS[name]
    H, h = affine(problem)
    with jax.enable_x64(True):
        step = jax.vmap(problem.prox, in_axes=(0, 0, 0, None))
        got = step({"x": POINTS}, np.full(N, scale), problem.local, problem.shared)["x"]
    for i in range(N):
        want = np.linalg.solve(H[i] + np.eye(DIM) / scale, h[i] + POINTS[i] / scale)
        np.testing.assert_allclose(got[i], want, atol=1e-10)


@pytest.mark.parametrize("name", [name for name in PROBLEMS if name != "least_squares-wide"])
def test_the_gradient_of_the_conjugate_inverts_the_gradient(name):
    problem = PROBLEMS[name]
    H, h = affine(problem)
    with jax.enable_x64(True):
        inverse = jax.vmap(problem.conjugate, in_axes=(0, 0, None))
        x = np.asarray(inverse({"x": POINTS}, problem.local, problem.shared)["x"])
    for i in range(N):
        np.testing.assert_allclose(H[i] @ x[i] - h[i], POINTS[i], atol=1e-10)


def test_without_strong_convexity_there_is_no_conjugate():
    assert PROBLEMS["least_squares-wide"].conjugate is None
