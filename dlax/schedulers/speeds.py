"""How long a client takes for a local step."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np


class Speeds(NamedTuple):
    """Seconds per local step.

    Attributes:
      clients: m.
      seconds: `(client, task) -> seconds` of every step of that client's task number 0, 1, ...; the same answer
        whenever it is asked, so that schedulers are compared on the same draws.
    """

    clients: int
    seconds: Callable[[int, int], float]


Seconds = Speeds | Sequence[float] | np.ndarray  # arrays: [m], or [m, tasks] whose last column goes on


def homogeneous(m: int, *, mean: float = 1.0, noise: float = 0.0, seed: int = 0) -> Speeds:
    """All clients are equally fast.

    Args:
      m: number of clients.
      mean: seconds of a step.
      noise: σ of log-normal factors of mean 1, drawn anew for every task.
      seed: of the draws.

    Raises:
      ValueError: if a number is out of range.
    """
    _check("homogeneous", m, mean, noise)
    return _noisy(np.full(m, float(mean)), noise, seed)


def normal(
    m: int,
    *,
    mean: float = 1.0,
    deviation: float = 0.3,
    least: float = 0.3,
    noise: float = 0.0,
    seed: int = 0,
) -> Speeds:
    """Clients differ moderately: Sᵢ = max(least, N(mean, deviation²)), drawn once.

    Args:
      m: number of clients.
      mean: of the seconds of a step.
      deviation: of the same.
      least: the fastest that a client can be.
      noise: σ of log-normal factors of mean 1, drawn anew for every task.
      seed: of the draws.

    Raises:
      ValueError: if a number is out of range.
    """
    _check("normal", m, least, noise)
    drawn = _generator(seed).normal(mean, deviation, m)
    return _noisy(np.maximum(least, drawn), noise, seed)


def exponential(
    m: int, *, mean: float = 1.0, least: float = 0.2, noise: float = 0.0, seed: int = 0
) -> Speeds:
    """Clients differ greatly: Sᵢ = least + Exp(mean), drawn once.

    Args:
      m: number of clients.
      mean: of the exponential part.
      least: the fastest that a client can be.
      noise: σ of log-normal factors of mean 1, drawn anew for every task.
      seed: of the draws.

    Raises:
      ValueError: if a number is out of range.
    """
    _check("exponential", m, least, noise)
    return _noisy(least + _generator(seed).exponential(mean, m), noise, seed)


def slowed(speeds: Seconds, client: int, *, factor: float, first: int) -> Speeds:
    """One client becomes slower, or faster, for good.

    Args:
      speeds: what it was.
      client: who.
      factor: its seconds are multiplied by that.
      first: the task from which on.

    Raises:
      ValueError: if the factor is not positive, or there is no such client.
    """
    speeds = resolve("slowed", speeds)
    if not factor > 0:
        raise ValueError(f"slowed: factor must be positive, got {factor}")
    if not 0 <= client < speeds.clients:
        raise ValueError(f"slowed: client must be one of {speeds.clients}, got {client}")

    def seconds(i: int, task: int) -> float:
        return speeds.seconds(i, task) * (factor if i == client and task >= first else 1.0)

    return Speeds(speeds.clients, seconds)


def listed(m: int, *, seconds: Sequence[float], noise: float = 0.0, seed: int = 0) -> Speeds:
    """Clients as fast as a list says.

    Args:
      m: number of clients.
      seconds: `[m]`, of a step.
      noise: σ of log-normal factors of mean 1, drawn anew for every task.
      seed: of the draws.

    Raises:
      ValueError: if there are not m, or a number is out of range.
    """
    _check("listed", m, min(seconds, default=1.0), noise)
    if len(seconds) != m:
        raise ValueError(f"listed: seconds must be {m} numbers, one a client, got {len(seconds)}")
    return _noisy(np.asarray(seconds, float), noise, seed)


SPEEDS: dict[str, Callable[..., Speeds]] = {
    "homogeneous": homogeneous,
    "normal": normal,
    "exponential": exponential,
    "listed": listed,
}


def resolve(who: str, seconds: Seconds) -> Speeds:
    """Speeds of an array; refuses times that are not positive numbers, of functions when they are asked."""
    if isinstance(seconds, Speeds):
        inner = seconds
        if inner.clients < 1:
            raise ValueError(f"{who}: clients must be at least 1, got {inner.clients}")

        def checked(client: int, task: int) -> float:
            value = float(inner.seconds(client, task))
            if not 0 < value < np.inf:
                raise ValueError(f"{who}: seconds must be positive, got {value} for client {client}")
            return value

        return Speeds(inner.clients, checked)
    table = np.asarray(seconds, float)
    if table.ndim not in (1, 2) or table.size == 0:
        raise ValueError(f"{who}: seconds must be [m], [m, tasks] or Speeds, got an array {table.shape}")
    if not ((table > 0) & np.isfinite(table)).all():
        raise ValueError(f"{who}: seconds must be positive, got {table.tolist()}")
    table = table.reshape(len(table), -1)
    last = table.shape[1] - 1
    return Speeds(len(table), lambda client, task: float(table[client, min(task, last)]))


def _generator(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def _noisy(base: np.ndarray, noise: float, seed: int) -> Speeds:
    def seconds(client: int, task: int) -> float:
        if noise == 0:
            return float(base[client])
        draw = _generator(seed, 1 + client, task).normal()
        return float(base[client] * np.exp(noise * draw - noise**2 / 2))

    return Speeds(len(base), seconds)


def _check(who: str, m: int, positive: float, noise: Any) -> None:
    if m < 1:
        raise ValueError(f"{who}: m must be at least 1, got {m}")
    if not positive > 0:
        raise ValueError(f"{who}: seconds must be positive, got {positive}")
    if not noise >= 0:
        raise ValueError(f"{who}: noise must be at least 0, got {noise}")
