"""The quick reproduction of MoDeST: rows, verdicts, picture; and how costs are read off a curve."""

import numpy as np
import pytest

from dlax import topology as tp
from dlax.algorithms import dsgd
from dlax.papers import modest as paper
from dlax.papers import reproduce
from dlax.problems import quadratic
from dlax.simulate import Clock, simulate

pytestmark = pytest.mark.xdist_group("modest")  # one run of the paper serves all tests here

FAILING = ["seconds to 93 %, D-PSGD by MoDeST, all about as fast (Plexus: 1.2 to 8.3)"]
FAILING_SLOW = [
    "seconds to 80 %, D-PSGD by MoDeST, all about as fast (Plexus: 1.2 to 8.3)",
    "seconds to 80 %, D-PSGD by MoDeST, exponential speeds (Plexus: 1.2 to 8.3)",
]


@pytest.fixture(scope="module")
def made():
    return reproduce("modest")


def test_verdicts_are_as_they_are(made):
    assert made.claims.failing == FAILING
    assert len(made.rows()) == 36


def test_the_numbers_of_the_picture_are_those_of_the_runs(made):
    curves, crash, window = (made.data[name] for name in ("curves", "crash", "window"))
    assert tuple(curves) == paper.METHODS
    for name, curve in curves.items():
        shapes = {np.shape(curve[what]) for what in ("accuracy", "rounds", "bytes", "seconds")}
        assert len(shapes) == 1
        assert shapes.pop()[0] == (paper.SEEDS if name == "D-PSGD" else paper.ORDERS)
        assert (np.diff(curve["bytes"]) > 0).all() and (np.diff(curve["seconds"]) > 0).all()
        assert np.mean(curve["accuracy"], axis=0)[-1] > paper.QUICK.target
    model = 4 * (64 * 32 + 32 + 32 * 10 + 10)
    for bytes_, rounds in zip(curves["D-PSGD"]["bytes"], curves["D-PSGD"]["rounds"], strict=True):
        np.testing.assert_allclose(bytes_, np.array(rounds) * 100 * model, rtol=1e-6)
    assert max(crash["pings"][1:50]) == 10 and max(crash["pings"][50:150]) > 60
    before = np.array(crash["crash"])[:, : 50 // paper.QUICK.every + 1]
    np.testing.assert_array_equal(before, np.array(crash["calm"])[:, : 50 // paper.QUICK.every + 1])
    assert (np.diff(np.mean(window["evicted"], axis=0)) <= 0).all()


def test_the_picture_has_costs_the_crash_and_the_window(made):
    cost, seconds, crash, pings, evicted, wasted = made.figure.axes
    for axes in (cost, seconds):
        labels = [line.get_label().partition(",")[0] for line in axes.lines[:3]]
        assert labels == list(paper.METHODS) and len(axes.collections) == 3 and axes.get_xscale() == "log"
    np.testing.assert_allclose(
        cost.lines[0].get_xdata(), np.mean(made.data["curves"]["MoDeST"]["bytes"], axis=0)[1:] / 1e6
    )
    assert len(crash.collections) == 2
    np.testing.assert_allclose(pings.lines[0].get_ydata(), made.data["crash"]["pings"][1:])
    np.testing.assert_allclose(evicted.lines[0].get_ydata(), np.mean(made.data["window"]["evicted"], axis=0))
    np.testing.assert_allclose(wasted.lines[0].get_ydata(), np.mean(made.data["window"]["wasted"], axis=0))
    for axes in made.figure.axes:
        assert axes.get_xlabel() and axes.get_ylabel()


def test_costs_are_read_between_running_means():
    """Of three: 50, then 70."""
    across, accuracy = np.array([0.0, 10.0, 20.0, 30.0]), np.array([10.0, 60.0, 80.0, 70.0])
    assert paper.reached(across, accuracy, 60.0) == pytest.approx(15.0)
    assert paper.reached(across, accuracy, 50.0) == 10.0
    assert paper.reached(across, accuracy, 75.0) == np.inf
    tables = np.array([[[10.0, 40.0, 50.0, 60.0], accuracy]])
    costs = [np.array([across / 10, across])]
    best = paper.best(tables, costs, 15, paper.QUICK._replace(target=60.0, every=5, rates=(0.1, 0.2, 0.3)))
    assert best.lr == 0.2 and best.seconds.tolist() == [across.tolist()]
    assert best.rounds.tolist() == [[0, 5, 10, 15]]
    assert paper.price(best, "bytes", 60.0) == pytest.approx(1.5)


def test_seconds_of_peers_are_the_clocks():
    """The host's recursion, and the compiled run's clock."""
    rng = np.random.default_rng(0)
    world = {"compute": rng.uniform(1, 9, 12), "latency": rng.uniform(0, 1, (12, 12)), "bandwidth": 50.0}
    clock = Clock(world["compute"], world["latency"], 8 * world["bandwidth"], barrier="neighbours")
    rows = simulate(
        dsgd(0.01), quadratic(12, dim=3), tp.one_peer_exponential(12), rounds=9, eval_every=1, clock=clock,
        precision="float64",
    ).rows  # fmt: skip
    made = paper.peer_seconds(9, model_bytes=3 * 8.0, **world)
    np.testing.assert_allclose([row["time"] for row in rows], made, rtol=1e-12)


@pytest.mark.slow
def test_the_slow_version(images):
    made = reproduce("modest", slow=True)
    assert made.claims.failing == FAILING_SLOW
