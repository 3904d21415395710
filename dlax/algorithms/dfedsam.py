"""DFedSAM and DFedSAM-MGS: flat local minima by sharpness-aware steps, then one gossip step or several.

Shi, Shen, Wei, Sun, Yuan, Wang, Tao. Improving the Model Consistency of Decentralized Federated Learning. ICML 2023.
Foret, Kleiner, Mobahi, Neyshabur. Sharpness-Aware Minimization. ICLR 2021 (the local step).
Kwon, Kim, Park, Choi. ASAM: Adaptive Sharpness-Aware Minimization. ICML 2021 (`adaptive`).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dlax import tree
from dlax.algorithms.local import check_steps, descend, init_optimizer
from dlax.optimizers import at_round, constant, sgd
from dlax.types import Algorithm, Info, Key, Optimizer, Round, Scalar, Schedule, Tree

Gradient = Callable[..., tuple[jax.Array, Tree]]  # as `Round.grad`

_TINY = 1e-12  # a zero gradient climbs nowhere


class DFedSAMState(NamedTuple):
    """What one round hands to the next; every leaf leads with n."""

    params: Tree  # x: the models
    link: Any  # of the channel


def dfedsam(
    lr: Scalar = 0.1,
    rho: Scalar = 0.01,
    *,
    local_steps: int = 5,
    gossip_steps: int = 1,
    adaptive: bool = False,
    optimizer: Optimizer = sgd(),
    schedule: Schedule = constant(),
    rho_schedule: Schedule = constant(),
) -> Algorithm:
    """DFedSAM: K sharpness-aware local steps, then Q gossip steps (Q > 1: DFedSAM-MGS).

        K times, on every node:   g = ∇Fᵢ(yᵢ; ξ),  e = ρ g / ‖g‖,  yᵢ ← yᵢ − lr ∇Fᵢ(yᵢ + e; ξ)
        then                      X ← W^Q Y

    ‖g‖ is over all parameters of a node, and both gradients see the same minibatch ξ. ρ = 0 is local D-SGD
    (DFedAvg; with one local step D-PSGD; with momentum DFedAvgM), and the complete graph makes it FedSAM. The
    topology enters the paper's rate only through λ^Q, λ = 1 − spectral gap:

        O(1/√(KT) + 1/T + (λ^Q + 1) / (K^{1/2} T^{3/2} (1 − λ^Q)²))   with ρ = O(1/√T)

    The authors' code is not public: `adaptive`, and momentum that starts anew in every round, are as in
    reimplementations. Those average what was pulled *before* they train; here, as in the paper, nodes train,
    then mix. The paper's W is also symmetric.

    Args:
      lr: step size of the local optimiser.
      rho: ρ, the radius of the climb. The reimplementations take 0.01 to 0.05.
      local_steps: K, each of two gradients.
      gossip_steps: Q, messages to every neighbour in a round; 4 is a reimplementation's choice for MGS. Over a
        channel with state or losses each of them is a message of its own.
      adaptive: True climbs in proportion to the weights (ASAM): e = ρ w² g / ‖ |w| g ‖, entry by entry.
      optimizer: the local optimiser, whose memory starts anew in every round; plain SGD by default.
      schedule: factor s(t) on lr, of the round t.
      rho_schedule: factor on ρ, of the round t; the bias of a fixed ρ goes as ρ does.

    Returns:
      The (init, step) pair; a message is the model.

    Raises:
      ValueError: if local_steps < 1, gossip_steps < 1, or W is not doubly stochastic.
    """
    check_steps("dfedsam", local_steps)
    if gossip_steps < 1:
        raise ValueError(f"dfedsam: gossip_steps must be at least 1, got {gossip_steps}")

    def init(params: Tree, round: Round) -> DFedSAMState:
        round.require("dfedsam", "doubly stochastic")
        return DFedSAMState(params, round.open(params))

    def step(state: DFedSAMState, round: Round) -> tuple[DFedSAMState, Info]:
        radius = at_round(rho, rho_schedule, round.t)
        params, _, loss = descend(
            state.params,
            init_optimizer(state.params, optimizer),
            round._replace(grad=sharpness_aware(round.grad, radius, adaptive=adaptive)),
            lr=lr,
            optimizer=optimizer,
            schedule=schedule,
            local_steps=local_steps,
        )
        link, total = state.link, jnp.zeros(())
        for _ in range(gossip_steps):
            params, link, bits = round.mix(link, params)
            total = total + bits
        return DFedSAMState(params, link), {"loss": loss, "bits": total, "gradients": 2 * local_steps}

    return Algorithm(init, step)


def sharpness_aware(grad: Gradient, rho: Scalar, *, adaptive: bool = False) -> Gradient:
    """The gradient at the top of a climb: ∇f(x + ρ g / ‖g‖) with g = ∇f(x), on one minibatch.

    Args:
      grad: as `Round.grad`: `(params [n, ...], key, nodes) -> (loss [n], grads [n, ...])`.
      rho: length of the climb.
      adaptive: as in `dfedsam`.

    Returns:
      Another such function; its loss is that at x.
    """

    def climb(params: Tree, grads: Tree) -> Tree:
        """One node's model after the climb."""
        if not adaptive:
            return tree.add(params, grads, rho / (jnp.sqrt(tree.squared_norm(grads)) + _TINY))
        scaled = jax.tree.map(lambda x, g: jnp.abs(x) * g, params, grads)
        length = rho / (jnp.sqrt(tree.squared_norm(scaled)) + _TINY)
        return tree.add(params, jax.tree.map(lambda x, s: jnp.abs(x) * s, params, scaled), length)

    def at_the_top(params: Tree, key: Key, nodes: jax.Array | None = None) -> tuple[jax.Array, Tree]:
        loss, grads = grad(params, key, nodes)
        return loss, grad(jax.vmap(climb)(params, grads), key, nodes)[1]

    return at_the_top
