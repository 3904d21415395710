"""What holds of every algorithm in the registry, whatever it does."""

import functools
import inspect
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlax import registry
from dlax import topology as tp
from dlax.algorithms import ALGORITHMS, dsgd
from dlax.optimizers import OPTIMIZERS, SCHEDULES
from dlax.problems import quadratic
from dlax.simulate import simulate
from dlax.types import Algorithm, Problem, Round

pytestmark = pytest.mark.usefixtures("strict_ranks")

N, ROUNDS = 4, 3
COMPLETE = tp.complete(N)
NOISY = quadratic(N, dim=3, noise=1.0)
every_algorithm = pytest.mark.parametrize("name", ALGORITHMS)


def nested_problem():
    """Parameters of several depths and ranks, a scalar among them."""

    def init(key):
        w = jax.random.normal(key, (2, 3))
        return {"layer": {"w": w, "b": jnp.zeros(3)}, "more": [jnp.ones(()), (jnp.ones((1, 2)),)]}

    def loss(params, key, local, shared):
        shift = local["shift"] + jax.random.normal(key)
        return sum(jnp.sum((leaf - shift) ** 2) for leaf in jax.tree.leaves(params))

    def objective(params, local, shared):
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))

    return Problem(N, init, loss, {"shift": np.arange(4.0)}, {}, objective)


NESTED = nested_problem()


def plain_round(params, dtype):
    """A round by hand: gradient x − 1, exact averaging, nobody asleep."""

    def grad(params, key, nodes=None):
        return jnp.zeros(N, dtype), jax.tree.map(lambda leaf: leaf - 1, params)

    def mix(link, message):
        mean = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf.mean(axis=0)[None], leaf.shape), message)
        return mean, link, jnp.full(N, 64.0, dtype)

    return Round(
        t=jnp.int32(0), key=jax.random.key(0), grad=grad, open=lambda message: (), mix=mix,
        neighbours=lambda message: None, active=jnp.ones(N, bool), require=lambda who, *words: None,
    )  # fmt: skip


def kinds(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


@every_algorithm
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_init_and_step_keep_structure_shape_and_dtype(name, dtype):
    with jax.enable_x64(dtype is np.float64):
        shapes = jax.eval_shape(NESTED.init, jax.random.key(0))
        params = jax.tree.map(lambda leaf: jnp.ones((N, *leaf.shape), dtype), shapes)
        round = plain_round(params, dtype)
        algorithm = ALGORITHMS[name]()
        assert isinstance(algorithm, Algorithm)
        state = jax.eval_shape(lambda p: algorithm.init(p, round), params)
        after, info = jax.eval_shape(lambda p: algorithm.step(algorithm.init(p, round), round), params)
    assert type(state)._fields[0] == "params"
    assert kinds(state.params) == kinds(params)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert kinds(after) == kinds(state)
    assert info["loss"].shape == info["bits"].shape == (N,)
    for leaf in jax.tree.leaves(state):
        assert leaf.shape[0] == N, (
            "every leaf of a state leads with the nodes: a sleeping node keeps its rows"
        )


@every_algorithm
def test_nested_params_move_and_stay_finite(name):
    result = simulate(ALGORITHMS[name](), NESTED, COMPLETE, rounds=ROUNDS)
    start = simulate(ALGORITHMS[name](), NESTED, COMPLETE, rounds=0)
    assert jax.tree.structure(result.params) == jax.tree.structure(start.params)
    for before, after in zip(jax.tree.leaves(start.params), jax.tree.leaves(result.params), strict=True):
        assert np.isfinite(after).all() and (before != after).any()


@every_algorithm
def test_one_seed_gives_one_run_and_another_seed_another(name):
    def final(seed):
        return simulate(ALGORITHMS[name], NOISY, COMPLETE, rounds=ROUNDS, seeds=[seed]).params["x"]

    np.testing.assert_array_equal(final(3), final(3))
    assert (final(3) != final(4)).any()


class Counting(NamedTuple):
    """A factory that counts how often it is asked for an algorithm, and takes no other option."""

    factory: object
    calls: list

    def __hash__(self):
        return id(self.calls)

    def __call__(self, **hyper):
        self.calls.append(hyper)
        return self.factory(**hyper)


@every_algorithm
def test_a_sweep_is_traced_once_and_never_again(name):
    """Once for init, once for the block; other seeds and step sizes find the compiled program."""
    counting = Counting(ALGORITHMS[name], [])
    swept = simulate(counting, NOISY, COMPLETE, rounds=ROUNDS, seeds=2, hyper={"lr": [0.1, 0.2]})
    assert len(counting.calls) == 2
    again = simulate(counting, NOISY, COMPLETE, rounds=ROUNDS + 2, seeds=[5, 6], hyper={"lr": [0.3, 0.05]})
    assert len(counting.calls) == 2
    assert again.seconds["compile"] == 0 < swept.seconds["compile"]
    assert len({row["lr"] for row in swept.rows}) == 2 and len(swept.runs) == 4
    assert len({params.tobytes() for params in swept.params["x"]}) == 4


@every_algorithm
def test_options_left_of_the_star_are_numbers(name):
    for option, parameter in inspect.signature(ALGORITHMS[name]).parameters.items():
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            assert isinstance(parameter.default, float), option


@functools.cache
def nested_start():
    return jax.tree.map(lambda leaf: leaf[0], simulate(dsgd, NESTED, COMPLETE, rounds=0).params)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_takes_a_traced_step_size(name):
    """At lr = 0 nothing moves (all nodes start alike); at lr > 0 every leaf does."""
    factory = functools.partial(dsgd, optimizer=registry.make("optimizer", name))
    params = simulate(factory, NESTED, COMPLETE, rounds=ROUNDS, hyper={"lr": [0.0, 0.01]}).params
    for leaf, before in zip(jax.tree.leaves(params), jax.tree.leaves(nested_start()), strict=True):
        assert np.isfinite(leaf).all()
        np.testing.assert_allclose(leaf[0], before, atol=1e-6)
        assert (leaf[1] != before).any()


SCHEDULE_OPTIONS = {"cosine": {"rounds": 10, "warmup": 1}, "steps": {"at": [1]}}


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_scales_the_step_size(name):
    """Params after t rounds of lr · s(t), gradient 1 everywhere: minus the sum of the step sizes."""
    schedule = registry.make("schedule", name, **SCHEDULE_OPTIONS.get(name, {}))
    slope = Problem(
        N, lambda key: {"x": jnp.zeros(1)}, lambda p, key, local, shared: p["x"][0], {"z": np.zeros(N)}, {},
        lambda p, local, shared: p["x"][0],
    )  # fmt: skip
    result = simulate(
        functools.partial(dsgd, schedule=schedule), slope, COMPLETE, rounds=6, hyper={"lr": 0.5}
    )
    want = {
        "constant": [1.0] * 6,
        "cosine": [0.0] + [0.5 * (1 + np.cos(np.pi * t / 9)) for t in range(5)],
        "inverse": [1 / (1 + t / 100) for t in range(6)],
        "inverse_sqrt": [1 / np.sqrt(1 + t / 100) for t in range(6)],
        "steps": [1.0] + [0.1] * 5,
    }[name]
    np.testing.assert_allclose(result.params["x"], -0.5 * sum(want), rtol=1e-5)


@pytest.mark.parametrize("name", sorted(set(ALGORITHMS) & {"dsgd", "fedavg", "local_only"}))
def test_no_local_step_is_refused(name):
    with pytest.raises(ValueError, match=f"{name}: local_steps must be at least 1, got 0"):
        ALGORITHMS[name](local_steps=0)
