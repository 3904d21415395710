"""The protocol as a list of events: models arrive, are trained, and are averaged; nodes come, go and fall silent."""

import heapq
from collections.abc import Callable
from typing import Any

import numpy as np

from dlax.modest import views as membership
from dlax.modest.net import (
    Book,
    Net,
    Plan,
    check_ranges,
    checked_bandwidth,
    checked_latency,
    checked_mask,
    checked_plan,
    checked_window,
)
from dlax.modest.order import order, search
from dlax.modest.record import Record, empty
from dlax.modest.views import View
from dlax.schedulers.speeds import Seconds
from dlax.schedulers.speeds import resolve as resolve_seconds


def modest(
    n: int,
    *,
    rounds: int,
    size: int = 10,
    aggregators: int = 1,
    success: float = 1.0,
    window: int | None = None,
    allow_eviction: bool = False,
    server: int | None = None,
    compute: Seconds | None = None,
    latency: float | np.ndarray = 0.0,
    bandwidth: float | np.ndarray = np.inf,
    model_bytes: float = 0.0,
    entry_bytes: float = 12.0,
    ping_bytes: float = 64.0,
    timeout: float = 5.0,
    patience: float = 300.0,
    least: int = 3,
    responsive: np.ndarray | None = None,
    fails: np.ndarray | None = None,
    members: np.ndarray | None = None,
    joins: Plan | None = None,
    leaves: Plan | None = None,
    key: int = 0,
    seed: int = 0,
) -> Record:
    """Runs the protocol for T rounds; round 0 starts at once from the common first model.

        trainer of round k, with the first θᵏ to arrive: train; ping down the order of k + 1 for a aggregators;
                                                         send model and view to them
        aggregator of k + 1, with ⌈s · sf⌉ models:       θᵏ⁺¹ = their mean; ping down the same order for s trainers;
                                                         send θᵏ⁺¹ and view to them

    Both go by their own views, which they merge with every view that arrives. A candidate was last active in round
    k − Δ or later; a node is active when it trains, pings or answers. A live node that is not drawn for Δ rounds
    falls out of all views, is never pinged again, and comes back only if it joins again: a share (1 − s/n)^Δ of all
    in the first window, and ever more of them later.

    What is whose. The order, the views, the time-outs and the defaults are those of the authors' code (February 2023
    and later). That Δ must be at least 10 n/s here is ours: the code's default is 50, its simulations take 1000. What
    differs: one ping a candidate, where the code pings again after 1 s; a sender's messages share its bandwidth and
    arrive together, and receivers have enough of it; what a node says when it joins or leaves costs nothing.

    Args:
      n: number of nodes, those that join later included.
      rounds: T.
      size: s, trainers of a round.
      aggregators: a.
      success: sf, the share of s models that an aggregator waits for.
      window: Δ, rounds; None: ⌈10 n/s⌉.
      allow_eviction: takes a window of fewer than 10 n/s rounds.
      server: the aggregator of every round, whom nobody pings: federated learning. None: MoDeST.
      compute: seconds of one local pass, `[n]`, `[n, T]` or `Speeds` of `dlax.schedulers`; None: 1.
      latency: seconds until a message arrives; or `[n, n]`, at i from j.
      bandwidth: bytes per second that a node can send; or `[n]`.
      model_bytes: of a model.
      entry_bytes: of a node's entry in a view; a server sends none.
      ping_bytes: of a ping and its answer.
      timeout: seconds after which a pinged node is given up.
      patience: seconds, from its first model on, after which an aggregator takes `least` models.
      least: that number (at most ⌈s · sf⌉).
      responsive: `[T, n]` bool, who is not dead; None: all. Row k holds from the moment on that the first aggregator
        has θᵏ, before it pings for trainers: dead nodes, itself or trainers at work among them, do nothing more.
      fails: `[T, n]` bool, who answers in round k as a trainer, and then never sends; None: nobody.
      members: `[n]` bool, who is known to all from the start; None: all that `joins` does not name.
      joins: round -> nodes that join, or join again: each tells s random members, who pass it on with the next model
        that they send.
      leaves: round -> nodes that leave: each tells s random members, who heed it at once, and is silent from then on.
      key: of the order; with 0 it is that of `dlax.sampling.hashed`.
      seed: of the members that are told.

    Returns:
      The record. If no aggregator of a round finishes it (all of them died, or too few models came), the protocol
      has stalled, and the record ends there.

    Raises:
      ValueError: if a number is out of range, shapes do not fit, or the window is so short that live nodes fall out
        of the views.
    """
    inf = np.inf
    check_ranges(
        n=(n, 1, inf), rounds=(rounds, 0, inf), size=(size, 1, n), aggregators=(aggregators, 1, n),
        least=(least, 1, inf), timeout=(timeout, 0, inf), patience=(patience, 0, inf),
        model_bytes=(model_bytes, 0, inf), entry_bytes=(entry_bytes, 0, inf), ping_bytes=(ping_bytes, 0, inf),
        server=(0 if server is None else server, 0, n - 1),
    )  # fmt: skip
    if not 0 < success <= 1:
        raise ValueError(f"modest: success must be in (0, 1], got {success}")
    speeds = resolve_seconds("modest", np.ones(n) if compute is None else compute)
    if speeds.clients != n:
        raise ValueError(f"modest: compute must be of {n} nodes, got {speeds.clients}")
    joins, leaves = checked_plan("joins", joins, rounds, n), checked_plan("leaves", leaves, rounds, n)
    new = np.isin(np.arange(n), [j for nodes in joins.values() for j in nodes])
    views = membership.views(checked_mask("members", members, ~new, (n,)))
    need = int(np.ceil(size * success - 1e-9))
    net = Net(
        rounds=rounds,
        aggregators=aggregators,
        need=need,
        least=min(least, need),
        window=checked_window(window, n, size, allow_eviction),
        server=server,
        seconds=speeds.seconds,
        latency=checked_latency(latency, n),
        bandwidth=checked_bandwidth(bandwidth, n),
        message_bytes=model_bytes + (entry_bytes * n if server is None else 0.0),
        ping_bytes=ping_bytes,
        timeout=timeout,
        patience=patience,
        responsive=checked_mask("responsive", responsive, True, (rounds, n)),
        fails=checked_mask("fails", fails, False, (rounds, n)),
        joins=joins,
        leaves=leaves,
        rng=np.random.default_rng(seed),
        views=views,
        log=empty(order(n, rounds + 1, key=key), size, views),
        alive=np.ones(n, bool),
        newest=np.full(n, -1),
        origin=np.zeros(n, int),
        books=[Book()] * n,
        pending=[[] for _ in range(n)],
    )
    if rounds:
        _begin(net)
    while net.heap and net.log.aggregator[-1] < 0:
        now, _, handle, arguments = heapq.heappop(net.heap)
        handle(net, now, *arguments)
    return net.log._replace(views=net.views)


def _push(net: Net, time: float, handle: Callable[..., None], *arguments: Any) -> None:
    net.pushed += 1  # of events at the same time the first to be foreseen comes first
    heapq.heappush(net.heap, (time, net.pushed, handle, arguments))


def _begin(net: Net) -> None:
    """Everybody knows the first sample and the first model; nobody pings, nothing is sent."""
    _advance(net, 0)
    known = net.alive & net.views.joined.any(axis=0)
    ranking = net.log.ranking[0]
    for i in ranking[known[ranking]][: net.log.size]:
        _train(net, 0.0, int(i), 0, 0, None)


def _train(net: Net, now: float, i: int, k: int, origin: int, view: View | None) -> None:
    """θᵏ is at node i: it trains if it has trained in no later round, and not yet in this one."""
    if not net.alive[i]:
        return
    if view is not None:
        _hear(net, i, view)
    if k <= net.newest[i]:
        return
    net.newest[i], net.origin[i] = k, origin
    _active(net, i, np.array([i]), k)
    net.log.trained[k, i] = True
    _push(net, now + net.seconds(i, k), _trained, i, k)


def _trained(net: Net, now: float, i: int, k: int) -> None:
    """Node i has trained, unless a newer round came in between."""
    if net.newest[i] != k or not net.alive[i] or net.fails[k, i]:
        return
    if net.server is None:
        wait, chosen = _look(net, i, k + 1, net.aggregators, k, 1)
    else:
        wait, chosen = 0.0, np.array([net.server])
    _send(net, now + wait, i, chosen, k, _receive, k + 1, i, int(net.origin[i]))


def _receive(net: Net, now: float, g: int, k: int, i: int, origin: int, view: View) -> None:
    """Trainer i's model for θᵏ is at node g."""
    if not net.alive[g]:
        return
    _hear(net, g, view)
    book = net.books[g]
    if k < book.round or (k == book.round and book.done):
        return
    if k > book.round:
        book = net.books[g] = Book(k, now, {}, False)
        _push(net, now + net.patience, _tired, g, k)
    book.models[i] = origin
    if len(book.models) >= (net.least if now > book.since + net.patience else net.need):
        _aggregate(net, now, g)


def _tired(net: Net, now: float, g: int, k: int) -> None:
    """Node g has waited long enough for models for θᵏ."""
    book = net.books[g]
    if book.round == k and not book.done and len(book.models) >= net.least:
        _aggregate(net, now, g)


def _aggregate(net: Net, now: float, g: int) -> None:
    """Node g takes the mean, and looks for trainers."""
    book = net.books[g] = net.books[g]._replace(done=True)
    k, log = book.round, net.log
    origins = set(book.models.values())
    number = net.numbers.setdefault((k, tuple(sorted(book.models.items()))), len(net.numbers) + 1)
    before = net.main
    if k > net.row:
        _advance(net, k)
    if not net.alive[g]:
        return
    if log.aggregator[k - 1] < 0:
        log.aggregator[k - 1], log.end[k - 1] = g, now
        log.counted[k - 1, list(book.models)] = True
        log.split[k - 1] = origins != {before}
        net.main = number
    if k == net.rounds:
        return
    wait, chosen = _look(net, g, k, log.size, k, 0)
    _send(net, now + wait, g, chosen, k, _train, k, number)


def _look(net: Net, i: int, k: int, size: int, row: int, which: int) -> tuple[float, np.ndarray]:
    """Node i pings down the order of round k, by its own view; all who answer have heard of one another."""
    own, log = _of(net.views, i), net.log
    candidates = membership.candidates(own, k, net.window)
    candidates[i] = True
    trip = net.latency[i] + net.latency[:, i]
    found = search(
        log.ranking[k], candidates, net.alive, size, round_trip=trip, timeout=net.timeout
    )  # fmt: skip
    others = found.chosen[found.chosen != i]
    _active(net, i, others, k)
    net.views.last_active[others, i] = np.maximum(net.views.last_active[others, i], k)
    log.asked[row, which] += found.asked
    log.unanswered[row, which] += found.asked - len(found.chosen)
    log.searches[row, which] += 1
    log.bytes[row] += net.ping_bytes * found.asked
    if which == 0 and log.candidates[row] < 0:
        log.candidates[row] = candidates.sum()
        log.evicted[row] = (net.alive & ~candidates).sum()
    return found.seconds, found.chosen


def _send(
    net: Net, now: float, i: int, to: np.ndarray, row: int, handle: Callable[..., None], *message: Any
) -> None:
    """A model goes out, and with it the view, in which is now what the node was told."""
    for told in net.pending[i]:
        _hear(net, i, told)
    net.pending[i] = []
    view = View(*(part.copy() for part in _of(net.views, i)))
    net.log.transfers[row] += len(to)
    net.log.bytes[row] += net.message_bytes * len(to)
    sent = now + net.message_bytes * len(to) / net.bandwidth[i]
    for j in to:
        _push(net, sent + net.latency[j, i], handle, int(j), *message, view)


def _advance(net: Net, k: int) -> None:
    """Row k begins to hold: who is dead, who joins, who leaves."""
    net.row = k
    if k == net.rounds:
        return
    net.alive = net.responsive[k] & net.views.joined.diagonal()
    for j in net.joins.get(k, ()):
        _put(net, j, membership.join(_of(net.views, j), j, k))
        told = _tell(net, j)
        for peer in told:
            net.pending[peer].append(_entry(net, j))
        if len(told):
            _hear(net, j, _of(net.views, told[0]))
    for j in net.leaves.get(k, ()):
        _put(net, j, membership.leave(_of(net.views, j), j, k))
        for peer in _tell(net, j):
            _hear(net, peer, _entry(net, j))
    net.alive = net.responsive[k] & net.views.joined.diagonal()


def _tell(net: Net, j: int) -> np.ndarray:
    """Up to s random members whom node j tells."""
    others = np.flatnonzero(net.alive & (np.arange(len(net.alive)) != j))
    return net.rng.choice(others, min(net.log.size, len(others)), replace=False)


def _entry(net: Net, j: int) -> View:
    """A view that knows of nobody but node j, what j says of itself."""
    n = len(net.alive)
    entry = View(np.full(n, -1, np.int32), np.zeros(n, np.int32), np.zeros(n, bool))
    for part, own in zip(entry, net.views, strict=True):
        part[j] = own[j, j]
    return entry


def _of(views: View, i: int) -> View:
    return View(*(part[i] for part in views))


def _put(net: Net, i: int, view: View) -> None:
    for part, new in zip(net.views, view, strict=True):
        part[i] = new


def _hear(net: Net, i: int, view: View) -> None:
    _put(net, i, membership.merge(_of(net.views, i), view))


def _active(net: Net, i: int, nodes: np.ndarray, k: int) -> None:
    """Node i learns that these were active in round k."""
    net.views.last_active[i, nodes] = np.maximum(net.views.last_active[i, nodes], k)
