"""Plain NumPy for ADMM and for accelerated methods: dense matrices, float64; as published.

A gradient is a function `grad(i, x, t, k)`, see `references`.
"""

import numpy as np


def gradients(grad, x, t):
    """G(X)."""
    return np.stack([grad(i, x[i], t, 0) for i in range(len(x))])


def graph_laplacian(W):
    """D − A of the graph that W is on."""
    A = ((W != 0) & ~np.eye(len(W), dtype=bool)).astype(float)
    return np.diag(A.sum(axis=1)) - A


def dlm(grad, W, x, *, lr, penalty, rounds):
    """The dual step last; before the first round it stands at c L X₀."""
    L = graph_laplacian(W)
    p = penalty * L @ x
    for t in range(rounds):
        x = x - lr * (gradients(grad, x, t) + penalty * L @ x + p)
        p = p + penalty * L @ x
    return x


def dadmm(H, h, W, x, *, penalty, rounds):
    """With ∇fᵢ(x) = Hᵢ x − hᵢ: the argmin of fᵢ + ⟨pᵢ, x⟩ + c Σⱼ ‖x − (xᵢ + xⱼ)/2‖² where its gradient is zero."""
    n, d = x.shape
    L = graph_laplacian(W)
    p = penalty * L @ x
    for _ in range(rounds):
        new = np.zeros_like(x)
        for i in range(n):
            matrix, vector = H[i].copy(), h[i] - p[i]
            for j in range(n):
                if j != i and W[i, j] != 0:
                    matrix += 2 * penalty * np.eye(d)
                    vector = vector + penalty * (x[i] + x[j])
            new[i] = np.linalg.solve(matrix, vector)
        x = new
        p = p + penalty * L @ x
    return x


def fast_mix(W, x, mixes):
    """X₋₁ = X₀."""
    rho = np.linalg.norm(W - 1 / len(W), 2)
    e = (1 - np.sqrt(1 - rho**2)) / (1 + np.sqrt(1 - rho**2))
    before = x
    for _ in range(mixes):
        x, before = (1 + e) * W @ x - e * before, x
    return x


def mudag(grad, W, x, *, L, mu, mixes, rounds):
    """The recursion in X and Y with last round's gradients."""
    a = np.sqrt(mu / L)
    y, y_old, g_old = x, None, None
    for t in range(rounds):
        g = gradients(grad, y, t)
        step = y - g / L if t == 0 else y + (x - y_old) - (g - g_old) / L
        new, y_old, g_old = fast_mix(W, step, mixes), y, g
        y = new + (1 - a) / (1 + a) * (new - x)
        x = new
    return x


def apm_mixes(W, k, *, L, mu, growth):
    """T_k of round k = 1, 2, ..."""
    rho = np.linalg.norm(W - 1 / len(W), 2)
    return int(np.ceil(growth * k * np.sqrt(mu / L) / np.sqrt(1 - rho)))


def apm(grad, W, x, *, L, mu, growth, rounds):
    """Nesterov's step, then ever more mixes."""
    b = (np.sqrt(L) - np.sqrt(mu)) / (np.sqrt(L) + np.sqrt(mu))
    old = x
    for t in range(rounds):
        y = x + b * (x - old)
        mixes = apm_mixes(W, t + 1, L=L, mu=mu, growth=growth)
        x, old = fast_mix(W, y - gradients(grad, y, t) / L, mixes), x
    return x


def msda(H, h, gossip, *, L, mu, rounds, mixes=None):
    """With ∇fᵢ(x) = Hᵢ x − hᵢ and any multiple of a Laplacian; Chebyshev's recursion as Scaman et al. have it."""
    eigenvalues = np.linalg.eigvalsh(gossip)
    low, high = eigenvalues[1], eigenvalues[-1]
    gamma, kappa = low / high, L / mu
    K = mixes or max(1, int(np.floor(1 / np.sqrt(gamma))))
    c1, c2, c3 = (
        (1 - np.sqrt(gamma)) / (1 + np.sqrt(gamma)),
        (1 + gamma) / (1 - gamma),
        2 / ((1 + gamma) * high),
    )
    eta = mu * (1 + c1 ** (2 * K)) / (1 + c1**K) ** 2
    m = ((1 + c1**K) * np.sqrt(kappa) - 1 + c1**K) / ((1 + c1**K) * np.sqrt(kappa) + 1 - c1**K)

    def accelerated_gossip(x):
        inner = np.eye(len(gossip)) - c3 * gossip
        a_old, a, x_old, new = 1.0, c2, x, c2 * inner @ x
        for _ in range(K - 1):
            a_old, a = a, 2 * c2 * a - a_old
            x_old, new = new, 2 * c2 * inner @ new - x_old
        return x - new / a

    x = y = np.zeros_like(h)
    for _ in range(rounds):
        theta = np.stack([np.linalg.solve(H[i], x[i] + h[i]) for i in range(len(h))])
        y_new = x - eta * accelerated_gossip(theta)
        x, y = (1 + m) * y_new - m * y, y_new
    return theta


def adom_plus(grad, matrices, x, *, L, mu, chi, rounds, consensus=1):
    """P = I − W(t); `consensus` mixes a round, whose χ is then 2."""
    if consensus > 1:
        chi = 2.0
    tau2 = np.sqrt(mu / L)
    tau1, sigma2 = 1 / (1 / tau2 + 0.5), tau2 / (16 * chi)
    sigma1 = 1 / (1 / sigma2 + 0.5)
    eta, alpha, beta, delta, nu = 1 / (L * tau2), mu / 2, 1 / (2 * L), 1 / (17 * L), mu / 2
    gamma, theta, zeta = nu / (14 * sigma2 * chi**2), nu / (4 * sigma2), 0.5
    c1 = (1 + eta * alpha) / ((1 + theta * beta) * (1 + eta * alpha) + theta * eta)
    c2 = theta * beta + eta * theta / (1 + eta * alpha)
    c3 = theta * (beta * nu + eta * (nu + alpha) / (1 + eta * alpha))
    c4 = theta / (1 + eta * alpha)
    xf, zero = x, np.zeros_like(x)
    y = yf = z = zf = m = zero
    for t in range(rounds):
        W = np.linalg.matrix_power(matrices(t), consensus)
        P = np.eye(len(x)) - W
        xg, yg, zg = (
            tau1 * x + (1 - tau1) * xf,
            sigma1 * y + (1 - sigma1) * yf,
            sigma1 * z + (1 - sigma1) * zf,
        )
        g = gradients(grad, xg, t)
        y_new = c1 * (y + c2 * g - c3 * xg - c4 * x - theta / nu * (yg + zg))
        x_new = (x + eta * alpha * xg - eta * (g - nu * xg - y_new)) / (1 + eta * alpha)
        q = gamma / nu * (yg + zg) + m
        z_new = z + gamma * delta * (zg - z) - P @ q
        m = q - P @ q
        xf, yf, zf = xg + tau2 * (x_new - x), yg + sigma2 * (y_new - y), zg - zeta * P @ (yg + zg)
        x, y, z = x_new, y_new, z_new
    return x
