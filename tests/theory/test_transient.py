"""The transient of decaying steps: against the recursion that is not diagonalised, and its own leading order."""

import numpy as np
import pytest

from dlax import theory
from dlax import topology as tp

N = 8
RNG = np.random.default_rng(0)
VALUES = RNG.normal(size=(N, 3))
PAIRS = tp.from_matrix(
    0.5 * (np.roll(np.eye(N), 1, axis=0) + np.roll(np.eye(N), -1, axis=0))
)  # eigenvalue −1
GRAPHS = {"ring": tp.ring(N), "star": tp.star(N), "complete": tp.complete(N), "bipartite": PAIRS}


def loop(W, v, sigma, rounds, shift, scale):
    """Mean [n, d] and node covariance [n, n] of X ← W (X − α (X − V + Ξ)), round by round."""
    n, d = v.shape
    mean, spread = np.zeros((n, d)), np.zeros((n, n))  # of a column, whose noise has variance σ²/d
    network, centre = [], []
    for t in range(rounds + 1):
        off = np.eye(n) - np.full((n, n), 1 / n)
        network.append((np.sum((off @ mean) ** 2) + d * np.trace(off @ spread @ off)) / n)
        centre.append(np.sum((mean.mean(axis=0) - v.mean(axis=0)) ** 2) + d * spread.mean())
        step = scale / (t + shift)
        mean = W @ (mean - step * (mean - v))
        spread = W @ ((1 - step) ** 2 * spread + step**2 * sigma**2 / d * np.eye(n)) @ W.T
    return network, centre


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize(("shift", "scale"), [(2.0, 2.0), (5.0, 1.0)])
def test_the_errors_are_those_of_the_full_recursion(graph, shift, scale):
    topology = GRAPHS[graph]
    got = theory.transient(topology, VALUES, sigma=0.7, rounds=60, shift=shift, scale=scale)
    network, mean = loop(topology.dense(), VALUES, 0.7, 60, shift, scale)
    np.testing.assert_allclose(got.network, network, rtol=1e-11, atol=1e-28)
    np.testing.assert_allclose(got.mean, mean, rtol=1e-12)


def test_the_mean_is_centralized_sgd_whatever_the_graph():
    """x ← x − α (x − v̄ + ξ̄): the squared bias and the variance of one model."""
    bias, variance, want = np.sum(VALUES.mean(axis=0) ** 2), 0.0, []
    for t in range(61):
        want.append(bias + variance)
        step = 2 / (t + 2)
        bias, variance = (1 - step) ** 2 * bias, (1 - step) ** 2 * variance + step**2 / N
    for topology in GRAPHS.values():
        np.testing.assert_allclose(
            theory.transient(topology, VALUES, sigma=1.0, rounds=60).mean, want, rtol=1e-12
        )


def test_one_run_of_the_recursion_is_within_the_expectation():
    """Ten thousand noisy runs in NumPy, at the last of thirty rounds; five standard errors."""
    W, runs, d = GRAPHS["ring"].dense(), 10_000, VALUES.shape[1]
    x = np.zeros((runs, N, d))
    for t in range(30):
        x = W @ (x - 2 / (t + 2) * (x - VALUES + RNG.normal(size=x.shape) / np.sqrt(d)))
    centre = x.mean(axis=1)
    network = np.mean(np.sum((x - centre[:, None]) ** 2, axis=2), axis=1)
    mean = np.sum((centre - VALUES.mean(axis=0)) ** 2, axis=1)
    got = theory.transient(GRAPHS["ring"], VALUES, sigma=1.0, rounds=30)
    for sample, predicted in ((network, got.network[30]), (mean, got.mean[30])):
        assert abs(sample.mean() - predicted) < 5 * sample.std(ddof=1) / np.sqrt(runs) < 0.1 * predicted


def test_where_one_error_takes_over_from_the_other():
    ring = GRAPHS["ring"]
    long = theory.transient(ring, VALUES, sigma=1.0, rounds=2_000)
    rounds = int(long.rounds)
    assert 2 < rounds < 2_000
    assert (long.network[rounds:] <= long.mean[rounds:]).all() and long.network[rounds - 1] > long.mean[
        rounds - 1
    ]
    assert theory.transient(ring, VALUES, sigma=1.0, rounds=rounds).rounds == rounds
    assert theory.transient(ring, VALUES, sigma=1.0, rounds=rounds - 1).rounds == np.inf
    earlier = theory.transient(ring, VALUES, sigma=1.0, rounds=2_000, factor=3.0).rounds
    assert earlier < rounds
    assert theory.transient(tp.complete(N), VALUES, sigma=1.0, rounds=10).rounds == 0
    assert theory.transient(tp.complete(1), np.ones((1, 2)), sigma=1.0, rounds=10).rounds == 0


def slow(n):
    """Values along the slowest eigenvector of a ring, with (1/n) Σ ‖vᵢ‖² = 1."""
    return np.sqrt(2) * np.cos(2 * np.pi * np.arange(n) / n)[:, None]


KINDS = {
    "slow": slow,
    "independent": lambda n: np.random.default_rng(n).normal(size=(n, 16)) / 4,
    "none": lambda n: np.zeros((n, 1)),
}


@pytest.mark.parametrize(("kind", "within"), [("slow", 0.025), ("independent", 0.1), ("none", 0.45)])
def test_long_transients_tend_to_the_leading_order(kind, within):
    """Whatever the step's scale and the factor; the shorter the transient, the more is left out."""
    off = []
    for n in (8, 12, 16):
        values = KINDS[kind](n)
        values = values - values.mean(axis=0)
        leading = theory.transient(tp.ring(n), values, sigma=1.0, rounds=0).leading
        got = theory.transient(tp.ring(n), values, sigma=1.0, rounds=int(1.2 * leading) + 50)
        assert got.leading == leading
        off.append(abs(got.rounds / leading - 1))
    assert off[0] < within and off[0] > off[1] > off[2]
    options = {"scale": 1.0, "shift": 3.0, "factor": 2.0}
    other = theory.transient(tp.ring(12), slow(12), sigma=0.5, rounds=5_000, **options)
    assert other.rounds == pytest.approx(other.leading, rel=0.01)


def test_how_the_transient_grows_on_rings():
    """n⁵ = n / gap² where data vary as slowly as the graph allows; n⁴ and n² otherwise: less than it is said."""
    sizes = np.array([64, 128, 256])
    gaps = np.array([tp.ring(n).spectral_gap for n in sizes])
    for kind, power in (("slow", 5), ("independent", 4), ("none", 2)):
        values = [KINDS[kind](n) for n in sizes]
        centred = [v - v.mean(axis=0) for v in values]
        leading = np.array(
            [
                theory.transient(tp.ring(n), v, sigma=1.0, rounds=0).leading
                for n, v in zip(sizes, centred, strict=True)
            ]
        )
        growth = np.log2(leading[1:] / leading[:-1])
        assert abs(growth[-1] - power) < (0.5 if kind == "independent" else 0.05)  # one draw varies
        constant = leading * gaps**2 / sizes
        if kind == "slow":
            np.testing.assert_allclose(constant, 3.0, rtol=0.01)  # of n / gap²
        else:
            assert (np.diff(constant) < 0).all() and constant[-1] < 1
    assert leading[-1] == pytest.approx(3 / 8 * sizes[-1] ** 2, rel=0.02)  # of "none", the last


def test_the_leading_order_is_infinite_where_the_errors_never_cross():
    assert theory.transient(tp.ring(N), VALUES, sigma=0.0, rounds=10).leading == np.inf
    assert theory.transient(tp.ring(N), VALUES, sigma=1.0, rounds=10, scale=0.5, shift=1.0).leading == np.inf
    assert theory.transient(PAIRS, VALUES, sigma=1.0, rounds=10).leading == np.inf


TWO = tp.from_matrix(np.kron(np.eye(2), tp.ring(4).dense()), allow_disconnected=True)


@pytest.mark.parametrize(
    ("topology", "values", "options", "message"),
    [
        (tp.static_exponential(N), VALUES, {}, "needs a fixed, connected, symmetric and doubly stochastic"),
        (tp.cyclic(N, members=(tp.ring, tp.star)), VALUES, {}, "needs a fixed, connected"),
        (tp.star(N, weights=tp.uniform_neighbour()), VALUES, {}, "needs a fixed, connected"),
        (TWO, VALUES, {}, "needs a fixed, connected"),
        (tp.ring(6), VALUES, {}, r"values must be \[n, d\] with n = 6, got shape \(8, 3\)"),
        (tp.ring(N), VALUES[:, 0], {}, r"values must be \[n, d\] with n = 8, got shape \(8,\)"),
        (tp.ring(N), VALUES, {"scale": 3.0}, r"scale must be in \(0, shift\], got 3.0 and 2.0"),
        (tp.ring(N), VALUES, {"scale": 0.0}, r"scale must be in \(0, shift\]"),
        (tp.ring(N), VALUES, {"rounds": -1}, "rounds must be at least 0"),
        (tp.ring(N), VALUES, {"sigma": -1.0}, "sigma must be at least 0"),
        (tp.ring(N), VALUES, {"factor": 0.0}, "factor must be positive"),
    ],
)
def test_what_does_not_fit_is_refused(topology, values, options, message):
    with pytest.raises(ValueError, match=f"theory: .*{message}"):
        theory.transient(topology, values, **{"sigma": 1.0, "rounds": 5} | options)
