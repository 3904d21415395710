"""Every notebook runs without an error, ends with its table of claims, and is what is committed beside it."""

import importlib.util
from pathlib import Path

import pytest

jupytext = pytest.importorskip("jupytext")
nbformat = pytest.importorskip("nbformat")

ROOT = Path(__file__).resolve().parent.parent
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


def script():
    """scripts/notebooks.py as a module."""
    path = ROOT / "scripts" / "notebooks.py"
    spec = importlib.util.spec_from_file_location("notebooks_script", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_every_notebook_runs_and_reaches_the_committed_verdicts(text):
    committed = nbformat.read(text.with_suffix(".ipynb"), as_version=4)
    assert claims(script().execute(text)) == claims(committed)


def test_the_kernel_imports_this_checkout_before_any_other(tmp_path, monkeypatch):
    """Another dlax on the path of the caller, as an installed one would be, does not win."""
    other = tmp_path / "other" / "dlax"
    other.mkdir(parents=True)
    (other / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(other.parent))
    text = tmp_path / "where.py"
    text.write_text("# %%\nimport importlib.util\nprint(importlib.util.find_spec('dlax').origin)\n")
    (cell,) = script().execute(text).cells
    assert Path(cell.outputs[0].text.strip()) == (ROOT / "dlax" / "__init__.py").resolve()
