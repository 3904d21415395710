"""Nearest neighbours, around one vector or around each.

Farhadkhani, Guerraoui, Gupta, Hoang, Pinot, Stephan. Robust Collaborative Learning with Linear Gradient Overhead.
ICML 2023 (NNA).
Allouah, Farhadkhani, Guerraoui, Gupta, Pinot, Stephan. Fixing by Mixing: A Recipe for Optimal Byzantine ML under
Heterogeneity. AISTATS 2023 (NNM).
"""

import jax
import jax.numpy as jnp

from dlax.robust.distances import nearest, ranks, squared_distances
from dlax.types import Heard, PreRule, Rule


def nna(*, delayed: bool = False) -> Rule:
    """Nearest-neighbour averaging: the mean of the m − f vectors nearest to the node's own.

        N = the m − f indices j of smallest ‖xⱼ − x₀‖, the node's own among them;  (1/(m − f)) Σ_{j in N} xⱼ

    With f = 0 it is the mean. Ties go to the vector heard first.

    Args:
      delayed: the adversary that the authors' code simulates: it also holds back f honest messages, drawn anew for
        every node and round, so that a node has its own, m − 2f − 1 honest and all Byzantine ones, and keeps the
        m − 2f nearest. It is the simulated adversary, not the rule, that knows who lies.

    Returns:
      A rule of weights.
    """

    def weigh(heard: Heard) -> jax.Array:
        keep = heard.present.sum() - heard.tolerated
        if delayed:
            honest = (heard.present & ~heard.lies).at[0].set(False)
            draw = jnp.where(honest, jax.random.uniform(heard.key, honest.shape), jnp.inf)
            late = honest & (ranks(draw) < heard.tolerated)
            heard, keep = heard._replace(present=heard.present & ~late), keep - heard.tolerated
        return nearest(squared_distances(heard)[0], heard, keep)

    return Rule(weigh)


def nnm() -> PreRule:
    """Nearest-neighbour mixing: every vector becomes the mean of the m − f nearest to it, itself included.

    Returns:
      A pre-rule; with f = 0 all vectors become the mean.
    """

    def matrix(heard: Heard) -> tuple[jax.Array, jax.Array]:
        keep = heard.present.sum() - heard.tolerated
        return nearest(squared_distances(heard), heard, keep), heard.present

    return PreRule(matrix)
