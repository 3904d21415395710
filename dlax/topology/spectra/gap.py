"""How fast mixing matrices average: the spectral gap, and the least eigenvalue.

Everything is float64 on the host. Circulant matrices (ring, exponential, complete graphs) are diagonalised
by the Fourier transform, exactly and at any size. The others take dense LAPACK up to `DENSE` nodes and
Lanczos above. J is the matrix 11ᵀ/n of exact averaging.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigs

from dlax.topology.matrix import as_csr, as_list, is_symmetric, sums_to_one
from dlax.topology.spectra.extremes import extremes, start_vector

Order = Literal["fixed", "cyclic", "random", "drawn"]

DENSE = 2_000  # nodes: below, a dense decomposition takes about a second
_ZERO = 1e-12  # a contraction below this is rounding; its L-th root would not look like zero


def spectral_gap(W: Any, *, order: Order = "fixed") -> float:
    """Compute the gap 1 − ρ, where ρ is the factor by which a round shrinks the distance to consensus.

    One matrix, with J = 11ᵀ/n:

        symmetric              ρ = max(λ₂, −λₙ) = ‖W − J‖₂
        doubly stochastic      ρ = ‖W − J‖₂, the second largest singular value
        row or column only     ρ = the second largest |λ|; W J ≠ J, so no norm of W − J says the rate

    L matrices: per round, so that gaps of different periods compare:

        cyclic   ρ = ρ(W⁽ᴸ⁻¹⁾ ⋯ W⁽⁰⁾)^(1/L), the product taken as one matrix above
        random   ρ² = ‖E[WᵀW] − J‖₂ for doubly stochastic W, the bound on E‖Wx − Jx‖² that proofs use; in
                 general ‖E[Wᵀ(I − J)W]‖₂ (of Wᵀ if only columns sum to one), where ρ may exceed one

    Args:
      W: `[n, n]` dense or sparse, or a list of L of them.
      order: how a list is used: in turn ("cyclic") or by an independent uniform draw a round ("random").
        "fixed" means one matrix.

    Returns:
      The gap: 1 for exact averaging (ρ below 1e-12 counts as 0), about 0 when the matrix does not contract. A
      whole period of a cyclic sequence contracts by (1 − gap)ᴸ.

    Raises:
      ValueError: if W is not square, if the sizes differ, or if several matrices come with order "fixed".

    References:
      Xiao, Boyd. Fast linear iterations for distributed averaging. Systems & Control Letters 2004.
      Boyd, Ghosh, Prabhakar, Shah. Randomized gossip algorithms. IEEE Trans. Information Theory 2006.
    """
    matrices = as_list(W)
    if order not in ("fixed", "cyclic", "random"):
        raise ValueError(f"order must be 'fixed', 'cyclic' or 'random', got {order!r}")
    if order == "fixed" and len(matrices) != 1:
        raise ValueError(f"order 'fixed' takes one matrix, got {len(matrices)}; use 'cyclic' or 'random'")
    sizes = sorted({V.shape[0] for V in matrices})
    if len(sizes) > 1:
        raise ValueError(f"all matrices of a sequence must have the same number of nodes, got {sizes}")
    if matrices[0].shape[0] == 1:
        return 1.0
    root = 2 if order == "random" else len(matrices)
    eigenvalues = circulant_eigenvalues(matrices)
    if eigenvalues is not None:
        modulus = np.abs(eigenvalues[:, 1:])  # without the constant vector
        power = (modulus**2).mean(axis=0) if order == "random" else modulus.prod(axis=0)
        rho = float(power.max())
    elif order == "random":
        rho = _mean_square(matrices)
    else:
        rho = _product(matrices)
    return 1.0 - (0.0 if rho < _ZERO else rho ** (1.0 / root))


def least_eigenvalue(W: Any) -> float:
    """Compute the least eigenvalue λₙ of a symmetric W; methods such as D² and EXTRA need it above a bound.

    Args:
      W: `[n, n]` dense or sparse, symmetric.

    Returns:
      λₙ; above −1 for a connected graph whose matrix has a positive diagonal.

    Raises:
      ValueError: if W is not square or not symmetric.
    """
    A = as_csr(W)
    n = A.shape[0]
    if not is_symmetric(A):
        raise ValueError(
            "least_eigenvalue needs a symmetric matrix; the eigenvalues of this one may be complex"
        )
    eigenvalues = circulant_eigenvalues([A])
    if eigenvalues is not None:
        return float(eigenvalues.real.min())
    if n <= DENSE:
        return float(np.linalg.eigvalsh(A.toarray())[0])
    return extremes(lambda x: A @ x, n, "low", fallback=lambda: A, centred=False)[0]


def second_largest_eigenvalue(W: Any) -> float:
    """Compute λ₂ of a symmetric W, with sign; 1 − λ₂ is what a Chebyshev polynomial in W must span from.

    Args:
      W: `[n, n]` dense or sparse, symmetric, rows sum to one, n ≥ 2.

    Returns:
      λ₂; below 1 for a connected graph.

    Raises:
      ValueError: if W is not square or not symmetric, or n = 1.
    """
    A = as_csr(W)
    n = A.shape[0]
    if n < 2 or not is_symmetric(A):
        raise ValueError("second_largest_eigenvalue needs a symmetric matrix of at least two nodes")
    eigenvalues = circulant_eigenvalues([A])
    if eigenvalues is not None:
        return float(eigenvalues[0, 1:].real.max())
    if n <= DENSE:
        return float(np.linalg.eigvalsh(A.toarray())[-2])
    return extremes(lambda x: A @ x, n, "high", fallback=lambda: A, centred=True)[1]


def circulant_eigenvalues(matrices: Sequence[csr_array]) -> np.ndarray | None:
    """Return the eigenvalues `[L, n]` on the common Fourier basis; None unless all are circulant."""
    rows = [_circulant_row(V) for V in matrices]
    found = [row for row in rows if row is not None]
    return np.fft.fft(np.stack(found)) if len(found) == len(matrices) else None


def _circulant_row(W: csr_array) -> np.ndarray | None:
    """Return row 0 `[n]` of a circulant W (W[i, i + o] = row[o], indices mod n), else None."""
    n = W.shape[0]
    k = int(W.indptr[1])
    if not np.array_equal(W.indptr, k * np.arange(n + 1)):
        return None
    offsets = (W.indices.reshape(n, k) - np.arange(n)[:, None]) % n
    by_offset = np.argsort(offsets, axis=1)
    offsets = np.take_along_axis(offsets, by_offset, axis=1)
    values = np.take_along_axis(W.data.reshape(n, k), by_offset, axis=1)
    # Self weights come from 1 minus a sum, so rows may differ in the last bits.
    if not (
        np.array_equal(offsets, np.tile(offsets[0], (n, 1))) and np.ptp(values, axis=0).max(initial=0) < 1e-14
    ):
        return None
    row = np.zeros(n)
    row[offsets[0]] = values[0]
    return row


def _product(matrices: Sequence[csr_array]) -> float:
    """ρ of the product W⁽ᴸ⁻¹⁾ ⋯ W⁽⁰⁾, in the sense of `spectral_gap`."""
    n = matrices[0].shape[0]
    doubly = all(sums_to_one(V, 0) and sums_to_one(V, 1) for V in matrices)
    symmetric = len(matrices) == 1 and is_symmetric(matrices[0])
    if n <= DENSE:
        product = np.eye(n)
        for V in matrices:
            product = V @ product
        deviation = product - 1.0 / n
        if symmetric:
            return float(np.abs(np.linalg.eigvalsh(deviation)).max())
        if doubly:
            return float(np.linalg.norm(deviation, 2))
        # W − J has the eigenvalues of W except one eigenvalue 1 (Brauer), whichever of 1 and 1ᵀ W fixes.
        return float(np.abs(np.linalg.eigvals(deviation)).max())

    def forward(x: np.ndarray) -> np.ndarray:
        y = x
        for V in matrices:
            y = V @ y
        return y - x.mean()

    def backward(x: np.ndarray) -> np.ndarray:
        y = x
        for V in reversed(matrices):
            y = V.T @ y
        return y - x.mean()

    if symmetric:
        low, high = extremes(forward, n, "modulus", fallback=lambda: matrices[0], centred=True)
        return max(-low, high)
    if doubly:
        only = matrices[0]
        fallback = (lambda: (only.T @ only).tocsr()) if len(matrices) == 1 else None
        largest = extremes(lambda x: backward(forward(x)), n, "high", fallback=fallback, centred=True)[1]
        return float(np.sqrt(max(0.0, largest)))
    return float(np.abs(largest_modulus(forward, n)).max())


def largest_modulus(apply: Callable[[np.ndarray], np.ndarray], n: int) -> np.ndarray:
    """Return the eigenvalues of largest modulus `[k]` of an operator on `[n]`, by ARPACK, in any order.

    Those of a one-way graph crowd on a circle, where a search for one may return another than the largest.
    """
    operator = LinearOperator((n, n), matvec=apply, dtype=np.float64)
    options = {"k": min(8, n - 2), "ncv": min(60, n), "tol": 1e-8, "v0": start_vector(n)}
    try:
        return eigs(operator, which="LM", return_eigenvectors=False, **options)
    except ArpackNoConvergence as error:
        raise ValueError(
            f"the eigenvalues of largest modulus of these {n} nodes do not converge: {error}"
        ) from None


def _mean_square(matrices: Sequence[csr_array]) -> float:
    """‖E[Wᵀ(I − J)W]‖₂ over a uniform draw; the transposes where only columns sum to one."""
    n = matrices[0].shape[0]
    if not all(sums_to_one(V, 1) for V in matrices):
        matrices = [V.T.tocsr() for V in matrices]

    def apply(x: np.ndarray) -> np.ndarray:
        total = np.zeros_like(x)
        for V in matrices:
            y = V @ x
            total += V.T @ (y - y.mean(axis=0))
        return total / len(matrices)

    if n <= DENSE:
        return float(np.linalg.eigvalsh(apply(np.eye(n)))[-1])
    return max(0.0, extremes(apply, n, "high", fallback=None, centred=False)[1])
