"""Finite sums over a partitioned data set: where the samples lie, and how a node draws its minibatch.

    fᵢ(x) = wᵢ · (1/sᵢ) Σ_{j in node i} ℓ(x; aⱼ, yⱼ) + (l2/2) ‖x‖²

All samples stay in one array, sorted by node, so that a node is an offset and a count: nodes of unequal size
cost no padding, and a node without data has weight zero instead of a special case.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlax import tree
from dlax.data import Dataset, Partition, partition_table, split
from dlax.types import Info, Key, Poison, Tree

NodeWeights = Literal["equal", "samples"]
SampleLoss = Callable[[jax.Array, jax.Array], jax.Array]  # outputs [b, ..., c], labels [b, ...] -> losses [b]

# Samples evaluated together: a CNN's activations then stay in cache (64 took a third of the time of 500).
_CHUNK = 64


class Samples(NamedTuple):
    """A data set laid out by node.

    Attributes:
      shared: `x` `[N, ...]` (see `encode`) and `y` `[N]`, of sequences `[N, L]`, sorted by node, `weight` `[N]`
        with f = Σⱼ weightⱼ ℓⱼ, and `l2`.
      local: `start` `[n]`, `count` `[n]` and `weight` `[n]` (wᵢ).
      table: `[n, classes]` counts of training samples; of sequences, a class is a group.
    """

    shared: dict[str, Any]
    local: dict[str, Any]
    table: np.ndarray


def lay_out(
    data: Dataset, n: int, partition: Partition, *, node_weights: NodeWeights, l2: float, seed: int
) -> Samples:
    """Splits a data set over n nodes.

    Args:
      data: the data set.
      n: number of nodes.
      partition: how to split.
      node_weights: "equal": every node counts the same, wᵢ = 1; "samples": every sample counts the same,
        wᵢ = n sᵢ / N.
      l2: the regulariser's factor, on every node.
      seed: of the partition.

    Raises:
      ValueError: if the split is impossible, or `l2` is negative.
    """
    if l2 < 0:
        raise ValueError(f"l2 must be at least 0, got {l2}")
    parts = split(data.strata, data.groups, n, partition, seed)
    count = np.array([len(part) for part in parts])
    start = np.concatenate([[0], np.cumsum(count)[:-1]])
    order = np.concatenate(parts)
    weight = (count > 0).astype(np.float64) if node_weights == "equal" else n * count / len(order)
    by_sample = np.repeat(weight / (n * np.maximum(count, 1)), count)
    shared = {
        "x": encode(data.x_train)[order],
        "y": data.y_train[order],
        "weight": by_sample,
        "l2": np.float64(l2),
    }
    local = {"start": start.astype(np.int32), "count": count.astype(np.int32), "weight": weight}
    classes = int(data.strata.max()) + 1 if data.sequences else data.num_classes
    return Samples(_frozen(shared), local, partition_table(parts, data.strata, classes))


def by_sample(values: jax.Array) -> jax.Array:
    """The mean over the places of each sample, `[b, ...]` to `[b]`; what has one place stays as it is."""
    return values if values.ndim == 1 else jnp.mean(values, axis=tuple(range(1, values.ndim)))


def refuse_sequences(who: str, data: Dataset) -> None:
    """Refuses a label at every place of a sample."""
    if data.sequences:
        raise ValueError(
            f"{who}: needs one label a sample, and {data.name!r} has sequences; use problem 'classification' "
            "with model 'char_transformer'"
        )


def keep_samples(data: Dataset, limit: int | None, seed: int) -> Dataset:
    """The data set with `limit` of its training samples, drawn at random; None keeps all.

    Raises:
      ValueError: if `limit` is not between 1 and the number of training samples.
    """
    if limit is None:
        return data
    count = len(data.y_train)
    if not 1 <= limit <= count:
        raise ValueError(f"train_samples must be in 1..{count}, or null for all, got {limit}")
    kept = np.sort(np.random.default_rng(seed).permutation(count)[:limit])
    groups = None if data.groups is None else data.groups[kept]
    return data._replace(x_train=data.x_train[kept], y_train=data.y_train[kept], groups=groups)


def local_loss(
    apply: Callable[[Tree, jax.Array], jax.Array],
    loss: SampleLoss,
    batch_size: int | None,
    most: int,
    tamper: Callable[..., tuple[jax.Array, jax.Array]] | None = None,
) -> Any:
    """fᵢ on a minibatch: `(params, key, local, shared) -> []`.

    Args:
      apply: the model, `(params, x [b, ...]) -> outputs [b, c]`.
      loss: of one sample each.
      batch_size: b samples drawn uniformly with replacement from the node's own; None takes them all, padded
        to `most` with weight zero.
      most: the largest count of a node.
      tamper: `(x [b, ...], y [b]) -> (x, y)`, what a node with `local["byzantine"]` does to its batch.
    """

    def value(params: Tree, key: Key, local: Tree, shared: Tree) -> jax.Array:
        count = jnp.maximum(local["count"], 1).astype(jnp.uint32)
        if batch_size is None:
            drawn = jnp.arange(most, dtype=jnp.uint32)
            mask = (drawn < local["count"].astype(jnp.uint32)).astype(shared["weight"].dtype)
            weight = mask / count
            drawn = jnp.minimum(drawn, count - 1)
        else:
            # 32 random bits modulo the count: off from uniform by less than count / 2^32.
            drawn = jax.random.bits(key, (batch_size,), jnp.uint32) % count
            weight = jnp.full((batch_size,), 1 / batch_size, shared["weight"].dtype)
        index = jnp.minimum(local["start"] + drawn.astype(jnp.int32), shared["y"].shape[0] - 1)
        x, y = _samples(shared, index), shared["y"][index]
        if tamper is not None:
            x, y = jax.tree.map(
                lambda lie, true: jnp.where(local["byzantine"], lie, true), tamper(x, y), (x, y)
            )
        losses = loss(apply(params, x), y)
        return local["weight"] * jnp.sum(weight * losses) + _penalty(params, shared)

    return value


def exact_loss(
    apply: Callable[[Tree, jax.Array], jax.Array], loss: SampleLoss, most: int
) -> Callable[[Tree, Tree, Tree], jax.Array]:
    """fᵢ on all samples of the node: `(params, local, shared) -> []`; see `local_loss`."""
    whole = local_loss(apply, loss, None, most)
    return lambda params, local, shared: whole(params, None, local, shared)


def global_objective(
    apply: Callable[[Tree, jax.Array], jax.Array], loss: SampleLoss
) -> Callable[[Tree, Tree, Tree], jax.Array]:
    """f at one model, over all samples."""

    def value(params: Tree, local: Tree, shared: Tree) -> jax.Array:
        del local
        losses = loss(apply(params, decode(shared["x"], shared["weight"].dtype)), shared["y"])
        return jnp.sum(shared["weight"] * losses) + _penalty(params, shared)

    return value


def probed_objective(
    apply: Callable[[Tree, jax.Array], jax.Array], loss: SampleLoss
) -> Callable[[Tree, Tree, Tree], jax.Array]:
    """f at one model, over the samples that `probe` drew, in chunks that a network's activations fit."""

    def value(params: Tree, local: Tree, shared: Tree) -> jax.Array:
        del local

        @jax.checkpoint
        def chunk(part: tuple[jax.Array, jax.Array]) -> jax.Array:
            index, weight = part
            return jnp.sum(weight * loss(apply(params, _samples(shared, index)), shared["y"][index]))

        sums = jax.lax.map(chunk, (shared["probe"], shared["probe_weight"]))
        return jnp.sum(sums) + _penalty(params, shared)

    return value


def probe(samples: Samples, limit: int, seed: int) -> dict[str, np.ndarray]:
    """Up to `limit` training samples drawn at random, in chunks.

    Returns:
      `probe` `[chunks, size]` indices and `probe_weight` `[chunks, size]`, scaled so that they sum to what the
      weights of all samples sum to; padding has weight zero.
    """
    weight = samples.shared["weight"]
    drawn = np.arange(len(weight))
    if limit < len(weight):
        drawn = np.sort(np.random.default_rng(seed).permutation(len(weight))[:limit])
    chosen = weight[drawn] * (weight.sum() / weight[drawn].sum())
    return {"probe": _fold(drawn.astype(np.int32)), "probe_weight": _fold(chosen)}


def evaluator(
    apply: Callable[[Tree, jax.Array], jax.Array],
    loss: SampleLoss,
    predict: Callable[[jax.Array], jax.Array],
    aim: Callable[..., tuple[jax.Array, jax.Array, jax.Array]] | None = None,
) -> Callable[[Tree, Tree], Info]:
    """Held-out loss and accuracy of one model, over chunks of samples laid out by `hold_out`.

    Of sequences the accuracy is of all places, and there is `bits_per_character`, the loss over ln 2.

    With `aim`, `(x [b, ...], y [b]) -> (x, target [b], counts [b])`, also `attack_success`: the share of the samples
    that count which are taken for the target; 0 if none counts.
    """

    def evaluate(params: Tree, held: Tree) -> Info:
        def chunk(part: Tree) -> dict[str, jax.Array]:
            x, y, mask = decode(part["x"], part["mask"].dtype), part["y"], part["mask"]
            outputs = apply(params, x)
            sums = {
                "losses": jnp.sum(mask * loss(outputs, y)),
                "right": jnp.sum(mask * by_sample((predict(outputs) == y).astype(mask.dtype))),
            }
            if aim is not None:
                tampered, target, counts = aim(x, y)
                counted = mask * counts
                sums["counted"] = jnp.sum(counted)
                sums["taken"] = jnp.sum(counted * (predict(apply(params, tampered)) == target))
            return sums

        sums = jax.tree.map(jnp.sum, jax.lax.map(chunk, held))
        total = jnp.sum(held["mask"])
        metrics = {"test_loss": sums["losses"] / total, "accuracy": sums["right"] / total}
        if held["y"].ndim > 2:
            metrics["bits_per_character"] = metrics["test_loss"] / math.log(2.0)
        if aim is not None:
            metrics["attack_success"] = sums["taken"] / jnp.maximum(sums["counted"], 1)
        return metrics

    return evaluate


def poisoner(
    apply: Callable[[Tree, jax.Array], jax.Array],
    loss: SampleLoss,
    predict: Callable[[jax.Array], jax.Array],
    batch_size: int | None,
    most: int,
    classes: int,
) -> Callable[[Poison], tuple[Callable[..., Any], Callable[..., Any] | None]]:
    """`Problem.poisoned` of a finite sum with these pieces."""

    def poisoned(poison: Poison) -> tuple[Callable[..., Any], Callable[..., Any] | None]:
        test = poison.test
        aim = None if test is None else lambda x, y: test(x, y, classes)
        tampered = local_loss(apply, loss, batch_size, most, lambda x, y: poison.train(x, y, classes))
        return tampered, evaluator(apply, loss, predict, aim)

    return poisoned


def hold_out(data: Dataset, limit: int | None, seed: int) -> dict[str, np.ndarray]:
    """The held-out set in chunks `[chunks, size, ...]` with a `mask`; `limit` keeps a random subset."""
    x, y = encode(data.x_test), data.y_test
    if limit is not None and limit < len(y):
        keep = np.sort(np.random.default_rng(seed).permutation(len(y))[:limit])
        x, y = x[keep], y[keep]
    return _frozen({"x": _fold(x), "y": _fold(y), "mask": _fold(np.ones(len(y)))})


def _frozen(arrays: dict[str, Any]) -> dict[str, Any]:
    """Read-only arrays, which the engine keeps on the device between runs."""
    for array in arrays.values():
        np.asarray(array).setflags(write=False)
    return arrays


def _fold(values: np.ndarray) -> np.ndarray:
    """`[N, ...]` -> `[chunks, size, ...]`, padded with zeros."""
    size = min(_CHUNK, len(values))
    chunks = -(-len(values) // size)
    padding = np.zeros((chunks * size - len(values), *values.shape[1:]), values.dtype)
    return np.concatenate([values, padding]).reshape(chunks, size, *values.shape[1:])


def encode(x: np.ndarray) -> np.ndarray:
    """Images that are bytes over 255 as those bytes, a quarter of the memory to gather from; else unchanged."""
    if x.dtype != np.float32 or x.min(initial=0) < 0 or x.max(initial=0) > 1:
        return x
    scaled = x * np.float32(255)
    if not np.array_equal(
        scaled[:1], np.rint(scaled[:1])
    ):  # settles most features before the whole is rounded
        return x
    stored = np.rint(scaled).astype(np.uint8)
    return stored if np.array_equal(stored / np.float32(255), x) else x


def decode(x: Any, dtype: Any) -> Any:
    """What `encode` was given, in the dtype of the run; symbols stay int32. Works on NumPy's and jax's arrays."""
    if x.dtype == np.int32:
        return x
    return x.astype(dtype) / 255 if x.dtype == np.uint8 else x.astype(dtype)


def _samples(shared: Tree, index: jax.Array) -> jax.Array:
    rows = shared["x"][index]
    if rows.dtype == jnp.uint8:
        rows = jax.lax.optimization_barrier(rows)  # gather bytes first, then convert what was gathered
    return decode(rows, shared["weight"].dtype)


def check_batch_size(who: str, batch_size: int | None) -> None:
    """Refuses a batch of no samples."""
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"{who}: batch_size must be at least 1, or null for all samples, got {batch_size}")


def _penalty(params: Tree, shared: Tree) -> jax.Array:
    return 0.5 * shared["l2"] * tree.squared_norm(params)
