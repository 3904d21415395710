"""Predictions: rates, steady states and constants of what dlax implements, to be laid beside measurements.

Two kinds. *Exact*: on quadratics an algorithm is an affine map, so its rate, its fixed point and its stationary
covariance are linear algebra at finite n (`dsgd`, `gradient_tracking`, `centralized_sgd`, and `linearize` for
any algorithm whose rounds are affine). *Bounds*, which say how things scale (`bounds`). Everything is float64
NumPy on the host.

    prediction = theory.dsgd(problem, topology, lr=0.1)
    prediction.rate, prediction.steady_distance, prediction.distances(rounds=100)
"""

from dlax.theory.averaging import (
    chebyshev_contraction,
    contraction,
    push_sum_rate,
    rounds_to,
    rumour_rounds,
    second_order_contraction,
)
from dlax.theory.bounds import dsgd_bias_bound, dsgd_terms, transient_bound
from dlax.theory.curvature import Curvature, curvature
from dlax.theory.linearize import linearize
from dlax.theory.outer import outer_limit, outer_matrix, outer_radius
from dlax.theory.quadratics import Quadratic, centralized_sgd, dsgd, gradient_tracking, quadratic_of
from dlax.theory.recursion import Recursion
from dlax.theory.transient import Transient, transient

__all__ = [
    "Curvature",
    "Quadratic",
    "Recursion",
    "Transient",
    "centralized_sgd",
    "chebyshev_contraction",
    "contraction",
    "curvature",
    "dsgd",
    "dsgd_bias_bound",
    "dsgd_terms",
    "gradient_tracking",
    "linearize",
    "outer_limit",
    "outer_matrix",
    "outer_radius",
    "push_sum_rate",
    "quadratic_of",
    "rounds_to",
    "rumour_rounds",
    "second_order_contraction",
    "transient",
    "transient_bound",
]
