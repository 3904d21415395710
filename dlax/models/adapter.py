"""From a flax module, of either of flax's two APIs, to a `Model`."""

import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from dlax.types import Execution, Key, Model, Tree

if TYPE_CHECKING:  # flax costs import time; only those who build a network pay it
    from flax import linen, nnx

# What a linen module calls its training switch, and the value that turns randomness off.
_SWITCHES = {"deterministic": True, "train": False, "training": False}


def from_linen(
    module: "linen.Module",
    input_shape: tuple[int, ...],
    *,
    input_dtype: Any = jnp.float32,
    on_cpu: Execution = "vmap",
) -> Model:
    """Make a model of a flax linen module.

    The module always runs without randomness: an argument of its `__call__` named `deterministic` is set to
    True, `train` or `training` to False, so dropout is off in training too.

    Args:
      module: any linen module whose only variables are parameters.
      input_shape: shape of one example, without the batch axis.
      input_dtype: what the module is initialised with. Integers (tokens, bytes) reach the module as they are;
        floating inputs are cast to the dtype of the params, so float64 params compute in float64.
      on_cpu: how a CPU should go over the nodes: "vmap" for dense layers, "map" for convolutions.

    Returns:
      `init(key) -> params`, the module's "params" collection, and `apply(params, x [b, *input_shape])`.

    Raises:
      ValueError: if the module keeps other variables than parameters, such as BatchNorm's running statistics;
        from `apply`, if x does not have the input shape.
    """
    switches = _switches(module)
    example = jnp.zeros((1, *input_shape), input_dtype)

    def initialise(key: Key) -> Any:
        return module.init(key, example, **switches)

    variables = jax.eval_shape(initialise, jax.random.key(0))
    _only_params(type(module).__name__, [name for name in variables if name != "params"])

    def init(key: Key) -> Tree:
        return initialise(key).get("params", {})

    def apply(params: Tree, x: jax.Array) -> jax.Array:
        outputs: Any = module.apply({"params": params}, _input(params, x, input_shape), **switches)
        return outputs

    return Model(init, apply, on_cpu)


def from_nnx(
    make_module: Callable[["nnx.Rngs"], "nnx.Module"],
    input_shape: tuple[int, ...] | None = None,
    *,
    on_cpu: Execution = "vmap",
) -> Model:
    """Make a model of a flax nnx module.

    The module is put into its evaluation mode (`module.eval()`), so dropout is off in training too.

    Args:
      make_module: builds the module from its random streams:
        `lambda rngs: nnx.Linear(784, 10, rngs=rngs)`.
      input_shape: shape of one example, without the batch axis, which `apply` then checks. None checks
        nothing: an nnx module knows its sizes.
      on_cpu: how a CPU should go over the nodes: "vmap" for dense layers, "map" for convolutions.

    Returns:
      `init(key) -> params`, nested dicts of arrays, and `apply(params, x [b, ...])`. Floating inputs are cast
      to the dtype of the params.

    Raises:
      ValueError: if the module keeps other variables than parameters, such as BatchNorm's running statistics;
        from `apply`, if x does not have the input shape.
    """
    from flax import nnx

    def split(key: Key) -> tuple[Any, ...]:
        module = make_module(nnx.Rngs(key))
        module.eval()
        return nnx.split(module, nnx.Param, nnx.RngState, ...)

    graph: Any = None

    def trace(key: Key) -> tuple[Any, Any, Any]:
        nonlocal graph
        graph, *states = split(key)
        return tuple(states)

    abstract_params, abstract_streams, others = jax.eval_shape(trace, jax.random.key(0))
    name = getattr(make_module, "__name__", type(make_module).__name__)
    _only_params(name, {_kind(leaf) for _, leaf in nnx.to_flat_state(others)})

    def init(key: Key) -> Tree:
        return nnx.to_pure_dict(split(key)[1])

    def apply(params: Tree, x: jax.Array) -> jax.Array:
        state = jax.tree.map(lambda leaf: leaf, abstract_params)
        nnx.replace_by_pure_dict(state, params)
        # The streams are never drawn from in evaluation mode, but the graph has a place for them.
        module = nnx.merge(graph, state, jax.tree.map(_blank, abstract_streams))
        return module(_input(params, x, input_shape))

    return Model(init, apply, on_cpu)


def _switches(module: "linen.Module") -> dict[str, Any]:
    """Keyword arguments that make a linen module deterministic."""
    taken = inspect.signature(module.__call__).parameters
    return {name: value for name, value in _SWITCHES.items() if name in taken}


def _kind(variable: Any) -> str:
    """Collection that a nnx variable belongs to, in linen's spelling for BatchNorm's."""
    kind = type(variable).__name__
    return "batch_stats" if kind == "BatchStat" else kind


def _only_params(name: str, collections: Iterable[str]) -> None:
    """Refuse a module that keeps other variables than parameters."""
    others = sorted(collections)
    if "batch_stats" in others:
        raise ValueError(
            f"{name} uses BatchNorm (collection 'batch_stats'). Its running statistics are not parameters: "
            "nodes with different data disagree on them, and their average over nodes fits no node's model. "
            "Use GroupNorm or LayerNorm."
        )
    if others:
        raise ValueError(
            f"{name} keeps variables that are not parameters: {others}. A model has parameters only."
        )


def _input(params: Tree, x: jax.Array, input_shape: tuple[int, ...] | None) -> jax.Array:
    """Check the shape of x and cast it to the params' dtype."""
    if input_shape is not None and x.shape[1:] != tuple(input_shape):
        raise ValueError(f"the model takes [b, {', '.join(map(str, input_shape))}], got shape {x.shape}")
    dtypes = [leaf.dtype for leaf in jax.tree.leaves(params) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    if dtypes and jnp.issubdtype(x.dtype, jnp.floating):
        x = x.astype(jnp.result_type(*dtypes))
    return x


def _blank(leaf: Any) -> jax.Array:
    """An array for a random stream's key or counter."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jnp.broadcast_to(jax.random.key(0), leaf.shape)
    return jnp.zeros(leaf.shape, leaf.dtype)
