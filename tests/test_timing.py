"""Lists of events: their law, their order, and that a longer one begins like a shorter one."""

import numpy as np
import pytest

from dlax import timing
from dlax import topology as tp


def rng(seed=0):
    return np.random.default_rng(seed)


def draws():
    ring = tp.ring(6)
    edges, rates = timing.exchange_rates(ring, 2.0)
    return {
        "poisson": timing.poisson(np.full(6, 0.5), edges, rates),
        "completions": timing.completions(ring, timing.log_normal_work(stragglers=0.5)),
        "alone": timing.completions(ring, timing.exponential_work(), alone=True),
    }


@pytest.mark.parametrize("name", ["poisson", "completions", "alone"])
def test_a_longer_list_begins_like_a_shorter_one(name):
    draw = draws()[name]
    short, long = draw(5.0, rng()), draw(2000.0, rng())
    assert 0 < len(short.time) < len(long.time)
    assert (np.diff(long.time) >= 0).all() and long.time[0] > 0 and long.time[-1] <= 2000
    for a, b in zip(short, long, strict=True):
        np.testing.assert_array_equal(a, b[: len(a)])
    assert long.time[len(short.time)] > 5.0
    assert (draw(5.0, rng(1)).time[:3] != short.time[:3]).any()


def test_poisson_clocks_tick_at_their_rates():
    path = np.array([[0, 1], [1, 2]])
    events = timing.poisson([2.0, 0.0, 1.0], path, [3.0, 0.5])(20_000.0, rng())
    counts = {}
    for pair in zip(events.node.tolist(), events.peer.tolist(), strict=True):
        counts[pair] = counts.get(pair, 0) + 1
    want = {(0, 0): 2.0, (2, 2): 1.0, (0, 1): 1.5, (1, 0): 1.5, (1, 2): 0.25, (2, 1): 0.25}
    assert set(counts) == set(want)
    for pair, rate in want.items():  # five standard deviations of a Poisson count
        assert abs(counts[pair] - 20_000 * rate) < 5 * np.sqrt(20_000 * rate)
    gaps = np.diff(events.time)
    assert gaps.mean() == pytest.approx(1 / 6.5, rel=0.02) and gaps.std() == pytest.approx(1 / 6.5, rel=0.03)


def test_nodes_finish_work_after_work_and_meet_neighbours_uniformly():
    star = tp.star(4)
    events = timing.completions(star, timing.constant_work(stragglers=0.25, slowdown=4.0))(1000.0, rng())
    counts = np.bincount(events.node, minlength=4)
    assert sorted(counts) == [250, 1000, 1000, 1000]  # one straggler
    quick = int(np.flatnonzero(counts == 1000)[0])
    np.testing.assert_array_equal(events.time[events.node == quick], np.arange(1, 1001))
    assert set(events.peer[events.node == 1]) == {0}
    met = np.bincount(events.peer[events.node == 0], minlength=4)
    total = met.sum()
    assert met[0] == 0 and np.abs(met[1:] - total / 3).max() < 5 * np.sqrt(total * 2 / 9)


@pytest.mark.parametrize(
    ("work", "mean", "std"),
    [
        (timing.constant_work(), 1.0, 0.0),
        (timing.exponential_work(), 1.0, 1.0),
        (timing.log_normal_work(sigma=0.5), 1.0, np.sqrt(np.exp(0.25) - 1)),
    ],
)
def test_work(work, mean, std):
    sample = work(50, rng())(4000)
    assert sample.shape == (4000, 50)
    assert sample.mean() == pytest.approx(mean, abs=5 * max(std, 1e-12) / np.sqrt(sample.size) + 1e-12)
    assert sample.std() == pytest.approx(std, rel=0.02, abs=1e-12)


def test_a_barrier_waits_for_the_slowest():
    ends = timing.barrier(timing.constant_work(stragglers=0.1, slowdown=7.0), 10, 3)
    np.testing.assert_array_equal(ends, [0, 7, 14, 21])
    assert (timing.barrier(timing.exponential_work(), 5, 4, seed=1) != 0)[1:].all()


def test_exchange_rates():
    edges, rates = timing.exchange_rates(tp.star(4), 2.0)
    np.testing.assert_array_equal(edges, [[0, 1], [0, 2], [0, 3]])
    np.testing.assert_allclose(rates, 1 / 3 + 1)
    _, regular = timing.exchange_rates(tp.ring(5), 3.0)
    np.testing.assert_allclose(regular, 3 / 2)  # a node has two edges: three exchanges


def test_evaluations():
    np.testing.assert_array_equal(timing.evaluations(1.0, 0.4), [0, 0.4, 0.8, 1.0])
    np.testing.assert_array_equal(timing.evaluations(1.0, 0.5), [0, 0.5, 1.0])
    assert len(timing.evaluations(0.3, 0.1)) == 4  # 0.3/0.1 is just below 3
    np.testing.assert_array_equal(timing.evaluations(1.0, 9.0), [0, 1.0])
    np.testing.assert_array_equal(timing.evaluations(0.0, 1.0), [0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: timing.exponential_work(stragglers=1.5), r"stragglers must be in \[0, 1\], got 1.5"),
        (lambda: timing.constant_work(slowdown=0.0), "slowdown must be positive, got 0.0"),
        (lambda: timing.log_normal_work(sigma=-1.0), "sigma must be at least 0, got -1.0"),
        (lambda: timing.poisson([0.0], np.zeros((0, 2)), []), "one at least positive"),
        (lambda: timing.poisson([-1.0], np.zeros((0, 2)), []), "not negative"),
        (lambda: timing.exchange_rates(tp.directed_ring(4), 1.0), "undirected"),
        (lambda: timing.exchange_rates(tp.ring(1), 1.0), "at least one edge"),
        (lambda: timing.completions(tp.ring(1), timing.constant_work()), "no neighbour"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
