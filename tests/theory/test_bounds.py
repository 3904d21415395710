"""The literature's bounds: their shape, and, where constants are claimed, that they hold and are met."""

import itertools

import numpy as np
import pytest

from dlax import theory
from dlax import topology as tp
from dlax.problems import average_of, quadratic

N, DIM = 8, 3
ORDERS = ["adapt_then_combine", "combine_then_adapt", "combine_while_adapt"]


def facts(problem):
    """ζ, L and the spread of the Hessians, from their definitions."""
    q = theory.quadratic_of(problem)
    gradients = np.einsum("nij,j->ni", q.A, q.optimum) + q.b
    mean = q.A.mean(axis=0)
    return {
        "zeta": np.sqrt(np.mean(np.sum(gradients**2, axis=1))),
        "smoothness": max(np.linalg.eigvalsh(A)[-1] for A in q.A),
        "spread": max(np.linalg.norm(A - mean, 2) for A in q.A) / np.linalg.eigvalsh(mean)[0],
    }


GRAPHS = [tp.ring(N), tp.star(N), tp.static_exponential(N), tp.hypercube(N), tp.complete(N)]
PROBLEMS = [
    quadratic(N, dim=DIM),
    quadratic(N, dim=DIM, condition=100.0),
    quadratic(N, dim=DIM, hessian="common"),
]


@pytest.mark.parametrize("order", ORDERS)
def test_the_bias_of_dsgd_never_exceeds_its_bound(order):
    """On graphs, problems and step sizes; it says something on most, and is not idle."""
    ratios = []
    for problem in PROBLEMS:
        known = facts(problem)
        for graph, lr in itertools.product(GRAPHS, (1e-4, 1e-2, 0.1)):
            bound = theory.dsgd_bias_bound(lr=lr, gap=graph.spectral_gap, order=order, **known)
            bias = theory.dsgd(problem, graph, lr=lr, order=order).bias
            rounding = (1e-15 / (lr * 0.01)) ** 2  # of a system with condition 1 / (lr μ)
            assert bias <= bound * (1 + 1e-9) + rounding
            ratios.append(bias / bound if 0 < bound < np.inf else 0.0)
    assert np.count_nonzero(ratios) > 40 - 8 * (order == "adapt_then_combine") and max(ratios) > 0.3


@pytest.mark.parametrize("graph", [tp.ring(N), tp.star(N), tp.path(6)], ids=lambda graph: graph.name)
def test_the_bound_is_met_along_the_slowest_eigenvector(graph):
    """A common Hessian, lr → 0; the star and the path have ρ = λ₂."""
    values = np.linalg.eigh(graph.dense())[1][:, [-2]]
    problem, rho = average_of(values), 1 - graph.spectral_gap
    zeta, lr = np.sqrt(1 / graph.n), 1e-7
    bias = theory.dsgd(problem, graph, lr=lr).bias
    assert bias == pytest.approx((lr * rho / (1 - rho) * zeta) ** 2, rel=1e-4)
    assert bias == pytest.approx(theory.dsgd_bias_bound(lr=lr, gap=1 - rho, zeta=zeta), rel=1e-4)
    other = theory.dsgd(problem, graph, lr=lr, order="combine_while_adapt").bias
    bound = theory.dsgd_bias_bound(lr=lr, gap=1 - rho, zeta=zeta, order="combine_while_adapt")
    assert other == pytest.approx(bound, rel=1e-4)


def test_the_bias_bound_scales_as_the_literature_says():
    """lr² ζ² / gap² for small steps and gaps."""
    base = theory.dsgd_bias_bound(lr=1e-8, gap=1e-3, zeta=1.0)
    assert theory.dsgd_bias_bound(lr=2e-8, gap=1e-3, zeta=1.0) == pytest.approx(4 * base, rel=1e-3)
    assert theory.dsgd_bias_bound(lr=1e-8, gap=1e-3, zeta=3.0) == pytest.approx(9 * base, rel=1e-12)
    assert theory.dsgd_bias_bound(lr=1e-8, gap=5e-4, zeta=1.0) == pytest.approx(4 * base, rel=1e-2)
    assert theory.dsgd_bias_bound(lr=1e-8, gap=1e-3, zeta=1.0, spread=2.0) == pytest.approx(
        5 * base, rel=1e-3
    )


def test_the_bias_bound_is_its_formula():
    """r = 4 or 5, κ = 2, q = lr r L √κ."""
    for order, r in (("adapt_then_combine", 4.0), ("combine_then_adapt", 5.0), ("combine_while_adapt", 5.0)):
        q = 0.01 * r * 3.0 * np.sqrt(2.0)
        got = theory.dsgd_bias_bound(lr=0.01, gap=0.2, zeta=7.0, smoothness=3.0, spread=1.0, order=order)
        assert got == pytest.approx(2.0 * (0.01 * r * 7.0 / (1 - q)) ** 2, rel=1e-12)


def test_the_bias_bound_at_its_ends():
    assert theory.dsgd_bias_bound(lr=0.1, gap=1.0, zeta=1.0) == 0.0  # one exact average
    assert theory.dsgd_bias_bound(lr=0.1, gap=1.0, zeta=1.0, order="combine_then_adapt") > 0.0
    assert theory.dsgd_bias_bound(lr=0.1, gap=0.5, zeta=0.0) == 0.0
    assert theory.dsgd_bias_bound(lr=1.0, gap=0.5, zeta=1.0) == np.inf  # q = 1


def test_the_terms_of_dsgd():
    known = {"n": 16, "gap": 0.1, "sigma": 2.0, "zeta": 3.0, "smoothness": 5.0, "start": 7.0}
    terms = theory.dsgd_terms(1_000, **known)
    assert terms == pytest.approx(
        {
            "statistical": np.sqrt(35 * 4 / 16_000),
            "consensus": (35 * (30 + 2 / np.sqrt(0.1)) / 1_000) ** (2 / 3),
            "optimization": 0.35,
        }
    )

    def with_(rounds=1_000, **changed):
        return theory.dsgd_terms(rounds, **known | changed)

    for name, power in (("statistical", 1 / 2), ("consensus", 2 / 3), ("optimization", 1)):
        assert with_(rounds=8_000)[name] == pytest.approx(terms[name] / 8**power)
        assert with_(smoothness=40.0)[name] == pytest.approx(terms[name] * 8**power)
    assert with_(n=64)["statistical"] == pytest.approx(terms["statistical"] / 2)  # the linear speed-up
    for name in ("consensus", "optimization"):
        assert with_(n=64)[name] == terms[name] < with_(gap=0.05)[name]
    assert with_(gap=0.05)["statistical"] == terms["statistical"]
    assert with_(zeta=0.0)["consensus"] < terms["consensus"]
    assert with_(sigma=0.0, zeta=0.0) == pytest.approx(
        {"statistical": 0, "consensus": 0, "optimization": 0.35}
    )


@pytest.mark.parametrize(("setting", "zeta"), [("iid", 0.0), ("non_iid", 1.0)])
def test_the_transient_bound_is_where_the_terms_cross(setting, zeta):
    """In the limit of small gaps, where ζ/p outweighs σ/√p."""
    for n, gap in ((4, 1e-5), (16, 1e-6)):
        rounds = theory.transient_bound(n, gap, setting)
        terms = theory.dsgd_terms(int(rounds), n=n, gap=gap, sigma=1.0, zeta=zeta)
        assert terms["consensus"] / terms["statistical"] == pytest.approx(1, rel=1e-2)


def test_the_transient_bound_grows_with_n_and_falls_with_the_gap():
    assert theory.transient_bound(10, 0.1, "strongly_convex") == pytest.approx(1e3)
    assert theory.transient_bound(10, 0.1, "iid") == pytest.approx(1e5)
    assert theory.transient_bound(10, 0.1, "non_iid") == pytest.approx(1e7)


TERMS = {"n": 4, "gap": 0.5, "sigma": 1.0, "zeta": 1.0}
BIAS = {"lr": 0.1, "gap": 0.5, "zeta": 1.0}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.transient_bound(4, 0.5, "convex"), "must be one of strongly_convex, .*got 'convex'"),
        (lambda: theory.transient_bound(0, 0.5, "iid"), "n must be at least 1, got 0"),
        (lambda: theory.transient_bound(4, 0.0, "iid"), r"gap must be in \(0, 1\], got 0.0"),
        (lambda: theory.dsgd_terms(0, **TERMS), "rounds and n must be at least 1, got 0 and 4"),
        (lambda: theory.dsgd_terms(9, **TERMS | {"gap": 2.0}), r"gap must be in \(0, 1\], got 2.0"),
        (lambda: theory.dsgd_terms(9, **TERMS | {"sigma": -1.0}), "sigma must be at least 0"),
        (lambda: theory.dsgd_bias_bound(**BIAS | {"lr": -0.1}), "lr must be at least 0"),
        (lambda: theory.dsgd_bias_bound(**BIAS | {"zeta": np.nan}), "zeta must be at least 0"),
        (lambda: theory.dsgd_bias_bound(**BIAS | {"gap": 0.0}), r"gap must be in \(0, 1\]"),
        (lambda: theory.dsgd_bias_bound(**BIAS, order="combine"), "order must be one of adapt_then_combine"),
    ],
)  # fmt: skip
def test_what_is_out_of_range_is_refused(call, message):
    with pytest.raises(ValueError, match=f"theory: .*{message}"):
        call()
