"""Extreme eigenvalues of large symmetric matrices: Lanczos, and shift and invert where Lanczos stalls."""

from collections.abc import Callable
from typing import Literal

import numpy as np
from scipy.linalg import eigh_tridiagonal
from scipy.sparse import csr_array
from scipy.sparse.linalg import eigsh

End = Literal["low", "high", "both", "modulus"]

_STEPS = 3_000  # of Lanczos before it counts as stalled: seconds for a hundred thousand nodes
_LIMIT = 20_000  # of Lanczos where there is nothing to factorise
_RESIDUAL = 1e-9  # relative; the error of an eigenvalue goes with its square


def extremes(
    apply: Callable[[np.ndarray], np.ndarray],
    n: int,
    end: End,
    *,
    fallback: Callable[[], csr_array] | None,
    centred: bool,
) -> tuple[float, float]:
    """Compute the least and the largest eigenvalue of a symmetric operator.

    Lanczos is quick on expanders. Where it stalls, many eigenvalues crowd at the end of the spectrum; such
    graphs (paths, grids) have small separators on every scale, so that they factorise with little fill: shift
    and invert is quick exactly there.

    Args:
      apply: `[n]` -> `[n]`.
      n: size of the operator.
      end: which eigenvalue must be accurate: "low", "high", "both", or "modulus", the larger in modulus.
      fallback: the operator as a sparse matrix, made only where Lanczos stalls. None: go on with Lanczos.
      centred: look among vectors of mean 0 only; the constant vector must be an eigenvector.

    Returns:
      (least, largest); one that `end` does not ask for may be inaccurate.

    Raises:
      ValueError: if Lanczos does not converge and there is no `fallback`.
    """
    found = _lanczos(apply, n, end, _LIMIT if fallback is None else _STEPS, centred)
    if found is not None:
        return found
    if fallback is None:
        raise ValueError(
            f"the extreme eigenvalues of this sequence of {n} nodes crowd so close that {_LIMIT} steps of "
            "Lanczos do not tell them apart; its gap is below about 1e-7"
        )
    A = fallback()
    diagonal = A.diagonal()
    radius = abs(A).sum(axis=1) - abs(diagonal)
    low, high = float((diagonal - radius).min()), float((diagonal + radius).max())  # Gershgorin
    shift = 1e-9 * (high - low)  # off the spectrum, or the factor is singular
    constant = float((A @ np.ones(n)).mean())
    if end != "high":
        low = _nearest(A, low - shift, constant if centred else None)
    # The other end counts in modulus only if it can be the larger.
    if end in ("high", "both") or (end == "modulus" and high > -low):
        high = _nearest(A, high + shift, constant if centred else None)
    return low, high


def start_vector(n: int) -> np.ndarray:
    """Return a fixed start `[n]`: ARPACK would draw one from global state, and the last digits would wander."""
    return np.random.default_rng(0).normal(size=n)


def _lanczos(
    apply: Callable[[np.ndarray], np.ndarray], n: int, end: End, steps: int, centred: bool
) -> tuple[float, float] | None:
    """The extreme Ritz values after as many steps as they need; None if that is more than `steps`.

    Neither restarts nor stores vectors. Rounding then makes copies of eigenvalues that have converged, but
    moves none, and the extremes are all that is asked for.
    """
    q = start_vector(n)
    q = q - q.mean() if centred else q
    q /= np.sqrt(_dot(q, q))
    before, b = np.zeros(n), 0.0
    diagonal: list[float] = []
    beside: list[float] = []
    look = 20
    for step in range(1, steps + 1):
        r = apply(q) - b * before
        a = _dot(q, r)
        r -= a * q
        if centred:
            r -= r.mean()  # else rounding lets the constant vector grow back
        diagonal.append(a)
        b = np.sqrt(_dot(r, r))
        size = max(max(map(abs, diagonal[-3:])), *beside[-3:], 1e-300)
        exhausted = b <= 1e-14 * size
        if exhausted or step in (look, steps):
            look = int(1.1 * step) + 1
            (low, low_residual), (high, high_residual) = (
                _ritz(diagonal, beside, 0.0 if exhausted else b, place) for place in (0, step - 1)
            )
            enough = _RESIDUAL * max(-low, high, 1e-300)
            best = max(-low, high)
            done = {
                "low": low_residual <= enough,
                "high": high_residual <= enough,
                "both": max(low_residual, high_residual) <= enough,
                "modulus": (low_residual <= enough or -low + low_residual < best)
                and (high_residual <= enough or high + high_residual < best),
            }
            if exhausted or done[end]:
                return low, high
        beside.append(b)
        before, q = q, r / b
    return None


def _dot(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.einsum("i,i", x, y))  # in one thread: as fast here, and the same digits on every machine


def _ritz(diagonal: list[float], beside: list[float], b: float, place: int) -> tuple[float, float]:
    """(eigenvalue number `place` of the tridiagonal matrix, norm of the residual of its Ritz vector)."""
    values, vectors = eigh_tridiagonal(
        diagonal, beside[: len(diagonal) - 1], select="i", select_range=(place, place)
    )
    return float(values[0]), b * abs(float(vectors[-1, 0]))


def _nearest(A: csr_array, sigma: float, skip: float | None) -> float:
    """The eigenvalue nearest to sigma, which lies outside the spectrum; without one copy of `skip`."""
    k = 1 if skip is None else 2
    found = eigsh(A.tocsc(), k=k, sigma=sigma, v0=start_vector(A.shape[0]), return_eigenvectors=False)
    found = found[np.argsort(abs(found - sigma))]
    if skip is not None and abs(found[0] - skip) <= abs(found[1] - skip):
        found = found[1:]
    return float(found[0])
