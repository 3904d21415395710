"""Data sets of the Hugging Face hub, through the optional package `datasets`."""

import importlib

import numpy as np

from dlax.data.dataset import Dataset, from_arrays
from dlax.data.fetch import DataNotFound


def from_hub(
    *,
    repo: str,
    x: str = "image",
    y: str = "label",
    group: str | None = None,
    train: str = "train",
    test: str = "test",
    config: str | None = None,
) -> Dataset:
    """Load a data set of the Hugging Face hub, or of a local folder, with `datasets.load_dataset`.

    Images become `[N, height, width, channels]` float32 in [0, 1]. Needs the extra `hub`; everything is read
    into memory.

    Args:
      repo: the hub's name, `"uoft-cs/cifar10"`, or a folder of parquet, CSV or image files.
      x: column of the features: images of one size, or lists of numbers of one length.
      y: column of the integer labels.
      group: column of a natural group (a writer, a user), or None.
      train: name of the training split.
      test: name of the test split; slices such as `"train[80%:]"` work.
      config: the data set's configuration, where it has several.

    Returns:
      The data set, named like `repo`.

    Raises:
      DataNotFound: if `datasets` is not installed or cannot load the data.
      ValueError: if a column does not exist, or the arrays do not make a `Dataset`.
    """
    try:
        library = importlib.import_module("datasets")
    except ImportError as error:
        raise DataNotFound(
            f'{repo}: the Hugging Face hub needs the extra "hub": pip install "dlax[hub]" ({error})'
        ) from error
    columns = [x, y] if group is None else [x, y, group]
    parts = []
    for split in (train, test):
        try:
            table = library.load_dataset(repo, config, split=split)
        except Exception as error:  # the library raises a dozen types, from OSError to its own
            raise DataNotFound(
                f"the hub's {repo}, split {split!r}, could not be loaded: {type(error).__name__}: {error}"
            ) from error
        missing = [column for column in columns if column not in table.column_names]
        if missing:
            raise ValueError(f"{repo} has no column {missing[0]!r}; it has {', '.join(table.column_names)}")
        parts.append(table.select_columns(columns).with_format("numpy")[:])
    first, second = parts
    return from_arrays(
        _with_channels(first[x]),
        first[y],
        _with_channels(second[x]),
        second[y],
        groups=None if group is None else first[group],
        name=repo.rpartition("/")[2],
        source=f"Hugging Face hub, {repo}; see its card for the licence",
    )


def _with_channels(values: np.ndarray) -> np.ndarray:
    """Grey images `[N, height, width]` get the channel axis that colour images have."""
    values = np.asarray(values)
    return values[..., None] if values.dtype == np.uint8 and values.ndim == 3 else values
