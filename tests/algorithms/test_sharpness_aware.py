"""DFedSAM against a plain NumPy loop over nodes, and the algorithms that it becomes at the ends of its options."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references

from dlax import topology as tp
from dlax.algorithms import dfedsam, dsgd, fedavg
from dlax.algorithms.dfedsam import sharpness_aware
from dlax.channel import linear
from dlax.data import from_arrays, quantity_skew
from dlax.optimizers import OPTIMIZERS, SCHEDULES
from dlax.problems import logistic, quadratic
from dlax.simulate import simulate

pytestmark = pytest.mark.usefixtures("strict_ranks")

N, DIM, ROUNDS, K = 8, 3, 12, 3
GRAPHS = {"ring": tp.ring(N), "one-peer": tp.one_peer_exponential(N), "complete": tp.complete(N)}
QUADRATIC = quadratic(N, dim=DIM)
GRADIENT = references.quadratic_gradient(QUADRATIC)


def final(algorithm, problem=QUADRATIC, topology=GRAPHS["ring"], *, rounds=ROUNDS, **options):
    """Node models of the first run after all rounds."""
    options = {"precision": "float64", "eval_every": rounds, **options}
    result = simulate(algorithm, problem, topology, rounds=rounds, **options)
    return jax.tree.map(lambda leaf: leaf[0], result.params)


def reference(
    grad, W, x, *, lr, rho, rounds, local_steps=5, gossip_steps=1, momentum=0.0, adaptive=False,
    lr_at=lambda t: 1.0, rho_at=lambda t: 1.0,
):  # fmt: skip
    """Node by node: K steps with the gradient at the top of the climb, then Q averages; a new momentum a round."""
    x = x.copy()
    for t in range(rounds):
        for i in range(len(x)):
            velocity = np.zeros_like(x[i])
            for k in range(local_steps):
                g = grad(i, x[i], t, k)
                direction = np.abs(x[i]) * g if adaptive else g
                length = np.sqrt(sum(entry**2 for entry in direction)) + 1e-12
                stretch = np.abs(x[i]) if adaptive else 1.0
                top = x[i] + rho * rho_at(t) * stretch * direction / length
                velocity = momentum * velocity + grad(i, top, t, k)
                x[i] = x[i] - lr * lr_at(t) * velocity
        for _ in range(gossip_steps):
            x = references.average(W(t), x)
    return x


@pytest.mark.parametrize(
    ("graph", "options"),
    [
        ("ring", {}),
        ("ring", {"local_steps": K, "gossip_steps": 4}),
        ("one-peer", {"local_steps": K, "gossip_steps": 2, "adaptive": True}),
        ("complete", {"local_steps": K}),
    ],
)
def test_against_the_loop(graph, options):
    got = final(dfedsam(0.1, 0.3, **options), topology=GRAPHS[graph])
    zeros = np.zeros((N, DIM))
    want = reference(GRADIENT, GRAPHS[graph].dense, zeros, lr=0.1, rho=0.3, rounds=ROUNDS, **options)
    np.testing.assert_allclose(got["x"], want, atol=1e-10)


def test_momentum_begins_anew_in_every_round_and_both_schedules_count():
    momentum, decay, shrink = OPTIMIZERS["sgd"](momentum=0.9), SCHEDULES["inverse"], SCHEDULES["inverse_sqrt"]
    got = final(
        dfedsam(
            0.05,
            0.3,
            local_steps=K,
            optimizer=momentum,
            schedule=decay(rounds=5),
            rho_schedule=shrink(rounds=1),
        )
    )
    want = reference(
        GRADIENT, GRAPHS["ring"].dense, np.zeros((N, DIM)), lr=0.05, rho=0.3, rounds=ROUNDS, local_steps=K,
        momentum=0.9, lr_at=lambda t: 1 / (1 + t / 5), rho_at=lambda t: 1 / np.sqrt(1 + t),
    )  # fmt: skip
    np.testing.assert_allclose(got["x"], want, atol=1e-10)


@functools.cache
def small_problem():
    """Forty points in three dimensions, two classes that overlap, on nodes of unequal size."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(40, DIM))
    y = (x.sum(axis=1) + rng.normal(size=40) > 0).astype(int)
    data = from_arrays(x, y, x[:5], y[:5])
    return logistic(N, dataset=data, partition=quantity_skew(alpha=1.0), batch_size=4, l2=0.01)


@pytest.mark.parametrize("local_steps", [1, K])
def test_both_gradients_see_the_minibatch_of_the_documented_key_stream(local_steps):
    """The norm runs over both leaves, w and c."""
    problem = small_problem()
    got = final(dfedsam(0.5, 0.2, local_steps=local_steps), problem, seeds=[7])
    grad = references.logistic_gradient(problem, seed=7, batch_size=4, local_steps=local_steps)
    want = reference(
        grad, GRAPHS["ring"].dense, np.zeros((N, DIM + 1)), lr=0.5, rho=0.2, rounds=ROUNDS, local_steps=local_steps
    )  # fmt: skip
    np.testing.assert_allclose(np.column_stack([got["w"], got["c"]]), want, atol=1e-10)


@pytest.mark.parametrize(
    ("other", "local_steps", "graph", "precision"),
    [(dsgd, K, "ring", "float32"), (dsgd, 1, "ring", "float64"), (fedavg, K, "complete", "float64")],
    ids=["DFedAvg", "D-PSGD", "FedAvg"],
)
def test_a_radius_of_zero_is_the_plain_algorithm_bit_for_bit(other, local_steps, graph, precision):
    problem, where = small_problem(), {"topology": GRAPHS[graph], "precision": precision}
    plain = final(other(0.5, local_steps=local_steps), problem, **where)
    factory = functools.partial(dfedsam, local_steps=local_steps)
    mine = final(factory, problem, hyper={"lr": 0.5, "rho": 0.0}, **where)
    jax.tree.map(np.testing.assert_array_equal, mine, plain)
    sharp = final(factory, problem, hyper={"lr": 0.5, "rho": 0.1}, **where)  # the same program
    assert (sharp["w"] != plain["w"]).any()


def test_the_gradient_at_the_top_of_a_climb_on_a_parabola():
    """H (x + ρ H x / ‖H x‖); with ASAM H (x + ρ x² H x / ‖ |x| H x ‖)."""
    rng = np.random.default_rng(0)
    H, x = rng.normal(size=(2, DIM, DIM)), rng.normal(size=(2, DIM))
    H = H @ H.transpose(0, 2, 1)

    def grad(params, key, nodes=None):
        slope = jnp.einsum("nij,nj->ni", H, params["x"])
        return 0.5 * jnp.sum(params["x"] * slope, axis=1), {"x": slope}

    with jax.enable_x64(True):
        params = {"x": jnp.asarray(x)}
        loss, sharp = sharpness_aware(grad, 0.3)(params, None)
        _, adaptive = sharpness_aware(grad, 0.3, adaptive=True)(params, None)
        _, flat = sharpness_aware(grad, 0.3)({"x": jnp.zeros((2, DIM))}, None)
    for i in range(2):
        g = H[i] @ x[i]
        np.testing.assert_allclose(loss[i], x[i] @ g / 2, rtol=1e-14)
        np.testing.assert_allclose(sharp["x"][i], H[i] @ (x[i] + 0.3 * g / np.linalg.norm(g)), rtol=1e-10)
        climbed = x[i] + 0.3 * x[i] ** 2 * g / np.linalg.norm(x[i] * g)
        np.testing.assert_allclose(adaptive["x"][i], H[i] @ climbed, rtol=1e-10)
    np.testing.assert_array_equal(flat["x"], 0.0)


def test_q_gossip_steps_contract_what_training_spread_by_lambda_to_the_2q_minus_2():
    """After the first round both runs mix the same models; each step beyond the first costs one more message."""
    rows = {}
    for steps in (1, 4):
        algorithm = dfedsam(0.1, 0.3, local_steps=K, gossip_steps=steps)
        rows[steps] = simulate(algorithm, QUADRATIC, GRAPHS["ring"], rounds=1, precision="float64").rows[-1]
    factor = (1 - GRAPHS["ring"].spectral_gap) ** 6
    ratio = rows[4]["consensus"] / rows[1]["consensus"]
    assert 0.5 * factor < ratio <= factor * (1 + 1e-12)
    assert rows[1]["bits_node"] == 2 * 64 * DIM and rows[4]["bits_node"] == 4 * 2 * 64 * DIM
    assert rows[1]["time"] == rows[4]["time"] == 2 * K  # gradients


def test_every_gossip_step_draws_losses_of_its_own():
    """One local phase and two gossip steps over lossy links: the arrivals of messages 0 and 1."""
    W, seed, drop = GRAPHS["ring"].dense(0), 5, 0.4
    algorithm = dfedsam(0.1, 0.3, gossip_steps=2)
    got = final(algorithm, rounds=1, channel=linear(drop), seeds=[seed])
    want = reference(GRADIENT, lambda t: np.eye(N), np.zeros((N, DIM)), lr=0.1, rho=0.3, rounds=1)
    masks = [references.arrivals(W, seed=seed, t=0, drop=drop, message=m) for m in (0, 1)]
    assert (masks[0] != masks[1]).any()
    for mask in masks:
        want = references.average(references.lossy(W, mask, "receiver"), want)
    np.testing.assert_allclose(got["x"], want, atol=1e-10)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="dfedsam: local_steps must be at least 1, got 0"):
        dfedsam(local_steps=0)
    with pytest.raises(ValueError, match="dfedsam: gossip_steps must be at least 1, got 0"):
        dfedsam(gossip_steps=0)
    star = tp.star(N, weights=tp.uniform_neighbour())
    with pytest.raises(ValueError, match="'dfedsam' needs a topology that is doubly stochastic; 'star' is"):
        simulate(dfedsam(), QUADRATIC, star, rounds=1)
