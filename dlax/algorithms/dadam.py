"""DAdam: every node adapts its own step sizes, then mixes models only.

Nazari, Tarzanagh, Michailidis. DADAM: A consensus-based distributed adaptive gradient method for online optimization.
IEEE Trans. Signal Processing 2022 (arXiv 2019).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlax import tree
from dlax.algorithms.dmsgd import check_momentum
from dlax.optimizers import at_round, constant
from dlax.types import Algorithm, Info, Round, Scalar, Schedule, Tree


class DAdamState(NamedTuple):
    """What one round hands to the next; every leaf leads with n."""

    params: Tree  # x: the models
    first: Tree  # m: the average gradient
    second: Tree  # v: the average squared gradient
    largest: Tree  # v̂: the largest v so far, by entry
    link: Any  # of the channel


def dadam(
    lr: Scalar = 0.001,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    *,
    schedule: Schedule = constant(),
) -> Algorithm:
    """DAdam (in the form of AMSGrad), by entry.

        M ← β₁ M + (1 − β₁) G;   V ← β₂ V + (1 − β₂) G²;   V̂ ← max(V̂, V)
        X ← W X − lr M / (√V̂ + ε)                                     M₀ = V₀ = V̂₀ = 0

    Nodes scale their gradients differently, so on heterogeneous data it may settle at a wrong point however small
    lr gets, as local Adam with gossip does; `decentralized_amsgrad` repairs that. ε is not in the source's update,
    which divides by 0 where a gradient is.

    Args:
      lr: step size.
      b1: β₁, in [0, 1).
      b2: β₂, in [0, 1).
      eps: ε.
      schedule: factor s(t) on lr, of the round t.

    Returns:
      The (init, step) pair; a message is the model.

    Raises:
      ValueError: if b1 or b2 is a number outside [0, 1); in a run, if W is not doubly stochastic.
    """
    check_momentum("dadam", b1=b1, b2=b2)

    def init(params: Tree, round: Round) -> DAdamState:
        round.require("dadam", "doubly stochastic")
        zero = tree.zeros_like(params)
        return DAdamState(params, zero, zero, zero, round.open(params))

    def step(state: DAdamState, round: Round) -> tuple[DAdamState, Info]:
        loss, grads = round.grad(state.params, round.key)
        first, second, largest = moments(grads, state.first, state.second, state.largest, b1, b2)
        mixed, link, bits = round.mix(state.link, state.params)
        direction = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + eps), first, largest)
        params = tree.add(mixed, direction, -at_round(lr, schedule, round.t))
        return DAdamState(params, first, second, largest, link), {"loss": loss, "bits": bits}

    return Algorithm(init, step)


def moments(
    grads: Tree, first: Tree, second: Tree, largest: Tree, b1: Scalar, b2: Scalar
) -> tuple[Tree, Tree, Tree]:
    """M, V and V̂ of AMSGrad after one more gradient."""
    first = tree.add(grads, tree.add(first, grads, -1.0), b1)
    squares = jax.tree.map(jnp.square, grads)
    second = tree.add(squares, tree.add(second, squares, -1.0), b2)
    return first, second, jax.tree.map(jnp.maximum, largest, second)
