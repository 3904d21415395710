# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 01 Consensus and spectral gaps
#
# Gossip replaces every node's value by a weighted mean of its neighbours' values, $x \leftarrow W x$.
#
# **Theorem** (Xiao, Boyd 2004). Let $W$ be symmetric and doubly stochastic, $J = 11^\top/n$ and
# $\rho = \|W - J\|_2 = \max(\lambda_2, -\lambda_n)$. Then
# $\|W^t x - \bar x 1\| \le \rho^t \|x - \bar x 1\|$ for every $x$, with equality for the slowest eigenvector, and
# for almost every start the factor per round tends to $\rho$.
#
# The *spectral gap* is $1 - \rho$. This notebook compares closed forms of the gap with measured runs, over graphs and
# sizes.

# %%
# %matplotlib inline
import numpy as np

from dlax import theory
from dlax import topology as tp
from dlax.algorithms import gossip
from dlax.claims import Claims
from dlax.plots import COLOURS, DASHES, blank, frame, plain_log
from dlax.problems import average, average_of
from dlax.simulate import simulate

claims = Claims()


def distances(problem, topology, rounds, algorithm=gossip, **options):
    """Σᵢ ‖xᵢ − x̄₀‖² / n after every round, in float64."""
    result = simulate(
        algorithm, problem, topology, rounds=rounds, eval_every=1, precision="float64", **options
    )
    return result.to_pandas()["distance"].to_numpy()


# %% [markdown]
# ## Gaps in closed form
#
# With Metropolis weights: ring $\frac23(1-\cos\frac{2\pi}{n})$, path $\frac23(1-\cos\frac{\pi}{n})$, square torus of side
# $s$ $\frac25(1-\cos\frac{2\pi}{s})$, hypercube $\frac{2}{1+\log_2 n}$, star $\frac1n$, static exponential graph
# $\frac{2}{1+\lceil\log_2 n\rceil}$ (even $n$).

# %%
CLOSED = {
    "ring": lambda n: 2 / 3 * (1 - np.cos(2 * np.pi / n)),
    "path": lambda n: 2 / 3 * (1 - np.cos(np.pi / n)),
    "torus": lambda n: 2 / 5 * (1 - np.cos(2 * np.pi / np.sqrt(n))),
    "hypercube": lambda n: 2 / (1 + np.log2(n)),
    "star": lambda n: 1 / n,
    "static_exponential": lambda n: 2 / (1 + np.ceil(np.log2(n))),
}
SIZES = [16, 64, 256, 1024]
gaps = {name: [tp.TOPOLOGIES[name](n).spectral_gap for n in SIZES] for name in CLOSED}

figure, (axes,) = blank(6.4, 4.0)
fine = np.geomspace(16, 1024, 200)
for number, (name, formula) in enumerate(CLOSED.items()):
    axes.loglog(SIZES, gaps[name], "o", color=COLOURS[number], label=name.replace("_", " "))
    line = np.array([formula(n) for n in (SIZES if name == "static_exponential" else fine)])
    axes.loglog(SIZES if name == "static_exponential" else fine, line, color=COLOURS[number], lw=1)
frame(axes, "nodes n", "spectral gap 1 − ρ", "dots: computed, lines: closed form")
axes.legend(fontsize=8, frameon=False)
figure

# %%
worst = max(
    abs(gap - formula(n))
    for name, formula in CLOSED.items()
    for n, gap in zip(SIZES, gaps[name], strict=True)
)
_ = claims.at_most(
    "closed forms of six gaps, n = 16 ... 1024: largest difference to eigenvalues", 1e-10, worst
)

# %% [markdown]
# ## The run against $\rho^{2t}$
#
# 64 nodes, standard normal values. The squared distance to the mean should fall like $\rho^{2t}$. The first rounds are
# faster, because most of a random vector lies in directions that $W$ shrinks more.

# %%
n, rounds = 64, 300
graphs = {name: tp.TOPOLOGIES[name](n) for name in ("ring", "torus", "hypercube", "star")}
problem = average(n, dim=8)
curves = {name: distances(problem, graph, rounds) for name, graph in graphs.items()}

figure, (axes,) = blank(6.4, 4.0)
for number, (name, graph) in enumerate(graphs.items()):
    rho = 1 - graph.spectral_gap
    axes.semilogy(curves[name], color=COLOURS[number], label=f"{name}, gap {graph.spectral_gap:.3f}")
    t = np.arange(rounds + 1)
    bound = curves[name][0] * rho ** (2 * t)
    axes.semilogy(t, np.where(bound > 1e-30, bound, np.nan), color=COLOURS[number], ls=DASHES[1], lw=1)
axes.set_ylim(1e-30, 10)
frame(
    axes,
    "round t",
    "mean squared distance to the mean",
    "solid: measured, dashed: ρ^(2t) from the same start",
)
axes.legend(fontsize=8, frameon=False, loc="lower left")
figure


# %%
def slope(curve):
    """The factor per round on ‖x − x̄‖, from where the slowest mode rules to where rounding does."""
    usable = np.flatnonzero(curve > 1e-26 * curve[0])
    stop = usable[-1]
    start = stop // 2
    return np.sqrt((curve[stop] / curve[start]) ** (1 / (stop - start)))


for name, graph in graphs.items():
    rho = 1 - graph.spectral_gap
    claims.close(
        f"{name} of 64: measured contraction a round is ρ (0.5 %)", rho, slope(curves[name]), rel=5e-3
    )
    claims.at_most(
        f"{name} of 64: distance / (ρ^(2t) · start), largest over the run",
        1 + 1e-9,
        max(
            curves[name][t] / (curves[name][0] * rho ** (2 * t))
            for t in range(rounds)
            if curves[name][t] > 1e-26
        ),
    )

# %% [markdown]
# Started in the slowest eigenvector the bound is met in every round, not only in the limit.

# %%
ring = tp.ring(n)
eigenvalues, vectors = np.linalg.eigh(ring.dense())
slowest = vectors[:, np.argsort(np.abs(eigenvalues))[-2]]
measured = distances(average_of(slowest[:, None]), ring, 100)
rho = 1 - ring.spectral_gap
_ = claims.close(
    "ring, slowest eigenvector: distance after 100 rounds is exactly ρ^200",
    rho**200,
    measured[100] / measured[0],
    rel=1e-9,
)

# %% [markdown]
# ## How the number of rounds grows with $n$
#
# Rounds until the distance has fallen by $10^{-6}$, measured, against $\ln 10^{-6} / \ln \rho$. The gap's exponent is
# the graph's: $n^2$ for ring and path, $n$ for torus and star, $\log n$ for hypercube and exponential graph.

# %%
needed, predicted = {}, {}
sizes = [16, 64, 256]
for name in ("ring", "torus", "star", "hypercube"):
    needed[name], predicted[name] = [], []
    for size in sizes:
        graph = tp.TOPOLOGIES[name](size)
        expected = theory.rounds_to(1 - graph.spectral_gap, 1e-6)
        every = max(1, int(expected // 200))
        result = simulate(
            gossip,
            average(size, dim=8),
            graph,
            rounds=int(1.2 * expected) + 10,
            eval_every=every,
            precision="float64",
        ).to_pandas()
        below = result["distance"] <= 1e-12 * result["distance"][0]
        needed[name].append(result["round"][below.idxmax()])
        predicted[name].append(expected)

figure, (axes,) = blank(6.4, 4.0)
for number, name in enumerate(needed):
    axes.loglog(sizes, needed[name], "o", color=COLOURS[number], label=name)
    axes.loglog(sizes, predicted[name], color=COLOURS[number], lw=1)
frame(axes, "nodes n", "rounds until 10⁻⁶ of the start", "dots: measured, lines: ln 10⁻⁶ / ln ρ")
plain_log(axes.xaxis)
axes.legend(fontsize=8, frameon=False)
figure

# %%
for name, exponent in {"ring": 2.0, "torus": 1.0, "star": 1.0}.items():
    fitted = np.log(needed[name][-1] / needed[name][0]) / np.log(sizes[-1] / sizes[0])
    claims.close(f"{name}: rounds grow as n to the power", exponent, fitted, abs=0.15)

# %% [markdown]
# ## Random graphs: constant degree, constant gap
#
# A random $d$-regular graph has, for large $n$, $\lambda_2 \approx 2\sqrt{d-1}$ of its adjacency (Friedman 2008), so its
# gap with weights $1/(d+1)$ is about $1 - \frac{1 + 2\sqrt{d-1}}{d+1}$ whatever $n$ is: the reason why expanders are
# popular.

# %%
regular = [
    np.mean([tp.random_regular(size, degree=4, seed=s).spectral_gap for s in range(3)])
    for size in (256, 1024, 4096)
]
limit = 1 - (1 + 2 * np.sqrt(3)) / 5
claims.close(
    "random 4-regular graph of 4,096, mean of 3: gap is 1 − (1 + 2√3)/5", limit, regular[-1], rel=0.02
)
dict(zip((256, 1024, 4096), np.round(regular, 4).tolist(), strict=True)), round(limit, 4)

# %% [markdown]
# ## Claims

# %%
claims
