"""Averaging and its kin against plain NumPy loops in float64, and what their docstrings claim."""

import functools

import jax
import networkx as nx
import numpy as np
import pytest
import references

import dlax
from dlax import topology as tp
from dlax.algorithms import chebyshev_gossip, dsgd, gossip, gradient_tracking, push_sum, second_order_gossip
from dlax.channel import extremum, linear, median, running_sums
from dlax.problems import average, average_of
from dlax.simulate import simulate, unroll

pytestmark = pytest.mark.usefixtures("strict_ranks")

N, DIM = 8, 3
PROBLEM = average(N, dim=DIM)
START, MEAN = PROBLEM.starts["x"], PROBLEM.starts["x"].mean(axis=0)
GRAPHS = {
    "ring": tp.ring(N),
    "star": tp.star(N),
    "exponential": tp.static_exponential(N),
    "one-peer": tp.one_peer_exponential(N),
}


def push_weights(n, arrows):
    """Column-stochastic P: node j splits what it has evenly between itself and those it sends to."""
    P = np.eye(n)
    for j, i in arrows:
        P[i, j] = 1.0
    return P / P.sum(axis=0)


CIRCLE = [(i, (i + 1) % N) for i in range(N)]
PUSH = tp.from_matrix(push_weights(N, [*CIRCLE, (0, 3), (4, 2), (0, 6)]), name="push", allow_column=True)
TURNS = tp.from_matrix(
    [push_weights(N, [*CIRCLE[:5], (2, 7)]), push_weights(N, [*CIRCLE[5:], (3, 0), (7, 3)])],
    name="push in turns",
    allow_column=True,
)


def run(algorithm, topology, *, rounds, problem=PROBLEM, eval_every=None, **options):
    options = {"precision": "float64", "eval_every": eval_every or max(rounds, 1)} | options
    return simulate(algorithm, problem, topology, rounds=rounds, **options)


def final(*arguments, **options):
    """Values of the first run after all rounds [n, d]."""
    return run(*arguments, **options).params["x"][0]


def errors(algorithm, topology, start, *, rounds, **options):
    """‖Xₖ − X̄‖ for k = 0, ..., rounds."""
    problem = average_of(start)
    rows = run(algorithm, topology, rounds=rounds, problem=problem, eval_every=1, **options).rows
    return np.sqrt([len(start) * row["distance"] for row in rows])


def slowest(W):
    """The eigenvector [n, 1] of a symmetric W whose |eigenvalue| is ρ."""
    eigenvalues, vectors = np.linalg.eigh(W - 1 / len(W))
    return vectors[:, [np.argmax(np.abs(eigenvalues))]]


# ------------------------------------------------------------------------------------------------- averaging


@pytest.mark.parametrize("graph", GRAPHS)
def test_gossip(graph):
    topology = GRAPHS[graph]
    got = final(gossip, topology, rounds=7)
    np.testing.assert_allclose(got, references.gossip(topology.dense, START, rounds=7), atol=1e-12)
    np.testing.assert_allclose(got.mean(axis=0), MEAN, atol=1e-14)


def test_gossip_shrinks_by_rho_a_round_or_more():
    """At every round on a fixed graph, exactly so along the slowest direction; a period on a cyclic one."""
    ring, rho = GRAPHS["ring"], 1 - GRAPHS["ring"].spectral_gap
    for topology in (ring, GRAPHS["exponential"]):
        error = errors(gossip, topology, START, rounds=12)
        assert (error[1:] <= (1 - topology.spectral_gap) * error[:-1] * (1 + 1e-12)).all()
    error = errors(gossip, ring, slowest(ring.dense()), rounds=12)
    np.testing.assert_allclose(error, error[0] * rho ** np.arange(13), rtol=1e-10)
    turns = tp.one_peer_exponential(6)
    start = np.random.default_rng(0).normal(size=(6, 2))
    error = errors(gossip, turns, start, rounds=12)
    assert turns.period == 3 and 0 < turns.spectral_gap < 1
    assert (error[3:] <= (1 - turns.spectral_gap) ** 3 * error[:-3] * (1 + 1e-12)).all()


@pytest.mark.parametrize("graph", ["ring", "star"])
def test_chebyshev_gossip(graph):
    """Against the polynomial itself; also with a gap that is too large or too small."""
    topology = GRAPHS[graph]
    W = topology.dense()
    for rounds in (0, 1, 2, 3, 10):
        asked = run(chebyshev_gossip, topology, rounds=rounds)
        given = run(chebyshev_gossip, topology, rounds=rounds, hyper={"gap": [0.5, 0.01]})
        x = np.concatenate([asked.params["x"], given.params["x"]])
        for got, gap in zip(x, [topology.spectral_gap, 0.5, 0.01], strict=True):
            want = references.chebyshev_gossip(W, START, rounds=rounds, gap=gap)
            np.testing.assert_allclose(got, want, atol=1e-12)
            np.testing.assert_allclose(got.mean(axis=0), MEAN, atol=1e-13)


@pytest.mark.parametrize("graph", ["ring", "star"])
def test_second_order_gossip(graph):
    topology = GRAPHS[graph]
    for rounds in (1, 2, 15):
        got = final(second_order_gossip, topology, rounds=rounds)
        want = references.second_order_gossip(
            topology.dense(), START, rounds=rounds, gap=topology.spectral_gap
        )
        np.testing.assert_allclose(got, want, atol=1e-12)
    np.testing.assert_allclose(got.mean(axis=0), MEAN, atol=1e-13)


LONG = tp.ring(64)


@functools.cache
def along_the_slowest(algorithm, rounds):
    return errors(algorithm, LONG, slowest(LONG.dense()), rounds=rounds)


def test_accelerated_gossip_is_as_fast_as_claimed():
    """Along the slowest direction the bounds are attained; along a random one they hold."""
    rho, k = 1 - LONG.spectral_gap, np.arange(201)
    chebyshev = 1 / np.cosh(k * np.arccosh(1 / rho))
    omega = 2 / (1 + np.sqrt(1 - rho**2))
    second = (1 + k * np.sqrt(1 - rho**2)) * (omega - 1) ** (k / 2)
    anywhere = np.random.default_rng(0).normal(size=(64, 1))
    for algorithm, bound in ((chebyshev_gossip, chebyshev), (second_order_gossip, second)):
        error = along_the_slowest(algorithm, 200)
        np.testing.assert_allclose(error, bound, rtol=1e-6, atol=1e-12)
        error = errors(algorithm, LONG, anywhere, rounds=200)
        assert (error <= bound * error[0] * (1 + 1e-9) + 1e-12).all()


def test_accelerated_gossip_needs_the_root_of_the_rounds():
    gap, target = LONG.spectral_gap, 1e-4
    plain = np.log(target) / np.log(1 - gap)  # rounds of gossip, by the rate tested above
    for algorithm in (chebyshev_gossip, second_order_gossip):
        rounds = np.argmax(along_the_slowest(algorithm, 200) < target)
        assert 0 < rounds < 2 * np.log(2 / target) / np.sqrt(2 * gap) < plain / 10
    assert np.argmax(along_the_slowest(chebyshev_gossip, 200) < target) == pytest.approx(
        np.log(2 / target) / np.sqrt(2 * gap), abs=1
    )
    omega = 2 / (1 + np.sqrt(1 - (1 - gap) ** 2))
    assert np.sqrt(omega - 1) == pytest.approx(1 - np.sqrt(2 * gap), abs=2 * gap)


def test_chebyshev_gossip_with_a_wrong_gap_is_slower_and_does_not_blow_up():
    start, gap = slowest(LONG.dense()), LONG.spectral_gap
    problem = average_of(start)
    swept = run(chebyshev_gossip, LONG, rounds=150, problem=problem, hyper={"gap": [gap / 30, gap, 30 * gap]})
    small, right, large = np.linalg.norm(swept.params["x"], axis=(1, 2))
    assert right < 1e-4 < small < 1 and 10 * right < large < 1


@pytest.mark.parametrize("topology", [PUSH, TURNS, GRAPHS["ring"]], ids=lambda topology: topology.name)
def test_push_sum(topology):
    got = final(push_sum, topology, rounds=9)
    np.testing.assert_allclose(got, references.push_sum(topology.dense, START, rounds=9), atol=1e-12)
    np.testing.assert_allclose(
        final(push_sum, topology, rounds=600), np.tile(MEAN, (N, 1)), atol=1e-12, rtol=0
    )


def test_push_sum_keeps_its_sums_and_converges_at_the_second_eigenvalue():
    with jax.enable_x64(True):
        parts = unroll(push_sum, PROBLEM, PUSH)
        state, step = parts.start(parts.params), jax.jit(parts.step)
        assert (PUSH.dense().sum(axis=1) != 1).any()
        for t in range(5):
            state, _ = step(t, state)
            np.testing.assert_allclose(state.mass["x"].sum(axis=0), START.sum(axis=0), atol=1e-14)
            assert float(state.weight.sum()) == pytest.approx(N, rel=1e-15)
            assert np.ptp(state.weight) > 0.1
    second = np.sort(np.abs(np.linalg.eigvals(PUSH.dense())))[-2]
    error = errors(push_sum, PUSH, START, rounds=60)
    # A complex pair makes the error wave; over many rounds only the rate is left.
    assert (error[60] / error[10]) ** (1 / 50) == pytest.approx(second, rel=0.02)


def test_plain_gossip_on_push_weights_is_not_averaging():
    """What push-sum is for."""
    assert np.abs(final(gossip, PUSH, rounds=300) - MEAN).max() > 0.1


# ------------------------------------------------------------------------------------------------ pairwise


@pytest.mark.parametrize("base", [tp.ring, tp.star])
def test_random_pairwise_gossip_follows_its_law(base):
    """Mean and second moment after t ticks, computed by enumerating the edges; 5 standard errors of 1,000 runs."""
    ticks, seeds = 10, 1000
    start = np.random.default_rng(3).normal(size=(N, 1))
    steps = []
    for i, j in base(N).graph().edges:
        W = np.eye(N)
        W[[i, i, j, j], [i, j, i, j]] = 0.5
        steps.append(W)
    mean, second = start, start @ start.T
    for _ in range(ticks):
        mean = np.mean([W @ mean for W in steps], axis=0)
        second = np.mean([W @ second @ W.T for W in steps], axis=0)
    want = np.trace(second - second.mean(axis=0)) / N

    topology = tp.random_pairwise(N, base=base)
    result = run(gossip, topology, rounds=ticks, problem=average_of(start), seeds=seeds)
    x = result.params["x"][:, :, 0]
    np.testing.assert_allclose(x.mean(axis=1), start.mean(), atol=1e-14)
    assert (np.abs(x.mean(axis=0) - mean[:, 0]) < 5 * x.std(axis=0) / np.sqrt(seeds)).all()
    consensus = np.array([row["consensus"] for row in result.rows if row["round"] == ticks])
    standard_error = consensus.std() / np.sqrt(seeds)
    assert abs(consensus.mean() - want) < 5 * standard_error < want / 5
    laplacian = nx.laplacian_matrix(base(N).graph()).toarray()
    rate = 1 - np.linalg.eigvalsh(laplacian)[1] / (2 * len(steps))
    assert (1 - topology.spectral_gap) ** 2 == pytest.approx(rate)
    assert want <= rate**ticks * np.var(start)


# ---------------------------------------------------------------------------------- maxima, rumours, medians


HUBS = tp.barabasi_albert(N, m=1, seed=1)


@pytest.mark.parametrize(
    ("topology", "operation"),
    [*((topology, "max") for topology in [*GRAPHS.values(), HUBS, PUSH]), (GRAPHS["ring"], "min")],
    ids=lambda value: getattr(value, "name", value),
)
def test_everyone_knows_the_extremum_after_as_many_rounds_as_the_diameter(topology, operation):
    """Exactly, entry by entry; on the one-peer graph after a period, as its product has no zero."""
    rounds = nx.diameter(topology.graph()) if topology.is_fixed else topology.period
    got = final(gossip, topology, rounds=rounds, channel=extremum(operation=operation))
    want = START.max(axis=0) if operation == "max" else START.min(axis=0)
    np.testing.assert_array_equal(got, np.tile(want, (N, 1)))


def test_on_a_path_the_maximum_needs_the_whole_diameter():
    spike = average(N, values="spike")
    for rounds in range(N):
        x = final(gossip, tp.path(N), rounds=rounds, problem=spike, channel=extremum())
        np.testing.assert_array_equal(x[:, 0], np.where(np.arange(N) <= rounds, N, 0))


def rounds_to_everyone(form, n, rounds, seeds):
    rows = run(
        gossip,
        tp.complete(n),
        rounds=rounds,
        eval_every=1,
        problem=average(n, values="spike"),
        seeds=seeds,
        precision="float32",
        channel=extremum(fanout=1, form=form),
    ).rows
    done = [
        [row["round"] for row in rows if row["seed"] == s and row["consensus"] == 0] for s in range(seeds)
    ]
    return np.array([min(found) for found in done])


def test_a_rumour_pushed_over_the_complete_graph():
    """Doerr and Künnemann 2014: ⌊log₂ n⌋ + ln n − 1.116 ≤ E ≤ ⌈log₂ n⌉ + ln n + 2.765; n is a power of two.

    The last stretch collects coupons, hence a Gumbel of standard deviation π/√6 a run; 4 standard errors.
    """
    n, seeds = 1024, 4
    mean = rounds_to_everyone("push", n, 28, seeds).mean()
    base, error = np.log2(n) + np.log(n), 4 * np.pi / np.sqrt(6 * seeds)
    assert base - 1.116 - error < mean < base + 2.765 + error


def test_a_rumour_pushed_and_pulled_over_the_complete_graph():
    """log₃ n while it grows by three, log₂ ln n while the remainder is squared, and a round to get going."""
    n = 1024
    rounds = rounds_to_everyone("push_pull", n, 12, 4)
    growing, squaring = np.log(n) / np.log(3), np.log2(np.log(n))
    assert growing < rounds.mean() < growing + squaring + 1 and np.ptp(rounds) <= 2


@pytest.mark.parametrize(
    ("topology", "drop"),
    [(GRAPHS["ring"], None), (GRAPHS["star"], None), (HUBS, 0.4), (PUSH, None), (PUSH, 0.4)],
    ids=lambda value: getattr(value, "name", value),
)
def test_median_of_the_neighbourhood(topology, drop):
    """Odd and even numbers of messages, hubs, edges in one direction, losses."""
    W, x, seed = topology.dense(), START, 4
    linked = (W != 0) & ~np.eye(N, dtype=bool)
    for t in range(5):
        mask = references.arrivals(W, seed=seed, t=t, drop=drop) if drop else linked
        x = references.neighbourhood_medians(W, x, mask)
    got = final(gossip, topology, rounds=5, channel=median(drop), seeds=[seed])
    np.testing.assert_allclose(got, x, atol=1e-15, rtol=0)


def test_nodes_need_not_agree_on_a_median():
    """Two cliques joined by an edge: each is its own majority."""
    cliques = tp.from_networkx(nx.barbell_graph(4, 0))
    start = np.repeat([[0.0], [1.0]], 4, axis=0)
    x = final(gossip, cliques, rounds=20, problem=average_of(start), channel=median())
    np.testing.assert_array_equal(x, start)


# -------------------------------------------------------------------------------------------- losses, sleep


DROP = 0.3
DIRECTED = tp.static_exponential(N)  # doubly stochastic, edges in one direction


@pytest.mark.parametrize(
    ("topology", "lost"),
    [(DIRECTED, "receiver"), (PUSH, "receiver"), (PUSH, "sender"), (PUSH, "gone")],
    ids=lambda value: getattr(value, "name", value),
)
def test_lost_weight_goes_where_it_is_said_to_go(topology, lost):
    W, x, seed, rounds = topology.dense(), START, 5, 6
    for t in range(rounds):
        arrived = references.arrivals(W, seed=seed, t=t, drop=DROP)
        x = references.average(references.lossy(W, arrived, lost), x)
    got = final(gossip, topology, rounds=rounds, channel=linear(DROP, lost=lost), seeds=[seed])
    np.testing.assert_allclose(got, x, atol=1e-12)
    kept = np.abs(got.mean(axis=0) - MEAN).max()
    assert kept < 1e-14 if lost == "sender" else kept > 1e-3


def test_weight_returned_to_the_receiver_keeps_the_mean_in_expectation():
    seeds = 1000
    result = run(gossip, DIRECTED, rounds=6, channel=linear(DROP), seeds=seeds)
    means = result.params["x"].mean(axis=1)
    error = means.std(axis=0) / np.sqrt(seeds)
    assert (np.abs(means.mean(axis=0) - MEAN) < 5 * error).all() and (error > 1e-4).all()


@pytest.mark.parametrize("drop", [None, DROP])
def test_running_sums(drop):
    """Node by node against a loop that replays the same losses; what nodes and links hold together is kept."""
    W, seed = PUSH.dense(), 6
    channel, x = references.RunningSums(W, START), START
    with jax.enable_x64(True):
        parts = unroll(gossip, PROBLEM, PUSH, channel=running_sums(drop), seed=seed)
        state, step = parts.start(parts.params), jax.jit(parts.step)
        for t in range(12):
            arrived = references.arrivals(W, seed=seed, t=t, drop=drop or 0.0)
            x = channel(x, arrived)
            state, info = step(t, state)
            np.testing.assert_allclose(state.params["x"], x, atol=1e-12)
            np.testing.assert_allclose(state.link.sent["x"], channel.sent, atol=1e-12)
            on_the_way = channel.in_flight()
            np.testing.assert_allclose(
                state.params["x"].sum(axis=0) + on_the_way, START.sum(axis=0), atol=1e-12
            )
            assert (np.abs(on_the_way).max() > 1e-2) == (drop is not None)
            np.testing.assert_array_equal(info["bits"], 64 * DIM * ((W != 0).sum(axis=0) - 1))


@pytest.mark.parametrize(
    ("channel", "participation"),
    [
        (running_sums(DROP), None),
        (linear(DROP, lost="sender"), None),
        (running_sums(DROP), 0.6),
        (linear(lost="sender"), 0.6),
    ],
    ids=["sums", "sender", "sums and sleep", "sender and sleep"],
)
def test_push_sum_is_exact_where_the_sums_are_kept(channel, participation):
    x = final(push_sum, PUSH, rounds=500, channel=channel, participation=participation)
    np.testing.assert_allclose(x, np.tile(MEAN, (N, 1)), atol=1e-10, rtol=0)


@pytest.mark.parametrize(
    ("channel", "participation"),
    [(linear(DROP, lost="gone"), None), (linear(DROP), None), (linear(), 0.6)],
    ids=["gone", "receiver", "receiver and sleep"],
)
def test_push_sum_agrees_on_a_wrong_mean_where_they_are_not(channel, participation):
    x = final(push_sum, PUSH, rounds=500, channel=channel, participation=participation)
    assert np.ptp(x, axis=0).max() < 1e-10
    assert np.abs(x[0] - MEAN).max() > 1e-3


@pytest.mark.parametrize("graph", ["ring", "star"])
def test_gossip_with_sleepers_keeps_the_mean_on_symmetric_weights(graph):
    x = final(gossip, GRAPHS[graph], rounds=5, participation=0.5)
    np.testing.assert_allclose(x.mean(axis=0), MEAN, atol=1e-14)
    assert np.ptp(x, axis=0).min() > 1e-3
    x = final(gossip, GRAPHS[graph], rounds=1500, participation=0.5)
    np.testing.assert_allclose(x, np.tile(MEAN, (N, 1)), atol=1e-12)


# ------------------------------------------------------------------------------------- the averaging problem


@pytest.mark.parametrize("algorithm", [dsgd(0.1), gradient_tracking(0.1)], ids=["dsgd", "tracking"])
def test_gradient_algorithms_run_on_the_averaging_problem(algorithm):
    """From the nodes' own values; ∇fᵢ(x) = x − vᵢ."""
    name = "dsgd" if algorithm.init.__qualname__.startswith("dsgd") else "gradient_tracking"
    want = getattr(references, name)(
        lambda i, x, t, k: x - START[i], GRAPHS["ring"].dense, START, lr=0.1, rounds=10
    )
    np.testing.assert_allclose(final(algorithm, GRAPHS["ring"], rounds=10), want, atol=1e-12)


def test_a_stopped_run_of_averages_goes_on_bit_for_bit(tmp_path):
    """With what travels on the links in the checkpoint, starts of the problem's own, and sleepers."""
    config = {
        "nodes": N,
        "problem": {"name": "average", "dim": DIM},
        "topology": "ring",
        "channel": {"name": "running_sums", "drop": 0.3},
        "algorithm": "push_sum",
        "participation": 0.8,
        "rounds": 20,
        "eval_every": 5,
    }
    whole = dlax.run(config)
    dlax.run(config, out=tmp_path / "run", on_block=lambda snapshot: snapshot.round >= 10)
    resumed = dlax.run(config, out=tmp_path / "run", resume=True)
    np.testing.assert_array_equal(resumed.params["x"], whole.params["x"])
    assert [row["distance"] for row in resumed.rows] == [row["distance"] for row in whole.rows]
    assert whole.rows[0]["distance"] == pytest.approx(np.mean(np.sum((START - MEAN) ** 2, axis=1)), rel=1e-6)


def test_no_training_loss_is_reported_and_rounds_without_gradients_take_no_time():
    row = run(gossip, GRAPHS["ring"], rounds=3).rows[-1]
    assert "train_loss" not in row and row["time"] == 0
    assert row["bits_node"] == 3 * 2 * 64 * DIM
    assert "train_loss" in run(dsgd, GRAPHS["ring"], rounds=3).rows[-1]


def test_a_value_that_is_not_finite_is_flagged_without_a_loss():
    """Weights that grow; there is no loss to show it."""
    grows = tp.from_matrix([[3.0, -2.0], [-2.0, 3.0]], allow_negative=True)
    rows = run(gossip, grows, rounds=100, eval_every=50, problem=average(2), precision="float32").rows
    assert [row["diverged"] for row in rows] == [-1, -1, 100]


# ------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"algorithm": "chebyshev_gossip", "topology": "static_exponential"},
            r"'chebyshev_gossip' needs a topology that is symmetric; 'static_exponential' is .*doubly stochastic",
        ),
        (
            {"algorithm": "second_order_gossip", "topology": "one_peer_exponential"},
            r"'second_order_gossip' needs a topology that is symmetric and fixed; 'one_peer_exponential' is",
        ),
        (
            {"algorithm": "chebyshev_gossip", "topology": "ring", "participation": 0.5},
            "'chebyshev_gossip' needs every node and link in every round; set participation and faults to null",
        ),
        (
            {"algorithm": "second_order_gossip", "topology": "ring", "participation": 0.5},
            "'second_order_gossip' needs every node and link in every round; set participation and faults to null",
        ),
        (
            {"algorithm": "push_sum", "topology": {"name": "star", "weights": "uniform_neighbour"}},
            "'push_sum' needs a topology that is column stochastic; 'star' is .*row stochastic",
        ),
        (
            {"topology": "static_exponential", "channel": {"name": "extremum", "fanout": 1, "form": "push"}},
            "'extremum with form push' needs a topology that is undirected; 'static_exponential' is",
        ),
        (
            {"topology": "one_peer_exponential", "channel": "running_sums"},
            "'running_sums' needs a topology that is fixed; 'one_peer_exponential' is",
        ),
        (
            {"topology": "ring", "channel": {"name": "extremum", "operation": "or"}},
            "mixing: a message must be boolean, got a leaf of dtype float32",
        ),
        (
            {"topology": "ring", "algorithm": {"name": "chebyshev_gossip", "gap": 0}},
            r"algorithm: chebyshev_gossip: gap must be in \(0, 1\], got 0",
        ),
    ],
)
def test_what_is_not_valid_is_refused_by_name_from_a_config_too(config, message):
    plain = {"nodes": N, "problem": "average", "algorithm": "gossip", "rounds": 2}
    with pytest.raises(ValueError, match=message):
        dlax.run(plain | config)


@pytest.mark.parametrize("algorithm", [chebyshev_gossip, second_order_gossip])
@pytest.mark.parametrize("gap", [0, -0.1, 1.5, float("nan")])
def test_a_gap_that_is_none(algorithm, gap):
    with pytest.raises(ValueError, match=rf"{algorithm.__name__}: gap must be in \(0, 1\], got {gap}"):
        algorithm(gap)
