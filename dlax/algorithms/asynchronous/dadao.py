"""DADAO: gradients and pairwise communications on two independent sets of Poisson clocks, both accelerated.

Nabli, Oyallon. DADAO: Decoupled Accelerated Decentralized Asynchronous Optimization. ICML 2023.
"""

from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from dlax import tree
from dlax.timing import poisson
from dlax.topology import Topology, edge_rates, uniform_rates
from dlax.types import Asynchronous, Event, Info, Scalar, Timing, Tree

Rates = Literal["uniform", "optimal"]


class DADAOState(NamedTuple):
    """A node's row; a tilde marks the momentum partner of each variable."""

    params: Tree  # x: the model
    x_tilde: Tree
    y: Tree  # the dual variable of ∇F(x) − ν x
    y_tilde: Tree
    z: Tree  # the dual variable of consensus; sums to 0 over nodes
    z_tilde: Tree


def dadao(
    smoothness: Scalar = 1.0, convexity: Scalar = 0.1, *, rates: Rates = "uniform", intensity: float = 1.0
) -> Asynchronous:
    """DADAO.

    With ν = μ/2 and χ₁ = 1/λ₂ of the Laplacian of the edges' rates. Between its events every node follows

        dx  = η (x̃ − x) dt         dx̃ = η (x − x̃) dt
        dy  = α (ỹ − y) dt         dỹ = −θ (ν x̃ + y + z) dt
        dz  = α (z̃ − z) dt         dz̃ = α̃ (z − z̃) dt

    whose solution, in closed form, is applied exactly and only when the node is touched. When its clock of
    rate 1 ticks, with g = ∇fᵢ(x) − ν x − ỹ,

        x ← x − γ g,   x̃ ← x̃ − γ̃ g,   ỹ ← ỹ + (δ + δ̃) g

    and when the clock of edge {i, j} ticks, with m = (yᵢ + zᵢ) − (yⱼ + zⱼ),

        zᵢ ← zᵢ − β m,   z̃ᵢ ← z̃ᵢ − β̃ m,   zⱼ ← zⱼ + β m,   z̃ⱼ ← z̃ⱼ + β̃ m

    Constants: η = √(ν/L)/8, α = √(ν/L)/4, α̃ = √(ν/L)/8, θ = √(L/ν)/2, γ = 1/(4L), γ̃ = 1/(4√(Lν)), δ = √(ν/L)/4,
    δ̃ = 1, β = 1/2, β̃ = 2 χ₁ √(L/ν). Edges tick as rarely as 2 χ₁ χ₂ ≤ 1 allows. E‖x − x*‖² then falls at least
    like exp(−η t), on every graph.

    Dynamics, constants and the communication condition are those of the authors' code; the paper's text was not
    available to us. The code starts x at a normal draw and x̃ at 0, we start both at the same point. Needs
    float64 for its rate: β̃ grows like χ₁.

    Args:
      smoothness: L of every fᵢ.
      convexity: μ of every fᵢ; the ratio L/μ sets the rate.
      rates: "uniform": all edges alike; "optimal": `dlax.topology.edge_rates`, which needs the extra `theory`.
      intensity: factor on the edges' rates; below 1 the communication condition is violated.

    Returns:
      The asynchronous algorithm; each end of an edge sends y + z, one model.

    Raises:
      ValueError: if an option is none of those, or not positive; in a run, if the topology is directed or changes.
    """
    if rates not in get_args(Rates):
        raise ValueError(f"dadao: rates must be one of {', '.join(get_args(Rates))}, got {rates!r}")
    if not intensity > 0:
        raise ValueError(f"dadao: intensity must be positive, got {intensity}")

    nu = convexity / 2
    slow = jnp.sqrt(nu / smoothness)  # √(ν/L)

    def timing(topology: Topology) -> Timing:
        if not topology.is_fixed:
            raise ValueError(f"dadao: needs a fixed topology, and {topology.name} changes over rounds")
        found = uniform_rates(topology) if rates == "uniform" else edge_rates(topology)
        draw = poisson(np.ones(topology.n), found.edges, intensity * found.rates)
        return Timing(draw, {"chi1": found.chi1 / intensity})

    def init(params: Tree, facts: dict[str, Any]) -> DADAOState:
        zero = tree.zeros_like(params)
        return DADAOState(params, params, zero, zero, zero, zero)

    def flow(own: DADAOState, elapsed: jax.Array, facts: dict[str, Any]) -> DADAOState:
        six: list[list[jax.Array]] = [jax.tree.leaves(variable) for variable in own]
        moved = [flow_of_six(leaves, nu, slow, elapsed) for leaves in zip(*six, strict=True)]
        structure = jax.tree.structure(own.params)
        return DADAOState(*(jax.tree.unflatten(structure, leaves) for leaves in zip(*moved, strict=True)))

    def compute(own: DADAOState, event: Event) -> tuple[DADAOState, Info]:
        loss, grads = event.own.grad(own.params)
        g = jax.tree.map(lambda grad, x, y: grad - nu * x - y, grads, own.params, own.y_tilde)
        return own._replace(
            params=tree.add(own.params, g, -1 / (4 * smoothness)),
            x_tilde=tree.add(own.x_tilde, g, -1 / (4 * smoothness * slow)),
            y_tilde=tree.add(own.y_tilde, g, slow / 4 + 1),
        ), {"loss": loss}

    def meet(own: DADAOState, peer: DADAOState, event: Event) -> tuple[DADAOState, DADAOState, Info]:
        m = jax.tree.map(lambda a, b, c, d: (a + b) - (c + d), own.y, own.z, peer.y, peer.z)
        beta_tilde = 2 * event.facts["chi1"] / slow

        def jump(state: DADAOState, sign: float) -> DADAOState:
            z, z_tilde = tree.add(state.z, m, sign / 2), tree.add(state.z_tilde, m, sign * beta_tilde)
            return state._replace(z=z, z_tilde=z_tilde)

        return jump(own, -1.0), jump(peer, 1.0), {}

    return Asynchronous(timing, init, compute, meet, flow)


def flow_of_six(
    six: tuple[jax.Array, ...], nu: Scalar, slow: Scalar, elapsed: jax.Array
) -> tuple[jax.Array, ...]:
    """The six variables after a time: exp(A t) of the dynamics' 6 x 6 matrix A, in closed form.

    With s = √(ν/L): x and x̃ approach their middle at the rate 2η = s/4, z and z̃ a common end at α + α̃ = 3s/8. Both
    drive y and ỹ, which follow with the same exponentials (p below) and swing about that with frequency ω,
    ω² = αθ − α²/4 = 1/8 − s²/64 > 0, damped by α/2 = s/8.

    Args:
      six: x, x̃, y, ỹ, z, z̃, of one shape.
      nu: ν `[]`.
      slow: s `[]`.
      elapsed: t `[]`.
    """
    x, x_tilde, y, y_tilde, z, z_tilde = six
    omega = jnp.sqrt(1 / 8 - slow**2 / 64)
    damped = jnp.exp(-slow / 8 * elapsed)
    times = (
        jnp.exp(-slow / 4 * elapsed),
        jnp.exp(-3 * slow / 8 * elapsed),
        damped * jnp.cos(omega * elapsed),
        damped * jnp.sin(omega * elapsed) / omega,
        8 / (8 + 3 * slow**2),
    )
    fade_x, fade_z, cosine, sine, lag = (jnp.asarray(scale, x.dtype) for scale in times)
    middle, apart = (x + x_tilde) / 2, (x_tilde - x) / 2
    gap = (z_tilde - z) / 3
    end = z + 2 * gap
    rest = nu * middle + end

    def p(fade_x: Any, fade_z: Any) -> tuple[jax.Array, jax.Array]:
        return -rest - nu * apart * fade_x + 2 * lag * gap * fade_z, -rest - lag * gap * fade_z

    (start, start_tilde), (now, now_tilde) = p(1, 1), p(fade_x, fade_z)
    a, b = y - start, y_tilde - start_tilde
    swing = (cosine - slow / 8 * sine) * a + slow / 4 * sine * b
    swing_tilde = (cosine + slow / 8 * sine) * b - sine / (2 * slow) * a
    return (
        middle - apart * fade_x,
        middle + apart * fade_x,
        now + swing,
        now_tilde + swing_tilde,
        end - 2 * gap * fade_z,
        end + gap * fade_z,
    )
