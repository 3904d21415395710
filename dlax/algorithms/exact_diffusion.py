"""Exact diffusion and D2: adapt, correct by the last correction, combine.

Yuan, Ying, Zhao, Sayed. Exact Diffusion for Distributed Optimization and Learning. IEEE Trans. Signal Processing
2019.
Tang, Lian, Yan, Zhang, Liu. D2: Decentralized Training over Decentralized Data. ICML 2018.
"""

from typing import Any, Literal, NamedTuple, get_args

import jax

from dlax import tree
from dlax.optimizers import at_round, constant
from dlax.types import Algorithm, Info, Round, Scalar, Schedule, Tree

Form = Literal["exact_diffusion", "d2"]


class ExactDiffusionState(NamedTuple):
    """What one round hands to the next; every leaf leads with n."""

    params: Tree  # x: the models
    adapted: Tree  # ψ: the models after the last gradient step, before anything was mixed
    link: Any  # of the channel


def exact_diffusion(
    lr: Scalar = 0.1, *, form: Form = "exact_diffusion", schedule: Schedule = constant()
) -> Algorithm:
    """Exact diffusion (NIDS up to the first round) and D2.

        ψ⁺ = X − lr G(X);   φ = ψ⁺ + X − ψ;   X ← W̄ φ;   ψ ← ψ⁺      ψ₀ = X₀

        exact_diffusion    W̄ = (I + W)/2
        d2                 W̄ = W, whose least eigenvalue must be above −1/3

    As one recursion: X₁ = W̄ (X₀ − lr G(X₀)), Xₖ₊₂ = W̄ (2 Xₖ₊₁ − Xₖ − lr (G(Xₖ₊₁) − G(Xₖ))). Exact: with full
    gradients and a constant lr, up to the order of 1/L whatever the graph, the nodes reach the optimum however
    the data are split.

    Args:
      lr: step size.
      form: which W̄. "d2" mixes faster, and is not valid on every graph: on a ring of even size with weights
        1/3 the least eigenvalue is −1/3 itself.
      schedule: factor s(t) on lr, of the round t.

    Returns:
      The (init, step) pair; a message is φ, the size of the model.

    Raises:
      ValueError: if the form is none of the two; in a run, if W is not symmetric, doubly stochastic and fixed,
        nodes sit rounds out, or the least eigenvalue is not above −1/3 and the form is d2.
    """
    if form not in get_args(Form):
        raise ValueError(f"exact_diffusion: form must be one of {', '.join(get_args(Form))}, got {form!r}")

    def init(params: Tree, round: Round) -> ExactDiffusionState:
        round.require("exact_diffusion", "symmetric", "doubly stochastic", "fixed", "full participation")
        if form == "d2":
            round.fact("least eigenvalue above -1/3")  # raises on the host where it is not
        return ExactDiffusionState(params, params, round.open(params))

    def step(state: ExactDiffusionState, round: Round) -> tuple[ExactDiffusionState, Info]:
        loss, grads = round.grad(state.params, round.key)
        adapted = tree.add(state.params, grads, -at_round(lr, schedule, round.t))
        message = corrected(adapted, state.params, state.adapted)
        params, link, bits = round.mix(state.link, message)
        if form == "exact_diffusion":
            params = jax.tree.map(lambda own, mixed: (own + mixed) / 2, message, params)
        return ExactDiffusionState(params, adapted, link), {"loss": loss, "bits": bits}

    return Algorithm(init, step)


def corrected(adapted: Tree, params: Tree, before: Tree) -> Tree:
    """φ = ψ⁺ + X − ψ."""
    return jax.tree.map(lambda new, x, old: new + (x - old), adapted, params, before)
