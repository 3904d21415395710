"""DiLoCo and its kin: against plain NumPy, what they become at the ends of their options, and who comes and goes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
import references_diloco

from dlax import mixing, theory
from dlax import topology as tp
from dlax.algorithms import (
    centralized_sgd,
    delayed_diloco,
    diloco,
    eager_diloco,
    streaming_diloco,
)
from dlax.algorithms.outer import parity_hash
from dlax.algorithms.streaming_diloco import fragments_of
from dlax.channel import ring_all_reduce
from dlax.optimizers import sgd
from dlax.problems import least_squares, quadratic
from dlax.simulate import simulate
from dlax.types import Problem

pytestmark = pytest.mark.usefixtures("strict_ranks")

N, DIM, H, ROUNDS, LR = 5, 6, 4, 9, 0.02
PROBLEM = least_squares(N, dim=DIM, samples=12, heterogeneity=2.0)
GRAD = references.least_squares_gradient(PROBLEM)
SETTING = {"lr": LR, "rounds": ROUNDS, "local_steps": H}
# The same objects everywhere: equal runs then share a compiled program.
DILOCO, DELAYED = partial(diloco, local_steps=H), partial(delayed_diloco, local_steps=H)
HYPER = {"lr": LR, "outer_lr": 0.7, "outer_momentum": 0.8}


def run(factory, rounds=ROUNDS, problem=PROBLEM, **options):
    options = {"eval_every": rounds, "precision": "float64", **options}
    return simulate(factory, problem, tp.complete(problem.n), rounds=rounds, **options)


def models(result):
    return result.params["x"][0]


def everyone(t):
    return np.ones(N, bool)


@pytest.mark.parametrize(("algorithm", "delayed"), [(DILOCO, False), (DELAYED, True)])
@pytest.mark.parametrize("participation", [None, 0.5])
def test_against_numpy_with_nodes_that_come_and_go(algorithm, delayed, participation):
    present = everyone if participation is None else references_diloco.drawn(0, participation, N)
    who = np.array([present(t) for t in range(ROUNDS)])
    if participation:  # all that may happen does: rounds of one, and nodes that come back
        assert (who.sum(axis=1) < 2).any() or (who.sum(axis=1) == 2).any()
        assert (who[1:] & ~who[:-1]).any()
    result = run(algorithm, hyper=HYPER, participation=participation)
    want = references_diloco.diloco(
        GRAD, np.zeros(DIM), N, outer=references_diloco.Outer(0.7, 0.8), present=present, delayed=delayed, **SETTING
    )  # fmt: skip
    np.testing.assert_allclose(models(result), want, atol=1e-10)
    assert np.abs(want).max() > 0.1


def test_eager_against_numpy():
    result = run(partial(eager_diloco, local_steps=H), hyper=HYPER)
    want = references_diloco.eager(GRAD, np.zeros(DIM), N, outer=references_diloco.Outer(0.7, 0.8), **SETTING)
    np.testing.assert_allclose(models(result), want, atol=1e-10)
    assert np.ptp(want, axis=0).max() > 1e-3


def layered():
    """The same least squares with parameters in three layers, of which the tenth is the last."""
    cuts = {"layer_2": slice(0, 1), "layer_9": slice(1, 4), "layer_10": slice(4, DIM)}

    def whole(params):
        return {"x": jnp.concatenate([params[name] for name in cuts])}

    return Problem(
        N,
        lambda key: {name: jnp.zeros(DIM)[cut] for name, cut in cuts.items()},
        lambda params, key, local, shared: PROBLEM.loss(whole(params), key, local, shared),
        PROBLEM.local,
        PROBLEM.shared,
        lambda params, local, shared: PROBLEM.objective(whole(params), local, shared),
    ), cuts


@pytest.mark.parametrize(("overlap", "keep", "fragments"), [(1, 0.5, 3), (3, 0.25, 2)])
def test_streaming_against_numpy(overlap, keep, fragments):
    problem, cuts = layered()
    factory = partial(streaming_diloco, local_steps=H, overlap=overlap, fragments=fragments)
    result = run(factory, problem=problem, hyper={**HYPER, "keep": keep})
    got = np.concatenate([result.params[name][0] for name in cuts], axis=1)
    parts = [[0], [1, 2, 3], [4, 5]] if fragments == 3 else [[0, 4, 5], [1, 2, 3]]
    want = references_diloco.streaming(
        GRAD, np.zeros(DIM), N, parts, outer=references_diloco.Outer(0.7, 0.8), keep=keep, overlap=overlap, **SETTING
    )  # fmt: skip
    np.testing.assert_allclose(got, want, atol=1e-10)


def test_fragments_are_layers_in_the_order_of_their_numbers():
    params = {"Dense_10": [0, 0], "Dense_2": {"b": 0, "w": 0}, "Dense_9": 0}  # leaves 0, 1; 2, 3; 4
    assert fragments_of(params, None, "strided") == [[2, 3], [4], [0, 1]]
    assert fragments_of(params, 2, "strided") == [[0, 1, 2, 3], [4]]
    assert fragments_of(params, 2, "sequential") == [[2, 3, 4], [0, 1]]
    with pytest.raises(ValueError, match=r"fragments must be in 1..3, the number of layers, got 4"):
        fragments_of(params, 4, "strided")


# ------------------------------------------------------------------------------------------------- special cases

NOISY = quadratic(N, dim=3, noise=1.0)


def test_one_plain_step_is_synchronous_sgd():
    """That several are FedAvg is a row of the paper's table."""
    one = run(diloco(0.1, 1.0, 0.0, local_steps=1, optimizer=sgd()), problem=NOISY)
    np.testing.assert_allclose(models(one), models(run(centralized_sgd(0.1), problem=NOISY)), atol=1e-12)


def test_streaming_of_one_fragment_is_diloco_bit_for_bit():
    whole = run(DILOCO, hyper=HYPER, participation=0.7)
    streamed = partial(streaming_diloco, local_steps=H, overlap=0, fragments=1)
    result = run(streamed, hyper={**HYPER, "keep": 0.0}, participation=0.7)
    present = references_diloco.drawn(0, 0.7, N)(ROUNDS - 1)
    np.testing.assert_array_equal(models(result)[present], models(whole)[present])


def test_eager_alone_is_diloco_bit_for_bit():
    alone = quadratic(1, dim=3, noise=1.0)
    a, b = (run(partial(f, local_steps=H), problem=alone, hyper=HYPER) for f in (diloco, eager_diloco))
    np.testing.assert_array_equal(models(a), models(b))


def test_everyone_there_by_chance_is_everyone_there_bit_for_bit():
    always, drawn = (run(DILOCO, hyper=HYPER, participation=p) for p in (None, 1.0))
    np.testing.assert_array_equal(models(always), models(drawn))


def test_a_delayed_round_uses_nothing_of_its_own():
    """After the first round nothing has moved; after two the first outer gradient has been applied."""
    hyper = {**HYPER, "outer_momentum": 0.0}
    first = run(DELAYED, 1, hyper=hyper)
    np.testing.assert_array_equal(models(first), 0.0)
    second = run(DELAYED, 2, hyper=hyper)
    whole = run(DILOCO, 1, hyper=hyper)
    np.testing.assert_allclose(models(second), models(whole), atol=1e-15)


# --------------------------------------------------------------------------------------------- who comes and goes


def by_hand(active):
    """A round without an engine: gradient x − i of node i, and these nodes there."""
    with jax.enable_x64(True):
        plan, tables = mixing.plan(tp.complete(N), dtype=np.float64)
        network = mixing.network(
            plan, jax.tree.map(jnp.asarray, tables), jnp.int32(0), jax.random.key(0), jax.random.key(0), active
        )  # fmt: skip

    def grad(params, key, nodes=None):
        targets = jnp.arange(float(N))
        return jnp.zeros(N), jax.tree.map(lambda leaf: leaf - targets[:, None], params)

    class Hand:
        t, key = jnp.int32(0), jax.random.key(0)

        def require(self, who, *words):
            pass

        def over(self, channel):
            self.open = lambda message: channel.open(message, network)
            self.mix = lambda link, message: channel.mix(link, message, network)
            return self

    hand = Hand()
    hand.grad, hand.active = grad, active
    return hand


@pytest.mark.parametrize("factory", [diloco, delayed_diloco, partial(streaming_diloco, overlap=0, keep=0.0)])
def test_absent_slots_full_of_nan_and_failures_leave_the_mean_of_the_survivors(factory):
    """Node 4 fails and node 1 was never there: what they hold is no number, and node 2 was asleep before."""
    with jax.enable_x64(True):
        algorithm = factory(0.1, 0.7, 0.5, local_steps=3, optimizer=sgd())
        everybody, some = jnp.ones(N, bool), jnp.array([True, False, True, True, False])
        start = algorithm.init({"x": jnp.zeros((N, 2))}, by_hand(everybody))
        first, _ = algorithm.step(start, by_hand(everybody))
        asleep = jnp.array([False, False, True, False, False])
        before = jax.tree.map(
            lambda new, old: jnp.where(asleep.reshape(-1, *[1] * (new.ndim - 1)), old, new), first, start
        )
        ruined = jax.tree.map(
            lambda leaf: jnp.where(some.reshape(-1, *[1] * (leaf.ndim - 1)), leaf, jnp.nan)
            if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf,
            before,
        )  # fmt: skip
        after, info = algorithm.step(ruined, by_hand(some))
        want = survivors(factory, [0, 2, 3])
        got = np.asarray(after.params["x"])[np.asarray(some)]
        np.testing.assert_allclose(got, np.full_like(got, want), atol=1e-12)
        np.testing.assert_array_equal(after.revision[some], 2)
        hashes = np.asarray(parity_hash(after.params))[np.asarray(some)]
        assert len(set(hashes)) == 1  # the one that joins has the bits of those that were there
        np.testing.assert_array_equal(np.asarray(info["bits"])[~np.asarray(some)], 0)


def survivors(factory, who):
    """θ after a round of all and one of some, one coordinate."""
    take, theta, momentum, pending = 1 - 0.9**3, 0.0, 0.0, 0.0
    for nodes in (range(N), who):
        mean = np.mean([take * (theta - i) for i in nodes])
        delta, pending = (pending, mean) if factory is delayed_diloco else (mean, 0.0)
        momentum = 0.5 * momentum + delta
        theta -= 0.7 * (delta + 0.5 * momentum)
    return theta


@pytest.mark.parametrize("factory", [diloco, delayed_diloco, streaming_diloco])
def test_a_round_of_one_is_dropped_whole(factory):
    with jax.enable_x64(True):
        algorithm = factory(0.1, local_steps=3)
        start = algorithm.init({"x": jnp.zeros((N, 2))}, by_hand(jnp.ones(N, bool)))
        after, info = algorithm.step(start, by_hand(jnp.arange(N) == 3))
        jax.tree.map(np.testing.assert_array_equal, after, start)
        np.testing.assert_array_equal(info["bits"], 0)


def test_who_hands_over_the_state_pays_for_it():
    with jax.enable_x64(True):
        algorithm = diloco(0.1, local_steps=1, optimizer=sgd())
        start = algorithm.init({"x": jnp.zeros((N, 2))}, by_hand(jnp.ones(N, bool)))
        reduce = np.asarray(algorithm.step(start, by_hand(jnp.ones(N, bool)))[1]["bits"])
        stale = start._replace(revision=jnp.array([1, 2, 0, 2, 2], jnp.int32))
        _, info = algorithm.step(stale, by_hand(jnp.ones(N, bool)))
        np.testing.assert_array_equal(info["bits"] - reduce, [0, 2 * 2 * 2 * 64, 0, 0, 0])


# --------------------------------------------------------------------------------------------------- the ring

D = 23


def reduce(rows, active, **options):
    channel = ring_all_reduce(**options)
    plan, tables = mixing.plan(tp.complete(len(rows)), dtype=rows.dtype)
    key = jax.random.key(0)
    network = mixing.network(plan, jax.tree.map(jnp.asarray, tables), jnp.int32(0), key, key, active)
    message = {"a": jnp.asarray(rows[:, :10]), "b": jnp.asarray(rows[:, 10:]).reshape(len(rows), -1, 1)}
    received, _, bits = channel.mix(channel.open(message, network), message, network)
    return np.concatenate([received["a"], received["b"][..., 0]], axis=1), np.asarray(bits)


@pytest.mark.parametrize("rounding", ["truncate", "nearest"])
@pytest.mark.parametrize("there", [[1, 1, 1, 1, 1], [0, 1, 1, 0, 1], [0, 0, 1, 1, 0], [0, 0, 0, 1, 0]])
def test_the_quantised_ring_sends_what_peers_with_buffers_do(rounding, there):
    there = np.array(there, bool)
    rows = np.random.default_rng(0).normal(size=(5, D))
    rows[there, 3] = 0.25
    rows[~there] = np.nan
    with jax.enable_x64(True):
        got, bits = reduce(rows, jnp.asarray(there), quantised=True, rounding=rounding)
    want, sent = references_diloco.ring(rows[there], rounding)
    assert (want == want[0]).all(), "every peer reads the same"
    np.testing.assert_allclose(got[there], want, atol=1e-12)
    hops = 2 * (there.sum() - 1)
    np.testing.assert_array_equal(bits[there], 8 * sent + hops * 2 * 64)
    np.testing.assert_array_equal(bits[~there], 0)


def test_the_exact_ring_is_the_mean_of_who_is_there_and_counts_chunks():
    rows, there = np.random.default_rng(1).normal(size=(5, D)), np.array([1, 0, 1, 1, 1], bool)
    rows[1] = np.nan
    with jax.enable_x64(True):
        got, bits = reduce(rows, jnp.asarray(there))
    np.testing.assert_allclose(got[there], np.tile(rows[there].mean(axis=0), (4, 1)), atol=1e-14)
    np.testing.assert_array_equal(bits[there], 64 * references_diloco.ring(rows[there], "nearest")[1])


def test_a_chunk_of_equal_numbers_and_one_shorter_than_the_ring():
    with jax.enable_x64(True):
        for rounding in ("truncate", "nearest"):
            got, _ = reduce(np.full((5, 12), 0.3), None, quantised=True, rounding=rounding)
            np.testing.assert_allclose(got, 0.3, rtol=1e-15)
            few = np.random.default_rng(2).normal(size=(14, 12))  # two of the chunks are empty
            got, _ = reduce(few, None, quantised=True, rounding=rounding)
            np.testing.assert_allclose(got, references_diloco.ring(few, rounding)[0], atol=1e-12)


def test_what_the_ring_refuses():
    with pytest.raises(ValueError, match="rounding must be one of nearest, truncate, got 'up'"):
        ring_all_reduce(rounding="up")
    with pytest.raises(ValueError, match="a message must be floating, got a leaf of dtype int32"):
        ring_all_reduce().open({"x": jnp.zeros((2, 3), jnp.int32)}, None)


def test_the_hash_is_that_of_integers():
    rows = np.random.default_rng(0).normal(size=(3, 300)).astype(np.float32)
    rows[2] = rows[0]
    got = np.asarray(parity_hash({"a": jnp.asarray(rows[:, :7]), "b": jnp.asarray(rows[:, 7:])}))
    assert [int(value) for value in got] == [references_diloco.parity_hash(r.view(np.uint32)) for r in rows]
    assert got[0] == got[2] != got[1]
    rows[2, 299] = np.nextafter(rows[2, 299], np.float32(9))
    assert parity_hash(jnp.asarray(rows))[2] != got[0]


# ------------------------------------------------------------------------------------------------------ refusals


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"streaming_diloco: overlap must be in 0..29, got 30"):
        streaming_diloco(overlap=30)
    with pytest.raises(ValueError, match=r"streaming_diloco: keep must be in \[0, 1\], got 1.5"):
        streaming_diloco(keep=1.5)
    with pytest.raises(ValueError, match="streaming_diloco: pattern must be one of strided, sequential"):
        streaming_diloco(pattern="random")
    for factory in (diloco, delayed_diloco, eager_diloco, streaming_diloco):
        with pytest.raises(ValueError, match=r"outer_momentum must be in \[0, 1\), got 1"):
            factory(outer_momentum=1.0)
    with pytest.raises(ValueError, match="'eager_diloco' needs every node and link in every round"):
        run(eager_diloco(local_steps=1), 1, participation=0.5)


# -------------------------------------------------------------------------------------------------------- theory


def test_the_numbers_of_the_note():
    radius, limit = theory.outer_radius, theory.outer_limit
    assert [round(radius(c), 3) for c in (0.1, 0.5, 1.0)] == [0.915, 0.765, 0.52]
    assert radius(1.0, 0.7, 0.0, form="delayed") == pytest.approx(np.sqrt(0.7), rel=1e-12)
    assert [limit(), limit(0.4)] == pytest.approx([0.362, 0.633], abs=1e-3)
    assert [limit(form="eager", workers=w) for w in (3, 4, 8)] == pytest.approx(
        [0.719, 0.595, 0.458], abs=1e-3
    )
    assert limit(form="eager", workers=2) == limit(0.7, 0.0) == limit(form="synchronous") == np.inf
    with pytest.raises(
        ValueError, match="theory: form must be one of synchronous, delayed, eager, got 'late'"
    ):
        radius(0.5, form="late")


@pytest.mark.parametrize(("factory", "form"), [(diloco, "synchronous"), (delayed_diloco, "delayed"),
                                               (eager_diloco, "eager")])  # fmt: skip
def test_the_companion_matrix_is_the_algorithm(factory, form):
    """Same rounds on x²/2, whose minimiser is 1, with c = 0.5."""
    problem = quadratic(3, dim=1, heterogeneity=0.0, condition=1.0)
    result = run(factory(0.5, local_steps=1, optimizer=sgd(), outer_momentum=0.9), 7, problem=problem)
    matrix = theory.outer_matrix(0.5, form=form, workers=3)
    want = np.linalg.matrix_power(matrix, 7)[0, 0]
    away = (models(result) - problem.optimum["x"])[:, 0] / -problem.optimum["x"][0]
    np.testing.assert_allclose(away, want, atol=1e-12)
