"""Sequences of graphs: order, joint facts, refusals."""

import numpy as np
import pytest

from dlax import topology as tp


def test_cyclic_chains_matrices():
    topology = tp.cyclic(tp.one_peer_exponential(5), tp.star(5))
    assert (topology.order, topology.period) == ("cyclic", 4)
    assert topology.name == "cyclic(one_peer_exponential, star)"
    np.testing.assert_array_equal(topology.dense(2), tp.one_peer_exponential(5).dense(2))
    np.testing.assert_array_equal(topology.dense(7), tp.star(5).dense())
    assert topology.is_directed and topology.is_doubly_stochastic and not topology.is_symmetric


def test_random_sequence():
    topology = tp.random_sequence(tp.ring(5), tp.ring(5), tp.star(5))
    assert (topology.order, topology.period) == ("random", 3)
    assert "fixed" not in topology.properties and topology.is_symmetric
    assert topology.degrees.tolist() == [4, 2, 3, 3, 2]


def test_one_matrix_is_fixed():
    assert tp.cyclic(tp.ring(4)).is_fixed and tp.random_sequence(tp.ring(4)).is_fixed


def test_members_may_be_disconnected_but_not_their_union():
    def matching(*pairs):
        W = np.eye(4)
        for i, j in pairs:
            W[np.ix_([i, j], [i, j])] = 0.5
        return tp.from_matrix(W, name="matching", allow_disconnected=True)

    topology = tp.cyclic(matching((0, 1), (2, 3)), matching((1, 2), (3, 0)))
    assert topology.is_connected and topology.spectral_gap == 1.0  # averages four nodes in two rounds
    with pytest.raises(ValueError, match=r"cyclic\(matching, matching\): the graph is not connected: 2 comp"):
        tp.cyclic(matching((0, 1)), matching((2, 3)))


@pytest.mark.parametrize("build", [tp.cyclic, tp.random_sequence])
def test_refusals(build):
    with pytest.raises(ValueError, match="at least one topology"):
        build()
    with pytest.raises(ValueError, match="same number of nodes, got ring: 4, star: 5"):
        build(tp.ring(4), tp.star(5))
    with pytest.raises(ValueError, match="is random"):
        build(tp.random_sequence(tp.ring(4), tp.star(4)))


def test_random_members_must_be_fixed():
    with pytest.raises(ValueError, match="members must be fixed, but one_peer_exponential is cyclic"):
        tp.random_sequence(tp.one_peer_exponential(4))


def test_row_and_column_stochastic_do_not_go_together():
    row = tp.star(4, weights=tp.uniform_neighbour())
    column = tp.from_matrix(row.dense().T, allow_column=True)
    assert tp.cyclic(column, tp.ring(4)).is_column_stochastic
    with pytest.raises(ValueError, match="must sum to 1"):
        tp.cyclic(row, column)
