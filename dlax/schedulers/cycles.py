"""Clients that work in fixed companies: what the schedulers without assignment have in common."""

import heapq
from collections.abc import Sequence

from dlax.schedulers.schedule import Draft, Schedule, begin, finish, hand_in, over


def cycles(
    made: Draft,
    companies: Sequence[Sequence[int]],
    steps: int,
    *,
    buffer: int = 1,
    duration: float | None,
    aggregations: int | None,
) -> Schedule:
    """Every company trains, waits for its last member, hands in together and begins again.

    Args:
      made: an empty draft.
      companies: each client in one.
      steps: Q of all.
      buffer: how many companies hand in before the server applies what is laid by.
      duration: simulated seconds, or None.
      aggregations: how many, or None.

    Returns:
      The schedule; of companies that are done at the same time, the first in the list hands in first.
    """
    due: list[tuple[float, int, list[int]]] = []

    def send(now: float, which: int) -> None:
        tasks = [begin(made, now, client, steps) for client in companies[which]]
        heapq.heappush(due, (max(end for _, end in tasks), which, [task for task, _ in tasks]))

    for which in range(len(companies)):
        send(0.0, which)
    while not over(made, due[0][0], duration, aggregations):
        now, which, tasks = heapq.heappop(due)
        hand_in(made, now, tasks, applied=(len(made.rows) + 1) % buffer == 0, groups=len(companies))
        send(now, which)
    return finish(made, duration, aggregations)
