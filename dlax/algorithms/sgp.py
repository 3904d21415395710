"""Stochastic gradient push: D-SGD over directed graphs, de-biased by push-sum.

Nedić, Olshevsky. Stochastic gradient-push for strongly convex functions on time-varying directed graphs. IEEE
TAC 2016.
Assran, Loizou, Ballas, Rabbat. Stochastic Gradient Push for Distributed Deep Learning. ICML 2019.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlax.algorithms.local import init_optimizer, update
from dlax.algorithms.push_sum import ratio
from dlax.optimizers import at_round, constant, sgd
from dlax.types import Algorithm, Info, Optimizer, Round, Scalar, Schedule, Tree


class SGPState(NamedTuple):
    """What one round hands to the next; every leaf leads with n."""

    params: Tree  # z = x/w: the models
    mass: Tree  # x: what is passed on
    weight: jax.Array  # w: [n]
    memory: Any  # of the local optimiser
    link: Any  # of the channel


def sgp(lr: Scalar = 0.1, *, optimizer: Optimizer = sgd(), schedule: Schedule = constant()) -> Algorithm:
    """Stochastic gradient push (SGP), with P column stochastic; it may change from round to round.

        Z = X / w;   X ← P (X − lr G(Z));   w ← P w                    w₀ = 1

    Over a doubly stochastic P the weights stay 1 and this is D-SGD. Not exact: with full gradients its bias is
    of order lr, squared distances lr², as that of D-SGD. Plain D-SGD with weights that are only row stochastic
    tends to the optimum of another, Perron-weighted, sum however small lr is.

    Args:
      lr: step size of the local optimiser.
      optimizer: its step at Z is added to X; plain SGD by default.
      schedule: factor s(t) on lr, of the round t.

    Returns:
      The (init, step) pair; a message is (x, w): one number more than the model.

    Raises:
      ValueError: in a run, if P is not column stochastic.
    """

    def init(params: Tree, round: Round) -> SGPState:
        round.require("sgp", "column stochastic")
        weight = jnp.ones(round.active.shape[0], jax.tree.leaves(params)[0].dtype)
        memory = init_optimizer(params, optimizer)
        return SGPState(params, params, weight, memory, round.open((params, weight)))

    def step(state: SGPState, round: Round) -> tuple[SGPState, Info]:
        loss, grads = round.grad(state.params, round.key)
        adapted, memory = update(
            state.params, grads, state.memory, optimizer, at_round(lr, schedule, round.t)
        )
        moved = jax.tree.map(lambda x, new, old: x + (new - old), state.mass, adapted, state.params)
        (mass, weight), link, bits = round.mix(state.link, (moved, state.weight))
        return SGPState(ratio(mass, weight), mass, weight, memory, link), {"loss": loss, "bits": bits}

    return Algorithm(init, step)
