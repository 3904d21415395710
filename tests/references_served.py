"""A server and its clients in plain NumPy: everything happens when it happens, clients train at once when told to.

Written from the description of FedCompass and of the baselines, without a schedule: no code of dlax is used.
"""

import numpy as np


def staleness(kind, u, a=0.5, b=4):
    if kind == "constant":
        return 1.0
    if kind == "polynomial":
        return (u + 1) ** -a
    return 1.0 if u <= b else 1 / (10 * (u - b) + 1)


class Server:
    """x, its version, and a log of aggregations: time, {client: staleness of each of its updates}."""

    def __init__(self, x, gradient, seconds, lr, alpha=0.9, kind="polynomial", shares=None, delta="start"):
        self.x, self.gradient, self.seconds, self.lr = np.array(x, float), gradient, seconds, lr
        self.m = len(seconds)
        self.alpha, self.kind, self.delta = alpha, kind, delta
        self.shares = np.full(self.m, 1 / self.m) if shares is None else shares
        self.version, self.log, self.jobs, self.taken = 0, [], {}, [0] * self.m

    def send(self, client, now, steps):
        """The client trains from x; its job: when done, seconds a step, start, trained, version."""
        per_step = self.seconds[client](self.taken[client])
        self.taken[client] += 1
        v = self.x.copy()
        for _ in range(steps):
            v = v - self.lr * self.gradient(client, v)
        self.jobs[client] = (now + steps * per_step, per_step, self.x.copy(), v, self.version)

    def aggregate(self, now, updates):
        old = self.x.copy()
        seen = {}
        for client, (_, _, start, trained, version) in updates:
            u = self.version - version
            seen.setdefault(client, []).append(u)
            base = start if self.delta == "start" else old
            self.x = self.x - self.alpha * staleness(self.kind, u) * self.shares[client] * (base - trained)
        self.version += 1
        self.log.append((now, seen))


def first(server):
    return min(server.jobs, key=lambda client: (server.jobs[client][0], client))


def run_fedbuff(server, steps, buffer, aggregations):
    """FedAsync with a buffer of 1."""
    for client in range(server.m):
        server.send(client, 0.0, steps)
    held = []
    while server.version < aggregations:
        client = first(server)
        now = server.jobs[client][0]
        held.append((client, server.jobs.pop(client)))
        if len(held) == buffer:
            server.aggregate(now, held)
            held = []
        server.send(client, now, steps)


def run_rounds(server, steps, rounds):
    now = 0.0
    for _ in range(rounds):
        for client in range(server.m):
            server.send(client, now, steps)
        now = max(job[0] for job in server.jobs.values())
        server.aggregate(now, sorted(server.jobs.items()))
        server.jobs = {}


def run_compass(server, q_min, q_max, lam, mu, aggregations):
    speed, groups, of, names = {}, [], {}, iter(range(10**9))
    general = []

    def assign(i, now):
        if not groups:
            q = q_max
        else:
            fits = [(int(np.floor((g["Ta"] - now) / speed[i] + 1e-9)), k) for k, g in enumerate(groups)]
            fits = [pair for pair in fits if q_min <= pair[0] <= q_max]
            if fits:
                q, k = max(fits)
                groups[k]["clients"].append(i)
                of[i] = groups[k]
                server.send(i, now, q)
                return
            sizes = []
            for g in groups:
                if now < g["Tmax"]:
                    fastest = min(speed[j] for j in g["clients"] + [j for j, _ in g["arrived"]])
                    sizes.append(int(np.floor((g["Tmax"] + fastest * q_max - now) / speed[i] + 1e-9)))
            sizes = [q for q in sizes if 0 <= q <= q_max]
            q = max(max(sizes), q_min) if sizes else q_max
        made = {"name": next(names), "clients": [i], "arrived": []}
        made |= {"Ta": now + q * speed[i], "Tmax": now + lam * q * speed[i]}
        groups.append(made)
        of[i] = made
        server.send(i, now, q)

    def group_aggregate(g, now):
        arrived, g["arrived"] = g["arrived"], []
        server.aggregate(now, general + arrived)
        general.clear()
        g["Ta"] = g["Tmax"] = 0.0
        for _, i in sorted((speed[i], i) for i, _ in arrived):
            assign(i, now)
        if not g["clients"]:
            groups.remove(g)

    for i in range(server.m):
        server.send(i, 0.0, q_max)
    while server.version < aggregations:
        i = first(server)
        now = server.jobs[i][0]
        due = [g for g in groups if g["arrived"]]
        earliest = min(due, key=lambda g: g["Tmax"], default=None)
        if earliest is not None and earliest["Tmax"] * (1 + 1e-12) < now:
            group_aggregate(earliest, earliest["Tmax"])
            continue
        job = server.jobs.pop(i)
        speed[i] = job[1] if i not in speed else (1 - mu) * speed[i] + mu * job[1]
        g = of.pop(i, None)
        if g is None:
            server.aggregate(now, [(i, job)])
            assign(i, now)
        elif now <= g["Tmax"] * (1 + 1e-12):
            g["clients"].remove(i)
            g["arrived"].append((i, job))
            if not g["clients"]:
                group_aggregate(g, now)
        else:
            g["clients"].remove(i)
            if not g["clients"] and not g["arrived"]:
                groups.remove(g)
            general.append((i, job))
            assign(i, now)
