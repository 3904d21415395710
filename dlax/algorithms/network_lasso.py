"""Network lasso: convex models on a graph whose neighbours snap together, solved by ADMM on the edges.

Hallac, Leskovec, Boyd. Network Lasso: Clustering and Optimization in Large Graphs. KDD 2015.
Zhu, Qin, Abeysekara, Dia, Grzybowska. Decentralised Traffic Incident Detection via Network Lasso. 2024.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from dlax import tree
from dlax.optimizers import at_round, constant
from dlax.types import Algorithm, Edges, Info, Round, Scalar, Schedule, Tree

Norm = Literal["l2", "squared"]
EdgeWeights = Literal["unit", "mixing"]


class LassoState(NamedTuple):
    """What one round hands to the next; every leaf leads with n."""

    params: Tree  # x: the models
    copies: Tree  # z: [n, k, ...], the copy of xᵢ that the edge in a slot keeps
    duals: Tree  # u: [n, k, ...], scaled duals of xᵢ = zᵢⱼ


def network_lasso(
    lam: Scalar = 1.0,
    penalty: Scalar = 1.0,
    *,
    norm: Norm = "l2",
    edge_weights: EdgeWeights = "unit",
    schedule: Schedule = constant(),
) -> Algorithm:
    """ADMM for min Σᵢ fᵢ(xᵢ) + λ Σ_{edges} aᵢⱼ ‖xᵢ − xⱼ‖, from z = x and u = 0; with s = penalty:

        xᵢ ← argmin fᵢ(x) + (s/2) Σⱼ ‖x − zᵢⱼ + uᵢⱼ‖²
        zᵢⱼ ← θ (xᵢ + uᵢⱼ) + (1 − θ) (xⱼ + uⱼᵢ),   θ = max(1 − λ aᵢⱼ / (s ‖xᵢ + uᵢⱼ − xⱼ − uⱼᵢ‖), ½)
        uᵢⱼ ← uᵢⱼ + xᵢ − zᵢⱼ

    The norm is not squared, so at the solution whole edges are in consensus (θ = ½) and the graph falls into
    clusters. λ = 0 learns locally; beyond a finite λ all models are the minimiser of Σᵢ fᵢ. Converges for every
    s > 0 to the optimum when all fᵢ are convex. Both ends of an edge compute θ from the vector that each sent,
    so nothing else is sent. θ is exact, where the authors' code adds 1e-6 to the denominator.

    `info` holds `tied`, the share of edges in consensus, and Boyd's residuals `primal` ‖xᵢ − zᵢⱼ‖ and `dual`
    s ‖Σⱼ (zᵢⱼ − old zᵢⱼ)‖, over all edges and nodes.

    Args:
      lam: λ ≥ 0, how strongly neighbours are coupled. fᵢ are summed, not averaged, over the nodes.
      penalty: s > 0, the ADMM penalty. Changes the speed, not the solution.
      norm: "l2": ‖·‖ over all of a model's numbers together. "squared": ‖·‖², Laplacian regularisation, where θ =
        ½ + ½ s / (s + 4 λ aᵢⱼ) and no edge is ever in consensus.
      edge_weights: "unit": aᵢⱼ = 1; "mixing": aᵢⱼ = W_ij of the topology.
      schedule: factor on λ, of the round t: a regularisation path with warm starts when it rises in steps.

    Returns:
      The (init, step) pair; one vector per directed edge and round is sent.

    Raises:
      ValueError: if lam is negative, penalty is not positive, or an option is unknown; in a run, unless the
        topology is fixed, undirected and connected (and symmetric, for "mixing"), every node takes part, the
        channel is plain, and the problem has a proximal step.

    References:
      Boyd, Parikh, Chu, Peleato, Eckstein. Distributed optimization and statistical learning via ADMM. 2011.
    """
    _check(lam, penalty, norm, edge_weights)

    def init(params: Tree, round: Round) -> LassoState:
        round.require("network_lasso", "fixed", "undirected", "connected", "full participation")
        if edge_weights == "mixing":
            round.require("network_lasso", "symmetric")
        slots = round.edges().neighbour.shape[1]
        copies = jax.tree.map(lambda x: jnp.repeat(x[:, None], slots, axis=1), params)
        return LassoState(params, copies, tree.zeros_like(copies))

    def step(state: LassoState, round: Round) -> tuple[LassoState, Info]:
        edges = round.edges()
        degree = jnp.maximum(edges.degree, 1)  # only a graph of one node has none
        pull = jax.tree.map(
            lambda z, u: _over(jnp.sum(z - u, axis=1, where=_like(edges.used, z)), degree),
            state.copies, state.duals,
        )  # fmt: skip
        params = round.prox(pull, 1 / (penalty * degree))

        mine = jax.tree.map(lambda x, u: x[:, None] + u, params, state.duals)
        theirs = edges.swap(mine)
        gap = _distance(mine, theirs)
        weight = jnp.ones_like(gap) if edge_weights == "unit" else edges.weight.astype(gap.dtype)
        force = at_round(lam, schedule, round.t).astype(gap.dtype) * weight / penalty
        if norm == "l2":
            apart = gap > 2 * force
            theta = jnp.where(apart, 1 - force / jnp.where(apart, gap, 1), 0.5)
        else:
            theta = 0.5 + 0.5 / (1 + 4 * force)
        copies = jax.tree.map(lambda a, b: b + _like(theta, a) * (a - b), mine, theirs)
        duals = tree.add(mine, copies, -1.0)
        info = {"bits": edges.degree * tree.message_bits(params)}
        info |= _progress(edges, theta, params, copies, state.copies, penalty)
        return LassoState(params, copies, duals), info

    return Algorithm(init, step)


def _check(lam: Scalar, penalty: Scalar, norm: str, edge_weights: str) -> None:
    if isinstance(lam, int | float) and not lam >= 0:
        raise ValueError(f"network_lasso: lam must be at least 0, got {lam}")
    if isinstance(penalty, int | float) and not penalty > 0:
        raise ValueError(f"network_lasso: penalty must be positive, got {penalty}")
    if norm not in ("l2", "squared"):
        raise ValueError(f"network_lasso: norm must be l2 or squared, got {norm!r}")
    if edge_weights not in ("unit", "mixing"):
        raise ValueError(f"network_lasso: edge_weights must be unit or mixing, got {edge_weights!r}")


def _progress(
    edges: Edges, theta: jax.Array, params: Tree, copies: Tree, before: Tree, penalty: Scalar
) -> Info:
    """The share of edges in consensus and the residuals, each `[]`."""
    ends = jnp.maximum(jnp.sum(edges.degree), 1)
    off = jax.tree.map(lambda x, z: jnp.where(_like(edges.used, z), x[:, None] - z, 0), params, copies)
    moved = jax.tree.map(lambda z, old: jnp.sum(z - old, axis=1, where=_like(edges.used, z)), copies, before)
    return {
        "tied": jnp.sum((theta == 0.5) & edges.used) / ends,
        "primal": jnp.sqrt(tree.squared_norm(off)),
        "dual": penalty * jnp.sqrt(tree.squared_norm(moved)),
    }


def _distance(a: Tree, b: Tree) -> jax.Array:
    """‖a − b‖ over all leaves, `[n, k]`."""

    def squares(x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.sum(jnp.square(x - y).reshape(*x.shape[:2], -1), axis=2)

    leaves = jax.tree.leaves(jax.tree.map(squares, a, b))
    return jnp.sqrt(sum(leaves[1:], start=leaves[0]))


def _like(slots: jax.Array, leaf: jax.Array) -> jax.Array:
    """`[n, k]` with as many axes as a leaf `[n, k, ...]`."""
    return slots.reshape(slots.shape + (1,) * (leaf.ndim - 2))


def _over(total: jax.Array, degree: jax.Array) -> jax.Array:
    """Rows `[n, ...]` over degrees `[n]`."""
    return total / tree.beside(degree, total).astype(total.dtype)
