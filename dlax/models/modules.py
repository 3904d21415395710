"""The flax modules behind `dlax.models.networks`, which has the words on each of them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
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


class Attention(nn.Module):
    """Causal self-attention: each place looks at itself and those before it.

        q, k, v = Dense(x);   softmax(q kᵀ / √(w / heads) where k is not later) v, head by head;   Dense

    Attributes:
      heads: number of heads; divides the width w.
    """

    heads: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[b, L, w]` to `[b, L, w]`."""
        b, length, width = x.shape
        size = width // self.heads
        q, k, v = jnp.moveaxis(Dense(3 * width)(x).reshape(b, length, 3, self.heads, size), 2, 0)
        scores = jnp.einsum("bihs,bjhs->bhij", q, k) / size**0.5
        seen = jnp.tril(jnp.ones((length, length), bool))
        weights = nn.softmax(jnp.where(seen, scores, -jnp.inf))
        return Dense(width)(jnp.einsum("bhij,bjhs->bihs", weights, v).reshape(b, length, width))


class Transformer(nn.Module):
    """A decoder with pre-norm: embedding and positions, layers of attention and MLP, LayerNorm, head.

        x ← x + Attention(LayerNorm(x));   x ← x + Dense(gelu(Dense(LayerNorm(x))))

    Attributes:
      layers: number of layers.
      width: w, of embeddings.
      heads: of attention.
      outputs: size of the vocabulary, of the inputs and of the outputs.
    """

    layers: int
    width: int
    heads: int
    outputs: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map symbols `[b, L]` to logits `[b, L, outputs]`."""
        law = nn.initializers.normal(0.02)
        symbols = self.param("symbols", law, (self.outputs, self.width), jnp.float32)
        places = self.param("places", law, (x.shape[1], self.width), jnp.float32)
        h = symbols[x] + places
        for _ in range(self.layers):
            seen = _norm()(h)
            h = h + Attention(self.heads)(seen)
            wide = nn.gelu(Dense(4 * self.width)(_norm()(h)))
            h = h + Dense(self.width)(wide)
        return _norm()(h) @ symbols.T


def _norm() -> nn.LayerNorm:
    return nn.LayerNorm(use_fast_variance=False)
