"""Attacks that remember messages, or boost their own."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlax.attacks.poison import backdoor
from dlax.types import Attack, Key, Lies, Scalar, Sight, Tree


class ReplayMemory(NamedTuple):
    """A ring of old messages."""

    ring: Tree  # leaves [delay, n, ...]
    t: jax.Array  # [] int32


def replay(*, delay: int = 10) -> Attack:
    """Every Byzantine node sends what it should have sent some rounds ago.

        message of round max(t − delay, 0)

    Args:
      delay: in rounds, at least 1; so many messages of all nodes are kept.

    Returns:
      An attack with a ring of messages for memory.

    Raises:
      ValueError: if `delay` is below 1.
    """
    if delay < 1:
        raise ValueError(f"replay: delay must be at least 1, got {delay}")

    def init(message: Tree, key: Key) -> ReplayMemory:
        del key
        ring = jax.tree.map(lambda leaf: jnp.zeros((delay, *leaf.shape), leaf.dtype), message)
        return ReplayMemory(ring, jnp.int32(0))

    def craft(memory: ReplayMemory, sight: Sight) -> tuple[Lies, ReplayMemory]:
        place = memory.t % delay
        # All slots hold the first message until others come.
        ring = jax.tree.map(
            lambda old, new: jnp.where(memory.t == 0, new[None], old), memory.ring, sight.message
        )
        old = jax.tree.map(lambda leaf: leaf[place], ring)
        ring = jax.tree.map(lambda leaf, new: leaf.at[place].set(new), ring, sight.message)
        return Lies(old), ReplayMemory(ring, memory.t + 1)

    return Attack(craft, init)


def model_replacement(factor: Scalar = 10.0, *, poison: Attack = backdoor()) -> Attack:
    """Every Byzantine node sends its own poisoned update, boosted so that it survives the averaging.

        μ + factor · (message − μ)

    It boosts against μ, the mean of the honest messages that it knows: what would be there without it, and
    what it goes on from. With 1/factor the weight of all lies together in the receiver's mean, that mean
    becomes `message`.

    Args:
      factor: γ of the paper, there the number of participants.
      poison: an attack whose poison the Byzantine nodes' data get; what it sends is not used.

    Returns:
      An attack without memory.

    References:
      Bagdasaryan, Veit, Hua, Estrin, Shmatikov. How To Backdoor Federated Learning. AISTATS 2020.
    """

    def craft(memory: Any, sight: Sight) -> tuple[Lies, Any]:
        boosted = jax.tree.map(
            lambda x, mean: (mean + factor * (x - mean)).astype(x.dtype), sight.message, sight.mean()
        )
        return Lies(boosted), memory

    return Attack(craft, poison=poison.poison, needs="neighbourhood")
