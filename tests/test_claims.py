"""The table of claims: every verdict follows from its two numbers."""

import math

import numpy as np
import pytest

from dlax.claims import Claims

COLUMNS = ["claim", "predicted", "measured", "holds?"]


def rows(claims):
    return claims.table().to_dict("records")


@pytest.mark.parametrize(
    ("predicted", "measured", "tolerance", "holds"),
    [
        (2.0, 2.0, {}, True),
        (2.0, np.nextafter(2.0, 3.0), {}, False),
        (2.0, 2.25, {"rel": 0.125}, True),
        (2.0, 1.75, {"rel": 0.125}, True),
        (-2.0, -2.25, {"rel": 0.125}, True),
        (2.0, 2.2501, {"rel": 0.125}, False),
        (2.0, 2.5, {"rel": 0.125, "abs": 0.5}, True),  # the wider of the two
        (0.0, 1e-12, {"rel": 0.5}, False),  # half of nothing is nothing
        (0.0, 1e-12, {"abs": 1e-11}, True),
    ],
)
def test_close(predicted, measured, tolerance, holds):
    claims = Claims()
    assert claims.close("c", predicted, measured, **tolerance) is holds
    assert [row["holds?"] for row in rows(claims)] == ["yes" if holds else "NO"]
    assert claims.failing == ([] if holds else ["c"])


@pytest.mark.parametrize(
    ("method", "numbers", "measured", "holds"),
    [
        ("at_most", (1.0,), 1.0, True),
        ("at_most", (1.0,), np.nextafter(1.0, 2.0), False),
        ("at_least", (1.0,), 1.0, True),
        ("at_least", (1.0,), np.nextafter(1.0, 0.0), False),
        ("between", (1.0, 2.0), 1.0, True),
        ("between", (1.0, 2.0), 2.0, True),
        ("between", (1.0, 2.0), 2.5, False),
        ("between", (1.0, 2.0), 0.5, False),
        ("between", (2.0, 1.0), 1.5, False),
    ],
)
def test_inequalities(method, numbers, measured, holds):
    claims = Claims()
    assert getattr(claims, method)("c", *numbers, measured) is holds
    assert claims.failing == ([] if holds else ["c"])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("method", "numbers"),
    [("close", (0.0,)), ("at_most", (0.0,)), ("at_least", (0.0,)), ("between", (-1.0, 1.0))],
)
def test_a_number_that_is_not_finite_holds_nothing(method, numbers, bad):
    """Measured or predicted: an infinite bound would hold whatever was measured."""
    claims = Claims()
    getattr(claims, method)("measured", *numbers, bad)
    for place in range(len(numbers)):
        getattr(claims, method)("predicted", *numbers[:place], bad, *numbers[place + 1 :], 0.0)
    getattr(claims, method)("both", *[bad] * len(numbers), bad)
    assert claims.failing == ["measured", *["predicted"] * len(numbers), "both"]


@pytest.mark.parametrize("tolerance", [{"rel": -0.1}, {"abs": -1.0}, {"abs": math.inf}, {"rel": math.nan}])
def test_a_tolerance_that_is_none_is_refused(tolerance):
    with pytest.raises(ValueError, match="rel and abs must be at least 0 and finite"):
        Claims().close("c", 1.0, 1.0, **tolerance)


def test_the_table():
    claims = Claims()
    assert list(claims.table().columns) == COLUMNS and len(claims.table()) == 0
    claims.close("half", 0.5, np.float32(0.501), rel=0.01)
    claims.at_most("small", 1e-9, 2e-9)
    claims.between("within", 1, 2, 1.5)
    claims.at_least("near miss", 1, 0.99999999)
    assert rows(claims) == [
        dict(zip(COLUMNS, row, strict=True))
        for row in [
            ("half", "0.5 ± 1 %", "0.501", "yes"),
            ("small", "≤ 1e-09", "2e-09", "NO"),
            ("within", "1 to 2", "1.5", "yes"),
            ("near miss", "≥ 1", "0.99999999", "NO"),
        ]
    ]
    assert claims.failing == ["small", "near miss"]


def test_what_a_notebook_shows_is_the_table_and_its_rows():
    claims = Claims()
    claims.at_most("a < b & c", 1.0, 2.0)
    shown = claims._repr_mimebundle_()
    assert shown["application/json"] == rows(claims)
    assert "a &lt; b &amp; c" in shown["text/html"] and "NO" in shown["text/plain"]
