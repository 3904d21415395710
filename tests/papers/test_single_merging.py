"""The quick reproduction of a single global merging: rows, verdicts, picture."""

import pytest

from dlax.papers import reproduce

pytestmark = pytest.mark.xdist_group("single_merging")  # one run of the paper serves all tests here


@pytest.fixture(scope="module")
def made():
    return reproduce("single_merging")


def test_every_claim_holds(made):
    assert made.claims.failing == []
    assert len(made.rows()) == 21


def test_the_picture_shows_local_and_merged_models_and_the_place_of_the_window(made):
    left, right = made.figure.axes
    last = {line.get_label(): line.get_ydata()[-1] for line in left.lines}
    assert last["r = 0.2, merged"] > last["r = 0.2, local"] > last["r = 0, local"]
    assert len(left.collections) == len(left.lines) and len(right.lines) == 1
    window = right.lines[0].get_ydata()
    assert window[-1] == max(window)
    for axes in (left, right):
        assert axes.get_xlabel() and axes.get_ylabel()


@pytest.mark.slow
def test_the_slow_version(images):
    made = reproduce("single_merging", slow=True)
    assert made.claims.failing == []
