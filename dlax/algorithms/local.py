"""K local steps of any optimiser on every node: the inside of most algorithms."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from dlax.optimizers import at_round
from dlax.types import Key, Optimizer, Round, Scalar, Schedule, Tree


def check_steps(who: str, local_steps: int) -> None:
    """Refuses fewer than one local step."""
    if local_steps < 1:
        raise ValueError(f"{who}: local_steps must be at least 1, got {local_steps}")


def init_optimizer(params: Tree, optimizer: Optimizer) -> Any:
    """The optimiser's state of every node, leaves `[n, ...]`."""
    return jax.vmap(optimizer(0.0).init)(params)


def update(params: Tree, grads: Tree, memory: Any, optimizer: Optimizer, lr: Scalar) -> tuple[Tree, Any]:
    """One step of the optimiser on every node.

    Args:
      params: `[n, ...]`.
      grads: `[n, ...]`.
      memory: the optimiser's state, `[n, ...]`.
      optimizer: `lr -> optax.GradientTransformation`.
      lr: step size.

    Returns:
      New params and memory.
    """
    transform = optimizer(lr)
    updates, memory = jax.vmap(transform.update)(grads, memory, params)
    return optax.apply_updates(params, updates), memory


def descend(
    params: Tree,
    memory: Any,
    round: Round,
    *,
    lr: Scalar,
    optimizer: Optimizer,
    schedule: Schedule,
    local_steps: int,
) -> tuple[Tree, Any, jax.Array]:
    """K = `local_steps` steps on minibatches of the node's own.

        repeat K times:  v ← v − lr · s(t) · opt(∇fᵢ(v; fresh minibatch))

    With K = 1 the minibatch is the one that every algorithm draws from `round.key`.

    Returns:
      New params and memory, and the loss `[n]` averaged over the K minibatches.
    """
    lr = at_round(lr, schedule, round.t)

    def step(carry: tuple[Tree, Any], key: Key) -> tuple[tuple[Tree, Any], jax.Array]:
        params, memory = carry
        loss, grads = round.grad(params, key)
        return update(params, grads, memory, optimizer, lr), loss

    if local_steps == 1:
        (params, memory), loss = step((params, memory), round.key)
        return params, memory, loss
    keys = jax.random.split(round.key, local_steps)
    (params, memory), losses = jax.lax.scan(step, (params, memory), keys)
    return params, memory, jnp.mean(losses, axis=0)
