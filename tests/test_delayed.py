"""Messages under way: the channel is a loop over mailboxes; what is kept; what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlax import attacks, faults, mixing
from dlax import topology as tp
from dlax.algorithms import dsgd, gossip, push_sum
from dlax.channel import delayed, linear, median, robust
from dlax.channel.delayed import rounds_under_way
from dlax.channel.links import uniform_by_edge
from dlax.problems import average_of as average
from dlax.problems import quadratic
from dlax.robust import nna
from dlax.simulate import simulate

pytestmark = pytest.mark.usefixtures("strict_ranks")

N, ROUNDS, MOST = 6, 14, 3
GRAPHS = {
    "ring": tp.ring(N),
    "star": tp.star(N),
    "directed": tp.random_directed(N, degree=2, weights=tp.push()),
}


@functools.cache
def stepped(graph, law, use, lost, most=MOST):
    """One round of the channel, compiled; and the table of the graph."""
    plan, tables = mixing.plan(GRAPHS[graph], dtype=np.float64)
    tables = jax.tree.map(jnp.asarray, tables)

    def network(key, active):
        made = mixing.network(plan, tables, jnp.int32(0), key, key, active)
        return made._replace(require=lambda who, *words: None)

    def channel(mean, drop, duplicate):
        return delayed(drop, mean, duplicate, law=law, most=most, use=use, channel=linear(lost=lost))

    def step(link, x, key, active, numbers):
        made = network(key, None if use == "each" else active)
        received, new, bits = channel(*numbers).mix(link, x, made)
        keep = lambda a, b: jnp.where(active.reshape((-1,) + (1,) * (a.ndim - 1)), a, b)  # noqa: E731
        return received, jax.tree.map(keep, new, link), bits

    link = channel(0.0, 0.0, 0.0).open(jnp.zeros((N, 2)), network(jax.random.key(0), None))
    return jax.jit(step), link, [np.asarray(array) for array in network(jax.random.key(0), None).table()]


def mailboxes(table, use, lost, *, active, key, mean, drop, duplicate, law, most=MOST):
    """The same, edge by edge, with letters that carry the round they were sent in."""
    index, weight, own = table
    letters = {}  # (receiver, slot) -> list of (sent, arrives, twice, message)

    def step(x, t):
        awake = active[t]
        arrives = np.asarray(uniform_by_edge(key(t), jnp.asarray(index), False)) >= drop
        takes = np.asarray(rounds_under_way(key(t), jnp.asarray(index), mean, law, most))
        again = [
            np.asarray(uniform_by_edge(jax.random.fold_in(key(t), 2 + lag), jnp.asarray(index), False))
            for lag in range(most + 1)
        ]
        result, out, bits = x.copy(), np.zeros_like(x), np.zeros(N)
        own_now = own.copy()
        for i in range(N):
            for s in range(index.shape[1]):
                j = index[i, s]
                if weight[i, s] == 0:
                    continue
                box = letters.setdefault((i, s), [])
                if awake[i] and awake[j]:
                    bits[j] += x.shape[1] * 64
                    if arrives[i, s]:
                        box.append((t, t + takes[i, s], x[j].copy()))
                if not awake[i]:
                    continue
                box[:] = [letter for letter in box if t - letter[0] <= most]
                if use == "newest":
                    there = [letter for letter in box if letter[1] <= t]
                    if there:
                        out[i] += weight[i, s] * max(there, key=lambda letter: letter[0])[2]
                    elif lost == "receiver":
                        own_now[i] += weight[i, s]
                else:
                    for sent, arrival, message in box:
                        count = (arrival == t) + (arrival == t - 1 and again[t - sent][i, s] < duplicate)
                        out[i] += count * weight[i, s] * message
        for i in range(N):
            out[i] += own_now[i] * x[i]
        result[awake] = out[awake]
        return result, bits

    return step


CASES = [
    ("ring", "fixed", "newest", "receiver", 2.0, 0.0, 0.0, True),
    ("star", "geometric", "newest", "receiver", 1.0, 0.2, 0.0, True),
    ("ring", "uniform", "newest", "gone", 1.0, 0.3, 0.0, False),
    ("directed", "geometric", "newest", "receiver", 2.0, 0.0, 0.5, True),
    ("directed", "geometric", "each", "receiver", 1.0, 0.1, 0.4, False),
    ("ring", "fixed", "each", "receiver", 1.0, 0.0, 0.0, False),
]


@pytest.mark.parametrize(("graph", "law", "use", "lost", "mean", "drop", "duplicate", "naps"), CASES)
def test_the_channel_is_the_mailboxes(graph, law, use, lost, mean, drop, duplicate, naps):
    rng = np.random.default_rng(0)
    active = rng.uniform(size=(ROUNDS, N)) < 0.7 if naps else np.ones((ROUNDS, N), bool)
    active[~active.any(axis=1), 0] = True  # a round in which all sleep is none: clocks stand still
    key = lambda t: jax.random.fold_in(jax.random.key(5), t)  # noqa: E731
    with jax.enable_x64(True):
        step, link, table = stepped(graph, law, use, lost)
        numbers = tuple(jnp.asarray(value) for value in (mean, drop, duplicate))
        slow = mailboxes(
            table, use, lost, active=active, key=key, mean=mean, drop=drop, duplicate=duplicate, law=law
        )
        x = y = rng.normal(size=(N, 2))
        for t in range(ROUNDS):
            received, link, bits = step(link, jnp.asarray(x), key(t), jnp.asarray(active[t]), numbers)
            x = np.where(active[t][:, None], received, x)
            y, expected = slow(y, t)
            np.testing.assert_allclose(x, y, atol=1e-12)
            np.testing.assert_array_equal(bits, expected)


def test_no_delay_is_the_channel_itself():
    problem = quadratic(N, dim=3)
    options = {"rounds": 5, "eval_every": 5, "precision": "float64"}
    for use in ("newest", "each"):
        late = simulate(dsgd(0.1), problem, tp.ring(N), channel=delayed(mean=0.0, use=use), **options)
        plain = simulate(dsgd(0.1), problem, tp.ring(N), **options)
        np.testing.assert_allclose(late.params["x"], plain.params["x"], atol=1e-13)
        assert late.rows[-1]["bits_total"] == plain.rows[-1]["bits_total"]


def test_a_fixed_delay_is_the_recursion_with_old_neighbours():
    """X(t+1) = diag(W) X(t) + off(W) X(t − 2), and the weight stays at home before anything has come."""
    x = np.random.default_rng(0).normal(size=(N, 2))
    W = tp.ring(N).dense()
    off = W * (1 - np.eye(N))
    past = [x]
    for t in range(9):
        old = off @ past[t - 2] if t >= 2 else off.sum(axis=1, keepdims=True) * past[t]
        past.append(np.diag(W)[:, None] * past[t] + old)
    result = simulate(
        gossip(), average(x), tp.ring(N), channel=delayed(mean=2.0, law="fixed"), rounds=9, eval_every=9,
        precision="float64",
    )  # fmt: skip
    np.testing.assert_allclose(result.params["x"][0], past[-1], atol=1e-12)


def test_stale_gossip_agrees_and_loses_the_mean_while_push_sum_keeps_it():
    x = np.random.default_rng(1).normal(size=(N, 2))
    graph, options = GRAPHS["directed"], {"rounds": 300, "eval_every": 300, "precision": "float64"}

    def gap(algorithm, topology, **how):
        params = simulate(algorithm, average(x), topology, channel=delayed(**how), **options).params["x"][0]
        return np.abs(params - params.mean(axis=0)[None]).max(), np.abs(params - x.mean(axis=0)[None]).max()

    apart, off = gap(gossip(), tp.ring(N))
    assert apart < 1e-9 and off > 1e-3
    apart, off = gap(push_sum(), graph, use="each")
    assert off < 1e-9
    _, off = gap(push_sum(), graph, use="each", duplicate=0.5)  # what comes twice makes mass
    assert off > 1e-3
    copies = [
        simulate(gossip(), average(x), tp.ring(N), channel=delayed(duplicate=twice), **options).params["x"]
        for twice in (0.0, 0.9)
    ]
    np.testing.assert_array_equal(*copies)  # "newest" minds no copies


def test_robust_rules_combine_late_messages_and_nodes_may_sleep():
    late = simulate(
        dsgd(0.1), quadratic(N, dim=3), tp.complete(N),
        channel=delayed(channel=robust(rule=nna(), tolerated=1)), faults=faults.on_off(), rounds=200,
        eval_every=200, byzantine=np.arange(N) == 5, attack=attacks.sign_flip(3.0),
    )  # fmt: skip
    assert np.isfinite(late.params["x"][0, :5]).all() and late.rows[-1]["consensus"] < 1.0


def test_longer_delays_slow_consensus():
    x = np.random.default_rng(0).normal(size=(N, 2))
    gaps = [
        simulate(
            gossip(), average(x), tp.ring(N), channel=delayed(mean=mean, law="fixed"), rounds=30, eval_every=30,
            precision="float64",
        ).rows[-1]["consensus"]
        for mean in (0.0, 2.0, 4.0)
    ]  # fmt: skip
    assert gaps[0] < 0.1 * gaps[1] < 0.01 * gaps[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mean": 5.0, "law": "fixed"}, "a delay may be 5 rounds, and most is 4; got mean 5"),
        ({"mean": 3.0, "law": "uniform"}, "a delay may be 6 rounds, and most is 4"),
        ({"mean": 1.5, "law": "fixed"}, "law 'fixed' needs whole rounds, got mean 1.5"),
        ({"mean": -1.0}, "got mean -1"),
        ({"mean": float("inf")}, "mean must be at least 0 and finite, got mean inf"),
        ({"mean": float("nan"), "law": "fixed"}, "mean must be at least 0 and finite, got mean nan"),
        ({"most": 0}, "most must be at least 1, got 0"),
        ({"law": "normal"}, "law must be one of fixed, uniform, geometric, got 'normal'"),
        ({"use": "all"}, "use must be one of newest, each, got 'all'"),
        ({"drop": 1.5}, r"delayed: drop must be in \[0, 1\], got 1.5"),
        ({"duplicate": -0.1}, r"duplicate must be in \[0, 1\], got -0.1"),
        ({"channel": median()}, "channel must combine messages in slots, as linear and robust do"),
        ({"channel": linear(0.5, lost="sender")}, "and lose none to its sender"),
        ({"use": "each", "channel": robust(rule=nna())}, "use 'each' needs the channel linear, without drop"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(ValueError, match=message):
        delayed(**options)


def test_what_a_run_refuses():
    problem = quadratic(N, dim=3)
    with pytest.raises(ValueError, match="'delayed' needs a topology that is fixed"):
        simulate(dsgd(0.1), problem, tp.one_peer_exponential(N), channel=delayed(), rounds=2)
    with pytest.raises(ValueError, match="use 'each' needs every node in every round"):
        simulate(
            dsgd(0.1), problem, tp.ring(N), channel=delayed(use="each"), faults=faults.on_off(), rounds=2
        )
