"""Sybils: many Byzantine nodes that are faces of one learner.

Douceur. The Sybil Attack. IPTPS 2002. Werthenbach, Pouwelse. Towards Sybil Resilience in Decentralized
Learning. 2023.
"""

from typing import Any

import jax
import jax.numpy as jnp

from dlax.attacks.nodes import dtype_of, links, weighted
from dlax.attacks.poison import label_flip
from dlax.types import Attack, Lies, Sight


def sybil(*, poison: Attack = label_flip()) -> Attack:
    """All Byzantine nodes are one learner: they send the mean of their messages.

        sent = x̄ = (1/s) Σ_{b Byzantine} x_b
        kept = (s x̄ + Σ of the honest messages on all edges to Sybils) / (s + number of these edges)

    So they stay at one model, as SybilWall's code has one node behind all of them, which averages what it
    receives with its own copies. There it holds one share of the data and all samples of the classes
    attacked; here every face brings its own share. An honest message on two edges counts twice. With
    knowledge "everything" the learner takes the mean of all honest messages in place of each one that it hears.

    Args:
      poison: an attack whose poison the Sybils' data get, such as `label_flip` or `backdoor`; what it sends
        is not used.

    Returns:
      An attack without memory. Place it on the last nodes of `with_sybils`.
    """

    def craft(memory: Any, sight: Sight) -> tuple[Lies, Any]:
        byzantine = sight.byzantine
        dtype = dtype_of(sight.message)
        faces = byzantine.astype(dtype)
        own = weighted(faces / jnp.sum(faces), sight.message)
        honest, _ = links(sight.table(), byzantine)
        edges = jnp.where(byzantine, jnp.sum(honest != 0, axis=1), 0).astype(dtype)
        total = jnp.sum(faces) + jnp.sum(edges)
        heard = jax.tree.map(
            lambda leaf, mean: jnp.broadcast_to(mean, leaf.shape), sight.message, sight.mean()
        )
        kept = jax.tree.map(
            lambda own, others: (jnp.sum(faces) / total * own + others).astype(own.dtype),
            own,
            weighted(edges / total, heard),
        )
        return Lies(own, kept=kept), memory

    return Attack(craft, poison=poison.poison, needs="neighbourhood")
