"""FedBuff's schedule: updates are laid by and applied together when there are K.

Nguyen, Malik, Zhan, Yousefpour, Rabbat, Malek, Huba. Federated Learning with Buffered Asynchronous Aggregation.
AISTATS 2022.
"""

from collections.abc import Sequence

import numpy as np

from dlax.schedulers.cycles import cycles
from dlax.schedulers.schedule import Schedule, check_steps, draft
from dlax.schedulers.speeds import Seconds
from dlax.schedulers.staleness import Staleness, polynomial


def fedbuff(
    seconds: Seconds,
    *,
    steps: int = 100,
    buffer: int = 3,
    alpha: float = 0.9,
    staleness: Staleness | str = polynomial(),
    shares: Sequence[float] | np.ndarray | None = None,
    duration: float | None = None,
    aggregations: int | None = None,
) -> Schedule:
    """Nobody waits, and the server's model changes at every K-th update.

        x ← x − Σ over the last K updates of α st(u) pᵢ Δᵢ

    Between two changes clients go on from the model as it is. The form with pᵢ is that of FedCompass's code.
    Staleness counts at the time of application: in that code it counts at arrival, the same versions.

    Args:
      seconds: per local step: `[m]`, `[m, tasks]` or `Speeds`.
      steps: Q.
      buffer: K.
      alpha: α.
      staleness: st, a function of the number u of versions that an update is old, or its name.
      shares: `[m]`, p; None is 1/m.
      duration: simulated seconds.
      aggregations: how many; of the two limits at least one is given, and the first that is met holds.

    Returns:
      The schedule; a row is one update.

    Raises:
      ValueError: if a number is out of range.
    """
    check_steps("fedbuff", steps)
    if buffer < 1:
        raise ValueError(f"fedbuff: buffer must be at least 1, got {buffer}")
    made = draft("fedbuff", seconds, alpha, staleness, shares, duration, aggregations)
    companies = [[client] for client in range(made.speeds.clients)]
    return cycles(made, companies, steps, buffer=buffer, duration=duration, aggregations=aggregations)
