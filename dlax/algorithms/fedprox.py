"""FedProx through the complete graph: local steps on a loss that pulls back to where the round began.

Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith. Federated Optimization in Heterogeneous Networks. MLSys 2020.
"""

import jax

from dlax import tree
from dlax.algorithms.dsgd import DSGDState
from dlax.algorithms.local import check_steps, descend, init_optimizer
from dlax.optimizers import constant, sgd
from dlax.types import Algorithm, Info, Key, Optimizer, Round, Scalar, Schedule, Tree


def fedprox(
    lr: Scalar = 0.1,
    proximal: Scalar = 0.1,
    *,
    local_steps: int = 5,
    optimizer: Optimizer = sgd(),
    schedule: Schedule = constant(),
) -> Algorithm:
    """FedProx, without a server on the complete graph, or with one on the cohorts clock.

        V = X, then K times  V ← V − lr (G(V) + μ (V − X));   X ← (1/n) 1 1ᵀ V

    FedAvg is μ = 0. The pull shortens the local path: less drift, hence less bias, and more rounds. The bias falls
    with μ and does not vanish. The paper solves the local problem to any accuracy; here it takes K steps.

    Args:
      lr: step size of the local optimiser.
      proximal: μ ≥ 0, the strength of the pull.
      local_steps: K, gradients a round.
      optimizer: the local optimiser, whose memory stays on the node; plain SGD by default.
      schedule: factor s(t) on lr, of the round t.

    Returns:
      The (init, step) pair; a message is the model, to each of the n − 1 others of the complete graph.

    Raises:
      ValueError: if local_steps < 1 or μ is a number below 0, or the topology is not the complete graph with weights
        1/n.
    """
    check_steps("fedprox", local_steps)
    if isinstance(proximal, int | float) and not 0 <= proximal < float("inf"):
        raise ValueError(f"fedprox: proximal must be at least 0 and finite, got {proximal}")

    def init(params: Tree, round: Round) -> DSGDState:
        round.require("fedprox", "complete")
        return DSGDState(params, init_optimizer(params, optimizer), round.open(params))

    def step(state: DSGDState, round: Round) -> tuple[DSGDState, Info]:
        def grad(params: Tree, key: Key) -> tuple[jax.Array, Tree]:
            loss, grads = round.grad(params, key)
            return loss, tree.add(grads, tree.add(params, state.params, -1.0), proximal)

        adapted, memory, loss = descend(
            state.params, state.memory, round._replace(grad=grad),
            lr=lr, optimizer=optimizer, schedule=schedule, local_steps=local_steps,
        )  # fmt: skip
        params, link, bits = round.mix(state.link, adapted)
        return DSGDState(params, memory, link), {"loss": loss, "bits": bits, "gradients": local_steps}

    return Algorithm(init, step, server=("params",))
