"""FedAvg: local steps, then everyone takes the mean; through the complete graph, or in cohorts with a server.

McMahan, Moore, Ramage, Hampson, Agüera y Arcas. Communication-Efficient Learning of Deep Networks from
Decentralized Data. AISTATS 2017.
"""

from dlax.algorithms.dsgd import DSGDState, dsgd
from dlax.algorithms.local import check_steps
from dlax.optimizers import constant, sgd
from dlax.types import Algorithm, Optimizer, Round, Scalar, Schedule, Tree


def fedavg(
    lr: Scalar = 0.1,
    *,
    local_steps: int = 5,
    optimizer: Optimizer = sgd(),
    schedule: Schedule = constant(),
) -> Algorithm:
    """FedAvg, without a server on the complete graph, or with one on the cohorts clock.

        V = K local steps from X;   X ← (1/n) 1 1ᵀ V

    Nodes count the same in the mean; `node_weights: samples` of a problem makes samples count the same. Bits
    are those of the complete graph, where each node sends its model to the n − 1 others.

    Args:
      lr: step size of the local optimiser.
      local_steps: K, gradients a round.
      optimizer: the local optimiser, whose memory stays on the node; plain SGD by default.
      schedule: factor s(t) on lr, of the round t.

    Returns:
      The (init, step) pair; a message is the model.

    Raises:
      ValueError: if local_steps < 1, or the topology is not the complete graph with weights 1/n.
    """
    check_steps("fedavg", local_steps)
    mixed = dsgd(lr, local_steps=local_steps, optimizer=optimizer, schedule=schedule)

    def init(params: Tree, round: Round) -> DSGDState:
        round.require("fedavg", "complete")
        return mixed.init(params, round)

    return Algorithm(init, mixed.step, server=("params",))
