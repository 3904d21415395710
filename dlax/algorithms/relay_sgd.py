"""RelaySGD: sums relayed over a tree, so that every model counts the same, late by its distance.

Vogels, He, Koloskova, Lin, Karimireddy, Stich, Jaggi. RelaySum for Decentralized Deep Learning on Heterogeneous Data.
NeurIPS 2021.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlax import tree
from dlax.algorithms.local import check_steps, descend, init_optimizer
from dlax.optimizers import constant, sgd
from dlax.types import Algorithm, Info, Optimizer, Round, Scalar, Schedule, Tree


class RelayState(NamedTuple):
    """What one round hands to the next; every leaf leads with n."""

    params: Tree  # x: the models
    start: Tree  # x at the start: stands in for models that have not been heard of yet
    heard: Tree  # m: what each neighbour last relayed, [n, k, ...]
    counts: jax.Array  # c: of how many models, [n, k]
    memory: Any  # of the local optimiser


def relay_sgd(
    lr: Scalar = 0.1,
    *,
    local_steps: int = 1,
    optimizer: Optimizer = sgd(),
    schedule: Schedule = constant(),
) -> Algorithm:
    """RelaySGD: a local step, then the average of all n models, each as old as it is far away.

        X ← X − lr G(X)
        m⁺(i→j) = xᵢ + Σ_{k ≠ j} m(k→i),   c⁺(i→j) = 1 + Σ_{k ≠ j} c(k→i)        over the neighbours k of i
        xᵢ ← (xᵢ + Σⱼ m⁺(j→i) + (n − cᵢ) x₀) / n,   cᵢ = 1 + Σⱼ c⁺(j→i)

    with m and c from 0. On a tree no model is counted twice; after as many rounds as the tree is wide, cᵢ = n. The
    weights W are not used. Reaches the optimum exactly with full gradients and a constant step size, although it
    sends as little as D-SGD. Nodes should start from one common x₀.

    Args:
      lr: step size of the local optimiser; the delays ask for a smaller one on a wider tree.
      local_steps: gradients a round.
      optimizer: the local optimiser; plain SGD by default. The sums mix models, not its memory.
      schedule: factor s(t) on lr, of the round t.

    Returns:
      The (init, step) pair; a message is the model. The counts follow from the tree and are not charged.

    Raises:
      ValueError: if local_steps < 1; in a run, unless the topology is a tree (path, star, binary_tree), the run's
        channel plain, and all nodes take part.
    """
    check_steps("relay_sgd", local_steps)

    def init(params: Tree, round: Round) -> RelayState:
        round.require("relay_sgd", "tree")
        edges = round.edges()
        heard = jax.tree.map(jnp.zeros_like, edges.gather(params))
        counts = jnp.zeros_like(edges.weight)
        return RelayState(params, params, heard, counts, init_optimizer(params, optimizer))

    def step(state: RelayState, round: Round) -> tuple[RelayState, Info]:
        edges = round.edges()
        n = len(edges.degree)
        adapted, memory, loss = descend(
            state.params, state.memory, round, lr=lr, optimizer=optimizer, schedule=schedule, local_steps=local_steps
        )  # fmt: skip

        def relay(own: jax.Array, heard: jax.Array) -> jax.Array:
            """To every neighbour all but what came from it; returned as received, 0 in empty slots."""
            sent = (own + heard.sum(axis=1))[:, None] - heard
            return jnp.where(tree.beside(edges.used, heard), edges.swap(sent), 0)

        heard = jax.tree.map(relay, adapted, state.heard)
        counts = relay(jnp.ones_like(edges.degree), state.counts)
        missing = n - 1 - counts.sum(axis=1)

        def average(own: jax.Array, heard: jax.Array, start: jax.Array) -> jax.Array:
            total = own + heard.sum(axis=1) + tree.beside(missing, own).astype(own.dtype) * start
            return (total / n).astype(own.dtype)

        params = jax.tree.map(average, adapted, heard, state.start)
        info = {"loss": loss, "bits": edges.degree * tree.message_bits(params), "gradients": local_steps}
        return RelayState(params, state.start, heard, counts, memory), info

    return Algorithm(init, step)
