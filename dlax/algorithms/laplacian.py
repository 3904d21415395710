"""What the neighbours' differences add up to, for the methods that keep a dual variable of them."""

import jax
import jax.numpy as jnp

from dlax import tree
from dlax.types import Round, Tree


def laplacian(x: Tree, round: Round) -> tuple[Tree, jax.Array, jax.Array]:
    """L X with L the graph's Laplacian without weights: row i is Σ_{j ∈ Nᵢ} (xᵢ − xⱼ).

    Args:
      x: `[n, ...]`, what every node sends to every neighbour.
      round: of a fixed undirected graph.

    Returns:
      L X, the degrees `[n]`, and the bits `[n]`: one message a directed edge.
    """
    edges = round.edges()
    differences = jax.tree.map(
        lambda own, near: jnp.sum(own[:, None] - near, axis=1), x, edges.gather(x)
    )  # an empty slot shows the node's own and adds nothing
    return differences, edges.degree, edges.degree * tree.message_bits(x)
