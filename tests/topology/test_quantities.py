"""Graph quantities against their definitions, computed the slow way, and against closed forms."""

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp

from dlax import topology as tp
from dlax.topology.spectra import quantities, resistance

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
    assert (np.diff(got if topology.is_symmetric else np.abs(got)) <= 1e-12).all()
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
    with pytest.raises(ValueError, match="needs a topology that is doubly stochastic"):
        tp.effective_neighbours(random_digraph())
    with pytest.raises(ValueError, match="needs a fixed or cyclic topology, and random_matching is drawn"):
        tp.effective_neighbours(tp.random_matching(6), 0.9)
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
    with pytest.raises(ValueError, match="needs a fixed or cyclic topology, and random_matching is drawn"):
        tp.connectivity_window(tp.random_matching(6))
    for window in (0, -1, 1.5, "2"):
        with pytest.raises(ValueError, match="window must be an integer of at least 1, got"):
            tp.is_jointly_connected(tp.ring(3), window)


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
    with pytest.raises(ValueError, match=r"directed_ring is directed: .* need an undirected graph"):
        tp.effective_resistance(tp.directed_ring(4))
    parts = tp.from_networkx(nx.empty_graph(3), allow_disconnected=True)
    for quantity in (tp.chi1, tp.chi2, tp.effective_resistance):
        with pytest.raises(
            ValueError, match=f"^{quantity.__name__}: needs a connected graph, and .* has 3 comp"
        ):
            quantity(parts)
        with pytest.raises(ValueError, match="has 2 components by edges of positive rate"):
            quantity(tp.path(3), [1.0, 0.0])
        with pytest.raises(
            ValueError, match=r"rates must be \[m\] for its m = 4 undirected edges, got .*\(1,\)"
        ):
            quantity(tp.path(5), [1.0])
        for bad in (-1.0, np.nan, np.inf):
            with pytest.raises(ValueError, match=rf"finite and at least 0, got rates\[0\] = {bad}"):
                quantity(tp.path(2), [bad])


def test_edges_are_listed_as_the_topology_does():
    topology = tp.erdos_renyi(14, seed=4)
    edges = tp.edge_list(topology)
    np.testing.assert_array_equal(edges, topology.edges[topology.edges[:, 0] < topology.edges[:, 1]])
    A = nx.to_numpy_array(topology.graph())
    for adjacency in (A, sp.csr_array(A), 3.5 * A + np.eye(14)):
        np.testing.assert_array_equal(tp.edge_list(adjacency), edges)
        np.testing.assert_array_equal(
            tp.laplacian_matrix(adjacency).toarray(), nx.laplacian_matrix(topology.graph()).toarray()
        )
    assert tp.edge_list(tp.ring(1)).shape == (0, 2) and tp.laplacian_matrix(tp.ring(1)).toarray() == [[0.0]]
    with pytest.raises(ValueError, match="the graph is directed"):
        tp.edge_list(np.array([[0, 1], [0, 0]]))
    with pytest.raises(ValueError, match="must be square"):
        tp.edge_list(np.ones((2, 3)))


def test_effective_resistance_with_rates():
    """Against the voltage that drives a unit current from one node to another."""
    topology = tp.lollipop(9)
    edges = tp.edge_list(topology)
    rates = np.random.default_rng(1).uniform(0.1, 10, size=len(edges))
    L = np.zeros((9, 9))
    for (i, j), rate in zip(edges, rates, strict=True):
        L[[i, j], [i, j]] += rate
        L[[i, j], [j, i]] -= rate
    R = tp.effective_resistance(topology, rates)
    for i in range(9):
        for j in range(9):
            voltage = np.linalg.lstsq(L, np.eye(9)[i] - np.eye(9)[j], rcond=None)[0]
            assert R[i, j] == pytest.approx(voltage[i] - voltage[j], abs=1e-11)
    kirchhoff = 9 * np.sum(1 / np.linalg.eigvalsh(L)[1:])
    assert R.sum() / 2 == pytest.approx(kirchhoff, rel=1e-10)
    np.testing.assert_allclose(tp.effective_resistance(topology, 1e6 * rates), R / 1e6, rtol=1e-9)
    assert (rates * R[tuple(edges.T)]).sum() == pytest.approx(8, rel=1e-12)  # Foster: n - 1
    assert tp.effective_resistance(tp.ring(1)).tolist() == [[0.0]]
    with pytest.raises(ValueError, match="takes at most 2,000 nodes, and ring has 3,000"):
        tp.effective_resistance(tp.ring(3_000))


def test_chis_of_large_graphs(monkeypatch):
    """Fourier transform, leaves, and the factorised Laplacian; all against the dense way."""
    cases = [
        tp.ring(40), tp.torus(36), tp.random_regular(60), tp.barabasi_albert(50), tp.binary_tree(31),
        tp.lollipop(20), tp.star(30), tp.path(25), tp.grid(300, rows=2), tp.complete(12),
    ]  # fmt: skip
    want = []
    for topology in cases:
        L = tp.laplacian_matrix(topology).toarray() / len(tp.edge_list(topology))
        i, j = tp.edge_list(topology).T
        inverse = np.linalg.pinv(L, rcond=1e-9, hermitian=True)  # by default rounding passes for a conductor
        two = max(inverse[a, a] + inverse[b, b] - 2 * inverse[a, b] for a, b in zip(i, j, strict=True)) / 2
        want.append((1 / np.linalg.eigvalsh(L)[1], two))
        assert (tp.chi1(topology), tp.chi2(topology)) == pytest.approx(want[-1], rel=1e-9), topology.name
    monkeypatch.setattr(resistance, "DENSE", 5)
    for topology, values in zip(cases, want, strict=True):
        assert (tp.chi1(topology), tp.chi2(topology)) == pytest.approx(values, rel=1e-9), topology.name
    rates = np.linspace(1, 2, 29)  # the weakest edge of a star is a leaf's
    assert tp.chi2(tp.star(30), rates) == pytest.approx(0.5, rel=1e-12)
    monkeypatch.setattr(resistance, "_WORK", 1e3)
    with pytest.raises(ValueError, match=r"chi2: random_regular has 60 nodes and its Laplacian .* too many"):
        tp.chi2(tp.random_regular(60))


def test_chis_at_scale():
    n = 100_000
    assert tp.chi1(tp.ring(n)) == pytest.approx(n / (4 * np.sin(np.pi / n) ** 2), rel=1e-6)
    assert tp.chi2(tp.ring(n)) == pytest.approx((n - 1) / 2, rel=1e-6)
    assert tp.chi1(tp.star(n)) == pytest.approx(n - 1, rel=1e-8)
    assert tp.chi2(tp.barabasi_albert(20_000, m=1)) == pytest.approx(19_999 / 2, rel=1e-12)
    assert tp.chi1(tp.ring(1)) == tp.chi2(tp.ring(1)) == 0.0


def test_chi2_counts_edges_of_rate_zero():
    """A triangle without one side: its two ends are two resistors apart."""
    assert tp.chi2(tp.ring(3), [1.0, 1.0, 0.0]) == pytest.approx(1.0)


def test_second_eigenvalue():
    """Above the real axis, of a pair; negative where the least eigenvalue is the larger in modulus."""
    n = 7
    turn = np.exp(2j * np.pi / n)
    assert tp.second_eigenvalue(tp.directed_ring(n)) == pytest.approx((1 + turn) / 2, abs=1e-12)
    rng = np.random.default_rng(0)
    order = rng.permutation(n)  # not circulant any more
    shuffled = tp.from_matrix(tp.directed_ring(n).dense()[np.ix_(order, order)])
    assert tp.second_eigenvalue(shuffled) == pytest.approx((1 + turn) / 2, abs=1e-12)
    swap = tp.from_matrix(np.array([[0.1, 0.9], [0.9, 0.1]]))
    assert tp.second_eigenvalue(swap) == pytest.approx(-0.8)
    assert tp.second_eigenvalue(tp.from_matrix(np.eye(4), allow_disconnected=True)) == pytest.approx(1.0)
    with pytest.raises(ValueError, match=r"second_eigenvalue: needs a fixed topology, and .* is cyclic"):
        tp.second_eigenvalue(tp.one_peer_exponential(5))


def test_eigenvalues_at_any_size():
    values = tp.eigenvalues(tp.ring(10_000))
    np.testing.assert_allclose(
        values[:3], 1 - 2 / 3 * (1 - np.cos(2e-4 * np.pi * np.array([0, 1, 1]))), atol=1e-14
    )
    np.testing.assert_allclose(
        tp.eigenvalues(tp.one_peer_exponential(8), t=4), tp.eigenvalues(tp.one_peer_exponential(8), t=1)
    )
    with pytest.raises(ValueError, match=r"eigenvalues: takes at most 2,000 nodes .* and star has 2,001"):
        tp.eigenvalues(tp.star(2_001))


def test_perron_vectors_of_large_graphs(monkeypatch):
    """An undirected graph's stationary distribution is known: in proportion to 1 + degree."""
    for topology in (
        tp.barabasi_albert(5_000, weights=tp.uniform_neighbour()),
        tp.path(4_000, weights=tp.uniform_neighbour()),  # too slow to mix for ARPACK
    ):
        want = (1 + topology.degrees) / (1 + topology.degrees).sum()
        left, right = tp.perron_vectors(topology)
        np.testing.assert_allclose(left, want, rtol=1e-9)
        np.testing.assert_array_equal(right, 1 / topology.n)
    left, right = tp.perron_vectors(tp.torus(5_000))
    np.testing.assert_array_equal(left, right)


def test_perron_vectors_refuse():
    apart = tp.from_matrix(np.eye(3), allow_disconnected=True)
    with pytest.raises(
        ValueError, match="perron_vectors: needs a topology that is connected, and matrix is not"
    ):
        tp.perron_vectors(apart)
    with pytest.raises(ValueError, match="needs a topology that is nonnegative, and star is not"):
        tp.perron_vectors(tp.star(8, weights=tp.best_constant()))
    with pytest.raises(ValueError, match="needs a fixed topology, and random_matching is drawn"):
        tp.perron_vectors(tp.random_matching(6))


def test_mixing_time_of_slow_chains():
    """A chain of two states has (Wᵗ)₀₀ − ½ = ½ (1 − 2a)ᵗ, which says t at any speed."""
    for a in (1e-3, 1e-6, 1e-9):
        topology = tp.from_matrix(np.array([[1 - a, a], [a, 1 - a]]))
        want = np.ceil(np.log(2 * 0.25) / np.log1p(-2 * a))
        assert tp.mixing_time(topology) == pytest.approx(want, rel=1e-9, abs=0.5)
    assert tp.mixing_time(tp.path(2), 0.5) == 0 and tp.mixing_time(tp.complete(9), 0.1) == 1
    with pytest.raises(ValueError, match="does not mix in 2"):
        tp.mixing_time(tp.from_matrix(np.array([[1.0, 1e-20], [1e-20, 1.0]])))
    for topology, word in (
        (tp.from_matrix(np.eye(3), allow_disconnected=True), "connected"),
        (tp.star(8, weights=tp.best_constant()), "nonnegative"),
    ):
        with pytest.raises(ValueError, match=f"needs a topology that is {word}"):
            tp.mixing_time(topology)


def test_effective_neighbours_closed_form_and_limits():
    topology = tp.grid(30)
    eigenvalues = np.linalg.eigvalsh(topology.dense())
    want = 1 / (1 - 0.97) / np.mean(eigenvalues**2 / (1 - 0.97 * eigenvalues**2))
    assert tp.effective_neighbours(topology, 0.97) == pytest.approx(want, rel=1e-12)
    assert tp.effective_neighbours(tp.one_peer_exponential(16), 0.0) == pytest.approx(2)  # one round alone
    assert tp.effective_neighbours(tp.ring(50_000), 0.999) == pytest.approx(
        tp.effective_neighbours(tp.ring(2_001), 0.999), rel=1e-9
    )
    with pytest.raises(ValueError, match="takes at most 2,000 nodes where the matrices are not circulant"):
        tp.effective_neighbours(tp.star(2_001))
    for decay in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match=r"decay must be in \[0, 1\), got"):
            tp.effective_neighbours(tp.ring(6), decay)


def test_heterogeneity():
    g = np.random.default_rng(0).normal(size=(9, 4))
    plain = np.mean([np.sum((row - g.mean(axis=0)) ** 2) for row in g])
    assert tp.heterogeneity(g) == pytest.approx(plain, rel=1e-14)
    both = tp.cyclic(9, members=(tp.ring, tp.star))
    parts = [tp.neighbourhood_heterogeneity(member, g) for member in (tp.ring(9), tp.star(9))]
    assert tp.neighbourhood_heterogeneity(both, g) == pytest.approx(np.mean(parts), rel=1e-14)
    for topology in (tp.ring(9), tp.star(9), tp.static_exponential(9)):
        rho = 1 - topology.spectral_gap
        assert tp.neighbourhood_heterogeneity(topology, g) <= rho**2 * plain * (1 + 1e-12)
    with pytest.raises(ValueError, match="the matrices of random_matching are drawn in the run"):
        tp.neighbourhood_heterogeneity(tp.random_matching(9), g)
    with pytest.raises(ValueError, match="heterogeneity: gradients must be finite"):
        tp.heterogeneity(g * np.nan)
    for bad in (np.zeros(3), np.zeros((0, 2)), np.zeros((2, 2, 2))):
        with pytest.raises(ValueError, match=r"heterogeneity: gradients must be \[n, d\], got shape"):
            tp.heterogeneity(bad)
