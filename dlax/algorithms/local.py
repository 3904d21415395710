"""K local steps of any optimiser on every node: the inside of most algorithms."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from dlax import tree
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


def descend_shifted(
    params: Tree, shift: Tree, round: Round, *, lr: Scalar, local_steps: int
) -> tuple[Tree, Tree, jax.Array]:
    """K = `local_steps` gradient steps, each with the same shift: what corrects the drift of local steps.

        repeat K times:  v ← v − lr ∇fᵢ(v; fresh minibatch) − shift

    Minibatches are those of `descend`.

    Returns:
      New params; the mean of the K gradients, shaped like them; the loss `[n]` averaged over the minibatches.
    """

    def step(carry: tuple[Tree, Tree], key: Key) -> tuple[tuple[Tree, Tree], jax.Array]:
        params, total = carry
        loss, grads = round.grad(params, key)
        params = tree.add(tree.add(params, grads, -lr), shift, -1.0)
        return (params, tree.add(total, grads)), loss

    first = (params, tree.zeros_like(params))
    if local_steps == 1:
        (params, grads), loss = step(first, round.key)
        return params, grads, loss
    (params, total), losses = jax.lax.scan(step, first, jax.random.split(round.key, local_steps))
    grads = jax.tree.map(lambda leaf: leaf / local_steps, total)
    return params, grads, jnp.mean(losses, axis=0)


def per_step(difference: Tree, lr: jax.Array) -> Tree:
    """difference / lr: what was moved, as a gradient; 0 where the step size is 0, at the ends of a schedule."""
    factor = jnp.where(lr == 0, 0, 1 / jnp.where(lr == 0, 1, lr))
    return jax.tree.map(lambda leaf: (factor * leaf).astype(leaf.dtype), difference)


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
