"""All nodes of a run of the protocol between two events, and what is refused before the first."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from dlax.modest.record import Record
from dlax.modest.views import View

SAFE = 10  # a window of 10 n/s loses a live node in one of 20,000 windows
Plan = Mapping[int, Sequence[int]]  # round -> nodes


class Book(NamedTuple):
    """What an aggregator has of a round: models by trainer, each with the number of the θ it came from."""

    round: int = -1
    since: float = 0.0
    models: dict[int, int] = {}  # noqa: RUF012  (that of the empty book is never written to)
    done: bool = True


@dataclass
class Net:
    """A run in the making: the options, all nodes' state, and what is still to happen; thrown away at the end."""

    rounds: int
    aggregators: int
    need: int
    least: int
    window: int
    server: int | None
    seconds: Callable[[int, int], float]
    latency: np.ndarray
    bandwidth: np.ndarray
    message_bytes: float
    ping_bytes: float
    timeout: float
    patience: float
    responsive: np.ndarray
    fails: np.ndarray
    joins: Plan
    leaves: Plan
    rng: np.random.Generator
    views: View
    log: Record
    alive: np.ndarray
    newest: np.ndarray  # the last round that a node trained in
    origin: np.ndarray  # the number of the model that it trains from
    books: list[Book]
    pending: list[list[View]]  # what a node was told and has not passed on
    row: int = -1
    main: int = 0  # the number of the first θ of the row
    numbers: dict[Any, int] = field(default_factory=dict)
    heap: list[Any] = field(default_factory=list)
    pushed: int = 0


def check_ranges(**options: tuple[float, float, float]) -> None:
    """Refuses an option, `(value, least, most)`, that is out of its range."""
    for name, (value, low, high) in options.items():
        if not low <= value <= high:
            raise ValueError(f"modest: {name} must be in {low} ... {high}, got {value}")


def checked_window(window: int | None, n: int, size: int, allow_eviction: bool) -> int:
    """Δ; refuses one in which live nodes are likely not to be drawn."""
    short = SAFE * n / size
    window = int(np.ceil(short)) if window is None else window
    if window < 1 or (window < short and not allow_eviction):
        raise ValueError(
            f"modest: window must be at least 10 n/s = {short:g} rounds, or live nodes fall out of all views, got "
            f"{window}; allow_eviction takes it nevertheless"
        )
    return window


def checked_latency(latency: float | np.ndarray, n: int) -> np.ndarray:
    """`[n, n]` seconds, none from a node to itself."""
    late = np.asarray(latency, float)
    if late.shape not in ((), (n, n)) or not ((late >= 0) & np.isfinite(late)).all():
        raise ValueError(f"modest: latency must be a number or [{n}, {n}], at least 0, got {late.shape}")
    return np.broadcast_to(late, (n, n)) * ~np.eye(n, dtype=bool)


def checked_bandwidth(bandwidth: float | np.ndarray, n: int) -> np.ndarray:
    """`[n]` bytes a second."""
    wide = np.asarray(bandwidth, float)
    if wide.shape not in ((), (n,)) or not (wide > 0).all():
        raise ValueError(f"modest: bandwidth must be a number or [{n}], positive, got {wide.shape}")
    return np.broadcast_to(wide, (n,))


def checked_mask(name: str, mask: np.ndarray | None, usual: Any, shape: tuple[int, ...]) -> np.ndarray:
    """The mask, or the usual one."""
    given = np.broadcast_to(usual, shape) if mask is None else np.asarray(mask)
    if given.shape != shape or given.dtype != bool:
        raise ValueError(f"modest: {name} must be bool {list(shape)}, got {given.dtype} {list(given.shape)}")
    return given


def checked_plan(name: str, plan: Plan | None, rounds: int, n: int) -> Plan:
    """Who joins or leaves when."""
    plan = plan or {}
    for k, nodes in plan.items():
        if not 0 <= k < max(rounds, 1) or any(not 0 <= j < n for j in nodes):
            raise ValueError(f"modest: {name} must name rounds below {rounds} and nodes below {n}")
    return plan
