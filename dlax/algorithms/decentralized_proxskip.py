"""Decentralised ProxSkip: local steps with a dual correction, gossip now and then by a common coin.

Guo, Alghunaim, Yuan, Condat, Cao. Revisiting Decentralized ProxSkip: Achieving Linear Speedup. 2023.
Mishchenko, Malinovsky, Stich, Richtárik. ProxSkip: Yes! Local Gradient Steps Provably Lead to Communication
Acceleration! Finally! ICML 2022.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlax import tree
from dlax.optimizers import at_round, constant
from dlax.types import Algorithm, Info, Round, Scalar, Schedule, Tree


class ProxSkipState(NamedTuple):
    """What one round hands to the next; every leaf leads with n."""

    params: Tree  # x: the models
    dual: Tree  # y: sums to zero over the nodes
    link: Any  # of the channel


def decentralized_proxskip(
    lr: Scalar = 0.1, probability: Scalar = 0.2, damping: Scalar = 1.0, *, schedule: Schedule = constant()
) -> Algorithm:
    """Decentralised ProxSkip.

        Z = X − lr G(X) − Y
        with probability p, for all nodes together:   X ← Wₐ Z,   Y ← Y + p (Z − X),   Wₐ = I − (I − W) / (2χ)
        otherwise:                                    X ← Z

    Exact with a constant step size: Y learns −lr times what a node's gradient at x* differs from zero. Rounds without
    communication are local steps that do not drift.

    Args:
      lr: step size; below 2/L.
      probability: p in (0, 1]; the coin is shared, drawn from the round's key.
      damping: χ ≥ 1, or ≥ 1/2 where no eigenvalue of W is negative (Wₐ = W then at 1/2).
      schedule: factor s(t) on lr, of the round t; the dual is in units of lr, so a falling one biases.

    Returns:
      The (init, step) pair; a message is the model, and is sent in the rounds in which the coin says so.

    Raises:
      ValueError: if `probability` or `damping` is a number out of range; in a run, if W is not symmetric, doubly
        stochastic and fixed, or nodes sit rounds out.
    """
    check_coin("decentralized_proxskip", probability)
    if isinstance(damping, int | float) and damping < 0.5:
        raise ValueError(f"decentralized_proxskip: damping must be at least 1/2, got {damping}")

    def init(params: Tree, round: Round) -> ProxSkipState:
        round.require(
            "decentralized_proxskip", "symmetric", "doubly stochastic", "fixed", "full participation"
        )
        return ProxSkipState(params, tree.zeros_like(params), round.open(params))

    def step(state: ProxSkipState, round: Round) -> tuple[ProxSkipState, Info]:
        loss, grads = round.grad(state.params, round.key)
        z = tree.add(tree.add(state.params, grads, -at_round(lr, schedule, round.t)), state.dual, -1.0)
        mixed, link, bits = round.mix(state.link, z)
        mixed = tree.add(z, tree.add(z, mixed, -1.0), -1 / (2 * damping))
        dual = tree.add(state.dual, tree.add(z, mixed, -1.0), probability)
        heads = coin(round, probability)
        params, dual, link = jax.tree.map(
            lambda new, old: jnp.where(heads, new, old), (mixed, dual, link), (z, state.dual, state.link)
        )
        return ProxSkipState(params, dual, link), {"loss": loss, "bits": jnp.where(heads, bits, 0)}

    return Algorithm(init, step)


def coin(round: Round, probability: Scalar) -> jax.Array:
    """`[]` bool: True with this probability; every node computes the same from the round's key."""
    return jax.random.uniform(jax.random.fold_in(round.key, 1), (), jnp.float32) < probability


def check_coin(who: str, probability: Any) -> None:
    """Refuses a probability outside (0, 1]; a traced one passes."""
    if isinstance(probability, int | float) and not 0 < probability <= 1:
        raise ValueError(f"{who}: probability must be in (0, 1], got {probability}")
