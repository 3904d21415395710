"""Mixing weights against plain loops, and what must hold of them on every connected graph."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from dlax import topology as tp
from dlax.topology.spectra import extremes
from dlax.topology.weights import spectral

SYMMETRIC = ["best_constant", "lazy_metropolis", "max_degree", "metropolis"]
PLAIN = [*SYMMETRIC, "push", "sinkhorn", "uniform_neighbour"]  # fdla and fastest_mixing: test_optimal.py
OPTIONS = {"laplacian": {"step": 0.1}}


def reference(name, graph):
    """The textbook formulas, an entry at a time."""
    n = len(graph)
    if name == "sinkhorn":
        return balanced(nx.to_numpy_array(graph) + np.eye(n))
    W = np.zeros((n, n))
    degree = dict(graph.degree)
    eigenvalues = np.linalg.eigvalsh(nx.laplacian_matrix(graph).toarray().astype(float))
    for i in range(n):
        for j in graph[i]:
            W[i, j] = {
                "metropolis": 1 / (1 + max(degree[i], degree[j])),
                "max_degree": 1 / (1 + max(degree.values())),
                "lazy_metropolis": 0.5 / (1 + max(degree[i], degree[j])),
                "best_constant": 2 / (eigenvalues[1] + eigenvalues[-1]),
                "push": 1 / (1 + degree[j]),
                "uniform_neighbour": 1 / (1 + degree[i]),
            }[name]
        W[i, i] = 1 / (1 + degree[i]) if name == "push" else 1 - sum(W[i])
    return W


def balanced(W, rounds=2_000):
    """Rows and columns divided by their sums in turn."""
    for _ in range(rounds):
        W /= W.sum(axis=1, keepdims=True)
        W /= W.sum(axis=0, keepdims=True)
    return W


@st.composite
def connected_graphs(draw):
    """A random tree plus random edges, in random order of nodes."""
    n = draw(st.integers(2, 12))
    graph = nx.empty_graph(n)
    order = draw(st.permutations(range(n)))
    for i in range(1, n):
        graph.add_edge(order[i], order[draw(st.integers(0, i - 1))])
    pairs = st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)).filter(lambda pair: pair[0] != pair[1])
    graph.add_edges_from(draw(st.lists(pairs, max_size=20)))
    return graph


@settings(max_examples=40, deadline=None)
@given(graph=connected_graphs(), data=st.data())
@pytest.mark.parametrize("name", PLAIN)
def test_weights_on_random_graphs(name, graph, data):
    topology = tp.from_networkx(graph, weights=tp.WEIGHTS[name]())
    W = topology.dense()
    np.testing.assert_allclose(W, reference(name, graph), atol=1e-10)
    off = W - np.diag(np.diag(W))
    np.testing.assert_array_equal(off != 0, nx.to_numpy_array(graph) != 0)
    np.testing.assert_allclose(W.sum(axis=0 if name == "push" else 1), 1, atol=1e-12)
    assert topology.is_connected and not topology.is_directed
    if name in SYMMETRIC:
        np.testing.assert_array_equal(W, W.T)
        assert {"symmetric", "doubly stochastic"} <= topology.properties
        assert 0 < topology.spectral_gap <= 1
    if name == "sinkhorn":
        np.testing.assert_array_equal(W, W.T)
        assert topology.is_doubly_stochastic
    if name == "lazy_metropolis":
        assert topology.least_eigenvalue >= -1e-12
        plain = tp.from_networkx(graph, weights=tp.metropolis()).dense()
        assert topology.spectral_gap == pytest.approx((1 - np.linalg.eigvalsh(plain)[-2]) / 2, abs=1e-12)
    if name != "best_constant":
        assert (np.diag(W) > 0).all()

    order = data.draw(st.permutations(range(len(graph))))
    moved = nx.Graph()
    moved.add_nodes_from(order)  # node order[a] gets number a
    moved.add_edges_from(graph.edges)
    V = tp.from_networkx(moved, weights=tp.WEIGHTS[name]()).dense()
    np.testing.assert_allclose(V, W[np.ix_(order, order)], atol=1e-10)


@pytest.mark.parametrize("name", sorted({*tp.WEIGHTS} - {"lazy_metropolis", "laplacian"}))
def test_all_rules_agree_on_the_complete_graph(name):
    topology = tp.from_networkx(nx.complete_graph(7), weights=tp.WEIGHTS[name]())
    np.testing.assert_allclose(topology.dense(), 1 / 7, atol=1e-14)
    assert topology.is_complete


@pytest.mark.parametrize("name", sorted(tp.WEIGHTS))
def test_one_and_two_nodes(name):
    rule = tp.WEIGHTS[name](**OPTIONS.get(name, {}))
    assert tp.path(1, weights=rule).dense().tolist() == [[1.0]]
    own = {"laplacian": 0.9, "lazy_metropolis": 0.75}.get(name, 0.5)
    np.testing.assert_allclose(tp.path(2, weights=rule).dense(), [[own, 1 - own], [1 - own, own]], atol=1e-15)


@pytest.mark.parametrize("name", sorted({*tp.WEIGHTS} - {"push", "sinkhorn", "uniform_neighbour"}))
def test_symmetric_rules_refuse_directed_graphs(name):
    rule = tp.WEIGHTS[name](**OPTIONS.get(name, {}))
    with pytest.raises(ValueError, match=f"^{name} weights need an undirected graph.*uniform_neighbour"):
        tp.from_networkx(nx.cycle_graph(4, create_using=nx.DiGraph), weights=rule)


def test_uniform_neighbour_on_a_directed_graph():
    graph = nx.DiGraph([(0, 1), (1, 2), (2, 0), (0, 2)])  # u -> v: v hears u
    topology = tp.from_networkx(graph, weights=tp.uniform_neighbour())
    np.testing.assert_allclose(
        topology.dense(), [[1 / 2, 0, 1 / 2], [1 / 2, 1 / 2, 0], [1 / 3, 1 / 3, 1 / 3]]
    )
    assert topology.properties == {"row stochastic", "nonnegative", "connected", "fixed"}
    assert tp.ring(5, weights=tp.uniform_neighbour()).is_doubly_stochastic
    assert not tp.path(5, weights=tp.uniform_neighbour()).is_column_stochastic


@pytest.mark.parametrize("graph", [nx.star_graph(6), nx.path_graph(9), nx.petersen_graph()])
def test_best_constant_beats_every_other_step(graph):
    best = tp.from_networkx(graph, weights=tp.best_constant()).spectral_gap
    eigenvalues = np.linalg.eigvalsh(nx.laplacian_matrix(graph).toarray().astype(float))
    second, largest = eigenvalues[1], eigenvalues[-1]
    assert best == pytest.approx(1 - (largest - second) / (largest + second), abs=1e-10)
    for step in np.linspace(0.05, 0.99, 15) * 2 / largest:
        assert tp.from_networkx(graph, weights=tp.laplacian(step=step)).spectral_gap <= best + 1e-12


def test_best_constant_may_be_negative_at_a_hub_and_says_so():
    topology = tp.star(8, weights=tp.best_constant())
    assert topology.dense()[0, 0] < 0 and not topology.is_nonnegative
    assert "nonnegative" not in topology.properties and topology.is_doubly_stochastic


@pytest.mark.parametrize("step", [0.0, -0.1, float("nan"), float("inf")])
def test_step_must_be_positive(step):
    with pytest.raises(ValueError, match="step must be positive and finite"):
        tp.laplacian(step=step)


def test_step_must_contract():
    eigenvalue = 4.0  # of a ring of even size
    with pytest.raises(ValueError, match=r"step must be below 2/λ_max = 0\.5, got 0\.5"):
        tp.ring(8, weights=tp.laplacian(step=2 / eigenvalue))
    assert tp.ring(8, weights=tp.laplacian(step=0.49)).spectral_gap > 0
    assert tp.ring(7, weights=tp.laplacian(step=0.5)).spectral_gap > 0  # λ_max < 4
    with pytest.raises(ValueError, match="step must be below"):
        tp.torus(2_500, weights=tp.laplacian(step=0.26))  # above DENSE: by Lanczos


@pytest.mark.parametrize(
    "topology",
    [tp.random_regular(400), tp.path(60), tp.star(50), tp.barabasi_albert(200), tp.grid(100), tp.ring(51)],
    ids=lambda t: t.name,
)
@pytest.mark.parametrize("stalls", [False, True])
def test_best_constant_above_the_dense_limit(topology, stalls, monkeypatch):
    graph = topology.graph()
    want = tp.from_networkx(graph, weights=tp.best_constant()).dense()
    monkeypatch.setattr(spectral, "DENSE", 20)
    if stalls:
        monkeypatch.setattr(extremes, "_STEPS", 5)
    got = tp.from_networkx(graph, weights=tp.best_constant()).dense()
    np.testing.assert_allclose(got, want, atol=1e-12)


def test_best_constant_at_scale():
    """Eigenvalues of the star: 1 and n. The hub's self weight is then negative."""
    n = 30_000
    W = tp.star(n, weights=tp.best_constant()).matrices[0]
    assert W[1, 0] == pytest.approx(2 / (n + 1), rel=1e-12) and W[0, 0] < 0


@pytest.mark.parametrize("dense", [2_000, 3])
def test_best_constant_of_a_disconnected_graph_looks_at_its_parts(dense, monkeypatch):
    monkeypatch.setattr(spectral, "DENSE", dense)
    graph = nx.disjoint_union_all([nx.path_graph(5), nx.empty_graph(2), nx.complete_graph(4)])
    topology = tp.from_networkx(graph, weights=tp.best_constant(), allow_disconnected=True)
    least = 2 - 2 * np.cos(np.pi / 5)  # of the path; 4 is the largest, of the complete graph
    assert topology.dense()[0, 1] == pytest.approx(2 / (least + 4), rel=1e-12)
    empty = tp.from_networkx(nx.empty_graph(3), weights=tp.best_constant(), allow_disconnected=True)
    np.testing.assert_array_equal(empty.dense(), np.eye(3))


@pytest.mark.parametrize("seed", range(3))
def test_sinkhorn_balances_directed_graphs(seed):
    graph = tp.random_directed(12, degree=2, seed=seed)
    topology = tp.from_networkx(graph.graph(), weights=tp.sinkhorn())
    W, A = topology.dense(), (graph.dense() != 0).astype(float)
    np.testing.assert_allclose(W, balanced(A, 20_000), atol=1e-9)
    np.testing.assert_array_equal(W != 0, A != 0)
    assert topology.is_doubly_stochastic and not topology.is_symmetric and topology.is_nonnegative
    np.testing.assert_allclose(W.sum(axis=0), 1, atol=2e-12)
    np.testing.assert_allclose(W.sum(axis=1), 1, atol=1e-15)
    # A scaling of A: where two rows of A overlap, those of W are proportional.
    for i in range(12):
        for j in range(i):
            both = np.flatnonzero(A[i] * A[j])
            ratios = W[i, both] / W[j, both]
            np.testing.assert_allclose(ratios, ratios[:1].repeat(len(both)), rtol=1e-9)


def test_sinkhorn_says_when_there_is_no_balance():
    arrow = nx.DiGraph([(0, 1), (1, 0), (1, 2)])  # no cycle brings back what 2 hears
    with pytest.raises(ValueError, match="the edge from 1 to 2 lies on no cycle"):
        tp.from_networkx(arrow, weights=tp.sinkhorn(), allow_disconnected=True)
    apart = nx.DiGraph([(0, 1), (1, 0), (2, 3), (3, 4), (4, 2)])  # disconnected, but no edge leads out
    halves = tp.from_networkx(apart, weights=tp.sinkhorn(), allow_disconnected=True)
    np.testing.assert_allclose(halves.dense()[halves.dense() > 0], 0.5)
    with pytest.raises(
        ValueError, match=r"after max_iterations = 50 a column sum is still off by 0\.0.*raise"
    ):
        tp.path(40, weights=tp.sinkhorn(max_iterations=50))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance": 0.1}, r"tolerance must be in \[1e-15, 1e-9\], got 0.1"),
        ({"tolerance": 0.0}, r"tolerance must be in \[1e-15, 1e-9\], got 0.0"),
        ({"tolerance": float("nan")}, r"tolerance must be in \[1e-15, 1e-9\], got nan"),
        ({"max_iterations": 0}, "max_iterations must be at least 1, got 0"),
    ],
)
def test_sinkhorn_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        tp.sinkhorn(**options)


def test_push_on_a_directed_graph():
    graph = nx.DiGraph([(0, 1), (1, 2), (2, 0), (0, 2)])  # u -> v: v hears u
    topology = tp.from_networkx(graph, weights=tp.push())
    want = [[1 / 3, 0, 1 / 2], [1 / 3, 1 / 2, 0], [1 / 3, 1 / 2, 1 / 2]]
    np.testing.assert_allclose(topology.dense(), want)
    assert topology.properties == {"column stochastic", "nonnegative", "connected", "fixed"}
    mass = np.array([1.0, 2.0, 4.0])
    assert (topology.matrices[0] @ mass).sum() == pytest.approx(7.0, abs=1e-14)


@pytest.mark.parametrize(
    ("W", "options", "message"),
    [
        ([[1.0], [0.5, 0.5]], {}, "must be an .* matrix of real numbers, .* got list"),
        ([[np.inf, 0.0], [0.5, 0.5]], {}, r"must be finite, got W\[0, 0\] = inf"),
        (np.full((2, 2), np.nan), {}, r"must be finite, got W\[0, 0\] = nan"),
        (np.zeros((0, 0)), {}, r"must be square, .* got shape \(0, 0\)"),
        (np.ones((1, 1, 2, 2)) / 2, {}, "must be an .* matrix of real numbers, .* got ndarray"),
        (csr_array(np.ones((2, 3)) / 3), {}, r"must be square, .* got shape \(2, 3\)"),
        ([np.eye(2), None], {}, "must be an .* matrix of real numbers, .* got list"),
        (np.zeros((2, 2)), {}, "row 0 sums to 0"),
        (np.full((2, 2), 0.5 + 1e-8), {}, r"row 0 sums to 1\.00000002"),
        ([[2.0, -1.0], [-1.0, 2.0]], {"allow_column": True}, r"not be negative, got W\[0, 1\] = -1"),
        ([[0.5, 0.5], [0.5, np.nan]], {"allow_negative": True}, r"must be finite, got W\[1, 1\] = nan"),
        (
            [[[0.5, 0.5], [0.5, 0.5]], [[0.5, 1.0], [0.5, 0.0]]],
            {},
            "matrix 1: every row must sum to 1 .* pass allow_column=True",
        ),
        (
            [[[0.5, 0.5], [1.0, 0.0]], [[0.5, 1.0], [0.5, 0.0]]],
            {"allow_column": True},
            "matrix 0: every column must sum to 1",
        ),
        ([np.eye(2), np.eye(2)], {}, "not connected: 2 components"),
        (np.eye(2), {"order": "drawn"}, "order must be"),
    ],
)
def test_bad_matrices(W, options, message):
    with pytest.raises(ValueError, match=message):
        tp.from_matrix(W, name="mine", **options)


def test_matrices_within_the_tolerance_pass_as_they_are():
    W = np.full((2, 2), 0.5 + 2e-10)
    np.testing.assert_array_equal(tp.from_matrix(W).dense(), W)
