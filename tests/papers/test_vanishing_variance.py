"""The quick reproduction of the vanishing variance: rows, verdicts, picture."""

import numpy as np
import pytest

from dlax.papers import reproduce, vanishing_variance

pytestmark = pytest.mark.xdist_group("vanishing_variance")  # one run of the paper serves all tests here


@pytest.fixture(scope="module")
def made():
    return reproduce("vanishing_variance")


def test_every_claim_holds(made):
    assert made.claims.failing == []
    assert len(made.rows()) == 15


def test_the_weights_are_those_of_the_authors():
    W = vanishing_variance.graph().dense()
    np.testing.assert_allclose(np.diag(W), 0.5)
    np.testing.assert_allclose(W.sum(axis=1), 1)
    assert set(np.unique(W[~np.eye(30, dtype=bool)])) == {0.0, 1 / 16}
    assert set(np.unique(vanishing_variance.graph(2, 0.0).dense())) == {0.0, 0.5}


def test_the_picture_shows_who_learns_and_what_is_left_of_the_variance(made):
    left, right = made.figure.axes
    last = {line.get_label(): line.get_ydata()[-1] for line in left.lines}
    assert last["plain, own starts"] < 20 and min(v for k, v in last.items() if k != "plain, own starts") > 85
    assert len(left.collections) == 4
    np.testing.assert_allclose(made.data["variance"]["predicted"][:2], [1, 0.25 + 0.25 / 8])
    for axes in (left, right):
        assert axes.get_xlabel() and axes.get_ylabel()


@pytest.mark.slow
def test_the_slow_version(images):
    made = reproduce("vanishing_variance", slow=True)
    assert made.claims.failing == ["5. ... that degree 8 is behind degree 2, 2 hidden layers"]
