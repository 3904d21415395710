"""What failures leave of a graph: who can help a returning node, components, and metrics by component."""

from typing import Any

import jax
import jax.numpy as jnp

from dlax import tree
from dlax.types import Info, Key, Outage, Tree


def donors(table: Any, awake: jax.Array, works: jax.Array | None, key: Key) -> jax.Array:
    """For every node one of those awake that it hears over links that work, uniformly; itself if none, `[n]`."""
    index, weight, _ = table
    usable = (weight != 0) & awake[index]
    usable = usable if works is None else usable & works
    score = jnp.where(usable, jax.random.uniform(key, index.shape, jnp.float32), -1.0)
    score = jnp.concatenate([jnp.full((len(index), 1), -0.5), score], axis=1)
    own = jnp.arange(len(index), dtype=index.dtype)[:, None]
    choice = jnp.argmax(score, axis=1)
    return jnp.take_along_axis(jnp.concatenate([own, index], axis=1), choice[:, None], axis=1)[:, 0]


def linked(index: jax.Array, weight: jax.Array, outage: Outage) -> jax.Array:
    """Which slots `[n, k]` hold a link that works between nodes that are there, asleep or not."""
    there = weight != 0
    if outage.gone is not None:
        there &= ~outage.gone[:, None] & ~outage.gone[index]
    return there if outage.works is None else there & outage.works


def components(index: jax.Array, linked: jax.Array) -> jax.Array:
    """The smallest node of every node's component, directions of links aside; `[n]` int32."""
    own = jnp.arange(len(index), dtype=jnp.int32)
    if index.shape[1] == 0:
        return own

    def spread(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        label, _ = carry
        heard = jnp.min(jnp.where(linked, label[index], len(index)), axis=1)
        new = jnp.minimum(label, heard)
        told = jnp.where(linked, new[:, None], len(index))
        new = new.at[index].min(told)
        new = new[new]  # halves the way to the smallest
        return new, jnp.any(new != label)

    return jax.lax.while_loop(lambda carry: carry[1], spread, (own, jnp.bool_(True)))[0]


def by_component(index: jax.Array, linked: jax.Array, params: Tree, nodes: Info, counted: jax.Array) -> Info:
    """How the nodes that count fare by component; the two distances add up to the distance to consensus.

    Args:
      index: `[n, k]`, whom each node hears.
      linked: `[n, k]`, over which links.
      params: the models, `[n, ...]`.
      nodes: metrics of every node, `[n]` each.
      counted: `[n]` bool, which nodes count.

    Returns:
      `alive` (nodes), `components`, `giant` (share of nodes in the largest), `isolated` (nodes on their own),
      `consensus_inside` (mean squared distance to the mean of one's component), `consensus_across` (of those means
      to the overall one), and of every accuracy its mean in the giant component and over isolated nodes, NaN where
      there are none.
    """
    n = len(index)
    label = components(index, linked)
    size = jnp.zeros(n, jnp.int32).at[label].add(counted)
    mine = size[label]
    total = jnp.sum(counted)
    giant = counted & (label == jnp.argmax(size))
    alone = counted & (mine == 1)

    def inside_mean(leaf: jax.Array) -> jax.Array:
        rows = jnp.where(tree.beside(counted, leaf), leaf, 0)
        sums = jnp.zeros_like(rows).at[label].add(rows)
        means = sums / tree.beside(jnp.maximum(size, 1), leaf).astype(leaf.dtype)
        return means[label]

    means = jax.tree.map(inside_mean, params)
    gap = jax.tree.map(lambda x, m: x - m, params, means)
    none = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:], leaf.dtype), params)
    metrics = {
        "alive": total,
        "components": jnp.sum(size > 0),
        "giant": jnp.max(size) / total,
        "isolated": jnp.sum(alone),
        "consensus_inside": tree.distance_to(gap, none, counted),
        "consensus_across": tree.distance_to(means, tree.node_mean(means, counted), counted),
    }
    for name in ("accuracy",):
        if name in nodes:
            metrics[f"{name}_giant"] = jnp.mean(nodes[name], where=giant)
            metrics[f"{name}_isolated"] = jnp.where(
                jnp.any(alone),
                jnp.sum(jnp.where(alone, nodes[name], 0)) / jnp.maximum(jnp.sum(alone), 1),
                jnp.nan,
            )
    return metrics
