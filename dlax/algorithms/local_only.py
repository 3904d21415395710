"""Every node on its own: the floor that communication must beat."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from dlax.algorithms.local import check_steps, descend, init_optimizer
from dlax.optimizers import constant, sgd
from dlax.types import Algorithm, Info, Optimizer, Round, Scalar, Schedule, Tree


class LocalState(NamedTuple):
    """What one round hands to the next; every leaf leads with n."""

    params: Tree  # x: the models
    memory: Any  # of the local optimiser


def local_only(
    lr: Scalar = 0.1,
    *,
    local_steps: int = 1,
    optimizer: Optimizer = sgd(),
    schedule: Schedule = constant(),
) -> Algorithm:
    """Local SGD without communication.

        X ← X − lr G(X),  K times a round

    Args:
      lr: step size.
      local_steps: K, gradients a round.
      optimizer: the local optimiser; plain SGD by default.
      schedule: factor s(t) on lr, of the round t.

    Returns:
      The (init, step) pair; nothing is sent.

    Raises:
      ValueError: if local_steps < 1.
    """
    check_steps("local_only", local_steps)

    def init(params: Tree, round: Round) -> LocalState:
        del round  # any graph will do: none is used
        return LocalState(params, init_optimizer(params, optimizer))

    def step(state: LocalState, round: Round) -> tuple[LocalState, Info]:
        params, memory, loss = descend(
            *state, round, lr=lr, optimizer=optimizer, schedule=schedule, local_steps=local_steps
        )
        return LocalState(params, memory), {
            "loss": loss,
            "bits": jnp.zeros_like(loss),
            "gradients": local_steps,
        }

    return Algorithm(init, step)
