"""Krum and its kin: vectors that have near neighbours.

Blanchard, El Mhamdi, Guerraoui, Stainer. Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent.
NeurIPS 2017.
El Mhamdi, Guerraoui, Rouault. The Hidden Vulnerability of Distributed Learning in Byzantium. ICML 2018 (Bulyan).
"""

from typing import Literal, get_args

import jax
import jax.numpy as jnp

from dlax.robust.distances import nearest, squared_distances
from dlax.robust.network import sort
from dlax.robust.order import closest, middle
from dlax.types import Heard, PreRule, Rule

Neighbours = Literal["classical", "inclusive"]


def krum(*, neighbours: Neighbours = "classical", squared: bool = True) -> Rule:
    """Krum: the one vector whose neighbours are nearest.

        score_i = Σ ‖x_i − x_j‖² over the q nearest j ≠ i;  the vector of least score

    Ties go to the vector heard first. BRIDGE-K is this rule in D-SGD of order combine_then_adapt.

    Args:
      neighbours: "classical", q = m − f − 2; or "inclusive", q = m − f − 1, as ByzFL has it.
      squared: False adds the distances themselves, as Garfield and the code of BRIDGE do.

    Returns:
      A rule of weights, one of which is 1.

    Raises:
      ValueError: if `neighbours` is neither.
    """
    check_neighbours("krum", neighbours)

    def weigh(heard: Heard) -> jax.Array:
        best = jnp.argmin(scores(heard, heard.present, neighbours, squared))
        return (jnp.arange(len(heard.present)) == best).astype(heard.inner.dtype)

    return Rule(weigh, most=MOST[neighbours], symmetric=True)


def multi_krum(
    *, neighbours: Neighbours = "classical", squared: bool = True, keep: Literal["m-f", "m-f-2"] = "m-f"
) -> Rule:
    """Multi-Krum: the mean of the m − f vectors of least Krum score.

    With f = 0 it is the mean. Ties go to the vector heard first.

    Args:
      neighbours: as of `krum`.
      squared: as of `krum`.
      keep: how many are averaged; "m-f-2" is Garfield's number (at least one).

    Returns:
      A rule of weights.

    Raises:
      ValueError: if an option is none of its choices.
    """
    check_neighbours("multi_krum", neighbours)
    if keep not in ("m-f", "m-f-2"):
        raise ValueError(f"multi_krum: keep must be m-f or m-f-2, got {keep!r}")

    def weigh(heard: Heard) -> jax.Array:
        many = heard.present.sum() - heard.tolerated - (2 if keep == "m-f-2" else 0)
        return nearest(scores(heard, heard.present, neighbours, squared), heard, jnp.maximum(many, 1))

    return Rule(weigh, most=MOST[neighbours], symmetric=True)


def bulyan() -> Rule:
    """Bulyan: Krum picks m − 2f − 2 vectors, one after the other; then by coordinate the values around the median.

        θ = m − 2f − 2 times: move Krum's choice among the rest to the chosen
        every coordinate: the mean of the θ − 2f chosen values nearest to their median

    BRIDGE-B is this rule in D-SGD of order combine_then_adapt. The code of Garfield averages several vectors in each
    pick; this is the paper's form. Where m is too small for the counts at least one vector and one value are kept.

    Returns:
      A rule by coordinate, which withstands f ≤ (m − 3) / 4.
    """

    def chosen(heard: Heard) -> tuple[jax.Array, jax.Array]:
        m = len(heard.present)
        theta = jnp.maximum(heard.present.sum() - 2 * heard.tolerated - 2, 1)

        def pick(r: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            left, order = carry
            best = jnp.argmin(jnp.where(left, scores(heard, left, "classical", True), jnp.inf))
            taken = (jnp.arange(m) == best) & left & (r < theta)
            return left & ~taken, jnp.where((jnp.arange(m) == r)[:, None], taken[None], order)

        _, matrix = jax.lax.fori_loop(0, m, pick, (heard.present, jnp.zeros((m, m), bool)))
        return matrix.astype(heard.inner.dtype), jnp.any(matrix, axis=1)

    def reduce(values: jax.Array, heard: Heard) -> jax.Array:
        count, ranked = heard.present.sum(), sort(values)
        drop = jnp.minimum(2 * heard.tolerated, count - 1)
        return closest(ranked, count, drop, middle(ranked, count))

    return Rule(reduce=reduce, most=lambda m: max((m - 3) // 4, 0), select=PreRule(chosen))


MOST = {"classical": lambda m: max((m - 3) // 2, 0), "inclusive": lambda m: (m - 1) // 2}


def scores(heard: Heard, among: jax.Array, neighbours: Neighbours, squared: bool) -> jax.Array:
    """Krum's scores `[m]` of the vectors in the mask `among`; +inf outside it and of what is not finite."""
    distances = squared_distances(heard._replace(present=among))
    if not squared:
        distances = jnp.sqrt(distances)
    near = jnp.sort(distances, axis=1)  # first itself
    q = jnp.maximum(among.sum() - heard.tolerated - (2 if neighbours == "classical" else 1), 1)
    place = jnp.arange(len(among))[None]
    total = jnp.sum(jnp.where((place >= 1) & (place <= q), near, 0), axis=1)
    total = jnp.where(among.sum() == 1, 0, total)  # alone it has no neighbours
    return jnp.where(among & heard.finite, total, jnp.inf)


def check_neighbours(who: str, neighbours: str) -> None:
    """Refuses a count of neighbours that is none of the two."""
    if neighbours not in get_args(Neighbours):
        raise ValueError(f"{who}: neighbours must be classical or inclusive, got {neighbours!r}")
