"""How flat the loss is around a model, and along the way from one model to another.

Every function takes a loss `params -> []` and works under `jit` and `vmap`; a model is any pytree.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from dlax import tree
from dlax.types import Key, Scalar, Tree

Loss = Callable[[Tree], jax.Array]


def random_rise(loss: Loss, params: Tree, radius: Scalar, key: Key, *, directions: int = 16) -> jax.Array:
    """E[L(x + r u) − L(x)] over random directions u on the unit sphere of all parameters.

    Each direction is taken both ways, which cancels the slope. For small r it is r² tr(∇²L) / (2d): the mean
    eigenvalue of the Hessian.

    Args:
      loss: L.
      params: x.
      radius: r.
      key: of the directions.
      directions: how many are averaged, both ways.

    Returns:
      The mean rise, `[]`.
    """
    start = loss(params)

    def rise(key: Key) -> jax.Array:
        u = _unit(params, key)
        return (loss(tree.add(params, u, radius)) + loss(tree.add(params, u, -radius))) / 2 - start

    return jnp.mean(jax.lax.map(rise, jax.random.split(key, directions)))


def steepest_rise(loss: Loss, params: Tree, radius: Scalar) -> jax.Array:
    """L(x + r ∇L / ‖∇L‖) − L(x): the rise after one step of length r uphill, which SAM makes small.

    Args:
      loss: L.
      params: x.
      radius: r.

    Returns:
      The rise, `[]`.
    """
    start, grads = jax.value_and_grad(loss)(params)
    return loss(tree.add(params, grads, radius / jnp.sqrt(tree.squared_norm(grads)))) - start


def top_eigenvalue(loss: Loss, params: Tree, key: Key, *, steps: int = 30) -> jax.Array:
    """The eigenvalue of the Hessian ∇²L(x) that is largest in magnitude, by power iteration.

    Args:
      loss: L.
      params: x.
      key: of the first direction.
      steps: Hessian-vector products.

    Returns:
      The Rayleigh quotient of the last direction, `[]`: at most the largest eigenvalue in magnitude.
    """
    slope = jax.grad(loss)

    def step(_: int, carry: tuple[Tree, jax.Array]) -> tuple[Tree, jax.Array]:
        v = carry[0]
        curved = jax.jvp(slope, (params,), (v,))[1]
        products = jax.tree.leaves(jax.tree.map(jnp.vdot, v, curved))
        return _scaled(curved), jnp.sum(jnp.stack(products))

    first = _unit(params, key)
    zero = jnp.zeros((), jax.tree.leaves(first)[0].dtype)
    return jax.lax.fori_loop(0, steps, step, (first, zero))[1]


def along(loss: Loss, start: Tree, end: Tree, *, points: int = 11) -> jax.Array:
    """L on the straight line from one model to another, ends included, `[points]`."""

    def at(share: jax.Array) -> jax.Array:
        return loss(jax.tree.map(lambda a, b: a + share.astype(a.dtype) * (b - a), start, end))

    return jax.lax.map(at, jnp.linspace(0, 1, points))


def barrier(values: jax.Array) -> jax.Array:
    """How far L on a line rises above the chord between its ends (linear mode connectivity's barrier).

        max over α of  L((1 − α) a + α b) − ((1 − α) L(a) + α L(b))

    Args:
      values: `[points]` from `along`.

    Returns:
      The barrier, `[]`; 0 when L lies below the chord everywhere between the ends.
    """
    return jnp.max(values - jnp.linspace(values[0], values[-1], len(values)))


def _unit(params: Tree, key: Key) -> Tree:
    """A direction drawn uniformly from the unit sphere of all parameters."""
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(key, len(leaves))
    drawn = [jax.random.normal(k, leaf.shape, leaf.dtype) for k, leaf in zip(keys, leaves, strict=True)]
    return _scaled(jax.tree.unflatten(structure, drawn))


def _scaled(x: Tree) -> Tree:
    length = jnp.sqrt(tree.squared_norm(x))
    return jax.tree.map(lambda leaf: leaf / length, x)
