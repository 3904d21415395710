"""One model, the average of all nodes' gradients: what decentralisation is measured against."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlax import tree
from dlax.algorithms.local import init_optimizer, update
from dlax.optimizers import at_round, constant, sgd
from dlax.types import Algorithm, Info, Optimizer, Round, Scalar, Schedule, Tree


class CentralizedState(NamedTuple):
    """What one round hands to the next; every leaf leads with n."""

    params: Tree  # x: the same model in every row
    memory: Any  # of the optimiser, the same in every row


def centralized_sgd(
    lr: Scalar = 0.1, *, optimizer: Optimizer = sgd(), schedule: Schedule = constant()
) -> Algorithm:
    """Centralised SGD on the batches that the nodes of a decentralised run would draw.

        x ← x − lr (1/n) Σᵢ gᵢ(x)

    Starts at the average of the nodes' starts. Sends nothing over the network and is therefore charged no
    bits: it is a yardstick, not a protocol.

    Args:
      lr: step size.
      optimizer: applied to the average gradient; plain SGD by default.
      schedule: factor s(t) on lr, of the round t.

    Returns:
      The (init, step) pair.

    Raises:
      ValueError: if nodes may sit rounds out: one model would become several.
    """

    def everywhere(x: Tree) -> Tree:
        return jax.tree.map(
            lambda leaf, mean: jnp.broadcast_to(mean[None], leaf.shape).astype(leaf.dtype),
            x,
            tree.node_mean(x),
        )

    def init(params: Tree, round: Round) -> CentralizedState:
        round.require("centralized_sgd", "full participation")
        params = everywhere(params)
        return CentralizedState(params, init_optimizer(params, optimizer))

    def step(state: CentralizedState, round: Round) -> tuple[CentralizedState, Info]:
        loss, grads = round.grad(state.params, round.key)
        params, memory = update(
            state.params, everywhere(grads), state.memory, optimizer, at_round(lr, schedule, round.t)
        )
        return CentralizedState(params, memory), {"loss": loss, "bits": jnp.zeros_like(loss)}

    return Algorithm(init, step)
