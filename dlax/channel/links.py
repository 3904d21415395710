"""Which messages are sent and which arrive: shared by the channels."""

from typing import Any

import jax
import jax.numpy as jnp

from dlax.types import Network, Scalar


def check_drop(who: str, drop: Any) -> None:
    """Refuses a probability outside [0, 1]; a traced one passes."""
    if isinstance(drop, int | float) and not 0 <= drop <= 1:
        raise ValueError(f"{who}: drop must be in [0, 1], got {drop}")


def sent_and_arrived(
    network: Network, index: jax.Array, weight: jax.Array, drop: Scalar | None, symmetric: bool = False
) -> tuple[jax.Array, jax.Array]:
    """Masks `[n, k]` over the slots of a table: where a message is sent, and where it arrives.

    Nothing is sent to or by a node that takes no part in the round; what is sent is lost over links that do not
    work, and with probability `drop`, both directions of a link together if `symmetric`.
    """
    sent = weight != 0
    if network.active is not None:
        sent &= network.active[:, None] & network.active[index]
    arrived = sent if network.works is None else sent & network.works
    if drop is not None:
        arrived &= uniform_by_edge(network.key, index, symmetric) >= drop
    return sent, arrived


def messages(sent: jax.Array, index: jax.Array, like: jax.Array) -> jax.Array:
    """How many messages each node sends `[n]`, from the receivers' mask `[n, k]`."""
    return jnp.zeros_like(like).at[index].add(sent.astype(like.dtype))


def uniform_by_edge(key: jax.Array, index: jax.Array, symmetric: bool) -> jax.Array:
    """A uniform number a directed edge [n, k]; the same for both directions if symmetric."""
    if not symmetric:
        return jax.random.uniform(key, index.shape, jnp.float32)
    nodes = jnp.broadcast_to(jnp.arange(index.shape[0])[:, None], index.shape)
    low, high = jnp.minimum(nodes, index), jnp.maximum(nodes, index)

    def one(low: jax.Array, high: jax.Array) -> jax.Array:
        edge_key = jax.random.fold_in(jax.random.fold_in(key, low), high)
        return jax.random.uniform(edge_key, (), jnp.float32)

    return jax.vmap(jax.vmap(one))(low, high)
