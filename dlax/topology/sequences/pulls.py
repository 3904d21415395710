"""Every node asks a few others, drawn afresh in every round; how many may change with the round."""

import math
from typing import Any, Literal, get_args

import numpy as np

from dlax.topology.graphs.adjacency import node_count
from dlax.topology.graphs.lattices import complete
from dlax.topology.matrix import as_csr
from dlax.topology.sequences.drawn import drawn
from dlax.topology.topology import Base, Draw, Topology, from_matrix

PeerSchedule = Literal["linear", "cosine", "slow_decrease", "slow_grow", "step", "window"]

_LARGEST = 4_096  # nodes: a round draws a number for every edge of the base
_WORDS = frozenset({"row stochastic", "nonnegative"})


def random_pull(n: int, *, peers: float = 0.2, base: Base = complete) -> Topology:
    """In every round each node averages itself and a few others that it picks at random.

        i picks ⌊r⌋ distinct others, and one more with probability r − ⌊r⌋;   W_ij = 1 / (1 + number of picks)

    Picks are independent over nodes and rounds, and one-sided: rows of W sum to one, columns do so only in
    expectation (where nodes are alike), and W is not symmetric. With r < 1 most nodes hear nobody.

    Args:
      n: number of nodes, from 1 to 4,096.
      peers: r > 0, how many others a node hears on average. A node with fewer neighbours hears them all.
      base: whose neighbours may be picked; its weights do not count. In a config, a topology without n.

    Returns:
      A drawn topology; a fixed one if everyone always hears all neighbours.

    Raises:
      ValueError: if `peers` is not positive and finite, the base is not connected, or n is above 4,096.

    References:
      Zhu, Zhang, Wang, Zhou, Wang. On the surprising effectiveness of a single global merging in decentralized
      learning. ICLR 2026 (the matrix as in its code).
    """
    if not (math.isfinite(peers) and peers > 0):
        raise ValueError(f"random_pull: peers must be positive and finite, got {peers}")
    return _pulls("random_pull", n, np.array([float(peers)]), base)


def scheduled_pull(
    n: int,
    *,
    rounds: int = 100,
    schedule: PeerSchedule = "step",
    start: float = 0.2,
    end: float | None = None,
    at: float | None = None,
    window: float = 0.05,
    base: Base = complete,
) -> Topology:
    """`random_pull` whose number of peers r changes over the run; s = t / T is the share of rounds done.

        schedule          r
        "linear"          start + (end − start) s
        "cosine"          end + (start − end) (1 + cos πs) / 2
        "slow_decrease"   end + (start − end) e^(−10 s)
        "slow_grow"       start + (end − start) log₁₀(1 + 9 s⁸⁰)
        "step"            start before `at`, end from it on
        "window"          end in [at, at + window), start elsewhere

    In the paper's code "step" and "window" are called truncate and truncate_v2, and "slow_grow" ends at 16 peers.
    The last round has s = (T − 1) / T, and rounds after T are like it.

    Args:
      n: number of nodes, from 1 to 4,096.
      rounds: T, the rounds of the run.
      schedule: how r changes.
      start: r at first, at least 0.
      end: r in the end, at least 0. None: all others, n − 1.
      at: where a step or a window starts, a share of the run in [0, 1]. None: a step before the last round
        (a single merge), a window at its very end.
      window: the length of a window, a share of the run in (0, 1].
      base: whose neighbours may be picked; its weights do not count. In a config, a topology without n.

    Returns:
      A drawn topology. Its gap is that of the rounds with the fewest peers; its E[W] the mean over the rounds.

    Raises:
      ValueError: if an option is out of range, or no round has peers.

    References:
      As `random_pull`.
    """
    n = node_count("scheduled_pull", n)
    last = float(n - 1) if end is None else float(end)
    if rounds < 1:
        raise ValueError(f"scheduled_pull: rounds must be at least 1, got {rounds}")
    if schedule not in get_args(PeerSchedule):
        raise ValueError(
            f"scheduled_pull: schedule must be one of {', '.join(get_args(PeerSchedule))}, got {schedule!r}"
        )
    for name, value in (("start", start), ("end", last)):
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"scheduled_pull: {name} must be finite and at least 0, got {value}")
    if at is not None and not 0 <= at <= 1:
        raise ValueError(f"scheduled_pull: at must be in [0, 1], got {at}")
    if not 0 < window <= 1:
        raise ValueError(f"scheduled_pull: window must be in (0, 1], got {window}")
    t = np.arange(rounds)
    s = t / rounds
    # Shares of a run fall on whole rounds, rounded: 0.95 · 100 is not 95 in floating point.
    length = max(1, round(window * rounds))
    first = round(at * rounds) if at is not None else rounds - (1 if schedule == "step" else length)
    inside = (t >= first) & ((t < first + length) | (schedule == "step"))
    share = {  # of the way from start to end
        "linear": s,
        "cosine": (1 - np.cos(np.pi * s)) / 2,
        "slow_decrease": 1 - np.exp(-10 * s),
        "slow_grow": np.log10(1 + 9 * s**80),
        "step": inside.astype(float),
        "window": inside.astype(float),
    }[schedule]
    peers = start + (last - start) * share
    if n > 1 and not peers.max() > 0:
        raise ValueError("scheduled_pull: some round must have peers, and start, end and at leave none")
    return _pulls("scheduled_pull", n, peers, base)


def _pulls(who: str, n: int, peers: np.ndarray, base: Base) -> Topology:
    """The topology of `peers` `[T]`, the r of every round."""
    n = node_count(who, n)
    if n > _LARGEST:
        raise ValueError(f"{who}: n must be at most {_LARGEST}, as a round draws up to n² numbers; got {n}")
    graph = base(n)
    if not graph.is_connected:
        raise ValueError(f"{who}: base must be connected, and {graph.name!r} is not")
    A = np.zeros((n, n))
    A[graph.edges[:, 1], graph.edges[:, 0]] = 1.0  # edges go from sender to receiver
    degree = A.sum(axis=1).astype(int)
    widest = int(degree.max(initial=0))
    if n == 1 or peers.min() >= widest:
        return from_matrix((A + np.eye(n)) / (1 + degree)[:, None], name=who)
    linked = np.arange(widest) < degree[:, None]
    heard = np.repeat(np.arange(n)[:, None], widest, axis=1).astype(np.int32)
    heard[linked] = np.nonzero(A)[1]
    most = min(widest, math.ceil(peers.max()))
    arrays = {
        "heard": heard,
        "linked": linked,
        "slot": np.arange(most, dtype=np.int32),
        "peers": np.minimum(peers, widest),
    }
    law = np.mean([_law(r, widest) for r in peers], axis=0)
    expected = as_csr(_moments(A, law)[0])
    draw = Draw(_pulled, arrays, _WORDS, lambda: _contraction(A, _law(peers.min(), widest)))
    return drawn(who, expected, draw)


def _pulled(t: Any, key: Any, arrays: Any) -> Any:
    import jax
    import jax.numpy as jnp

    heard, linked, slot, peers = (arrays[name] for name in ("heard", "linked", "slot", "peers"))
    n = heard.shape[0]
    pick_key, more_key = jax.random.split(key)
    r = peers[jnp.minimum(t, peers.shape[0] - 1)]
    whole = jnp.floor(r)
    more = jax.random.uniform(more_key, (n,), jnp.float32) < r - whole
    count = jnp.minimum(whole.astype(jnp.int32) + more, linked.sum(axis=1))
    score = jnp.where(linked, jax.random.uniform(pick_key, heard.shape, jnp.float32), -1.0)
    picks = jax.lax.top_k(score, slot.shape[0])[1]  # in falling order
    used = slot[None] < count[:, None]
    index = jnp.where(
        used, jnp.take_along_axis(heard, picks, axis=1), jnp.arange(n, dtype=heard.dtype)[:, None]
    )
    weight = jnp.where(used, 1 / (1 + count.astype(peers.dtype))[:, None], 0).astype(peers.dtype)
    own = 1 - weight.sum(axis=1)
    if n > 8 * slot.shape[0]:
        return index, weight, own
    # Wide rows of few nodes are a matrix product.
    node = jnp.arange(n)
    return jnp.zeros((n, n), peers.dtype).at[node[:, None], index].add(weight).at[node, node].add(own)


def _law(r: float, widest: int) -> np.ndarray:
    """The probabilities `[widest + 1]` of the number of picks, before a node's degree caps it."""
    chance = np.zeros(widest + 1)
    r = min(float(r), float(widest))
    whole = math.floor(r)
    chance[whole] = 1 - (r - whole)
    if r > whole:
        chance[whole + 1] = r - whole
    return chance


def _moments(A: np.ndarray, law: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """E[W] and E[WᵀW] `[n, n]`, for the base's A `[n, n]`: A_ij = 1 if i may hear j."""
    degree = A.sum(axis=1)
    count = np.minimum(np.arange(len(law))[None], degree[:, None])  # [n, picks]
    inverse = 1 / (1 + count)
    first = count / np.maximum(degree, 1)[:, None]  # the chance that a given neighbour is picked
    both = first * (count - 1) / np.maximum(degree - 1, 1)[:, None]  # ... and a given second one
    mean = np.diag(inverse @ law) + ((first * inverse) @ law)[:, None] * A
    one, two = (first * inverse**2) @ law, (both * inverse**2) @ law
    square = A.T @ (two[:, None] * A)  # two picks of the same node
    np.fill_diagonal(square, one @ A + inverse**2 @ law)
    return mean, square + one[:, None] * A + (one[:, None] * A).T


def _contraction(A: np.ndarray, law: np.ndarray) -> float:
    """‖E[Wᵀ(I − J)W]‖₂; rows are independent, so that E[WᵀJW] needs their first two moments only."""
    n = len(A)
    mean, square = _moments(A, law)
    total = mean.sum(axis=0)
    merged = (square + np.outer(total, total) - mean.T @ mean) / n
    return float(np.linalg.eigvalsh(square - merged)[-1])
