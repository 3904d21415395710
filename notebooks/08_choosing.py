# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 08 Choosing an algorithm: heterogeneity, topology, noise
#
# Five algorithms, one budget of messages. D-SGD is biased where nodes differ. Gradient tracking, exact diffusion and
# EXTRA are not; the first of them sends two vectors a round. DecentLaM keeps D-SGD's bias, and its momentum lets it
# reach the optimum with a smaller step, which makes the bias small. Which is best depends on how much the nodes differ
# ($\zeta$), how noisy gradients are ($\sigma$), and the graph. On quadratics,
#
# $$ f_i(x) = \tfrac12 (x - x^*)^\top A_i (x - x^*) + \zeta\, g_i^\top (x - x^*), \qquad \sum_i g_i = 0, \qquad
#    \tfrac1n \sum_i \|g_i\|^2 = 1, \qquad \mathbb E \|\xi\|^2 = \sigma^2 , $$
#
# a round is an affine map of the state $z$ (models and what the algorithm remembers), $z \leftarrow M z + c + N \xi$.
#
# **Fact.** With $m_0$ the expected models without heterogeneity, $m_0 + \zeta m_1$ those with it, and $P$ the
# covariance for $\sigma = 1$, all after $T$ rounds,
#
# $$ \mathbb E\, \tfrac1n \sum_i \|x_i - x^*\|^2 = \tfrac1n \left( \|m_0 - x^*\|^2
#    + 2 \zeta \langle m_0 - x^*, m_1 \rangle + \zeta^2 \|m_1\|^2 + \sigma^2 \operatorname{tr} P \right) . $$
#
# So four numbers per algorithm, graph and step size give the whole plane of $\zeta$ and $\sigma$, at finite $n$ and $T$
# and without a bound. Each algorithm gets the best step size of one grid in every point of the plane.

# %%
# %matplotlib inline
import jax
import numpy as np
from matplotlib.colors import ListedColormap
from scipy.linalg import block_diag
from scipy.optimize import brentq

from dlax import theory
from dlax import topology as tp
from dlax.algorithms import decentlam, dsgd, exact_diffusion, extra, gradient_tracking
from dlax.claims import Claims
from dlax.plots import COLOURS, DASHES, MARKERS, blank, frame
from dlax.problems import quadratic
from dlax.simulate import simulate

claims = Claims()
n, d, MESSAGES, SEEDS, BETA = 16, 2, 160, 64, 0.9
LRS = np.geomspace(1.5e-3, 0.25, 145)  # neighbours differ by 3.6 %
ZETAS, SIGMAS = np.array([0.03, 0.1, 0.3, 1.0, 3.0]), np.array([0.03, 0.1, 0.3, 1.0])
GRAPHS = {"ring": tp.ring(n), "grid": tp.grid(n), "torus": tp.torus(n), "complete": tp.complete(n)}
ALGORITHMS = {
    "D-SGD": dsgd, "gradient tracking": gradient_tracking, "exact diffusion": exact_diffusion, "EXTRA": extra,
    "DecentLaM": decentlam,
}  # fmt: skip
ROUNDS = {name: MESSAGES // (2 if name == "gradient tracking" else 1) for name in ALGORITHMS}

base = quadratic(n, dim=d, condition=5.0, noise=1.0)  # ζ = 1, σ = 1
A, g, optimum = base.local["A"], base.local["g"], base.shared["optimum"]
H, star = block_diag(*A), np.tile(optimum, n)

# %% [markdown]
# ## The five maps
#
# Written out from the updates, in float64; models come first in $z$. All start at $x = 0$.
#
# | | $z$ | a round, with $G = \nabla F(x) + \xi$ |
# |---|---|---|
# | D-SGD | $x$ | $x \leftarrow W (x - \alpha G)$ |
# | gradient tracking | $x, q = W y - G_-$ | $y = q + G$, $\ x \leftarrow W x - \alpha y$, $\ q \leftarrow W y - G$ |
# | exact diffusion | $x, \psi$ | $\psi^+ = x - \alpha G$, $\ x \leftarrow \frac{I + W}2 (\psi^+ + x - \psi)$ |
# | EXTRA | $x, c$ | $x \leftarrow W x - \alpha G + c$, $\ c \leftarrow c + \frac12 (W - I) x$ (old $x$) |
# | DecentLaM | $x, v$ | $v \leftarrow \beta v + x - W (x - \alpha G)$, $\ x \leftarrow x - v$, $\ \beta = 0.9$ |

# %%


def maps(name, W, lr):
    """(M, N): z ← M z + N (what the gradients have besides H x)."""
    W, eye, zero = np.kron(W, np.eye(d)), np.eye(n * d), np.zeros((n * d, n * d))
    down = eye - lr * H
    if name == "D-SGD":
        return W @ down, -lr * W
    if name == "gradient tracking":
        return np.block([[W - lr * H, -lr * eye], [(W - eye) @ H, W]]), np.vstack([-lr * eye, W - eye])
    if name == "exact diffusion":
        mixed = (eye + W) / 2
        return np.block([[mixed @ (eye + down), -mixed], [down, zero]]), np.vstack([-lr * mixed, -lr * eye])
    if name == "EXTRA":
        return np.block([[W - lr * H, eye], [(W - eye) / 2, eye]]), np.vstack([-lr * eye, zero])
    change = eye - W @ down
    return np.block([[eye - change, -BETA * eye], [change, BETA * eye]]), np.vstack([-lr * W, lr * W])


def four_numbers(name, graph, lrs):
    """What ζ⁰, ζ, ζ² and σ² are multiplied by, [4, lr]. Rounds are composed by doubling: k twice are 2k."""
    M, N = (np.stack(parts) for parts in zip(*(maps(name, graph.dense(), lr) for lr in lrs), strict=True))
    c, Q = N @ np.stack([-H @ star, g.ravel()], axis=1), N @ N.mT / d
    m, P = np.zeros_like(c), np.zeros_like(Q)
    with np.errstate(all="ignore"):  # what diverges may overflow
        for bit in reversed(f"{ROUNDS[name]:b}"):
            if bit == "1":
                m, P = M @ m + c, M @ P @ M.mT + Q
            c, Q, M = M @ c + c, M @ Q @ M.mT + Q, M @ M
        x0, x1 = m[:, : n * d, 0] - star, m[:, : n * d, 1]
        spread = np.trace(P[:, : n * d, : n * d], axis1=1, axis2=2)
        found = np.stack([(x0 * x0).sum(1), 2 * (x0 * x1).sum(1), (x1 * x1).sum(1), spread]) / n
    return np.where(np.isfinite(found).all(axis=0), found, np.inf)


NUMBERS = {(name, graph): four_numbers(name, GRAPHS[graph], LRS) for name in ALGORITHMS for graph in GRAPHS}


def errors(name, graph, zeta, sigma):
    """Expected error of every step size, [lr, ...]; zeta and sigma broadcast."""
    zeta, sigma = np.broadcast_arrays(zeta, sigma)
    return np.tensordot(NUMBERS[name, graph].T, np.stack([zeta**0, zeta, zeta**2, sigma**2]), axes=1)


def best(name, graph, zeta, sigma):
    """The least of them over the step sizes."""
    return errors(name, graph, zeta, sigma).min(axis=0)


library = theory.dsgd(base, GRAPHS["ring"], lr=LRS[120]).distances(MESSAGES)[-1]
claims.close(
    "D-SGD on the ring at ζ = σ = 1: this notebook's map gives what dlax.theory gives",
    float(library), float(errors("D-SGD", "ring", 1.0, 1.0)[120]), rel=1e-9,
)  # fmt: skip
cells = [(graph, zeta, sigma) for graph in GRAPHS for zeta in ZETAS for sigma in SIGMAS]
chosen = np.array([[errors(name, *cell).argmin() for cell in cells] for name in ALGORITHMS])
coarse = [errors(name, *cell)[::2].min() / best(name, *cell) for name in ALGORITHMS for cell in cells]
claims.at_least(
    f"best step sizes of 5 algorithms in {len(cells)} cells: places from the nearer end of the grid, anywhere",
    1, float(min(chosen.min(), len(LRS) - 1 - chosen.max())),
)  # fmt: skip
_ = claims.at_most(
    "the same: what a grid half as fine would cost anywhere, predicted error over this grid's",
    1.1,
    float(max(coarse)),
)

# %% [markdown]
# ## The runs
#
# All points side by side: every point $(\text{graph}, \zeta, \sigma, \alpha)$ is an island of 16 nodes, with noise of its
# own, and one compiled run per algorithm holds all islands and 64 seeds. Islands differ in their step size because a
# step of 1 on $\alpha f_i$ is a step of $\alpha$ on $f_i$. Algorithms see the same noise in the same point, so that
# their differences are less noisy than their errors.
#
# Besides the cells of the diagram there are points without noise, and five around each predicted boundary at
# $\sigma = 0.1$: the $\zeta$ at which exact diffusion draws level with D-SGD, and with DecentLaM.

# %%
NEAR = np.array([0.5, 0.7, 1.0, 1.4, 2.0])
LEVEL = 0.1  # σ
PAIRS = [(graph, name) for graph in ("ring", "grid", "torus") for name in ("D-SGD", "DecentLaM")]


def boundary(graph, name):
    """ζ at which exact diffusion's predicted error is that of the algorithm."""

    def ahead(log_zeta):
        point = graph, np.exp(log_zeta), LEVEL
        return float(np.log(best(name, *point) / best("exact diffusion", *point)))

    return float(np.exp(brentq(ahead, np.log(1e-3), np.log(30.0))))


EDGE = {pair: boundary(*pair) for pair in PAIRS}
quiet = [(graph, zeta, 0.0) for graph in GRAPHS for zeta in (0.3, 3.0)]
around = [(graph, EDGE[graph, name] * near, LEVEL) for graph, name in PAIRS for near in NEAR]
POINTS = cells + quiet + around
islands = tp.from_matrix(
    block_diag(*(GRAPHS[graph].dense() for graph, _, _ in POINTS)), name="islands", allow_disconnected=True
)


def loss(params, key, local, shared):
    """α (f + ⟨ξ, x⟩), the second zero in value and ξ in gradient."""
    x = params["x"]
    z = x - shared["optimum"]
    xi = local["noise"] * jax.random.normal(key, x.shape, x.dtype)
    return 0.5 * z @ local["A"] @ z + local["g"] @ z + xi @ (x - jax.lax.stop_gradient(x))


def island_errors(name):
    """Measured errors `[seed, point]`, and expected ones `[point]`, at the step sizes predicted to be best."""
    curves = [errors(name, *point) for point in POINTS]
    lr = LRS[[curve.argmin() for curve in curves]]
    zeta, sigma = (np.array([point[k] for point in POINTS]) for k in (1, 2))

    def local(scale, rows):
        """Rows `[n, ...]` of all islands, times lr and one number each: `[islands n, ...]`."""
        return np.concatenate([factor * rows for factor in lr * scale])

    problem = base._replace(
        n=len(POINTS) * n,
        loss=loss,
        local={"A": local(1, A), "g": local(zeta, g), "noise": local(sigma / np.sqrt(d), np.ones(n))},
    )
    run = simulate(
        ALGORITHMS[name], problem, islands, rounds=ROUNDS[name], eval_every=ROUNDS[name], seeds=SEEDS,
        hyper={"lr": 1.0}, precision="float64",
    )  # fmt: skip
    x = np.asarray(run.params["x"]).reshape(SEEDS, len(POINTS), n, d)
    return np.mean(np.sum((x - optimum) ** 2, axis=-1), axis=-1), np.array([c.min() for c in curves])


NAMES = list(ALGORITHMS)
found, expected = map(np.array, zip(*map(island_errors, NAMES), strict=True))
mean, error = found.mean(axis=1), found.std(axis=1, ddof=1) / np.sqrt(SEEDS)  # [algorithm, point]

# %%
noisy, silent = slice(0, len(cells)), slice(len(cells), len(cells) + len(quiet))
away = np.abs(mean - expected)
checks = f"5 algorithms in {len(cells)} cells"
claims.at_most(
    f"without noise, 5 algorithms in {len(quiet)} points: largest difference of measured and predicted errors, relative (above 1e-10)",
    1e-6, float(np.max(away[:, silent] / (expected[:, silent] + 1e-10))),
)  # fmt: skip
claims.close(
    f"with noise, {checks}: measured over predicted error, mean (2 %: {SEEDS} seeds a cell)",
    1.0, float(np.mean(mean[:, noisy] / expected[:, noisy])), rel=0.02,
)  # fmt: skip
_ = claims.between(
    f"with noise, {checks}: share within two standard errors of the prediction (95 % if normal)",
    0.91, 0.99, float(np.mean(away[:, noisy] < 2 * error[:, noisy])),
)  # fmt: skip

# %% [markdown]
# ## The phase diagram
#
# Ground: predicted winner; dots: winner of the runs, small where the runner-up is predicted within a factor of 1.2.
# Solid line: exact diffusion overtakes DecentLaM; dashed: it overtakes D-SGD, which is the boundary if nobody has
# momentum. Right of a line heterogeneity outweighs noise. Both move right as the gap grows, and on the complete graph
# there is no bias to correct. Winners are winners among these five, with this budget, from this start.

# %%
fine = np.geomspace(0.02, 4.5, 121), np.geomspace(0.02, 1.5, 81)
Z, S = np.meshgrid(*fine, indexing="ij")
wins, guess = mean[:, noisy].argmin(axis=0), expected[:, noisy].argmin(axis=0)
ordered = np.sort(expected[:, noisy], axis=0)
sure = ordered[1] / ordered[0] > 1.2
where = np.array([graph for graph, _, _ in cells])
E, D, M = NAMES.index("exact diffusion"), NAMES.index("D-SGD"), NAMES.index("DecentLaM")
figure, panels = blank(13.0, 4.0, 1, 4, sharey=True)
for axes, graph in zip(panels, GRAPHS, strict=True):
    plane = np.stack([best(name, graph, Z, S) for name in NAMES])
    axes.pcolormesh(
        Z, S, plane.argmin(axis=0), cmap=ListedColormap(COLOURS[:5]), vmin=0, vmax=4, alpha=0.3, shading="nearest",
        rasterized=True,
    )  # fmt: skip
    for rival, style in ((M, DASHES[0]), (D, DASHES[1])):
        ahead = np.log(plane[rival] / plane[E])
        if ahead.max() > 0:
            axes.contour(Z, S, ahead, levels=[0.0], colors="#222222", linewidths=1.6, linestyles=[style])
    for c in np.flatnonzero(where == graph):
        axes.plot(
            *cells[c][1:], MARKERS[wins[c]], color=COLOURS[wins[c]], ms=9 if sure[c] else 6, mec="white"
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    frame(
        axes, "heterogeneity ζ (rms gradient at x*)", "gradient noise σ (rms)" if graph == "ring" else "",
        f"{graph}: gap {GRAPHS[graph].spectral_gap:.2f}",
    )  # fmt: skip
    axes.grid(visible=False)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_formatter("{x:g}")
first = panels[0]
handles = [
    first.plot([], [], MARKERS[k], color=COLOURS[k], ms=9, label=name)[0] for k, name in enumerate(NAMES)
]
for name, style in (("DecentLaM", DASHES[0]), ("D-SGD", DASHES[1])):
    handles += first.plot([], [], color="#222222", ls=style, label=f"exact diffusion = {name}")
figure.legend(handles=handles, loc="outside lower center", ncols=7, frameon=False, columnspacing=1.2)
figure

# %%
share = f"{sure.sum()} of {len(cells)} cells (those with a predicted margin above 1.2)"
picked = mean[guess, np.arange(len(cells))]
claims.at_least(f"the predicted winner wins, {share}: share", 0.95, float(np.mean((wins == guess)[sure])))
claims.at_most(
    f"what the predicted choice costs anywhere, all {len(cells)} cells: its measured error over the best one",
    1.1, float(np.max(picked / mean[:, noisy].min(axis=0))),
)  # fmt: skip
T, X = NAMES.index("gradient tracking"), NAMES.index("EXTRA")
claims.at_least(
    f"gradient tracking, all {len(cells)} cells: measured error over the best one, least",
    2.0, float(np.min(mean[T, noisy] / mean[:, noisy].min(axis=0))),
)  # fmt: skip
_ = claims.at_least(
    f"EXTRA, all {len(cells)} cells: measured error over that of exact diffusion, least",
    1.0, float(np.min(mean[X, noisy] / mean[E, noisy])),
)  # fmt: skip

# %% [markdown]
# ## Where the bias begins to matter
#
# Along $\zeta$ at $\sigma = 0.1$, lines predicted and points measured (mean, two standard errors over seeds). The
# unbiased methods do not see $\zeta$, but for gradient tracking on the ring, whose half as many rounds are too few to
# forget it; D-SGD and DecentLaM leave the floor of their noise where their bias does.

# %%
figure, panels = blank(13.0, 3.9, 1, 4, sharey=True)
for axes, graph in zip(panels, GRAPHS, strict=True):
    here = [c for c, (which, _, sigma) in enumerate(cells) if which == graph and sigma == LEVEL]
    for k, name in enumerate(NAMES):
        axes.plot(fine[0], best(name, graph, fine[0], LEVEL), color=COLOURS[k], ls=DASHES[k], lw=1.6)
        axes.errorbar(
            ZETAS,
            mean[k, here],
            2 * error[k, here],
            fmt=MARKERS[k],
            ms=5,
            color=COLOURS[k],
            capsize=3,
            label=name,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    frame(
        axes, "heterogeneity ζ (rms gradient at x*)",
        "mean squared distance to x* (start: 1)" if graph == "ring" else "", f"{graph}, σ = {LEVEL}",
    )  # fmt: skip
figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
figure


# %% [markdown]
# The boundary, from five points around it: the straight line through log ratio of errors over log ζ, where it crosses
# 0, the same for predicted and measured errors.


# %%
def crossing(values, graph, name):
    """ζ at which exact diffusion draws level, of errors [algorithm, point]."""
    start = len(cells) + len(quiet) + len(NEAR) * PAIRS.index((graph, name))
    part = values[:, start : start + len(NEAR)]
    slope, level = np.polyfit(np.log(NEAR), np.log(part[NAMES.index(name)] / part[E]), 1)
    return float(EDGE[graph, name] * np.exp(-level / slope))


def power(values, name):
    """Of the gap in the boundary, over ring, grid and torus."""
    gaps, places = zip(
        *[(GRAPHS[graph].spectral_gap, crossing(values, graph, name)) for graph, which in PAIRS if which == name],
        strict=True,
    )  # fmt: skip
    return float(np.polyfit(np.log(gaps), np.log(places), 1)[0])


for graph, name in PAIRS:
    claims.close(
        f"{graph}, σ = {LEVEL}: ζ at which exact diffusion draws level with {name} (10 %: seeds)",
        crossing(expected, graph, name), crossing(mean, graph, name), rel=0.1,
    )  # fmt: skip
for name in ("D-SGD", "DecentLaM"):
    claims.at_least(
        f"from the ring to the torus, gap 0.05 to 0.40, the boundary with {name} moves to a larger ζ: factor",
        2.0, crossing(mean, "torus", name) / crossing(mean, "ring", name),
    )  # fmt: skip
    claims.close(
        f"power of the spectral gap in the boundary with {name}, over ring, grid and torus (0.06: seeds)",
        power(expected, name), power(mean, name), abs=0.06,
    )  # fmt: skip
complete = np.flatnonzero(where == "complete")
_ = claims.at_most(
    f"complete graph, {len(complete)} cells: DecentLaM's measured error over the best one, largest",
    1.1, float(np.max(mean[M, complete] / mean[:, complete].min(axis=0))),
)  # fmt: skip

# %% [markdown]
# ## Verdicts

# %%
claims
