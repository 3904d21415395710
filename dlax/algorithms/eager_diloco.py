"""Eager DiLoCo: only what the others did is a round late.

Kale, Douillard, Donchev. Eager Updates for Overlapped Communication and Computation in DiLoCo. 2025 (as described to
us by a secondary source).
"""

from typing import Any, NamedTuple

from dlax import tree
from dlax.algorithms.diloco import ADAMW
from dlax.algorithms.dmsgd import check_momentum
from dlax.algorithms.local import check_steps, descend, init_optimizer
from dlax.algorithms.outer import nesterov
from dlax.channel import ring_all_reduce
from dlax.optimizers import constant
from dlax.types import Algorithm, Channel, Info, Optimizer, Round, Scalar, Schedule, Tree


class EagerState(NamedTuple):
    """What one round hands to the next; every leaf leads with n."""

    params: Tree  # θᵢ: each node's own copy of the outer parameters
    memory: Any  # of the inner optimiser
    momentum: Tree  # Mᵢ: each node's own
    own: Tree  # Δᵢ of the last round
    pending: Tree  # D of the last round, the same in every row
    link: Any  # of the channel


def eager_diloco(
    lr: Scalar = 4e-4,
    outer_lr: Scalar = 0.7,
    outer_momentum: Scalar = 0.9,
    *,
    local_steps: int = 50,
    reduce: Channel = ring_all_reduce(),
    optimizer: Optimizer = ADAMW,
    schedule: Schedule = constant(),
) -> Algorithm:
    """DiLoCo that overlaps the all-reduce with the next local phase, and uses its own news at once.

        Wᵢ = H steps of the inner optimiser from θᵢ;   Δᵢ⁺ = θᵢ − Wᵢ
        Eᵢ = D + (Δᵢ⁺ − Δᵢ) / n = (Δᵢ⁺ + Σ_{j ≠ i} Δⱼ) / n
        Mᵢ ← μ Mᵢ + Eᵢ;   θᵢ ← θᵢ − α (Eᵢ + μ Mᵢ);   Δᵢ ← Δᵢ⁺;   D ← mean of Δⱼ        all 0 at first

    One node alone is `diloco`. Copies θᵢ differ between nodes; which of them the paper evaluates is not known to us,
    here the metrics have each and their mean. In the first round the others' part is missing (inferred).

    Args:
      lr: step size of the inner optimiser.
      outer_lr: α.
      outer_momentum: μ, in [0, 1). On a parabola of identical workers the default pair is stable for two, and from
        three on only while the local phase does not contract too much (`theory.outer_limit`).
      local_steps: H, gradients a round.
      reduce: how outer gradients are averaged; the default is exact, beside the graph.
      optimizer: the inner optimiser; AdamW as in `diloco` by default.
      schedule: factor s(t) on lr, of the round t.

    Returns:
      The (init, step) pair; a message is the outer gradient.

    Raises:
      ValueError: if local_steps < 1 or outer_momentum is a number outside [0, 1); in a run, if its channel is not
        plain or nodes sit rounds out: there is no one state that a newcomer could be handed.
    """
    check_momentum("eager_diloco", outer_momentum=outer_momentum)
    check_steps("eager_diloco", local_steps)

    def init(params: Tree, round: Round) -> EagerState:
        round.require("eager_diloco", "full participation")
        theta = tree.broadcast(tree.node_mean(params), tree.num_nodes(params))
        zero = tree.zeros_like(theta)
        link = round.over(reduce).open(theta)
        return EagerState(theta, init_optimizer(theta, optimizer), zero, zero, zero, link)

    def step(state: EagerState, round: Round) -> tuple[EagerState, Info]:
        share = 1 / tree.num_nodes(state.params)
        w, memory, loss = descend(
            state.params, state.memory, round,
            lr=lr, optimizer=optimizer, schedule=schedule, local_steps=local_steps,
        )  # fmt: skip
        own = tree.add(state.params, w, -1.0)
        others = tree.add(state.pending, state.own, -share)  # zero, exactly, for one node
        eager = tree.add(others, own, share)
        theta, momentum = nesterov(state.params, state.momentum, eager, outer_lr, outer_momentum)
        mean, link, bits = round.over(reduce).mix(state.link, own)
        info = {"loss": loss, "bits": bits, "gradients": local_steps}
        return EagerState(theta, memory, momentum, own, mean, link), info

    return Algorithm(init, step)
