"""DiLoCo whose all-reduce runs behind the next local phase: the outer step is one round late.

Keiblinger, Sieg, Ong, Jaghouar, Hagemann. Prime Collective Communications Library. 2025 (asynchronous DiLoCo in its
example; this follows the code as described to us).
"""

from typing import Any, NamedTuple

import jax

from dlax import tree
from dlax.algorithms.diloco import ADAMW
from dlax.algorithms.dmsgd import check_momentum
from dlax.algorithms.local import check_steps, descend, init_optimizer
from dlax.algorithms.outer import catch_up, first_revision, nesterov, raised, unless_alone
from dlax.channel import ring_all_reduce
from dlax.optimizers import constant
from dlax.types import Algorithm, Channel, Info, Optimizer, Round, Scalar, Schedule, Tree


class DelayedState(NamedTuple):
    """What one round hands to the next; every leaf leads with n."""

    params: Tree  # θ: the outer parameters, the same in every up-to-date row
    memory: Any  # of the inner optimiser
    momentum: Tree  # M: of the outer optimiser, likewise
    pending: Tree  # D of the last round, which arrives in this one, likewise
    revision: jax.Array  # [n], of the shared state
    link: Any  # of the channel


def delayed_diloco(
    lr: Scalar = 4e-4,
    outer_lr: Scalar = 0.7,
    outer_momentum: Scalar = 0.0,
    *,
    local_steps: int = 8,
    reduce: Channel = ring_all_reduce(),
    optimizer: Optimizer = ADAMW,
    schedule: Schedule = constant(),
) -> Algorithm:
    """DiLoCo with outer gradients of the round before.

        Wᵢ = H steps of the inner optimiser from θ;   Δᵢ = θ − Wᵢ;   D⁺ = mean of Δᵢ over who takes part
        M ← μ M + D;   θ ← θ − α (D + μ M);   D ← D⁺        M₀ = D₀ = 0

    The first two rounds both start from θ₀, and their outer gradients are applied one after the other. On a parabola
    whose local phase contracts by 1 − c it converges for all c in (0, 1] with μ = 0 and α < 1, but with the usual
    α = 0.7 and μ = 0.9 only up to c = 0.36 (`theory.outer_limit`).

    Membership is as in `diloco`. D belongs to the shared state: who joins gets (θ, M, D), which is what PCCL's second
    synchronisation brings about. Who takes part in an all-reduce is decided by the round that started it.

    Args:
      lr: step size of the inner optimiser.
      outer_lr: α; PCCL's example takes 0.7.
      outer_momentum: μ, in [0, 1); PCCL's example passes none.
      local_steps: H, gradients a round; 8 in PCCL's example.
      reduce: how outer gradients are averaged; the default is exact, beside the graph.
      optimizer: the inner optimiser; AdamW as in `diloco` by default.
      schedule: factor s(t) on lr, of the round t.

    Returns:
      The (init, step) pair; a message is the outer gradient.

    Raises:
      ValueError: if local_steps < 1 or outer_momentum is a number outside [0, 1); in a run, if its channel is not
        plain.
    """
    check_momentum("delayed_diloco", outer_momentum=outer_momentum)
    check_steps("delayed_diloco", local_steps)

    def init(params: Tree, round: Round) -> DelayedState:
        theta = tree.broadcast(tree.node_mean(params), tree.num_nodes(params))
        zero = tree.zeros_like(theta)
        return DelayedState(
            theta,
            init_optimizer(theta, optimizer),
            zero,
            zero,
            first_revision(theta),
            round.over(reduce).open(theta),
        )

    def step(state: DelayedState, round: Round) -> tuple[DelayedState, Info]:
        shared = (state.params, state.momentum, state.pending)
        (theta, momentum, pending), memory, _, handed = catch_up(
            shared, state.memory, state.revision, round.active, optimizer
        )
        w, memory, loss = descend(
            theta, memory, round, lr=lr, optimizer=optimizer, schedule=schedule, local_steps=local_steps
        )
        mean, link, bits = round.over(reduce).mix(state.link, tree.add(theta, w, -1.0))
        theta, momentum = nesterov(theta, momentum, pending, outer_lr, outer_momentum)
        new = DelayedState(theta, memory, momentum, mean, raised(state.revision), link)
        info = {"loss": loss, "bits": bits + handed.astype(bits.dtype), "gradients": local_steps}
        return unless_alone(new, state, round.active), info

    return Algorithm(init, step)
