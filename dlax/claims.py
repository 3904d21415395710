"""Claims with verdicts: what theory or a paper says, what was measured, and whether it holds.

    claims = Claims()
    claims.close("a ring's gap is (2/3)(1 − cos(2π/n))", predicted, measured, rel=1e-9)
    claims  # in a notebook: the table

Every verdict is computed from the two numbers; a claim that fails stays in the table, as failing. Numbers that are
not finite hold nothing, on either side: an infinite bound would hold whatever was measured.
"""

import math
from typing import Any

import pandas as pd


class Claims:
    """A list of claims, each with what was predicted, what was measured, and whether it holds."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def close(
        self, claim: str, predicted: float, measured: float, *, rel: float = 0.0, abs: float = 0.0
    ) -> bool:
        """|measured − predicted| ≤ max(rel · |predicted|, abs).

        Args:
          claim: what is claimed, in words.
          predicted: by theory or a paper.
          measured: here.
          rel: relative tolerance; say in the claim where it comes from.
          abs: absolute tolerance.

        Raises:
          ValueError: if a tolerance is negative or not finite.
        """
        if not (0.0 <= rel < math.inf and 0.0 <= abs < math.inf):
            raise ValueError(f"claims: rel and abs must be at least 0 and finite, got {rel} and {abs}")
        allowed = max(rel * math.fabs(predicted), abs)
        within = f"± {_number(allowed)}" if abs > rel * math.fabs(predicted) else f"± {100 * rel:g} %"
        holds = math.fabs(measured - predicted) <= allowed
        return self._add(claim, f"{_number(predicted)} {within}", measured, holds, predicted)

    def at_most(self, claim: str, bound: float, measured: float) -> bool:
        """Measured ≤ bound."""
        return self._add(claim, f"≤ {_number(bound)}", measured, measured <= bound, bound)

    def at_least(self, claim: str, bound: float, measured: float) -> bool:
        """Measured ≥ bound."""
        return self._add(claim, f"≥ {_number(bound)}", measured, measured >= bound, bound)

    def between(self, claim: str, low: float, high: float, measured: float) -> bool:
        """Low ≤ measured ≤ high."""
        holds = low <= measured <= high
        return self._add(claim, f"{_number(low)} to {_number(high)}", measured, holds, low, high)

    def table(self) -> pd.DataFrame:
        """Claim, predicted, measured, holds?: one row a claim, in order."""
        return pd.DataFrame(self.rows, columns=["claim", "predicted", "measured", "holds?"])

    @property
    def failing(self) -> list[str]:
        """The claims that do not hold."""
        return [row["claim"] for row in self.rows if row["holds?"] != "yes"]

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """What a notebook shows: the table; its rows are kept as data beside it."""
        with pd.option_context("display.max_colwidth", None):
            html = self.table().to_html(index=False, escape=True, border=0)
            return {
                "text/plain": self.table().to_string(index=False),
                "text/html": html,
                "application/json": self.rows,
            }

    def _add(self, claim: str, predicted: str, measured: float, holds: bool, *numbers: float) -> bool:
        holds = bool(holds) and all(map(math.isfinite, (measured, *numbers)))
        self.rows.append(
            {
                "claim": claim,
                "predicted": predicted,
                "measured": _number(measured)
                if holds
                else f"{measured:.10g}",  # a near miss should look like one
                "holds?": "yes" if holds else "NO",
            }
        )
        return holds


def _number(value: float) -> str:
    return f"{value:.4g}"
