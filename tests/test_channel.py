"""The channels: who hears whom, bits, losses, sleeping nodes."""

import functools
import inspect
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlax import mixing
from dlax import topology as tp
from dlax.algorithms import dsgd, gradient_tracking
from dlax.channel import CHANNELS, extremum, linear, median, running_sums
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
def compiled(graph, lossy, sleepy, **options):
    """Mixes X once a key: (drop, active, keys) -> received [keys, n, 5] and bits [keys, n]."""
    plan, tables = mixing.plan(GRAPHS[graph], dtype=np.float64)

    def once(drop, active, key):
        channel = linear(drop if lossy else None, **options)
        network = mixing.network(
            plan, jax.tree.map(jnp.asarray, tables), jnp.int32(0), key, key, active if sleepy else None
        )
        link = channel.open(X, network)
        received, after, bits = channel.mix(link, jnp.asarray(X), network)
        assert link == after == ()
        return received, bits

    return jax.jit(jax.vmap(once, in_axes=(None, None, 0)))


def mix(graph, *, drop=None, active=None, repeats=1, seed=0, **options):
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(seed), repeats)
        run = compiled(graph, drop is not None, active is not None, **options)
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


@pytest.mark.parametrize("graph", ["ring", "star"])
def test_where_links_fail_both_ways_the_weight_returns_to_both(graph):
    awake = np.array([True, False, True, True, False, True])
    for options in ({"drop": 0.4, "symmetric": True}, {"active": awake}):
        receiver, sender = (
            next(iter(mix(graph, lost=lost, repeats=5, **options))) for lost in ("receiver", "sender")
        )
        np.testing.assert_allclose(receiver, sender, atol=1e-15)


@pytest.mark.parametrize("graph", GRAPHS)
def test_weight_returned_to_the_sender_keeps_the_mean_whatever_is_lost(graph):
    """On doubly stochastic weights, edges in one direction or both, and with a sleeper."""
    received, _ = mix(graph, drop=0.4, lost="sender", active=np.arange(N) != 2, repeats=10)
    np.testing.assert_allclose(received.mean(axis=1), np.tile(X.mean(axis=0), (10, 1)), atol=1e-14)
    assert np.ptp(received, axis=0).max() > 0.1


# --------------------------------------------------------------------------------------- every channel


# Channels that take any message; `matching` takes the params of a network, and has tests of its own.
ANY_MESSAGE = [name for name in CHANNELS if name not in ("matching", "ubar")]  # which take models
LOSSY = [name for name in ANY_MESSAGE if "drop" in inspect.signature(CHANNELS[name]).parameters]


def network_of(topology, *, active=None, seed=0, dtype=np.float64):
    plan, tables = mixing.plan(topology, dtype=dtype)
    key = jax.random.key(seed)
    network = mixing.network(plan, jax.tree.map(jnp.asarray, tables), jnp.int32(0), key, key, active)

    def edges():
        table = tp.edge_table(topology)
        return mixing.edges(table._replace(weight=table.weight.astype(dtype)))

    return network._replace(edges=edges)


def kinds(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


@pytest.mark.parametrize(
    ("name", "drop"), [(name, None) for name in ANY_MESSAGE] + [(name, 0.5) for name in LOSSY]
)
@pytest.mark.parametrize("topology", [tp.ring(1), tp.path(2), tp.star(N), tp.complete(N)], ids=repr)
@pytest.mark.parametrize("sleepy", [False, True])
def test_every_channel_keeps_structure_shape_and_dtype(name, topology, drop, sleepy):
    n = topology.n
    shapes = {"number": (), "vector": (3,), "nested": [(2, 3), (1, 0, 2)]}
    is_shape = lambda value: isinstance(value, tuple)  # noqa: E731
    for dtype in (np.float32, np.float64, jnp.bfloat16):
        with jax.enable_x64(dtype is np.float64):
            message = jax.tree.map(lambda shape: jnp.ones((n, *shape), dtype), shapes, is_leaf=is_shape)  # noqa: B023
            active = jnp.arange(n) % 2 == 0 if sleepy else None

            def travel(message, active=active, dtype=dtype):
                wide = np.float64 if dtype is np.float64 else np.float32
                channel = CHANNELS[name](drop) if drop is not None else CHANNELS[name]()
                network = network_of(topology, active=active, dtype=wide)
                link = channel.open(message, network)
                return link, *channel.mix(link, message, network)

            link, received, after, bits = jax.eval_shape(travel, message)
        assert jax.tree.structure(received) == jax.tree.structure(message)
        assert kinds(received) == kinds(message)
        assert jax.tree.structure(after) == jax.tree.structure(link) and kinds(after) == kinds(link)
        assert all(leaf.shape[0] == n for leaf in jax.tree.leaves(link)), "a sleeping node keeps its rows"
        assert bits.shape == (n,) and jnp.issubdtype(bits.dtype, jnp.floating)


@pytest.mark.parametrize("name", LOSSY)
def test_what_a_lost_message_costs_and_leaves(name):
    """At drop 1 everyone is left with its own, and pays as if all had arrived; at 0 nothing is lost."""
    for topology in (tp.star(N), tp.static_exponential(N)):
        with jax.enable_x64(True):
            network = network_of(topology)
            results = {}
            for drop in (None, 0.0, 1.0):
                channel = CHANNELS[name](drop)
                made = channel.mix(channel.open(X, network), jnp.asarray(X), network)
                results[drop] = jax.device_get(made)
        own = np.diag(topology.dense())[:, None] * X if name == "running_sums" else X
        np.testing.assert_allclose(results[0.0][0], results[None][0], atol=1e-15)
        np.testing.assert_allclose(results[1.0][0], own, atol=1e-15)
        assert np.abs(results[0.0][0] - own).max() > 0.1
        for _, _, bits in results.values():
            np.testing.assert_array_equal(bits, BITS * ((topology.dense() != 0).sum(axis=0) - 1))


@pytest.mark.parametrize("name", LOSSY)
@pytest.mark.parametrize("drop", [-0.1, 1.1, float("nan")])
def test_a_drop_that_is_no_probability(name, drop):
    with pytest.raises(ValueError, match=rf"{name}: drop must be in \[0, 1\], got {drop}"):
        CHANNELS[name](drop)


@pytest.mark.parametrize(
    ("channel", "options", "message"),
    [
        (
            linear,
            {"lost": "found"},
            "linear: lost must be one of receiver, sender, renormalise, gone, got 'found'",
        ),
        (extremum, {"operation": "sum"}, "extremum: operation must be one of max, min, or, got 'sum'"),
        (extremum, {"form": "pul"}, "extremum: form must be one of pull, push, push_pull, got 'pul'"),
        (extremum, {"fanout": 0}, "extremum: fanout must be at least 1, got 0"),
    ],
)
def test_options_that_do_not_exist(channel, options, message):
    with pytest.raises(ValueError, match=message):
        channel(**options)


# ---------------------------------------------------------------------------- running sums, medians, maxima


def test_without_losses_running_sums_are_linear():
    with jax.enable_x64(True):
        network = network_of(tp.star(N))
        channel, x = running_sums(), jnp.asarray(X)
        link = channel.open(x, network)
        for _ in range(5):
            x, link, _ = channel.mix(link, x, network)
    np.testing.assert_allclose(x, np.linalg.matrix_power(tp.star(N).dense(), 5) @ X, atol=1e-14)


def medians(x, topology, **options):
    channel, network = median(), network_of(topology, **options)
    return channel.mix((), jnp.asarray(x), network)


def heard_and_own(topology):
    return [sorted({i, *np.flatnonzero(row)}) for i, row in enumerate(topology.dense())]


@pytest.mark.parametrize("entries", [1, 72, 10**6])
def test_medians_are_taken_in_slabs_of_columns(entries, monkeypatch):
    """One column at a time, two with a rest, and all five at once; hubs and directed edges."""
    monkeypatch.setattr(sys.modules["dlax.channel.median"], "_ENTRIES_AT_ONCE", entries)
    for topology in (tp.star(N), tp.static_exponential(N)):
        with jax.enable_x64(True):
            received, _, bits = medians(X, topology)
        want = [np.median(X[who], axis=0) for who in heard_and_own(topology)]
        np.testing.assert_allclose(received, want, atol=1e-15)
        np.testing.assert_array_equal(bits, BITS * ((topology.dense() != 0).sum(axis=0) - 1))


def test_medians_of_extreme_numbers():
    """A NaN is the largest number; two large numbers do not overflow; infinities count."""
    x = np.array([[np.nan, 1e308, np.inf], [1.0, 1.5e308, -np.inf], [2.0, 1e308, np.inf], [3.0, 0.0, 0.0]])
    with jax.enable_x64(True):
        received, _, _ = medians(x, tp.path(4))
    # Node 0 hears 1; node 1 hears 0 and 2; node 2 hears 1 and 3; node 3 hears 2.
    want = [[np.nan, 1.25e308, np.nan], [2.0, 1e308, np.inf], [2.0, 1e308, 0.0], [2.5, 5e307, np.inf]]
    np.testing.assert_array_equal(received, want)


def test_who_sleeps_is_not_in_the_median():
    awake = np.arange(N) != 0
    received, _, bits = medians(X.astype(np.float32), tp.star(N), active=jnp.asarray(awake), dtype=np.float32)
    np.testing.assert_array_equal(received, X.astype(np.float32))  # the leaves hear the hub only
    np.testing.assert_array_equal(bits, 0)


@pytest.mark.parametrize("dtype", ["int32", "bool"])
def test_medians_of_what_has_no_middle_are_refused(dtype):
    with pytest.raises(ValueError, match=f"median: a message must be floating, got a leaf of dtype {dtype}"):
        medians(np.zeros((4, 2), dtype), tp.ring(4), dtype=np.float32)


@functools.cache
def gossiped(graph, repeats, awake=None, **options):
    """Who knows whose message after one round [repeats, i, j], and the messages that each node sent."""
    channel = extremum(operation="or", **options)
    plan, tables = mixing.plan(GRAPHS[graph])

    @jax.jit
    @jax.vmap
    def once(key):
        active = None if awake is None else jnp.asarray(awake)
        network = mixing.network(plan, jax.tree.map(jnp.asarray, tables), jnp.int32(0), key, key, active)
        heard, _, bits = channel.mix((), jnp.eye(N, dtype=bool), network)
        return heard, bits / (8 * N)

    heard, sent = jax.device_get(once(jax.random.split(jax.random.key(0), repeats)))
    assert heard.dtype == bool and heard[:, range(N), range(N)].all()
    return heard & ~np.eye(N, dtype=bool), sent


def neighbours(graph):
    return (GRAPHS[graph].dense() != 0) & ~np.eye(N, dtype=bool)


@pytest.mark.parametrize("graph", ["star", "complete", "directed"])
@pytest.mark.parametrize("fanout", [1, 2])
def test_contacts_are_drawn_uniformly_without_repetition(graph, fanout):
    repeats = 1000
    heard, sent = gossiped(graph, repeats, fanout=fanout)
    linked = neighbours(graph)
    degree = linked.sum(axis=1)
    contacts = np.minimum(fanout, degree)
    np.testing.assert_array_equal(heard.sum(axis=2), np.tile(contacts, (repeats, 1)))
    p = linked * (contacts / degree)[:, None]
    assert (np.abs(heard.mean(axis=0) - p) <= 5 * np.sqrt(p * (1 - p) / repeats)).all()
    np.testing.assert_array_equal(sent, heard.sum(axis=1))  # who is pulled sends


def test_contacts_of_two_nodes_and_two_rounds_are_independent():
    heard, _ = gossiped("complete", 1000, fanout=1)
    chosen = heard.argmax(axis=2)
    correlation = np.corrcoef(chosen.T) - np.eye(N)
    assert np.abs(correlation).max() < 5 / np.sqrt(1000)


def test_pushing_and_pulling_use_the_same_contacts():
    pulled, _ = gossiped("complete", 1000, fanout=1)
    pushed, sent = gossiped("complete", 1000, fanout=1, form="push")
    both, exchanged = gossiped("complete", 1000, fanout=1, form="push_pull")
    np.testing.assert_array_equal(pushed, pulled.transpose(0, 2, 1))
    np.testing.assert_array_equal(sent, pulled.sum(axis=2))  # who pushes sends
    np.testing.assert_array_equal(both, pulled | pushed)
    np.testing.assert_array_equal(exchanged, pulled.sum(axis=1) + pulled.sum(axis=2))


def test_a_fanout_of_everyone_or_none_is_everyone_whatever_the_form():
    for graph in ("star", "complete"):
        for options in ({}, {"fanout": N}, {"form": "push"}, {"form": "push_pull"}):
            heard, sent = gossiped(graph, 2, **options)
            np.testing.assert_array_equal(heard, np.tile(neighbours(graph), (2, 1, 1)))
            np.testing.assert_array_equal(sent, np.tile(neighbours(graph).sum(axis=0), (2, 1)))


@pytest.mark.parametrize(("form", "fanout"), [("pull", None), ("pull", 1), ("push", 1), ("push_pull", 1)])
def test_calls_are_lost_as_often_as_asked(form, fanout):
    """Both ways of an exchange on their own."""
    repeats, drop = 1000, 0.3
    full, sent = gossiped("complete", repeats, fanout=fanout, form=form)
    lossy, paid = gossiped("complete", repeats, fanout=fanout, form=form, drop=drop)
    assert not (lossy & ~full).any()
    np.testing.assert_array_equal(sent, paid)
    alone = full & ~full.transpose(0, 2, 1) if form == "push_pull" else full
    pulled, _ = gossiped("complete", repeats, fanout=1)
    once = alone if form != "push_pull" else full & (pulled ^ pulled.transpose(0, 2, 1))
    count = once.sum()
    assert abs((lossy & once).sum() / count - (1 - drop)) < 5 * np.sqrt(drop * (1 - drop) / count)
    if form == "push_pull":
        pair = once & once.transpose(0, 2, 1)
        first, second = lossy[pair], lossy.transpose(0, 2, 1)[pair]
        assert abs(np.corrcoef(first, second)[0, 1]) < 5 / np.sqrt(pair.sum() / 2)


@pytest.mark.parametrize(("form", "fanout"), [("pull", None), ("pull", 1), ("push", 1), ("push_pull", 1)])
def test_who_sleeps_neither_calls_nor_answers(form, fanout):
    awake = (True, False, True, True, False, True)
    heard, sent = gossiped("complete", 50, awake=awake, fanout=fanout, form=form)
    asleep = ~np.array(awake)
    assert not heard[:, asleep].any() and not heard[:, :, asleep].any() and not sent[:, asleep].any()
    assert heard.any() and sent.any()


def test_the_extremum_of_whole_numbers_is_exact():
    """Beyond what floating numbers hold."""
    x = np.array([[2**31 - 1], [2**31 - 2], [-(2**31)], [0]], np.int32)
    network = network_of(tp.path(4), dtype=np.float32)
    largest, _, bits = extremum().mix((), jnp.asarray(x), network)
    np.testing.assert_array_equal(largest[:, 0], [2**31 - 1, 2**31 - 1, 2**31 - 2, 0])
    np.testing.assert_array_equal(bits, [32, 64, 64, 32])
    smallest, _, _ = extremum(operation="min", fanout=1, form="push").mix((), jnp.asarray(x), network)
    assert smallest.dtype == np.int32 and smallest[2, 0] == -(2**31)


def test_ones_own_message_counts_though_the_graph_gives_it_no_weight():
    swap = tp.from_matrix([[0.0, 1.0], [1.0, 0.0]])
    received, _, _ = extremum().mix((), jnp.array([[3.0], [1.0]]), network_of(swap, dtype=np.float32))
    np.testing.assert_array_equal(received[:, 0], [3.0, 3.0])
