"""Affine recursions with noise, and everything that linear algebra says about them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

LARGEST = 4_000  # entries of z; a decomposition then takes a minute
_ROUNDING = 1e-12  # relative; what is smaller is zero


def check_size(entries: int) -> None:
    """Refuses what dense linear algebra would not finish, before it allocates anything.

    Raises:
      ValueError: if z has more than 4,000 entries.
    """
    if entries > LARGEST:
        raise ValueError(
            f"theory: a recursion over {entries:,} numbers is too large for dense linear algebra "
            f"(at most {LARGEST:,}); take fewer nodes or parameters"
        )


def is_zero(values: np.ndarray) -> np.ndarray:
    """Which singular values are rounding: below 1e-12, relative to the largest where that exceeds 1."""
    return values <= _ROUNDING * max(1.0, values.max(initial=0.0))


@dataclass(frozen=True, eq=False)
class Recursion:
    """z ← M z + c + ε, with E ε = 0 and E εεᵀ = Q independent of the past.

    The models are the first n·d entries of z, node by node. One application stands for `period` rounds, so over
    cyclic graphs everything is said of the rounds that end a period.

    Attributes:
      matrix: M `[z, z]`.
      offset: c `[z]`.
      noise: Q `[z, z]`, or None without noise.
      start: z₀ `[z]`.
      nodes: n.
      dim: d.
      optimum: x* `[d]`, what distances are measured from.
      period: rounds that one application stands for.
      first: rounds that were done before z₀.

    Raises:
      ValueError: if z has more than 4,000 entries.
    """

    matrix: np.ndarray
    offset: np.ndarray
    noise: np.ndarray | None
    start: np.ndarray
    nodes: int
    dim: int
    optimum: np.ndarray
    period: int = 1
    first: int = 0

    def __post_init__(self) -> None:
        check_size(len(self.matrix))

    @property
    def conserved(self) -> np.ndarray:
        """What no application changes: an orthonormal basis `[z, k]` of the l with lᵀ M = lᵀ.

        Gossip keeps the mean of the models (k = d), plain D-SGD keeps nothing (k = 0). The left null space of
        M − I, where singular values below 1e-12 count as zero; no eigenvalue near 1 is taken for one that is 1.
        """
        return self._split[1]

    @cached_property
    def _split(self) -> tuple[np.ndarray, np.ndarray]:
        """Orthonormal bases of what moves `[z, z − k]` and of what is conserved `[z, k]`.

        M maps the first into itself: two trajectories that agree in what is conserved differ only there.
        """
        eye = np.eye(len(self.matrix))
        left, values, _ = np.linalg.svd(self.matrix - eye)
        kept = is_zero(values)
        return (left[:, ~kept], left[:, kept]) if kept.any() else (eye, eye[:, :0])

    @cached_property
    def _moving(self) -> np.ndarray:
        """M on what moves: M without k of its eigenvalues 1, exactly."""
        basis = self._split[0]
        return basis.T @ self.matrix @ basis

    @cached_property
    def eigenvalues(self) -> np.ndarray:
        """Of M, by falling modulus, without the eigenvalues 1 that belong to `conserved`."""
        values = np.linalg.eigvals(self._moving)
        return values[np.argsort(-np.abs(values), kind="stable")]

    @cached_property
    def rate(self) -> float:
        """The factor by which the distance to the limit shrinks in one round, asymptotically.

        The largest |λ| of `eigenvalues`, to the power 1/period. Above 1 the recursion diverges. Multiple
        eigenvalues without a full set of eigenvectors are known to about 1e-8 only.
        """
        return self._radius ** (1.0 / self.period)

    @cached_property
    def _radius(self) -> float:
        radius = float(np.abs(self.eigenvalues).max(initial=0.0))
        return 0.0 if radius < _ROUNDING else radius  # its root would not look like zero

    @cached_property
    def converges(self) -> bool:
        """Whether E z has a limit: the rate is below 1, and nothing drifts that M alone would keep."""
        drift = np.abs(self.conserved.T @ self.offset).max(initial=0.0)
        scale = max(1.0, np.abs(self.offset).max(initial=0.0))
        return self._radius < 1.0 - _ROUNDING and bool(drift <= _ROUNDING * scale)

    @cached_property
    def limit(self) -> np.ndarray:
        """E z after infinitely many rounds from z₀ `[z]`; NaN if it does not converge."""
        if not self.converges:
            return np.full_like(self.start, np.nan)
        basis, conserved = self._split
        kept = conserved @ (conserved.T @ self.start)
        pull = basis.T @ (self.matrix @ kept + self.offset)
        return basis @ np.linalg.solve(np.eye(len(pull)) - self._moving, pull) + kept

    @cached_property
    def covariance(self) -> np.ndarray:
        """Cov z after infinitely many rounds `[z, z]`: Σ = M Σ Mᵀ + Q, solved by doubling; 0 without noise.

        NaN if it does not converge, or if noise enters what is conserved, which then wanders off.
        """
        if self.noise is None:
            return np.zeros_like(self.matrix)
        basis, conserved = self._split
        wandering = np.abs(conserved.T @ self.noise @ conserved).max(initial=0.0)
        if not self.converges or wandering > _ROUNDING * np.abs(self.noise).max():
            return np.full_like(self.matrix, np.nan)
        M, total = self._moving, basis.T @ self.noise @ basis
        for _ in range(64):  # M to the powers 1, 2, 4, ...
            if np.abs(M).max(initial=0.0) < _ROUNDING:
                break
            total = total + M @ total @ M.T
            M = M @ M
        return basis @ total @ basis.T

    @property
    def steady_distance(self) -> float:
        """E (1/n) Σᵢ ‖xᵢ − x*‖² in the long run: squared bias and variance together."""
        return sum(self._errors(self.limit, self.covariance))

    @property
    def steady_consensus(self) -> float:
        """E (1/n) Σᵢ ‖xᵢ − x̄‖² in the long run."""
        return self._errors(self.limit, self.covariance)[1]

    @property
    def steady_mean_error(self) -> float:
        """E ‖x̄ − x*‖² in the long run; it and `steady_consensus` add up to `steady_distance`."""
        return self._errors(self.limit, self.covariance)[0]

    @property
    def bias(self) -> float:
        """(1/n) Σᵢ ‖E xᵢ − x*‖² in the long run: what no averaging over time removes."""
        return sum(self._errors(self.limit, None))

    def times(self, rounds: int) -> np.ndarray:
        """The rounds that the paths below speak of: first, first + period, ... ≤ `rounds`."""
        return np.arange(self.first, rounds + 1, self.period)

    def distances(self, rounds: int) -> np.ndarray:
        """E (1/n) Σᵢ ‖xᵢ − x*‖² at `times(rounds)`."""
        return self._path(rounds).sum(axis=1)

    def consensuses(self, rounds: int) -> np.ndarray:
        """E (1/n) Σᵢ ‖xᵢ − x̄‖² at `times(rounds)`."""
        return self._path(rounds)[:, 1]

    def mean_errors(self, rounds: int) -> np.ndarray:
        """E ‖x̄ − x*‖² at `times(rounds)`."""
        return self._path(rounds)[:, 0]

    def _path(self, rounds: int) -> np.ndarray:
        z, spread = self.start, None
        rows = np.empty((len(self.times(rounds)), 2))
        for row in rows:
            row[:] = self._errors(z, spread)
            z = self.matrix @ z + self.offset
            if self.noise is not None:
                before = 0.0 if spread is None else self.matrix @ spread @ self.matrix.T
                spread = before + self.noise
        return rows

    def _errors(self, z: np.ndarray, spread: np.ndarray | None) -> tuple[float, float]:
        """‖x̄ − x*‖² and (1/n) Σᵢ ‖xᵢ − x̄‖², expected under mean z and covariance `spread`."""
        n, d = self.nodes, self.dim
        x = z[: n * d].reshape(n, d)
        mean = x.mean(axis=0)
        error = float(np.sum((mean - self.optimum) ** 2))
        consensus = float(np.sum((x - mean) ** 2)) / n
        if spread is not None:
            between = np.einsum("idjd->ij", spread[: n * d, : n * d].reshape(n, d, n, d))
            of_mean = float(between.sum()) / n**2
            error += of_mean
            consensus += float(
                np.maximum(0.0, np.trace(between) / n - of_mean)
            )  # rounding may leave less than none
        return error, consensus
