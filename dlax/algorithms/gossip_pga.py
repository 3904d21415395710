"""Gossip-PGA: D-SGD whose nodes average exactly every H rounds.

Chen, Yuan, Zhang, Pan, Xu, Yin. Accelerating Gossip SGD with Periodic Global Averaging. ICML 2021.
"""

from typing import Any

import jax

from dlax.algorithms.dsgd import DSGDState
from dlax.algorithms.local import check_steps, descend, init_optimizer
from dlax.channel.all_reduce import all_reduce
from dlax.optimizers import constant, sgd
from dlax.types import Algorithm, Info, Optimizer, Round, Scalar, Schedule, Tree


def gossip_pga(
    lr: Scalar = 0.1,
    *,
    period: int = 6,
    local_steps: int = 1,
    optimizer: Optimizer = sgd(),
    schedule: Schedule = constant(),
) -> Algorithm:
    """D-SGD with periodic global averaging, J = 11ᵀ/n.

        X ← W (X − lr G(X)),   with J in the place of W in rounds H − 1, 2H − 1, ...

    Not exact; H = 1 is centralised SGD on plain gradients, H → ∞ is D-SGD. In a round with J nothing is sent to
    the neighbours; the mean is a ring all-reduce, for which every node sends 2 (n − 1)/n models.

    Args:
      lr: step size of the local optimiser.
      period: H, rounds from one exact average to the next.
      local_steps: K, gradients a round.
      optimizer: the local optimiser, whose memory is not averaged; plain SGD by default.
      schedule: factor s(t) on lr, of the round t.

    Returns:
      The (init, step) pair; a message is the model.

    Raises:
      ValueError: if period or local_steps is below 1; in a run, if W is not doubly stochastic, nodes sit rounds
        out, or the channel is not plain.
    """
    check_period("gossip_pga", period)
    check_steps("gossip_pga", local_steps)

    def init(params: Tree, round: Round) -> DSGDState:
        round.require("gossip_pga", "doubly stochastic", "full participation")
        return DSGDState(params, init_optimizer(params, optimizer), round.open(params))

    def step(state: DSGDState, round: Round) -> tuple[DSGDState, Info]:
        adapted, memory, loss = descend(
            state.params, state.memory, round,
            lr=lr, optimizer=optimizer, schedule=schedule, local_steps=local_steps,
        )  # fmt: skip
        params, link, bits = mix_or_average(state.link, adapted, round, period)
        return DSGDState(params, memory, link), {"loss": loss, "bits": bits, "gradients": local_steps}

    return Algorithm(init, step)


def check_period(who: str, period: int) -> None:
    """Refuses a period below 1."""
    if period < 1:
        raise ValueError(f"{who}: period must be at least 1, got {period}")


def mix_or_average(link: Any, message: Tree, round: Round, period: int) -> tuple[Tree, Any, jax.Array]:
    """Mixes; in every `period`-th round averages exactly instead, by an all-reduce."""
    everyone = round.over(all_reduce())

    def average() -> tuple[Tree, Any, jax.Array]:
        mean, _, bits = everyone.mix((), message)
        return mean, link, bits

    return jax.lax.cond((round.t + 1) % period == 0, average, lambda: round.mix(link, message))
