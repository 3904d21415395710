"""Optimised weights and rates: closed forms, certificates, and the figures of the notes they come from."""

import itertools
import sys

import networkx as nx
import numpy as np
import pytest
from scipy.optimize import linprog

from dlax import topology as tp
from dlax.topology.matrix import off_diagonal

cp = pytest.importorskip("cvxpy")


def links(topology):
    """The adjacency without loops."""
    A = off_diagonal(topology.matrices[0])
    A.data[:] = 1.0
    return A


@pytest.mark.parametrize(
    "topology",
    [tp.ring(8), tp.ring(9), tp.hypercube(8), tp.complete(5), tp.star(6), tp.path(3)],
    ids=lambda t: f"{t.name}{t.n}",
)
def test_fdla_is_the_best_constant_where_all_edges_are_alike(topology):
    found = tp.spectral_gap(tp.fdla()(links(topology)))
    assert found == pytest.approx(tp.spectral_gap(tp.best_constant()(links(topology))), abs=1e-8)


@pytest.mark.parametrize("n", [3, 6, 11])
@pytest.mark.parametrize("name", ["fdla", "fastest_mixing"])
def test_half_on_every_edge_is_best_for_a_path(name, n):
    """Boyd, Diaconis, Sun, Xiao (2006) prove that no weights, of either sign, have ρ below cos(π/n)."""
    W = tp.WEIGHTS[name]()(links(tp.path(n)))
    assert tp.spectral_gap(W) == pytest.approx(1 - np.cos(np.pi / n), abs=1e-8)


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


def lower_bound(name, A):
    """The dual programme: no W whatever has a smaller ρ.

    For Y with ‖Y‖_* ≤ 1 and W = I − Σ w bbᵀ, ‖W − J‖₂ ≥ ⟨Y, W − J⟩ = ⟨Y, I − J⟩ − Σ w bᵀYb. Free w need bᵀYb = 0
    on every edge; with w ≥ 0 and Σ w ≤ 1 at every node, prices z ≥ 0 of the nodes pay for bᵀYb ≤ zᵢ + zⱼ.
    """
    n = A.shape[0]
    P, Q, z = cp.Variable((n, n), PSD=True), cp.Variable((n, n), PSD=True), cp.Variable(n, nonneg=True)
    Y = P - Q
    constraints = [cp.trace(P) + cp.trace(Q) <= 1]
    for i, j in np.argwhere(np.triu(A.toarray())):
        b = np.eye(n)[i] - np.eye(n)[j]
        cost = b @ Y @ b
        constraints.append(cost == 0 if name == "fdla" else cost <= z[i] + z[j])
    bound = cp.trace(Y @ (np.eye(n) - 1 / n)) - (0 if name == "fdla" else cp.sum(z))
    problem = cp.Problem(cp.Maximize(bound), constraints)
    problem.solve(solver=cp.CLARABEL)
    assert problem.status == "optimal"
    return problem.value


@pytest.mark.parametrize(
    "topology", [tp.lollipop(9), tp.erdos_renyi(10, seed=3), tp.grid(9)], ids=lambda t: t.name
)
@pytest.mark.parametrize("name", ["fdla", "fastest_mixing"])
def test_optimum_is_certified_by_its_dual(name, topology):
    A = links(topology)
    rho = np.linalg.norm(tp.WEIGHTS[name]()(A).toarray() - 1 / topology.n, 2)
    assert rho == pytest.approx(lower_bound(name, A), abs=1e-7)


def test_fdla_is_where_subgradients_lead():
    """Xiao and Boyd's other method, of plain NumPy: it comes down to the optimum and never below it."""
    topology = tp.lollipop(7)
    edges = tp.edge_list(topology)
    b = np.eye(7)[edges[:, 0]] - np.eye(7)[edges[:, 1]]
    best = np.linalg.norm(tp.fdla()(links(topology)).toarray() - 1 / 7, 2)
    w, least = np.full(len(edges), 0.1), np.inf
    for k in range(6_000):
        values, vectors = np.linalg.eigh(np.eye(7) - b.T @ (w[:, None] * b) - 1 / 7)
        place = int(np.argmax(np.abs(values)))
        least = min(least, abs(values[place]))
        slope = -np.sign(values[place]) * (b @ vectors[:, place]) ** 2
        w = w - 0.3 / np.sqrt(k + 1) * slope / np.linalg.norm(slope)
    assert best - 1e-9 <= least <= best + 2e-3


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
    with pytest.raises(ValueError, match=f"{name} weights .* at most 100 nodes, got 2000; use best_constant"):
        tp.ring(2000, weights=tp.WEIGHTS[name]())
    with pytest.raises(ValueError, match=f"{name} weights need a connected graph"):
        tp.from_networkx(nx.empty_graph(3), weights=tp.WEIGHTS[name](), allow_disconnected=True)


def test_edges_without_weight_are_gone():
    topology = tp.erdos_renyi(12, p=0.4, seed=3)
    fastest = tp.fastest_mixing()(links(topology))
    off = np.abs(off_diagonal(fastest).data)
    assert off.min() > 1e-8 and len(off) < len(topology.edges)
    assert fastest.data.min() >= 0 and np.abs(fastest.sum(axis=1) - 1).max() < 1e-12


@pytest.mark.parametrize(
    "use",
    [
        lambda: tp.ring(5, weights=tp.fdla()),
        lambda: tp.ring(5, weights=tp.fastest_mixing()),
        lambda: tp.edge_rates(tp.ring(5)),
        lambda: tp.activation_probabilities([np.array([[1.0, -1.0], [-1.0, 1.0]])] * 2, 0.5),
    ],
    ids=["fdla", "fastest_mixing", "edge_rates", "activation_probabilities"],
)
def test_without_cvxpy_the_error_names_the_extra(use, monkeypatch):
    monkeypatch.setitem(sys.modules, "cvxpy", None)  # which makes its import fail
    with pytest.raises(ValueError, match=r'needs cvxpy, .* pip install "dlax\[theory\]" brings it'):
        use()


def test_a_solver_that_fails_is_not_believed(monkeypatch):
    monkeypatch.setattr(cp.Problem, "status", property(lambda self: "user_limit"))
    with pytest.raises(ValueError, match=r"fdla: the solver did not reach an accuracy of 1e-5 .*user_limit"):
        tp.ring(5, weights=tp.fdla())


def most_of_rates(topology):
    """The dual programme of `edge_rates`: no rates whatever have a smaller total.

    For PSD Y₀ and Yₑ with bᵀ(Y₀ + Σ Yₑ)b ≤ 1 on every edge, and λ with 1/χ₁ = u, 1/(2 χ₂) = v, u v ≥ 1:
    Σ λ ≥ ⟨Y₀ + Σ Yₑ, Λ⟩ ≥ u ⟨Y₀, I − J⟩ + v Σ bᵀYₑb ≥ 2 √(⟨Y₀, I − J⟩ Σ bᵀYₑb).
    """
    n, edges = topology.n, tp.edge_list(topology)
    b = (np.eye(n)[edges[:, 0]] - np.eye(n)[edges[:, 1]])[:, 1:]
    first = cp.Variable((n - 1, n - 1), PSD=True)
    others = [cp.Variable((n - 1, n - 1), PSD=True) for _ in edges]
    total = first + sum(others)
    one = cp.trace(first @ (np.eye(n) - 1 / n)[1:, 1:])
    two = sum(row @ Y @ row for row, Y in zip(b, others, strict=True))
    problem = cp.Problem(
        cp.Maximize(2 * cp.geo_mean(cp.hstack([one, two]))), [row @ total @ row <= 1 for row in b]
    )
    problem.solve(solver=cp.CLARABEL)
    assert problem.status == "optimal"
    return problem.value


@pytest.mark.parametrize("topology", [tp.lollipop(6), tp.barbell(6), tp.grid(6)], ids=lambda t: t.name)
def test_edge_rates_are_certified_by_their_dual(topology):
    assert tp.edge_rates(topology).total == pytest.approx(most_of_rates(topology), rel=1e-6)


FIGURES = [
    pytest.param(nx.barbell_graph(10, 0), 221.328, 42.6456, marks=pytest.mark.slow, id="barbell 10 10"),
    pytest.param(nx.lollipop_graph(12, 8), 328.235, 84.3902, marks=pytest.mark.slow, id="lollipop 12 8"),
    pytest.param(nx.grid_2d_graph(5, 5), 54.109, 50.335, id="grid 5 5"),
    pytest.param(nx.path_graph(20), None, None, id="path 20"),
    pytest.param(nx.cycle_graph(20), None, None, id="ring 20"),
    pytest.param(nx.star_graph(8), None, None, id="star 9"),
    pytest.param(nx.complete_graph(6), None, None, id="complete 6"),
    pytest.param(nx.path_graph(2), None, None, id="two nodes"),
]


@pytest.mark.parametrize(("graph", "uniform", "optimal"), FIGURES)
def test_edge_rates(graph, uniform, optimal):
    """A first-order solver had found 43, 84 and 50.4 before; nothing is to be gained where edges are alike."""
    topology = tp.from_networkx(graph)
    start, found = tp.uniform_rates(topology), tp.edge_rates(topology)
    for rates in (start, found):
        assert 2 * rates.chi1 * rates.chi2 == pytest.approx(1, abs=1e-12)
        assert rates.total == pytest.approx(rates.rates.sum()) and (rates.rates >= 0).all()
        np.testing.assert_array_equal(rates.edges, tp.edge_list(topology))
        L = tp.laplacian_matrix(topology, rates.rates).toarray()
        inverse = np.linalg.pinv(L, rcond=1e-9, hermitian=True)
        i, j = rates.edges.T
        assert rates.chi1 == pytest.approx(1 / np.linalg.eigvalsh(L)[1])
        assert rates.chi2 == pytest.approx((inverse[i, i] + inverse[j, j] - 2 * inverse[i, j]).max() / 2)
    if uniform is None:
        assert found.total == pytest.approx(start.total, rel=1e-6) and found.total <= start.total
    else:
        assert start.total == pytest.approx(uniform, rel=1e-4)
        assert found.total == pytest.approx(optimal, rel=1e-4)


def test_no_other_rates_are_cheaper():
    topology = tp.lollipop(7)
    best = tp.edge_rates(topology)
    rng = np.random.default_rng(0)
    for _ in range(1000):
        p = best.rates * np.exp(rng.normal(size=len(best.rates)) * 10 ** rng.uniform(-4, 0))
        scale = np.sqrt(2 * tp.chi1(topology, p) * tp.chi2(topology, p))  # brings p to 2 χ₁ χ₂ = 1
        assert p.sum() * scale >= best.total * (1 - 1e-7)


def test_edge_rates_refuse():
    for rates in (tp.uniform_rates, tp.edge_rates):
        with pytest.raises(ValueError, match="directed_ring is directed"):
            rates(tp.directed_ring(4))
        with pytest.raises(ValueError, match="needs a graph with at least one edge"):
            rates(tp.ring(1))
        with pytest.raises(ValueError, match="needs a connected graph"):
            rates(np.kron(np.eye(2), np.ones((2, 2))))
    with pytest.raises(ValueError, match="at most 60 nodes and 200 edges, got 61 and 60; use uniform_rates"):
        tp.edge_rates(tp.path(61))
    with pytest.raises(ValueError, match="at most 60 nodes and 200 edges, got 21 and 210"):
        tp.edge_rates(tp.complete(21))
    np.testing.assert_array_equal(
        tp.uniform_rates(nx.to_numpy_array(nx.path_graph(5))).rates, tp.uniform_rates(tp.path(5)).rates
    )


def matchings(topology):
    """Laplacians of the matchings that a graph is split into."""
    found = []
    for part in tp.edge_matchings(topology.n, tp.edge_list(topology)):
        graph = nx.empty_graph(topology.n)
        graph.add_edges_from(part.tolist())
        found.append(nx.laplacian_matrix(graph).toarray().astype(float))
    return found


def cut(matrices, budget, rounds=80):
    """λ₂(Σ p L) is the least of the linear functions Σ p xᵀLx: add the x that bind until the bound is met."""
    n, M = len(matrices[0]), len(matrices)
    rng = np.random.default_rng(0)
    points = [x - x.mean() for x in rng.normal(size=(2 * n, n))]
    for _ in range(rounds):
        rows = np.array([[-x @ L @ x / (x @ x) for L in matrices] + [1.0] for x in points])
        solved = linprog(
            np.eye(M + 1)[-1] * -1,
            A_ub=np.vstack([rows, [1.0] * M + [0.0]]),
            b_ub=np.append(np.zeros(len(rows)), budget * M),
            bounds=[(0, 1)] * M + [(None, None)],
        )
        values, vectors = np.linalg.eigh(sum(p * L for p, L in zip(solved.x, matrices, strict=False)))
        points += [vectors[:, 1], vectors[:, 2]]
        if values[1] >= -solved.fun - 1e-9:
            break
    return -solved.fun, values[1]


@pytest.mark.parametrize("budget", [0.3, 0.6])
@pytest.mark.parametrize("topology", [tp.lollipop(8), tp.erdos_renyi(10, seed=2)], ids=lambda t: t.name)
def test_activation_probabilities_against_cutting_planes(topology, budget):
    matrices = matchings(topology)
    p = tp.activation_probabilities(matrices, budget)
    assert ((p >= 0) & (p <= 1)).all() and p.sum() <= budget * len(p) * (1 + 1e-15)
    found = np.linalg.eigvalsh(sum(q * L for q, L in zip(p, matrices, strict=True)))[1]
    above, below = cut(matrices, budget)
    assert below - 1e-8 <= found <= above + 1e-8 and above - below < 1e-6
    even = np.linalg.eigvalsh(sum(budget * L for L in matrices))[1]
    assert found >= even - 1e-9


@pytest.mark.parametrize("seed", range(3))
def test_best_mixing_by_enumeration(seed):
    """Over all subsets of the matchings, and no other α is better."""
    rng = np.random.default_rng(seed)
    matrices = matchings(tp.erdos_renyi(8, seed=seed))
    p = rng.uniform(0.2, 1.0, size=len(matrices))
    J = np.full((8, 8), 1 / 8)

    def square(alpha):
        total = -J
        for on in itertools.product((0, 1), repeat=len(matrices)):
            chance = np.prod(np.where(on, p, 1 - p))
            W = np.eye(8) - alpha * sum(b * L for b, L in zip(on, matrices, strict=True))
            total = total + chance * W.T @ W
        return np.linalg.norm(total, 2)

    alpha, squared = tp.best_mixing(matrices, p)
    assert squared == pytest.approx(square(alpha), abs=1e-12) and squared < 1
    for other in alpha * np.array([0.5, 0.9, 0.99, 0.999, 1.001, 1.01, 1.1, 2.0]):
        assert square(other) >= squared - 1e-12


@pytest.mark.parametrize("topology", [tp.path(6), tp.grid(9), tp.star(5)], ids=lambda t: t.name)
def test_the_whole_budget_is_the_best_constant(topology):
    matrices = matchings(topology)
    p = tp.activation_probabilities(matrices, 1.0)
    np.testing.assert_array_equal(p, 1.0)
    alpha, squared = tp.best_mixing(matrices, p)
    W = tp.best_constant()(links(topology))
    assert np.sqrt(squared) == pytest.approx(1 - tp.spectral_gap(W), abs=1e-12)
    assert alpha == pytest.approx(off_diagonal(W).data.max(), abs=1e-12)
    near = tp.best_mixing(matrices, p * (1 - 1e-9))[0]  # by search
    assert near == pytest.approx(alpha, abs=1e-6)


PAIR = np.array([[1.0, -1.0], [-1.0, 1.0]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tp.activation_probabilities([PAIR], 0.0), r"budget must be in \(0, 1\], got 0.0"),
        (lambda: tp.activation_probabilities([PAIR], float("nan")), r"budget must be in \(0, 1\], got nan"),
        (lambda: tp.activation_probabilities([], 0.5), "needs at least one Laplacian, got none"),
        (
            lambda: tp.activation_probabilities([PAIR, np.zeros((3, 3))], 0.5),
            r"same number of nodes, got \[2, 3\]",
        ),
        (lambda: tp.activation_probabilities([0 * PAIR], 0.5), "must be that of a connected graph"),
        (lambda: tp.activation_probabilities([-PAIR], 0.5), r"laplacians\[0\] is not a Laplacian"),
        (lambda: tp.activation_probabilities([PAIR, PAIR + np.eye(2)], 0.5), r"laplacians\[1\] is not a Lap"),
        (
            lambda: tp.activation_probabilities([nx.laplacian_matrix(nx.path_graph(101))], 0.5),
            "takes at most 100 nodes, got 101",
        ),
        (lambda: tp.best_mixing([PAIR], [0.5, 0.5]), r"probabilities must be \[M\] in \[0, 1\] with M = 1"),
        (lambda: tp.best_mixing([PAIR], [1.5]), r"probabilities must be \[M\] in \[0, 1\] with M = 1"),
        (lambda: tp.best_mixing([PAIR], [0.0]), "must connect two or more nodes"),
        (lambda: tp.best_mixing([np.zeros((1, 1))], [0.5]), "must connect two or more nodes"),
        (
            lambda: tp.best_mixing([nx.laplacian_matrix(nx.path_graph(3)).toarray()], [0.5]),
            r"laplacians\[0\] is not that of a matching",
        ),
    ],
)
def test_matcha_s_programmes_refuse(call, message):
    with pytest.raises(ValueError, match=message):
        call()
