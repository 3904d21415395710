"""What holds of every algorithm in the registry, whatever it does."""

import functools
import inspect
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlax import mixing, registry
from dlax import topology as tp
from dlax.algorithms import ALGORITHMS, chebyshev_gossip, dsgd, second_order_gossip
from dlax.optimizers import OPTIMIZERS, SCHEDULES
from dlax.problems import quadratic
from dlax.simulate import simulate
from dlax.types import Algorithm, Problem, Round, Scalar

pytestmark = pytest.mark.usefixtures("strict_ranks")

N, ROUNDS = 4, 3
COMPLETE = tp.complete(N)
GRAPHS = {"relay_sgd": tp.path(N)}  # of algorithms that refuse the complete graph
ASK = {
    "network_lasso",
    "power_gossip_sgd",
    "relay_sgd",
}  # for the edges, already at the start: one more trace, not two
NOISY = quadratic(N, dim=3, noise=1.0)
DRAWN = NOISY._replace(init=lambda key: {"x": jax.random.normal(key, (3,))})
SEEDLESS = {"msda"}  # it starts in the dual at zero, and its dual gradients are exact
every_algorithm = pytest.mark.parametrize("name", ALGORITHMS)


def nested_problem():
    """Parameters of several depths and ranks, a scalar among them."""

    def init(key):
        w, b, scalar, row = (
            jax.random.normal(jax.random.fold_in(key, i), shape)
            for i, shape in enumerate([(2, 3), 3, (), (1, 2)])
        )
        return {"layer": {"w": w, "b": b}, "more": [scalar, (row,)]}

    def loss(params, key, local, shared):
        shift = local["shift"] + jax.random.normal(key)
        return sum(jnp.sum((leaf - shift) ** 2) for leaf in jax.tree.leaves(params))

    def objective(params, local, shared):
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))

    def prox(v, scale, local, shared):
        return jax.tree.map(lambda leaf: (leaf + 2 * scale * local["shift"]) / (1 + 2 * scale), v)

    def conjugate(y, local, shared):
        return jax.tree.map(lambda leaf: leaf / 2 + local["shift"], y)

    local = {"shift": np.arange(4.0)}

    def exact(params, local, shared):
        return sum(jnp.sum((leaf - local["shift"]) ** 2) for leaf in jax.tree.leaves(params))

    return Problem(N, init, loss, local, {}, objective, prox=prox, conjugate=conjugate, exact=exact)


NESTED = nested_problem()


def plain_round(params, dtype, asked):
    """A round by hand: gradient x − 1, exact averaging, nobody asleep; `asked` hears of gradients and facts."""

    def grad(params, key, nodes=None):
        asked.add("gradient")
        return jnp.zeros(N, dtype), jax.tree.map(lambda leaf: leaf - 1, params)

    def mix(link, message):
        mean = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf.mean(axis=0)[None], leaf.shape), message)
        return mean, link, jnp.full(N, 64.0, dtype)

    def fact(name):
        asked.add(name)
        return jnp.asarray(0.5, dtype)

    def edges():
        asked.add("edges")
        return mixing.edges(table._replace(weight=table.weight.astype(dtype)))

    table = tp.edge_table(COMPLETE)
    made = Round(
        t=jnp.int32(0), key=jax.random.key(0), grad=grad, open=lambda message: (), mix=mix,
        active=jnp.ones(N, bool), clients=N, full_grad=lambda params: grad(params, None),
        require=lambda who, *words: None,
        fact=fact, edges=edges,
        over=lambda channel: made, prox=lambda v, scale: v, conjugate=lambda y: y,
    )  # fmt: skip
    return made


def graph_of(name):
    return GRAPHS.get(name, COMPLETE)


def kinds(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


def outline(name, dtype=np.float32, **options):
    """Params, first state, next state and info of an algorithm by their shapes, and what it asked for."""
    asked = set()
    shapes = jax.eval_shape(NESTED.init, jax.random.key(0))
    params = jax.tree.map(lambda leaf: jnp.ones((N, *leaf.shape), dtype), shapes)
    round = plain_round(params, dtype, asked)
    algorithm = ALGORITHMS[name](**options)
    assert isinstance(algorithm, Algorithm)
    state = jax.eval_shape(lambda p: algorithm.init(p, round), params)
    after, info = jax.eval_shape(lambda p: algorithm.step(algorithm.init(p, round), round), params)
    return params, state, after, info, asked


@functools.cache
def takes_gradients(name):
    return "gradient" in outline(name)[-1]


def starts(name):
    """Nodes that start alike move by gradients only; others need models of their own to average."""
    return "common" if takes_gradients(name) else "independent"


@every_algorithm
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_init_and_step_keep_structure_shape_and_dtype(name, dtype):
    with jax.enable_x64(dtype is np.float64):
        params, state, after, info, asked = outline(name, dtype)
    assert type(state)._fields[0] == "params"
    assert kinds(state.params) == kinds(params)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert kinds(after) == kinds(state)
    assert info["bits"].shape == (N,)
    gradients = "gradient" in asked
    assert gradients == ("loss" in info) and (not gradients or info["loss"].shape == (N,))
    for leaf in jax.tree.leaves(state):
        assert leaf.shape[0] == N, (
            "every leaf of a state leads with the nodes: a sleeping node keeps its rows"
        )


def test_algorithms_take_a_gradient_unless_they_average_or_solve():
    averaging = {"gossip", "chebyshev_gossip", "second_order_gossip", "push_sum"}
    solving = {"dadmm", "msda", "network_lasso"}  # a proximal step or a dual gradient in its place
    assert {name for name in ALGORITHMS if not takes_gradients(name)} == averaging | solving


@every_algorithm
def test_nested_params_move_and_stay_finite(name):
    begin = starts(name)
    result = simulate(ALGORITHMS[name], NESTED, graph_of(name), rounds=ROUNDS, start=begin)
    start = simulate(ALGORITHMS[name], NESTED, graph_of(name), rounds=0, start=begin)  # compiled already
    assert jax.tree.structure(result.params) == jax.tree.structure(start.params)
    for before, after in zip(jax.tree.leaves(start.params), jax.tree.leaves(result.params), strict=True):
        assert np.isfinite(after).all() and (before != after).any()


def noisy(name):
    """A problem on which a run depends on its seed: by the gradients' noise, or by the starts."""
    return NOISY if takes_gradients(name) else DRAWN


class Counting(NamedTuple):
    """A factory that counts how often it is asked for an algorithm, and takes no other option."""

    factory: object
    calls: list

    def __hash__(self):
        return id(self.calls)

    def __call__(self, **hyper):
        self.calls.append(hyper)
        return self.factory(**hyper)


def traced_options(name):
    parameters = inspect.signature(ALGORITHMS[name]).parameters.values()
    return [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]


@every_algorithm
def test_a_sweep_is_traced_once_and_never_again(name):
    """Once for init, once for the block; other seeds and step sizes find the compiled program.

    Each fact that it asks of the topology is one more time, the first time; see below.
    """
    counting, option = Counting(ALGORITHMS[name], []), next((p.name for p in traced_options(name)), None)

    def run(rounds, seeds, values):
        hyper = {option: values} if option else None
        return simulate(
            counting, noisy(name), graph_of(name), rounds=rounds, seeds=seeds, hyper=hyper, start=starts(name)
        )

    swept = run(ROUNDS, 2, [0.1, 0.2])
    facts = outline(name, **({option: 0.5} if option else {}))[-1] - {"gradient"}
    traces = 3 if name in ASK else 2 * (1 + len(facts))
    assert len(counting.calls) == traces
    again = run(ROUNDS + 2, [5, 6], [0.3, 0.05])
    assert len(counting.calls) == traces
    assert again.seconds["compile"] == 0 < swept.seconds["compile"]
    # One seed gives one run, bit for bit; that other seeds give others is counted below.
    np.testing.assert_array_equal(run(ROUNDS, 2, [0.1, 0.2]).params["x"], swept.params["x"])
    values = 2 if option else 1
    assert len({row.get(option) for row in swept.rows}) == values and len(swept.runs) == 2 * values
    assert len({params.tobytes() for params in swept.params["x"]}) == (1 if name in SEEDLESS else 2) * values


@pytest.mark.parametrize("factory", [chebyshev_gossip, second_order_gossip])
def test_what_is_asked_of_a_topology_costs_one_more_trace_the_first_time(factory):
    """The first trace finds out what is asked. That is remembered, for another number of runs too."""
    counting = Counting(factory, [])
    graph = tp.ring(N)
    simulate(counting, DRAWN, graph, rounds=ROUNDS, seeds=2, start="independent")
    assert len(counting.calls) == 4
    again = simulate(counting, DRAWN, graph, rounds=ROUNDS + 2, seeds=[5, 6], start="independent")
    assert len(counting.calls) == 4 and again.seconds["compile"] == 0
    simulate(counting, DRAWN, graph, rounds=ROUNDS, start="independent")
    assert len(counting.calls) == 6


@every_algorithm
def test_options_left_of_the_star_are_numbers(name):
    for parameter in traced_options(name):
        number = isinstance(parameter.default, float)
        assert number or (parameter.default is None and parameter.annotation == Scalar | None), parameter


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_takes_a_traced_step_size(name):
    """At lr = 0 nothing moves; at lr > 0 every leaf does."""
    optimizer = registry.make("optimizer", name)
    x = {"w": jnp.linspace(-1.0, 1.0, 6).reshape(2, 3), "b": jnp.ones(2)}

    def after(lr):
        transform, params = optimizer(lr), x
        memory = transform.init(params)
        for _ in range(2):
            updates, memory = transform.update(params, memory, params)  # the gradient of ‖x‖²/2
            params = optax.apply_updates(params, updates)
        return params

    moved = jax.jit(jax.vmap(after))(jnp.array([0.0, 0.01]))
    for leaf, before in zip(jax.tree.leaves(moved), jax.tree.leaves(x), strict=True):
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
        "exponential": [0.998**t for t in range(6)],
        "inverse": [1 / (1 + t / 100) for t in range(6)],
        "inverse_sqrt": [1 / np.sqrt(1 + t / 100) for t in range(6)],
        "steps": [1.0] + [0.1] * 5,
    }[name]
    np.testing.assert_allclose(result.params["x"], -0.5 * sum(want), rtol=1e-5)


@pytest.mark.parametrize(
    "name", [name for name in ALGORITHMS if "local_steps" in inspect.signature(ALGORITHMS[name]).parameters]
)
def test_no_local_step_is_refused(name):
    with pytest.raises(ValueError, match=f"{name}: local_steps must be at least 1, got 0"):
        ALGORITHMS[name](local_steps=0)
