"""Renumbering hidden units: what moves, what stays the same, and what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlax.models import MODELS, cnn, mlp, permutations, resnet8
from dlax.models.permutations import Axis, Group, Point, Spec

SHAPE, CLASSES = (8, 8, 1), 5
NETWORKS = {
    "linear": MODELS["linear"](),
    "mlp": mlp(hidden=(12, 9)),
    "cnn": cnn(channels=(4, 6), hidden=11),
    "resnet8": resnet8(width=8, groups=4),
}
SIZES = {  # of every group of units
    "linear": {},
    "mlp": {"Dense_0": 12, "Dense_1": 9},
    "cnn": {"Conv_0": 4, "Conv_1": 6, "MLP_0/Dense_0": 11},
    "resnet8": {
        "stem": 8, "Block_0/inside": 8, "Block_1/inside": 16, "Block_1": 16, "Block_2/inside": 32, "Block_2": 32,
    },
}  # fmt: skip
every_network = pytest.mark.parametrize("name", NETWORKS)


@functools.cache
def network(name):
    """A compiled model, params with nothing left at zero or one, its symmetries, and inputs."""
    rng = np.random.default_rng(0)
    model = NETWORKS[name](SHAPE, CLASSES)
    shapes = jax.eval_shape(model.init, jax.random.key(0))

    def weights(leaf):  # biases and scales about 1, kernels that keep the variance
        fan = leaf.size / max(leaf.shape)
        return (rng.normal(size=leaf.shape) / fan**0.5).astype(np.float32)

    params = jax.tree.map(weights, shapes)
    x = rng.uniform(size=(20, *SHAPE)).astype(np.float32)
    return model._replace(apply=jax.jit(model.apply)), params, permutations.describe(shapes, norm_groups=4), x


@every_network
def test_describe_finds_the_groups(name):
    spec = network(name)[2]
    assert {group.name: group.width for group in spec.groups} == SIZES[name]
    hash(spec)


@every_network
def test_a_permutation_changes_the_params_and_not_the_function(name):
    model, params, spec, x = network(name)
    with jax.default_matmul_precision("float32"):
        before = model.apply(params, x)
        for seed in range(3):
            found = permutations.draw(spec, jax.random.key(seed))
            moved = permutations.permute(spec, params, found)
            np.testing.assert_allclose(model.apply(moved, x), before, atol=1e-5)
            if spec.groups:
                changed = jax.tree.map(lambda a, b: bool((a != b).any()), params, moved)
                assert sum(jax.tree.leaves(changed)) >= len({axis.path for axis in spec.axes}) - 1
            back = permutations.permute(spec, moved, permutations.invert(found))
            jax.tree.map(np.testing.assert_array_equal, back, params)


@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet8"])
def test_every_axis_of_the_spec_is_needed(name):
    """Without any one of them the function changes: the invariance is not trivial."""
    model, params, spec, x = network(name)
    found = permutations.draw(spec, jax.random.key(0))
    before = model.apply(params, x)
    for gone in spec.axes:
        part = spec._replace(axes=tuple(axis for axis in spec.axes if axis != gone))
        after = model.apply(permutations.permute(part, params, found), x)
        assert np.abs(after - before).max() > 1e-3, gone


def test_group_norm_admits_only_permutations_that_keep_its_groups():
    model, params, spec, x = network("resnet8")
    free = spec._replace(groups=tuple(group._replace(blocks=1) for group in spec.groups))
    before = model.apply(params, x)
    moved = permutations.permute(spec, params, permutations.draw(free, jax.random.key(0)))
    assert np.abs(model.apply(moved, x) - before).max() > 1e-2
    for group in spec.groups:  # whole groups move, and their channels inside
        unit = np.asarray(permutations.draw(spec, jax.random.key(0))[group.name])
        runs = unit.reshape(4, -1) // (group.width // 4)
        assert (runs == runs[:, :1]).all() and sorted(unit) == list(range(group.width))


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_permute_against_a_loop_over_units(name):
    _, params, spec, _ = network(name)
    found = permutations.draw(spec, jax.random.key(4))
    moved = permutations.permute(spec, params, found)
    p = {group: np.asarray(unit) for group, unit in found.items()}
    old, new = jax.device_get((params, moved))
    if name == "mlp":
        for r in range(12):
            np.testing.assert_array_equal(
                new["Dense_0"]["kernel"][r], old["Dense_0"]["kernel"][p["Dense_0"][r]]
            )
            for s in range(9):
                want = old["Dense_1"]["kernel"][p["Dense_1"][s], p["Dense_0"][r]]
                assert new["Dense_1"]["kernel"][s, r] == want
    else:
        for pixel in range(4):
            for c in range(6):
                for h in range(11):
                    want = old["MLP_0"]["Dense_0"]["kernel"][
                        p["MLP_0/Dense_0"][h], pixel * 6 + p["Conv_1"][c]
                    ]
                    assert new["MLP_0"]["Dense_0"]["kernel"][h, pixel * 6 + c] == want


@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet8"])
def test_what_is_recorded_moves_with_the_units(name):
    _, params, spec, x = network(name)
    found = permutations.draw(spec, jax.random.key(0))
    run = jax.jit(lambda params: permutations.record(NETWORKS[name](SHAPE, CLASSES).apply, spec, params, x))
    before, after = run(params), run(permutations.permute(spec, params, found))
    assert set(before) == {point.path for point in spec.points}
    for point in spec.points:
        np.testing.assert_allclose(
            after[point.path], before[point.path][:, found[point.group]], atol=2e-4, err_msg=str(point)
        )


def test_what_is_refused():
    model, params, _, x = network("mlp")
    with pytest.raises(ValueError, match=r"must be those of linear, mlp, cnn or resnet8.*got leaves w"):
        permutations.describe({"w": jnp.zeros(3)})
    with pytest.raises(ValueError, match="norm_groups must divide the width 8 of stem, got 3"):
        permutations.describe(network("resnet8")[1], norm_groups=3)
    other = Spec((Axis(("Dense_7", "kernel"), 0, "a"),), (Group("a", 3),), (Point(("Dense_7",), "a"),))
    with pytest.raises(ValueError, match="there is no leaf Dense_7/kernel"):
        permutations.permute(other, params, {"a": jnp.arange(3)})
    with pytest.raises(ValueError, match="no linen module Dense_7"):
        permutations.record(model.apply, other, params, x)
