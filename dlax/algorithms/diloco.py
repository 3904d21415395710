"""DiLoCo: many local AdamW steps, then one outer Nesterov step along the mean displacement.

Douillard, Feng, Rusu, Chhaparia, Donchev, Kuncoro, Ranzato, Szlam, Shen. DiLoCo: Distributed Low-Communication
Training of Language Models. 2023. Keiblinger, Sieg, Ong, Jaghouar, Hagemann. Prime Collective Communications Library.
2025 (peers that come and go).
"""

from typing import Any, NamedTuple

import jax

from dlax import tree
from dlax.algorithms.dmsgd import check_momentum
from dlax.algorithms.local import check_steps, descend, init_optimizer
from dlax.algorithms.outer import catch_up, first_revision, nesterov, raised, unless_alone
from dlax.channel import ring_all_reduce
from dlax.optimizers import OPTIMIZERS, constant
from dlax.types import Algorithm, Channel, Info, Optimizer, Round, Scalar, Schedule, Tree

ADAMW = OPTIMIZERS["adamw"](b2=0.95, weight_decay=0.1)


class DiLoCoState(NamedTuple):
    """What one round hands to the next; every leaf leads with n."""

    params: Tree  # θ: the outer parameters, the same in every up-to-date row
    memory: Any  # of the inner optimiser; it outlives the round
    momentum: Tree  # M: of the outer optimiser, the same in every up-to-date row
    revision: jax.Array  # [n], of the shared state
    link: Any  # of the channel


def diloco(
    lr: Scalar = 4e-4,
    outer_lr: Scalar = 0.7,
    outer_momentum: Scalar = 0.9,
    *,
    local_steps: int = 50,
    reduce: Channel = ring_all_reduce(),
    optimizer: Optimizer = ADAMW,
    schedule: Schedule = constant(),
) -> Algorithm:
    """DiLoCo.

        Wᵢ = H steps of the inner optimiser from θ;   Δᵢ = θ − Wᵢ;   D = mean of Δᵢ over who takes part
        M ← μ M + D;   θ ← θ − α (D + μ M)            M₀ = 0

    H = 1, plain SGD inside, α = 1 and μ = 0 is synchronous SGD; H > 1 then is FedAvg. The inner optimisers keep their
    memory from round to round, and it is not averaged. A node that sat rounds out is handed θ and M and begins its
    inner memory anew; who fails during the all-reduce counts as absent from that round, whose mean then is that of
    the survivors. A round with fewer than two nodes is dropped.

    The note's inner schedule runs over inner steps; here it has one value a round. Clipping of gradients is not among
    the defaults.

    Args:
      lr: step size of the inner optimiser; 4e-4 as OpenDiLoCo trains 150 million parameters.
      outer_lr: α.
      outer_momentum: μ, in [0, 1).
      local_steps: H, gradients a round; 500 in the paper, 50 to 500 in OpenDiLoCo, 8 in PCCL's example.
      reduce: how outer gradients are averaged; the default is exact, beside the graph.
      optimizer: the inner optimiser; by default AdamW with betas (0.9, 0.95) and weight decay 0.1.
      schedule: factor s(t) on lr, of the round t.

    Returns:
      The (init, step) pair; a message is the outer gradient. Who hands the shared state to newcomers pays for it.

    Raises:
      ValueError: if local_steps < 1 or outer_momentum is a number outside [0, 1); in a run, if its channel is not
        plain.
    """
    check_momentum("diloco", outer_momentum=outer_momentum)
    check_steps("diloco", local_steps)

    def init(params: Tree, round: Round) -> DiLoCoState:
        theta = tree.broadcast(tree.node_mean(params), tree.num_nodes(params))
        return DiLoCoState(
            theta,
            init_optimizer(theta, optimizer),
            tree.zeros_like(theta),
            first_revision(theta),
            round.over(reduce).open(theta),
        )

    def step(state: DiLoCoState, round: Round) -> tuple[DiLoCoState, Info]:
        (theta, momentum), memory, _, handed = catch_up(
            (state.params, state.momentum), state.memory, state.revision, round.active, optimizer
        )
        w, memory, loss = descend(
            theta, memory, round, lr=lr, optimizer=optimizer, schedule=schedule, local_steps=local_steps
        )
        mean, link, bits = round.over(reduce).mix(state.link, tree.add(theta, w, -1.0))
        theta, momentum = nesterov(theta, momentum, mean, outer_lr, outer_momentum)
        new = DiLoCoState(theta, memory, momentum, raised(state.revision), link)
        info = {"loss": loss, "bits": bits + handed.astype(bits.dtype), "gradients": local_steps}
        return unless_alone(new, state, round.active), info

    return Algorithm(init, step)
