"""Sparse matrices in the one form used here, and what is asked of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

TOLERANCE = 1e-9  # on entries and on sums of entries: what counts as symmetric, as stochastic


def as_csr(W: Any) -> csr_array:
    """Copy a matrix into the one form used here: float64 CSR, sorted, no duplicates, no explicit zeros.

    Args:
      W: `[n, n]` anything that `numpy.asarray` or `scipy.sparse` understands.

    Returns:
      A new `csr_array` `[n, n]`.

    Raises:
      ValueError: if W is not a square numeric matrix with at least one row.
    """
    try:
        kind = getattr(W, "dtype", None) or np.asarray(W).dtype
        if kind.kind not in "fiub" or np.ma.isMaskedArray(W):
            raise TypeError(kind)
        A = csr_array(W, dtype=np.float64, copy=True)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "a mixing matrix must be an [n, n] matrix of real numbers, without a mask, got "
            f"{type(W).__name__}: {error}"
        ) from error
    if A.ndim != 2 or A.shape[0] != A.shape[1] or A.shape[0] == 0:
        raise ValueError(f"a mixing matrix must be square, [n, n] with n >= 1, got shape {np.shape(W)}")
    A.sum_duplicates()
    A.eliminate_zeros()
    A.sort_indices()
    return A


def as_list(W: Any) -> list[csr_array]:
    """Read one matrix `[n, n]`, a list of them, or an array `[L, n, n]`: L matrices by `as_csr`."""
    several = isinstance(W, Sequence | np.ndarray) and len(W) > 0 and all(len(np.shape(V)) == 2 for V in W)
    return [as_csr(V) for V in W] if several else [as_csr(W)]


def is_symmetric(W: csr_array) -> bool:
    """Tell whether W = Wᵀ to within `TOLERANCE` an entry."""
    return bool(np.abs((W - W.T).data).max(initial=0.0) <= TOLERANCE)


def sums_to_one(W: csr_array, axis: int) -> bool:
    """Tell whether all rows (`axis=1`) or all columns (`axis=0`) of W sum to one, to within `TOLERANCE`."""
    return bool(np.abs(W.sum(axis=axis) - 1.0).max() <= TOLERANCE)


def off_diagonal(A: csr_array) -> csr_array:
    """Return the entries of A `[n, n]` off the diagonal, in canonical form."""
    coo = A.tocoo()
    keep = coo.row != coo.col
    return as_csr(csr_array((coo.data[keep], (coo.row[keep], coo.col[keep])), shape=A.shape))


def same_support(A: Any, B: Any) -> bool:
    """Tell whether two sparse matrices without explicit zeros are nonzero in the same places."""
    A, B = as_csr(A), as_csr(B)
    return np.array_equal(A.indptr, B.indptr) and np.array_equal(A.indices, B.indices)


def components(A: csr_array) -> tuple[int, np.ndarray]:
    """Count strongly connected components of the support of A `[n, n]`: (count, label `[n]`)."""
    count, labels = connected_components(A, directed=True, connection="strong")
    return int(count), labels
