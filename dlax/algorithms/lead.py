"""LEAD: a primal-dual method whose compression error vanishes, at one compressed model a round.

Liu, Li, Wang, Tang, Yan. Linear Convergent Decentralized Optimization with Compression. ICLR 2021.
"""

from typing import Any, NamedTuple

import jax

from dlax import tree
from dlax.channel import choco
from dlax.compress import dithered
from dlax.types import Algorithm, Compressor, Info, Round, Scalar, Tree


class LeadState(NamedTuple):
    """What one round hands to the next; every leaf leads with n."""

    params: Tree  # x: the models
    dual: Tree  # d: its rows sum to zero
    link: Any  # of the channel: the public copies


def lead(
    lr: Scalar = 0.1,
    gamma: Scalar = 1.0,
    memory: Scalar = 0.5,
    *,
    compressor: Compressor = dithered(),
) -> Algorithm:
    """LEAD (linearly convergent decentralised optimisation with compression).

        Y = X − lr G(X) − lr D;   Q = C(Y − H);   Ŷ = H + Q                     over the channel `choco`
        H ← (1 − α) H + α Ŷ
        D ← D + γ/(2 lr) (I − W) Ŷ;   X ← X − lr G(X) − lr D

    with D and H from 0. The last line is X ← Y − γ/2 (I − W) Ŷ, what the channel hands back of Y with half the
    consensus step size, so D ← D + (Y − X)/lr. Without compression and with γ = 1 it is NIDS. The paper takes one
    gradient step on every node before its first round; here its X¹ is the start. Reaches the optimum exactly with
    full gradients, whatever the split of the data.

    Args:
      lr: step size, up to the order of 1/L; constant, since D is measured by it.
      gamma: γ in (0, 2], the dual step size.
      memory: α in [0, 1], how fast the public copies follow.
      compressor: C; the theory asks for an unbiased one.

    Returns:
      The (init, step) pair; a message is one compressed model.

    Raises:
      ValueError: if `gamma` is a number outside (0, 2] or `memory` outside [0, 1]; in a run, unless the topology is
        fixed, symmetric and doubly stochastic, the run's channel plain, and all nodes take part.
    """
    if isinstance(gamma, int | float) and not 0 < gamma <= 2:
        raise ValueError(f"lead: gamma must be in (0, 2], got {gamma}")
    channel = choco(gamma / 2, memory, compressor=compressor)

    def init(params: Tree, round: Round) -> LeadState:
        return LeadState(params, tree.zeros_like(params), round.over(channel).open(params))

    def step(state: LeadState, round: Round) -> tuple[LeadState, Info]:
        loss, grads = round.grad(state.params, round.key)
        adapted = jax.tree.map(
            lambda x, g, d: (x - lr * (g + d)).astype(x.dtype), state.params, grads, state.dual
        )
        params, link, bits = round.over(channel).mix(state.link, adapted)
        dual = jax.tree.map(lambda d, y, x: (d + (y - x) / lr).astype(d.dtype), state.dual, adapted, params)
        return LeadState(params, dual, link), {"loss": loss, "bits": bits}

    return Algorithm(init, step)
