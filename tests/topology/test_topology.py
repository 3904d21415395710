"""The record, its facts, and the checks that every matrix passes through."""

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp

from dlax import topology as tp


def test_facts_of_a_ring():
    topology = tp.ring(6)
    assert (topology.n, topology.period, topology.order) == (6, 1, "fixed")
    assert topology.properties == {
        "symmetric", "row stochastic", "column stochastic", "doubly stochastic", "nonnegative",
        "undirected", "connected", "fixed",
    }  # fmt: skip
    assert topology.degrees.tolist() == [2] * 6
    assert topology.edges.shape == (12, 2)
    assert {tuple(e) for e in topology.edges.tolist()} == {(i, (i + o) % 6) for i in range(6) for o in (1, 5)}
    np.testing.assert_array_equal(tp.dense(topology, 5), topology.dense())
    assert nx.utils.graphs_equal(topology.graph(), nx.cycle_graph(6))
    assert repr(topology).startswith("Topology(ring, n=6, m=12, fixed: connected, doubly stochastic")


def test_facts_of_a_directed_graph():
    topology = tp.static_exponential(5)
    assert topology.is_directed and not topology.is_symmetric and "undirected" not in topology.properties
    graph = topology.graph()
    assert graph.is_directed() and set(graph.predecessors(0)) == {1, 2, 4}  # whom node 0 hears
    assert all(topology.dense()[receiver, sender] > 0 for sender, receiver in topology.edges)


def test_one_directed_round_makes_it_directed():
    shift = np.roll(np.eye(4), 1, axis=1)
    topology = tp.from_matrix([(np.eye(4) + shift) / 2, (np.eye(4) + shift.T) / 2])
    assert topology.is_directed and len(topology.edges) == 8


def test_topologies_are_records():
    topology = tp.ring(4)
    assert topology != tp.ring(4) and len({topology, topology}) == 1
    with pytest.raises(AttributeError):
        topology.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    "convert", [list, np.asarray, sp.csr_array, sp.coo_matrix, lambda W: sp.csc_array(W)]
)
def test_from_matrix_takes_any_matrix_and_copies_it(convert):
    W = np.array([[0.5, 0.5, 0.0], [0.5, 0.25, 0.25], [0.0, 0.25, 0.75]])
    given = convert(W.tolist() if convert is list else W.copy())
    topology = tp.from_matrix(given, name="mine")
    np.testing.assert_array_equal(topology.dense(), W)
    stored = topology.matrices[0]
    assert isinstance(stored, sp.csr_array) and stored.nnz == 7 and stored.has_sorted_indices
    if sp.issparse(given):
        given.data[:] = 0
        np.testing.assert_array_equal(topology.dense(), W)


@pytest.mark.parametrize("pack", [list, tuple, np.stack])
def test_from_matrix_takes_sequences(pack):
    matrices = [tp.ring(4).dense(), tp.star(4).dense()]
    topology = tp.from_matrix(pack(matrices))
    assert topology.order == "cyclic" and topology.period == 2
    np.testing.assert_array_equal(topology.dense(3), matrices[1])
    assert tp.from_matrix(pack(matrices), order="random").order == "random"
    assert tp.from_matrix(pack(matrices[:1]), order="random").order == "fixed"


def test_joint_connectedness():
    left, right = np.eye(3), np.eye(3)
    left[:2, :2] = 0.5
    right[1:, 1:] = 0.5
    assert tp.from_matrix([left, right]).is_connected
    with pytest.raises(ValueError, match="not connected"):
        tp.from_matrix(left)


def test_trees():
    """n − 1 edges that connect, in every round the same."""
    trees = [tp.path(1), tp.path(2), tp.complete(2), tp.path(7), tp.star(7), tp.binary_tree(7)]
    others = [tp.ring(3), tp.complete(4), tp.directed_ring(4), tp.random_pairwise(4), tp.lollipop(6)]
    assert all(topology.is_tree and "tree" in topology.properties for topology in trees)
    assert not any(topology.is_tree or "tree" in topology.properties for topology in others)
    split = np.kron(np.eye(2), np.full((3, 3), 1 / 3))  # six edges, two components
    split[:3, :3] = tp.path(3).dense()
    assert not tp.from_matrix(split, allow_disconnected=True).is_tree


def test_allowances():
    column = np.array([[0.5, 1.0], [0.5, 0.0]])
    topology = tp.from_matrix(column, allow_column=True)
    assert topology.properties == {
        "column stochastic", "nonnegative", "undirected", "connected", "tree", "fixed",
    }  # fmt: skip
    signed = np.array([[1.5, -0.5], [-0.5, 1.5]])
    assert not tp.from_matrix(signed, allow_negative=True).is_nonnegative
    assert not tp.from_matrix(np.eye(3), allow_disconnected=True).is_connected


@pytest.mark.parametrize(
    ("W", "options", "message"),
    [
        (
            [[0.5, 0.5], [0.9, 0.8]],
            {},
            "row must sum to 1 .* but row 1 sums to 1.7; divide every row by its sum$",
        ),
        ([[0.5, 1.0], [0.5, 0.0]], {}, "pass allow_column=True: its columns do sum to 1"),
        (
            [[0.5, 1.0], [0.6, 0.0]],
            {"allow_column": True},
            "column must sum to 1 .* but column 0 sums to 1.1",
        ),
        (
            [[1.5, -0.5], [0.5, 0.5]],
            {},
            r"not be negative, got W\[0, 1\] = -0.5; .* pass allow_negative=True",
        ),
        ([[1.0, 0.0], [float("nan"), 1.0]], {}, r"must be finite, got W\[1, 0\] = nan"),
        (np.eye(4), {}, r"4 components, of sizes 1, 1, 1, ... \(smallest first\) in 4 nodes"),
        ([[1.0, 0.0], [0.5, 0.5]], {}, "2 strongly connected components, of sizes 1, 1 "),
        ([np.eye(2), [[0.5, 0.6], [0.5, 0.5]]], {}, "mine: matrix 1: every row must sum to 1"),
        (np.ones((2, 3)), {}, r"must be square, .* got shape \(2, 3\)"),
        (np.ones(3), {}, r"must be square, .* got shape \(3,\)"),
        ([], {}, "must be square"),
        ("ring", {}, "must be an .* matrix of real numbers, .* got str"),
        (None, {}, "must be an .* matrix of real numbers, .* got NoneType"),
        ([np.eye(2), np.eye(3)], {}, r"same number of nodes, got \[2, 3\]"),
        ([np.eye(2), np.eye(2)], {"order": "fixed"}, "'fixed' takes one matrix, got 2"),
        (np.eye(1), {"order": "weekly"}, "order must be .* got 'weekly'"),
    ],
)
def test_refusals(W, options, message):
    with pytest.raises(ValueError, match=message):
        tp.from_matrix(W, name="mine", **options)


def test_a_record_needs_matrices():
    with pytest.raises(ValueError, match="at least one matrix"):
        tp.Topology("none", ())
    with pytest.raises(ValueError, match="order must be"):
        tp.Topology("ring", tp.ring(3).matrices, "weekly")  # type: ignore[arg-type]


def test_exports():
    assert sorted(tp.__all__) == sorted(set(tp.__all__)) and all(hasattr(tp, name) for name in tp.__all__)
    assert list(tp.TOPOLOGIES) == sorted(tp.TOPOLOGIES) and list(tp.WEIGHTS) == sorted(tp.WEIGHTS)


@pytest.mark.parametrize(
    "W", [np.eye(2) * 1j, np.array([["1", "0"], ["0", "1"]]), np.ma.array(np.eye(2)), [[1, None], [0, 1]]]
)
def test_only_real_numbers_make_a_matrix(W):
    with pytest.raises(ValueError, match=r"must be an \[n, n\] matrix of real numbers, without a mask, got"):
        tp.from_matrix(W, allow_disconnected=True)
