# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 02 D-SGD: bias, variance, linear speed-up, transient time
#
# $n$ nodes minimise $f = \frac1n \sum_i f_i$. Stack their models as rows of $X$ and their stochastic gradients as
# rows of $G(X)$. With a doubly stochastic matrix $W$ and a step size $\alpha$, a round of decentralised SGD is
# $X \leftarrow W (X - \alpha\, G(X))$.
#
# **Setting.** $f_i(x) = \frac12 (x - x^*)^\top A_i (x - x^*) + g_i^\top (x - x^*)$ with $\sum_i g_i = 0$, so that
# $x^*$ minimises $f$. The *heterogeneity* is
# $\zeta^2 = \frac1n \sum_i \|\nabla f_i(x^*)\|^2 = \frac1n \sum_i \|g_i\|^2$. A sampled gradient is
# $\nabla f_i(x) + \xi$ with $E\|\xi\|^2 = \sigma^2$, independent over nodes and rounds. All $A_i$ have eigenvalues
# from $1/\kappa$ to 1. Every run starts at 0, and $\|x^*\| = 1$.
#
# On quadratics a round is an affine map with additive noise, $z \leftarrow M z + c + \varepsilon$. So bias,
# variance and rate are linear algebra, **exact at finite $n$, finite $\alpha$ and finite $t$**. `theory.dsgd` does
# that algebra. This notebook lays it beside runs, and then asks how the exact numbers scale against what the
# literature bounds.
#
# Three errors are used throughout:
#
# | name | definition |
# |---|---|
# | distance | $\frac1n \sum_i \|x_i - x^*\|^2$ |
# | consensus error | $\frac1n \sum_i \|x_i - \bar x\|^2$ |
# | mean error | $\|\bar x - x^*\|^2$ = distance − consensus error |

# %%
# %matplotlib inline
from functools import partial

import numpy as np
import pandas as pd

from dlax import theory
from dlax import topology as tp
from dlax.algorithms import dsgd
from dlax.claims import Claims
from dlax.optimizers import inverse
from dlax.plots import COLOURS, DASHES, MARKERS, blank, frame
from dlax.problems import quadratic
from dlax.simulate import simulate

claims = Claims()
ORDERS = {  # one function each: runs that share it share a compilation
    "adapt then combine": dsgd,
    "combine then adapt": partial(dsgd, order="combine_then_adapt"),
    "combine while adapt": partial(dsgd, order="combine_while_adapt"),
}
ERRORS = ["distance", "consensus", "mean_error"]


def run(algorithm, problem, topology, rounds, **options):
    """A run in float64, as a table with the three errors."""
    result = simulate(algorithm, problem, topology, rounds=rounds, precision="float64", **options)
    table = result.to_pandas()
    return table.assign(mean_error=table["distance"] - table["consensus"])


def predict(problem, topology, lr, order="adapt then combine"):
    return theory.dsgd(problem, topology, lr=lr, order=order.replace(" ", "_"))


def power(x, y):
    """The least-squares exponent p of y ~ x^p."""
    return np.polyfit(np.log(x), np.log(y), 1)[0]


# %% [markdown]
# ## 1. Exact gradients: the bias of heterogeneity
#
# With $\sigma = 0$ and constant $\alpha$ the run converges, but not to $x^*$. A node that sits at $x^*$ still moves
# by $-\alpha g_i$, and mixing undoes only part of that. Three orders of the same two operations are in use:
#
# - *adapt then combine*: $X \leftarrow W (X - \alpha G(X))$;
# - *combine then adapt*: $Y = W X$, $X \leftarrow Y - \alpha G(Y)$;
# - *combine while adapt*: $X \leftarrow W X - \alpha G(X)$ (DGD; communication overlaps the gradient).
#
# Ring of 16, $d = 4$, $\kappa = 4$, $\zeta = 1$, a random Hessian on every node.

# %%
n = 16
ring = tp.ring(n)
problem = quadratic(n, dim=4, condition=4, heterogeneity=1.0)
lrs = np.array([0.003, 0.01, 0.03, 0.1, 0.3])
rounds = 15_000
biases, exact = {}, {}
for order, algorithm in ORDERS.items():
    table = run(algorithm, problem, ring, rounds, eval_every=rounds, hyper={"lr": lrs})
    biases[order] = table.query("round == @rounds")["distance"].to_numpy()
    exact[order] = np.array([predict(problem, ring, lr, order).bias for lr in lrs])
    off = np.abs(biases[order] / exact[order] - 1).max()
    claims.at_most(f"bias of {order}, five step sizes: relative error of the fixed point", 1e-9, off)

# %% [markdown]
# ### How the bias depends on the graph
#
# **Bound** (scaling: Yuan, Ling, Yin 2016; constants and proof in `theory.dsgd_bias_bound`). The squared bias is of
# order at most $\alpha^2 \zeta^2 / \mathrm{gap}^2$.
#
# When is that met? Give all nodes the Hessian $a I$, and let $W$ be symmetric. Then its eigenvectors decouple. With
# $\beta_k$ the component of $g$ along the eigenvector of $\lambda_k$, the fixed point has there
#
# $$ e_k = - \frac{\alpha \lambda_k}{1 - \lambda_k + \alpha a \lambda_k}\, \beta_k, \qquad
#    \text{squared bias} = \frac1n \sum_k \|e_k\|^2 . $$
#
# Two cases on rings, with $a = 1$, $\zeta = 1$ and $\alpha = \mathrm{gap} / 10$:
#
# - *slow* data: $g$ lies along the slowest eigenvector; neighbours have similar data. The order of the bound is
#   met.
# - *white* data: $g$ has equal energy along every eigenvector, as independent data have on average. A ring has few
#   slow eigenvectors, and the sum is of order $n^3 \sim \mathrm{gap}^{-3/2}$.


# %%
def data(topology, kind):
    """Vectors of mean zero and mean square one `[n, 1]`: along the slowest eigenvector, or equally along all."""
    vectors = np.linalg.eigh(topology.dense())[1][:, :-1]
    weights = np.full(topology.n - 1, 1 / np.sqrt(topology.n - 1))
    if kind == "slow":
        weights[:] = 0.0
        weights[-1] = 1.0
    return np.sqrt(topology.n) * vectors @ weights[:, None]


def closed_form(topology, g, lr):
    """The squared bias by the formula above, a = 1."""
    eigenvalues, vectors = np.linalg.eigh(topology.dense())
    beta, modes = vectors[:, :-1].T @ g, eigenvalues[:-1, None]
    return np.sum((lr * modes / (1 - modes + lr * modes) * beta) ** 2) / topology.n


rings = [tp.ring(size) for size in (16, 32, 64)]
gaps = np.array([graph.spectral_gap for graph in rings])
scaled, formula = {"slow": [], "white": []}, {"slow": [], "white": []}
for graph, gap in zip(rings, gaps, strict=True):
    plain, rounds = quadratic(graph.n, dim=1, condition=1, hessian="common"), int(300 / gap)
    for kind in scaled:
        g = data(graph, kind)
        given = plain._replace(local={"g": g})
        table = run(dsgd, given, graph, rounds, eval_every=rounds, hyper={"lr": gap / 10})
        scaled[kind].append(table["distance"].iloc[-1])
        formula[kind].append(closed_form(graph, g, gap / 10))
bounds = np.array([theory.dsgd_bias_bound(lr=gap / 10, gap=gap, zeta=1.0) for gap in gaps])

# %%
figure, (left, right) = blank(9.6, 4.0, 1, 2)
for number, order in enumerate(ORDERS):
    left.loglog(lrs, biases[order], MARKERS[number], color=COLOURS[number], label=order)
    left.loglog(lrs, exact[order], color=COLOURS[number], lw=1)
first = exact["adapt then combine"][0]
left.loglog(lrs[:4], first * (lrs[:4] / lrs[0]) ** 2, color="#888888", ls=DASHES[2], label="slope 2")
left.axvline(ring.spectral_gap, color="#888888", lw=0.8, ls=DASHES[1])
left.annotate("α = gap", (ring.spectral_gap, 8e-4), (4, 0), textcoords="offset points", fontsize=8.5)
frame(
    left,
    "step size α",
    "squared bias, (1/n) Σᵢ ‖xᵢ − x*‖²",
    "ring of 16. Dots: runs, lines: exact fixed point",
)
right.loglog(gaps, bounds / (gaps / 10) ** 2, color="#888888", ls=DASHES[1], lw=1, label="bound")
for number, (kind, slope) in enumerate({"slow": "slope −2", "white": "slope −3/2"}.items()):
    look, heights = {"color": COLOURS[number + 3]}, np.array(formula[kind]) / (gaps / 10) ** 2
    right.loglog(gaps, scaled[kind] / (gaps / 10) ** 2, MARKERS[number], label=f"{kind} data", **look)
    right.loglog(gaps, heights, lw=1, **look)
    right.annotate(slope, (gaps[1], heights[1]), (-62, -14), textcoords="offset points", fontsize=8.5)
frame(right, "spectral gap", "squared bias / α²", "rings of 64, 32, 16, from left to right. Lines: formula")
right.set_xticks(gaps, [f"{gap:.3f}" for gap in gaps])
right.minorticks_off()
left.legend(fontsize=8, frameon=False)
right.legend(fontsize=8, frameon=False)
figure

# %% [markdown]
# For small $\alpha$ the squared bias grows as $\alpha^2$; adapting first is the best order, by little. The curve
# bends where $\alpha$ reaches the gap: nodes then come near their own optima, and the bias saturates. On the right,
# the power of the gap in the bound belongs to the worst alignment of data and graph. Data without an order over the
# graph are kinder.

# %%
tiny = [predict(problem, ring, lr).bias for lr in (1e-5, 2e-5)]
claims.close(
    "squared bias grows as lr to the power, at lr = 1e-5 (the next order is lr/gap = 2e-4)",
    2.0,
    power([1, 2], tiny),
    abs=1e-3,
)
claims.at_least(
    "adapt then combine has the least bias of the three: least ratio of the others to it",
    1.0,
    min((biases[order] / biases["adapt then combine"]).min() for order in list(ORDERS)[1:]),
)
claims.at_most(
    "closed form of the bias, rings of 16 to 64, slow and white data: relative error against runs",
    1e-9,
    max(np.abs(np.array(scaled[kind]) / formula[kind] - 1).max() for kind in scaled),
)
claims.at_most(
    "slow and white data: bias / bound, largest", 1.0, max(max(scaled[kind] / bounds) for kind in scaled)
)
for kind, expected in {"slow": -2.0, "white": -1.5}.items():
    claims.close(
        f"{kind} data: squared bias / lr² grows as gap to the power (n is finite: 0.05)",
        expected,
        power(gaps, scaled[kind] / gaps**2),
        abs=0.05,
    )

# %% [markdown]
# ## 2. Noise: the stationary covariance
#
# With noise the models fluctuate for ever. In the long run $E z$ is the fixed point above, and the covariance
# solves the discrete Lyapunov equation $\Sigma = M \Sigma M^\top + Q$. Before that, mean and covariance obey
# $m \leftarrow M m + c$, $\Sigma \leftarrow M \Sigma M^\top + Q$, which predicts the whole path.
#
# $\zeta = 1$, $\sigma = 1$, $\alpha = 0.1$, 40 seeds. Steady numbers are means over 60 late rounds, ten apart, of
# every seed. Rounds of one seed are correlated, seeds are not: the standard error (SE) is that of the 40 means. A
# prediction "holds" when it lies within **four standard errors** of the measured mean; 4.5 where hundreds of
# numbers are compared.

# %%
lr, seeds, burn = 0.1, 40, 200


def noisy(n, **options):
    return quadratic(n, dim=4, condition=4, noise=1.0, **options)


def steady(algorithm, problem, topology):
    """Late means of the three errors over rounds and seeds, and their standard errors."""
    table = run(algorithm, problem, topology, burn + 600, eval_every=10, seeds=seeds, hyper={"lr": lr})
    late = table[table["round"] > burn].groupby("seed")[ERRORS].mean()
    return late.mean(), late.std() / np.sqrt(seeds)


def exactly(recursion):
    """The same three errors, predicted."""
    return pd.Series(
        [recursion.steady_distance, recursion.steady_consensus, recursion.steady_mean_error], index=ERRORS
    )


def within(claim, predicted, measured, error):
    claims.close(f"{claim} (± 4 SE)", predicted, measured, abs=4 * error)


problem, exponential, rows, late = noisy(n), tp.static_exponential(n), [], {}
for graph, order in (
    (ring, "adapt then combine"),
    (ring, "combine while adapt"),
    (exponential, "adapt then combine"),
):
    predicted = exactly(predict(problem, graph, lr, order))
    measured, error = late[graph.name, order] = steady(ORDERS[order], problem, graph)
    for name in ERRORS:
        label = f"{graph.name.replace('_', ' ')} of 16, {order}: steady {name.replace('_', ' ')}"
        within(label, predicted[name], measured[name], error[name])
        off = (measured[name] - predicted[name]) / error[name]
        rows.append([graph.name, order, name, predicted[name], measured[name], error[name], off])
pd.DataFrame(rows, columns=["graph", "order", "error", "predicted", "measured", "SE", "off by (SE)"]).round(5)

# %%
short = 80
groups = run(dsgd, problem, ring, short, eval_every=1, seeds=seeds, hyper={"lr": lr}).groupby("round")[ERRORS]
middle, error = groups.mean(), groups.std() / np.sqrt(seeds)
recursion = predict(problem, ring, lr)
expected = {
    "distance": recursion.distances(short),
    "consensus": recursion.consensuses(short),
    "mean_error": recursion.mean_errors(short),
}
claims.at_most(
    "ring, expected path: largest deviation over 80 rounds and three errors, in SE",
    4.5,
    max((np.abs(middle[name] - expected[name]) / error[name])[1:].max() for name in ERRORS),
)

figure, (axes,) = blank(6.4, 4.0)
for number, name in enumerate(ERRORS):
    label = {"mean_error": "mean error", "consensus": "consensus error"}.get(name, name)
    axes.semilogy(expected[name], color=COLOURS[number], ls=DASHES[1], lw=1.4, label=label)
    low, high = middle[name] - 4 * error[name], middle[name] + 4 * error[name]
    axes.fill_between(middle.index, low.clip(lower=1e-6), high, color=COLOURS[number], alpha=0.35, lw=0)
axes.set_ylim(3e-3, 2)
frame(
    axes,
    "round t",
    "expected squared error",
    f"ring of 16. Dashed: predicted; bands: mean of {seeds} seeds ± 4 SE",
)
axes.legend(fontsize=8, frameon=False)
figure

# %% [markdown]
# The mean forgets its start at the rate of centralised SGD, while the nodes drift apart and stay apart.
#
# ## 3. Linear speed-up
#
# **Fact.** If $W$ is doubly stochastic,
# $\bar x \leftarrow \bar x - \alpha\, \frac1n \sum_i (\nabla f_i(x_i) + \xi_i)$. If moreover all Hessians are
# equal, $\frac1n \sum_i \nabla f_i(x_i) = \nabla f(\bar x)$: then $\bar x$ is centralised SGD with $n$ times the
# samples *on every graph*, and its error falls as $1/n$. (On the complete graph this holds for all $f_i$.)
#
# With different Hessians the disagreement of the nodes leaks into $\bar x$. And what a node holds is $x_i$, not
# $\bar x$: its error has the consensus error on top.

# %%
sizes = np.array([4, 16, 64])
GRAPHS = {"static_exponential": tp.static_exponential, "ring": tp.ring}
problems = [problem if size == n else noisy(int(size)) for size in sizes]
central = [theory.centralized_sgd(each, lr=lr).steady_distance for each in problems]


def over_sizes(make, local):
    """Predicted errors for problems whose local arrays are changed by a function."""
    changed = [each._replace(local=local(each.local)) for each in problems]
    return pd.DataFrame([exactly(predict(each, make(each.n), lr)) for each in changed])


theirs = {name: over_sizes(make, lambda local: local) for name, make in GRAPHS.items()}
calm = {name: over_sizes(make, lambda local: local | {"g": 0 * local["g"]}) for name, make in GRAPHS.items()}
ours = {
    name: [late[name, "adapt then combine"], steady(dsgd, problems[2], make(64))]
    for name, make in GRAPHS.items()
}

figure, panels = blank(9.6, 4.0, 1, 2, sharey=True)
for axes, quantity in zip(panels, ("mean_error", "distance"), strict=True):
    axes.loglog(sizes, central, color="#888888", lw=5, alpha=0.35, label="centralised SGD = complete graph")
    for number, name in enumerate(GRAPHS):
        look, label = {"color": COLOURS[number], "lw": 1}, name.replace("_", " ")
        axes.loglog(sizes, theirs[name][quantity], label=f"{label}, ζ = 1", **look)
        axes.loglog(sizes, calm[name][quantity], ls=DASHES[1], label=f"{label}, ζ = 0", **look)
        heights, bars = np.array([[mean[quantity], 4 * error[quantity]] for mean, error in ours[name]]).T
        axes.errorbar(sizes[1:], heights, bars, fmt=MARKERS[number], capsize=3, ms=5, color=COLOURS[number])
    axes.set_xticks(sizes, sizes)
    axes.minorticks_off()
frame(
    panels[0],
    "nodes n",
    "steady squared error",
    "of the mean x̄. Lines: exact at n = 4, 16, 64; marks: runs ± 4 SE",
)
frame(panels[1], "nodes n", "", "of a node xᵢ (distance)")
panels[0].legend(fontsize=8, frameon=False)
figure

# %% [markdown]
# The mean speeds up on every graph (left). The ring stands above the grey line for one reason only: with
# $\zeta = 1$ the nodes disagree by their bias, and different Hessians turn disagreement into an error of the mean.
# What a node holds (right) speeds up on the complete graph. On the ring it does not even for $\zeta = 0$: beyond
# some size a longer ring averages no more noise away. Notebook 06 says what counts there in place of $n$.

# %%
same = over_sizes(tp.ring, lambda local: local | {"A": 0 * local["A"] + np.diag([0.25, 0.5, 0.75, 1.0])})
claims.close(
    "one Hessian for all: predicted error of the mean on rings goes as n to the power",
    -1.0,
    power(sizes, same["mean_error"]),
    abs=1e-9,
)
mean, error = ours["ring"][1]
claims.at_least(
    "ring of 64, different Hessians, ζ = 1: measured error of the mean less 4 SE, over centralised SGD's",
    1.0,
    (mean["mean_error"] - 4 * error["mean_error"]) / central[2],
)
claims.close(
    "ring, ζ = 0: a node's predicted error at n = 64 over that at n = 16 (no speed-up left; 1 %)",
    1.0,
    calm["ring"]["distance"][2] / calm["ring"]["distance"][1],
    abs=0.01,
)
for name in GRAPHS:
    (first, first_error), (last, last_error) = ours[name]
    relative = np.hypot(
        first_error["mean_error"] / first["mean_error"], last_error["mean_error"] / last["mean_error"]
    )
    within(
        f"{name.replace('_', ' ')}: the mean's error, n = 16 to 64, goes as n to the power",
        power(sizes[1:], theirs[name]["mean_error"][1:]),
        power(sizes[1:], [first["mean_error"], last["mean_error"]]),
        relative / np.log(4),
    )

# %% [markdown]
# ## 4. Transient time
#
# With steps $\alpha_t$ of order $1/t$ both errors vanish: the mean's like $\sigma^2 / (n t)$, the network's like
# $1/t^2$. The *transient time* is the round from which the network's is the smaller one; from there on D-SGD is as
# good as centralised SGD.
#
# **Theorem** (Pu, Olshevsky, Paschalidis 2022). For strongly convex functions it is $O(n / \mathrm{gap}^2)$, and
# there are problems that need as much.
#
# For $f_i(x) = \frac12 \|x - v_i\|^2$ and $\alpha_t = 2/(t + 2)$ `theory.transient` computes both errors exactly.
# To leading order they cross in round
#
# $$ T = 3 \sum_k \Big( \frac{\|\beta_k\|^2}{\sigma^2} \frac{\lambda_k^2}{(1 - \lambda_k)^2}
#    + \frac{\lambda_k^2}{1 - \lambda_k^2} \Big)
#    \approx 3\, \frac{\zeta^2}{\sigma^2}\, \frac{n}{\mathrm{gap}^2} \quad \text{(slow data, small gap).} $$
#
# First the exact curves against a run: ring of 16, slow data, $\zeta = 0.3$, $\sigma = 1$.

# %%
zeta, seeds, rounds = 0.3, 200, 3000
g = zeta * data(ring, "slow")
decaying = partial(dsgd, schedule=inverse(rounds=2.0))  # lr / (1 + t/2) = 2 / (t + 2) for lr = 1
problem = quadratic(n, dim=1, condition=1, hessian="common", noise=1.0)._replace(local={"g": g})
early = run(decaying, problem, ring, 40, eval_every=1, seeds=seeds, hyper={"lr": 1.0})
late = run(decaying, problem, ring, rounds, eval_every=40, seeds=seeds, hyper={"lr": 1.0})
groups = pd.concat([early, late[late["round"] > 40]]).groupby("round")[ERRORS]
middle, error = groups.mean(), groups.std() / np.sqrt(seeds)
at = middle.index.to_numpy()
truth = theory.transient(ring, problem.optimum["x"] - g, sigma=1.0, rounds=rounds)
curves = {"consensus": truth.network, "mean_error": truth.mean}

# %%
claims.at_most(
    f"decaying steps, ring of 16: largest deviation of both errors over {len(at) - 1} rounds, in SE",
    4.5,
    max((np.abs(middle[name] - curve[at]) / error[name])[1:].max() for name, curve in curves.items()),
)
near = int(np.abs(at - truth.rounds).argmin())
share = middle["consensus"].iloc[near] / middle["mean_error"].iloc[near]
within(
    f"network error / mean error in round {at[near]}, near the predicted transient time {truth.rounds:.0f}",
    truth.network[at[near]] / truth.mean[at[near]],
    share,
    share * np.hypot(*(error[name].iloc[near] / middle[name].iloc[near] for name in curves)),
)

# %% [markdown]
# ### Scaling
#
# On a ring $\mathrm{gap} \sim n^{-2}$, and $n / \mathrm{gap}^2 \sim n^5$. The sum gives $n^5$ for slow data, $n^4$
# for white data and $n^2$ without heterogeneity.

# %%
SIZES = {"slow": (8, 12, 16, 24), "white": (8, 12, 16, 24, 32), "no": (8, 16, 32, 64)}


def takeover(topology, kind):
    """The transient time from the exact curves, and to leading order."""
    v = 1.0 + (0.0 * data(topology, "slow") if kind == "no" else zeta * data(topology, kind))
    leading = theory.transient(topology, v, sigma=1.0, rounds=0).leading
    return theory.transient(topology, v, sigma=1.0, rounds=int(1.5 * leading) + 50).rounds, leading


times = {kind: np.array([takeover(tp.ring(size), kind) for size in SIZES[kind]]) for kind in SIZES}
scales = {kind: np.array([size / tp.ring(size).spectral_gap ** 2 for size in SIZES[kind]]) for kind in SIZES}
others = {name: tp.TOPOLOGIES[name](n) for name in ("hypercube", "star", "path")}
elsewhere = {name: takeover(graph, "slow") for name, graph in others.items()}

figure, (left, right) = blank(9.6, 4.2, 1, 2)
for number, (name, curve) in enumerate(curves.items()):
    look, label = {"color": COLOURS[number], "lw": 1}, {"consensus": "network", "mean_error": "mean"}[name]
    low, high = (middle[name] + k * error[name] for k in (-4, 4))
    left.loglog(np.arange(1, rounds + 1), curve[1:], ls=DASHES[1], label=f"{label}, predicted", **look)
    left.fill_between(
        at[1:], low[1:], high[1:], color=look["color"], alpha=0.35, lw=0, label=f"{label}, runs ± 4 SE"
    )
left.axvline(truth.rounds, color="#888888", lw=1, ls=DASHES[2])
left.annotate("transient\ntime", (truth.rounds, 0.2), (-52, 0), textcoords="offset points", fontsize=8.5)
frame(left, "round t", "expected squared error", "ring of 16, slow data, steps 2 / (t + 2)")
left.legend(fontsize=8, frameon=False, loc="lower left")
for number, kind in enumerate(SIZES):
    label = "rings, ζ = 0" if kind == "no" else f"rings, {kind} data"
    right.loglog(scales[kind], times[kind][:, 0], MARKERS[number], color=COLOURS[number + 2], label=label)
    right.loglog(scales[kind], times[kind][:, 1], color=COLOURS[number + 2], lw=1)
ends = np.array([60, 2e5])
right.loglog(ends, 3 * zeta**2 * ends, color="#888888", ls=DASHES[2], lw=1, label="3 (ζ/σ)² n / gap²")
for name, graph in others.items():
    place = n / graph.spectral_gap**2, elsewhere[name][0]
    right.plot(*place, "x", color=COLOURS[6])
    right.annotate(f"{name} of 16", place, (5, -10), textcoords="offset points", fontsize=8)
frame(right, "n / gap²", "transient time (rounds)", "marks: exact curves, lines: T. Crosses: slow data")
right.legend(fontsize=8, frameon=False, loc="lower right")
figure

# %% [markdown]
# The scaling of the theorem is met, with constant $3 (\zeta/\sigma)^2$, by data that vary slowly over the graph: on
# rings, path and star alike. White data on a ring need a power of $n$ less, and without heterogeneity the transient
# of a ring is only $n^2$: there $n / \mathrm{gap}^2$ is far too pessimistic.
#
# $T$ supposes that the errors have forgotten their past, $T \gg 1/\mathrm{gap}$. For $\zeta = 0$ on rings that is
# never so: $T \cdot \mathrm{gap}$ stays near 4 whatever $n$ is, and $T$ is too large by 17 %, also at $n = 192$
# (tried apart). That row of the table stays as failing.

# %%
for kind, exponent in {"slow": 5.0, "white": 4.0, "no": 2.0}.items():
    label = "ζ = 0" if kind == "no" else f"{kind} data"
    claims.close(
        f"rings, {label}: transient time grows as n to the power, two largest rings (n is finite: 0.25)",
        exponent,
        power(SIZES[kind][-2:], times[kind][-2:, 0]),
        abs=0.25,
    )
    claims.close(
        f"ring of {SIZES[kind][-1]}, {label}: transient time against T (leading order only: 5 %)",
        times[kind][-1, 1],
        times[kind][-1, 0],
        rel=0.05,
    )
for name in ("star", "path"):
    claims.close(
        f"{name} of 16, slow data: transient time against T (leading order only: 5 %)",
        elsewhere[name][1],
        elsewhere[name][0],
        rel=0.05,
    )

# %% [markdown]
# ## Claims

# %%
claims
