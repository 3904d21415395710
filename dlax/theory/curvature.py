"""L and μ of quadratic problems, which accelerated methods want for options."""

from typing import NamedTuple

import numpy as np

from dlax.theory.quadratics import quadratic_of
from dlax.types import Problem


class Curvature(NamedTuple):
    """The extreme eigenvalues of Hessians.

    Attributes:
      smoothness: L = maxᵢ λ_max(Aᵢ), of the worst node.
      strong_convexity: μ = minᵢ λ_min(Aᵢ), of the worst node.
      mean_smoothness: λ_max of the average Hessian, at most L.
      mean_strong_convexity: λ_min of the average Hessian, at least μ.
    """

    smoothness: float
    strong_convexity: float
    mean_smoothness: float
    mean_strong_convexity: float


def curvature(problem: Problem) -> Curvature:
    """Computes L and μ of a problem with affine gradients.

        c = theory.curvature(problem)
        simulate(mudag, problem, topology, hyper={"smoothness": c.smoothness, "strong_convexity": ...}, ...)

    Args:
      problem: `quadratic`, `least_squares`, `average`; see `quadratic_of`.

    Returns:
      The four numbers, in float64.

    Raises:
      ValueError: if the problem is not quadratic or too large.
    """
    A = quadratic_of(problem).A
    nodes, mean = np.linalg.eigvalsh(A), np.linalg.eigvalsh(A.mean(axis=0))
    return Curvature(float(nodes.max()), float(nodes.min()), float(mean[-1]), float(mean[0]))
