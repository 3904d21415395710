"""What the DiLoCo family shares: the outer step, and a state that nodes hold in common while they come and go.

The shared state (outer parameters, outer momentum, what is on its way) has a revision, a number that each outer step
raises by one. A node that sat rounds out has an older revision than the newest: it is handed the newest state and
begins its inner optimiser anew, as in PCCL, whose peers vote by revision and fetch what is outdated.
"""

from typing import Any

import jax
import jax.numpy as jnp

from dlax import tree
from dlax.algorithms.local import init_optimizer
from dlax.types import Optimizer, Scalar, Tree

_GOLDEN, _FACTOR, _TURN, _LANES = 0x9E3779B1, 0x85EBCA6B, 7, 256


def nesterov(theta: Tree, momentum: Tree, delta: Tree, lr: Scalar, beta: Scalar) -> tuple[Tree, Tree]:
    """One outer step: M ← β M + Δ;  θ ← θ − α (Δ + β M).

    Args:
      theta: θ, leaves `[n, ...]`.
      momentum: M.
      delta: Δ, the outer gradient.
      lr: α; 1 with β = 0 takes what the outer gradient points to.
      beta: β.

    Returns:
      θ and M.
    """
    momentum = tree.add(delta, momentum, beta)
    return tree.add(theta, tree.add(delta, momentum, beta), -lr), momentum


def first_revision(params: Tree) -> jax.Array:
    """Everybody begins with revision 0, `[n]`."""
    return jnp.zeros(tree.num_nodes(params), jnp.int32)


def raised(revision: jax.Array) -> jax.Array:
    """The next revision, in every row `[n]`; who takes no part keeps its old one, as it keeps its whole state."""
    return jnp.full_like(revision, jnp.max(revision) + 1)


def catch_up(
    shared: Tree, memory: Any, revision: jax.Array, active: jax.Array, optimizer: Optimizer
) -> tuple[Tree, Any, jax.Array, jax.Array]:
    """Hands the newest shared state to nodes with an older one; their inner optimisers begin anew.

    The holder is the first node with the newest revision. It was there when that revision was made, and hands it over
    at the boundary of the rounds, even if it leaves then.

    Args:
      shared: a tuple of trees with leaves `[n, ...]`; the first has the shape of the parameters.
      memory: of the inner optimiser.
      revision: `[n]`.
      active: `[n]` bool, who takes part in this round.
      optimizer: the inner optimiser.

    Returns:
      The shared state, the memory, who was outdated `[n]`, and the bits `[n]` that the holder sends to those of them
      who take part.
    """
    outdated, holder = revision < jnp.max(revision), jnp.argmax(revision)
    newest = jax.tree.map(lambda leaf: leaf[holder][None], shared)
    shared = tree.where_nodes(outdated, newest, shared)
    memory = tree.where_nodes(outdated, init_optimizer(shared[0], optimizer), memory)
    copies = jnp.sum(outdated & active).astype(float)
    bits = jnp.where(jnp.arange(len(revision)) == holder, copies * tree.message_bits(shared), 0.0)
    return shared, memory, outdated, bits


def unless_alone(new: Any, old: Any, active: jax.Array) -> Any:
    """The new state, or the old one whole if fewer than two nodes took part: the work of such a round is dropped.

    A run of one node is a world of one, and goes on.
    """
    enough = jnp.sum(active) >= min(2, len(active))
    return jax.tree.map(lambda a, b: jnp.where(enough, a, b), new, old)


def parity_hash(x: Tree) -> jax.Array:
    """A hash of every node's parameters, `[n]` uint32: nodes that agree bit for bit have the same.

        combine(a, b):  a ← a xor (b + 0x9e3779b1);  a ← a rotated left by 7;  a ← a · 0x85ebca6b      modulo 2³²

    Words i, i + 256, i + 512, ... of the bits of a node's parameters are combined in this order in lane i of 256,
    from 0; then the lanes, from the first to the last. `combine` and the number of lanes are those of PCCL's
    "simplehash"; how that joins its lanes is not known to us, so values do not compare with PCCL's. Absent words
    count as 0.

    Args:
      x: leaves `[n, ...]`, floating or integer.
    """
    words = _words(x)
    words = jnp.pad(words, ((0, 0), (0, -words.shape[1] % _LANES)))
    rows = words.reshape(len(words), -1, _LANES).swapaxes(0, 1)
    lanes, _ = jax.lax.scan(
        lambda a, b: (_combine(a, b), None), jnp.zeros((len(words), _LANES), jnp.uint32), rows
    )
    total, _ = jax.lax.scan(lambda a, b: (_combine(a, b), None), jnp.zeros(len(words), jnp.uint32), lanes.T)
    return total


def _combine(a: jax.Array, b: jax.Array) -> jax.Array:
    a = a ^ (b + jnp.uint32(_GOLDEN))
    a = (a << _TURN) | (a >> (32 - _TURN))
    return a * jnp.uint32(_FACTOR)


def _words(x: Tree) -> jax.Array:
    """The bits of a node's leaves as words of 32, `[n, words]`; narrower numbers take a word each."""

    def one(leaf: jax.Array) -> jax.Array:
        width = leaf.dtype.itemsize
        unsigned = {1: jnp.uint8, 2: jnp.uint16}.get(width, jnp.uint32)
        words = jax.lax.bitcast_convert_type(leaf.reshape(len(leaf), -1), unsigned)
        return words.reshape(len(leaf), -1).astype(jnp.uint32)

    return jnp.concatenate([one(leaf) for leaf in jax.tree.leaves(x)], axis=1)
