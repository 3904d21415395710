"""Graph quantities against their definitions, computed the slow way, and against closed forms."""

import networkx as nx
import numpy as np
import pytest

from dlax import topology as tp
from dlax.topology.spectra import quantities

GRAPHS = {
    "ring": tp.ring(9),
    "path": tp.path(8),
    "star": tp.star(7),
    "complete": tp.complete(6),
    "erdos_renyi": tp.erdos_renyi(12, seed=1),
    "static_exponential": tp.static_exponential(12),
    "random_directed": tp.random_directed(11, seed=2),
    "one": tp.ring(1),
    "two": tp.path(2),
}
every_graph = pytest.mark.parametrize("name", GRAPHS)


def random_digraph(n=9, weights=None):
    return tp.random_directed(n, seed=3, weights=weights or tp.push())


@every_graph
def test_eigenvalues(name):
    topology = GRAPHS[name]
    want = np.linalg.eigvals(topology.dense())
    got = tp.eigenvalues(topology)
    assert np.isrealobj(got) == topology.is_symmetric
    assert (np.diff(np.abs(got)) <= 1e-12).all()
    # As polynomials, since equal moduli may come in any order.
    np.testing.assert_allclose(np.poly(got), np.poly(want), atol=1e-9)
    second = sorted(np.abs(want))[-2] if topology.n > 1 else 0.0
    assert abs(tp.second_eigenvalue(topology)) == pytest.approx(second, abs=1e-7)


def test_second_eigenvalue_of_large_graphs(monkeypatch):
    cases = [tp.random_directed(300), tp.random_regular(300), tp.path(40), tp.ring(60)]
    want = [abs(tp.second_eigenvalue(topology)) for topology in cases]
    monkeypatch.setattr(quantities, "DENSE", 30)
    for topology, value in zip(cases, want, strict=True):
        assert abs(tp.second_eigenvalue(topology)) == pytest.approx(value, abs=1e-8), topology.name


@pytest.mark.parametrize("large", [False, True])
def test_perron_vectors(monkeypatch, large):
    if large:
        monkeypatch.setattr(quantities, "DENSE", 3)
    rows, columns = random_digraph(weights=tp.uniform_neighbour()), random_digraph()
    for topology, flip in ((rows, False), (columns, True)):
        left, right = tp.perron_vectors(topology)
        W = topology.dense()
        np.testing.assert_allclose(left @ W, left, atol=1e-12)
        np.testing.assert_allclose(W @ right, right, atol=1e-12)
        assert left.sum() == pytest.approx(1) and right.sum() == pytest.approx(1)
        assert (left > 0).all() and (right > 0).all()
        limit = np.linalg.matrix_power(W, 400)  # of rank one: right leftᵀ, scaled
        want = np.outer(right, left) * len(W)
        np.testing.assert_allclose(limit, want, atol=1e-12)
        assert np.ptp(right if flip else left) > 0.01
    star = tp.star(6, weights=tp.uniform_neighbour())
    np.testing.assert_allclose(tp.perron_vectors(star)[0], np.array([6, 2, 2, 2, 2, 2]) / 16, atol=1e-12)


def brute_mixing_time(topology, epsilon):
    W, power, t = topology.dense(), np.eye(topology.n), 0
    values, vectors = np.linalg.eig(W.T)
    pi = np.real(vectors[:, np.argmax(values.real)])
    pi /= pi.sum()
    while 0.5 * np.abs(power - pi).sum(axis=1).max() > epsilon:
        power, t = power @ W, t + 1
    return t


@every_graph
@pytest.mark.parametrize("epsilon", [0.25, 0.01])
def test_mixing_time(name, epsilon):
    assert tp.mixing_time(GRAPHS[name], epsilon) == brute_mixing_time(GRAPHS[name], epsilon)


def test_mixing_time_needs_a_walk_that_mixes():
    swap = tp.from_matrix(np.array([[0.0, 1.0], [1.0, 0.0]]))
    with pytest.raises(ValueError, match="has period 2 and never mixes"):
        tp.mixing_time(swap)
    three = tp.from_matrix(np.roll(np.eye(6), 1, axis=1) * 0.5 + np.roll(np.eye(6), 4, axis=1) * 0.5)
    with pytest.raises(ValueError, match="has period 3"):
        tp.mixing_time(three)
    with pytest.raises(ValueError, match="needs a topology that is row stochastic"):
        tp.mixing_time(random_digraph())
    with pytest.raises(ValueError, match="needs a fixed topology"):
        tp.mixing_time(tp.one_peer_exponential(5))
    with pytest.raises(ValueError, match=r"epsilon must be in \(0, 1\), got 1"):
        tp.mixing_time(tp.ring(4), 1)


def series(topology, decay, terms=4000):
    """The definition: variances of the walk, with all its noises, averaged over a period of the cycle."""
    n, L = topology.n, topology.period
    totals = []
    for end in range(L):  # the last matrix applied is number `end`
        product, total = np.eye(n), 0.0
        for k in range(terms):
            product = product @ topology.dense((end - k) % L)
            total += decay**k * np.sum(product**2) / n
        totals.append(total)
    return 1 / (1 - decay) / np.mean(totals)


@pytest.mark.parametrize("decay", [0.5, 0.95])
@pytest.mark.parametrize(
    "topology",
    [
        tp.ring(9), tp.star(7), tp.erdos_renyi(12, seed=1), tp.static_exponential(12), tp.complete(5),
        tp.one_peer_exponential(6), tp.base_graph(5), tp.directed_ring(5), tp.b_connected(7, window=3),
        tp.random_directed(8, weights=tp.sinkhorn()), tp.ring(1),
    ],
    ids=lambda topology: topology.name,
)  # fmt: skip
def test_effective_neighbours_is_its_series(topology, decay):
    value = tp.effective_neighbours(topology, decay)
    assert value == pytest.approx(series(topology, decay, 60 if decay == 0.5 else 700), rel=1e-9)
    assert 1 - 1e-9 <= value <= topology.n + 1e-9


def test_effective_neighbours_of_nothing_and_everything():
    alone = tp.from_matrix(np.eye(6), allow_disconnected=True)
    assert tp.effective_neighbours(alone, 0.9) == pytest.approx(1)
    assert tp.effective_neighbours(tp.complete(6), 0.9) == pytest.approx(6)
    assert tp.effective_neighbours(tp.ring(6), 1 - 1e-9) == pytest.approx(6, rel=1e-6)
    with pytest.raises(ValueError, match="needs a fixed or cyclic, doubly stochastic"):
        tp.effective_neighbours(random_digraph())
    with pytest.raises(ValueError, match="decay must be in"):
        tp.effective_neighbours(tp.ring(6), 1.0)


def test_effective_neighbours_in_a_simulated_walk():
    rng, topology, decay = np.random.default_rng(0), tp.star(8), 0.8
    W, walks, burn, rounds = topology.dense(), 4000, 60, 20
    x, total = np.zeros((8, walks)), []
    for t in range(burn + rounds):
        x = W @ (np.sqrt(decay) * x + rng.normal(size=x.shape))
        if t >= burn:
            total.append(np.mean(x**2, axis=0))
    by_walk = np.mean(total, axis=0)
    error = 5 * by_walk.std() / np.sqrt(walks)
    want = 1 / (1 - decay) / tp.effective_neighbours(topology, decay)
    assert by_walk.mean() == pytest.approx(want, abs=error) and error < 0.05 * want


def test_neighbourhood_heterogeneity():
    g = np.random.default_rng(0).normal(size=(9, 4))
    W, mean = GRAPHS["ring"].dense(), g.mean(axis=0)
    want = np.mean([np.sum((sum(W[i, j] * g[j] for j in range(9)) - mean) ** 2) for i in range(9)])
    assert tp.neighbourhood_heterogeneity(GRAPHS["ring"], g) == pytest.approx(want, rel=1e-12)
    assert tp.neighbourhood_heterogeneity(tp.complete(9), g) == pytest.approx(0, abs=1e-28)
    alone = tp.from_matrix(np.eye(9), allow_disconnected=True)
    zeta2 = np.mean(np.sum((g - mean) ** 2, axis=1))
    assert tp.neighbourhood_heterogeneity(alone, g) == pytest.approx(zeta2)
    # Two classes around a ring, one each in turn: every neighbourhood sees both, so W undoes most of it.
    turns = np.where(np.arange(12) % 2, 1.0, -1.0)[:, None]
    halves = np.where(np.arange(12) < 6, 1.0, -1.0)[:, None]
    ring = tp.ring(12)
    assert (
        tp.neighbourhood_heterogeneity(ring, turns) < 0.2 < 0.6 < tp.neighbourhood_heterogeneity(ring, halves)
    )
    with pytest.raises(ValueError, match=r"gradients must be \[n, d\] with n = 9, got shape \(4, 9\)"):
        tp.neighbourhood_heterogeneity(GRAPHS["ring"], g.T)


def test_windows():
    assert tp.connectivity_window(tp.ring(5)) == 1
    assert tp.connectivity_window(tp.one_peer_exponential(8)) == 3  # shifts by 2 and 4 are not enough
    halves = tp.b_connected(6, window=3, seed=1)
    for window in (1, 2, 3, 4):
        by_hand = all(
            nx.is_connected(nx.from_numpy_array(sum(halves.dense(s + t) for t in range(window))))
            for s in range(3)
        )
        assert tp.is_jointly_connected(halves, window) == by_hand
        assert by_hand == (window >= tp.connectivity_window(halves))
    parts = tp.from_matrix([np.eye(3), np.eye(3)], allow_disconnected=True)
    assert tp.connectivity_window(parts) is None
    with pytest.raises(ValueError, match="the rounds of 'random_matching' are random"):
        tp.connectivity_window(tp.random_matching(6))
    with pytest.raises(ValueError, match="window must be at least 1, got 0"):
        tp.is_jointly_connected(tp.ring(3), 0)


@pytest.mark.parametrize("n", [3, 6, 17])
def test_chis_in_closed_form(n):
    """For uniform edge probabilities; Nabli and Oyallon's quantities on four families."""
    closed = {
        tp.complete: ((n - 1) / 2, (n - 1) / 2),
        tp.star: (n - 1, (n - 1) / 2),
        tp.ring: (n / (2 - 2 * np.cos(2 * np.pi / n)), (n - 1) / 2),
        tp.path: ((n - 1) / (2 - 2 * np.cos(np.pi / n)), (n - 1) / 2),
    }
    for factory, (one, two) in closed.items():
        assert tp.chi1(factory(n)) == pytest.approx(one, rel=1e-10), factory.__name__
        assert tp.chi2(factory(n)) == pytest.approx(two, rel=1e-10), factory.__name__


def test_chis_with_rates_and_at_scale(monkeypatch):
    from dlax.topology.spectra import resistance

    topology = tp.erdos_renyi(14, seed=4)
    m = len(topology.edges) // 2
    rates = np.random.default_rng(0).uniform(0.5, 2, size=m)
    one, two = tp.chi1(topology, rates), tp.chi2(topology, rates)
    assert tp.chi1(topology, 3 * rates) == pytest.approx(one / 3)
    i, j = topology.edges[topology.edges[:, 0] < topology.edges[:, 1]].T
    L = sum(r * np.outer(b, b) for r, b in zip(rates, np.eye(14)[i] - np.eye(14)[j], strict=True))
    np.testing.assert_allclose(tp.laplacian_matrix(topology, rates).toarray(), L, atol=1e-14)
    assert one == pytest.approx(1 / np.linalg.eigvalsh(L)[1]) and two <= one
    monkeypatch.setattr(resistance, "DENSE", 5)
    assert tp.chi1(topology, rates) == pytest.approx(one, rel=1e-9)
    assert tp.chi2(topology, rates) == pytest.approx(two, rel=1e-9)


def test_effective_resistance():
    topology = tp.erdos_renyi(12, seed=1)
    R = tp.effective_resistance(topology)
    for u, v in ((0, 1), (3, 9), (5, 11)):
        assert R[u, v] == pytest.approx(nx.resistance_distance(topology.graph(), u, v), rel=1e-10)
    np.testing.assert_allclose(tp.effective_resistance(tp.path(5))[0], [0, 1, 2, 3, 4], atol=1e-12)
    assert tp.effective_resistance(tp.path(3), [2.0, 4.0])[0, 2] == pytest.approx(0.75)
    with pytest.raises(ValueError, match="needs an undirected topology"):
        tp.effective_resistance(tp.directed_ring(4))
    parts = tp.from_networkx(nx.empty_graph(3), allow_disconnected=True)
    with pytest.raises(ValueError, match="is not connected"):
        tp.chi1(parts)
    with pytest.raises(ValueError, match=r"rates must be \[m\] with m = 4 edges"):
        tp.laplacian_matrix(tp.path(5), [1.0])
    with pytest.raises(ValueError, match="finite and not negative"):
        tp.laplacian_matrix(tp.path(2), [-1.0])
