"""Networks that stay fast when every node has weights of its own.

A model is an `(init, apply)` pair (`dlax.types.Model`). `from_linen` and `from_nnx` turn any flax module into
one; `MODELS` names the networks that the field trains. The building blocks `Dense`, `Conv`, `max_pool` and
`avg_pool` replace flax's where those are slow on the CPU under a map over nodes.

flax is imported when a network is built, not when dlax is.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dlax.models.adapter import from_linen, from_nnx
from dlax.models.networks import ModelFactory, char_transformer, cnn, linear, mlp, resnet8

if TYPE_CHECKING:
    from dlax.models.conv import Conv, avg_pool, max_pool
    from dlax.models.dense import Dense

MODELS: dict[str, Callable[..., ModelFactory]] = {
    "linear": linear,
    "mlp": mlp,
    "cnn": cnn,
    "resnet8": resnet8,
    "char_transformer": char_transformer,
}

__all__ = [
    "MODELS",
    "Conv",
    "Dense",
    "ModelFactory",
    "avg_pool",
    "char_transformer",
    "cnn",
    "from_linen",
    "from_nnx",
    "linear",
    "max_pool",
    "mlp",
    "resnet8",
]


def __getattr__(name: str) -> Any:
    """Import the flax modules at first use."""
    if name == "Dense":
        from dlax.models.dense import Dense

        return Dense
    if name in ("Conv", "avg_pool", "max_pool"):
        from dlax.models import conv

        return getattr(conv, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
