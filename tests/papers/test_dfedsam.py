"""The quick reproduction of DFedSAM: rows, verdicts, picture."""

import numpy as np
import pytest

from dlax.papers import reproduce

pytestmark = pytest.mark.xdist_group("dfedsam")  # one run of the paper serves all tests here

FAILING = [
    "DFedSAM is ahead of DFedAvg by a point (inferred)",
    "equal communication, DFedSAM for 4 times the rounds: DFedSAM-MGS is ahead, points (not claimed)",
]
SLOW_FAILING = [
    "DFedSAM is ahead of the best of DFedAvg, DFedAvgM, D-PSGD, points",
    *FAILING,
    "Dirichlet 0.6: DFedSAM is ahead of DFedAvg, points",
    "Dirichlet 0.6: DFedSAM is ahead of DFedAvg by a point (inferred)",
]
# Missed by less than 0.1 point: rounding of another machine may turn them.
BORDERLINE = [
    "DFedSAM-MGS competes with FedSAM: points behind (inferred)",
    "ρ from 0 up to 0.1: least change from one ρ to the next, points (inferred)",
]


@pytest.fixture(scope="module")
def made():
    return reproduce("dfedsam")


def test_verdicts_are_as_they_are(made):
    """On digits a climb gains less than a point; and gossip steps are not free."""
    assert made.claims.failing == FAILING
    assert len(made.rows()) == 23


def test_the_picture_has_its_three_panels_with_bands(made):
    left, middle, right = made.figure.axes
    names = [line.get_label() for line in left.lines]
    assert names == ["FedSAM", "FedAvg", "DFedSAM-MGS", "DFedSAM", "DFedAvg"]
    assert len(left.collections) == len(names)
    assert [tick.get_text().split("\n")[0] for tick in middle.get_xticklabels()] == ["ring", "complete"]
    assert len(right.lines) == 6
    for axes in made.figure.axes:
        assert axes.get_xlabel() and axes.get_ylabel()


def test_the_numbers_of_the_picture_are_those_of_the_claims(made):
    curves, table = made.data["curves"], made.data["topology"]
    for name in ("DFedAvg", "DFedSAM", "DFedSAM-MGS"):
        np.testing.assert_array_equal(np.array(curves[name]["accuracy"])[:, -1], table[name]["ring"])
    np.testing.assert_array_equal(made.data["radius"][0.1], table["DFedSAM"]["ring"])
    gap = np.mean(table["DFedSAM"]["ring"]) - np.mean(table["DFedAvg"]["ring"])
    (row,) = [row for row in made.claims.rows if row["claim"].startswith("DFedSAM is ahead of DFedAvg by")]
    assert float(row["measured"]) == pytest.approx(gap, rel=1e-3)


def test_nothing_is_claimed_of_the_distance_to_consensus_itself(made):
    """A climb lets the nodes spread farther: it is flatness that the paper's consistency is about."""
    assert all(not row["claim"].startswith("distance to consensus: DFedSAM over") for row in made.claims.rows)


@pytest.mark.slow
def test_the_slow_version(images):
    made = reproduce("dfedsam", slow=True)
    assert [claim for claim in made.claims.failing if claim not in BORDERLINE] == SLOW_FAILING
    assert len(made.rows()) == 31
