"""The rounds engine: metrics, rows, seeds, sweeps, and runs that blow up."""

import os
import subprocess
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references

import dlax
from dlax import topology as tp
from dlax.algorithms import centralized_sgd, chebyshev_gossip, dsgd, gossip, local_only
from dlax.data import from_arrays, quantity_skew
from dlax.problems import average, quadratic, softmax
from dlax.simulate import STREAMS, Clock, simulate, stream
from dlax.types import Algorithm, Problem

N = 6
RING = tp.ring(N)
NOISY = quadratic(N, dim=3, noise=1.0)


def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 3))
    y = np.argmax(x + rng.gumbel(size=(50, 3)), axis=1)
    return from_arrays(x[:40], y[:40], x[40:], y[40:], num_classes=3)


REGRESSION = softmax(N, dataset=data(), partition=quantity_skew(alpha=1.0), batch_size=4, l2=0.01)


def test_metrics_against_plain_numpy():
    """Every number of the last row, from the final models alone."""
    result = simulate(dsgd(0.5), REGRESSION, RING, rounds=5, eval_every=5, precision="float64")
    row, params = result.rows[-1], jax.tree.map(lambda leaf: leaf[0], result.params)
    models = np.concatenate([params["w"].reshape(N, -1), params["c"]], axis=1)
    merged = models.mean(axis=0)
    w, c = merged[:9].reshape(3, 3), merged[9:]

    x, y = REGRESSION.shared["x"].astype(float), REGRESSION.shared["y"]
    scores = np.exp(x @ w + c)
    share = scores / scores.sum(axis=1, keepdims=True)
    weight = np.repeat(1 / REGRESSION.local["count"], REGRESSION.local["count"]) / N
    objective = -weight @ np.log(share[np.arange(40), y]) + 0.005 * merged @ merged
    pull = weight[:, None] * (share - np.eye(3)[y])
    gradient = np.concatenate([(x.T @ pull).ravel(), pull.sum(axis=0)]) + 0.01 * merged
    optimum = np.concatenate([np.ravel(REGRESSION.optimum["w"]), REGRESSION.optimum["c"]])

    assert row["consensus"] == pytest.approx(np.mean(np.sum((models - merged) ** 2, axis=1)), rel=1e-10)
    assert row["distance"] == pytest.approx(np.mean(np.sum((models - optimum) ** 2, axis=1)), rel=1e-10)
    assert row["objective"] == pytest.approx(objective, rel=1e-10)
    assert row["suboptimality"] == pytest.approx(objective - REGRESSION.minimum, rel=1e-8)
    assert row["grad_norm"] == pytest.approx(np.linalg.norm(gradient), rel=1e-10)

    test_x, test_y = data().x_test.astype(float), data().y_test

    def held_out(w, c):
        scores = test_x @ w + c
        log_share = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        return -log_share[np.arange(10), test_y].mean(), (scores.argmax(axis=1) == test_y).mean()

    losses, accuracies = zip(*[held_out(params["w"][i], params["c"][i]) for i in range(N)], strict=True)
    want = {
        "test_loss_mean": np.mean(losses), "test_loss_worst": max(losses), "test_loss_best": min(losses),
        "accuracy_mean": np.mean(accuracies), "accuracy_worst": min(accuracies), "accuracy_best": max(accuracies),
        "test_loss_merged": held_out(w, c)[0], "accuracy_merged": held_out(w, c)[1],
    }  # fmt: skip
    for name, value in want.items():
        assert row[name] == pytest.approx(value, rel=1e-10), name
    assert [node["test_loss"] for node in result.nodes] == pytest.approx(losses)
    assert [node["accuracy"] for node in result.nodes] == pytest.approx(accuracies)
    assert [node["samples"] for node in result.nodes] == REGRESSION.local["count"].tolist()
    assert [node["degree"] for node in result.nodes] == [2] * N


def test_the_training_loss_is_the_mean_since_the_last_row():
    """Of the node models on the batches that they were about to learn from."""
    problem = quadratic(N, dim=3)
    A, g, optimum = problem.local["A"], problem.local["g"], problem.shared["optimum"]
    grad, losses, x = references.quadratic_gradient(problem), [], np.zeros((N, 3))
    for _ in range(6):
        z = x - optimum
        losses.append(np.mean([z[i] @ A[i] @ z[i] / 2 + g[i] @ z[i] for i in range(N)]))
        x = references.dsgd(grad, RING.dense, x, lr=0.1, rounds=1)
    rows = simulate(dsgd(0.1), problem, RING, rounds=6, eval_every=4, precision="float64").rows
    assert np.isnan(rows[0]["train_loss"])
    assert rows[1]["train_loss"] == pytest.approx(np.mean(losses[:4]), rel=1e-12)
    assert rows[2]["train_loss"] == pytest.approx(np.mean(losses[4:]), rel=1e-12)


@pytest.mark.parametrize(
    ("rounds", "eval_every", "want"),
    [(6, 2, [0, 2, 4, 6]), (7, 3, [0, 3, 6, 7]), (2, 5, [0, 2]), (0, 5, [0]), (3, 1, [0, 1, 2, 3])],
)
def test_rows_at_zero_at_every_evaluation_and_at_the_end(rounds, eval_every, want):
    rows = simulate(dsgd, NOISY, RING, rounds=rounds, eval_every=eval_every).rows
    assert [row["round"] for row in rows] == want


def test_twenty_evaluations_by_default():
    assert len(simulate(dsgd, NOISY, RING, rounds=100).rows) == 21


def test_how_often_one_looks_changes_nothing():
    finals = [
        simulate(dsgd, NOISY, RING, rounds=12, eval_every=eval_every, participation=0.7).params["x"]
        for eval_every in (1, 5, 12)
    ]
    np.testing.assert_array_equal(finals[0], finals[1])
    np.testing.assert_array_equal(finals[0], finals[2])


def test_runs_of_a_sweep_equal_single_runs():
    swept = simulate(dsgd, NOISY, RING, rounds=8, seeds=[2, 5], hyper={"lr": [0.1, 0.3]}, precision="float64")
    assert [(run["seed"], run["lr"]) for run in swept.runs] == [(2, 0.1), (5, 0.1), (2, 0.3), (5, 0.3)]
    for number, run in enumerate(swept.runs):
        alone = simulate(
            dsgd, NOISY, RING, rounds=8, seeds=[run["seed"]], hyper={"lr": run["lr"]}, precision="float64"
        )
        np.testing.assert_allclose(swept.params["x"][number], alone.params["x"][0], atol=1e-13)
        mine = [row for row in swept.rows if (row["seed"], row["lr"]) == (run["seed"], run["lr"])]
        assert [row["objective"] for row in mine] == pytest.approx([row["objective"] for row in alone.rows])


def test_participation_counts_bits_of_those_awake():
    """Of 6 nodes on the complete graph, a awake ones send a (a − 1) messages; seen round by round."""
    rows = simulate(dsgd, NOISY, tp.complete(N), rounds=200, eval_every=1, participation=0.5).rows
    sent = np.diff([row["bits_total"] for row in rows]) / (3 * 32)
    awake = {a * (a - 1): a for a in range(1, N + 1)}
    assert set(sent) <= set(awake)
    expected = N * (N - 1) * 0.25
    assert abs(sent.mean() - expected) < 5 * sent.std() / np.sqrt(len(sent))
    everyone = simulate(dsgd, NOISY, RING, rounds=5, participation=1.0, precision="float64").params["x"]
    plain = simulate(dsgd, NOISY, RING, rounds=5, precision="float64").params["x"]
    np.testing.assert_allclose(everyone, plain, atol=1e-14)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_precision_reaches_parameters_and_leaves_jax_alone(precision):
    result = simulate(dsgd, NOISY, RING, rounds=2, precision=precision)
    assert result.params["x"].dtype == precision
    bits = {"float32": 32, "float64": 64}[precision]
    assert result.rows[-1]["bits_node"] == 2 * 2 * 3 * bits
    assert jnp.zeros(1).dtype == np.float32


def blow_up_round(lr):
    """The first round whose loss is not finite in float32, or after which a parameter is not."""
    x = np.float32(1.0)
    with np.errstate(over="ignore", invalid="ignore"):
        for t in range(1000):
            if not np.isfinite(np.float32(50) * x * x):
                return t
            x = np.float32(x - np.float32(lr) * np.float32(100) * x)
    return -1


def test_a_run_that_blows_up_is_flagged_and_the_others_go_on():
    steep = Problem(
        N, lambda key: {"x": jnp.ones(())}, lambda p, key, local, shared: 50 * p["x"] ** 2, {"z": np.zeros(N)}, {},
        lambda p, local, shared: 50 * p["x"] ** 2,
    )  # fmt: skip
    first = blow_up_round(1.0)
    assert 5 < first < 20
    result = simulate(local_only, steep, RING, rounds=30, eval_every=10, seeds=2, hyper={"lr": [0.001, 1.0]})
    last = {(row["seed"], row["lr"]): row for row in result.rows if row["round"] == 30}
    for (_, lr), row in last.items():
        assert row["diverged"] == (first if lr == 1.0 else -1)
        assert np.isfinite(row["objective"]) == (lr == 0.001)
    assert {(row["seed"], row["lr"]) for row in result.diverged} == {(0, 1.0), (1, 1.0)}
    by_round = {row["round"]: row["diverged"] for row in result.rows if row["lr"] == 1.0}
    assert [by_round[t] >= 0 for t in (0, 10, 20, 30)] == [False, first < 10, True, True]
    healthy = simulate(local_only, steep, RING, rounds=30, eval_every=10, seeds=2, hyper={"lr": 0.001})
    np.testing.assert_allclose(result.params["x"][:2], healthy.params["x"], rtol=1e-6)


def test_a_non_finite_parameter_is_flagged_though_the_loss_is_finite():
    """The derivative of 0 · √x at 0 is not a number."""
    blind = Problem(
        N, lambda key: {"x": jnp.zeros(())}, lambda p, key, local, shared: 0.0 * jnp.sqrt(p["x"]), {"z": np.zeros(N)},
        {}, lambda p, local, shared: p["x"],
    )  # fmt: skip
    assert simulate(local_only, blind, RING, rounds=1).rows[-1]["diverged"] == 1


@pytest.mark.parametrize(
    ("clock", "local_steps", "round_time"),
    [
        (Clock(), 1, 1.0),
        (Clock(), 3, 3.0),
        (Clock(gradient=2.0, latency=0.5), 3, 6.5),
        (Clock(gradient=0.0, bandwidth=64.0), 1, 5 * 3 * 32 / 64.0),  # the hub sends five messages
    ],
)
def test_the_simulated_clock(clock, local_steps, round_time):
    result = simulate(dsgd(local_steps=local_steps), NOISY, tp.star(N), rounds=4, eval_every=3, clock=clock)
    assert [row["time"] for row in result.rows] == pytest.approx([0, 3 * round_time, 4 * round_time])


def test_common_and_independent_starts():
    drawn = NOISY._replace(init=lambda key: {"x": jax.random.normal(key, (3,))})
    common, independent = (
        simulate(dsgd, drawn, RING, rounds=0, seeds=2, start=start).params["x"]
        for start in ("common", "independent")
    )
    np.testing.assert_array_equal(common, np.broadcast_to(common[:, :1], common.shape))
    assert len(np.unique(independent)) == independent.size
    assert (common[0] != common[1]).all()


def test_starts_of_the_problem_replace_draws():
    """Whatever `start` says, and in the precision of the run."""
    mine = np.random.default_rng(0).normal(size=(N, 3))
    problem = NOISY._replace(init=lambda key: {"x": jax.random.normal(key, (3,))}, starts={"x": mine})
    for start in ("common", "independent"):
        result = simulate(dsgd, problem, RING, rounds=0, seeds=2, start=start)
        np.testing.assert_array_equal(result.params["x"], np.stack([mine.astype(np.float32)] * 2))
        exact = simulate(dsgd, problem, RING, rounds=0, start=start, precision="float64")
        np.testing.assert_array_equal(exact.params["x"][0], mine)


def test_large_starts_stay_whole_for_the_next_run():
    """They stay on the device between runs, and a run gives its own copy away."""
    problem = average(N, dim=50_000)
    problem.starts["x"].flags.writeable = False
    assert problem.starts["x"].nbytes > 1_000_000
    first, second = (simulate(gossip, problem, RING, rounds=2).params["x"] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    start = simulate(gossip, problem, RING, rounds=0).params["x"][0]
    np.testing.assert_array_equal(start, problem.starts["x"].astype(np.float32))


class Asked(NamedTuple):
    params: dict[str, jax.Array]


def asking(name):
    """An algorithm that sets its parameters to a fact of the topology."""

    def step(state, round):
        fact = round.fact(name)
        return Asked({"x": jnp.broadcast_to(fact, (N, 3))}), {"bits": jnp.zeros(N)}

    return Algorithm(lambda params, round: Asked(params), step)


@pytest.mark.parametrize(
    "topology", [RING, tp.star(N, weights=tp.best_constant())], ids=lambda graph: graph.name
)
def test_facts_of_a_topology_are_its_numbers(topology):
    for name, want in (
        ("spectral gap", topology.spectral_gap), ("least eigenvalue", topology.least_eigenvalue)
    ):  # fmt: skip
        got = simulate(asking(name), NOISY, topology, rounds=1, precision="float64").params["x"]
        np.testing.assert_array_equal(got, want)


def test_a_fact_is_an_argument_so_weights_share_a_compilation():
    """Two rings of one shape and name: the second compiles nothing, and mixes and asks for itself."""
    problem = average(N, dim=2)
    light, heavy = RING, tp.ring(N, weights=tp.laplacian(step=0.45))
    assert light.name == heavy.name and abs(light.spectral_gap - heavy.spectral_gap) > 0.1
    assert light.properties == heavy.properties
    for number, topology in enumerate((light, heavy, light)):
        result = simulate(chebyshev_gossip, problem, topology, rounds=5, precision="float64")
        assert (result.seconds["compile"] == 0) == (number > 0)
        want = references.chebyshev_gossip(
            topology.dense(), problem.starts["x"], rounds=5, gap=topology.spectral_gap
        )
        np.testing.assert_allclose(result.params["x"][0], want, atol=1e-12)


def test_facts_that_are_not_known():
    with pytest.raises(
        ValueError,
        match="no fact 'diameter' is known of a topology; there are spectral gap, least eigenvalue",
    ):
        simulate(asking("diameter"), NOISY, RING, rounds=1)
    with pytest.raises(ValueError, match="static_exponential: the least eigenvalue needs symmetric matrices"):
        simulate(asking("least eigenvalue"), NOISY, tp.static_exponential(N), rounds=1)


def test_the_same_structure_compiles_once():
    problem, config = quadratic(N, dim=2), {"rounds": 3, "hyper": {"lr": 0.1}}
    assert simulate(dsgd, problem, RING, **config).seconds["compile"] > 0
    assert simulate(dsgd, problem, RING, **config).seconds["compile"] == 0
    longer = {"rounds": 7, "eval_every": 2, "seeds": [9], "hyper": {"lr": 0.2}, "clock": Clock(latency=2.0)}
    assert simulate(dsgd, problem, RING, **longer).seconds["compile"] == 0
    assert simulate(dsgd, problem, tp.star(N), **config).seconds["compile"] > 0


PROGRAM = """
import sys
from dlax.algorithms import dsgd
from dlax.problems import quadratic
from dlax.simulate import simulate
from dlax.topology import random_sequence, ring, star
graphs = random_sequence(6, members=(ring, star))
result = simulate(dsgd, quadratic(6, dim=3, noise=1.0), graphs, rounds=20, seeds=[4], participation=0.8)
sys.stdout.write(result.params["x"].tobytes().hex())
"""


def test_one_seed_gives_the_same_bits_in_another_process():
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
        timeout=300,
    )
    graphs = tp.random_sequence(6, members=(tp.ring, tp.star))
    here = simulate(dsgd, NOISY, graphs, rounds=20, seeds=[4], participation=0.8).params["x"]
    assert finished.stdout == here.tobytes().hex()


def test_data_changed_in_place_are_seen_by_the_next_run():
    """Large arrays stay on the device between runs; what the user did to them in between must not be lost."""
    wide = quadratic(N, dim=25_000, hessian="common")
    before = simulate(dsgd, wide, RING, rounds=1).params["x"]
    wide.local["g"] *= -1
    after = simulate(dsgd, wide, RING, rounds=1).params["x"]
    assert wide.local["g"].nbytes > 1_000_000
    assert (before != after).any()


def test_the_yardstick_refuses_nodes_that_sleep():
    with pytest.raises(
        ValueError, match="'centralized_sgd' needs every node and link in every round; set participation"
    ):
        simulate(centralized_sgd, NOISY, RING, rounds=5, participation=0.5)


def test_algorithms_see_the_same_batches():
    """The first minibatch losses of algorithms with one seed are equal: one key stream, one start."""
    names = ["dsgd", "gradient_tracking", "local_only", "centralized_sgd", "extra", "qg_dsgdm", "choco_sgd"]
    first = [
        simulate(dlax.algorithms.ALGORITHMS[name], REGRESSION, tp.complete(N), rounds=1).rows[-1][
            "train_loss"
        ]
        for name in names
    ]
    np.testing.assert_allclose(first, first[0], rtol=1e-6)


def test_streams_are_told_apart_by_name():
    key = jax.random.key(0)
    assert len({jax.random.key_data(stream(key, name)).tobytes() for name in STREAMS}) == len(STREAMS)
    with pytest.raises(ValueError, match=r"'noise' is not one of \('start', 'data'"):
        stream(key, "noise")


def test_the_public_name_is_the_function():
    """Also after `import dlax.simulate`, where a package of that name lives."""
    import dlax.simulate

    assert callable(dlax.simulate)
    assert dlax.simulate(dsgd, NOISY, RING, rounds=1).rows[-1]["round"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"topology": tp.ring(5)}, "the problem has 6 nodes, topology 'ring' 5"),
        (
            {"algorithm": dsgd(0.1), "hyper": {"lr": [0.1]}},
            r"hyper needs a factory such as .*dsgd, got a ready",
        ),
        ({"hyper": {"lrr": 0.1}}, "lrr"),
        ({"hyper": {"local_steps": 2}}, "local_steps"),
        ({"rounds": -1}, "rounds must be at least 0 and eval_every at least 1, got -1"),
        ({"eval_every": -2}, "eval_every at least 1, got 3 and -2"),
        ({"seeds": []}, "seeds must name at least one seed"),
        ({"seeds": 0}, "seeds must name at least one seed"),
        ({"participation": 0.0}, r"participation must be in \(0, 1\], got 0\.0"),
        ({"participation": 1.5}, r"participation must be in \(0, 1\], got 1\.5"),
    ],
)
def test_refusals(options, message):
    arguments = {"algorithm": dsgd, "problem": NOISY, "topology": RING, "rounds": 3} | options
    with pytest.raises(ValueError, match=message):
        simulate(**arguments)
