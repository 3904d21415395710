"""FedAsync's schedule: every update is applied as it comes.

Xie, Koyejo, Gupta. Asynchronous Federated Optimization. 2019 (arXiv 1903.03934).
"""

from collections.abc import Sequence

import numpy as np

from dlax.schedulers.cycles import cycles
from dlax.schedulers.schedule import Schedule, check_steps, draft
from dlax.schedulers.speeds import Seconds
from dlax.schedulers.staleness import Staleness, polynomial


def fedasync(
    seconds: Seconds,
    *,
    steps: int = 100,
    alpha: float = 0.9,
    staleness: Staleness | str = polynomial(),
    shares: Sequence[float] | np.ndarray | None = None,
    duration: float | None = None,
    aggregations: int | None = None,
) -> Schedule:
    """Nobody waits: who is done hands in, and goes on from the server's model.

        x ← x − α st(u) pᵢ Δᵢ

    The form with pᵢ is that of FedCompass's code; FedAsync's own mixes, x ← (1 − α st(u)) x + α st(u) xᵢ: that is
    pᵢ = 1 here, with `delta="server"` in `simulate.serve`.

    Args:
      seconds: per local step: `[m]`, `[m, tasks]` or `Speeds`.
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
    check_steps("fedasync", steps)
    made = draft("fedasync", seconds, alpha, staleness, shares, duration, aggregations)
    companies = [[client] for client in range(made.speeds.clients)]
    return cycles(made, companies, steps, duration=duration, aggregations=aggregations)
