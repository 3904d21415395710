"""Plain NumPy for the baselines of the rounds clock: one node after the other, W dense, float64.

As in `references`, a gradient is `grad(i, x, t, k)` and W a function of the round; the step size is a function of
the round too. Where the package sums a recursion up, the loop here is the published one.
"""

import numpy as np
from references import average


def gradients(grad, x, t, k=0):
    return np.stack([grad(i, x[i], t, k) for i in range(len(x))])


# ------------------------------------------------------------------------------------------------------- exact


def extra(grad, W, x, *, lr, rounds):
    """The published recursion over two rounds."""
    W, eye = W(0), np.eye(len(x))
    g = gradients(grad, x, 0)
    old, x = x, average(W, x) - lr(0) * g
    for t in range(1, rounds):
        new = gradients(grad, x, t)
        step = lr(t) * new - lr(t - 1) * g
        old, x, g = x, average(eye + W, x) - average((eye + W) / 2, old) - step, new
    return x


def exact_diffusion(grad, W, x, *, lr, rounds, d2=False):
    """The published recursion over two rounds."""
    W = W(0) if d2 else (np.eye(len(x)) + W(0)) / 2
    g = gradients(grad, x, 0)
    old, x = x, average(W, x - lr(0) * g)
    for t in range(1, rounds):
        new = gradients(grad, x, t)
        old, x, g = x, average(W, 2 * x - old - (lr(t) * new - lr(t - 1) * g)), new
    return x


def nids(grad, W, x, *, lr, rounds, c=None):
    """As exact diffusion, but the first round is local, and c sets how much is mixed."""
    eye = np.eye(len(x))
    g = gradients(grad, x, 0)
    old, x = x, x - lr(0) * g
    for t in range(1, rounds):
        strength = 0.5 if c is None else c * lr(t)
        mixing = eye - strength * (eye - W(0))
        new = gradients(grad, x, t)
        old, x, g = x, average(mixing, 2 * x - old - (lr(t) * new - lr(t - 1) * g)), new
    return x


def gradient_tracking(grad, W, x, *, lr, rounds, order):
    """NEXT and Aug-DGM as published, but that Aug-DGM starts from y = W g."""
    g = gradients(grad, x, 0)
    y = average(W(0), g) if order == "adapt_then_combine" else g
    for t in range(rounds):
        x = average(W(t), x - lr(t) * y)
        new = gradients(grad, x, t + 1)
        y = average(W(t), y) + new - g if order == "semi" else average(W(t + 1), y + new - g)
        g = new
    return x


def k_gt(grad, W, x, *, lr, rounds, local_steps, global_lr):
    n, c = len(x), np.zeros_like(x)
    for t in range(rounds):
        z = np.zeros_like(x)
        for i in range(n):
            v = x[i].copy()
            for k in range(local_steps):
                v = v - lr(t) * (grad(i, v, t, k) + c[i])
            z[i] = (x[i] - v) / (local_steps * lr(t))
        c = c - z + average(W(t), z)
        x = average(W(t), x - local_steps * lr(t) * global_lr * z)
    return x


def led(grad, W, x, *, lr, rounds, local_steps):
    y = np.zeros_like(x)
    for t in range(rounds):
        phi = x.copy()
        for i in range(len(x)):
            for k in range(local_steps):
                phi[i] = phi[i] - lr(t) * grad(i, phi[i], t, k) - y[i] / local_steps
        x = average(W(0), phi)
        y = y + phi - x
    return x


def momentum_tracking(grad, W, x, *, lr, rounds, momentum):
    u, c = np.zeros_like(x), np.zeros_like(x)
    for t in range(rounds):
        u = momentum * u + gradients(grad, x, t)
        x = average(W(t), x) - lr(t) * (u - c)
        c = average(W(t), c - u) + u
    return x


# ---------------------------------------------------------------------------------------------------- momentum


def dmsgd(grad, W, x, *, lr, rounds, momentum, order="adapt_then_combine", mix_momentum=False):
    m = np.zeros_like(x)
    for t in range(rounds):
        m = momentum * m + gradients(grad, x, t)
        adapt_first = order == "adapt_then_combine"
        x = average(W(t), x - lr(t) * m) if adapt_first else average(W(t), x) - lr(t) * m
        if mix_momentum:
            m = average(W(t), m)
    return x


def decentlam(grad, W, x, *, lr, rounds, momentum):
    m = np.zeros_like(x)
    for t in range(rounds):
        change = x / lr(t) - average(W(t), x / lr(t) - gradients(grad, x, t))
        m = momentum * m + change
        x = x - lr(t) * m
    return x


def qg_dsgdm(grad, W, x, *, lr, rounds, momentum, decay, nesterov=False):
    m = np.zeros_like(x)
    for t in range(rounds):
        g = gradients(grad, x, t)
        direction = momentum * m + g
        if nesterov:
            direction = g + momentum * direction
        old, x = x, average(W(t), x - lr(t) * direction)
        m = decay * m + (1 - decay) * (old - x) / lr(t)
    return x


def gossip_pga(grad, W, x, *, lr, rounds, period):
    for t in range(rounds):
        x = average(W(t), x - lr(t) * gradients(grad, x, t))
        if (t + 1) % period == 0:
            x = np.tile(x.mean(axis=0), (len(x), 1))
    return x


def slowmo(grad, W, x, *, lr, rounds, period, slow_momentum, slow_lr, local_steps):
    """Mixes by W in every round, also before an exact average."""
    n, outer, u = len(x), x.mean(axis=0), np.zeros_like(x[0])
    for t in range(rounds):
        for k in range(local_steps):
            x = x - lr(t) * gradients(grad, x, t, k)
        x = average(W(t), x)
        if (t + 1) % period == 0:
            u = slow_momentum * u + (outer - x.mean(axis=0)) / lr(t)
            outer = outer - slow_lr * lr(t) * u
            x = np.tile(outer, (n, 1))
    return x


def dfedavg(grad, W, x, *, lr, rounds, local_steps, momentum):
    """Heavy ball in positions, as published."""
    for t in range(rounds):
        moved = np.zeros_like(x)
        for i in range(len(x)):
            before = v = x[i]
            for k in range(local_steps):
                before, v = v, v - lr(t) * grad(i, v, t, k) + momentum * (v - before)
            moved[i] = v
        x = average(W(t), moved)
    return x


# ------------------------------------------------------------------------------------------- directed, adaptive


def sgp(grad, W, x, *, lr, rounds):
    w = np.ones((len(x), 1))
    for t in range(rounds):
        x = average(W(t), x - lr(t) * gradients(grad, x / w, t))
        w = average(W(t), w)
    return x / w


def push_diging(grad, W, x, *, lr, rounds):
    u, v, g = x, np.ones((len(x), 1)), gradients(grad, x, 0)
    y = g
    for t in range(rounds):
        u, v = average(W(t), u - lr(t) * y), average(W(t), v)
        x = u / v
        new = gradients(grad, x, t + 1)
        y, g = average(W(t), y) + new - g, new
    return x


def dadam(grad, W, x, *, lr, rounds, b1, b2, eps):
    m, v, largest = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    for t in range(rounds):
        g = gradients(grad, x, t)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        largest = np.maximum(largest, v)
        x = average(W(t), x) - lr(t) * m / (np.sqrt(largest) + eps)
    return x


def decentralized_amsgrad(grad, W, x, *, lr, rounds, b1, b2, eps):
    m, v = np.zeros_like(x), np.zeros_like(x)
    largest, half = np.full_like(x, eps), np.full_like(x, eps)
    for t in range(rounds):
        g = gradients(grad, x, t)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        before, largest = largest, np.maximum(largest, v)
        tracked = average(W(t), half)
        x = average(W(t), x) - lr(t) * m / np.sqrt(np.maximum(tracked, eps))
        half = tracked - before + largest
    return x
