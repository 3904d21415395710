"""From one vector to whole messages: the models of all nodes, or several of them."""

import jax
import jax.numpy as jnp

from dlax import tree
from dlax.types import Compressor, Key, Tree


def compress(compressor: Compressor, key: Key, message: Tree) -> Tree:
    """C(message_i) for every node i, each with a key of its own.

    All leaves of a node together are one vector, so a compressor that keeps the largest entries chooses among the
    whole model. A message that is a tuple is several messages, as an algorithm sends them: each is compressed by
    itself.

    Args:
      compressor: acts on one vector.
      key: message p of the tuple draws from `split(fold_in(key, p), n)`; a message that is no tuple is number 0.
      message: leaves `[n, ...]`.

    Returns:
      What the receivers make of it, shaped like `message`, in its dtypes.
    """

    def one(part: Tree, key: Key) -> Tree:
        rows = tree.ravel(part)
        keys = jax.random.split(key, len(rows))
        return unravel(jax.vmap(compressor.compress)(keys, rows), part)

    parts = [one(part, jax.random.fold_in(key, p)) for p, part in enumerate(_parts(message))]
    return tuple(parts) if type(message) is tuple else parts[0]


def message_bits(compressor: Compressor, message: Tree) -> int:
    """Bits that one node's compressed message occupies (a Python number: shapes are static)."""
    total = 0
    for part in _parts(message):
        rows = jax.eval_shape(tree.ravel, part)
        total += compressor.bits(rows.shape[1], 8 * rows.dtype.itemsize)
    return total


def unravel(rows: jax.Array, like: Tree) -> Tree:
    """One `[n, d]` matrix -> leaves shaped like those of `like`, in their dtypes; undoes `tree.ravel`."""
    leaves, structure = jax.tree.flatten(like)
    n = len(rows)
    stops, total = [], 0
    for leaf in leaves[:-1]:
        total += leaf.size // n
        stops.append(total)
    pieces = jnp.split(rows, stops, axis=1)
    shaped = [
        piece.reshape(leaf.shape).astype(leaf.dtype) for piece, leaf in zip(pieces, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, shaped)


def _parts(message: Tree) -> tuple[Tree, ...]:
    return message if type(message) is tuple else (message,)
