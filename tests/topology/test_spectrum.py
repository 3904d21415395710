"""Gaps and least eigenvalues: definitions in plain dense NumPy, and the three ways to compute them agree."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from dlax import topology as tp
from dlax.topology.spectra import extremes as lanczos
from dlax.topology.spectra import gap as spectrum


def mean_square(matrices):
    n = len(matrices[0])
    return np.sqrt(np.linalg.norm(np.mean([W.T @ W for W in matrices], axis=0) - np.ones((n, n)) / n, 2))


def shuffled(topology, seed=0):
    """The same graph with nodes in random order: no longer circulant."""
    order = np.random.default_rng(seed).permutation(topology.n)
    matrices = [W[order][:, order] for W in topology.matrices]
    return tp.from_matrix(matrices, order=None if topology.is_fixed else topology.order)


@pytest.mark.parametrize("iterative", [False, True])
@pytest.mark.parametrize(
    "topology",
    [
        tp.ring(20),
        tp.static_exponential(21),
        tp.one_peer_exponential(21),
        tp.one_peer_exponential(16),
        tp.cyclic(20, members=(tp.ring, tp.star)),
        tp.random_sequence(20, members=(tp.ring, tp.star, tp.static_exponential)),
        tp.barabasi_albert(30),
    ],
    ids=lambda t: t.name,
)
def test_gap_by_definition(topology, iterative, monkeypatch):
    if iterative:
        monkeypatch.setattr(spectrum, "DENSE", 4)
    matrices = [topology.dense(t) for t in range(topology.period)]
    if topology.order == "random":
        rho = mean_square(matrices)
    else:
        product = np.linalg.multi_dot([*matrices[::-1], np.eye(topology.n)])
        rho = np.linalg.norm(product - 1 / topology.n, 2)
        rho = 0 if rho < 1e-12 else rho ** (1 / topology.period)
    assert topology.spectral_gap == pytest.approx(1 - rho, abs=1e-9)
    if "one_peer" not in topology.name:  # an exact product is zero only up to the accuracy of ARPACK
        assert shuffled(topology).spectral_gap == pytest.approx(1 - rho, abs=1e-9)


@pytest.mark.parametrize("iterative", [False, True])
def test_gap_of_row_and_column_stochastic(iterative, monkeypatch):
    if iterative:
        monkeypatch.setattr(spectrum, "DENSE", 4)
    row = tp.star(9, weights=tp.uniform_neighbour())
    second = np.sort(np.abs(np.linalg.eigvals(row.dense())))[-2]
    assert row.spectral_gap == pytest.approx(1 - second, abs=1e-9)
    column = tp.from_matrix(row.dense().T, allow_column=True)
    assert column.spectral_gap == pytest.approx(1 - second, abs=1e-9)
    drawn = tp.random_sequence(9, members=(column, tp.ring))
    centred = np.eye(9) - 1 / 9
    moment = np.mean([W @ centred @ W.T for W in (column.dense(), tp.ring(9).dense())], axis=0)
    assert drawn.spectral_gap == pytest.approx(1 - np.sqrt(np.linalg.norm(moment, 2)), abs=1e-9)


@pytest.mark.parametrize("topology", [tp.path(300), tp.torus(300, rows=4)], ids=["path", "torus"])
def test_slow_graphs_by_shift_and_invert(topology, monkeypatch):
    gap, least = topology.spectral_gap, topology.least_eigenvalue
    monkeypatch.setattr(spectrum, "DENSE", 4)
    monkeypatch.setattr(lanczos, "_STEPS", 10)  # where Lanczos then stalls
    real, calls = lanczos.eigsh, []

    def counted(*args, **options):
        calls.append(options)
        return real(*args, **options)

    monkeypatch.setattr(lanczos, "eigsh", counted)
    assert spectrum.spectral_gap(topology.matrices[0]) == pytest.approx(gap, abs=1e-10)
    assert spectrum.least_eigenvalue(topology.matrices[0]) == pytest.approx(least, abs=1e-10)
    assert len(calls) >= 2 and all("sigma" in options for options in calls)
    doubly = shuffled(tp.static_exponential(40)).matrices[0]
    assert spectrum.spectral_gap(doubly) == pytest.approx(tp.static_exponential(40).spectral_gap, abs=1e-10)


def symmetric_matrices():
    rng = np.random.default_rng(0)
    graphs = {
        "path": tp.path(120), "star": tp.star(60), "cube": tp.hypercube(64), "hubs": tp.barabasi_albert(150),
        "complete": tp.complete(30), "torus": tp.torus(96), "expander": tp.random_regular(200),
    }  # fmt: skip
    found = {name: topology.dense() for name, topology in graphs.items()}
    found["negative"] = tp.star(50, weights=tp.best_constant()).dense()
    found["laplacian"] = tp.laplacian_matrix(graphs["hubs"], rng.uniform(0.1, 9, 296)).toarray()
    found["nearly bipartite"] = 1.9 * tp.ring(64).dense() - 0.9 * np.eye(64)
    return found


SYMMETRIC = symmetric_matrices()


@pytest.mark.parametrize("steps", [3_000, 2], ids=["lanczos", "shift and invert"])
@pytest.mark.parametrize("name", SYMMETRIC)
def test_extremes(name, steps, monkeypatch):
    """Least and largest eigenvalue, with and without the constant vector, against LAPACK."""
    monkeypatch.setattr(lanczos, "_STEPS", steps)
    A = SYMMETRIC[name]
    n = len(A)
    basis = np.linalg.svd(np.ones((1, n)))[2][1:].T
    for centred in (False, True):
        values = np.linalg.eigvalsh(basis.T @ A @ basis if centred else A)
        wanted = {"low": [0], "high": [1], "both": [0, 1], "modulus": [int(values[-1] >= -values[0])]}
        for end, places in wanted.items():
            found = lanczos.extremes(lambda x: A @ x, n, end, fallback=lambda: csr_array(A), centred=centred)
            for place in places:
                error = abs(found[place] - values[[0, -1]][place])
                assert error <= 1e-11 * max(1, np.abs(values).max()), (end, centred)


def test_lanczos_is_deterministic_and_says_when_it_stalls(monkeypatch):
    topology = tp.barabasi_albert(4_000)
    gaps = [spectrum.spectral_gap(topology.matrices[0]) for _ in range(2)]
    assert gaps[0] == gaps[1]
    monkeypatch.setattr(lanczos, "_LIMIT", 20)
    with pytest.raises(ValueError, match="20 steps of Lanczos do not tell them apart"):
        spectrum.spectral_gap([V for t in (0, 1) for V in tp.path(4_000).matrices], order="cyclic")


def test_large_graphs_in_closed_form():
    assert tp.hypercube(4_096).spectral_gap == pytest.approx(2 / 13, abs=1e-12)
    assert tp.torus(5_000, rows=50).spectral_gap == pytest.approx(0.4 * (1 - np.cos(0.02 * np.pi)), abs=1e-12)
    assert tp.path(20_000).spectral_gap == pytest.approx(2 / 3 * (1 - np.cos(np.pi / 20_000)), rel=1e-7)
    assert tp.hypercube(4_096).least_eigenvalue == pytest.approx(-11 / 13, abs=1e-12)
    hub = tp.star(3_000)
    assert hub.spectral_gap == pytest.approx(1 / 3_000, abs=1e-12)


def test_large_circulants_are_exact():
    assert tp.ring(100_000).spectral_gap == pytest.approx(2 / 3 * (1 - np.cos(2e-5 * np.pi)), abs=1e-14)
    assert tp.one_peer_exponential(2**15).spectral_gap == 1.0


def test_negative_eigenvalues_count():
    swap = np.array([[0.1, 0.9], [0.9, 0.1]])
    assert tp.spectral_gap(swap) == pytest.approx(0.2)
    assert tp.least_eigenvalue(swap) == pytest.approx(-0.8)


@pytest.mark.parametrize("topology", [tp.ring(9), tp.star(9), tp.erdos_renyi(9)], ids=lambda t: t.name)
def test_least_eigenvalue(topology):
    assert topology.least_eigenvalue == pytest.approx(np.linalg.eigvalsh(topology.dense())[0], abs=1e-12)
    both = tp.cyclic(9, members=(topology, tp.path))
    assert both.least_eigenvalue == pytest.approx(min(topology.least_eigenvalue, tp.path(9).least_eigenvalue))


@pytest.mark.parametrize(
    "topology", [tp.ring(9), tp.star(9), tp.erdos_renyi(9), tp.complete(9), tp.path(2)], ids=lambda t: t.name
)
def test_second_largest_eigenvalue(topology, monkeypatch):
    """With its sign: W of the complete graph without self weights has none above 0 but the 1."""
    for W in (topology.dense(), (topology.dense() - np.eye(topology.n)) / topology.n + np.eye(topology.n)):
        want = np.linalg.eigvalsh(W)[-2]
        assert spectrum.second_largest_eigenvalue(W) == pytest.approx(want, abs=1e-12)
    assert topology.second_largest_eigenvalue == pytest.approx(
        np.linalg.eigvalsh(topology.dense())[-2], abs=1e-12
    )
    irregular = shuffled(topology).matrices[0]
    monkeypatch.setattr(spectrum, "DENSE", 1)
    found = spectrum.second_largest_eigenvalue(irregular)
    assert found == pytest.approx(topology.second_largest_eigenvalue, abs=1e-9)


def test_second_largest_eigenvalue_below_zero():
    W = (np.ones((5, 5)) - np.eye(5)) / 4
    assert spectrum.second_largest_eigenvalue(W) == pytest.approx(-0.25, abs=1e-12)
    uneven = np.array([[0.0, 0.6, 0.4], [0.6, 0.0, 0.4], [0.4, 0.4, 0.2]])
    assert np.linalg.eigvalsh(uneven)[-2] < 0
    assert spectrum.second_largest_eigenvalue(uneven) == pytest.approx(
        np.linalg.eigvalsh(uneven)[-2], abs=1e-12
    )


def test_the_worst_gap_is_that_of_the_slowest_round():
    both = tp.cyclic(9, members=(tp.ring, tp.path))
    assert both.worst_gap == pytest.approx(tp.path(9).spectral_gap, abs=1e-12)
    assert tp.ring(9).worst_gap == tp.ring(9).spectral_gap
    with pytest.raises(ValueError, match="random_pairwise: the worst gap over all draws is not known"):
        _ = tp.random_pairwise(9).worst_gap
    with pytest.raises(ValueError, match="the worst gap is 0: some round on its own does not contract"):
        _ = tp.from_matrix([tp.ring(9).dense(), np.eye(9)]).worst_gap


def test_refusals():
    with pytest.raises(ValueError, match="second_largest_eigenvalue needs a symmetric matrix"):
        spectrum.second_largest_eigenvalue(tp.static_exponential(8).dense())
    with pytest.raises(
        ValueError, match="static_exponential: the second largest eigenvalue needs one symmetric"
    ):
        _ = tp.static_exponential(8).second_largest_eigenvalue
    with pytest.raises(ValueError, match="least_eigenvalue needs a symmetric matrix"):
        tp.least_eigenvalue(tp.static_exponential(8).dense())
    with pytest.raises(ValueError, match="static_exponential: the least eigenvalue needs symmetric"):
        _ = tp.static_exponential(8).least_eigenvalue
    with pytest.raises(ValueError, match="'fixed' takes one matrix, got 2"):
        tp.spectral_gap([np.eye(2), np.eye(2)])
    with pytest.raises(ValueError, match=r"same number of nodes, got \[2, 3\]"):
        tp.spectral_gap([np.eye(2), np.eye(3)], order="cyclic")
    with pytest.raises(ValueError, match="order must be 'fixed', 'cyclic' or 'random', got 'weekly'"):
        tp.spectral_gap(np.eye(2), order="weekly")  # type: ignore[arg-type]


def test_no_contraction_is_gap_zero():
    assert tp.spectral_gap(np.eye(5)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_one_way_graphs_by_arnoldi(seed, monkeypatch):
    """Their second eigenvalues crowd near one circle; the largest must be found, not one of them."""
    topology = tp.random_directed(500, seed=seed)
    dense = topology.spectral_gap
    monkeypatch.setattr(spectrum, "DENSE", 4)
    assert spectrum.spectral_gap(topology.matrices[0]) == pytest.approx(dense, abs=1e-8)
