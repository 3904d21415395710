"""What a node minimises. Each factory takes n first and returns a `Problem` written for one node."""

from collections.abc import Callable

from dlax.problems.average import average, average_of
from dlax.problems.classification import classification
from dlax.problems.least_squares import least_squares
from dlax.problems.one_class import one_class, one_class_of
from dlax.problems.quadratic import quadratic
from dlax.problems.regression import logistic, softmax
from dlax.types import Problem

PROBLEMS: dict[str, Callable[..., Problem]] = {
    "quadratic": quadratic,
    "least_squares": least_squares,
    "logistic": logistic,
    "softmax": softmax,
    "classification": classification,
    "average": average,
    "one_class": one_class,
}

__all__ = [
    "PROBLEMS",
    "average",
    "average_of",
    "classification",
    "least_squares",
    "logistic",
    "one_class",
    "one_class_of",
    "quadratic",
    "softmax",
]
