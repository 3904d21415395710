"""When things happen in an asynchronous run: lists of events, drawn on the host before the run.

A list depends on no model, so a run can be compiled whole. Every list is the beginning of a longer one of the same
seed, however long: a run can be prolonged.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from dlax.topology import Topology
from dlax.types import DrawEvents, EventList

Work = Callable[[int, np.random.Generator], Callable[[int], np.ndarray]]
"""(n, rng) -> (count -> durations `[count, n]`): how long each node works for its next pieces of work."""

_CHUNK = 4096  # events drawn at once; part of what a seed means


def constant_work(*, stragglers: float = 0.0, slowdown: float = 5.0) -> Work:
    """Every piece of work takes 1 unit of time.

    Args:
      stragglers: share of nodes, chosen at random and for the whole run, that are slow.
      slowdown: how many times as long their work takes.

    Raises:
      ValueError: if `stragglers` is outside [0, 1] or `slowdown` is not positive.
    """
    _check_stragglers("constant_work", stragglers, slowdown)

    def work(n: int, rng: np.random.Generator) -> Callable[[int], np.ndarray]:
        return _slowed(n, rng, stragglers, slowdown, np.ones)

    return work


def exponential_work(*, stragglers: float = 0.0, slowdown: float = 5.0) -> Work:
    """Durations are exponential with mean 1, anew for every piece of work: memoryless nodes.

    Args:
      stragglers: share of nodes, chosen at random and for the whole run, that are slow.
      slowdown: how many times as long their work takes.

    Raises:
      ValueError: if `stragglers` is outside [0, 1] or `slowdown` is not positive.
    """
    _check_stragglers("exponential_work", stragglers, slowdown)

    def work(n: int, rng: np.random.Generator) -> Callable[[int], np.ndarray]:
        return _slowed(n, rng, stragglers, slowdown, lambda shape: rng.exponential(size=shape))

    return work


def log_normal_work(*, sigma: float = 0.5, stragglers: float = 0.0, slowdown: float = 5.0) -> Work:
    """Durations are log-normal with mean 1, anew for every piece of work.

    Args:
      sigma: standard deviation of the logarithm.
      stragglers: share of nodes, chosen at random and for the whole run, that are slow.
      slowdown: how many times as long their work takes.

    Raises:
      ValueError: if `sigma` is negative, `stragglers` outside [0, 1] or `slowdown` not positive.
    """
    if sigma < 0:
        raise ValueError(f"log_normal_work: sigma must be at least 0, got {sigma}")
    _check_stragglers("log_normal_work", stragglers, slowdown)

    def work(n: int, rng: np.random.Generator) -> Callable[[int], np.ndarray]:
        def draw(shape: tuple[int, int]) -> np.ndarray:
            return rng.lognormal(-0.5 * sigma**2, sigma, size=shape)

        return _slowed(n, rng, stragglers, slowdown, draw)

    return work


WORK: dict[str, Callable[..., Work]] = {
    "constant_work": constant_work,
    "exponential_work": exponential_work,
    "log_normal_work": log_normal_work,
}


def _check_stragglers(who: str, stragglers: float, slowdown: float) -> None:
    if not 0 <= stragglers <= 1:
        raise ValueError(f"{who}: stragglers must be in [0, 1], got {stragglers}")
    if not slowdown > 0:
        raise ValueError(f"{who}: slowdown must be positive, got {slowdown}")


def _slowed(
    n: int,
    rng: np.random.Generator,
    stragglers: float,
    slowdown: float,
    draw: Callable[[tuple[int, int]], np.ndarray],
) -> Callable[[int], np.ndarray]:
    """Durations `[count, n]` of which the stragglers' are longer."""
    slow = rng.permutation(n) < round(stragglers * n)
    factor = np.where(slow, slowdown, 1.0)
    return lambda count: factor * draw((count, n))


def barrier(work: Work, n: int, rounds: int, *, seed: int = 0) -> np.ndarray:
    """When synchronous rounds end, if each waits for the slowest of n nodes: `[rounds + 1]`, from 0.

    The x axis on which a synchronous run is fairly laid beside an asynchronous one of the same `work`.
    """
    begin = work(n, np.random.default_rng(seed))
    return np.concatenate([[0.0], np.cumsum(begin(rounds).max(axis=1))])


def evaluations(duration: float, eval_every: float) -> np.ndarray:
    """When an asynchronous run is measured: at 0, every `eval_every`, and at the end."""
    inside = np.arange(1, int(np.ceil(duration / eval_every - 1e-9))) * eval_every
    return np.concatenate([[0.0], inside, [duration]]) if duration > 0 else np.zeros(1)


def poisson(node_rate: Any, edges: np.ndarray, edge_rate: Any) -> DrawEvents:
    """Independent Poisson clocks on nodes and edges.

    Args:
      node_rate: `[n]`, ticks of each node's own clock per unit of time; 0 has none.
      edges: `[m, 2]`, {i, j}.
      edge_rate: `[m]`, ticks of each edge's clock.

    Returns:
      `(duration, rng) -> EventList`; which end of an edge comes first is a fair coin.
    """
    node_rate, edge_rate = np.asarray(node_rate, float), np.asarray(edge_rate, float)
    n, ends = len(node_rate), np.asarray(edges, np.int64).reshape(-1, 2)
    rates = np.concatenate([node_rate, edge_rate])
    if len(rates) == 0 or not np.isfinite(rates).all() or rates.min() < 0 or rates.sum() == 0:
        raise ValueError("poisson: rates must be finite and not negative, and one at least positive")
    first = np.concatenate([np.arange(n), ends[:, 0]])
    second = np.concatenate([np.arange(n), ends[:, 1]])
    upper, total = np.cumsum(rates) / rates.sum(), rates.sum()

    def draw(duration: float, rng: np.random.Generator) -> EventList:
        times, nodes, peers, now = [], [], [], 0.0
        while now <= duration:
            time = now + np.cumsum(rng.exponential(1.0 / total, _CHUNK))
            which = np.minimum(np.searchsorted(upper, rng.random(_CHUNK), side="right"), len(rates) - 1)
            swapped = rng.random(_CHUNK) < 0.5
            times.append(time)
            nodes.append(np.where(swapped, second[which], first[which]))
            peers.append(np.where(swapped, first[which], second[which]))
            now = time[-1]
        return _until(duration, np.concatenate(times), np.concatenate(nodes), np.concatenate(peers))

    return draw


def completions(topology: Topology, work: Work, *, alone: bool = False) -> DrawEvents:
    """Every node works, and when it is done meets one of its neighbours, drawn uniformly; and so on.

    Args:
      topology: whom a node may meet: whom it hears.
      work: how long a piece of work takes.
      alone: nodes meet nobody.

    Returns:
      `(duration, rng) -> EventList`; the node that finished comes first. Of events at the same time the lower
      node's is the earlier.
    """
    n, degree = topology.n, topology.degrees
    neighbours, start = topology.edges[:, 0], np.concatenate([[0], np.cumsum(degree)[:-1]])
    if not alone and degree.min() == 0:
        raise ValueError(
            f"completions: node {int(degree.argmin())} of {topology.name} has no neighbour to meet"
        )

    def draw(duration: float, rng: np.random.Generator) -> EventList:
        chunk = max(1, _CHUNK // n)
        working, choosing = rng.spawn(2)
        begin = work(n, working)
        done, times, peers = np.zeros(n), [], []
        while done.min() <= duration:
            ends = done + np.cumsum(begin(chunk), axis=0)
            if not (ends[-1] > done).all():
                raise ValueError("completions: work must take longer than 0")
            chosen = (choosing.random((chunk, n)) * degree).astype(np.int64)
            times.append(ends)
            peers.append(np.broadcast_to(np.arange(n), chosen.shape) if alone else neighbours[start + chosen])
            done = ends[-1]
        time, peer = np.concatenate(times), np.concatenate(peers)
        node = np.broadcast_to(np.arange(n), time.shape)
        keep = time <= duration
        return _until(duration, time[keep], node[keep], peer[keep])

    return draw


def exchange_rates(topology: Topology, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Rates at which the ends of edges meet when every node seeks `rate` / 2 partners per unit of time.

        λ_ij = rate/2 · (1/dᵢ + 1/dⱼ)

    A node chooses among its dᵢ neighbours uniformly, so on a regular graph it takes part in `rate` exchanges per
    unit of time; on any graph nodes do so on average.

    Returns:
      Edges `[m, 2]` with i < j, and their rates `[m]`.

    Raises:
      ValueError: if the topology is directed or has a node without neighbours.
    """
    if topology.is_directed:
        raise ValueError(f"{topology.name}: pairs meet only on undirected graphs")
    edges = topology.edges[topology.edges[:, 0] < topology.edges[:, 1]]
    if len(edges) == 0:
        raise ValueError(f"{topology.name}: pairs meet only on graphs with at least one edge")
    return edges, 0.5 * rate * np.sum(1.0 / topology.degrees[edges], axis=1)


def _until(duration: float, time: np.ndarray, node: np.ndarray, peer: np.ndarray) -> EventList:
    """Events in the order of time, up to the end."""
    order = np.argsort(time, kind="stable")
    order = order[: np.searchsorted(time[order], duration, side="right")]
    return EventList(time[order], node[order].astype(np.int32), peer[order].astype(np.int32))
