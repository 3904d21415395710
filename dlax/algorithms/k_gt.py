"""K-GT: gradient tracking that survives K local steps.

Liu, Lin, Koloskova, Stich. Decentralized Gradient Tracking with Local Steps. Optimization Methods and Software 2024.
"""

from typing import Any, NamedTuple

import jax

from dlax import tree
from dlax.algorithms.local import check_steps, descend_shifted
from dlax.optimizers import at_round, constant
from dlax.types import Algorithm, Info, Round, Scalar, Schedule, Tree


class KGTState(NamedTuple):
    """What one round hands to the next; every leaf leads with n."""

    params: Tree  # x: the models
    correction: Tree  # c: the average gradient less one's own, as last estimated; sums to 0 over nodes
    link: Any  # of the channel


def k_gt(
    lr: Scalar = 0.1,
    global_lr: Scalar = 1.0,
    *,
    local_steps: int = 5,
    schedule: Schedule = constant(),
) -> Algorithm:
    """K-GT: K corrected local steps, then the models and the directions are mixed.

        V = X;   repeat K times:  V ← V − lr (G(V) + C)
        Z = (X − V) / (K lr)
        C ← C − Z + W Z
        X ← W (X − global_lr K lr Z)                                   C₀ = 0

    Exact: with full gradients and a constant lr the nodes reach the optimum, however the data are split and
    however many local steps they take. K = 1 is gradient tracking, order "semi". The paper starts from C = the
    mean gradient less one's own, whose sum over nodes is 0 as well, and has symmetric W.

    Args:
      lr: step size of the local steps, the paper's η_c.
      global_lr: factor on a round's whole step, the paper's η_s; 1 lands where the local steps did.
      local_steps: K, gradients a round.
      schedule: factor s(t) on lr, of the round t.

    Returns:
      The (init, step) pair; a message is (X − global_lr K lr Z, Z), twice the model.

    Raises:
      ValueError: if local_steps < 1; in a run, if W is not doubly stochastic.
    """
    check_steps("k_gt", local_steps)

    def init(params: Tree, round: Round) -> KGTState:
        round.require("k_gt", "doubly stochastic")
        return KGTState(params, tree.zeros_like(params), round.open((params, params)))

    def step(state: KGTState, round: Round) -> tuple[KGTState, Info]:
        rate = at_round(lr, schedule, round.t)
        shift = tree.add(tree.zeros_like(state.params), state.correction, rate)
        _, grads, loss = descend_shifted(state.params, shift, round, lr=rate, local_steps=local_steps)
        direction = tree.add(grads, state.correction)  # Z, without the division
        moved = tree.add(state.params, direction, -global_lr * local_steps * rate)
        (params, heard), link, bits = round.mix(state.link, (moved, direction))
        correction = jax.tree.map(lambda z, g: z - g, heard, grads)  # C − Z is minus the mean gradient
        return KGTState(params, correction, link), {"loss": loss, "bits": bits, "gradients": local_steps}

    return Algorithm(init, step)
