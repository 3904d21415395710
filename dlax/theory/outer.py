"""Outer optimisers of the DiLoCo family on a parabola: spectral radii, and where they stop being stable.

H steps of gradient descent of rate η on h x²/2 contract by (1 − η h)ᴴ, so that a local phase has the outer gradient
Δ = c θ with c = 1 − (1 − η h)ᴴ. An outer round is then a linear map of (θ, M), or of (θ, M, D) when a mean D is on
its way, the same for all of a group of identical workers.
"""

from typing import Literal, get_args

import numpy as np

from dlax.theory.checks import check_finite

Form = Literal["synchronous", "delayed", "eager"]


def outer_matrix(
    c: float, lr: float = 0.7, momentum: float = 0.9, *, form: Form = "synchronous", workers: int = 2
) -> np.ndarray:
    """The companion matrix of one outer round.

        synchronous, on (θ, M):     Δ = c θ
        delayed, on (θ, M, D):      Δ = D;                     D ← c θ
        eager, on (θ, M, D):        Δ = (1 − 1/w) D + c θ/w;   D ← c θ
        all:                        M ← μ M + Δ;   θ ← θ − α (Δ + μ M)

    Args:
      c: what a local phase takes off, in (0, 1] if it does not overshoot.
      lr: α, the outer step size.
      momentum: μ of Nesterov's momentum; 0 is plain SGD.
      form: which algorithm.
      workers: w, of "eager".

    Returns:
      The matrix, `[2, 2]` or `[3, 3]`.

    Raises:
      ValueError: if the form is unknown, there are no workers, or a number is not finite.
    """
    check_finite(c=c, lr=lr, momentum=momentum)
    if form not in get_args(Form):
        raise ValueError(f"theory: form must be one of {', '.join(get_args(Form))}, got {form!r}")
    if workers < 1:
        raise ValueError(f"theory: workers must be at least 1, got {workers}")
    share = {"synchronous": 1.0, "delayed": 0.0, "eager": 1 / workers}[form]
    now, late = share * c, 1 - share  # Δ = now θ + late D
    step = -lr * (1 + momentum)
    matrix = np.array(
        [
            [1 + step * now, -lr * momentum**2, step * late],
            [now, momentum, late],
            [c, 0.0, 0.0],
        ]
    )
    return matrix[:2, :2] if form == "synchronous" else matrix


def outer_radius(
    c: float, lr: float = 0.7, momentum: float = 0.9, *, form: Form = "synchronous", workers: int = 2
) -> float:
    """The spectral radius of `outer_matrix`: below 1 where θ goes to the minimiser from everywhere."""
    matrix = outer_matrix(c, lr, momentum, form=form, workers=workers)
    return float(np.abs(np.linalg.eigvals(matrix)).max())


def outer_limit(lr: float = 0.7, momentum: float = 0.9, *, form: Form = "delayed", workers: int = 2) -> float:
    """The least c in (0, 1] from which on it is unstable; infinite if it is stable for all.

    By a search over 1,000 values of c and bisection between two of them.

    Args:
      lr: α.
      momentum: μ.
      form: which algorithm.
      workers: w, of "eager".
    """

    def unstable(c: float) -> bool:
        return outer_radius(c, lr, momentum, form=form, workers=workers) > 1

    grid = np.linspace(0, 1, 1001)[1:]
    first = next((c for c in grid if unstable(c)), None)
    if first is None:
        return float("inf")
    low, high = float(first) - 1e-3, float(first)
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if unstable(middle) else (middle, high)
    return high
