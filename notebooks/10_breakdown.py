# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # 10 Breakdown: how many liars a graph stands
#
# Honest nodes average their vectors. Each of them also hears $f$ Byzantine neighbours, who know everything and may
# tell each receiver another thing. A *breakdown point* is the number of liars from which on no guarantee is left.
# At a server it is a count: half of all. In gossip it depends on the graph too: where few edges join two camps, few
# liars can keep them apart (Gaucher, Dieuleveut, Hendrikx, ICML 2025).
#
# Two worlds: two cliques of 8 honest nodes, `cross` edges from every node to the other clique. The camps start at
# $+5$ and $-5$ in the first coordinate, plus noise. $L$ is the Laplacian of the honest graph,
# $0 = \mu_1 < \mu_2 \le \dots \le \mu_n$ its eigenvalues; all edges have the weight $\eta = 1/\mu_n$.
#
# | rule | $x_i \leftarrow x_i + \eta \sum_j \dots$ |
# |---|---|
# | plain gossip | $x_j - x_i$ |
# | GTS (nearest-neighbour averaging as gossip) | $x_j - x_i$ of all but the $f$ farthest neighbours |
# | CS+ | $x_j - x_i$ clipped at $\tau_i$, beyond which lie $2f$ neighbours |
# | ClippedGossip, $\tau_i^2 = \frac1b \sum_{\text{kept}} w_j d_j^2$ | $x_j - x_i$ clipped at $\tau_i$ |
#
# The attack is *spectral heterogeneity*: liars push every node along the direction that gossip contracts least,
# $v_i \sum_j v_j x_j$ with $v$ the eigenvector of $\mu_2$, as far as hurts most, searched for in every round.

# %%
# %matplotlib inline
import numpy as np
import pandas as pd

from dlax import attacks, channel, robust
from dlax import topology as tp
from dlax.algorithms import gossip
from dlax.claims import Claims
from dlax.plots import COLOURS, MARKERS, blank, frame
from dlax.problems import average_of
from dlax.simulate import simulate

claims = Claims()
SIZE, DIM, ROUNDS = 8, 5, 40
HONEST = 2 * SIZE


def worlds(cross):
    """Adjacency of the honest nodes, and the eigenvalues of their Laplacian."""
    A = np.zeros((HONEST, HONEST))
    A[:SIZE, :SIZE] = A[SIZE:, SIZE:] = 1 - np.eye(SIZE)
    for i in range(SIZE):
        for c in range(cross):
            j = SIZE + (i + c) % SIZE
            A[i, j] = A[j, i] = 1
    return A, np.linalg.eigvalsh(np.diag(A.sum(axis=1)) - A)


def with_liars(cross, f):
    """The graph with f nodes that everybody hears; they come last."""
    A, spectrum = worlds(cross)
    n, eta = HONEST + f, 1 / spectrum[-1]
    W = np.zeros((n, n))
    W[:HONEST, :HONEST], W[:HONEST, HONEST:], W[HONEST:, :HONEST] = eta * A, eta, eta
    W += np.diag(1 - W.sum(axis=1))
    return tp.from_matrix(W, name="two worlds", allow_negative=True)


def start(n):
    x = np.random.default_rng(0).normal(size=(n, DIM))
    x[:SIZE, 0] += 5
    x[SIZE:HONEST, 0] -= 5
    return x


def error(rule, cross, f):
    """Σ over honest i of ‖xᵢ − mean at the start‖² after 40 rounds, over what it was."""
    n = HONEST + f
    x = start(n)
    over = channel.linear() if rule is None else channel.robust(rule=rule, beyond=True)
    result = simulate(
        gossip(),
        average_of(x),
        with_liars(cross, f),
        rounds=ROUNDS,
        eval_every=ROUNDS,
        channel=over,
        attack=attacks.spectral(steps=40),
        byzantine=np.arange(n) >= HONEST,
        precision="float64",
    )
    honest, mean = x[:HONEST], x[:HONEST].mean(axis=0)
    with np.errstate(over="ignore"):
        return float(((result.params["x"][0][:HONEST] - mean) ** 2).sum() / ((honest - mean) ** 2).sum())


# %% [markdown]
# ## 1. Rules against the number of liars
#
# Five cross edges a node: $\mu_2 = 10$, $\mu_n \approx 15.4$, twelve honest neighbours each. An error of 1 means that
# nothing was gained; beyond it averaging does harm.

# %%
RULES = {
    "GTS": robust.gts(),
    "CS+": robust.cs_plus(),
    "ClippedGossip": robust.clipped_gossip(threshold="kept"),
}
LIARS = (1, 3, 5)
table = pd.DataFrame({name: {f: error(rule, 5, f) for f in LIARS} for name, rule in RULES.items()})
table.index.name = "liars"
plain = error(None, 5, 1)
print(f"plain gossip, one liar: {plain:.0e}")
table.map("{:.2e}".format)

# %%
figure, (axes,) = blank(6.4, 3.8)
for number, (name, values) in enumerate(table.items()):
    axes.semilogy(values.index, values, color=COLOURS[number], marker=MARKERS[number], lw=1.9, label=name)
axes.axhline(1, color="#666666", lw=0.8)
axes.set_xticks(LIARS)
frame(
    axes,
    "Byzantine neighbours of every node, f",
    "squared error after 40 rounds / at the start",
    "one draw; line: nothing gained",
)
axes.legend(frameon=False, fontsize=9)
figure

# %% [markdown]
# One liar is enough for plain gossip, and none of the robust rules cares. At three GTS breaks down: it keeps twelve of
# fifteen neighbours, and lies that stay nearer than the other camp are among them. CS+ is slowed, not broken.

# %%
claims.at_most("one liar: the largest error of the three rules", 1e-2, float(table.loc[1].max()))
claims.at_least("one liar: error of plain gossip", 1.0, plain)
for f in (3, 5):
    ratio = float(table.loc[f, "GTS"] / table.loc[f, "CS+"])
    claims.at_least(f"{f} liars: error of GTS over that of CS+", 10.0, ratio)
claims.at_most("CS+: the largest error at any number of liars tried", 1.0, float(table["CS+"].max()))

# %% [markdown]
# ## 2. What the graph does
#
# The same three liars; more and more edges between the camps. $\mu_2 = 2 \cdot$ `cross` grows, and what a direct count
# of neighbours would call the same danger passes.

# %%
graphs = pd.DataFrame(
    {
        cross: {
            "mu2": worlds(cross)[1][1],
            "error": table.loc[3, "CS+"] if cross == 5 else error(RULES["CS+"], cross, 3),
        }
        for cross in (2, 5, 8)
    }
).T
graphs.index.name = "cross edges a node"
graphs

# %%
claims.at_most(
    "μ₂ = 2 · cross: largest difference", 1e-9, float(np.abs(graphs["mu2"] - 2 * graphs.index).max())
)
claims.at_most(
    "three liars, CS+: error with 5 cross edges over that with 2",
    1.0,
    float(graphs.loc[5, "error"] / graphs.loc[2, "error"]),
)
claims.at_most(
    "three liars, CS+: error with 8 cross edges over that with 5",
    0.1,
    float(graphs.loc[8, "error"] / graphs.loc[5, "error"]),
)

# %% [markdown]
# ## 3. Said before the run
#
# A count that a rule cannot stand is refused before anything runs, by the node that would be lost.

# %%
try:
    simulate(
        gossip(),
        average_of(start(HONEST)),
        tp.ring(HONEST),
        rounds=1,
        channel=channel.robust(rule=robust.nna()),
        attack=attacks.sign_flip(),
        byzantine=attacks.at(nodes=(0, 2)),
    )
    refused = False
except ValueError as error_before:
    print(error_before)
    refused = "node 1" in str(error_before)

# %%
claims.at_least(
    "a ring, two liars around node 1: refused before the run, and node 1 is named", 1, float(refused)
)

# %% [markdown]
# ## Claims

# %%
claims
