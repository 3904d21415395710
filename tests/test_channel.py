"""The linear channel: bits, losses, sleeping nodes."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlax import mixing
from dlax import topology as tp
from dlax.algorithms import dsgd, gradient_tracking
from dlax.channel import linear
from dlax.problems import quadratic
from dlax.simulate import simulate
from dlax.types import Algorithm

pytestmark = pytest.mark.usefixtures("strict_ranks")

N = 6
GRAPHS = {
    "ring": tp.ring(N),
    "star": tp.star(N),
    "complete": tp.complete(N),
    "one-peer": tp.one_peer_exponential(N),
    "directed": tp.static_exponential(N),
}
X = np.random.default_rng(0).normal(size=(N, 5))
BITS = 5 * 64  # of one message of X


@functools.cache
def compiled(graph, symmetric, lossy, sleepy):
    """Mixes X once a key: (drop, active, keys) -> received [keys, n, 5] and bits [keys, n]."""
    plan, tables = mixing.plan(GRAPHS[graph], dtype=np.float64)

    def once(drop, active, key):
        channel = linear(drop if lossy else None, symmetric=symmetric)
        network = mixing.network(
            plan, jax.tree.map(jnp.asarray, tables), jnp.int32(0), key, key, active if sleepy else None
        )
        link = channel.open(X)
        received, after, bits = channel.mix(link, jnp.asarray(X), network)
        assert link == after == ()
        return received, bits

    return jax.jit(jax.vmap(once, in_axes=(None, None, 0)))


def mix(graph, *, drop=None, active=None, symmetric=False, repeats=1, seed=0):
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(seed), repeats)
        run = compiled(graph, symmetric, drop is not None, active is not None)
        return map(
            np.asarray, run(drop or 0.0, np.ones(N, bool) if active is None else np.asarray(active), keys)
        )


@pytest.mark.parametrize("graph", GRAPHS)
def test_perfect_links_average_and_cost_one_message_a_neighbour(graph):
    (received,), (bits,) = mix(graph)
    W = GRAPHS[graph].dense(0)
    np.testing.assert_allclose(received, W @ X, atol=1e-14)
    np.testing.assert_array_equal(bits, BITS * ((W != 0).sum(axis=0) - 1))


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("symmetric", [False, True])
def test_drop_0_is_no_drop(graph, symmetric):
    (received,), (bits,) = mix(graph, drop=0.0, symmetric=symmetric)
    (perfect,), (full,) = mix(graph)
    np.testing.assert_allclose(received, perfect, atol=1e-14)
    np.testing.assert_array_equal(bits, full)


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("symmetric", [False, True])
def test_drop_1_keeps_ones_own_message_and_is_paid_for(graph, symmetric):
    (received,), (bits,) = mix(graph, drop=1.0, symmetric=symmetric)
    (_,), (full,) = mix(graph)
    np.testing.assert_allclose(received, X, atol=1e-15)
    np.testing.assert_array_equal(bits, full)


def arrivals(graph, repeats, **options):
    """[repeats, n, n] which messages arrived, read off mixing X with its rows made independent."""
    W = GRAPHS[graph].dense(0)
    received, _ = mix(graph, repeats=repeats, **options)
    off = W * (1 - np.eye(N))
    arrived = np.zeros((repeats, N, N), bool)
    for i in range(N):
        heard = np.flatnonzero(off[i])
        # received_i − x_i = Σⱼ a_ij W_ij (xⱼ − x_i): at most five unknowns a_ij in five equations.
        found = np.linalg.lstsq((off[i, heard, None] * (X[heard] - X[i])).T, (received[:, i] - X[i]).T)[0]
        np.testing.assert_allclose(found, np.round(found), atol=1e-8)
        arrived[:, i, heard] = np.round(found.T)
    return arrived


@pytest.mark.parametrize("symmetric", [False, True])
def test_every_message_is_lost_as_often_as_asked_and_independently(symmetric):
    repeats, drop = 2000, 0.3
    arrived = arrivals("complete", repeats, drop=drop, symmetric=symmetric)
    deviation = np.sqrt(drop * (1 - drop) / repeats)
    off = ~np.eye(N, dtype=bool)
    np.testing.assert_allclose(arrived.mean(axis=0)[off], 1 - drop, atol=5 * deviation)
    np.testing.assert_array_equal((arrived == arrived.transpose(0, 2, 1)).all(), symmetric)
    upper = arrived[:, *np.triu_indices(N, 1)] - (1 - drop)
    correlation = np.corrcoef(upper.T) - np.eye(upper.shape[1])
    assert np.abs(correlation).max() < 5 / np.sqrt(repeats)


@pytest.mark.parametrize("graph", ["ring", "star", "complete"])
def test_symmetric_losses_keep_the_mean_on_symmetric_weights(graph):
    received, _ = mix(graph, drop=0.4, symmetric=True, repeats=20)
    np.testing.assert_allclose(received.mean(axis=1), np.tile(X.mean(axis=0), (20, 1)), atol=1e-14)
    one_sided, _ = mix(graph, drop=0.4, repeats=20)
    assert np.abs(one_sided.mean(axis=1) - X.mean(axis=0)).max() > 1e-3


@pytest.mark.parametrize("graph", GRAPHS)
def test_consensus_is_a_fixed_point_whatever_is_lost(graph):
    """A constant added to all messages comes through every loss: rows still sum to one."""
    plan, tables = mixing.plan(GRAPHS[graph], dtype=np.float64)
    with jax.enable_x64(True):
        network = mixing.network(
            plan, jax.tree.map(jnp.asarray, tables), jnp.int32(0), jax.random.key(0), jax.random.key(1),
            jnp.arange(N) != 2,
        )  # fmt: skip
        received, _, _ = linear(0.4).mix((), jnp.full((N, 3), 2.5), network)
    np.testing.assert_allclose(received, 2.5, atol=1e-15)


@pytest.mark.parametrize("graph", ["ring", "star", "complete"])
def test_who_sleeps_is_not_heard_and_keeps_its_message(graph):
    awake = np.array([True, False, True, True, False, True])
    (received,), (bits,) = mix(graph, active=awake)
    W = GRAPHS[graph].dense(0)
    A = np.where(np.outer(awake, awake), W, 0) * (1 - np.eye(N))
    np.testing.assert_allclose(received, X + A @ X - A.sum(axis=1)[:, None] * X, atol=1e-14)
    np.testing.assert_allclose(received[~awake], X[~awake], rtol=3e-16)  # its weights add up to 1, rounded
    np.testing.assert_array_equal(bits, BITS * (A != 0).sum(axis=0))
    np.testing.assert_allclose(received.mean(axis=0), X.mean(axis=0), atol=1e-14)


def test_a_lossy_message_to_a_sleeper_is_not_sent():
    awake = np.arange(N) < 3
    (_,), (bits,) = mix("complete", drop=0.5, active=awake)
    np.testing.assert_array_equal(bits, BITS * np.where(awake, 2, 0))


PROBLEM = quadratic(N, dim=3)


def test_sleeping_nodes_keep_their_state_bit_for_bit():
    """One round, few nodes awake: a node either moved or kept every bit, and some did each."""
    options = {"seeds": 8, "start": "independent", "hyper": {"lr": 0.1}}
    noisy = quadratic(N, dim=3, noise=1.0)._replace(init=lambda key: {"x": jax.random.normal(key, (3,))})
    before = simulate(dsgd, noisy, GRAPHS["ring"], rounds=0, participation=0.4, **options).params["x"]
    after = simulate(dsgd, noisy, GRAPHS["ring"], rounds=1, participation=0.4, **options).params["x"]
    kept = (before == after).all(axis=2)
    assert ((before != after).all(axis=2) | kept).all()
    assert abs(kept.mean() - 0.6) < 5 * np.sqrt(0.6 * 0.4 / kept.size)


class TwoMessages(NamedTuple):
    params: dict[
        str, jax.Array
    ]  # "heard" [n, 2, n]: whom each node heard in the first and the second message


def test_two_messages_of_one_round_draw_different_losses():
    def init(params, round):
        return TwoMessages({"x": jnp.zeros((N, 3)), "heard": jnp.zeros((N, 2, N))})

    def step(state, round):
        (first, _, bits), (second, _, _) = (round.mix((), jnp.eye(N)) for _ in range(2))
        params = state.params | {"heard": jnp.stack([first, second], axis=1)}
        return TwoMessages(params), {"loss": jnp.zeros(N), "bits": bits}

    anywhere = PROBLEM._replace(optimum=None, minimum=None)
    result = simulate(
        Algorithm(init, step), anywhere, GRAPHS["complete"], channel=linear(0.5), rounds=1, seeds=20
    )
    off = ~np.eye(N, dtype=bool)
    first, second = (result.params["heard"][:, :, m][:, off] > 0 for m in (0, 1))
    agree = first == second
    assert abs(agree.mean() - 0.5) < 5 * np.sqrt(0.25 / agree.size)


def test_bits_of_a_run_are_counted_exactly():
    """Message by message, and over long blocks, where float32 sums would round."""
    rounds, dim = 200, 10_001
    wide = quadratic(15, dim=dim, hessian="common")
    result = simulate(dsgd, wide, tp.ring(15), rounds=rounds, eval_every=rounds)
    assert result.rows[-1]["bits_total"] == rounds * 15 * 2 * 32 * dim
    assert result.rows[-1]["bits_node"] == rounds * 2 * 32 * dim
    tracking = simulate(gradient_tracking, PROBLEM, GRAPHS["ring"], rounds=3, precision="float64")
    assert tracking.rows[-1]["bits_total"] == 3 * N * 2 * 64 * 2 * 3


@pytest.mark.parametrize("drop", [-0.1, 1.1, float("nan")])
def test_a_drop_that_is_no_probability(drop):
    with pytest.raises(ValueError, match=r"drop must be in \[0, 1\], got"):
        linear(drop)
