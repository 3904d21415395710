"""Matchings, in which no node has two partners: whole rounds of pairs, and the graph put together of them."""

import itertools
from typing import Any

import numpy as np

from dlax.topology.graphs.adjacency import node_count, undirected
from dlax.topology.graphs.lattices import complete
from dlax.topology.graphs.random import erdos_renyi
from dlax.topology.sequences.drawn import (
    SYMMETRIC,
    alike,
    drawn,
    from_edge_weights,
    pair_arrays,
    pairs,
    undirected_edges,
)
from dlax.topology.topology import Base, Draw, Topology, from_matrix
from dlax.topology.weights import activation_probabilities, best_constant, best_mixing


def random_matching(n: int, *, base: Base = complete) -> Topology:
    """In every round the nodes are paired at random, and the two of a pair average.

    Over the complete graph the pairing is a uniform perfect matching (for odd n one node, uniform too, sleeps).
    Two nodes meet with probability q = 1/(n − 1) for even and 1/n for odd n; W is a projection, so

        ρ² = λ₂(E[W]) = 1 − n q / 2

    Over another graph the edges are split beforehand into at most max d + 1 matchings (`edge_matchings`) and a
    round uses one of them, drawn uniformly: a random matching of the graph, but one of few.

    Args:
      n: number of nodes, at least 1.
      base: the graph whose edges may be used; its weights do not count. In a config, a topology without n.

    Returns:
      A drawn topology for the complete graph, a random one for others; fixed if there is but one matching.

    Raises:
      ValueError: if the base is directed or not connected.

    References:
      Boyd, Ghosh, Prabhakar, Shah. Randomized gossip algorithms. IEEE Trans. Information Theory 2006.
      Misra, Gries. A constructive proof of Vizing's theorem. Information Processing Letters 1992.
    """
    n = node_count("random_matching", n)
    edges = undirected_edges("random_matching", base(n))
    if n > 2 and len(edges) == n * (n - 1) // 2:
        meet = 1.0 / (n - 1 + n % 2)
        draw = Draw(_permuted, pair_arrays(n, 0.5), SYMMETRIC, lambda: 1.0 - 0.5 * n * meet, 0.0)
        return drawn("random_matching", alike(n, 0.5 * meet), draw)
    rounds = edge_matchings(n, edges) or [edges]
    matrices = [from_edge_weights(n, part, np.full(len(part), 0.5)) for part in rounds]
    return from_matrix(matrices, name="random_matching", order="random")


def matcha(n: int, *, base: Base = erdos_renyi, budget: float = 0.5) -> Topology:
    """MATCHA: the matchings of a graph are switched on at random, those that matter most oftenest.

        W = I − α Σⱼ Bⱼ Lⱼ,   Bⱼ = 1 with probability pⱼ, independently, else 0

    Lⱼ are the Laplacians of the at most max d + 1 matchings that the graph is split into (`edge_matchings`).
    p maximises λ₂(Σ pⱼ Lⱼ) over Σ pⱼ ≤ budget · (number of matchings), 0 ≤ pⱼ ≤ 1; α minimises

        ρ² = ‖E[WᵀW] − J‖₂ = ‖I − 2α Σ pⱼ Lⱼ + α² ((Σ pⱼ Lⱼ)² + 2 Σ pⱼ (1 − pⱼ) Lⱼ) − J‖₂

    The budget is one of time: a matching is one exchange for all its pairs at once. Matchings differ in size,
    and the larger ones are often the more useful, so that more than that share of the edges may be active. On
    graphs whose matchings are all alike (rings of even length) p is even. Needs the extra "theory".

    Args:
      n: number of nodes, from 1 to 100 (the programme for p costs about a minute there).
      base: the graph; its weights do not count. In a config, a topology without n.
      budget: share of the matchings that may be active on average, in (0, 1]. 1: all edges always, with the
        best constant weight.

    Returns:
      A drawn topology; fixed if the budget is 1 or n = 1. Self weights 1 − α dᵢ may be negative.

    Raises:
      ValueError: if `budget` is outside (0, 1], if the base is directed or not connected, or if there are more
        than 100 nodes and the budget is below 1; without `cvxpy`.

    References:
      Wang, Sahu, Yang, Joshi, Kar. MATCHA: Speeding up decentralized SGD via matching decomposition sampling.
      Indian Control Conference 2019.
    """
    n = node_count("matcha", n)
    if not 0.0 < budget <= 1.0:
        raise ValueError(f"matcha: budget must be in (0, 1], got {budget}")
    edges = undirected_edges("matcha", base(n))
    if n == 1 or budget == 1.0:
        return from_matrix(best_constant()(undirected(n, *edges.T)), name="matcha", allow_negative=True)
    matchings = edge_matchings(n, edges)
    laplacians = [np.eye(n) - from_edge_weights(n, part, np.ones(len(part))).toarray() for part in matchings]
    chance = activation_probabilities(laplacians, budget)
    alpha, squared = best_mixing(laplacians, chance)
    partner = np.tile(np.arange(n, dtype=np.int32)[:, None], len(matchings))
    for slot, (i, j) in enumerate(part.T for part in matchings):
        partner[i, slot], partner[j, slot] = j, i
    weight = np.repeat(alpha * chance, [len(part) for part in matchings])
    everything = sum(L for L, p in zip(laplacians, chance, strict=True) if p > 0.0)
    words = SYMMETRIC - ({"nonnegative"} if alpha * np.diag(everything).max() > 1.0 else set())
    least = 1.0 - alpha * float(np.linalg.eigvalsh(everything)[-1])
    arrays = {"partner": partner, "chance": np.array(chance), "alpha": np.array(alpha)}
    expected = from_edge_weights(n, np.concatenate(matchings), weight)
    draw = Draw(_activated, arrays, words, lambda: squared, least)
    return drawn("matcha", expected, draw, allow_negative=True)


def edge_matchings(n: int, edges: np.ndarray) -> list[np.ndarray]:
    """Split the edges of a graph into at most max d + 1 matchings: a proper edge colouring.

    The algorithm of Misra and Gries, which follows Vizing's proof. To colour {u, v}: line up neighbours of u,
    from v on, so that the colour of each edge to u is free at the neighbour before it. Swapping two colours
    along a path makes one colour free at u and at one of the line; shift the colours along the line up to it.

    Args:
      n: number of nodes.
      edges: `[m, 2]` int, each undirected edge once, without loops.

    Returns:
      Arrays `[., 2]` that together are the edges.

    References:
      Misra, Gries. A constructive proof of Vizing's theorem. Information Processing Letters 1992.
    """
    at: list[dict[int, int]] = [{} for _ in range(n)]  # colour -> neighbour
    colour: list[dict[int, int]] = [{} for _ in range(n)]  # neighbour -> colour

    def free(node: int) -> int:
        return next(c for c in range(n) if c not in at[node])

    def paint(u: int, v: int, c: int) -> None:
        at[u][c], at[v][c], colour[u][v], colour[v][u] = v, u, c, c

    def strip(u: int, v: int) -> None:
        c = colour[u].pop(v)
        del colour[v][u], at[u][c], at[v][c]

    def swap(u: int, c: int, d: int) -> None:
        """Exchange c and d along the path that starts at u with d."""
        path = [u]
        while (d if len(path) % 2 else c) in at[path[-1]]:
            path.append(at[path[-1]][d if len(path) % 2 else c])
        ends = list(itertools.pairwise(path))
        for end in ends:
            strip(*end)
        for place, end in enumerate(ends):
            paint(*end, d if place % 2 else c)

    largest = int(np.bincount(edges.ravel()).max(initial=0))
    for u, v in edges.tolist():
        common = next((c for c in range(largest) if c not in at[u] and c not in at[v]), None)
        if common is not None:
            paint(u, v, common)
            continue
        fan = [v]
        while (following := at[u].get(free(fan[-1]))) is not None and following not in fan:
            fan.append(following)
        c, d = free(u), free(fan[-1])
        swap(u, c, d)
        # Up to the first at which d is free the line still holds, whatever the swap did to it.
        stop = next(place for place, w in enumerate(fan) if d not in at[w])
        shifted = [colour[u][w] for w in fan[1 : stop + 1]]
        for w in fan[1 : stop + 1]:
            strip(u, w)
        for w, new in zip(fan, [*shifted, d], strict=False):
            paint(u, w, new)
    numbers = np.array([colour[u][v] for u, v in edges.tolist()], dtype=np.int64)
    return [edges[numbers == c] for c in np.unique(numbers)]


def _permuted(t: Any, key: Any, arrays: Any) -> Any:
    import jax

    del t
    node = arrays["node"]
    order = jax.random.permutation(key, node)
    couples = order[: len(order) // 2 * 2].reshape(-1, 2)
    return pairs(node.at[couples].set(couples[:, ::-1]), arrays)


def _activated(t: Any, key: Any, arrays: Any) -> Any:
    import jax
    import jax.numpy as jnp

    del t
    partner, chance = arrays["partner"], arrays["chance"]  # [n, M] and [M]
    active = jax.random.uniform(key, chance.shape, jnp.float32) < chance
    node = jnp.arange(partner.shape[0], dtype=partner.dtype)[:, None]
    index = jnp.where(active[None], partner, node)
    weight = jnp.where(index != node, arrays["alpha"], 0)
    return index, weight, 1 - weight.sum(axis=1)
