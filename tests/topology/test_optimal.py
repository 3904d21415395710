"""Optimised weights and rates: closed forms, certificates, and the figures of the notes they come from."""

import builtins

import networkx as nx
import numpy as np
import pytest

from dlax import topology as tp
from dlax.topology.matrix import off_diagonal

pytest.importorskip("cvxpy")


def links(topology):
    """The adjacency without loops."""
    A = off_diagonal(topology.matrices[0])
    A.data[:] = 1.0
    return A


@pytest.mark.parametrize(
    "topology", [tp.ring(8), tp.hypercube(8), tp.complete(5), tp.star(6)], ids=lambda t: t.name
)
def test_fdla_is_the_best_constant_where_all_edges_are_alike(topology):
    found = tp.spectral_gap(tp.fdla()(links(topology)))
    assert found == pytest.approx(tp.spectral_gap(tp.best_constant()(links(topology))), abs=1e-6)


@pytest.mark.parametrize("seed", [0, 1])
def test_optimised_weights_beat_the_rules(seed):
    graph = tp.erdos_renyi(12, p=0.35, seed=seed)
    rules = [
        "fdla",
        "fastest_mixing",
        "best_constant",
        "metropolis",
        "lazy_metropolis",
        "max_degree",
        "sinkhorn",
    ]
    gap = {name: tp.spectral_gap(tp.WEIGHTS[name]()(links(graph))) for name in rules}
    assert gap["fdla"] >= max(gap.values()) - 1e-9
    assert gap["fastest_mixing"] >= max(gap[rule] for rule in ("metropolis", "max_degree", "sinkhorn")) - 1e-9
    assert gap["fdla"] > gap["best_constant"] + 0.01


@pytest.mark.parametrize("name", ["fdla", "fastest_mixing"])
def test_no_small_change_improves_the_optimum(name):
    """The programme is convex, so a local optimum is global: try many feasible directions."""
    A = links(tp.lollipop(9))
    W = tp.WEIGHTS[name]()(A).toarray()
    best = np.linalg.norm(W - 1 / 9, 2)
    i, j = np.nonzero(np.triu(A.toarray()))
    rng = np.random.default_rng(0)
    for _ in range(3000):
        change = rng.normal(size=len(i)) * 10 ** rng.uniform(-5, -1)
        V = W.copy()
        V[i, j] += change
        V[j, i] += change
        np.fill_diagonal(V, 0)
        np.fill_diagonal(V, 1 - V.sum(axis=1))
        if name == "fdla" or V.min() >= 0:
            assert np.linalg.norm(V - 1 / 9, 2) >= best - 1e-7


@pytest.mark.parametrize("name", ["fdla", "fastest_mixing"])
def test_what_they_return(name):
    A = links(tp.barbell(10))
    W = tp.WEIGHTS[name]()(A)
    assert abs(W - W.T).max() == 0 and np.abs(W.sum(axis=1) - 1).max() < 1e-12
    outside = (W.toarray() != 0) & (A.toarray() == 0) & ~np.eye(10, dtype=bool)
    assert not outside.any()
    assert (W.data.min() < 0) == (name == "fdla")  # cliques of a barbell want to overshoot
    assert tp.barbell(10, weights=tp.WEIGHTS[name]()).is_doubly_stochastic
    assert tp.path(1, weights=tp.WEIGHTS[name]()).dense() == [[1.0]]
    np.testing.assert_allclose(tp.path(2, weights=tp.WEIGHTS[name]()).dense(), 0.5, atol=1e-8)
    with pytest.raises(ValueError, match=f"{name} weights need an undirected graph"):
        tp.directed_ring(4, weights=tp.WEIGHTS[name]())
    with pytest.raises(ValueError, match=f"{name}: .* at most .* got 2000"):
        tp.ring(2000, weights=tp.WEIGHTS[name]())


def test_without_cvxpy_the_error_names_the_extra(monkeypatch):
    real = builtins.__import__

    def refuse(name, *rest, **named):
        if name.split(".")[0] == "cvxpy":
            raise ImportError("No module named 'cvxpy'")
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match=r'pip install "dlax\[theory\]"'):
        tp.ring(5, weights=tp.fdla())


FIGURES = [
    (nx.barbell_graph(10, 0), 221, 43),
    (nx.lollipop_graph(12, 8), 328, 84),
    (nx.convert_node_labels_to_integers(nx.grid_2d_graph(5, 5)), 54.1, 50.4),
    (nx.path_graph(20), None, None),
    (nx.cycle_graph(20), None, None),
]


@pytest.mark.parametrize(
    ("graph", "uniform", "optimal"), FIGURES, ids=["barbell", "lollipop", "grid", "path", "ring"]
)
def test_edge_rates(graph, uniform, optimal):
    """The totals that a first-order solver found before; on path and ring nothing is to be gained."""
    topology = tp.from_networkx(graph)
    start, found = tp.uniform_rates(topology), tp.edge_rates(topology)
    for rates in (start, found):
        assert 2 * rates.chi1 * rates.chi2 == pytest.approx(1, abs=1e-9)
        assert rates.total == pytest.approx(rates.rates.sum()) and (rates.rates >= 0).all()
        assert tp.chi1(topology, rates.rates) == pytest.approx(rates.chi1)
        assert tp.chi2(topology, rates.rates) == pytest.approx(rates.chi2)
    if uniform is None:
        assert found.total == pytest.approx(start.total, rel=1e-6)
    else:
        assert start.total == pytest.approx(uniform, rel=3e-3)
        assert found.total == pytest.approx(optimal, rel=1e-2)


def test_no_other_rates_are_cheaper():
    topology = tp.lollipop(7)
    best = tp.edge_rates(topology)
    rng = np.random.default_rng(0)
    for _ in range(1000):
        p = best.rates * np.exp(rng.normal(size=len(best.rates)) * 10 ** rng.uniform(-4, 0))
        scale = np.sqrt(2 * tp.chi1(topology, p) * tp.chi2(topology, p))  # brings p to 2 χ₁ χ₂ = 1
        assert p.sum() * scale >= best.total * (1 - 1e-7)


def test_edge_rates_refuse():
    with pytest.raises(ValueError, match="'directed_ring' is directed"):
        tp.edge_rates(tp.directed_ring(4))
    with pytest.raises(ValueError, match="must be connected and have an edge"):
        tp.edge_rates(tp.ring(1))


def test_matcha_s_programmes():
    first = nx.laplacian_matrix(nx.from_edgelist([(0, 1), (2, 3)]), nodelist=range(4)).toarray().astype(float)
    second = nx.laplacian_matrix(nx.Graph([(1, 2), (0, 3)]), nodelist=range(4)).toarray().astype(float)
    p = tp.activation_probabilities([first, second], 0.5)
    np.testing.assert_allclose(p, [0.5, 0.5], atol=1e-6)  # the square's two matchings are alike
    np.testing.assert_array_equal(tp.activation_probabilities([first, second], 1.0), [1.0, 1.0])
    alpha, squared = tp.best_mixing([first, second], np.ones(2))
    assert alpha == pytest.approx(2 / (2 + 4)) and squared == pytest.approx((2 / 6) ** 2)
    J = np.full((4, 4), 0.25)

    def square(alpha):
        W = [np.eye(4) - alpha * (a * first + b * second) for a in (0, 1) for b in (0, 1)]
        return np.linalg.norm(sum(V.T @ V for V in W) / 4 - J, 2)

    alpha, squared = tp.best_mixing([first, second], np.full(2, 0.5))
    assert squared == pytest.approx(square(alpha), abs=1e-10)
    assert all(square(other) >= squared - 1e-9 for other in np.linspace(0.01, 1, 50))
    with pytest.raises(ValueError, match=r"budget must be in \(0, 1\], got 0"):
        tp.activation_probabilities([first], 0.0)
