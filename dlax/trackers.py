"""Optional trackers: the metrics of a run, block by block, to TensorBoard or Weights & Biases."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from dlax.simulate import Snapshot

Track = Callable[[Snapshot], None]


def tensorboard(folder: Path, config: dict[str, Any]) -> Track:
    """Writes every metric of every run as a TensorBoard scalar below `folder/tensorboard`.

    Args:
      folder: the run directory.
      config: the resolved config; unused, it stands in the run directory already.

    Raises:
      ValueError: if tensorboardX is not installed.
    """
    del config
    package = _optional("tensorboardX")
    writer: Any = None

    def track(snapshot: Snapshot) -> None:
        nonlocal writer
        if writer is None:  # not before the run has claimed its directory
            writer = package.SummaryWriter(str(folder / "tensorboard"))
        for name, round, value in _scalars(snapshot):
            writer.add_scalar(name, value, round)
        writer.flush()

    return track


def wandb(folder: Path, config: dict[str, Any]) -> Track:
    """Logs every metric of every run to a Weights & Biases run (offline or online as wandb is set up).

    Args:
      folder: the run directory, wandb's own directory is below it.
      config: the resolved config, logged with the run.

    Raises:
      ValueError: if wandb is not installed.
    """
    package = _optional("wandb")
    run: Any = None

    def track(snapshot: Snapshot) -> None:
        nonlocal run
        if run is None:  # not before the run has claimed its directory
            run = package.init(project="dlax", name=str(config.get("label")), config=config, dir=str(folder))
        scalars = _scalars(snapshot)
        run.log({name: value for name, _, value in scalars}, step=snapshot.round)

    return track


TRACKERS: dict[str, Callable[[Path, dict[str, Any]], Track]] = {"tensorboard": tensorboard, "wandb": wandb}


def _scalars(snapshot: Snapshot) -> list[tuple[str, int, float]]:
    """(name, round, value) of the newest block; names are metric/run when there are several runs."""
    newest = [row for row in snapshot.rows if row["round"] == snapshot.round]
    found = []
    for row in newest:
        label = ",".join(f"{key}={row[key]}" for key in row if key == "seed" or "." in key)
        for name, value in row.items():
            if name not in ("seed", "round") and "." not in name:
                found.append((f"{name}/{label}", snapshot.round, float(value)))
    return found


def _optional(package: str) -> Any:
    try:
        return import_module(package)
    except ImportError:
        raise ValueError(
            f'trackers: {package} is not installed; pip install "dlax[trackers]" brings it'
        ) from None
