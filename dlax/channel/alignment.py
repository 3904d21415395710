"""Which unit of one network is which of another: assignment, matching by weights and by activations, and repair.

Ainsworth, Hayase, Srinivasa. Git Re-Basin: Merging Models modulo Permutation Symmetries. ICLR 2023 (by weights).
Li, Yosinski, Clune, Lipson, Hopcroft. Convergent Learning. 2015 (by activations).
Jordan, Sedghi, Saukh, Entezari, Neyshabur. REPAIR: REnormalizing Permuted Activations for Interpolation Repair.
ICLR 2023.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from dlax.models import permutations
from dlax.models.permutations import Permutations, Spec
from dlax.types import Tree

Solver = Literal["host", "device"]
Apply = Callable[[Tree, jax.Array], jax.Array]


class Matcher(NamedTuple):
    """How the units of two models are matched.

    Attributes:
      spec: the models' symmetries.
      prepare: `params -> features` of one model, computed once.
      pair: `(features_i, features_j) -> permutations` that bring model j into the space of model i.
    """

    spec: Spec
    prepare: Callable[[Tree], Any]
    pair: Callable[[Any, Any], Permutations]


class Repair(NamedTuple):
    """How a merged model gets the statistics of its parents back.

    Attributes:
      spec: the symmetries of what `measure` returns.
      measure: `params -> statistics` of one model.
      rescale: `(params, statistics) -> params` with these statistics.
    """

    spec: Spec
    measure: Callable[[Tree], Tree]
    rescale: Callable[[Tree, Tree], Tree]


def assign(scores: jax.Array, *, blocks: int = 1, solver: Solver = "host") -> jax.Array:
    """The permutation of largest total score: argmax_p Σ_c scores[c, p[c]].

    Exact, also with `blocks`: all pairs of blocks are solved first, then which block goes where.

    Measured with correlations of independent networks' activations, ms an assignment of 64 and of 256 units, two
    cores: scipy on the host 0.2 and 3, optax's Hungarian algorithm under `lax.map` 1.4 and 8, under `vmap` 0.6
    and 52 (all go on until the slowest is done). Hence the host is the default, although a program that calls it
    is not kept in jax's compilation cache.

    Args:
      scores: `[w, w]`.
      blocks: equal runs of units that move as wholes.
      solver: "host": `scipy.optimize.linear_sum_assignment` by a callback; "device":
        `optax.assignment.hungarian_algorithm` inside the program.

    Returns:
      p `[w]` int32.
    """
    width = scores.shape[0]
    size = width // blocks
    if blocks == 1 or size == 1:
        return _solve(scores, solver)
    tiles = scores.reshape(blocks, size, blocks, size).swapaxes(1, 2)  # [to, from, unit, unit]
    inner = _solve(tiles, solver)
    value = jnp.take_along_axis(tiles, inner[..., None], axis=-1)[..., 0].sum(axis=-1)
    outer = _solve(value, solver)
    chosen = jnp.take_along_axis(inner, outer[:, None, None], axis=1)[:, 0]
    return (outer[:, None] * size + chosen).reshape(-1)


def weight_matching(spec: Spec, *, sweeps: int = 20, solver: Solver = "host") -> Matcher:
    """Matches weights, without data: coordinate descent of Git Re-Basin.

        P ← argmax_P Σ_leaves ⟨θ_i, P θ_j⟩,   one group after the other, until no permutation changes

    With one hidden layer the first sweep is exact; deeper, it is a local maximum. Groups are visited from the input
    to the output (the authors draw the order).

    Args:
      spec: the models' symmetries.
      sweeps: over the groups, at most.
      solver: as in `assign`.

    Returns:
      The matcher; its features are the params.

    Raises:
      ValueError: if sweeps < 1, or the solver is neither of the two.
    """
    _check_solver("weight_matching", solver)
    if sweeps < 1:
        raise ValueError(f"weight_matching: sweeps must be at least 1, got {sweeps}")

    def pair(here: Tree, there: Tree) -> Permutations:
        def sweep(state: tuple[Permutations, jax.Array, jax.Array]) -> Any:
            found, _, count = state
            before = found
            for group in spec.groups:
                others = {**found, group.name: jnp.arange(group.width, dtype=jnp.int32)}
                moved = permutations.permute(spec, there, others)
                scores = sum(
                    (
                        _units(here, axis, group.width) @ _units(moved, axis, group.width).T
                        for axis in spec.axes
                        if axis.group == group.name
                    ),
                    start=jnp.zeros(()),
                )
                found = {**found, group.name: assign(scores, blocks=group.blocks, solver=solver)}
            changed = jnp.any(jnp.array([jnp.any(found[name] != before[name]) for name in found]))
            return found, changed, count + 1

        start = permutations.identity(spec), jnp.bool_(bool(spec.groups)), jnp.int32(0)
        return jax.lax.while_loop(lambda state: state[1] & (state[2] < sweeps), sweep, start)[0]

    return Matcher(spec, lambda params: params, pair)


def activation_matching(
    apply: Apply,
    spec: Spec,
    x: np.ndarray,
    *,
    activation: Callable[[jax.Array], jax.Array] = jax.nn.relu,
    solver: Solver = "host",
) -> Matcher:
    """Matches activations on alignment data that all nodes share.

        P^l_ij = argmax_P Σ_c corr(A_i[c], A_j[p(c)])

    over the samples (and pixels) of x, after the activation. Where a group is seen at several points (along a
    residual stream) their correlations add up.

    Args:
      apply: the model.
      spec: its symmetries.
      x: alignment inputs `[b, ...]`, some hundred samples: they become a constant of the compiled run.
      activation: what follows the points' modules.
      solver: as in `assign`.

    Returns:
      The matcher; its features are standardised activations.

    Raises:
      ValueError: if the solver is neither of the two.
    """
    _check_solver("activation_matching", solver)

    def prepare(params: Tree) -> dict[str, tuple[jax.Array, ...]]:
        seen = permutations.record(apply, spec, params, jnp.asarray(x))
        features: dict[str, tuple[jax.Array, ...]] = {group.name: () for group in spec.groups}
        for point in spec.points:
            a = activation(seen[point.path])
            a = a - jnp.mean(a, axis=0)
            deviation = jnp.sqrt(jnp.mean(a * a, axis=0))
            # A unit that is always off correlates with none.
            a = a / jnp.maximum(deviation, 1e-6) / a.shape[0] ** 0.5
            features[point.group] = (*features[point.group], a)
        return features

    def pair(here: Any, there: Any) -> Permutations:
        return {
            group.name: assign(
                sum(
                    (a.T @ b for a, b in zip(here[group.name], there[group.name], strict=True)),
                    start=jnp.zeros(()),
                ),
                blocks=group.blocks,
                solver=solver,
            )
            for group in spec.groups
        }

    return Matcher(spec, prepare, pair)


def repair(apply: Apply, spec: Spec, x: np.ndarray) -> Repair:
    """Gives every unit of a merged model the mean and deviation that the merged models' units have on average.

        μ = Σⱼ w_j mean(z_j),   σ = Σⱼ w_j std(z_j)        z: the unit's value before the activation, on x
        W ← (σ / std(z)) W,     b ← (σ / std(z)) (b − mean(z)) + μ       layer by layer, from the input

    Averages of activations that are not perfectly correlated vary less than each of them; this undoes the loss. The
    result is an ordinary model: nothing is added to it. In a network whose units are normalised by BatchNorm, mean
    and deviation before the activation are BatchNorm's own β and |γ|, and this is the reset of its running
    statistics. Points without weights of their own (a block's output) are left as they come.

    Args:
      apply: the model.
      spec: its symmetries.
      x: alignment inputs `[b, ...]`, some hundred samples: they become a constant of the compiled run.

    Returns:
      The repair; statistics are `{point: {"mean": [w], "deviation": [w]}}`.
    """
    output = {axis.path: axis.axis for point in spec.points for axis in _own(spec, point)}
    points = [point for point in spec.points if _own(spec, point)]
    look = spec._replace(points=tuple(points))
    axes = tuple(
        permutations.Axis(("/".join(point.path), name), 0, point.group)
        for point in points
        for name in ("mean", "deviation")
    )

    def measure(params: Tree) -> Tree:
        seen = permutations.record(apply, look, params, jnp.asarray(x))
        return {
            "/".join(path): {"mean": jnp.mean(z, axis=0), "deviation": jnp.std(z, axis=0)}
            for path, z in seen.items()
        }

    def rescale(params: Tree, goal: Tree) -> Tree:
        for point in points:
            name = "/".join(point.path)
            now = measure(params)[name]
            alive = now["deviation"] > 1e-6  # a unit that never varies has no scale to set
            factor = jnp.where(alive, goal[name]["deviation"] / jnp.where(alive, now["deviation"], 1), 1)
            shift = goal[name]["mean"] - factor * now["mean"]

            def change(path: Any, leaf: jax.Array, point=point, factor=factor, shift=shift) -> jax.Array:
                names = permutations.names(path)
                if names[:-1] != point.path:
                    return leaf
                scaled = leaf * factor if output[names] == leaf.ndim - 1 else leaf * factor[:, None]
                return scaled + shift if names[-1] == "bias" else scaled

            params = jax.tree_util.tree_map_with_path(change, params)
        return params

    return Repair(Spec(axes, spec.groups, ()), measure, rescale)


def _own(spec: Spec, point: permutations.Point) -> list[permutations.Axis]:
    """The leaves of a point's module that lead to its output, if one of them is a bias."""
    mine = [axis for axis in spec.axes if axis.path[:-1] == point.path and axis.group == point.group]
    return mine if "bias" in [axis.path[-1] for axis in mine] else []


def _units(params: Tree, axis: permutations.Axis, width: int) -> jax.Array:
    """A leaf as one row a unit, `[width, ...]`."""
    leaf = params
    for name in axis.path:
        leaf = leaf[name]
    rows = jnp.moveaxis(leaf, axis.axis, 0).reshape(axis.repeats, width, -1)
    return rows.swapaxes(0, 1).reshape(width, -1)


def _solve(scores: jax.Array, solver: Solver) -> jax.Array:
    """Assignments `[..., w]` of scores `[..., w, w]`."""
    if solver == "host":
        shape = jax.ShapeDtypeStruct(scores.shape[:-1], jnp.int32)
        return jax.pure_callback(_scipy, shape, scores, vmap_method="expand_dims")
    from optax.assignment import hungarian_algorithm

    flat = scores.reshape(-1, *scores.shape[-2:])
    # Of the transposed problem it lists the columns by ascending row.
    columns = jax.lax.map(lambda each: hungarian_algorithm(-each.T)[0], flat)
    return columns.astype(jnp.int32).reshape(scores.shape[:-1])


def _scipy(scores: Any) -> np.ndarray:
    from scipy.optimize import linear_sum_assignment

    scores = np.asarray(scores)
    flat = np.nan_to_num(
        scores.reshape(-1, *scores.shape[-2:])
    )  # a run that diverged is flagged, not stopped
    columns = [linear_sum_assignment(each, maximize=True)[1] for each in flat]
    return np.array(columns, np.int32).reshape(scores.shape[:-1])


def _check_solver(who: str, solver: str) -> None:
    if solver not in get_args(Solver):
        raise ValueError(f"{who}: solver must be one of {', '.join(get_args(Solver))}, got {solver!r}")
