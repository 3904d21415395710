"""The transient of D-SGD with decaying steps, exactly: when does the network stop to matter?"""

from typing import NamedTuple

import numpy as np

from dlax.theory.checks import check_finite
from dlax.topology import Topology


class Transient(NamedTuple):
    """Expected squared errors round by round, and when one takes over from the other.

    Attributes:
      network: E (1/n) Σᵢ ‖xᵢ − x̄‖² `[rounds + 1]`, what the graph adds.
      mean: E ‖x̄ − x*‖² `[rounds + 1]`, which is centralised SGD's error.
      rounds: the first round from which the network's error stays at or below `factor` times the mean's;
        infinite if that is after the end.
      leading: the leading order of `rounds`, known without a run: good where it is long beside 1/gap.
    """

    network: np.ndarray
    mean: np.ndarray
    rounds: float
    leading: float


def transient(
    topology: Topology,
    values: np.ndarray,
    *,
    sigma: float,
    rounds: int,
    shift: float = 2.0,
    scale: float = 2.0,
    factor: float = 1.0,
) -> Transient:
    """D-SGD (adapt, then combine) on fᵢ(x) = ½ ‖x − vᵢ‖² with steps αₜ = scale / (t + shift).

    For symmetric W the eigenvectors decouple. With λ the eigenvalue, β the component of v, e that of the expected
    models and s the variance of a component,

        e ← λ ((1 − αₜ) e + αₜ β),   s ← λ² ((1 − αₜ)² s + αₜ² σ²)

    the component of λ = 1 being the mean of the models, measured from x*. Starts at x = 0. To leading order the
    network's error is αₜ²/n times the sum below, the mean's scale² σ² / ((2 scale − 1) n t), and they cross at

        (2 scale − 1) / factor · Σ_λ≠1 (‖β‖²/σ² · λ²/(1 − λ)² + λ²/(1 − λ²))

    That is 3 ζ²/σ² · n/gap² (scale 2, small gap) if v lies along the slowest eigenvector, ζ² = (1/n) Σᵢ ‖vᵢ − v̄‖²:
    the scaling of the reference. Values without such an order need fewer rounds, n⁴ in place of n⁵ on rings if they
    are independent; without heterogeneity it is the noise alone, 3n²/8 on rings, which is not long beside 1/gap: the
    exact number is then 0.86 of it.

    Args:
      topology: fixed, connected, symmetric, doubly stochastic, at most 2,000 nodes.
      values: v `[n, d]`.
      sigma: σ, with E‖ξ‖² = σ² for the noise of one gradient.
      rounds: how far to compute.
      shift: of the steps; αₜ ≤ 1 needs shift ≥ scale.
      scale: of the steps; above 1/2, the error then falls like 1/t.
      factor: how many times the mean's error the network's may be.

    Returns:
      The errors and the length of the transient.

    Raises:
      ValueError: if the topology or the values are not as said, or a step exceeds 1.

    References:
      Pu, Olshevsky, Paschalidis. A sharp estimate on the transient time of distributed stochastic gradient
      descent. IEEE Trans. Automatic Control 2022 (the question, and the scaling n / gap²).
    """
    words = {"fixed", "connected", "symmetric", "doubly stochastic"}
    if not words <= topology.properties or topology.n > 2_000:
        raise ValueError(
            "theory: transient needs a fixed, connected, symmetric and doubly stochastic topology of at most "
            f"2,000 nodes, got {topology!r}"
        )
    if not factor > 0.0:
        raise ValueError(f"theory: factor must be positive, got {factor}")
    n = topology.n
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or len(values) != n:
        raise ValueError(f"theory: values must be [n, d] with n = {n}, got shape {values.shape}")
    check_finite(rounds=rounds, sigma=sigma)
    if not 0.0 < scale <= shift:
        raise ValueError(f"theory: scale must be in (0, shift], got {scale} and {shift}")
    eigenvalues, vectors = np.linalg.eigh(topology.dense() - 1.0 / n)  # the mean's is 0, and never moves
    beta = vectors.T @ (values - values.mean(axis=0))
    e, s = np.zeros_like(beta), np.zeros(n)
    m, r = float(np.sum(values.mean(axis=0) ** 2)), 0.0  # squared mean error and variance of the mean model
    network, mean = np.empty(rounds + 1), np.empty(rounds + 1)
    for t in range(rounds + 1):
        network[t] = (np.sum(e**2) + np.sum(s)) / n
        mean[t] = m + r
        step = scale / (t + shift)
        e = eigenvalues[:, None] * ((1.0 - step) * e + step * beta)
        s = eigenvalues**2 * ((1.0 - step) ** 2 * s + (step * sigma) ** 2)
        m, r = (1.0 - step) ** 2 * m, (1.0 - step) ** 2 * r + (step * sigma) ** 2 / n
    above = np.flatnonzero(network > factor * mean)
    last = int(above[-1]) + 1 if len(above) else 0
    # An eigenvalue −1 comes out of the decomposition with a rounding error on either side.
    swings = bool(np.abs(eigenvalues).max() > 1.0 - 1e-12)
    if swings or sigma == 0.0 or scale <= 0.5:
        return Transient(network, mean, float(last) if last <= rounds else np.inf, np.inf)
    sums = np.sum(beta**2, axis=1) / sigma**2 * (eigenvalues / (1.0 - eigenvalues)) ** 2
    sums += eigenvalues**2 / (1.0 - eigenvalues**2)
    leading = (2.0 * scale - 1.0) / factor * float(sums.sum())
    return Transient(network, mean, float(last) if last <= rounds else np.inf, leading)
