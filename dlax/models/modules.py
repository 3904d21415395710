"""The flax modules behind `dlax.models.networks`, which has the words on each of them."""

from collections.abc import Callable

import jax
from flax import linen as nn

from dlax.models.conv import Conv, max_pool
from dlax.models.dense import Dense

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {"relu": nn.relu, "tanh": nn.tanh, "gelu": nn.gelu}


class MLP(nn.Module):
    """Dense layers with an activation between them, on flattened inputs.

    Attributes:
      hidden: sizes of the hidden layers; none makes it linear.
      outputs: size of the output.
      activation: key of `ACTIVATIONS`.
      use_bias: biases in all layers.
    """

    hidden: tuple[int, ...]
    outputs: int
    activation: str = "relu"
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[b, ...]` to `[b, outputs]`."""
        x = x.reshape(x.shape[0], -1)
        for size in self.hidden:
            x = ACTIVATIONS[self.activation](Dense(size, self.use_bias)(x))
        return Dense(self.outputs, self.use_bias)(x)


class CNN(nn.Module):
    """Convolution, 2x2 max pool and relu, twice; a hidden dense layer; the head.

    Attributes:
      channels: features of the two convolutions.
      hidden: size of the dense layer.
      outputs: size of the output.
      kernel: rows and columns of the convolutions' windows.
    """

    channels: tuple[int, int]
    hidden: int
    outputs: int
    kernel: int = 5

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[b, height, width, c]` to `[b, outputs]`."""
        for features in self.channels:
            # relu commutes with the maximum; after the pool it has a quarter of the entries.
            x = nn.relu(max_pool(Conv(features, (self.kernel, self.kernel))(x)))
        return MLP((self.hidden,), self.outputs)(x)


class Block(nn.Module):
    """A basic residual block: two 3x3 convolutions with GroupNorm; a 1x1 projection where the shape changes.

    Attributes:
      features: channels of the output.
      stride: of the first convolution and the projection.
      groups: of GroupNorm.
    """

    features: int
    stride: int
    groups: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[b, height, width, c]` to `[b, ⌈height / stride⌉, ⌈width / stride⌉, features]`."""
        strides = (self.stride, self.stride)
        y = Conv(self.features, (3, 3), strides, use_bias=False)(x)
        y = nn.relu(nn.GroupNorm(self.groups)(y))
        y = Conv(self.features, (3, 3), use_bias=False)(y)
        y = nn.GroupNorm(self.groups)(y)
        if x.shape != y.shape:
            x = Conv(self.features, (1, 1), strides, use_bias=False)(x)
            x = nn.GroupNorm(self.groups)(x)
        return nn.relu(x + y)


class ResNet8(nn.Module):
    """Stem, three blocks at widths w, 2w, 4w and strides 1, 2, 2, global average pool, linear head.

    Attributes:
      width: w.
      groups: of GroupNorm.
      outputs: size of the output.
    """

    width: int
    groups: int
    outputs: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[b, height, width, c]` to `[b, outputs]`."""
        x = Conv(self.width, (3, 3), use_bias=False)(x)
        x = nn.relu(nn.GroupNorm(self.groups)(x))
        for times, stride in ((1, 1), (2, 2), (4, 2)):
            x = Block(times * self.width, stride, self.groups)(x)
        return Dense(self.outputs)(x.mean((1, 2)))
