"""Attacks on data: Byzantine nodes train as honest ones do, on samples that were tampered with.

They send what the algorithm makes of them and combine what they hear as the channel says.
"""

import math
from functools import cache
from typing import Literal, get_args

import jax
import jax.numpy as jnp

from dlax import tree
from dlax.types import Attack, Poison

Flip = Literal["opposite", "next", "swap"]


def augment(*, noise: float = 0.5, fraction: float = 1.0) -> Attack:
    """Byzantine nodes train on a noisy copy of all or part of their samples, with the labels as they are.

        x → x + noise · N(0, I)

    A sample's copy is always the same, as in a data set augmented beforehand: what is drawn depends on the sample
    alone.

    Args:
      noise: standard deviation, above 0; samples of images are in [0, 1], their copies need not be.
      fraction: share of the samples that the copy replaces, in (0, 1].

    Returns:
      An attack that sends no lies and has no measure of success.

    Raises:
      ValueError: if an option is out of range.

    References:
      Almasi et al. Flag Aggregator. ICLR 2024, augmented losses; its amount of noise is not known.
    """
    if noise <= 0:
        raise ValueError(f"augment: noise must be positive, got {noise}")
    if not 0 < fraction <= 1:
        raise ValueError(f"augment: fraction must be in (0, 1], got {fraction}")
    return Attack(poison=_augment(noise, fraction))


def label_flip(*, flip: Flip = "opposite", swap: tuple[int, int] = (0, 1)) -> Attack:
    """Byzantine nodes train on wrong labels.

        "opposite"   y → C − 1 − y            (MoNNA, ByzFL)
        "next"       y → y + 1 mod C          (Bristle's label-flip-all)
        "swap"       the two of `swap` exchanged, others as they are   (SybilWall; Bristle's label-flip-2)

    The attack succeeds on a held-out sample whose label the flip changes if the prediction is the flipped one.

    Args:
      flip: how.
      swap: the two classes of "swap".

    Returns:
      An attack that sends no lies, with a measure `attack_success`.

    Raises:
      ValueError: if `flip` is none of the three, or the two classes are equal or negative; in a run, if there
        are fewer.
    """
    if flip not in get_args(Flip):
        raise ValueError(f"label_flip: flip must be one of {', '.join(get_args(Flip))}, got {flip!r}")
    if len(swap) != 2 or swap[0] == swap[1] or min(swap) < 0:
        raise ValueError(f"label_flip: swap must be two different classes, got {list(swap)}")
    return Attack(poison=_label_flip(flip, tuple(swap)))


def backdoor(*, size: int = 3, target: int = 1, fraction: float = 1.0) -> Attack:
    """Byzantine nodes train on images with a white patch in the top left corner and the label of the patch.

        x[: size, : size] = 1,   y = target

    The attack succeeds on a held-out sample of another class if, with the patch, it is taken for the target.

    Args:
      size: of the patch, in pixels, at least 1.
      target: the label of the patch.
      fraction: share of every minibatch that gets it, rounded up, in (0, 1]; the rest stays as it is.

    Returns:
      An attack that sends no lies, with a measure `attack_success`; for images in [0, 1], `[h, w]`, `[h, w,
      c]`, or square ones in a row.

    Raises:
      ValueError: if an option is out of range; in a run, if samples are no images that the patch fits in, or
        there is no such class.

    References:
      Gu, Dolan-Gavitt, Garg. BadNets. 2017. The patch, the label and the share of 1 are those of SybilWall's
      code.
    """
    if size < 1:
        raise ValueError(f"backdoor: size must be at least 1 pixel, got {size}")
    if target < 0:
        raise ValueError(f"backdoor: target must be a class, got {target}")
    if not 0 < fraction <= 1:
        raise ValueError(f"backdoor: fraction must be in (0, 1], got {fraction}")
    return Attack(poison=_backdoor(size, target, fraction))


# Equal options give the same functions, so that a compiled program is found again; the registry knows them by name.
@cache
def _augment(noise: float, fraction: float) -> Poison:
    def copy(x: jax.Array) -> jax.Array:
        bits = jax.lax.bitcast_convert_type(x.astype(jnp.float32).ravel(), jnp.uint32)
        odd = 2 * jnp.arange(bits.size, dtype=jnp.uint32) + 1
        key = jax.random.fold_in(jax.random.key(0), jnp.sum(bits * odd, dtype=jnp.uint32))
        draw, choice = jax.random.split(key)
        noisy = x + noise * jax.random.normal(draw, x.shape, x.dtype)
        return jnp.where(jax.random.uniform(choice) < fraction, noisy, x)

    def train(x: jax.Array, y: jax.Array, classes: int) -> tuple[jax.Array, jax.Array]:
        del classes
        return jax.vmap(copy)(x), y

    return Poison(train)


@cache
def _label_flip(flip: Flip, swap: tuple[int, int]) -> Poison:
    def flipped(y: jax.Array, classes: int) -> jax.Array:
        if flip == "opposite":
            return classes - 1 - y
        if flip == "next":
            return (y + 1) % classes
        a, b = swap
        if max(swap) >= classes:
            raise ValueError(f"label_flip: swap must be two of the {classes} classes, got {list(swap)}")
        return jnp.where(y == a, b, jnp.where(y == b, a, y)).astype(y.dtype)

    def train(x: jax.Array, y: jax.Array, classes: int) -> tuple[jax.Array, jax.Array]:
        return x, flipped(y, classes)

    def test(x: jax.Array, y: jax.Array, classes: int) -> tuple[jax.Array, jax.Array, jax.Array]:
        aim = flipped(y, classes)
        return x, aim, aim != y

    return Poison(train, test)


@cache
def _backdoor(size: int, target: int, fraction: float) -> Poison:
    def patched(x: jax.Array, classes: int) -> jax.Array:
        if target >= classes:
            raise ValueError(f"backdoor: target must be one of the {classes} classes, got {target}")
        shape = x.shape[1:]
        side = math.isqrt(shape[0])
        flat = len(shape) == 1 and side * side == shape[0]
        images = x.reshape(len(x), side, side) if flat else x
        if images.ndim not in (3, 4) or size > min(images.shape[1:3]):
            raise ValueError(
                f"backdoor: a patch of {size} x {size} pixels does not fit in samples of shape {shape}"
            )
        return images.at[:, :size, :size].set(1).reshape(x.shape)

    def train(x: jax.Array, y: jax.Array, classes: int) -> tuple[jax.Array, jax.Array]:
        some = jnp.arange(len(y)) < math.ceil(fraction * len(y) - 1e-9)
        chosen = tree.beside(some, x)
        return jnp.where(chosen, patched(x, classes), x), jnp.where(some, target, y).astype(y.dtype)

    def test(x: jax.Array, y: jax.Array, classes: int) -> tuple[jax.Array, jax.Array, jax.Array]:
        return patched(x, classes), jnp.full_like(y, target), y != target

    return Poison(train, test)
