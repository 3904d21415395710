"""D-SGD with heavy-ball momentum.

Yu, Jin, Yang. On the Linear Speedup Analysis of Communication Efficient Momentum SGD for Distributed Non-Convex
Optimization. ICML 2019. Assran, Loizou, Ballas, Rabbat. Stochastic Gradient Push. ICML 2019.
"""

from typing import Any, Literal, NamedTuple, get_args

from dlax import tree
from dlax.optimizers import at_round, constant
from dlax.types import Algorithm, Info, Round, Scalar, Schedule, Tree

Order = Literal["adapt_then_combine", "combine_while_adapt"]


class MomentumState(NamedTuple):
    """What one round hands to the next; every leaf leads with n."""

    params: Tree  # x: the models
    momentum: Tree  # m
    link: Any  # of the channel


def dmsgd(
    lr: Scalar = 0.1,
    momentum: Scalar = 0.9,
    *,
    order: Order = "adapt_then_combine",
    mix_momentum: bool = False,
    schedule: Schedule = constant(),
) -> Algorithm:
    """Decentralised momentum SGD (DmSGD).

        M ← β M + G(X)

        adapt_then_combine     X ← W (X − lr M)
        combine_while_adapt    X ← W X − lr M
        mix_momentum           M ← W M as well, after it was used

    Not exact: with full gradients it stands still where D-SGD with the step size lr / (1 − β) does (unless
    momentum is mixed), so momentum inflates the bias; `decentlam` and `qg_dsgdm` undo that. Without mixing this is
    `dsgd` with the optimiser sgd; here β can be swept.

    Args:
      lr: step size.
      momentum: β, in [0, 1).
      order: which of the two; the second can mix while gradients are computed.
      mix_momentum: send M along (Yu, Jin, Yang), which keeps the nodes' momenta together.
      schedule: factor s(t) on lr, of the round t.

    Returns:
      The (init, step) pair; a message is the model, twice that if momentum is mixed.

    Raises:
      ValueError: if the order is none of the two or momentum a number outside [0, 1); in a run, if W is not
        doubly stochastic.
    """
    check_momentum("dmsgd", momentum=momentum)
    if order not in get_args(Order):
        raise ValueError(f"dmsgd: order must be one of {', '.join(get_args(Order))}, got {order!r}")

    def init(params: Tree, round: Round) -> MomentumState:
        round.require("dmsgd", "doubly stochastic")
        message = (params, params) if mix_momentum else (params,)
        return MomentumState(params, tree.zeros_like(params), round.open(message))

    def step(state: MomentumState, round: Round) -> tuple[MomentumState, Info]:
        rate = at_round(lr, schedule, round.t)
        loss, grads = round.grad(state.params, round.key)
        velocity = tree.add(grads, state.momentum, momentum)
        adapts_first = order == "adapt_then_combine"
        sent = tree.add(state.params, velocity, -rate) if adapts_first else state.params
        message = (sent, velocity) if mix_momentum else (sent,)
        received, link, bits = round.mix(state.link, message)
        params = received[0] if adapts_first else tree.add(received[0], velocity, -rate)
        kept = received[1] if mix_momentum else velocity
        return MomentumState(params, kept, link), {"loss": loss, "bits": bits}

    return Algorithm(init, step)


def check_momentum(who: str, **factors: Any) -> None:
    """Refuses factors outside [0, 1); traced ones pass."""
    for name, value in factors.items():
        if isinstance(value, int | float) and not 0 <= value < 1:
            raise ValueError(f"{who}: {name} must be in [0, 1), got {value}")
