"""Proximal steps and gradients of conjugates: where the gradients that define them vanish, in plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlax import topology as tp
from dlax.algorithms import dadmm
from dlax.data import from_arrays, quantity_skew
from dlax.problems import average, least_squares, logistic, quadratic, softmax
from dlax.simulate import simulate

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


def regression(factory, classes, **options):
    """Twelve to thirty points a node, of unequal norms."""
    rng = np.random.default_rng(2)
    x = 3 * rng.normal(size=(60, DIM))
    y = np.digitize(x.sum(axis=1) + 3 * rng.normal(size=60), [-2.0, 2.0][: classes - 1])
    data = from_arrays(x, y, x[:5], y[:5])
    return factory(N, dataset=data, partition=quantity_skew(alpha=5.0), l2=1e-3, **options)


REGRESSIONS = {"logistic": (logistic, 2), "softmax": (softmax, 3)}


def node_gradient(problem, i, w, c):
    """Of the exact fᵢ, sample by sample: w `[d, classes]` and c `[classes]`; one class stands for two."""
    start, count = problem.local["start"][i], problem.local["count"][i]
    gw, gc = problem.shared["l2"] * w, problem.shared["l2"] * c
    for row in range(start, start + count):
        a, y = problem.shared["x"][row].astype(float), problem.shared["y"][row]
        outputs = a @ w + c
        if w.shape[1] == 1:
            pull = 1 / (1 + np.exp(-outputs)) - y
        else:
            pull = np.exp(outputs - np.logaddexp.reduce(outputs)) - np.eye(len(c))[y]
        weight = problem.local["weight"][i] / count
        gw, gc = gw + weight * np.outer(a, pull), gc + weight * pull
    return gw, gc


@pytest.mark.parametrize("name", REGRESSIONS)
@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_the_proximal_step_of_a_regression_is_where_its_gradient_vanishes(name, scale):
    factory, classes = REGRESSIONS[name]
    problem = regression(factory, classes, batch_size=1, optimum=False)
    rng = np.random.default_rng(3)
    v = jax.tree.map(
        lambda leaf: rng.normal(size=(N, *leaf.shape)), jax.eval_shape(problem.init, jax.random.key(0))
    )
    with jax.enable_x64(True):
        step = jax.vmap(problem.prox, in_axes=(0, 0, 0, None))
        got = step(v, np.full(N, scale), problem.local, jax.tree.map(jnp.asarray, problem.shared))
    for i in range(N):
        wide = {key: np.asarray(leaf[i]) for key, leaf in got.items()}
        w, c = wide["w"].reshape(DIM, -1), wide["c"].reshape(-1)
        gw, gc = node_gradient(problem, i, w, c)
        np.testing.assert_allclose(gw.reshape(v["w"][i].shape), (v["w"][i] - wide["w"]) / scale, atol=1e-9)
        np.testing.assert_allclose(gc.reshape(v["c"][i].shape), (v["c"][i] - wide["c"]) / scale, atol=1e-9)


def test_large_models_have_no_proximal_step():
    data = from_arrays(np.ones((8, 600)), np.arange(8) % 2, np.ones((2, 600)), np.arange(2))
    assert logistic(N, dataset=data, optimum=False).prox is None


def test_dadmm_reaches_the_optimum_of_logistic_regression():
    problem = regression(logistic, 2)
    result = simulate(
        dadmm, problem, tp.ring(N), rounds=400, eval_every=400, precision="float64", hyper={"penalty": 0.1}
    )
    assert result.rows[0]["distance"] > 1e-2
    assert result.rows[-1]["distance"] < 1e-12  # the optimum is known to a gradient of 1e-9
