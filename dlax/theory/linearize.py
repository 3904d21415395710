"""Any algorithm on a quadratic problem, as the affine map that its own code makes of its state."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from dlax.channel import linear
from dlax.simulate import unroll
from dlax.theory.checks import check_finite, check_topology, close
from dlax.theory.quadratics import quadratic_of, without_noise
from dlax.theory.recursion import Recursion, check_size, is_zero
from dlax.topology import Topology
from dlax.types import Algorithm, Channel, Key, Problem, Tree

_QUICKLY: dict[str, str | bool] = {"xla_backend_optimization_level": "0"}  # each program runs a few times


def linearize(
    algorithm: Algorithm | Callable[..., Algorithm],
    problem: Problem,
    topology: Topology,
    *,
    channel: Channel = linear(),
    hyper: Mapping[str, float] | None = None,
    sigma: float | None = None,
    skip: int = 2,
) -> Recursion:
    """Differentiates the rounds of any algorithm with respect to its state and its gradients.

        M = ∂ step / ∂ state,   c = step(0),   Q = (σ²/d) N Nᵀ with N = ∂ step / ∂ ξ

    Exact where the step is affine and the same in every period: quadratic problems, plain SGD or momentum
    inside, constant step sizes, channels without drops. The spectral radius of M *is* the rate of the code that
    runs, whatever a paper's bound says; `dsgd` and `gradient_tracking` here are the independent check on it.

    Args:
      algorithm: an `Algorithm`, or a factory.
      problem: with affine gradients; see `quadratic_of`.
      topology: fixed or cyclic.
      channel: how messages travel.
      hyper: traced options of the factory.
      sigma: σ of the gradient noise, one ξ a node and round; see `quadratic_of`.
      skip: rounds before the one that is linearised, whole periods of them; first rounds are often special.

    Returns:
      The recursion from the state after those rounds, reached without noise. Its z is the models, then the rest
      of the state, without what stays as it is unseen by the models.

    Raises:
      ValueError: if the problem is not quadratic or too large; the topology has another n, is random, or is
        refused by the algorithm; the rounds are not affine, or not all the same; or noisy gradients are taken
        several times a round, which a single ξ cannot stand for.
    """
    check_topology(problem, topology)
    check_finite(skip=skip)
    q = quadratic_of(problem, sigma=sigma)
    n, d = q.b.shape
    period = topology.period
    first = -(-skip // period) * period
    with jax.enable_x64(True):
        shifted = _Shifted(without_noise(problem)[0], jnp.zeros((n, d)))
        run = unroll(algorithm, shifted.problem, topology, channel=channel, hyper=hyper)

        def rounds(state: Any, xi: jax.Array, t: Any) -> tuple[Any, dict[str, Any]]:
            """A whole period from round t on, with xi `[period, n, d]` added to the gradients."""
            for k in range(period):
                state, info = shifted.by(xi[k], run.step, t + k, state)
            return state, info

        quiet, advance = jnp.zeros((period, n, d)), jax.jit(rounds, compiler_options=_QUICKLY)
        state = jax.tree.map(jnp.asarray, run.start(run.params))
        for t in range(0, first, period):
            state, _ = advance(state, quiet, t)
        later, info = advance(state, quiet, first)
        if q.sigma and np.max(np.asarray(info.get("gradients", 1))) > 1:
            raise ValueError(
                "theory: linearize takes one noisy gradient a node and round; for local steps of plain SGD see "
                "theory.dsgd, or set sigma=0"
            )
        floating = [jnp.issubdtype(leaf.dtype, jnp.inexact) for leaf in jax.tree.leaves(state)]

        def pick(state: Any) -> list[jax.Array]:
            return list(itertools.compress(jax.tree.leaves(state), floating))

        z0, unravel = ravel_pytree(pick(state))
        check_size(z0.size)

        def put(z: jax.Array, state: Any) -> Any:
            """The state with z in place of its floating numbers; the others, such as counters, stay."""
            leaves, structure = jax.tree.flatten(state)
            new = iter(unravel(z))
            return jax.tree.unflatten(
                structure, [next(new) if move else leaf for leaf, move in zip(leaves, floating, strict=True)]
            )

        def application(z: jax.Array, xi: jax.Array) -> jax.Array:
            return ravel_pytree(pick(rounds(put(z, state), xi, first)[0]))[0]

        def seen(z: np.ndarray, t: int, state: Any) -> np.ndarray:
            return np.asarray(ravel_pytree(pick(advance(put(jnp.asarray(z), state), quiet, t)[0]))[0])

        jacobians = jax.jacfwd(application, argnums=(0, 1) if q.sigma else (0,))
        M, *N = (
            np.asarray(jacobian).reshape(z0.size, -1)
            for jacobian in jax.jit(jacobians, compiler_options=_QUICKLY)(z0, quiet)
        )
        c = seen(np.zeros(z0.size), first, state)
        probe = np.random.default_rng(0).normal(size=z0.size)
        finite = all(np.isfinite(array).all() for array in (M, c, *N))
        if not finite or not all(close(seen(z, first, state), M @ z + c) for z in (probe, 1e3 * probe)):
            raise ValueError(
                "theory: a round of this algorithm is not an affine map of its state; only such are predicted"
            )
        # Some periods later, as a coin may fall the same way now and then, and after many more, as rounds and
        # counters then stand.
        if not all(
            close(seen(probe, first + k * period, later), M @ probe + c) for k in (*range(1, 33), 1009)
        ):
            raise ValueError(
                "theory: the rounds of this algorithm differ (a schedule, a counter, random links); only "
                "constant ones are predicted"
            )
    order = _nodes_first(state.params, len(z0))
    basis = _visible(M[np.ix_(order, order)], n * d)[np.argsort(order)]
    M, c, z = basis.T @ M @ basis, c @ basis, np.asarray(z0) @ basis
    Q = (q.sigma**2 / d) * (basis.T @ N[0]) @ (basis.T @ N[0]).T if q.sigma else None
    return Recursion(M, c, Q, z, n, d, q.optimum, period, first)


class _Shifted:
    """A problem whose gradients all have a constant added, which may be traced and hence differentiated."""

    def __init__(self, problem: Problem, zero: jax.Array) -> None:
        self._xi = zero  # [n, d]

        def loss(params: Tree, key: Key, local: Tree, shared: Tree) -> jax.Array:
            value = problem.loss(params, key, local["of"], shared)
            return value + jnp.vdot(self._xi[local["node"]], ravel_pytree(params)[0])

        # Proximal steps and conjugates are of the exact functions: nothing is added to them.
        def prox(v: Tree, scale: Any, local: Tree, shared: Tree) -> Tree:
            return problem.prox(v, scale, local["of"], shared)  # type: ignore[misc]

        def conjugate(y: Tree, local: Tree, shared: Tree) -> Tree:
            return problem.conjugate(y, local["of"], shared)  # type: ignore[misc]

        self.problem = problem._replace(
            loss=loss,
            local={"of": problem.local, "node": np.arange(problem.n)},
            prox=problem.prox and prox,
            conjugate=problem.conjugate and conjugate,
        )

    def by(self, xi: jax.Array, step: Callable[..., Any], *args: Any) -> Any:
        """Calls a step, which traces the loss anew, with xi `[n, d]` added to the gradients."""
        before, self._xi = self._xi, xi
        try:
            return step(*args)
        finally:
            self._xi = before


def _visible(M: np.ndarray, models: int) -> np.ndarray:
    """A basis `[z, z']` of the models and of the rest but for what stays as it is and no model ever sees.

    Running sums grow for ever, while only their differences matter.
    """
    moves = (M - np.eye(len(M)))[:, models:]
    _, values, right = np.linalg.svd(moves, full_matrices=False)
    hidden = is_zero(values)
    basis = np.eye(len(M))
    if hidden.any():
        basis = np.hstack(
            [basis[:, :models], np.vstack([np.zeros((models, sum(~hidden))), right[~hidden].T])]
        )
    return basis


def _nodes_first(params: Tree, size: int) -> np.ndarray:
    """The order of z in which the models come node by node, their entries as `ravel_pytree` has them."""
    leaves = jax.tree.leaves(params)
    starts = np.cumsum([0, *[leaf.size for leaf in leaves]])
    places = [
        np.arange(a, b).reshape(leaf.shape[0], -1)
        for a, b, leaf in zip(starts[:-1], starts[1:], leaves, strict=True)
    ]
    models = np.concatenate(places, axis=1).ravel()
    return np.concatenate([models, np.arange(len(models), size)])
