"""D-SGD, gradient tracking and centralised SGD on quadratics, exactly."""

from collections.abc import Callable
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from dlax.algorithms.dsgd import Order
from dlax.problems import quadratic
from dlax.simulate import stream
from dlax.theory.checks import check_finite, check_topology, close
from dlax.theory.recursion import LARGEST, Recursion, check_size
from dlax.topology import Topology
from dlax.types import Problem, Tree


class Quadratic(NamedTuple):
    """Node gradients that are affine: ∇fᵢ(x) = Aᵢ x + bᵢ, sampled with isotropic noise.

    Attributes:
      A: `[n, d, d]`, symmetric.
      b: `[n, d]`.
      optimum: x* `[d]`, what distances are measured from.
      sigma: σ, with E‖ξ‖² = σ² for the noise ξ of one sampled gradient, independent over nodes and samples.
      start: `[n, d]`, the models that a run starts from.
    """

    A: np.ndarray
    b: np.ndarray
    optimum: np.ndarray
    sigma: float
    start: np.ndarray


def quadratic_of(problem: Problem, *, sigma: float | None = None) -> Quadratic:
    """Reads off a problem's affine gradients.

    Args:
      problem: `quadratic`, `average`, `least_squares`, or any whose exact gradients are affine.
      sigma: σ of the gradient noise. None: that of the problem `quadratic`, else 0.

    Returns:
      The numbers, parameters flattened as `ravel_pytree` does. The optimum is the problem's own, or else where
      the mean gradient is zero, nearest to 0; the start is that of a run with seed 0 and start: common.

    Raises:
      ValueError: if a gradient is not affine, or is sampled in another way than by `quadratic`; if σ is
        negative, or the matrices A are too large.
    """
    problem, known = without_noise(problem)
    sigma = known if sigma is None else sigma
    check_finite(sigma=sigma)
    with jax.enable_x64(True):
        local, shared = _float64(problem.local), _float64(problem.shared)
        single = _float64(problem.init(stream(jax.random.key(0), "start")))
        flat, unravel = ravel_pytree(single)
        if problem.n * flat.size**2 > LARGEST**2:
            raise ValueError(
                f"theory: {problem.n:,} nodes with {flat.size:,} parameters have Hessians of more than "
                f"{LARGEST**2:,} entries; take fewer"
            )
        starts = np.tile(np.asarray(flat), (problem.n, 1))
        if problem.starts is not None:
            starts = np.asarray(jax.vmap(lambda p: ravel_pytree(p)[0])(_float64(problem.starts)))

        def grad(x: jax.Array, seed: int, row: Tree) -> jax.Array:
            return jax.grad(lambda v: problem.loss(unravel(v), jax.random.key(seed), row, shared))(x)

        def of_nodes(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
            return jax.vmap(function, in_axes=(None, None, 0), axis_size=problem.n)

        zero, probe = np.zeros(flat.size), np.random.default_rng(0).normal(size=flat.size)
        points = jnp.asarray(np.stack([zero, probe, -1e3 * probe, probe]))
        seeds = jnp.array([0, 0, 0, 1])

        def read(points: jax.Array, seeds: jax.Array, local: Tree) -> tuple[jax.Array, jax.Array]:
            gradients = jax.vmap(of_nodes(grad), in_axes=(0, 0, None))(points, seeds, local)
            return gradients, of_nodes(jax.jacfwd(grad))(points[0], seeds[0], local)

        (b, *seen), A = map(
            np.asarray, jax.jit(read)(points, seeds, local)
        )  # compiled once, not piece by piece
        for x, values in zip((probe, -1e3 * probe), seen[:2], strict=True):
            if not close(values, A @ x + b):
                raise ValueError(
                    "theory: the gradients of this problem are not affine; only quadratics are predicted"
                )
        if not close(seen[2], seen[0]):
            raise ValueError(
                "theory: this problem samples its gradients, and only additive noise is predicted; take all of "
                "a node's samples (batch_size: null)"
            )
        if problem.optimum is not None:
            optimum = np.asarray(ravel_pytree(_float64(problem.optimum))[0])
        else:
            optimum = np.linalg.lstsq(A.mean(axis=0), -b.mean(axis=0), rcond=None)[0]
    return Quadratic(A, b, optimum, float(sigma), starts)


def without_noise(problem: Problem) -> tuple[Problem, float]:
    """A problem with the gradient noise of `quadratic` taken out, and its σ; any other as it is, and 0."""
    if getattr(problem.loss, "__module__", None) != quadratic.__module__:
        return problem, 0.0
    each = float(problem.shared["noise"])  # of one entry
    size = len(problem.shared["optimum"])
    return problem._replace(shared={**problem.shared, "noise": np.float64(0.0)}), each * np.sqrt(size)


def dsgd(
    problem: Problem,
    topology: Topology,
    *,
    lr: float,
    order: Order = "adapt_then_combine",
    local_steps: int = 1,
    sigma: float | None = None,
) -> Recursion:
    """D-SGD on quadratics: exact bias from heterogeneity, exact covariance from noise, exact rate.

    With A = diag(A₁ ... A_n), K local steps G = (I − lr A)ᴷ and h = −lr Σₖ (I − lr A)ᵏ b, k < K:

        adapt_then_combine    M = W G,              c = W h
        combine_then_adapt    M = G W,              c = h
        combine_while_adapt   M = W + G − I,        c = h

    The fixed point (I − M)⁻¹ c differs from x* by the bias; Σ = M Σ Mᵀ + Q with
    Q = (σ²/d) lr² Σₖ (I − lr A)²ᵏ (between two W if adapt_then_combine) is the stationary covariance. Over a
    cyclic topology one application is a whole period.

    Args:
      problem: with affine gradients; see `quadratic_of`.
      topology: fixed or cyclic, row stochastic.
      lr: constant step size of plain SGD.
      order: as in the algorithm.
      local_steps: K.
      sigma: see `quadratic_of`.

    Returns:
      The recursion; z is the models.

    Raises:
      ValueError: if an option is out of range, the problem is not quadratic or too large, or the topology has
        another n, is random or is not row stochastic.
    """
    if order not in get_args(Order):
        raise ValueError(f"theory: order must be one of {', '.join(get_args(Order))}, got {order!r}")
    if local_steps < 1:
        raise ValueError(f"theory: local_steps must be at least 1, got {local_steps}")
    check_finite(lr=lr)
    check_topology(problem, topology, "row stochastic")
    q = quadratic_of(problem, sigma=sigma)
    n, d = q.b.shape
    check_size(n * d)
    eye = np.eye(d)
    inner = eye - lr * q.A
    G, h, S = np.tile(eye, (n, 1, 1)), np.zeros_like(q.b), np.zeros_like(q.A)
    for _ in range(local_steps):
        S = S + G @ G  # A is symmetric, hence so is G
        h = np.einsum("nij,nj->ni", inner, h) - lr * q.b
        G = inner @ G
    G_all, S_all = _block_diagonal(G), _block_diagonal(S) * (lr * q.sigma) ** 2 / d
    M, c, Q = np.eye(n * d), np.zeros(n * d), np.zeros((n * d, n * d))
    for W in _matrices(topology):
        Wd = np.kron(W, eye)
        if order == "adapt_then_combine":
            m, o, noise = Wd @ G_all, Wd @ h.ravel(), Wd @ S_all @ Wd.T
        elif order == "combine_then_adapt":
            m, o, noise = G_all @ Wd, h.ravel(), S_all
        else:
            m, o, noise = Wd + G_all - np.eye(n * d), h.ravel(), S_all
        M, c, Q = m @ M, m @ c + o, m @ Q @ m.T + noise
    return Recursion(M, c, Q if q.sigma else None, q.start.ravel(), n, d, q.optimum, topology.period)


def gradient_tracking(
    problem: Problem, topology: Topology, *, lr: float, sigma: float | None = None
) -> Recursion:
    """Gradient tracking (DIGing) on quadratics: the linear rate, that the bias is zero, what noise costs.

    With v = W y − g_old, whose mean over nodes stays zero, and g = A x + b + ξ, a round is

        x ← W x − lr (v + g),   v ← W⁺ v + (W⁺ − I) g

    with the old x in both and W⁺ the matrix of the next round, W if the graph is fixed. The noise of a gradient
    enters the tracker twice, in two rounds; v takes up both at once, so that rounds have independent noise.

    v is held in an orthonormal basis of the vectors of mean zero, so nothing conserved is left.

    Args:
      problem: with affine gradients; see `quadratic_of`.
      topology: fixed or cyclic, doubly stochastic.
      lr: constant step size.
      sigma: see `quadratic_of`.

    Returns:
      The recursion; z is the models and v.

    Raises:
      ValueError: if `lr` is negative, the problem is not quadratic or too large, or the topology
        has another n, is random or is not doubly stochastic.
    """
    check_finite(lr=lr)
    check_topology(problem, topology, "doubly stochastic")
    q = quadratic_of(problem, sigma=sigma)
    n, d = q.b.shape
    check_size((2 * n - 1) * d)
    A, b, eye = _block_diagonal(q.A), q.b.ravel(), np.eye(n * d)
    basis = np.kron(_mean_free(n), np.eye(d))  # [n d, (n − 1) d]
    size = n * d + basis.shape[1]
    M, c, Q = np.eye(size), np.zeros(size), np.zeros((size, size))
    matrices = [np.kron(W, np.eye(d)) for W in _matrices(topology)]
    for W, following in zip(matrices, matrices[1:] + matrices[:1], strict=True):
        of_gradient = np.vstack([-lr * eye, basis.T @ (following - eye)])
        of_state = np.block([[W, -lr * basis], [np.zeros_like(basis.T), basis.T @ following @ basis]])
        m = of_state + of_gradient @ np.hstack([A, np.zeros_like(basis)])
        M, c = m @ M, m @ c + of_gradient @ b
        Q = m @ Q @ m.T + (q.sigma**2 / d) * of_gradient @ of_gradient.T
    start = np.concatenate([q.start.ravel(), np.zeros(size - n * d)])
    return Recursion(M, c, Q if q.sigma else None, start, n, d, q.optimum, topology.period)


def centralized_sgd(problem: Problem, *, lr: float, sigma: float | None = None) -> Recursion:
    """SGD on the average gradient of all nodes: what decentralised methods are measured against.

        x ← x − lr (Ā x + b̄ + ξ̄),   E‖ξ̄‖² = σ²/n

    The variance falls as 1/n: the linear speed-up.

    Args:
      problem: with affine gradients; see `quadratic_of`.
      lr: constant step size.
      sigma: see `quadratic_of`.

    Returns:
      The recursion of the one model, as if n were 1.

    Raises:
      ValueError: if `lr` is negative, or the problem is not quadratic or too large.
    """
    check_finite(lr=lr)
    q = quadratic_of(problem, sigma=sigma)
    n, d = q.b.shape
    M = np.eye(d) - lr * q.A.mean(axis=0)
    Q = np.eye(d) * (lr * q.sigma) ** 2 / (n * d) if q.sigma else None
    return Recursion(M, -lr * q.b.mean(axis=0), Q, q.start.mean(axis=0), 1, d, q.optimum)


def _matrices(topology: Topology) -> list[np.ndarray]:
    return [topology.dense(t) for t in range(topology.period)]


def _block_diagonal(blocks: np.ndarray) -> np.ndarray:
    """[n, d, d] -> [n d, n d]."""
    n, d, _ = blocks.shape
    whole = np.zeros((n, d, n, d))
    whole[np.arange(n), :, np.arange(n), :] = blocks
    return whole.reshape(n * d, n * d)


def _mean_free(n: int) -> np.ndarray:
    """An orthonormal basis `[n, n − 1]` of the vectors whose entries sum to zero."""
    return np.linalg.svd(np.ones((1, n)), full_matrices=True)[2][1:].T


def _float64(tree: Any) -> Any:
    """As a float64 run sees it: floating leaves in double precision, the others as they are."""

    def cast(leaf: Any) -> jax.Array:
        leaf = jnp.asarray(leaf)
        return leaf.astype(jnp.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(cast, tree)
