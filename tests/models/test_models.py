"""The networks and the two adapters."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx
from jax import lax

from dlax.models import MODELS, cnn, from_linen, from_nnx, linear, mlp, resnet8

N, B, IMAGE = 3, 4, (8, 8, 1)
SMALL = {
    "linear": linear(),
    "mlp": mlp(hidden=(7,)),
    "cnn": cnn(channels=(2, 3), hidden=5, kernel=3),
    "resnet8": resnet8(width=4, groups=2),
}


def _count(params):
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def _shapes(factory, input_shape, outputs=10):
    return jax.eval_shape(factory(input_shape, outputs).init, jax.random.key(0))


def _close(a, b, atol=1e-5):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=0, atol=atol), a, b)


def _jit(function):
    # LLVM's passes would take most of this file's time.
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


def _draw(model, *axes):
    shapes, rng = jax.eval_shape(model.init, jax.random.key(0)), np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(0, 0.3, (*axes, *leaf.shape)), leaf.dtype), shapes
    )


def _loss(model, params, x):
    return jnp.sum(jnp.sin(model.apply(params, x)))


@pytest.mark.parametrize(
    ("factory", "shape", "outputs", "count"),
    [
        (linear(), (28, 28, 1), 10, 7_850),
        (linear(use_bias=False), (784,), 10, 7_840),
        (mlp(), (28, 28, 1), 10, 79_510),
        (mlp(hidden=(20, 30), activation="tanh"), (5,), 2, 5 * 20 + 20 + 20 * 30 + 30 + 30 * 2 + 2),
        (cnn(), (28, 28, 1), 10, 25 * 16 + 16 + 25 * 16 * 32 + 32 + 49 * 32 * 100 + 100 + 1_010),
        (cnn(), (8, 8, 3), 10, 75 * 16 + 16 + 25 * 16 * 32 + 32 + 4 * 32 * 100 + 100 + 1_010),
        # 3x3 convolutions; projections; GroupNorms of the stem, the blocks and the projections; head
        (
            resnet8(),
            (32, 32, 3),
            10,
            9 * (3 * 16 + 2 * 16 * 16 + 16 * 32 + 32 * 32 + 32 * 64 + 64 * 64)
            + 16 * 32
            + 32 * 64
            + 2 * (3 * 16 + 3 * 32 + 3 * 64)
            + 650,
        ),
    ],
)
def test_parameter_counts(factory, shape, outputs, count):
    params = _shapes(factory, shape, outputs)
    assert _count(params) == count
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("name", sorted({*MODELS} - {"char_transformer"}))  # of symbols, not of images
def test_mapped_over_nodes_equals_a_loop(name):
    model = SMALL[name](IMAGE, 10)
    params = _draw(model, N)
    x = jax.random.normal(jax.random.key(1), (N, B, *IMAGE))

    def one(params, x):
        return model.apply(params, x), jax.grad(lambda p: _loss(model, p, x))(params)

    vmapped = _jit(jax.vmap(one))(params, x)
    single = _jit(one)
    rows = [single(jax.tree.map(lambda leaf, i=i: leaf[i], params), x[i]) for i in range(N)]
    assert vmapped[0].shape == (N, B, 10)
    _close(vmapped, jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows))


@pytest.mark.parametrize("name", sorted({*MODELS} - {"char_transformer"}))
def test_float64_params_compute_in_float64(name):
    with jax.enable_x64(True):
        model = SMALL[name](IMAGE, 10)
        params = jax.eval_shape(model.init, jax.random.key(0))
        precise = jax.tree.map(lambda leaf: leaf.update(dtype=jnp.float64), params)
        x = jax.ShapeDtypeStruct((B, *IMAGE), jnp.float64)
        assert "f32" not in str(jax.make_jaxpr(model.apply)(precise, x))  # nothing is rounded on the way
        for given in (jnp.float32, jnp.float64):
            assert jax.eval_shape(model.apply, params, x.update(dtype=given)).dtype == jnp.float32
            assert jax.eval_shape(model.apply, precise, x.update(dtype=given)).dtype == jnp.float64


def test_networks_equal_plain_numpy():
    x = np.random.default_rng(0).normal(size=(B, 6)).astype(np.float32)
    for name, function in (("relu", lambda z: np.maximum(z, 0)), ("tanh", np.tanh)):
        model = mlp(hidden=(5,), activation=name)((6,), 3)  # type: ignore[arg-type]
        params = _draw(model)
        first, head = params["Dense_0"], params["Dense_1"]
        hidden = function(x @ np.asarray(first["kernel"]).T + first["bias"])
        _close(model.apply(params, jnp.asarray(x)), hidden @ np.asarray(head["kernel"]).T + head["bias"])


def test_cnn_equals_lax_convolutions():
    model = cnn(channels=(2, 3), hidden=5)(IMAGE, 10)
    params = _draw(model)
    x = jax.random.normal(jax.random.key(1), (B, *IMAGE))

    def reference(params, x):
        for name in ("Conv_0", "Conv_1"):
            layer, numbers = params[name], ("NHWC", "HWIO", "NHWC")
            x = lax.conv_general_dilated(x, layer["kernel"], (1, 1), "SAME", dimension_numbers=numbers)
            x = nn.max_pool(nn.relu(x + layer["bias"]), (2, 2), (2, 2))
        first, head = params["MLP_0"]["Dense_0"], params["MLP_0"]["Dense_1"]
        x = nn.relu(x.reshape(B, -1) @ first["kernel"].T + first["bias"])
        return x @ head["kernel"].T + head["bias"]

    def both(params):
        losses = (lambda p: _loss(model, p, x)), (lambda p: jnp.sum(jnp.sin(reference(p, x))))
        return [jax.value_and_grad(loss)(params) for loss in losses]

    _close(*_jit(both)(params))


def test_integer_images_reach_the_network():
    model = SMALL["linear"](IMAGE, 10)
    x = jnp.arange(B * 64, dtype=jnp.uint8).reshape(B, *IMAGE)
    params = _draw(model)
    _close(model.apply(params, x), model.apply(params, x.astype(jnp.float32)))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: cnn()((784,), 10), r"cnn takes images .* have shape \(784,\)"),
        (lambda: cnn()((3, 28, 1), 10), r"at least 4x4.* have shape \(3, 28, 1\)"),
        (lambda: resnet8()((28, 28), 10), r"resnet8 takes images .* have shape \(28, 28\)"),
        (lambda: resnet8(width=12), "groups=8, width=12"),
        (lambda: cnn(channels=(16,)), r"channels=\(16,\)"),  # type: ignore[arg-type]
        (lambda: mlp(hidden=(0,)), r"positive, got \(0,\)"),
        (lambda: mlp(activation="rleu"), "relu, tanh, gelu, got 'rleu'"),  # type: ignore[arg-type]
        (
            lambda: linear()((784,), 10).apply({}, jnp.zeros((B, 28, 28))),
            r"takes \[b, 784\], got .*\(4, 28, 28\)",
        ),
    ],
)
def test_refusals(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_every_factory_takes_keywords_only():
    for factory in MODELS.values():
        with pytest.raises(TypeError):
            factory(3)


class _Normalised(nn.Module):
    @nn.compact
    def __call__(self, x, train=True):
        return nn.BatchNorm(use_running_average=not train)(x)


class _Counting(nn.Module):
    @nn.compact
    def __call__(self, x):
        self.variable("counter", "calls", lambda: jnp.zeros(()))
        return nn.Dense(2)(x)


class _Dropping(nn.Module):
    @nn.compact
    def __call__(self, x, deterministic):
        return nn.Dropout(0.5)(nn.Dense(2)(x), deterministic=deterministic)


class _NnxCounter(nnx.Module):
    def __init__(self, rngs):
        self.calls = nnx.Variable(jnp.zeros(()))


@pytest.mark.parametrize(
    "make",
    [
        lambda: from_linen(_Normalised(), (6,)),
        lambda: from_nnx(lambda rngs: nnx.BatchNorm(6, rngs=rngs)),
    ],
)
def test_batch_norm_is_refused(make):
    with pytest.raises(
        ValueError, match=r"BatchNorm .*'batch_stats'.* average over nodes .* GroupNorm or LayerNorm"
    ):
        make()


def test_other_variables_are_refused():
    with pytest.raises(ValueError, match=r"_Counting keeps variables .*\['counter'\]"):
        from_linen(_Counting(), (6,))
    with pytest.raises(ValueError, match=r"_NnxCounter keeps variables .*\['Variable'\]"):
        from_nnx(_NnxCounter)


def test_linen_dropout_is_off():
    model = from_linen(_Dropping(), (6,))
    params, x = _draw(model), jnp.ones((B, 6))
    _close(model.apply(params, x), nn.Dense(2).apply({"params": params["Dense_0"]}, x))


def _nnx_network(rngs):
    return nnx.Sequential(
        nnx.Linear(6, 8, rngs=rngs),
        nnx.LayerNorm(8, rngs=rngs),
        nnx.Dropout(0.5, rngs=rngs),
        nnx.Linear(8, 2, rngs=rngs),
    )


def test_nnx_equals_the_module_itself():
    model = from_nnx(_nnx_network, (6,))
    params, x = model.init(jax.random.key(0)), jax.random.normal(jax.random.key(1), (B, 6))
    module = _nnx_network(nnx.Rngs(jax.random.key(0)))
    module.eval()
    _close(model.apply(params, x), module(x))

    moved = jax.tree.map(lambda leaf: leaf + 1, params)  # apply uses its params, and does not remember them
    assert not np.allclose(model.apply(moved, x), module(x))
    _close(model.apply(params, x), module(x))

    grads = jax.eval_shape(jax.grad(lambda p: _loss(model, p, x)), params)
    assert jax.tree.map(jnp.shape, grads) == jax.tree.map(jnp.shape, params)
    nodes = jax.eval_shape(jax.vmap(model.init), jax.random.split(jax.random.key(0), N))
    assert jax.eval_shape(jax.vmap(model.apply, (0, None)), nodes, x).shape == (N, B, 2)
    with pytest.raises(ValueError, match=r"takes \[b, 6\]"):
        model.apply(params, jnp.zeros((B, 7)))


def test_flax_is_imported_late():
    code = "import sys, dlax.models; sys.exit(any(name.split('.')[0] == 'flax' for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
