"""Methods with a server, run through the complete graph: against plain NumPy, and whether they find the optimum."""

from functools import partial

import numpy as np
import pytest
import references
import references_federated

from dlax import theory
from dlax import topology as tp
from dlax.algorithms import fedavg, fedopt, fedprox, proxskip, scaffold
from dlax.optimizers import OPTIMIZERS
from dlax.problems import least_squares, quadratic
from dlax.simulate import simulate

pytestmark = pytest.mark.usefixtures("strict_ranks")

N, DIM, ROUNDS = 10, 5, 12
COMPLETE = tp.complete(N)
PROBLEM = least_squares(N, dim=DIM, samples=20, heterogeneity=3.0)
GRAD = references.least_squares_gradient(PROBLEM)
CURVATURE = theory.curvature(PROBLEM)
LR = 0.3 / CURVATURE.smoothness
MODEL_BITS = DIM * 64 * (N - 1)


def run(algorithm, rounds=ROUNDS, problem=PROBLEM, **options):
    options = {"eval_every": rounds, **options}
    return simulate(algorithm, problem, COMPLETE, rounds=rounds, precision="float64", **options)


def models(result):
    return result.params["x"][0]


def zeros():
    return np.zeros((N, DIM))


@pytest.mark.parametrize("local_steps", [1, 4])
def test_fedprox(local_steps):
    result = run(partial(fedprox, local_steps=local_steps), hyper={"lr": LR, "proximal": 0.7})
    want = references_federated.fedprox(
        GRAD, zeros(), lr=LR, proximal=0.7, rounds=ROUNDS, local_steps=local_steps
    )
    np.testing.assert_allclose(models(result), want, atol=1e-10)


def test_fedprox_does_not_push():
    with pytest.raises(ValueError, match="fedprox: proximal must be at least 0 and finite, got -1"):
        fedprox(proximal=-1.0)


def test_fedprox_without_a_pull_is_fedavg():
    ours, theirs = run(fedprox(LR, 0.0)), run(fedavg(LR))
    np.testing.assert_allclose(models(ours), models(theirs), atol=1e-14)


@pytest.mark.parametrize("local_steps", [1, 4])
def test_scaffold(local_steps):
    result = run(partial(scaffold, local_steps=local_steps), hyper={"lr": LR, "server_lr": 0.8})
    want = references_federated.scaffold(
        GRAD, zeros(), lr=LR, server_lr=0.8, rounds=ROUNDS, local_steps=local_steps
    )
    np.testing.assert_allclose(models(result), want, atol=1e-10)


def test_scaffold_stands_still_where_the_step_size_is_zero():
    result = run(partial(scaffold, local_steps=4), hyper={"lr": 0.0})
    np.testing.assert_array_equal(models(result), 0.0)


@pytest.mark.parametrize("seed", [0, 3])
def test_proxskip(seed):
    result = run(proxskip, 40, hyper={"lr": LR, "probability": 0.3}, seeds=[seed])
    want = references_federated.proxskip(GRAD, zeros(), lr=LR, probability=0.3, rounds=40, seed=seed)
    np.testing.assert_allclose(models(result), want, atol=1e-10)
    sent = sum(references_federated.heads(seed, t, 0.3) for t in range(40))
    assert 0 < sent < 40
    assert result.rows[-1]["bits_node"] == sent * MODEL_BITS


SERVERS = {
    "FedAvgM": (
        OPTIMIZERS["sgd"](momentum=0.9),
        lambda lr: references_federated.Momentum(lr, 0.9),
    ),
    "FedAdam": (
        OPTIMIZERS["adam"](b2=0.99, eps=1e-3),
        lambda lr: references_federated.Adaptive(lr, 0.9, 0.99, 1e-3, yogi=False),
    ),
    "FedYogi": (
        OPTIMIZERS["yogi"](b2=0.99, eps=1e-3),
        lambda lr: references_federated.Adaptive(lr, 0.9, 0.99, 1e-3, yogi=True),
    ),
}


@pytest.mark.parametrize("name", SERVERS)
def test_fedopt(name):
    server, reference = SERVERS[name]
    result = run(partial(fedopt, server=server, local_steps=3), hyper={"lr": LR, "server_lr": 0.1})
    want = references_federated.fedopt(
        GRAD, zeros(), lr=LR, server=reference(0.1), rounds=ROUNDS, local_steps=3
    )
    np.testing.assert_allclose(models(result), want, atol=1e-10)


def test_fedopt_with_plain_sgd_is_fedavg():
    np.testing.assert_allclose(models(run(fedopt(LR))), models(run(fedavg(LR))), atol=1e-14)


# ------------------------------------------------------------------------------------- where they come to rest


def errors(result):
    return [row["distance"] for row in result.rows]


def test_scaffold_and_proxskip_are_exact():
    assert errors(run(scaffold, 1500, hyper={"lr": LR / 5}))[-1] < 1e-18
    assert errors(run(proxskip, 1500, hyper={"lr": LR, "probability": 0.2}))[-1] < 1e-18


def drift_bias(local_steps, lr, pull):
    """‖x − x*‖² where local steps and the mean stand still: one linear system."""
    H, h = references.hessians(PROBLEM)
    total, constant = np.eye(DIM), np.zeros(DIM)
    for i in range(N):
        # v ← (1 − lr μ) v − lr (H v − h) + lr μ x, K times from v = x
        step, power, shift = np.eye(DIM) - lr * (H[i] + pull * np.eye(DIM)), np.eye(DIM), np.zeros((DIM, DIM))
        for _ in range(local_steps):
            power, shift = step @ power, step @ shift + np.eye(DIM)
        total = total - (power + lr * pull * shift) / N
        constant = constant + lr * shift @ h[i] / N
    return np.sum((np.linalg.solve(total, constant) - PROBLEM.optimum["x"]) ** 2)


@pytest.mark.parametrize("pull", [0.0, 2.0, 10.0])
def test_fedprox_plateaus_at_the_bias_of_its_local_steps(pull):
    result = run(
        partial(fedprox, local_steps=20), 2000, hyper={"lr": LR / 3, "proximal": pull}, eval_every=500
    )
    predicted = drift_bias(20, LR / 3, pull)
    assert errors(result)[-1] == pytest.approx(predicted, rel=1e-6)
    assert errors(result)[-2] == pytest.approx(predicted, rel=1e-6)
    assert 1e-5 < predicted < 1


def test_the_pull_lowers_the_bias():
    biases = [drift_bias(20, LR / 3, pull) for pull in (0.0, 2.0, 10.0)]
    assert biases[0] > 1.5 * biases[1] > 5 * biases[2]


def test_fedavg_plateaus_at_the_order_of_its_step_size():
    """The note has 2.5e-4 for such a problem at K = 5 and lr 0.06/L."""
    tail = errors(run(fedavg, 1500, hyper={"lr": LR / 5}, eval_every=500))[-2:]
    assert tail[0] == pytest.approx(tail[1], rel=1e-9)
    assert 1e-5 < tail[1] < 1e-2
    assert tail[1] == pytest.approx(drift_bias(5, LR / 5, 0.0), rel=1e-6)


def test_scaffold_sends_twice_what_fedavg_does():
    assert run(fedavg(LR)).rows[-1]["bits_node"] == ROUNDS * MODEL_BITS
    assert run(scaffold(LR)).rows[-1]["bits_node"] == 2 * ROUNDS * MODEL_BITS


QUADRATICS = {kappa: quadratic(N, dim=DIM, condition=kappa, hessian="common") for kappa in (25.0, 400.0)}


def communications(kappa, probability):
    """Rounds with communication until the distance is below 1e-10, on average over seeds."""
    problem, like = QUADRATICS[kappa], QUADRATICS[25.0]
    problem = like._replace(local=problem.local, shared=problem.shared, optimum=problem.optimum)
    options = {"hyper": {"lr": 1.0, "probability": probability}, "eval_every": 20, "seeds": 4}
    rows = run(proxskip, 6000, problem, **options).rows
    reached = [row for row in rows if row["distance"] < 1e-10]
    firsts = [next(row["bits_node"] for row in reached if row["seed"] == seed) for seed in range(4)]
    return np.mean(firsts) / MODEL_BITS


def test_proxskip_communicates_like_the_root_of_the_condition_number():
    skipping = [communications(kappa, 1 / np.sqrt(kappa)) for kappa in QUADRATICS]
    always = [communications(kappa, 1.0) for kappa in QUADRATICS]
    assert 3 < skipping[1] / skipping[0] < 5  # √16 = 4
    assert 13 < always[1] / always[0] < 19  # 16
    assert skipping[1] < always[1] / 10


@pytest.mark.parametrize("algorithm", [fedprox, fedopt, scaffold, proxskip])
def test_other_graphs_are_refused_by_name(algorithm):
    with pytest.raises(
        ValueError, match=f"'{algorithm.__name__}' needs a topology that is complete; 'ring' is"
    ):
        simulate(algorithm(), PROBLEM, tp.ring(N), rounds=1)


@pytest.mark.parametrize("algorithm", [fedopt, scaffold, proxskip])
def test_sleeping_nodes_are_refused(algorithm):
    with pytest.raises(ValueError, match=f"'{algorithm.__name__}' needs every node and link in every round"):
        simulate(algorithm(), PROBLEM, COMPLETE, rounds=1, participation=0.5)


@pytest.mark.parametrize("probability", [0.0, 1.5])
def test_a_coin_outside_its_range_is_refused(probability):
    with pytest.raises(ValueError, match=rf"proxskip: probability must be in \(0, 1\], got {probability}"):
        proxskip(0.1, probability)
