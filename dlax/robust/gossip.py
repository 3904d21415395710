"""Rules that keep the gossip weights, and limit what a neighbour can do with its own.

x is the node's vector, w_j the weight of neighbour j, d_j = ‖x_j − x‖, b the weight of its Byzantine neighbours.

He, Karimireddy, Jaggi. Byzantine-Robust Decentralized Learning via ClippedGossip. 2022.
Gaucher, Dieuleveut, Hendrikx. Unified Breakdown Analysis for Byzantine Robust Gossip. ICML 2025 (CS+, GTS).
Wu, Chen, Ling. Byzantine-Resilient Decentralized Stochastic Optimization With Robust Aggregation Rules. IEEE TSP 2023
(IOS). Xia et al. FABA. IJCAI 2019. Yang, Ghaderi. Byzantine-Robust Decentralized Learning via Remove-then-Clip
Aggregation. AAAI 2024.
"""

from typing import Literal, get_args

import jax
import jax.numpy as jnp

from dlax.robust.centre import away
from dlax.robust.distances import squared_distances
from dlax.types import Heard, Rule, Scalar

Threshold = Literal["kept", "second", "oracle", "constant"]
_SLACK = 1e-6  # of sums of weights that should be equal


def clipped_gossip(radius: Scalar = 1.0, *, threshold: Threshold = "kept") -> Rule:
    """ClippedGossip, or self-centred clipping: differences to neighbours are clipped, then gossiped.

        x + Σⱼ wⱼ (xⱼ − x) · min(1, τ / dⱼ)

        threshold    τ
        "oracle"     τ² = (1/b) Σ over honest j of wⱼ dⱼ²: the paper's, which knows who is honest
        "kept"       τ² = (1/b) Σ wⱼ dⱼ² over the nearest neighbours of total weight Σ w − b; Gaucher et al.'s form
        "second"     the second largest dⱼ (the largest of one): the default of the authors' code; withstands one
        "constant"   `radius`

    b = 0 clips nothing.

    Args:
      radius: τ of "constant".
      threshold: how τ is found.

    Returns:
      A rule of weights.

    Raises:
      ValueError: if the threshold is none of these.
    """
    if threshold not in get_args(Threshold):
        raise ValueError(
            f"clipped_gossip: threshold must be one of {', '.join(get_args(Threshold))}, got {threshold!r}"
        )

    def weigh(heard: Heard) -> jax.Array:
        weight, far = _neighbours(heard)
        if threshold == "constant":
            limit = jnp.asarray(radius, far.dtype)
        elif threshold == "second":
            largest = jnp.sort(jnp.where(weight > 0, far, -1))
            second = largest[-2] if len(largest) > 1 else largest[-1]
            limit = jnp.where(second >= 0, second, jnp.maximum(largest[-1], 0))
        else:
            kept = weight * ~heard.lies if threshold == "oracle" else _nearest(weight, far, heard.mass, False)
            squares = jnp.sum(jnp.where(kept > 0, kept * jnp.square(far), 0))
            limit = jnp.sqrt(squares / jnp.where(heard.mass > 0, heard.mass, 1))
            limit = jnp.where(heard.mass > 0, limit, jnp.inf)
        return _with_own(weight * _share(far, limit))

    # Two of the largest distances may both be a liar's to choose.
    return Rule(weigh, most=(lambda m: min(1, (m - 1) // 2)) if threshold == "second" else _half)


def cs_plus() -> Rule:
    """CS+: clipped gossip whose threshold leaves twice the Byzantine weight beyond it.

        x + Σⱼ wⱼ (xⱼ − x) · min(1, τ / dⱼ),  τ the largest dⱼ at which the weights up to it sum to ≤ Σ w − 2b

    τ = 0 if there is no such neighbour, ∞ if b = 0.

    Returns:
      A rule of weights.
    """

    def weigh(heard: Heard) -> jax.Array:
        weight, far = _neighbours(heard)
        kept = _nearest(weight, far, 2 * heard.mass, False)
        limit = jnp.max(jnp.where(kept > 0, far, 0), initial=0)
        return _with_own(weight * _share(far, jnp.where(heard.mass > 0, limit, jnp.inf)))

    return Rule(weigh)


def gts() -> Rule:
    """Greedy trimmed sum, the gossip form of nearest-neighbour averaging: the farthest weight b is left out.

        x + Σⱼ kⱼ (xⱼ − x),  kⱼ ≤ wⱼ from the nearest on until Σ k = Σ w − b

    The neighbour at the boundary keeps a part. The released code leaves it out where the sum is met exactly.

    Returns:
      A rule of weights.
    """

    def weigh(heard: Heard) -> jax.Array:
        weight, far = _neighbours(heard)
        kept = _nearest(weight, far, heard.mass, True)
        return _with_own(jnp.where(jnp.isfinite(far), kept, 0))

    return Rule(weigh)


def ios() -> Rule:
    """Iterative outlier scissor: f times, the neighbour farthest from the mean of those left goes.

        T = closed neighbourhood;  f times: remove argmax_{j ≠ own} ‖xⱼ − mean_T‖;  mean_T

    with mean_T weighted by the gossip weights in T, over their sum.

    Returns:
      A rule of weights.
    """

    def weigh(heard: Heard) -> jax.Array:
        left = _scissor(heard, heard.weight, own=True)
        kept = jnp.where(left, heard.weight, 0)
        return kept / jnp.sum(kept)

    return Rule(weigh)


def faba() -> Rule:
    """FABA on a graph: f times, the neighbour farthest from the neighbours' mean goes; then the own vector joins.

        T = open neighbourhood;  f times: remove argmax_j ‖xⱼ − mean_T‖;  (|T| · mean_T + x) / (|T| + 1)

    Returns:
      A rule of weights.
    """

    def weigh(heard: Heard) -> jax.Array:
        left = _scissor(heard, heard.present.astype(heard.weight.dtype), own=False)
        return left / jnp.sum(left)

    return Rule(weigh)


def rtc() -> Rule:
    """Remove, then clip: the farthest neighbours of total weight ≤ b go, the others are clipped.

        x + Σ over kept j of wⱼ (xⱼ − x) · min(1, τ / dⱼ),  τ² = (1/b) Σ over kept j of wⱼ dⱼ²

    b = 0 is plain gossip. Written from a third party's description: the centre there is the model of the last round,
    here the node's own message.

    Returns:
      A rule of weights.
    """

    def weigh(heard: Heard) -> jax.Array:
        weight, far = _neighbours(heard)
        order = jnp.argsort(-jnp.where(weight > 0, far, -1), stable=True)
        gone = jnp.cumsum(weight[order]) <= heard.mass + _SLACK
        kept = jnp.zeros_like(weight).at[order].set(jnp.where(gone, 0, weight[order]))
        squares = jnp.sum(jnp.where(kept > 0, kept * jnp.square(far), 0))
        limit = jnp.sqrt(squares / jnp.where(heard.mass > 0, heard.mass, 1))
        clipped = kept * _share(far, limit)
        return _with_own(jnp.where(heard.mass > 0, clipped, weight))

    return Rule(weigh)


def _half(m: int) -> int:
    """Fewer than half."""
    return (m - 1) // 2


def _neighbours(heard: Heard) -> tuple[jax.Array, jax.Array]:
    """Weights of the neighbours, 0 for the node itself, and their distances; +inf where not finite."""
    far = jnp.sqrt(squared_distances(heard)[0])
    return jnp.where(heard.present, heard.weight, 0).at[0].set(0), far


def _nearest(weight: jax.Array, far: jax.Array, less: jax.Array, part: bool) -> jax.Array:
    """Weights from the nearest neighbour on until they sum to Σ w − `less`; the last of them in part or not."""
    order = jnp.argsort(jnp.where(weight > 0, far, jnp.inf), stable=True)
    ranked = weight[order]
    until = jnp.cumsum(ranked)
    room = jnp.sum(weight) - less
    whole = jnp.where(until <= room + _SLACK, ranked, 0)
    partly = jnp.clip(room - (until - ranked), 0, ranked)
    kept = jnp.where(partly > _SLACK, partly, 0) if part else whole  # what is left by rounding is nothing
    return jnp.zeros_like(weight).at[order].set(kept)


def _share(far: jax.Array, limit: jax.Array) -> jax.Array:
    """min(1, limit / far), 0 for what is infinitely far."""
    share = jnp.where(far > limit, limit / jnp.where(far > 0, far, 1), 1)
    return jnp.where(jnp.isfinite(far), share, 0)


def _with_own(weight: jax.Array) -> jax.Array:
    """The node's own vector takes the rest to one."""
    return weight.at[0].set(1 - jnp.sum(weight[1:]))


def _scissor(heard: Heard, weight: jax.Array, *, own: bool) -> jax.Array:
    """Who is left, `[m]` bool with the node itself, after f times the neighbour farthest from the mean went."""
    others = heard.present.at[0].set(False)

    def cut(r: jax.Array, left: jax.Array) -> jax.Array:
        inside = jnp.where((left.at[0].set(own)) & heard.finite, weight, 0)
        mean = inside / jnp.maximum(jnp.sum(inside), jnp.finfo(inside.dtype).tiny)
        far = jnp.where(heard.finite, away(heard, mean), jnp.inf)
        last = jnp.argmax(jnp.where(left & others, far, -1))
        return left & ~((jnp.arange(len(left)) == last) & others & (r < heard.tolerated))

    return jax.lax.fori_loop(0, heard.tolerated, cut, others).at[0].set(True)
