"""AD-PSGD: nobody waits; a gradient is applied when it is ready, to a model that has moved on.

Lian, Zhang, Zhang, Liu. Asynchronous Decentralized Parallel Stochastic Gradient Descent. ICML 2018.
"""

from typing import Any, NamedTuple

import jax

from dlax import tree
from dlax.timing import Work, completions, exponential_work
from dlax.topology import Topology
from dlax.types import Asynchronous, Event, Info, Scalar, Timing, Tree


class ADPSGDState(NamedTuple):
    """A node's row."""

    params: Tree  # x: the model
    read: Tree  # x̂: the model as it was when the node began its gradient


def ad_psgd(lr: Scalar = 0.1, *, work: Work = exponential_work()) -> Asynchronous:
    """Asynchronous decentralised SGD.

    Node i works on ∇fᵢ(x̂ᵢ; ξ), x̂ᵢ being its model when it began. When it is done it picks a neighbour j uniformly,

        xᵢ, xⱼ ← (xᵢ + xⱼ) / 2;   xᵢ ← xᵢ − lr · ∇fᵢ(x̂ᵢ; ξ);   x̂ᵢ ← xᵢ

    and begins the next. In between others may have averaged with xᵢ: that is the staleness, and it follows from
    the times that work takes instead of being drawn. The averaging is atomic, as in the paper; it takes no time.

    Args:
      lr: step size.
      work: how long nodes take for a gradient.

    Returns:
      The asynchronous algorithm; both ends send their model.

    Raises:
      ValueError: in a run, if the topology is directed or has a node without neighbours.
    """

    def timing(topology: Topology) -> Timing:
        if topology.is_directed:
            raise ValueError(
                f"ad_psgd: pairs average only on undirected graphs, and {topology.name} is directed"
            )
        return Timing(completions(topology, work), {})

    def init(params: Tree, facts: dict[str, Any]) -> ADPSGDState:
        return ADPSGDState(params, params)

    def meet(own: ADPSGDState, peer: ADPSGDState, event: Event) -> tuple[ADPSGDState, ADPSGDState, Info]:
        loss, grads = event.own.grad(own.read)
        mean = jax.tree.map(lambda a, b: (a + b) / 2, own.params, peer.params)
        params = tree.add(mean, grads, -lr)
        return ADPSGDState(params, params), ADPSGDState(mean, peer.read), {"loss": loss}

    return Asynchronous(timing, init, meet=meet)
