"""Weights in proportion to data: against plain loops, nodes without data, and what is refused."""

import networkx as nx
import numpy as np
import pytest

from dlax import topology as tp


def reference(graph, size):
    """One entry at a time."""
    n = len(graph)
    W = np.zeros((n, n))
    for i in range(n):
        heard = [i, *graph[i]]
        total = sum(size[j] for j in heard)
        for j in heard:
            W[i, j] = size[j] / total if total else float(i == j)
    return W


@pytest.mark.parametrize("weights", [tp.metropolis(), tp.uniform_neighbour()])
@pytest.mark.parametrize("empty", [0, 4])
def test_rows_are_in_proportion_to_data_whatever_the_weights_were(weights, empty):
    rng = np.random.default_rng(empty)
    for seed in range(5):
        topology = tp.barabasi_albert(15, m=2, seed=seed, weights=weights)
        size = rng.integers(1, 30, 15)
        size[rng.permutation(15)[:empty]] = 0
        made = tp.weighted_by_data(topology, size)
        np.testing.assert_allclose(made.dense(), reference(topology.graph(), size), atol=1e-14)
        assert made.is_row_stochastic and made.is_fixed and made.name == topology.name
        assert made.is_connected == (empty == 0)


def test_who_has_no_data_is_heard_by_nobody_and_hears_others():
    W = tp.weighted_by_data(tp.star(4), [0, 1, 2, 3]).dense()
    np.testing.assert_allclose(W[0], [0, 1 / 6, 2 / 6, 3 / 6])
    np.testing.assert_array_equal(W[1:], np.eye(4)[1:])


def test_a_connected_graph_agrees_on_what_its_neighbourhoods_hold():
    topology, size = tp.barabasi_albert(12, m=2, seed=1), np.arange(1.0, 13)
    W = tp.weighted_by_data(topology, size).dense()
    around = nx.to_numpy_array(topology.graph()) + np.eye(12)
    pi = size * (around @ size)
    np.testing.assert_allclose(np.linalg.matrix_power(W, 300), np.tile(pi / pi.sum(), (12, 1)), atol=1e-10)


@pytest.mark.parametrize("sizes", [[1.0, 2.0], [1.0, -1.0, 1.0], [1.0, np.nan, 1.0], [[1.0, 1.0, 1.0]]])
def test_sizes_that_are_refused(sizes):
    with pytest.raises(ValueError, match="weighted_by_data: sizes must be 3 finite numbers"):
        tp.weighted_by_data(tp.ring(3), sizes)


def test_a_sequence_is_refused():
    with pytest.raises(
        ValueError, match="weighted_by_data: needs a fixed topology, and 'one_peer_exponential'"
    ):
        tp.weighted_by_data(tp.one_peer_exponential(4), np.ones(4))
