"""Logistic and softmax regression on real data, with the optimum found by scipy in float64.

With at most 512 parameters they have proximal steps, of the exact fᵢ: 30 damped Newton steps from v,

    x ← x − τ p,   p = (∇² g)⁻¹ ∇g,   τ = ln(1 + R ‖p‖) / (R ‖p‖),   g(x) = fᵢ(x) + ‖x − v‖² / (2 scale)

under which g falls in every step, since |D³fᵢ[u, w, w]| ≤ R ‖u‖ D²fᵢ[w, w] with R the largest norm of a node's
(a, 1), times √2 for softmax; near the minimiser it is Newton's own (Sun, Tran-Dinh. Generalized self-concordant
functions. Mathematical Programming 2019). In float64 the gradient of g then is below 1e-9 if R ‖x − v‖ is below
about 40, as it is where scale is not far above 1/L; from farther off 30 steps are too few.

Gradients of conjugates are left out: where only l2 curves, a fixed number of steps does not reach them.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
import scipy.special
from jax.flatten_util import ravel_pytree

from dlax.data import Dataset, Partition, iid
from dlax.problems.finite_sum import (
    NodeWeights,
    Samples,
    check_batch_size,
    decode,
    evaluator,
    exact_loss,
    global_objective,
    hold_out,
    lay_out,
    local_loss,
    poisoner,
    refuse_sequences,
)
from dlax.types import Key, Problem, Scalar, Tree

_STEPS = 30  # of Newton
_LARGEST = 512  # parameters of a model that has proximal steps: they take a Hessian a node


def logistic(
    n: int,
    *,
    dataset: Dataset,
    partition: Partition = iid(),
    batch_size: int | None = 32,
    l2: float = 1e-4,
    node_weights: NodeWeights = "equal",
    optimum: bool = True,
    seed: int = 0,
) -> Problem:
    """Binary logistic regression, strongly convex through its regulariser.

        ℓ(w, c; a, y) = log(1 + exp(−y (aᵀ w + c))),   y ∈ {−1, 1};   f = Σ weighted ℓ + (l2/2) (‖w‖² + c²)

    Starts at zero.

    Args:
      n: number of nodes.
      dataset: a data set with two classes; class 1 is y = 1.
      partition: how the training samples are split over nodes.
      batch_size: samples in a gradient, drawn uniformly with replacement; None takes all of a node's.
      l2: factor of the regulariser; the intercept is regularised too, so f is l2-strongly convex.
      node_weights: "equal": every node with data counts the same; "samples": every sample does.
      optimum: find x* by L-BFGS (float64, gradient below 1e-9), so that distance and suboptimality are known.
      seed: of the partition.

    Returns:
      A problem with parameters `w` `[d]` and `c` `[]`, and proximal steps if d is small.

    Raises:
      ValueError: if the data set does not have two classes, if the split is impossible, or if `optimum` is
        asked for with l2 = 0 (separable data then have none).
    """
    if dataset.num_classes != 2:
        raise ValueError(
            f"logistic: needs two classes, {dataset.name!r} has {dataset.num_classes}; use problem 'softmax'"
        )
    samples, d = _prepare("logistic", dataset, n, partition, batch_size, l2, node_weights, optimum, seed)

    def init(key: Key) -> Tree:
        del key
        return {"w": jnp.zeros(d), "c": jnp.zeros(())}

    def apply(params: Tree, x: jax.Array) -> jax.Array:
        return x.reshape(x.shape[0], -1) @ params["w"] + params["c"]

    def loss(outputs: jax.Array, y: jax.Array) -> jax.Array:
        return jax.nn.softplus((1 - 2 * y) * outputs)

    def predict(outputs: jax.Array) -> jax.Array:
        return (outputs > 0).astype(jnp.int32)

    solution, minimum = None, None
    if optimum:
        flat, minimum = _solve(_logistic_objective, samples, d + 1)
        solution = {"w": flat[:d], "c": flat[d]}
    prox = None
    if d + 1 <= _LARGEST:
        samples, prox = _with_prox(samples, apply, loss, bend=1.0)
    return _problem(n, init, apply, loss, predict, samples, dataset, batch_size, solution, minimum, prox)


def softmax(
    n: int,
    *,
    dataset: Dataset,
    partition: Partition = iid(),
    batch_size: int | None = 32,
    l2: float = 1e-4,
    node_weights: NodeWeights = "equal",
    optimum: bool = True,
    seed: int = 0,
) -> Problem:
    """Multinomial (softmax) regression, strongly convex through its regulariser.

        ℓ(W, c; a, y) = −log softmax(aᵀ W + c)_y;   f = Σ weighted ℓ + (l2/2) (‖W‖² + ‖c‖²)

    Starts at zero.

    Args:
      n: number of nodes.
      dataset: any labelled data set.
      partition: how the training samples are split over nodes.
      batch_size: samples in a gradient, drawn uniformly with replacement; None takes all of a node's.
      l2: factor of the regulariser; the intercepts are regularised too, so f is l2-strongly convex.
      node_weights: "equal": every node with data counts the same; "samples": every sample does.
      optimum: find x* by L-BFGS (float64, gradient below 1e-9); a minute on large sets, so it can be left out.
      seed: of the partition.

    Returns:
      A problem with parameters `w` `[d, classes]` and `c` `[classes]`, and proximal steps if there are few.

    Raises:
      ValueError: if the split is impossible, or if `optimum` is asked for with l2 = 0.
    """
    samples, d = _prepare("softmax", dataset, n, partition, batch_size, l2, node_weights, optimum, seed)
    classes = dataset.num_classes

    def init(key: Key) -> Tree:
        del key
        return {"w": jnp.zeros((d, classes)), "c": jnp.zeros(classes)}

    def apply(params: Tree, x: jax.Array) -> jax.Array:
        return x.reshape(x.shape[0], -1) @ params["w"] + params["c"][None]

    def loss(outputs: jax.Array, y: jax.Array) -> jax.Array:
        chosen = jnp.take_along_axis(outputs, y[:, None], axis=1)[:, 0]
        return jax.nn.logsumexp(outputs, axis=1) - chosen

    def predict(outputs: jax.Array) -> jax.Array:
        return jnp.argmax(outputs, axis=1)

    solution, minimum = None, None
    if optimum:
        flat, minimum = _solve(_softmax_objective(classes), samples, (d + 1) * classes)
        table = flat.reshape(d + 1, classes)
        solution = {"w": table[:d], "c": table[d]}
    prox = None
    if (d + 1) * classes <= _LARGEST:
        samples, prox = _with_prox(samples, apply, loss, bend=float(np.sqrt(2)))
    return _problem(n, init, apply, loss, predict, samples, dataset, batch_size, solution, minimum, prox)


def _prepare(who, dataset, n, partition, batch_size, l2, node_weights, optimum, seed):
    check_batch_size(who, batch_size)
    refuse_sequences(who, dataset)
    if optimum and l2 == 0:
        raise ValueError(
            f"{who}: without a regulariser the optimum need not exist; set l2 > 0 or optimum: false"
        )
    samples = lay_out(dataset, n, partition, node_weights=node_weights, l2=l2, seed=seed)
    return samples, int(np.prod(dataset.x_train.shape[1:]))


def _with_prox(
    samples: Samples, apply: Callable[..., Any], loss: Callable[..., Any], *, bend: float
) -> tuple[Samples, Callable[..., Tree]]:
    """The samples with each node's R, and the proximal step; `bend` is R where all norms are 1."""
    x = decode(samples.shared["x"], np.float32)
    norms = np.sqrt(1.0 + np.square(x.reshape(len(x), -1)).sum(axis=1, dtype=np.float64))
    start, count = samples.local["start"], samples.local["count"]
    radius = np.array([norms[i : i + k].max(initial=1.0) for i, k in zip(start, count, strict=True)])
    exact = local_loss(apply, loss, None, int(count.max()))

    def prox(v: Tree, scale: Scalar, local: Tree, shared: Tree) -> Tree:
        center, unravel = ravel_pytree(v)

        def value(x: jax.Array) -> jax.Array:
            return exact(unravel(x), None, local, shared) + jnp.sum(jnp.square(x - center)) / (2 * scale)

        def newton(_: Any, x: jax.Array) -> jax.Array:
            p = jax.scipy.linalg.solve(jax.hessian(value)(x), jax.grad(value)(x), assume_a="pos")
            length = local["radius"] * jnp.sqrt(jnp.sum(jnp.square(p)))
            return x - jnp.where(length > 0, jnp.log1p(length) / jnp.where(length > 0, length, 1), 1) * p

        return unravel(jax.lax.fori_loop(0, _STEPS, newton, center))

    return samples._replace(local={**samples.local, "radius": bend * radius}), prox


def _problem(n, init, apply, loss, predict, samples, dataset, batch_size, solution, minimum, prox):
    most = int(samples.local["count"].max())
    return Problem(
        n=n,
        init=init,
        loss=local_loss(apply, loss, batch_size, most),
        local=samples.local,
        shared=samples.shared,
        objective=global_objective(apply, loss),
        evaluate=evaluator(apply, loss, predict),
        held=hold_out(dataset, None, 0),
        optimum=solution,
        minimum=minimum,
        table=samples.table,
        on_cpu="chunks",
        prox=prox,
        exact=exact_loss(apply, loss, most),
        poisoned=poisoner(apply, loss, predict, batch_size, most, dataset.num_classes),
    )


def _logistic_objective(
    flat: np.ndarray, x: np.ndarray, y: np.ndarray, weight: np.ndarray
) -> tuple[float, np.ndarray]:
    sign = 2.0 * y - 1
    margin = sign * (x @ flat)
    pull = -weight * sign * scipy.special.expit(-margin)
    return float(weight @ np.logaddexp(0, -margin)), x.T @ pull


def _softmax_objective(classes: int):
    def value(flat: np.ndarray, x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> tuple[float, np.ndarray]:
        outputs = x @ flat.reshape(-1, classes)
        log_sum = scipy.special.logsumexp(outputs, axis=1)
        rows = np.arange(len(y))
        pull = np.exp(outputs - log_sum[:, None])
        pull[rows, y] -= 1
        grads = x.T @ (weight[:, None] * pull)
        return float(weight @ (log_sum - outputs[rows, y])), grads.reshape(-1)

    return value


def _solve(objective, samples: Samples, size: int) -> tuple[np.ndarray, float]:
    """L-BFGS on the global objective with an intercept column, in float64."""
    x = decode(samples.shared["x"], np.float64).reshape(len(samples.shared["y"]), -1)
    x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    y, weight, l2 = samples.shared["y"], samples.shared["weight"], float(samples.shared["l2"])

    def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
        f, grads = objective(flat, x, y, weight)
        return f + 0.5 * l2 * float(flat @ flat), grads + l2 * flat

    found = scipy.optimize.minimize(
        value,
        np.zeros(size),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 20_000, "maxfun": 40_000, "gtol": 1e-9, "ftol": 0.0, "maxcor": 30},
    )
    return found.x, float(found.fun)
