"""What an algorithm's own code does to its state, against the closed predictions, polynomials and runs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlax import theory
from dlax import topology as tp
from dlax.algorithms import (
    ALGORITHMS,
    centralized_sgd,
    chebyshev_gossip,
    dadmm,
    decentralized_proxskip,
    dsgd,
    fedavg,
    gossip,
    gradient_tracking,
    local_only,
    msda,
    push_sum,
    second_order_gossip,
)
from dlax.channel import extremum, linear, median, running_sums
from dlax.optimizers import OPTIMIZERS, inverse, steps
from dlax.problems import average, quadratic
from dlax.simulate import simulate
from dlax.types import Problem

N, DIM, LR = 8, 3, 0.05
RING, COMPLETE = tp.ring(N), tp.complete(N)
PLAIN, NOISY = quadratic(N, dim=DIM), quadratic(N, dim=DIM, noise=1.0)
RHO = 1 - RING.spectral_gap


def check_same(got, want, rounds=12):
    """Models, rates and steady states; `got` may start later and hold more than the models."""
    size = N * DIM
    assert got.rate == pytest.approx(want.rate, rel=1e-10)
    np.testing.assert_allclose(got.limit[:size], want.limit[:size], atol=1e-12)
    np.testing.assert_allclose(got.covariance[:size, :size], want.covariance[:size, :size], atol=1e-15)
    assert got.steady_distance == pytest.approx(want.steady_distance, rel=1e-10, abs=1e-24)
    if got.noise is None:  # else the first rounds differ: it starts without a variance
        skipped = got.first // got.period
        np.testing.assert_allclose(got.distances(rounds), want.distances(rounds)[skipped:], rtol=1e-10)


@pytest.mark.parametrize(
    ("problem", "topology"),
    [
        (PLAIN, tp.one_peer_exponential(N)),
        (NOISY, tp.one_peer_exponential(N)),
        (NOISY, tp.static_exponential(N)),
    ],
    ids=["exact, cyclic", "noisy, cyclic", "noisy, directed"],
)
def test_it_finds_what_the_closed_forms_say(problem, topology):
    order = "combine_while_adapt"
    got = theory.linearize(dsgd, problem, topology, hyper={"lr": LR})
    check_same(got, theory.dsgd(problem, topology, lr=LR))
    assert got.conserved.size == 0 and got.first == (3 if topology.period == 3 else 2)
    check_same(
        theory.linearize(dsgd(LR, order=order), problem, topology),
        theory.dsgd(problem, topology, lr=LR, order=order),
    )
    tracking = theory.linearize(gradient_tracking(LR), problem, topology)
    check_same(tracking, theory.gradient_tracking(problem, topology, lr=LR))
    assert tracking.conserved.shape == (3 * N * DIM, DIM)  # the mean of y − g


def second_order(gap):
    root = np.sqrt(gap * (2 - gap))
    return (1 - gap) / (1 + root)


EXPECTED = {  # an algorithm, its graph, the rate, and how much is conserved of how much
    "dsgd": (dsgd(LR), RING, theory.dsgd(PLAIN, RING, lr=LR).rate, 0, 1),
    "gradient_tracking": (
        gradient_tracking(LR),
        RING,
        theory.gradient_tracking(PLAIN, RING, lr=LR).rate,
        DIM,
        3,
    ),
    "local_only": (local_only(LR), RING, 1 - LR / 10, 0, 1),
    "centralized_sgd": (
        centralized_sgd(LR),
        RING,
        theory.centralized_sgd(PLAIN, lr=LR).rate,
        (N - 1) * DIM,
        1,
    ),
    "fedavg": (
        fedavg(LR, local_steps=3),
        COMPLETE,
        theory.dsgd(PLAIN, COMPLETE, lr=LR, local_steps=3).rate,
        0,
        1,
    ),
    "gossip": (gossip(), RING, RHO, DIM, 1),
    "second_order_gossip": (second_order_gossip(), RING, second_order(RING.spectral_gap), DIM, 2),
    "chebyshev_gossip": (chebyshev_gossip(), RING, None, 0, 0),  # its coefficients are state, and products
    "push_sum": (push_sum(), RING, None, 0, 0),  # a ratio
}


@pytest.mark.parametrize("name", EXPECTED)
def test_every_algorithm_is_linearised_or_refused(name):
    algorithm, graph, rate, conserved, parts = EXPECTED[name]
    if rate is None:
        with pytest.raises(
            ValueError, match="theory: a round of this algorithm is not an affine map of its state"
        ):
            theory.linearize(algorithm, PLAIN, graph)
        return
    got = theory.linearize(algorithm, PLAIN, graph)
    # A double root, as of second-order gossip, is found to the square root of rounding.
    assert got.rate == pytest.approx(rate, rel=1e-7 if name == "second_order_gossip" else 1e-10)
    assert got.conserved.shape == (parts * N * DIM, conserved) and got.converges
    far = simulate(algorithm, PLAIN, graph, rounds=8_000, eval_every=8_000, precision="float64")
    np.testing.assert_allclose(got.limit[: N * DIM], far.params["x"].ravel(), atol=1e-12)


def test_algorithms_added_later_are_tried_too():
    """None may fail otherwise than by a refusal."""
    for name in set(ALGORITHMS) - set(EXPECTED):
        try:
            assert theory.linearize(ALGORITHMS[name](), PLAIN, RING).rate >= 0
        except ValueError as refusal:
            assert str(refusal)


@pytest.mark.parametrize("algorithm", [dadmm, msda])
def test_proximal_steps_and_conjugates_are_affine_too(algorithm):
    got = theory.linearize(algorithm, PLAIN, RING)
    run = simulate(algorithm, PLAIN, RING, rounds=32, eval_every=2, precision="float64")
    np.testing.assert_allclose(
        got.distances(32)[::2], [row["distance"] for row in run.rows[1:]], rtol=1e-8, atol=1e-20
    )
    assert got.rate < 1


def test_rounds_by_a_coin_are_not_all_the_same():
    with pytest.raises(ValueError, match="the rounds of this algorithm differ"):
        theory.linearize(decentralized_proxskip, PLAIN, RING, hyper={"lr": 0.1, "probability": 0.2})


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_is_linear_too(nesterov):
    """On the complete graph and a common Hessian every eigenvalue a gives a root of a quadratic equation."""
    problem = quadratic(N, dim=DIM, hessian="common")
    momentum = OPTIMIZERS["sgd"](momentum=0.9, nesterov=nesterov)
    got = theory.linearize(dsgd(LR, optimizer=momentum), problem, COMPLETE)
    rates = [0.9]  # what the momenta of the nodes differ by is never mixed
    for a in np.logspace(-1, 0, DIM):
        velocity = np.array([a, 0.9])  # v ← a x + 0.9 v, as a row on (x, v)
        step = np.array([a, 0.0]) + 0.9 * velocity if nesterov else velocity
        rates.append(np.abs(np.linalg.eigvals([np.array([1.0, 0.0]) - LR * step, velocity])).max())
    assert got.rate == pytest.approx(max(rates), rel=1e-7)


def test_the_noise_of_momentum_is_within_its_standard_errors():
    algorithm = dsgd(LR, optimizer=OPTIMIZERS["sgd"](momentum=0.9))
    prediction = theory.linearize(algorithm, NOISY, RING)
    runs = simulate(
        algorithm, NOISY, RING, rounds=400, eval_every=10, seeds=96, precision="float64"
    ).to_pandas()
    late = runs[runs["round"] > 200].groupby("seed")[["distance", "consensus"]].mean()
    error = late.std() / np.sqrt(len(late))
    assert (
        abs(late["distance"].mean() - prediction.steady_distance)
        < 5 * error["distance"]
        < 0.2 * late["distance"].mean()
    )
    assert abs(late["consensus"].mean() - prediction.steady_consensus) < 5 * error["consensus"]
    plain = theory.dsgd(NOISY, RING, lr=LR)
    assert prediction.steady_distance > 5 * plain.steady_distance  # ten times the step size, in effect


def test_what_grows_unseen_is_left_out():
    """Running sums never stop growing; the models converge as over the linear channel."""
    got = theory.linearize(gossip(), average(N, dim=2), RING, channel=running_sums())
    assert got.rate == pytest.approx(RHO, rel=1e-10) and got.converges
    np.testing.assert_allclose(
        got.limit[: 2 * N].reshape(N, 2), np.tile(average(N, dim=2).optimum["x"], (N, 1))
    )


def test_parameters_in_a_tree_come_node_by_node():
    rng = np.random.default_rng(0)
    at = {"a": rng.normal(size=(N, 2)), "b": {"c": rng.normal(size=(N, 1, 2)), "d": rng.normal(size=N)}}

    def loss(params, key, local, shared):
        squares = jax.tree.map(lambda p, v: jnp.sum((p - v) ** 2), params, local)
        return 0.5 * (1.0 * squares["a"] + 2.0 * squares["b"]["c"] + 3.0 * squares["b"]["d"])

    def init(key):
        return {"a": jnp.zeros(2), "b": {"c": jnp.zeros((1, 2)), "d": jnp.zeros(())}}

    problem = Problem(N, init, loss, at, (), lambda params, *data: params["b"]["d"])
    check = theory.dsgd(problem, RING, lr=LR)
    got = theory.linearize(dsgd(LR), problem, RING)
    np.testing.assert_allclose(got.matrix, check.matrix, atol=1e-15)
    np.testing.assert_allclose(got.limit, check.limit, atol=1e-12)
    assert got.steady_distance == pytest.approx(check.steady_distance, rel=1e-10)
    node = got.limit.reshape(N, 5)[2]
    run = simulate(dsgd(LR), problem, RING, rounds=2_000, eval_every=2_000, precision="float64").params
    want = [*run["a"][0, 2], *run["b"]["c"][0, 2, 0], run["b"]["d"][0, 2]]
    np.testing.assert_allclose(node, want, atol=1e-12)


def test_rounds_may_be_skipped_or_not():
    """Second-order gossip begins with a plain round."""
    whole = theory.linearize(dsgd(LR), PLAIN, RING, skip=0)
    assert whole.first == 0 and whole.times(2).tolist() == [0, 1, 2]
    np.testing.assert_allclose(whole.distances(12), theory.dsgd(PLAIN, RING, lr=LR).distances(12), rtol=1e-12)
    with pytest.raises(ValueError, match="the rounds of this algorithm differ"):
        theory.linearize(second_order_gossip(), PLAIN, RING, skip=0)
    late = theory.linearize(second_order_gossip(), average(N, dim=DIM), RING, skip=1)
    run = simulate(
        second_order_gossip(), average(N, dim=DIM), RING, rounds=20, eval_every=1, precision="float64"
    )
    np.testing.assert_allclose(late.distances(20), run.to_pandas()["distance"][1:], rtol=1e-9)


@pytest.mark.parametrize(
    ("algorithm", "options", "message"),
    [
        (dsgd(LR, schedule=inverse()), {}, "the rounds of this algorithm differ"),
        (dsgd(LR, schedule=steps(at=(100,))), {}, "the rounds of this algorithm differ"),
        (dsgd(LR, optimizer=OPTIMIZERS["adam"]()), {}, "not an affine map of its state"),
        (gossip(), {"channel": linear(drop=0.1)}, "the rounds of this algorithm differ"),
        (gossip(), {"channel": extremum()}, "not an affine map of its state"),
        (gossip(), {"channel": median()}, "not an affine map of its state"),
        (dsgd(LR, local_steps=2), {"sigma": 1.0}, "one noisy gradient a node and round"),
        (dsgd(LR), {"skip": -1}, "skip must be at least 0"),
        (dsgd(LR), {"topology": tp.ring(6)}, "the problem has 8 nodes, topology 'ring' 6"),
        (gossip(), {"topology": tp.random_pairwise(N)}, "needs a fixed or cyclic topology"),
        (
            gradient_tracking(LR),
            {"topology": tp.star(N, weights=tp.uniform_neighbour())},
            "needs a topology that is doubly stochastic",
        ),
        (gradient_tracking(LR), {"problem": quadratic(N, dim=200, hessian="common")}, "4,800 numbers is too large"),
    ],
)  # fmt: skip
def test_what_no_single_affine_map_describes_is_refused(algorithm, options, message):
    arguments = {"problem": PLAIN, "topology": RING} | options
    with pytest.raises(ValueError, match=message):
        theory.linearize(algorithm, **arguments)
