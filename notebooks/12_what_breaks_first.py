# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 12 What breaks a network first
#
# Nodes leave, links lose messages, messages come late, nodes sleep. Let each of them spoil about **30 % of the messages**
# and ask which hurts first, and how: does averaging *slow down*, does it *split*, or does it end at a *wrong mean*?
# Five graphs: a ring, a torus, Barabási-Albert ($m = 2$), random geometric, 8-regular.
#
# Almost everything here is linear, so that nearly all of it can be predicted exactly. Rows of the table are marked:
# *exact* is linear algebra at this $n$; *asymptotic* is theory for large $n$; *inferred* are our own thresholds, some of
# them set after a look at first runs.

# %%
# %matplotlib inline
from functools import cache

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pandas as pd
from scipy.linalg import block_diag
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from dlax import channel, faults, problems
from dlax import topology as tp
from dlax.algorithms import dsgd, gossip, push_sum
from dlax.claims import Claims
from dlax.data import digits, dirichlet
from dlax.faults.nodes import rank
from dlax.papers import unmeasured
from dlax.plots import COLOURS, MARKERS, blank, frame
from dlax.simulate import run_rounds
from dlax.types import Channel, Fault, Outage, Pieces

claims = Claims()


def band(axes, x, table, number, label, **options):
    """A line of means and a band from the least to the largest; the table is [draws, points]."""
    colour = COLOURS[number]
    axes.plot(x, table.mean(axis=0), color=colour, lw=1.8, label=label, **options)
    axes.fill_between(x, table.min(axis=0), table.max(axis=0), color=colour, alpha=0.2, lw=0)


# %% [markdown]
# ## 1. Nodes leave: hubs and percolation
#
# $n = 4000$. A share $f$ of the nodes leaves, at random or those of highest degree first. Let a node of degree $k$ stay with
# probability $q_k$. On a random graph with degree distribution $p_k$ and nothing else (Callaway, Newman, Strogatz, Watts
# 2000), with
#
# $$F_0(x) = \sum_k p_k q_k x^k, \qquad F_1(x) = F_0'(x) / \langle k \rangle,$$
#
# a branch of an edge is finite with the probability $u = 1 - F_1(1) + F_1(u)$, and the largest component holds the share
# $S = F_0(1) - F_0(u)$ of all nodes. It disappears where $F_1'(1) = 1$. For random loss $q_k = 1 - f$ that is Molloy and
# Reed's criterion, $f_c = 1 - 1/(\kappa - 1)$ with $\kappa = \langle k^2\rangle / \langle k \rangle$.

# %%
SHARES, DRAWS, LARGE = np.linspace(0.0, 0.95, 20), 3, 4000


def survivors(degree, share, order):
    """Degrees k, p_k and q_k."""
    k, count = np.unique(degree, return_counts=True)
    if order == "random":
        return k, count / count.sum(), np.full(len(k), 1 - share)
    left = np.sort(degree)[: len(degree) - int(share * len(degree) + 1e-9)]
    return k, count / count.sum(), np.array([np.sum(left == each) for each in k]) / count


def predicted_giant(degree, order):
    """S of the theory at every share, for the degrees of one graph."""
    made = [survivors(degree, share, order) for share in SHARES]
    k, p, q = made[0][0], made[0][1], np.stack([each[2] for each in made])
    u = np.full(len(SHARES), 0.5)
    for _ in range(500):
        u = 1 - ((1 - u[:, None] ** (k - 1.0)) * q) @ (p * k) / (p @ k)
    return ((1 - u[:, None] ** k) * q) @ p


def branching(degree, share, order):
    """F₁'(1): how many edges a surviving edge leads on to; below 1 there is no large component."""
    k, p, q = survivors(degree, share, order)
    return p * q * k @ (k - 1.0) / (p @ k)


def measured_giant(links, degree, share, order, seed):
    """Share of all nodes in the largest component of what is left of a matrix of links."""
    n, chance = links.shape[0], np.random.default_rng(seed).permutation(links.shape[0])
    first = chance if order == "random" else np.lexsort((chance, -degree))
    there = np.sort(first[int(share * n + 1e-9) :])
    return np.bincount(connected_components(links[there][:, there])[1]).max() / n


@cache
def preferential(seed):
    return tp.barabasi_albert(LARGE, m=2, seed=seed).graph()


def rewired(seed):
    """The degrees of a Barabási-Albert graph, and nothing else of it."""
    return nx.configuration_model([d for _, d in preferential(seed).degree()], seed=seed)


SCENES = {
    "Barabási-Albert, random": (preferential, "random"),
    "Barabási-Albert, hubs first": (preferential, "degree"),
    "its degrees, rewired, hubs first": (rewired, "degree"),
    "8-regular, random": (lambda seed: tp.random_regular(LARGE, degree=8, seed=seed).graph(), "random"),
}
giant, theory_giant, vanishes = {}, {}, {}
for name, (make, order) in SCENES.items():
    graphs = [csr_array(nx.to_scipy_sparse_array(make(seed), nodelist=range(LARGE))) for seed in range(DRAWS)]
    degrees_of = [np.asarray(graph.sum(axis=1)).astype(int) for graph in graphs]
    giant[name] = np.array(
        [
            [measured_giant(g, d, share, order, seed) for share in SHARES]
            for seed, (g, d) in enumerate(zip(graphs, degrees_of, strict=True))
        ]
    )
    theory_giant[name] = np.mean([predicted_giant(degree, order) for degree in degrees_of], axis=0)
    degree = degrees_of[0]
    fine = np.linspace(0, 1, 1001)[:-1]
    vanishes[name] = float(fine[np.argmax([branching(degree, f, order) < 1 for f in fine])])

# %%
figure, (axes,) = blank(7.4, 4.2)
for number, name in enumerate(SCENES):
    band(axes, SHARES, giant[name], number, name, marker=MARKERS[number], ms=4)
    axes.plot(
        SHARES, theory_giant[name], color="black", lw=1, ls="--", label="theory" if number == 3 else None
    )
    axes.axvline(vanishes[name], color=COLOURS[number], lw=0.9, ls=":")
frame(
    axes,
    "share of nodes that left",
    "share of all nodes in the largest component",
    f"n = {LARGE}, {DRAWS} graphs, band: min to max; dotted: predicted threshold",
)
axes.legend(frameon=False, fontsize=9)
figure

# %%
for name in SCENES:
    off = float(np.abs(giant[name].mean(axis=0) - theory_giant[name]).max())
    claims.at_most(f"{name}: largest component against theory, largest difference (asymptotic)", 0.05, off)
claims.close(
    "8-regular: Molloy-Reed threshold against 1 − 1/(k − 1) (asymptotic)",
    1 - 1 / 7,
    vanishes["8-regular, random"],
    abs=1e-3,
)


def falls(table):
    """The share removed at which fewer than 5 % of the nodes hang together."""
    return float(np.interp(-0.05, -table.mean(axis=0), SHARES))


hubs, chance = "Barabási-Albert, hubs first", "Barabási-Albert, random"
claims.close(
    "hubs first: share at which the largest component is below 5 % of n, against the threshold (asymptotic)",
    vanishes[hubs],
    falls(giant[hubs]),
    abs=0.05,
)
claims.at_least(
    "Barabási-Albert: random loss needs so many times the share of hubs to do the same (asymptotic)",
    2.0,
    falls(giant[chance]) / falls(giant[hubs]),
)

# %% [markdown]
# Hubs hold a scale-free graph together, and it falls apart without them; without *random* nodes it hardly does. The theory
# knows the degrees alone. A Barabási-Albert graph has correlations besides: late nodes link to early ones, so that without
# hubs it falls apart sooner than predicted (the row that fails). Rewired, with its degrees and nothing else, it does as
# it should, but for what $n$ is short of infinity.
#
# ## 2. One stage for all that follows
#
# $n = 24$ nodes a graph, small enough to be exact. All five graphs run side by side as blocks of one network, and with them
# 25 rings of four nodes (section 5), so that one compiled program has every kind of failing link and sleeper. Node values
# $v$ have mean 0 and variance 1, and correlate with degrees: hubs know more, which is what makes wrong weights show.

# %%
N, RATE, SEEDS = 24, 0.3, 8
GRAPHS = {
    "ring": tp.ring(N),
    "torus": tp.torus(N, rows=4),
    "Barabási-Albert": tp.barabasi_albert(N, m=2, seed=1),
    "geometric": tp.random_geometric(N, seed=1),
    "8-regular": tp.random_regular(N, degree=8, seed=1),
}
MATRICES = {name: graph.dense() for name, graph in GRAPHS.items()}
LITTLE, COPIES = np.array([2.0, -1.0, 0.5, -1.5]), 25  # on a ring of four
STAGE = tp.from_matrix(
    block_diag(*MATRICES.values(), *[tp.ring(4).dense()] * COPIES), name="all graphs", allow_disconnected=True
)


def scaled(values):
    return (values - values.mean()) / values.std()


noise = scaled(np.random.default_rng(0).normal(size=N))
degrees = {name: graph.degrees.astype(float) for name, graph in GRAPHS.items()}
START = {
    name: noise if np.ptp(d) == 0 else scaled(noise + scaled(d))  # hubs know more
    for name, d in degrees.items()
}
PROBLEM = problems.average_of(np.concatenate([*START.values(), np.tile(LITTLE, COPIES)])[:, None])


def follow(build, kinds, rounds, *, every=2, seeds=SEEDS, problem=PROBLEM, stage=STAGE, watch=None):
    """What all nodes hold at every evaluation, [kinds, seeds, evaluations, n]; `build(kind)` makes the pieces."""
    seen = []

    def look(snapshot):
        state = snapshot.carry.state
        seen.append(np.array(watch(state) if watch else state.params["x"][..., 0]))

    run_rounds(
        lambda hyper: build(hyper["kind"]), problem, stage, rounds=rounds, eval_every=every, precision="float64",
        seeds=range(seeds), hyper={"kind": list(map(float, kinds))}, on_block=look,
    )  # fmt: skip
    values = np.stack(seen, axis=1)
    return values.reshape(len(kinds), seeds, *values.shape[1:])


def five(values):
    """The five graphs of what the stage holds: [..., 5, n]."""
    return values[..., : 5 * N].reshape(*values.shape[:-1], 5, N)


def disagreement(values, there=None):
    """Variance over the nodes (that are there)."""
    return values.var(axis=-1) if there is None else np.var(values, axis=-1, where=there)


# %% [markdown]
# ## 3. Links lose messages: the exact rate
#
# Every directed message is lost with probability $p$, independently, and its weight returns to the receiver: with
# $\xi_{ij} \in \{0, 1\}$ for "arrives",
#
# $$W_t = I - \sum_{ij} \xi_{ij} w_{ij}\, e_i (e_i - e_j)^\top, \qquad
# \mathbb E[W^\top P\, W] = \bar W^\top P \bar W + p(1-p) \sum_{ij} w_{ij}^2 P_{ii}\,(e_i - e_j)(e_i - e_j)^\top .$$
#
# The second is a linear map $\mathcal T$ of $P$. $x_t^\top P x_t$ has the expectation $v^\top \mathcal T^t(P)\, v$: exactly
# the disagreement for $P = (I - J)/n$, and exactly the mean's error $\mathbb E\,(\bar x_t - \bar v)^2$ for $P = J/n$.
# The rate is the largest eigenvalue of $\mathcal T$ on what is left of it beside consensus.

# %%
CENTRE, MEAN = np.eye(N) - 1 / N, np.full((N, N), 1 / N**2)


def links_lost(W, p):
    """T of independent losses of directed messages."""
    w = W - np.diag(np.diag(W))
    mean = np.diag(1 - (1 - p) * w.sum(axis=1)) + (1 - p) * w
    squared = p * (1 - p) * w**2

    def step(P):
        V = squared * np.diag(P)[:, None]  # what (e_i − e_j)(e_i − e_j)ᵀ is weighed with
        spread = np.diag(V.sum(axis=1) + V.sum(axis=0)) - V - V.T
        return mean.T @ P @ mean + spread

    return step


def sleepers(W, a):
    """T of nodes that are awake with probability a, in every round anew; a link works if both its ends are."""
    w = W - np.diag(np.diag(W))
    L = np.diag(w.sum(axis=1)) - w
    mean = np.eye(N) - a**2 * L
    stars = np.stack([np.diag(w[i]) + w[i].sum() * np.outer(np.eye(N)[i], np.eye(N)[i]) for i in range(N)])
    for i in range(N):
        stars[i, i, :] -= w[i]
        stars[i, :, i] -= w[i]

    def step(P):
        d = np.diag(P)
        V = w**2 * (d[:, None] + d[None] - P - P.T)  # of every edge twice: once as ij, once as ji
        single = np.diag(V.sum(axis=1)) - V
        shared = (stars @ P @ stars).sum(axis=0) - 2 * single
        return mean @ P @ mean + (a**3 - a**4) * shared + (a**2 - a**4) * single

    return step


def expected(step, P, v, rounds):
    """E xᵀPx in every round."""
    out = []
    for _ in range(rounds + 1):
        out.append(v @ P @ v)
        P = step(P)
    return np.array(out)


def rate_of(step, rounds=400):
    """The factor on E‖x − x̄‖² in a round, in the long run."""
    P = CENTRE.copy()
    for _ in range(rounds):
        P = CENTRE @ step(P) @ CENTRE  # rounding would bring consensus back, which does not shrink
        size = np.trace(P)
        P /= size
    return float(size)


ROUNDS = 280
HARDLY = 0.01  # of the first disagreement: when averaging counts as done


def rounds_until(curve, times, level=HARDLY):
    """When a disagreement [..., times] first is below a share of what it was, log-linear between; inf: never."""
    curve = np.atleast_2d(curve)
    out = np.full(len(curve), np.inf)
    for row, values in enumerate(curve):
        below = np.flatnonzero(values <= level * values[0])
        if len(below):
            after = below[0]
            high, low = np.log(values[after - 1]), np.log(max(values[after], 1e-300))
            part = (high - np.log(level * values[0])) / (high - low)
            out[row] = times[after - 1] + part * (times[after] - times[after - 1])
    return out


def powers(W, v, rounds):
    """The disagreement of plain gossip in every round."""
    out = [v.var()]
    for _ in range(rounds):
        v = W @ v
        out.append(v.var())
    return np.array(out)


EVERY = np.arange(ROUNDS + 1)
UNDISTURBED = {name: rounds_until(powers(W, START[name], ROUNDS), EVERY)[0] for name, W in MATRICES.items()}
AWAKE, NAP, BURST = np.sqrt(1 - RATE), 10.0, 10.0
# The parts of a network that is split do not hear half of their links; 1.5 of 2.5 times what averaging takes: 30 %.
HEALS = np.concatenate([np.repeat([1.5 * UNDISTURBED[name] for name in GRAPHS], N), np.zeros(4 * COPIES)])[
    :, None
]
LENGTHS = np.array([1 / (1 - RATE), 4, 10, 40])  # of bursts; the first are independent losses
LOSSY, BURSTY, SPLIT, FRESH, NAPS, CYCLES, BATTERIES = 0, 2, *range(4, 9)
DRAINS = np.linspace(0.01, 2, 2000)[:, None]


def radio_of(degree):
    """What a message costs if a round's charge is 1, so that nodes are awake for a share of √0.7 on average."""
    awake = np.minimum(1, 1 / (DRAINS * degree * AWAKE)).mean(axis=1)  # who sleeps is not sent to
    return np.full(N, DRAINS[np.argmin(np.abs(awake - AWAKE)), 0])


RADIO = (
    np.concatenate([*[radio_of(degree) for degree in degrees.values()], np.zeros(4 * COPIES)]) / 64
)  # of a bit


def failing(kind):
    """Of all failing links and sleepers one kind: bursts of four lengths, SPLIT, FRESH, ..."""
    length = jnp.asarray(LENGTHS)[jnp.minimum(kind, 3).astype(int)]
    wake = jnp.where(kind == NAPS, 1 / NAP, AWAKE)
    fall = jnp.where(kind == NAPS, (1 / AWAKE - 1) / NAP, jnp.where(kind == FRESH, 1 - AWAKE, 0.0))
    fails = (
        faults.bursts(jnp.where(kind < 4, RATE / (1 - RATE) / length, 0.0), 1 / length, symmetric=False),
        faults.split(0.0, jnp.where(kind == SPLIT, HEALS, 0.0), by="random"),
        faults.on_off(fall, wake),
        faults.cyclic(24.0, jnp.where(kind == CYCLES, 24 * AWAKE, 24.0), phases="random"),
        faults.battery(20.0, 0.0, jnp.where(kind == BATTERIES, RADIO, 0.0), 1.0, 0.5),
    )
    return Pieces(gossip(), channel.linear(), None, faults.together(faults=fails))


everything = follow(failing, range(9), ROUNDS)
by_kind, rings = five(everything), everything[..., 5 * N :].reshape(*everything.shape[:-1], COPIES, 4)
TIMES = 2 * np.arange(by_kind.shape[2])
curves = {
    name: expected(links_lost(MATRICES[name], RATE), CENTRE / N, START[name], ROUNDS)[::2] for name in GRAPHS
}
rates = pd.DataFrame(
    {
        "no losses": {name: max(np.abs(np.linalg.eigvalsh(W - 1 / N))) ** 2 for name, W in MATRICES.items()},
        "exact": {name: rate_of(links_lost(W, RATE)) for name, W in MATRICES.items()},
        "λ₂ of E[WᵀW], a bound": {
            name: float(np.linalg.eigvalsh(links_lost(W, RATE)(CENTRE))[-1]) for name, W in MATRICES.items()
        },
        "(1 − (1 − p) gap)²": {
            name: (1 - (1 - RATE) * (1 - np.sort(np.linalg.eigvalsh(W))[-2])) ** 2
            for name, W in MATRICES.items()
        },
    }
)
rates.round(4)

# %%
figure, (left, right) = blank(11, 4.2, 1, 2)
for number, name in enumerate(GRAPHS):
    several = disagreement(by_kind[LOSSY, :, :, number])
    shown = curves[name] > 1e-8
    band(left, TIMES[shown], several[:, shown], number, name)
    left.plot(TIMES[shown], curves[name][shown], color="black", lw=0.9, ls="--")
left.set_yscale("log")
frame(
    left,
    "round",
    "disagreement",
    f"losses of {RATE:.0%}; {SEEDS} seeds, band: min to max; dashed: exact mean",
)
left.legend(frameon=False, fontsize=9)
errors = np.sqrt(np.mean(by_kind[LOSSY, :, -1].mean(axis=-1) ** 2, axis=0))
exact_errors = [
    np.sqrt(expected(links_lost(MATRICES[name], RATE), MEAN, START[name], ROUNDS)[-1]) for name in GRAPHS
]
right.plot(range(5), exact_errors, "_", color="black", ms=22, mew=1.6, label="exact standard deviation")
for number in range(5):
    ends = by_kind[LOSSY, :, -1, number].mean(axis=-1)
    right.plot(
        np.full(SEEDS, number), np.abs(ends), MARKERS[number], color=COLOURS[number], ms=3.5, alpha=0.5
    )
right.set_xticks(range(5), list(GRAPHS), rotation=20)
frame(right, "", "error of the mean it ends at, |x̄ − v̄|", f"{SEEDS} seeds; v has standard deviation 1")
right.legend(frameon=False, fontsize=9)
figure

# %%
MOMENT = 10  # rounds
for name in ("ring", "torus"):
    number = list(GRAPHS).index(name)
    found = disagreement(by_kind[LOSSY, :, MOMENT // 2, number])
    claims.close(
        f"{name}: disagreement after {MOMENT} lossy rounds, mean of seeds; 3 standard errors (exact)",
        float(curves[name][MOMENT // 2]),
        float(found.mean()),
        abs=3 * float(found.std(ddof=1)) / SEEDS**0.5,
    )
claims.at_least(
    "bound λ₂(E[WᵀW]) less the exact rate, least over graphs (derived: a bound)",
    0.0,
    float((rates["λ₂ of E[WᵀW], a bound"] - rates["exact"]).min()),
)
claims.at_most(
    "rate less that of E[W], (1 − (1 − p) gap)², largest over graphs (inferred: losses act as laziness)",
    0.02,
    float((rates["exact"] - rates["(1 − (1 − p) gap)²"]).abs().max()),
)
claims.at_most(
    "error of the mean, root mean square over seeds against exact, largest relative difference (exact; 8 seeds)",
    0.55,
    float(np.max(np.abs(errors / exact_errors - 1))),
)

# %% [markdown]
# Independent losses are benign: they make $W$ lazier, by the factor $1 - p$ on the gap, and move the mean a little, since
# a message may arrive in one direction alone.
#
# ## 4. Where the weight of a lost message goes
#
# It can return to the receiver, to the sender, be shared by what arrived, or be gone. What each keeps:
#
# * **receiver**: rows sum to one. The mean is kept in expectation, since $\mathbb E[W]$ is doubly stochastic.
# * **sender**: columns sum to one. The mean is kept exactly, but consensus is no fixed point: $S_t = \mathbb E[x x^\top]$
#   follows $S \mapsto \bar W S \bar W^\top + p(1-p)\sum_{ij} w_{ij}^2 S_{jj} (e_i - e_j)(e_i - e_j)^\top$, and stays
#   above zero unless $v$ has mean 0 (here it is set to 1 for this).
# * **renormalise**: rows sum to one, and $\mathbb E[W]$ is *not* doubly stochastic: by how much a weight grows depends on how
#   many other neighbours there are. $\mathbb E[x_\infty] = \pi^\top v$ with its left Perron vector $\pi$, for which we sum
#   over all subsets of neighbours.
# * **gone**: nothing is kept. $\mathbb E[x_t] = (W_\text{diag} + (1-p) W_\text{off})^t v$ fades to 0.
# * **push-sum over sender**: $s$ and $w$ keep their columns, their ratio forgets what stays behind: the exact mean.

# %%
BA = list(GRAPHS).index("Barabási-Albert")
TESTED, KEPT = MATRICES["Barabási-Albert"], ("receiver", "sender", "renormalise", "gone")
SHIFTED = problems.average_of(START["Barabási-Albert"][:, None] + 1)  # mean 1
ALONE = GRAPHS["Barabási-Albert"]
MANY, LATE = 80, 240


def booked(kind):
    """Push-sum over one of four books; its mass is plain gossip, its ratio push-sum."""
    books = [channel.linear(RATE, lost=lost) for lost in KEPT]

    def mix(link, message, network):
        made = [book.mix(link, message, network) for book in books]
        received = jax.tree.map(lambda *each: jnp.stack(each)[kind.astype(int)], *[one[0] for one in made])
        return received, link, made[0][2]

    return Pieces(push_sum(), Channel(lambda message, network: (), mix), None, None)


held = follow(
    booked, range(4), LATE, every=8, seeds=MANY, problem=SHIFTED, stage=ALONE,
    watch=lambda state: np.concatenate([state.mass["x"], state.params["x"]], axis=-1),
)  # fmt: skip
books = {lost: held[number, ..., 0] for number, lost in enumerate(KEPT)} | {"push-sum": held[1, ..., 1]}


def renormalised(W, p):
    """E[W] when what arrives shares the weight of what does not."""
    out = np.zeros_like(W)
    for i, row in enumerate(W):
        heard = np.flatnonzero(row * (np.arange(len(W)) != i))
        arrives = (np.arange(2 ** len(heard))[:, None] >> np.arange(len(heard))) & 1
        chance = ((1 - p) ** arrives * p ** (1 - arrives)).prod(axis=1)
        total = row[i] + arrives @ row[heard]
        out[i, heard] = (chance / total) @ arrives * row[heard]
        out[i, i] = (chance / total).sum() * row[i]
    return out


def perron(W):
    values, vectors = np.linalg.eig(W.T)
    pi = np.real(vectors[:, np.argmax(values.real)])
    return pi / pi.sum()


v = START["Barabási-Albert"] + 1
off = TESTED - np.diag(np.diag(TESTED))
fading = np.linalg.matrix_power(np.diag(np.diag(TESTED)) + (1 - RATE) * off, 8) @ v
second = np.outer(v, v)
lazy = np.diag(1 - (1 - RATE) * off.sum(axis=0)) + (1 - RATE) * off
for _ in range(LATE):
    V = RATE * (1 - RATE) * off**2 * np.diag(second)[None]
    second = lazy @ second @ lazy.T + np.diag(V.sum(axis=1) + V.sum(axis=0)) - V - V.T
predicted_mean = {
    "receiver": 1.0, "sender": 1.0, "renormalise": float(perron(renormalised(TESTED, RATE)) @ v), "push-sum": 1.0,
}  # fmt: skip
ends = {name: values[:, -1].mean(axis=-1) for name, values in books.items()}
pd.DataFrame(
    {
        "mean at the end": {name: end.mean() for name, end in ends.items()},
        "predicted": predicted_mean | {"gone": 0.0},
        "deviation over seeds": {name: end.std(ddof=1) for name, end in ends.items()},
        "disagreement at the end": {
            name: values[:, -1].var(axis=-1).mean() for name, values in books.items()
        },
    }
).round(4)

# %%
figure, (left, right) = blank(11, 4.0, 1, 2)
steps = 8 * np.arange(LATE // 8 + 1)
for number, (name, values) in enumerate(books.items()):
    several = values.mean(axis=-1)
    left.plot(
        steps, several.mean(axis=0), color=COLOURS[number], marker=MARKERS[number], ms=3, lw=1.6, label=name
    )
    low, high = np.quantile(several, [0.05, 0.95], axis=0)
    left.fill_between(steps, low, high, color=COLOURS[number], alpha=0.2, lw=0)
    spread = values.var(axis=-1).mean(axis=0)
    right.semilogy(steps, spread.clip(1e-12), color=COLOURS[number], marker=MARKERS[number], ms=3, lw=1.6)
left.axhline(predicted_mean["renormalise"], color="black", lw=1, ls="--")
right.axhline(np.trace(CENTRE @ second) / N, color="black", lw=1, ls="--")
frame(left, "round", "mean over nodes (v̄ = 1)", f"{MANY} seeds, band: 5 to 95 %; dashed: renormalise, exact")
frame(right, "round", "disagreement, mean over seeds", "dashed: sender, exact")
left.legend(frameon=False, fontsize=9)
figure


# %%
def error(values):
    """Three standard errors of a mean over seeds."""
    return 3 * float(values.std(ddof=1)) / len(values) ** 0.5


claims.close(
    "receiver: mean in expectation; 3 standard errors (exact)", 1.0, ends["receiver"].mean(), abs=error(ends["receiver"])
)  # fmt: skip
found = books["receiver"][:, 1].var(axis=-1)
claims.close(
    "receiver, Barabási-Albert: disagreement after 8 rounds; 3 standard errors (exact)",
    float(expected(links_lost(TESTED, RATE), CENTRE / N, START["Barabási-Albert"], 8)[-1]),
    float(found.mean()),
    abs=error(found),
)
claims.at_most("sender: the mean is kept in every run (exact)", 1e-12, np.abs(ends["sender"] - 1).max())
found = books["sender"][:, -1].var(axis=-1)
claims.close(
    "sender: disagreement that stays; 3 standard errors (exact)",
    float(np.trace(CENTRE @ second) / N),
    float(found.mean()),
    abs=error(found),
)
claims.close(
    "renormalise: mean it ends at, from the Perron vector of E[W]; 3 standard errors (exact)",
    predicted_mean["renormalise"],
    float(ends["renormalise"].mean()),
    abs=error(ends["renormalise"]),
)
claims.at_least(
    "renormalise: its bias is real: distance from v̄ in standard errors (inferred)",
    5.0,
    float(np.abs(ends["renormalise"].mean() - 1) / (error(ends["renormalise"]) / 3)),
)
found = books["gone"][:, 1].mean(axis=-1)
claims.close(
    "gone: mean after 8 rounds; 3 standard errors (exact)", float(fading.mean()), float(found.mean()), abs=error(found)
)  # fmt: skip
claims.at_most(
    "push-sum over sender: largest error of any node, any seed (exact)",
    1e-6,
    float(np.abs(books["push-sum"][:, -1] - 1).max()),
)

# %% [markdown]
# ## 5. Losses that come in bursts
#
# Gilbert and Elliott's links are good or bad, and bad ones lose all. On a ring of four nodes the state of the eight directed
# links is one of $2^8$; with $T(s, s')$ its transitions,
#
# $$M_{t+1}(s) = W_s^\top \Big(\sum_{s'} T(s, s')\, M_t(s')\Big) W_s, \qquad M_0 = (I - J)/n,$$
#
# and the disagreement has the expectation $\sum_s \pi(s)\, v^\top M_t(s)\, v$: the joint Markov operator, exact. The mean rate
# of loss is 30 % throughout; only the mean length of a burst, $1/\text{repair}$, differs. ($1/0.7$ is the length of
# independent losses.) Two parts of the ring hear nothing of one another while four directed links stay bad, which they do
# from one round to the next with the probability $(1 - 1/\text{length})^4$: the rate is at least that. Closer for long bursts:
# the largest eigenvalue of $T$ among all states in which nobody is heard by all ("stays split").

# %%
BRIEF, EARLY = 10, 6
ENDS = [(i, j) for i in range(4) for j in ((i + 1) % 4, (i - 1) % 4)]  # i hears j, weight 1/3
EDGE = np.stack([np.outer(np.eye(4)[i], np.eye(4)[i] - np.eye(4)[j]) / 3 for i, j in ENDS])
STATES = (np.arange(2**8)[:, None] >> np.arange(8)) & 1  # 1: bad
GIVEN = np.eye(4) - np.einsum("se,eij->sij", 1 - STATES, EDGE)
CHANCE = (RATE**STATES * (1 - RATE) ** (1 - STATES)).prod(axis=1)


def turns(length):
    """T(s, s')."""
    repair, fail = 1 / length, RATE / (1 - RATE) / length
    one = np.array([[1 - fail, fail], [repair, 1 - repair]])
    return np.prod([one[STATES[:, e][:, None], STATES[:, e][None]] for e in range(8)], axis=0)


def burst_curve(length, rounds):
    """E of the disagreement in every round; and the factor a round in the long run."""
    T, centre = turns(length), np.eye(4) - 1 / 4
    given = GIVEN @ centre  # rounding would bring consensus back
    M, out, scale = np.repeat(centre[None] / 4, 2**8, axis=0), [], 1.0
    for _ in range(rounds + 1):
        out.append(scale * CHANCE @ (M @ LITTLE @ LITTLE))
        M = given.transpose(0, 2, 1) @ (T @ M.reshape(2**8, 16)).reshape(M.shape) @ given
        size = np.abs(M).max()
        M, scale = M / size, scale * size
    return np.array(out), size


def splits(state):
    """Whether nobody is heard, over however many others, by all."""
    reach = np.linalg.matrix_power(np.abs(GIVEN[state]) > 0, 4) > 0
    return not reach.all(axis=0).any()


APART = np.flatnonzero([splits(state) for state in range(2**8)])


def mean_of(values):
    """Mean over seeds and copies, and its standard error."""
    return values.mean(), values.std(ddof=1) / values.size**0.5


exact = [burst_curve(length, 100) for length in LENGTHS]
little = disagreement(rings[: len(LENGTHS)])  # [lengths, seeds, times, copies]
measured = [mean_of(one[:, EARLY // 2]) for one in little]
bursts = pd.DataFrame(
    {
        "rate, exact": [rate for _, rate in exact],
        "(1 − 1/length)⁴": (1 - 1 / LENGTHS) ** 4,
        "stays split": [
            np.abs(np.linalg.eigvals(turns(length)[APART][:, APART])).max() for length in LENGTHS
        ],
        f"disagreement after {EARLY} rounds, exact": [curve[EARLY] for curve, _ in exact],
        "measured": [mean for mean, _ in measured],
        "standard error": [deviation for _, deviation in measured],
    },
    index=pd.Index(LENGTHS.round(2), name="length of a burst"),
)
bursts.map("{:.3g}".format)

# %%
figure, (left, right) = blank(11, 4.0, 1, 2)
for number, place in enumerate(range(4)):
    several = little[place, :, : BRIEF // 2 + 1].transpose(0, 2, 1).reshape(-1, BRIEF // 2 + 1)
    middle, deviation = several.mean(axis=0), several.std(axis=0) / len(several) ** 0.5
    left.errorbar(
        2 * np.arange(BRIEF // 2 + 1), middle, deviation, fmt=MARKERS[number], color=COLOURS[number], ms=5,
        label=f"bursts of {LENGTHS[place]:.2g}",
    )  # fmt: skip
    left.plot(exact[place][0][: BRIEF + 1], color=COLOURS[number], lw=1.2)
left.set_yscale("log")
left.set_ylim(1e-5, 5)
frame(
    left,
    "round",
    "disagreement",
    f"ring of 4, 30 % lost; mean of {SEEDS * COPIES}, standard error; lines: exact",
)
left.legend(frameon=False, fontsize=9)
right.plot(LENGTHS, 1 - bursts["rate, exact"], "o-", color=COLOURS[0], ms=5, label="exact")
right.plot(
    LENGTHS,
    1 - bursts["(1 − 1/length)⁴"],
    color="#666666",
    lw=1,
    ls="--",
    label="four links stay bad, a bound",
)
right.plot(LENGTHS, 1 - bursts["stays split"], color="#222222", lw=1, ls=":", label="stays split, any way")
right.set_xscale("log", base=2)
right.set_yscale("log")
frame(right, "mean length of a burst, rounds", "1 − rate of the disagreement")
right.legend(frameon=False, fontsize=9)
figure

# %%
gap_of = bursts[f"disagreement after {EARLY} rounds, exact"] - bursts["measured"]
claims.at_most(
    f"ring of 4: disagreement after {EARLY} rounds against the joint Markov operator, largest difference in standard "
    "errors (exact)",
    3.5,
    float(np.abs(gap_of / bursts["standard error"]).max()),
)
claims.at_least(
    "longer bursts at one mean rate: smallest step of the exact rate from length to length (exact)",
    0.0,
    float(np.diff(bursts["rate, exact"]).min()),
)
claims.at_least(
    "rate less (1 − 1/length)⁴, least over lengths (exact: a bound)",
    0.0,
    float((bursts["rate, exact"] - bursts["(1 − 1/length)⁴"]).min()),
)
claims.close(
    "bursts of 40: 1 − rate against that of staying split (asymptotic: 20 %)",
    float(1 - bursts["stays split"].iloc[-1]),
    float(1 - bursts["rate, exact"].iloc[-1]),
    rel=0.2,
)

# %% [markdown]
# Long bursts change what limits averaging: no longer the gap, but waiting for a link. (Later than the rounds shown, the
# expectation is that of a few unlucky runs, which two hundred do not hold.)
#
# ## 6. Nodes sleep
#
# Awake with probability $a = \sqrt{0.7}$, so that a link works with $a^2 = 0.7$, in every round anew; or in naps of ten
# rounds; or in cycles of 24 rounds, each node with its own phase; or when the battery is empty, which the radio drains: a
# node of many neighbours pays more. Links of one node fail together, so the exact map has terms for pairs of edges that
# share a node:
#
# $$\mathbb E[WPW] = \bar W P \bar W + (a^3 - a^4) \Big(\sum_i A_i P A_i - 2 \sum_e L_e P L_e\Big) + (a^2 - a^4) \sum_e L_e P L_e ,$$
#
# $\bar W = I - a^2 (I - W)$, $L_e$ the weighted Laplacian of an edge, $A_i$ of the star around node $i$.

# %%
sleepy = {
    name: expected(sleepers(MATRICES[name], AWAKE), CENTRE / N, START[name], 40)[::2] for name in GRAPHS
}
slow_rates = pd.DataFrame(
    {
        "exact": {name: rate_of(sleepers(W, AWAKE), 200) for name, W in MATRICES.items()},
        "(1 − a² gap)²": {
            name: (1 - AWAKE**2 * (1 - np.sort(np.linalg.eigvalsh(W))[-2])) ** 2
            for name, W in MATRICES.items()
        },
        "links lost independently": rates["exact"],
    }
)
slow_rates.round(4)

# %%
worst = 0.0
for number, name in enumerate(GRAPHS):
    found = disagreement(by_kind[FRESH, :, MOMENT // 2, number])
    worst = max(worst, abs(found.mean() - sleepy[name][MOMENT // 2]) / (found.std(ddof=1) / SEEDS**0.5))
claims.at_most(
    f"sleepers, five graphs: disagreement after {MOMENT} rounds, largest difference in standard errors (exact)",
    3.5,
    float(worst),
)
claims.at_most(
    "sleepers, and a split network: the mean is kept in every run, links failing both ways (exact)",
    1e-12,
    float(np.abs(by_kind[SPLIT:, :, -1].mean(axis=-1)).max()),
)
claims.at_most(
    "sleepers: rate against (1 − a² gap)², largest difference (inferred: both ends must be awake)",
    0.02,
    float((slow_rates["exact"] - slow_rates["(1 − a² gap)²"]).abs().max()),
)

# %% [markdown]
# ## 7. Messages come late
#
# Every message takes $D$ rounds; a node's own value is never late. With $W = W_d + W_o$ (diagonal and rest) and the
# stacked vector $(x_t, x_{t-1}, \dots, x_{t-D})$
#
# $$x_{t+1} = W_d\, x_t + W_o\, x_{t-D},$$
#
# and the rate is the largest modulus of this matrix's eigenvalues whose vectors are not the same for all nodes. For a slow
# mode, $\lambda = 1 - \varepsilon$ gives $\varepsilon = \text{gap} / (1 + D (1 - W_{ii}))$ to first order. The mean is not kept: the
# left eigenvector of 1 is $(\mathbf 1, W_o^\top \mathbf 1, \dots)$, so that a node counts by what it gives away, too. Until the
# first message arrives, in rounds $0, \dots, D - 1$, its weight stays with the receiver.

# %%
DELAYS = (0, 1, 2)


def late_or_less(kind):
    """One of three delays, or of the rows of masks that section 8 draws."""
    delay = jnp.where(kind < len(DELAYS), jnp.asarray(DELAYS)[jnp.minimum(kind, 2).astype(int)], 0)
    return Pieces(gossip(), channel.delayed(mean=delay, law="fixed", most=2), None, leaving(kind))


def augmented(W, delay):
    own, rest = np.diag(np.diag(W)), W - np.diag(np.diag(W))
    if not delay:
        return W
    A = np.eye(N * (delay + 1), k=-N)
    A[:N, :N], A[:N, -N:] = own, rest
    return A


def slowest(A):
    """The largest modulus of an eigenvalue at which nodes differ."""
    values, vectors = np.linalg.eig(A)
    differ = np.linalg.norm(CENTRE @ vectors[:N], axis=0) > 1e-6 * np.linalg.norm(vectors[:N], axis=0)
    return float(np.abs(values[differ]).max())


WAYS, LEAVE, DRAWN = ("random", "degree", "betweenness", "k_core", "disc"), 4, 6
rng = np.random.default_rng(1)


def distances(graph):
    """In the plane where there are places, in hops elsewhere."""
    if "geometric" in graph.name:
        return np.linalg.norm(graph.positions[:, None] - graph.positions[None], axis=2)
    hops = dict(nx.all_pairs_shortest_path_length(graph.graph()))
    return np.array([[hops[i][j] for j in range(N)] for i in range(N)], float)


def out_of(graph, how):
    """Who leaves, [draws, n]: the centralities have one draw."""
    if how == "random":
        return np.array([rng.permutation(N) < LEAVE for _ in range(DRAWN)])
    if how == "disc":
        far = distances(graph)
        centres = rng.choice(N, DRAWN, replace=False)
        return np.array([np.argsort(np.argsort(far[c], kind="stable")) < LEAVE for c in centres])
    return np.tile(rank(graph, how) < LEAVE, (DRAWN, 1))


MASKS = np.stack([np.concatenate([out_of(g, how) for g in GRAPHS.values()], axis=1) for how in WAYS])


def leaves(masks):
    """A fault of one's own is a function: those of a row of the masks are gone from the start."""

    def fault(row):
        def step(memory, site):
            return Outage(gone=site.arrays[row.astype(int)]), memory

        return Fault(step, lambda topology: masks)

    return fault


ROWS = np.zeros(
    (len(DELAYS) + MASKS[..., 0].size, STAGE.n), bool
)  # first nobody, as often as there are delays
ROWS[len(DELAYS) :, : 5 * N] = MASKS.reshape(-1, 5 * N)
leaving = leaves(ROWS)
both = five(follow(late_or_less, range(len(ROWS)), ROUNDS, seeds=1)[:, 0])
late_values, left_over = both[: len(DELAYS)], both[len(DELAYS) :].reshape(len(WAYS), DRAWN, -1, 5, N)
delay_rates = pd.DataFrame(
    {name: [slowest(augmented(W, D)) for D in DELAYS] for name, W in MATRICES.items()}, index=DELAYS
)
measured_rates, stays, off_course = delay_rates * np.nan, delay_rates * np.nan, 0.0
for number, name in enumerate(GRAPHS):
    for D in DELAYS:
        told = late_values[DELAYS.index(D), :, number]
        spread = np.sqrt(told.var(axis=-1))
        envelope = np.maximum.accumulate(spread[::-1])[::-1]  # it may oscillate
        begin, end = (int(np.argmax(envelope < level)) for level in (1e-4, 1e-12))
        end = end or len(TIMES) - 1
        begin = begin if begin and end - begin > 5 else len(TIMES) // 2
        slope = np.polyfit(TIMES[begin:end], np.log(envelope[begin:end]), 1)[0]
        measured_rates.loc[D, name] = np.exp(slope)
        stays.loc[D, name] = told[-1].mean()
        stacked = np.tile(START[name], D + 1)  # nothing arrives before round D
        A = augmented(MATRICES[name], D)
        for t in range(D, ROUNDS + 1):
            if t % 2 == 0:
                off_course = max(off_course, np.abs(stacked[:N] - told[t // 2]).max())
            stacked = A @ stacked
delay_rates.round(4)

# %%
figure, (left, right) = blank(11, 4.0, 1, 2)
for number, name in enumerate(GRAPHS):
    left.plot(DELAYS, 1 - delay_rates[name], color=COLOURS[number], lw=1.4, label=name)
    left.plot(DELAYS, 1 - measured_rates[name], MARKERS[number], color=COLOURS[number], ms=5)
    right.plot(DELAYS, stays[name], color=COLOURS[number], marker=MARKERS[number], ms=5, lw=1.4)
left.set_yscale("log")
left.set_xticks(DELAYS)
right.set_xticks(DELAYS)
frame(left, "delay D, rounds", "1 − factor on the distance in a round", "dots: measured; lines: exact")
frame(right, "delay D, rounds", "mean at the end (v̄ = 0)", "one run each: nothing is random")
left.legend(frameon=False, fontsize=9)
figure

# %%
claims.at_most(
    "delays, five graphs: values of all nodes against the augmented matrix, largest difference (exact)",
    1e-10,
    float(off_course),
)
claims.at_most(
    "delays, five graphs: factor on the distance against the largest modulus, largest difference (exact; faster modes "
    "still show in 280 rounds)",
    0.02,
    float((measured_rates - delay_rates).abs().max(axis=None)),
)


def limit(W, delay, v):
    """Where delayed gossip ends: 1ᵀx_t + Σ_{s<D} 1ᵀW_o x_{t−1−s} stays, once all messages of old arrive."""
    mass = 1 - np.diag(W)
    return float((v.sum() + delay * (mass @ v)) / (N + delay * mass.sum())) if delay else float(v.mean())


claims.at_most(
    "delays: mean it ends at against 1ᵀ(I + D W_o)v / 1ᵀ(I + D W_o)1, largest difference (exact)",
    1e-3,
    max(abs(stays.loc[D, name] - limit(MATRICES[name], D, START[name])) for D in DELAYS for name in GRAPHS),
)
claims.close(
    "ring, delay of 1: how many times slower, against 1 + D (1 − W_ii) (derived, first order: 3 %)",
    1 + 2 / 3,
    float(np.log(delay_rates.loc[0, "ring"]) / np.log(measured_rates.loc[1, "ring"])),
    rel=0.03,
)
claims.at_least(
    "a delay of 2 rounds on Barabási-Albert moves the mean by, in standard deviations of v (inferred)",
    0.05,
    float(abs(stays.loc[2, "Barabási-Albert"])),
)

# %% [markdown]
# Delay slows a slow graph by less than a factor $D + 1$, since a node's own value is on time. On regular graphs the mean is
# kept after all, because every node gives away alike; where degrees differ, nodes that keep little count for more with
# every round of delay. Fast graphs are hit harder than that: modes of negative eigenvalue become slow oscillations, on
# the torus a factor of 0.96 for $D = 2$, where smooth ones would allow 0.92.
#
# ## 8. Nodes leave a small network
#
# Four of 24 leave, so that 31 % of the pairs lose their message: at random, in four orders, or those around a random node
# (by hops; in the plane for the geometric graph). Edges that led to them return their weight to the receiver, so
# that what happens to the others is $\tilde W^t$, exactly. A ring stays whole only if the four were neighbours: with the
# probability $24 / \binom{24}{4} = 0.2\,\%$.

# %%
there = ~MASKS.reshape(len(WAYS), DRAWN, 1, 5, N)
after_loss = np.var(left_over, axis=-1, where=there)  # [ways, draws, times, graphs]
bias_of_loss = np.abs(np.mean(left_over[:, :, -1], axis=-1, where=there[:, :, 0]))


def damaged(W, out):
    """W of those who are left, with the weights of lost edges on the receivers."""
    W = W[~out][:, ~out]
    return W + np.diag(1 - W.sum(axis=1))


largest, whole = 0.0, np.zeros((len(WAYS), 5))
for number, (name, W) in enumerate(MATRICES.items()):
    for w in range(len(WAYS)):
        for d in range(DRAWN):
            out = ~there[w, d, 0, number]
            kept = damaged(W, out)
            curve = powers(kept, START[name][~out], ROUNDS)[::2]
            largest = max(largest, np.abs(curve - after_loss[w, d, :, number]).max())
            whole[w, number] += connected_components(csr_array(kept))[0] == 1
pd.DataFrame(whole / DRAWN, index=WAYS, columns=list(GRAPHS)).map("{:.0%}".format)  # still in one piece

# %%
claims.at_most(
    "node loss: disagreement against the damaged W, largest difference (exact)", 1e-10, float(largest)
)
CHANCES = 20_000
exact_chance, lost_four = 24 / 10626, np.argsort(rng.random((CHANCES, N)), axis=1)[:, :LEAVE]
apart = np.sort(lost_four, axis=1)
gaps = np.diff(np.concatenate([apart, apart[:, :1] + N], axis=1), axis=1)
claims.close(
    f"ring: four leave at random and it stays whole, share of {CHANCES:,} draws; 3 standard errors (exact)",
    exact_chance,
    float(np.mean(np.sum(gaps > 1, axis=1) == 1)),
    abs=3 * float((exact_chance * (1 - exact_chance) / CHANCES) ** 0.5),
)
claims.at_least(
    "8-regular: in one piece, whoever leaves, share of draws (inferred)",
    1.0,
    float(whole[:, 4].mean() / DRAWN),
)

# %% [markdown]
# ## 9. What hurts first
#
# Rounds until the disagreement is 1 % of what it was, by those of the undisturbed graph; ∞: never, as the network is in
# pieces in at least one draw. All faults spoil about 30 % of the messages, but for the last: there *all* messages come one
# round late.

# %%
FAULTS = {f"nodes leave: {way.replace('_', '-')}": after_loss[w] for w, way in enumerate(WAYS)}
FAULTS |= {
    "links: independent": disagreement(by_kind[LOSSY]),
    "links: bursts of 10": disagreement(by_kind[BURSTY]),
    "split, then healed": disagreement(by_kind[SPLIT]),
    "sleep: every round anew": disagreement(by_kind[FRESH]),
    "sleep: naps of 10": disagreement(by_kind[NAPS]),
    "sleep: cycles of 24": disagreement(by_kind[CYCLES]),
    "sleep: batteries": disagreement(by_kind[BATTERIES]),
    "late: by one round": disagreement(late_values[1])[None],
}
slowdown, deviation = {}, {}
for fault, curve in FAULTS.items():
    rows = [rounds_until(curve[..., g], TIMES) / UNDISTURBED[name] for g, name in enumerate(GRAPHS)]
    slowdown[fault] = [float(np.mean(row)) for row in rows]
    deviation[fault] = [float(np.std(row)) if np.isfinite(row).all() else np.nan for row in rows]
slowdown = pd.DataFrame(slowdown, index=list(GRAPHS)).T
deviation = pd.DataFrame(deviation, index=list(GRAPHS)).T
ends = {
    "links: independent": by_kind[LOSSY, :, -1],
    "links: bursts of 10": by_kind[BURSTY, :, -1],
    "split, then healed": by_kind[SPLIT, :, -1],
    "sleep: every round anew": by_kind[FRESH, :, -1],
    "sleep: naps of 10": by_kind[NAPS, :, -1],
    "sleep: cycles of 24": by_kind[CYCLES, :, -1],
    "sleep: batteries": by_kind[BATTERIES, :, -1],
    "late: by one round": late_values[1, None, -1],
}
shift = {f"nodes leave: {way.replace('_', '-')}": bias_of_loss[w].mean(axis=0) for w, way in enumerate(WAYS)}
shift |= {fault: np.abs(values.mean(axis=-1)).mean(axis=0) for fault, values in ends.items()}
shift = pd.DataFrame(shift, index=list(GRAPHS)).T
slowdown.round(2)

# %%
figure, both = blank(12.5, 5.6, 1, 2)
for axes, table, label, top in (
    (both[0], slowdown, "rounds to 1 %, by those without a fault", 6.0),
    (both[1], shift, "error of the mean at the end, in standard deviations of v", 0.5),
):
    shown = table.to_numpy()
    low = 1.0 if axes is both[0] else 0.0
    axes.imshow(np.minimum(shown, top), cmap="OrRd", vmin=low, vmax=top, aspect="auto")
    for (row, column), value in np.ndenumerate(shown):
        text = "∞" if np.isinf(value) else f"{value:.2f}" if axes is both[1] else f"{value:.1f}"
        if axes is both[0] and np.isfinite(value):
            text += f" ± {deviation.iloc[row, column]:.1f}"
        dark = min(value, top) > low + 0.65 * (top - low)
        axes.text(
            column, row, text, ha="center", va="center", fontsize=8.5, color="white" if dark else "#222222"
        )
    axes.set_xticks(range(5), list(GRAPHS), rotation=20, fontsize=9)
    axes.set_yticks(range(len(table)), list(table.index) if axes is both[0] else [], fontsize=9)
    axes.set_title(label, loc="left", fontsize=10)
    axes.tick_params(length=0)
figure

# %%
for name in ("torus", "8-regular"):
    claims.close(
        f"{name}: independent losses slow it by, against exact expectation (30 %: seeds' times vary)",
        float(rounds_until(curves[name], TIMES)[0] / UNDISTURBED[name]),
        slowdown.loc["links: independent", name],
        rel=0.3,
    )
claims.close(
    "split and healed: mean slowdown over graphs: what it waits, and then what averaging takes (inferred: 2.5)",
    2.5,
    float(slowdown.loc["split, then healed"].mean()),
    rel=0.15,
)
claims.at_least(
    "bursts of 10 by independent losses, ratio of slowdowns, least over graphs (inferred: worse)",
    1.0,
    float((slowdown.loc["links: bursts of 10"] / slowdown.loc["links: independent"]).min()),
)
claims.at_least(
    "naps of 10 by sleep anew in every round, ratio of slowdowns, least over graphs (inferred: worse)",
    1.0,
    float((slowdown.loc["sleep: naps of 10"] / slowdown.loc["sleep: every round anew"]).min()),
)
claims.close(
    "ring, all messages late by a round: slowdown against 1 + D (1 − W_ii) (derived: 5 %)",
    1 + 2 / 3,
    slowdown.loc["late: by one round", "ring"],
    rel=0.05,
)
claims.at_least(
    "error of the mean: worst node loss over worst of all else, mean over graphs (inferred: what is gone is gone)",
    1.0,
    float((shift.iloc[:5].max() / shift.iloc[5:].max()).mean()),
)

# %% [markdown]
# What breaks first depends on the graph, and how:
#
# * **ring**: node loss *splits* it, almost surely. (Equals leave in order of their index: four in a row, and what is left
#   is a path, whence "degree" and "k-core" do no harm.)
# * **Barabási-Albert**: its hubs; without them it is in pieces, and what they knew is gone from the mean.
# * **geometric**: the nodes between its parts, by betweenness.
# * **torus, 8-regular**: naps. Nothing splits, and the gap is large, so that what counts is *waiting* for who sleeps; the mean
#   of few rounds is no longer that of many. Batteries are full at the start, so that fast graphs are done before one is empty.
# * Independent losses and sleep anew in every round only slow averaging, by about $1/0.7$, and a delay by about
#   $1 + D(1 - W_{ii})$.
# * The *mean* moves where weights are lost one way (links), or where nodes leave with what they know; with symmetric failures
#   (sleep, splits) it is kept exactly.
#
# ## 10. And learning?
#
# D-SGD, softmax regression on digits, Dirichlet 0.3 over 24 nodes. When nodes leave, their *data* are gone and their
# *links*. On the complete graph links do not matter: what the same loss costs there is what the data are worth. The rest of
# the cost on Barabási-Albert is connectivity.

# %%
TRAIN = 150
PUPILS = problems.softmax(N, dataset=digits(), partition=dirichlet(alpha=0.3, min_samples=8), optimum=False)
# The same 24 learners twice, on two graphs that do not hear one another: one compiled program.
PUPILS = PUPILS._replace(
    objective=unmeasured,
    n=2 * N,
    local=jax.tree.map(lambda leaf: np.concatenate([leaf, leaf]), PUPILS.local),
    table=None,
)
SCHOOLS = tp.from_matrix(
    block_diag(TESTED, np.full((N, N), 1 / N)), name="two graphs", allow_disconnected=True
)
block = slice(BA * N, (BA + 1) * N)
NOBODY = np.zeros((1, N), bool)
GONE = np.concatenate([NOBODY, MASKS[0, :3, block], MASKS[1, :1, block], NOBODY, NOBODY])
KINDS = {"none": [0], "random": [1, 2, 3], "hubs": [4], "links": [5], "naps": [6]}
leave_school = leaves(np.tile(GONE, (1, 2)))


def school(kind):
    fails = (
        leave_school(kind),
        faults.link_loss(jnp.where(kind == 5, RATE, 0.0), symmetric=False),
        faults.on_off(jnp.where(kind == 6, (1 / AWAKE - 1) / NAP, 0.0), 1 / NAP),
    )
    return Pieces(dsgd(0.1), channel.linear(), None, faults.together(faults=fails))


result = run_rounds(
    lambda hyper: school(hyper["kind"]), PUPILS, SCHOOLS, rounds=TRAIN, eval_every=TRAIN, seeds=range(2),
    hyper={"kind": list(map(float, range(7)))},
)  # fmt: skip
each = np.reshape([row["accuracy"] for row in result.nodes], (7, 2, 2, N))
graded = np.mean(each, axis=-1, where=~GONE[:, None, None])  # of those who are left, [kinds, seeds, graphs]
on_graph, on_complete = graded[..., 0], graded[..., 1]
accuracy = pd.DataFrame(
    {
        "Barabási-Albert": {kind: on_graph[rows].mean() for kind, rows in KINDS.items()},
        "complete": {kind: on_complete[rows].mean() for kind, rows in KINDS.items()},
    }
)
accuracy.round(3)

# %%
figure, (axes,) = blank(7.4, 4.0)
for side, grades, label in ((-0.2, on_graph, "Barabási-Albert"), (0.2, on_complete, "complete")):
    for place, rows in enumerate(KINDS.values()):
        values = grades[rows].ravel()
        colour = COLOURS[0 if side < 0 else 2]
        axes.bar(place + side, values.mean(), 0.36, color=colour, label=None if place else label)
        axes.plot(np.full(len(values), place + side), values, "o", color="#222222", ms=3)
axes.set_xticks(range(5), ["none", "4 random\nleave", "4 hubs\nleave", "30 % of\nlinks lost", "naps"])
axes.set_ylim(0.4, 1.0)
frame(
    axes,
    "",
    "accuracy, mean over the nodes left",
    f"after {TRAIN} rounds; dots: seeds, and draws of who leaves",
)
axes.legend(frameon=False, fontsize=9, loc="upper right", ncols=2)
figure

# %%
cost = accuracy.loc["none"] - accuracy
data, total = cost.loc["hubs", "complete"], cost.loc["hubs", "Barabási-Albert"]
claims.at_most("complete graph: accuracy that the hubs' data are worth (inferred: little)", 0.03, float(data))
claims.at_least(
    "hubs leave: cost of their links over that of their data (inferred: links are what hurts)",
    2.0,
    float((total - data) / max(data, 1e-3)),
)
claims.at_least(
    "hubs leave: cost in accuracy over that of as many at random (inferred)",
    2.0,
    float(total / max(cost.loc["random", "Barabási-Albert"], 1e-3)),
)
claims.at_most(
    "30 % of links lost, or naps: largest cost in accuracy (inferred: slower mixing hardly shows)",
    0.03,
    float(cost.loc[["links", "naps"], "Barabási-Albert"].max()),
)

# %% [markdown]
# The hubs' data are worth two points, their links twenty. The last row fails: naps cost D-SGD as much as a quarter of the
# hubs do, and independent losses hardly less, since with so different data every bit of mixing shows, though the mean
# is as good as kept.

# %% [markdown]
# ## Claims

# %%
claims
