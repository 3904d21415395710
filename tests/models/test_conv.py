"""Conv, Dense and the pools against flax's own, in float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlax.models import Conv, Dense, avg_pool, max_pool

_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})  # compiles faster


@pytest.fixture(autouse=True)
def _x64():
    with jax.enable_x64(True):
        yield


def _normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def _close(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=0, atol=1e-10), a, b)


@pytest.mark.parametrize(
    ("size", "kernel", "strides", "padding"),
    [
        ((9, 8), (5, 3), (1, 1), "SAME"),
        ((9, 8), (5, 3), (1, 1), "VALID"),
        ((9, 8), (5, 3), (2, 1), "SAME"),
        ((9, 8), (3, 5), (2, 2), "VALID"),
        ((7, 7), (1, 1), (2, 2), "SAME"),
        ((8, 8), (2, 2), (3, 3), "SAME"),
    ],
)
def test_conv_equals_flax_in_value_and_gradient(size, kernel, strides, padding):
    options = {"kernel_size": kernel, "strides": strides, "padding": padding}
    params = {"kernel": _normal(0, *kernel, 3, 4), "bias": _normal(1, 4)}
    x = _normal(2, 2, *size, 3)

    @_jit
    def both(params, x):
        def value(module):
            def f(params, x):
                y = module.apply({"params": params}, x)
                return jnp.sum(jnp.sin(y)), y

            return jax.value_and_grad(f, (0, 1), has_aux=True)(params, x)

        return value(Conv(4, **options)), value(nn.Conv(4, **options))

    ours, flax = both(params, x)
    assert ours[0][1].dtype == jnp.float64
    _close(ours, flax)


def test_conv_starts_as_flax_does():
    x = jnp.zeros((1, 8, 8, 3), jnp.float32)
    ours, flax = (
        _jit(module.init)(jax.random.key(0), x)["params"] for module in (Conv(4), nn.Conv(4, (3, 3)))
    )
    _close(ours, flax)
    assert ours["kernel"].dtype == jnp.float32
    assert "bias" not in Conv(4, use_bias=False).init(jax.random.key(0), x)["params"]


@pytest.mark.parametrize(
    ("options", "shape", "message"),
    [
        ({"padding": "CIRCULAR"}, (1, 8, 8, 3), "CIRCULAR"),
        ({"padding": "VALID"}, (1, 2, 8, 3), r"does not fit into an image of \(2, 8\)"),
        ({}, (8, 8, 3), r"\(8, 8, 3\)"),
    ],
)
def test_conv_refuses(options, shape, message):
    with pytest.raises(ValueError, match=message):
        Conv(4, **options).init(jax.random.key(0), jnp.zeros(shape))


@pytest.mark.parametrize(("window", "size"), [((2, 2), (8, 6)), ((2, 2), (7, 5)), ((3, 2), (8, 8))])
def test_pools_equal_flax_in_value_and_gradient(window, size):
    x = _normal(0, 2, *size, 3)

    @_jit
    def every(x):
        def both(pool, *args):
            return pool(x, *args), jax.grad(lambda x: jnp.sum(jnp.sin(pool(x, *args))))(x)

        flax = [both(pool, window, window) for pool in (nn.max_pool, nn.avg_pool)]
        return [both(pool, window) for pool in (max_pool, avg_pool)], flax

    _close(*every(x))


def test_pool_refuses_a_small_image():
    with pytest.raises(ValueError, match=r"\(2, 2\) does not fit into an image of \(1, 4\)"):
        max_pool(jnp.zeros((1, 1, 4, 3)))


def test_dense_equals_flax_in_every_derivative():
    kernel, bias, x, v = _normal(0, 4, 6), _normal(1, 4), _normal(2, 5, 3, 6), _normal(3, 5, 3, 6)
    ours = {"params": {"kernel": kernel, "bias": bias}}
    flax = {"params": {"kernel": kernel.T, "bias": bias}}

    def derivatives(module, variables, transpose):
        def f(variables, x):
            return jnp.sum(jnp.sin(module.apply(variables, x)))

        grads = jax.grad(f)(variables, x)["params"]
        grads["kernel"] = transpose(grads["kernel"])
        slope = lambda x: jax.grad(f, 1)(variables, x)  # noqa: E731
        forward_over_reverse = jax.jvp(slope, (x,), (v,))
        reverse_over_reverse = jax.grad(lambda x: jnp.vdot(slope(x), v))(x)
        return f(variables, x), grads, forward_over_reverse, reverse_over_reverse

    @_jit
    def both(ours, flax):
        return derivatives(Dense(4), ours, lambda k: k), derivatives(nn.Dense(4), flax, jnp.transpose)

    _close(*both(ours, flax))


def test_dense_starts_with_the_variance_of_its_inputs():
    params = Dense(200).init(jax.random.key(0), jnp.zeros((1, 50), jnp.float32))["params"]
    assert params["kernel"].shape == (200, 50)
    assert np.var(params["kernel"]) == pytest.approx(1 / 50, rel=0.05)
    assert not params["bias"].any()
