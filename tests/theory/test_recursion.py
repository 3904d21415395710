"""Affine recursions against brute force: iteration, dense solves, and cases with known answers."""

import numpy as np
import pytest
import scipy.linalg

from dlax import topology as tp
from dlax.theory import Recursion

RNG = np.random.default_rng(0)
N, D = 4, 2
SIZE = N * D + 3  # the models and a little more


def stable(radius=0.9, size=SIZE):
    """A matrix without symmetry, of given spectral radius."""
    M = RNG.normal(size=(size, size))
    return radius * M / np.abs(np.linalg.eigvals(M)).max()


def recursion(M, c=None, Q=None, start=None, *, nodes=N, dim=D, **options):
    size = len(M)
    c = np.zeros(size) if c is None else c
    start = np.zeros(size) if start is None else start
    return Recursion(M, c, Q, start, nodes, dim, np.arange(1.0, dim + 1), **options)


def moments(recursion, steps):
    """Mean and covariance of z by iteration."""
    z, spread = recursion.start, np.zeros_like(recursion.matrix)
    Q = np.zeros_like(spread) if recursion.noise is None else recursion.noise
    for _ in range(steps):
        z = recursion.matrix @ z + recursion.offset
        spread = recursion.matrix @ spread @ recursion.matrix.T + Q
    return z, spread


def errors(recursion, z, spread):
    """(distance, consensus, error of the mean), by loops over nodes and entries."""
    n, d = recursion.nodes, recursion.dim
    distance = consensus = error = 0.0
    for k in range(d):
        place = [i * d + k for i in range(n)]
        x, S = z[place], spread[np.ix_(place, place)]
        for i in range(n):
            away = np.eye(n)[i] - 1 / n
            distance += ((x[i] - recursion.optimum[k]) ** 2 + S[i, i]) / n
            consensus += ((away @ x) ** 2 + away @ S @ away) / n
        error += (x.mean() - recursion.optimum[k]) ** 2 + S.mean()
    return distance, consensus, error


@pytest.fixture(scope="module")
def noisy():
    root = RNG.normal(size=(SIZE, SIZE))
    return recursion(stable(), RNG.normal(size=SIZE), root @ root.T, RNG.normal(size=SIZE))


def test_the_steady_state_is_that_of_dense_solvers(noisy):
    limit = np.linalg.solve(np.eye(SIZE) - noisy.matrix, noisy.offset)
    spread = scipy.linalg.solve_discrete_lyapunov(noisy.matrix, noisy.noise)
    np.testing.assert_allclose(noisy.limit, limit, rtol=1e-11)
    np.testing.assert_allclose(noisy.covariance, spread, rtol=1e-10)
    want = errors(noisy, limit, spread)
    got = (noisy.steady_distance, noisy.steady_consensus, noisy.steady_mean_error)
    np.testing.assert_allclose(got, want, rtol=1e-11)
    np.testing.assert_allclose(noisy.bias, errors(noisy, limit, 0 * spread)[0], rtol=1e-12)
    assert noisy.rate == pytest.approx(0.9, rel=1e-12)
    assert noisy.converges and noisy.conserved.shape == (SIZE, 0)


def test_paths_are_iterated_moments(noisy):
    want = np.array([errors(noisy, *moments(noisy, steps)) for steps in range(6)])
    np.testing.assert_allclose(noisy.distances(5), want[:, 0], rtol=1e-12)
    np.testing.assert_allclose(noisy.consensuses(5), want[:, 1], rtol=1e-12)
    np.testing.assert_allclose(noisy.mean_errors(5), want[:, 2], rtol=1e-12)
    late = noisy.distances(300)
    np.testing.assert_allclose(late[-1], noisy.steady_distance, rtol=1e-9)


def test_an_application_may_stand_for_several_rounds_after_a_few(noisy):
    slow = recursion(noisy.matrix, noisy.offset, noisy.noise, noisy.start, period=3, first=2)
    assert slow.times(10).tolist() == [2, 5, 8]
    np.testing.assert_array_equal(slow.distances(10), noisy.distances(2))
    assert slow.distances(1).tolist() == []
    assert slow.rate == pytest.approx(0.9 ** (1 / 3), rel=1e-12)
    assert slow.steady_distance == noisy.steady_distance


def test_without_noise_there_is_no_variance(noisy):
    quiet = recursion(noisy.matrix, noisy.offset)
    assert not quiet.covariance.any()
    assert quiet.steady_distance == quiet.bias == pytest.approx(noisy.bias, rel=1e-12)


def test_what_is_conserved_decides_the_limit():
    """Gossip on a path: the mean of the start."""
    W = np.kron(tp.path(N).dense(), np.eye(D))
    start = RNG.normal(size=N * D)
    path = recursion(W, start=start)
    assert path.conserved.shape == (N * D, D)
    np.testing.assert_allclose(path.conserved.T @ W, path.conserved.T, atol=1e-14)
    np.testing.assert_allclose(path.limit, moments(path, 400)[0], atol=1e-13)
    np.testing.assert_allclose(path.limit.reshape(N, D), np.tile(start.reshape(N, D).mean(axis=0), (N, 1)))
    assert path.rate == pytest.approx(1 - tp.path(N).spectral_gap, rel=1e-12)
    assert len(path.eigenvalues) == N * D - D


def test_what_is_conserved_need_not_be_the_mean():
    """Rows that sum to one, columns that do not: the stationary distribution of W, by degrees on a star."""
    W, start = tp.star(N, weights=tp.uniform_neighbour()).dense(), RNG.normal(size=N)
    star = recursion(W, np.zeros(N), start=start, nodes=N, dim=1)
    assert star.conserved.shape == (N, 1)
    np.testing.assert_allclose(star.limit, np.full(N, np.array([4, 2, 2, 2]) @ start / 10), rtol=1e-12)


def test_noise_beside_what_is_conserved_is_stationary_and_noise_in_it_is_not():
    W, J = tp.ring(N).dense(), np.full((N, N), 1 / N)
    off = np.eye(N) - J
    beside = recursion(W, Q=off, nodes=N, dim=1)
    np.testing.assert_allclose(beside.covariance, moments(beside, 400)[1], atol=1e-13)
    np.testing.assert_allclose(beside.covariance, W @ beside.covariance @ W.T + off, atol=1e-14)
    within = recursion(W, Q=np.eye(N), nodes=N, dim=1)
    assert np.isnan(within.covariance).all() and np.isnan(within.steady_consensus)
    assert np.isfinite(within.limit).all()


def test_what_drifts_has_no_limit():
    """The mean moves by the same in every round."""
    drifting = recursion(tp.ring(N).dense(), np.ones(N), nodes=N, dim=1)
    assert drifting.rate < 1 and not drifting.converges
    assert np.isnan(drifting.limit).all()
    beside = recursion(tp.ring(N).dense(), np.arange(N) - 1.5, nodes=N, dim=1)
    np.testing.assert_allclose(beside.limit, moments(beside, 400)[0], atol=1e-13)


@pytest.mark.parametrize("away", [1e-7, 1e-10])
def test_an_eigenvalue_near_one_is_not_one(away):
    """Told from what is conserved; the limit is as good as its condition, 1 / away, allows."""
    W = (1 - away) * np.eye(N) + away / N  # the mean is kept, all else shrinks
    start = RNG.normal(size=N)
    slow = recursion(W, start=start, nodes=N, dim=1)
    assert slow.conserved.shape == (N, 1)
    assert 1 - slow.rate == pytest.approx(away, rel=1e-4)
    np.testing.assert_allclose(slow.limit, np.full(N, start.mean()), atol=1e-15 / away)
    shrinking = recursion((1 - away) * np.eye(N), away * start, nodes=N, dim=1)
    assert shrinking.conserved.size == 0 and 1 - shrinking.rate == pytest.approx(away, rel=1e-4)
    np.testing.assert_allclose(shrinking.limit, start, atol=1e-15 / away)


def test_a_large_ring():
    ring = tp.ring(256)
    slow = recursion(ring.dense(), start=np.arange(256.0), nodes=256, dim=1)
    assert slow.conserved.shape == (256, 1)
    assert 1 - slow.rate == pytest.approx(2 / 3 * (1 - np.cos(2 * np.pi / 256)), rel=1e-9)
    np.testing.assert_allclose(slow.limit, 127.5)


@pytest.mark.parametrize(
    ("M", "rate"),
    [
        (np.diag([1.1, 0.5]), 1.1),
        (np.diag([-1.0, 0.5]), 1.0),  # swings for ever
        (np.array([[0.0, -1.0], [1.0, 0.0]]), 1.0),  # turns for ever
        (np.array([[1.0, 1.0], [0.0, 1.0]]), 1.0),  # grows by what is conserved
    ],
)
def test_what_does_not_converge_has_no_steady_state(M, rate):
    lost = recursion(M, np.array([0.1, 0.1]), np.eye(2), np.ones(2), nodes=2, dim=1)
    assert lost.rate == pytest.approx(rate, rel=1e-14) and not lost.converges
    for value in (lost.steady_distance, lost.steady_consensus, lost.steady_mean_error, lost.bias):
        assert np.isnan(value)
    assert np.isfinite(lost.distances(5)).all()


def test_what_swings_for_ever_does_not_converge_for_a_rounding_error():
    """An eigenvalue −1 that comes out a little smaller."""
    found = []
    for _ in range(20):
        V = np.linalg.qr(RNG.normal(size=(N, N)))[0]
        swinging = recursion(V @ np.diag([-1.0, 0.5, 0.2, 0.1]) @ V.T, nodes=N, dim=1)
        assert not swinging.converges and np.isnan(swinging.bias)
        found.append(swinging.rate)
    assert min(found) < 1.0 and max(found) < 1.0 + 1e-14


def test_what_is_exact_after_finitely_many_rounds_has_rate_zero():
    product = np.eye(8)
    for W in tp.one_peer_exponential(8).matrices:
        product = W @ product
    exact = recursion(product, start=np.arange(8.0), nodes=8, dim=1, period=3)
    assert exact.rate == 0.0
    np.testing.assert_allclose(exact.limit, 3.5)
    jump = recursion(np.zeros((2, 2)), np.ones(2), np.eye(2), nodes=2, dim=1)
    assert jump.rate == 0.0 and jump.limit.tolist() == [1.0, 1.0]
    np.testing.assert_array_equal(jump.covariance, np.eye(2))


def test_a_recursion_too_large_for_dense_algebra_is_refused():
    huge = np.broadcast_to(0.0, (4_001, 4_001))  # no memory
    with pytest.raises(
        ValueError, match=r"theory: a recursion over 4,001 numbers is too large .*at most 4,000"
    ):
        recursion(huge)
