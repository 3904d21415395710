# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 05 Finite-time and time-varying graphs
#
# A graph may change from round to round. That can be a gift: a sequence of sparse graphs may average *exactly*
# after finitely many rounds, which no fixed symmetric matrix but $J$ itself does. It can be a nuisance: links come
# and go. And it can be a tool: random sparse graphs average as fast as dense fixed ones.
#
# Symbols: $W^{(t)}$ the matrix of round $t$, $J = 11^\top/n$. For doubly stochastic matrices the worst factor on
# $\|X - \bar X\|$ over all starts after $k$ rounds is $\|W^{(k-1)} \cdots W^{(0)} - J\|_2$, in dlax
# `theory.contraction`. Runs are in float64.

# %%
# %matplotlib inline
import numpy as np
import pandas as pd

from dlax import theory
from dlax import topology as tp
from dlax.algorithms import dsgd, gossip
from dlax.claims import Claims
from dlax.plots import COLOURS, DASHES, MARKERS, blank, frame
from dlax.problems import average, average_of, quadratic
from dlax.simulate import simulate

claims = Claims()


def distance(problem, topology, rounds, every=1, seeds=1):
    """(1/n) Σᵢ ‖xᵢ − x̄₀‖² by round and seed, relative to the start."""
    table = simulate(
        gossip, problem, topology, rounds=rounds, eval_every=every, seeds=seeds, precision="float64"
    ).to_pandas()
    curves = table.pivot(index="round", columns="seed", values="distance")
    return curves / curves.iloc[0]


def sent(topology):
    """Messages a node sends in a round, on average over nodes and the period."""
    return np.mean([(W.nnz - np.count_nonzero(W.diagonal())) / topology.n for W in topology.matrices])


# %% [markdown]
# ## Exact averages in finitely many rounds
#
# **Theorem** (Ying et al. 2021). In the one-peer exponential graph node $i$ averages in round $t$ with node
# $i + 2^{t \bmod q}$, $q = \lceil \log_2 n \rceil$. If $n = 2^q$ then $q$ rounds average exactly. For no other $n$
# is the product of finitely many rounds equal to $J$: the entries of a product of matrices with entries 0 and
# $\frac12$ are multiples of powers of $\frac12$, and $1/n$ is not.
#
# **Theorem** (Takezawa et al. 2023). For every $n$ and $k \ge 1$ the Base-$(k+1)$ graph, of degree at most $k$ in
# every round, averages exactly after at most $2 \log_{k+1} n + 2$ rounds.

# %%
sizes = np.arange(2, 34)
one_peer = []
for size in sizes:
    graph = tp.one_peer_exponential(int(size))
    one_peer.append(theory.contraction(graph, graph.period))
one_peer = np.array(one_peer)
powers = (sizes & (sizes - 1)) == 0

many = np.arange(2, 65)
lengths, residue = {}, {}
for degree in (1, 2, 3):
    graphs = [tp.base_graph(int(size), degree=degree) for size in many]
    lengths[degree] = np.array([graph.period for graph in graphs])
    residue[degree] = max(theory.contraction(graph, graph.period) for graph in graphs)

figure, panels = blank(9.4, 3.8, 1, 2)
panels[0].semilogy(sizes, np.maximum(one_peer, 1e-17), "o", color=COLOURS[0], ms=4)
frame(
    panels[0],
    "nodes n",
    "worst factor after q = ⌈log₂ n⌉ rounds",
    "one-peer exponential (10⁻¹⁷ stands for 0)",
)
for number, (degree, length) in enumerate(lengths.items(), 1):
    panels[1].plot(many, length, MARKERS[number], color=COLOURS[number], ms=3, label=f"Base-{degree + 1}")
    bound = 2 * np.log(many) / np.log(degree + 1) + 2
    panels[1].plot(many, bound, color=COLOURS[number], ls=DASHES[1], lw=1)
panels[1].plot(many, np.ceil(np.log2(many)), color=COLOURS[0], lw=1.2, label="one-peer: one period")
panels[1].set_ylim(0, 17)
frame(panels[1], "nodes n", "rounds until exact", "dashed: the bound 2 log n / log(k + 1) + 2")
panels[1].legend(fontsize=8, frameon=False, ncols=2)
figure

# %%
claims.at_most(
    "one-peer exponential, n = 2, 4, ..., 32: worst factor after q rounds (exact: rounding)",
    1e-15,
    one_peer[powers].max(),
)
claims.at_least(
    "one-peer exponential, other n ≤ 33: least worst factor after q rounds (not exact)",
    1e-2,
    one_peer[~powers].min(),
)
for degree, length in lengths.items():
    claims.at_most(
        f"Base-{degree + 1} graph, n = 2 ... 64: worst factor after one period (exact: rounding)",
        1e-13,
        residue[degree],
    )
    claims.at_most(
        f"Base-{degree + 1} graph, n = 2 ... 64: largest length / (2 log n / log {degree + 1} + 2)",
        1.0,
        (length / (2 * np.log(many) / np.log(degree + 1) + 2)).max(),
    )

# %% [markdown]
# The run on 25 nodes, which is neither a power of 2 nor of 3. All sequences are doubly stochastic; "messages"
# counts those that a node sends in a round.

# %%
n = 25
graphs = {
    "ring": tp.ring(n),
    "static exponential": tp.static_exponential(n),
    "one-peer": tp.one_peer_exponential(n),
    "Base-2": tp.base_graph(n, degree=1),
    "Base-3": tp.base_graph(n, degree=2),
}
problem = average(n, dim=8)
curves = {name: distance(problem, graph, 30)[0] for name, graph in graphs.items()}

figure, (axes,) = blank(6.4, 4.0)
for number, (name, curve) in enumerate(curves.items()):
    label = f"{name}: {sent(graphs[name]):.2g} messages"
    axes.semilogy(curve, marker=MARKERS[number], ms=3, lw=1, color=COLOURS[number], label=label)
axes.set_ylim(1e-33, 3)
frame(axes, "round", "squared distance to the mean, relative", "gossip on 25 nodes")
axes.legend(fontsize=8, frameon=False, loc="lower right", bbox_to_anchor=(1, 0.05))
figure

# %%
for name in ("Base-2", "Base-3"):
    period = graphs[name].period
    claims.at_most(
        f"run on 25 nodes, {name}: relative error after {period} rounds (rounding)",
        1e-15,
        np.sqrt(curves[name][period]),
    )
    claims.at_least(
        f"run on 25 nodes, {name}: relative error one round earlier", 1e-3, np.sqrt(curves[name][period - 1])
    )
expected = theory.contraction(graphs["one-peer"], 30)
claims.at_most(
    "run on 25 nodes, one-peer: error after 30 rounds over the worst factor",
    1.0,
    np.sqrt(curves["one-peer"][30]) / expected,
)

# %% [markdown]
# ## What that is worth to D-SGD
#
# D-SGD mixes one round of the sequence after each gradient step. With different $f_i$ its steady error is a bias of
# order $\text{lr}^2$. On quadratics it is exact linear algebra, also over a cyclic sequence (`theory.dsgd`, where
# one application is a whole period). The bias is made of what has *not yet* been averaged: the gradients of the
# last few rounds. Over a sequence it goes up and down within a period, and what counts is its mean over the period.

# %%
quad = quadratic(n, dim=8, condition=4.0, heterogeneity=1.0)
known = theory.quadratic_of(quad)
steps = [0.2, 0.05]
length, every = 1_792, 7  # 7 is prime to all periods: evaluations meet every round of a period
runs, theories = {}, {}
for name, graph in graphs.items():
    table = simulate(
        dsgd, quad, graph, rounds=length, eval_every=every, precision="float64", hyper={"lr": steps}
    ).to_pandas()
    runs[name] = table.pivot(index="round", columns="lr", values="distance")
    theories[name] = {lr: theory.dsgd(quad, graph, lr=lr) for lr in steps}


def steady(name, lr):
    """The error in the long run after 0, 1, ..., L − 1 rounds of a period, from the fixed point on."""
    x, graph, out = theories[name][lr].limit.reshape(n, -1), graphs[name], []
    for t in range(graph.period):
        out.append(np.mean(np.sum((x - known.optimum) ** 2, axis=1)))
        gradient = np.einsum("nij,nj->ni", known.A, x) + known.b
        x = graph.dense(t) @ (x - lr * gradient)
    return np.array(out)


figure, panels = blank(9.4, 3.9, 1, 2, sharey=True)
for number, (name, graph) in enumerate(graphs.items()):
    table = simulate(
        dsgd, quad, graph, rounds=90, eval_every=1, precision="float64", hyper={"lr": steps}
    ).to_pandas()
    curve = table[table["lr"] == 0.2].set_index("round")["distance"]
    exact = theories[name][0.2].distances(90)
    for axes, unit in zip(panels, (1.0, sent(graph)), strict=True):
        axes.semilogy(curve.index * unit, curve, color=COLOURS[number], lw=2, alpha=0.5, label=name)
        t = np.arange(len(exact)) * graph.period
        shown = t % max(5, graph.period) == 0
        axes.semilogy(t[shown] * unit, exact[shown], MARKERS[number], ms=3.5, color=COLOURS[number])
frame(
    panels[0], "rounds", "(1/n) Σᵢ ‖xᵢ − x*‖²", "lr 0.2; lines: run, markers: predicted after whole periods"
)
frame(panels[1], "messages sent per node", "", "the same against messages")
panels[1].set_xlim(-4, 120)
panels[0].legend(fontsize=8, frameon=False, loc="upper right", bbox_to_anchor=(1, 0.78), ncols=2)
figure

# %%
rows, apart = [], []
for name, graph in graphs.items():
    last = runs[name].iloc[-graph.period :]  # every round of a period once
    for lr in steps:
        apart.append(np.abs(last[lr] / steady(name, lr)[last.index % graph.period] - 1).max())
    rows.append([name, graph.period, sent(graph), *last.mean(), steady(name, 0.05)[0]])
claims.at_most(
    "D-SGD, five graphs, two lr: run against steady error, in every round of a period, largest |ratio − 1|",
    1e-6,
    max(apart),
)
columns = ["graph", "period", "messages", *[f"lr {lr}" for lr in sorted(steps)], "lr 0.05, end of period"]
pd.DataFrame(rows, columns=columns)

# %% [markdown]
# At equal *rounds* the static exponential graph, with five messages, is far ahead. At equal *messages* the sparse
# sequences catch up: below, each graph has a budget of messages and the better of the two step sizes.

# %%
budgets = [50, 200, 800]


def best(name, budget):
    """The least error of a run within a budget of messages per node."""
    return runs[name].loc[int(budget / sent(graphs[name])) // every * every].min()


mean = {name: runs[name][0.05].iloc[-graph.period :].mean() for name, graph in graphs.items()}
claims.at_least(
    "D-SGD, lr 0.05: Base-2 over one-peer, mean over a period, though Base-2 is exact",
    1.0,
    mean["Base-2"] / mean["one-peer"],
)
claims.at_most(
    "D-SGD, lr 0.05: Base-3 over one-peer, mean over a period", 1.0, mean["Base-3"] / mean["one-peer"]
)
claims.at_most("D-SGD, lr 0.05: Base-2 over the ring, mean over a period", 0.1, mean["Base-2"] / mean["ring"])
index = [f"{budget} messages" for budget in budgets]
pd.DataFrame({name: [best(name, budget) for budget in budgets] for name in graphs}, index=index).T

# %% [markdown]
# One would expect Base-2 to be ahead of the one-peer exponential graph at $n = 25$, since it alone is exact. In
# D-SGD's bias it is **behind**, with about as many messages; the exact prediction says the same. Over eight other
# draws of the quadratics the ratio of the means over a period was 1.4 to 2.3. In Base-2 parts of the network first
# average among themselves and hear of the others late in the period; the bias grows meanwhile. With one more
# neighbour, Base-3 is ahead (0.6 to 0.95). Right after a period both look better, which is why the mean over the
# period is compared; the budgets above are single rounds. Exactness shows in consensus itself, in the first part.
#
# ## Random sequences
#
# Let the matrices be drawn independently. One number bounds a round:
# $E \|W x - \bar x 1\|^2 \le \rho^2 \|x - \bar x 1\|^2$ with $\rho^2 = \|E[W^\top W] - J\|_2$ (Boyd et al. 2006).
#
# **Random pairwise gossip.** In a tick one edge, drawn uniformly from $E$, averages its two ends. $W$ is then a
# projection, hence $E[W^\top W] = E[W] = I - L / (2 |E|)$ with the Laplacian $L$, and
#
# $$\rho^2 = 1 - \frac{\lambda_2(L)}{2 |E|} .$$
#
# For the first tick from the eigenvector of $\lambda_2$ this is an equality. Later it is loose, since ticks rotate
# the vector out of the slowest direction. The exact second moment $P_t = E\, x_t x_t^\top$ follows the linear
# recursion $P_{t+1} = \frac{1}{|E|} \sum_e W_e P_t W_e$.

# %%
n, ticks, seeds = 16, 250, 1_000
pairwise = tp.random_pairwise(n, base=tp.ring)
edges = pairwise.edges[pairwise.edges[:, 0] < pairwise.edges[:, 1]]
difference = np.zeros((len(edges), n))
difference[np.arange(len(edges)), edges[:, 0]], difference[np.arange(len(edges)), edges[:, 1]] = 1, -1
laplacian = difference.T @ difference
second = np.linalg.eigh(laplacian)
factor = 1 - second[0][1] / (2 * len(edges))
slow = second[1][:, [1]]

matrices = np.eye(n) - 0.5 * difference[:, :, None] * difference[:, None, :]
P, exact = slow @ slow.T, [1.0]
for _ in range(ticks):
    P = np.mean(matrices @ P @ matrices, axis=0)
    exact.append(np.trace(P))
exact = np.array(exact)
problem = average_of(slow)
curves = distance(problem, pairwise, ticks, every=5, seeds=seeds)
first = distance(problem, pairwise, 1, seeds=seeds).loc[1]

figure, (axes,) = blank(6.4, 4.0)
t = curves.index.to_numpy()
axes.fill_between(
    t, curves.quantile(0.1, axis=1), curves.quantile(0.9, axis=1), color=COLOURS[0], alpha=0.2, lw=0
)
axes.semilogy(
    t, curves.mean(axis=1), "o", ms=3, color=COLOURS[0], label=f"mean of {seeds} runs; band: 10 to 90 %"
)
axes.semilogy(exact, color=COLOURS[0], lw=1, label="exact expectation")
axes.semilogy(factor ** np.arange(ticks + 1), color=COLOURS[1], ls=DASHES[1], label="bound (1 − λ₂ / 2|E|)^t")
frame(
    axes,
    "tick t",
    "‖x − x̄‖², relative",
    "random pairwise gossip on the ring of 16, from the slowest eigenvector",
)
axes.legend(fontsize=8, frameon=False)
figure

# %%
error = curves.std(axis=1, ddof=1) / np.sqrt(seeds)
claims.close(
    "random pairwise, ring of 16: first tick is 1 − λ₂/(2|E|) (4 standard errors)",
    factor,
    first.mean(),
    abs=4 * first.std(ddof=1) / np.sqrt(seeds),
)
claims.close(
    "random pairwise: the topology's own ρ² is that", factor, (1 - pairwise.spectral_gap) ** 2, rel=1e-9
)
claims.at_most(
    "random pairwise: mean of runs to exact expectation, in standard errors, largest of 50 ticks",
    4.0,
    np.abs((curves.mean(axis=1) - exact[t]) / error)[1:].max(),
)
claims.at_most(
    "random pairwise: exact expectation over the bound, largest of 250 ticks",
    1 + 1e-9,
    (exact / factor ** np.arange(ticks + 1)).max(),
)

# %% [markdown]
# **Sequences without a slow direction.** Where $E[W^\top W]$ is a multiple of $I$ on the vectors of mean zero,
# every direction shrinks alike and $E \|x_t - \bar x\|^2 = \rho^{2t} \|x_0 - \bar x\|^2$ **exactly**, from every
# start. So it is for
#
# * random perfect matchings of the complete graph (even $n$): $\rho^2 = 1 - \frac{n}{2(n-1)}$;
# * OD-EquiDyn (Song et al. 2022), one random shift for all: $\rho^2 = \frac{n-1}{2n}$;
# * an Erdős-Rényi graph redrawn every round (Metropolis weights): no closed form, but exact sums in dlax.
#
# The first two send one message per node and round, at a rate that does **not** get worse with $n$. The static
# exponential graph sends $\lceil \log_2 n \rceil$, and its factor still tends to 1.

# %%
ISOTROPIC = {
    "random matching": tp.random_matching,
    "OD-EquiDyn": lambda n: tp.equi_dyn(n, directed=True),
    "redrawn Erdős-Rényi": tp.redrawn_erdos_renyi,
}
FORMULA = {"random matching": lambda n: 1 - n / (2 * (n - 1)), "OD-EquiDyn": lambda n: (n - 1) / (2 * n)}
measured, deviations = {}, []
for name, make in ISOTROPIC.items():
    for size in {"random matching": (16, 128), "OD-EquiDyn": (128,)}.get(name, (32,)):
        graph = make(size)
        rho2 = (1 - graph.spectral_gap) ** 2
        if name in FORMULA:
            claims.close(
                f"{name}, n = {size}: ρ² of the topology is the closed form",
                FORMULA[name](size),
                rho2,
                rel=1e-9,
            )
        curves = distance(average(size, dim=8), graph, 5, seeds=400)
        deviation = curves.sub(rho2 ** curves.index.to_numpy(), axis=0)
        deviations.append((deviation.mean(axis=1).abs() / (deviation.std(axis=1, ddof=1) / 20))[1:].max())
        measured[name, size] = curves.mean(axis=1).to_numpy()[-1] ** (1 / 5)

figure, (axes,) = blank(6.4, 4.0)
line = [8, 32, 128, 512]
for number, (name, make) in enumerate(ISOTROPIC.items()):
    axes.semilogx(line, [(1 - make(size).spectral_gap) ** 2 for size in line], color=COLOURS[number], lw=1)
    found = {size: value for (which, size), value in measured.items() if which == name}
    axes.semilogx(found.keys(), found.values(), MARKERS[number], color=COLOURS[number], label=name)
for number, (name, make) in enumerate(
    {"ring": tp.ring, "static exponential": tp.static_exponential}.items(), 3
):
    axes.semilogx(
        line,
        [(1 - make(size).spectral_gap) ** 2 for size in line],
        color=COLOURS[number],
        ls=DASHES[1],
        label=name,
    )
frame(
    axes,
    "nodes n",
    "factor ρ² on ‖x − x̄‖² a round",
    "markers: mean of 400 runs over 5 rounds, lines: ρ² of the topology",
)
axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(0.4, 0.92))
figure

# %%
claims.at_most(
    "matching, OD-EquiDyn, Erdős-Rényi, four cases: mean of 400 runs to ρ^(2t), in standard errors, largest",
    4.0,
    max(deviations),
)

# %% [markdown]
# ## Graphs that are connected only over a window
#
# Let no single round be connected, but the union of any $B$ rounds in a row ("B-connected", Nedić, Olshevsky 2015).
# A single round then need not contract at all: its worst factor is 1. A window of $B$ rounds does. Here the 16
# edges of a ring are dealt out at random over $B$ rounds, which repeat. Lines: the worst factor over all starts, a
# singular value of the product. Markers: the run from the start that is worst for 96 rounds.

# %%
n, rounds = 16, 96
windows = [1, 2, 4, 8]
figure, (axes,) = blank(6.4, 4.0)
rows = []
for number, B in enumerate(windows):
    graph = tp.b_connected(n, base=tp.ring, window=B, seed=1)
    product, worst = np.eye(n), [1.0]
    for t in range(rounds):
        product = graph.dense(t) @ product
        worst.append(np.linalg.norm(product - 1 / n, 2))
    hardest = np.linalg.svd(product - 1 / n)[2][0][:, None]
    run = np.sqrt(distance(average_of(hardest), graph, rounds, every=8)[0])
    axes.semilogy(worst, color=COLOURS[number], lw=1)
    axes.semilogy(run, MARKERS[number], ms=4, color=COLOURS[number], label=f"B = {B}")
    single = max(np.linalg.norm(graph.dense(t) - 1 / n, 2) for t in range(B))
    rows.append([B, single, worst[B], 1 - graph.spectral_gap, worst[rounds], run[rounds]])
frame(
    axes,
    "round",
    "worst factor on ‖X − X̄‖",
    "the edges of a ring of 16 in turn; lines: predicted, markers: runs",
)
axes.legend(fontsize=9, frameon=False)
figure

# %%
table = pd.DataFrame(
    rows, columns=["B", "worst single round", "worst window", "ρ per round", "predicted, 96 rounds", "run"]
)
claims.at_most(
    "b_connected, B = 1, 2, 4, 8: run from the worst start over prediction, 96 rounds, largest |ratio − 1|",
    1e-6,
    (table["run"] / table["predicted, 96 rounds"] - 1).abs().max(),
)
claims.close(
    "b_connected, B = 2, 4, 8: least worst factor of a single round, no progress",
    1.0,
    table["worst single round"][1:].min(),
    abs=1e-12,
)
claims.at_most(
    "b_connected: largest worst factor of a window of B rounds, progress", 0.99, table["worst window"].max()
)
table.round(4)

# %% [markdown]
# ## MATCHA: fewer links on average
#
# MATCHA (Wang, Sahu, Yang, Joshi, Kar 2019) splits the edges of a graph into matchings, with Laplacians $L_j$.
# Matching $j$ is switched on with probability $p_j$, independently in each round: $W = I - \alpha \sum_j B_j L_j$.
# The probabilities maximise $\lambda_2(\sum_j p_j L_j)$ for a budget $\sum_j p_j \le b M$, and $\alpha$ then
# minimises
#
# $$\rho^2 = \|I - 2 \alpha \bar L + \alpha^2 (\bar L^2 + 2 \tilde L) - J\|_2, \qquad \bar L = \sum_j p_j L_j, \quad
#   \tilde L = \sum_j p_j (1 - p_j) L_j .$$
#
# Against it: $p_j = b$ for all, with its own best $\alpha$. The budget counts *matchings*, that is time, since the
# pairs of a matching talk at once. Matchings differ in size, so the pictures have the share of *edges* that are on.
# (Needs the extra "theory".)
#
# The run, on the geometric graph: mean of 400 seeds over 20 rounds, against the exact second moment
# $P \leftarrow (I - \alpha \bar L) P (I - \alpha \bar L) + \alpha^2 \sum_j p_j (1 - p_j) L_j P L_j$.

# %%
n = 16
BUDGETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
BASES = {"random geometric": lambda n: tp.random_geometric(n, seed=3), "barbell": tp.barbell}


def split(graph):
    """Laplacians [M, n, n] of the matchings of a graph, and the number of edges of each [M]."""
    parts = tp.edge_matchings(graph.n, graph.edges[graph.edges[:, 0] < graph.edges[:, 1]])
    laplacians = np.zeros((len(parts), graph.n, graph.n))
    for L, part in zip(laplacians, parts, strict=True):
        for i, j in part:
            L[[i, j], [i, j]] += 1
            L[[i, j], [j, i]] -= 1
    return laplacians, np.array([len(part) for part in parts])


found = {}
for name, base in BASES.items():
    laplacians, sizes = split(base(n))
    for budget in BUDGETS:
        even = np.full(len(sizes), budget)
        optimal = tp.activation_probabilities(laplacians, budget)
        for kind, p in (("optimised", optimal), ("all alike", even)):
            found[name, kind, budget] = (p @ sizes / sizes.sum(), tp.best_mixing(laplacians, p)[1], p)

figure, panels = blank(9.4, 3.8, 1, 2)
for axes, name in zip(panels, BASES, strict=True):
    for number, kind in enumerate(("optimised", "all alike")):
        share, rho2 = zip(*(found[name, kind, budget][:2] for budget in BUDGETS), strict=True)
        axes.plot(share, rho2, marker=MARKERS[number], ms=4, color=COLOURS[number], lw=1.2, label=kind)
    frame(axes, "share of edges that are on", "ρ² a round", f"{name} of {n}, budget 0.1 to 1")
    axes.legend(fontsize=9, frameon=False)
figure

# %%
problem = average(n, dim=8)
start = problem.starts["x"] - problem.starts["x"].mean(axis=0)
laplacians, sizes = split(BASES["random geometric"](n))
off, agree = [], []
for budget in (0.1, 0.3, 0.5):
    graph = tp.matcha(n, base=BASES["random geometric"], budget=budget)
    p = found["random geometric", "optimised", budget][2]
    alpha, rho2 = tp.best_mixing(laplacians, p)
    agree.append(abs((1 - graph.spectral_gap) ** 2 - rho2))
    mean, P, exact = np.eye(n) - alpha * np.tensordot(p, laplacians, 1), start @ start.T, []
    for _ in range(21):
        exact.append(np.trace(P))
        P = mean @ P @ mean + alpha**2 * np.tensordot(p * (1 - p), laplacians @ P @ laplacians, 1)
    exact = np.array(exact) / exact[0]
    curves = distance(problem, graph, 20, every=4, seeds=400)
    spread = curves.std(axis=1, ddof=1) / 20
    off.append(((curves.mean(axis=1) - exact[::4]).abs() / spread)[1:].max())
claims.at_most(
    "MATCHA, budget 0.1, 0.3, 0.5: mean of 400 runs to exact expectation, in standard errors, largest",
    4.0,
    max(off),
)
claims.at_most(
    "MATCHA, budget 0.1, 0.3, 0.5: ρ² of the topology to the formula, largest difference (solver)",
    1e-6,
    max(agree),
)
for name in BASES:
    ratio = [(1 - found[name, "optimised", b][1]) / (1 - found[name, "all alike", b][1]) for b in BUDGETS]
    claims.at_least(
        f"MATCHA, {name}: 1 − ρ² of optimised over equal probabilities at the same budget, least",
        1 - 1e-6,
        min(ratio),
    )
full = found["barbell", "optimised", 1.0]
claims.at_most(
    "MATCHA, barbell: ρ² at budget 0.5 over ρ² with all edges on (best constant weight)",
    1.0,
    found["barbell", "optimised", 0.5][1] / full[1],
)
claims.at_most("MATCHA, barbell: share of edges on at budget 0.5", 0.5, found["barbell", "optimised", 0.5][0])

# %% [markdown]
# On the barbell one matching is the bridge. It is switched on most often, and half the budget averages as fast as
# all edges with the best constant weight: that weight is bound by the largest eigenvalue of the cliques. On the
# geometric graph the optimised probabilities favour large matchings: at the same budget they win, at the same
# number of *edges* they do not.
#
# ## Claims

# %%
claims
