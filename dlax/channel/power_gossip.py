"""Rank-one approximations of differences between neighbours: PowerGossip's channel."""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlax.types import Channel, Edges, Key, Network, Tree


class PowerLink(NamedTuple):
    """What a link remembers; both ends of an edge hold the same numbers."""

    left: Any  # p: of every weight matrix a × b, leaves [n, k, a]
    right: Any  # q: leaves [n, k, b]
    turn: jax.Array  # [n] int32, messages so far


def power_gossip() -> Channel:
    """Neighbours move along the leading direction of the difference between their weight matrices.

    On every edge {i, j}, i < j, and for every weight matrix M `[a, b]`, with p and q kept from before:

        even messages    q ← q / ‖q‖;  p = (Mᵢ − Mⱼ) q
        odd messages     p ← p / ‖p‖;  q = (Mᵢ − Mⱼ)ᵀ p
        both             Mᵢ −= W_ij p qᵀ;  Mⱼ += W_ij p qᵀ

    What travels is Mᵢ q from one end and Mⱼ q from the other: a power iteration, warm from message to message,
    without step size to tune. The mean over nodes is kept exactly. A matrix is a leaf with two or more axes,
    the last its b columns (flax keeps outputs there); vectors and numbers, and matrices with one row or column,
    are averaged as they are. Where two ends agree, hence p or q vanishes, a vector of ones takes its place.

    Returns:
      A channel whose state is 2 k vectors a node and matrix. A node pays a or b numbers, in turn, a matrix and
      neighbour.

    Raises:
      ValueError: in a run, unless the topology is fixed, symmetric and doubly stochastic and all nodes take part.

    References:
      Vogels, Karimireddy, Jaggi. Practical Low-Rank Communication Compression in Decentralized Deep Learning.
      NeurIPS 2020.
    """

    def open_link(message: Tree, network: Network) -> PowerLink:
        network.require("power_gossip", "fixed", "symmetric", "doubly stochastic")
        network.require("power_gossip", "full participation")
        edges = _edges(network)
        n, k = edges.neighbour.shape
        leaves = [leaf for leaf in jax.tree.leaves(message) if _is_matrix(leaf)]
        shapes = [_shape(leaf) for leaf in leaves]
        left = [jnp.zeros((n, k, a), leaf.dtype) for leaf, (a, _) in zip(leaves, shapes, strict=True)]
        right = [
            _drawn_by_edge(jax.random.fold_in(network.key, m), edges, b, leaf.dtype)
            for m, (leaf, (_, b)) in enumerate(zip(leaves, shapes, strict=True))
        ]
        return PowerLink(left, right, jnp.zeros(n, jnp.int32))

    def mix(link: PowerLink, message: Tree, network: Network) -> tuple[Tree, PowerLink, jax.Array]:
        edges = _edges(network)
        leaves, structure = jax.tree.flatten(message)
        even = link.turn[0] % 2 == 0
        received: list[jax.Array] = []
        left: list[jax.Array] = []
        right: list[jax.Array] = []
        numbers = jnp.zeros((), edges.weight.dtype)  # bits that one node sends to one neighbour
        for leaf in leaves:
            width = 8 * leaf.dtype.itemsize
            if not _is_matrix(leaf):
                received.append(network.mix(leaf))
                numbers += leaf.size // len(leaf) * width
                continue
            a, b = _shape(leaf)
            matrix, m = leaf.reshape(-1, a, b), len(left)
            p, q = jax.lax.cond(
                even,
                partial(_to_the_right, edges),
                partial(_to_the_left, edges),
                matrix,
                link.left[m],
                link.right[m],
            )
            left.append(p)
            right.append(q)
            # Both ends hold the same p qᵀ; the lower one subtracts it.
            weighted = p * (edges.weight * _side(edges)).astype(p.dtype)[:, :, None]
            step = jnp.einsum("nka,nkb->nab", weighted, q, precision=jax.lax.Precision.HIGHEST)
            received.append((matrix - step).reshape(leaf.shape).astype(leaf.dtype))
            numbers += jnp.where(even, a, b) * width
        bits = network.out_degree * numbers
        return jax.tree.unflatten(structure, received), PowerLink(left, right, link.turn + 1), bits

    return Channel(open_link, mix)


def _to_the_right(edges: Edges, matrix: jax.Array, p: jax.Array, q: jax.Array) -> tuple[jax.Array, jax.Array]:
    """q ← q / ‖q‖; p = (Mᵢ − Mⱼ) q, from matrices [n, a, b] and vectors on edges [n, k, ...]."""
    q = _unit(q)
    mine = jnp.einsum("nab,nkb->nka", matrix, q, precision=jax.lax.Precision.HIGHEST).astype(p.dtype)
    return _difference(mine, edges), q


def _to_the_left(edges: Edges, matrix: jax.Array, p: jax.Array, q: jax.Array) -> tuple[jax.Array, jax.Array]:
    """p ← p / ‖p‖; q = (Mᵢ − Mⱼ)ᵀ p."""
    q, p = _to_the_right(edges, jnp.swapaxes(matrix, 1, 2), q, p)
    return p, q


def _difference(mine: jax.Array, edges: Edges) -> jax.Array:
    """The lower end's minus the higher end's, the same bits at both; 0 in empty slots."""
    theirs = edges.swap(mine)
    return jnp.where(edges.used[:, :, None], (mine - theirs) * _side(edges).astype(mine.dtype)[:, :, None], 0)


def _side(edges: Edges) -> jax.Array:
    """1 at the lower end of an edge, −1 at the higher, [n, k]."""
    nodes = jnp.arange(len(edges.neighbour), dtype=edges.neighbour.dtype)[:, None]
    return jnp.where(nodes < edges.neighbour, 1, -1)


def _unit(v: jax.Array) -> jax.Array:
    """Vectors [..., a] of norm one."""
    norm = jnp.linalg.norm(v, axis=-1, keepdims=True)
    return jnp.where(norm > 0, v / jnp.where(norm > 0, norm, 1), 1 / math.sqrt(v.shape[-1])).astype(v.dtype)


def _drawn_by_edge(key: Key, edges: Edges, size: int, dtype: Any) -> jax.Array:
    """Normal vectors [n, k, size], the same at both ends of an edge."""
    nodes = jnp.broadcast_to(
        jnp.arange(len(edges.neighbour), dtype=edges.neighbour.dtype)[:, None], edges.neighbour.shape
    )
    low, high = jnp.minimum(nodes, edges.neighbour), jnp.maximum(nodes, edges.neighbour)

    def one(low: jax.Array, high: jax.Array) -> jax.Array:
        edge_key = jax.random.fold_in(jax.random.fold_in(key, low), high)
        return jax.random.normal(edge_key, (size,), dtype)

    return jax.vmap(jax.vmap(one))(low, high)


def _edges(network: Network) -> Edges:
    if network.edges is None:
        raise ValueError("power_gossip: this network has no edges to keep state on")
    return network.edges()


def _is_matrix(leaf: jax.Array) -> bool:
    return min(_shape(leaf)) > 1


def _shape(leaf: jax.Array) -> tuple[int, int]:
    """(a, b) of one node's weights: the last axis, and all before it."""
    if leaf.ndim < 2:
        return 1, 1
    return math.prod(leaf.shape[1:-1]), leaf.shape[-1]
