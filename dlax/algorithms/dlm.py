"""DLM, linearised ADMM: consensus ADMM whose local minimisation is one gradient step.

Ling, Shi, Wu, Ribeiro. DLM: Decentralized Linearized Alternating Direction Method of Multipliers. IEEE TSP 2015.
"""

from typing import NamedTuple

import jax

from dlax import tree
from dlax.algorithms.laplacian import laplacian
from dlax.types import Algorithm, Info, Round, Scalar, Tree


class DLMState(NamedTuple):
    """What one round hands to the next; every leaf leads with n."""

    params: Tree  # x: the models
    dual: Tree  # p: sums to zero over the nodes


def dlm(lr: Scalar = 0.1, penalty: Scalar = 1.0) -> Algorithm:
    """DLM.

        P ← P + c L X;   X ← X − lr (G(X) + c L X + P)          P = 0 before the first round

    with L the graph's Laplacian, row i of L X being Σ_{j ∈ Nᵢ} (xᵢ − xⱼ). The paper writes the dual step last, where
    it sends what the next round needs again; nodes that start alike make the two orders the same.

    Args:
      lr: step size; 1 / (smoothness + 2 c λ_max(L)) is safe, and λ_max(L) is at most twice the largest degree.
      penalty: c > 0, the weight of every edge.

    Returns:
      The (init, step) pair; a message is the model, one a directed edge.

    Raises:
      ValueError: in a run, if the graph is directed or changes, nodes sit rounds out, or the channel is not plain.
    """

    def init(params: Tree, round: Round) -> DLMState:
        round.require("dlm", "undirected", "fixed", "full participation")
        return DLMState(params, tree.zeros_like(params))

    def step(state: DLMState, round: Round) -> tuple[DLMState, Info]:
        loss, grads = round.grad(state.params, round.key)
        apart, _, bits = laplacian(state.params, round)
        dual = tree.add(state.dual, apart, penalty)
        pull = jax.tree.map(lambda g, a, p: (g + penalty * a + p).astype(g.dtype), grads, apart, dual)
        return DLMState(tree.add(state.params, pull, -lr), dual), {"loss": loss, "bits": bits}

    return Algorithm(init, step)
