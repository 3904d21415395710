"""How fast gossip averages: predictions against dense products, polynomials and runs."""

import numpy as np
import pytest
import references

from dlax import theory
from dlax import topology as tp
from dlax.algorithms import chebyshev_gossip, push_sum, second_order_gossip
from dlax.problems import average, average_of
from dlax.simulate import simulate

N = 8
SEQUENCES = {
    "ring": tp.ring(N),
    "star": tp.star(N),
    "exponential": tp.static_exponential(N),
    "one-peer": tp.one_peer_exponential(N),
    "in turns": tp.cyclic(N, members=(tp.ring, tp.star, tp.static_exponential)),
    "even and odd": tp.one_peer_exponential(6),  # never exact
}


@pytest.mark.parametrize("graph", SEQUENCES)
@pytest.mark.parametrize("rounds", [0, 1, 2, 5])
def test_contraction_is_the_norm_of_the_product(graph, rounds):
    topology = SEQUENCES[graph]
    n, product = topology.n, np.eye(topology.n)
    for t in range(rounds):
        product = topology.dense(t) @ product
    want = np.linalg.svd(product - np.full((n, n), 1 / n), compute_uv=False)[0]
    assert theory.contraction(topology, rounds) == pytest.approx(want, rel=1e-12, abs=1e-15)


def test_contraction_holds_for_every_start_and_is_met():
    topology = SEQUENCES["exponential"]
    product = np.linalg.matrix_power(topology.dense(), 4)
    off = np.eye(N) - 1 / N
    starts = np.random.default_rng(0).normal(size=(N, 200))
    ratios = np.linalg.norm(off @ product @ starts, axis=0) / np.linalg.norm(off @ starts, axis=0)
    assert ratios.max() <= theory.contraction(topology, 4)
    worst = np.linalg.svd(product - 1 / N)[2][0]
    assert np.linalg.norm(off @ product @ worst) == pytest.approx(theory.contraction(topology, 4), rel=1e-12)


def test_contraction_of_one_node_and_of_a_large_ring():
    assert theory.contraction(tp.complete(1), 0) == theory.contraction(tp.complete(1), 3) == 0.0
    gap = 2 / 3 * (1 - np.cos(2 * np.pi / 10_000))
    assert theory.contraction(tp.ring(10_000), 5) == pytest.approx((1 - gap) ** 5, rel=1e-12)


# ------------------------------------------------------------------------------------- Chebyshev, second order

GAPS = [1.0, 0.9, 0.3, 1e-2, 1e-6]


@pytest.mark.parametrize("gap", GAPS)
@pytest.mark.parametrize("rounds", [0, 1, 2, 7, 40])
def test_chebyshev_contraction_is_the_worst_of_its_polynomial(gap, rounds):
    rho = 1 - gap
    if rho == 0:
        assert theory.chebyshev_contraction(gap, rounds) == float(rounds == 0)
        return
    eigenvalues = np.linspace(-rho, rho, 401)
    top = references.chebyshev(rounds, 1 / rho)
    worst = max(abs(references.chebyshev(rounds, value / rho)) for value in eigenvalues) / top
    assert theory.chebyshev_contraction(gap, rounds) == pytest.approx(worst, rel=1e-9)


@pytest.mark.parametrize("gap", GAPS)
@pytest.mark.parametrize("rounds", [0, 1, 2, 7, 40])
def test_second_order_contraction_is_the_worst_of_its_recursion(gap, rounds):
    rho = 1 - gap
    omega = 2 / (1 + np.sqrt(1 - rho**2))
    eigenvalues = np.linspace(-rho, rho, 401)
    old, new = np.ones_like(eigenvalues), eigenvalues
    factors = [old, new]
    for _ in range(rounds):
        old, new = new, omega * eigenvalues * new + (1 - omega) * old
        factors.append(new)
    worst = np.abs(factors[rounds]).max()
    # 1 − ρ² cancels in the loop above, not in the closed form.
    assert theory.second_order_contraction(gap, rounds) == pytest.approx(worst, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("rounds", [1, 10, 1_000])
def test_both_stay_accurate_at_tiny_gaps(rounds):
    """Where 1/ρ and 1 − ρ² would cancel: the first orders in x = k √(2 gap)."""
    x = rounds * np.sqrt(2 * 1e-14)
    assert theory.chebyshev_contraction(1e-14, rounds) == pytest.approx(1 - x**2 / 2, abs=3e-16)
    assert theory.second_order_contraction(1e-14, rounds) == pytest.approx(1 - x**2 / 2 + x**3 / 3, abs=3e-16)
    assert theory.chebyshev_contraction(1e-8, 10**6) == pytest.approx(
        2 * np.exp(-np.sqrt(2e-8) * 1e6), rel=1e-6
    )


@pytest.mark.parametrize(
    ("algorithm", "contraction"),
    [
        (chebyshev_gossip, theory.chebyshev_contraction),
        (second_order_gossip, theory.second_order_contraction),
    ],
)
def test_accelerated_runs_from_the_slowest_eigenvector_meet_the_contraction(algorithm, contraction):
    ring = tp.ring(16)
    eigenvalues, vectors = np.linalg.eigh(ring.dense() - 1 / 16)
    slowest = vectors[:, [np.argmax(np.abs(eigenvalues))]]
    run = simulate(
        algorithm(), average_of(slowest), ring, rounds=40, eval_every=1, precision="float64"
    ).to_pandas()
    got = np.sqrt(run["consensus"] * 16)  # the start has norm 1
    want = [contraction(ring.spectral_gap, k) for k in range(41)]
    np.testing.assert_allclose(got, want, rtol=1e-10)
    np.testing.assert_array_less(want[5:], theory.contraction(ring, 5))  # faster than plain gossip


def test_acceleration_takes_the_root_of_the_gap():
    for gap in (1e-2, 1e-4):
        plain = theory.rounds_to(1 - gap, 1e-6)
        fast = np.argmax([theory.chebyshev_contraction(gap, k) <= 1e-6 for k in range(10_000)])
        assert fast == pytest.approx(plain * np.sqrt(gap / 2), rel=0.1)


# ---------------------------------------------------------------------------------------------------- push-sum


def push_weights(arrows):
    """Column-stochastic P: node j splits what it has evenly between itself and those it sends to."""
    P = np.eye(N)
    for j, i in arrows:
        P[i, j] = 1.0
    return P / P.sum(axis=0)


CIRCLE = [(i, (i + 1) % N) for i in range(N)]
PUSH = tp.from_matrix(push_weights([*CIRCLE, (0, 3), (4, 2), (0, 6)]), allow_column=True)
TURNS = tp.from_matrix(
    [push_weights([*CIRCLE[:5], (2, 7)]), push_weights([*CIRCLE[5:], (3, 0), (7, 3)])], allow_column=True
)


@pytest.mark.parametrize("topology", [PUSH, TURNS], ids=["fixed", "in turns"])
def test_push_sum_rate_is_the_slope_of_a_run(topology):
    rate = theory.push_sum_rate(topology)
    start = np.random.default_rng(0).normal(size=(N, 2))
    error = [
        np.linalg.norm(references.push_sum(topology.dense, start, rounds=t) - start.mean(axis=0))
        for t in (40, 80)
    ]
    # The second eigenvalues are complex: the error winds around its slope, by less than half.
    assert (error[1] / error[0]) ** (1 / 40) == pytest.approx(rate, rel=1e-2)
    assert 0.3 < rate < 0.9


def test_push_sum_rate_is_the_slope_of_a_compiled_run():
    """On a path whose ends keep more; its eigenvalues are real, so that the slope settles."""
    path = tp.from_matrix(tp.path(N, weights=tp.uniform_neighbour()).dense().T, allow_column=True)
    run = simulate(push_sum(), average(N, dim=2), path, rounds=300, eval_every=100, precision="float64")
    error = np.sqrt(run.to_pandas()["distance"].to_numpy())
    assert (error[3] / error[2]) ** (1 / 100) == pytest.approx(theory.push_sum_rate(path), rel=1e-7)


def test_push_sum_rate_in_known_cases():
    assert theory.push_sum_rate(tp.complete(1)) == 0.0
    assert theory.push_sum_rate(tp.complete(N)) == 0.0
    assert theory.push_sum_rate(tp.one_peer_exponential(N)) == 0.0  # exact after a period
    assert theory.push_sum_rate(tp.ring(N)) == pytest.approx(1 - tp.ring(N).spectral_gap, rel=1e-12)
    turning = tp.from_matrix(np.roll(np.eye(N), 1, axis=0))
    assert theory.push_sum_rate(turning) == pytest.approx(1.0, rel=1e-12)


# ------------------------------------------------------------------------------------------------------ counts


def test_rounds_to():
    assert theory.rounds_to(0.5, 0.125) == pytest.approx(3.0)
    assert theory.rounds_to(0.9, 1.0) == theory.rounds_to(1.5, 1.0) == theory.rounds_to(0.0, 0.1) == 0.0
    assert theory.rounds_to(1.0, 0.5) == theory.rounds_to(1.1, 0.5) == np.inf


def spread(n, form, rng):
    """Rounds until everybody knows, everybody calling one other."""
    knows, rounds = np.arange(n) == 0, 0
    while not knows.all():
        callee = (np.arange(n) + rng.integers(1, n, size=n)) % n
        told = knows.copy()
        told[callee[knows]] = True
        if form == "push_pull":
            told |= knows[callee]
        knows, rounds = told, rounds + 1
    return rounds


@pytest.mark.parametrize("form", ["push", "push_pull"])
def test_rumours_take_the_leading_terms_and_little_more(form):
    """The difference is bounded for "push"; for "push_pull" it grows with log log n."""
    rng = np.random.default_rng(0)
    sizes = [256, 4_096]
    excess = [
        np.mean([spread(n, form, rng) for _ in range(100)]) - theory.rumour_rounds(n, form) for n in sizes
    ]
    bound = 2.0 if form == "push" else 2.0 * np.log(np.log(4_096))
    assert all(0 < e < bound for e in excess)
    assert abs(excess[1] - excess[0]) < 1.0  # while the terms themselves grow by 6.8 and by 2.5
    assert theory.rumour_rounds(1, form) == 0.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.contraction(tp.ring(N), -1), "rounds must be at least 0"),
        (lambda: theory.contraction(tp.star(N, weights=tp.uniform_neighbour())), "needs doubly stochastic"),
        (
            lambda: theory.contraction(tp.random_pairwise(N)),
            "needs doubly stochastic matrices in a known order",
        ),
        (lambda: theory.contraction(tp.static_exponential(2_001)), "at most 2,000 nodes here, got 2001"),
        (lambda: theory.chebyshev_contraction(0.0, 1), r"gap must be in \(0, 1\], got 0.0"),
        (lambda: theory.chebyshev_contraction(0.5, -1), "rounds must be at least 0"),
        (lambda: theory.second_order_contraction(1.5, 1), r"gap must be in \(0, 1\], got 1.5"),
        (lambda: theory.push_sum_rate(tp.star(N, weights=tp.uniform_neighbour())), "needs column-stochastic"),
        (
            lambda: theory.push_sum_rate(tp.random_pairwise(N)),
            "needs column-stochastic matrices in a known order",
        ),
        (lambda: theory.rounds_to(0.5, 0.0), r"factor in \(0, 1\], got 0.5 and 0.0"),
        (lambda: theory.rounds_to(np.nan, 0.5), "rate must be at least 0"),
        (lambda: theory.rumour_rounds(0), "n must be at least 1, got 0"),
        (lambda: theory.rumour_rounds(8, "pull"), "form must be 'push' or 'push_pull', got 'pull'"),
    ],
)
def test_what_is_out_of_range_is_refused(call, message):
    with pytest.raises(ValueError, match=f"theory: .*{message}"):
        call()
