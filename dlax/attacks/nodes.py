"""What attacks need over the node axis."""

import jax
import jax.numpy as jnp

from dlax import tree
from dlax.types import Tree


def weighted(weight: jax.Array, rows: Tree) -> Tree:
    """Σᵢ weightᵢ xᵢ over rows `[n, ...]` with a weight that is not 0, leaves `[1, ...]`."""

    def one(leaf: jax.Array) -> jax.Array:
        clean = jnp.where(tree.beside(weight, leaf) != 0, leaf, 0).reshape(len(leaf), -1)
        total = jnp.einsum("n,nd->d", weight.astype(leaf.dtype), clean, precision=jax.lax.Precision.HIGHEST)
        return total.reshape((1, *leaf.shape[1:]))

    return jax.tree.map(one, rows)


def square(rows: Tree) -> jax.Array:
    """‖xᵢ‖² of every row, `[n]`."""
    parts = [jnp.sum(jnp.square(leaf.reshape(len(leaf), -1)), axis=1) for leaf in jax.tree.leaves(rows)]
    return sum(parts[1:], start=parts[0])


def inner(rows: Tree, one: Tree) -> jax.Array:
    """⟨xᵢ, y⟩ of every row with one vector y, leaves `[1, ...]`: `[n]`."""

    def part(leaf: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.matmul(leaf.reshape(len(leaf), -1), y.reshape(-1), precision=jax.lax.Precision.HIGHEST)

    parts: list[jax.Array] = jax.tree.leaves(jax.tree.map(part, rows, one))
    return sum(parts[1:], start=parts[0])


def honest_share(byzantine: jax.Array, dtype: jax.typing.DTypeLike) -> jax.Array:
    """1/h for each of the h honest nodes and 0 for the others, `[n]`."""
    honest = (~byzantine).astype(dtype)
    return honest / jnp.sum(honest)


def links(
    sight_table: tuple[jax.Array, jax.Array, jax.Array], byzantine: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The weights `[n, k]` of a table's slots with honest senders, and of those with Byzantine ones; 0 elsewhere."""
    index, weight, _ = sight_table
    lies = byzantine[index]
    return jnp.where(lies, 0, weight), jnp.where(lies, weight, 0)


def dtype_of(rows: Tree) -> jax.typing.DTypeLike:
    """The widest dtype of the leaves."""
    return jnp.result_type(*jax.tree.leaves(rows))
