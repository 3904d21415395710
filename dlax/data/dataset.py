"""The one record that every data set becomes, and its checks. Host NumPy only."""

from typing import Any, NamedTuple

import numpy as np


class Dataset(NamedTuple):
    """A classification data set in memory, split into training and test rows.

    N training rows, M test rows; one sample has the shape `[...]`: `[p]` for tables, `[height, width,
    channels]` for images, `[L]` for sequences, which have a label at each of their L places.

    Attributes:
      name: a short name for logs and pictures.
      x_train: `[N, ...]` float32; images in [0, 1], numeric columns of tables standardised. Of sequences, int32
        in 0..num_classes - 1.
      y_train: `[N]` int32, in 0..num_classes - 1; of sequences `[N, L]`.
      x_test: `[M, ...]` float32, scaled as `x_train` is (with the training rows' statistics); int32 of sequences.
      y_test: `[M]` int32, or `[M, L]`.
      num_classes: number of classes C, at least every label plus one.
      groups: `[N]` int32 in 0..G - 1, the natural group (writer, occupation, ...) of each training row, or
        None when the data have no such thing.
      source: where the data come from and under which licence.
      symbols: of a text, the character that each class stands for.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    num_classes: int
    groups: np.ndarray | None = None
    source: str = ""
    symbols: str = ""

    @property
    def sequences(self) -> bool:
        """Whether a sample has a label at each of its places."""
        return self.y_train.ndim > 1

    @property
    def strata(self) -> np.ndarray:
        """`[N]`, what partitions by label go by: the class; of sequences, the natural group, or 0."""
        if not self.sequences:
            return self.y_train
        return np.zeros(len(self.y_train), np.int32) if self.groups is None else self.groups


def from_arrays(
    x_train: Any,
    y_train: Any,
    x_test: Any,
    y_test: Any,
    *,
    num_classes: int | None = None,
    groups: Any = None,
    name: str = "arrays",
    source: str = "arrays of the user",
) -> Dataset:
    """Check arrays and make a `Dataset` of them.

    Features become float32 and keep their values, with one exception: uint8 arrays with at least three axes
    are images and are divided by 255. With labels `[N, L]` the samples are sequences, of symbols that are
    labels too.

    Args:
      x_train: `[N, ...]` numbers, at least two axes, finite, N ≥ 1; of sequences `[N, L]` integers from 0.
      y_train: `[N]` integers from 0, or `[N, L]`.
      x_test: `[M, ...]`, one sample as in `x_train`, M ≥ 1.
      y_test: `[M]` integers from 0, or `[M, L]`.
      num_classes: C; None takes the largest label of both splits plus one (and the largest symbol).
      groups: `[N]` integers or strings, the natural group of each training row; they are renumbered 0..G - 1
        in sorted order. None: no groups.
      name: for logs and pictures.
      source: origin and licence, in words.

    Returns:
      The data set, in float32 and int32; sequences in int32.

    Raises:
      ValueError: if a split is empty, lengths or sample shapes differ, a feature is not a finite number, or a
        label is not an integer in 0..C - 1.
    """
    sequences = np.ndim(y_train) == 2 and np.shape(y_train) == np.shape(x_train)
    if sequences:
        train, test = (
            _labels("x_train", x_train, np.shape(y_train)),
            _labels("x_test", x_test, np.shape(x_test)),
        )
    else:
        train, test = _features("x_train", x_train), _features("x_test", x_test)
    if train.shape[1:] != test.shape[1:]:
        raise ValueError(
            f"{name}: one sample of x_train has shape {train.shape[1:]}, one of x_test {test.shape[1:]}; "
            "they must be equal"
        )
    shapes = [x.shape if sequences else x.shape[:1] for x in (train, test)]
    labels, held = _labels("y_train", y_train, shapes[0]), _labels("y_test", y_test, shapes[1])
    largest = max(int(part.max()) for part in (labels, held, *((train, test) if sequences else ())))
    if num_classes is None:
        num_classes = largest + 1
    elif largest >= num_classes:
        raise ValueError(f"{name}: label {largest} is not in 0..{num_classes - 1}, num_classes={num_classes}")
    ids = None if groups is None else _groups(groups, len(train))
    return Dataset(name, train, labels, test, held, int(num_classes), ids, source)


def _features(what: str, values: Any) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{what} must hold real numbers; got dtype {array.dtype}")
    if array.ndim < 2 or array.size == 0:
        raise ValueError(f"{what} must be [samples, ...] with at least one number; got shape {array.shape}")
    if array.dtype == np.uint8 and array.ndim >= 3:
        return array / np.float32(255)
    with np.errstate(over="ignore"):  # what overflows becomes infinite and is reported below
        array = np.ascontiguousarray(array, dtype=np.float32)
    bad = int(array.size - np.isfinite(array).sum())
    if bad:
        raise ValueError(f"{what} must be finite in float32; {bad} of {array.size} numbers are not")
    return array


def _labels(what: str, values: Any, shape: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(values)
    if array.shape != shape or array.size == 0:
        each = "row" if len(shape) == 1 else "place of a sequence"
        raise ValueError(f"{what} must have shape {shape}, one label a {each}; got {array.shape}")
    if array.dtype.kind not in "biu":
        raise ValueError(f"{what} must hold integers; got dtype {array.dtype}")
    if array.min() < 0:
        raise ValueError(f"{what} must hold labels from 0; got {int(array.min())} (map -1, +1 to 0, 1)")
    if array.max() >= 2**31:
        raise ValueError(f"{what} must hold labels below 2³¹; got {int(array.max())}")
    return array.astype(np.int32)


def _groups(values: Any, rows: int) -> np.ndarray:
    array = np.asarray(values)
    if array.shape != (rows,):
        raise ValueError(f"groups must have shape ({rows},), one a training row; got {array.shape}")
    if array.dtype.kind not in "biuUS":
        raise ValueError(f"groups must hold integers or strings; got dtype {array.dtype}")
    return np.unique(array, return_inverse=True)[1].astype(np.int32)
