"""L and μ of problems whose spectra are known, or found by NumPy from their own matrices."""

import numpy as np
import pytest

from dlax import theory
from dlax.data import from_arrays
from dlax.problems import average, least_squares, logistic, quadratic


def test_of_quadratics_they_are_the_condition_number():
    found = theory.curvature(quadratic(4, dim=5, condition=50.0, noise=1.0))
    np.testing.assert_allclose(found[:2], [1.0, 0.02], rtol=1e-10)
    assert found.mean_smoothness < 1.0 and found.mean_strong_convexity > 0.02
    common = theory.curvature(quadratic(4, dim=5, condition=50.0, hessian="common"))
    np.testing.assert_allclose(common, [1.0, 0.02, 1.0, 0.02], rtol=1e-10)


def test_of_least_squares_they_are_singular_values():
    problem = least_squares(4, dim=3, samples=6)
    A = problem.local["A"]
    squares = np.stack([np.linalg.svd(a)[1] ** 2 for a in A]) / 6
    together = np.linalg.svd(A.reshape(-1, 3))[1] ** 2 / 24
    want = [squares.max(), squares.min(), together.max(), together.min()]
    np.testing.assert_allclose(theory.curvature(problem), want, rtol=1e-10)


def test_of_averaging_they_are_one():
    np.testing.assert_allclose(theory.curvature(average(4, dim=2)), 1.0, rtol=1e-12)


def test_other_problems_are_refused():
    x = np.random.default_rng(0).normal(size=(12, 2))
    data = from_arrays(x, np.arange(12) % 2, x, np.arange(12) % 2)
    with pytest.raises(ValueError, match="not affine"):
        theory.curvature(logistic(4, dataset=data, batch_size=None, optimum=False))
