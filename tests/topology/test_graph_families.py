"""Grids, trees, cliques, communities, discs and one-way graphs: against networkx, brute force and their laws."""

from itertools import combinations

import networkx as nx
import numpy as np
import pytest

from dlax import topology as tp
from dlax.topology.graphs import digraphs, random
from dlax.topology.graphs.adjacency import graph_stream
from dlax.topology.matrix import components


def grid(rows, columns):
    """The grid with nodes numbered row by row."""
    return nx.convert_node_labels_to_integers(nx.grid_2d_graph(rows, columns), ordering="sorted")


SAME = {
    "grid 12": (tp.grid(12), grid(3, 4)),
    "grid 15 of 5 rows": (tp.grid(15, rows=5), grid(5, 3)),
    "grid 10 of 2 rows": (tp.grid(10), grid(2, 5)),
    "grid in one row": (tp.grid(7, rows=1), nx.path_graph(7)),
    "grid in one column": (tp.grid(7, rows=7), nx.path_graph(7)),
    **{f"binary tree {n}": (tp.binary_tree(n), nx.full_rary_tree(2, n)) for n in (2, 3, 6, 7, 12)},
    **{
        f"barbell {a} {b} {a}": (tp.barbell(2 * a + b, bridge=b), nx.barbell_graph(a, b))
        for a, b in ((2, 0), (2, 3), (4, 0), (5, 1), (6, 4))
    },
    "lollipop 9": (tp.lollipop(9), nx.lollipop_graph(5, 4)),
    "lollipop 8": (tp.lollipop(8), nx.lollipop_graph(4, 4)),
    "lollipop 9 with a tail of 2": (tp.lollipop(9, tail=2), nx.lollipop_graph(7, 2)),
    **{
        f"caveman {c} of {k}": (tp.caveman(c * k, cliques=c), nx.connected_caveman_graph(c, k))
        for c, k in ((2, 3), (2, 5), (3, 3), (4, 5), (7, 3))
    },
}


@pytest.mark.parametrize("case", SAME)
def test_edges_are_those_of_networkx(case):
    topology, graph = SAME[case]
    assert topology.n == len(graph)
    W = np.zeros((len(graph), len(graph)))
    for i, j in graph.edges:
        W[i, j] = W[j, i] = 1 / (1 + max(graph.degree[i], graph.degree[j]))
    W[np.diag_indices_from(W)] = 1 - W.sum(axis=1)
    np.testing.assert_allclose(topology.dense(), W, atol=1e-15)


@pytest.mark.parametrize(("n", "bridge"), [(1, 0), (2, 0), (3, 0), (3, 1), (9, 0), (9, 1), (10, 3), (7, 5)])
def test_barbell_splits_evenly(n, bridge):
    left, right = (n - bridge + 1) // 2, (n - bridge) // 2
    edges = set(combinations(range(left), 2)) | set(combinations(range(n - right, n), 2))
    edges |= {(i, i + 1) for i in range(left - 1, left + bridge) if i + 1 < n}
    topology = tp.barbell(n, bridge=bridge)
    assert {(i, j) for i, j in topology.edges.tolist() if i < j} == edges
    assert len(topology.edges) == 2 * len(edges)


def test_default_cliques_of_a_caveman():
    for n in (6, 8, 12, 16, 18, 20, 36, 70):
        nearest = min((c for c in range(1, n + 1) if n % c == 0), key=lambda c: abs(c - np.sqrt(n)))
        np.testing.assert_array_equal(tp.caveman(n).dense(), tp.caveman(n, cliques=nearest).dense())
        assert len(tp.caveman(n).edges) == n * (n // nearest - 1)


@pytest.mark.parametrize(
    "name", ["barbell", "binary_tree", "caveman", "grid", "lollipop", "random_geometric"]
)
@pytest.mark.parametrize("rule", ["best_constant", "max_degree", "metropolis", "push", "uniform_neighbour"])
def test_any_rule_may_weigh_them(name, rule):
    plain, topology = getattr(tp, name)(12), getattr(tp, name)(12, weights=tp.WEIGHTS[rule]())
    np.testing.assert_array_equal(topology.edges, plain.edges)
    again = tp.from_networkx(plain.graph(), weights=tp.WEIGHTS[rule]())
    np.testing.assert_allclose(topology.dense(), again.dense(), atol=1e-12)


def test_column_stochastic_rules_may_weigh_one_way_graphs():
    def shares(adjacency):  # what node j sends is split evenly over itself and its receivers
        return tp.uniform_neighbour()(adjacency.T.tocsr()).T.tocsr()

    topology = tp.random_directed(12, weights=shares)
    assert topology.is_column_stochastic and not topology.is_row_stochastic
    np.testing.assert_allclose(topology.dense()[topology.dense() > 0], 1 / 4)
    assert tp.directed_ring(5, weights=shares).is_doubly_stochastic


@pytest.mark.parametrize(("rows", "columns"), [(3, 3), (3, 5), (4, 7), (2, 5)])
def test_eigenvalues_of_a_grid(rows, columns):
    topology = tp.grid(rows * columns, rows=rows, weights=tp.max_degree())
    i, j = np.mgrid[:rows, :columns]
    laplacian = 4 - 2 * np.cos(np.pi * i / rows) - 2 * np.cos(np.pi * j / columns)
    want = 1 - laplacian / (1 + topology.degrees.max())
    np.testing.assert_allclose(np.linalg.eigvalsh(topology.dense()), np.sort(want.ravel()), atol=1e-12)


@pytest.mark.parametrize(("side", "percent"), [(3, 16), (10, 5), (20, 2)])
def test_metropolis_on_a_grid_is_a_little_faster(side, percent):
    ratio = tp.grid(side**2).spectral_gap / (2 / 5 * (1 - np.cos(np.pi / side)))
    assert round(100 * (ratio - 1)) == percent


@pytest.mark.parametrize(("n", "scaled"), [(15, 0.36), (31, 0.31), (63, 0.29), (127, 0.27)])
def test_gap_of_a_binary_tree(n, scaled):
    assert round(n * tp.binary_tree(n).spectral_gap, 2) == scaled


@pytest.mark.parametrize(("n", "scaled"), [(16, 3.48), (32, 3.53), (100, 3.56), (400, 3.57)])
def test_gap_of_a_lollipop(n, scaled):
    assert round(n**2 * tp.lollipop(n).spectral_gap, 2) == scaled


def test_gap_of_a_barbell():
    assert 300**2 * tp.barbell(300).spectral_gap == pytest.approx(8, rel=0.03)
    assert 300**2 * tp.barbell(300, bridge=4).spectral_gap == pytest.approx(4, rel=0.03)


def test_gap_of_a_caveman():
    def share(cliques, size):
        bound = 2 / size**2 * (1 - np.cos(2 * np.pi / cliques))
        return tp.caveman(cliques * size, cliques=cliques).spectral_gap / bound

    shares = [share(k, k) for k in (3, 4, 6, 10, 20)]
    assert shares == sorted(shares) and shares[-1] < 1
    assert round(shares[3], 2) == 0.76 and round(shares[-1], 2) == 0.87
    assert share(2, 50) < 1 and share(50, 4) < 1


@pytest.mark.parametrize(("n", "blocks"), [(7, 3), (6, 1), (5, 5), (8, 2)])
def test_stochastic_block_draws_each_pair_with_its_probability(n, blocks):
    rng = np.random.default_rng(0)
    inside, outside, draws = 0.6, 0.2, 3_000
    total = sum(
        (random._block_edges(n, blocks, inside, outside, rng).toarray() for _ in range(draws)),
        np.zeros((n, n)),
    )
    assert np.array_equal(total, total.T) and not np.diag(total).any()
    home = [max(b for b in range(blocks) if b * n // blocks <= i) for i in range(n)]
    assert max(map(home.count, range(blocks))) - min(map(home.count, range(blocks))) <= 1
    for i, j in combinations(range(n), 2):
        p = inside if home[i] == home[j] else outside
        assert abs(total[i, j] / draws - p) < 4.5 * np.sqrt(p * (1 - p) / draws), (i, j)


def test_extreme_blocks():
    two_parts = tp.stochastic_block(9, inside=0.0, outside=1.0)
    assert two_parts.degrees.tolist() == [5] * 4 + [4] * 5
    assert tp.stochastic_block(9, inside=1.0, outside=1.0).is_complete
    assert tp.stochastic_block(9, blocks=1, inside=1.0, outside=0.3).is_complete
    assert tp.stochastic_block(9, blocks=9, inside=0.0, outside=1.0).is_complete


def test_a_hundred_thousand_nodes_in_communities():
    n, blocks = 100_000, 4
    topology = tp.stochastic_block(n, blocks=blocks, seed=1)
    home = topology.edges * blocks // n
    within = home[:, 0] == home[:, 1]
    inner, outer = within.sum() / n, (~within).sum() / n  # mean degrees; their errors are about 0.01
    assert inner == pytest.approx(2 * np.log(n) * (1 - blocks / n), abs=0.06)
    assert outer == pytest.approx(0.2 * np.log(n), abs=0.03)


def test_small_blocks_are_connected_by_default():
    for n, blocks in ((16, 8), (100, 50), (200, 200)):
        topology = tp.stochastic_block(n, blocks=blocks)
        assert topology.is_connected
        home = topology.edges * blocks // n
        per_block = (home[:, 0] != home[:, 1]).sum() / blocks
        assert per_block == pytest.approx(2 * np.log(n), rel=0.35)


def test_gap_of_communities_does_not_fall():
    for blocks, low, high in ((2, 0.09, 0.14), (4, 0.045, 0.09)):
        for n in (80, 240):
            gaps = [tp.stochastic_block(n, blocks=blocks, seed=seed).spectral_gap for seed in range(5)]
            assert low < np.median(gaps) < high


@pytest.mark.parametrize(("n", "radius"), [(40, 0.5), (40, 0.35), (3, 1.5), (2, 1.42)])
def test_random_geometric_joins_points_within_the_radius(n, radius):
    topology = tp.random_geometric(n, radius=radius, seed=5)
    rng = graph_stream(5)
    while True:  # the first draw that is connected
        points = rng.random((n, 2))
        near = np.array([[np.hypot(*(p - q)) <= radius for q in points] for p in points])
        graph = nx.from_numpy_array(near & ~np.eye(n, dtype=bool))
        if nx.is_connected(graph):
            break
    assert sorted(map(tuple, topology.edges.tolist())) == sorted(nx.DiGraph(graph).edges)
    assert topology.is_complete == (radius > np.sqrt(2))


def test_default_radius():
    n = 3_000
    expected = 2 * np.log(n)  # less what discs lose beyond the border
    degree = tp.random_geometric(n, seed=2).degrees.mean()
    assert 0.88 * expected < degree < expected
    assert np.array_equal(
        tp.random_geometric(n, seed=2).edges,
        tp.random_geometric(n, radius=np.sqrt(expected / (n * np.pi)), seed=2).edges,
    )


def test_gap_of_a_random_geometric_graph_is_of_the_order_of_r_squared():
    ratios = [
        tp.random_geometric(n, radius=r, seed=seed).spectral_gap / r**2
        for n, r in ((300, 0.3), (300, 0.5), (700, 0.2), (700, 0.4))
        for seed in (0, 1)
    ]
    assert min(ratios) > 0.9 and max(ratios) < 1.2
    sparse = [tp.random_geometric(n).spectral_gap / (2 * np.log(n) / (np.pi * n)) for n in (500, 1_000)]
    assert min(sparse) > 0.65 and max(sparse) < 0.85


def test_directed_ring_is_normal():
    for n in (3, 4, 9):
        W = tp.directed_ring(n).dense()
        for i in range(n):
            assert W[i, i] == W[i, i - 1] == 0.5 and np.count_nonzero(W[i]) == 2
        np.testing.assert_array_equal(W @ W.T, W.T @ W)
        modulus = np.sort(np.abs(np.linalg.eigvals(W)))
        np.testing.assert_allclose(modulus, np.sort(np.abs(np.cos(np.pi * np.arange(n) / n))), atol=1e-12)
        assert modulus[-2] == pytest.approx(np.linalg.norm(W - 1 / n, 2), abs=1e-12)
        assert tp.directed_ring(n).is_doubly_stochastic and tp.directed_ring(n).is_directed


@pytest.mark.parametrize(("count", "size"), [(5, 2), (4, 4), (4, 0), (6, 3)])
def test_subsets_are_uniform(count, size):
    rows = 20_000
    drawn = np.sort(digraphs._subsets(rows, size, count, np.random.default_rng(0)), axis=1)
    kinds = list(combinations(range(count), size))
    counts = np.array([(drawn == kind).all(axis=1).sum() for kind in kinds])
    assert counts.sum() == rows
    p = 1 / len(kinds)
    assert np.abs(counts / rows - p).max() <= 4.5 * np.sqrt(p * (1 - p) / rows)


@pytest.mark.parametrize(("n", "degree"), [(2, 1), (6, 1), (6, 3), (6, 5), (40, 3), (300, 4), (1_000, 2)])
def test_everyone_sends_to_equally_many(n, degree):
    topology = tp.random_directed(n, degree=degree, seed=1)
    sender, receiver = topology.edges.T
    assert np.bincount(sender, minlength=n).tolist() == [degree] * n
    heard = np.bincount(receiver, minlength=n)
    np.testing.assert_array_equal(topology.degrees, heard)
    assert heard.min() >= 1 and topology.is_connected
    assert topology.is_row_stochastic
    regular = degree in (1, n - 1)
    assert (heard.max() == heard.min()) == regular == topology.is_column_stochastic


def test_random_directed_treats_all_pairs_alike():
    n, degree, draws = 5, 2, 1_500
    total = sum(
        (tp.random_directed(n, degree=degree, seed=s).dense() > 0 for s in range(draws)), np.zeros((n, n))
    )
    p = degree / (n - 1)
    share = total[~np.eye(n, dtype=bool)] / draws
    assert np.abs(share - p).max() < 4.5 * np.sqrt(p * (1 - p) / draws)


def test_random_directed_at_scale():
    topology = tp.random_directed(100_000, seed=3)
    assert topology.is_connected and len(topology.edges) == 300_000
    heard = np.bincount(topology.degrees)[1:7] / topology.n  # 1 + Poisson(2)
    poisson = np.exp(-2) * np.array([1, 2, 2, 4 / 3, 2 / 3, 4 / 15])
    np.testing.assert_allclose(heard, poisson, atol=0.008)
    assert 0.15 < tp.random_directed(300).spectral_gap < 0.3


@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize(("n", "degree"), [(7, 1), (7, 3), (8, 4), (13, 30)])
def test_equi_static_is_the_average_of_its_shifts(n, degree, directed):
    topology = tp.equi_static(n, degree=degree, directed=directed, seed=4)
    rng = graph_stream(4)
    while True:  # the first draw that is connected
        W = np.zeros((n, n))
        for shift in rng.integers(1, n, size=degree):
            A = np.eye(n) / n
            for i in range(n):
                A[i, (i + shift) % n] += 1 - 1 / n
            W += (A if directed else (A + A.T) / 2) / degree
        if components(W)[0] == 1:
            break
    np.testing.assert_allclose(topology.dense(), W, atol=1e-15)
    assert topology.is_doubly_stochastic and topology.is_symmetric >= (not directed)
    assert topology.degrees.max() <= (1 if directed else 2) * degree


def rho(n, degree, directed, seed):
    return 1 - tp.equi_static(n, degree=degree, directed=directed, seed=seed).spectral_gap


def test_equi_static_averages_to_exact_averaging():
    draws = 3_000
    mean = sum(tp.equi_static(5, degree=2, directed=True, seed=s).dense() for s in range(draws)) / draws
    np.testing.assert_allclose(mean, 1 / 5, atol=4.5 * 0.4 / np.sqrt(draws))


@pytest.mark.parametrize(("degree", "figure"), [(5, 0.86), (10, 0.47), (20, 0.30)])
def test_equi_static_rho_as_in_the_catalogue(degree, figure):
    """One undirected draw each at n = 64: the figures must be typical of the law."""
    found = [rho(64, degree, False, seed) for seed in range(200)]
    assert np.quantile(found, 0.02) < figure < np.quantile(found, 0.98)


@pytest.mark.parametrize("directed", [False, True])
def test_equi_static_keeps_the_promise_of_its_theorem(directed):
    n, p, epsilon = 64, 0.1, 0.6
    degree = int(np.ceil(8 / 3 * np.log(2 * n / p) / epsilon**2))
    assert np.mean([rho(n, degree, directed, seed) <= epsilon for seed in range(100)]) >= 1 - p


@pytest.mark.parametrize(("directed", "typical"), [(False, 0.7), (True, 0.77)])
def test_equi_static_does_not_slow_down_as_it_grows(directed, typical):
    for n in (16, 64, 256, 1_024):
        found = [rho(n, None, directed, seed) for seed in range(40)]
        assert np.median(found) < typical + 0.02
        if n >= 64:  # of ring and torus, ρ would be above 0.99 at 1,024
            assert np.quantile(found, 0.9) < 0.92
