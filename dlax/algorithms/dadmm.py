"""Decentralised consensus ADMM: every node minimises its own loss plus what ties it to its neighbours.

Shi, Ling, Yuan, Wu, Yin. On the Linear Convergence of the ADMM in Decentralized Consensus Optimization. IEEE TSP
2014.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from dlax import tree
from dlax.algorithms.laplacian import laplacian
from dlax.types import Algorithm, Info, Round, Scalar, Tree


class DADMMState(NamedTuple):
    """What one round hands to the next; every leaf leads with n."""

    params: Tree  # x: the models
    dual: Tree  # p: sums to zero over the nodes


def dadmm(penalty: Scalar = 0.5) -> Algorithm:
    """Consensus ADMM.

        P ← P + c L X                                                    P = 0 before the first round
        xᵢ ← argmin_x fᵢ(x) + ⟨pᵢ, x⟩ + c Σ_{j ∈ Nᵢ} ‖x − (xᵢ + xⱼ)/2‖²

    with L the graph's Laplacian, row i of L X being Σ_{j ∈ Nᵢ} (xᵢ − xⱼ). With dᵢ neighbours the minimiser is

        prox of fᵢ with scale 1/(2 c dᵢ)  at  xᵢ − ((L X)ᵢ + pᵢ/c) / (2 dᵢ)

    The paper writes the dual step last; nodes that start alike make the two orders the same.

    Args:
      penalty: c > 0, the weight of every edge.

    Returns:
      The (init, step) pair; a message is the model, one a directed edge. A proximal step counts as one gradient.

    Raises:
      ValueError: in a run, if the graph is directed or changes, nodes sit rounds out, the channel is not plain, or
        the problem has no proximal step.
    """

    def init(params: Tree, round: Round) -> DADMMState:
        round.require("dadmm", "undirected", "fixed", "full participation")
        return DADMMState(params, tree.zeros_like(params))

    def step(state: DADMMState, round: Round) -> tuple[DADMMState, Info]:
        apart, degree, bits = laplacian(state.params, round)
        degree = jnp.maximum(degree, 1)  # a node all alone takes proximal steps of its own
        dual = tree.add(state.dual, apart, penalty)

        def centre(x: jax.Array, a: jax.Array, p: jax.Array) -> jax.Array:
            d = tree.beside(degree, x).astype(x.dtype)
            return (x - (a + p / penalty) / (2 * d)).astype(x.dtype)

        center = jax.tree.map(centre, state.params, apart, dual)
        params = round.prox(center, 1 / (2 * penalty * degree))
        return DADMMState(params, dual), {"bits": bits, "gradients": 1}

    return Algorithm(init, step)
