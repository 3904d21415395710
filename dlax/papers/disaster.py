"""Disasters: nodes disappear while a network learns. Is it their data that is missed, or their links?

Palmieri, Boldrini, Valerio, Passarella, Conti. Exploring the Impact of Disrupted Peer-to-Peer Communications on Fully
Decentralized Learning in Disaster Scenarios. ICT-DM 2023. The same and Kertész: Robustness of Decentralised Learning
to Nodes and Data Disruption. Computer Communications 2025 (the follow-up).

    DecAvg, every round:   xᵢ ← Σⱼ w_ij xⱼ over the closed neighbourhood,   then K local SGD steps
    from round t_d on:     the hubs S are gone, and rows are renormalised over who is left

    Case 1  the hubs hold no data     Case 2  everybody holds the same     Case 3  hubs hold five times as much

What is whose. Of both papers abstracts and summaries alone were to be had: the cases, Barabási–Albert graphs, IID
data and the claims in words are theirs ("paper", "follow-up"). Sizes, rounds, hyper-parameters and thresholds in
points are from our own study ("own"); what follows from the rule alone is "derived". Which centrality was meant is
not known: degree here, ties by index. Nor is what a node without data weighs: with the weights w_ij ∝ |Dⱼ| of DecAvg
it relays nothing, and Case 1 would be the same with and without a disaster, which a row shows; all else has uniform
weights. Nodes without data average and take no gradient step. Cases 1 and 2 have as many samples in all.

What differs. K is an epoch of a node with the usual share, for hubs too. The average comes first in a round; the
paper's order is not confirmed. Nodes are numbered by degree, hubs first; what is lost, when, and the seed are traced.
"Data lost" is our control: hubs go on averaging, but take no gradient step from t_d on. Every run with one seed has
the same start and the same minibatches, disaster or not. In the quick version graphs are data of one program, too.

What does not hold, and what was tried. The follow-up's 10 to 20 % hold if hubs leave in round 20 or later; whoever is
cut off from the start learns alone, and a fifth of the hubs leaves most nodes of m = 1 alone: 42 points are lost on
Gaussian classes, 30 with m = 2. At t_d = 0 Cases 1 and 2 differ by 5 and 4 points, not 3: with as many samples in
all, those who are left hold a quarter more in Case 1. With as many a node they are the same nodes with the same data,
and the difference is 0 by construction, which says nothing. Links lost still exceed data lost with them, fivefold.
On Fashion-MNIST (slow) these rows hold, and others do not. After 60 rounds the network is still learning, and nodes
without data hold its average back: hubs that have none are worth 4 points (m = 1) and 0.6 (m = 2), not 10. In Case 2
hubs that leave at 0 cost 11 and 6 points, and their data alone 4 and 5; but that is as much as hubs cost in Case 1,
or more. Longer runs, fewer samples a node and larger models were not tried.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from dlax import faults, tree
from dlax import topology as tp
from dlax.algorithms import dsgd, gossip
from dlax.channel import linear as average_over
from dlax.claims import Claims
from dlax.data import Dataset, fashion_mnist, from_arrays
from dlax.models import linear
from dlax.papers import Reproduction, unmeasured
from dlax.plots.graphs import layout
from dlax.plots.style import COLOURS, DASHES, EDGE, GREY, INK, MARKERS, blank, frame
from dlax.problems import average_of, classification
from dlax.simulate.outages import components
from dlax.simulate.rounds import Snapshot, run_rounds
from dlax.topology import Topology
from dlax.types import Algorithm, Fault, Info, Key, Pieces, Problem, Round, Scalar, Tree

N, HUBS, SHARE, FACTOR, BATCH = 50, 10, 0.2, 5, 10
ROUNDS, LR = 60, 0.1
CASES = (1, 2, 3)
LINKS = (1, 2)  # m, links of a new node
TIMES, ENDS = (0, 5, 20, 40), (0, 20)  # t_d; and of what hubs' leaving is compared with
NEVER = 1e6
KINDS = ("hubs", "any", "data")  # hubs leave; as many others, drawn at random; hubs' data alone are lost


class Scenario(NamedTuple):
    """What is lost, when, and how much of it."""

    kind: str
    at: float
    share: float = SHARE


SCENARIOS = (
    Scenario("hubs", NEVER),
    *(Scenario("hubs", at) for at in TIMES),
    *(Scenario(kind, at) for kind in KINDS[1:] for at in ENDS),
)


class Setting(NamedTuple):
    """What the quick and the slow version differ in.

    Attributes:
      each: samples a node; hubs of Case 3 have five times as many.
      held_out: test samples.
      seeds: how many.
      every: rounds between evaluations.
      one_program: whether graphs are data of one program, which saves compilations and costs work.
    """

    each: int
    held_out: int
    seeds: int
    every: int
    one_program: bool


QUICK = Setting(each=20, held_out=256, seeds=3, every=5, one_program=True)
SLOW = Setting(each=30, held_out=512, seeds=2, every=10, one_program=False)


def reproduce(*, slow: bool = False) -> Reproduction:
    """Runs the claims on Gaussian classes, or with `slow` on Fashion-MNIST.

    Raises:
      ValueError: if Fashion-MNIST is not to be had.
    """
    setting, dataset = (SLOW, fashion_mnist()) if slow else (QUICK, gaussian_classes())
    claims = Claims()
    shattered = giant_rows(claims)
    matrix_rows(claims)
    problems = make_problems(dataset, setting)
    graphs = {m: hubs_first(m, 0) for m in LINKS}
    runs = {(m, case): run(problems[case], graphs[m], setting) for m in LINKS for case in CASES}
    for m in LINKS:
        accuracy_rows(claims, {case: runs[m, case] for case in CASES}, m)
    isolated_rows(claims, runs[1, 2], graphs[1], setting)
    weight_rows(claims, problems, graphs[1], setting)
    engine_rows(claims, problems[2], graphs[1], setting, runs[1, 2])
    data = {
        "rounds": list(range(0, ROUNDS + 1, setting.every)),
        "curves": {f"m = {m}, case {case}": curves(runs[m, case]) for m in LINKS for case in CASES},
        "isolated": isolated_curves(runs[1, 2], graphs[1]),
        "nodes": runs[1, 2].nodes[-1, place("hubs", 20)].mean(axis=0).tolist(),
        "edges": [edge for edge in graphs[1].edges.tolist() if edge[0] < edge[1]],
        "giant": shattered,
    }
    what = "Fashion-MNIST" if slow else "Gaussian classes"
    return Reproduction(
        title="Disrupted Peer-to-Peer Communications in Disaster Scenarios (ICT-DM 2023)",
        setting=f"{what}, {N} nodes, {setting.each} samples each, Barabási–Albert m = 1 and 2, {HUBS} nodes lost, "
        f"linear model, batch {BATCH}, {local_steps(setting)} steps a round, {ROUNDS} rounds, lr {LR:g}, "
        f"{setting.seeds} seeds",
        claims=claims,
        figure=draw(data, setting, what),
        data=data,
    )


# --------------------------------------------------------------------------------------------------- who and what


def hubs_first(m: int, seed: int, n: int = N) -> Topology:
    """A Barabási–Albert graph whose nodes are numbered by degree, ties as drawn; uniform weights."""
    drawn = tp.barabasi_albert(n, m=m, seed=seed).graph()
    order = sorted(drawn.nodes, key=lambda node: (-drawn.degree[node], node))
    number = {node: i for i, node in enumerate(order)}
    graph = nx.empty_graph(n)
    graph.add_edges_from((number[u], number[v]) for u, v in drawn.edges)
    return tp.from_networkx(graph, weights=tp.uniform_neighbour(), name=f"barabasi_albert, m = {m}")


def gaussian_classes() -> Dataset:
    """Ten classes in ℝ⁴⁰: means 0.55 N(0, I), samples N(mean, I)."""
    rng = np.random.default_rng(0)
    means = 0.55 * rng.normal(size=(10, 40))
    labels = rng.integers(10, size=4000)
    x = means[labels] + rng.normal(size=(len(labels), 40))
    return from_arrays(
        x[:3000], labels[:3000], x[3000:], labels[3000:], num_classes=10, name="Gaussian classes"
    )


def shares(setting: Setting, case: int) -> np.ndarray:
    """Samples of every node, `[n]`; Cases 1 and 2 have as many in all."""
    hub = {1: 0, 2: setting.each, 3: FACTOR * setting.each}[case]
    other = setting.each * N // (N - HUBS) if case == 1 else setting.each
    return np.where(np.arange(N) < HUBS, hub, other)


def make_problems(dataset: Dataset, setting: Setting) -> dict[int, Problem]:
    """The nodes' data and model by case. Nodes see a part of what is laid out, so that one program serves all."""
    most = np.maximum(shares(setting, 1), shares(setting, 3))

    def partition(labels: np.ndarray, groups: Any, n: int, rng: np.random.Generator) -> list[np.ndarray]:
        return np.split(rng.permutation(len(labels)), np.cumsum(most)[:-1])

    made = classification(
        N,
        dataset=dataset,
        model=linear(),
        partition=partition,
        batch_size=BATCH,
        train_samples=int(most.sum()),
    )
    apply, keep = linear()(dataset.x_train.shape[1:], dataset.num_classes).apply, setting.held_out

    def evaluate(params: Tree, held: Tree) -> Info:  # all at once: compiles in a third of the time
        return {"accuracy": jnp.mean(jnp.argmax(apply(params, held["x"]), axis=1) == held["y"])}

    counts = {case: shares(setting, case) for case in CASES}
    return {
        case: made._replace(
            local=made.local | {"count": count.astype(np.int32), "weight": (count > 0).astype(float)},
            objective=unmeasured,
            evaluate=evaluate,
            held={"x": dataset.x_test[:keep], "y": dataset.y_test[:keep]},
            table=None,
        )
        for case, count in counts.items()
    }


def local_steps(setting: Setting) -> int:
    """K: an epoch of a node with the usual share."""
    return setting.each // BATCH


def place(kind: str, at: float, scenarios: tuple[Scenario, ...] = SCENARIOS) -> int:
    """Which scenario it is."""
    return scenarios.index(Scenario(kind, at))


def as_data(graph: Topology) -> Topology:
    """The same matrix as an argument of the run: every graph then shares one program, which reads n − 1 slots."""
    draw = tp.Draw(_given, {"W": graph.dense()}, frozenset({"row stochastic", "nonnegative"}), lambda: np.nan)
    return Topology("graph", graph.matrices, "drawn", draw)


def used(graph: Topology, setting: Setting) -> Topology:
    """The graph as a run takes it."""
    return as_data(graph) if setting.one_program else graph


def _given(t: jax.Array, key: Key, arrays: Any) -> jax.Array:
    return arrays["W"]


def lonely(graph: Topology) -> np.ndarray:
    """The survivors that hear hubs alone."""
    links = graph.dense() - np.diag(np.diag(graph.dense()))
    return np.array([i for i in range(HUBS, N) if not links[i, HUBS:].any()], int)


# ------------------------------------------------------------------------------------------------------ training


@dataclass(frozen=True)
class Build:
    """DecAvg and what befalls it, by number; equal ones share a compiled program.

    Attributes:
      scenarios: what `hyper["scenario"]` counts through.
      local_steps: K; with 0 nodes average and learn nothing.
    """

    scenarios: tuple[Scenario, ...]
    local_steps: int

    def __call__(self, hyper: dict[str, jax.Array]) -> Pieces:
        """The pieces of a run; what is lost, when, and how much are traced."""
        number = hyper["scenario"].astype(jnp.int32)
        kind = jnp.asarray([KINDS.index(one.kind) for one in self.scenarios])[number]
        at, share = (jnp.asarray([one[k] for one in self.scenarios])[number] for k in (1, 2))
        learn = dsgd(LR, order="combine_then_adapt", local_steps=max(1, self.local_steps))
        decavg = learn if self.local_steps else gossip()
        algorithm = without_data(decavg, jnp.where(kind == KINDS.index("data"), share, 0.0), at)
        return Pieces(algorithm, average_over(lost="renormalise"), faults=losses(kind, at, share))


def losses(kind: jax.Array, at: jax.Array, share: jax.Array) -> Fault:
    """Hubs leave, or any nodes, or nobody, by number."""
    hubs = faults.node_loss(jnp.where(kind == KINDS.index("hubs"), share, 0.0), at, by="degree")
    hubs = hubs._replace(
        prepare=lambda graph: np.arange(graph.n)
    )  # as numbered: weights of 0 would change degrees
    others = faults.node_loss(jnp.where(kind == KINDS.index("any"), share, 0.0), at, by="random")
    return faults.together(faults=(hubs, others))


def without_data(algorithm: Algorithm, share: Scalar, at: Scalar) -> Algorithm:
    """The same for nodes of which the first ⌊share · n⌋ have no data from a round on: their gradients are zero.

    As with nodes that have none from the start, whose loss has weight zero.
    """

    def step(state: Any, round: Round) -> tuple[Any, Info]:
        n = len(round.active)
        robbed = (jnp.arange(n) < jnp.floor(share * n + 1e-5)) & (round.t >= at)

        def grad(params: Tree, key: Key, nodes: jax.Array | None = None) -> tuple[jax.Array, Tree]:
            loss, grads = round.grad(params, key, nodes)
            mask = robbed if nodes is None else robbed[nodes]
            return loss, tree.where_nodes(mask, tree.zeros_like(grads), grads)

        return algorithm.step(state, round._replace(grad=grad))

    return algorithm._replace(step=step)


class Run(NamedTuple):
    """What came of one case on one graph; S scenarios, accuracies in per cent.

    Attributes:
      nodes: `[evaluations, S, seeds, n]`, of every node.
      left: `[evaluations, S, seeds]`, mean over the nodes that are left.
      middle: the carry after 20 rounds, runs leading: scenario by scenario, of each the seeds.
      params: the final models, `[S · seeds, n, ...]`.
    """

    nodes: np.ndarray
    left: np.ndarray
    middle: Any
    params: Tree

    def survivors(self, kind: str, at: float) -> np.ndarray:
        """Accuracy of those who are left, `[evaluations, seeds]`; without disaster of who would be left."""
        number = place(kind, at)
        return self.left[:, number] if kind == "any" else self.nodes[:, number, :, HUBS:].mean(axis=-1)

    def lost(self, kind: str, at: float) -> float:
        """Points of accuracy lost at the end against no disaster, mean over seeds."""
        if kind == "any":  # whoever they are
            before = self.nodes[-1, place("hubs", NEVER)].mean()
        else:
            before = self.survivors("hubs", NEVER)[-1].mean()
        return float(before - self.survivors(kind, at)[-1].mean())


MIDDLE = 20


def run(
    problem: Problem, graph: Topology, setting: Setting, scenarios: tuple[Scenario, ...] = SCENARIOS
) -> Run:  # fmt: skip
    """All scenarios and seeds of one case on one graph, in one program."""
    pages, middle = [], None
    shape = (len(scenarios), setting.seeds)

    def keep(snapshot: Snapshot) -> None:
        nonlocal middle
        pages.append(100 * np.array([row["accuracy"] for row in snapshot.nodes]).reshape(*shape, N))
        if snapshot.round == MIDDLE:
            middle = jax.device_get(snapshot.carry)

    result = run_rounds(
        Build(scenarios, local_steps(setting)), problem, used(graph, setting), rounds=ROUNDS,
        eval_every=setting.every, seeds=range(setting.seeds), hyper={"scenario": range(len(scenarios))},
        execution="vmap", on_block=keep,
    )  # fmt: skip
    left = 100 * np.array([row["accuracy_mean"] for row in result.rows]).reshape(-1, *shape)
    return Run(np.array(pages), left[-len(pages) :], middle, result.params)


def accuracy_rows(claims: Claims, runs: dict[int, Run], m: int) -> None:
    """Items 1 to 4 and the follow-up, on one graph."""
    who = f"m = {m}"
    for case, one in runs.items():
        final = [one.survivors("hubs", at)[-1].mean() for at in TIMES]
        claims.at_least(
            f"1. {who}, Case {case}: later disruption hurts less, least step in points (follow-up)",
            -1.0,
            float(np.diff(final).min()),
        )
    at_once = {case: one.lost("hubs", 0) for case, one in runs.items()}
    apart = abs(float(np.subtract(*(runs[case].survivors("hubs", 0)[-1].mean() for case in (1, 2)))))
    claims.at_most(
        f"2. {who}: hubs gone at 0, with data or without: points between (paper, own figure)", 3.0, apart
    )
    claims.at_least(
        f"2. {who}: points lost with connectivity alone, hubs gone at 0 (paper, own figure)", 10.0, at_once[1]
    )
    claims.at_least(
        f"2. {who}: by which links lost then exceed data lost with them (paper)", 0.0, at_once[1] - apart
    )
    for case in (2, 3):
        margins = [runs[1].lost("hubs", at) - runs[case].lost("data", at) for at in ENDS]
        claims.at_least(
            f"3. {who}, Case {case}: data lost costs less than links lost in Case 1, least margin in points (paper)",
            0.0,
            min(margins),
        )
    for at in ENDS:
        share = runs[2].lost("any", at) / runs[2].lost("hubs", at)
        claims.at_most(f"4. {who}, Case 2: random loss at {at} over that of hubs (own figure)", 0.5, share)
    retained = [
        runs[3].survivors("hubs", at)[-1].mean() - runs[2].survivors("hubs", at)[-1].mean()
        for at in TIMES[2:]
    ]
    claims.at_least(
        f"{who}: hubs with more data leave more knowledge behind, least margin (own)", 0.0, min(retained)
    )
    worst = max(one.lost("hubs", at) for one in runs.values() for at in TIMES)
    claims.at_most(f"{who}: no more than about 20 points lost, whatever the round (follow-up)", 20.0, worst)
    worst = max(one.lost("hubs", at) for one in runs.values() for at in TIMES if at >= 20)
    claims.at_most(f"{who}: the same if hubs leave in round 20 or later (follow-up)", 20.0, worst)


def isolated_rows(claims: Claims, one: Run, graph: Topology, setting: Setting) -> None:
    """Item 5 and what is known of isolated nodes."""
    shown = isolated_curves(one, graph)
    after, alone = (np.array(shown[name]) for name in ("after", "alone"))
    claims.at_least(
        "5. m = 1: isolated since round 20 against alone from the start, points (follow-up, own figure)",
        3.0,
        float(after[-1].mean() - alone[-1].mean()),
    )
    since = after[MIDDLE // setting.every :].mean(axis=1) - alone[MIDDLE // setting.every :].mean(axis=1)
    claims.at_least("5. m = 1: and at every evaluation since, least", 0.0, float(since.min()))
    final, who = one.nodes[-1, place("hubs", 0)].mean(axis=0), lonely(graph)
    others = np.setdiff1d(np.arange(HUBS, N), who)
    claims.at_least(
        "m = 1, hubs gone at 0: nodes that still have a neighbour ahead of isolated ones, points (own)",
        0.0,
        float(final[others].mean() - final[who].mean()),
    )


# -------------------------------------------------------------------------------------------- weights and engine


def weight_rows(claims: Claims, problems: dict[int, Problem], graph: Topology, setting: Setting) -> None:
    """Weights by |D|: the trap of nodes without data, and Case 3."""
    few = (Scenario("hubs", NEVER), Scenario("hubs", 0), Scenario("hubs", 20))
    scenarios = SCENARIOS if setting.one_program else few
    one = run(problems[1], tp.weighted_by_data(graph, shares(setting, 1)), setting, scenarios)
    never, *others = (one.nodes[:, scenarios.index(each), :, HUBS:] for each in few)
    gap = max(float(np.abs(never - other).max()) for other in others)
    claims.at_most("7. trap: weights ∝ |Dⱼ|, Case 1: points between disaster and none (derived)", 1e-4, gap)
    if setting.one_program:
        return
    one = run(problems[3], tp.weighted_by_data(graph, shares(setting, 3)), setting)
    final = [one.survivors("hubs", at)[-1].mean() for at in TIMES]
    claims.at_least(
        "1. m = 1, Case 3, weights ∝ |Dⱼ|: later disruption hurts less, least step in points (own)",
        -1.0,
        float(np.diff(final).min()),
    )


def engine_rows(claims: Claims, problem: Problem, graph: Topology, setting: Setting, one: Run) -> None:
    """Item 6, and when slow item 8, on runs of the study itself."""
    build, seeds = Build(SCENARIOS, local_steps(setting)), setting.seeds
    gone = slice(place("hubs", MIDDLE) * seeds, (place("hubs", MIDDLE) + 1) * seeds)
    claims.at_most(
        "6. who is gone is frozen: largest change after round 20", 0.0,
        apart(one.params, one.middle.state.params, (gone, slice(HUBS))),
    )  # fmt: skip

    def spoil(leaf: np.ndarray) -> np.ndarray:
        leaf = leaf.copy()
        leaf[gone, :HUBS] = 1e30
        return leaf

    state = one.middle.state._replace(params=jax.tree.map(spoil, one.middle.state.params))
    carry = jax.tree.map(jnp.asarray, one.middle._replace(state=state))
    again = run_rounds(
        build, problem, used(graph, setting), rounds=ROUNDS, eval_every=setting.every, seeds=range(seeds),
        hyper={"scenario": range(len(SCENARIOS))}, execution="vmap",
        resume=lambda fresh: Snapshot(MIDDLE, carry, [], [], {"compile": 0.0, "run": 0.0}),
    )  # fmt: skip
    claims.at_most(
        "6. and heard by nobody: largest change when its model is made 10³⁰", 0.0,
        apart(again.params, one.params, (gone, slice(HUBS, None))),
    )  # fmt: skip
    if not setting.one_program:
        largest = one_by_one(build, problem, graph, one.params, seeds, ROUNDS)
        claims.at_most("8. training: runs of the sweep over t_d, share and seed, one by one", 1e-6, largest)


def apart(a: Tree, b: Tree, where: Any) -> float:
    """The largest difference there."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return float(max(np.abs(x[where] - y[where]).max() for x, y in pairs))


def one_by_one(
    build: Build, problem: Problem, graph: Topology, params: Tree, seeds: int, rounds: int, **options: Any
) -> float:
    """The largest difference of the sweep's final models from those of three of its runs, each alone."""
    largest = []
    for number, seed in ((place("hubs", 20), 1), (place("any", 20), 0)):
        alone = run_rounds(
            build, problem, graph, rounds=rounds, eval_every=rounds, seeds=[seed], hyper={"scenario": [number]},
            **options,
        )  # fmt: skip
        one = jax.tree.map(lambda leaf, row=number * seeds + seed: leaf[row : row + 1], params)
        largest.append(apart(alone.params, one, ()))
    return max(largest)


def matrix_rows(claims: Claims) -> None:
    """Item 7 and the consensus of what is left: unit vectors are handed to gossip, in float64."""
    sums, alone, entries, agreed = [], [], [], []
    build, units = Build(SCENARIOS, 0), average_of(np.eye(N))
    uneven = np.random.default_rng(0).integers(1, 50, N)
    for m, size in ((1, np.ones(N)), (2, uneven)):
        graph = tp.weighted_by_data(hubs_first(m, 0), size)

        def after(rounds: int, graph: Topology = graph) -> np.ndarray:
            result = run_rounds(
                build, units, as_data(graph), rounds=rounds, eval_every=rounds, seeds=[0],
                hyper={"scenario": [place("hubs", 0)]}, precision="float64",
            )  # fmt: skip
            return result.params["x"][0]

        W, expected = after(1), renormalised(graph, size)
        sums.append(np.abs(W.sum(axis=1) - 1).max())
        alone.append(np.abs(W - np.eye(N))[lonely(graph)].max(initial=0))
        entries.append(np.abs(W - expected).max())
        agreed.append(np.abs(after(4000) - stationary(graph, size)).max())
    claims.at_most("7. rows of W_t sum to one, largest error", 1e-12, max(sums))
    claims.at_most("7. rows of isolated nodes are unit vectors, largest error", 1e-12, max(alone))
    claims.at_most("7. W_t is (A + I) aᵢ aⱼ |Dⱼ| with rows normalised, largest error", 1e-12, max(entries))
    claims.at_most(
        "what a component agrees on weighs node i by |Dᵢ| Σ |Dⱼ| over its neighbourhood, largest error (derived)",
        1e-6,
        max(agreed),
    )


def renormalised(graph: Topology, size: np.ndarray) -> np.ndarray:
    """W once hubs are gone: the formula, dense."""
    alive = np.arange(N) >= HUBS
    M = (graph.dense() != 0) * np.outer(alive, alive * size)
    M = np.where(M.sum(axis=1, keepdims=True) > 0, M, np.eye(N))
    return M / M.sum(axis=1, keepdims=True)


def stationary(graph: Topology, size: np.ndarray) -> np.ndarray:
    """1πᵀ of every component once hubs are gone, in closed form."""
    left = (graph.dense() != 0)[HUBS:, HUBS:]
    limit = np.eye(N)
    for part in nx.connected_components(nx.from_numpy_array(left)):
        rows = np.array(sorted(part))
        pi = size[HUBS + rows] * (left[np.ix_(rows, rows)] @ size[HUBS + rows])
        limit[np.ix_(HUBS + rows, HUBS + rows)] = pi / pi.sum()
    return limit


GIANT_N, GIANT_LINKS, GIANT_SHARES, GIANT_GRAPHS = 100, (1, 2, 3), (0.05, 0.1, 0.15, 0.2, 0.25, 0.3), 4


def giant_rows(claims: Claims) -> dict[str, Any]:
    """Components of what is left by networkx and by ours; the giant one by share and m."""
    index, linked, counts, giants = [], [], [], []
    for m in GIANT_LINKS:
        for seed in range(GIANT_GRAPHS):
            graph = hubs_first(m, seed, GIANT_N)
            links = graph.dense() * (1 - np.eye(GIANT_N)) != 0
            slots = np.argsort(~links, axis=1, kind="stable")
            for share in GIANT_SHARES:
                alive = np.arange(GIANT_N) >= round(share * GIANT_N)
                left = links & np.outer(alive, alive)
                index.append(slots)
                linked.append(np.take_along_axis(left, slots, axis=1))
                parts = list(nx.connected_components(graph.graph().subgraph(np.flatnonzero(alive).tolist())))
                counts.append({min(part): len(part) for part in parts})
                giants.append([max(map(len, parts)) / alive.sum(), sum(len(part) == 1 for part in parts)])
    labels = np.asarray(
        jax.jit(jax.vmap(components))(jnp.asarray(np.array(index, np.int32)), jnp.asarray(linked))
    )
    wrong = 0
    for k, expected in enumerate(counts):
        first = round(GIANT_SHARES[k % len(GIANT_SHARES)] * GIANT_N)
        names, sizes = np.unique(labels[k, first:], return_counts=True)
        wrong += dict(zip(names.tolist(), sizes.tolist(), strict=True)) != expected
    claims.at_most(
        f"components of {len(counts)} graphs without their hubs, against networkx: differing", 0, wrong
    )
    table = np.array(giants).reshape(len(GIANT_LINKS), GIANT_GRAPHS, len(GIANT_SHARES), 2)
    at = GIANT_SHARES.index(0.2)
    steps = np.diff(table[:, :, at, 0].mean(axis=1))
    claims.at_least(
        "n = 100, 20 % of hubs gone: the giant component grows from m = 1 to 2 to 3, least step (own)", 0.05,
        float(steps.min()),
    )  # fmt: skip
    return {"share": list(GIANT_SHARES), "giant": table[..., 0].tolist(), "isolated": table[..., 1].tolist()}


# ------------------------------------------------------------------------------------------------------- picture


def curves(run: Run) -> dict[str, Any]:
    """Scenario -> accuracy of the survivors in per cent, by evaluation and seed."""
    named = {f"{one.kind}, {one.at:g}": run.survivors(one.kind, one.at).tolist() for one in SCENARIOS[1:]}
    return {"never": run.survivors("hubs", NEVER).tolist()} | named


def isolated_curves(one: Run, graph: Topology) -> dict[str, Any]:
    """Accuracy of the nodes that hear hubs alone, by evaluation and seed: three lives."""
    who = lonely(graph)
    lives = {"never": ("hubs", NEVER), "after": ("hubs", MIDDLE), "alone": ("hubs", 0)}
    return {
        name: one.nodes[:, place(*life)][:, :, who].mean(axis=-1).tolist() for name, life in lives.items()
    } | {"nodes": who.tolist()}


def draw(data: dict[str, Any], setting: Setting, what: str) -> Figure:
    """The graph before and after, accuracy over time and against the round of the disaster, and components."""
    figure, panels = blank(18, 9, 2, 4)
    note = f"{what}; mean and range of {setting.seeds} seeds"
    _graphs(panels[0], panels[1], data)
    _over_time(panels[2], data["rounds"], data["curves"]["m = 1, case 2"], "m = 1, Case 2; " + note)
    _isolated(panels[3], data, note)
    for axes, m in zip(panels[4:6], LINKS, strict=True):
        _by_round(
            axes, {case: data["curves"][f"m = {m}, case {case}"] for case in CASES}, f"m = {m}; " + note
        )
    _by_kind(panels[6], data["curves"], note)
    _giant(panels[7], data["giant"])
    return figure


def _graphs(before: Axes, after: Axes, data: dict[str, Any]) -> None:
    """Who leaves; and what the others know at the end if hubs leave in round 20."""
    edges = np.array(data["edges"])
    at, known = layout(N, edges), np.array(data["nodes"])
    isolated = np.isin(np.arange(N), data["isolated"]["nodes"])
    degree = np.bincount(edges.ravel(), minlength=N)
    for axes, drawn in ((before, edges), (after, edges[(edges >= HUBS).all(axis=1)])):
        axes.add_collection(LineCollection(list(at[drawn]), colors=EDGE, lw=0.8, zorder=1))
        axes.set_aspect("equal")
        axes.margins(0.09)
        axes.set_axis_off()
    colours = np.where(np.arange(N) < HUBS, COLOURS[1], COLOURS[0])
    before.scatter(
        at[:, 0], at[:, 1], 40 + 14 * degree, colours, edgecolors="white", linewidths=0.8, zorder=2
    )
    before.set_title(f"m = 1: the {HUBS} nodes of highest degree will leave", fontsize=10, color=INK)
    after.scatter(at[:HUBS, 0], at[:HUBS, 1], 40, GREY, marker="x", linewidths=1.2, zorder=2)
    for mask, marker in ((~isolated, "o"), (isolated, "s")):
        rows = np.flatnonzero(mask & (np.arange(N) >= HUBS))
        dots = after.scatter(
            at[rows, 0], at[rows, 1], 60, known[rows], marker=marker, edgecolors="white", linewidths=0.8, zorder=2,
            vmin=known[HUBS:].min(), vmax=known[HUBS:].max(),
        )  # fmt: skip
    bar = after.figure.colorbar(dots, ax=after, shrink=0.75, pad=0.01, format=PercentFormatter(decimals=0))
    bar.set_label("accuracy at the end", fontsize=9)
    bar.outline.set_visible(False)
    after.set_title("after round 20: isolated nodes are squares", fontsize=10, color=INK)


def _over_time(axes: Axes, rounds: list[int], lines: dict[str, Any], note: str) -> None:
    """Accuracy of the survivors, by the round in which hubs leave; events are marked."""
    names = {"never": "no disaster"} | {f"hubs, {at}": f"t_d = {at}" for at in TIMES}
    for k, (key, name) in enumerate(reversed(names.items())):
        colour = COLOURS[k] if key != "never" else "black"
        _band(axes, rounds, lines[key], color=colour, label=name)
        if key != "never":
            at = int(key.split(", ")[1])
            axes.axvline(at, color=colour, ls=DASHES[2], lw=1)
    _accuracy(axes, "round", "accuracy of survivors", note)
    axes.legend(frameon=False, fontsize=9, loc="lower right")


def _isolated(axes: Axes, data: dict[str, Any], note: str) -> None:
    """Nodes that are left alone in round 20, against themselves alone from the start."""
    shown = data["isolated"]
    for key, name, colour in (
        ("never", "hubs stay", "black"), ("after", "isolated in round 20", COLOURS[0]),
        ("alone", "alone from the start", COLOURS[1]),
    ):  # fmt: skip
        _band(axes, data["rounds"], shown[key], color=colour, label=name)
    axes.axvline(MIDDLE, color=COLOURS[0], ls=DASHES[2], lw=1)
    _accuracy(axes, "round", f"accuracy of the {len(shown['nodes'])} nodes that hear hubs alone", note)
    axes.legend(frameon=False, fontsize=9, loc="lower right")


def _by_round(axes: Axes, cases: dict[int, dict[str, Any]], note: str) -> None:
    """Where survivors end against t_d, by case, and where they would have without a disaster."""
    for case, lines in cases.items():
        colour = COLOURS[case - 1]
        final = np.array([lines[f"hubs, {at}"][-1] for at in TIMES])
        _band(axes, list(TIMES), final, color=colour, marker=MARKERS[case - 1], label=f"Case {case}")
        axes.axhline(np.mean(lines["never"][-1]), color=colour, ls=DASHES[1], lw=1.1)
    _accuracy(axes, "t_d, the round in which hubs leave", "accuracy of survivors at the end", note)
    handles = [*axes.get_legend_handles_labels()[0], Line2D([], [], color=GREY, ls=DASHES[1], lw=1.1)]
    axes.legend(handles, [*(f"Case {case}" for case in CASES), "no disaster"], frameon=False, fontsize=9)


def _by_kind(axes: Axes, cases: dict[str, dict[str, Any]], note: str) -> None:
    """Case 2: points lost when hubs leave, as many random nodes, or hubs' data alone."""
    names = {"hubs": "hubs leave", "any": "random nodes leave", "data": "hubs lose their data"}
    places = [f"m = {m}\nt_d = {at}" for m in LINKS for at in ENDS]
    for k, (kind, name) in enumerate(names.items()):
        for number, (m, at) in enumerate(itertools.product(LINKS, ENDS)):
            lines = cases[f"m = {m}, case 2"]
            values = np.mean(lines["never"][-1]) - np.array(lines[f"{kind}, {at}"][-1])
            middle, x = values.mean(), number + 0.27 * (k - 1)
            axes.bar(x, middle, 0.25, color=COLOURS[k], label=name if number == 0 else None)
            axes.plot([x, x], [values.min(), values.max()], color=INK, lw=1.2)
    axes.set_xticks(range(len(places)), places, fontsize=8.5)
    frame(axes, "", "points of accuracy lost at the end", "Case 2; " + note)
    axes.legend(frameon=False, fontsize=9)


def _giant(axes: Axes, giant: dict[str, Any]) -> None:
    for k, m in enumerate(GIANT_LINKS):
        table = 100 * np.array(giant["giant"][k]).T
        _band(
            axes,
            [100 * share for share in giant["share"]],
            table,
            color=COLOURS[k],
            marker=MARKERS[k],
            label=f"m = {m}",
        )
    _accuracy(axes, "share of nodes gone, by degree", "survivors in the giant component",
              f"n = {GIANT_N}; mean and range of {GIANT_GRAPHS} graphs")  # fmt: skip
    axes.xaxis.set_major_formatter(PercentFormatter(decimals=0))
    axes.legend(frameon=False, fontsize=9)


def _accuracy(axes: Axes, x: str, y: str, note: str) -> None:
    frame(axes, x, y, note)
    axes.yaxis.set_major_formatter(PercentFormatter(decimals=0))


def _band(axes: Axes, x: Sequence[float], table: Any, *, color: str, **style: Any) -> None:
    """A line of means over seeds, and a band from the least to the largest; the table is [points, seeds]."""
    values = np.array(table)
    axes.plot(x, values.mean(axis=1), color=color, lw=1.8, ms=5, **style)
    axes.fill_between(x, values.min(axis=1), values.max(axis=1), color=color, alpha=0.15, lw=0)
