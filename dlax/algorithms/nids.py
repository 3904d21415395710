"""NIDS: exact, with step sizes that do not depend on the network.

Li, Shi, Yan. A Decentralized Proximal-Gradient Method With Network Independent Step-Sizes and Separated Convergence
Rates. IEEE Trans. Signal Processing 2019.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlax import tree
from dlax.algorithms.exact_diffusion import corrected
from dlax.optimizers import at_round, constant
from dlax.types import Algorithm, Info, Round, Scalar, Schedule, Tree


class NIDSState(NamedTuple):
    """What one round hands to the next; every leaf leads with n."""

    params: Tree  # x: the models
    adapted: Tree  # ψ: the models after the last gradient step, before anything was mixed
    link: Any  # of the channel


def nids(lr: Scalar = 0.1, c: Scalar | None = None, *, schedule: Schedule = constant()) -> Algorithm:
    """NIDS for smooth functions, with W̄ = I − c lr (I − W).

        X₁ = X₀ − lr G(X₀)
        Xₖ₊₂ = W̄ (2 Xₖ₊₁ − Xₖ − lr (G(Xₖ₊₁) − G(Xₖ)))

    Exact: with full gradients and a constant lr < 2/L, whatever the graph, the nodes reach the optimum however
    the data are split. The paper's proximal step for a common regulariser is left out, and so are step sizes by
    node. After its first round, in which nothing is sent, it is exact diffusion.

    Args:
      lr: step size.
      c: strength of the correction, above 0. The paper asks for c lr ≤ 1/(1 − λ_min(W)), which c ≤ 1/(2 lr)
        fulfils on every graph. None: that bound, so W̄ = (I + W)/2.
      schedule: factor s(t) on lr, of the round t.

    Returns:
      The (init, step) pair; a message is the size of the model.

    Raises:
      ValueError: if `c` is a number that is not positive; in a run, if W is not symmetric, doubly stochastic and
        fixed, or nodes sit rounds out.
    """
    if isinstance(c, int | float) and not c > 0:
        raise ValueError(f"nids: c must be positive, got {c}")

    def init(params: Tree, round: Round) -> NIDSState:
        round.require("nids", "symmetric", "doubly stochastic", "fixed", "full participation")
        return NIDSState(params, params, round.open(params))

    def step(state: NIDSState, round: Round) -> tuple[NIDSState, Info]:
        rate, first = at_round(lr, schedule, round.t), round.t == 0
        loss, grads = round.grad(state.params, round.key)
        adapted = tree.add(state.params, grads, -rate)
        message = corrected(adapted, state.params, state.adapted)
        mixed, link, bits = round.mix(state.link, message)
        share = jnp.where(first, 0, 0.5 if c is None else c * rate)
        params = jax.tree.map(
            lambda own, heard: (own - share * (own - heard)).astype(own.dtype), message, mixed
        )
        return NIDSState(params, adapted, link), {"loss": loss, "bits": jnp.where(first, 0, bits)}

    return Algorithm(init, step)
