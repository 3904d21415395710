"""Every notebook runs without an error, ends with its table of claims, and is what is committed beside it."""

import importlib.util
from pathlib import Path

import pytest

jupytext = pytest.importorskip("jupytext")
nbformat = pytest.importorskip("nbformat")

ROOT = Path(__file__).parent.parent
TEXTS = sorted((ROOT / "notebooks").glob("*.py"))
COLUMNS = ["claim", "predicted", "measured", "holds?"]


def claims(notebook):
    """The rows of the table that the last code cell shows."""
    last = [cell for cell in notebook.cells if cell.cell_type == "code"][-1]
    found = [
        out.data["application/json"] for out in last.outputs if "application/json" in out.get("data", {})
    ]
    assert found, "the last cell shows the claims"
    assert len(found[-1]) >= 3 and all(sorted(row) == sorted(COLUMNS) for row in found[-1])
    return [(row["claim"], row["holds?"]) for row in found[-1]]


def sources(notebook):
    return [(cell.cell_type, cell.source.strip()) for cell in notebook.cells]


def test_there_are_notebooks():
    assert len(TEXTS) >= 7


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_the_committed_notebook_is_the_text_form(text):
    committed = nbformat.read(text.with_suffix(".ipynb"), as_version=4)
    assert sources(committed) == sources(jupytext.read(text)), "run scripts/notebooks.py"
    assert claims(committed)


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_every_notebook_runs_and_reaches_the_committed_verdicts(text):
    path = ROOT / "scripts" / "notebooks.py"
    spec = importlib.util.spec_from_file_location("notebooks_script", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    committed = nbformat.read(text.with_suffix(".ipynb"), as_version=4)
    assert claims(script.execute(text)) == claims(committed)
