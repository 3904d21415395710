"""The continuized framework: accelerated dual coordinate steps when the clocks of edges tick.

Even, Berthier, Bach, Flammarion, Gaillard, Hendrikx, Massoulié, Taylor. A Continuized View on Nesterov Acceleration
for Stochastic Gradient Descent and Randomized Gossip. NeurIPS 2021.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlax import tree
from dlax.timing import poisson
from dlax.topology import Topology, chi1, edge_list, effective_resistance
from dlax.types import Asynchronous, End, Event, Info, Scalar, Timing, Tree


class ContinuizedState(NamedTuple):
    """A node's row."""

    params: Tree  # ∇f*(z) as it was at the last event: the model
    y: Tree  # dual variable
    z: Tree  # its momentum partner


def continuized(smoothness: Scalar = 1.0, convexity: Scalar = 0.1, *, rate: float = 1.0) -> Asynchronous:
    """Continuized acceleration of the dual problem, with dual gradients ∇fᵢ*.

    Between events   dy = η (z − y) dt,  dz = η (y − z) dt
    edge {i, j}      G = ∇fᵢ*(yᵢ) − ∇fⱼ*(yⱼ);   yᵢ, yⱼ ← yᵢ − γ R_ij G, yⱼ + γ R_ij G;   zᵢ, zⱼ ← zᵢ − γ̃ G, zⱼ + γ̃ G

    R_ij is the effective resistance of the edge under the probabilities p = 1/m, R its largest, μ_g = 1/χ₁(p):
    η = √(μ_g/R · μ/L), γ = μ/(2R), γ̃ = √(L μ / (2 μ_g R)). Time runs so that the edges tick `rate` · n/2 times per
    unit in all; η is in ticks. A gradient and a communication are one event here, which DADAO takes apart.

    Starts at y = z = 0; the run's first models are what is shown before a node's first event. Constants are those
    of the code of DADAO's authors, who move a factor 2 in γ̃ that the paper misplaces.

    Args:
      smoothness: L of every fᵢ.
      convexity: μ of every fᵢ.
      rate: events that a node takes part in per unit of time, on average over nodes.

    Returns:
      The asynchronous algorithm; both ends send ∇fᵢ*(yᵢ), one model, and take one dual gradient.

    Raises:
      ValueError: if `rate` is not positive; in a run, if the topology is directed or changes, or the problem has no
        gradient of the conjugate.
    """
    if not rate > 0:
        raise ValueError(f"continuized: rate must be positive, got {rate}")

    def timing(topology: Topology) -> Timing:
        if not topology.is_fixed:
            raise ValueError(f"continuized: needs a fixed topology, and {topology.name} changes over rounds")
        edges = edge_list(topology)
        m, total = len(edges), rate * topology.n / 2
        if m == 0:
            raise ValueError(f"continuized: {topology.name} has no edge")
        resistance = effective_resistance(topology, np.full(m, 1 / m))
        facts = {
            "gap": 1 / chi1(topology),
            "largest": float(resistance[edges[:, 0], edges[:, 1]].max()),
            "total": total,
            "resistance": resistance,
        }
        return Timing(poisson(np.zeros(topology.n), edges, np.full(m, total / m)), facts)

    def init(params: Tree, facts: dict[str, Any]) -> ContinuizedState:
        zero = tree.zeros_like(params)
        return ContinuizedState(params, zero, zero)

    def flow(own: ContinuizedState, elapsed: jax.Array, facts: dict[str, Any]) -> ContinuizedState:
        eta = jnp.sqrt(facts["gap"] / facts["largest"] * convexity / smoothness) * facts["total"]
        away = 0.5 * (1 - jnp.exp(-2 * eta * elapsed))
        change = jax.tree.map(lambda y, z: (z - y) * away.astype(y.dtype), own.y, own.z)
        return own._replace(y=tree.add(own.y, change), z=tree.add(own.z, change, -1.0))

    def meet(
        own: ContinuizedState, peer: ContinuizedState, event: Event
    ) -> tuple[ContinuizedState, ContinuizedState, Info]:
        gap, largest = event.facts["gap"], event.facts["largest"]
        short = convexity / (2 * largest) * event.facts["resistance"][event.own.node, event.peer.node]
        long = jnp.sqrt(smoothness * convexity / (2 * gap * largest))
        apart = tree.add(event.own.conjugate(own.y), event.peer.conjugate(peer.y), -1.0)

        def jump(state: ContinuizedState, end: End, sign: float) -> ContinuizedState:
            z = tree.add(state.z, apart, sign * long)
            return ContinuizedState(end.conjugate(z), tree.add(state.y, apart, sign * short), z)

        return jump(own, event.own, -1.0), jump(peer, event.peer, 1.0), {"gradients": 2}

    return Asynchronous(timing, init, meet=meet, flow=flow)
