"""Decentralised AMSGrad: nodes agree on the models and on how to scale gradients.

Chen, Karimi, Zhao, Li. On the Convergence of Decentralized Adaptive Gradient Methods. arXiv:2109.03194, 2021.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlax import tree
from dlax.algorithms.dadam import moments
from dlax.algorithms.dmsgd import check_momentum
from dlax.optimizers import at_round, constant
from dlax.types import Algorithm, Info, Round, Scalar, Schedule, Tree


class AMSGradState(NamedTuple):
    """What one round hands to the next; every leaf leads with n."""

    params: Tree  # x: the models
    first: Tree  # m: the average gradient
    second: Tree  # v: the average squared gradient
    largest: Tree  # v̂: the largest v so far, by entry
    denominator: Tree  # ũ: tracks the mean of v̂ over nodes
    link: Any  # of the channel


def decentralized_amsgrad(
    lr: Scalar = 0.001,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-6,
    *,
    schedule: Schedule = constant(),
) -> Algorithm:
    """Decentralised AMSGrad, by entry: gradient tracking of the denominator.

        M ← β₁ M + (1 − β₁) G;   V ← β₂ V + (1 − β₂) G²;   V̂⁺ = max(V̂, V)
        U = W Ũ;   X ← W X − lr M / √max(U, ε);   Ũ ← U − V̂ + V̂⁺      M₀ = V₀ = 0, Ũ₀ = V̂₀ = ε

    The node-mean of Ũ is that of V̂, so all nodes come to scale alike and a decaying lr leads to a stationary
    point of the sum, which is not so of `dadam`. With a constant lr the bias of D-SGD remains.

    Args:
      lr: step size.
      b1: β₁, in [0, 1).
      b2: β₂, in [0, 1).
      eps: ε, the least denominator before the root is taken, above 0.
      schedule: factor s(t) on lr, of the round t.

    Returns:
      The (init, step) pair; a message is (x, ũ), twice the model.

    Raises:
      ValueError: if b1 or b2 is a number outside [0, 1) or eps not positive; in a run, if W is not doubly
        stochastic.
    """
    check_momentum("decentralized_amsgrad", b1=b1, b2=b2)
    if isinstance(eps, int | float) and not eps > 0:
        raise ValueError(f"decentralized_amsgrad: eps must be positive, got {eps}")

    def init(params: Tree, round: Round) -> AMSGradState:
        round.require("decentralized_amsgrad", "doubly stochastic")
        zero = tree.zeros_like(params)
        least = jax.tree.map(lambda leaf: jnp.broadcast_to(eps, leaf.shape).astype(leaf.dtype), params)
        return AMSGradState(params, zero, zero, least, least, round.open((params, least)))

    def step(state: AMSGradState, round: Round) -> tuple[AMSGradState, Info]:
        loss, grads = round.grad(state.params, round.key)
        first, second, largest = moments(grads, state.first, state.second, state.largest, b1, b2)
        (mixed, scale), link, bits = round.mix(state.link, (state.params, state.denominator))
        direction = jax.tree.map(lambda m, u: m / jnp.sqrt(jnp.maximum(u, eps)), first, scale)
        params = tree.add(mixed, direction, -at_round(lr, schedule, round.t))
        tracked = jax.tree.map(lambda u, new, old: u + (new - old), scale, largest, state.largest)
        return AMSGradState(params, first, second, largest, tracked, link), {"loss": loss, "bits": bits}

    return Algorithm(init, step)
