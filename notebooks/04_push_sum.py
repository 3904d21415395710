# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 04 Directed graphs and push-sum
#
# On a directed graph to hear somebody is not to be heard by them. A node can make its own *row* of $W$ sum to one,
# since it knows whom it hears; or its own *column*, if it knows how many hear it. Nobody alone can make $W$ doubly
# stochastic. This notebook shows what each half is worth, what push-sum makes of the second, and what lost messages
# do to it.
#
# Conventions: $n$ nodes; $W_{ij}$ is the weight that $i$ gives to what $j$ sent; $\bar x$ is the mean of the start.
# The graph: 20 nodes, each sends to 3 others at random, strongly connected. How many a node hears varies from 1 to
# 6. Runs are in float64.

# %%
# %matplotlib inline
import jax
import numpy as np
import pandas as pd

from dlax import theory
from dlax import topology as tp
from dlax.algorithms import dsgd, gossip, gradient_tracking, push_sum
from dlax.channel import linear, running_sums
from dlax.claims import Claims
from dlax.plots import COLOURS, DASHES, MARKERS, blank, frame
from dlax.problems import average, average_of, quadratic
from dlax.simulate import simulate, unroll

claims = Claims()
n = 20
rows = tp.random_directed(n, degree=3, seed=1)  # 1 / (1 + number heard) for each heard and oneself
columns = tp.random_directed(n, degree=3, seed=1, weights=tp.push())  # 1 / (1 + number of hearers)
rows, columns

# %% [markdown]
# ## Rows: consensus on the wrong value
#
# **Theorem** (Perron, Frobenius). Let $W$ be row stochastic, strongly connected, with positive diagonal, and $\pi$
# its left Perron vector: $\pi^\top W = \pi^\top$, $\sum_i \pi_i = 1$. Then $\pi > 0$, $W^t \to 1 \pi^\top$ at the
# rate $|\lambda_2(W)|$, and gossip $x \leftarrow W x$ tends to $\pi^\top x_0$ at every node. That is the mean only
# if $\pi$ is uniform, that is if $W$ is doubly stochastic.
#
# ## Columns: the sum is kept, consensus is not reached
#
# For $W = P$ column stochastic it is the other way round: $1^\top P = 1^\top$ keeps the sum, and $P^t \to v 1^\top$
# with $v$ the *right* Perron vector: node $i$ tends to $v_i \sum_j x_{0j}$.
#
# ## Push-sum: divide what is wrong by how wrong it is
#
# **Theorem** (Kempe, Dobra, Gehrke 2003; Bénézit et al. 2010). Run $s \leftarrow P s$ from $s_0 = x_0$ beside
# $w \leftarrow P w$ from $w_0 = 1$. Then $z_i = s_i / w_i \to v_i \sum_j x_{0j} / (v_i n) = \bar x$ at the rate
# $|\lambda_2(P)|$.
#
# No node needs to know $n$ or $v$; it needs to know how many hear it.


# %%
def perron(W):
    """The left Perron vector, sum 1."""
    values, vectors = np.linalg.eig(W.T)
    leading = np.real(vectors[:, np.argmax(values.real)])
    return leading / leading.sum()


problem = average(n, dim=4)
start = problem.starts["x"]
pi, v = perron(rows.dense()), perron(columns.dense().T)
limits = {
    "rows": np.tile(pi @ start, (n, 1)),
    "columns": np.outer(v, start.sum(axis=0)),
    "push-sum": np.tile(start.mean(axis=0), (n, 1)),
}
results = {
    "rows": simulate(gossip, problem, rows, rounds=60, eval_every=1, precision="float64"),
    "columns": simulate(gossip, problem, columns, rounds=60, eval_every=1, precision="float64"),
    "push-sum": simulate(push_sum, problem, columns, rounds=60, eval_every=1, precision="float64"),
}

figure, panels = blank(9.4, 3.8, 1, 2, sharey=True)
for axes, metric, label in zip(
    panels, ("consensus", "distance"), ("disagreement", "distance to the mean"), strict=True
):
    for number, (name, result) in enumerate(results.items()):
        table = result.to_pandas()
        axes.semilogy(
            table["round"], table[metric], color=COLOURS[number], ls=DASHES[number], lw=1.8, label=name
        )
    note = (
        "(1/n) Σᵢ ‖xᵢ − mean of all xᵢ‖²" if metric == "consensus" else "(1/n) Σᵢ ‖xᵢ − mean of the start‖²"
    )
    frame(axes, "round", label, note)
panels[0].set_ylim(1e-30, 30)
panels[0].legend(fontsize=9, frameon=False)
figure

# %% [markdown]
# Rows: perfect agreement (left), on a wrong value (right). Columns: neither. Push-sum: both. The limits, computed
# from the Perron vectors, and the rates:


# %%
def slope(curve):
    """The factor per round, by least squares on the log over the rounds from 1e-4 to 1e-24 of the start."""
    curve = np.asarray(curve)
    t = np.flatnonzero((curve < 1e-4 * curve[0]) & (curve > 1e-24 * curve[0]))
    return np.exp(np.polyfit(t, np.log(curve[t]), 1)[0] / 2)


for name, result in results.items():
    claims.at_most(
        f"{name}: largest distance to the limit by Perron vectors after 60 rounds (rate⁶⁰ of the start)",
        20 * (1 - (rows if name == "rows" else columns).spectral_gap) ** 60,
        np.abs(result.params["x"][0] - limits[name]).max(),
    )
claims.close(
    "rows: disagreement shrinks by |λ₂(W)| (2 %: least squares)",
    1 - rows.spectral_gap,
    slope(results["rows"].to_pandas()["consensus"]),
    rel=0.02,
)
claims.close(
    "push-sum: the error shrinks by |λ₂(P)| (2 %: least squares)",
    theory.push_sum_rate(columns),
    slope(results["push-sum"].to_pandas()["distance"]),
    rel=0.02,
)
claims.at_most(
    "columns: relative change of the sum over nodes in 60 rounds",
    1e-13,
    np.abs(results["columns"].params["x"][0].sum(axis=0) / start.sum(axis=0) - 1).max(),
)
power = np.linalg.matrix_power(columns.dense(), 60)
claims.at_most(
    "push-sum: distance of the run to Pᵗx₀ / Pᵗ1 in dense float64",
    1e-13,
    np.abs(results["push-sum"].params["x"][0] - (power @ start) / power.sum(axis=1, keepdims=True)).max(),
)

# %% [markdown]
# ## D-SGD over rows: the wrong problem, solved well
#
# D-SGD is $x_i \leftarrow \sum_j W_{ij} (x_j - \text{lr} \nabla f_j(x_j))$. Multiply by $\pi^\top$: the weighted
# mean $\sum_i \pi_i x_i$ moves along $-\text{lr} \sum_i \pi_i \nabla f_i(x_i)$, and disagreement is of order lr. So
# as lr $\to 0$ the nodes agree on $x^\pi = \arg\min \sum_i \pi_i f_i$, not on $x^* = \arg\min \frac1n \sum_i f_i$.
# A smaller step does not help.
#
# For quadratics the fixed point is linear algebra at every lr (`theory.dsgd`). Dots: runs of 4,000 rounds, no
# gradient noise.
#
# **Repair.** A nonnegative matrix with positive diagonal and strongly connected support can be scaled by two
# diagonal matrices, uniquely, to a doubly stochastic one of the same support (Sinkhorn, Knopp 1967). With the
# weights `sinkhorn` the error is D-SGD's usual bias of order $\text{lr}^2$. The price: the scaling needs the whole
# graph, and the gap may shrink.

# %%
balanced = tp.random_directed(n, degree=3, seed=1, weights=tp.sinkhorn())
quad = quadratic(n, dim=5, condition=4.0, heterogeneity=1.0)
known = theory.quadratic_of(quad)
weighted = np.linalg.solve(np.einsum("i,ijk->jk", pi, known.A), -pi @ known.b)
wrong = np.sum((weighted - known.optimum) ** 2)

steps = [0.5, 0.2, 0.1, 0.05, 0.02, 0.01]
graphs = {"rows": rows, "sinkhorn": balanced}
predicted = {
    name: np.array([theory.dsgd(quad, graph, lr=lr).steady_distance for lr in steps])
    for name, graph in graphs.items()
}
steady, apart = {}, {}
for name, graph in graphs.items():
    result = simulate(
        dsgd, quad, graph, rounds=4_000, eval_every=4_000, precision="float64", hyper={"lr": steps}
    )
    table = result.to_pandas()
    steady[name] = table[table["round"] == 4_000].set_index("lr")["distance"][steps].to_numpy()
    apart[name] = np.abs(steady[name] / predicted[name] - 1).max()

figure, (axes,) = blank(6.4, 4.0)
for number, name in enumerate(graphs):
    axes.loglog(steps, steady[name], MARKERS[number], color=COLOURS[number], label=f"weights: {name}")
    axes.loglog(steps, predicted[name], color=COLOURS[number], lw=1)
axes.axhline(wrong, color="#666666", ls=DASHES[1], lw=1, label="‖x^π − x*‖²")
frame(axes, "step size lr", "(1/n) Σᵢ ‖xᵢ − x*‖² in the end", "markers: runs, lines: theory.dsgd")
axes.legend(fontsize=9, frameon=False)
figure

# %%
for name in graphs:
    claims.at_most(
        f"D-SGD, {name}: run of 4,000 rounds over predicted fixed point, six lr, largest |ratio − 1|",
        1e-6,
        apart[name],
    )
tiny = theory.dsgd(quad, rows, lr=1e-4)
claims.close(
    "D-SGD, rows: squared distance to x* at lr 0.01 is ‖x^π − x*‖² (5 %: order lr)",
    wrong,
    steady["rows"][-1],
    rel=0.05,
)
claims.at_most(
    "D-SGD, rows: relative distance of the fixed point at lr 1e-4 to x^π (order lr)",
    1e-2,
    np.abs(tiny.limit.reshape(n, -1) - weighted).max() / np.linalg.norm(weighted - known.optimum),
)
small = slice(-3, None)
claims.close(
    "D-SGD, sinkhorn: squared error falls as lr to the power (lr ≤ 0.05)",
    2.0,
    np.polyfit(np.log(steps[small]), np.log(steady["sinkhorn"][small]), 1)[0],
    abs=0.1,
)
pd.Series(
    {
        "ρ of rows": 1 - rows.spectral_gap,
        "ρ of sinkhorn": 1 - balanced.spectral_gap,
        "|λ₂| of push": theory.push_sum_rate(columns),
    }
).round(3)

# %% [markdown]
# Gradient tracking relies on both sums: the rows keep consensus, the columns keep $\sum_i y_i = \sum_i \nabla f_i$.
# Over rows alone it would settle on a wrong point without a sign of it, so it refuses the graph:

# %%
try:
    simulate(gradient_tracking, quad, rows, rounds=10)
except ValueError as refusal:
    print(refusal)
    refused = "gradient_tracking" in str(refusal) and "doubly stochastic" in str(refusal)
claims.at_least("gradient tracking refuses the row-stochastic graph by name (1: yes)", 1, refused)

# %% [markdown]
# ## Lossy links
#
# Every message is lost with probability 0.3, independently. A sender of push-sum gives its mass away; what becomes
# of the mass of a lost message decides everything:
#
# * **gone**: nobody knows, the mass is lost. $s$ and $w$ lose alike, so the ratios still agree, but on
#   $\sum_i a_i x_{0i}$ with random weights $a_i \ge 0$, $\sum_i a_i = 1$.
# * **sender**: links acknowledge, and the sender keeps the mass. Every round has a column-stochastic matrix, so the
#   mean is reached.
# * **running sums** (Vaidya, Hadjicostis, Domínguez-García 2011): a node sends the *sum* of all it has sent so far;
#   who hears it takes the difference to what it heard last. No acknowledgements. What is lost waits in the link.
#
# We start from the $n$ unit vectors at once ($X_0 = I$): then row $i$ of the result *is* the vector of weights $a$
# that node $i$ gives to the starts. 300 seeds.

# %%
drop, seeds = 0.3, 300
channels = {
    "gone": linear(drop=drop, lost="gone"),
    "sender": linear(drop=drop, lost="sender"),
    "running sums": running_sums(drop=drop),
}
units = average_of(np.eye(n))


def lossy(channel, graph):
    return simulate(
        push_sum, units, graph, rounds=200, eval_every=5, seeds=seeds, channel=channel, precision="float64"
    )


lost = {name: lossy(channel, columns) for name, channel in channels.items()}

figure, (axes,) = blank(6.4, 4.0)
for number, (name, result) in enumerate(lost.items()):
    curves = result.to_pandas().pivot(index="round", columns="seed", values="distance")
    axes.fill_between(
        curves.index, curves.min(axis=1), curves.max(axis=1), color=COLOURS[number], alpha=0.2, lw=0
    )
    axes.semilogy(
        curves.index,
        curves.median(axis=1),
        color=COLOURS[number],
        ls=DASHES[number],
        label=f"lost mass: {name}",
    )
axes.set_ylim(1e-34, 30)
frame(
    axes,
    "round",
    "(1/n) Σᵢ ‖zᵢ − x̄‖², X₀ = I",
    "push-sum, 30 % of messages lost; median and range of 300 seeds",
)
axes.legend(fontsize=9, frameon=False)
figure

# %% [markdown]
# Over `gone` the error stops at once. The other two go on to rounding; for running sums rounding grows slowly with
# the sums, whose differences are taken: use float64 in long runs.

# %%
agreed = {name: result.params["x"].mean(axis=1) for name, result in lost.items()}  # [seeds, n]: a
spread = lost["gone"].params["x"] - agreed["gone"][:, None]
claims.at_most("gone: nodes agree, largest disagreement over 300 seeds", 1e-12, np.abs(spread).max())
claims.at_least(
    "gone: root mean square of n·aᵢ − 1, the error of a weight",
    0.1,
    np.sqrt(np.mean((n * agreed["gone"] - 1) ** 2)),
)
for name in ("sender", "running sums"):
    claims.at_most(
        f"{name}: largest error of any weight, node and seed",
        1e-12,
        np.abs(lost[name].params["x"] - 1 / n).max(),
    )

# %% [markdown]
# **Is the wrong value at least unbiased?** Here every node sends to three others, so in expectation every node
# loses the same share of its mass, $\frac34 \cdot 0.3$ a round: no start is favoured in that sense, and the mean
# weights below are $1/n$ within their errors. On a graph with hubs it is different: with weights `push` a hub gives
# nearly all of its mass away, a leaf keeps half. What starts at a leaf survives longer. The value is then biased
# away from the hubs. (We know of no closed form for $E a_i$, a ratio.)

# %%
hubs = tp.barabasi_albert(n, m=1, seed=0, weights=tp.push())
agreed["hubs"] = lossy(channels["gone"], hubs).params["x"].mean(axis=1)

figure, panels = blank(9.4, 3.8, 1, 2)
values = np.random.default_rng(0).normal(size=n)
for number, (name, title) in enumerate({"gone": "random directed graph", "hubs": "tree with hubs"}.items()):
    a = agreed[name]
    panels[0].hist(
        a @ values - values.mean(),
        bins=np.linspace(-0.4, 0.4, 41),
        color=COLOURS[number],
        alpha=0.5,
        label=title,
    )
    receivers = np.bincount((columns if name == "gone" else hubs).edges[:, 0], minlength=n)
    error = 2 * n * a.std(axis=0, ddof=1) / np.sqrt(seeds)
    panels[1].errorbar(
        receivers + 0.1 * number,
        n * a.mean(axis=0),
        error,
        fmt=MARKERS[number],
        ms=4,
        color=COLOURS[number],
        label=title,
    )
panels[0].axvline(0, color="#222222", lw=1)
panels[1].axhline(1, color="#222222", lw=1)
frame(
    panels[0],
    "agreed value − mean of normal starts",
    "seeds",
    "lost mass is gone; sender and running sums: all at 0",
)
frame(panels[1], "nodes that hear node i", "n · E aᵢ", "mean weight of a start, ± 2 standard errors")
for axes in panels:
    axes.legend(fontsize=8, frameon=False)
figure


# %%
def worst_bias(a):
    """The largest |E aᵢ − 1/n| in its standard errors."""
    return (np.abs(a.mean(axis=0) - 1 / n) / (a.std(axis=0, ddof=1) / np.sqrt(len(a)))).max()


claims.at_most(
    "gone, equal out-degrees: no bias of any of 20 mean weights beyond 3.5 standard errors",
    3.5,
    worst_bias(agreed["gone"]),
)
claims.at_least(
    "gone, hubs: a bias of some mean weight beyond 3.5 standard errors", 3.5, worst_bias(agreed["hubs"])
)

# %% [markdown]
# ### Where the mass is
#
# The total weight $\sum_i w_i$, which is $n$ without losses. For running sums the links hold the rest,
# $\sum_{ij} P_{ij} (\sigma_j - \rho_{ij})$, with $\sigma_j$ the sum that $j$ has sent and $\rho_{ij}$ what $i$ last
# heard of it. Here $P_{ij} = \frac14$ on every edge, so that is
# $\frac14 (3 \sum_j \sigma_j - \sum_{ij} \rho_{ij})$. With `gone` the weight is expected to fall by
# $1 - \frac34 \cdot 0.3 = 0.775$ a round, exactly.

# %%
weights, links = {}, []
with jax.enable_x64(True):
    for name, channel in channels.items():
        run = unroll(push_sum, problem, columns, channel=channel)
        step, state, weights[name] = jax.jit(run.step), run.start(run.params), []
        for t in range(40):
            weights[name].append(float(state.weight.sum()))
            if name == "running sums":
                links.append(float(3 * state.link.sent[1].sum() - state.link.heard[1].sum()) / 4)
            state = step(t, state)[0]
weights["running sums, with links"] = np.add(weights["running sums"], links)

figure, (axes,) = blank(6.4, 4.0)
for number, (name, total) in enumerate(weights.items()):
    size = 7 if name == "sender" else 3.5
    axes.semilogy(total, MARKERS[number], ms=size, color=COLOURS[number], label=name)
axes.semilogy(n * 0.775 ** np.arange(40), color=COLOURS[0], lw=1, label="n · 0.775^t")
frame(axes, "round t", "Σᵢ wᵢ", "one seed, 30 % of messages lost")
axes.legend(fontsize=8, frameon=False)
figure

# %%
claims.at_most("sender: largest change of Σ wᵢ", 1e-12, np.abs(np.array(weights["sender"]) - n).max())
claims.at_most(
    "running sums: largest change of Σ wᵢ with what the links hold",
    1e-12,
    np.abs(weights["running sums, with links"] - n).max(),
)
claims.close(
    "gone: the weight falls by 0.775 a round (1 %: one seed, 39 rounds)",
    0.775,
    (weights["gone"][-1] / n) ** (1 / 39),
    rel=0.01,
)

# %% [markdown]
# ## Claims

# %%
claims
