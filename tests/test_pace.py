"""Simulated time: the loop over nodes that wait for one another; what varies; what is refused."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dlax
from dlax import faults, sampling
from dlax import topology as tp
from dlax.algorithms import dsgd, fedavg
from dlax.problems import average, quadratic
from dlax.simulate import Clock, record_speeds, simulate, speeds
from dlax.simulate.pace import pace_of, work_time

pytestmark = pytest.mark.usefixtures("strict_ranks")

N, ROUNDS, K = 8, 9, 2
PROBLEM = quadratic(N, dim=3)
BITS = 3 * 64  # of a message
RNG = np.random.default_rng(0)
OWN = RNG.uniform(0.5, 2.0, N)
EDGES = RNG.uniform(0.1, 3.0, (N, N))


def times(clock, topology, **options):
    result = simulate(
        dsgd(0.1, local_steps=K), PROBLEM, topology, rounds=ROUNDS, eval_every=1, clock=clock,
        precision="float64", **options,
    )  # fmt: skip
    return np.array([row["time"] for row in result.rows[1:]])


def durations(clock, rounds=ROUNDS, n=N, seed=0, gradients=K):
    """Of the gradients of every round, from the documented key streams; `[rounds, n]`."""
    with jax.enable_x64(True):
        pace, numbers = pace_of(clock, n)
        numbers = {name: jnp.asarray(value) for name, value in numbers.items()}
        nodes = jnp.arange(n, dtype=jnp.int32)

        def one(t):
            return work_time(pace, numbers, t, jax.random.key(seed), nodes, jnp.asarray(float(gradients)))

        return np.asarray(jax.jit(jax.vmap(one))(jnp.arange(rounds)))


def loop(clock, topology, awake):
    """When the last node is ready after every round; one node after the other."""
    W, n = topology.dense(), topology.n
    work, ready, ends = durations(clock), np.zeros(n), []
    latency, bandwidth = np.broadcast_to(clock.latency, (n, n)), np.broadcast_to(clock.bandwidth, n)
    for t in range(ROUNDS):
        hears = [
            [j for j in range(n) if j != i and W[i, j] and awake[t, i] and awake[t, j]] for i in range(n)
        ]
        sent = [BITS * sum(j in hears[i] for i in range(n)) for j in range(n)]
        done = [ready[i] + awake[t, i] * (work[t, i] + sent[i] / bandwidth[i]) for i in range(n)]
        new = [max([done[i], *(done[j] + latency[i, j] for j in hears[i])]) for i in range(n)]
        ready = np.array(new) if clock.barrier == "neighbours" else np.full(n, max(new))
        ends.append(ready.max())
    return np.array(ends)


CLOCKS = {
    "neighbours": Clock(OWN, 0.3, 500.0, barrier="neighbours"),
    "edges": Clock(OWN, EDGES, OWN * 300, barrier="neighbours"),
    "edges, all wait": Clock(1.0, EDGES),
    "log-normal": Clock(law="log_normal", sigma=0.8, barrier="neighbours"),
}


@pytest.mark.parametrize("name", CLOCKS)
def test_time_is_the_loop_over_nodes_that_wait(name):
    everyone = np.ones((ROUNDS, N), bool)
    for topology in (tp.ring(N), tp.star(N)):
        np.testing.assert_allclose(
            times(CLOCKS[name], topology), loop(CLOCKS[name], topology, everyone), rtol=1e-12
        )


def test_who_sleeps_holds_up_nobody():
    fault = faults.node_loss(0.25, 3.0, 6.0, by="degree")
    awake = np.ones((ROUNDS, N), bool)
    awake[3:6, :2] = False  # of a ring the first
    clock = Clock(OWN, 0.2, barrier="neighbours")
    np.testing.assert_allclose(
        times(clock, tp.ring(N), faults=fault), loop(clock, tp.ring(N), awake), rtol=1e-12
    )


def test_a_clock_in_which_all_are_alike_is_the_formula():
    expected = np.arange(1, ROUNDS + 1) * (K * 2.0 + 0.5 + 2 * BITS / 100.0)
    for clock in (Clock(2.0, 0.5, 100.0), Clock(np.full(N, 2.0), 0.5, np.full(N, 100.0))):
        np.testing.assert_allclose(times(clock, tp.ring(N)), expected, rtol=1e-12)


def test_links_that_are_down_hold_up_nobody_and_neither_does_a_round_without_anybody():
    slow = Clock(OWN, 0.2, law="exponential", barrier="neighbours")
    ends = [times(slow, tp.ring(N), faults=faults.link_loss(rate))[-1] for rate in (0.0, 1.0)]
    assert ends[1] < ends[0]
    alone = times(Clock(OWN, 0.2, barrier="neighbours"), tp.ring(N), faults=faults.link_loss(1.0))
    np.testing.assert_allclose(alone, np.arange(1, ROUNDS + 1) * K * OWN.max(), rtol=1e-12)
    nights = faults.cyclic(4.0, 1.0, phases="together")  # all awake in one round of four
    for law in ("constant", "log_normal"):
        clock = Clock(2.0, 0.5, law=law, sigma=0.0)
        assert times(clock, tp.ring(N), faults=nights)[-1] == pytest.approx((2.0 * K + 0.5) * 3)


def test_a_long_block_loses_no_time_to_rounding():
    options = {"rounds": 200_000, "eval_every": 200_000, "clock": Clock(gradient=0.1)}
    result = simulate(dsgd(0.0), average(2), tp.ring(2), **options)
    assert result.rows[-1]["time"] == pytest.approx(20_000.0, rel=1e-6)


def test_waiting_for_neighbours_is_never_slower_and_random_work_costs_less():
    for law in ("normal", "exponential", "log_normal"):
        wait, local = (
            times(Clock(law=law, barrier=barrier), tp.ring(N))[-1] for barrier in ("all", "neighbours")
        )
        assert K * ROUNDS * 0.9 < local < wait


def test_work_has_mean_one_and_stragglers_are_slow_for_the_whole_run():
    for law in ("normal", "exponential", "log_normal"):
        drawn = durations(Clock(law=law, sigma=0.3), rounds=400, n=50, gradients=1)
        assert drawn.mean() == pytest.approx(1.0, abs=0.02)
        deviation = {"normal": 0.3, "exponential": 1.0, "log_normal": np.sqrt(np.expm1(0.09))}[law]
        assert drawn.std() == pytest.approx(deviation, rel=0.05)
    slow = durations(Clock(stragglers=0.3, slowdown=4.0), rounds=20, n=400, gradients=1)
    assert (slow == slow[:1]).all() and set(np.unique(slow)) == {1.0, 4.0}
    assert (slow[0] == 4.0).mean() == pytest.approx(0.3, abs=0.07)


def test_cohorts_wait_for_their_slowest():
    clock = Clock(OWN, 0.25, 200.0, law="exponential")
    result = simulate(
        fedavg(0.1, local_steps=K), PROBLEM, cohort=sampling.uniform(size=3), rounds=ROUNDS, eval_every=1,
        clock=clock, precision="float64",
    )  # fmt: skip
    from dlax.simulate.streams import round_key, stream

    work, total = durations(clock), 0.0
    for t in range(ROUNDS):
        cohort = np.asarray(
            sampling.subset(stream(round_key(jax.random.key(0), jnp.int32(t)), "graph"), N, 3)
        )
        total += work[t][cohort].max() + BITS / 200.0 + 0.5
        assert result.rows[t + 1]["time"] == pytest.approx(total, rel=1e-12)


def test_a_config_reads_speeds_and_resumes(tmp_path):
    path = tmp_path / "speeds.csv"
    path.write_text("node,seconds\n" + "".join(f"{i},{i + 1}\n" for i in range(N)))
    config = {
        "nodes": N, "problem": "quadratic", "topology": "ring", "algorithm": "dsgd", "rounds": 8,
        "eval_every": 2, "clock": {"speeds": str(path), "barrier": "neighbours", "law": "exponential"},
    }  # fmt: skip
    whole = dlax.run(config)
    dlax.run(config, out=tmp_path / "run", on_block=lambda snapshot: snapshot.round == 4)
    resumed = dlax.run(config, out=tmp_path / "run", resume=True)
    assert [row["time"] for row in whole.rows] == [row["time"] for row in resumed.rows]
    steady = dlax.run(config | {"clock": {"speeds": str(path)}})
    assert steady.rows[-1]["time"] == 8 * N


DRAWN = {
    "even": Clock(0.7, 0.3, 500.0),
    "stragglers": Clock(OWN, 0.3, stragglers=0.5, slowdown=3.3),
    "log-normal": Clock(OWN, EDGES, OWN * 300, "log_normal", 0.8, 0.3, barrier="neighbours"),
    "exponential": Clock(1.3, law="exponential"),
    "normal": Clock(OWN, 0.1, 333.0, law="normal", barrier="neighbours"),
}


@pytest.mark.parametrize("name", DRAWN)
def test_what_a_clock_drew_replays_a_run_bit_for_bit(tmp_path, name):
    """70 rounds: more than are drawn at once; blocks of 7 begin anywhere among them; three gradients a round."""
    clock, path = DRAWN[name], str(tmp_path / "speeds.csv")
    table = record_speeds(clock, N, rounds=70, seed=3)
    assert ("round" in table) == (clock.law != "constant")
    table.sample(frac=1, random_state=0).to_csv(path, index=False)  # in any order

    def run(clock):
        result = simulate(
            partial(dsgd, local_steps=3), PROBLEM, tp.star(N), rounds=70, eval_every=7, clock=clock, seeds=[3],
            hyper={"lr": 0.1},
        )  # fmt: skip
        return [row["time"] for row in result.rows]

    read = speeds(path, N)
    again = Clock(read, clock.latency, clock.bandwidth, barrier=clock.barrier)
    assert run(clock) == run(again)
    once_more = record_speeds(again, N, rounds=70)
    assert once_more.equals(table) and len(np.unique(read)) > 1 - (name == "even")


def test_what_a_clock_drew_replays_cohorts_and_double_precision(tmp_path):
    clock, path = Clock(OWN, law="log_normal", stragglers=0.3), str(tmp_path / "speeds.csv")
    record_speeds(clock, N, rounds=ROUNDS, precision="float64").to_csv(path, index=False)

    def run(clock):
        result = simulate(
            fedavg(0.1, local_steps=K), PROBLEM, cohort=sampling.uniform(size=3), rounds=ROUNDS, eval_every=1,
            clock=clock, precision="float64",
        )  # fmt: skip
        return [row["time"] for row in result.rows]

    assert run(clock) == run(Clock(speeds(path, N)))


def test_speeds_by_round_start_again_and_come_from_a_config(tmp_path):
    path = tmp_path / "speeds.csv"
    rows = [f"{t},{i},{1 + t + i}" for t in range(3) for i in range(N)]
    path.write_text("\n".join(["round,node,seconds", *rows]) + "\n")
    config = {
        "nodes": N, "problem": "quadratic", "topology": "ring", "algorithm": "dsgd", "rounds": 7, "eval_every": 1,
        "clock": {"speeds": str(path), "gradient": 2.0},
    }  # fmt: skip
    passed = np.diff([row["time"] for row in dlax.run(config).rows])
    np.testing.assert_allclose(passed, [2.0 * (N + t % 3) for t in range(7)])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["0,0,1", "0,1,x"], "row 2: seconds must be a finite number, at least 0, got x"),
        (["0,0,1", "0,1,-2"], "row 2: seconds must be a finite number, at least 0, got -2"),
        (["0,0,1", "0,1,inf"], "row 2: seconds must be a finite number, at least 0, got inf"),
        (["0,0,1", "0,2,1"], "row 2: node must be a whole number from 0 to 1, got 2"),
        (["0,0.5,1", "0,1,1"], r"row 1: node must be a whole number from 0 to 1, got 0\.5"),
        (["0,0,1", "-1,1,1"], "row 2: round must be a whole number, at least 0, got -1"),
        (["0,0,1", "1,1,1"], "every node from 0 to 1 once in every round from 0 to 1, got 2 rows"),
        ([], "every node from 0 to 1 once in every round from 0 to 0, got 0 rows"),
    ],
)
def test_mistakes_in_a_table_of_speeds(tmp_path, rows, message):
    path = tmp_path / "speeds.csv"
    path.write_text("\n".join(["round,node,seconds", *rows]) + "\n")
    with pytest.raises(ValueError, match=f"clock.speeds: {path}: .*{message}"):
        speeds(str(path), 2)


def test_a_record_needs_a_round_and_a_clock_that_fits():
    with pytest.raises(ValueError, match="record_speeds: rounds must be at least 1, got 0"):
        record_speeds(Clock(), 2, rounds=0)
    with pytest.raises(ValueError, match=r"clock.gradient: expected a number or an array \[2\]"):
        record_speeds(Clock(OWN), 2, rounds=1)


@pytest.mark.parametrize(
    ("clock", "message"),
    [
        ({"law": "cauchy"}, "clock.law: input should be 'constant', 'normal'"),
        ({"stragglers": 2}, "clock.stragglers: input should be less than or equal to 1"),
        ({"speeds": "no.csv"}, "clock.speeds: path: there is no file 'no.csv'"),
        ({"barier": "all"}, "clock.barier: unknown option"),
    ],
)
def test_mistakes_in_a_config(clock, message):
    config = {"nodes": N, "problem": "quadratic", "topology": "ring", "algorithm": "dsgd", "rounds": 2}
    with pytest.raises(ValueError, match=message):
        dlax.run(config | {"clock": clock})


@pytest.mark.parametrize(
    ("clock", "message"),
    [
        (
            Clock(gradient=np.ones(3)),
            r"clock.gradient: expected a number or an array \[8\] or \[T, 8\], got \[3\]",
        ),
        (Clock(latency=-1.0), "clock.latency: must be at least 0, got -1"),
        (Clock(gradient=np.inf), "clock.gradient: must be finite, got inf"),
        (Clock(latency=np.inf), "clock.latency: must be finite, got inf"),
        (Clock(sigma=np.inf), "clock: sigma must be at least 0 and slowdown positive, both finite, got inf"),
        (Clock(bandwidth=0.0), "clock.bandwidth: must be positive, got 0"),
        (Clock(barrier="some"), "clock.barrier: must be one of all, neighbours, got 'some'"),
    ],
)
def test_mistakes(clock, message):
    with pytest.raises(ValueError, match=message):
        times(clock, tp.ring(N))


def test_a_cohort_has_no_neighbours_to_wait_for(tmp_path):
    with pytest.raises(ValueError, match="barrier 'neighbours' and latencies of edges need a graph"):
        simulate(
            fedavg(0.1), PROBLEM, cohort=sampling.uniform(size=3), rounds=1, clock=Clock(barrier="neighbours")
        )
    path = tmp_path / "speeds.csv"
    path.write_text("node,seconds\n0,1\n0,2\n")
    with pytest.raises(ValueError, match="expected every node from 0 to 7 once, got 2 rows"):
        dlax.run(
            {"nodes": N, "problem": "quadratic", "topology": "ring", "algorithm": "dsgd", "rounds": 1,
             "clock": {"speeds": str(path)}}
        )  # fmt: skip
