"""Nearest neighbours, around one vector or around each.

Farhadkhani, Guerraoui, Gupta, Hoang, Pinot, Stephan. Robust Collaborative Learning with Linear Gradient Overhead.
ICML 2023 (NNA).
Allouah, Farhadkhani, Guerraoui, Gupta, Pinot, Stephan. Fixing by Mixing: A Recipe for Optimal Byzantine ML under
Heterogeneity. AISTATS 2023 (NNM).
"""

import jax

from dlax.robust.distances import nearest, squared_distances
from dlax.types import Heard, PreRule, Rule


def nna() -> Rule:
    """Nearest-neighbour averaging: the mean of the m − f vectors nearest to the node's own.

        N = the m − f indices j of smallest ‖xⱼ − x₀‖, the node's own among them;  (1/(m − f)) Σ_{j in N} xⱼ

    With f = 0 it is the mean. Ties go to the vector heard first.

    Returns:
      A rule of weights.
    """

    def weigh(heard: Heard) -> jax.Array:
        return nearest(squared_distances(heard)[0], heard, heard.present.sum() - heard.tolerated)

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
