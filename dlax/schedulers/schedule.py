"""A schedule: tasks of clients, and the rows of the server's book in which their updates are handed in."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dlax.schedulers.speeds import Seconds, Speeds
from dlax.schedulers.speeds import resolve as resolve_speeds
from dlax.schedulers.staleness import Staleness
from dlax.schedulers.staleness import resolve as resolve_staleness

if TYPE_CHECKING:
    import pandas as pd


class Tasks(NamedTuple):
    """What clients were told to do, in the order of assignment; q tasks, those still running at the end included.

    Attributes:
      client: `[q]` int32.
      number: `[q]` int32, which task of that client it is, from 0.
      begin: `[q]`, when the client got the model and began.
      steps: `[q]` int32, Q, local steps.
      end: `[q]`, when the client is done; it waits from then on until its update is handed in.
      version: `[q]` int32, τ, the version of the model that it trains from.
      group: `[q]` int32, -1 without one.
      due: `[q]`, Tₐ, when its group was expected when it joined; NaN without one.
      deadline: `[q]`, T_max of its group; NaN without one.
      row: `[q]` int32, in which row it is handed in; -1 if the schedule ends before.
      staleness: `[q]` int32, u, how many versions old its start is when it is applied; -1 if it never is.
      weight: `[q]`, α st(u) pᵢ, its factor when it is applied; 0 if it never is.
    """

    client: np.ndarray
    number: np.ndarray
    begin: np.ndarray
    steps: np.ndarray
    end: np.ndarray
    version: np.ndarray
    group: np.ndarray
    due: np.ndarray
    deadline: np.ndarray
    row: np.ndarray
    staleness: np.ndarray
    weight: np.ndarray


class Schedule(NamedTuple):
    """What happens between a server and m clients; r rows in the order of time, w slots a row.

    In a row, its members hand in the updates of their tasks. If the row is applied, the server subtracts them from
    its model, each times its weight, and all that was laid by if it is cleared too; the version grows by one.
    Otherwise they are laid by. Then the row's members, and nobody else, get the server's model as it is, and begin
    their next task.

    Attributes:
      clients: m.
      duration: simulated seconds from the start to the end.
      time: `[r]`, ascending.
      applied: `[r]` bool.
      cleared: `[r]` bool, whether a row that is applied takes in what was laid by.
      version: `[r]` int32, t after the row.
      group: `[r]` int32, the group that hands in, or was late for; -1 for who has none.
      groups: `[r]` int32, how many groups there were just before.
      members: `[r, w]` int32, tasks; -1 in empty slots, which come last.
      tasks: all of them.
    """

    clients: int
    duration: float
    time: np.ndarray
    applied: np.ndarray
    cleared: np.ndarray
    version: np.ndarray
    group: np.ndarray
    groups: np.ndarray
    members: np.ndarray
    tasks: Tasks

    @property
    def aggregations(self) -> int:
        """How often the server's model changes."""
        return int(self.applied.sum())

    def idle(self) -> np.ndarray:
        """`[m]`, the share of its time that each client waits with an update that is done; 0 of no time."""
        handed = self.tasks.row >= 0
        until = np.full(len(handed), self.duration)
        until[handed] = self.time[self.tasks.row[handed]]
        waited = np.maximum(until - self.tasks.end, 0.0)
        return np.bincount(self.tasks.client, waited, self.clients) / (self.duration or 1.0)

    def table(self) -> "pd.DataFrame":
        """One row a member of each row: who handed in what, to read or to filter."""
        import pandas as pd

        row, slot = np.nonzero(self.members >= 0)
        task = self.members[row, slot]
        columns = {name: getattr(self.tasks, name)[task] for name in ("client", "steps", "begin", "end")}
        ends = {name: getattr(self.tasks, name)[task] for name in ("staleness", "weight")}
        rows = {name: getattr(self, name)[row] for name in ("time", "group", "applied", "version")}
        return pd.DataFrame({"row": row, **rows, **columns, **ends})

    def assignments(self) -> "pd.DataFrame":
        """One row a task: who was told what, in the order of time."""
        import pandas as pd

        names = ("begin", "client", "group", "steps", "due", "deadline", "version")
        return pd.DataFrame({name: getattr(self.tasks, name) for name in names})


@dataclass
class Draft:
    """A schedule in the making; written by the functions below, and thrown away.

    Attributes:
      speeds: of the clients.
      alpha: α.
      staleness: st.
      shares: `[m]`, p.
      tasks: one list a task, in the order of the fields of `Tasks`.
      rows: one tuple a row, in the order of the fields of `Schedule`: time, ..., members.
      taken: `[m]`, how many tasks each client got.
      waiting: tasks that are laid by, not applied.
      version: t.
    """

    speeds: Speeds
    alpha: float
    staleness: Staleness
    shares: np.ndarray
    tasks: list[list[Any]] = field(default_factory=list)
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    version: int = 0


CLIENT, NUMBER, VERSION, GROUP, ROW, STALENESS, WEIGHT = map(
    Tasks._fields.index, ("client", "number", "version", "group", "row", "staleness", "weight")
)  # places in a task of a draft


def draft(
    who: str,
    seconds: Seconds,
    alpha: float,
    staleness: Staleness | str,
    shares: Sequence[float] | np.ndarray | None,
    duration: float | None,
    aggregations: int | None,
) -> Draft:
    """An empty schedule, after a look at what all schedulers are given."""
    speeds = resolve_speeds(who, seconds)
    m = speeds.clients
    p = np.full(m, 1 / m) if shares is None else np.asarray(shares, float)
    if p.shape != (m,) or not (p >= 0).all() or not np.isfinite(p).all():
        raise ValueError(f"{who}: shares must be {m} numbers, none negative, got {p.tolist()}")
    if not 0 < alpha < np.inf:
        raise ValueError(f"{who}: alpha must be positive, got {alpha}")
    if duration is None and aggregations is None:
        raise ValueError(f"{who}: give the duration, the number of aggregations, or both")
    if duration is not None and not 0 <= duration < np.inf:
        raise ValueError(f"{who}: duration must be at least 0 and finite, got {duration}")
    if aggregations is not None and aggregations < 0:
        raise ValueError(f"{who}: aggregations must be at least 0, got {aggregations}")
    return Draft(speeds, alpha, resolve_staleness(who, staleness), p, taken=[0] * m)


def check_steps(who: str, steps: int) -> None:
    """Refuses fewer than one local step, or parts of one."""
    if not isinstance(steps, int | np.integer):
        raise ValueError(f"{who}: steps must be a whole number, got {steps}")
    if steps < 1:
        raise ValueError(f"{who}: steps must be at least 1, got {steps}")


def begin(
    made: Draft,
    now: float,
    client: int,
    steps: int,
    *,
    group: int = -1,
    due: float = np.nan,
    deadline: float = np.nan,
) -> tuple[int, float]:
    """Gives a client its next task; returns the task, and when it will be done."""
    number = made.taken[client]
    end = now + steps * made.speeds.seconds(client, number)
    made.taken[client] += 1
    made.tasks.append([client, number, now, steps, end, made.version, group, due, deadline, -1, -1, 0.0])
    return len(made.tasks) - 1, end


def hand_in(
    made: Draft,
    now: float,
    members: list[int],
    *,
    applied: bool = True,
    cleared: bool = True,
    group: int = -1,
    groups: int = 0,
) -> None:
    """A row: what is applied in it gets its weight, and the version grows; or its tasks are laid by."""
    for task in members:
        made.tasks[task][ROW] = len(made.rows)
    cleared = applied and cleared
    if not applied:
        made.waiting += members
    else:
        for task in members + (made.waiting if cleared else []):
            entry = made.tasks[task]
            stale = made.version - entry[VERSION]
            entry[STALENESS] = stale
            entry[WEIGHT] = made.alpha * made.staleness(stale) * made.shares[entry[CLIENT]]
        made.waiting = [] if cleared else made.waiting
        made.version += 1
    made.rows.append((now, applied, cleared, made.version, group, groups, members))


def finish(made: Draft, duration: float | None, aggregations: int | None) -> Schedule:
    """The arrays. It lasts as long as it was to, or to its last aggregation if that came first."""
    last = made.rows[-1][0] if made.rows else 0.0
    done = aggregations is not None and made.version >= aggregations
    columns = list(zip(*made.rows, strict=True)) or [()] * 7
    w = max((len(members) for members in columns[6]), default=0)
    members = np.full((len(made.rows), max(1, w)), -1, np.int32)
    for r, tasks in enumerate(columns[6]):
        members[r, : len(tasks)] = tasks
    fields = list(zip(*made.tasks, strict=True))
    whole = {"client", "number", "steps", "version", "group", "row", "staleness"}
    return Schedule(
        clients=made.speeds.clients,
        duration=last if done or duration is None else duration,
        time=np.asarray(columns[0], float),
        applied=np.asarray(columns[1], bool),
        cleared=np.asarray(columns[2], bool),
        version=np.asarray(columns[3], np.int32),
        group=np.asarray(columns[4], np.int32),
        groups=np.asarray(columns[5], np.int32),
        members=members,
        tasks=Tasks(
            *(
                np.asarray(values, np.int32 if name in whole else float)
                for name, values in zip(Tasks._fields, fields, strict=True)
            )
        ),
    )


def over(made: Draft, now: float, duration: float | None, aggregations: int | None) -> bool:
    """Whether the schedule ends before what happens at `now`."""
    late = duration is not None and now > duration
    return late or (aggregations is not None and made.version >= aggregations)
