"""Merging by matching: every model is brought into the receiver's numbering of hidden units, then averaged.

Saadati, Pham, Saleem, Waite, Balu, Jiang, Hegde, Sarkar. DIMAT: Decentralized Iterative Merging-And-Training for
Deep Learning Models. CVPR 2024.
"""

from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp

from dlax import tree
from dlax.channel.alignment import Matcher, Repair, Solver, weight_matching
from dlax.channel.links import check_drop, messages, sent_and_arrived
from dlax.models import permutations
from dlax.types import Channel, Network, Scalar, Tree

Space = Literal["auto", "own", "common"]


def matching(
    drop: Scalar | None = None, *, space: Space = "auto", norm_groups: int = 8, solver: Solver = "host"
) -> Channel:
    """Every node receives the weighted mean of its neighbours' models, each renumbered to fit its own.

        received_i = W_ii θ_i + Σⱼ W_ij P_ij θ_j        P_ij: hidden units of j onto those of i

    The permutations are found by matching weights (`weight_matching`); `merging` takes any other rule, such as
    matching activations. Used under `dsgd(local_steps=H)`: models that started apart are merged every H steps.
    For messages that are the params of `linear`, `mlp`, `cnn` or `resnet8`.

    Args:
      drop: as in `merging`.
      space: as in `merging`.
      norm_groups: of `resnet8`'s GroupNorm, whose groups of channels only move as wholes.
      solver: of the assignments: "host" is scipy, "device" is optax's inside the program.

    Returns:
      A channel without state; a message is the model, whatever is done to it at the receiver.

    Raises:
      ValueError: if an option is none of those; in a run, if the message is no such model.
    """
    _check("matching", drop, space, solver)

    def through(message: Tree) -> Channel:
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), message)
        spec = permutations.describe(shapes, norm_groups=norm_groups)
        return merging(weight_matching(spec, solver=solver), drop, space=space)

    def open_link(message: Tree, network: Network) -> Any:
        return through(message).open(message, network)

    def mix(link: Any, message: Tree, network: Network) -> tuple[Tree, Any, jax.Array]:
        return through(message).mix(link, message, network)

    return Channel(open_link, mix)


def merging(
    matcher: Matcher, drop: Scalar | None = None, *, space: Space = "auto", repair: Repair | None = None
) -> Channel:
    """`matching` by any rule, with or without repair of the merged model's statistics.

    In its own space every node i matches each neighbour to itself and averages there. In the common space of node
    0, which the complete graph allows, everyone gets the one merged model: the authors' code does this on it. All
    P_ii = I. Pairs are matched to the receiver's own model, not one after the other to the running sum as in the
    authors' variant with weights.

    Args:
      matcher: finds the permutations.
      drop: probability in [0, 1] that a message is lost; its weight returns to the receiver's own model. None means
        perfect links.
      space: "own", "common" (needs the complete graph, every node and perfect links), or "auto": common where
        possible.
      repair: gives merged models the statistics of what was merged; None leaves them as they come.

    Returns:
      A channel without state. A node sends its model to each neighbour that takes part; nothing else travels.

    Raises:
      ValueError: if an option is none of those; in a run, if a common space is asked for and not possible, or the
        message is not a model that the matcher fits.
    """
    _check("matching", drop, space)
    spec = matcher.spec

    def move(luggage: tuple[Tree, Tree], found: Any) -> tuple[Tree, Tree]:
        params, statistics = luggage
        params = permutations.permute(spec, params, found)
        return params, permutations.permute(repair.spec, statistics, found) if repair else ()

    def fit(luggage: tuple[Tree, Tree], features: Any, reference: Any) -> tuple[Tree, Tree]:
        """One node's (model, statistics) after another, in the space of the references."""
        return jax.lax.map(
            lambda args: move(args[0], matcher.pair(args[2], args[1])), (luggage, features, reference)
        )

    def open_link(message: Tree, network: Network) -> tuple[()]:
        del message
        _common(network, drop, space)  # refuses a graph before the run
        return ()

    def mix(link: tuple[()], message: Tree, network: Network) -> tuple[Tree, tuple[()], jax.Array]:
        features = jax.lax.map(matcher.prepare, message)
        luggage = message, jax.lax.map(repair.measure, message) if repair else ()
        index, weight, own = network.table()
        sent, arrived = sent_and_arrived(network, index, weight, drop)
        if _common(network, drop, space):
            reference = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:1], leaf.shape), features)
            moved = fit(luggage, features, reference)
            merged = network.mix(jax.tree.map(lambda new, old: new.at[0].set(old[0]), moved, luggage))
        else:
            kept = jnp.where(arrived, weight, 0)
            own = own + jnp.sum(weight - kept, axis=1)

            def slot(total: Tree, column: tuple[jax.Array, jax.Array]) -> tuple[Tree, None]:
                sender, w = column
                heard, theirs = jax.tree.map(lambda leaf: leaf[sender], (luggage, features))
                moved = fit(heard, theirs, features)
                return jax.tree.map(lambda a, b: a + _scale(w, b), total, moved), None

            begin = jax.tree.map(lambda leaf: _scale(own, leaf), luggage)
            merged = jax.lax.scan(slot, begin, (index.T, kept.T))[0]
        params, goal = merged
        if repair:
            params = jax.lax.map(lambda args: repair.rescale(*args), (params, goal))
        return params, link, messages(sent, index, network.out_degree) * tree.message_bits(message)

    return Channel(open_link, mix)


def _common(network: Network, drop: Scalar | None, space: Space) -> bool:
    """Whether to merge in the space of node 0."""
    if space == "common" and drop is not None:
        raise ValueError("matching: a common space needs perfect links; set drop to null")
    if space == "common":
        network.require("matching in a common space", "complete", "full participation")
    if space != "auto":
        return space == "common"
    try:
        network.require("matching", "complete", "full participation")
    except ValueError:
        return False
    return drop is None


def _scale(weight: jax.Array, leaf: jax.Array) -> jax.Array:
    """Row i of `[n, ...]` times weight i, in the leaf's dtype."""
    return (tree.beside(weight, leaf) * leaf).astype(leaf.dtype)


def _check(who: str, drop: Any, space: str, solver: str = "host") -> None:
    check_drop(who, drop)
    for name, value, allowed in (("space", space, get_args(Space)), ("solver", solver, get_args(Solver))):
        if value not in allowed:
            raise ValueError(f"{who}: {name} must be one of {', '.join(allowed)}, got {value!r}")
