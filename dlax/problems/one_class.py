"""One-class support vector machines: every node learns what is normal from its own normal samples.

Schölkopf, Platt, Shawe-Taylor, Smola, Williamson. Estimating the Support of a High-Dimensional Distribution.
Neural Computation 2001. Rahimi, Recht. Random Features for Large-Scale Kernel Machines. NIPS 2007.
"""

import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlax.data import Dataset, Partition, iid, split
from dlax.problems.finite_sum import check_batch_size, refuse_sequences
from dlax.types import Info, Key, Problem, Scalar, Tree

_TO_BORDER = 0.95  # share of the way to the nearest bound that such a step may go
_CENTRE = 0.1  # what a step aims to leave of the gap


def one_class(
    n: int,
    *,
    dataset: Dataset,
    partition: Partition = iid(),
    normal: int = 0,
    nu: float = 0.1,
    features: int | None = 64,
    gamma: float | None = None,
    batch_size: int | None = None,
    seed: int = 0,
) -> Problem:
    """A one-class SVM on every node, of the samples of one class; the other classes are what it must find.

        fᵢ(w, ρ) = ½ ‖w‖² − ρ + (1 / (ν sᵢ)) Σⱼ max(0, ρ − wᵀφ(xⱼ))

    A sample is called abnormal where its score wᵀφ(x) − ρ is negative; at the minimum at most ν sᵢ of a node's own
    are. φ are random Fourier features of the kernel exp(−γ ‖x − y‖²), the same on all nodes, so that models can
    be compared and averaged. Convex, with a proximal step; starts at zero.

    Held-out metrics are better when lower: `missed` (abnormal samples with a score of at least 0: 1 − detection
    rate), `false_alarms` (normal samples with a negative one), and `auc_gap` (1 − area under the ROC curve).

    Args:
      n: number of nodes.
      dataset: any labelled data set with at least two classes.
      partition: how the training samples of class `normal` are split over nodes.
      normal: the class that is normal.
      nu: ν in (0, 1], the share of its own samples that a detector may call abnormal.
      features: frequencies drawn for φ, which then has twice as many numbers; None: φ(x) = x, which tells from
        the origin only.
      gamma: γ > 0. None: 1 over the summed variance of the features of x.
      batch_size: samples in a gradient, drawn uniformly with replacement; None takes all of a node's.
      seed: of the partition and the frequencies.

    Returns:
      A problem with parameters `w` `[p]` and `rho` `[]`. A proximal step solves for s² numbers a node, s the most
      samples of a node.

    Raises:
      ValueError: if an option is out of its range, a class is missing, or a node is left without samples.
    """
    refuse_sequences("one_class", dataset)
    held = dataset.y_test == normal
    mine = dataset.y_train == normal
    if not mine.any() or held.all() or not held.any():
        raise ValueError(
            f"one_class: normal = {normal} must be one of several classes of {dataset.name}, in both splits"
        )
    x = dataset.x_train[mine].reshape(mine.sum(), -1).astype(np.float64)
    groups = None if dataset.groups is None else dataset.groups[mine]
    parts = split(dataset.y_train[mine], groups, n, partition, seed)
    test = dataset.x_test.reshape(len(held), -1).astype(np.float64)
    problem = one_class_of(
        [x[part] for part in parts], nu=nu, features=features, gamma=gamma, batch_size=batch_size, seed=seed
    )
    phi = feature_map(x, features=features, gamma=gamma, seed=seed)
    table = np.zeros((n, dataset.num_classes), int)
    table[:, normal] = [len(part) for part in parts]
    shown = {"normal": phi(test[held]), "abnormal": phi(test[~held])}
    return problem._replace(evaluate=_evaluate, held=shown, table=table)


def one_class_of(
    samples: Any,
    *,
    nu: float = 0.1,
    features: int | None = 64,
    gamma: float | None = None,
    batch_size: int | None = None,
    seed: int = 0,
) -> Problem:
    """The problem `one_class` for given samples, without held-out data.

    Args:
      samples: for every node an array `[s, p]` of its normal samples; `[n, s, p]` when they are as many.
      nu: see `one_class`, as the following.
      features: frequencies of φ, or None.
      gamma: of the kernel; None takes the variance over all samples.
      batch_size: samples in a gradient.
      seed: of the frequencies.

    Raises:
      ValueError: if an option is out of its range, or a node has no samples.
    """
    rows = [np.asarray(each, dtype=np.float64) for each in samples]
    if not rows or any(each.ndim != 2 or each.shape[1:] != rows[0].shape[1:] for each in rows):
        raise ValueError("one_class: samples must be an array [s, p] for every node, with one p")
    if any(len(each) == 0 for each in rows):
        raise ValueError("one_class: every node needs at least one normal sample; use fewer nodes")
    if not 0 < nu <= 1:
        raise ValueError(f"one_class: nu must be in (0, 1], got {nu}")
    check_batch_size("one_class", batch_size)
    phi = feature_map(np.concatenate(rows), features=features, gamma=gamma, seed=seed)
    count = np.array([len(each) for each in rows])
    mapped = [phi(each) for each in rows]
    n, most, p = len(rows), int(count.max()), mapped[0].shape[1]
    table = np.zeros((n, most, p))
    for i, each in enumerate(mapped):
        table[i, : len(each)] = each
    cap = (np.arange(most) < count[:, None]) / (nu * count[:, None])  # 1/(ν sᵢ), 0 on padding
    local = {"phi": table, "cap": cap, "count": count.astype(np.int32)}
    loss = _loss(batch_size, nu)
    return Problem(n, _zeros(p), loss, local, {}, _objective, prox=_prox)


def feature_map(
    x: np.ndarray, *, features: int | None = 64, gamma: float | None = None, seed: int = 0
) -> Callable[[np.ndarray], np.ndarray]:
    """Random Fourier features: φ(x)ᵀφ(y) ≈ exp(−γ ‖x − y‖²), and ‖φ(x)‖ = 1.

        φ(x) = (cos Ωx, sin Ωx) / √features,   rows of Ω from 𝒩(0, 2γ I)

    Args:
      x: `[N, p]`, the samples whose variance sets γ.
      features: rows of Ω; None: φ(x) = x.
      gamma: γ > 0; None: 1 over the summed variance of the columns of x.
      seed: of Ω.

    Returns:
      A function `[..., p] -> [..., 2 · features]`.

    Raises:
      ValueError: if an option is out of its range.
    """
    if features is None:
        return lambda x: np.asarray(x, np.float64)
    if features < 1 or (gamma is not None and not gamma > 0):
        raise ValueError(
            f"one_class: features must be at least 1 and gamma positive, got {features} and {gamma}"
        )
    spread = float(x.var(axis=0).sum())
    rate = gamma if gamma is not None else 1 / spread if spread > 0 else 1.0
    rng = np.random.default_rng([seed, zlib.crc32(b"problem")])
    omega = np.sqrt(2 * rate) * rng.normal(size=(x.shape[1], features))

    def phi(x: np.ndarray) -> np.ndarray:
        angle = np.asarray(x, np.float64) @ omega
        return np.concatenate([np.cos(angle), np.sin(angle)], axis=-1) / np.sqrt(features)

    return phi


@cache  # problems of one size then share a compiled run
def _zeros(p: int) -> Callable[[Key], Tree]:
    def init(key: Key) -> Tree:
        del key
        return {"w": jnp.zeros(p), "rho": jnp.zeros(())}

    return init


@cache
def _loss(batch_size: int | None, nu: float) -> Callable[[Tree, Key, Tree, Tree], jax.Array]:
    def loss(params: Tree, key: Key, local: Tree, shared: Tree) -> jax.Array:
        del shared
        if batch_size is None:
            return _value(params, local["phi"], local["cap"])
        drawn = jax.random.bits(key, (batch_size,), jnp.uint32) % local["count"].astype(jnp.uint32)
        cap = jnp.full((batch_size,), 1 / (nu * batch_size), local["cap"].dtype)
        return _value(params, local["phi"][drawn], cap)

    return loss


def _value(params: Tree, phi: jax.Array, cap: jax.Array) -> jax.Array:
    """f of one node: samples φ `[s, p]`, each counting `cap` `[s]`."""
    w, rho = params["w"], params["rho"]
    return 0.5 * jnp.sum(jnp.square(w)) - rho + jnp.sum(cap * jax.nn.relu(rho - phi @ w))


def _objective(params: Tree, local: Tree, shared: Tree) -> jax.Array:
    del shared
    values = jax.vmap(_value, in_axes=(None, 0, 0))(params, local["phi"], local["cap"])
    return jnp.mean(values)


def _prox(v: Tree, scale: Scalar, local: Tree, shared: Tree) -> Tree:
    """The proximal step from its dual, a quadratic on a box. With δ = 1/scale and α in [0, cap]ˢ:

    w = (δ v_w + Φᵀα) / (1 + δ),   ρ = v_ρ + (1 − Σα) / δ,   α maximises qᵀα − ½ αᵀHα,
    H = ΦΦᵀ/(1 + δ) + 11ᵀ/δ,   q = v_ρ + 1/δ − δ Φv_w/(1 + δ)
    """
    del shared
    phi, cap = local["phi"], local["cap"]
    delta = 1 / scale
    H = phi @ phi.T / (1 + delta) + 1 / delta
    q = v["rho"] + 1 / delta - delta * (phi @ v["w"]) / (1 + delta)
    alpha = cap * _box(cap[:, None] * H * cap[None, :], cap * q)
    return {
        "w": (delta * v["w"] + alpha @ phi) / (1 + delta),
        "rho": v["rho"] + (1 - jnp.sum(alpha)) / delta,
    }


def _box(H: jax.Array, q: jax.Array) -> jax.Array:
    """argmin ½ βᵀHβ − qᵀβ over [0, 1]ˢ, by Newton steps on the central path.

    β l = μ and (1 − β) u = μ entry by entry, with μ a tenth of the last gap; l, u ≥ 0 are the bounds' multipliers.
    The number of steps is fixed, so that it runs inside a compiled loop.
    """
    half, precision = jnp.full_like(q, 0.5), jnp.finfo(H.dtype).eps
    start = jnp.full_like(q, jnp.max(jnp.abs(q - H @ half)) + precision)  # multipliers in the units of H

    def newton(_: int, loop: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        low, high, below, above = loop  # β, 1 − β (near 1 a difference would lose its digits), l, u
        mu = _CENTRE * (jnp.dot(low, below) + jnp.dot(high, above)) / (2 * len(q))
        # H + D by its diagonal scaling: what has to be factored stays well conditioned.
        root = jnp.sqrt(below / low + above / high)
        scaled = H / root[:, None] / root[None, :] + jnp.eye(len(q), dtype=H.dtype)
        right = q - H @ low + mu / low - mu / high
        step = jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(scaled), right / root) / root
        moves = (
            (low, step),
            (high, -step),
            (below, mu / low - below - below / low * step),
            (above, mu / high - above + above / high * step),
        )
        fastest = jnp.max(jnp.stack([jnp.max(-d / x) for x, d in moves]))
        length = jnp.minimum(1, _TO_BORDER / jnp.maximum(fastest, precision))
        return tuple(jnp.maximum(x + length * d, precision**2) for x, d in moves)

    steps = 20 if len(q) <= 100 else 30  # measured: f to 1e-8 at 100 samples, to 1e-9 at 400
    return jax.lax.fori_loop(0, steps, newton, (half, half, start, start))[0]


def _evaluate(params: Tree, held: Tree) -> Info:
    normal, abnormal = (held[name] @ params["w"] - params["rho"] for name in ("normal", "abnormal"))
    ranked = jnp.sort(normal)
    # How many normal samples score lower; of those that score the same, half.
    below = [jnp.searchsorted(ranked, abnormal, side=side) for side in ("left", "right")]
    auc_gap = jnp.mean((below[0] + below[1]) / 2) / len(ranked)
    return {"missed": jnp.mean(abnormal >= 0), "false_alarms": jnp.mean(normal < 0), "auc_gap": auc_gap}
