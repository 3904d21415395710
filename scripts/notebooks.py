"""Executes the notebooks' text form and writes them, with pictures and tables, beside it as .ipynb.

    .venv/bin/python scripts/notebooks.py            # all of them
    .venv/bin/python scripts/notebooks.py 01 04      # those whose names begin so

Needs the extra "notebooks". The text form, `notebooks/*.py`, is what people edit; it opens in Jupyter through
jupytext, and any editor can run it cell by cell.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "notebooks"


def execute(text: Path) -> nbformat.NotebookNode:
    """Runs every cell in a fresh kernel; raises on the first error."""
    notebook = jupytext.read(text)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    # The kernel starts in notebooks/, where "dlax" would be whichever is installed: this checkout's comes first.
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    with tempfile.TemporaryDirectory() as folder:
        # Ports may be taken by another job before the kernel is up; files in a folder of its own are not.
        sockets = {"transport": "ipc", "connection_file": f"{folder}/kernel.json"}
        NotebookClient(
            notebook,
            config=Config({"KernelManager": sockets}),
            timeout=600,
            startup_timeout=600,
            iopub_timeout=600,  # by default outputs that come 4 s late, as on a busy machine, are dropped in silence
            raise_on_iopub_timeout=True,
            kernel_name="python3",
            resources={"metadata": {"path": FOLDER}},
        ).execute(env={**os.environ, "PYTHONPATH": path})
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number:02d}"  # the same from run to run
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":  # warnings and progress are not part of the record
            cell.outputs = [out for out in cell.outputs if out.get("name") != "stderr"]
    return notebook


def main() -> None:
    """Executes those that were asked for."""
    wanted = tuple(sys.argv[1:]) or ("",)
    for text in sorted(FOLDER.glob("*.py")):
        if text.name.startswith(wanted):
            begin = time.perf_counter()
            notebook = execute(text)
            nbformat.write(notebook, text.with_suffix(".ipynb"))
            print(f"{text.stem}: {time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
