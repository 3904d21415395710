"""Tiers of clients that are about equally fast: synchronous within, asynchronous between.

Chai, Ali, Zawad, Truex, Anwar, Baracaldo, Zhou, Ludwig, Yan, Cheng. TiFL: A Tier-based Federated Learning System.
HPDC 2020; and Chai, Chen, Anwar, Zhao, Cheng, Rangwala. FedAT: A High-Performance and Communication-Efficient
Federated Learning System with Asynchronous Tiers. SC 2021.
"""

from collections.abc import Sequence

import numpy as np

from dlax.schedulers.cycles import cycles
from dlax.schedulers.schedule import Schedule, check_steps, draft
from dlax.schedulers.speeds import Seconds
from dlax.schedulers.staleness import Staleness, polynomial


def tiered(
    seconds: Seconds,
    *,
    tiers: int = 3,
    steps: int = 100,
    alpha: float = 0.9,
    staleness: Staleness | str = polynomial(),
    shares: Sequence[float] | np.ndarray | None = None,
    duration: float | None = None,
    aggregations: int | None = None,
) -> Schedule:
    """Clients are sorted by speed and split into tiers of equal size; a tier hands in when its last member is done.

        x ← x − Σ over the tier of α st(u) pᵢ Δᵢ

    A baseline in the manner of TiFL and FedAT, with FedCompass's rule of aggregation: TiFL draws one tier a round,
    and FedAT keeps a model a tier and weighs rare tiers more. Both profile clients beforehand; here a client's speed
    is that of its first task.

    Args:
      seconds: per local step: `[m]`, `[m, tasks]` or `Speeds`.
      tiers: how many; 1 is `synchronous`, m is `fedasync`.
      steps: Q.
      alpha: α.
      staleness: st, a function of the number u of versions that an update is old, or its name.
      shares: `[m]`, p; None is 1/m.
      duration: simulated seconds.
      aggregations: how many; of the two limits at least one is given, and the first that is met holds.

    Returns:
      The schedule.

    Raises:
      ValueError: if a number is out of range.
    """
    check_steps("tiered", steps)
    made = draft("tiered", seconds, alpha, staleness, shares, duration, aggregations)
    m = made.speeds.clients
    if not 1 <= tiers <= m:
        raise ValueError(f"tiered: tiers must be 1 to {m}, the number of clients, got {tiers}")
    order = np.argsort([made.speeds.seconds(client, 0) for client in range(m)], kind="stable")
    companies = [part.tolist() for part in np.array_split(order, tiers)]
    return cycles(made, companies, steps, duration=duration, aggregations=aggregations)
