"""Directed deviation: against the way that the honest messages go.

Fang, Cao, Jia, Gong. Local Model Poisoning Attacks to Byzantine-Robust Federated Learning. USENIX Security
2020. The formulas are those of Bristle's code (trustchain-superapp), which pushes ALONG the honest update
through a sign; the original pushes against it, and so does the default here.
"""

from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from dlax import tree
from dlax.attacks.nodes import dtype_of, square
from dlax.types import Attack, Key, Lies, Scalar, Sight, Tree

Direction = Literal["against", "along"]
_LEAST = 1e-5  # where the halving of λ ends
_HALVINGS = 60  # more than there are from any λ that matters


class FangMemory(NamedTuple):
    """The mean of the honest messages of the last round, leaves `[1, ...]`; at first of all that are opened with."""

    old: Tree


def fang_trimmed_mean(factor: Scalar = 2.0, *, direction: Direction = "against") -> Attack:
    """Against the trimmed mean and the median: beyond the extreme honest values, on the side that holds back.

        s = sign(μ − μ_old), 0 counting as +;  min and max over the honest messages, by coordinate
        against s = −   uniform in [max, factor · max] if max > 0, else in [max, max/factor]
        against s = +   uniform in [min/factor, min] if min > 0, else in [factor · min, min]

    Independent numbers in every entry, other ones from every Byzantine node.

    Args:
      factor: b, above 1.
      direction: "against" the way that the mean of the honest messages went since the last round, or "along"
        it.

    Returns:
      An attack that remembers one message.

    Raises:
      ValueError: if `factor` is a number not above 1, or `direction` neither of the two.
    """
    _check("fang_trimmed_mean", direction)
    if isinstance(factor, int | float) and factor <= 1:
        raise ValueError(f"fang_trimmed_mean: factor must be above 1, got {factor}")

    def craft(memory: FangMemory, sight: Sight) -> tuple[Lies, FangMemory]:
        mean = sight.mean()
        leaves, structure = jax.tree.flatten(sight.message)
        ways = jax.tree.leaves(_way(mean, memory.old, direction))
        lies = []
        for place, (leaf, way) in enumerate(zip(leaves, ways, strict=True)):
            lying = tree.beside(sight.byzantine, leaf)
            high = jnp.max(jnp.where(lying, -jnp.inf, leaf), axis=0)[None]
            low = jnp.min(jnp.where(lying, jnp.inf, leaf), axis=0)[None]
            drawn = jax.random.uniform(jax.random.fold_in(sight.key, place), leaf.shape, leaf.dtype)
            above = high + drawn * (jnp.where(high > 0, factor, 1 / factor) - 1) * high
            below = low + drawn * (jnp.where(low > 0, 1 / factor, factor) - 1) * low
            lies.append(jnp.where(way > 0, below, above).astype(leaf.dtype))
        return Lies(jax.tree.unflatten(structure, lies)), FangMemory(mean)

    return Attack(craft, _remember, needs="everything")


def fang_krum(*, direction: Direction = "against") -> Attack:
    """Against Krum: the farthest from the honest messages, against their way, that Krum still selects.

        sent = μ_old − λ s,   s = sign(μ − μ_old), 0 counting as +
        λ₀ = minₐ Σ_b ‖xₐ − x_b‖ / ((n − 2f − 1) √d) + maxₐ ‖xₐ − μ_old‖ / √d   over honest a, b

    λ is halved from λ₀ until Krum (the sum of the n − f − 2 smallest squared distances) over all nodes'
    messages, the f lies among them, selects a lie, or λ falls below 1e-5. d is the number of parameters, as
    in Fang et al. Bristle's code takes the rows of its matrix. Whoever hears but a part of the nodes selects
    among fewer than the search takes for granted.

    Args:
      direction: "against" the way that the mean of the honest messages went since the last round, or "along"
        it.

    Returns:
      An attack that remembers one message.

    Raises:
      ValueError: if `direction` is neither of the two.
    """
    _check("fang_krum", direction)

    def craft(memory: FangMemory, sight: Sight) -> tuple[Lies, FangMemory]:
        mean, byzantine = sight.mean(), sight.byzantine
        dtype = dtype_of(mean)
        n = len(byzantine)
        f = jnp.sum(byzantine)
        way = _way(mean, memory.old, direction)
        size = sum(leaf[0].size for leaf in jax.tree.leaves(sight.message))
        apart = _squared_distances(sight.message, mean)
        both = ~byzantine[:, None] & ~byzantine[None]
        sums = jnp.sum(jnp.where(both, jnp.sqrt(apart), 0), axis=1)
        near = jnp.min(jnp.where(byzantine, jnp.inf, sums)) / jnp.maximum(n - 2 * f - 1, 1)
        off = jax.tree.map(jnp.subtract, sight.message, memory.old)
        far = jnp.max(jnp.where(byzantine, 0, jnp.sqrt(square(off))))
        first = ((near + far) / jnp.sqrt(jnp.asarray(size, dtype))).astype(dtype)

        def lie(length: jax.Array) -> Tree:
            return jax.tree.map(lambda old, s: old - length.astype(old.dtype) * s, memory.old, way)

        def selected(length: jax.Array) -> jax.Array:
            to_lie = square(jax.tree.map(jnp.subtract, sight.message, lie(length)))
            table = jnp.where(
                byzantine[None], to_lie[:, None], jnp.where(byzantine[:, None], to_lie[None], apart)
            )
            table = jnp.where(byzantine[:, None] & byzantine[None], 0, table)
            ranked = jnp.sort(jnp.where(jnp.eye(n, dtype=bool), jnp.inf, table), axis=1)
            counted = jnp.arange(n)[None] < jnp.maximum(n - f - 2, 1)
            scores = jnp.sum(jnp.where(counted, ranked, 0), axis=1)
            return jnp.min(jnp.where(byzantine, scores, jnp.inf)) < jnp.min(
                jnp.where(byzantine, jnp.inf, scores)
            )

        def halve(_: Any, length: jax.Array) -> jax.Array:
            return jnp.where(selected(length) | (length < _LEAST), length, length / 2)

        return Lies(lie(jax.lax.fori_loop(0, _HALVINGS, halve, first))), FangMemory(mean)

    return Attack(craft, _remember, needs="everything")


def _remember(message: Tree, key: Key) -> FangMemory:
    del key
    return FangMemory(jax.tree.map(lambda leaf: leaf[None], tree.node_mean(message)))


def _way(mean: Tree, old: Tree, direction: Direction) -> Tree:
    """±1 in every entry: where the honest mean went, or to push along it the other way."""
    turn = 1 if direction == "against" else -1
    return jax.tree.map(lambda new, old: jnp.where(new >= old, turn, -turn).astype(new.dtype), mean, old)


def _squared_distances(message: Tree, centre: Tree) -> jax.Array:
    """‖xₐ − x_b‖² `[n, n]`, by inner products seen from the centre."""
    parts = []
    for leaf, c in zip(jax.tree.leaves(message), jax.tree.leaves(centre), strict=True):
        rows = (leaf - c).reshape(len(leaf), -1)
        parts.append(jnp.matmul(rows, rows.T, precision=jax.lax.Precision.HIGHEST))
    gram = sum(parts[1:], start=parts[0])
    square = jnp.diagonal(gram)
    return jnp.maximum(square[:, None] + square[None] - 2 * gram, 0)


def _check(who: str, direction: Direction) -> None:
    if direction not in get_args(Direction):
        raise ValueError(f"{who}: direction must be 'against' or 'along', got {direction!r}")
