"""Gossip accelerated by Chebyshev polynomials.

Golub, Varga. Chebyshev semi-iterative methods. Numerische Mathematik 1961.
Scaman, Bach, Bubeck, Lee, Massoulié. Optimal algorithms for smooth and strongly convex distributed optimization
in networks. ICML 2017 (gossip by them).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlax import tree
from dlax.types import Algorithm, Info, Round, Scalar, Tree


class ChebyshevState(NamedTuple):
    """What one round hands to the next; every leaf leads with n."""

    params: Tree  # x: the nodes' values
    previous: Tree  # x of the round before
    omega: jax.Array  # ω: [n], the same number at every node
    link: Any  # of the channel


def chebyshev_gossip(gap: Scalar | None = None) -> Algorithm:
    """Chebyshev gossip: after k rounds the best polynomial of degree k in W for eigenvalues within ±ρ.

        Xₖ₊₁ = ωₖ₊₁ W Xₖ + (1 − ωₖ₊₁) Xₖ₋₁
        ω₁ = 1,  ω₂ = 1 / (1 − ρ²/2),  ωₖ₊₁ = 1 / (1 − ρ² ωₖ/4)

    ‖Xₖ − X̄‖ ≤ ‖X₀ − X̄‖ / Tₖ(1/ρ), so about 1/√gap rounds do what plain gossip does in 1/gap. The mean is kept.

    Args:
      gap: 1 − ρ of the topology, in (0, 1]. None asks the topology. Any other converges too, as every eigenvalue
        but one is within ±1, and is slower.

    Returns:
      The (init, step) pair; a message is the value.

    Raises:
      ValueError: if `gap` is a number outside (0, 1]; in a run, if W is not symmetric, doubly stochastic and
        fixed, or nodes sit rounds out.
    """
    check_gap("chebyshev_gossip", gap)

    def init(params: Tree, round: Round) -> ChebyshevState:
        round.require("chebyshev_gossip", "symmetric", "doubly stochastic", "fixed", "full participation")
        omega = jnp.zeros(round.active.shape[0], jax.tree.leaves(params)[0].dtype)
        return ChebyshevState(params, params, omega, round.open(params))

    def step(state: ChebyshevState, round: Round) -> tuple[ChebyshevState, Info]:
        rho = 1 - (round.fact("spectral gap") if gap is None else gap)
        omega = 1 / (1 - rho**2 * jnp.where(round.t == 1, 2, state.omega) / 4)
        omega = omega.astype(state.omega.dtype)
        mixed, link, bits = round.mix(state.link, state.params)
        params = extrapolate(mixed, state.previous, omega)
        return ChebyshevState(params, state.params, omega, link), {"bits": bits}

    return Algorithm(init, step)


def check_gap(who: str, gap: Any) -> None:
    """Refuses a gap outside (0, 1]; a traced one passes."""
    if isinstance(gap, int | float) and not 0 < gap <= 1:
        raise ValueError(f"{who}: gap must be in (0, 1], got {gap}")


def extrapolate(mixed: Tree, previous: Tree, omega: jax.Array) -> Tree:
    """ω W Xₖ + (1 − ω) Xₖ₋₁ for leaves `[n, ...]` and ω `[n]`."""

    def one(new: jax.Array, old: jax.Array) -> jax.Array:
        w = tree.beside(omega, new).astype(new.dtype)
        return w * new + (1 - w) * old

    return jax.tree.map(one, mixed, previous)
