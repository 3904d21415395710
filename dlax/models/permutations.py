"""Hidden units may be renumbered: which axes of which leaves move together, and by which permutations.

    spec = permutations.describe(params)                  # of one of dlax's networks
    renumbered = permutations.permute(spec, params, permutations.draw(spec, key))    # the same function

Ainsworth, Hayase, Srinivasa. Git Re-Basin: Merging Models modulo Permutation Symmetries. ICLR 2023 (the symmetry).
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlax.types import Key, Tree

Path = tuple[str, ...]
Permutations = dict[
    str, jax.Array
]  # group -> [width] int32; unit c of the result is unit p[c] of the argument


class Axis(NamedTuple):
    """One axis of one leaf whose entries are the units of a group.

    Attributes:
      path: of the leaf, such as ("Dense_0", "kernel").
      axis: of one model's leaf, from 0.
      group: whose units these are.
      repeats: how often the units follow one another along the axis: the pixels of a flattened image.
    """

    path: Path
    axis: int
    group: str
    repeats: int = 1


class Group(NamedTuple):
    """Units that share one permutation.

    Attributes:
      name: of the group.
      width: number of units.
      blocks: equal runs of units that only move as a whole, being free inside: GroupNorm averages over them. 1
        leaves all units free.
    """

    name: str
    width: int
    blocks: int = 1


class Point(NamedTuple):
    """A module whose output `[..., width]` is what a group's units compute, up to the activation.

    Attributes:
      path: of the module, such as ("Dense_0",).
      group: of its output.
    """

    path: Path
    group: str


class Spec(NamedTuple):
    """The permutation symmetries of a network; hashable.

    Attributes:
      axes: everything that moves.
      groups: from the input to the output.
      points: where to look at the units, likewise.
    """

    axes: tuple[Axis, ...]
    groups: tuple[Group, ...]
    points: tuple[Point, ...]


def describe(params: Tree, *, norm_groups: int = 8) -> Spec:
    """The symmetries of dlax's own networks, told by the names and shapes of their leaves.

    Free are the hidden units of `mlp` and the channels and hidden units of `cnn`; `linear` has none. In `resnet8`
    the channels along an identity stream share one permutation, and the stream changes it where a shortcut has a
    convolution of its own. GroupNorm over g groups leaves the function unchanged only if its groups move as
    wholes: (g!) · ((w/g)!)^g of the w! permutations.

    Args:
      params: of ONE model: arrays, or their shapes.
      norm_groups: g, of `resnet8`; its option `groups`.

    Returns:
      The spec.

    Raises:
      ValueError: if the leaves are none of the four networks', or g does not divide a width.
    """
    leaves = {names(path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    top = {path[0] for path in leaves if path}
    if "Block_0" in top:
        return _resnet(leaves, norm_groups)
    if top == {"Conv_0", "Conv_1", "MLP_0"}:
        return _cnn(leaves)
    if top and top == {f"Dense_{i}" for i in range(len(top))}:
        return _mlp(leaves, ())
    raise ValueError(
        "permutations: the params must be those of linear, mlp, cnn or resnet8, or bring a Spec of their own; "
        f"got leaves {', '.join('/'.join(path) for path in leaves)}"
    )


def permute(spec: Spec, params: Tree, permutations: Mapping[str, jax.Array]) -> Tree:
    """Renumbers the hidden units of one model; the function it computes stays the same.

        W^l ← P^l W^l (P^{l−1})ᵀ,   b^l ← P^l b^l

    Args:
      spec: the model's symmetries.
      params: of one model.
      permutations: one a group; unit c of the result is unit p[c] of `params`.

    Returns:
      The renumbered params.

    Raises:
      ValueError: if the spec names a leaf that is not there.
    """
    moves: dict[Path, list[Axis]] = {}
    for each in spec.axes:
        moves.setdefault(each.path, []).append(each)

    def move(path: Any, leaf: jax.Array) -> jax.Array:
        for each in moves.pop(names(path), []):
            unit = permutations[each.group]
            start = jnp.arange(each.repeats, dtype=unit.dtype)[:, None] * unit.shape[0]
            leaf = jnp.take(leaf, (start + unit).reshape(-1), axis=each.axis, mode="clip")
        return leaf

    moved = jax.tree_util.tree_map_with_path(move, params)
    if moves:
        raise ValueError(f"permutations: there is no leaf {'/'.join(next(iter(moves)))} to permute")
    return moved


def identity(spec: Spec) -> Permutations:
    """The permutations that change nothing."""
    return {group.name: jnp.arange(group.width, dtype=jnp.int32) for group in spec.groups}


def invert(permutations: Mapping[str, jax.Array]) -> Permutations:
    """The permutations that undo others."""
    return {name: jnp.argsort(unit).astype(unit.dtype) for name, unit in permutations.items()}


def draw(spec: Spec, key: Key) -> Permutations:
    """Permutations that leave the function unchanged, uniformly at random."""
    drawn = {}
    for number, group in enumerate(spec.groups):
        key_blocks, key_units = jax.random.split(jax.random.fold_in(key, number))
        size = group.width // group.blocks
        units = jnp.arange(group.width, dtype=jnp.int32).reshape(group.blocks, size)
        units = jax.random.permutation(key_units, units, axis=1, independent=True)
        drawn[group.name] = jax.random.permutation(key_blocks, units).reshape(-1)
    return drawn


def record(
    apply: Callable[[Tree, jax.Array], jax.Array], spec: Spec, params: Tree, x: jax.Array
) -> dict[Path, jax.Array]:
    """What one model computes at the points of a spec.

    Args:
      apply: of a model made from a linen module.
      spec: names the points.
      params: of one model.
      x: inputs `[b, ...]`.

    Returns:
      The outputs of the points' modules, before the activation, `[samples, width]` each: pixels of an image are
      samples.

    Raises:
      ValueError: if the network has no module of a point's name.
    """
    from flax import linen as nn

    wanted = {point.path for point in spec.points}
    found: dict[Path, jax.Array] = {}

    def listen(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        output = call(*args, **kwargs)
        if context.method_name == "__call__" and context.module.path in wanted:
            found[context.module.path] = output.reshape(-1, output.shape[-1])
        return output

    with nn.intercept_methods(listen):
        apply(params, x)
    missing = sorted(wanted - set(found))
    if missing:
        raise ValueError(f"permutations: the network has no linen module {'/'.join(missing[0])}")
    return found


def names(path: Any) -> Path:
    """A key path as words."""
    return tuple(str(getattr(key, "key", getattr(key, "idx", key))) for key in path)


def _layer(path: Path, axis: int, group: str) -> tuple[Axis, ...]:
    """A layer's outputs: its kernel's last axis, and its bias."""
    return Axis((*path, "kernel"), axis, group), Axis((*path, "bias"), 0, group)


def _norm(path: Path, group: str) -> tuple[Axis, ...]:
    return Axis((*path, "scale"), 0, group), Axis((*path, "bias"), 0, group)


def _mlp(shapes: dict[Path, Any], prefix: Path) -> Spec:
    depth = len({path[len(prefix)] for path in shapes if path[: len(prefix)] == prefix})
    axes: list[Axis] = []
    groups, points = [], []
    for layer in range(depth - 1):
        here, name = (*prefix, f"Dense_{layer}"), "/".join([*prefix, f"Dense_{layer}"])
        outputs = [axis for axis in _layer(here, 0, name) if axis.path in shapes]  # biases are an option
        axes += [*outputs, Axis((*prefix, f"Dense_{layer + 1}", "kernel"), 1, name)]
        groups.append(Group(name, shapes[*here, "kernel"][0]))
        points.append(Point(here, name))
    return Spec(tuple(axes), tuple(groups), tuple(points))


def _cnn(shapes: dict[Path, Any]) -> Spec:
    dense = _mlp(shapes, ("MLP_0",))
    first, second = (shapes[f"Conv_{i}", "kernel"][3] for i in (0, 1))
    flat = ("MLP_0", "Dense_0", "kernel")
    axes = (
        *_layer(("Conv_0",), 3, "Conv_0"),
        Axis(("Conv_1", "kernel"), 2, "Conv_0"),
        *_layer(("Conv_1",), 3, "Conv_1"),
        Axis(flat, 1, "Conv_1", shapes[flat][1] // second),
    )
    groups = (Group("Conv_0", first), Group("Conv_1", second))
    points = (Point(("Conv_0",), "Conv_0"), Point(("Conv_1",), "Conv_1"))
    return Spec(axes + dense.axes, groups + dense.groups, points + dense.points)


def _resnet(shapes: dict[Path, Any], norm_groups: int) -> Spec:
    axes: list[Axis] = [Axis(("Conv_0", "kernel"), 3, "stem"), *_norm(("GroupNorm_0",), "stem")]
    groups = [Group("stem", shapes["Conv_0", "kernel"][3], norm_groups)]
    points, stream = [Point(("GroupNorm_0",), "stem")], "stem"
    for block in sorted({path[0] for path in shapes if path[0].startswith("Block_")}):
        inside, outside = f"{block}/inside", stream
        shape = shapes[block, "Conv_1", "kernel"]
        axes += [Axis((block, "Conv_0", "kernel"), 2, stream), Axis((block, "Conv_0", "kernel"), 3, inside)]
        axes += [*_norm((block, "GroupNorm_0"), inside), Axis((block, "Conv_1", "kernel"), 2, inside)]
        groups.append(Group(inside, shape[2], norm_groups))
        points.append(Point((block, "GroupNorm_0"), inside))
        if (block, "Conv_2", "kernel") in shapes:  # the shortcut has weights of its own: a new stream
            outside = block
            axes += [
                Axis((block, "Conv_2", "kernel"), 2, stream),
                Axis((block, "Conv_2", "kernel"), 3, block),
            ]
            axes += _norm((block, "GroupNorm_2"), block)
            groups.append(Group(block, shape[3], norm_groups))
        axes += [Axis((block, "Conv_1", "kernel"), 3, outside), *_norm((block, "GroupNorm_1"), outside)]
        points.append(Point((block,), outside))
        stream = outside
    axes.append(Axis(("Dense_0", "kernel"), 1, stream))
    for group in groups:
        if norm_groups < 1 or group.width % norm_groups:
            raise ValueError(
                f"permutations: norm_groups must divide the width {group.width} of {group.name}, got {norm_groups}"
            )
    return Spec(tuple(axes), tuple(groups), tuple(points))
