"""Sequences of graphs: order, joint facts, refusals."""

import functools

import networkx as nx
import numpy as np
import pytest

import dlax
from dlax import topology as tp


def test_cyclic_chains_matrices():
    topology = tp.cyclic(5, members=(tp.one_peer_exponential, tp.star))
    assert (topology.order, topology.period) == ("cyclic", 4)
    assert topology.name == "cyclic(one_peer_exponential, star)"
    np.testing.assert_array_equal(topology.dense(2), tp.one_peer_exponential(5).dense(2))
    np.testing.assert_array_equal(topology.dense(7), tp.star(5).dense())
    assert topology.is_directed and topology.is_doubly_stochastic and not topology.is_symmetric


def test_random_sequence():
    topology = tp.random_sequence(5, members=(tp.ring, tp.ring, tp.star))
    assert (topology.order, topology.period) == ("random", 3)
    assert topology.name == "random_sequence(ring, ring, star)"
    assert "fixed" not in topology.properties and topology.is_symmetric
    assert topology.degrees.tolist() == [4, 2, 3, 3, 2]


def test_members_are_factories_or_topologies_and_specs_in_a_config():
    ready = tp.erdos_renyi(9, p=0.5, seed=3)
    factory = functools.partial(tp.erdos_renyi, p=0.5, seed=3)
    by_spec = dlax.make(
        "topology", "cyclic", n=9, members=["ring", {"name": "erdos_renyi", "p": 0.5, "seed": 3}]
    )
    for topology in (
        tp.cyclic(9, members=(tp.ring, ready)),
        tp.cyclic(9, members=[tp.ring, factory]),
        by_spec,
    ):
        assert topology.period == 2 and topology.name == "cyclic(ring, erdos_renyi)"
        np.testing.assert_array_equal(topology.dense(0), tp.ring(9).dense())
        np.testing.assert_array_equal(topology.dense(1), ready.dense())


def test_one_matrix_is_fixed():
    assert tp.cyclic(4, members=(tp.ring,)).is_fixed and tp.random_sequence(4, members=(tp.ring,)).is_fixed


def matching(*pairs):
    W = np.eye(4)
    for i, j in pairs:
        W[np.ix_([i, j], [i, j])] = 0.5
    return tp.from_matrix(W, name="matching", allow_disconnected=True)


@pytest.mark.parametrize("build", [tp.cyclic, tp.random_sequence])
def test_members_may_be_disconnected_but_not_their_union(build):
    topology = build(4, members=(matching((0, 1), (2, 3)), matching((1, 2), (3, 0))))
    assert topology.is_connected
    if build is tp.cyclic:
        assert topology.spectral_gap == 1.0  # averages four nodes in two rounds
    name = build.__name__
    with pytest.raises(
        ValueError, match=rf"{name}\(matching, matching\): the union of its 2 rounds is not connected: 2 comp"
    ):
        build(4, members=(matching((0, 1)), matching((2, 3))))


@pytest.mark.parametrize("build", [tp.cyclic, tp.random_sequence])
def test_refusals(build):
    name = build.__name__
    with pytest.raises(ValueError, match=f"{name}: members must name at least one graph, got none"):
        build(4, members=())
    with pytest.raises(ValueError, match=f"{name}: every member must have n = 4 nodes, but star has 5"):
        build(4, members=(tp.ring, tp.star(5)))
    with pytest.raises(ValueError, match=f"{name}: members must be .*, but .* is random"):
        build(4, members=(tp.random_sequence(4, members=(tp.ring, tp.star)),))
    with pytest.raises(ValueError, match=f"{name}: members must be .*, but random_pairwise is drawn"):
        build(4, members=(tp.random_pairwise,))
    for single in (tp.ring, tp.ring(4)):
        with pytest.raises(ValueError, match=f"{name}: members must be a list of graphs, got"):
            build(4, members=single)
    with pytest.raises(ValueError, match=f"{name}: n must be an integer of at least 1, got 2.5"):
        build(2.5, members=(tp.ring,))


def test_random_members_must_be_fixed():
    with pytest.raises(ValueError, match="members must be fixed, but one_peer_exponential is cyclic"):
        tp.random_sequence(4, members=(tp.one_peer_exponential,))


def test_row_and_column_stochastic_do_not_go_together():
    row = tp.star(4, weights=tp.uniform_neighbour())
    column = tp.from_matrix(row.dense().T, allow_column=True)
    assert tp.cyclic(4, members=(column, tp.ring)).is_column_stochastic
    with pytest.raises(ValueError, match="must sum to 1"):
        tp.cyclic(4, members=(row, column))


def edge_set(W):
    return {(i, j) for i, j in np.argwhere(W) if i < j}


@pytest.mark.parametrize(("n", "window"), [(2, 3), (3, 2), (9, 1), (9, 4), (12, 5), (4, 7)])
def test_b_connected_deals_every_edge_to_one_round(n, window):
    base = tp.complete if n == 9 else tp.ring
    topology = tp.b_connected(n, base=base, window=window, seed=1)
    rounds = [edge_set(topology.dense(t)) for t in range(window)]
    assert topology.period == window and topology.is_connected
    assert topology.is_symmetric and topology.is_doubly_stochastic and topology.is_nonnegative
    assert sum(map(len, rounds)) == len(set().union(*rounds))
    assert set().union(*rounds) == edge_set(base(n).dense())
    assert max(map(len, rounds)) - min(map(len, rounds)) <= 1
    for t, edges in enumerate(rounds):
        graph = nx.Graph(edges)
        for i, j in edges:
            weight = 1 / (1 + max(graph.degree[i], graph.degree[j]))
            assert topology.dense(t)[i, j] == pytest.approx(weight, abs=1e-15)
    for start in range(window):  # any B rounds in a row
        union = nx.Graph([edge for t in range(start, start + window) for edge in edge_set(topology.dense(t))])
        assert len(union) == n and nx.is_connected(union)


def test_b_connected_rounds_are_not_connected():
    topology = tp.b_connected(20, window=3)
    assert not any(nx.is_connected(nx.from_numpy_array(topology.dense(t))) for t in range(3))
    assert 0 < topology.spectral_gap < tp.ring(20).spectral_gap


def test_b_connected_is_decided_by_its_seed():
    first, again, other = (tp.b_connected(12, seed=seed).matrices for seed in (3, 3, 4))
    assert all((a != b).nnz == 0 for a, b in zip(first, again, strict=True))
    assert any((a != b).nnz for a, b in zip(first, other, strict=True))
    assert tp.b_connected(1).is_complete and tp.b_connected(5, window=1).is_fixed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "b_connected: window must be at least 1, got 0"),
        ({"seed": -1}, "seed of a graph must be at least 0, got -1"),
        (
            {"base": tp.static_exponential},
            "b_connected: base must be undirected, and 'static_exponential' is",
        ),
        (
            {"base": lambda n: tp.from_matrix(np.eye(n), allow_disconnected=True)},
            "b_connected: base must be connected, and 'matrix' is not",
        ),
    ],
)
def test_b_connected_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        tp.b_connected(8, **options)
