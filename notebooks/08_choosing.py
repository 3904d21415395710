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
# Three algorithms, one budget of messages. D-SGD is biased where nodes differ, gradient tracking is not but sends two
# vectors a round, exact diffusion is not and sends one. Which is best depends on how much the nodes differ
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
# So one pass of linear algebra per algorithm, graph and step size gives the whole plane of $\zeta$ and $\sigma$, at
# finite $n$ and $T$ and without a bound. Each algorithm gets the best step size of one grid in every point of it.
# This notebook draws the predicted phase diagram, runs the compiled algorithms, and compares.

# %%
# %matplotlib inline
import numpy as np
from matplotlib.colors import ListedColormap

from dlax import theory
from dlax import topology as tp
from dlax.algorithms import dsgd, exact_diffusion, gradient_tracking
from dlax.claims import Claims
from dlax.plots import COLOURS, blank, frame
from dlax.problems import quadratic
from dlax.simulate import simulate

claims = Claims()
n, d, MESSAGES, SEEDS = 16, 2, 240, 8
LRS = np.array([0.02, 0.05, 0.1, 0.2, 0.4, 0.8])
ZETAS = np.array([0.0, 0.03, 0.1, 0.3, 1.0])
SIGMAS = np.array([0.0, 0.1, 0.3, 1.0])
GRAPHS = {"ring": tp.ring(n), "torus": tp.torus(n), "complete": tp.complete(n)}
ALGORITHMS = {"D-SGD": dsgd, "gradient tracking": gradient_tracking, "exact diffusion": exact_diffusion}
ROUNDS = {"D-SGD": MESSAGES, "gradient tracking": MESSAGES // 2, "exact diffusion": MESSAGES}

base = quadratic(n, dim=d, condition=5.0, noise=1.0)  # ζ = 1, σ = 1
A, g, optimum = base.local["A"], base.local["g"], base.shared["optimum"]
H = np.zeros((n * d, n * d))
for i in range(n):
    H[i * d : (i + 1) * d, i * d : (i + 1) * d] = A[i]
star = np.tile(optimum, n)

# %% [markdown]
# ## The three maps
#
# Written out from the updates, in float64. D-SGD: $x \leftarrow W (x - \alpha \nabla F(x))$. Gradient tracking keeps
# $(x, y, \nabla F)$ of the round before; exact diffusion keeps $(x, \psi)$ and mixes with $\bar W = (I + W)/2$.

# %%


def maps(name, W, lr):
    """(M, what ∇F's constant part adds, what the noise adds), on z = (x, ...); models come first."""
    W, eye, zero = np.kron(W, np.eye(d)), np.eye(n * d), np.zeros((n * d, n * d))
    if name == "D-SGD":
        return W @ (eye - lr * H), -lr * W, -lr * W
    if name == "gradient tracking":  # y⁺ = W y + G(x) − G₋, x⁺ = W x − lr y⁺, G₋⁺ = G(x)
        M = np.block([[W - lr * H, -lr * W, lr * eye], [H, W, -eye], [H, zero, zero]])
        push = np.vstack([-lr * eye, eye, eye])
        return M, push, push
    mixed = (eye + W) / 2  # ψ⁺ = x − lr G(x), x⁺ = W̄ (ψ⁺ + x − ψ)
    M = np.block([[mixed @ (2 * eye - lr * H), -mixed], [eye - lr * H, zero]])
    push = np.vstack([-lr * mixed, -lr * eye])
    return M, push, push


def plane(name, graph, lr):
    """The error in every point of the plane, [ζ, σ]: the fact above."""
    M, push, noise = maps(name, graph.dense(), lr)
    m0 = np.zeros(len(M))  # from x = 0, which for exact diffusion is ψ too
    m1, P = np.zeros(len(M)), np.zeros_like(M)
    Q = noise @ noise.T / d
    for _ in range(ROUNDS[name]):
        m0, m1 = M @ m0 - push @ (H @ star), M @ m1 + push @ g.ravel()
        P = M @ P @ M.T + Q
    x0, x1, spread = m0[: n * d] - star, m1[: n * d], np.trace(P[: n * d, : n * d])
    Z, S = np.meshgrid(ZETAS, SIGMAS, indexing="ij")
    return (x0 @ x0 + 2 * Z * (x0 @ x1) + Z**2 * (x1 @ x1) + S**2 * spread) / n


predicted = {
    (name, graph): np.stack([plane(name, GRAPHS[graph], lr) for lr in LRS])
    for name in ALGORITHMS
    for graph in GRAPHS
}  # [lr, ζ, σ]
library = theory.dsgd(base, GRAPHS["ring"], lr=0.1).distances(MESSAGES)[-1]
_ = claims.close(
    "D-SGD on the ring at ζ = σ = 1: this notebook's map gives what dlax.theory gives",
    float(library), float(predicted["D-SGD", "ring"][2, -1, -1]), rel=1e-9,
)  # fmt: skip

# %% [markdown]
# ## The runs
#
# Every point of the plane is the same problem with other arrays, so that an algorithm on a graph compiles once, for
# all step sizes and seeds together.

# %%


def measured_plane(name, graph):
    """Mean and standard error over seeds, each [lr, ζ, σ]."""
    mean, error = np.zeros((2, len(LRS), len(ZETAS), len(SIGMAS)))
    for z, zeta in enumerate(ZETAS):
        for s, sigma in enumerate(SIGMAS):
            problem = base._replace(
                local=base.local | {"g": zeta * g},
                shared=base.shared | {"noise": np.float64(sigma / np.sqrt(d))},
            )
            run = simulate(
                ALGORITHMS[name], problem, GRAPHS[graph], rounds=ROUNDS[name], eval_every=ROUNDS[name],
                seeds=SEEDS, hyper={"lr": LRS}, precision="float64",
            )  # fmt: skip
            last = np.array([row["distance"] for row in run.rows if row["round"] == ROUNDS[name]])
            last = np.where(np.isfinite(last), last, np.inf).reshape(len(LRS), SEEDS)
            mean[:, z, s] = last.mean(axis=1)
            error[:, z, s] = np.where(np.isfinite(last).all(axis=1), last.std(axis=1, ddof=1), 0) / np.sqrt(
                SEEDS
            )
    return mean, error


measured = {key: measured_plane(*key) for key in predicted}

# %%
best = {key: values.argmin(axis=0) for key, values in predicted.items()}  # the step size that theory chooses


def at_best(values, key):
    """Of values [lr, ζ, σ], those at the predicted best step size."""
    return np.take_along_axis(values, best[key][None], axis=0)[0]


off, exact = [], 0.0
for key, values in predicted.items():
    want, got, error = at_best(values, key), at_best(measured[key][0], key), at_best(measured[key][1], key)
    exact = max(exact, float(np.max(np.abs(got - want)[:, 0] / (want[:, 0] + 1e-10))))
    off += list((np.abs(got - want)[:, 1:] / error[:, 1:]).ravel())
claims.at_most(
    "without noise: largest difference of measured and predicted errors, relative (above 1e-10)", 1e-6, exact
)
_ = claims.at_least("with noise: share of points within four standard errors of the prediction", 0.97,
                float(np.mean(np.array(off) < 4)))  # fmt: skip

# %% [markdown]
# ## The phase diagram
#
# Colour: which algorithm was best in the runs. Letter: which was predicted, small where the runner-up is predicted
# within a factor of 1.5. Exact diffusion wins where heterogeneity outweighs noise, the sooner the smaller the gap; on
# the complete graph nothing is gained by correcting a bias that is not there. Gradient tracking pays for its second
# vector with half of the rounds, and wins nowhere here. Only three algorithms are compared, none with momentum: with others (EXTRA, DecentLaM)
# in the field the winners are different ones. Small letters are most of the diagram, and the seeds' noise is shared
# between points, which are therefore not independent checks.

# %%
NAMES = list(ALGORITHMS)
letters = {"D-SGD": "D", "gradient tracking": "T", "exact diffusion": "E"}
figure, panels = blank(11.5, 4.2, 1, 3)
agree, certain, near = 0, 0, []
for axes, graph in zip(panels, GRAPHS, strict=True):
    theirs = np.stack([predicted[name, graph].min(axis=0) for name in NAMES])
    ours = np.stack([measured[name, graph][0].min(axis=0) for name in NAMES])
    winner, guess = ours.argmin(axis=0), theirs.argmin(axis=0)
    ordered = np.sort(theirs, axis=0)
    margin = ordered[1] / ordered[0]
    sure = margin > 1.5
    agree, certain = agree + int((winner == guess)[sure].sum()), certain + int(sure.sum())
    picked = np.take_along_axis(ours, guess[None], axis=0)[0]
    near += list((picked / ours.min(axis=0)).ravel())
    axes.imshow(
        winner.T, origin="lower", cmap=ListedColormap(COLOURS[:3]), vmin=0, vmax=2, alpha=0.55, aspect="auto"
    )
    for z in range(len(ZETAS)):
        for s in range(len(SIGMAS)):
            axes.text(z, s, letters[NAMES[guess[z, s]]], ha="center", va="center",
                      fontsize=13 if sure[z, s] else 8)  # fmt: skip
    frame(axes, "heterogeneity ζ", "noise σ", f"{graph}: gap {GRAPHS[graph].spectral_gap:.2f}")
    axes.grid(visible=False)
    axes.set_xticks(range(len(ZETAS)), [f"{z:g}" for z in ZETAS])
    axes.set_yticks(range(len(SIGMAS)), [f"{s:g}" for s in SIGMAS])
handles = [
    panels[0].scatter(
        [], [], s=120, marker="s", color=COLOURS[k], alpha=0.55, label=f"{name} ({letters[name]})"
    )
    for k, name in enumerate(NAMES)
]
figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
figure

# %%
claims.at_least("share of points where the predicted winner wins, of those with a margin of 1.5", 0.95,
                agree / certain)  # fmt: skip
_ = claims.at_most("what the predicted choice costs anywhere: its measured error over the best one", 1.5,
               float(max(near)))  # fmt: skip

# %% [markdown]
# ## Where the bias begins to matter
#
# Along $\zeta$ at $\sigma = 0.1$, lines predicted and points measured (mean, two standard errors over seeds). D-SGD
# leaves the floor of its noise where its bias does; on a graph with a larger gap that is later.

# %%
s = int(np.flatnonzero(SIGMAS == 0.1)[0])
figure, panels = blank(11.5, 3.8, 1, 3, sharey=True)
for axes, graph in zip(panels, GRAPHS, strict=True):
    for k, name in enumerate(NAMES):
        key = name, graph
        place = np.arange(len(ZETAS))
        axes.plot(place, at_best(predicted[key], key)[:, s], color=COLOURS[k], lw=1.8, label=name)
        axes.errorbar(
            place, at_best(measured[key][0], key)[:, s], 2 * at_best(measured[key][1], key)[:, s],
            fmt="o", ms=4, color=COLOURS[k], capsize=3,
        )  # fmt: skip
    axes.set_yscale("log")
    axes.set_xticks(place, [f"{z:g}" for z in ZETAS])
    frame(axes, "heterogeneity ζ", "mean squared distance to x*" if graph == "ring" else "", graph)
panels[0].legend(frameon=False)
figure


# %%
def crossing(values):
    """ζ at which D-SGD's error is twice exact diffusion's, between the points of the grid, on logarithms."""
    ratio = np.log(values["D-SGD"] / values["exact diffusion"] / 2)[1:]
    k = int(np.argmax(ratio > 0))
    if not ratio[k] > 0:
        return float("inf")  # never, in the plane
    if k == 0:
        return float(ZETAS[1])
    share = ratio[k - 1] / (ratio[k - 1] - ratio[k])
    return float(np.exp(np.log(ZETAS[k]) + share * np.log(ZETAS[k + 1] / ZETAS[k])))


for graph in ("ring", "torus"):
    ahead = [
        crossing({name: values[name, graph].min(axis=0)[:, s] for name in NAMES})
        for values in (predicted, {key: mean for key, (mean, _) in measured.items()})
    ]
    claims.close(f"{graph}, σ = 0.1: ζ at which D-SGD's error is twice exact diffusion's", *ahead, rel=0.2)
alike = [measured[name, graph][0].min(axis=0)[0, 1:] for graph in GRAPHS for name in NAMES]
without = np.array(alike).reshape(len(GRAPHS), len(NAMES), -1)
claims.at_most("ζ = 0: D-SGD's error over the best one, any graph and noise", 1.3,
               float(np.max(without[:, 0] / without.min(axis=1))))  # fmt: skip
complete = np.stack([measured[name, "complete"][0].min(axis=0)[:, 1:] for name in NAMES])
claims.at_most("complete graph: D-SGD's error over the best one, anywhere with noise", 1.3,
               float(np.max(complete[0] / complete.min(axis=0))))  # fmt: skip
loud = np.stack([measured[name, "ring"][0].min(axis=0)[-1] for name in NAMES])
_ = claims.at_most("ring, ζ = 1: worst over best, at σ = 1, in units of that at σ = 0.1", 0.5,
               float((loud.max(axis=0) / loud.min(axis=0))[-1] / (loud.max(axis=0) / loud.min(axis=0))[1]))  # fmt: skip

# %% [markdown]
# ## Verdicts

# %%
claims
