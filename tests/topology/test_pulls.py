"""Random pulls, their schedules, and topologies that take over from one another."""

import itertools

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest

from dlax import mixing
from dlax import topology as tp
from dlax.algorithms import dsgd, gossip
from dlax.problems import average, quadratic
from dlax.simulate import simulate

pytestmark = pytest.mark.usefixtures("strict_ranks")

ARROWS = nx.DiGraph([(0, 1), (1, 2), (2, 3), (3, 0), (0, 2), (1, 3)])


def arrows(n):
    assert n == 4
    return tp.from_networkx(ARROWS, weights=tp.uniform_neighbour())


def law_of_rows(neighbours, r):
    """Every set of picks of one node with its chance."""
    law = []
    whole = int(np.floor(r))
    for size, p in ((whole, 1 - (r - whole)), (whole + 1, r - whole)):
        ways = list(itertools.combinations(neighbours, min(size, len(neighbours))))
        law += [(p / len(ways), way) for way in ways if p > 0]
    return law


def law(topology, r):
    """Every W of a pull with its chance, for few nodes."""
    n = topology.n
    rows = [law_of_rows([j for j in range(n) if j != i and topology.dense()[i, j]], r) for i in range(n)]
    for choice in itertools.product(*rows):
        W = np.zeros((n, n))
        for i, (_, picks) in enumerate(choice):
            for j in (i, *picks):
                W[i, j] = 1 / (1 + len(picks))
        yield np.prod([p for p, _ in choice]), W


def draws(topology, count, rounds=1):
    """`[rounds, count, n, n]` the W of as many keys."""
    with jax.enable_x64(True):
        plan, tables = mixing.plan(topology, dtype=np.float64)
        tables = jax.tree.map(jnp.asarray, tables)

        def table(t, key):
            made = mixing.network(plan, tables, t, key, key, None)
            return *made.table(), made.out_degree

        keys = jax.random.split(jax.random.key(0), count)
        every = jax.jit(jax.vmap(jax.vmap(table, (None, 0)), (0, None)))
        index, weight, own, out_degree = jax.device_get(every(jnp.arange(rounds), keys))
    n = topology.n
    W = np.zeros((rounds, count, n, n))
    for slot in range(index.shape[3]):
        places = np.ix_(range(rounds), range(count), range(n))
        np.add.at(W, (*places, index[..., slot]), weight[..., slot])
    W[:, :, range(n), range(n)] += own
    np.testing.assert_array_equal(out_degree, ((W != 0) & ~np.eye(n, dtype=bool)).sum(axis=2))
    return W


@pytest.mark.parametrize("peers", [0.2, 1.0, 1.7])
@pytest.mark.parametrize("base", [tp.complete, tp.star, arrows], ids=["complete", "star", "arrows"])
def test_expectation_and_contraction_are_those_of_the_enumerated_law(base, peers):
    topology = tp.random_pull(4, peers=peers, base=base)
    every = list(law(base(4), peers))
    assert sum(p for p, _ in every) == pytest.approx(1)
    mean = sum(p * W for p, W in every)
    square = sum(p * W.T @ (np.eye(4) - 1 / 4) @ W for p, W in every)
    np.testing.assert_allclose(topology.dense(), mean, atol=1e-14)
    assert topology.draw.contraction() == pytest.approx(np.linalg.norm(square, 2), abs=1e-13)
    chance = {}
    for p, W in every:
        chance[tuple(W.round(9).ravel())] = chance.get(tuple(W.round(9).ravel()), 0) + p
    count = 2000
    found = {}
    for W in draws(topology, count)[0]:
        place = tuple(W.round(9).ravel())
        found[place] = found.get(place, 0) + 1
    assert set(found) <= set(chance)
    for place, p in chance.items():
        assert abs(found.get(place, 0) - count * p) <= 5 * np.sqrt(count * p) + 1


@pytest.mark.parametrize(("n", "peers"), [(16, 0.2), (40, 2.3)])  # a dense round, and slots
def test_rows_and_picks(n, peers):
    topology = tp.random_pull(n, peers=peers)
    assert topology.is_row_stochastic and not topology.is_column_stochastic and topology.is_directed
    assert not topology.is_symmetric and topology.is_connected and topology.order == "drawn"
    count = 1000
    W = draws(topology, count)[0]
    np.testing.assert_allclose(W.sum(axis=2), 1, atol=1e-15)
    picks = (W != 0).sum(axis=2) - 1
    assert picks.mean() == pytest.approx(peers, rel=0.02)
    assert set(np.unique(picks)) == {int(peers), int(peers) + 1}
    assert (np.abs(W - W.transpose(0, 2, 1)).max(axis=(1, 2)) > 0).mean() > 0.9
    np.testing.assert_allclose(W.mean(axis=0), topology.dense(), atol=6 * np.sqrt(0.25 / count))


def test_a_round_contracts_as_promised():
    """Nodes are alike: E‖WX − mean(WX)‖² is exactly ρ² ‖X − mean(X)‖²; the mean is kept in expectation."""
    n, seeds = 16, 2000
    topology = tp.random_pull(n)
    problem = average(n, dim=20)
    result = simulate(gossip(), problem, topology, rounds=1, eval_every=1, seeds=seeds)
    start, end = ([row["consensus"] for row in result.rows if row["round"] == t] for t in (0, 1))
    want = start[0] * (1 - topology.spectral_gap) ** 2
    assert abs(np.mean(end) - want) < 4 * np.std(end) / np.sqrt(seeds) < 0.02 * want
    means = result.params["x"].mean(axis=1)
    error = means.mean(axis=0) - problem.starts["x"].mean(axis=0)
    assert (np.abs(error) < 5 * means.std(axis=0) / np.sqrt(seeds)).all()


def test_everyone_from_everyone_is_the_mean():
    assert tp.random_pull(5, peers=4).is_complete and tp.random_pull(1).is_complete
    assert tp.random_pull(6, peers=2.0, base=tp.ring).is_fixed
    np.testing.assert_allclose(tp.random_pull(6, peers=9, base=tp.ring).dense(), tp.ring(6).dense())


@pytest.mark.parametrize(
    ("schedule", "formula"),
    [
        ("linear", lambda s: 1 + 5 * s),
        ("cosine", lambda s: 6 + 0.5 * (1 - 6) * (1 + np.cos(np.pi * s))),
        ("slow_decrease", lambda s: 6 + (1 - 6) * np.exp(-10 * s)),
        ("slow_grow", lambda s: 1 + (6 - 1) * np.log10(1 + 9 * s**80)),
        ("step", lambda s: 1 if s < 0.5 else 6),
        ("window", lambda s: 6 if 0.5 <= s < 0.7 else 1),
    ],
)
def test_schedules(schedule, formula):
    topology = tp.scheduled_pull(8, rounds=10, schedule=schedule, start=1.0, end=6.0, at=0.5, window=0.2)
    W = draws(topology, 300, rounds=12)
    picks = (W != 0).sum(axis=3).mean(axis=(1, 2)) - 1
    want = [formula(min(t, 9) / 10) for t in range(12)]
    np.testing.assert_allclose(picks, want, atol=0.05)
    expected = W[:10].mean(axis=(0, 1))
    np.testing.assert_allclose(topology.dense(), expected, atol=0.03)
    least = tp.random_pull(8, peers=float(min(want)))
    assert topology.spectral_gap == pytest.approx(least.spectral_gap, rel=1e-9)


def test_the_default_schedule_is_one_merge_at_the_end():
    topology = tp.scheduled_pull(8, rounds=5)
    W = draws(topology, 20, rounds=6)
    assert ((W[:4] != 0).sum(axis=3) <= 2).all()
    np.testing.assert_allclose(W[4:], 1 / 8, atol=1e-15)
    window = draws(tp.scheduled_pull(8, rounds=20, schedule="window", window=0.1), 3, rounds=20)
    np.testing.assert_array_equal((window[:, 0, 0] != 0).sum(axis=1) == 8, np.arange(20) >= 18)


def lcm_of_members(n):
    return tp.cyclic(n, members=(tp.ring, tp.star))


SWITCHED = {
    "for ever": (tp.switched(4, at=2), [tp.ring] * 2 + [tp.complete] * 3),
    "a window": (tp.switched(4, at=1, until=3), [tp.ring] + [tp.complete] * 2 + [tp.ring] * 2),
    "in turn": (tp.switched(4, at=2, base=lcm_of_members, then=tp.path), [tp.ring, tp.star] + [tp.path] * 3),
}


@pytest.mark.parametrize("name", SWITCHED)
def test_each_round_has_its_own_matrix(name):
    topology, members = SWITCHED[name]
    W = draws(topology, 2, rounds=5)
    for t, member in enumerate(members):
        np.testing.assert_allclose(W[t], np.stack([member(4).dense()] * 2), atol=1e-15)
        np.testing.assert_allclose(
            mixing.matrix(topology, t, jax.random.key(1)), member(4).dense(), atol=1e-15
        )


def test_a_switch_knows_what_both_are():
    both = tp.switched(6, at=3)
    assert both.is_symmetric and both.is_doubly_stochastic and both.is_connected and not both.is_fixed
    assert both.spectral_gap == pytest.approx(tp.ring(6).spectral_gap)
    mixed = tp.switched(6, at=3, base=tp.random_pull, then=tp.one_peer_exponential)
    assert mixed.is_row_stochastic and mixed.is_directed and not mixed.is_column_stochastic
    pulls = tp.random_pull(6)
    assert mixed.spectral_gap == pytest.approx(
        min(pulls.spectral_gap, tp.one_peer_exponential(6).spectral_gap)
    )
    matched = tp.switched(6, at=0, base=lambda n: tp.random_matching(n, base=tp.ring))
    assert matched.is_doubly_stochastic


def test_switches_and_pulls_of_one_rule_share_a_compilation():
    """When the other topology comes on, and how many peers there are, are numbers of the run."""
    problem, algorithm = average(6, dim=3), gossip()

    def run(topology):
        return simulate(algorithm, problem, topology, rounds=4)

    first = run(tp.switched(6, at=3, base=tp.random_pull))
    assert first.seconds["compile"] > 0
    assert run(tp.switched(6, at=0, until=1, base=tp.random_pull)).seconds["compile"] == 0
    assert first.rows[-1]["consensus"] == 0 < first.rows[-2]["consensus"]
    bits = np.diff([row["bits_total"] for row in first.rows])
    assert bits[3] == 6 * 5 * 3 * 32 and (bits[:3] <= 6 * 3 * 32).all()
    again = run(tp.scheduled_pull(6, rounds=4))
    assert run(tp.scheduled_pull(6, rounds=4, start=0.7)).seconds["compile"] == 0
    assert again.rows[-1]["consensus"] < 1e-12 < again.rows[-2]["consensus"]


def test_the_single_merge_keeps_the_mean_and_ends_the_disagreement():
    """D-SGD that is switched to the complete graph in its last round ends at one model, the mean of the models."""
    problem = quadratic(8, dim=3)
    runs = [
        simulate(dsgd(0.1), problem, topology, rounds=rounds, precision="float64")
        for topology, rounds in ((tp.ring(8), 9), (tp.switched(8, at=9), 10))
    ]
    assert runs[1].rows[-1]["consensus"] < 1e-25
    assert runs[1].rows[-2]["consensus"] == pytest.approx(runs[0].rows[-1]["consensus"])


def split(n):
    return tp.from_matrix(np.eye(n), name="split", allow_disconnected=True)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: tp.random_pull(5, peers=0.0), "random_pull: peers must be positive and finite, got 0.0"),
        (lambda: tp.random_pull(5, peers=np.inf), "random_pull: peers must be positive and finite, got inf"),
        (lambda: tp.random_pull(4097), "random_pull: n must be at most 4096, as a round draws up to n²"),
        (lambda: tp.random_pull(5, base=split), "random_pull: base must be connected, and 'split' is not"),
        (lambda: tp.scheduled_pull(5, rounds=0), "scheduled_pull: rounds must be at least 1, got 0"),
        (lambda: tp.scheduled_pull(5, rounds=2, schedule="late"), "schedule must be one of linear, .*'late'"),
        (lambda: tp.scheduled_pull(5, rounds=2, start=-1.0), "start must be finite and at least 0, got -1.0"),
        (lambda: tp.scheduled_pull(5, rounds=2, end=-1.0), "end must be finite and at least 0, got -1.0"),
        (lambda: tp.scheduled_pull(5, rounds=2, at=1.5), r"scheduled_pull: at must be in \[0, 1\], got 1.5"),
        (lambda: tp.scheduled_pull(5, rounds=2, window=0.0), r"window must be in \(0, 1\], got 0.0"),
        (lambda: tp.scheduled_pull(5, rounds=2, start=0.0, at=1.0), "some round must have peers"),
        (lambda: tp.switched(5, at=-1), "switched: at must be at least 0, got -1"),
        (lambda: tp.switched(5, at=3, until=3), "switched: until must be more than at = 3, got 3"),
        (
            lambda: tp.switched(1025, at=1),
            "switched: n must be at most 1024, as matrices are dense; got 1025",
        ),
    ],
)
def test_refusals(build, message):
    with pytest.raises(ValueError, match=message):
        build()
