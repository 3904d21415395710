"""Faults: the run is the plain loop with the same masks; what every rule keeps; components; traces; mistakes."""

import functools

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pandas as pd
import pytest
import references

import dlax
from dlax import attacks, faults, mixing
from dlax import topology as tp
from dlax.algorithms import dsgd, gossip, gradient_tracking, push_sum
from dlax.channel import CHANNELS, extremum, linear, median, robust, running_sums
from dlax.problems import average_of as average
from dlax.problems import quadratic
from dlax.registry import REGISTRY
from dlax.robust import nna
from dlax.simulate import simulate
from dlax.simulate.outages import by_component, components
from dlax.simulate.streams import round_key, stream
from dlax.types import Site

pytestmark = pytest.mark.usefixtures("strict_ranks")

N = 10
BA = tp.barabasi_albert(N, m=1, seed=1)
RING = tp.ring(N)
PROBLEM = quadratic(N, dim=3)
ROUNDS = 12


def outages(fault, topology, rounds=ROUNDS, seed=0):
    """What a fault does, round by round, from the documented key streams; masks of edges are `[n, n]`."""
    plan, tables = mixing.plan(topology, dtype=np.float64)
    tables = jax.tree.map(jnp.asarray, tables)
    arrays = jax.tree.map(jnp.asarray, fault.prepare(topology))
    key = jax.random.key(seed)
    index, weight, _ = mixing.network(plan, tables, jnp.int32(0), key, key, None).table()
    index = np.asarray(index)

    def site(t):
        fault_key = jax.random.fold_in(stream(round_key(key, t), "faults"), 1)
        return Site(jnp.int32(t), fault_key, arrays, lambda: jnp.asarray(index))

    def body(memory, t):
        outage, memory = fault.step(memory, site(t))
        return memory, outage._replace(back=None)

    scan = jax.jit(lambda: jax.lax.scan(body, fault.begin(site(0)), jnp.arange(rounds))[1])
    gone, asleep, _, works = jax.device_get(scan())
    n, used, found = topology.n, np.argwhere(np.asarray(weight) != 0), []
    for t in range(rounds):
        mask = np.ones((n, n), bool)
        if works is not None:
            for i, k in used:
                mask[i, index[i, k]] = works[t, i, k]
        off = np.zeros(n, bool)
        found.append((off if gone is None else gone[t], off if asleep is None else asleep[t], mask))
    return found


def loop(x, topology, found, lost, gradient, lr):
    """D-SGD, one node after the other, on what is left of the graph in every round."""
    for gone, asleep, works in found:
        awake = ~(gone | asleep)
        W = topology.dense()
        arrived = works & awake[:, None] & awake[None]
        off = W * (1 - np.eye(len(W)))
        if lost == "renormalise":
            W = np.where(arrived, off, 0) + np.diag(np.diag(W))
            W = np.where(W.sum(axis=1, keepdims=True) > 0, W, np.eye(len(W)))
            W = W / W.sum(axis=1, keepdims=True)
        else:
            W = references.lossy(W, arrived, lost)
        y = np.array([x[i] - lr * gradient(i, x[i], 0, 0) for i in range(len(x))])
        mixed = references.average(W, y)
        x = np.where(awake[:, None], mixed, x)
    return x


CASES = {
    "hubs leave": faults.node_loss(0.3, 4.0, by="degree"),
    "any leave and come back": faults.node_loss(0.3, 2.0, 7.0),
    "naps": faults.on_off(0.3, 0.4),
    "day and night": faults.cyclic(5.0, 2.0),
    "links": faults.link_loss(0.4),
    "one way": faults.link_loss(0.4, symmetric=False),
    "bursts": faults.bursts(0.3, 0.3, 0.8),
    "two parts": faults.split(3.0, 8.0),
    "all": faults.together(faults=(faults.node_loss(0.2, 5.0), faults.on_off(), faults.bursts())),
}


@pytest.mark.parametrize(
    ("case", "lost"), [*((case, "receiver") for case in CASES), ("all", "renormalise"), ("one way", "sender")]
)
def test_a_run_is_the_loop_over_what_is_left(case, lost):
    result = run(case, lost)
    start = np.zeros((N, 3)) + start_of(PROBLEM)
    expected = loop(start, BA, outages(CASES[case], BA), lost, references.quadratic_gradient(PROBLEM), 0.1)
    np.testing.assert_allclose(result.params["x"][0], expected, atol=1e-12)


@functools.cache
def run(case, lost):
    return simulate(
        dsgd(0.1), PROBLEM, BA, channel=linear(lost=lost), faults=CASES[case], rounds=ROUNDS,
        eval_every=ROUNDS, precision="float64",
    )  # fmt: skip


def start_of(problem):
    with jax.enable_x64(True):
        return np.asarray(problem.init(stream(jax.random.key(0), "start"))["x"])


def test_a_fault_that_never_strikes_changes_no_bit():
    plain = simulate(dsgd(0.1), PROBLEM, RING, rounds=6, eval_every=3, channel=linear(0.0))
    never = simulate(
        dsgd(0.1),
        PROBLEM,
        RING,
        rounds=6,
        eval_every=3,
        channel=linear(0.0),
        faults=faults.node_loss(0.3, 99.0),
    )
    np.testing.assert_array_equal(plain.params["x"], never.params["x"])
    assert {row["alive"] for row in never.rows} == {N}


def test_who_is_gone_is_frozen_and_touches_nobody():
    """Whatever a dead row holds, the living and the numbers stay what they are."""
    fault = faults.node_loss(0.2, 0.0, by="degree")
    dead = np.asarray(outages(fault, RING)[0][0])

    def go(fill):
        starts = np.tile(np.arange(N, dtype=float)[:, None], (1, 2))
        starts[dead] = fill
        problem = average(np.zeros((N, 2)))._replace(starts={"x": starts})
        return simulate(gossip(), problem, RING, faults=fault, rounds=5, eval_every=5)

    a, b = go(1.0), go(-1e30)
    np.testing.assert_array_equal(a.params["x"][0, ~dead], b.params["x"][0, ~dead])
    assert (b.params["x"][0, dead] == np.float32(-1e30)).all() and (a.params["x"][0, dead] == 1.0).all()
    for name in ("consensus", "consensus_inside", "alive", "components"):
        assert a.rows[-1][name] == b.rows[-1][name]


KEPT = [  # channel option, links fail both ways at once, what is kept
    ("receiver", True, {"consensus", "mean"}),
    ("receiver", False, {"consensus"}),
    ("sender", True, {"consensus", "mean"}),
    ("sender", False, {"mean"}),
    ("renormalise", True, {"consensus"}),
    ("gone", True, set()),
]


@pytest.mark.parametrize(("lost", "symmetric", "kept"), KEPT)
def test_what_every_rule_for_lost_weight_keeps(lost, symmetric, kept):
    fault = faults.link_loss(0.4, symmetric=symmetric)
    rng = np.random.default_rng(0)

    def go(starts):
        result = simulate(
            gossip(), average(starts), BA, channel=linear(lost=lost), faults=fault, rounds=8, eval_every=8,
            precision="float64",
        )  # fmt: skip
        return result.params["x"][0]

    starts = rng.normal(size=(N, 2))
    mean_moved = np.abs(go(starts).mean(axis=0) - starts.mean(axis=0)).max()
    agreed_moved = np.abs(go(np.ones((N, 2))) - 1).max()
    assert (mean_moved < 1e-12) == ("mean" in kept)
    assert (agreed_moved < 1e-12) == ("consensus" in kept)


def test_push_sum_finds_the_mean_over_links_that_fail_if_senders_learn_of_it():
    starts = np.random.default_rng(1).normal(size=(N, 2))

    def off(lost):
        result = simulate(
            push_sum(), average(starts), tp.random_directed(N, degree=3, weights=tp.push()),
            channel=linear(lost=lost), faults=faults.link_loss(0.3, symmetric=False), rounds=200,
            eval_every=200, precision="float64",
        )  # fmt: skip
        return np.abs(result.params["x"][0] - starts.mean(axis=0)[None]).max()

    assert off("sender") < 1e-9 < 1e-3 < off("gone")


def test_components_are_networkx_and_distances_add_up():
    rng = np.random.default_rng(0)
    find, measure = jax.jit(components), jax.jit(by_component)
    for trial in range(20):
        n, k = 12, 2
        index = rng.integers(n, size=(n, k)).astype(np.int32)
        linked = rng.uniform(size=(n, k)) < 0.4
        counted = rng.uniform(size=n) < 0.8
        linked &= counted[:, None] & counted[index]
        graph = nx.Graph()
        graph.add_nodes_from(range(n))
        graph.add_edges_from((i, int(index[i, s])) for i, s in np.argwhere(linked))
        label = np.asarray(find(jnp.asarray(index), jnp.asarray(linked)))
        parts = list(nx.connected_components(graph))
        for part in parts:
            assert (label[list(part)] == min(part)).all()
        parts = [part & set(np.flatnonzero(counted)) for part in parts]
        parts = [part for part in parts if part]
        x = rng.normal(size=(n, 3)).astype(np.float32)
        accuracy = rng.uniform(size=n).astype(np.float32)
        found = measure(
            jnp.asarray(index), jnp.asarray(linked), jnp.asarray(x), {"accuracy": jnp.asarray(accuracy)},
            jnp.asarray(counted),
        )  # fmt: skip
        alive = x[counted]
        total = np.square(alive - alive.mean(axis=0)[None]).sum() / counted.sum()
        np.testing.assert_allclose(found["consensus_inside"] + found["consensus_across"], total, rtol=1e-4)
        assert found["components"] == len(parts)
        sizes = [len(part) for part in parts]
        assert found["giant"] == pytest.approx(max(sizes) / counted.sum())
        assert found["isolated"] == sum(size == 1 for size in sizes)
        alone = [accuracy[next(iter(part))] for part in parts if len(part) == 1]
        if alone:
            assert found["accuracy_isolated"] == pytest.approx(np.mean(alone), rel=1e-5)
        else:
            assert np.isnan(found["accuracy_isolated"]), trial


def test_a_split_network_keeps_the_mean_of_each_part_until_it_heals():
    starts = np.arange(N, dtype=float)[:, None]
    options = {"rounds": 200, "eval_every": 200, "precision": "float64"}
    apart = simulate(gossip(), average(starts), RING, faults=faults.split(), **options)
    np.testing.assert_allclose(apart.params["x"][0, :, 0], [2.0] * 5 + [7.0] * 5, atol=1e-4)
    assert apart.rows[-1]["components"] == 2 and apart.rows[-1]["giant"] == 0.5
    healed = simulate(gossip(), average(starts), RING, faults=faults.split(0.0, 1.0), **options)
    np.testing.assert_allclose(healed.params["x"][0, :, 0], 4.5, atol=1e-2)


@pytest.mark.parametrize("holds", ["old", "start", "neighbour"])
def test_what_a_node_holds_that_returns(holds):
    """Rounds 0 to 3 move everybody; in rounds 4 to 7 two are gone; in round 8 they are back."""
    fault = faults.node_loss(0.2, 4.0, 8.0, by="degree", holds=holds)
    star = tp.star(N)

    def after(rounds):
        return simulate(
            dsgd(0.1), PROBLEM, star, faults=fault, rounds=rounds, eval_every=rounds, precision="float64",
            start="independent",
        ).params["x"][0]  # fmt: skip

    before, at_last = after(8), after(9)
    with jax.enable_x64(True):
        keys = jax.random.split(stream(jax.random.key(0), "start"), N)
        start = np.asarray(jax.vmap(PROBLEM.init)(keys)["x"])
    held = before.copy()
    gradient = references.quadratic_gradient(PROBLEM)
    options = []
    if holds == "start":
        held[:2] = start[:2]
        options.append(held)
    elif holds == "old":
        options.append(held)
    else:  # node 1 hears the hub alone, which is not awake before it returns: it keeps its own model
        options += [np.concatenate([before[j : j + 1], before[1:]]) for j in range(2, N)]
    never = [(np.zeros(N, bool), np.zeros(N, bool), np.ones((N, N), bool))]
    errors = [
        np.abs(loop(option, star, never, "receiver", gradient, 0.1) - at_last).max() for option in options
    ]
    assert min(errors) < 1e-12
    assert sum(error < 1e-9 for error in errors) == 1


def test_a_model_is_fetched_over_links_that_work_and_paid_for():
    """Two nodes return in round 2 to models of neighbours: two messages more, or none over dead links."""
    sent, params = {}, {}
    for holds in ("old", "start", "neighbour"):
        for dead in (False, True):
            loss = faults.node_loss(0.2, 0.0, 2.0, by="degree", holds=holds)
            fault = faults.together(faults=(loss, faults.link_loss(1.0))) if dead else loss
            result = simulate(
                dsgd(0.1), PROBLEM, tp.complete(N), faults=fault, rounds=3, eval_every=3, start="independent"
            )
            sent[holds, dead], params[holds, dead] = result.rows[-1]["bits_total"], result.params["x"][0]
    model = 32 * params["old", True].shape[1]
    for dead in (False, True):
        assert sent["start", dead] == sent["old", dead]
        assert sent["neighbour", dead] - sent["old", dead] == (0 if dead else 2 * model)
    np.testing.assert_array_equal(params["neighbour", True], params["old", True])
    with pytest.raises(
        ValueError, match="holds must be 'old', got 'start': over this channel neighbours go on"
    ):
        simulate(
            push_sum(), average(np.eye(N)), tp.ring(N), channel=running_sums(), rounds=2,
            faults=faults.node_loss(0.2, 0.0, 2.0, holds="start"),
        )  # fmt: skip


@pytest.mark.parametrize("attack", [attacks.nan(), attacks.infinity()], ids=["nan", "infinity"])
def test_who_is_not_heard_is_not_read(attack):
    """No link works, or the liars are gone: what they say never meets an honest model, not even times zero."""
    first = attacks.at(nodes=(0,))
    gone = faults.node_loss(0.1, 0.0, by="degree")  # of a complete graph the first
    for fault in (faults.link_loss(1.0), gone):
        result = simulate(
            dsgd(0.1), PROBLEM, tp.complete(N), faults=fault, attack=attack, byzantine=first, rounds=3
        )
        assert result.rows[-1]["diverged"] == -1 and np.isfinite(result.rows[-1]["objective"])


def test_who_returns_between_two_rounds_is_back_in_the_next():
    def back(at, until):
        fault = faults.node_loss(0.5, at, until, by="degree", holds="start")
        arrays = jnp.asarray(fault.prepare(RING))
        sites = [Site(jnp.int32(t), jax.random.key(0), arrays, None) for t in range(9)]
        return [t for t, site in enumerate(sites) if fault.step(arrays, site)[0].back.any()]

    assert back(3.0, 7.5) == back(3.0, 8.0) == [8]
    assert back(3.2, 3.8) == []  # nobody was away in any round


def test_chains_of_two_states_have_the_shares_and_lengths_they_should():
    asleep = np.array([mask for _, mask, _ in outages(faults.on_off(0.1, 0.3), tp.ring(300), 200)])
    assert asleep.mean() == pytest.approx(0.25, abs=0.02)
    ends = (asleep[:-1] & ~asleep[1:]).sum()
    assert asleep[:-1].sum() / ends == pytest.approx(1 / 0.3, rel=0.05)
    works = np.array([mask for _, _, mask in outages(faults.bursts(0.05, 0.2), tp.ring(60), 200)])
    bad = ~np.array([np.roll(works[t], -1, axis=1).diagonal() for t in range(len(works))])
    assert bad.mean() == pytest.approx(0.2, abs=0.03)
    assert bad[:-1].sum() / (bad[:-1] & ~bad[1:]).sum() == pytest.approx(5.0, rel=0.1)
    assert (works == works.transpose(0, 2, 1)).all()
    lost = ~np.array([mask for _, _, mask in outages(faults.link_loss(0.3, symmetric=False), RING, 150)])
    edges = RING.dense() * (1 - np.eye(N)) != 0
    assert lost[:, edges].mean() == pytest.approx(0.3, abs=0.03)
    assert (lost != lost.transpose(0, 2, 1)).any()


def test_days_and_nights():
    for phases in ("spread", "together", "random"):
        asleep = np.array([mask for _, mask, _ in outages(faults.cyclic(6.0, 2.0, phases=phases), RING, 60)])
        assert (~asleep).sum(axis=0).tolist() == [20] * N
        assert (asleep[:6] == asleep[6:12]).all()
        same = (asleep == asleep[:, :1]).all()
        assert same == (phases == "together")


def test_whole_days_are_counted_in_whole_numbers():
    n, period, awake = 47, 47, 20
    found = outages(faults.cyclic(float(period), float(awake)), tp.ring(n), 2 * period)
    want = [[(t * n + i * period) % (period * n) >= awake * n for i in range(n)] for t in range(2 * period)]
    assert [asleep.tolist() for _, asleep, _ in found] == want


def test_somebody_is_left_of_every_share_and_nobody_left_is_no_divergence(tmp_path):
    lost = outages(faults.node_loss(0.999999, 2.0), RING, 4)
    assert [gone.sum() for gone, _, _ in lost] == [0, 0, N - 1, N - 1]
    (tmp_path / "t.csv").write_text("round,node,state\n" + "".join(
        f"2,{i},gone\n4,{i},awake\n" for i in range(N // 2, N)
    ))  # fmt: skip
    both = (faults.node_loss(0.5, 2.0, by="degree"), faults.trace(path=str(tmp_path / "t.csv")))
    everyone = simulate(
        dsgd(0.1), PROBLEM, RING, faults=faults.together(faults=both), rounds=6, eval_every=2
    ).rows  # fmt: skip
    assert [row["alive"] for row in everyone] == [N, 0, N // 2, N // 2]
    assert {row["diverged"] for row in everyone} == {-1}
    for name in ("objective", "grad_norm", "consensus", "distance", "giant"):
        assert [np.isnan(row[name]) for row in everyone] == [False, True, False, False], name
    assert [np.isnan(row["train_loss"]) for row in everyone] == [True, False, True, False]


def test_a_battery_is_the_loop():
    fault = faults.battery(6.0, 1.0, 0.01, 0.5, 0.5)
    begin = fault.begin(Site(jnp.int32(0), jax.random.key(0), jnp.zeros(N), lambda: None))
    level, resting = np.asarray(begin.level, float), np.asarray(begin.resting)
    assert (level >= 3).all() and (level <= 6).all() and len(set(level)) == N
    memory, rng, slept = begin, np.random.default_rng(0), 0
    for _ in range(60):
        bits = rng.integers(100, size=N)
        outage, memory = fault.step(memory, None)
        asleep = np.asarray(outage.asleep)
        assert (asleep == resting).all()
        memory = fault.after(memory, jnp.asarray(~asleep), jnp.ones(N), jnp.asarray(bits))
        level = np.minimum(6.0, level + 0.5 - np.where(asleep, 0, 1 + 0.01 * bits))
        resting = np.where(resting, level < 3.0, level < 0)
        np.testing.assert_allclose(memory.level, level, atol=1e-4)
        slept += asleep.sum()
    assert 100 < slept < 500
    result = simulate(
        dsgd(0.1), PROBLEM, RING, faults=faults.battery(5.0, radio=0.0), rounds=40, eval_every=40
    )
    work = np.square(result.params["x"]).sum()  # it went on, with naps
    assert np.isfinite(work) and result.rows[-1]["bits_total"] < 0.9 * 40 * N * 2 * 32 * 3


ORDERS = ["degree", "betweenness", "k_core"]


@pytest.mark.parametrize("by", ORDERS)
def test_orders_by_centrality_are_networkx(by):
    graph = BA.graph()
    measured = {
        "degree": dict(graph.degree), "betweenness": nx.betweenness_centrality(graph), "k_core": nx.core_number(graph)
    }[by]  # fmt: skip
    gone = outages(faults.node_loss(0.3, 0.0, by=by), BA, 1)[0][0]
    assert gone.sum() == 3
    assert min(measured[i] for i in np.flatnonzero(gone)) >= max(measured[i] for i in np.flatnonzero(~gone))


def test_a_disc_is_what_is_nearest_to_a_node():
    graph = tp.random_geometric(40, seed=2)
    places = graph.positions
    gone = outages(faults.node_loss(0.25, 0.0, by="disc"), graph, 1)[0][0]
    assert gone.sum() == 10
    fits = []
    for centre in places:
        far = np.linalg.norm(places - centre[None], axis=1)
        fits.append(far[gone].max() <= far[~gone].min())
    assert any(fits)
    for i, j in graph.edges:  # positions are those of the graph
        assert np.linalg.norm(places[i] - places[j]) < 0.5


def test_a_sweep_of_rounds_and_shares_is_its_runs_one_by_one():
    config = {
        "nodes": N, "problem": "quadratic", "topology": "ring", "algorithm": "dsgd", "rounds": 8, "seeds": 2,
        "eval_every": 8, "faults": {"name": "node_loss", "by": "random"},
        "vmap": {"faults.at": [0, 4], "faults.share": [0.1, 0.3]},
    }  # fmt: skip
    rows = dlax.run(config).rows[-8:]
    for row in rows:
        alone = config | {
            "vmap": {}, "seeds": [row["seed"]],
            "faults": config["faults"] | {"at": row["faults.at"], "share": row["faults.share"]},
        }  # fmt: skip
        (last,) = dlax.run(alone).rows[-1:]
        assert last["alive"] == row["alive"] == N - N * row["faults.share"]
        assert last["objective"] == pytest.approx(row["objective"], rel=1e-5)


def test_a_list_in_a_config_is_all_of_them_and_a_run_resumes(tmp_path):
    config = {
        "nodes": N, "problem": "quadratic", "topology": "ring", "algorithm": "gradient_tracking", "rounds": 8,
        "eval_every": 2, "faults": ["on_off", {"name": "bursts", "fail": 0.2}, {"name": "battery", "capacity": 4.0}],
    }  # fmt: skip
    whole = dlax.run(config)
    assert whole.config["faults"]["name"] == "together" and len(whole.config["faults"]["faults"]) == 3
    dlax.run(config, out=tmp_path / "run", on_block=lambda snapshot: snapshot.round == 4)
    resumed = dlax.run(config, out=tmp_path / "run", resume=True)
    np.testing.assert_array_equal(whole.params["x"], resumed.params["x"])
    assert [r["consensus"] for r in whole.rows] == [r["consensus"] for r in resumed.rows]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_trace_replays_a_run(tmp_path, suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    fault = faults.together(faults=(faults.on_off(0.3, 0.4), faults.node_loss(0.2, 5.0)))
    table = faults.record(fault, RING, rounds=ROUNDS, seed=3)
    path = str(tmp_path / f"trace{suffix}")
    table.to_csv(path, index=False) if suffix == ".csv" else table.to_parquet(path)
    options = {"rounds": ROUNDS, "eval_every": 4, "seeds": [3]}
    first = simulate(dsgd(0.1), PROBLEM, RING, faults=fault, **options)
    again = simulate(dsgd(0.1), PROBLEM, RING, faults=faults.trace(path=path), **options)
    np.testing.assert_array_equal(first.params["x"], again.params["x"])
    pd.testing.assert_frame_equal(
        table, faults.record(faults.trace(path=path), RING, rounds=ROUNDS), check_dtype=False
    )


def test_a_trace_ends_or_starts_again(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("round,node,state\n1,0,asleep\n2,0,awake\n3,1,gone\n")
    for repeat, last in ((False, [[False, True]] * 2), (True, [[False, False], [True, False]])):
        found = outages(faults.trace(path=str(path), repeat=repeat), tp.ring(3), 6)
        states = np.array([(gone | asleep)[:2] for gone, asleep, _ in found])
        assert states[:4].tolist() == [[False, False], [True, False], [False, False], [False, True]]
        assert states[4:].tolist() == last


def test_a_trace_keeps_its_changes_alone(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("round,node,state\n3,1,gone\n3,1,asleep\n1,0,asleep\n2000000000,0,awake\n")
    fault = faults.trace(path=str(path))
    when, table = fault.prepare(tp.ring(3))
    assert when.tolist() == [0, 1, 3, 2_000_000_000]
    assert table.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]  # of two at once the last holds
    path.write_text("round,node,state\n1700000000000,0,awake\n")
    with pytest.raises(ValueError, match="round must be below 2³¹ − 1, got 1700000000000"):
        faults.trace(path=str(path))


SLOTTED = {
    "linear": linear(), "median": median(), "robust": robust(rule=nna(), beyond=True, tolerated=0),
    "sybilwall": CHANNELS["sybilwall"](), "running_sums": CHANNELS["running_sums"](),
}  # fmt: skip


@pytest.mark.parametrize("name", SLOTTED)
def test_every_channel_of_slots_minds_links_that_fail(name):
    """Over a ring whose links all fail, channels leave a node its own."""
    options = {"rounds": 3, "eval_every": 3, "channel": SLOTTED[name], "start": "independent"}
    alone = simulate(dsgd(0.1), PROBLEM, RING, faults=faults.link_loss(1.0), **options)
    expected = simulate(dlax.algorithms.local_only(0.1), PROBLEM, RING, **(options | {"channel": linear()}))
    if name == "running_sums":  # its weights are column stochastic: what is lost is under way
        assert np.abs(alone.params["x"]).max() < np.abs(expected.params["x"]).max()
        return
    np.testing.assert_allclose(alone.params["x"], expected.params["x"], rtol=1e-5)


def test_a_rumour_waits_for_the_links():
    starts = np.zeros((N, 1))
    starts[0] = 1.0
    for fault, reached in ((faults.link_loss(1.0), 1), (faults.split(), 5), (faults.link_loss(0.0), N)):
        result = simulate(
            gossip(), average(starts), RING, channel=extremum(), faults=fault, rounds=N, eval_every=N
        )
        assert (result.params["x"][0] == 1).sum() == reached


def test_gradient_tracking_stays_exact_over_links_that_fail_both_ways():
    result = simulate(
        gradient_tracking(0.05), quadratic(N, dim=3), RING, faults=faults.link_loss(0.3), rounds=600,
        eval_every=600, precision="float64",
    )  # fmt: skip
    assert result.rows[-1]["distance"] < 1e-9


MISTAKES = [
    ({"name": "node_loss", "share": 1.0}, r"faults: node_loss: share must be in \[0, 1\), got 1"),
    ({"name": "node_loss", "at": -1}, "faults: node_loss: at must be a round, at least 0, got -1"),
    ({"name": "node_loss", "at": 5, "until": 5}, "until must be after at = 5, got 5"),
    ({"name": "node_loss", "by": "age"}, "faults.by: input should be 'random', 'degree'"),
    ({"name": "node_loss", "by": "disc"}, "by 'disc' needs nodes with places in the plane"),
    ({"name": "node_loss", "at": float("nan")}, "node_loss: at must be a round, at least 0, got nan"),
    ({"name": "split", "at": float("nan")}, "split: at must be a round, at least 0, got nan"),
    ({"name": "split", "until": float("nan")}, "split: until must be after at = 0, got nan"),
    ({"name": "battery", "capacity": float("nan")}, "battery: capacity must be positive, got nan"),
    ({"name": "battery", "radio": float("inf")}, "battery: radio must be at least 0, got inf"),
    ({"name": "cyclic", "period": float("inf")}, "cyclic: period must be positive, got inf"),
    ({"name": "nod_loss"}, "unknown fault 'nod_loss'; .*did you mean 'node_loss'"),
    ({"name": "node_loss", "sare": 0.1}, "faults.sare: unknown option.*did you mean 'share'"),
    ({"name": "on_off", "wake": 0}, r"on_off: wake must be in \(0, 1\], got 0"),
    ({"name": "cyclic", "period": 4, "awake": 5}, r"cyclic: awake must be in \(0, period = 4\], got 5"),
    ({"name": "battery", "capacity": 0}, "battery: capacity must be positive, got 0"),
    ({"name": "bursts", "repair": 0}, r"bursts: repair must be in \(0, 1\], got 0"),
    ({"name": "split", "parts": 1}, "split: parts must be at least 2, got 1"),
    ({"name": "split", "parts": 99}, "split: parts must be at most the 10 nodes, got 99"),
    ({"name": "trace", "path": "no.csv"}, "trace: path: there is no file 'no.csv'"),
    ([], "faults: together: needs at least one fault"),
    (
        [["on_off", "link_loss"], "battery"],
        r"faults\.faults\[0\]: expected a name or a mapping with 'name', got \[",
    ),
    (["on_off", None], r"faults\.faults\[1\]: expected a name or a mapping with 'name', got None"),
    ([5], r"faults\.faults\[0\]: expected a name or a mapping with 'name', got 5"),
    (
        [{"name": "node_loss", "holds": "start"}, {"name": "node_loss", "holds": "neighbour"}],
        "returning nodes must hold one thing, got neighbour and start",
    ),
]


@pytest.mark.parametrize(("spec", "message"), MISTAKES)
def test_mistakes_show_before_the_run(spec, message, tmp_path):
    config = {
        "nodes": N, "problem": "quadratic", "topology": "ring", "algorithm": "dsgd", "rounds": 4, "faults": spec
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        dlax.run(config, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_needs_everyone_refuses_faults():
    for fault in (faults.link_loss(), faults.on_off()):
        with pytest.raises(ValueError, match="'extra' needs every node and link in every round"):
            simulate(dlax.algorithms.extra(0.1), PROBLEM, RING, faults=fault, rounds=2)
    with pytest.raises(ValueError, match="bursts: needs a fixed topology"):
        simulate(dsgd(0.1), PROBLEM, tp.one_peer_exponential(N), faults=faults.bursts(), rounds=2)
    with pytest.raises(ValueError, match="asynchronous algorithm takes no faults"):
        simulate(
            dlax.algorithms.asynchronous.ad_psgd(0.1), PROBLEM, RING, faults=faults.on_off(), duration=2.0
        )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("round,node\n1,2\n", "column 'state' is missing; there are round, node"),
        ("round,node,state\n1,2,dead\n", "state must be one of awake, asleep, gone, got 'dead'"),
        ("round,node,state\n-1,2,gone\n", "column 'round' must hold whole numbers that are at least 0"),
        ("round,node,state\n1,12,gone\n", "node 12 is not among the 10 nodes"),
        ("round,node,state\n" + "".join(f"3,{i},gone\n" for i in range(N)), "every node is gone in round 3"),
    ],
)
def test_traces_that_are_refused(tmp_path, text, message):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        simulate(dsgd(0.1), PROBLEM, RING, faults=faults.trace(path=str(path)), rounds=2)


def test_record_refuses_what_has_no_table():
    with pytest.raises(ValueError, match="depends on what the run does"):
        faults.record(faults.battery(), RING, rounds=3)
    with pytest.raises(ValueError, match="fails links"):
        faults.record(faults.bursts(), RING, rounds=3)


def test_the_registry_knows_all():
    assert REGISTRY["fault"] is faults.FAULTS and set(faults.FAULTS) <= set(faults.__all__)
