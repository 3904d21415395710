"""Averaging as a problem: every node has a vector, and the optimum is their mean."""

import zlib
from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from dlax.types import Key, Problem, Scalar, Tree

Values = Literal["normal", "spike", "ramp"]


def average(n: int, *, dim: int = 1, values: Values = "normal", seed: int = 0) -> Problem:
    """Every node starts at a vector vᵢ of its own; the optimum is their mean.

        fᵢ(x) = ½ ‖x − vᵢ‖²,   x₀ᵢ = vᵢ,   x* = v̄

    The plain-vector problem of gossip: `distance` is (1/n) Σᵢ ‖xᵢ − v̄‖². The nodes start at their vectors whatever
    the run's `start` says. For vectors of one's own see `average_of`.

    Args:
      n: number of nodes.
      dim: d, the length of the vectors.
      values: "normal": independent standard normal entries; "spike": node 0 holds n and the others 0, so the
        mean is 1; "ramp": vᵢ = i in every entry.
      seed: of the normal entries.

    Returns:
      A problem with parameters `x` `[d]`, its own starts, optimum, minimum, proximal steps and conjugates, and
      nothing held out.

    Raises:
      ValueError: if `dim` < 1 or `values` is none of the three.
    """
    if dim < 1:
        raise ValueError(f"average: dim must be at least 1, got {dim}")
    if values == "normal":
        v = np.random.default_rng([seed, zlib.crc32(b"problem")]).normal(size=(n, dim))
    elif values == "spike":
        v = np.zeros((n, dim))
        v[0] = n
    elif values == "ramp":
        v = np.tile(np.arange(n, dtype=np.float64)[:, None], (1, dim))
    else:
        raise ValueError(f"average: values must be one of normal, spike, ramp, got {values!r}")
    return average_of(v)


def average_of(values: Any) -> Problem:
    """The problem `average` for given vectors.

    Args:
      values: v, `[n, d]`, finite.

    Returns:
      See `average`.

    Raises:
      ValueError: if v is not an array `[n, d]` of finite numbers with n, d ≥ 1.
    """
    try:
        v = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError("average: values must be an array [n, d] of numbers") from None
    if v.ndim != 2 or v.size == 0:
        raise ValueError(f"average: values must be [n, d] with n, d >= 1, got shape {v.shape}")
    if not np.isfinite(v).all():
        raise ValueError("average: values must be finite")
    n, dim = v.shape
    mean = v.mean(axis=0)
    minimum = 0.5 * float(np.mean(np.sum((v - mean) ** 2, axis=1)))
    return Problem(
        n, _zeros(dim), _loss, {"v": v}, {}, _objective,
        optimum={"x": mean}, minimum=minimum, starts={"x": v},
        prox=_prox, conjugate=_conjugate, exact=_exact,
    )  # fmt: skip


@cache  # problems of one size then share a compiled run
def _zeros(dim: int) -> Callable[[Key], Tree]:
    """The start of one node; the problem's own starts replace it."""

    def init(key: Key) -> Tree:
        del key
        return {"x": jnp.zeros(dim)}

    return init


def _loss(params: Tree, key: Key, local: Tree, shared: Tree) -> jax.Array:
    del key, shared
    return 0.5 * jnp.sum(jnp.square(params["x"] - local["v"]))


def _exact(params: Tree, local: Tree, shared: Tree) -> jax.Array:
    del shared
    return 0.5 * jnp.sum(jnp.square(params["x"] - local["v"]))


def _objective(params: Tree, local: Tree, shared: Tree) -> jax.Array:
    del shared
    return 0.5 * jnp.mean(jnp.sum(jnp.square(params["x"][None] - local["v"]), axis=1))


def _prox(v: Tree, scale: Scalar, local: Tree, shared: Tree) -> Tree:
    del shared
    return {"x": (v["x"] + scale * local["v"]) / (1 + scale)}


def _conjugate(y: Tree, local: Tree, shared: Tree) -> Tree:
    del shared
    return {"x": y["x"] + local["v"]}
