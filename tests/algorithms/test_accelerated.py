"""Accelerated methods: against plain NumPy, that they find the optimum, and that they are accelerated."""

from functools import partial

import numpy as np
import pytest
import references
import references_accelerated

from dlax import theory
from dlax import topology as tp
from dlax.algorithms import adom_plus, apm, decentralized_proxskip, msda, mudag
from dlax.problems import least_squares, quadratic
from dlax.simulate import simulate

pytestmark = pytest.mark.usefixtures("strict_ranks")

N, DIM, ROUNDS = 10, 5, 30
RING, STAR, COMPLETE = tp.ring(N), tp.star(N), tp.complete(N)
CHANGING = tp.from_matrix([RING.dense(), STAR.dense()], name="changing")
PROBLEM = least_squares(N, dim=DIM, samples=20, heterogeneity=3.0)
GRAD = references.least_squares_gradient(PROBLEM)
HESSIANS = references.hessians(PROBLEM)
L, MU = theory.curvature(PROBLEM)[:2]
HYPER = {"smoothness": L, "strong_convexity": MU}
REFERENCE = {"L": L, "mu": MU}
ZEROS = np.zeros((N, DIM))
MUDAG = partial(mudag, mixes=4)
MULTI = partial(adom_plus, multi_consensus=True)


def run(algorithm, topology=RING, rounds=ROUNDS, problem=PROBLEM, **options):
    options = {"eval_every": rounds, "hyper": HYPER, **options}
    return simulate(algorithm, problem, topology, rounds=rounds, precision="float64", **options)


def check(result, want, messages, topology=RING):
    """The models, and what was sent: so many models along every directed edge, in all rounds together."""
    np.testing.assert_allclose(result.params["x"][0], want, atol=1e-10)
    assert result.rows[-1]["bits_total"] == messages * len(topology.edges) * DIM * 64


def test_mudag():
    result = run(MUDAG)
    want = references_accelerated.mudag(GRAD, RING.dense(), ZEROS, mixes=4, rounds=ROUNDS, **REFERENCE)
    check(result, want, 4 * ROUNDS)


def test_apm():
    W, growth = STAR.dense(), 0.8
    result = run(apm, STAR, hyper=HYPER | {"growth": growth})
    want = references_accelerated.apm(GRAD, W, ZEROS, growth=growth, rounds=ROUNDS, **REFERENCE)
    mixes = [references_accelerated.apm_mixes(W, k + 1, growth=growth, **REFERENCE) for k in range(ROUNDS)]
    assert mixes[0] < mixes[-1]
    check(result, want, sum(mixes), STAR)


def test_a_sweep_mixes_each_run_as_often_as_it_needs():
    """T_k then differs between the runs of one compiled program."""
    growths = [0.4, 1.1]
    result = run(apm, rounds=10, hyper=HYPER | {"growth": growths})
    W = RING.dense()
    for r, growth in enumerate(growths):
        want = references_accelerated.apm(GRAD, W, ZEROS, growth=growth, rounds=10, **REFERENCE)
        np.testing.assert_allclose(result.params["x"][r], want, atol=1e-10)
        mixes = [references_accelerated.apm_mixes(W, k + 1, growth=growth, **REFERENCE) for k in range(10)]
        row = next(row for row in result.rows if row["growth"] == growth and row["round"] == 10)
        assert row["bits_node"] == 2 * sum(mixes) * DIM * 64


@pytest.mark.parametrize("mixes", [None, 4])
def test_msda(mixes):
    """The reference has the Laplacian over its number of edges for gossip matrix, as the authors do."""
    gossip = references_accelerated.graph_laplacian(RING.dense()) / N
    result = run(msda if mixes is None else partial(msda, mixes=mixes))
    want = references_accelerated.msda(*HESSIANS, gossip, mixes=mixes, rounds=ROUNDS, **REFERENCE)
    check(result, want, (mixes or 3) * ROUNDS)


def test_msda_on_unequal_weights():
    result = run(msda, STAR)
    want = references_accelerated.msda(*HESSIANS, np.eye(N) - STAR.dense(), rounds=ROUNDS, **REFERENCE)
    np.testing.assert_allclose(result.params["x"][0], want, atol=1e-10)


def test_msda_over_the_complete_graph_mixes_once():
    """Where Chebyshev's coefficients would be infinite."""
    result = run(msda, COMPLETE, rounds=200)
    assert result.rows[-1]["distance"] < 1e-18
    assert result.rows[-1]["bits_node"] == 200 * (N - 1) * DIM * 64


def test_adom_plus():
    chi = 1 / (1 - np.linalg.norm(RING.dense() - 1 / N, 2))
    want = references_accelerated.adom_plus(GRAD, RING.dense, ZEROS, chi=chi, rounds=ROUNDS, **REFERENCE)
    check(run(adom_plus), want, 2 * ROUNDS)


def test_adom_plus_with_the_laplacian_is_the_authors():
    """W = I − L/λ_max has the gap λ_min⁺/λ_max = 1/χ."""
    laplacian = references_accelerated.graph_laplacian(RING.dense())
    eigenvalues = np.linalg.eigvalsh(laplacian)
    topology = tp.ring(N, weights=tp.laplacian(step=1 / eigenvalues[-1]))
    chi = eigenvalues[-1] / eigenvalues[1]
    want = references_accelerated.adom_plus(GRAD, topology.dense, ZEROS, chi=chi, rounds=ROUNDS, **REFERENCE)
    check(run(adom_plus, topology), want, 2 * ROUNDS)


def test_adom_plus_over_changing_graphs():
    gaps = [1 - np.linalg.norm(CHANGING.dense(t) - 1 / N, 2) for t in range(2)]
    result = run(adom_plus, CHANGING)
    want = references_accelerated.adom_plus(
        GRAD, CHANGING.dense, ZEROS, chi=1 / min(gaps), rounds=ROUNDS, **REFERENCE
    )
    np.testing.assert_allclose(result.params["x"][0], want, atol=1e-10)


def test_adom_plus_with_multi_consensus():
    chi = 1 / (1 - np.linalg.norm(RING.dense() - 1 / N, 2))
    consensus = int(np.ceil(chi * np.log(2)))
    assert consensus > 2
    result = run(MULTI)
    want = references_accelerated.adom_plus(
        GRAD, RING.dense, ZEROS, chi=chi, consensus=consensus, rounds=ROUNDS, **REFERENCE
    )
    check(result, want, 2 * consensus * ROUNDS)


@pytest.mark.parametrize(
    ("algorithm", "rounds", "topology"),
    [
        (MUDAG, 300, RING),
        (apm, 100, RING),
        (msda, 300, RING),
        (adom_plus, 10_000, RING),
        (adom_plus, 14_000, CHANGING),
        (MULTI, 3000, RING),
    ],
    ids=["mudag", "apm", "msda", "adom_plus", "adom_plus-changing", "adom_plus-multi_consensus"],
)
def test_the_optimum_is_reached(algorithm, rounds, topology):
    assert run(algorithm, topology, rounds=rounds).rows[-1]["distance"] < 1e-18


QUADRATICS = {kappa: quadratic(N, dim=DIM, condition=kappa, hessian="common") for kappa in (25.0, 400.0)}


def rounds_to(algorithm, kappa, hyper, rounds=500, eval_every=4):
    """Rounds until the distance is below 1e-10."""
    problem, like = QUADRATICS[kappa], QUADRATICS[25.0]
    problem = like._replace(local=problem.local, shared=problem.shared, optimum=problem.optimum)
    result = run(algorithm, rounds=rounds, problem=problem, hyper=hyper, eval_every=eval_every)
    return next(row["round"] for row in result.rows if row["distance"] < 1e-10)


@pytest.mark.parametrize("algorithm", [msda, mudag, apm])
def test_rounds_go_with_the_root_of_the_condition_number(algorithm):
    quick, slow = (
        rounds_to(algorithm, kappa, {"smoothness": 1.0, "strong_convexity": 1 / kappa})
        for kappa in QUADRATICS
    )
    assert 3.3 < slow / quick < 4.7  # √16 = 4
    assert slow < 400


def test_without_acceleration_they_go_with_the_condition_number():
    """Exact diffusion with the step 1/L: decentralised ProxSkip that never skips."""
    hyper = {"lr": 1.0, "probability": 1.0}
    quick, slow = (rounds_to(decentralized_proxskip, kappa, hyper, 5000, 20) for kappa in QUADRATICS)
    assert 13 < slow / quick < 19  # 16
    assert slow > 4000


@pytest.mark.parametrize("algorithm", [mudag, apm, msda, adom_plus])
def test_graphs_on_which_they_are_not_valid_are_refused_by_name(algorithm):
    name = algorithm.__name__
    with pytest.raises(ValueError, match=f"'{name}' needs a topology that is symmetric; 'static_exp"):
        run(algorithm, tp.static_exponential(N))
    with pytest.raises(ValueError, match=f"'{name}' needs every node and link in every round"):
        run(algorithm, participation=0.5)
    if algorithm is not adom_plus:
        with pytest.raises(ValueError, match=f"'{name}' needs a topology that is fixed; 'changing'"):
            run(algorithm, CHANGING)


def test_adom_plus_asks_for_chi_where_it_is_not_known():
    with pytest.raises(ValueError, match="random_pairwise: the worst gap over all draws is not known"):
        run(adom_plus, tp.random_pairwise(N))
    result = run(adom_plus, tp.random_pairwise(N), hyper=HYPER | {"chi": 20.0})
    assert np.isfinite(result.params["x"]).all()


def test_adom_plus_refuses_rounds_that_do_not_contract():
    with pytest.raises(
        ValueError, match="pairs: the worst gap is 0: some round on its own does not contract"
    ):
        run(adom_plus, tp.from_matrix([RING.dense(), np.eye(N)], name="pairs"))


def test_msda_needs_a_problem_with_conjugates():
    with pytest.raises(
        ValueError, match="needs a problem with a gradient of the conjugate, such as quadratic"
    ):
        run(msda, problem=PROBLEM._replace(conjugate=None))


def test_options_out_of_range_are_refused():
    with pytest.raises(ValueError, match="mudag: mixes must be at least 1, got 0"):
        mudag(mixes=0)
    with pytest.raises(ValueError, match="msda: mixes must be at least 1, got 0"):
        msda(mixes=0)
    with pytest.raises(ValueError, match=r"adom_plus: chi must be at least 1, got 0\.5"):
        adom_plus(1.0, 0.1, 0.5)
