"""Runs by a schedule are what a plain server does, and FedAvg's rounds where the schedule is FedAvg's."""

import functools

import jax
import numpy as np
import pytest
import references_served as plain

import dlax
from dlax import schedulers as sc
from dlax import topology as tp
from dlax.algorithms import fedavg
from dlax.data import digits, dirichlet
from dlax.models import linear
from dlax.optimizers import OPTIMIZERS, sgd
from dlax.papers import unmeasured
from dlax.problems import average, classification, quadratic
from dlax.simulate import serve

M, LR, AGGREGATIONS = 6, 0.05, 45
EXACT, NOISY = quadratic(M, dim=3), quadratic(M, dim=3, noise=1.0)
SPEEDS = sc.slowed(sc.exponential(M, noise=0.3, seed=1), 1, factor=4.0, first=5)
OPTIONS = {"q_min": 2, "q_max": 9, "lam": 1.2, "mu": 0.9}
SHARES = np.array([0.1, 0.3, 0.05, 0.25, 0.2, 0.1])
EVERY = {"eval_aggregations": 1, "width": M, "at_once": 1, "precision": "float64", "optimizer": sgd()}
SCHEDULES = {
    "compass": sc.compass(SPEEDS, aggregations=AGGREGATIONS, shares=SHARES, **OPTIONS),
    "fedbuff": sc.fedbuff(SPEEDS, steps=9, aggregations=AGGREGATIONS, shares=SHARES),
    "synchronous": sc.synchronous(SPEEDS, steps=9, aggregations=AGGREGATIONS, alpha=0.9, shares=SHARES),
}


def gradient(client, x):
    return EXACT.local["A"][client] @ (x - EXACT.shared["optimum"]) + EXACT.local["g"][client]


@functools.cache
def by_hand(name, delta):
    """A server's model and its log, every number worked out in the order of time."""
    seconds = [functools.partial(SPEEDS.seconds, i) for i in range(M)]
    kind = "constant" if name == "synchronous" else "polynomial"
    server = plain.Server(np.zeros(3), gradient, seconds, LR, kind=kind, shares=SHARES, delta=delta)
    if name == "compass":
        plain.run_compass(server, *OPTIONS.values(), AGGREGATIONS)
    elif name == "fedbuff":
        plain.run_fedbuff(server, 9, 3, AGGREGATIONS)
    else:
        plain.run_rounds(server, 9, AGGREGATIONS)
    return server.x, server.log


@pytest.mark.parametrize("delta", ["start", "server"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_run_is_what_a_plain_server_does(name, delta):
    schedule = SCHEDULES[name]
    assert name != "compass" or (~schedule.applied).any()  # somebody came late
    result = serve(schedule, EXACT, lr=LR, delta=delta, **EVERY)
    x, log = by_hand(name, delta)
    np.testing.assert_allclose(result.params["x"][0, 0], x, rtol=0, atol=1e-10)
    times = [row["time"] for row in result.rows]
    np.testing.assert_allclose(times, [0.0, *(time for time, _ in log)], rtol=1e-12)
    last = result.rows[-1]
    assert last["aggregations"] == last["round"] == AGGREGATIONS
    assert last["distance"] == pytest.approx(np.sum((x - EXACT.optimum["x"]) ** 2), rel=1e-9)


def test_members_that_train_together_get_what_they_get_one_by_one():
    alone = serve(SCHEDULES["compass"], NOISY, lr=LR, **EVERY)
    together = serve(SCHEDULES["compass"], NOISY, lr=LR, **(EVERY | {"at_once": 4}))  # in two parts of 4
    np.testing.assert_allclose(together.params["x"], alone.params["x"], rtol=0, atol=1e-12)
    losses = ([row["train_loss"] for row in result.rows[1:]] for result in (together, alone))
    np.testing.assert_allclose(*losses)


@pytest.mark.parametrize("steps", [9, 1])
def test_a_synchronous_schedule_is_fedavg_batch_by_batch(steps):
    """The same minibatches and the same mean: to rounding, the algorithm of the rounds clock."""
    schedule = sc.synchronous(np.ones(M), steps=steps, aggregations=7)
    mine = serve(schedule, NOISY, lr=LR, seeds=2, **EVERY)
    theirs = dlax.simulate(
        functools.partial(fedavg, local_steps=steps), NOISY, tp.complete(M), rounds=7, eval_every=1, seeds=2,
        hyper={"lr": LR}, precision="float64",
    )  # fmt: skip
    np.testing.assert_allclose(
        mine.params["x"], theirs.params["x"].mean(axis=1, keepdims=True), rtol=0, atol=1e-12
    )
    for name in ("distance", "objective", "grad_norm"):
        np.testing.assert_allclose([r[name] for r in mine.rows], [r[name] for r in theirs.rows], atol=1e-12)


def test_of_equal_speeds_fedcompass_is_fedavg_after_its_first_tasks():
    """Item 2: from the first whole group on, alpha = 1 takes the mean of all clients."""
    schedule = sc.compass(np.ones(M), q_min=1, q_max=4, alpha=1.0, staleness="constant", aggregations=M + 6)
    served = serve(schedule, EXACT, lr=LR, **EVERY)
    x = np.zeros(3)

    def train(client, v):
        for _ in range(4):
            v = v - LR * gradient(client, v)
        return v

    starts = []
    first = [x - train(i, x) for i in range(M)]
    for update in first:
        x = x - update / M
        starts.append(x)
    x = x - np.mean([start - train(i, start) for i, start in enumerate(starts)], axis=0)
    for _ in range(5):
        x = np.mean([train(i, x) for i in range(M)], axis=0)
    np.testing.assert_allclose(served.params["x"][0, 0], x, rtol=0, atol=1e-10)


def test_every_seed_has_a_schedule_of_its_own():
    def schedule(seed):
        return sc.compass(sc.exponential(M, seed=seed), duration=60.0, **OPTIONS)

    options = {k: v for k, v in EVERY.items() if k != "eval_aggregations"} | {"eval_every": 20.0}
    both = serve(schedule, NOISY, lr=LR, seeds=2, **options)
    listed = serve([schedule(0), schedule(1)], NOISY, lr=LR, seeds=2, **options)
    np.testing.assert_array_equal(both.params["x"], listed.params["x"])
    for seed in (0, 1):
        alone = serve(schedule(seed), NOISY, lr=LR, seeds=[seed], **options)
        np.testing.assert_allclose(alone.params["x"][0], both.params["x"][seed], rtol=0, atol=1e-12)
        mine = [row for row in both.rows if row["seed"] == seed]
        for a, b in zip(alone.rows, mine, strict=True):
            assert a == {k: pytest.approx(v, nan_ok=True) for k, v in b.items()}
    tasks = schedule(1).tasks
    handed = (tasks.row >= 0) & (schedule(1).time[tasks.row] <= 40.0)
    row = next(row for row in both.rows if row["seed"] == 1 and row["time"] == 40.0)
    assert (row["exchanges"], row["gradients"]) == (handed.sum(), tasks.steps[handed].sum())
    assert row["bits_total"] == 2 * 64 * 3 * handed.sum() == M * row["bits_node"]
    clients = [row for row in both.nodes if row["seed"] == 1]
    np.testing.assert_allclose([row["idle"] for row in clients], schedule(1).idle())
    assert sum(row["updates"] for row in clients) == (tasks.row >= 0).sum()


def test_how_often_it_is_measured_changes_no_bit():
    options = EVERY | {"eval_aggregations": 7}
    often, seldom = (serve(SCHEDULES["compass"], NOISY, lr=LR, **o) for o in (EVERY, options))
    np.testing.assert_array_equal(often.params["x"], seldom.params["x"])
    assert [row["aggregations"] for row in seldom.rows] == [0, 7, 14, 21, 28, 35, 42, 45]
    losses = np.array([[row["train_loss"], row["gradients"]] for row in often.rows])
    sums = np.nansum(losses[1:8, 0] * np.diff(losses[:8, 1]))
    assert seldom.rows[1]["train_loss"] == pytest.approx(sums / seldom.rows[1]["gradients"])


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_a_run_that_blows_up_is_flagged_and_the_others_go_on():
    result = serve(SCHEDULES["compass"], EXACT, lr=[LR, 1e200], **EVERY)
    assert [row["lr"] for row in result.diverged] == [1e200]
    assert 0 < result.diverged[0]["diverged"] < AGGREGATIONS
    np.testing.assert_allclose(result.params["x"][0, 0], by_hand("compass", "start")[0], rtol=0, atol=1e-10)


def test_a_network_learns_with_adam_by_default():
    problem = classification(
        4, dataset=digits(), model=linear(), partition=dirichlet(alpha=0.3), batch_size=32
    )
    problem = problem._replace(objective=unmeasured)
    schedule = sc.compass([1.0, 1.3, 2.0, 3.0], q_min=5, q_max=20, duration=400.0)
    result = serve(schedule, problem, lr=0.01, seeds=2)
    accuracy = np.array([row["accuracy_mean"] for row in result.rows]).reshape(-1, 2)
    assert len(accuracy) == 21 and (accuracy[-1] > 0.85).all() and (accuracy[0] < 0.3).all()
    assert result.to_pandas()["accuracy_merged"].equals(result.to_pandas()["accuracy_mean"])
    assert jax.tree.leaves(result.params)[0].shape[:2] == (2, 1)
    plots = dlax.plots.available(result)
    assert "learning_curves" in plots and "accuracy_per_node" not in plots
    dlax.plots.panel(result)


def test_clients_forget_their_optimiser_between_tasks():
    """Adam's first step is lr · sign(gradient): a task of one step moves every coordinate by lr."""
    schedule = sc.fedasync(
        [1.0] * M, steps=1, alpha=1.0, staleness="constant", shares=np.eye(M)[0], aggregations=13
    )
    result = serve(schedule, EXACT, lr=1e-3, **(EVERY | {"optimizer": OPTIMIZERS["adam"]()}))
    moved = result.params["x"][0, 0] / 1e-3  # client 0 alone counts, and it handed in three times
    np.testing.assert_allclose(np.abs(moved), 3, atol=1e-3)


REFUSED = {
    "6 clients, the schedule 2": lambda: serve(sc.fedasync([1.0, 1.0], duration=1.0), EXACT),
    "delta must be 'start' or 'server', got 'gradient'": lambda: serve(
        SCHEDULES["fedbuff"], EXACT, delta="gradient"
    ),
    "one first model": lambda: serve(SCHEDULES["fedbuff"], average(M)),
    "seeds must name": lambda: serve(SCHEDULES["fedbuff"], EXACT, seeds=[]),
    "one a seed, got 1 for 2 seeds": lambda: serve([SCHEDULES["fedbuff"]], EXACT, seeds=2),
    "seeds must be different": lambda: serve([SCHEDULES["fedbuff"]] * 2, EXACT, seeds=[0, 0]),
    "must last equally long": lambda: serve([SCHEDULES["fedbuff"], SCHEDULES["compass"]], EXACT, seeds=2),
    "eval_every must be positive": lambda: serve(SCHEDULES["fedbuff"], EXACT, eval_every=0.0),
    "eval_aggregations must be at least 1": lambda: serve(SCHEDULES["fedbuff"], EXACT, eval_aggregations=0),
    "width must be at least 1": lambda: serve(SCHEDULES["fedbuff"], EXACT, width=0),
    "at_once must be at least 1": lambda: serve(SCHEDULES["fedbuff"], EXACT, at_once=-1),
}


@pytest.mark.parametrize("message", REFUSED)
def test_refusals(message):
    with pytest.raises(ValueError, match=message):
        REFUSED[message]()


CONFIG = {
    "nodes": 5, "problem": "quadratic", "scheduler": {"name": "compass", "q_min": 2, "q_max": 5},
    "speeds": {"name": "exponential", "noise": 0.05}, "duration": 60, "eval_every": 10, "seeds": 2,
    "algorithm": {"name": "local_training", "optimizer": "sgd"}, "vmap": {"algorithm.lr": [0.01, 0.05]},
}  # fmt: skip


def test_a_config_runs_sweeps_and_resumes(tmp_path):
    whole = dlax.run(CONFIG)
    assert whole.label == "local_training, compass" and len(whole.runs) == 4
    speeds = [sc.exponential(5, noise=0.05, seed=seed) for seed in range(2)]
    by_hand = serve(
        [sc.compass(each, q_min=2, q_max=5, duration=60.0) for each in speeds], quadratic(5), lr=[0.01, 0.05],
        optimizer=OPTIMIZERS["sgd"](), seeds=2, eval_every=10.0,
    )  # fmt: skip
    np.testing.assert_array_equal(whole.params["x"], by_hand.params["x"])
    dlax.run(CONFIG, out=tmp_path / "run", on_block=lambda snapshot: snapshot.round == 3)
    resumed = dlax.run(CONFIG, out=tmp_path / "run", resume=True)
    np.testing.assert_array_equal(whole.params["x"], resumed.params["x"])
    assert (whole.rows[-1], whole.nodes) == (resumed.rows[-1], resumed.nodes)
    with pytest.raises(ValueError, match="was run with duration = 60"):
        dlax.run(CONFIG | {"duration": 80}, out=tmp_path / "run", resume=True)
    names = [{"name": "synchronous", "steps": 5}, {"name": "fedbuff", "staleness": "hinge", "steps": 5}]
    results = dlax.sweep(CONFIG | {"grid": {"scheduler": names}})
    counts = [[row["exchanges"] for row in result.rows[-4:]] for result in results]
    assert all(a < b for a, b in zip(*counts, strict=True))  # who waits for the slowest hears less


MISTAKES = [
    ({"topology": "ring"}, "topology: has no place beside scheduler"),
    ({"cohort": "uniform"}, "cohort: has no place beside scheduler"),
    ({"faults": "on_off"}, "faults: has no place beside scheduler"),
    ({"channel": "delayed"}, "channel: scheduled algorithms take none"),
    ({"clock": {"latency": 1.0}}, "clock: is of rounds; local_training has times of its own"),
    ({"start": "independent"}, "start: a server has one model"),
    ({"algorithm": "fedavg"}, "algorithm: fedavg cannot be scheduled; local_training can"),
    ({"scheduler": None, "speeds": None, "topology": "ring"}, "local_training needs a scheduler"),
    ({"scheduler": None, "topology": "ring"}, "speeds: are of a scheduler's clients"),
    ({"rounds": 3}, "rounds: local_training is scheduled, which takes duration"),
    ({"duration": None}, "duration: is required; local_training is scheduled"),
    ({"scheduler": "compas"}, "unknown scheduler 'compas'; .*did you mean 'compass'"),
    ({"scheduler": {"name": "compass", "duration": 3}}, "scheduler.duration: unknown option"),
    ({"scheduler": {"name": "compass", "lam": 0.5}}, "scheduler: compass: lam must be at least 1, got 0.5"),
    ({"scheduler": {"name": "fedbuff", "staleness": "hing"}}, "unknown staleness 'hing'; .*'hinge'"),
    ({"speeds": {"name": "exponential", "noise": -1}}, "speeds: exponential: noise must be at least 0"),
    ({"speeds": {"name": "listed", "seconds": [1, 2]}}, "speeds: listed: seconds must be 5 numbers"),
]


@pytest.mark.parametrize(("change", "message"), MISTAKES)
def test_mistakes(change, message):
    with pytest.raises(ValueError, match=message):
        dlax.run({k: v for k, v in (CONFIG | change).items() if k != "vmap"})
