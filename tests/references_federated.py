"""Plain NumPy for the methods with a server, one client after the other, float64; as in the papers.

A gradient is a function `grad(i, x, t, k)`, see `references`.
"""

import jax
import numpy as np

from dlax.simulate.streams import round_key, stream


def fedprox(grad, x, *, lr, proximal, rounds, local_steps):
    """Local steps on fᵢ(v) + (μ/2) ‖v − x‖²."""
    n = len(x)
    for t in range(rounds):
        ends = []
        for i in range(n):
            v = x[i].copy()
            for k in range(local_steps):
                v = v - lr * (grad(i, v, t, k) + proximal * (v - x[i]))
            ends.append(v)
        x = np.tile(np.mean(ends, axis=0), (n, 1))
    return x


def scaffold(grad, x, *, lr, server_lr, rounds, local_steps):
    """One server model x; option II for the control variates."""
    n, model = len(x), x[0].copy()
    c, own = np.zeros_like(model), np.zeros_like(x)
    for t in range(rounds):
        steps, changes = [], []
        for i in range(n):
            v = model.copy()
            for k in range(local_steps):
                v = v - lr * (grad(i, v, t, k) - own[i] + c)
            new = own[i] - c + (model - v) / (local_steps * lr)
            steps.append(v - model)
            changes.append(new - own[i])
            own[i] = new
        model = model + server_lr * np.mean(steps, axis=0)
        c = c + np.mean(changes, axis=0)
    return np.tile(model, (n, 1))


def heads(seed, t, probability):
    """The shared coin of round t, from the documented keys."""
    key = stream(round_key(jax.random.key(seed), t), "algorithm")
    return float(jax.random.uniform(jax.random.fold_in(key, 1), (), np.float32)) < probability


def proxskip(grad, x, *, lr, probability, rounds, seed):
    """With H rows of control variates that sum to zero."""
    n, h = len(x), np.zeros_like(x)
    for t in range(rounds):
        half = np.stack([x[i] - lr * (grad(i, x[i], t, 0) - h[i]) for i in range(n)])
        x = np.tile(half.mean(axis=0), (n, 1)) if heads(seed, t, probability) else half
        h = h + probability / lr * (x - half)
    return x


def decentralized_proxskip(grad, W, x, *, lr, probability, damping, rounds, seed):
    """With dense Wₐ."""
    n, y = len(x), np.zeros_like(x)
    Wa = np.eye(n) - (np.eye(n) - W) / (2 * damping)
    for t in range(rounds):
        z = np.stack([x[i] - lr * grad(i, x[i], t, 0) - y[i] for i in range(n)])
        x = z
        if heads(seed, t, probability):
            x = Wa @ z
            y = y + probability * (z - x)
    return x


class Momentum:
    """Heavy ball."""

    def __init__(self, lr, momentum):
        self.lr, self.momentum, self.velocity = lr, momentum, 0.0

    def __call__(self, g):
        self.velocity = self.momentum * self.velocity + g
        return -self.lr * self.velocity


class Adaptive:
    """Adam and Yogi with the bias correction of the usual libraries."""

    def __init__(self, lr, b1, b2, eps, *, yogi):
        self.lr, self.b1, self.b2, self.eps, self.yogi = lr, b1, b2, eps, yogi
        self.m = self.v = 1e-6 if yogi else 0.0
        self.count = 0

    def __call__(self, g):
        self.count += 1
        self.m = self.b1 * self.m + (1 - self.b1) * g
        if self.yogi:
            self.v = self.v - (1 - self.b2) * np.sign(self.v - g**2) * g**2
        else:
            self.v = self.b2 * self.v + (1 - self.b2) * g**2
        m, v = self.m / (1 - self.b1**self.count), self.v / (1 - self.b2**self.count)
        return -self.lr * m / (np.sqrt(v) + self.eps)


def fedopt(grad, x, *, lr, server, rounds, local_steps):
    """One server model that `server` moves along the mean of the clients' steps."""
    n, model = len(x), x[0].copy()
    for t in range(rounds):
        steps = []
        for i in range(n):
            v = model.copy()
            for k in range(local_steps):
                v = v - lr * grad(i, v, t, k)
            steps.append(v - model)
        model = model + server(-np.mean(steps, axis=0))
    return np.tile(model, (n, 1))
