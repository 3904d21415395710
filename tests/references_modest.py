"""MoDeST as messages between objects, one node a object and one dict a view: what `dlax.modest` is compared with."""

import hashlib
import heapq
import itertools
import math

import numpy as np


def mix(a, b):
    mask = 2**32 - 1
    h = (a * 0x9E3779B1 ^ ((b + 0x7F4A7C15) & mask) * 0x85EBCA6B) & mask
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        h = ((h ^ (h >> shift)) * factor) & mask
    return h ^ (h >> 16)


def md5(j, k):
    """The paper's hash of node and round."""
    return hashlib.md5(f"{j}-{k}".encode()).hexdigest()


class Node:
    def __init__(self, me, members):
        self.me = me
        self.view = dict.fromkeys(members, (-1, 1, "JOIN"))
        self.told = []
        self.round = -1
        self.start = None
        self.collecting = -1
        self.models = {}
        self.open = False
        self.since = 0.0

    def hears(self, j, last, counter, state):
        old_last, old_counter, old_state = self.view.get(j, (-1, 0, "LEAVE"))
        if counter <= old_counter:
            counter, state = old_counter, old_state
        self.view[j] = (max(last, old_last), counter, state)

    def active(self, j, k):
        last, counter, state = self.view.get(j, (-1, 0, "LEAVE"))
        self.view[j] = (max(last, k), counter, state)

    def merge(self, view):
        for j, entry in view.items():
            self.hears(j, *entry)

    def candidates(self, k, window):
        return [
            j
            for j, (last, _, state) in self.view.items()
            if j == self.me or (state == "JOIN" and last >= k - window)
        ]


def protocol(
    n, rounds, size, aggregators=1, success=1.0, window=10**6, server=None, compute=None, latency=None,
    bandwidth=None, model_bytes=0.0, timeout=5.0, patience=300.0, least=3, responsive=None, fails=None,
    members=None, joins=None, leaves=None, seed=0,
):  # fmt: skip
    """Plays the protocol message by message; returns per round what happened."""
    joins, leaves = joins or {}, leaves or {}
    if members is None:
        members = sorted(set(range(n)) - {j for nodes in joins.values() for j in nodes})
    nodes = [Node(i, members) for i in range(n)]
    rng = np.random.default_rng(seed)
    need = math.ceil(size * success)
    queue, ticket = [], itertools.count()
    done = []
    log = [
        {"trained": set(), "asked": [0, 0], "silent": [0, 0], "searches": [0, 0], "sent": 0}
        for _ in range(rounds)
    ]
    world = {"row": -1, "alive": set()}

    def at(time, action):
        heapq.heappush(queue, (time, next(ticket), action))

    def delay(i, j):
        return 0.0 if i == j else latency[j][i]

    def tell(j):
        others = sorted(world["alive"] - {j})
        return [int(p) for p in rng.choice(others, min(size, len(others)), replace=False)]

    def living():
        row = range(n) if responsive is None else np.flatnonzero(responsive[world["row"]])
        return {int(j) for j in row if nodes[j].view.get(j, (0, 0, "LEAVE"))[2] == "JOIN"}

    def advance(k):
        world["row"] = k
        if k == rounds:
            return
        world["alive"] = living()
        for j in joins.get(k, []):
            nodes[j].hears(j, k, nodes[j].view.get(j, (-1, 0, ""))[1] + 1, "JOIN")
            peers = tell(j)
            for p in peers:
                nodes[p].told.append((j, *nodes[j].view[j]))
            if peers:
                nodes[j].merge(nodes[peers[0]].view)
        for j in leaves.get(k, []):
            nodes[j].hears(j, k, nodes[j].view[j][1] + 1, "LEAVE")
            for p in tell(j):
                nodes[p].hears(j, *nodes[j].view[j])
        world["alive"] = living()

    def ask(i, k, wanted, entry, which):
        """One ping after the other, each with its own clock: s of them open at a time."""
        order = sorted(nodes[i].candidates(k, window), key=lambda j: (mix(j, k), j))
        slots = [0.0] * wanted
        answered, clock = [], 0.0
        asked = 0
        for j in order:
            asked += 1
            slots.sort()
            begin = slots.pop(0)
            trip = delay(i, j) + delay(j, i)
            if j in world["alive"] and trip < timeout:
                answered.append(j)
                clock = max(clock, begin + trip)
                nodes[i].active(j, k)
                nodes[j].active(i, k)
                if len(answered) == wanted:
                    break
            else:
                slots.append(begin + timeout)
                entry["silent"][which] += 1
            if not slots:
                break
        else:  # the order ended
            clock = max([clock, *slots])
        entry["asked"][which] += asked
        entry["searches"][which] += 1
        return clock, answered

    def send(i, time, to, entry, action):
        for told in nodes[i].told:
            nodes[i].hears(*told)
        nodes[i].told = []
        view = dict(nodes[i].view)
        entry["sent"] += len(to)
        for j in to:
            at(time + model_bytes * len(to) / bandwidth[i] + delay(i, j), lambda t, j=j: action(t, j, view))

    def get_model(time, i, k, origin, view):
        if i not in world["alive"]:
            return
        node = nodes[i]
        node.merge(view)
        if k > node.round:
            node.round, node.start = k, origin
            node.active(i, k)
            log[k]["trained"].add(i)
            at(time + compute[i], lambda t: trained(t, i, k))

    def trained(time, i, k):
        if nodes[i].round != k or i not in world["alive"] or (fails is not None and fails[k][i]):
            return
        wait, to = (0.0, [server]) if server is not None else ask(i, k + 1, aggregators, log[k], 1)
        origin = nodes[i].start
        send(i, time + wait, to, log[k], lambda t, g, view: collect(t, g, k + 1, i, origin, view))

    def collect(time, g, k, i, origin, view):
        if g not in world["alive"]:
            return
        node = nodes[g]
        node.merge(view)
        if k > node.collecting:
            node.collecting, node.models, node.open, node.since = k, {}, True, time
            at(time + patience, lambda t: tired(t, g, k))
        if k == node.collecting and node.open:
            node.models[i] = origin
            enough = min(least, need) if time > node.since + patience else need
            if len(node.models) >= enough:
                average(time, g, k)

    def tired(time, g, k):
        node = nodes[g]
        if node.collecting == k and node.open and len(node.models) >= min(least, need):
            average(time, g, k)

    def average(time, g, k):
        nodes[g].open = False
        model = (k, tuple(sorted(nodes[g].models.items())))
        if k > world["row"]:
            advance(k)
        if g not in world["alive"]:
            return
        if len(done) < k:
            done.append((time, g, set(nodes[g].models)))
        if k < rounds:
            wait, to = ask(g, k, size, log[k], 0)
            send(g, time + wait, to, log[k], lambda t, i, view: get_model(t, i, k, model, view))

    advance(0)
    first = sorted(set(members) & world["alive"], key=lambda j: (mix(j, 0), j))[:size]
    for i in first:
        get_model(0.0, i, 0, None, {})
    while queue and len(done) < rounds:
        time, _, action = heapq.heappop(queue)
        action(time)
    return done, log, nodes
