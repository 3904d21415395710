"""A²CiD²: a continuous momentum that accelerates pairwise averaging beside asynchronous SGD.

Nabli, Belilovsky, Oyallon. A²CiD²: Accelerating Asynchronous Communication in Decentralized Deep Learning.
NeurIPS 2023.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlax import tree
from dlax.timing import exchange_rates, poisson
from dlax.topology import Topology, chi1, chi2
from dlax.types import Asynchronous, Event, Info, Scalar, Timing, Tree


class ACiDState(NamedTuple):
    """A node's row."""

    params: Tree  # x: the model
    partner: Tree  # x̃: its momentum partner


def acid(lr: Scalar = 0.1, *, rate: float = 1.0, accelerated: bool = True) -> Asynchronous:
    """A²CiD², or plain asynchronous SGD with pairwise averaging.

    Between events   dx = η (x̃ − x) dt,  dx̃ = η (x − x̃) dt
    gradient at i    x ← x − lr ∇fᵢ(x; ξ),  x̃ ← x̃ − lr ∇fᵢ(x; ξ)
    edge {i, j}      D = xᵢ − xⱼ;   xᵢ, xⱼ ← xᵢ − D/2, xⱼ + D/2;   x̃ᵢ, x̃ⱼ ← x̃ᵢ − α̃ D, x̃ⱼ + α̃ D

    with η = 1 / (2 √(χ₁ χ₂)) and α̃ = ½ √(χ₁/χ₂), where χ₁ and χ₂ are those of the Laplacian of the edges' rates.
    Nodes have clocks of rate 1, edges of rate λ_ij = rate/2 · (1/dᵢ + 1/dⱼ), which on a regular graph is the
    authors' Laplacian rate · (I − A/d). Averaging alone takes a time of order χ₁ without and √(χ₁ χ₂) with the
    momentum. The mean of x and of x̃ is kept by the averaging.

    Constants are those of the authors' code; the momentum of its local SGD is left out.

    Args:
      lr: step size.
      rate: exchanges that a node takes part in per gradient, on average over nodes.
      accelerated: False leaves the partner out (η = 0): the authors' asynchronous baseline.

    Returns:
      The asynchronous algorithm; both ends send their model.

    Raises:
      ValueError: if `rate` is not positive; in a run, if the topology is directed, changes, or is complete with the
        momentum, which there has nothing to gain.
    """
    if not rate > 0:
        raise ValueError(f"acid: rate must be positive, got {rate}")

    def timing(topology: Topology) -> Timing:
        if not topology.is_fixed:
            raise ValueError(f"acid: needs a fixed topology, and {topology.name} changes over rounds")
        if accelerated and len(topology.edges) == topology.n * (topology.n - 1):
            raise ValueError("acid: the complete graph has nothing to accelerate; set accelerated to false")
        edges, rates = exchange_rates(topology, rate)
        facts = {}
        if accelerated:
            one, two = chi1(topology, rates), chi2(topology, rates)
            facts = {"eta": 0.5 / np.sqrt(one * two), "alpha": 0.5 * np.sqrt(one / two)}
        return Timing(poisson(np.ones(topology.n), edges, rates), facts)

    def init(params: Tree, facts: dict[str, Any]) -> ACiDState:
        return ACiDState(params, params if accelerated else ())

    def flow(own: ACiDState, elapsed: jax.Array, facts: dict[str, Any]) -> ACiDState:
        # The sum is still, the difference decays at rate 2η.
        away = 0.5 * (1 - jnp.exp(-2 * facts["eta"] * elapsed))
        change = jax.tree.map(lambda a, b: (b - a) * away.astype(a.dtype), own.params, own.partner)
        return ACiDState(tree.add(own.params, change), tree.add(own.partner, change, -1.0))

    def compute(own: ACiDState, event: Event) -> tuple[ACiDState, Info]:
        loss, grads = event.own.grad(own.params)
        partner = tree.add(own.partner, grads, -lr) if accelerated else ()
        return ACiDState(tree.add(own.params, grads, -lr), partner), {"loss": loss}

    def meet(own: ACiDState, peer: ACiDState, event: Event) -> tuple[ACiDState, ACiDState, Info]:
        apart = jax.tree.map(lambda a, b: a - b, own.params, peer.params)

        def jump(state: ACiDState, sign: float) -> ACiDState:
            partner = tree.add(state.partner, apart, sign * event.facts["alpha"]) if accelerated else ()
            return ACiDState(tree.add(state.params, apart, sign / 2), partner)

        return jump(own, -1.0), jump(peer, 1.0), {}

    return Asynchronous(timing, init, compute, meet, flow if accelerated else None)
