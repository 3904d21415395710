"""Flatness on a parabola, where everything has a formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlax import flatness

DIM = 5
rng = np.random.default_rng(0)
EIGENVALUES = np.array([4.0, 1.0, 0.5, 0.2, -0.1])
ROTATION = np.linalg.qr(rng.normal(size=(DIM, DIM)))[0]
H = ROTATION @ np.diag(EIGENVALUES) @ ROTATION.T
X = rng.normal(size=DIM)


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def parabola(params):
    x = jnp.concatenate([params["a"], params["b"].reshape(-1)])
    return 0.5 * x @ jnp.asarray(H) @ x


def model(x):
    return {"a": jnp.asarray(x[:3]), "b": jnp.asarray(x[3:]).reshape(1, 2)}


def test_the_top_eigenvalue():
    got = flatness.top_eigenvalue(parabola, model(X), jax.random.key(0), steps=40)
    np.testing.assert_allclose(got, 4.0, rtol=1e-10)


def test_the_steepest_rise():
    slope = H @ X
    top = X + 0.3 * slope / np.linalg.norm(slope)
    got = flatness.steepest_rise(parabola, model(X), 0.3)
    np.testing.assert_allclose(got, 0.5 * (top @ H @ top - X @ H @ X), rtol=1e-12)


@pytest.mark.parametrize("x", [0 * X, X], ids=["minimum", "slope"])
def test_the_mean_rise_is_the_mean_eigenvalue(x):
    """r² tr(H) / (2d), wherever one stands, to the sampling error of 4,000 directions."""
    got = flatness.random_rise(parabola, model(x), 0.3, jax.random.key(1), directions=4000)
    np.testing.assert_allclose(got, 0.3**2 * EIGENVALUES.mean() / 2, rtol=0.05)


def test_along_a_line_and_the_barrier_on_it():
    y = -X
    values = flatness.along(parabola, model(X), model(y), points=5)
    want = [0.5 * z @ H @ z for z in (X + share * (y - X) for share in np.linspace(0, 1, 5))]
    np.testing.assert_allclose(values, want, atol=1e-14)
    assert flatness.barrier(values) == 0  # a valley lies between
    np.testing.assert_allclose(flatness.barrier(-values), 0.5 * X @ H @ X, rtol=1e-12)
    np.testing.assert_allclose(flatness.barrier(jnp.asarray([0.0, 3.0, 2.0])), 2.0)
