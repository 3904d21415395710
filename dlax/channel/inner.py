"""Inner products of the messages that every node heard: what rules of weights need, and all they need."""

from typing import Any

import jax
import jax.numpy as jnp

from dlax.types import Tree

_HIGHEST = jax.lax.Precision.HIGHEST  # accelerators would round float32 products to fewer bits
_NODES = 4096  # more than these never share one [n, n] matrix
_ENTRIES_AT_ONCE = 8_000_000  # of gathered messages, where every neighbourhood is multiplied on its own


def inner_products(message: Tree, told: Tree | None, view: Any, centred: bool) -> jax.Array:
    """⟨x_a − c, x_b − c⟩ of the vectors in every node's slots, `[n, m, m]`.

    Few nodes: one Gram matrix of all messages, of which every node picks its part. Many nodes of small degree: each
    neighbourhood on its own. Vectors that are not finite, and absent ones, count as 0.

    Args:
      message: what was sent, leaves `[n, ...]`.
      told: what Byzantine nodes told node i instead, leaves `[n, ...]`, or None.
      view: who is in which slot (`who`, `present`, `lies`, `finite`, each `[n, m]`).
      centred: seen from a point c amid the vectors, so that distances of near vectors keep their digits; False: from
        the origin.
    """
    n, m = len(jax.tree.leaves(message)[0]), view.who.shape[1]
    leaves = [_flat(leaf) for leaf in jax.tree.leaves(message)]
    lies = None if told is None else [_flat(leaf) for leaf in jax.tree.leaves(told)]
    usable = view.present & view.finite
    if n > _NODES or n > 8 * m * m:
        products = _each(leaves, lies, view, usable, centred)
    else:
        products = _all(leaves, lies, view, centred)
    return jnp.where(usable[:, :, None] & usable[:, None, :], products, 0)


def finite_rows(message: Tree) -> jax.Array:
    """Which rows of a message `[n, ...]` are finite in every entry, `[n]` bool."""
    # A sum is finite only if all terms are; a vector so long that its square overflows counts as not finite.
    return jnp.isfinite(_total([jnp.sum(jnp.square(_flat(x)), axis=1) for x in jax.tree.leaves(message)]))


def _all(leaves: list[jax.Array], lies: list[jax.Array] | None, view: Any, centred: bool) -> jax.Array:
    """From one Gram matrix of all messages, and one with what was told."""
    leaves = _clean(leaves)
    centre = _centre(leaves) if centred else [jnp.zeros(leaf.shape[1], leaf.dtype) for leaf in leaves]
    leaves = [leaf - c[None] for leaf, c in zip(leaves, centre, strict=True)] if centred else leaves
    gram = _total([jnp.matmul(leaf, leaf.T, precision=_HIGHEST) for leaf in leaves])
    a, b = view.who[:, :, None], view.who[:, None, :]
    products = gram[a, b]
    if lies is None:
        return products
    lies = [lie - c[None] for lie, c in zip(_clean(lies), centre, strict=True)]
    across = _total([jnp.matmul(x, y.T, precision=_HIGHEST) for x, y in zip(leaves, lies, strict=True)])
    square = _total([jnp.sum(lie * lie, axis=1) for lie in lies])
    mine = across[view.who, jnp.arange(len(view.who))[:, None]]  # of what is in a slot with what i was told
    lie_a, lie_b = view.lies[:, :, None], view.lies[:, None, :]
    products = jnp.where(lie_b, mine[:, :, None], jnp.where(lie_a, mine[:, None, :], products))
    return jnp.where(lie_a & lie_b, square[:, None, None], products)


def _each(
    leaves: list[jax.Array], lies: list[jax.Array] | None, view: Any, usable: jax.Array, centred: bool
) -> jax.Array:
    """Of every neighbourhood on its own, seen from the node's own message."""
    n, m = view.who.shape

    def one(node: jax.Array) -> jax.Array:
        total = jnp.zeros((m, m), leaves[0].dtype)
        for place, leaf in enumerate(leaves):
            values = leaf[view.who[node]]
            if lies is not None:
                values = jnp.where(view.lies[node][:, None], lies[place][node], values)
            if centred:
                values = values - jnp.where(usable[node, 0], values[:1], 0)
            values = jnp.where(usable[node][:, None], values, 0)
            total = total + jnp.matmul(values, values.T, precision=_HIGHEST)
        return total

    width = sum(leaf.shape[1] for leaf in leaves)
    at_once = max(1, min(n, _ENTRIES_AT_ONCE // (m * width)))
    return jax.lax.map(one, jnp.arange(n), batch_size=at_once)


def _centre(leaves: list[jax.Array]) -> list[jax.Array]:
    """A point amid the vectors: their mean, after the longest half is cut to the median length."""
    norms = jnp.sqrt(_total([jnp.sum(leaf * leaf, axis=1) for leaf in leaves]))
    middle = jnp.median(norms)
    scale = jnp.minimum(1, middle / jnp.where(norms > 0, norms, 1)) / len(norms)
    return [jnp.einsum("n,nd->d", scale.astype(leaf.dtype), leaf, precision=_HIGHEST) for leaf in leaves]


def _clean(leaves: list[jax.Array]) -> list[jax.Array]:
    """Zeros for rows with a number that is not finite."""
    finite = finite_rows(leaves)
    return [jnp.where(finite[:, None], leaf, 0) for leaf in leaves]


def _total(parts: list[jax.Array]) -> jax.Array:
    """The sum over leaves."""
    return sum(parts[1:], start=parts[0])


def _flat(leaf: jax.Array) -> jax.Array:
    """A leaf as rows of at least float32."""
    return leaf.reshape(len(leaf), -1).astype(jnp.promote_types(leaf.dtype, jnp.float32))
