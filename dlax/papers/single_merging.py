"""When to communicate: almost silent gossip and one global merge at the very end.

Zhu, Zhang, Wang, Zhou, Wang. On the Surprising Effectiveness of a Single Global Merging in Decentralized Learning.
ICLR 2026 (first: A Single Merging Suffices, arXiv 2507.06542).

What is whose. The claims in words are the paper's (abstract and public summaries: its text and its tables were not
to be had), the pull matrix and the schedules are those of its code. Thresholds in points come from our own study on
a Gaussian mixture and are marked "inferred". The paper trains ResNet-18 and CLIP on Tiny ImageNet and CIFAR-100; we
train small MLPs. In its "resample" mode nodes have a fixed mix of classes and ever fresh samples; here they draw
minibatches from their part of a Dirichlet 0.1 partition. Accuracies are on held-out data, means over seeds; all
seeds share one partition. "Near zero accuracy of the merged model without communication" is about deep networks:
here it is asked of different first models only.
"""

import functools
from typing import Any, NamedTuple

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from dlax import mixing
from dlax import topology as tp
from dlax.algorithms import dsgd, gossip
from dlax.claims import Claims
from dlax.data import digits, dirichlet, fashion_mnist
from dlax.models import mlp
from dlax.papers import Reproduction
from dlax.plots.style import COLOURS, DASHES, blank, frame
from dlax.problems import average, classification, quadratic
from dlax.results import Result
from dlax.simulate import simulate
from dlax.types import Problem

N, R, SEEDS, ALPHA, EVALUATIONS = 16, 0.2, 3, 0.1, 20


class Setting(NamedTuple):
    """What the quick and the slow version differ in.

    Attributes:
      rounds: T, a multiple of the number of evaluations, 20.
      local_steps: H.
      hidden: of the network.
      batch_size: of a step.
      held_out: of the test samples; None means all.
      positions: where windows of 5 % of the rounds start, as shares of the run; first, middle, last among them.
    """

    rounds: int
    local_steps: int
    hidden: tuple[int, ...]
    batch_size: int
    held_out: int | None
    positions: tuple[float, ...]


QUICK = Setting(100, 5, (64, 64), 16, None, (0.0, 0.25, 0.5, 0.75, 0.95))
SLOW = Setting(100, 10, (32, 32), 32, 2000, (0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.95))


def reproduce(*, slow: bool = False) -> Reproduction:
    """Runs the claims on digits, or with `slow` on Fashion-MNIST with more places of the dense window.

    Raises:
      ValueError: if Fashion-MNIST is not to be had.
    """
    setting, dataset = (SLOW, fashion_mnist()) if slow else (QUICK, digits())
    problem = classification(
        N,
        dataset=dataset,
        model=mlp(hidden=setting.hidden),
        partition=dirichlet(alpha=ALPHA),
        batch_size=setting.batch_size,
        held_out=setting.held_out,
    )
    claims = Claims()
    matrix_rows(claims)
    theory_rows(claims)
    runs = train(problem, setting)
    merge_rows(claims, runs, setting)
    timing_rows(claims, runs, setting)
    gossip_rows(claims, problem, runs)
    silent_rows(claims, problem, runs, setting)

    names = ("r = 0", f"r = {R}", "r = 1", "full")
    data = {
        "rounds": rounds_of(runs["full"]),
        "local": {name: table(runs[name], "accuracy_mean").tolist() for name in names},
        "merged": {name: table(runs[name], "accuracy_merged").tolist() for name in names},
        "window": {
            at: table(runs[f"window {at}"], "accuracy_mean")[:, -1].tolist() for at in setting.positions
        },
        "partition": np.asarray(problem.table).tolist(),
    }
    what = "Fashion-MNIST" if slow else "digits"
    return Reproduction(
        title="On the Surprising Effectiveness of a Single Global Merging in Decentralized Learning (ICLR 2026)",
        setting=f"{what}, {N} nodes, Dirichlet {ALPHA}, MLP {'-'.join(map(str, setting.hidden))}, "
        f"{setting.rounds} rounds of H = {setting.local_steps} steps, {SEEDS} seeds",
        claims=claims,
        figure=draw(data, setting, what),
        data=data,
    )


# ---------------------------------------------------------------------------------------------------- the matrices


def matrix_rows(claims: Claims) -> None:
    """What a draw of the pull matrix is."""
    topology = tp.random_pull(N, peers=R)
    drawn = np.stack([mixing.matrix(topology, 0, key) for key in jax.random.split(jax.random.key(0), 20)])
    claims.at_most("pull matrix: largest |row sum − 1| (code)", 1e-12, float(np.abs(drawn.sum(2) - 1).max()))
    skew = float(np.abs(drawn - drawn.transpose(0, 2, 1)).max())
    claims.at_least("pull matrix: largest |W − Wᵀ|, it is not symmetric (code)", 0.4, skew)
    rounds, seeds = 2000, 10
    run = simulate(gossip(), average(N, dim=1), topology, rounds=rounds, eval_every=rounds, seeds=seeds)
    sent = np.mean([row["bits_node"] for row in run.rows if row["round"] == rounds])
    claims.close("pull matrix: mean number of peers (code)", R, float(sent / 32 / rounds), rel=0.02)
    once = simulate(gossip(), average(N, dim=20), topology, rounds=1, eval_every=1, seeds=1000)
    start, end = ([row["consensus"] for row in once.rows if row["round"] == t] for t in (0, 1))
    claims.close(
        "a round's contraction 1 − p, in closed form and drawn (derived)",
        (1 - topology.spectral_gap) ** 2,
        float(np.mean(end) / start[0]),
        rel=0.01,
    )


def theory_rows(claims: Claims) -> None:
    """Quadratics: the mean knows nothing of the graph, and disagreement obeys the paper's recursion."""
    problem = quadratic(N, hessian="common")
    ends = [
        simulate(dsgd(0.1), problem, graph(N), rounds=50, eval_every=50, precision="float64").params["x"]
        for graph in (tp.ring, tp.complete)
    ]
    gap = float(np.abs(ends[0].mean(axis=1) - ends[1].mean(axis=1)).max())
    claims.at_most("equal Hessians: merged D-SGD on a ring − parallel SGD (derived)", 1e-12, gap)
    lr, seeds, rounds = 0.05, 100, 30
    pulls = tp.random_pull(N, peers=R)
    run = simulate(dsgd(lr), problem, pulls, rounds=rounds, eval_every=1, seeds=seeds, precision="float64")
    xi = np.array([row["consensus"] for row in run.rows]).reshape(rounds + 1, seeds).mean(axis=1)
    p = 1 - (1 - pulls.spectral_gap) ** 2
    zeta = 1.0  # (1/n) Σ ‖∇fᵢ(x) − ∇f(x)‖² is ζ² at every x where Hessians are equal
    bound = (1 - p / 2) * xi[:-1] + 12 * (1 - p) / p * lr**2 * zeta**2
    claims.at_most(
        "consensus recursion: largest E Ξ²(t + 1) over its bound", 1.0, float((xi[1:] / bound).max())
    )


# -------------------------------------------------------------------------------------------------------- training


def pulls(
    setting: Setting, start: float = R, at: int | None = None, length: int | None = None
) -> tp.Topology:
    """r = `start`, and all-reduce for `length` rounds from round `at` on; None: never."""
    # One round more than is run, so that all have arrays of one shape, and share a compiled program.
    T = setting.rounds + 1
    if at is None:
        return tp.scheduled_pull(N, rounds=T, start=start)
    return tp.scheduled_pull(N, rounds=T, schedule="window", start=start, at=at / T, window=(length or 1) / T)


def train(problem: Problem, setting: Setting) -> dict[str, Result]:
    """Every amount and place of communication, over all seeds."""
    T, length = setting.rounds, round(0.05 * setting.rounds)
    run = functools.partial(
        simulate, dsgd(0.1, local_steps=setting.local_steps), problem,
        rounds=T, eval_every=T // EVALUATIONS, seeds=SEEDS,
    )  # fmt: skip
    runs = {name: run(pulls(setting, r)) for name, r in (("r = 0", 0.0), (f"r = {R}", R), ("r = 1", 1.0))}
    runs["full"] = run(pulls(setting, N - 1.0))
    runs["merge"] = run(pulls(setting, at=T - 1))
    for name, r in (("r = 0, own starts", 0.0), (f"r = {R}, own starts", R)):
        runs[name] = run(pulls(setting, r), start="independent")
    for at in setting.positions:
        runs[f"window {at}"] = run(pulls(setting, at=round(at * T), length=length))
    return runs


def rounds_of(result: Result) -> list[int]:
    """The rounds that were evaluated."""
    return sorted({row["round"] for row in result.rows})


def table(result: Result, metric: str) -> np.ndarray:
    """A metric `[seeds, evaluations]`; accuracies in per cent."""
    values = np.array([row[metric] for row in result.rows]).reshape(len(rounds_of(result)), -1).T
    return 100 * values if metric.startswith("accuracy") else values


def score(result: Result, metric: str = "accuracy_mean", share: float = 1.0) -> float:
    """An accuracy in per cent after a share of the run, mean over seeds."""
    values = table(result, metric).mean(axis=0)
    return float(values[round(share * (len(values) - 1))])


# -------------------------------------------------------------------------------------------------------- verdicts


def merge_rows(claims: Claims, runs: dict[str, Result], setting: Setting) -> None:
    """What the merged model is worth, and what it costs."""
    rare = runs[f"r = {R}"]
    for share, points in ((1.0, 15.0), (0.4, 20.0)):
        gap = score(rare, "accuracy_merged", share) - score(rare, share=share)
        where = "at the end" if share == 1 else "after 40 % of the run"
        claims.at_least(f"r = {R}: merged − local {where}, points (inferred)", points, gap)
    both = [table(rare, metric) for metric in ("accuracy_merged", "accuracy_mean")]
    after = np.array(rounds_of(rare)) > 0.1 * setting.rounds
    least = float((both[0] - both[1]).mean(axis=0)[after].min())
    claims.at_least(f"r = {R}: the merged curve is above the local one throughout, points", 0.0, least)
    barrier = table(rare, "test_loss_merged") - table(rare, "test_loss_mean")
    claims.at_most(
        f"r = {R}: largest barrier L(x̄) − mean L(xᵢ) after round 10, any seed",
        0.0,
        float(barrier[:, np.array(rounds_of(rare)) > 10].max()),
    )
    silent = score(runs["r = 0, own starts"], "accuracy_merged")
    claims.at_most("r = 0 and different starts: accuracy of the merged model (chance + 8)", 18.0, silent)
    share = score(runs["merge"]) / score(runs["full"])
    claims.at_least(
        "a single merge: share of the accuracy of averaging in every round (inferred)", 0.9, share
    )
    bits = [np.mean([row["bits_node"] for row in runs[name].rows[-SEEDS:]]) for name in ("merge", "full")]
    cost = R / (N - 1) + 1 / setting.rounds
    claims.close("... and of its communication: r/(n − 1) + 1/T", cost, float(bits[0] / bits[1]), rel=0.1)


def timing_rows(claims: Claims, runs: dict[str, Result], setting: Setting) -> None:
    """5 % dense rounds, placed first, in the middle or last: final local accuracy."""
    early, middle, late = (score(runs[f"window {at}"]) for at in (0.0, _middle(setting), 0.95))
    claims.at_least("5 % dense rounds: last − first, points (inferred)", 8.0, late - early)
    claims.at_least("5 % dense rounds: last − middle, points (inferred)", 8.0, late - middle)
    claims.at_least("5 % dense rounds: late windows are not behind, last − best other, points", 0.0, late - max(
        score(runs[f"window {at}"]) for at in setting.positions if at != 0.95
    ))  # fmt: skip


def _middle(setting: Setting) -> float:
    return min(setting.positions, key=lambda at: abs(at - 0.5))


def gossip_rows(claims: Claims, problem: Problem, runs: dict[str, Result]) -> None:
    """Extra gossip in place of the merge, from the final models of the first seed."""
    models = jax.tree.map(lambda leaf: np.asarray(leaf[0], np.float64), runs[f"r = {R}"].params)
    mean = jax.tree.map(lambda leaf: leaf.mean(axis=0, keepdims=True), models)

    def after(topology: tp.Topology, rounds: int) -> list[Any]:
        out = [models]
        for t in range(rounds):
            W = topology.dense(t)
            out.append(jax.tree.map(lambda leaf, W=W: np.tensordot(W, leaf, 1), out[-1]))
        return out

    def distance(state: Any) -> float:
        return float(
            sum(((a - b) ** 2).sum() for a, b in zip(*map(jax.tree.leaves, (state, mean)), strict=True))
        )

    exponential = after(tp.static_exponential(N), 5)
    distances = [distance(state) for state in exponential]
    fall = float(np.max(np.array(distances[1:]) / distances[:-1]))
    claims.at_most("exponential graph: distance to the merge after a round over before, at most", 1.0, fall)
    evaluate = jax.jit(lambda params: jax.lax.map(lambda one: problem.evaluate(one, problem.held), params))  # type: ignore[misc]
    accuracy = [
        100 * float(np.mean(evaluate(jax.tree.map(np.float32, exponential[k]))["accuracy"]))
        for k in (0, 1, 5)
    ]
    merged = float(100 * evaluate(jax.tree.map(np.float32, mean))["accuracy"][0])
    claims.at_least(
        "local accuracy after 1 extra exponential round − before, points", 0.0, accuracy[1] - accuracy[0]
    )
    claims.close("local accuracy after 5 extra exponential rounds: the merge's", merged, accuracy[2], abs=1.0)
    end = distance(after(tp.one_peer_exponential(N), 4)[-1])
    claims.at_most(
        "log₂ n one-peer rounds are the merge: distance left over before", 1e-25, end / distances[0]
    )


def silent_rows(claims: Claims, problem: Problem, runs: dict[str, Result], setting: Setting) -> None:
    """Looking at the merged model does not touch the run."""
    T = setting.rounds
    unseen = simulate(
        dsgd(0.1, local_steps=setting.local_steps), problem._replace(evaluate=None), pulls(setting),
        rounds=T, eval_every=T, seeds=SEEDS,
    )  # fmt: skip
    seen = jax.tree.leaves(runs[f"r = {R}"].params)
    pairs = zip(seen, jax.tree.leaves(unseen.params), strict=True)
    largest = max(float(np.abs(a - b).max()) for a, b in pairs)
    claims.at_most("evaluated 20 times or never: largest difference of the final models", 0.0, largest)


# --------------------------------------------------------------------------------------------------------- picture


def draw(data: dict[str, Any], setting: Setting, what: str) -> Figure:
    """Local and merged accuracy against rounds; final local accuracy by the place of the dense window."""
    figure, (left, right) = blank(11.5, 4.6, 1, 2, width_ratios=[1.5, 1])
    for colour, name in zip(COLOURS, data["local"], strict=False):
        for which, dashes in (("local", DASHES[0]), ("merged", DASHES[1])):
            label = f"{name}, {which}" if name != "full" else f"averaged every round, {which}"
            if name != "full" or which == "local":
                _band(left, data["rounds"], np.array(data[which][name]), label=label, color=colour, ls=dashes)
    note = f"{what}, {N} nodes, Dirichlet {ALPHA}, r: peers a node and round"
    note += f"\nmean over {SEEDS} seeds, band: min to max"
    frame(left, "rounds", "accuracy, held out", note)
    left.legend(frameon=False, fontsize=9, loc="lower right", ncols=2)
    left.set_ylim(bottom=min(left.get_ylim()[0], 0) - 35)
    left.set_yticks(range(0, 101, 20))
    at = 100 * np.array(list(data["window"]))
    _band(right, at, np.array(list(data["window"].values())).T, color=COLOURS[1], marker="o")
    note = f"r = {R}, and all-reduce in 5 % of the rounds\nafter {setting.rounds} rounds"
    frame(
        right, "start of the dense window, per cent of the run", "local accuracy at the end, held out", note
    )
    for axes in (left, right):
        axes.yaxis.set_major_formatter(PercentFormatter(decimals=0))
    return figure


def _band(axes: Axes, x: Any, values: np.ndarray, *, color: str, **style: Any) -> None:
    """A line of means over seeds, and a band from the least to the largest; values are [seeds, points]."""
    axes.plot(x, values.mean(axis=0), color=color, lw=1.8, ms=5, **style)
    axes.fill_between(x, values.min(axis=0), values.max(axis=0), color=color, alpha=0.18, lw=0)
