"""SlowMo: an outer momentum on what decentralised SGD did between two exact averages.

Wang, Tantia, Ballas, Rabbat. SlowMo: Improving Communication-Efficient Distributed SGD with Slow Momentum. ICLR 2020.
"""

from typing import Any, NamedTuple

import jax

from dlax import tree
from dlax.algorithms.dmsgd import check_momentum
from dlax.algorithms.gossip_pga import check_period, mix_or_average
from dlax.algorithms.local import check_steps, descend, init_optimizer, per_step
from dlax.optimizers import at_round, constant, sgd
from dlax.types import Algorithm, Info, Optimizer, Round, Scalar, Schedule, Tree


class SlowMoState(NamedTuple):
    """What one round hands to the next; every leaf leads with n."""

    params: Tree  # x: the models
    memory: Any  # of the local optimiser
    anchor: Tree  # x_o: the common model of the last exact average, the same in every row
    momentum: Tree  # u: the slow momentum, the same in every row
    link: Any  # of the channel


def slowmo(
    lr: Scalar = 0.1,
    slow_momentum: Scalar = 0.5,
    slow_lr: Scalar = 1.0,
    *,
    period: int = 12,
    local_steps: int = 1,
    optimizer: Optimizer = sgd(),
    schedule: Schedule = constant(),
) -> Algorithm:
    """SlowMo over D-SGD (adapt then combine).

        τ rounds of D-SGD from x_o, the last with J = 11ᵀ/n in the place of W, give x̄; then
        u ← β u + (x_o − x̄) / lr;   x_o ← x_o − α lr u;   X ← x_o in every row      u₀ = 0

    α = 1 and β = 0 is `gossip_pga`. The first x_o is the mean of the nodes' starts. The paper mixes by W in the
    last round too; as W keeps the mean, x̄ is the same. The exact mean is a ring all-reduce, for which every node
    sends 2 (n − 1)/n models in that round. lr is that of the round; where a schedule makes it 0, (x_o − x̄) / lr
    counts as 0. The local optimiser keeps its memory.

    Args:
      lr: step size of the local optimiser.
      slow_momentum: β, in [0, 1); 0.5 to 0.8 in the paper.
      slow_lr: α.
      period: τ, rounds from one exact average to the next; 12 to 48 in the paper.
      local_steps: K, gradients a round.
      optimizer: the local optimiser; plain SGD by default.
      schedule: factor s(t) on lr, of the round t.

    Returns:
      The (init, step) pair; a message is the model.

    Raises:
      ValueError: if period or local_steps is below 1 or slow_momentum a number outside [0, 1); in a run, if W is
        not doubly stochastic, nodes sit rounds out, or the channel is not plain.
    """
    check_momentum("slowmo", slow_momentum=slow_momentum)
    check_period("slowmo", period)
    check_steps("slowmo", local_steps)

    def init(params: Tree, round: Round) -> SlowMoState:
        round.require("slowmo", "doubly stochastic", "full participation")
        anchor = tree.broadcast(tree.node_mean(params), tree.num_nodes(params))
        zero = tree.zeros_like(params)
        return SlowMoState(params, init_optimizer(params, optimizer), anchor, zero, round.open(params))

    def step(state: SlowMoState, round: Round) -> tuple[SlowMoState, Info]:
        adapted, memory, loss = descend(
            state.params, state.memory, round,
            lr=lr, optimizer=optimizer, schedule=schedule, local_steps=local_steps,
        )  # fmt: skip
        mixed, link, bits = mix_or_average(state.link, adapted, round, period)
        rate = at_round(lr, schedule, round.t)

        def outer() -> tuple[Tree, Tree, Tree]:
            moved = per_step(tree.add(state.anchor, mixed, -1.0), rate)
            momentum = tree.add(moved, state.momentum, slow_momentum)
            anchor = tree.add(state.anchor, momentum, -slow_lr * rate)
            return anchor, anchor, momentum

        params, anchor, momentum = jax.lax.cond(
            (round.t + 1) % period == 0, outer, lambda: (mixed, state.anchor, state.momentum)
        )
        info = {"loss": loss, "bits": bits, "gradients": local_steps}
        return SlowMoState(params, memory, anchor, momentum, link), info

    return Algorithm(init, step)
