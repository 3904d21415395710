"""FedAvg's schedule: every round waits for the slowest client.

McMahan, Moore, Ramage, Hampson, Agüera y Arcas. Communication-Efficient Learning of Deep Networks from
Decentralized Data. AISTATS 2017.
"""

from collections.abc import Sequence

import numpy as np

from dlax.schedulers.cycles import cycles
from dlax.schedulers.schedule import Schedule, check_steps, draft
from dlax.schedulers.speeds import Seconds


def synchronous(
    seconds: Seconds,
    *,
    steps: int = 100,
    alpha: float = 1.0,
    shares: Sequence[float] | np.ndarray | None = None,
    duration: float | None = None,
    aggregations: int | None = None,
) -> Schedule:
    """All clients take the same number of steps, and the server waits for all.

        x ← x − α Σᵢ pᵢ (x − xᵢ)   at the times of max over i of Q Sᵢ

    With α = 1 the server's model becomes the mean of the clients'.

    Args:
      seconds: per local step: `[m]`, `[m, tasks]` or `Speeds`.
      steps: Q.
      alpha: α, the server's step.
      shares: `[m]`, p; None is 1/m.
      duration: simulated seconds.
      aggregations: how many; of the two limits at least one is given, and the first that is met holds.

    Returns:
      The schedule.

    Raises:
      ValueError: if a number is out of range.
    """
    check_steps("synchronous", steps)
    made = draft("synchronous", seconds, alpha, "constant", shares, duration, aggregations)
    companies = [range(made.speeds.clients)]
    return cycles(made, companies, steps, duration=duration, aggregations=aggregations)
