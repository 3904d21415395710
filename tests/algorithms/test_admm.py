"""ADMM and decentralised ProxSkip: against plain NumPy, and that they find the optimum."""

import numpy as np
import pytest
import references
import references_accelerated
import references_federated

from dlax import theory
from dlax import topology as tp
from dlax.algorithms import dadmm, decentralized_proxskip, dlm
from dlax.channel import linear
from dlax.problems import least_squares
from dlax.simulate import simulate

pytestmark = pytest.mark.usefixtures("strict_ranks")

N, DIM, ROUNDS = 10, 5, 30
GRAPHS = {"ring": tp.ring(N), "star": tp.star(N)}
PROBLEM = least_squares(N, dim=DIM, samples=20, heterogeneity=3.0)
GRAD = references.least_squares_gradient(PROBLEM)
HESSIANS = references.hessians(PROBLEM)
L = theory.curvature(PROBLEM).smoothness
LR = 0.3 / L
DIRECTED = tp.static_exponential(N)
CHANGING = tp.one_peer_exponential(8)
every_graph = pytest.mark.parametrize("graph", GRAPHS)


def run(algorithm, graph="ring", rounds=ROUNDS, **options):
    topology = GRAPHS[graph]
    return simulate(
        algorithm, PROBLEM, topology, rounds=rounds, eval_every=rounds, precision="float64", **options
    )


def zeros():
    return np.zeros((N, DIM))


@every_graph
def test_dlm(graph):
    W = GRAPHS[graph].dense()
    result = run(dlm, graph, hyper={"lr": 0.03, "penalty": 0.7})
    want = references_accelerated.dlm(GRAD, W, zeros(), lr=0.03, penalty=0.7, rounds=ROUNDS)
    np.testing.assert_allclose(result.params["x"][0], want, atol=1e-10)
    check_one_message_an_edge(result, W)


@every_graph
def test_dadmm(graph):
    W = GRAPHS[graph].dense()
    result = run(dadmm, graph, hyper={"penalty": 0.3})
    want = references_accelerated.dadmm(*HESSIANS, W, zeros(), penalty=0.3, rounds=ROUNDS)
    np.testing.assert_allclose(result.params["x"][0], want, atol=1e-10)
    check_one_message_an_edge(result, W)


def check_one_message_an_edge(result, W):
    edges = np.count_nonzero(W - np.diag(np.diag(W)))
    assert result.rows[-1]["bits_total"] == ROUNDS * edges * DIM * 64


@pytest.mark.parametrize("algorithm", [dlm, dadmm])
def test_nodes_that_start_apart(algorithm):
    """The dual begins at c L X₀: one dual step before the first primal one."""
    starts = np.random.default_rng(0).normal(size=(N, DIM))
    problem, W = PROBLEM._replace(starts={"x": starts}), GRAPHS["ring"].dense()
    hyper = {"lr": 0.03, "penalty": 0.3} if algorithm is dlm else {"penalty": 0.3}
    result = simulate(
        algorithm, problem, GRAPHS["ring"], rounds=5, eval_every=5, precision="float64", hyper=hyper
    )
    if algorithm is dlm:
        want = references_accelerated.dlm(GRAD, W, starts, rounds=5, **hyper)
    else:
        want = references_accelerated.dadmm(*HESSIANS, W, starts, rounds=5, **hyper)
    np.testing.assert_allclose(result.params["x"][0], want, atol=1e-10)


@every_graph
def test_decentralized_proxskip(graph):
    W = GRAPHS[graph].dense()
    hyper = {"lr": LR, "probability": 0.3, "damping": 1.2}
    result = run(decentralized_proxskip, graph, hyper=hyper)
    want = references_federated.decentralized_proxskip(GRAD, W, zeros(), rounds=ROUNDS, seed=0, **hyper)
    np.testing.assert_allclose(result.params["x"][0], want, atol=1e-10)
    edges = np.count_nonzero(W - np.diag(np.diag(W)))
    sent = sum(references_federated.heads(0, t, 0.3) for t in range(ROUNDS))
    assert 0 < sent < ROUNDS
    assert result.rows[-1]["bits_total"] == sent * edges * DIM * 64


@pytest.mark.parametrize(
    ("algorithm", "hyper", "rounds"),
    [
        (dlm, {"lr": 1 / (L + 8.0), "penalty": 1.0}, 1000),  # 2 c λ_max of a ring's Laplacian: 8
        (dadmm, {"penalty": 0.5}, 500),
        (decentralized_proxskip, {"lr": LR, "probability": 0.2}, 3000),
    ],
)
def test_the_optimum_is_reached(algorithm, hyper, rounds):
    assert run(algorithm, rounds=rounds, hyper=hyper).rows[-1]["distance"] < 1e-18


@pytest.mark.parametrize("algorithm", [dlm, dadmm, decentralized_proxskip])
def test_graphs_on_which_they_are_not_valid_are_refused_by_name(algorithm):
    with pytest.raises(
        ValueError,
        match=f"'{algorithm.__name__}' needs a topology that is (undirected|symmetric); 'static_exp",
    ):
        simulate(algorithm(), PROBLEM, DIRECTED, rounds=1)
    with pytest.raises(ValueError, match=f"'{algorithm.__name__}' needs a topology that is .*fixed"):
        simulate(algorithm(), least_squares(8), CHANGING, rounds=1)
    with pytest.raises(ValueError, match=f"'{algorithm.__name__}' needs every node and link in every round"):
        simulate(algorithm(), PROBLEM, GRAPHS["ring"], rounds=1, participation=0.5)


@pytest.mark.parametrize("algorithm", [dlm, dadmm])
def test_lossy_links_are_refused(algorithm):
    with pytest.raises(ValueError, match="state on edges needs a plain channel"):
        simulate(algorithm(), PROBLEM, GRAPHS["ring"], rounds=1, channel=linear(0.1))


def test_dadmm_needs_a_problem_with_a_proximal_step():
    with pytest.raises(ValueError, match="needs a problem with a proximal step, such as quadratic"):
        simulate(dadmm(), PROBLEM._replace(prox=None), GRAPHS["ring"], rounds=1)


def test_options_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"decentralized_proxskip: probability must be in \(0, 1\], got 0"):
        decentralized_proxskip(0.1, 0)
    with pytest.raises(ValueError, match=r"decentralized_proxskip: damping must be at least 1/2, got 0\.4"):
        decentralized_proxskip(0.1, 0.5, 0.4)
