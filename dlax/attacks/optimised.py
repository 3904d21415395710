"""Attacks whose strength is searched for in every round, against the very rule of the victims.

Shejwalkar, Houmansadr. Manipulating the Byzantine: Optimizing Model Poisoning Attacks and Defenses for
Federated Learning. NDSS 2021 (the idea). Farhadkhani et al. MoNNA, ICML 2023, and ByzFL, 2024 (the searches,
from their code).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dlax.attacks.nodes import dtype_of, honest_share, square, weighted
from dlax.attacks.search import Search, best_factor
from dlax.types import Attack, Lies, Sight, Tree


def optimised_foe(*, search: Search = "monna") -> Attack:
    """Fall of Empires with the factor that moves the honest nodes' mean farthest.

        (1 − q) μ   with q = argmax ‖(1/h) Σ_{i honest} receivedᵢ(q) − μ‖²

    That is "monna"; "byzfl" sends −q μ. The largest of 16 or 20 trials, q ≥ 0, each of which combines all
    messages.

    Args:
      search: how q is tried; see `best_factor`.

    Returns:
      An attack without memory that knows everything, the rule of the channel included.
    """

    def lie(q: jax.Array, mean: jax.Array, s: jax.Array) -> jax.Array:
        del s
        return (1 - q) * mean if search == "monna" else -q * mean

    return _optimised(lie, search)


def optimised_alie(*, search: Search = "monna") -> Attack:
    """A Little Is Enough with the factor that moves the honest nodes' mean farthest.

        μ + q · s   with q = argmax ‖(1/h) Σ_{i honest} receivedᵢ(q) − μ‖²

    The largest of 16 or 20 trials, q ≥ 0, each of which combines all messages. s has ddof = 1.

    Args:
      search: "monna" or "byzfl", how q is tried; see `best_factor`.

    Returns:
      An attack without memory that knows everything, the rule of the channel included.
    """
    return _optimised(lambda q, mean, s: mean + q * s, search)


def _optimised(lie: Callable[..., jax.Array], search: Search) -> Attack:
    def craft(memory: Any, sight: Sight) -> tuple[Lies, Any]:
        mean, deviation = sight.mean(), sight.deviation()
        dtype = dtype_of(mean)
        share = honest_share(sight.byzantine, dtype)

        def lies(q: jax.Array) -> Lies:
            return Lies(jax.tree.map(lambda m, s: lie(q, m, s).astype(m.dtype), mean, deviation))

        def moved(q: jax.Array) -> jax.Array:
            return _distance(weighted(share, sight.respond(lies(q))), mean)

        return lies(best_factor(moved, (), dtype, search)), memory

    return Attack(craft, needs="everything")


def _distance(a: Tree, b: Tree) -> jax.Array:
    """‖a − b‖² of two vectors, leaves `[1, ...]`."""
    return square(jax.tree.map(jnp.subtract, a, b))[0]
