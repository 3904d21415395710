"""Every named graph: valid at every size or refused; closed-form gaps; random graphs drawn as promised."""

import inspect
from functools import partial

import numpy as np
import pytest

from dlax import topology as tp
from dlax.topology.graphs import random as graphs

NAMED = sorted(set(tp.TOPOLOGIES) - {"file", "cyclic", "random_sequence"})  # these are made of a user's own
RANDOM = [
    "b_connected", "barabasi_albert", "equi_static", "erdos_renyi", "random_directed", "random_geometric",
    "random_regular", "stochastic_block", "watts_strogatz",
]  # fmt: skip
ONE_WAY = ["random_directed", "random_pull", "scheduled_pull"]  # row stochastic only
# Sizes up to 16 that a factory refuses with its defaults; the others exist for every n.
REFUSED = {
    "barabasi_albert": {1, 2},
    "caveman": {1, 2, 3, 4, 5, 7},
    "grid": {2, 3, 5, 7},
    "hypercube": {3, 5, 6, 7, 9},
    "random_directed": {1, 2, 3},
    "random_regular": {1, 2, 3, 4},
    "stochastic_block": {1},
    "torus": {2, 3, 5, 7},
    "watts_strogatz": {1, 2, 3, 4},
    "with_sybils": {1},
}


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7, 8, 9, 16])
@pytest.mark.parametrize("name", NAMED)
def test_valid_or_refused(name, n):
    if n in REFUSED.get(name, ()):
        with pytest.raises(ValueError, match=rf"{name}: .*\b{n}\b"):
            tp.TOPOLOGIES[name](n)
        return
    topology = tp.TOPOLOGIES[name](n)
    assert topology.n == n and topology.name == name
    for t in range(topology.period):
        W = topology.dense(t)
        assert W.shape == (n, n) and W.dtype == np.float64
        signed = name == "matcha"  # whose optimal α may be so large that self weights are negative
        assert signed or (W >= 0).all()
        np.testing.assert_allclose(W.sum(axis=1), 1, atol=1e-12)
        if name not in ONE_WAY:
            np.testing.assert_allclose(W.sum(axis=0), 1, atol=1e-12)
        assert signed or (np.diag(W) > 0).all()
    stochastic = "row stochastic" if name in ONE_WAY else "doubly stochastic"
    assert {"connected", stochastic} <= topology.properties and (
        signed or "nonnegative" in topology.properties
    )
    reach = np.linalg.matrix_power(sum(topology.dense(t) for t in range(topology.period)), n)
    assert (reach > 0).all()
    if n == 1:
        assert topology.dense().tolist() == [[1.0]]
        assert topology.spectral_gap == 1.0
        if name != "switched":  # which stays a sequence of two graphs
            assert topology.is_complete and topology.is_fixed
    if n == 2 and topology.is_fixed and name != "equi_dyn":  # which keeps half of what it has
        np.testing.assert_allclose(topology.dense(), 0.5)


@pytest.mark.parametrize("name", sorted(tp.TOPOLOGIES))
def test_signatures_are_uniform(name):
    first, *rest = inspect.signature(tp.TOPOLOGIES[name]).parameters.values()
    assert first.name == "n"
    assert all(p.kind is p.KEYWORD_ONLY and p.annotation is not p.empty for p in rest)
    # The seed of with_sybils says whom Sybils attack, not what the graph is.
    assert ("seed" in {p.name for p in rest}) == (name in [*RANDOM, "with_sybils"])


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("n", [0, -3, 2.0, "8", None])
def test_n_must_be_a_positive_integer(name, n):
    with pytest.raises(ValueError, match=f"{name}: n must be an integer of at least 1, got"):
        tp.TOPOLOGIES[name](n)


CLOSED = [
    *[(tp.ring(n), 2 / 3 * (1 - np.cos(2 * np.pi / n))) for n in (3, 4, 7, 16, 101)],
    *[(tp.path(n), 2 / 3 * (1 - np.cos(np.pi / n))) for n in (3, 4, 7, 16, 101)],
    *[(tp.torus(s * s), 2 / 5 * (1 - np.cos(2 * np.pi / s))) for s in (3, 4, 5, 8)],
    *[(tp.torus(rows * s, rows=rows), 2 / 5 * (1 - np.cos(2 * np.pi / s))) for rows, s in ((3, 4), (4, 9))],
    *[
        (tp.grid(rows * s, rows=rows, weights=tp.max_degree()), 2 / 5 * (1 - np.cos(np.pi / s)))
        for rows, s in ((3, 3), (3, 4), (4, 9), (7, 7), (3, 60))
    ],
    *[(tp.grid(s, rows=1), 2 / 3 * (1 - np.cos(np.pi / s))) for s in (3, 7)],
    *[(tp.barbell(2 * a), 1 - (a + np.sqrt(a**2 + 4 * a - 4)) / (2 * (a + 1))) for a in (2, 3, 5, 10, 50)],
    *[(tp.lollipop(n, tail=n - 1), 2 / 3 * (1 - np.cos(np.pi / n))) for n in (3, 16)],
    *[(tp.lollipop(n, tail=0), 1.0) for n in (1, 2, 16)],
    *[(tp.directed_ring(n), 1 - np.cos(np.pi / n)) for n in (2, 3, 4, 7, 16, 101)],
    *[(tp.hypercube(2**q), 2 / (q + 1)) for q in (1, 2, 3, 6)],
    *[(tp.star(n), 1 / n) for n in (3, 4, 16, 50)],
    *[(tp.complete(n), 1.0) for n in (1, 2, 7, 40)],
    *[(tp.static_exponential(n), 2 / (1 + np.ceil(np.log2(n)))) for n in (2, 4, 6, 12, 16, 50, 64)],
]


@pytest.mark.parametrize(("topology", "gap"), CLOSED, ids=lambda x: getattr(x, "name", None))
def test_closed_form_gap(topology, gap):
    assert topology.spectral_gap == pytest.approx(gap, abs=1e-10)
    deviation = topology.dense() - 1 / topology.n
    assert 1 - np.linalg.svd(deviation, compute_uv=False)[0] == pytest.approx(gap, abs=1e-10)


def test_static_exponential_of_odd_size_is_no_slower():
    for n in (5, 9, 25, 33):
        assert tp.static_exponential(n).spectral_gap >= 2 / (1 + np.ceil(np.log2(n)))
    assert tp.static_exponential(25).spectral_gap == pytest.approx(0.489, abs=5e-4)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 7, 8, 12, 16, 31, 32])
def test_one_peer_averages_exactly_at_powers_of_two_only(n):
    topology = tp.one_peer_exponential(n)
    product = np.eye(n)
    for t in range(topology.period):
        W = topology.dense(t)
        for i in range(n):
            assert sorted(np.flatnonzero(W[i])) == sorted({i, (i + 2**t) % n})
            assert W[i, i] == 0.5
        product = W @ product
    exact = bool(np.abs(product - 1 / n).max() < 1e-12)
    assert exact == (n & (n - 1) == 0)
    assert (topology.spectral_gap == 1.0) == exact
    assert topology.order == ("fixed" if n == 2 else "cyclic")


@pytest.mark.parametrize(
    "factory",
    [
        tp.ring, tp.complete, tp.static_exponential, tp.one_peer_exponential, tp.directed_ring, tp.equi_static,
        partial(tp.equi_static, directed=True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("n", [5, 8])
def test_circulant(factory, n):
    topology = factory(n)
    for t in range(topology.period):
        W = topology.dense(t)
        for i in range(n):
            np.testing.assert_allclose(W[i], np.roll(W[0], i), atol=1e-15)


def test_complete_is_the_mean():
    topology = tp.complete(6)
    assert (topology.dense() == 1 / 6).all()
    assert topology.is_complete and "complete" in topology.properties
    assert not tp.ring(6).is_complete


def test_torus_does_not_double_edges():
    assert tp.torus(8, rows=2).degrees.tolist() == [3] * 8
    assert tp.torus(4).degrees.tolist() == [2] * 4
    assert tp.torus(4, rows=1).degrees.tolist() == [2] * 4
    np.testing.assert_array_equal(tp.torus(7, rows=1).dense(), tp.ring(7).dense())
    np.testing.assert_array_equal(tp.torus(7, rows=7).dense(), tp.ring(7).dense())
    assert sorted(np.flatnonzero(tp.torus(12).dense()[0])) == [0, 1, 3, 4, 8]  # 3 rows of 4


def test_star_hub_and_path_ends():
    assert tp.star(5).degrees.tolist() == [4, 1, 1, 1, 1]
    assert tp.path(5).degrees.tolist() == [1, 2, 2, 2, 1]


@pytest.mark.parametrize("name", RANDOM)
def test_seed_decides(name):
    build = tp.TOPOLOGIES[name]
    first, again, other = (build(40, seed=seed).dense() for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    with pytest.raises(ValueError, match="seed of a graph must be at least 0, got -1"):
        build(40, seed=-1)


@pytest.mark.parametrize(
    ("n", "degree"), [(1, 0), (2, 1), (3, 2), (9, 2), (6, 5), (12, 3), (12, 9), (30, 20), (64, 4)]
)
def test_random_regular_is_regular(n, degree):
    assert tp.random_regular(n, degree=degree).degrees.tolist() == [degree] * n


def test_random_regular_at_scale():
    topology = tp.random_regular(20_000, degree=4, seed=1)  # no networkx here
    W = topology.matrices[0]
    assert topology.is_connected and topology.is_symmetric and topology.is_doubly_stochastic
    assert (topology.degrees == 4).all()
    assert W.nnz == 5 * 20_000 and np.allclose(W.data, 1 / 5)
    assert topology.spectral_gap == pytest.approx(1 - (1 + 2 * np.sqrt(3)) / 5, abs=2e-3)


def test_random_regular_vectorised_equals_networkx_in_law(monkeypatch):
    gaps = [tp.random_regular(200, degree=4, seed=seed).spectral_gap for seed in range(8)]
    monkeypatch.setattr(graphs, "_SMALL", 0)
    ours = [tp.random_regular(200, degree=4, seed=seed) for seed in range(8)]
    assert all((topology.degrees == 4).all() for topology in ours)
    assert np.mean([topology.spectral_gap for topology in ours]) == pytest.approx(np.mean(gaps), abs=0.015)


def test_erdos_renyi_draws_each_pair_with_probability_p():
    rng = np.random.default_rng(0)
    n, p, draws = 7, 0.3, 4_000
    total = sum((graphs._bernoulli_edges(n, p, rng).toarray() for _ in range(draws)), np.zeros((n, n)))
    assert np.array_equal(total, total.T) and not np.diag(total).any()
    off = total[np.triu_indices(n, 1)] / draws
    assert np.abs(off - p).max() < 4.5 * np.sqrt(p * (1 - p) / draws)
    assert tp.erdos_renyi(9, p=1.0).is_complete


def test_erdos_renyi_default_p():
    degrees = tp.erdos_renyi(3_000, seed=2).degrees
    assert degrees.mean() == pytest.approx(2 * np.log(3_000), rel=0.03)


def test_barabasi_albert_and_watts_strogatz_counts():
    assert len(tp.barabasi_albert(50, m=3).edges) == 2 * 3 * (50 - 3)
    assert len(tp.watts_strogatz(50, k=6).edges) == 50 * 6
    np.testing.assert_array_equal(tp.watts_strogatz(9, k=2, p=0.0).dense(), tp.ring(9).dense())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: tp.random_regular(7, degree=3), r"n \* degree must be even, got the odd 7 \* 3"),
        (lambda: tp.random_regular(4, degree=4), "degree must be from 0 to n - 1, got 4 with n = 4"),
        (lambda: tp.random_regular(6, degree=1), "no graph of degree 1 on 6 nodes is connected"),
        (lambda: tp.hypercube(12), "power of two, got 12; the nearest are 8 and 16"),
        (lambda: tp.torus(13), "must not be prime, got 13; pass rows=1"),
        (lambda: tp.torus(12, rows=5), "rows must divide n = 12, got 5"),
        (lambda: tp.torus(12, rows=0), "rows must divide n = 12, got 0"),
        (
            lambda: tp.erdos_renyi(50, p=0.01),
            r"none of 100 draws with n=50 is connected \(p=0.01; graphs get",
        ),
        (lambda: tp.erdos_renyi(5, p=0.0), r"p must be in \(0, 1\], got 0.0"),
        (lambda: tp.barabasi_albert(5, m=5), "m must be from 1 to n - 1, got 5 with n = 5"),
        (lambda: tp.watts_strogatz(9, k=3), "k must be even and from 2 to n - 1, got 3 with n = 9"),
        (lambda: tp.watts_strogatz(9, p=1.5), r"p must be in \[0, 1\], got 1.5"),
        (lambda: tp.grid(13), "grid: n must not be prime, got 13; pass rows=1 if a path is meant"),
        (lambda: tp.grid(12, rows=8), "grid: rows must divide n = 12, got 8"),
        (lambda: tp.barbell(5, bridge=4), "barbell: bridge must be an integer from 0 to 3 for n = 5, got 4"),
        (lambda: tp.barbell(5, bridge=-1), "bridge must be an integer from 0 to 3 for n = 5, got -1"),
        (lambda: tp.barbell(1, bridge=1), "bridge must be an integer from 0 to 0 for n = 1, got 1"),
        (lambda: tp.barbell(8, bridge=1.5), r"bridge must be an integer from 0 to 6 for n = 8, got 1\.5"),
        (lambda: tp.lollipop(5, tail=5), "lollipop: tail must be an integer from 0 to 4 for n = 5, got 5"),
        (lambda: tp.lollipop(5, tail="2"), "tail must be an integer from 0 to 4 for n = 5, got '2'"),
        (lambda: tp.caveman(5), "caveman: n must be at least 6, two cliques of three nodes, got 5"),
        (lambda: tp.caveman(13), "caveman: n must not be prime, got 13"),
        (
            lambda: tp.caveman(12, cliques=5),
            "caveman: cliques must be an integer from 2 to 4 for n = 12, got 5",
        ),
        (lambda: tp.caveman(12, cliques=1), "cliques must be an integer from 2 to 4 for n = 12, got 1"),
        (lambda: tp.caveman(10, cliques=3), "caveman: cliques must divide n = 10, got 3"),
        (
            lambda: tp.stochastic_block(5, blocks=6),
            "stochastic_block: blocks must be an integer from 1 to 5 for n = 5, got 6",
        ),
        (lambda: tp.stochastic_block(5, blocks=0), "blocks must be an integer from 1 to 5 for n = 5, got 0"),
        (lambda: tp.stochastic_block(5, inside=1.1), r"inside must be in \[0, 1\], got 1.1"),
        (lambda: tp.stochastic_block(5, outside=0.0), r"outside must be in \(0, 1\], got 0.0"),
        (lambda: tp.stochastic_block(5, outside=float("nan")), r"outside must be in \(0, 1\], got nan"),
        (
            lambda: tp.stochastic_block(50, inside=0.02, outside=0.001),
            r"none of 100 draws with n=50 is connected \(blocks=2, inside=0.02, outside=0.001\)",
        ),
        (lambda: tp.random_geometric(5, radius=0.0), "radius must be positive and finite, got 0.0"),
        (lambda: tp.random_geometric(5, radius=float("inf")), "radius must be positive and finite, got inf"),
        (
            lambda: tp.random_geometric(50, radius=0.05),
            r"none of 100 draws with n=50 is connected \(radius=0.05; graphs get connected above about .* 0.1578",
        ),
        (
            lambda: tp.random_directed(5, degree=5),
            "random_directed: degree must be an integer from 1 to 4 for n = 5, got 5",
        ),
        (lambda: tp.random_directed(5, degree=0), "degree must be an integer from 1 to 4 for n = 5, got 0"),
        (lambda: tp.directed_ring(5, weights=tp.metropolis()), "metropolis weights need an undirected graph"),
        (
            lambda: tp.random_directed(9, weights=tp.best_constant()),
            "best_constant weights need an undirected graph",
        ),
        (lambda: tp.equi_static(5, degree=0), "degree must be an integer of at least 1 for n = 5, got 0"),
        (
            lambda: tp.equi_static(5, degree=2.0),
            r"degree must be an integer of at least 1 for n = 5, got 2\.0",
        ),
        (lambda: tp.star(5, weights=tp.laplacian(step=0.5)), "step must be below 2/λ_max = 0.4, got 0.5"),
    ],
)
def test_refusals(build, message):
    with pytest.raises(ValueError, match=message):
        build()
