"""Bristle: weights with golden numbers, the channel against a loop over nodes, and the quick reproduction."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_attacked import graph, mask_of, network, sending, telling

from dlax import channel
from dlax.algorithms import dsgd
from dlax.channel.bristle import Exam, bristle, f1, prioritised, weights
from dlax.data import digits
from dlax.papers import reproduce
from dlax.papers.bristle import apply, consolidated
from dlax.problems import softmax
from dlax.simulate import simulate
from dlax.topology import complete

pytestmark = pytest.mark.xdist_group("bristle")  # one run of the paper serves all tests here

C, T, D = 4, 12, 3


def sig(s):
    return max(0.0, 10 / (1 + np.exp(-s / 100)) - 4)


def loop_weights(mine, theirs, familiar, shared):
    known = sorted((c for c in range(len(mine)) if familiar[c]), key=lambda c: -theirs[c])[:shared]
    score = {}
    for c in known:
        gap = 10 * abs(mine[c] - theirs[c])
        score[c] = gap ** (3 + mine[c]) if theirs[c] > mine[c] else -(gap ** (4 + mine[c]))
    best = [theirs[c] for c in known]
    certainty = max(0.0, np.mean(best) - np.std(best)) if best else 0.0
    made = np.zeros(len(mine))
    for c in range(len(mine)):
        if not familiar[c]:
            made[c] = certainty * sig(sum(score.values()))
        elif c in known:
            made[c] = certainty * sig(max(score[c], -100))
    return made


def loop_f1(said, y, used):
    scores = []
    for c in range(C):
        hit = sum(1 for a, b, u in zip(said, y, used, strict=True) if u and a == b == c)
        either = sum(int(a == c) + int(b == c) for a, b, u in zip(said, y, used, strict=True) if u)
        scores.append(2 * hit / either if either else 0.0)
    return np.array(scores)


def exam_of(n, rng):
    familiar = (np.arange(C)[None] - np.arange(n)[:, None]) % C < 2
    y = np.array([rng.choice(np.flatnonzero(row), T) for row in familiar])
    used = rng.random((n, T)) < 0.8
    return Exam(rng.normal(size=(n, T, D)), y, used, familiar)


@pytest.mark.parametrize(
    ("mine", "theirs", "expected"),
    [
        (0.7, 0.7, 0.7),
        (0.0, 1.0, 6 * (1 - 1e-4)),
        (0.8, 0.9, 1.025 * 0.9),
        (0.9, 0.7, 0.259 * 0.7),
        (0.9, 0.6, 0.0),
        (0.9, 0.68, 0.0),
    ],
)
def test_golden_weights(mine, theirs, expected):
    with jax.enable_x64(True):
        made = weights(jnp.array([mine]), jnp.array([theirs]), jnp.array([True]), jnp.int32(1))
    assert made[0] == pytest.approx(expected, abs=1e-3)


def test_weights_are_their_loop_and_bounded():
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        made = jax.jit(weights)
        for _ in range(30):
            mine, theirs = rng.integers(0, 11, (2, 6)) / 10  # ties occur
            familiar, shared = rng.random(6) < 0.6, int(rng.integers(0, 5))
            got = made(jnp.asarray(mine), jnp.asarray(theirs), jnp.asarray(familiar), jnp.int32(shared))
            np.testing.assert_allclose(got, loop_weights(mine, theirs, familiar, shared), atol=1e-10)
            assert (got >= 0).all() and (got <= 6).all()


@pytest.mark.parametrize("name", ["ring", "complete"])
@pytest.mark.parametrize("form", ["honest", "sent", "told", "bomb"])
def test_the_channel_is_its_loop(name, form):
    topology, rng = graph(name), np.random.default_rng(1)
    n = topology.n
    mask = mask_of(n) if form == "honest" else mask_of(n, 2, 5)
    exam = exam_of(n, rng)
    x, lie = rng.normal(size=(2, n, (D + 1) * C))
    lie = np.full_like(lie, np.nan) if form == "bomb" else lie

    def layer(params, samples):
        table = params["x"].reshape(D + 1, C)
        return samples @ table[:D] + table[D][None]

    # All are tested: whom the prioritizer draws has its own test.
    over = bristle(exam, layer, prioritizer="random", candidates=n)
    with jax.enable_x64(True), jax.numpy_rank_promotion("raise"):
        net, message = network(topology, mask), {"x": jnp.asarray(x.reshape(n, D + 1, C))}
        rows = jnp.asarray(lie.reshape(n, D + 1, C))
        if form != "honest":
            over = channel.attacked(over, telling(rows) if form == "told" else sending(rows))
        received, _, bits = over.mix(over.open(message, net), message, net)
    W = topology.dense()
    for i in np.flatnonzero(~mask):
        score = {}
        total, top = np.ones(C), x[i].reshape(D + 1, C).copy()
        for j in np.flatnonzero(W[i]):
            row = (lie[i] if form == "told" else lie[j]) if mask[j] else x[j]
            if not np.isfinite(row).all():
                continue
            table = row.reshape(D + 1, C)
            said = (exam.x[i] @ table[:D] + table[D]).argmax(axis=1)
            score[j] = (table, loop_f1(said, exam.y[i], exam.used[i]))
        for j, (table, theirs) in score.items():
            if j != i:
                shared = int((exam.familiar[i] & exam.familiar[j]).sum())
                w = loop_weights(score[i][1], theirs, exam.familiar[i], shared)
                total, top = total + w, top + w * table
        expected = top / total
        expected -= expected.mean(axis=0)
        np.testing.assert_allclose(received["x"][i], expected, atol=1e-10)
    assert np.asarray(bits)[0] == 64 * (D + 1) * C * (np.count_nonzero(W[:, 0]) - 1)


def test_without_weight_a_model_stays_as_it_is_bit_by_bit():
    n, rng = 8, np.random.default_rng(2)
    exam = exam_of(n, rng)
    strangers = exam._replace(familiar=np.arange(C)[None] == np.arange(n)[:, None] % C)
    x = rng.normal(size=(n, D, C))
    topology = graph("ring")  # neighbours share no class
    with jax.enable_x64(True):
        net, message = network(topology, mask_of(n)), {"x": jnp.asarray(x)}
        over = bristle(strangers, lambda params, samples: samples @ params["x"], centre=False)
        received, trust, _ = over.mix(over.open(message, net), message, net)
    assert (np.asarray(trust.weight) == 0).all() and np.asarray(trust.chosen).any()
    np.testing.assert_array_equal(received["x"], x)


def test_f1_of_a_class_without_samples_or_predictions_is_zero():
    y, said = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    made = f1(jax.nn.one_hot(said, C), jnp.asarray(y), jnp.ones(4, bool))
    np.testing.assert_allclose(made, [2 / 3, 4 / 5, 0, 0], atol=1e-6)


def test_prioritizers():
    far, usable = jnp.arange(30.0)[::-1], jnp.ones(30, bool)
    chosen = np.asarray(prioritised(jax.random.key(0), far, usable, "thirds", 10, 0.4))
    assert [chosen[20:].sum(), chosen[10:20].sum(), chosen[:10].sum()] == [4, 5, 2]
    near = np.asarray(prioritised(jax.random.key(0), far, usable, "nearest", 10, 0.4))
    assert near[20:].all() and near.sum() == 12
    some = usable.at[:15].set(False)
    drawn = np.asarray(prioritised(jax.random.key(0), far, some, "random", 10, 0.4))
    assert drawn.sum() == 10 and not drawn[:15].any()
    other = np.asarray(prioritised(jax.random.key(1), far, some, "random", 10, 0.4))
    assert (drawn != other).any()


def test_consolidated_is_a_training_copy_whose_familiar_columns_are_kept():
    problem = softmax(2, dataset=digits(), batch_size=5, optimum=False)
    familiar = np.array([[True] * 4 + [False] * 6, [False] * 5 + [True] * 5])
    options = {"rounds": 1, "precision": "float64", "start": "common"}
    moved, kept = (
        simulate(dsgd(0.1), each, complete(2), channel=alone(), **options).params
        for each in (problem, consolidated(problem, familiar))
    )
    for name, leaf in kept.items():
        mask = familiar if leaf.ndim == 3 else familiar[:, None]  # [runs, n, C] or [runs, n, d, C]
        np.testing.assert_array_equal(leaf[0], np.where(mask, np.asarray(moved[name])[0], 0))
        assert np.asarray(moved[name])[0][~np.broadcast_to(mask, leaf[0].shape)].any()


def alone():
    """Everyone keeps its own."""
    plain = channel.linear()
    return plain._replace(mix=lambda link, message, net: (message, link, net.out_degree), plain=False)


def test_options_are_checked():
    exam = exam_of(8, np.random.default_rng(0))
    with pytest.raises(ValueError, match="bristle: prioritizer must be one of thirds, random, nearest"):
        bristle(exam, apply, prioritizer="all")
    with pytest.raises(ValueError, match="bristle: candidates must be at least 1, got 0"):
        bristle(exam, apply, candidates=0)
    with pytest.raises(ValueError, match="bristle: explore must be in"):
        bristle(exam, apply, explore=2.0)
    with pytest.raises(ValueError, match="bristle: exam must have 8 nodes in every field"):
        bristle(exam._replace(y=exam.y[:3]), apply)
    net = network(graph("ring"), mask_of(8))
    with pytest.raises(ValueError, match="bristle: exam is of 8 nodes and 4 classes"):
        bristle(exam, apply).open({"x": jnp.zeros((8, 3))}, net)


@pytest.fixture(scope="module")
def made():
    return reproduce("bristle")


def test_verdicts_are_as_they_are(made):
    assert made.claims.failing == []
    assert len(made.rows()) == 19


def test_the_picture_has_its_panels(made):
    assert len(made.figure.axes) == 3
    for axes in made.figure.axes:
        assert axes.get_xlabel() and axes.get_ylabel() and axes.get_legend() is not None
        assert len(axes.lines) >= 2 and len(axes.collections) >= 2  # bands over seeds
        for line in axes.lines:
            assert np.isfinite(np.asarray(line.get_ydata(), float)).all()


@pytest.mark.slow
def test_the_slow_version(images):
    assert reproduce("bristle", slow=True).claims.failing == []
