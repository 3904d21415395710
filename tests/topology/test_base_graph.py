"""The Base-(k+1) graph averages exactly, at every size and degree, in the number of rounds that is promised."""

import math

import numpy as np
import pytest

from dlax import topology as tp
from dlax.algorithms import gossip
from dlax.problems import average
from dlax.simulate import simulate


@pytest.mark.parametrize("simple", [False, True])
@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_exact_for_every_n(k, simple):
    for n in range(1, 51):
        topology = tp.base_graph(n, degree=k, simple=simple)
        product = np.eye(n)
        for t in range(topology.period):
            W = topology.dense(t)
            np.testing.assert_array_equal(W, W.T)
            np.testing.assert_allclose(W.sum(axis=1), 1, atol=1e-14)
            assert (W >= 0).all() and ((W != 0).sum(axis=1) - 1 <= k).all()
            product = W @ product
        np.testing.assert_allclose(product, 1 / n, atol=1e-12, err_msg=f"n={n}")
        assert topology.period <= (2 * math.log(n, k + 1) + 2 if n > 1 else 1)
        assert topology.order == ("cyclic" if topology.period > 1 else "fixed")
        assert topology.spectral_gap == 1.0


SIZES = [5, 6, 7, 12, 16, 25, 33, 100]


@pytest.mark.parametrize(
    ("k", "simple", "lengths"),
    [
        (1, True, [5, 5, 5, 7, 4, 9, 11, 13]),
        (2, True, [3, 2, 4, 3, 4, 6, 7, 9]),
        (1, False, [5, 4, 5, 5, 4, 9, 11, 11]),
        (2, False, [3, 2, 4, 3, 4, 6, 6, 8]),
    ],
)
def test_lengths(k, simple, lengths):
    assert [tp.base_graph(n, degree=k, simple=simple).period for n in SIZES] == lengths


def test_never_longer_than_the_simple_graph():
    for k in (1, 2, 3):
        for n in range(52, 130, 6):
            assert tp.base_graph(n, degree=k).period <= tp.base_graph(n, degree=k, simple=True).period


def test_known_small_graphs():
    """Six nodes by groups of three and two; powers of two as a hypercube with one dimension a round."""
    by_hand = tp.base_graph(6, degree=2)
    assert [np.unique(by_hand.dense(t).round(12)).tolist() for t in range(2)] == [
        [0, 0.5],
        [0, 0.333333333333],
    ]
    cube = tp.base_graph(8)
    for t in range(3):
        assert {(i, j) for i, j in np.argwhere(cube.dense(t)) if i != j} == {
            (i, i ^ (4 >> t)) for i in range(8)
        }
    assert tp.base_graph(5, degree=4).is_complete and tp.base_graph(5, degree=9).is_complete


@pytest.mark.parametrize(("n", "degree"), [(5, 1), (7, 2), (12, 1)])
def test_gossip_reaches_the_mean_after_one_cycle(n, degree):
    topology = tp.base_graph(n, degree=degree)
    problem = average(n, dim=3, seed=n)
    rounds = topology.period
    result = simulate(gossip(), problem, topology, rounds=rounds, eval_every=1, precision="float64")
    mean = np.tile(problem.starts["x"].mean(axis=0), (n, 1))
    np.testing.assert_allclose(result.params["x"][0], mean, atol=1e-14)
    distance = [row["distance"] for row in result.rows]
    assert distance[-1] < 1e-28 and min(distance[:-1]) > 1e-4


def test_degree_is_positive():
    with pytest.raises(ValueError, match="base_graph: degree must be at least 1, got 0"):
        tp.base_graph(8, degree=0)
