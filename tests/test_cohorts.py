"""The cohorts clock: a run is the loop over the drawn clients; who is drawn; what is refused."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
from scipy import stats

import dlax
from dlax import faults, sampling
from dlax import topology as tp
from dlax.algorithms import dsgd, fedavg, fedopt, fedprox, scaffold
from dlax.channel import CHANNELS, linear, median, robust
from dlax.problems import least_squares, quadratic
from dlax.robust import RULES
from dlax.simulate import Clock, simulate
from dlax.simulate.cohorts import star_of
from dlax.simulate.streams import round_key, stream

pytestmark = pytest.mark.usefixtures("strict_ranks")

N, S, ROUNDS, K, LR = 12, 4, 7, 3, 0.05
PROBLEM = quadratic(N, dim=3)
GRAD = references.quadratic_gradient(PROBLEM)


def draws(which, rounds=ROUNDS, n=N, seed=0, awake=None):
    """Cohorts from the documented key streams, `[rounds, s]`, and who of them is there."""
    key, arrays = jax.random.key(seed), jnp.zeros(n)

    def one(t):
        mask = None if awake is None else awake[t]
        return which.draw(arrays, t, stream(round_key(key, t), "graph"), mask)

    clients, present = jax.jit(jax.vmap(one))(jnp.arange(rounds))
    return np.asarray(clients), np.asarray(present)


def start():
    with jax.enable_x64(True):
        return np.asarray(PROBLEM.init(stream(jax.random.key(0), "start"))["x"])


def run(algorithm, which=None, **options):
    return simulate(
        algorithm, PROBLEM, cohort=which or sampling.uniform(size=S), rounds=ROUNDS, eval_every=ROUNDS,
        precision="float64", **options,
    )  # fmt: skip


def local(x, i, t, shift=0.0):
    grads = []
    for k in range(K):
        grads.append(GRAD(i, x, t, k))
        x = x - LR * (grads[-1] + shift)
    return x, np.mean(grads, axis=0)


def test_fedavg_is_the_loop():
    x = start()
    for t, cohort in enumerate(draws(sampling.uniform(size=S))[0]):
        x = np.mean([local(x, i, t)[0] for i in cohort], axis=0)
    result = run(fedavg(LR, local_steps=K))
    np.testing.assert_allclose(result.params["x"][0, 0], x, atol=1e-12)
    assert result.rows[-1]["bits_total"] == ROUNDS * S * 2 * 3 * 64  # up and down
    assert result.rows[-1]["participants"] == S and result.rows[-1]["time"] == ROUNDS * K


def test_scaffold_is_the_loop_and_keeps_every_clients_control():
    x, c, C = start(), np.zeros(3), np.zeros((N, 3))
    for t, cohort in enumerate(draws(sampling.uniform(size=S))[0]):
        made = [local(x, i, t, c - C[i]) for i in cohort]
        x = x + 0.7 * (np.mean([v for v, _ in made], axis=0) - x)
        change = np.array([control for _, control in made]) - C[cohort]
        c = c + change.sum(axis=0) / N
        C[cohort] += change
    result = run(scaffold(LR, 0.7, local_steps=K))
    np.testing.assert_allclose(result.params["x"][0, 0], x, atol=1e-12)
    np.testing.assert_allclose(c, C.mean(axis=0), atol=1e-12)


def test_fedopt_keeps_one_server_and_fedprox_pulls():
    x, velocity = start(), np.zeros(3)
    for t, cohort in enumerate(draws(sampling.uniform(size=S))[0]):
        pseudo = x - np.mean([local(x, i, t)[0] for i in cohort], axis=0)
        velocity = 0.9 * velocity + pseudo
        x = x - 0.5 * velocity
    made = run(fedopt(LR, 0.5, local_steps=K, server=dlax.make("optimizer", "sgd", momentum=0.9)))
    np.testing.assert_allclose(made.params["x"][0, 0], x, atol=1e-12)
    x = start()
    for t, cohort in enumerate(draws(sampling.uniform(size=S))[0]):
        ends = []
        for i in cohort:
            v = x
            for k in range(K):
                v = v - LR * (GRAD(i, v, t, k) + 0.3 * (v - x))
            ends.append(v)
        x = np.mean(ends, axis=0)
    made = run(fedprox(LR, 0.3, local_steps=K))
    np.testing.assert_allclose(made.params["x"][0, 0], x, atol=1e-12)


ALL = {
    "fedavg": lambda: fedavg(LR, local_steps=2, optimizer=dlax.make("optimizer", "sgd", momentum=0.5)),
    "scaffold": lambda: scaffold(LR, local_steps=2),
    "fedopt": lambda: fedopt(LR, 0.1, server=dlax.make("optimizer", "adam")),
}


@pytest.mark.parametrize("name", ALL)
def test_a_cohort_of_everyone_is_the_complete_graph(name):
    """The same keys, hence the same minibatches: of sampled gradients too."""
    problem = dlax.make("problem", "softmax", n=6, dataset="digits", batch_size=4)
    options = {"rounds": 4, "eval_every": 2, "precision": "float64", "seeds": 2}
    server = simulate(ALL[name](), problem, cohort=sampling.uniform(size=6), **options)
    graph = simulate(ALL[name](), problem, tp.complete(6), **options)
    for mine, theirs in zip(jax.tree.leaves(server.params), jax.tree.leaves(graph.params), strict=True):
        np.testing.assert_allclose(mine[:, 0], theirs[:, 0], atol=1e-12)
    for row, other in zip(server.rows, graph.rows, strict=True):
        assert row["objective"] == pytest.approx(other["objective"], rel=1e-12)
        if row["round"]:
            assert row["train_loss"] == pytest.approx(other["train_loss"], rel=1e-12)


def test_scaffold_in_cohorts_is_exact_where_fedavg_has_a_floor():
    options = {"rounds": 600, "eval_every": 600, "precision": "float64"}
    problem = quadratic(N, dim=3, heterogeneity=2.0)
    floor = simulate(fedavg(LR), problem, cohort=sampling.uniform(size=S), **options).rows[-1]["distance"]
    exact = simulate(scaffold(LR), problem, cohort=sampling.uniform(size=S), **options).rows[-1]["distance"]
    assert exact < 1e-10 and floor > 1e-3


def test_absent_clients_are_missing_from_the_mean_and_keep_what_they_have():
    fault = faults.on_off(0.5, 0.4)
    awake = np.zeros((ROUNDS, N), bool)
    plan = faults.record(fault, tp.ring(N), rounds=ROUNDS)  # of nodes: a graph makes no difference
    state = np.ones(N, bool)
    for t in range(ROUNDS):
        for _, change in plan[plan["round"] == t].iterrows():
            state[change["node"]] = change["state"] == "awake"
        awake[t] = state
    for which in (sampling.uniform(size=S), sampling.available(size=S)):
        clients, present = draws(which, awake=jnp.asarray(awake))
        assert (present == np.take_along_axis(awake, clients, axis=1)).all()
        x, velocity = start(), np.zeros((N, 3))
        for t in range(ROUNDS):
            ends = []
            for i in clients[t][present[t]]:
                v = x
                for k in range(K):
                    velocity[i] = 0.9 * velocity[i] + GRAD(i, v, t, k)
                    v = v - LR * velocity[i]
                ends.append(v)
            x = np.mean(ends, axis=0) if ends else x
        momentum = dlax.make("optimizer", "sgd", momentum=0.9)
        result = run(fedavg(LR, local_steps=K, optimizer=momentum), which, faults=fault)
        np.testing.assert_allclose(result.params["x"][0, 0], x, atol=1e-12)
        assert result.rows[-1]["participants"] == pytest.approx(present.sum() / ROUNDS)
        assert result.rows[-1]["bits_total"] == present.sum() * 2 * 3 * 64


def test_a_round_without_anybody_leaves_the_server_as_it_is():
    asleep = run(fedavg(LR), faults=faults.cyclic(1000.0, 1.0, phases="together"))
    alone = simulate(
        fedavg(LR), PROBLEM, cohort=sampling.uniform(size=S), rounds=1, eval_every=1, precision="float64"
    )
    np.testing.assert_array_equal(asleep.params["x"], alone.params["x"])
    assert asleep.rows[-1]["bits_total"] == alone.rows[-1]["bits_total"] and asleep.rows[-1]["diverged"] == -1


@pytest.mark.parametrize("n", [6, 40, 500])
def test_uniform_cohorts_are_sets_and_every_client_is_as_likely(n):
    clients, present = draws(sampling.uniform(size=5), rounds=3000, n=n)
    assert present.all() and all(len(set(row)) == 5 for row in clients)
    counts = np.bincount(clients.ravel(), minlength=n)
    # Without replacement within a round, counts vary less than a multinomial's.
    statistic = ((counts - counts.mean()) ** 2 / counts.mean()).sum() / (1 - 5 / n) * (n - 1) / n
    assert stats.chi2.sf(statistic, n - 1) > 1e-3
    if n == 6:  # all sets alike, not only all clients
        left_out = [n * (n - 1) // 2 - row.sum() for row in clients]
        counts = np.bincount(left_out, minlength=n)
        assert stats.chisquare(counts).pvalue > 1e-3


def test_weighted_cohorts_follow_the_samples():
    class Counted:
        n, table = 4, np.array([[1], [2], [4], [0]])

    which = sampling.weighted(size=1)
    arrays = jnp.asarray(which.prepare(Counted))
    keys = jax.random.split(jax.random.key(0), 7000)
    clients, _ = jax.vmap(lambda key: which.draw(arrays, jnp.int32(0), key, None))(keys)
    shares = np.bincount(np.asarray(clients).ravel(), minlength=4) / 7000
    np.testing.assert_allclose(shares, [1 / 7, 2 / 7, 4 / 7, 0], atol=0.02)
    with pytest.raises(ValueError, match="size must be at most the 3 clients with samples"):
        sampling.weighted(size=4).prepare(Counted)
    with pytest.raises(ValueError, match="hold no samples to weigh them by"):
        sampling.weighted(size=4).prepare(PROBLEM)


def test_hashed_cohorts_differ_by_no_more_than_the_views_do():
    rng, n, size = np.random.default_rng(0), 60, 8
    which = sampling.hashed(size=size)
    views = rng.uniform(size=(200, n)) < 0.8
    others = views.copy()
    for row, change in enumerate(rng.integers(0, 6, size=200)):
        flip = rng.permutation(n)[:change]
        others[row, flip] ^= True
    draw = jax.jit(jax.vmap(lambda t, mask: which.draw(jnp.zeros(n), t, None, mask)[0]))
    a, b = (np.asarray(draw(jnp.arange(200), jnp.asarray(mask))) for mask in (views, others))
    for row in range(200):
        apart = (views[row] != others[row]).sum()
        assert len(set(a[row]) - set(b[row])) <= apart
        assert views[row][a[row]].all()
    same = draw(jnp.arange(200), jnp.ones((200, n), bool))
    assert (np.asarray(same) == np.asarray(draw(jnp.arange(200), jnp.ones((200, n), bool)))).all()
    counts = np.bincount(np.asarray(same).ravel(), minlength=n)
    statistic = ((counts - counts.mean()) ** 2 / counts.mean()).sum() / (1 - size / n)
    assert 1e-3 < stats.chi2.sf(statistic, n - 1) < 1 - 1e-3

    # An order by the hash, written down once more in plain Python.
    def mix32(a, b):
        h = (a * 0x9E3779B1 ^ (b + 0x7F4A7C15) * 0x85EBCA6B) & 0xFFFFFFFF
        for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
            h = (h ^ (h >> shift)) * factor & 0xFFFFFFFF
        return h ^ (h >> 16)

    for t in range(5):
        order = sorted(range(n), key=lambda j: mix32(j, t))
        assert np.asarray(same[t]).tolist() == order[:size]


def test_a_crowd_of_two_hundred_thousand_computes_only_the_cohort():
    problem = least_squares(200_000, dim=4, samples=1)
    result = simulate(
        scaffold(0.02, local_steps=1), problem, cohort=sampling.uniform(size=20), rounds=50, eval_every=50
    )
    assert result.params["x"].shape == (1, 1, 4) and result.rows[-1]["diverged"] == -1
    assert result.rows[-1]["objective"] < result.rows[0]["objective"]
    assert math.isclose(result.rows[-1]["bits_total"], 50 * 20 * 2 * 2 * 4 * 32)


@pytest.mark.parametrize("channel", [robust(rule=dlax.robust.median(), tolerated=0), median()])
def test_medians_at_the_server_and_what_they_send(channel):
    result = run(fedavg(LR, local_steps=K), channel=channel)
    x = start()
    for t, cohort in enumerate(draws(sampling.uniform(size=S))[0]):
        x = np.median([local(x, i, t)[0] for i in cohort], axis=0)
    np.testing.assert_allclose(result.params["x"][0, 0], x, atol=1e-12)
    assert result.rows[-1]["bits_total"] == ROUNDS * S * 2 * 3 * 64


def test_a_channel_fit_for_a_server_hands_all_the_same():
    rules = {name: rule for name, rule in RULES.items() if robust(rule=rule()).server}
    assert {"mean", "krum", "geometric_median", "trimmed_mean"} < rules.keys()
    assert not {"nna", "clipped_gossip", "ios"} & rules.keys()
    message = {"x": jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)), jnp.float32)}
    key, there = jax.random.key(0), jnp.array([False, True, True, False, True])
    for channel in (linear(), median(), robust(rule=RULES["geometric_median"]())):
        assert channel.server
        for present in (None, there):
            received, _, _ = channel.mix((), message, star_of(5, present, key, jnp.float32))
            rows = np.asarray(received["x"])[slice(None) if present is None else np.asarray(present)]
            np.testing.assert_allclose(rows, np.broadcast_to(rows[:1], rows.shape), atol=1e-6)


def test_channels_whose_rows_differ_are_refused():
    unfit = [make() for name, make in CHANNELS.items() if name not in ("linear", "median")]
    for channel in (*unfit, linear(1.0), median(0.5), robust(0.5, rule=RULES["median"]())):
        with pytest.raises(
            ValueError, match=r"channel: a server .* fit for it are linear, median and robust"
        ):
            run(fedavg(LR), channel=channel)


def test_rounds_without_anybody_have_no_loss_and_time_is_of_what_clients_send():
    result = simulate(
        fedavg(0.0), PROBLEM, cohort=sampling.uniform(size=N), rounds=4, eval_every=2, precision="float64",
        faults=faults.cyclic(4.0, 1.0, phases="together"), clock=Clock(gradient=0.0, bandwidth=1.0),
    )  # fmt: skip
    first, second = result.rows[1:]  # of rounds 0 and 1, of which the second is empty, and of none
    assert first["train_loss"] == pytest.approx(result.rows[0]["objective"], rel=1e-12)
    assert math.isnan(second["train_loss"]) and second["diverged"] == -1
    assert [first["participants"], second["participants"]] == [N / 2, 0]
    assert first["time"] == second["time"] == 3 * 64 and first["bits_total"] == N * 2 * 3 * 64


def test_batteries_pay_for_what_clients_send():
    fault = faults.battery(1000.0, 0.0, 1.0, 1e-9, 1.0)  # full, and 192 bits a round: empty after the sixth
    result = simulate(
        fedavg(0.0), PROBLEM, cohort=sampling.uniform(size=N), rounds=8, eval_every=8, precision="float64",
        faults=fault,
    )  # fmt: skip
    assert result.rows[-1]["participants"] == N * 6 / 8


def test_a_config_runs_sweeps_and_resumes(tmp_path):
    config = {
        "nodes": 10, "problem": "quadratic", "cohort": {"name": "uniform", "size": 3}, "algorithm": "scaffold",
        "rounds": 8, "eval_every": 2, "seeds": 2, "faults": "on_off", "vmap": {"algorithm.lr": [0.01, 0.05]},
    }  # fmt: skip
    whole = dlax.run(config)
    assert whole.label == "scaffold, uniform" and len(whole.runs) == 4
    dlax.run(config, out=tmp_path / "run", on_block=lambda snapshot: snapshot.round == 4)
    resumed = dlax.run(config, out=tmp_path / "run", resume=True)
    np.testing.assert_array_equal(whole.params["x"], resumed.params["x"])
    results = dlax.sweep(config | {"grid": {"cohort.size": [1, 3]}})
    assert [r.rows[-1]["bits_total"] for r in results] == sorted(r.rows[-1]["bits_total"] for r in results)


MISTAKES = [
    ({"cohort": {"name": "uniform", "size": 99}}, "cohort: size must be at most the 12 clients, got 99"),
    ({"cohort": {"name": "uniform", "size": 0}}, "cohort: uniform: size must be at least 1, got 0"),
    ({"cohort": "unifrom"}, "unknown sampling 'unifrom'; .*did you mean 'uniform'"),
    ({"cohort": "weighted"}, "hold no samples to weigh them by"),
    ({"algorithm": "dsgd"}, "this algorithm has no server"),
    ({"topology": "ring"}, "topology: has no place beside cohort"),
    ({"participation": 0.5}, "participation: has no place beside cohort"),
    ({"start": "independent"}, "start: a server has one model"),
    ({"faults": "bursts"}, "links fail only where there is a graph"),
    ({"faults": {"name": "node_loss", "by": "degree"}}, "centrality needs a graph"),
    ({"cohort": None}, "topology: is required, unless there is a cohort"),
    ({"channel": "power_gossip"}, "channel: a server hands all clients the same"),
    ({"channel": "delayed"}, "channel: a server hands all clients the same"),
    ({"channel": "running_sums"}, "channel: a server hands all clients the same"),
    (
        {"faults": {"name": "node_loss", "until": 5.0, "holds": "start"}},
        "faults: holds must be old .*'start'",
    ),
    ({"problem": "average"}, "cohort: a server has one first model"),
]


def test_parts_of_a_client_are_refused():
    with pytest.raises(ValueError, match=r"uniform: size must be a whole number, got 2\.5"):
        sampling.uniform(size=2.5)
    with pytest.raises(ValueError, match="weighted: power must be finite, got nan"):
        sampling.weighted(power=float("nan"))


@pytest.mark.parametrize(("change", "message"), MISTAKES)
def test_mistakes(change, message, tmp_path):
    config = {"nodes": N, "problem": "quadratic", "cohort": "uniform", "algorithm": "fedavg", "rounds": 2}
    with pytest.raises(ValueError, match=message):
        dlax.run(config | change, out=tmp_path / "run")
    assert change == {"faults": "bursts"} or not (tmp_path / "run").exists()  # links are looked at in the run


def test_simulate_takes_a_graph_or_a_cohort():
    with pytest.raises(ValueError, match="give a topology, or the cohort"):
        simulate(dsgd(0.1), PROBLEM, rounds=2)
    with pytest.raises(ValueError, match="cohorts take rounds, not a duration"):
        simulate(fedavg(0.1), PROBLEM, cohort=sampling.uniform(size=2), duration=2.0)
    strange = {"participation": 0.5, "byzantine": np.zeros(N, bool), "start": "common", "knowledge": "own"}
    for name, value in strange.items():
        with pytest.raises(ValueError, match=f"simulate: {name} has no place beside cohort"):
            run(fedavg(0.1), **{name: value})
