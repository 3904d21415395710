"""FedOpt: the mean of the clients' steps is a gradient for any optimiser on the server.

Reddi, Charles, Zaheer, Garrett, Rush, Konečný, Kumar, McMahan. Adaptive Federated Optimization. ICLR 2021.
Hsu, Qi, Brown. Measuring the Effects of Non-Identical Data Distribution for Federated Visual Classification. 2019
(FedAvgM).
"""

from typing import Any, NamedTuple

from dlax import tree
from dlax.algorithms.local import check_steps, descend, init_optimizer, update
from dlax.optimizers import constant, sgd
from dlax.types import Algorithm, Info, Optimizer, Round, Scalar, Schedule, Tree


class FedOptState(NamedTuple):
    """What one round hands to the next; every leaf leads with n."""

    params: Tree  # x: the model, the same in every row
    memory: Any  # of the local optimiser
    server: Any  # of the server's optimiser, the same in every row
    link: Any  # of the channel


def fedopt(
    lr: Scalar = 0.1,
    server_lr: Scalar = 1.0,
    *,
    local_steps: int = 5,
    server: Optimizer = sgd(),
    optimizer: Optimizer = sgd(),
    schedule: Schedule = constant(),
) -> Algorithm:
    """FedOpt; on the complete graph every node keeps a copy of the server, on the cohorts clock there is one.

        V = K local steps from X,   Δ = (1/n) 1 1ᵀ V − X,   X ← X + server_lr · server(Δ)

    The server's optimiser takes −Δ for its gradient. By the papers' names, with what stands for `server`:

        FedAvg     sgd, server_lr 1           FedAvgM    {name: sgd, momentum: 0.9}
        FedAdam    {name: adam, b2: 0.99, eps: 0.001}
        FedYogi    {name: yogi, b2: 0.99, eps: 0.001}
        FedAdagrad {name: adagrad, eps: 0.001}

    optax's Adam and Yogi correct the bias of their averages, which the paper's versions do not: the first rounds
    take longer steps here.

    Args:
      lr: step size of the local optimiser.
      server_lr: step size of the server's.
      local_steps: K, gradients a round.
      server: the server's optimiser; plain SGD by default, which is FedAvg.
      optimizer: the local optimiser, whose memory stays on the node; plain SGD by default.
      schedule: factor s(t) on lr, of the round t.

    Returns:
      The (init, step) pair; a message is the model, to each of the n − 1 others of the complete graph.

    Raises:
      ValueError: if local_steps < 1, the topology is not the complete graph with weights 1/n, or nodes sit
        rounds out: the copies of the server would part.
    """
    check_steps("fedopt", local_steps)

    def init(params: Tree, round: Round) -> FedOptState:
        round.require("fedopt", "complete", "full participation")
        memory, copy = (init_optimizer(params, each) for each in (optimizer, server))
        return FedOptState(params, memory, copy, round.open(params))

    def step(state: FedOptState, round: Round) -> tuple[FedOptState, Info]:
        adapted, memory, loss = descend(
            state.params, state.memory, round,
            lr=lr, optimizer=optimizer, schedule=schedule, local_steps=local_steps,
        )  # fmt: skip
        mean, link, bits = round.mix(state.link, adapted)
        pseudo = tree.add(state.params, mean, -1.0)
        params, copy = update(state.params, pseudo, state.server, server, server_lr)
        return FedOptState(params, memory, copy, link), {"loss": loss, "bits": bits, "gradients": local_steps}

    return Algorithm(init, step, server=("params", "server"))
