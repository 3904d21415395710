"""The channel that keeps the variance of layers: against loops over nodes, over every kind of inner channel."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dlax
from dlax import mixing, registry
from dlax import topology as tp
from dlax.algorithms import dsgd, gradient_tracking
from dlax.channel import linear, median, variance_corrected
from dlax.problems import quadratic
from dlax.simulate import simulate

N = 6
RNG = np.random.default_rng(1)
MODEL = {
    "kernel": RNG.normal(size=(N, 4, 5)),
    "bias": 1 + RNG.normal(size=(N, 5)),
    "scale": RNG.normal(size=(N, 1)),
    "number": RNG.normal(size=N),
    "last": 2 + RNG.normal(size=(N, 2, 3)),
}
GRAPHS = {
    "ring": tp.ring(N),
    "directed": tp.random_directed(N),
    "no self weight": tp.from_matrix((tp.ring(N).dense() != 0) / 2 - np.eye(N) / 2, name="neighbours"),
    "star": tp.star(N),
}


def reference(W, model, target, axes):
    """Node by node, leaf by leaf, float64."""
    out = {}
    for name, leaf in model.items():
        average = np.zeros_like(leaf)
        for i in range(len(W)):
            for j in range(len(W)):
                average[i] += W[i, j] * leaf[j]
        out[name] = average
        if leaf.ndim < axes or leaf[0].size < 2:
            continue
        for i in range(len(W)):
            own = ((leaf[i] - leaf[i].mean()) ** 2).mean()
            goal, weight = 0.0, 0.0
            for j in range(len(W)):
                if j != i or target == "weighted":
                    goal += W[i, j] * ((leaf[j] - leaf[j].mean()) ** 2).mean()
                    weight += W[i, j]
            goal = own if target == "self" or weight == 0 else goal / weight
            a = average[i]
            out[name][i] = (a - a.mean()) * np.sqrt(goal / ((a - a.mean()) ** 2).mean()) + a.mean()
    return out


def travel(channel, message, topology, active=None):
    with jax.enable_x64(True):
        plan, tables = mixing.plan(topology, dtype=np.float64)
        key = jax.random.key(0)
        network = mixing.network(plan, jax.tree.map(jnp.asarray, tables), jnp.int32(0), key, key, active)
        message = jax.tree.map(jnp.asarray, message)
        received, _, bits = channel.mix(channel.open(message, network), message, network)
        return jax.device_get((received, bits))


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("target", ["others", "self", "weighted"])
@pytest.mark.parametrize("biases", [False, True])
def test_against_a_loop_over_nodes(graph, target, biases):
    topology = GRAPHS[graph]
    received, bits = travel(variance_corrected(target=target, biases=biases), MODEL, topology)
    want = reference(topology.dense(), MODEL, target, 2 if biases else 3)
    for name, leaf in want.items():
        np.testing.assert_allclose(received[name], leaf, rtol=1e-10, atol=1e-12, err_msg=name)
    numbers = sum(leaf[0].size for leaf in MODEL.values())
    sent = 0 if target == "self" else 3 if biases else 2  # one number a corrected leaf
    out_degree = (topology.dense() != 0).sum(axis=0) - (np.diag(topology.dense()) != 0)
    np.testing.assert_array_equal(bits, 64 * (numbers + sent) * out_degree)


def test_the_variance_is_the_target_and_the_mean_that_of_the_average_in_float32():
    single = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), MODEL)
    topology = tp.ring(N)
    plan, tables = mixing.plan(topology)
    key = jax.random.key(0)
    network = mixing.network(plan, jax.tree.map(jnp.asarray, tables), jnp.int32(0), key, key, None)
    received, _, bits = variance_corrected().mix((), single, network)
    plain, _, plain_bits = linear().mix((), single, network)
    neighbours = (topology.dense() != 0) / 2 - np.eye(N) / 2
    for name in ("kernel", "last"):
        rows = np.asarray(received[name], np.float64).reshape(N, -1)
        want = neighbours @ MODEL[name].reshape(N, -1).var(axis=1)
        np.testing.assert_allclose(rows.var(axis=1), want, rtol=1e-5)
        np.testing.assert_allclose(rows.mean(axis=1), plain[name].reshape(N, -1).mean(axis=1), atol=1e-6)
    np.testing.assert_array_equal(received["bias"], plain["bias"])
    np.testing.assert_array_equal(bits - plain_bits, 2 * 32 * 2)  # two leaves to two neighbours


@pytest.mark.parametrize("target", ["others", "self", "weighted"])
def test_nothing_changes_where_nodes_agree(target):
    same = jax.tree.map(lambda leaf: np.broadcast_to(leaf[:1], leaf.shape), MODEL)
    flat = {**same, "flat": np.full((N, 2, 2), 3.0)}
    received, _ = travel(variance_corrected(target=target, biases=True), flat, GRAPHS["directed"])
    for name, leaf in flat.items():
        np.testing.assert_allclose(received[name], leaf, rtol=1e-12, err_msg=name)


def test_opposite_models_do_not_blow_up():
    """Their average is nothing: there is no direction to stretch it in."""
    kernel = RNG.normal(size=(2, 3))
    received, _ = travel(variance_corrected(), {"kernel": np.stack([kernel, -kernel])}, tp.complete(2))
    np.testing.assert_array_equal(received["kernel"], 0)


def test_any_inner_channel():
    """A median's result gets the median of the variances; sleepers and lost messages leave a node its own."""
    received, _ = travel(variance_corrected(channel=median(), target="weighted"), MODEL, tp.complete(N))
    middle = np.median(MODEL["kernel"], axis=0)
    goal = np.median(MODEL["kernel"].reshape(N, -1).var(axis=1))
    want = (middle - middle.mean()) * np.sqrt(goal / middle.var()) + middle.mean()
    np.testing.assert_allclose(received["kernel"], np.broadcast_to(want, (N, 4, 5)), rtol=1e-12)
    for options in ({"channel": linear(1.0)}, {"channel": linear()}):
        active = None if "drop" in str(options) or options["channel"].plain is False else np.zeros(N, bool)
        received, bits = travel(variance_corrected(**options), MODEL, tp.ring(N), active)
        np.testing.assert_allclose(received["kernel"], MODEL["kernel"], rtol=1e-12)
        assert (bits > 0).all() == (active is None)
    nested = variance_corrected(channel=variance_corrected(target="self"), target="self")
    once, _ = travel(variance_corrected(target="self"), MODEL, tp.ring(N))
    twice, _ = travel(nested, MODEL, tp.ring(N))
    np.testing.assert_allclose(twice["kernel"], once["kernel"], rtol=1e-12)


def test_of_a_pair_only_the_model_is_corrected():
    (model, tracker), bits = travel(variance_corrected(), (MODEL, MODEL), tp.ring(N))
    alone, one = travel(variance_corrected(), MODEL, tp.ring(N))
    plain, _ = travel(linear(), MODEL, tp.ring(N))
    jax.tree.map(np.testing.assert_array_equal, model, alone)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-13), tracker, plain)
    assert (bits == 2 * one - 64 * 2 * 2).all()


def test_vectors_alone_travel_as_over_the_inner_channel():
    """A model without matrices has nothing to correct, nor to count."""
    problem, run = quadratic(N, dim=3), functools.partial(simulate, rounds=20, precision="float64")
    for algorithm in (dsgd(0.05), gradient_tracking(0.05)):
        plain, wrapped = (
            run(algorithm, problem, tp.ring(N), channel=channel)
            for channel in (linear(), variance_corrected())
        )
        np.testing.assert_array_equal(plain.params["x"], wrapped.params["x"])
        assert plain.rows[-1]["bits_total"] == wrapped.rows[-1]["bits_total"]


def test_in_a_config_the_inner_channel_is_a_spec():
    spec = registry.resolve("channel", "variance_corrected", path="channel")
    assert spec["channel"] == {"name": "linear", "drop": None, "symmetric": False, "lost": "receiver"}
    assert registry.default_text("channel", "variance_corrected", "channel") == "linear"
    by_name = {"name": "variance_corrected", "channel": {"name": "linear", "drop": 0.25}, "target": "self"}
    assert registry.resolve("channel", by_name, path="channel")["channel"]["drop"] == 0.25
    given = median()
    assert registry.resolve("channel", {**by_name, "channel": given}, path="channel")["channel"] is given
    made = registry.make("channel", "variance_corrected", channel=given, target="weighted")
    received, _ = travel(made, MODEL, tp.complete(N))
    want, _ = travel(variance_corrected(channel=median(), target="weighted"), MODEL, tp.complete(N))
    np.testing.assert_array_equal(received["kernel"], want["kernel"])
    with pytest.raises(ValueError, match=r"channel.channel.drops: unknown option, given 1; .*'drop'"):
        registry.resolve("channel", {**by_name, "channel": {"name": "linear", "drops": 1}}, path="channel")
    result = dlax.run(
        {
            "rounds": 2, "nodes": 4, "problem": {"name": "quadratic", "dim": 2},
            "topology": "ring", "algorithm": "dsgd", "channel": by_name,
        }
    )  # fmt: skip
    assert result.diverged == []


def test_an_unknown_target():
    with pytest.raises(
        ValueError, match="variance_corrected: target must be one of others, self, weighted, got 'all'"
    ):
        variance_corrected(target="all")
