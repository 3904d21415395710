"""The events clock: packing is exact, runs are what a plain loop over events gives, and they resume bit for bit."""

import functools

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

import dlax
from dlax import experiment
from dlax import topology as tp
from dlax.algorithms import dsgd
from dlax.algorithms.asynchronous import ASYNCHRONOUS, acid, ad_psgd, continuized, dadao, pairwise_gossip
from dlax.algorithms.asynchronous.dadao import flow_of_six
from dlax.problems import average, least_squares, quadratic
from dlax.simulate import layers as packing
from dlax.simulate.events import generator
from dlax.simulate.streams import stream
from dlax.types import EventList

N, DURATION = 6, 8.0
RING = tp.ring(N)
EXACT = quadratic(N, dim=3)
NOISY = quadratic(N, dim=3, noise=1.0)


def as_list(pairs):
    node, peer = np.array(pairs, np.int32).reshape(-1, 2).T
    return EventList(np.arange(1.0, len(pairs) + 1), node, peer)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=40),
    st.one_of(st.none(), st.tuples(st.integers(1, 3), st.integers(1, 3))),
)
def test_layers_keep_the_order_of_every_node_and_never_touch_one_twice(pairs, width):
    layer = packing.layers(as_list(pairs), 6, width)
    last = dict.fromkeys(range(6), -1)
    for number, ends in zip(layer, pairs, strict=True):
        assert number > max(last[i] for i in ends)
        last.update(dict.fromkeys(ends, number))
    if width is None:  # no event could be earlier
        free = dict.fromkeys(range(6), 0)
        for number, ends in zip(layer, pairs, strict=True):
            assert number == max(free[i] for i in ends)
            free.update(dict.fromkeys(ends, number + 1))
    else:
        for kind, most in enumerate(width):
            counts = np.bincount([n for n, (i, j) in zip(layer, pairs, strict=True) if (i != j) == kind])
            assert counts.max(initial=0) <= most


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=20), st.booleans())
def test_every_event_has_one_slot_with_the_time_since_its_nodes_were_touched(pairs, one_at_a_time):
    events, ends = as_list(pairs), np.array([0.0, 4.5, 11.0, 20.0])
    packed = packing.pack(events, 4, ends, (2, 2), one_at_a_time=one_at_a_time)
    found, touched = {}, np.zeros(4)
    for block in packed.blocks:
        for slots in (block.alone, block.pairs):
            for layer, slot in np.argwhere(slots.own < 4):
                found[int(slots.number[layer, slot])] = [array[layer, slot] for array in slots]
    for e, (i, j) in enumerate(pairs):
        own, peer, time, own_rest, peer_rest, _ = found.pop(e)
        assert (own, peer, time) == (i, j, e + 1)
        assert (own_rest, peer_rest) == (e + 1 - touched[i], e + 1 - touched[j])
        touched[[i, j]] = e + 1
    assert not found
    for end, block in zip(ends, packed.blocks, strict=True):
        before = [
            max([e + 1 for e, p in enumerate(pairs) if i in p and e + 1 <= end], default=0) for i in range(4)
        ]
        np.testing.assert_array_equal(block.rest, end - np.array(before))
    both = sum(i != j for i, j in pairs)
    assert (packed.pairs.sum(), packed.alone.sum()) == (both, len(pairs) - both)


PROBLEMS = {"pairwise_gossip": average(N, dim=3), "continuized": EXACT}
QUICK = {
    "ad_psgd": {"lr": 0.1},
    "acid": {"lr": 0.1},
    "dadao": {"convexity": 0.1},
    "continuized": {"convexity": 0.1},
}
every_algorithm = pytest.mark.parametrize("name", ASYNCHRONOUS)


def problem_of(name):
    problem = PROBLEMS.get(name, NOISY)
    return with_conjugate(problem) if name == "continuized" else problem


def with_conjugate(problem):
    """∇fᵢ*(y) of a quadratic: A (x − x*) + g = y."""

    def conjugate(y, local, shared):
        return {"x": shared["optimum"] + jax.numpy.linalg.solve(local["A"], y["x"] - local["g"])}

    return problem._replace(conjugate=conjugate)


@functools.cache
def run(name, one_at_a_time=False, eval_every=2.0, seeds=2, precision="float32"):
    return dlax.simulate(
        ASYNCHRONOUS[name], problem_of(name), RING, duration=DURATION, eval_every=eval_every, seeds=seeds,
        hyper=QUICK.get(name), one_at_a_time=one_at_a_time, precision=precision,
    )  # fmt: skip


@every_algorithm
def test_layers_give_the_bits_of_one_event_at_a_time(name):
    layered, single = run(name), run(name, one_at_a_time=True)
    np.testing.assert_array_equal(layered.params["x"], single.params["x"])
    assert layered.rows == single.rows or all(
        a.keys() == b.keys()
        and all(np.array_equal(a[k], b[k], equal_nan=True) for k in a if k != "train_loss")
        for a, b in zip(layered.rows, single.rows, strict=True)
    )


@every_algorithm
def test_measuring_more_often_changes_no_bit(name):
    np.testing.assert_array_equal(run(name).params["x"], run(name, eval_every=0.7).params["x"])


@every_algorithm
def test_a_run_of_one_seed_is_that_of_many(name):
    alone = dlax.simulate(
        ASYNCHRONOUS[name], problem_of(name), RING, duration=DURATION, seeds=[1], hyper=QUICK.get(name),
        eval_every=2.0, precision="float64",
    )  # fmt: skip
    both = run(name, precision="float64")
    np.testing.assert_allclose(alone.params["x"][0], both.params["x"][1], rtol=0, atol=1e-12)
    assert (both.params["x"][0] != both.params["x"][1]).any()


# Plain loops, one event after the other, every node's state moved on at every event.


def events_of(algorithm, seed=0):
    drawn = algorithm.timing(RING)
    return drawn.draw(DURATION, generator(seed)), drawn.facts


def gradient(problem, i, x):
    return problem.local["A"][i] @ (x - problem.shared["optimum"]) + problem.local["g"][i]


def plain_pairwise():
    events, _ = events_of(pairwise_gossip())
    x = np.asarray(problem_of("pairwise_gossip").starts["x"], np.float64).copy()
    for i, j in zip(events.node, events.peer, strict=True):
        x[i] = x[j] = (x[i] + x[j]) / 2
    return x


def plain_ad_psgd(lr):
    events, _ = events_of(ad_psgd())
    x, read = np.zeros((N, 3)), np.zeros((N, 3))
    for i, j in zip(events.node, events.peer, strict=True):
        g = gradient(EXACT, i, read[i])
        mean = (x[i] + x[j]) / 2
        x[j] = mean
        x[i] = read[i] = mean - lr * g
    return x


def plain_acid(lr):
    events, facts = events_of(acid())
    x, partner, now = np.zeros((N, 3)), np.zeros((N, 3)), 0.0
    A = np.array([[-facts["eta"], facts["eta"]], [facts["eta"], -facts["eta"]]])

    def flow(dt):
        phi = expm(A * dt)
        return phi[0, 0] * x + phi[0, 1] * partner, phi[1, 0] * x + phi[1, 1] * partner

    for time, i, j in zip(*events, strict=True):
        x, partner = flow(time - now)
        now = time
        if i == j:
            g = gradient(EXACT, i, x[i])
            x[i] -= lr * g
            partner[i] -= lr * g
        else:
            D = x[i] - x[j]
            x[i], x[j] = x[i] - D / 2, x[j] + D / 2
            partner[i], partner[j] = partner[i] - facts["alpha"] * D, partner[j] + facts["alpha"] * D
    return flow(DURATION - now)[0]


def plain_dadao(L, mu):
    events, facts = events_of(dadao())
    nu = mu / 2
    r = np.sqrt(nu / L)
    A = dadao_matrix(nu, r)
    S, now = np.zeros((6, N, 3)), 0.0
    for time, i, j in zip(*events, strict=True):
        S, now = np.tensordot(expm(A * (time - now)), S, axes=1), time
        if i == j:
            g = gradient(EXACT, i, S[0, i]) - nu * S[0, i] - S[3, i]
            S[0, i] -= g / (4 * L)
            S[1, i] -= g / (4 * np.sqrt(L * nu))
            S[3, i] += (r / 4 + 1) * g
        else:
            m = (S[2, i] + S[4, i]) - (S[2, j] + S[4, j])
            for node, sign in ((i, -1), (j, 1)):
                S[4, node] += sign * m / 2
                S[5, node] += sign * 2 * facts["chi1"] / r * m
    return np.tensordot(expm(A * (DURATION - now)), S, axes=1)[0]


@settings(max_examples=30, deadline=None)
@given(st.floats(0.001, 1.0), st.floats(0.3, 4.0), st.floats(0.0, 100.0))
def test_dadao_flows_as_the_exponential_of_its_matrix(ratio, L, elapsed):
    nu = ratio * L / 2
    r = np.sqrt(nu / L)
    six = np.random.default_rng(0).normal(size=(6, 3)) * np.array([1, 1, 1, 1, 50, 50])[:, None]
    with jax.enable_x64(True):
        got = np.stack(flow_of_six(tuple(map(jax.numpy.asarray, six)), nu, r, elapsed))
    want = expm(dadao_matrix(nu, r) * elapsed) @ six
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-13 * max(np.abs(six).max(), np.abs(want).max()))


def dadao_matrix(nu, r):
    eta, alpha, alpha_t, theta = r / 8, r / 4, r / 8, 1 / (2 * r)
    A = np.zeros((6, 6))  # x, x̃, y, ỹ, z, z̃
    A[0, :2], A[1, :2] = (-eta, eta), (eta, -eta)
    A[2, 2:4], A[3, 1], A[3, 2], A[3, 4] = (-alpha, alpha), -theta * nu, -theta, -theta
    A[4, 4:], A[5, 4:] = (-alpha, alpha), (alpha_t, -alpha_t)
    return A


def plain_continuized(L, mu):
    events, facts = events_of(continuized())
    problem = problem_of("continuized")

    def model(i, y):
        local, shared = problem.local, problem.shared
        return shared["optimum"] + np.linalg.solve(local["A"][i], y - local["g"][i])

    eta = np.sqrt(facts["gap"] / facts["largest"] * mu / L) * facts["total"]
    y, z, x, now = np.zeros((N, 3)), np.zeros((N, 3)), np.zeros((N, 3)), 0.0
    for time, i, j in zip(*events, strict=True):
        phi = expm(eta * (time - now) * np.array([[-1.0, 1.0], [1.0, -1.0]]))
        y, z = phi[0, 0] * y + phi[0, 1] * z, phi[1, 0] * y + phi[1, 1] * z
        now = time
        G = model(i, y[i]) - model(j, y[j])
        for node, sign in ((i, -1), (j, 1)):
            y[node] += sign * mu / (2 * facts["largest"]) * facts["resistance"][i, j] * G
            z[node] += sign * np.sqrt(L * mu / (2 * facts["gap"] * facts["largest"])) * G
            x[node] = model(node, z[node])
    return x


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("pairwise_gossip", plain_pairwise),
        ("ad_psgd", lambda: plain_ad_psgd(0.1)),
        ("acid", lambda: plain_acid(0.1)),
        ("dadao", lambda: plain_dadao(1.0, 0.1)),
        ("continuized", lambda: plain_continuized(1.0, 0.1)),
    ],
)
def test_a_run_is_what_a_plain_loop_over_events_gives(name, plain):
    problem = EXACT if name in ("ad_psgd", "acid", "dadao") else problem_of(name)
    result = dlax.simulate(
        ASYNCHRONOUS[name], problem, RING, duration=DURATION, eval_every=2.0, hyper=QUICK.get(name),
        precision="float64",
    )  # fmt: skip
    want = plain()
    assert np.abs(want - want.mean(axis=0)).max() > 1e-3  # nodes differ: an order of events could show
    np.testing.assert_allclose(result.params["x"][0], want, rtol=0, atol=1e-10)


def test_minibatches_come_from_the_keys_of_events():
    """One node alone: its gradients' noise is drawn from event number, then node."""
    two = tp.complete(2)
    noisy = quadratic(2, dim=2, noise=1.0, heterogeneity=0.0)
    plain = acid(accelerated=False)
    drawn = plain.timing(two).draw(3.0, generator(0))
    x = np.zeros((2, 2))
    key = stream(jax.random.key(0), "events")
    with jax.enable_x64(True):
        for e, (i, j) in enumerate(zip(drawn.node, drawn.peer, strict=True)):
            if i != j:
                x[i] = x[j] = (x[i] + x[j]) / 2
                continue
            node_key = jax.random.fold_in(stream(jax.random.fold_in(key, e), "data"), i)
            xi = noisy.shared["noise"] * np.asarray(jax.random.normal(node_key, (2,), np.float64))
            x[i] -= 0.1 * (gradient(noisy, i, x[i]) + xi)
    result = dlax.simulate(plain, noisy, two, duration=3.0, precision="float64")
    np.testing.assert_allclose(result.params["x"][0], x, rtol=0, atol=1e-12)


def test_what_a_row_counts():
    result = run("ad_psgd")
    rows = [row for row in result.rows if row["seed"] == 0]
    assert [row["time"] for row in rows] == [0, 2, 4, 6, 8] and [row["round"] for row in rows] == [
        0,
        1,
        2,
        3,
        4,
    ]
    events, _ = events_of(ad_psgd())
    for row in rows:
        meetings = int(np.sum(events.time <= row["time"]))
        assert row["exchanges"] == row["gradients"] == meetings
        assert row["bits_total"] == meetings * 2 * 3 * 32 and row["bits_node"] == row["bits_total"] / N
    assert np.isnan(rows[0]["train_loss"]) and np.isfinite(rows[1]["train_loss"])
    dual = run("continuized").rows[-1]
    assert dual["gradients"] == 2 * dual["exchanges"] > 0


def test_other_values_compile_nothing():
    def own(lr=0.1):
        return ad_psgd(lr)

    def swept(lr):
        return dlax.simulate(own, NOISY, RING, duration=DURATION, eval_every=4.0, seeds=2, hyper={"lr": lr})

    first, again = swept(0.1), swept(0.05)
    assert first.seconds["compile"] > 0 == again.seconds["compile"]
    assert (first.params["x"] != again.params["x"]).any()


def test_other_seeds_compile_nothing_though_their_events_differ():
    """Depths and widths of layers are rounded up to few sizes."""
    assert [packing.few_sizes(size, 3) for size in (0, 1, 7, 8, 9, 15, 17, 180)] == [
        0,
        1,
        7,
        8,
        10,
        16,
        20,
        192,
    ]
    assert [packing.few_sizes(size, 1) for size in (1, 2, 3, 100)] == [1, 2, 4, 128]
    big, many = average(64, dim=2), tp.ring(64)
    runs = [
        dlax.simulate(pairwise_gossip, big, many, duration=40.0, eval_every=20.0, seeds=[seed])
        for seed in (0, 1, 2)
    ]
    assert runs[1].seconds["compile"] == runs[2].seconds["compile"] == 0


def test_a_diverged_run_is_flagged_and_the_others_go_on():
    result = dlax.simulate(ad_psgd, EXACT, RING, duration=400.0, hyper={"lr": [0.1, 10.0]})
    last = result.rows[-2:]
    assert last[0]["diverged"] == -1 and np.isfinite(last[0]["distance"])
    assert 0 < last[1]["diverged"] <= 20 and result.diverged == [last[1]]


CONFIG = {
    "nodes": N,
    "duration": 8,
    "eval_every": 2,
    "seeds": 2,
    "problem": {"name": "quadratic", "dim": 3, "noise": 0.1},
    "topology": "ring",
    "algorithm": {"name": "ad_psgd", "work": {"name": "constant_work", "stragglers": 0.2}},
    "vmap": {"algorithm.lr": [0.05, 0.1]},
}


def test_a_config_runs_and_a_stopped_run_resumes_bit_for_bit(tmp_path):
    whole = experiment.run(CONFIG, out=tmp_path / "whole")
    experiment.run(CONFIG, out=tmp_path / "part", on_block=lambda snapshot: snapshot.round == 2)
    part = experiment.run(CONFIG, out=tmp_path / "part", resume=True)
    assert part.rows == whole.rows or str(part.rows) == str(whole.rows)
    np.testing.assert_array_equal(part.params["x"], whole.params["x"])
    assert [row["time"] for row in whole.rows[::4]] == [0, 2, 4, 6, 8]
    loaded = dlax.Result.load(tmp_path / "whole")
    assert len(loaded.rows) == 20
    longer = experiment.run({**CONFIG, "duration": 12}, out=tmp_path / "part", resume=True)
    np.testing.assert_array_equal(longer.params["x"], experiment.run({**CONFIG, "duration": 12}).params["x"])
    with pytest.raises(ValueError, match=r"eval_every = 2(\.0)?, the config now says 3"):
        experiment.run({**CONFIG, "duration": 12, "eval_every": 3}, out=tmp_path / "part", resume=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"duration": None}, "duration: is required; ad_psgd is asynchronous"),
        ({"rounds": 5}, "rounds: ad_psgd is asynchronous, which takes duration, given 5"),
        ({"algorithm": "dsgd", "vmap": {}}, "duration: dsgd is an algorithm of rounds"),
        ({"channel": {"name": "linear", "drop": 0.1}}, "channel: asynchronous algorithms take none"),
        ({"channel": "median"}, "channel: asynchronous algorithms take none"),
        ({"participation": 0.5}, "participation: is of rounds"),
        ({"execution": "map"}, "execution: is of rounds"),
        ({"clock": {"latency": 1.0}}, "clock: is of rounds"),
        ({"duration": -1.0}, "duration: input should be greater than 0"),
        ({"topology": "directed_ring"}, "directed"),
        (
            {"algorithm": {"name": "ad_psgd", "work": "exponential"}},
            "unknown work 'exponential'.*did you mean",
        ),
        ({"algorithm": {"name": "acid"}, "topology": "complete"}, "nothing to accelerate"),
        ({"algorithm": {"name": "dadao"}, "topology": "one_peer_exponential", "vmap": {}}, "fixed topology"),
    ],
)
def test_configs_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        experiment.run({**CONFIG, **change})


def test_what_simulate_refuses():
    with pytest.raises(ValueError, match="rounds, or the duration"):
        dlax.simulate(ad_psgd, EXACT, RING)
    with pytest.raises(ValueError, match="takes a duration, not rounds"):
        dlax.simulate(ad_psgd, EXACT, RING, rounds=3)
    with pytest.raises(ValueError, match="takes rounds, not a duration"):
        dlax.simulate(dsgd, EXACT, RING, duration=3.0)
    with pytest.raises(ValueError, match="takes no channel"):
        dlax.simulate(ad_psgd, EXACT, RING, duration=3.0, channel=dlax.channel.median())
    with pytest.raises(ValueError, match="gradient of the conjugate"):
        dlax.simulate(continuized, least_squares(N)._replace(conjugate=None), RING, duration=3.0)
    with pytest.raises(ValueError, match="both finite"):
        dlax.simulate(ad_psgd, EXACT, RING, duration=float("inf"))
