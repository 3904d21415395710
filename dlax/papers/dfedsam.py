"""DFedSAM and DFedSAM-MGS: sharpness-aware local steps and several gossip steps, against five baselines.

Shi, Shen, Wei, Sun, Yuan, Wang, Tao. Improving the Model Consistency of Decentralized Federated Learning. ICML 2023.

What is whose. The claims in words and the rates are the paper's abstract; its tables and its code are not public to
us, so no accuracy of its own stands in the table. Thresholds in points (one point between methods, two points to
FedSAM) come from our own small study on a Gaussian mixture and are marked "inferred". ρ, momentum that starts anew in
every round and lr · 0.998ᵗ are those of reimplementations. Accuracy is that of the node models, mean over nodes, on
held-out data, mean over seeds; all seeds share one partition.

What does not hold, and what was tried. More gossip steps are where the accuracy comes from, at Q times the bits: at
equal bits DFedSAM is far ahead of DFedSAM-MGS, as it has taken four times the local steps. The climb makes the loss
no less flat, and mostly flatter, but is worth less than a point of node accuracy: 0.2 to 0.8 on digits
for ρ = 0.1 and MLPs of one and two layers; a whole point only after 300 rounds with ρ = 0.3; nothing on Gaussian
mixtures in 32 dimensions. On Fashion-MNIST it costs half a point in the slow version, and in one longer run of one
seed (64 hidden units, 60 rounds of 30 steps) gave 0.5: it pays once nodes fit their own data. Two slow verdicts, ρ up
to 0.1 and two points to FedSAM, are missed by less than 0.1 point. A quick
version of one layer of 32 missed one more by 0.1 %: on the way to the average a node's own loss rose as much as
DFedAvg's.

DFedAvg is DFedSAM with ρ = 0, FedAvg and FedSAM are it on the complete graph, which the slow version's first rows
check.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from dlax import flatness, tree
from dlax import topology as tp
from dlax.algorithms import dfedsam, dsgd, fedavg
from dlax.algorithms.dfedsam import sharpness_aware
from dlax.claims import Claims
from dlax.data import Dataset, digits, dirichlet, fashion_mnist
from dlax.models import mlp
from dlax.optimizers import exponential, inverse_sqrt, sgd
from dlax.papers import Reproduction, unmeasured
from dlax.plots.style import COLOURS, DASHES, MARKERS, blank, frame, plain_log
from dlax.problems import classification, quadratic
from dlax.results import Result
from dlax.simulate import simulate
from dlax.types import Algorithm, Problem

N, Q, LR, SEEDS, EVALUATIONS = 16, 4, 0.1, 3, 12
DECAY, HEAVY_BALL = exponential(factor=0.998), sgd(momentum=0.9)
RADII = (0.1, 0.3, 1.0)  # of the perturbations that measure flatness
GRAPHS = {"ring": tp.ring, "torus": tp.torus, "exponential": tp.static_exponential, "complete": tp.complete}


class Setting(NamedTuple):
    """What the quick and the slow version differ in.

    Attributes:
      train_samples: over all nodes.
      held_out: of the test samples; None means all.
      hidden: of the network.
      local_steps: K.
      rounds: T, a multiple of 12, the number of evaluations.
      rho: ρ of DFedSAM in all comparisons.
      rhos: the sweep on the ring, ascending from 0.
      graphs: between ring and complete.
      alphas: of Dirichlet's partition; the first is for everything, the others for the main comparison again.
    """

    train_samples: int
    held_out: int | None
    hidden: tuple[int, ...]
    local_steps: int
    rounds: int
    rho: float
    rhos: tuple[float, ...]
    graphs: tuple[str, ...]
    alphas: tuple[float, ...]


QUICK = Setting(
    train_samples=960,
    held_out=None,
    hidden=(64, 64),
    local_steps=10,
    rounds=60,
    rho=0.1,
    rhos=(0.0, 0.01, 0.1, 3.0),
    graphs=(),
    alphas=(0.3,),
)
SLOW = Setting(
    train_samples=1600,
    held_out=1000,
    hidden=(32, 32),
    local_steps=20,
    rounds=60,
    rho=0.03,
    rhos=(0.0, 0.01, 0.03, 0.1, 3.0),
    graphs=("torus", "exponential"),
    alphas=(0.3, 0.6),
)


def reproduce(*, slow: bool = False) -> Reproduction:
    """Runs the claims on digits, or with `slow` on Fashion-MNIST with more graphs and a second partition.

    Raises:
      ValueError: if Fashion-MNIST is not to be had.
    """
    setting, dataset = (SLOW, fashion_mnist()) if slow else (QUICK, digits())
    claims = Claims()
    exact_rows(claims, slow=slow)
    theory_rows(claims)
    bias_rows(claims)

    problems = {alpha: make_problem(dataset, setting, alpha) for alpha in setting.alphas}
    first = next(iter(problems.values()))
    # One family of functions for all partitions: they then share their compiled programs.
    problems = {
        alpha: first._replace(local=p.local, shared=p.shared, table=p.table, objective=unmeasured)
        for alpha, p in problems.items()
    }
    first = problems[setting.alphas[0]]
    runs = train(first, setting, slow=slow)
    method_rows(claims, runs, setting)
    radius_rows(claims, runs["DFedSAM"], setting)
    message_rows(claims, runs, first, setting)
    topology_rows(claims, runs, setting)
    flat = measure_flatness(dataset, setting, runs)
    flatness_rows(claims, flat)
    for alpha in setting.alphas[1:]:
        other = main_runs(problems[alpha], setting, (0.0, setting.rho))
        method_rows(claims, other, setting, f"Dirichlet {alpha}: ")

    data = {
        "curves": {name: curves(runs, setting, name) for name in METHODS if METHODS[name][0] in runs},
        "topology": topology_table(runs, setting),
        "radius": {rho: accuracy(runs["DFedSAM"], rho).tolist() for rho in setting.rhos},
        "flatness": flat,
        "partition": first.table.tolist(),
    }
    each = setting.train_samples // N
    what = "Fashion-MNIST" if slow else "digits"
    return Reproduction(
        title="DFedSAM: Improving the Model Consistency of Decentralized Federated Learning (ICML 2023)",
        setting=f"{what}, {N} nodes with {each} samples each on average, Dirichlet {setting.alphas[0]}, MLP "
        f"{'-'.join(map(str, setting.hidden))}, {setting.rounds} rounds of K = {setting.local_steps} steps, "
        f"ρ = {setting.rho:g}, Q = {Q}, {SEEDS} seeds",
        claims=claims,
        figure=draw(data, setting, what),
        data=data,
    )


# ---------------------------------------------------------------------------------------------- exact statements


def exact_rows(claims: Claims, *, slow: bool) -> None:
    """What DFedSAM becomes at the ends of its options, on noisy quadratics in float64: when slow, as it compiles."""
    claims.at_most("SAM's gradient of ½ xᵀHx is H(x + ρ Hx/‖Hx‖): error", 1e-12, parabola_error())
    if not slow:
        return
    problem = quadratic(N, dim=8, noise=1.0)
    final = functools.partial(simulate, problem=problem, rounds=5, precision="float64")
    ring, complete = tp.ring(N), tp.complete(N)
    pairs = {
        "ρ = 0, Q = 1 is DFedAvg": (dfedsam(0.05, 0.0), dsgd(0.05, local_steps=5), ring),
        "K = 1, ρ = 0 is D-PSGD": (dfedsam(0.05, 0.0, local_steps=1), dsgd(0.05), ring),
        "W = 11ᵀ/n is FedSAM": (dfedsam(0.05, 0.1), fedsam(0.05, 0.1, local_steps=5), complete),
    }
    for name, (mine, other, graph) in pairs.items():
        a, b = (final(algorithm, topology=graph).params["x"] for algorithm in (mine, other))
        claims.at_most(f"{name}, bit for bit: largest difference", 0.0, float(np.abs(a - b).max()))


def fedsam(lr: float, rho: float, *, local_steps: int) -> Algorithm:
    """FedSAM by its own name: FedAvg that is handed sharpness-aware gradients."""
    plain = fedavg(lr, local_steps=local_steps)

    def step(state: Any, round: Any) -> tuple[Any, Any]:
        return plain.step(state, round._replace(grad=sharpness_aware(round.grad, rho)))

    return plain._replace(step=step)


def parabola_error() -> float:
    """Largest difference of SAM's gradient on a parabola from its formula."""
    rng = np.random.default_rng(0)
    root, x = rng.normal(size=(8, 8)) / 8, rng.normal(size=8)
    H = root @ root.T

    def grad(params: Any, key: Any, nodes: Any = None) -> tuple[jax.Array, Any]:
        slope = params @ jnp.asarray(H)
        return 0.5 * jnp.sum(params * slope, axis=1), slope

    with jax.enable_x64(True):
        _, got = sharpness_aware(grad, 0.3)(jnp.asarray(x)[None], None)
    slope = H @ x
    return float(np.abs(np.asarray(got[0]) - H @ (x + 0.3 * slope / np.linalg.norm(slope))).max())


def theory_rows(claims: Claims) -> None:
    """The paper's rate knows the graph by λ^Q only; numbers for the ring."""
    lam = 1 - tp.ring(N).spectral_gap
    claims.close("λ of the ring of 16 (derived)", 0.949, lam, rel=1e-3)
    one, several = 1 / (1 - lam) ** 2, 1 / (1 - lam**Q) ** 2
    claims.close("1/(1 − λ)², the graph's factor in the rate at Q = 1 (derived)", 388, one, rel=0.01)
    claims.close("1/(1 − λ⁴)², at Q = 4 (derived)", 28, several, rel=0.02)


def bias_rows(claims: Claims) -> None:
    """A fixed ρ leaves a bias on quadratics, a ρ that falls as 1/√t does not (derived)."""
    problem, rhos, ring = quadratic(N, dim=8, heterogeneity=0.1), [0.0, 0.05, 0.1, 0.2], tp.ring(N)

    def distances(**options: Any) -> np.ndarray:
        """Mean squared distance to the optimum by ρ, after 4,000 rounds."""
        factory = functools.partial(dfedsam, **options)
        result = simulate(
            factory, problem, ring, rounds=4000, eval_every=4000, precision="float64",
            hyper={"lr": 0.02, "rho": rhos},
        )  # fmt: skip
        return np.array([row["distance"] for row in result.rows if row["round"] == 4000])

    fixed, falling = distances(), distances(rho_schedule=inverse_sqrt(rounds=1))
    steps = float(np.diff(fixed).min() / fixed[0])
    claims.at_least("quadratics: each larger ρ adds to the bias, relative to ρ = 0", 0.05, steps)
    excess = float(falling[-1] / falling[0] - 1)
    claims.at_most("quadratics: ρ = 0.2/√(t + 1) adds after 4,000 rounds, relative to ρ = 0", 0.05, excess)


# ------------------------------------------------------------------------------------------------------ training

# name -> the run it is in, and its ρ: None is the setting's.
METHODS = {
    "FedSAM": ("FedSAM", None),
    "FedAvg": ("FedSAM", 0.0),
    "DFedSAM-MGS": ("DFedSAM-MGS", None),
    "DFedAvg-MGS": ("DFedSAM-MGS", 0.0),
    "DFedSAM": ("DFedSAM", None),
    "DFedAvg": ("DFedSAM", 0.0),
    "DFedAvgM": ("DFedAvgM", 0.0),
    "D-PSGD": ("D-PSGD", 0.0),
}

Runs = dict[str, Result]


def make_problem(dataset: Dataset, setting: Setting, alpha: float, batch_size: int | None = 16) -> Problem:
    """The nodes' data and network."""
    return classification(
        N,
        dataset=dataset,
        model=mlp(hidden=setting.hidden),
        partition=dirichlet(alpha=alpha),
        batch_size=batch_size,
        train_samples=setting.train_samples,
        held_out=setting.held_out,
    )


@functools.lru_cache(maxsize=32)
def factory(**options: Any) -> Callable[..., Algorithm]:
    """The same object for the same options, so that equal runs share a compiled program."""
    return functools.partial(dfedsam, schedule=DECAY, **options)


def run(
    problem: Problem, setting: Setting, graph: str, rhos: tuple[float, ...], *, lr: float = LR,
    rounds: int | None = None, **options: Any,
) -> Result:  # fmt: skip
    """All seeds and radii of one structure, in one compiled program."""
    made = factory(**{"local_steps": setting.local_steps, **options})
    rounds, every = (setting.rounds, setting.rounds // EVALUATIONS) if rounds is None else (rounds, rounds)
    return simulate(
        made, problem, GRAPHS[graph](N), rounds=rounds, eval_every=every, seeds=SEEDS,
        hyper={"lr": lr, "rho": list(rhos)},
    )  # fmt: skip


def main_runs(problem: Problem, setting: Setting, rhos: tuple[float, ...]) -> Runs:
    """One gossip step on the ring over a sweep of ρ, Q of them, and the complete graph."""
    pair = (0.0, setting.rho)
    return {
        "DFedSAM": run(problem, setting, "ring", rhos),
        "DFedSAM-MGS": run(problem, setting, "ring", pair, gossip_steps=Q),
        "FedSAM": run(problem, setting, "complete", pair),
    }


def train(problem: Problem, setting: Setting, *, slow: bool) -> Runs:
    """DFedSAM with and without MGS, on the ring and complete; when slow, all methods, and the graphs between."""
    runs, pair = main_runs(problem, setting, setting.rhos), (0.0, setting.rho)
    if not slow:
        return runs
    # A step of the heavy ball goes up to ten times as far.
    runs["DFedAvgM"] = run(problem, setting, "ring", (0.0,), lr=LR / 5, optimizer=HEAVY_BALL)
    runs["D-PSGD"] = run(problem, setting, "ring", (0.0,), local_steps=1)
    for graph in setting.graphs:
        runs[f"DFedSAM, {graph}"] = run(problem, setting, graph, pair)
        runs[f"DFedSAM-MGS, {graph}"] = run(problem, setting, graph, pair, gossip_steps=Q)
    return runs


def place(setting: Setting, name: str) -> tuple[str, float]:
    """The run that a method is in, and its ρ there."""
    of, rho = METHODS[name]
    return of, setting.rho if rho is None else rho


def values(result: Result, rho: float, metric: str, round: int | None = None) -> np.ndarray:
    """A metric of every seed `[seeds]` at one ρ, after a round; None: after the last."""
    last = result.rows[-1]["round"] if round is None else round
    return np.array([row[metric] for row in result.rows if row["rho"] == rho and row["round"] == last])


def accuracy(result: Result, rho: float, round: int | None = None) -> np.ndarray:
    """Held-out accuracy of the node models, in per cent, of every seed `[seeds]`."""
    return 100 * values(result, rho, "accuracy_mean", round)


def score(runs: Runs, setting: Setting, name: str, round: int | None = None) -> float:
    """Accuracy of a method, mean over seeds."""
    of, rho = place(setting, name)
    return float(accuracy(runs[of], rho, round).mean())


# -------------------------------------------------------------------------------------------------------- verdicts


def method_rows(claims: Claims, runs: Runs, setting: Setting, where: str = "") -> None:
    """Who is ahead of whom, in points of accuracy."""
    of = functools.partial(score, runs, setting)
    best = max(of(name) for name in ("DFedAvg", "DFedAvgM", "D-PSGD") if METHODS[name][0] in runs)
    who = "the best of DFedAvg, DFedAvgM, D-PSGD" if "DFedAvgM" in runs else "DFedAvg"
    claims.at_least(f"{where}DFedSAM is ahead of {who}, points", 0.0, of("DFedSAM") - best)
    claims.at_least(f"{where}DFedSAM-MGS is ahead of {who}, points", 0.0, of("DFedSAM-MGS") - best)
    gap = of("DFedSAM") - of("DFedAvg")
    claims.at_least(f"{where}DFedSAM is ahead of DFedAvg by a point (inferred)", 1.0, gap)
    gap = of("DFedSAM-MGS") - of("DFedSAM")
    claims.at_least(f"{where}DFedSAM-MGS is ahead of DFedSAM by a point (inferred)", 1.0, gap)
    gap = of("FedSAM") - of("DFedSAM-MGS")
    claims.at_most(f"{where}DFedSAM-MGS competes with FedSAM: points behind (inferred)", 2.0, gap)


def radius_rows(claims: Claims, sweep: Result, setting: Setting) -> None:
    """What ρ does on the ring, in points."""
    means = {rho: float(accuracy(sweep, rho).mean()) for rho in setting.rhos}
    small = [means[rho] for rho in setting.rhos if rho <= 0.1]
    steps = float(np.diff(small).min())
    claims.at_least("ρ from 0 up to 0.1: least change from one ρ to the next, points (inferred)", -1.0, steps)
    claims.at_least("ρ = 3 hurts: points lost (inferred)", 5.0, means[0.0] - means[3.0])


def message_rows(claims: Claims, runs: Runs, problem: Problem, setting: Setting) -> None:
    """What more gossip steps buy, and what they cost."""
    pair, rho = (0.0, setting.rho), setting.rho
    # In the first round both mix the same models.
    once = run(problem, setting, "ring", setting.rhos, rounds=1)
    often = run(problem, setting, "ring", pair, rounds=1, gossip_steps=Q)
    ratio = float((values(often, rho, "consensus") / values(once, rho, "consensus")).max())
    bound = (1 - tp.ring(N).spectral_gap) ** (2 * Q - 2)
    claims.at_most(
        "distance to consensus at Q = 4 over that at Q = 1, same models: λ⁶ (derived)", bound, ratio
    )
    bits = [float(values(runs[name], rho, "bits_node").mean()) for name in ("DFedSAM-MGS", "DFedSAM")]
    claims.close("bits of DFedSAM-MGS over those of DFedSAM", Q, bits[0] / bits[1])
    early = score(runs, setting, "DFedSAM-MGS", setting.rounds // Q)
    claims.at_least(
        "equal communication, DFedSAM for 4 times the rounds: DFedSAM-MGS is ahead, points (not claimed)",
        0.0,
        early - score(runs, setting, "DFedSAM"),
    )


def topology_table(runs: Runs, setting: Setting) -> dict[str, dict[str, list[float]]]:
    """Accuracy of every seed by method and graph, from the ring to the complete graph."""
    table: dict[str, dict[str, list[float]]] = {}
    for name in ("DFedAvg", "DFedSAM", "DFedSAM-MGS"):
        row, (of, rho) = table.setdefault(name, {}), place(setting, name)
        for graph in ("ring", *setting.graphs, "complete"):
            key = {"ring": of, "complete": "FedSAM"}.get(graph, f"{of}, {graph}")
            if key in runs:
                row[graph] = accuracy(runs[key], rho).tolist()
    return table


def topology_rows(claims: Claims, runs: Runs, setting: Setting) -> None:
    """Sparse graphs cost accuracy, and MGS wins most of it back."""
    table = {
        name: {g: np.mean(v) for g, v in row.items()} for name, row in topology_table(runs, setting).items()
    }
    steps = float(np.diff(list(table["DFedSAM"].values())).min())
    order = ", ".join(table["DFedSAM"])
    claims.at_least(f"DFedSAM over {order}: least gain from one to the next, points (inferred)", -1.0, steps)
    lost = {name: row["complete"] - row["ring"] for name, row in table.items()}
    share = float(lost["DFedSAM-MGS"] / lost["DFedSAM"])
    claims.at_most(
        "share of what the ring loses to the complete graph that MGS still loses (inferred)", 0.5, share
    )


# -------------------------------------------------------------------------------------------------------- flatness


def measure_flatness(dataset: Dataset, setting: Setting, runs: Runs) -> dict[str, dict[str, list[Any]]]:
    """Flatness of the final models by method: every number a list over seeds.

    At the averaged model x̄, of the training loss f: the largest eigenvalue `top`, the rises `steepest` and
    `random` by radius. From node models to x̄, of the node's own loss, mean over nodes: `rise`, how far the line
    climbs above its start, and `barrier`, above its chord.
    """
    problem = make_problem(dataset, setting, setting.alphas[0], batch_size=None)
    names = ("DFedAvg", "DFedSAM", "DFedSAM-MGS")
    stacks = []
    for name in names:
        of, rho = place(setting, name)
        rows = np.array([r for r, each in enumerate(runs[of].runs) if each["rho"] == rho])
        stacks.append(jax.tree.map(lambda leaf, rows=rows: leaf[rows], runs[of].params))
    stacked = jax.tree.map(lambda *leaves: np.concatenate(leaves), *stacks)
    key = jax.random.key(0)

    def one(params: Any, local: Any, shared: Any) -> dict[str, jax.Array]:
        mean = tree.node_mean(params)

        def loss(x: Any) -> jax.Array:
            return problem.objective(x, local, shared)

        def line(start: Any, own: Any) -> jax.Array:
            return flatness.along(lambda x: problem.loss(x, key, own, shared), start, mean)

        lines = jax.lax.map(lambda args: line(*args), (params, local))
        return {
            "top": flatness.top_eigenvalue(loss, mean, key, steps=12),
            "steepest": jax.lax.map(lambda r: flatness.steepest_rise(loss, mean, r), radii),
            "random": jax.lax.map(lambda r: flatness.random_rise(loss, mean, r, key, directions=4), radii),
            "rise": jnp.mean(jnp.max(lines, axis=1) - lines[:, 0]),
            "barrier": jnp.mean(jax.vmap(flatness.barrier)(lines)),
        }

    radii = jnp.asarray(RADII)
    every = jax.jit(lambda many, local, shared: jax.lax.map(lambda x: one(x, local, shared), many))
    got = jax.tree.map(np.asarray, every(stacked, problem.local, problem.shared))
    return {
        name: {key: value[SEEDS * i : SEEDS * (i + 1)].tolist() for key, value in got.items()}
        for i, name in enumerate(names)
    }


def flatness_rows(claims: Claims, flat: dict[str, dict[str, list[Any]]]) -> None:
    """DFedSAM over DFedAvg, mean over seeds: below 1 is flatter."""

    def ratio(key: str) -> float:
        return float(np.mean(flat["DFedSAM"][key]) / np.mean(flat["DFedAvg"][key]))

    what = {
        "top": "largest eigenvalue of the Hessian at the average",
        "steepest": "rise of the loss around the average, steepest direction",
        "random": "rise of the loss around the average, random directions",
        "rise": "rise of a node's own loss on the way to the average",
    }
    for key, text in what.items():
        claims.at_most(f"{text}: DFedSAM over DFedAvg", 1.0, ratio(key))
    barriers = {name: float(np.mean(row["barrier"])) for name, row in flat.items()}
    text = "barrier on that way, above its chord: DFedSAM's, bounded by DFedAvg's"
    claims.at_most(text, barriers["DFedAvg"], barriers["DFedSAM"])


# --------------------------------------------------------------------------------------------------------- picture


def curves(runs: Runs, setting: Setting, name: str) -> dict[str, Any]:
    """Accuracy of every seed against rounds: `rounds` [r], `accuracy` [seeds, r]."""
    of, rho = place(setting, name)
    rounds = sorted({row["round"] for row in runs[of].rows})
    table = np.stack([accuracy(runs[of], rho, t) for t in rounds], axis=1)
    return {"rounds": rounds, "accuracy": table.tolist()}


def draw(data: dict[str, Any], setting: Setting, what: str) -> Figure:
    """Accuracy against rounds by method; accuracy by graph; how fast the loss rises around the average."""
    figure, (left, middle, right) = blank(15.5, 4.7, 1, 3, width_ratios=[1.35, 1, 1])
    names = [name for name in data["curves"] if name != "DFedAvg-MGS"]
    colours = dict(zip(names, COLOURS, strict=False))
    for name in names:
        curve = data["curves"][name]
        dashes = DASHES[1] if name.startswith("Fed") else DASHES[0]
        _band(left, curve["rounds"], np.array(curve["accuracy"]), label=name, color=colours[name], ls=dashes)
    note = f"{what}, {N} nodes, Dirichlet {setting.alphas[0]}; decentralised methods on the ring"
    note += f"\nmean over {SEEDS} seeds, band: min to max"
    frame(left, "rounds", "accuracy of the node models, held out", note)
    left.yaxis.set_major_formatter(PercentFormatter(decimals=0))
    # What is slow to learn would squeeze the rest.
    top = max(np.max(data["curves"][name]["accuracy"]) for name in names)
    left.set_ylim(top - 40, top + 1)
    left.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0.24, 0))

    graphs = ["ring", *setting.graphs, "complete"]
    for marker, (name, row) in zip(MARKERS, data["topology"].items(), strict=False):
        at = [graphs.index(graph) for graph in row]
        _band(middle, at, np.array(list(row.values())).T, label=name, color=colours[name], marker=marker)
    middle.set_xticks(range(len(graphs)), [f"{g}\n{GRAPHS[g](N).spectral_gap:.2f}" for g in graphs])
    note = f"after {setting.rounds} rounds"
    frame(middle, "graph, and its spectral gap", "accuracy of the node models, held out", note)
    middle.yaxis.set_major_formatter(PercentFormatter(decimals=1))
    middle.legend(frameon=False, fontsize=9, loc="lower right")

    for name, row in data["flatness"].items():
        for key, dashes in (("steepest", DASHES[0]), ("random", DASHES[1])):
            style = {"label": f"{name}, {key}", "ls": dashes, "marker": "o"}
            _band(right, RADII, np.array(row[key]), color=colours[name], **style)
    right.set_xscale("log")
    right.set_yscale("log")
    note = "at the averaged model, uphill and in random directions"
    frame(right, "distance from the averaged model", "rise of the training loss", note)
    plain_log(right.xaxis)
    right.set_ylim(top=right.get_ylim()[1] * 100)
    right.legend(frameon=False, fontsize=9, loc="upper left", ncols=2)
    return figure


def _band(axes: Axes, x: Any, table: np.ndarray, *, color: str, **style: Any) -> None:
    """A line of means over seeds, and a band from the least to the largest; the table is [seeds, points]."""
    axes.plot(x, table.mean(axis=0), color=color, lw=1.8, ms=5, **style)
    axes.fill_between(x, table.min(axis=0), table.max(axis=0), color=color, alpha=0.18, lw=0)
