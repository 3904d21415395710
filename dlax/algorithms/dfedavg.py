"""DFedAvg and DFedAvgM: local steps with a momentum that starts afresh in every round.

Sun, Li, Wang. Decentralized Federated Averaging. IEEE TPAMI 2022.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlax import tree
from dlax.algorithms.dmsgd import check_momentum
from dlax.algorithms.local import check_steps
from dlax.optimizers import at_round, constant
from dlax.types import Algorithm, Info, Key, Round, Scalar, Schedule, Tree


class DFedAvgState(NamedTuple):
    """What one round hands to the next; every leaf leads with n."""

    params: Tree  # x: the models
    link: Any  # of the channel


def dfedavg(
    lr: Scalar = 0.1,
    momentum: Scalar = 0.0,
    *,
    local_steps: int = 5,
    schedule: Schedule = constant(),
) -> Algorithm:
    """DFedAvg; DFedAvgM where momentum > 0.

        V = X, U = 0;   repeat K times:  U ← θ U + G(V);  V ← V − lr U
        X ← W V

    The paper's V ← V − lr G(V) + θ (V − V_before), written with a velocity. Without momentum this is `dsgd` with K
    local steps (Local-DSGD); with it, it is not `dsgd` with the optimiser sgd, whose velocity outlives the round. Not
    exact: the bias grows with K. The paper has symmetric W; its quantised
    version, which mixes X + Q(V − X), is left to channels.

    Args:
      lr: step size.
      momentum: θ, in [0, 1).
      local_steps: K, gradients a round.
      schedule: factor s(t) on lr, of the round t.

    Returns:
      The (init, step) pair; a message is the model.

    Raises:
      ValueError: if local_steps < 1 or momentum is a number outside [0, 1); in a run, if W is not doubly
        stochastic.
    """
    check_momentum("dfedavg", momentum=momentum)
    check_steps("dfedavg", local_steps)

    def init(params: Tree, round: Round) -> DFedAvgState:
        round.require("dfedavg", "doubly stochastic")
        return DFedAvgState(params, round.open(params))

    def step(state: DFedAvgState, round: Round) -> tuple[DFedAvgState, Info]:
        rate = at_round(lr, schedule, round.t)

        def local(carry: tuple[Tree, Tree], key: Key) -> tuple[tuple[Tree, Tree], jax.Array]:
            params, velocity = carry
            loss, grads = round.grad(params, key)
            velocity = tree.add(grads, velocity, momentum)
            return (tree.add(params, velocity, -rate), velocity), loss

        # One step takes the minibatch of the round, as every algorithm does.
        one = local_steps == 1
        keys = round.key[None] if one else jax.random.split(round.key, local_steps)
        start = (state.params, tree.zeros_like(state.params))
        (adapted, _), losses = jax.lax.scan(local, start, keys)
        params, link, bits = round.mix(state.link, adapted)
        info = {"loss": jnp.mean(losses, axis=0), "bits": bits, "gradients": local_steps}
        return DFedAvgState(params, link), info

    return Algorithm(init, step)
