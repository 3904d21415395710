"""Flag on inner products against singular vectors in d dimensions, float64 NumPy; its objective and symmetries."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlax import robust
from dlax.robust.flag import dimension, flag_subspace, random_start
from dlax.types import Heard

P, D, R = 15, 200, 8


def draw(seed, p=P, d=D, liars=3, noise=2.0):
    """Unit vectors `[p, d]`: a common direction with noise, and some of noise alone."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=d) + noise * rng.normal(size=(p, d))
    rows[p - liars :] = 10 * rng.normal(size=(liars, d))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def start(seed, d=D, r=R):
    """Y₀ of the released code: the Q factor of numbers from U[−½, ½), anywhere in d dimensions."""
    return np.linalg.qr(np.random.default_rng(seed).uniform(-0.5, 0.5, (d, r)))[0]


def rest(Y, x):
    return abs(1 - np.linalg.norm(Y.T @ x) ** 2)


def objective(x, Y, lam, release):
    total = sum(np.sqrt(max(0, 1 - np.linalg.norm(Y.T @ one) ** 2)) for one in x)
    p = len(x)
    if not release:
        for i in range(p):
            for j in range(p):
                if i != j:
                    total += lam / (p * (p - 1)) * np.sqrt(rest(Y, x[i] - x[j]))
    return total


def step(x, Y, r, lam, release):
    """One reweighting, with all weighted columns side by side."""
    p = len(x)
    columns = [(rest(Y, one) + 1e-7) ** -0.25 * one for one in x]
    if lam > 0:
        factor = lam / (p * (p - 1))
        factor = factor if release else np.sqrt(factor)
        for i in range(p):
            for j in range(p):
                if i != j:
                    columns.append(factor * (rest(Y, x[i] - x[j]) + 1e-7) ** -0.25 * (x[i] - x[j]))
    return np.linalg.svd(np.array(columns).T, full_matrices=False)[0][:, :r]


def loop(x, Y, r, iterations, lam=0.0, release=False):
    """Objectives after every step, the last Y, and whether a step was taken back."""
    Y = step(x, Y, r, lam, release)
    values, done, back = [objective(x, Y, lam, release)], False, False
    for _ in range(iterations - 1):
        if not done:
            new = step(x, Y, r, lam, release)
            value = objective(x, new, lam, release)
            if value > values[-1]:
                done = back = True
            else:
                done = values[-1] - value <= 1e-10 or value <= 1e-10
                Y = new
                values.append(value)
                continue
        values.append(values[-1])
    return Y, np.array(values), back


@functools.partial(jax.jit, static_argnames=("iterations", "release", "rank"))
def subspace(x, lam, P0, iterations, release=False, rank=R):
    usable = jnp.ones(len(x), bool)
    r = dimension(usable, rank)
    return flag_subspace(x @ x.T, usable, lam, r, iterations, start=P0, release=release)


def projections(x, Y):
    return (x @ Y) @ (x @ Y).T


@pytest.mark.parametrize("release", [False, True])
def test_inner_products_are_enough(release):
    """Must hold 1: the same projector as singular vectors give, from the same Y₀."""
    with jax.enable_x64(True):
        for lam in (0.0, 30.0):
            for seed in range(3):
                x, Y0 = draw(seed), start(seed)
                M, values = subspace(x, lam, projections(x, Y0), 1, release)
                Y, wanted, _ = loop(x, Y0, R, 1, lam, release)
                assert np.abs(x.T @ np.asarray(M) @ x - Y @ Y.T).max() < 1e-12
                np.testing.assert_allclose(values, wanted, atol=1e-12)


@pytest.mark.parametrize("lam", [0.0, 30.0])
def test_single_precision_is_enough(lam):
    for seed in range(3):
        x, Y0 = draw(seed), start(seed)
        M, _ = subspace(x.astype(np.float32), lam, projections(x, Y0).astype(np.float32), 1)
        Y, _, _ = loop(x, Y0, R, 1, lam)
        assert np.abs(x.T @ np.asarray(M, float) @ x - Y @ Y.T).max() < 1e-5


def test_pairs_as_released_count_by_the_square():
    """λ/(p(p−1)) on columns is the coefficient squared: λ²/(p(p−1)) in the objective gives the same."""
    x, lam = draw(0), 30.0
    with jax.enable_x64(True):
        P0 = projections(x, start(0))
        M, _ = subspace(x, lam, P0, 1, release=True)
        N, _ = subspace(x, lam**2 / (P * (P - 1)), P0, 1)
        far, _ = subspace(x, lam, P0, 1)
    np.testing.assert_allclose(M, N, atol=1e-10)
    assert np.abs(np.asarray(M) - np.asarray(far)).max() > 1e-3


def test_the_objective_falls_step_by_step():
    """Must hold 2, λ = 0: from the random start of the release the first step takes most, and no step raises it."""
    with jax.enable_x64(True):
        for seed in range(50):
            x, Y0 = draw(seed), start(seed)
            before = objective(x, Y0, 0, False)
            values = np.asarray(subspace(x, 0.0, projections(x, Y0), 6)[1])
            assert (np.diff([before, *values]) <= 1e-6).all()
            assert before - values[0] > 3 * (values[0] - values[-1]) > 0
            assert before == pytest.approx(P * np.sqrt(1 - R / D), rel=0.02)


@pytest.mark.parametrize("release", [False, True])
def test_a_step_that_raises_the_objective_is_taken_back(release):
    """With pairs it happens; then the subspace before it stays, as in the loop."""
    times, lam = 0, 60.0
    with jax.enable_x64(True):
        for seed in range(12):
            x, Y0 = draw(seed, p=6, d=20, noise=0.3), start(seed, d=20, r=2)
            Y, wanted, back = loop(x, Y0, 2, 8, lam, release)
            M, values = subspace(x, lam, projections(x, Y0), 8, release, rank=2)
            np.testing.assert_allclose(values, wanted, atol=1e-10)
            assert np.abs(x.T @ np.asarray(M) @ x - Y @ Y.T).max() < 1e-8
            times += back
    assert times > 0


def heard_of(rows, present=None):
    m = len(rows)
    present = np.ones(m, bool) if present is None else present
    inner = jnp.asarray(rows @ rows.T * (present[:, None] & present[None]))
    return Heard(
        inner, jnp.asarray(present), jnp.ones(m, bool), jnp.asarray(present / present.sum()), jnp.int32(0),
        jnp.zeros(()), jax.random.key(0), jnp.zeros(m, bool),
    )  # fmt: skip


def result(rule, rows, present=None):
    return np.asarray(jax.jit(rule.weigh)(heard_of(rows, present))) @ rows


RULES = [
    robust.flag(0.7, iterations=3),
    robust.flag(2.0, iterations=3, pairs="release", start="random"),
]


@pytest.mark.parametrize("rule", RULES)
def test_lengths_signs_and_axes(rule):
    """Must hold 3."""
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        for seed in range(3):
            rows = draw(seed, p=8, d=20)
            base = result(rule, rows)
            np.testing.assert_allclose(result(rule, rows * rng.uniform(0.1, 9, (8, 1))), base, atol=1e-9)
            np.testing.assert_allclose(result(rule, -rows), -base, atol=1e-9)
            turn = np.linalg.qr(rng.normal(size=(20, 20)))[0]
            np.testing.assert_allclose(result(rule, rows @ turn), base @ turn, atol=1e-9)
            assert np.linalg.norm(base) <= 8 / 5


@pytest.mark.parametrize("start", ["none", "random"])
def test_whole_rank_is_the_mean_of_unit_vectors(start):
    """Must hold 3: r = p; also where slots are empty."""
    rows, present = draw(1, p=8, d=20) * 7, np.arange(8) < 6
    with jax.enable_x64(True):
        got = result(robust.flag(rank=8, iterations=2, start=start), rows)
        np.testing.assert_allclose(got, draw(1, p=8, d=20).mean(axis=0), atol=1e-9)
        got = result(robust.flag(rank=8, iterations=2, start=start), rows, present)
        np.testing.assert_allclose(got, draw(1, p=8, d=20)[:6].mean(axis=0), atol=1e-9)


@pytest.mark.parametrize("start", ["none", "random"])
def test_sign_flipped_copies_shorten_the_result_and_turn_nothing(start):
    """Theory 5: f of p copies of one direction with the sign turned leave (p − 2f)/r of it, though K has rank 1."""
    one = draw(0)[0]
    rows = np.where(np.arange(P)[:, None] < 3, -10 * one, one)
    with jax.enable_x64(True):
        got = result(robust.flag(iterations=2, start=start), rows)
    np.testing.assert_allclose(got, (P - 6) / R * one, atol=1e-9)


def test_a_random_start_is_a_subspace_of_the_span():
    x = draw(0)
    with jax.enable_x64(True):
        P0 = np.asarray(random_start(jnp.asarray(x @ x.T), jnp.int32(R), jax.random.key(0)))
        other = np.asarray(random_start(jnp.asarray(x @ x.T), jnp.int32(R), jax.random.key(1)))
    # XᵀPX of a projector P onto the span of R combinations of the rows
    K = x @ x.T
    assert np.linalg.matrix_rank(P0, tol=1e-9) == R and np.abs(P0 - other).max() > 0.01
    np.testing.assert_allclose(P0 @ np.linalg.solve(K, P0), P0, atol=1e-9)
