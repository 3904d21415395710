# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 09 Asynchronous: who waits for whom
#
# A synchronous round ends when the slowest node is done. Without a barrier nobody waits: a node that has finished
# a gradient averages with one neighbour and goes on. What does that buy, in simulated time, and what does it cost?
#
# Three models of how long a gradient takes, all with mean 1, drawn anew for every gradient: *constant*,
# *exponential* (memoryless), *log-normal* with $\sigma = 0.5$. A share of *stragglers* takes `slowdown` times as long,
# for the whole run. Averaging takes no time.
#
# | | waits for | a gradient is taken at |
# |---|---|---|
# | D-SGD | the slowest of all $n$, every round | the node's newest model |
# | AD-PSGD (Lian et al., 2018) | nobody | the model as it was when the gradient was begun |
# | A²CiD² (Nabli et al., 2023) | nobody; gradients and exchanges on Poisson clocks | the node's newest model |
#
# A²CiD² gives every node a second model $\tilde x$. Between events $x$ and $\tilde x$ flow towards each other at rate
# $\eta$; an exchange moves $x$ half way and $\tilde x$ by $\tilde\alpha$ of the difference. That is Nesterov's momentum
# for randomised averaging. With $\eta = 0$ it is plain asynchronous averaging.

# %%
# %matplotlib inline
from functools import partial

import numpy as np
import pandas as pd
from scipy.stats import expon, lognorm

from dlax import topology as tp
from dlax.algorithms import dsgd
from dlax.algorithms.asynchronous import acid, ad_psgd
from dlax.claims import Claims
from dlax.plots import COLOURS, DASHES, MARKERS, blank, frame, plain_log
from dlax.problems import average, quadratic
from dlax.simulate import simulate
from dlax.simulate.events import generator
from dlax.timing import barrier, constant_work, exchange_rates, exponential_work, log_normal_work

claims = Claims()
SIGMA = 0.5
WORK = {"constant": constant_work, "exponential": exponential_work, "log-normal": log_normal_work}
CDF = {
    "constant": lambda t: (t >= 1).astype(float),
    "exponential": expon.cdf,
    "log-normal": lognorm(SIGMA, scale=np.exp(-(SIGMA**2) / 2)).cdf,
}

# %% [markdown]
# ## 1. What a barrier costs
#
# A round takes $E \max_i T_i = \int_0^\infty 1 - \prod_i F_i(t)\, dt$. For exponential durations that is the harmonic
# number $H_n = 1 + \frac12 + \dots + \frac1n$: it grows with $n$ although the mean stays 1. With $s$ of $n$ nodes slower
# by a factor $k$, $s$ of the $F_i(t)$ become $F(t / k)$.
#
# Without the barrier node $i$ finishes $1 / E\,T_i$ gradients a unit of time. So asynchrony multiplies the number of
# gradients in a given time by
#
# $$ \text{gain} = E \max_i T_i \cdot \frac1n \sum_i \frac{1}{E\,T_i} . $$


# %%
def round_time(kind, n, slow=0, slowdown=1.0):
    """E max of n durations, `slow` of them `slowdown` times as long: the integral, by the trapezoidal rule."""
    t = np.linspace(0, 40 * slowdown, 400_001)
    return np.trapezoid(1 - CDF[kind](t) ** (n - slow) * CDF[kind](t / slowdown) ** slow, t)


def gain(kind, n, slow=0, slowdown=1.0):
    return round_time(kind, n, slow, slowdown) * (n - slow + slow / slowdown) / n


sizes = np.array([2, 4, 8, 16, 32, 64, 128, 256])
rounds = 4_000
measured = {k: [barrier(WORK[k](), n, rounds)[-1] / rounds for n in sizes] for k in WORK}
predicted = {k: [round_time(k, n) for n in sizes] for k in WORK}
n, slow = 32, 4
slowdowns = np.array([1, 2, 4, 8, 16])
late = {
    k: [barrier(WORK[k](stragglers=slow / n, slowdown=float(s)), n, rounds)[-1] / rounds for s in slowdowns]
    for k in WORK
}

figure, panels = blank(9.6, 3.6, 1, 2)
for number, kind in enumerate(WORK):
    style = {"color": COLOURS[number], "lw": 1.4, "ls": DASHES[number]}
    panels[0].semilogx(sizes, predicted[kind], **style, label=kind)
    panels[0].plot(sizes, measured[kind], MARKERS[number], color=COLOURS[number], ms=5)
    panels[1].loglog(slowdowns, [gain(kind, n, slow, float(s)) for s in slowdowns], **style)
    rate = (n - slow + slow / slowdowns) / n
    panels[1].plot(slowdowns, late[kind] * rate, MARKERS[number], color=COLOURS[number], ms=5)
frame(panels[0], "nodes n", "time of a synchronous round", "lines: integral; dots: 4,000 rounds drawn")
frame(
    panels[1], "how many times slower the stragglers are", "gradients: asynchronous / synchronous",
    f"{slow} of {n} nodes are stragglers",
)  # fmt: skip
panels[0].legend(frameon=False, fontsize=9)
for axis in (panels[0].xaxis, panels[1].xaxis, panels[1].yaxis):
    plain_log(axis)
figure

# %%
harmonic = np.array([np.sum(1 / np.arange(1, m + 1)) for m in sizes])
claims.at_most(
    "exponential work: the integral is H_n, n = 2 to 256, largest relative difference",
    1e-4,
    np.abs(predicted["exponential"] / harmonic - 1).max(),
)
for kind in WORK:
    claims.at_most(
        f"{kind} work: time of a round over 4,000 rounds against E max, n = 2 to 256, largest rel. difference (4 %)",
        0.04,
        np.abs(np.array(measured[kind]) / predicted[kind] - 1).max(),
    )

# %% [markdown]
# ## 2. Training: the same work, with and without the barrier
#
# $n = 32$ nodes on a ring minimise quadratics with one common Hessian, $\kappa = 10$, gradients with noise. D-SGD's
# rounds get their times from `barrier`, drawn anew for every seed; the others run on the events clock. The step size is
# the same for all, so an asynchronous method should be ahead by about the factor *gain* in time, if staleness and
# pairwise averaging cost it nothing. Lines are means of 12 seeds, bands their range.

# %%
ring = tp.ring(n)
problem = quadratic(n, dim=8, condition=10, heterogeneity=0.3, noise=0.3, hessian="common")
lr, seeds, horizon = 0.1, 12, 400.0
options = {"seeds": seeds, "precision": "float64"}


def distances(result, axis="time"):
    """When it was measured `[points]`, and the distance `[points, seeds]`."""
    table = result.to_pandas().pivot(index=axis, columns="seed", values="distance")
    return table.index.to_numpy(float), table.to_numpy()


scenes = {
    "constant, no stragglers": ("constant", {}),
    "exponential, no stragglers": ("exponential", {}),
    "log-normal, 4 of 32 are 5 times slower": ("log-normal", {"stragglers": slow / n, "slowdown": 5.0}),
}
synchronous = simulate(dsgd, problem, ring, rounds=int(horizon), eval_every=4, hyper={"lr": lr}, **options)
curves, counts = {}, {}
for scene, (kind, late_nodes) in scenes.items():
    work = WORK[kind](**late_nodes)
    number, values = distances(synchronous, "round")
    ends = np.stack([barrier(work, n, int(horizon), seed=seed) for seed in range(seeds)], axis=1)
    curves[scene, "D-SGD, barrier"] = ends[number.astype(int)], values  # every seed has its own clock
    run = simulate(
        partial(ad_psgd, work=work),
        problem,
        ring,
        duration=horizon,
        eval_every=8.0,
        hyper={"lr": lr},
        **options,
    )
    curves[scene, "AD-PSGD"] = distances(run)
    counts[scene] = np.mean([row["gradients"] for row in run.rows[-seeds:]]) / n / horizon
for accelerated, name in ((False, "asynchronous SGD, rate 1"), (True, "A²CiD², rate 1")):
    run = simulate(
        partial(acid, accelerated=accelerated), problem, ring, duration=horizon, eval_every=8.0, hyper={"lr": lr},
        **options,
    )  # fmt: skip
    curves["exponential, no stragglers", name] = distances(run)


def on_grid(scene, method):
    """The distances `[time, seed]` at the same times for all."""
    clock, values = curves[scene, method]
    clock = np.broadcast_to(clock.reshape(len(values), -1), values.shape)
    return np.stack([np.interp(grid, *columns) for columns in zip(clock.T, values.T, strict=True)], axis=1)


def reach(scene, method, level=0.1):
    """When each seed first falls below the level `[seeds]`, between measurements on logarithms."""
    clock, values = curves[scene, method]
    clock = np.broadcast_to(clock.reshape(len(values), -1), values.shape)
    found = []
    for when, line in zip(clock.T, np.log(values.T / level), strict=True):
        k = np.flatnonzero(line < 0)[0]
        found.append(np.interp(0.0, [line[k], line[k - 1]], [when[k], when[k - 1]]))
    return np.array(found)


grid = np.linspace(0, horizon, 201)
methods = ["D-SGD, barrier", "AD-PSGD", "asynchronous SGD, rate 1", "A²CiD², rate 1"]
figure, panels = blank(12.6, 3.8, 1, 3, sharey=True)
for axes, scene in zip(panels, scenes, strict=True):
    for number, method in enumerate(methods):
        if (scene, method) in curves:
            values = on_grid(scene, method)
            axes.semilogy(
                grid, values.mean(axis=1), color=COLOURS[number], ls=DASHES[number], lw=1.5, label=method
            )
            axes.fill_between(
                grid, values.min(axis=1), values.max(axis=1), color=COLOURS[number], alpha=0.2, lw=0
            )
    axes.set_xlim(0, horizon)
    axes.axhline(0.1, color="#999999", lw=0.7)
    label = "mean ‖xᵢ − x*‖²" if axes is panels[0] else ""
    frame(axes, "time (mean gradient of a node = 1)", label, f"{scene}; grey line: 0.1")
panels[1].legend(frameon=False, fontsize=8)
figure

# %%
shown = []
for scene, (kind, late_nodes) in scenes.items():
    stuck = slow if late_nodes else 0
    factor = late_nodes.get("slowdown", 1.0)
    rate = (n - stuck + stuck / factor) / n
    claims.close(
        f"{scene}: AD-PSGD's gradients a node and unit of time (2 %: 12 seeds)", rate, counts[scene], rel=0.02
    )
    ahead = reach(scene, "D-SGD, barrier").mean() / reach(scene, "AD-PSGD").mean()
    shown.append([scene, round_time(kind, n, stuck, factor), rate, gain(kind, n, stuck, factor), ahead])
    claims.close(
        f"{scene}: time to distance 0.1, D-SGD / AD-PSGD, is the gain in gradients (15 %: noise, staleness; 12 seeds)",
        gain(kind, n, stuck, factor),
        ahead,
        rel=0.15,
    )
level_off = {m: curves["exponential, no stragglers", m][1][-20:].mean() for m in methods}
claims.at_most(
    "exponential: where it levels off, A²CiD² / the same without momentum (no smaller distance if nothing was gained)",
    1.0,
    level_off["A²CiD², rate 1"] / level_off["asynchronous SGD, rate 1"],
)
columns = ["work", "time of a round", "gradients a node and time", "gain", "D-SGD / AD-PSGD, time to 0.1"]
pd.DataFrame(shown, columns=columns).round(2)

# %% [markdown]
# ## 3. The price: fast nodes pull the optimum
#
# A node that is slower by a factor $k$ contributes $1/k$ as many gradients. Asynchronous methods therefore minimise
# $\sum_i r_i f_i$ with $r_i = 1 / E\,T_i$, not $\sum_i f_i$. With a common Hessian $A$ and $\nabla f_i(x^*) = g_i$ that
# minimiser is
#
# $$ x_r = x^* - A^{-1}\, \frac{\sum_i r_i g_i}{\sum_i r_i} . $$
#
# The same four stragglers, now 10 times slower, without noise and with data that differ: after a long run with a small
# step the average of the models should be at $x_r$. A barrier has no such bias. A smaller step does not help, it only
# takes longer.

# %%
plain = quadratic(n, dim=8, condition=10, heterogeneity=2.0, hessian="common")
factor, small, long, seeds = 10.0, 0.03, 3_000.0, 4
run = simulate(
    partial(ad_psgd, work=constant_work(stragglers=slow / n, slowdown=factor)), plain, ring, duration=long,
    eval_every=long / 20, seeds=seeds, hyper={"lr": small}, precision="float64",
)  # fmt: skip
offset = run.params["x"].mean(axis=1) - plain.optimum["x"]  # of the mean model, [seeds, d]
bias = []
for seed in range(seeds):
    is_slow = generator(seed).spawn(2)[0].permutation(n) < slow  # as the run drew them
    r = np.where(is_slow, 1 / factor, 1.0)
    bias.append(-(r @ plain.local["g"]) / r.sum() / plain.shared["a"])
bias = np.array(bias)
lengths, off = np.linalg.norm(bias, axis=1), np.linalg.norm(offset - bias, axis=1)
claims.at_most(
    "stragglers 10 times slower: ‖x̄ − x_r‖ / ‖x_r − x*‖, mean of 4 seeds (0.15: the step size)",
    0.15,
    np.mean(off / lengths),
)
claims.close(
    "the same: ‖x̄ − x*‖, mean of 4 seeds, is the predicted bias (10 %)",
    lengths.mean(),
    np.linalg.norm(offset, axis=1).mean(),
    rel=0.1,
)

figure, (axes,) = blank(4.6, 4.0)
for seed in range(seeds):
    axes.plot(bias[seed], offset[seed], MARKERS[seed], color=COLOURS[seed], ms=5, label=f"seed {seed}")
span = 1.1 * np.abs(bias).max()
axes.plot([-span, span], [-span, span], color="#999999", lw=0.8, zorder=0)
frame(
    axes, "predicted (x_r − x*), by coordinate", "measured (x̄ − x*)", "AD-PSGD, 4 of 32 nodes 10 times slower"
)
axes.legend(frameon=False, fontsize=8)
figure

# %% [markdown]
# ## 4. Averaging alone: what the momentum buys
#
# No gradients now. With $\Lambda$ the Laplacian of the edges' rates, $\chi_1 = 1/\lambda_2(\Lambda)$ and $\chi_2$ half
# the largest effective resistance of an edge, plain averaging takes a time of order $\chi_1$, with the momentum
# $\sqrt{\chi_1 \chi_2}$. On a ring $\chi_1 \sim n^2$ and $\chi_2 \sim 1$: $n^2$ against $n$.
#
# **Exact.** An event multiplies the stacked state $s = (x, \tilde x) \in R^{2n}$ by a matrix $M_e$, the flow by
# $e^{At}$. So second moments obey a linear equation,
#
# $$ \frac{d}{dt} E[s s^\top] = A\, E[s s^\top] + E[s s^\top] A^\top + \sum_e \lambda_e \left( M_e\, E[s s^\top] M_e^\top - E[s s^\top] \right), $$
#
# and the slowest eigenvalue of that map on differences between nodes is the rate of $E \|X - \bar X\|^2$.


# %%
def exact_rate(graph, accelerated):
    """The slowest eigenvalue of the map of second moments, without the mean."""
    m = graph.n
    edges, rates = exchange_rates(graph, 1.0)
    one, two = tp.chi1(graph, rates), tp.chi2(graph, rates)
    eta, alpha = (0.5 / np.sqrt(one * two), 0.5 * np.sqrt(one / two)) if accelerated else (0.0, 0.0)
    basis = np.linalg.qr(np.column_stack([np.ones(m), np.eye(m)[:, 1:]]))[0][:, 1:]  # of differences
    flow = np.kron([[-eta, eta], [eta, -eta]], np.eye(m - 1))
    jump = np.array([[0.5, 0.0], [alpha, 0.0]])
    if not accelerated:
        flow, jump = flow[: m - 1, : m - 1], jump[:1, :1]
    eye = np.eye(len(flow))
    G = np.kron(flow, eye) + np.kron(eye, flow)
    for (i, j), rate in zip(edges, rates, strict=True):
        b = basis[i] - basis[j]
        step = eye - np.kron(jump, np.outer(b, b))
        G += rate * (np.kron(step, step) - np.eye(len(G)))
    return np.linalg.eigvals(G).real.max()


seeds, sizes = 16, (8, 16, 32)
decay, slopes, chi = {}, {}, {}
for m in sizes:
    graph = tp.ring(m)
    rates = exchange_rates(graph, 1.0)[1]
    chi[m] = tp.chi1(graph, rates), tp.chi2(graph, rates)
    for accelerated in (False, True):
        run = simulate(
            partial(acid, accelerated=accelerated), average(m, dim=8), graph, duration=320.0, eval_every=4.0, seeds=seeds,
            hyper={"lr": 0.0}, precision="float64",
        )  # fmt: skip
        table = run.to_pandas().pivot(index="time", columns="seed", values="consensus")
        clock, values = table.index.to_numpy(), table.to_numpy()
        values = values / values[0]
        decay[m, accelerated] = clock, values
        found = []
        for line in values.T:
            last = np.flatnonzero(line > 1e-22)[-1]
            part = slice(last // 3, last + 1)
            found.append(np.polyfit(clock[part], np.log(line[part]), 1)[0])
        slopes[m, accelerated] = np.array(found)
exact = {(m, a): exact_rate(tp.ring(m), a) for m in (8, 16) for a in (False, True)}

figure, panels = blank(9.6, 3.8, 1, 2)
for number, m in enumerate(sizes):
    for accelerated in (False, True):
        clock, values = decay[m, accelerated]
        shown = np.maximum(values, 1e-30)
        panels[0].semilogy(
            clock, np.exp(np.log(shown).mean(axis=1)), color=COLOURS[number], ls=DASHES[int(not accelerated)], lw=1.5,
            label=f"n = {m}" if accelerated else None,
        )  # fmt: skip
        panels[0].fill_between(
            clock, shown.min(axis=1), shown.max(axis=1), color=COLOURS[number], alpha=0.15, lw=0
        )
panels[0].set_ylim(1e-16, 2)
panels[0].set_xlim(0, 410)
frame(
    panels[0],
    "time (exchanges of a node)",
    "distance to consensus by its start",
    "rings, solid: with momentum, dashed: without;\nband: min to max of 16 seeds",
)
panels[0].legend(frameon=False, fontsize=9, loc="center right")
for accelerated, name in ((False, "no momentum"), (True, "with momentum")):
    number = int(accelerated)
    mine = np.array([-slopes[m, accelerated] for m in sizes])
    panels[1].errorbar(
        sizes, mine.mean(axis=1), yerr=mine.std(axis=1), fmt=MARKERS[number], color=COLOURS[number], ms=5, capsize=3,
        label=name,
    )  # fmt: skip
    order = [1 / np.sqrt(chi[m][0] * chi[m][1]) if accelerated else 1 / chi[m][0] for m in sizes]
    panels[1].loglog(sizes, order, color=COLOURS[number], ls=DASHES[1 - number], lw=1.2)
    panels[1].plot(
        (8, 16), [-exact[m, accelerated] for m in (8, 16)], "_", color=COLOURS[number], ms=16, mew=2,
        label="exact rate of E ‖X − X̄‖²" if accelerated else None,
    )  # fmt: skip
frame(panels[1], "nodes n", "decay rate of the distance (1 / time)", "lines: 1/χ₁ and 1/√(χ₁χ₂)")
for axis in (panels[1].xaxis, panels[1].yaxis):
    plain_log(axis)
panels[1].legend(frameon=False, fontsize=8)
figure

# %%
for m in (8, 16):
    for accelerated, name in ((False, "no momentum"), (True, "momentum")):
        claims.between(
            f"ring of {m}, {name}: slope of typical runs over the exact rate of E: at least 1 (less 5 %: 16 seeds)",
            0.95,
            1.6,
            slopes[m, accelerated].mean() / exact[m, accelerated],
        )
claims.at_least(
    "ring of 32: slope with the momentum over that without",
    3.0,
    slopes[32, True].mean() / slopes[32, False].mean(),
)
for accelerated, name, power in (
    (False, "no momentum: 1/χ₁ ~ n²", -2.0),
    (True, "momentum: 1/√(χ₁χ₂) ~ n", -1.0),
):
    fit = np.polyfit(np.log(sizes), np.log([-slopes[m, accelerated].mean() for m in sizes]), 1)[0]
    claims.close(f"rings of 8 to 32, {name}: power of n in the slope (0.25: small n)", power, fit, abs=0.25)

# %% [markdown]
# Almost every run decays a little faster than the expectation does, which rare unlucky runs dominate; hence the ratios
# above 1.
#
# ## Claims

# %%
claims
