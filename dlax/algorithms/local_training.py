"""What a client of a scheduled server does between two hand-ins: local steps, and an update.

McMahan, Moore, Ramage, Hampson, Agüera y Arcas. Communication-Efficient Learning of Deep Networks from Decentralized
Data. AISTATS 2017. Xie, Koyejo, Gupta. Asynchronous Federated Optimization. 2019.
"""

from dlax.optimizers import OPTIMIZERS
from dlax.types import Delta, LocalTraining, Optimizer, Scalar


def local_training(
    lr: Scalar = 1e-3, *, optimizer: Optimizer = OPTIMIZERS["adam"](), delta: Delta = "start"
) -> LocalTraining:
    """A client's task under a scheduler of `dlax.schedulers`, which says how many steps Q it takes.

        v ← Q local steps from the client's start, on its data     Δ = start − v   ("start"; or x − v, "server")

    The optimiser's memory starts anew in every task.

    Args:
      lr: step size of the optimiser.
      optimizer: of the clients; FedCompass's code takes Adam.
      delta: what an update is the difference to: the model that the client began with ("start"), or the server's x
        when the update is applied ("server", as FedAsync mixes models).

    Returns:
      What `dlax.simulate.serve` trains clients by.

    Raises:
      ValueError: if `delta` is neither.
    """
    if delta not in ("start", "server"):
        raise ValueError(f"local_training: delta must be 'start' or 'server', got {delta!r}")
    return LocalTraining(optimizer(lr), delta)
