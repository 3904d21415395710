"""State on edges: every slot finds its twin."""

import numpy as np
import pytest

from dlax import mixing
from dlax import topology as tp


@pytest.mark.parametrize("topology", [tp.ring(6), tp.star(5), tp.complete(4), tp.barabasi_albert(12, m=2)])
def test_twins(topology):
    table = tp.edge_table(topology)
    index, weight, twin = table
    n, k = index.shape
    assert k == topology.degrees.max()
    W = topology.dense()
    seen = set()
    for i in range(n):
        for s in range(k):
            j, r = index[i, s], twin[i, s]
            assert (index[j, r], twin[j, r]) == (i, s)
            if s < topology.degrees[i]:
                assert weight[i, s] == W[i, j] != 0 and j != i
                seen.add((i, int(j)))
            else:
                assert (j, r, weight[i, s]) == (i, s, 0)
    assert seen == {(i, j) for j, i in topology.edges.tolist()}


def test_swap_and_gather():
    edges = mixing.edges(tp.edge_table(tp.star(4)))
    n, k = edges.neighbour.shape
    sent = np.arange(n * k).reshape(n, k).astype(np.float32)
    received = np.asarray(edges.swap(sent))
    for i in range(n):
        for s in range(k):
            j = int(edges.neighbour[i, s])
            back = [r for r in range(k) if edges.neighbour[j, r] == i and edges.used[j, r]]
            assert received[i, s] == (sent[j, back[0]] if edges.used[i, s] else sent[i, s])
    np.testing.assert_array_equal(edges.degree, [3, 1, 1, 1])
    np.testing.assert_array_equal(edges.gather(np.arange(4))[1], [0, 1, 1])


@pytest.mark.parametrize("topology", [tp.directed_ring(4), tp.one_peer_exponential(4)])
def test_graphs_that_change_or_are_directed_have_none(topology):
    with pytest.raises(ValueError, match="fixed undirected"):
        tp.edge_table(topology)
