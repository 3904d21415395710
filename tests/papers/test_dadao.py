"""The quick reproduction of DADAO: rows, verdicts, picture; and the pieces it is made of."""

import jax
import numpy as np
import pytest

from dlax import topology as tp
from dlax.papers import dadao as paper
from dlax.papers import reproduce
from dlax.simulate import simulate

pytestmark = pytest.mark.xdist_group("dadao")  # one run of the paper serves all tests here


@pytest.fixture(scope="module")
def made():
    return reproduce("dadao")


def test_all_claims_hold(made):
    assert made.claims.failing == []
    assert len(made.rows()) == 29


def test_the_picture_shows_five_methods_with_bands_and_what_a_precision_costs(made):
    gradients, edges, kappa, graphs = made.figure.axes
    methods = ["DADAO", "ADOM+", "ADOM+, multi-consensus", "MSDA", "continuized"]
    for axes in (gradients, edges):
        assert [line.get_label() for line in axes.lines] == methods
        assert len(axes.collections) == 5 and axes.get_yscale() == "log"
    assert list(kappa.lines[0].get_xdata()) == [2, 4, 8]
    names = [text.get_text() for text in graphs.get_legend().get_texts()]
    assert names == ["ring", "complete", "star", "path", "grid"]
    for axes in made.figure.axes:
        assert axes.get_xlabel() and axes.get_ylabel()


def test_the_numbers_of_the_picture_are_those_of_the_runs(made):
    """Counts follow the clocks; the barbell's optimised total is an eighth to a half of the uniform one."""
    rate = tp.uniform_rates(tp.star(20)).total
    star = made.data["rates"]["star 20 16"]
    assert star["distance"].shape == star["edges"].shape == (3, len(star["time"]))
    np.testing.assert_allclose(star["edges"][:, -1] / star["time"][-1], rate, rtol=0.05)
    np.testing.assert_allclose(star["gradients"][:, -1] / star["time"][-1], 20, rtol=0.05)
    uniform, optimal = made.data["edge rates"]["barbell"]
    assert uniform / 8 < optimal < uniform / 2


def test_a_trace_reads_slopes_and_costs():
    time = np.arange(0.0, 50.0)
    distance = np.exp(-0.3 * time)[None]
    trace = paper.Trace(time, distance, 20 * time[None], 7 * time[None])
    assert trace.slope() == pytest.approx(-0.3)
    assert trace.cost("edges", 1e-3) == pytest.approx(7 * np.log(1e3) / 0.3)  # between two measurements
    assert trace.cost("gradients", 1e-12) == np.inf
    assert trace.at_least("gradients", 1e-12) == 20 * 49  # all that was spent
    assert trace.at_least("edges", 1e-3) == trace.cost("edges", 1e-3).mean()
    assert trace.share() == pytest.approx(7 / 20)
    blown = paper.Trace(time, np.where(time < 40, np.exp(2 * time), np.inf)[None], time, time)
    assert blown.slope() == pytest.approx(2.0)


@pytest.mark.parametrize("make", [paper.linear_regression, paper.logistic_regression])
def test_the_authors_data_have_smoothness_1_and_their_optimum(make):
    with jax.enable_x64(True):
        problem, kappa = make(4, samples=30, seed=1)
        x, local = problem.optimum, problem.local
        gradient = jax.grad(lambda x: problem.objective(x, local, problem.shared))(x)
        assert np.abs(gradient["x"]).max() < 1e-12
        assert float(problem.objective(x, local, problem.shared)) == pytest.approx(problem.minimum, rel=1e-12)
        hessians = [
            jax.hessian(lambda v, i=i: problem.loss({"x": v}, None, {k: a[i] for k, a in local.items()}, ()))(
                at
            )
            for i in range(4)
            for at in (x["x"], 0 * x["x"])
        ]
    spectra = np.linalg.eigvalsh(hessians)
    assert spectra.max() <= 1 + 1e-9 and spectra.min() >= 1 / kappa - 1e-9
    assert spectra.max() > 0.9  # L is no larger than need be: at 0 the logistic's curvature is its largest


def test_conjugates_of_the_linear_regression_invert_its_gradients():
    problem, _ = paper.linear_regression(3, samples=20)
    with jax.enable_x64(True):
        for i in range(3):
            local = {k: a[i] for k, a in problem.local.items()}
            x = problem.conjugate({"x": np.array([0.3, -2.0])}, local, problem.shared)
            y = jax.grad(lambda x, local=local: problem.loss(x, jax.random.key(0), local, problem.shared))(x)
            np.testing.assert_allclose(y["x"], [0.3, -2.0], atol=1e-11)


def test_dadao_showing_z_is_dadao():
    """Its inner rows' models are those of DADAO: the wrapper changes what is shown, not what happens."""

    def showing_x(smoothness=1.0, convexity=0.1):
        rule = paper.dadao_showing_z(smoothness, convexity)

        def flow(own, elapsed, facts):
            own = rule.flow(own, elapsed, facts)
            return own._replace(params=own.row.params)

        return rule._replace(flow=flow)

    problem, ring = paper.quadratic_of(4.0, 6), tp.ring(6)
    options = {"duration": 5.0, "precision": "float64", "hyper": {"convexity": 0.25}}
    through = simulate(showing_x, problem, ring, **options).params["x"]
    direct = simulate(paper.dadao, problem, ring, **options).params["x"]
    z = simulate(paper.dadao_showing_z, problem, ring, **options).params["x"][0]
    np.testing.assert_allclose(through, direct, rtol=0, atol=1e-13)
    assert np.abs(z).max() > 1e-3 and np.abs(z.sum(axis=0)).max() < 1e-12 * np.abs(z).max()


@pytest.mark.slow
def test_the_slow_version():
    made = reproduce("dadao", slow=True)
    assert made.claims.failing == ["complete of 20, κ = 2, to 1e-08: gradients of DADAO / ADOM+"]
    assert len(made.figure.axes) == 8
