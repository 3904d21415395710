"""Each algorithm against a plain NumPy loop over nodes in float64, and the cases that have exact answers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import references

from dlax import topology as tp
from dlax.algorithms import (
    centralized_sgd,
    dsgd,
    fedavg,
    gradient_averaging,
    gradient_tracking,
    local_only,
)
from dlax.data import from_arrays, quantity_skew
from dlax.optimizers import OPTIMIZERS
from dlax.problems import least_squares, logistic, quadratic
from dlax.simulate import simulate

pytestmark = pytest.mark.usefixtures("strict_ranks")

N, DIM, ROUNDS = 8, 3, 20
GRAPHS = {
    "ring": tp.ring(N),
    "star": tp.star(N),
    "exponential": tp.static_exponential(N),
    "one-peer": tp.one_peer_exponential(N),
    "complete": tp.complete(N),
}
PROBLEMS = {"quadratic": quadratic(N, dim=DIM), "least_squares": least_squares(N, dim=DIM, samples=4)}
GRADIENTS = {
    "quadratic": references.quadratic_gradient(PROBLEMS["quadratic"]),
    "least_squares": references.least_squares_gradient(PROBLEMS["least_squares"]),
}
ORDERS = ["adapt_then_combine", "combine_then_adapt", "combine_while_adapt"]
every_graph = pytest.mark.parametrize("graph", [name for name in GRAPHS if name != "complete"])
momentum = OPTIMIZERS["sgd"](momentum=0.9)


def final(algorithm, problem, topology, *, rounds=ROUNDS, seeds=1, **options):
    """Node models of the first run after all rounds, [n, d]."""
    result = simulate(
        algorithm,
        problem,
        topology,
        rounds=rounds,
        eval_every=rounds,
        seeds=seeds,
        precision="float64",
        **options,
    )
    return jax.tree.map(lambda leaf: leaf[0], result.params)


def zeros(n=N):
    return np.zeros((n, DIM))


@every_graph
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("local_steps", [1, 3])
def test_dsgd(graph, order, local_steps):
    topology, options = GRAPHS[graph], {"order": order, "local_steps": local_steps}
    got = final(dsgd(0.1, **options, optimizer=momentum), PROBLEMS["quadratic"], topology)
    want = references.dsgd(
        GRADIENTS["quadratic"], topology.dense, zeros(), lr=0.1, rounds=ROUNDS, momentum=0.9, **options
    )
    np.testing.assert_allclose(got["x"], want, atol=1e-10)


@every_graph
@pytest.mark.parametrize("problem", PROBLEMS)
def test_gradient_tracking(graph, problem):
    topology = GRAPHS[graph]
    got = final(gradient_tracking(0.1), PROBLEMS[problem], topology)
    want = references.gradient_tracking(GRADIENTS[problem], topology.dense, zeros(), lr=0.1, rounds=ROUNDS)
    np.testing.assert_allclose(got["x"], want, atol=1e-10)


@pytest.mark.parametrize(
    ("algorithm", "reference", "options"),
    [
        (dsgd, references.dsgd, {"local_steps": 3}),
        (local_only, references.local_only, {"local_steps": 1}),
        (local_only, references.local_only, {"local_steps": 3}),
        (centralized_sgd, references.centralized_sgd, {}),
        (gradient_averaging, references.gradient_averaging, {}),
        (fedavg, references.fedavg, {"local_steps": 1}),
        (fedavg, references.fedavg, {"local_steps": 3}),
    ],
)
def test_on_the_complete_graph_and_least_squares(algorithm, reference, options):
    topology = GRAPHS["complete"]
    got = final(algorithm(0.1, optimizer=momentum, **options), PROBLEMS["least_squares"], topology)
    want = reference(
        GRADIENTS["least_squares"], topology.dense, zeros(), lr=0.1, rounds=ROUNDS, momentum=0.9, **options
    )
    np.testing.assert_allclose(got["x"], want, atol=1e-10)


def small_data():
    """Forty points in three dimensions, two classes that overlap."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(40, DIM))
    y = (x.sum(axis=1) + rng.normal(size=40) > 0).astype(int)
    return from_arrays(x, y, x[:5], y[:5])


@pytest.mark.parametrize("local_steps", [1, 3])
@pytest.mark.parametrize("seed", [0, 7])
def test_sampled_gradients_come_from_the_documented_key_streams(local_steps, seed):
    """The loop draws the minibatches itself, from the run's seed, round, local step and node."""
    problem = logistic(
        N,
        dataset=small_data(),
        partition=quantity_skew(alpha=1.0),
        batch_size=4,
        l2=0.01,
        node_weights="samples",
    )
    assert len(set(problem.local["count"])) > 2
    got = final(dsgd(0.5, local_steps=local_steps), problem, GRAPHS["ring"], seeds=[seed])
    want = references.dsgd(
        references.logistic_gradient(problem, seed=seed, batch_size=4, local_steps=local_steps),
        GRAPHS["ring"].dense, np.zeros((N, DIM + 1)), lr=0.5, rounds=ROUNDS, local_steps=local_steps,
    )  # fmt: skip
    np.testing.assert_allclose(np.column_stack([got["w"], got["c"]]), want, atol=1e-10)


NOISY = quadratic(N, dim=DIM, noise=1.0)


def test_on_the_complete_graph_dsgd_is_centralized_sgd():
    """Same seed, same minibatches: equal to rounding, with noise and all."""
    together = final(dsgd(0.1), NOISY, GRAPHS["complete"])["x"]
    np.testing.assert_allclose(
        together, final(centralized_sgd(0.1), NOISY, GRAPHS["complete"])["x"], atol=1e-13
    )


def test_gradient_averaging_keeps_one_model_on_the_complete_graph_and_mixes_on_others():
    complete = final(gradient_averaging(0.1), NOISY, GRAPHS["complete"])["x"]
    one = final(centralized_sgd(0.1), NOISY, GRAPHS["complete"])["x"]
    np.testing.assert_allclose(complete, one, atol=1e-13)
    name = next(name for name in GRAPHS if name != "complete")
    got = final(gradient_averaging(0.1), PROBLEMS["least_squares"], GRAPHS[name])["x"]
    want = references.gradient_averaging(
        GRADIENTS["least_squares"], GRAPHS[name].dense, zeros(), lr=0.1, rounds=ROUNDS
    )
    np.testing.assert_allclose(got, want, atol=1e-10)


def test_fedavg_with_one_local_step_is_centralized_sgd():
    one = final(fedavg(0.1, local_steps=1), NOISY, GRAPHS["complete"])["x"]
    np.testing.assert_allclose(one, final(centralized_sgd(0.1), NOISY, GRAPHS["complete"])["x"], atol=1e-13)


def optax_run(transform, grad, x, rounds=ROUNDS):
    memory = transform.init(x)
    for _ in range(rounds):
        updates, memory = transform.update(jnp.asarray(grad(x)), memory, x)
        x = optax.apply_updates(x, updates)
    return x


ALONE = quadratic(1, dim=DIM)
TRANSFORMS = {
    "momentum": (momentum, optax.sgd(0.1, momentum=0.9)),
    "adam": (OPTIMIZERS["adam"](), optax.adam(0.1)),
}


@pytest.mark.parametrize("algorithm", [dsgd, local_only, centralized_sgd])
@pytest.mark.parametrize("optimizer", TRANSFORMS)
def test_one_node_alone_is_plain_optax(algorithm, optimizer):
    ours, theirs = TRANSFORMS[optimizer]
    grad = references.quadratic_gradient(ALONE)
    with jax.enable_x64(True):
        want = optax_run(theirs, lambda x: grad(0, np.asarray(x), 0, 0), jnp.zeros(DIM))
    got = final(algorithm(0.1, optimizer=ours), ALONE, tp.complete(1))
    np.testing.assert_allclose(got["x"][0], want, atol=1e-13)


def test_local_only_on_any_graph_is_n_separate_optax_runs():
    grad = GRADIENTS["quadratic"]
    got = final(local_only(0.1, optimizer=OPTIMIZERS["adam"]()), PROBLEMS["quadratic"], GRAPHS["star"])
    with jax.enable_x64(True):
        want = [
            optax_run(optax.adam(0.1), lambda x, i=i: grad(i, np.asarray(x), 0, 0), jnp.zeros(DIM))
            for i in range(N)
        ]
    np.testing.assert_allclose(got["x"], np.stack(want), atol=1e-13)


def test_the_orders_are_one_algorithm_seen_at_different_moments():
    """From a common start, T + 1 rounds of combining first are T of adapting first, and one adaptation."""
    W, problem = GRAPHS["ring"].dense(0), PROBLEMS["quadratic"]
    grad = GRADIENTS["quadratic"]
    adapt = final(dsgd(0.1), problem, GRAPHS["ring"])["x"]
    combine = final(dsgd(0.1, order="combine_then_adapt"), problem, GRAPHS["ring"], rounds=ROUNDS + 1)["x"]
    adapted = np.stack([adapt[i] - 0.1 * grad(i, adapt[i], 0, 0) for i in range(N)])
    np.testing.assert_allclose(combine, adapted, atol=1e-14)
    first = final(dsgd(0.1), problem, GRAPHS["ring"], rounds=1)["x"]
    overlapped = final(dsgd(0.1, order="combine_while_adapt"), problem, GRAPHS["ring"], rounds=1)["x"]
    np.testing.assert_allclose(first, W @ overlapped, atol=1e-15)  # both add the same steps, mixed or not


@pytest.mark.parametrize(
    "algorithm", [dsgd(0.1, local_steps=2), gradient_tracking(0.1)], ids=["dsgd", "tracking"]
)
def test_execution_one_by_one_or_together_is_the_same_run(algorithm):
    one, together = (final(algorithm, NOISY, GRAPHS["star"], execution=how)["x"] for how in ("map", "vmap"))
    np.testing.assert_allclose(one, together, atol=1e-14)


LR = 0.05


def biased_fixed_point(problem, W):
    """Where adapt-then-combine stands still: X = W (X − lr (A (X − x*) + g)), one dense linear system."""
    A, g, optimum = problem.local["A"], problem.local["g"], problem.shared["optimum"]
    n, d = g.shape
    blocks = np.zeros((n * d, n * d))
    for i in range(n):
        blocks[i * d : (i + 1) * d, i * d : (i + 1) * d] = A[i]
    mix = np.kron(W, np.eye(d))
    constant = mix @ (-LR * (g - np.einsum("nij,j->ni", A, optimum)).reshape(-1))
    return np.linalg.solve(np.eye(n * d) - mix + LR * mix @ blocks, constant).reshape(n, d)


@pytest.mark.parametrize("graph", ["ring", "star"])
def test_dsgd_stalls_at_the_bias_and_tracking_does_not(graph):
    problem, topology = PROBLEMS["quadratic"], GRAPHS[graph]
    stalled = final(dsgd(LR), problem, topology, rounds=10_000)["x"]
    predicted = biased_fixed_point(problem, topology.dense(0))
    np.testing.assert_allclose(stalled, predicted, atol=1e-8)
    assert np.mean(np.sum((predicted - problem.optimum["x"]) ** 2, axis=1)) > 1e-3
    exact = final(gradient_tracking(LR), problem, topology, rounds=10_000)["x"]
    assert np.mean(np.sum((exact - problem.optimum["x"]) ** 2, axis=1)) < 1e-18


def test_the_mean_of_the_trackers_is_the_mean_of_the_gradients():
    """After every round, on a changing graph, with sampled gradients; seen from a wrapped step."""
    tracking = gradient_tracking(0.1)

    def step(state, round):
        state, info = tracking.step(state, round)
        gap = jnp.abs(jnp.mean(state.tracker["x"] - state.grads["x"], axis=0)).max()
        size = jnp.abs(jnp.mean(state.grads["x"], axis=0)).max()
        return state, info | {"gap": gap, "size": size}

    result = simulate(
        tracking._replace(step=step),
        NOISY,
        GRAPHS["one-peer"],
        rounds=ROUNDS,
        eval_every=1,
        precision="float64",
    )
    rows = result.rows[1:]
    assert max(row["gap"] for row in rows) < 1e-14
    assert min(row["size"] for row in rows) > 1e-2


@pytest.mark.parametrize(
    ("algorithm", "topology", "message"),
    [
        (
            gradient_tracking, tp.star(N, weights=tp.uniform_neighbour()),
            r"'gradient_tracking' needs a topology that is doubly stochastic; 'star' is .*row stochastic",
        ),
        (fedavg, tp.ring(N), r"'fedavg' needs a topology that is complete; 'ring' is .*symmetric"),
        (
            dsgd, tp.from_matrix(tp.star(N, weights=tp.uniform_neighbour()).dense().T, allow_column=True),
            "'dsgd' needs a topology that is row stochastic; 'matrix' is column stochastic",
        ),
    ],
)  # fmt: skip
def test_a_graph_on_which_it_is_not_valid_is_refused_by_name(algorithm, topology, message):
    with pytest.raises(ValueError, match=message):
        simulate(algorithm, PROBLEMS["quadratic"], topology, rounds=1)


def test_an_unknown_order_is_refused():
    with pytest.raises(ValueError, match=r"order must be one of adapt_then_combine, .*, got 'combine'"):
        dsgd(0.1, order="combine")
