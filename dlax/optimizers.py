"""Optax's optimisers and schedules as registry entries: options in, `lr -> GradientTransformation` out.

The step size stays the algorithm's own parameter, so that it can be traced and swept; everything else an optax
alias takes as a plain number or flag is an option here, with optax's default.
"""

import inspect
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from dlax.types import Optimizer, Scalar, Schedule

_ALIASES = (
    "sgd", "adabelief", "adadelta", "adagrad", "adam", "adamax", "adamw", "amsgrad", "fromage", "lamb", "lars",
    "lion", "nadam", "novograd", "radam", "rmsprop", "yogi",
)  # fmt: skip


def from_optax(name: str) -> Callable[..., Optimizer]:
    """The factory of one optax alias.

    Args:
      name: an alias whose first argument is the learning rate, such as "adam".

    Returns:
      A function of the alias's other options that returns `lr -> optax.GradientTransformation`.
    """
    alias = getattr(optax, name)
    parameters = list(inspect.signature(alias).parameters.values())
    kept = [
        p.replace(kind=p.KEYWORD_ONLY, annotation=_annotation(p.default))
        for p in parameters[1:]
        if (p.default is None or isinstance(p.default, bool | int | float))
        and not p.name.endswith(("dtype", "mask"))
    ]

    def factory(**options: object) -> Optimizer:
        def with_lr(lr: Scalar) -> optax.GradientTransformation:
            return alias(lr, **options)

        with_lr.__qualname__ = f"{name}.<locals>.with_lr"  # a resolved config names its defaults by this
        return with_lr

    factory.__name__ = factory.__qualname__ = name
    factory.__doc__ = f"optax.{name}, applied on every node on its own; the options are optax's."
    factory.__signature__ = inspect.Signature(kept)  # type: ignore[attr-defined]
    return factory


def _annotation(default: object) -> object:
    if isinstance(default, bool):
        return bool
    return float | None if default is None else float


def momentum(*, beta: float = 0.9) -> Optimizer:
    """Polyak's momentum as a running mean of gradients: momentum β with damping β.

        m ← β m + (1 − β) g;  x ← x − lr m

    The path of `sgd` with momentum β and (1 − β) lr; of iid gradients of variance σ², m has (1 − β)/(1 + β) σ².

    Args:
      beta: β in [0, 1); 0 is plain SGD. Python callers may hand over a traced number.

    Raises:
      ValueError: if `beta` is outside [0, 1).

    References:
      Farhadkhani et al. Robust Collaborative Learning with Linear Gradient Overhead. ICML 2023.
    """
    if not isinstance(beta, jax.Array) and not 0 <= beta < 1:
        raise ValueError(f"momentum: beta must be in [0, 1), got {beta}")

    def with_lr(lr: Scalar) -> optax.GradientTransformation:
        return optax.chain(
            optax.ema(beta, debias=False),
            optax.scale_by_learning_rate(lr),
        )

    return with_lr


def constant() -> Schedule:
    """The step size stays as it is: s(t) = 1."""
    return lambda t: jnp.ones(())


def cosine(*, rounds: int, warmup: int = 0, final: float = 0.0) -> Schedule:
    """Linear warm-up to 1, then half a cosine down to `final`.

    Args:
      rounds: length of the whole schedule, warm-up included.
      warmup: rounds of warm-up.
      final: the factor at the end and after it.

    Raises:
      ValueError: unless 0 <= warmup < rounds.
    """
    if not 0 <= warmup < rounds:
        raise ValueError(f"cosine: needs 0 <= warmup < rounds, got warmup {warmup} and rounds {rounds}")
    if warmup == 0:
        return optax.cosine_decay_schedule(1.0, rounds, alpha=final)
    return optax.warmup_cosine_decay_schedule(0.0, 1.0, warmup, rounds, end_value=final)


def exponential(*, factor: float = 0.998) -> Schedule:
    """s(t) = factorᵗ.

    Args:
      factor: what the step size is multiplied by in every round; the default is usual in federated learning.

    Raises:
      ValueError: if `factor` is outside (0, 1].
    """
    if not 0 < factor <= 1:
        raise ValueError(f"exponential: factor must be in (0, 1], got {factor}")
    return optax.exponential_decay(1.0, 1, factor)


def inverse(*, rounds: float = 100.0) -> Schedule:
    """s(t) = 1 / (1 + t / rounds): the decay under which SGD converges exactly on strongly convex functions.

    Args:
      rounds: after this many rounds the step size has halved.

    Raises:
      ValueError: if `rounds` is not positive.
    """
    if rounds <= 0:
        raise ValueError(f"inverse: rounds must be positive, got {rounds}")
    return lambda t: 1 / (1 + t / rounds)


def inverse_sqrt(*, rounds: float = 100.0) -> Schedule:
    """s(t) = 1 / √(1 + t / rounds).

    Args:
      rounds: the time scale of the decay.

    Raises:
      ValueError: if `rounds` is not positive.
    """
    if rounds <= 0:
        raise ValueError(f"inverse_sqrt: rounds must be positive, got {rounds}")
    return lambda t: 1 / jnp.sqrt(1 + t / rounds)


def steps(*, at: tuple[int, ...], factor: float = 0.1) -> Schedule:
    """Multiplies the step size by a factor at given rounds.

    Args:
      at: the rounds.
      factor: what the step size is multiplied by at each of them.
    """
    return optax.piecewise_constant_schedule(1.0, dict.fromkeys(at, factor))


def at_round(lr: Scalar, schedule: Schedule, t: jax.Array) -> jax.Array:
    """lr · s(t), the step size of round t."""
    # Of an int32 round, jax would divide in float32 in a float64 run too.
    return jnp.asarray(lr * schedule(jnp.asarray(t, float)))


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {name: from_optax(name) for name in _ALIASES} | {
    "momentum": momentum
}

SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": constant,
    "cosine": cosine,
    "exponential": exponential,
    "inverse": inverse,
    "inverse_sqrt": inverse_sqrt,
    "steps": steps,
}

sgd = OPTIMIZERS["sgd"]
