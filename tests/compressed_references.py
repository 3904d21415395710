"""Compressed and relayed methods in plain NumPy, as published: one node after the other, float64, dense W.

`C(i, v, t, p)` compresses the vector that node i sends as message p of round t.
"""

import jax
import numpy as np
from references import average

from dlax.simulate.streams import round_key, stream


def top_k(k):
    """The k largest by magnitude; ties keep the lowest index."""

    def compress(i, v, t, p=0):
        kept = sorted(range(len(v)), key=lambda j: (-abs(v[j]), j))[:k]
        return np.array([v[j] if j in kept else 0.0 for j in range(len(v))])

    return compress


def drawn(compressor, n, seed=0):
    """A compressor of the package, row by row, on the keys that a run draws from."""

    @jax.jit
    def compress(i, v, t, p=0):
        key = jax.random.fold_in(stream(round_key(jax.random.key(seed), t), "channel"), 0)
        return compressor.compress(jax.random.split(jax.random.fold_in(key, p), n)[i], v)

    return compress


def gradients(grad, x, t):
    """Row i is node i's gradient at its model."""
    return np.stack([grad(i, x[i], t, 0) for i in range(len(x))])


def rows(C, x, t, p=0):
    """Row i is what node i's message becomes."""
    return np.stack([C(i, x[i], t, p) for i in range(len(x))])


def choco_gossip(W, x, C, *, gamma, rounds, memory=1.0):
    """Averaging by compressed differences to public copies."""
    copies = np.zeros_like(x)
    for t in range(rounds):
        new = copies + rows(C, x - copies, t)
        x = x + gamma * (average(W, new) - new)
        copies = (1 - memory) * copies + memory * new
    return x


def choco_sgd(grad, W, x, C, *, lr, gamma, rounds):
    """A local step, then one round of CHOCO-Gossip."""
    copies = np.zeros_like(x)
    for t in range(rounds):
        v = x - lr * gradients(grad, x, t)
        copies = copies + rows(C, v - copies, t)
        x = v + gamma * (average(W, copies) - copies)
    return x


def deep_squeeze(grad, W, x, C, *, lr, gamma, rounds):
    """A local step, then compressed models with error feedback."""
    error = np.zeros_like(x)
    for t in range(rounds):
        v = x - lr * gradients(grad, x, t)
        sent = rows(C, v + error, t)
        error = v + error - sent
        x = v + gamma * (average(W, sent) - sent)
    return x


def beer(grad, W, x, C, *, lr, gamma, rounds, first_copies):
    """BEER as published, from first copies of zero, or brought up to date once. One pass is one gradient.

    The copies of round t + 1 in the paper's count are those that round t + 1 of a run draws.
    """
    v = gradients(grad, x, 0)
    h, g = (rows(C, x, 0, 0), rows(C, v, 1, 1)) if first_copies else (np.zeros_like(x), np.zeros_like(v))
    for t in range(rounds):
        new = x + gamma * (average(W, h) - h) - lr * v
        h = h + rows(C, new - h, t + 1, 0)
        v = v + gamma * (average(W, g) - g) + gradients(grad, new, t + 1) - gradients(grad, x, t)
        g = g + rows(C, v - g, t + 2, 1)
        x = new
    return x


def lead(grad, W, x, C, *, lr, rounds, gamma=1.0, memory=0.5):
    """LEAD as published, from X¹ = x."""
    dual, h, hw = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    for t in range(rounds):
        g = gradients(grad, x, t)
        y = x - lr * g - lr * dual
        q = rows(C, y - h, t)
        yh, yw = h + q, hw + average(W, q)
        h, hw = (1 - memory) * h + memory * yh, (1 - memory) * hw + memory * yw
        dual = dual + gamma / (2 * lr) * (yh - yw)
        x = x - lr * g - lr * dual
    return x


def nids(grad, W, x, *, lr, rounds):
    """NIDS in its two-step form with (I + W)/2; returns X₁ and the last."""
    half = (np.eye(len(x)) + W) / 2
    old, old_grad = x, gradients(grad, x, 0)
    first = x = x - lr * old_grad
    for t in range(1, rounds):
        g = gradients(grad, x, t)
        x, old, old_grad = average(half, 2 * x - old - lr * (g - old_grad)), x, g
    return first, x


def relay_sgd(grad, adjacency, x, *, lr, rounds):
    """Messages and counts on directed edges of a tree, in dictionaries."""
    n, start = len(x), x.copy()
    around = [[j for j in range(n) if adjacency[i, j]] for i in range(n)]
    m = {(i, j): np.zeros(x.shape[1]) for i in range(n) for j in around[i]}
    c = dict.fromkeys(m, 0)
    for t in range(rounds):
        x = x - lr * gradients(grad, x, t)
        new_m, new_c = {}, {}
        for i, j in m:
            others = [k for k in around[i] if k != j]
            new_m[i, j] = x[i] + sum((m[k, i] for k in others), np.zeros(x.shape[1]))
            new_c[i, j] = 1 + sum(c[k, i] for k in others)
        m, c = new_m, new_c
        x = np.stack(
            [
                (
                    x[i]
                    + sum(m[j, i] for j in around[i])
                    + (n - 1 - sum(c[j, i] for j in around[i])) * start[i]
                )
                / n
                for i in range(n)
            ]
        )
    return x


def power_gossip(W, models, q, *, rounds):
    """Rank-one gossip of matrices [n, a, b] from first vectors q[i, j] of the edges i < j."""
    models, n = models.copy(), len(models)
    edges = [(i, j) for i in range(n) for j in range(i + 1, n) if W[i, j] != 0]
    q, p = dict(q), {}
    for t in range(rounds):
        steps = np.zeros_like(models)
        for i, j in edges:
            difference = models[i] - models[j]
            if t % 2 == 0:
                q[i, j] = q[i, j] / np.linalg.norm(q[i, j])
                p[i, j] = difference @ q[i, j]
            else:
                p[i, j] = p[i, j] / np.linalg.norm(p[i, j])
                q[i, j] = difference.T @ p[i, j]
            low = np.outer(p[i, j], q[i, j])
            steps[i] -= W[i, j] * low
            steps[j] += W[i, j] * low
        models = models + steps
    return models
