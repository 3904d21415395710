"""Arithmetic on pytrees whose every leaf leads with the node axis, `[n, ...]`."""

import jax
import jax.numpy as jnp
import numpy as np

from dlax.types import Scalar, Tree


def add(x: Tree, y: Tree, scale: Scalar = 1.0) -> Tree:
    """x + scale · y, leaf by leaf; keeps x's dtype."""
    return jax.tree.map(lambda a, b: (a + scale * b).astype(a.dtype), x, y)


def zeros_like(x: Tree) -> Tree:
    """A tree of zeros shaped like x."""
    return jax.tree.map(jnp.zeros_like, x)


def node_mean(x: Tree, among: jax.Array | None = None) -> Tree:
    """The average model: leaves `[n, ...]` -> `[...]`, over all nodes or over those of the mask `among` `[n]`."""

    def mean(leaf: jax.Array) -> jax.Array:
        # One row of weights times a matrix: XLA's CPU reduction over the leading axis is many times slower.
        n = leaf.shape[0]
        rows = leaf.reshape(n, -1)
        if among is None:
            weights = jnp.full((n,), 1 / n, leaf.dtype)
        else:
            weights = among.astype(leaf.dtype) / jnp.sum(among).astype(leaf.dtype)
            rows = jnp.where(among[:, None], rows, 0)  # others may hold anything
        total = jnp.einsum("n,nd->d", weights, rows, precision=jax.lax.Precision.HIGHEST)
        return total.reshape(leaf.shape[1:])

    return jax.tree.map(mean, x)


def broadcast(x: Tree, n: int) -> Tree:
    """One model `[...]` repeated for n nodes, `[n, ...]`."""
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[None], (n, *leaf.shape)), x)


def beside(numbers: jax.Array, leaf: jax.Array) -> jax.Array:
    """Numbers `[n]` or `[n, k]` with trailing axes of length one, as many as the leaf has: ready to multiply it."""
    return numbers.reshape(numbers.shape + (1,) * (leaf.ndim - numbers.ndim))


def where_nodes(mask: jax.Array, new: Tree, old: Tree) -> Tree:
    """Rows of `new`, leaves `[n, ...]` or `[1, ...]`, where the mask `[n]` holds, else of `old` `[n, ...]`."""
    return jax.tree.map(lambda a, b: jnp.where(beside(mask, b), a, b).astype(b.dtype), new, old)


def squared_norm(x: Tree) -> jax.Array:
    """Sum of squares of every entry, `[]`."""
    leaves = [jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(x)]
    return sum(leaves, start=jnp.zeros(()))


def distance_to(x: Tree, y: Tree, among: jax.Array | None = None) -> jax.Array:
    """(1/n) Σᵢ ‖xᵢ − y‖² for node models x `[n, ...]` and one model y `[...]`, over nodes as in `node_mean`."""
    gap = jax.tree.map(lambda a, b: a - b[None], x, y)
    if among is None:
        return squared_norm(gap) / num_nodes(x)
    return squared_norm(where_nodes(among, gap, zeros_like(gap))) / jnp.sum(among)


def consensus(x: Tree, mean: Tree, among: jax.Array | None = None) -> jax.Array:
    """Distance to consensus, (1/n) Σᵢ ‖xᵢ − x̄‖², with x̄ = `mean` the average model; 0 for equal rows.

    The mean of equal numbers is off by a rounding error, which would show as a distance. Over nodes as in
    `node_mean`.
    """
    some = 0 if among is None else jnp.argmax(among)
    first = jax.tree.map(lambda leaf: leaf[some], x)
    return jnp.where(distance_to(x, first, among) > 0, distance_to(x, mean, among), 0.0)


def num_nodes(x: Tree) -> int:
    """n, the length of the leading axis."""
    return jax.tree.leaves(x)[0].shape[0]


def message_bits(message: Tree) -> int:
    """Bits that one node's uncompressed message occupies (a Python number: shapes are static)."""
    leaves = jax.tree.leaves(message)
    return sum(leaf.size // leaf.shape[0] * leaf.dtype.itemsize * 8 for leaf in leaves)


def ravel(x: Tree) -> jax.Array:
    """`[n, ...]` leaves -> one `[n, d]` matrix."""
    leaves = jax.tree.leaves(x)
    return jnp.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in leaves], axis=1)


def unravel(rows: jax.Array, like: Tree) -> Tree:
    """The opposite of `ravel`: `[n, d]` -> leaves `[n, ...]` shaped as those of `like`."""
    leaves, structure = jax.tree.flatten(like)
    ends = [int(end) for end in np.cumsum([leaf.size // leaf.shape[0] for leaf in leaves])]
    parts = [rows[:, end - leaf.size // leaf.shape[0] : end] for leaf, end in zip(leaves, ends, strict=True)]
    shaped = [part.reshape(leaf.shape).astype(leaf.dtype) for part, leaf in zip(parts, leaves, strict=True)]
    return jax.tree.unflatten(structure, shaped)


def all_finite(x: Tree) -> jax.Array:
    """Whether every entry of every floating leaf is finite, `[]` bool."""
    leaves = [leaf for leaf in jax.tree.leaves(x) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    # A sum is finite only if all terms are; it reads each leaf once and writes nothing.
    return jnp.isfinite(sum((jnp.sum(leaf) for leaf in leaves), start=jnp.zeros(())))
