"""Gaps and least eigenvalues: definitions in plain dense NumPy, and the three ways to compute them agree."""

import numpy as np
import pytest

from dlax import topology as tp
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
        tp.cyclic(tp.ring(20), tp.star(20)),
        tp.random_sequence(tp.ring(20), tp.star(20), tp.static_exponential(20)),
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
    drawn = tp.random_sequence(column, tp.ring(9))
    centred = np.eye(9) - 1 / 9
    moment = np.mean([W @ centred @ W.T for W in (column.dense(), tp.ring(9).dense())], axis=0)
    assert drawn.spectral_gap == pytest.approx(1 - np.sqrt(np.linalg.norm(moment, 2)), abs=1e-9)


@pytest.mark.parametrize("topology", [tp.path(300), tp.torus(300, rows=4)], ids=["path", "torus"])
def test_slow_graphs_by_shift_and_invert(topology, monkeypatch):
    gap, least = topology.spectral_gap, topology.least_eigenvalue
    monkeypatch.setattr(spectrum, "DENSE", 4)
    real, calls = spectrum.eigsh, []

    def stalls(*args, **options):
        calls.append(options)
        if "sigma" not in options:
            raise spectrum.ArpackNoConvergence("stalled", [], [])
        return real(*args, **options)

    monkeypatch.setattr(spectrum, "eigsh", stalls)
    assert spectrum.spectral_gap(topology.matrices[0]) == pytest.approx(gap, abs=1e-10)
    assert spectrum.least_eigenvalue(topology.matrices[0]) == pytest.approx(least, abs=1e-10)
    assert any("sigma" in options for options in calls)


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
    both = tp.cyclic(topology, tp.path(9))
    assert both.least_eigenvalue == pytest.approx(min(topology.least_eigenvalue, tp.path(9).least_eigenvalue))


def test_refusals():
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
