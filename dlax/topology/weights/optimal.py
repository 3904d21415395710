"""Weights and probabilities that are optimal for a graph, by semidefinite programming.

The programmes need `cvxpy`, the extra "theory", which brings its solvers. They take the whole graph in one
place and grow fast with it: n nodes, m edges, and work in proportion to about n⁶.
"""

import importlib
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.sparse import csr_array

from dlax.topology.matrix import TOLERANCE, as_csr, components, is_symmetric
from dlax.topology.spectra.resistance import edge_list
from dlax.topology.weights.local import Weights, require_undirected, with_self

_NODES = 100  # of a programme with one or two matrices [n, n]: a minute or two
_ZERO = 1e-8  # the solver's accuracy: smaller weights are none


def fdla() -> Weights:
    """Fastest distributed linear averaging: the symmetric weights of least ρ that a graph allows.

        minimise ‖W − J‖₂   over W = Wᵀ, W 1 = 1, W_ij = 0 where i does not hear j

    Rows and columns sum to one; weights may be negative, self weights too. No other symmetric rule has a larger
    gap. Edges may get no weight, and then they are gone. Seconds for 40 nodes, a minute or two for 100.

    Returns:
      The rule; it raises `ValueError` on a directed or disconnected graph, above 100 nodes, or without `cvxpy`.

    References:
      Xiao, Boyd. Fast linear iterations for distributed averaging. Systems & Control Letters 2004.
    """

    def rule(adjacency: csr_array) -> csr_array:
        return _fastest("fdla", adjacency, nonnegative=False)

    return rule


def fastest_mixing() -> Weights:
    """The fastest mixing symmetric Markov chain of a graph: `fdla` without negative weights.

        minimise ‖W − J‖₂   over W = Wᵀ ≥ 0, W 1 = 1, W_ij = 0 where i does not hear j

    Symmetric and doubly stochastic. Edges may get no weight, and then they are gone. Seconds for 40 nodes, a
    minute or two for 100.

    Returns:
      The rule; it raises `ValueError` on a directed or disconnected graph, above 100 nodes, or without `cvxpy`.

    References:
      Boyd, Diaconis, Xiao. Fastest mixing Markov chain on a graph. SIAM Review 2004.
    """

    def rule(adjacency: csr_array) -> csr_array:
        return _fastest("fastest_mixing", adjacency, nonnegative=True)

    return rule


def activation_probabilities(laplacians: Sequence[Any], budget: float) -> np.ndarray:
    """Compute how often MATCHA activates each of M subgraphs, for the best expected connectivity.

        maximise λ₂(Σ pₖ Lₖ)   over 0 ≤ pₖ ≤ 1, Σ pₖ ≤ budget · M

    Args:
      laplacians: L `[n, n]` of the M subgraphs, dense or sparse; their union connects 2 to 100 nodes.
      budget: mean share of the subgraphs that are active in a round, in (0, 1]. 1: all, always.

    Returns:
      p `[M]`.

    Raises:
      ValueError: if the budget is out of range, if the matrices are not Laplacians of one size whose sum is
        connected, or if there are too many nodes; without `cvxpy` unless the budget is 1.

    References:
      Wang, Sahu, Yang, Joshi, Kar. MATCHA: Speeding up decentralized SGD via matching decomposition sampling.
      Indian Control Conference 2019.
    """
    who = "activation_probabilities"
    if not 0.0 < budget <= 1.0:
        raise ValueError(f"{who}: budget must be in (0, 1], got {budget}")
    matrices = _laplacians(who, laplacians)
    M, n = len(matrices), matrices[0].shape[0]
    if components(sum(matrices[1:], matrices[0]))[0] > 1:
        raise ValueError(f"{who}: the sum of the {M} Laplacians must be that of a connected graph")
    if budget == 1.0 or n == 1:
        return np.ones(M)
    if n > _NODES:
        raise ValueError(f"{who}: takes at most {_NODES} nodes, got {n}")
    cp = load_cvxpy(who)
    p, gap = cp.Variable(M), cp.Variable()
    mean = sum(p[k] * L.toarray()[1:, 1:] for k, L in enumerate(matrices))
    rest = (np.eye(n) - 1.0 / n)[1:, 1:]
    solve(who, cp.Maximize(gap), [mean - gap * rest >> 0, p >= 0, p <= 1, cp.sum(p) <= budget * M])
    found = np.clip(p.value, 0.0, 1.0)
    return found * min(1.0, budget * M / found.sum())


def best_mixing(laplacians: Sequence[Any], probabilities: Any) -> tuple[float, float]:
    """Compute the α that makes MATCHA's W = I − α Σ Bₖ Lₖ, Bₖ ~ Bernoulli(pₖ), contract most in the mean square.

        ρ² = ‖E[WᵀW] − J‖₂ = ‖I − 2α L̄ + α² (L̄² + 2 L̃) − J‖₂,   L̄ = Σ pₖ Lₖ,   L̃ = Σ pₖ (1 − pₖ) Lₖ

    The Lₖ are those of matchings, for which Lₖ² = 2 Lₖ. ρ² is convex in α, and searched along its one dimension
    from 0 to 2/λ_max(L̄), beyond which it exceeds 1. If all p are 1, α = 2/(λ₂ + λ_max).

    Args:
      laplacians: L `[n, n]` of M matchings, dense or sparse.
      probabilities: p `[M]`, in [0, 1].

    Returns:
      (α, ρ²).

    Raises:
      ValueError: if the matrices are not Laplacians of matchings of one size, if p is not `[M]` in [0, 1], or
        if the matchings with p > 0 do not connect two or more nodes.

    References:
      Wang, Sahu, Yang, Joshi, Kar. MATCHA: Speeding up decentralized SGD via matching decomposition sampling.
      Indian Control Conference 2019.
    """
    matrices = _laplacians("best_mixing", laplacians)
    M, n = len(matrices), matrices[0].shape[0]
    p = np.asarray(probabilities, dtype=np.float64)
    if p.shape != (M,) or not ((p >= 0.0) & (p <= 1.0)).all():
        raise ValueError(
            f"best_mixing: probabilities must be [M] in [0, 1] with M = {M}, got {probabilities!r}"
        )
    for k, L in enumerate(matrices):
        if np.abs((L @ L - 2.0 * L).data).max(initial=0.0) > TOLERANCE:
            raise ValueError(f"best_mixing: laplacians[{k}] is not that of a matching, for which L² = 2 L")
    mean = sum((q * L for q, L in zip(p[1:], matrices[1:], strict=True)), p[0] * matrices[0])
    spread = sum((q * (1.0 - q) * L for q, L in zip(p, matrices, strict=True)), 0.0 * matrices[0])
    if n == 1 or components(as_csr(mean))[0] > 1:
        raise ValueError(
            "best_mixing: the matchings with positive probability must connect two or more nodes"
        )
    first, second = mean.toarray(), (mean @ mean + 2.0 * spread).toarray()
    rest = np.eye(n) - 1.0 / n

    def square(alpha: float) -> float:
        return float(np.linalg.eigvalsh(rest - 2.0 * alpha * first + alpha**2 * second)[-1])

    spectrum = np.linalg.eigvalsh(first)
    if (p == 1.0).all():
        alpha = float(2.0 / (spectrum[1] + spectrum[-1]))
    else:
        limit = 2.0 / spectrum[-1]
        search = minimize_scalar(
            square, bounds=(0.0, limit), method="bounded", options={"xatol": 1e-12 * limit}
        )
        alpha = float(search.x)
    return alpha, square(alpha)


def incidence(n: int, edges: np.ndarray) -> np.ndarray:
    """Return the `[m, n]` whose rows are eᵢ − eⱼ, for edges {i, j} `[m, 2]`."""
    rows = np.zeros((len(edges), n))
    place = np.arange(len(edges))
    rows[place, edges[:, 0]], rows[place, edges[:, 1]] = 1.0, -1.0
    return rows


def load_cvxpy(who: str) -> Any:
    """Import cvxpy, or say how to install it."""
    try:
        return importlib.import_module("cvxpy")
    except ImportError as error:
        raise ValueError(
            f'{who}: needs cvxpy, which is not installed; pip install "dlax[theory]" brings it'
        ) from error


def solve(who: str, objective: Any, constraints: list[Any]) -> None:
    """Solve to 1e-10, if that is in reach, and to 1e-5 at the least."""
    cp = load_cvxpy(who)
    problem = cp.Problem(objective, constraints)
    names = ("gap_abs", "gap_rel", "feas")
    options = {f"tol_{name}": 1e-10 for name in names} | {f"reduced_tol_{name}": 1e-5 for name in names}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the status says the same
        try:
            problem.solve(solver=cp.CLARABEL, **options)
            status = problem.status
        except cp.SolverError as error:
            status = str(error)
    if status not in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE):
        raise ValueError(f"{who}: the solver did not reach an accuracy of 1e-5 on this graph ({status})")


def _fastest(name: str, adjacency: csr_array, nonnegative: bool) -> csr_array:
    require_undirected(name, adjacency)
    n = adjacency.shape[0]
    if components(adjacency)[0] > 1:
        raise ValueError(f"{name} weights need a connected graph: on any other, no W has ρ below 1")
    if adjacency.nnz == n * (n - 1):
        return as_csr(np.full((n, n), 1.0 / n))
    if n > _NODES:
        raise ValueError(
            f"{name} weights are a semidefinite programme, which takes at most {_NODES} nodes, got {n}; use "
            "best_constant or metropolis"
        )
    cp = load_cvxpy(name)
    edges = edge_list(adjacency)
    b = incidence(n, edges)
    w, rho = cp.Variable(len(edges)), cp.Variable()
    W = np.eye(n) - b.T @ cp.diag(w) @ b
    J = np.full((n, n), 1.0 / n)
    signs = [w >= 0, np.abs(b).T @ w <= 1] if nonnegative else []
    solve(name, cp.Minimize(rho), [rho * np.eye(n) - (W - J) >> 0, rho * np.eye(n) + (W - J) >> 0, *signs])
    weight = np.where(np.abs(w.value) < _ZERO, 0.0, w.value)
    if nonnegative:  # in the last digits the solver may step over the bounds
        weight = np.maximum(weight, 0.0)
        weight /= max(1.0, (np.abs(b).T @ weight).max())
    i, j = edges.T
    W = np.zeros((n, n))
    W[i, j] = W[j, i] = weight
    found = with_self(as_csr(W), as_csr(W).data)
    if nonnegative:
        found.data = np.maximum(found.data, 0.0)  # a self weight of 0 may have come out as -1e-16
    return found


def _laplacians(who: str, laplacians: Sequence[Any]) -> list[csr_array]:
    matrices = [as_csr(L) for L in laplacians]
    if not matrices:
        raise ValueError(f"{who}: needs at least one Laplacian, got none")
    sizes = sorted({L.shape[0] for L in matrices})
    if len(sizes) > 1:
        raise ValueError(f"{who}: all Laplacians must have the same number of nodes, got {sizes}")
    for k, L in enumerate(matrices):
        off = L.data[L.indices != np.repeat(np.arange(sizes[0]), np.diff(L.indptr))]
        sums = np.abs(L.sum(axis=1)).max()
        if not (is_symmetric(L) and sums <= TOLERANCE and off.max(initial=0.0) <= 0.0):
            raise ValueError(
                f"{who}: laplacians[{k}] is not a Laplacian: symmetric, with rows that sum to 0 and nothing "
                "positive off the diagonal"
            )
    return matrices
