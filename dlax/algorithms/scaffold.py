"""SCAFFOLD: control variates take the drift out of local steps.

Karimireddy, Kale, Mohri, Reddi, Stich, Suresh. SCAFFOLD: Stochastic Controlled Averaging for Federated Learning.
ICML 2020.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlax import tree
from dlax.algorithms.local import check_steps
from dlax.optimizers import at_round, constant
from dlax.types import Algorithm, Info, Key, Round, Scalar, Schedule, Tree


class ScaffoldState(NamedTuple):
    """What one round hands to the next; every leaf leads with n."""

    params: Tree  # x: the model, the same in every row
    control: Tree  # cᵢ: each node's own control variate
    mean_control: Tree  # c: their mean, the same in every row
    link: Any  # of the channel


def scaffold(
    lr: Scalar = 0.1, server_lr: Scalar = 1.0, *, local_steps: int = 5, schedule: Schedule = constant()
) -> Algorithm:
    """SCAFFOLD (the paper's option II), without a server on the complete graph, or with one on the cohorts clock.

        V = X, then K times  V ← V − lr (G(V) − C + c);    C⁺ = C − c + (X − V) / (K lr)
        X ← X + server_lr (J V − X),   c ← c + (s/N) J (C⁺ − C),   C ← C⁺       J = (1/s) 1 1ᵀ,  C₀ = c₀ = 0

    over the s of N nodes that take part; c stays the mean of all C. C⁺ is the mean of the K gradients on the way, and
    is computed as such: it then stands for lr = 0 too. At the fixed point −C + c takes out of every gradient what a
    node's differs from the mean, so the limit is the optimum whatever K and the split of the data.

    Args:
      lr: step size of the local steps, which are plain SGD.
      server_lr: step size of the server; 1 takes the mean.
      local_steps: K, gradients a round.
      schedule: factor s(t) on lr, of the round t.

    Returns:
      The (init, step) pair; a message is (V, C⁺ − C), twice the model, to each of the n − 1 others of the complete
      graph. (With a server it is twice the model up and twice down.)

    Raises:
      ValueError: if local_steps < 1, the topology is not the complete graph with weights 1/n, or nodes sit
        rounds out, which would part the copies of c.
    """
    check_steps("scaffold", local_steps)

    def init(params: Tree, round: Round) -> ScaffoldState:
        round.require("scaffold", "complete", "full participation")
        zero = tree.zeros_like(params)
        return ScaffoldState(params, zero, zero, round.open((params, zero)))

    def step(state: ScaffoldState, round: Round) -> tuple[ScaffoldState, Info]:
        local_lr = at_round(lr, schedule, round.t)
        correction = tree.add(state.mean_control, state.control, -1.0)

        def local(carry: tuple[Tree, Tree], key: Key) -> tuple[tuple[Tree, Tree], jax.Array]:
            v, total = carry
            loss, grads = round.grad(v, key)
            v = tree.add(v, tree.add(grads, correction), -local_lr)
            return (v, tree.add(total, grads)), loss

        # The keys of `descend`: FedAvg with the same seed sees the same minibatches.
        keys = round.key[None] if local_steps == 1 else jax.random.split(round.key, local_steps)
        (v, total), losses = jax.lax.scan(local, (state.params, tree.zeros_like(state.params)), keys)
        control = jax.tree.map(lambda leaf: leaf / local_steps, total)
        change = tree.add(control, state.control, -1.0)
        (mean, moved), link, bits = round.mix(state.link, (v, change))
        share = jnp.sum(round.active) / round.clients
        mean_control = tree.add(state.mean_control, moved, share)
        params = tree.add(state.params, tree.add(mean, state.params, -1.0), server_lr)
        info = {"loss": jnp.mean(losses, axis=0), "bits": bits, "gradients": local_steps}
        return ScaffoldState(params, control, mean_control, link), info

    return Algorithm(init, step, server=("params", "mean_control"))
