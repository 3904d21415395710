"""Plain NumPy for the DiLoCo family, one node after the other, float64; and a ring of peers with real bytes.

A gradient is a function `grad(i, x, t, k)`, see `references`. `present(t)` says who takes part in round t, `[n]`.
"""

import jax
import numpy as np

from dlax.simulate.streams import round_key, stream


def drawn(seed, probability, n):
    """Who takes part, from the documented keys."""

    def present(t):
        key = stream(round_key(jax.random.key(seed), t), "faults")
        return np.asarray(jax.random.uniform(key, (n,), np.float32)) < probability

    return present


class AdamW:
    """One node's inner optimiser."""

    def __init__(self, lr, b1=0.9, b2=0.95, eps=1e-8, decay=0.1):
        self.lr, self.b1, self.b2, self.eps, self.decay = lr, b1, b2, eps, decay
        self.m = self.v = 0.0
        self.count = 0

    def __call__(self, x, g):
        self.count += 1
        self.m = self.b1 * self.m + (1 - self.b1) * g
        self.v = self.b2 * self.v + (1 - self.b2) * g**2
        m, v = self.m / (1 - self.b1**self.count), self.v / (1 - self.b2**self.count)
        return x - self.lr * (m / (np.sqrt(v) + self.eps) + self.decay * x)


class Outer:
    """Torch's SGD with nesterov=True: the momentum buffer, then the look-ahead."""

    def __init__(self, lr, momentum):
        self.lr, self.momentum, self.buffer = lr, momentum, 0.0

    def __call__(self, theta, delta):
        self.buffer = self.momentum * self.buffer + delta
        return theta - self.lr * (delta + self.momentum * self.buffer)


def diloco(grad, theta, n, *, lr, outer, rounds, local_steps, present, delayed=False):
    """One copy of θ; a node that missed a revision begins its optimiser anew when it is back."""
    inner = [AdamW(lr) for _ in range(n)]
    seen, revision, pending = np.zeros(n, int), 0, np.zeros_like(theta)
    copies = np.tile(theta, (n, 1))  # what each node last knew
    for t in range(rounds):
        who = present(t)
        if who.sum() < min(2, n):
            continue
        deltas = []
        for i in np.flatnonzero(who):
            if seen[i] < revision:
                inner[i] = AdamW(lr)
            w = theta.copy()
            for k in range(local_steps):
                w = inner[i](w, grad(i, w, t, k))
            deltas.append(theta - w)
        mean = np.mean(deltas, axis=0)
        theta = outer(theta, pending if delayed else mean)
        pending, revision = mean, revision + 1
        seen[who], copies[who] = revision, theta
    return copies


def eager(grad, theta, n, *, lr, outer, rounds, local_steps):
    """The paper's second form: one's own outer gradient of now, the others' of the round before."""
    inner, thetas = [AdamW(lr) for _ in range(n)], [theta.copy() for _ in range(n)]
    outers, before = [Outer(outer.lr, outer.momentum) for _ in range(n)], np.zeros((n, len(theta)))
    for t in range(rounds):
        now = []
        for i in range(n):
            w = thetas[i].copy()
            for k in range(local_steps):
                w = inner[i](w, grad(i, w, t, k))
            now.append(thetas[i] - w)
        for i in range(n):
            others = sum(before[j] for j in range(n) if j != i)
            thetas[i] = outers[i](thetas[i], (now[i] + others) / n)
        before = np.array(now)
    return np.array(thetas)


def streaming(grad, theta, n, parts, *, lr, outer, keep, rounds, local_steps, overlap):
    """By a global count of inner steps; `parts` are lists of coordinates."""
    inner, w = [AdamW(lr) for _ in range(n)], np.tile(theta, (n, 1))
    theta, outers = theta.copy(), [Outer(outer.lr, outer.momentum) for _ in parts]
    travelling = {}  # step of arrival -> (fragment, mean)
    for s in range(1, rounds * local_steps + 1):
        t, k = divmod(s - 1, local_steps)
        for i in range(n):
            w[i] = inner[i](w[i], grad(i, w[i], t, k))
        for p, part in enumerate(parts):
            if (s + p * (local_steps // len(parts))) % local_steps == 0:
                mean = np.mean([theta[part] - w[i][part] for i in range(n)], axis=0)
                travelling.setdefault(s + overlap, []).append((p, mean))
        for p, mean in travelling.pop(s, []):
            part = parts[p]
            theta[part] = outers[p](theta[part], mean)
            for i in range(n):
                w[i][part] = keep * w[i][part] + (1 - keep) * theta[part]
    return w


# ------------------------------------------------------------------------------------------------- a ring of peers


def encode(x, rounding):
    """Bytes and two numbers."""
    if len(x) == 0:
        return np.zeros(0, np.uint8), 0.0, None
    low, high = x.min(), x.max()
    if low == high:
        return np.zeros(len(x), np.uint8), low, None
    if rounding == "truncate":
        return np.trunc((x - low) / (high - low) * 255).astype(np.uint8), low, high - low
    unit = (high - low) / 255
    zero = np.round(-low / unit)
    return np.clip(np.round(x / unit) + zero, 0, 255).astype(np.uint8), zero, unit


def decode(sent, rounding):
    """What the receiver reads."""
    q, a, b = sent
    q = q.astype(np.asarray(a).dtype)
    if b is None:
        return np.full(len(q), a)
    return a + b * q / 255 if rounding == "truncate" else b * (q - a)


def ring(rows, rounding):
    """Every peer's buffer after all is handed round in bytes, `[m, d]`, and the entries sent by each `[m]`."""
    m, d = rows.shape
    if m == 1:
        return rows.copy(), np.zeros(1, int)
    borders = np.cumsum([0] + [d // m + (r < d % m) for r in range(m)])
    cut = [slice(borders[r], borders[r + 1]) for r in range(m)]
    buffer, sent = rows.copy(), np.zeros(m, int)
    for s in range(m - 1):
        wires = {}
        for r in range(m):
            c = (r - s) % m
            wires[(r + 1) % m] = (c, encode(buffer[r, cut[c]], rounding))
            sent[r] += cut[c].stop - cut[c].start
        for r, (c, wire) in wires.items():
            buffer[r, cut[c]] = buffer[r, cut[c]] + decode(wire, rounding)
    carried = {}
    for r in range(m):
        c = (r + 1) % m
        carried[r] = (c, encode(buffer[r, cut[c]], rounding))
        buffer[r, cut[c]] = decode(carried[r][1], rounding)
    for _ in range(m - 1):
        for r in range(m):
            sent[r] += cut[carried[r][0]].stop - cut[carried[r][0]].start
        carried = {(r + 1) % m: wire for r, wire in carried.items()}
        for r, (c, wire) in carried.items():
            buffer[r, cut[c]] = decode(wire, rounding)
    return buffer / m, sent


def parity_hash(words):
    """256 lanes, then the lanes in order, on Python's integers."""

    def combine(a, b):
        a ^= (b + 0x9E3779B1) & 0xFFFFFFFF
        a = ((a << 7) | (a >> 25)) & 0xFFFFFFFF
        return (a * 0x85EBCA6B) & 0xFFFFFFFF

    words = [int(word) for word in words] + [0] * (-len(words) % 256)
    lanes = [0] * 256
    for i, word in enumerate(words):
        lanes[i % 256] = combine(lanes[i % 256], word)
    total = 0
    for lane in lanes:
        total = combine(total, lane)
    return total
