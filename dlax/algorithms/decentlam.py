"""DecentLaM: momentum whose bias is that of plain D-SGD.

Yuan, Chen, Huang, Zhang, Pan, Xu, Yin. DecentLaM: Decentralized Momentum SGD for Large-batch Deep Training. ICCV
2021.
"""

from dlax import tree
from dlax.algorithms.dmsgd import MomentumState, check_momentum
from dlax.algorithms.local import per_step
from dlax.optimizers import at_round, constant
from dlax.types import Algorithm, Info, Round, Scalar, Schedule, Tree


def decentlam(lr: Scalar = 0.1, momentum: Scalar = 0.9, *, schedule: Schedule = constant()) -> Algorithm:
    """DecentLaM: momentum on what a round of D-SGD would change, mixing included.

        G̃ = (X − W (X − lr G(X))) / lr
        M ← β M + G̃;   X ← X − lr M                                    M₀ = 0

    Stands still where D-SGD (adapt then combine) with the same lr does: the bias does not grow by 1/(1 − β)² as
    that of `dmsgd`. lr is that of the round, in both places; where a schedule makes it 0, G̃ counts as 0.

    Args:
      lr: step size.
      momentum: β, in [0, 1).
      schedule: factor s(t) on lr, of the round t.

    Returns:
      The (init, step) pair; a message is X − lr G(X), the size of the model.

    Raises:
      ValueError: if momentum is a number outside [0, 1); in a run, if W is not symmetric and doubly stochastic.
        The paper prefers it positive definite.
    """
    check_momentum("decentlam", momentum=momentum)

    def init(params: Tree, round: Round) -> MomentumState:
        round.require("decentlam", "symmetric", "doubly stochastic")
        return MomentumState(params, tree.zeros_like(params), round.open(params))

    def step(state: MomentumState, round: Round) -> tuple[MomentumState, Info]:
        rate = at_round(lr, schedule, round.t)
        loss, grads = round.grad(state.params, round.key)
        mixed, link, bits = round.mix(state.link, tree.add(state.params, grads, -rate))
        change = per_step(tree.add(state.params, mixed, -1.0), rate)
        velocity = tree.add(change, state.momentum, momentum)
        params = tree.add(state.params, velocity, -rate)
        return MomentumState(params, velocity, link), {"loss": loss, "bits": bits}

    return Algorithm(init, step)
