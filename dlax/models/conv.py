"""Convolution and pooling that do not fall apart when each node has its own weights.

Under `vmap` a `lax.conv` with per-node weights becomes a grouped convolution, which XLA runs naively on a
CPU; inside `lax.map` it loses its fast kernel too. A matrix product keeps it. Measured on 2 cores (jax 0.10):
gradient of `cnn()` at 28x28x1, 16 nodes, batch 32, ms, the fastest of 13 interleaved runs:

    16 separate jitted calls, lax.conv                        83
    16 separate jitted calls, lax.conv and reduce_window     117
    lax.map, this module                                      77
    vmap, this module                                        187

Over several runs `lax.map` took 0.9 to 1.15 times the separate calls on idle cores, and more when other work
filled the memory bus. Tried under `lax.map` and dropped: patches cut in one step (4 to 7% faster here and in
`resnet8`, but up to twice as long to compile), feature-major patches (no gain), one product per kernel row (1.4
times the time) or per kernel offset (3.7 times). Max pooling as the maximum of four strided slices doubles the
time of the network.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax


def patches(x: jax.Array, kernel_size: Sequence[int], strides: Sequence[int], padding: str) -> jax.Array:
    """Cut the windows that a convolution sees, by slicing.

    Args:
      x: `[b, height, width, c]`.
      kernel_size: rows and columns of a window.
      strides: rows and columns between windows.
      padding: "SAME" (zeros around, ⌈size / stride⌉ windows) or "VALID".

    Returns:
      `[b, height', width', rows * columns * c]`, a window row by row, channels last.

    Raises:
      ValueError: if `padding` is something else, or no window fits.
    """
    if padding not in ("SAME", "VALID"):
        raise ValueError(f'padding must be "SAME" or "VALID", got {padding!r}')
    pads = lax.padtype_to_pads(x.shape[1:3], kernel_size, strides, padding)
    x = jnp.pad(x, [(0, 0), *pads, (0, 0)])
    bottom, right = (x.shape[1 + i] - kernel_size[i] for i in (0, 1))  # where the last window may start
    if bottom < 0 or right < 0:
        raise ValueError(f"a window of {tuple(kernel_size)} does not fit into an image of {x.shape[1:3]}")
    # Columns, then rows: h + w slices in place of h * w; they compile faster, and their gradient sums fewer.
    x = jnp.concatenate([x[:, :, j : j + right + 1 : strides[1]] for j in range(kernel_size[1])], axis=-1)
    return jnp.concatenate([x[:, i : i + bottom + 1 : strides[0]] for i in range(kernel_size[0])], axis=-1)


class Conv(nn.Module):
    """Two-dimensional convolution of channels-last images: patches by slicing, then one matrix product.

    Same parameters, same initial law and same numbers as `flax.linen.Conv`. Inputs are cast to the kernel's
    dtype. Memory: the patches are `kernel_size[0] * kernel_size[1]` times the input.

    Attributes:
      features: channels of the output.
      kernel_size: rows and columns of a window.
      strides: rows and columns between windows.
      padding: "SAME" or "VALID".
      use_bias: add one number a feature.
    """

    features: int
    kernel_size: tuple[int, int] = (3, 3)
    strides: tuple[int, int] = (1, 1)
    padding: str = "SAME"
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map `[b, height, width, c]` to `[b, height', width', features]`.

        Raises:
          ValueError: if x has other than four axes, or as in `patches`.
        """
        if x.ndim != 4:
            raise ValueError(f"Conv takes [b, height, width, channels], got shape {x.shape}")
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, jnp.float32)
        seen = patches(x.astype(kernel.dtype), self.kernel_size, self.strides, self.padding)
        y = seen.reshape(-1, math.prod(shape[:-1])) @ kernel.reshape(-1, self.features)
        if self.use_bias:
            y = y + self.param("bias", nn.initializers.zeros_init(), (self.features,), jnp.float32)
        return y.reshape(*seen.shape[:-1], self.features)


def _tiles(x: jax.Array, window: Sequence[int]) -> jax.Array:
    """Cut `[b, height, width, c]` into `[b, height', rows, width', columns, c]`, dropping the rest."""
    b, height, width, c = x.shape
    rows, columns = window
    if height < rows or width < columns:
        raise ValueError(f"a pool of {(rows, columns)} does not fit into an image of {(height, width)}")
    x = x[:, : height // rows * rows, : width // columns * columns]
    return x.reshape(b, height // rows, rows, width // columns, columns, c)


def max_pool(x: jax.Array, window: tuple[int, int] = (2, 2)) -> jax.Array:
    """Largest entry of each window; windows do not overlap.

    Equals `flax.linen.max_pool(x, window, strides=window)`, "VALID" padding. Among equal largest entries the
    gradient is shared equally (flax gives it to the first).

    Args:
      x: `[b, height, width, c]`.
      window: rows and columns; also the strides.

    Returns:
      `[b, height // rows, width // columns, c]`; rows and columns left over at the end are dropped.

    Raises:
      ValueError: if the image is smaller than one window.
    """
    return _tiles(x, window).max((2, 4))


def avg_pool(x: jax.Array, window: tuple[int, int] = (2, 2)) -> jax.Array:
    """Mean of each window; windows do not overlap.

    Equals `flax.linen.avg_pool(x, window, strides=window)`, "VALID" padding.

    Args:
      x: `[b, height, width, c]`.
      window: rows and columns; also the strides.

    Returns:
      `[b, height // rows, width // columns, c]`; rows and columns left over at the end are dropped.

    Raises:
      ValueError: if the image is smaller than one window.
    """
    return _tiles(x, window).mean((2, 4))
