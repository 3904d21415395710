"""Plain NumPy, one node after the other, float64: what the compiled algorithms are compared with.

Nothing here is shared with the package but the data of a problem and, for sampled gradients, its key streams.
A gradient is a function `grad(i, x, t, k)`: of node i at x, local step k of round t.
"""

import jax
import numpy as np

from dlax.simulate.streams import round_key, stream


def quadratic_gradient(problem):
    """∇fᵢ(x) = Aᵢ (x − x*) + gᵢ, exact."""
    A, g, optimum = problem.local["A"], problem.local["g"], problem.shared["optimum"]
    return lambda i, x, t, k: A[i] @ (x - optimum) + g[i]


def least_squares_gradient(problem):
    """∇fᵢ(x) = Aᵢᵀ (Aᵢ x − bᵢ) / s, on all rows of node i."""
    A, b = problem.local["A"], problem.local["b"]
    return lambda i, x, t, k: A[i].T @ (A[i] @ x - b[i]) / len(b[i])


def hessians(problem):
    """Hᵢ `[n, d, d]` and hᵢ `[n, d]` of least squares, ∇fᵢ(x) = Hᵢ x − hᵢ."""
    A, b = problem.local["A"], problem.local["b"]
    pairs = [(a.T @ a / len(y), a.T @ y / len(y)) for a, y in zip(A, b, strict=True)]
    return np.stack([H for H, _ in pairs]), np.stack([h for _, h in pairs])


def logistic_gradient(problem, *, seed, batch_size, local_steps):
    """Logistic loss on the minibatches that the engine draws; x is [w, c] in one vector."""
    x_all, y_all = problem.shared["x"].astype(np.float64), problem.shared["y"]
    start, count, weight = (problem.local[name] for name in ("start", "count", "weight"))

    def grad(i, x, t, k):
        rows = start[i] + minibatch(seed, t, k, i, int(count[i]), batch_size, local_steps)
        total = np.zeros_like(x)
        for row in rows:
            a, sign = np.append(x_all[row], 1.0), 2.0 * y_all[row] - 1
            total -= sign * a / (1 + np.exp(sign * (a @ x)))
        return weight[i] * total / batch_size + problem.shared["l2"] * x

    return grad


def minibatch(seed, t, k, i, count, batch_size, local_steps):
    """Positions of the samples that node i draws for local step k of round t."""
    key = stream(round_key(jax.random.key(seed), t), "algorithm")
    if local_steps > 1:
        key = jax.random.split(key, local_steps)[k]
    key = jax.random.fold_in(stream(key, "data"), i)
    return np.asarray(jax.random.bits(key, (batch_size,), np.uint32)).astype(np.int64) % count


def average(W, x):
    """Row i is Σⱼ W_ij xⱼ."""
    mixed = np.zeros_like(x)
    for i in range(len(x)):
        for j in range(len(x)):
            mixed[i] += W[i, j] * x[j]
    return mixed


class LocalSgd:
    """K steps of SGD with momentum on every node; the momentum outlives the round."""

    def __init__(self, grad, lr, local_steps, momentum, like):
        self.grad, self.lr, self.local_steps, self.momentum = grad, lr, local_steps, momentum
        self.velocity = np.zeros_like(like)

    def __call__(self, x, t):
        x = x.copy()
        for i in range(len(x)):
            for k in range(self.local_steps):
                self.velocity[i] = self.momentum * self.velocity[i] + self.grad(i, x[i], t, k)
                x[i] -= self.lr * self.velocity[i]
        return x


def dsgd(grad, W, x, *, lr, rounds, order="adapt_then_combine", local_steps=1, momentum=0.0):
    """D-SGD; W is a function of the round."""
    local = LocalSgd(grad, lr, local_steps, momentum, x)
    for t in range(rounds):
        if order == "adapt_then_combine":
            x = average(W(t), local(x, t))
        elif order == "combine_then_adapt":
            x = local(average(W(t), x), t)
        else:
            x = average(W(t), x) + (local(x, t) - x)
    return x


def gradient_tracking(grad, W, x, *, lr, rounds):
    """DIGing as published, y₀ = g(x₀); both messages of round t travel over W(t)."""
    n = len(x)
    y = old = np.zeros_like(x)
    for t in range(rounds):
        new = np.stack([grad(i, x[i], t, 0) for i in range(n)])
        y = new if t == 0 else average(W(t), y) + new - old
        x, old = average(W(t), x) - lr * y, new
    return x


def local_only(grad, W, x, *, lr, rounds, local_steps=1, momentum=0.0):
    """Every node on its own; the graph is not used."""
    local = LocalSgd(grad, lr, local_steps, momentum, x)
    for t in range(rounds):
        x = local(x, t)
    return x


def centralized_sgd(grad, W, x, *, lr, rounds, momentum=0.0):
    """One model that follows the average gradient; the graph is not used."""
    n, model, velocity = len(x), x.mean(axis=0), np.zeros_like(x[0])
    for t in range(rounds):
        velocity = momentum * velocity + sum(grad(i, model, t, 0) for i in range(n)) / n
        model = model - lr * velocity
    return np.tile(model, (n, 1))


def gradient_averaging(grad, W, x, *, lr, rounds, momentum=0.0):
    """Every node follows the weighted mean of its neighbours' gradients."""
    n, velocity = len(x), np.zeros_like(x)
    for t in range(rounds):
        grads = np.array([grad(i, x[i], t, 0) for i in range(n)])
        velocity = momentum * velocity + W(t) @ grads
        x = x - lr * velocity
    return x


def fedavg(grad, W, x, *, lr, rounds, local_steps=1, momentum=0.0):
    """Local steps, then the plain mean; the graph is not used."""
    local = LocalSgd(grad, lr, local_steps, momentum, x)
    for t in range(rounds):
        x = np.tile(local(x, t).mean(axis=0), (len(x), 1))
    return x


# ------------------------------------------------------------------------------------------------------ gossip


def gossip(W, x, *, rounds):
    """Averages with the neighbours; W is a function of the round."""
    for t in range(rounds):
        x = average(W(t), x)
    return x


def chebyshev_gossip(W, x, *, rounds, gap):
    """Tₖ(W/ρ) / Tₖ(1/ρ) on the eigenvectors of a symmetric W, from the definition of Tₖ."""
    eigenvalues, vectors = np.linalg.eigh(W)
    rho = 1 - gap
    factors = [chebyshev(rounds, value / rho) / chebyshev(rounds, 1 / rho) for value in eigenvalues]
    return sum(
        factor * np.outer(vector, vector) @ x for factor, vector in zip(factors, vectors.T, strict=True)
    )


def chebyshev(k, x):
    """Tₖ(x) = cos(k arccos x), or cosh(k arccosh |x|) with the sign of xᵏ outside [−1, 1]."""
    if abs(x) <= 1:
        return np.cos(k * np.arccos(x))
    return np.sign(x) ** k * np.cosh(k * np.arccosh(abs(x)))


def second_order_gossip(W, x, *, rounds, gap):
    """X₁ = W X₀, then ω W Xₖ + (1 − ω) Xₖ₋₁."""
    omega, old = 2 / (1 + np.sqrt(1 - (1 - gap) ** 2)), x
    for t in range(rounds):
        new = average(W, x) if t == 0 else omega * average(W, x) + (1 - omega) * old
        x, old = new, x
    return x


def push_sum(W, x, *, rounds):
    """Ratios of passed-on sums and passed-on ones; W is a function of the round."""
    mass, weight = x, np.ones((len(x), 1))
    for t in range(rounds):
        mass, weight = average(W(t), mass), average(W(t), weight)
    return mass / weight


def lossy(W, arrived, lost):
    """W with the weights of lost messages where `lost` says; arrived is a mask [n, n]."""
    A = W.copy()
    for i, j in np.argwhere(W * (1 - np.eye(len(W))) != 0):
        if not arrived[i, j]:
            A[i, j] = 0.0
            if lost == "receiver":
                A[i, i] += W[i, j]
            elif lost == "sender":
                A[j, j] += W[i, j]
    return A


def arrivals(W, *, seed, t, drop, message=0):
    """Which messages of round t arrive [n, n], from the documented keys; slots are neighbours in order."""
    heard = [[j for j in range(len(W)) if j != i and W[i, j] != 0] for i in range(len(W))]
    key = jax.random.fold_in(stream(round_key(jax.random.key(seed), t), "channel"), message)
    draws = np.asarray(jax.random.uniform(key, (len(W), max(map(len, heard))), np.float32))
    arrived = np.zeros(W.shape, bool)
    for i, neighbours in enumerate(heard):
        for slot, j in enumerate(neighbours):
            arrived[i, j] = draws[i, slot] >= drop
    return arrived


class RunningSums:
    """Senders send all they ever sent; receivers remember the last they heard of each."""

    def __init__(self, W, like):
        self.W, self.sent, self.heard = W, np.zeros_like(like), np.zeros((len(W), *like.shape))

    def __call__(self, x, arrived):
        self.sent += x
        y = np.diag(self.W)[:, None] * x
        for i, j in np.argwhere(arrived):
            y[i] += self.W[i, j] * (self.sent[j] - self.heard[i, j])
            self.heard[i, j] = self.sent[j]
        return y

    def in_flight(self):
        """What was sent and has not arrived yet, over all links."""
        off = self.W * (1 - np.eye(len(self.W)))
        return sum(off[i, j] * (self.sent[j] - self.heard[i, j]) for i, j in np.argwhere(off))


def neighbourhood_medians(W, x, arrived):
    """np.median over a node's own value and those that arrived, entry by entry."""
    return np.stack([np.median(x[[i, *np.flatnonzero(arrived[i])]], axis=0) for i in range(len(x))])
