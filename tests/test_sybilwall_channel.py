"""SybilWall's channel against a loop over nodes that keeps dictionaries; its draws against their law."""

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest
from scipy.stats import chisquare
from test_attacked import mask_of, network, sending

import dlax
from dlax import attacks, channel, robust
from dlax import topology as tp
from dlax.algorithms import dsgd
from dlax.channel.sybilwall import _GOSSIP, Known, draw, forget

sybilwall = channel.sybilwall
N, D, DECAY = 8, 5, 0.8


def foolsgold(rows):
    """The code's rule, one entry after the other."""
    m = len(rows)
    if m == 0:
        return []
    norms = [np.linalg.norm(row) or 1.0 for row in rows]
    cs = np.array([[rows[i] @ rows[j] / norms[i] / norms[j] for j in range(m)] for i in range(m)])
    np.fill_diagonal(cs, 0)
    v = cs.max(axis=1) + 1e-5
    for i in range(m):
        for j in range(m):
            if i != j and v[i] < v[j]:
                cs[i, j] *= v[i] / v[j]
    w = np.clip(1 - cs.max(axis=1), 0, 1)
    if w.max() == 0:
        return list(w)
    w = w / w.max()
    result = []
    for value in w:
        if value in (0, 1):
            result.append(float(value))
        else:
            result.append(float(np.clip(np.log(value / (1 - value)) + 0.5, 0, 1)))
    return result


class Loop:
    """Every node with a dictionary p -> (round, distance, source, H); told what the channel drew."""

    def __init__(self, W, byzantine, history):
        self.W, self.byzantine, self.history = W, byzantine, history
        self.hears = [[j for j in np.flatnonzero(row) if j != i] for i, row in enumerate(W)]
        self.known = [{} for _ in W]
        self.last = [{} for _ in W]

    def may_tell(self, j, i):
        return {p for p, (_, _, source, _) in self.known[j].items() if p not in (i, j) and source != i}

    def round(self, t, x, picks):
        old = [dict(known) for known in self.known]
        for i, known in enumerate(self.known):
            for j in self.hears[i]:
                if j not in self.last[i]:
                    start = x[j] if self.history == "model" else np.zeros(D)
                    known[j] = (t, 1, -1, start)
                else:
                    known[j] = (t, 1, -1, known[j][3] + x[j] - self.last[i][j])
                self.last[i][j] = x[j]
            for j in self.hears[i]:
                if self.byzantine[j] or picks[i][j] is None:
                    continue
                p = picks[i][j]
                when, distance, _, H = old[j][p]
                if p not in known or (when > known[p][0] and known[p][1] > 1):
                    known[p] = (when, distance + 1, j, H)
        received = np.empty_like(x)
        for i, known in enumerate(self.known):
            people = list(known)
            w = dict(zip(people, foolsgold([known[p][3] for p in people]), strict=True))
            total = x[i] + sum(w[j] * x[j] for j in self.hears[i])
            received[i] = total / (1 + sum(w[j] for j in self.hears[i]))
        return received


@pytest.mark.parametrize("history", ["model", "delta"])
@pytest.mark.parametrize("name", ["ring", "star", "random_directed"])
def test_the_channel_is_its_loop(name, history):
    topology = tp.TOPOLOGIES[name](N)
    mask, rng = mask_of(N, 2), np.random.default_rng(1)
    loop = Loop(topology.dense(), mask, history)
    centre = rng.normal(size=D)
    made = sybilwall(DECAY, history=history)
    distant = 0
    with jax.enable_x64(True), jax.numpy_rank_promotion("raise"):
        link, step = None, stepper(made, network(topology, mask))
        for t in range(8):
            x = centre + 0.8 * rng.normal(size=(N, D))
            net = network(topology, mask, key=t)
            message = {"x": jnp.asarray(x)}
            link = made.open(message, net) if link is None else link
            index, weight, _ = net.table()
            key = jax.random.fold_in(net.key, _GOSSIP)
            told, tells = draw(key, link.known, index, weight != 0, DECAY)
            picks = [{} for _ in range(N)]
            for i in range(N):
                for s in np.flatnonzero(weight[i]):
                    j = int(index[i, s])
                    picks[i][j] = int(told.who[i, s]) if tells[i, s] else None
                    allowed = loop.may_tell(j, i)
                    assert picks[i][j] in allowed if allowed else picks[i][j] is None
            received, link, bits = step(link, message, net.key)
            expected = loop.round(t, x, picks)
            np.testing.assert_allclose(received["x"], expected, atol=1e-10)
            known = jax.device_get(link.known)
            for i in range(N):
                mine = {
                    int(p): tuple(int(field[i, s]) for field in known[1:])
                    for s, p in enumerate(known.who[i])
                    if p >= 0
                }
                assert mine == {int(p): tuple(map(int, row[:3])) for p, row in loop.known[i].items()}
            distant += sum(row[1] > 1 for known in loop.known for row in known.values())
            out = (topology.dense() != 0).sum(axis=0) - 1
            spoken = sum(
                np.bincount([j for j, p in picks[i].items() if p is not None and not mask[j]], minlength=N)
                for i in range(N)
            )
            np.testing.assert_array_equal(bits, (out + spoken) * D * 64)
            assert (np.asarray(bits) <= 2 * out * D * 64).all()
    assert distant > 30


def stepper(made, net):
    return jax.jit(lambda link, message, key: made.mix(link, message, net._replace(key=key)))


def test_on_a_complete_graph_it_is_foolsgold():
    """All are neighbours, so gossip has nothing to add."""
    problem = dlax.make("problem", "quadratic", n=6, dim=4, noise=0.3)
    run = {
        name: dlax.simulate(dsgd(0.1), problem, tp.complete(6), rounds=6, channel=over, precision="float64")
        for name, over in {
            "mine": sybilwall(),
            "rule": channel.robust(rule=robust.foolsgold(own=True)),
        }.items()
    }
    np.testing.assert_allclose(run["mine"].params["x"], run["rule"].params["x"], atol=1e-10)
    assert np.abs(run["mine"].params["x"] - run["mine"].params["x"].mean(axis=1, keepdims=True)).max() > 1e-3


def test_draws_follow_their_law_and_exclusions():
    """10,000 draws on one edge, from a table with all that is forbidden in it."""
    who = jnp.array([[-1] * 8, [2, 3, 4, 0, 1, 5, -1, 6]], jnp.int32)
    distance = jnp.array([[0] * 8, [1, 2, 3, 1, 1, 2, 1, 1]], jnp.int32)
    source = jnp.array([[-1] * 8, [-1, 7, 7, -1, -1, 0, -1, -1]], jnp.int32)
    known = Known(who, jnp.zeros_like(who), distance, source)
    index, sent = jnp.array([[1], [1]], jnp.int32), jnp.array([[True], [False]])
    keys = jax.random.split(jax.random.key(0), 10_000)
    told, tells = jax.jit(jax.vmap(lambda key: draw(key, known, index, sent, DECAY)))(keys)
    assert np.asarray(tells)[:, 0].all() and not np.asarray(tells)[:, 1].any()
    names, counts = np.unique(np.asarray(told.who)[:, 0, 0], return_counts=True)
    assert names.tolist() == [
        2,
        3,
        4,
        6,
    ]  # not the receiver 0, the teller 1, nor 5, of whom the receiver told it
    law = np.exp(-DECAY * np.array([0, 1, 2, 0]))
    assert chisquare(counts, 10_000 * law / law.sum()).pvalue > 1e-3
    assert chisquare(counts, np.full(4, 2500)).pvalue < 1e-9
    first = np.asarray(told.distance)[np.asarray(told.who)[:, 0, 0] == 3][0, 0]
    assert first == 3 and (np.asarray(told.source)[:, 0] == 1).all()


def test_nothing_is_told_where_all_is_forbidden():
    who = jnp.array([[1, -1], [0, -1]], jnp.int32)
    known = Known(who, jnp.zeros_like(who), jnp.ones_like(who), jnp.full_like(who, -1))
    index = jnp.array([[1], [0]], jnp.int32)
    _, tells = draw(jax.random.key(0), known, index, jnp.ones((2, 1), bool), DECAY)
    assert not np.asarray(tells).any()


def test_old_histories_are_forgotten_and_few_slots_keep_neighbours():
    known = Known(*(jnp.array([[3, 4]], jnp.int32) for _ in range(4)))
    assert forget(known, jnp.int32(3)).who.tolist() == [[-1, 4]]
    made, topology = sybilwall(slots=3, memory=2), tp.ring(N)
    net, link = network(topology, mask_of(N)), None
    step = stepper(made, net)
    for t in range(6):
        message = {"x": jax.random.normal(jax.random.key(t), (N, D))}
        link = made.open(message, net) if link is None else link
        _, link, _ = step(link, message, jax.random.key(t))
        known = jax.device_get(link.known)
        for i in range(N):
            row = {int(p): s for s, p in enumerate(known.who[i]) if p >= 0}
            assert len(row) <= 3 and {(i - 1) % N, (i + 1) % N} <= set(row) and i not in row
            assert all(known.round[i, s] > t - 2 for s in row.values())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_does_not_arrive(bad):
    x, mask = np.random.default_rng(0).normal(size=(N, D)), mask_of(N, 2)
    made = channel.attacked(sybilwall(), sending(jnp.full((N, D), bad)))
    net, message = network(tp.ring(N), mask), {"x": jnp.asarray(x)}
    link, step = made.open(message, net), stepper(made, net)
    for _ in range(3):
        received, link, _ = step(link, message, net.key)
        assert np.isfinite(np.asarray(received["x"])).all()
    assert 2 not in np.asarray(link.inner.known.who)
    assert np.isfinite(np.asarray(link.inner.ring["x"])).all()


def test_one_sybil_edge_is_a_blind_spot_until_gossip_tells_of_another():
    """Nodes 0 and 1 of a path each hear one of two Sybils that send one model."""
    topology = tp.from_networkx(nx.Graph([(0, 1), (0, 2), (1, 3), (0, 4), (1, 5)]))
    x = np.random.default_rng(3).normal(size=(6, 40))
    x[3] = x[2]
    made, net = sybilwall(), network(topology, mask_of(6, 2, 3))
    message = {"x": jnp.asarray(x, jnp.float32)}
    link = made.open(message, net)
    shares, step = [], stepper(made, net)
    for t in range(12):
        received, link, _ = step(link, message, jax.random.key(t))
        basis = np.linalg.lstsq(x[[0, 1, 2, 4, 5]].T, np.asarray(received["x"])[0], rcond=None)[0]
        shares.append(basis[2])
    assert shares[0] > 0.1 and abs(shares[-1]) < 1e-5


def test_it_trains_with_sleepers_and_refuses_what_it_cannot():
    problem = dlax.make("problem", "classification", n=N, dataset="digits", model="linear")
    run = dlax.simulate(dsgd(0.3), problem, tp.torus(N), rounds=10, channel=sybilwall(), participation=0.7)
    assert run.rows[-1]["diverged"] == -1
    assert run.rows[-1]["accuracy_mean"] > run.rows[0]["accuracy_mean"] + 0.1
    for options, words in (
        ({"decay": -1.0}, "decay must be at least 0"),
        ({"history": "sum"}, "history must be one of model, delta, got 'sum'"),
        ({"slots": 0}, "slots must be at least 1, got 0"),
        ({"memory": 0}, "memory must be at least 1, got 0"),
    ):
        with pytest.raises(ValueError, match=f"sybilwall: {words}"):
            sybilwall(**options)
    with pytest.raises(ValueError, match="slots must be at least the 3 neighbours of a node, got 2"):
        dlax.simulate(dsgd(0.1), problem, tp.torus(N), rounds=1, channel=sybilwall(slots=2))
    lies = {"attack": attacks.dissensus(), "byzantine": attacks.at(nodes=(1,))}
    with pytest.raises(ValueError, match="attack: tells each receiver another thing"):
        dlax.simulate(dsgd(0.1), problem, tp.torus(N), rounds=1, channel=sybilwall(), **lies)
