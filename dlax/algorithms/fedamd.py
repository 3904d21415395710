"""FedAMD: some of a cohort refresh gradients, the others walk along the mean of all that were kept.

Wu, Guo, Qu, He, Liu, Gao. Anchor Sampling for Federated Learning with Partial Client Participation. ICML 2023.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlax import tree
from dlax.algorithms.local import check_steps
from dlax.optimizers import at_round, constant
from dlax.types import Algorithm, Info, Key, Round, Scalar, Schedule, Tree


class FedAMDState(NamedTuple):
    """What one round hands to the next; every leaf leads with n."""

    params: Tree  # x: the server's model
    bullseye: Tree  # g: the mean over all clients of their anchors, the same in every row
    anchor: Tree  # vᵢ: each client's kept gradient on all its data
    link: Any  # of the channel


def fedamd(
    lr: Scalar = 0.01,
    server_lr: Scalar = 1.0,
    anchors: Scalar = 0.2,
    *,
    local_steps: int = 10,
    period: int | None = None,
    schedule: Schedule = constant(),
) -> Algorithm:
    """FedAMD (federated learning with anchors and miners), on the cohorts clock or the complete graph.

        every client of the cohort is an anchor with probability p, else a miner;   g = (1/N) Σᵢ vᵢ before the round
        anchor   vᵢ ← ∇fᵢ(x), on all its data
        miner    y = x, d = g; K times:  y ← y − lr d,   d ← d + ∇fᵢ(y; B) − ∇fᵢ(y before; B) on one minibatch B
        x ← x − server_lr · mean over miners of (x − y);   without miners x stays

    At the optimum all directions are zero, whatever the clients' data and minibatches: the method is exact. Its walk
    goes along kept gradients that are N / (s p) rounds old on average, so lr · K must be small against that. With
    K = 1 no minibatch is used at all; the loss of miners is then the one on all their data. Where nodes start apart,
    x is their mean.

    What is the authors' code's: this order, plain means, one full round of anchors at the start. There a probability
    of exactly 1 makes everybody a miner; here it makes everybody an anchor.

    Args:
      lr: step size of the miners.
      server_lr: step size of the server; 1 takes the mean of the miners' models.
      anchors: p in [0, 1].
      local_steps: K, steps of a miner.
      period: q: instead of drawing, all are anchors in every q-th round, from the first, and miners in the others;
        None draws.
      schedule: factor s(t) on lr, of the round t.

    Returns:
      The (init, step) pair. A client sends one message of the model's size and a number, and receives x and g. Of a
      compressed message, which the channel sees as both, it pays for the same share. A miner takes
      2 (K − 1) minibatch gradients, an anchor one on all its data, which counts as one gradient.

    Raises:
      ValueError: if an option is out of range; in a run, if the problem has no gradient on all data, the topology is
        not the complete graph with weights 1/n, or nodes sit rounds out there.
    """
    check_steps("fedamd", local_steps)
    if isinstance(anchors, int | float) and not 0 <= anchors <= 1:
        raise ValueError(f"fedamd: anchors must be in [0, 1], got {anchors}")
    if period is not None and period < 2:
        raise ValueError(f"fedamd: period must be at least 2, or null to draw, got {period}")

    def init(params: Tree, round: Round) -> FedAMDState:
        round.require("fedamd", "complete", "full participation")
        params = tree.broadcast(tree.node_mean(params), tree.num_nodes(params))  # there is one x
        anchor = round.full_grad(params)[1]
        bullseye = tree.broadcast(tree.node_mean(anchor), tree.num_nodes(params))
        nobody = jnp.zeros(round.active.shape, jax.tree.leaves(params)[0].dtype)
        return FedAMDState(params, bullseye, anchor, round.open((params, anchor, nobody)))

    def step(state: FedAMDState, round: Round) -> tuple[FedAMDState, Info]:
        size = tree.num_nodes(state.params)
        keys = jax.random.split(round.key, local_steps + 1)
        idle = jnp.zeros(size, jax.tree.leaves(state.params)[0].dtype)
        if period is None:
            is_anchor = jax.random.uniform(keys[-1], (size,), jnp.float32) < anchors
            refreshed, mined = round.full_grad(state.params), mine(state, round, keys[:-1])
        else:  # one kind of work a round: the other is not done
            is_anchor = jnp.broadcast_to(round.t % period == 0, (size,))
            refreshed, mined = jax.lax.cond(
                round.t % period == 0,
                lambda: (round.full_grad(state.params), (state.params, idle)),
                lambda: ((idle, state.anchor), mine(state, round, keys[:-1])),
            )
        loss = jnp.where(is_anchor, refreshed[0], mined[1])
        anchor = tree.where_nodes(is_anchor, refreshed[1], state.anchor)
        walked = tree.where_nodes(
            is_anchor, tree.zeros_like(state.params), tree.add(state.params, mined[0], -1.0)
        )
        change = tree.add(anchor, state.anchor, -1.0)
        miners = (~is_anchor).astype(idle.dtype)
        (walk, moved, share), link, bits = round.mix(state.link, (walked, change, miners))
        some = share > 0
        scale = server_lr * jnp.where(some, 1 / jnp.where(some, share, 1), 0)
        params = jax.tree.map(
            lambda x, w: (x - tree.beside(scale, w) * w).astype(x.dtype), state.params, walk
        )
        bullseye = tree.add(state.bullseye, moved, jnp.sum(round.active) / round.clients)
        whole = tree.message_bits((walked, change, miners))
        sent = whole - tree.message_bits(state.params)  # of the two a client sends only one
        info = {
            "loss": loss,
            "bits": jnp.round(bits / whole * sent),
            "gradients": jnp.where(is_anchor, 1, 2 * (local_steps - 1)),
        }
        return FedAMDState(params, bullseye, anchor, link), info

    def mine(state: FedAMDState, round: Round, keys: Key) -> tuple[Tree, jax.Array]:
        rate = at_round(lr, schedule, round.t)
        first = tree.add(state.params, state.bullseye, -rate)

        def walk(carry: tuple[Tree, Tree, Tree], key: Key) -> tuple[tuple[Tree, Tree, Tree], jax.Array]:
            before, y, direction = carry
            loss, new = round.grad(y, key)
            _, old = round.grad(before, key)
            direction = tree.add(direction, tree.add(new, old, -1.0))
            return (y, tree.add(y, direction, -rate), direction), loss

        if local_steps == 1:
            return first, round.full_grad(state.params)[0]
        (_, y, _), losses = jax.lax.scan(walk, (state.params, first, state.bullseye), keys[1:])
        return y, jnp.mean(losses, axis=0)

    return Algorithm(init, step, server=("params", "bullseye"))
