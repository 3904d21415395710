"""The quick reproduction of SybilWall: rows, verdicts, picture; and what it is made of."""

import numpy as np
import pytest

from dlax.papers import reproduce
from dlax.papers import sybilwall as paper

pytestmark = pytest.mark.xdist_group("sybilwall")  # one run of the paper serves all tests here

FAILING = [
    "3 Sybils: SybilWall is ahead of averaging in accuracy, points (not claimed)",
    "10 Sybils: SybilWall is ahead of averaging in accuracy, points (not claimed)",
    "no Sybils: SybilWall is behind averaging in accuracy, points (not claimed)",
]
SLOW_FAILING = ["10 Sybils: attack success, SybilWall over multi-Krum (not claimed)", *FAILING]


@pytest.fixture(scope="module")
def made():
    return reproduce("sybilwall")


def test_verdicts_are_as_they_are(made):
    """Protection is dear on a linear model: a node trusts few of its neighbours."""
    assert made.claims.failing == FAILING
    assert len(made.rows()) == 29


def test_the_picture_has_its_three_panels_with_bands(made):
    left, middle, right = made.figure.axes
    for axes in (left, middle, right):
        assert [line.get_label() for line in axes.lines] == list(paper.MAIN)
        assert len(axes.collections) == len(paper.MAIN)
        assert axes.get_xlabel() and axes.get_ylabel()
    assert [tick.get_text() for tick in right.get_xticklabels()] == ["0", "1", "3", "10"]


def test_the_numbers_of_the_picture_are_those_of_the_claims(made):
    success = {name: np.mean(values) for name, values in made.data["attack_success"].items()}
    (row,) = [
        r
        for r in made.claims.rows
        if r["claim"].startswith("3 Sybils: attack success, SybilWall over average")
    ]
    assert float(row["measured"]) == pytest.approx(success["SybilWall, 3"] / success["average, 3"], rel=1e-3)
    ends = np.array(made.data["curves"]["SybilWall"]["values"])[:, -1]
    np.testing.assert_array_equal(ends, made.data["attack_success"]["SybilWall, 3"])


@pytest.mark.parametrize("sybils", [0, 1, 3, 10])
def test_every_honest_node_has_one_edge_to_a_sybil_that_attacks(sybils):
    arena = paper.arena(sybils, paper.H)
    links = arena.dense() != 0
    np.fill_diagonal(links, False)
    honest, attack = links[: paper.H, : paper.H], links[: paper.H, paper.H :]
    assert (honest.sum(axis=1) == 4).all() and (honest == honest.T).all()
    assert (attack.sum(axis=1) == (sybils > 0)).all()
    assert (attack.any(axis=0) == (np.arange(paper.S) < sybils)).all()
    index, weight, own = (arena.draw.arrays[name] for name in ("index", "weight", "own"))
    W = np.diag(own)
    np.add.at(W, (np.arange(len(W))[:, None], index), weight)
    np.testing.assert_allclose(W, arena.dense(), atol=1e-15)
    np.testing.assert_allclose(W.sum(axis=1), 1)


def test_sybils_train_on_their_share_and_on_all_of_the_two_classes():
    data = paper.gaussian_classes()
    problem = paper.make_problem(data, paper.QUICK)
    y, start, count = problem.shared["y"], problem.local["start"], problem.local["count"]
    assert len(set(start[paper.H :])) == len(set(count[paper.H :])) == 1
    rows = y[start[-1] : start[-1] + count[-1]]
    for c in paper.CLASSES:
        assert (rows == c).sum() >= (data.y_train == c).sum()
    share = len(data.y_train) - count[: paper.H].sum()
    assert count[-1] == share + np.isin(data.y_train, paper.CLASSES).sum()
    assert len(problem.shared["x"]) == len(problem.shared["weight"]) == len(y) == start[-1] + count[-1]
    assert problem.shared["weight"][len(data.y_train) :].sum() == 0


@pytest.mark.slow
def test_the_slow_version(images):
    made = reproduce("sybilwall", slow=True)
    assert made.claims.failing == SLOW_FAILING
