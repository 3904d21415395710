"""Mixing weights against plain loops, and what must hold of them on every connected graph."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlax import topology as tp

SYMMETRIC = ["best_constant", "lazy_metropolis", "max_degree", "metropolis"]
ROWS = [*SYMMETRIC, "sinkhorn", "uniform_neighbour"]
LOCAL = [*ROWS, "push"]  # the others solve programmes (test_optimal.py), or need an option


def reference(name, graph):
    """The textbook formulas, an entry at a time."""
    n = len(graph)
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


def balanced(A, rounds=20_000):
    """Rows and columns divided by their sums in turn."""
    W = A.astype(float)
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
@pytest.mark.parametrize("name", LOCAL)
def test_weights_on_random_graphs(name, graph, data):
    topology = tp.from_networkx(graph, weights=tp.WEIGHTS[name]())
    W = topology.dense()
    if name != "sinkhorn":
        np.testing.assert_allclose(W, reference(name, graph), atol=1e-10)
    off = W - np.diag(np.diag(W))
    np.testing.assert_array_equal(off != 0, nx.to_numpy_array(graph) != 0)
    np.testing.assert_allclose(W.sum(axis=0 if name == "push" else 1), 1, atol=1e-12)
    assert topology.is_connected and not topology.is_directed
    if name in SYMMETRIC:
        np.testing.assert_allclose(W, W.T, atol=0 if name != "best_constant" else 1e-15)
        assert {"symmetric", "doubly stochastic"} <= topology.properties
        assert 0 < topology.spectral_gap <= 1
    if name == "sinkhorn":
        assert topology.is_symmetric and topology.is_doubly_stochastic
    if name == "lazy_metropolis":
        assert topology.least_eigenvalue >= -1e-12
    if name != "best_constant":
        assert (np.diag(W) > 0).all()

    order = data.draw(st.permutations(range(len(graph))))
    moved = nx.Graph()
    moved.add_nodes_from(order)  # node order[a] gets number a
    moved.add_edges_from(graph.edges)
    V = tp.from_networkx(moved, weights=tp.WEIGHTS[name]()).dense()
    np.testing.assert_allclose(V, W[np.ix_(order, order)], atol=1e-10)


@pytest.mark.parametrize("name", sorted({*LOCAL} - {"lazy_metropolis"}))
def test_all_rules_agree_on_the_complete_graph(name):
    topology = tp.from_networkx(nx.complete_graph(7), weights=tp.WEIGHTS[name]())
    np.testing.assert_allclose(topology.dense(), 1 / 7, atol=1e-14)
    assert topology.is_complete


@pytest.mark.parametrize("name", SYMMETRIC)
def test_symmetric_rules_refuse_directed_graphs(name):
    with pytest.raises(ValueError, match=f"{name} weights need an undirected graph.*uniform_neighbour"):
        tp.from_networkx(nx.cycle_graph(4, create_using=nx.DiGraph), weights=tp.WEIGHTS[name]())


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


@pytest.mark.parametrize("topology", [tp.random_regular(400), tp.path(60), tp.star(50)], ids=lambda t: t.name)
def test_best_constant_above_the_dense_limit(topology, monkeypatch):
    from dlax.topology.weights import local

    want = tp.from_networkx(topology.graph(), weights=tp.best_constant()).dense()
    monkeypatch.setattr(local, "DENSE", 20)
    got = tp.from_networkx(topology.graph(), weights=tp.best_constant()).dense()
    np.testing.assert_allclose(got, want, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_sinkhorn_balances_directed_graphs(seed):
    graph = tp.random_directed(12, degree=2, seed=seed)
    W = tp.from_networkx(graph.graph(), weights=tp.sinkhorn())
    A = (graph.dense() != 0).astype(float)
    np.testing.assert_allclose(W.dense(), balanced(A), atol=1e-9)
    assert W.is_doubly_stochastic and not W.is_symmetric and W.is_nonnegative
    np.testing.assert_allclose(W.dense().sum(axis=0), 1, atol=1e-11)


def test_sinkhorn_says_when_there_is_no_balance():
    arrow = nx.DiGraph([(0, 1), (1, 2)])  # not strongly connected: the arrows cannot keep weight
    with pytest.raises(ValueError, match="sinkhorn: the sums do not settle to 1e-12 in 200 rounds"):
        tp.from_networkx(arrow, weights=tp.sinkhorn(max_rounds=200), allow_disconnected=True)
    with pytest.raises(ValueError, match=r"tolerance must be in \[1e-15, 1e-9\], got 0.1"):
        tp.sinkhorn(tolerance=0.1)


def test_push_on_a_directed_graph():
    graph = nx.DiGraph([(0, 1), (1, 2), (2, 0), (0, 2)])  # u -> v: v hears u
    topology = tp.from_networkx(graph, weights=tp.push())
    want = [[1 / 3, 0, 1 / 2], [1 / 3, 1 / 2, 0], [1 / 3, 1 / 2, 1 / 2]]
    np.testing.assert_allclose(topology.dense(), want)
    assert "column stochastic" in topology.properties and "row stochastic" not in topology.properties
