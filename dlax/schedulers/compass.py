"""FedCompass's schedule: clients get as many local steps as let them arrive in groups.

Li, Chaturvedi, He, Chen, Singh, Huerta, Kim, Madduri. FedCompass: Efficient Cross-Silo Federated Learning on
Heterogeneous Client Devices using a Computing Power Aware Scheduler. ICLR 2024 (arXiv 2309.14675).
"""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from dlax.schedulers.schedule import GROUP, NUMBER, Schedule, begin, draft, finish, hand_in, over
from dlax.schedulers.speeds import Seconds
from dlax.schedulers.staleness import Staleness, polynomial

_WHOLE = 1e-9  # added before a floor: exact multiples would lose a step to rounding
_ON_TIME = 1 + 1e-12  # who arrives at the deadline is on time, whatever the rounding


@dataclass
class _Group:
    """Clients that are to arrive together; `due` and `deadline` are 0 once it has been aggregated."""

    due: float
    deadline: float
    pending: set[int] = field(default_factory=set)
    arrived: dict[int, int] = field(default_factory=dict)  # client -> task


def compass(
    seconds: Seconds,
    *,
    q_min: int = 20,
    q_max: int = 100,
    lam: float = 1.5,
    mu: float = 0.9,
    alpha: float = 0.9,
    staleness: Staleness | str = polynomial(),
    shares: Sequence[float] | np.ndarray | None = None,
    duration: float | None = None,
    aggregations: int | None = None,
) -> Schedule:
    """The server estimates every client's seconds per step Sᵢ and gives it Q steps, Q_min ≤ Q ≤ Q_max.

        first task:  Q = Q_max in no group; applied alone, Sᵢ = elapsed / Q; later Sᵢ ← (1 − μ) Sᵢ + μ elapsed / Q
        assign:      join the group of the largest admissible Q = ⌊(Tₐ − now) / Sᵢ⌋; else open a group with the
                     largest Q = ⌊(T_max + s Q_max − now) / Sᵢ⌋ ≤ Q_max over groups, s the fastest of each, at least
                     Q_min; else with Q_max. It is expected at Tₐ = now + Q Sᵢ, at latest at T_max = now + λ Q Sᵢ
        arrive:      wait for the group; when nobody is missing, or at T_max, x ← x − Σⱼ α st(uⱼ) pⱼ Δⱼ over the
                     group and all that came late before, and the group is assigned anew, the fastest first
        come late:   the update is laid by for the next group's aggregation; the client is assigned at once

    After the authors' code (APPFL): a group that nobody reached by T_max stays, and its members are late; T_max
    scales the whole time from the assignment; μ weighs the new value. Ours: 1e-9 is added before ⌊·⌋; of arrivals at
    the same time the lower client's is the earlier; an arrival at T_max is on time.

    Args:
      seconds: per local step: `[m]`, `[m, tasks]` or `Speeds`.
      q_min: fewest steps of a task after the first.
      q_max: most steps.
      lam: λ ≥ 1, latency factor: how long a group waits beyond what was expected.
      mu: μ in (0, 1], weight of the newest measurement of the speed.
      alpha: α, the server's step.
      staleness: st, a function of the number u of versions that an update is old, or its name.
      shares: `[m]`, p; None is 1/m.
      duration: simulated seconds.
      aggregations: how many; of the two limits at least one is given, and the first that is met holds.

    Returns:
      The schedule. Rows that are not applied are those of clients who came late.

    Raises:
      ValueError: if a number is out of range.
    """
    if not 1 <= q_min <= q_max:
        raise ValueError(f"compass: q_min must be 1 to q_max, got q_min {q_min} and q_max {q_max}")
    if not 1 <= lam < math.inf:
        raise ValueError(f"compass: lam must be at least 1, got {lam}")
    if not 0 < mu <= 1:
        raise ValueError(f"compass: mu must be in (0, 1], got {mu}")
    made = draft("compass", seconds, alpha, staleness, shares, duration, aggregations)
    speed: dict[int, float] = {}
    groups: dict[int, _Group] = {}  # in the order of creation
    opened = 0
    # (time, 0 arrival or 1 timer, client or group, task): of what happens at one time, arrivals come first
    events: list[tuple[float, int, int, int]] = []

    def learn(client: int, task: int) -> None:
        measured = made.speeds.seconds(client, made.tasks[task][NUMBER])  # elapsed / Q
        speed[client] = measured if client not in speed else (1 - mu) * speed[client] + mu * measured

    def join(now: float, client: int) -> tuple[int, int] | None:
        best = None
        for which, group in groups.items():
            q = math.floor((group.due - now) / speed[client] + _WHOLE)
            if q_min <= q <= q_max and (best is None or q >= best[1]):
                best = which, q
        return best

    def size_of_new(now: float, client: int) -> int:
        best = -1
        for group in groups.values():
            if now < group.deadline:
                fastest = min(speed[other] for other in group.pending | group.arrived.keys())
                q = math.floor((group.deadline + fastest * q_max - now) / speed[client] + _WHOLE)
                best = max(best, q if q <= q_max else -1)
        return q_max if best < 0 else max(best, q_min)

    def assign(now: float, client: int) -> None:
        nonlocal opened
        found = join(now, client)
        if found is None:
            which, steps = opened, size_of_new(now, client)
            opened += 1
            expected = steps * speed[client]
            groups[which] = _Group(now + expected, now + lam * expected)
            heapq.heappush(events, (groups[which].deadline * _ON_TIME, 1, which, -1))
        else:
            which, steps = found
        group = groups[which]
        group.pending.add(client)
        task, end = begin(made, now, client, steps, group=which, due=group.due, deadline=group.deadline)
        heapq.heappush(events, (end, 0, client, task))

    def aggregate(now: float, which: int) -> None:
        group = groups[which]
        hand_in(made, now, list(group.arrived.values()), group=which, groups=len(groups))
        back, group.arrived = sorted(group.arrived, key=lambda client: (speed[client], client)), {}
        group.due = group.deadline = 0.0
        for client in back:
            assign(now, client)
        if not group.pending:
            del groups[which]

    def arrive(now: float, client: int, task: int) -> None:
        learn(client, task)
        which = made.tasks[task][GROUP]
        if which < 0:
            hand_in(made, now, [task], cleared=False, groups=len(groups))
            assign(now, client)
            return
        group = groups[which]
        group.pending.remove(client)
        if now <= group.deadline * _ON_TIME:
            group.arrived[client] = task
            if not group.pending:
                aggregate(now, which)
            return
        count = len(groups)
        if not group.pending and not group.arrived:
            del groups[which]
        hand_in(made, now, [task], applied=False, group=which, groups=count)
        assign(now, client)

    for client in range(made.speeds.clients):
        task, end = begin(made, 0.0, client, q_max)
        heapq.heappush(events, (end, 0, client, task))
    while not over(made, events[0][0], duration, aggregations):
        now, timer, who, task = heapq.heappop(events)
        if not timer:
            arrive(now, who, task)
        elif who in groups and groups[who].arrived:
            aggregate(groups[who].deadline, who)
    return finish(made, duration, aggregations)
