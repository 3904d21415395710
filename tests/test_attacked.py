"""Liars in a run: who they are, what they may know, what honest nodes make of it, and whom the numbers are of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dlax
from dlax import attacks, channel, faults, mixing, robust
from dlax.algorithms import dsgd, gradient_tracking
from dlax.simulate.liars import heard_by
from dlax.topology import TOPOLOGIES
from dlax.types import Attack, Lies

D = 7
GRAPHS = {"ring": 8, "star": 8, "complete": 8, "torus": 9, "random_directed": 8}


def graph(name):
    return TOPOLOGIES[name](GRAPHS[name])


def mask_of(n, *nodes):
    mask = np.zeros(n, bool)
    mask[list(nodes)] = True
    return mask


def network(topology, mask, key=0):
    plan, tables = mixing.plan(topology, dtype=np.float64)
    tables = jax.tree.map(jnp.asarray, tables)
    made = mixing.network(plan, tables, jnp.int32(0), jax.random.key(1), jax.random.key(key), None)
    return made._replace(byzantine=jnp.asarray(mask), require=lambda *a: None)


def telling(told):
    """An attack by receiver that tells node i row i."""
    return Attack(lambda memory, sight: (Lies(sight.message, {"x": told}), memory), faces=True)


def sending(rows):
    return Attack(lambda memory, sight: (Lies({"x": rows}), memory))


def nna(rows, f):
    far = np.linalg.norm(rows - rows[0], axis=1)
    far[~np.isfinite(far)] = np.inf
    return rows[np.argsort(far, kind="stable")[: len(rows) - f]].mean(axis=0)


def nnm(rows, f):
    return np.array([nna(np.concatenate([rows[i:], rows[:i]]), f) for i in range(len(rows))])


def trimmed(rows, f):
    return np.sort(rows, axis=0)[f : len(rows) - f].mean(axis=0)


RULES = {
    "nna": (robust.nna(), (), nna),
    "median": (robust.median(), (), lambda rows, f: np.median(rows, axis=0)),
    "trimmed_mean": (robust.trimmed_mean(), (), trimmed),
    "nnm, nna": (robust.nna(), (robust.nnm(),), lambda rows, f: nna(nnm(rows, f), f)),
    "nnm, trimmed_mean": (robust.trimmed_mean(), (robust.nnm(),), lambda rows, f: trimmed(nnm(rows, f), f)),
}


@pytest.mark.parametrize("rule", ["nna", "trimmed_mean", "nnm, trimmed_mean"])
@pytest.mark.parametrize("name", ["ring", "star", "complete", "random_directed"])
@pytest.mark.parametrize("form", ["honest", "sent", "told"])
def test_robust_is_the_rule_on_every_neighbourhood(rule, name, form):
    made, pre, reference = RULES[rule]
    topology = graph(name)
    n, rng = topology.n, np.random.default_rng(3)
    mask = mask_of(n) if form == "honest" else mask_of(n, 2)
    x, lie = rng.normal(size=(n, D)), 10 * rng.normal(size=(n, D))
    over = channel.robust(rule=made, pre=pre, beyond=True)
    with jax.enable_x64(True), jax.numpy_rank_promotion("raise"):
        net, message = network(topology, mask), {"x": jnp.asarray(x)}
        attack = telling(jnp.asarray(lie)) if form == "told" else sending(jnp.asarray(lie))
        whole = channel.attacked(over, attack) if form != "honest" else over
        received, _, bits = whole.mix(whole.open(message, net), message, net)
    W = topology.dense()
    for i in np.flatnonzero(~mask):
        others = [j for j in np.flatnonzero(W[i]) if j != i]
        rows = np.array(
            [x[i], *((lie[i] if form == "told" else lie[j]) if mask[j] else x[j] for j in others)]
        )
        f = min(int(mask[others].sum()), (len(rows) - 1) // 2)
        np.testing.assert_allclose(received["x"][i], reference(rows, f), atol=1e-12, err_msg=str(i))
    sent = (W != 0).sum(axis=0) - 1
    np.testing.assert_array_equal(bits, sent * D * 64)


@pytest.mark.parametrize("name", GRAPHS)
def test_linear_hands_on_lies_by_receiver(name):
    topology = graph(name)
    n, rng = topology.n, np.random.default_rng(5)
    mask, x, lie = mask_of(n, 1, 2), rng.normal(size=(n, D)), rng.normal(size=(n, D))
    lie[0] = np.nan if name == "ring" else lie[0]  # node 0 hears node 1
    with jax.enable_x64(True):
        net, message = network(topology, mask), {"x": jnp.asarray(x)}
        whole = channel.attacked(channel.linear(), telling(jnp.asarray(lie)))
        received, _, _ = whole.mix(whole.open(message, net), message, net)
    W = topology.dense()
    expected = (W * ~mask) @ x + (W * mask).sum(axis=1, keepdims=True) * lie
    np.testing.assert_allclose(received["x"][~mask], expected[~mask], atol=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("rule", RULES)
def test_what_is_not_finite_never_reaches_an_honest_node(rule, bad):
    made, pre, _ = RULES[rule]
    x = np.random.default_rng(0).normal(size=(8, D)).astype(np.float32)
    mask = mask_of(8, 0, 5, 6)
    net, message = network(graph("complete"), mask), {"x": jnp.asarray(x)}
    whole = channel.attacked(channel.robust(rule=made, pre=pre), sending(jnp.full((8, D), bad, jnp.float32)))
    received, _, _ = whole.mix(whole.open(message, net), message, net)
    honest = np.asarray(received["x"])[~mask]
    assert np.isfinite(np.asarray(received["x"])).all()
    low, high = x[~mask].min(axis=0), x[~mask].max(axis=0)
    assert ((honest >= low - 1e-5) & (honest <= high + 1e-5)).all()


def test_a_plain_mean_of_lies_flags_the_run():
    problem = dlax.make("problem", "quadratic", n=6)
    ring = dlax.make("topology", "complete", n=6)
    options = {"rounds": 6, "eval_every": 2, "byzantine": attacks.at(nodes=(1,)), "seeds": 2}
    bomb = Attack(lambda memory, sight: (Lies(jax.tree.map(lambda x: x * jnp.nan, sight.message)), memory))
    plain = dlax.simulate(dsgd(0.1), problem, ring, attack=bomb, **options)
    assert plain.rows[-1]["diverged"] == 1
    safe = dlax.simulate(dsgd(0.1), problem, ring, attack=bomb, channel=channel.robust(), **options)
    assert safe.rows[-1]["diverged"] == -1 and all(
        np.isfinite(leaf).all() for leaf in jax.tree.leaves(safe.params)
    )


def test_the_numbers_are_of_honest_nodes_alone():
    problem = dlax.make("problem", "classification", n=6, dataset="digits", model="linear")
    complete = dlax.make("topology", "complete", n=6)
    mask = mask_of(6, 0, 4)
    result = dlax.simulate(
        dsgd(0.1), problem, complete, attack=attacks.sign_flip(), byzantine=mask, rounds=5,
        channel=channel.robust(rule=robust.trimmed_mean()), start="independent",
    )  # fmt: skip
    last, nodes = result.rows[-1], result.nodes
    assert [row["byzantine"] for row in nodes] == [1, 0, 0, 0, 1, 0]
    accuracy = np.array([row["accuracy"] for row in nodes])
    assert last["accuracy_mean"] == pytest.approx(accuracy[~mask].mean())
    assert last["accuracy_worst"] == pytest.approx(accuracy[~mask].min())
    rows = np.concatenate([np.reshape(leaf[0], (6, -1)) for leaf in jax.tree.leaves(result.params)], axis=1)[
        ~mask
    ]
    assert last["consensus"] == pytest.approx(((rows - rows.mean(axis=0)) ** 2).sum() / 4, rel=1e-4)


def test_the_objective_of_a_quadratic_is_that_of_honest_nodes():
    problem = dlax.make("problem", "quadratic", n=6, dim=3)
    complete = dlax.make("topology", "complete", n=6)
    byzantine = attacks.at(nodes=(3, 5))
    result = dlax.simulate(
        dsgd(0.3), problem, complete, attack=attacks.sign_flip(1e3), byzantine=byzantine, rounds=400,
        channel=channel.robust(rule=robust.nna()), precision="float64",
    )  # fmt: skip
    assert "distance" not in result.rows[-1] and "suboptimality" not in result.rows[-1]
    assert result.rows[-1]["grad_norm"] < 1e-6  # nobody else's minimum


def test_an_attack_keeps_its_memory_in_the_state():
    """A lie that counts its rounds: the run in pieces is the run in one."""
    counting = Attack(
        lambda memory, sight: (Lies(jax.tree.map(lambda x: x + memory, sight.mean())), memory + 1),
        init=lambda message, key: jnp.zeros(()),
    )
    problem, ring = dlax.make("problem", "quadratic", n=5), dlax.make("topology", "ring", n=5)
    options = {"attack": counting, "byzantine": attacks.at(nodes=(2,)), "channel": channel.robust()}
    ends = [
        dlax.simulate(dsgd(0.1), problem, ring, rounds=6, eval_every=every, **options).params
        for every in (1, 3, 6)
    ]
    jax.tree.map(np.testing.assert_array_equal, ends[0], ends[1])
    jax.tree.map(np.testing.assert_array_equal, ends[0], ends[2])


def test_memory_of_an_attack_goes_on_while_nodes_sleep_and_return():
    """It need not have a row a node; who is away keeps its own state alone."""
    counting = Attack(
        lambda memory, sight: (Lies(jax.tree.map(lambda x: x + memory[0, 0], sight.mean())), memory + 1),
        init=lambda message, key: jnp.zeros((1, 2)),
    )
    problem, ring = dlax.make("problem", "quadratic", n=6), dlax.make("topology", "complete", n=6)
    options = {"attack": counting, "byzantine": attacks.at(nodes=(2,)), "channel": channel.robust()}
    back = faults.node_loss(0.3, 1.0, 3.0, holds="start")
    for away in ({"participation": 0.5}, {"faults": back}):
        ends = []
        options["on_block"] = ends.append
        dlax.simulate(dsgd(0.1), problem, ring, rounds=5, eval_every=5, **away, **options)
        assert (np.asarray(ends[-1].carry.state.link.memory) == 5).all()


@pytest.mark.parametrize("knowledge", ["own", "neighbourhood", "everything"])
def test_what_byzantine_nodes_know(knowledge):
    topology, rng = graph("ring"), np.random.default_rng(0)
    n, mask, x = 8, mask_of(8, 1, 2), rng.normal(size=(8, D))
    seen = {}

    def craft(memory, sight):
        seen.update(mean=sight.mean()["x"], s=sight.deviation()["x"])
        return Lies(sight.message), memory

    with jax.enable_x64(True):
        net, message = network(topology, mask), {"x": jnp.asarray(x)}
        whole = channel.attacked(channel.linear(), Attack(craft), knowledge)
        whole.mix(whole.open(message, net), message, net)
    for i in range(n) if knowledge == "everything" else np.flatnonzero(mask):
        known = {"own": [i], "neighbourhood": [j for j in ((i - 1) % n, i, (i + 1) % n) if not mask[j]]}
        rows = x[known.get(knowledge, np.flatnonzero(~mask))]
        s = rows.std(axis=0, ddof=1) if len(rows) > 1 else np.zeros(D)
        np.testing.assert_allclose(np.broadcast_to(seen["mean"], (n, D))[i], rows.mean(axis=0), atol=1e-12)
        np.testing.assert_allclose(np.broadcast_to(seen["s"], (n, D))[i], s, atol=1e-12)


def test_what_does_not_fit_is_refused_before_the_run():
    problem, ring = dlax.make("problem", "quadratic", n=8), dlax.make("topology", "ring", n=8)

    def run(**options):
        dlax.simulate(dsgd(0.1), problem, ring, **{"rounds": 2, **options})

    flip, two = attacks.sign_flip(), attacks.at(nodes=(1, 3))
    with pytest.raises(ValueError, match="byzantine: is required, since there is attack"):
        run(attack=flip)
    with pytest.raises(ValueError, match="attack: is required, since there is byzantine"):
        run(byzantine=two)
    with pytest.raises(ValueError, match="expected a mask of 8 booleans"):
        run(attack=flip, byzantine=np.zeros(4, bool))
    with pytest.raises(ValueError, match="at least one node must be honest"):
        run(attack=flip, byzantine=np.ones(8, bool))
    with pytest.raises(ValueError, match="knowledge: this attack needs 'neighbourhood', got 'own'"):
        run(attack=attacks.alie(), byzantine=two, knowledge="own")
    with pytest.raises(ValueError, match="knowledge: must be one of own, neighbourhood, everything"):
        run(attack=flip, byzantine=two, knowledge="all")
    with pytest.raises(ValueError, match="tells each receiver another thing"):
        run(attack=telling(jnp.zeros((8, 3))), byzantine=two, channel=channel.choco())
    with pytest.raises(
        ValueError, match="1 honest nodes hear more Byzantine messages than the rule withstands; node 2"
    ):
        run(attack=flip, byzantine=two, channel=channel.robust())
    with pytest.raises(ValueError, match="asynchronous algorithm takes no attack"):
        dlax.simulate(dlax.algorithms.asynchronous.ad_psgd(0.1), problem, ring, duration=2.0, attack=flip)
    run(attack=flip, byzantine=two, channel=channel.robust(beyond=True))
    for tolerated in (-1, 1.5):
        with pytest.raises(ValueError, match="tolerated must be"):
            channel.robust(tolerated=tolerated)


def test_the_check_counts_messages_in_every_round():
    topology = TOPOLOGIES["one_peer_exponential"](8)
    heard, lying = heard_by(topology, mask_of(8, 1))
    assert (heard == 2).all() and lying.sum() == 3  # of its three rounds, one each for 0, 7 and 5
    heard, lying = heard_by(graph("star"), mask_of(8, 3))
    assert heard.tolist() == [8] + [2] * 7 and lying.tolist() == [1] + [0] * 7


@pytest.mark.parametrize("tolerated, f", [(1, 1), (0.25, 2), (3, 3), (20, 3)])
def test_tolerated_is_a_number_or_a_share(tolerated, f):
    x = np.random.default_rng(0).normal(size=(8, D))
    with jax.enable_x64(True):
        net, message = network(graph("complete"), mask_of(8)), {"x": jnp.asarray(x)}
        over = channel.robust(rule=robust.trimmed_mean(), tolerated=tolerated)
        received, _, _ = over.mix((), message, net)
    np.testing.assert_allclose(received["x"], np.broadcast_to(trimmed(x, f), (8, D)), atol=1e-12)


def test_a_tuple_is_one_vector_and_tracking_survives_an_attack():
    problem = dlax.make("problem", "quadratic", n=8)
    complete = dlax.make("topology", "complete", n=8)
    result = dlax.simulate(
        gradient_tracking, problem, complete, hyper={"lr": [0.05, 0.1]}, rounds=20, seeds=2,
        attack=attacks.foe(2.0), byzantine=attacks.random(count=2), channel=channel.robust(),
    )  # fmt: skip
    assert all(row["diverged"] == -1 for row in result.rows)


def test_many_nodes_have_no_matrix_of_all_pairs(monkeypatch):
    """Both ways to the inner products give the same weights."""
    from dlax.channel import inner

    topology = TOPOLOGIES["torus"](36)
    x, told = np.random.default_rng(0).normal(size=(2, 36, D))
    mask = mask_of(36, 5, 20)
    ends = []
    with jax.enable_x64(True):
        net, message = network(topology, mask), {"x": jnp.asarray(x)}
        for limit in (4096, 1):
            monkeypatch.setattr(inner, "_NODES", limit)
            whole = channel.attacked(channel.robust(pre=(robust.nnm(),)), telling(jnp.asarray(told)))
            ends.append(whole.mix(whole.open(message, net), message, net)[0]["x"])
    np.testing.assert_allclose(*ends, atol=1e-12)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"byzantine": {"name": "last", "count": 4}}, "honest nodes hear more Byzantine messages"),
        ({"byzantine": {"name": "last", "count": 6}}, "count must be below the 6 nodes"),
        ({"attack": "label_flip"}, "the problem has none"),
        ({"attack": "mimic", "knowledge": "own"}, "needs 'everything', got 'own'"),
    ],
)
def test_a_mistake_leaves_no_run_directory_and_no_run_of_a_sweep(change, message, tmp_path):
    config = {
        "nodes": 6, "problem": {"name": "quadratic", "dim": 3}, "topology": "complete", "algorithm": "dsgd",
        "rounds": 2, "byzantine": {"name": "last", "count": 1}, "attack": "sign_flip", "channel": "robust",
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        dlax.run(config | change, out=tmp_path / "run")
    grid = {name: [config[name], value] for name, value in change.items() if name != "knowledge"}
    knowledge = {name: value for name, value in change.items() if name == "knowledge"}
    with pytest.raises(ValueError, match=message):
        dlax.sweep(config | knowledge | {"grid": grid}, out=tmp_path / "sweep")
    assert list(tmp_path.iterdir()) == []
