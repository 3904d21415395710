"""Rules that look at every subset of m − f vectors: exact, and dear.

El Mhamdi, Guerraoui, Rouault. The Hidden Vulnerability of Distributed Learning in Byzantium. ICML 2018 (MDA).
Allouah, Guerraoui, Gupta, Pinot, Stephan. On the Privacy-Robustness-Utility Trilemma in Distributed Learning. ICML
2023 (SMEA).
"""

import itertools
import math
from collections.abc import Callable
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from dlax.robust.distances import squared_distances
from dlax.types import Heard, Rule

_MOST = 1_000_000  # subsets
_AT_ONCE = 4096


def mda(*, f: int = 1) -> Rule:
    """Minimum-diameter averaging: the mean of the m − f vectors whose greatest distance is least.

        S = argmin over |S| = m − f of max_{i, j in S} ‖x_i − x_j‖;  mean of S

    Of several the first in lexicographic order. The subsets are listed when the run is compiled, so f is an option
    of the rule; the channel's `tolerated` cannot exceed it. Nodes that hear fewer than others drop f all the same.

    Args:
      f: how many are left out; 0 is the mean.

    Returns:
      A rule of weights.

    Raises:
      ValueError: if `f` is negative; in a run, if there are more than a million subsets.
    """
    check_number("mda", f)

    def cost(heard: Heard, inside: jax.Array) -> jax.Array:
        distances = squared_distances(heard)
        # Who is absent may be in any subset.
        distances = jnp.where(heard.present[:, None] & heard.present[None], distances, 0)
        return jnp.max(jnp.where(inside[:, None] & inside[None], distances, 0))

    return Rule(_weigher("mda", f, cost), most=lambda m: min(f, (m - 1) // 2), symmetric=True)


def smea(*, f: int = 1) -> Rule:
    """Smallest maximum eigenvalue averaging: the mean of the m − f vectors of least variance in any direction.

        S = argmin over |S| = m − f of λ_max(Σ_{i in S} (x_i − μ_S)(x_i − μ_S)ᵀ);  mean of S

    Exact eigenvalues of inner products, one small eigenproblem a subset, where the released code takes one step of
    power iteration. Otherwise as `mda`.

    Args:
      f: how many are left out; 0 is the mean.

    Returns:
      A rule of weights.

    Raises:
      ValueError: as `mda`.
    """
    check_number("smea", f)

    def cost(heard: Heard, inside: jax.Array) -> jax.Array:
        inside = inside & heard.present
        mask = inside.astype(heard.inner.dtype)
        project = jnp.diag(mask) - jnp.outer(mask, mask) / jnp.maximum(mask.sum(), 1)
        top = jnp.linalg.eigvalsh(project @ heard.inner @ project)[-1]
        return jnp.where(jnp.any(inside & ~heard.finite), jnp.inf, top)

    return Rule(_weigher("smea", f, cost), most=lambda m: min(f, (m - 1) // 2), symmetric=True)


def check_number(who: str, f: int) -> None:
    """Refuses a negative number."""
    if f < 0:
        raise ValueError(f"{who}: f must be at least 0, got {f}")


def _weigher(who: str, f: int, cost: Callable[[Heard, jax.Array], jax.Array]) -> Callable[[Heard], jax.Array]:
    """The rule that averages the subset of least cost."""

    def weigh(heard: Heard) -> jax.Array:
        m = len(heard.present)
        table = jnp.asarray(_subsets(who, m, min(f, (m - 1) // 2)))
        costs = jax.lax.map(lambda inside: cost(heard, inside), table, batch_size=min(_AT_ONCE, len(table)))
        chosen = table[jnp.argmin(costs)] & heard.present
        return chosen / jnp.maximum(chosen.sum(), 1)

    return weigh


@cache
def _subsets(who: str, m: int, f: int) -> np.ndarray:
    """Masks `[subsets, m]` of the subsets of m − f, in lexicographic order."""
    if math.comb(m, f) > _MOST:
        raise ValueError(
            f"{who}: there are {math.comb(m, f):,} subsets of {m - f} of {m}, more than {_MOST:,}"
        )
    masks = np.zeros((math.comb(m, f), m), bool)
    for row, subset in enumerate(itertools.combinations(range(m), m - f)):
        masks[row, list(subset)] = True
    return masks
