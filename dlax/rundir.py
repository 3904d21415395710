"""A run on disk: resolved config, versions, streamed metrics, checkpoints; a sweep is a folder of runs.

config.yaml     the resolved config          metrics.csv     one row a (run, evaluation), streamed
meta.json       versions, seconds, state     nodes.csv       one row a (run, node), at the last evaluation
checkpoint/     the newest checkpoint        edges.csv, partition.csv
files.json      digests of files that the config names, if any
"""

import hashlib
import json
import math
import os
import platform
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import jax
import numpy as np
import yaml

from dlax import checkpoint
from dlax.results import Result, last_round
from dlax.simulate import Snapshot
from dlax.simulate.program import Carry
from dlax.tables import append_csv, read_csv, to_csv, write_atomically


class RunDirectory:
    """Owns a run's directory while it runs; use it in a `with` block.

    Nothing is written or discarded before `open`, so that a run which cannot begin leaves the disk as it was. An
    interrupt (Ctrl-C) lets the block finish, writes a checkpoint and raises `KeyboardInterrupt`; a second one stops
    at once and leaves the last checkpoint.

    Args:
      folder: the directory.
      config: the resolved config.
      resume: go on from what is there.
      overwrite: discard what is there.
      checkpoint_seconds: wall clock between checkpoints.

    Raises:
      ValueError: if the directory holds a run and neither `resume` nor `overwrite` is set, if it holds
        something else, or if its config differs from this one, or a file that it names.
    """

    def __init__(
        self,
        folder: Path,
        config: dict[str, Any],
        *,
        resume: bool,
        overwrite: bool,
        checkpoint_seconds: float,
    ):
        self.folder = folder
        self.config = config
        self.resume, self.overwrite = resume and not overwrite, overwrite
        self.checkpoint_seconds = checkpoint_seconds
        self.interrupted = False
        self._written = 0
        self._last_checkpoint = time.monotonic()
        self._previous_handler: Any = None
        self._files = _digests(config)
        self._check()

    def _check(self) -> None:
        """Refuses a directory that is in use, or was another run's."""
        _check_free(self.folder, "config.yaml", resume=self.resume, overwrite=self.overwrite)
        stored = self.folder / "config.yaml"
        if self.resume and stored.exists():
            _check_same(yaml.safe_load(stored.read_text()), self.config, self.folder)
            _check_files(self.folder, self._files)

    def open(self) -> None:
        """Makes the directory, or discards what it holds if it is to, and writes the config down."""
        self._check()
        if self.overwrite and self.folder.exists():
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        stored = self.folder / "config.yaml"
        if not (self.resume and stored.exists()):
            shutil.rmtree(self.folder / "checkpoint", ignore_errors=True)
        write_atomically(stored, yaml.safe_dump(self.config, sort_keys=False, allow_unicode=True))
        if self._files:
            write_atomically(self.folder / "files.json", json.dumps(self._files, indent=2))

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to resume: the directory holds all rounds of this config."""
        meta = self.folder / "meta.json"
        if not (self.resume and meta.exists()):
            return False
        state = json.loads(meta.read_text())
        return bool(state.get("complete")) and state.get("round") == last_round(self.config)

    def __enter__(self) -> "RunDirectory":
        def handler(signum: int, frame: FrameType | None) -> None:
            del signum, frame
            if self.interrupted:
                raise KeyboardInterrupt
            self.interrupted = True

        try:
            self._previous_handler = signal.signal(signal.SIGINT, handler)
        except ValueError:  # not the main thread: interrupts are someone else's business
            self._previous_handler = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._previous_handler is not None:
            signal.signal(signal.SIGINT, self._previous_handler)

    def restore(self, fresh: Carry) -> Snapshot | None:
        """The snapshot to go on from, or None; the run is about to begin, so the directory is opened."""
        self.open()
        found = checkpoint.load(self.folder / "checkpoint", fresh)
        if found is None:
            return None
        step, carry, meta = found
        rows = [row for row in read_csv(self.folder / "metrics.csv") if row["round"] <= step]
        self._write_rows(rows, fresh=True)
        return Snapshot(step, jax.tree.map(_place, carry, fresh), rows, [], meta["seconds"])

    def record(self, snapshot: Snapshot, *, last: bool) -> bool:
        """Streams the new rows and checkpoints when it is time; True asks the run to stop."""
        self._write_rows(snapshot.rows[self._written :], fresh=self._written == 0)
        due = time.monotonic() - self._last_checkpoint >= self.checkpoint_seconds
        if due or last or self.interrupted:
            checkpoint.save(
                self.folder / "checkpoint", snapshot.round, snapshot.carry, {"seconds": snapshot.seconds}
            )
            self._last_checkpoint = time.monotonic()
        return self.interrupted

    def finish(self, result: Result) -> None:
        """Writes the tables and the meta data.

        Raises:
          KeyboardInterrupt: if the run was interrupted.
        """
        result.save(self.folder)
        if self.interrupted:
            raise KeyboardInterrupt

    def _write_rows(self, rows: list[dict[str, Any]], *, fresh: bool) -> None:
        path = self.folder / "metrics.csv"
        if fresh:
            write_atomically(path, to_csv(rows))
        elif rows:
            append_csv(path, rows)
        self._written = (0 if fresh else self._written) + len(rows)


def open_sweep(folder: Path, raw: dict[str, Any], *, resume: bool, overwrite: bool) -> Path:
    """Claims the directory of a sweep and writes its config down.

    Raises:
      ValueError: as `RunDirectory`.
    """
    _check_free(folder, "sweep.yaml", resume=resume, overwrite=overwrite)
    if overwrite and folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    stored = folder / "sweep.yaml"
    if resume and stored.exists():
        _check_same(yaml.safe_load(stored.read_text()), raw, folder)
    write_atomically(stored, yaml.safe_dump(raw, sort_keys=False, allow_unicode=True))
    return folder


def write_table(folder: Path, results: Sequence[Result]) -> None:
    """One tidy table of a whole sweep, `metrics.csv`, with the label of each combination."""
    rows = [{"label": result.label, **row} for result in results for row in result.rows]
    write_atomically(folder / "metrics.csv", to_csv(rows))


def find_runs(path: Path) -> list[Path]:
    """The run directories at or below a path, in order.

    Raises:
      ValueError: if there is none.
    """
    if (path / "config.yaml").exists():
        return [path]
    found = sorted(folder.parent for folder in path.glob("*/config.yaml"))
    if not found:
        raise ValueError(f"{path}: neither a run directory (config.yaml) nor a folder of them")
    return found


def slug(index: int, label: str) -> str:
    """A folder name for one combination of a sweep."""
    return f"{index:02d}_" + re.sub(r"[^A-Za-z0-9.=-]+", "_", label).strip("_")[:80]


def versions() -> dict[str, str]:
    """Packages, Python, device and commit: what a number in a paper needs beside it."""
    found = {"python": platform.python_version()}
    for package in ("dlax", "jax", "jaxlib", "flax", "optax", "numpy"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:  # run from a source tree without installation
            found[package] = "not installed"
    device = jax.devices()[0]
    found["device"] = f"{device.platform} ({device.device_kind}), {os.cpu_count()} cores"
    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        found["commit"] = subprocess.run(
            git, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        found["commit"] = "unknown"
    return found


def _check_free(folder: Path, marker: str, *, resume: bool, overwrite: bool) -> None:
    """Refuses a directory that holds something else, or an earlier run that is neither resumed nor discarded."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"out: {folder} is a file, not a directory")
    if folder.exists() and any(folder.iterdir()):
        if not (folder / marker).exists():
            raise ValueError(f"out: {folder} is not empty and holds no {marker}; choose another directory")
        if not (overwrite or resume):
            raise ValueError(
                f"out: {folder} already holds a run; resume it, overwrite it, or choose another directory"
            )


def _check_same(stored: Any, config: dict[str, Any], folder: Path) -> None:
    """Refuses to resume under another config; more rounds, or other evaluations, change no bit of the run."""
    now_every = config.get("eval_every") or 1
    for path, was, now in _differences(stored, config, ""):
        if path == "label" or (path == "rounds" and now > was):
            continue
        if path == "eval_every" and config.get("duration") is None:
            continue
        longer = path == "duration" and now > was and config.get("scheduler") is None
        if longer and math.isclose(was / now_every % 1, 0, abs_tol=1e-9):
            continue
        raise ValueError(f"resume: {folder} was run with {path} = {was!r}, the config now says {now!r}")


def _digests(config: Any) -> dict[str, str]:
    """SHA-256 of every file that a config names: tables of faults and speeds, data sets."""
    found: dict[str, str] = {}
    for key, value in config.items() if isinstance(config, dict) else enumerate(config):
        if isinstance(value, dict | list):
            found |= _digests(value)
        elif key in ("path", "speeds") and value is not None and Path(value).expanduser().is_file():
            found[value] = hashlib.sha256(Path(value).expanduser().read_bytes()).hexdigest()
    return found


def _check_files(folder: Path, files: dict[str, str]) -> None:
    """Refuses to resume with a file that is not what it was; runs of before there were digests pass."""
    stored = folder / "files.json"
    for path, was in json.loads(stored.read_text()).items() if stored.exists() else ():
        if files.get(path) != was:
            raise ValueError(f"resume: {folder} was run with another content of {path}")


def _differences(a: Any, b: Any, path: str) -> list[tuple[str, Any, Any]]:
    if isinstance(a, dict) and isinstance(b, dict):
        found = []
        for key in {**a, **b}:
            found += _differences(a.get(key), b.get(key), f"{path}.{key}" if path else str(key))
        return found
    return [] if a == b else [(path, a, b)]


def _place(stored: np.ndarray, like: jax.Array) -> jax.Array:
    return jax.device_put(stored, like.sharding)
