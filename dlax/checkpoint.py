"""Checkpoints: the arrays of a run between two blocks, and what the host knew, atomically on disk."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dlax.types import Tree


def save(folder: Path, step: int, arrays: Tree, meta: dict[str, Any]) -> None:
    """Writes a checkpoint and then removes older ones; a crash at any point leaves a whole one behind.

    Args:
      folder: where the run keeps its checkpoints; made if missing.
      step: rounds done.
      arrays: a pytree of arrays.
      meta: plain data for `load` to give back.
    """
    import orbax.checkpoint as ocp

    folder.mkdir(parents=True, exist_ok=True)
    leaves = [np.asarray(leaf) for leaf in jax.device_get(jax.tree.leaves(arrays))]
    temporary, final = folder / f"writing_{step}", folder / f"round_{step}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    with ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save((temporary / "arrays").absolute(), {str(i): leaf for i, leaf in enumerate(leaves)})
    text = json.dumps({"step": step, "digest": _digest(leaves), "leaves": len(leaves), "meta": meta})
    (temporary / "meta.json").write_text(text)
    if final.exists():
        shutil.rmtree(final)
    temporary.rename(final)
    for old in folder.glob("round_*"):
        if old != final:
            shutil.rmtree(old, ignore_errors=True)


def load(folder: Path, template: Tree) -> tuple[int, Tree, dict[str, Any]] | None:
    """Reads the newest checkpoint.

    Args:
      folder: where the run keeps its checkpoints.
      template: a pytree of arrays with the structure, shapes and dtypes to expect.

    Returns:
      Rounds done, the arrays in the template's structure, and the meta data; None when there is no checkpoint.

    Raises:
      ValueError: if the newest checkpoint is damaged or was made by another program.
    """
    found = sorted(folder.glob("round_*"), key=lambda path: int(path.name.removeprefix("round_")))
    if not found:
        return None
    newest = found[-1]
    remedy = f"remove {newest} to start again from the beginning"
    try:
        import orbax.checkpoint as ocp

        record = json.loads((newest / "meta.json").read_text())
        with ocp.PyTreeCheckpointer() as checkpointer:
            stored = checkpointer.restore((newest / "arrays").absolute())
        leaves = [np.asarray(stored[str(i)]) for i in range(record["leaves"])]
        whole = _digest(leaves) == record["digest"]
    except Exception as error:  # a damaged file surfaces as any of a dozen types
        raise ValueError(f"checkpoint: {newest} cannot be read ({type(error).__name__}); {remedy}") from error
    if not whole:
        raise ValueError(f"checkpoint: {newest} is damaged, its arrays do not match their digest; {remedy}")
    expected, structure = jax.tree.flatten(template)
    shapes = [(leaf.shape, np.dtype(leaf.dtype)) for leaf in expected]
    if shapes != [(leaf.shape, leaf.dtype) for leaf in leaves]:
        raise ValueError(
            f"checkpoint: {newest} was made by another program, its arrays differ in shape; {remedy}"
        )
    return record["step"], jax.tree.unflatten(structure, leaves), record["meta"]


def _digest(leaves: list[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for leaf in leaves:
        digest.update(f"{leaf.shape}{leaf.dtype}".encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()
