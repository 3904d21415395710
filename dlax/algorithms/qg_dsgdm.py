"""Quasi-global momentum: the momentum of how the models move, not of the local gradients.

Lin, Karimireddy, Stich, Jaggi. Quasi-Global Momentum: Accelerating Decentralized Deep Learning on Heterogeneous Data.
ICML 2021.
"""

from dlax import tree
from dlax.algorithms.dmsgd import MomentumState, check_momentum
from dlax.algorithms.local import per_step
from dlax.optimizers import at_round, constant
from dlax.types import Algorithm, Info, Round, Scalar, Schedule, Tree


def qg_dsgdm(
    lr: Scalar = 0.1,
    momentum: Scalar = 0.9,
    decay: Scalar = 0.9,
    *,
    nesterov: bool = False,
    schedule: Schedule = constant(),
) -> Algorithm:
    """QG-DSGDm, and QG-DSGDm-N with Nesterov's step.

        D = β M + G(X)                          Nesterov: D = G(X) + β (β M + G(X))
        X⁺ = W (X − lr D)
        M ← μ M + (1 − μ) (X − X⁺) / lr;   X ← X⁺                      M₀ = 0

    Stands still where D-SGD (adapt then combine) with the same lr does (Nesterov: with (1 + β) lr). lr is that of
    the round, in both places; where a schedule makes it 0, (X − X⁺) / lr counts as 0.

    Args:
      lr: step size.
      momentum: β, in [0, 1).
      decay: μ, in [0, 1), how slowly M follows; the paper takes μ = β.
      nesterov: the paper's second variant.
      schedule: factor s(t) on lr, of the round t.

    Returns:
      The (init, step) pair; a message is the model.

    Raises:
      ValueError: if momentum or decay is a number outside [0, 1); in a run, if W is not doubly stochastic.
    """
    check_momentum("qg_dsgdm", momentum=momentum, decay=decay)

    def init(params: Tree, round: Round) -> MomentumState:
        round.require("qg_dsgdm", "doubly stochastic")
        return MomentumState(params, tree.zeros_like(params), round.open(params))

    def step(state: MomentumState, round: Round) -> tuple[MomentumState, Info]:
        rate = at_round(lr, schedule, round.t)
        loss, grads = round.grad(state.params, round.key)
        direction = tree.add(grads, state.momentum, momentum)
        if nesterov:
            direction = tree.add(grads, direction, momentum)
        params, link, bits = round.mix(state.link, tree.add(state.params, direction, -rate))
        moved = per_step(tree.add(state.params, params, -1.0), rate)
        average = tree.add(moved, tree.add(state.momentum, moved, -1.0), decay)
        return MomentumState(params, average, link), {"loss": loss, "bits": bits}

    return Algorithm(init, step)
