"""The networks that decentralised learning is measured on, as factories of models."""

from collections.abc import Callable
from typing import Literal, get_args

import jax.numpy as jnp

from dlax.models.adapter import from_linen
from dlax.types import Model

ModelFactory = Callable[[tuple[int, ...], int], Model]  # (input_shape, num_outputs) -> Model

Activation = Literal["relu", "tanh", "gelu"]


def linear(*, use_bias: bool = True) -> ModelFactory:
    """A linear map of the flattened input; with cross entropy, logistic regression.

    7,850 parameters at 784 inputs and 10 outputs. A CPU takes sixteen nodes at a time, whose minibatches then
    stay in cache: a D-SGD round of 64 nodes took 0.8 of the time under `vmap`.

    Args:
      use_bias: add one number an output.

    Returns:
      `(input_shape, num_outputs) -> Model`, for inputs of any shape.
    """

    def build(input_shape: tuple[int, ...], num_outputs: int) -> Model:
        from dlax.models.modules import MLP

        return from_linen(MLP((), num_outputs, use_bias=use_bias), input_shape, on_cpu="chunks")

    return build


def mlp(*, hidden: tuple[int, ...] = (100,), activation: Activation = "relu") -> ModelFactory:
    """Dense layers on the flattened input.

    The default at 784 inputs and 10 outputs is the field's standard 784-100-10, 79,510 parameters. On a CPU
    run its nodes under `vmap`.

    Args:
      hidden: sizes of the hidden layers, first to last; none gives `linear`.
      activation: between the layers; "gelu" is the tanh approximation.

    Returns:
      `(input_shape, num_outputs) -> Model`, for inputs of any shape.

    Raises:
      ValueError: if a size is not positive or the activation is unknown.
    """
    hidden = tuple(hidden)
    if any(size < 1 for size in hidden):
        raise ValueError(f"hidden sizes must be positive, got {hidden}")
    if activation not in get_args(Activation):
        raise ValueError(f"activation must be one of {', '.join(get_args(Activation))}, got {activation!r}")

    def build(input_shape: tuple[int, ...], num_outputs: int) -> Model:
        from dlax.models.modules import MLP

        return from_linen(MLP(hidden, num_outputs, activation), input_shape)

    return build


def cnn(*, channels: tuple[int, int] = (16, 32), hidden: int = 100, kernel: int = 5) -> ModelFactory:
    """Two convolutions ("SAME" padding), each with a 2x2 max pool and relu; a dense layer; the head.

    On a CPU run its nodes under `lax.map`: one node's patches stay in cache, which is two to three times as
    fast as `vmap`.

    Args:
      channels: features of the two convolutions.
      hidden: size of the dense layer after them.
      kernel: rows and columns of the convolutions' windows.

    Returns:
      `(input_shape, num_outputs) -> Model`, for images `[height, width, channels]` of at least 4x4.

    Raises:
      ValueError: if a size is not positive or `channels` are not two; from the result, if the inputs are not
        such images.
    """
    channels = tuple(channels)  # type: ignore[assignment]  # a config may bring a list
    if len(channels) != 2 or min(*channels, hidden, kernel) < 1:
        given = f"channels={channels}, hidden={hidden}, kernel={kernel}"
        raise ValueError(f"cnn takes two channels and positive sizes, got {given}")

    def build(input_shape: tuple[int, ...], num_outputs: int) -> Model:
        from dlax.models.modules import CNN

        _image("cnn", input_shape, smallest=4)
        return from_linen(CNN(channels, hidden, num_outputs, kernel), input_shape, on_cpu="map")

    return build


def resnet8(*, width: int = 16, groups: int = 8) -> ModelFactory:
    """An eight-layer residual network with GroupNorm, the usual one for small colour images.

    A stem, three basic blocks at widths w, 2w, 4w and strides 1, 2, 2 with 1x1 projections where the shape
    changes, the mean over the image, a linear head. GroupNorm, as BatchNorm's running statistics do not
    survive averaging over nodes. On a CPU run its nodes under `lax.map`.

    Args:
      width: w, the stem's channels.
      groups: of GroupNorm; divides `width`.

    Returns:
      `(input_shape, num_outputs) -> Model`, for images `[height, width, channels]` of any size.

    Raises:
      ValueError: if `groups` does not divide `width`; from the result, if the inputs are not images.

    References:
      He, Zhang, Ren, Sun. Deep Residual Learning for Image Recognition. CVPR 2016.
      Hsieh, Phanishayee, Mutlu, Gibbons. The Non-IID Data Quagmire of Decentralized Machine Learning.
      ICML 2020.
    """
    if width < 1 or groups < 1 or width % groups:
        raise ValueError(f"groups must divide width, both positive, got groups={groups}, width={width}")

    def build(input_shape: tuple[int, ...], num_outputs: int) -> Model:
        from dlax.models.modules import ResNet8

        _image("resnet8", input_shape, smallest=1)
        return from_linen(ResNet8(width, groups, num_outputs), input_shape, on_cpu="map")

    return build


def char_transformer(*, layers: int = 2, width: int = 32, heads: int = 4) -> ModelFactory:
    """A small decoder-only transformer: at each place of a text, the next character.

    Causal attention, learned positions, LayerNorm before attention and MLP (four times as wide, gelu) and at the
    end; the head is the embedding transposed. Embeddings and positions begin as N(0, 0.02²), so that the first
    loss is near ln V. The vocabulary V and the length L are the data's; 12 w² + 13 w parameters a layer and
    (V + L + 2) w besides. On a CPU run its nodes under `lax.map`, which took 0.6 of the time of `vmap` at w = 64.

    Args:
      layers: blocks of attention and MLP.
      width: w, of embeddings and what flows between layers.
      heads: of attention; divides `width`.

    Returns:
      `(input_shape, num_outputs) -> Model`, from symbols `[b, L]` in 0..V − 1 to logits `[b, L, V]`.

    Raises:
      ValueError: if a size is not positive or `heads` does not divide `width`; from the result, if the inputs are
        not sequences.

    References:
      Radford, Wu, Child, Luan, Amodei, Sutskever. Language Models are Unsupervised Multitask Learners. 2019.
    """
    if min(layers, width, heads) < 1 or width % heads:
        given = f"layers={layers}, width={width}, heads={heads}"
        raise ValueError(
            f"char_transformer takes positive sizes, and heads that divide the width, got {given}"
        )

    def build(input_shape: tuple[int, ...], num_outputs: int) -> Model:
        from dlax.models.modules import Transformer

        if len(input_shape) != 1:
            raise ValueError(
                f"char_transformer takes sequences [L]; the inputs have shape {tuple(input_shape)}"
            )
        network = Transformer(layers, width, heads, num_outputs)
        return from_linen(network, input_shape, input_dtype=jnp.int32, on_cpu="map")

    return build


def _image(name: str, shape: tuple[int, ...], smallest: int) -> None:
    """Refuse inputs that are not images."""
    if len(shape) != 3 or min(shape[:2]) < smallest:
        raise ValueError(
            f"{name} takes images [height, width, channels] of at least {smallest}x{smallest}; "
            f"the inputs have shape {tuple(shape)}"
        )
