"""Plain tables on disk: lists of dicts as CSV that keeps every bit of a float, written whole or not at all."""

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def to_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as CSV text; the columns are all keys in order of appearance."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def read_csv(path: Path) -> list[dict[str, Any]]:
    """Rows of a CSV file with numbers as numbers and empty cells left out; no rows if there is no file.

    A row that a crash cut short is left out.
    """
    if not path.exists():
        return []
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    rows = [row for row in csv.DictReader(io.StringIO(whole)) if None not in row.values()]
    return [{key: _number(value) for key, value in row.items() if value != ""} for row in rows]


def append_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Adds rows to a file that has the same columns."""
    with path.open("a", newline="") as file:
        csv.DictWriter(file, list(rows[0]), lineterminator="\n").writerows(rows)


def write_atomically(path: Path, text: str) -> None:
    """Writes a file whole: readers see the old text or the new, never half."""
    temporary = path.with_name(path.name + ".writing")
    temporary.write_text(text)
    os.replace(temporary, path)


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def read_table(path: str, who: str, columns: tuple[str, ...]) -> "pd.DataFrame":
    """A table that a user gives, from a CSV file or one that ends in .parquet.

    Args:
      path: of the file.
      who: asks for it, for errors.
      columns: that it must have.

    Raises:
      ValueError: if there is no such file, it is no table, or a column is missing.
    """
    import pandas as pd

    if not Path(path).is_file():
        raise ValueError(f"{who}: path: there is no file {path!r}")
    try:
        # From pandas 3 on every bit is kept by default, and the option is no more.
        exact: Any = {"float_precision": "round_trip"} if pd.__version__ < "3" else {}
        table = pd.read_parquet(path) if path.endswith(".parquet") else pd.read_csv(path, **exact)
    except ImportError:
        raise ValueError(
            f'{who}: parquet files need the extra "traffic": pip install "dlax[traffic]"'
        ) from None
    except Exception as error:  # whatever the parsers raise
        raise ValueError(f"{who}: {path} is no table: {error}") from None
    for name in columns:
        if name not in table:
            raise ValueError(f"{who}: {path}: column {name!r} is missing; there are {', '.join(table)}")
    return table
