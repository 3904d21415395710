"""MoDeST: a small sample of nodes trains in a round, all work out for themselves which, and there is no server.

De Vos, Dhasade, Kermarrec, Lavoie, Pouwelse, Sharma. MoDeST: Bridging the Gap between Federated and Decentralized
Learning with Decentralized Sampling. arXiv 2302.13837, 2023; its later form is Plexus, EuroMLSys 2025.

What is whose. Of the papers abstracts alone were to be had ("paper", "Plexus"): as fast as federated learning, 3 to
14 times fewer bytes than decentralised learning, progress with 80 % of the nodes unresponsive; for Plexus 1.2 to 8.3
times less time and 6.4 to 370 times less training than decentralised learning. The protocol, its time-outs and the
baselines' form are the authors' code's. What follows from the protocol alone is "derived", thresholds without a
source are "own". Sizes, models, times and the schedule of failures are our own; the paper's could not be found.

The baselines. FL is the same protocol with a fixed aggregator that nobody pings and that sends no views; its cohorts
come from other keys than MoDeST's, else both would be the same run bit for bit. D-PSGD is on the one-peer exponential
graph, every node trains in every round and waits for the one it hears; its mean model is evaluated, which is to its
favour. All take the best of the same step sizes, by bytes to the target. A sender shares its bandwidth among those it
sends to. Costs to an accuracy are those of the mean curve, a running mean of three
measurements.

The crash. The 80 nodes fall silent at the start of round 50, and the aggregator of that round is not among them: with
a = 1 nobody else has its models, so the protocol stalls if it is, which a row counts. The survivors then pick the
very samples they would if they had known, so that accuracies are equal to the last digit: pings cost time alone.

What does not hold, and what was tried. Where all nodes are about as fast, D-PSGD takes less time, 0.93 of MoDeST's on
digits and 0.51 on Fashion-MNIST: its round is one transfer, MoDeST's two and two searches, and there it needs fewer
rounds. With exponential speeds its round waits for the slowest of a hundred nodes and MoDeST's for the slowest of
ten: 1.8 on digits, but 1.06 on Fashion-MNIST, where ten models share an aggregator's 10 Mbit/s. Plexus's own sf = 0.8
and its traces of devices were not tried. The more accuracy is asked for, the more bytes MoDeST saves: at the lower of
two targets D-PSGD's mean of all nodes is ahead in rounds.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from scipy import stats

from dlax import topology as tp
from dlax.algorithms import dsgd, fedavg
from dlax.claims import Claims
from dlax.data import digits, dirichlet, fashion_mnist
from dlax.models import mlp
from dlax.modest import Record, modest, order, sample
from dlax.papers import Reproduction, unmeasured
from dlax.plots.style import COLOURS, DASHES, frame, plain_log
from dlax.problems import classification, quadratic
from dlax.sampling import hashed, scheduled
from dlax.schedulers import exponential, normal
from dlax.simulate import simulate
from dlax.types import Algorithm, Info, Problem, Scalar, Tree

N, S, SEEDS, ORDERS, ROUNDS = 100, 10, 3, 6, 300
CRASH, DEAD, WINDOW = 50, 80, 100
METHODS = ("MoDeST", "FL", "D-PSGD")
BANDWIDTH = 1.25e6  # bytes per second: 10 Mbit/s


class Setting(NamedTuple):
    """What the quick and the slow version differ in.

    Attributes:
      hidden: width of the network.
      batch_size: of a local step.
      local_steps: K, about one pass over a node's data.
      train_samples: of all nodes.
      held_out: of the test samples; None means all.
      rates: step sizes tried.
      easy: accuracy in per cent that bytes are measured to, too.
      target: accuracy in per cent that costs are measured to.
      rounds: of each method's runs that are compared.
      every: rounds between evaluations.
      draws: of runs that are counted: of nodes that join, and of crashes.
      keys: orders that the study of the window is averaged over.
    """

    hidden: int
    batch_size: int
    local_steps: int
    train_samples: int | None
    held_out: int | None
    rates: tuple[float, float, float]
    easy: float
    target: float
    rounds: dict[str, int]
    every: int
    draws: int
    keys: int


QUICK = Setting(
    32, 5, 3, None, None, (0.1, 0.3, 1.0), 85.0, 93.0, {"MoDeST": 150, "FL": 150, "D-PSGD": 120}, 5, 60, 1
)  # fmt: skip
SLOW = Setting(
    32, 10, 10, 10_000, 1000, (0.03, 0.1, 0.3), 75.0, 80.0, {"MoDeST": 200, "FL": 200, "D-PSGD": 100}, 5, 300, 3
)  # fmt: skip


@dataclass(frozen=True)
class Local:
    """FedAvg or D-PSGD with K local steps; equal ones share a compiled program."""

    local_steps: int
    server: bool

    def __call__(self, lr: Scalar) -> Algorithm:
        """The algorithm."""
        return (fedavg if self.server else dsgd)(lr, local_steps=self.local_steps)


class Curve(NamedTuple):
    """What a method reached, and what it had cost by then; `[seeds, evaluations]`.

    Attributes:
      accuracy: per cent.
      rounds: done.
      bytes: sent, by all.
      seconds: simulated.
      lr: the step size that was best.
    """

    accuracy: np.ndarray
    rounds: np.ndarray
    bytes: np.ndarray
    seconds: np.ndarray
    lr: float


def reproduce(*, slow: bool = False) -> Reproduction:
    """Runs the claims on digits, or with `slow` on Fashion-MNIST.

    Raises:
      ValueError: if Fashion-MNIST is not to be had.
    """
    setting = SLOW if slow else QUICK
    claims = Claims()
    problem = make_problem(setting, slow)
    world = make_world(problem)
    equal_rows(claims)
    order_rows(claims)
    curves = compare(problem, setting, world)
    cost_rows(claims, curves, setting, world)
    crash = crash_rows(claims, problem, setting, world, curves["MoDeST"].lr)
    stall_rows(claims, setting)
    join_rows(claims, setting)
    straggler_rows(claims, problem, setting, world, curves["MoDeST"].lr)
    two_rows(claims)
    window = window_rows(claims, setting)
    what = f"Fashion-MNIST, MLP 784-{setting.hidden}-10" if slow else f"digits, MLP 64-{setting.hidden}-10"
    return Reproduction(
        title="MoDeST: bridging federated and decentralized learning by decentralized sampling (2023)",
        setting=f"{what}, n = {N}, s = {S}, Dirichlet 0.3, {setting.local_steps} local steps of {setting.batch_size} "
        f"samples, {ROUNDS} rounds; {ORDERS} orders of MoDeST and FL, else {SEEDS} seeds",
        claims=claims,
        figure=draw(curves, crash, window, setting, what),
        data={
            "curves": {name: plain(curve._asdict()) for name, curve in curves.items()},
            "crash": plain(crash),
            "window": plain(window),
        },
    )  # fmt: skip


def plain(arrays: dict[str, Any]) -> dict[str, Any]:
    """Lists in place of arrays."""
    return {name: np.asarray(value).tolist() for name, value in arrays.items()}


def make_problem(setting: Setting, slow: bool) -> Problem:
    """The nodes' data and network."""
    dataset = fashion_mnist() if slow else digits()
    made = classification(
        N,
        dataset=dataset,
        model=mlp(hidden=(setting.hidden,)),
        partition=dirichlet(alpha=0.3, min_samples=1),
        batch_size=setting.batch_size,
        train_samples=setting.train_samples,
    )
    apply = mlp(hidden=(setting.hidden,))(dataset.x_train.shape[1:], dataset.num_classes).apply

    def evaluate(params: Tree, held: Tree) -> Info:  # the loss is no claim's, and takes as long to compile
        return {"accuracy": jnp.mean(jnp.argmax(apply(params, held["x"]), axis=1) == held["y"])}

    keep = slice(setting.held_out)
    held = {"x": dataset.x_test[keep], "y": dataset.y_test[keep]}
    return made._replace(objective=unmeasured, evaluate=evaluate, held=held)


def make_world(problem: Problem) -> dict[str, Any]:
    """What time and bytes cost, the same for all methods: options of `modest`."""
    shapes = jax.eval_shape(problem.init, jax.random.key(0))
    latency = np.random.default_rng(0).uniform(0.02, 0.2, (N, N))
    compute = np.array([normal(N, mean=2.0, deviation=0.5).seconds(i, 0) for i in range(N)])
    return {
        "compute": compute,
        "latency": latency * ~np.eye(N, dtype=bool),
        "bandwidth": BANDWIDTH,
        "model_bytes": 4.0 * sum(leaf.size for leaf in jax.tree.leaves(shapes)),
    }


# ------------------------------------------------------------------------------------------------ the protocol alone


def equal_rows(claims: Claims) -> None:
    """Item 1, theory 5: no failures, a = 1, sf = 1."""
    n, s, rounds = 50, 5, 20
    problem = quadratic(n, dim=5)
    record = modest(n, rounds=rounds, size=s, compute=np.linspace(1, 3, n), latency=0.1)
    mine, theirs = (
        simulate(fedavg(0.05), problem, cohort=cohort, rounds=rounds, eval_every=rounds).params["x"]
        for cohort in (record.cohort(), hashed(size=s))
    )
    gap = float(np.abs(mine - theirs).max())
    claims.at_most(
        "1. nothing fails: largest distance from FedAvg on the hash's cohorts, 20 rounds (derived)", 0.0, gap
    )


def order_rows(claims: Claims) -> None:
    """Items 2 and 3, theory 1 and 2."""
    n, s, rounds = 50, 5, 2000
    drawn = np.zeros((rounds, n), bool)
    np.put_along_axis(drawn, order(n, rounds)[:, :s], True, axis=1)
    p = s / n
    even = ((drawn.sum(axis=0) - rounds * p) ** 2).sum() / (rounds * p * (1 - p)) * (n - 1) / n
    text = "2. 2000 rounds, n = 50, s = 5"
    claims.at_least(
        f"{text}: p of the nodes' counts being equal, χ² (derived)", 0.001, float(stats.chi2.sf(even, n - 1))
    )
    both = (drawn[1:] & drawn[:-1]).sum(axis=1)
    places = stats.hypergeom(n, s, s)
    z = (both.mean() - places.mean()) / (places.std() / np.sqrt(len(both)))
    claims.at_least(
        f"{text}: p of the members that consecutive rounds share (derived)",
        0.001,
        float(2 * stats.norm.sf(abs(z))),
    )
    rng = np.random.default_rng(0)
    ranking = order(120, 1000)
    violations, moved, expected = 0, 0, 0.0
    for row, m in zip(ranking, [k % 21 for k in range(1000)], strict=True):
        mine = np.zeros(120, bool)
        mine[rng.choice(120, 100, replace=False)] = True
        theirs = mine.copy()
        changed = rng.choice(120, m, replace=False)
        theirs[changed] = ~theirs[changed]
        first, second = (sample(row, view, S) for view in (mine, theirs))
        differ = len(np.setdiff1d(first, second))
        violations += int(differ > m)
        moved += differ
        expected += m * S / mine.sum()
    text = "3. 1000 pairs of views that differ in m of 100 members, m = 0 to 20"
    claims.close(f"{text}: samples of 10 that differ in more than m (derived)", 0, violations)
    # r of a sample leave and q others come: max(r, q) of its members differ, between half of r + q and all of it.
    claims.between(f"{text}: members that differ, by m s/N (derived)", 0.5, 1.0, moved / expected)


def stall_rows(claims: Claims, setting: Setting) -> None:
    """What a crash costs if the aggregators may be among the dead."""
    rng = np.random.default_rng(1)
    for a in (1, 3):
        responsive = np.ones((6, N), bool)
        stalled = 0
        for key in range(setting.draws):
            responsive[3:] = True
            responsive[3:, rng.choice(N, DEAD, replace=False)] = False
            stalled += modest(N, rounds=6, aggregators=a, responsive=responsive, key=key).finished < 6
        p = float(stats.hypergeom(N, DEAD, a).pmf(a))
        text = f"5. any {DEAD} of {N} fall silent, a = {a}: share of runs that stall, as all a died (derived, 3σ)"
        claims.close(text, p, stalled / setting.draws, abs=3 * np.sqrt(p * (1 - p) / setting.draws))


def join_rows(claims: Claims, setting: Setting) -> None:
    """Item 6: 50 more nodes join."""
    n, runs = N + 50, setting.draws // 10
    soon = 2 * n // S
    drawn = [
        modest(n, rounds=CRASH + soon, joins={CRASH: range(N, n)}, key=key, seed=key).trained[CRASH:, N:].any(axis=0)
        for key in range(runs)
    ]  # fmt: skip
    share, p = float(np.mean(drawn)), 1 - (1 - S / n) ** soon
    text = f"6. 50 nodes join {N}, {runs} times: share that train within 2 n/s = {soon} rounds"
    claims.at_least(f"{text} (derived)", 0.8, share)
    claims.close(f"{text}, binomial (derived, 3σ)", p, share, abs=3 * np.sqrt(p * (1 - p) / np.size(drawn)))


def two_rows(claims: Claims) -> None:
    """Item 8: of two aggregators one dies with its models."""
    responsive = np.ones((ROUNDS, N), bool)
    responsive[CRASH:, order(N, CRASH + 1)[CRASH, 0]] = False
    two, one = (modest(N, rounds=ROUNDS, aggregators=a, responsive=responsive) for a in (2, 1))
    text = "8. one aggregator dies in round 50 of 300"
    claims.close(f"{text}, a = 2: rounds finished (derived)", ROUNDS, two.finished)
    claims.close(f"{text}, a = 1: rounds finished (derived)", CRASH - 1, one.finished)
    claims.close("8. a = 2: models sent in a round, 2 s a (derived)", 4 * S, float(np.median(two.transfers)))


WINDOWS = (10, 20, 35, 50, 100, 150)


def window_rows(claims: Claims, setting: Setting) -> dict[str, Any]:
    """Theory 4 and the notes' trade-off: live nodes that fall out of all views, and pings to the dead."""
    n, window = 1000, 50
    big = modest(n, rounds=window + 1, window=window, allow_eviction=True)
    p = (1 - S / n) ** window
    # Who is not drawn in Δ rounds is gone; draws of one round exclude one another, which makes σ smaller yet.
    claims.close(
        f"window of {window}, n = {n}: share of live nodes that fall out in the first window (derived, 3σ)",
        p,
        big.evicted[window] / n,
        abs=3 * np.sqrt(p * (1 - p) / n),
    )
    evicted, wasted = np.zeros((setting.keys, len(WINDOWS))), np.zeros((setting.keys, len(WINDOWS)))
    for key in range(setting.keys):
        options: dict[str, Any] = {"allow_eviction": True, "key": key}
        # With a dead aggregator there would be nothing to count: it is the first of the order who is in the views.
        others = np.setdiff1d(np.arange(N), order(N, 101, key=key)[100, :20])
        responsive = np.ones((ROUNDS, N), bool)
        responsive[100:, np.random.default_rng(key).choice(others, N // 2, replace=False)] = False
        for k, each in enumerate(WINDOWS):
            record = modest(N, rounds=ROUNDS, window=each, responsive=responsive, **options)
            evicted[key, k] = 100 * record.evicted[-1] / responsive[-1].sum()
            wasted[key, k] = record.unanswered[100:].sum()
    few, safe = WINDOWS.index(10), WINDOWS.index(WINDOW)
    text = f"half of {N} nodes die, 200 rounds later"
    claims.at_least(
        f"{text}: % of live nodes out of all views, Δ = 10 (own)", 20.0, float(evicted[:, few].mean())
    )
    claims.at_most(
        f"{text}: % of live nodes out of all views, Δ = 10 n/s (own)", 2.0, float(evicted[:, safe].mean())
    )
    claims.at_least(
        f"{text}: pings to the dead, Δ = 10 n/s by Δ = 10 (own)",
        2.0,
        float(wasted[:, safe].mean() / wasted[:, few].mean()),
    )
    return {"window": WINDOWS, "evicted": evicted, "wasted": wasted}


# --------------------------------------------------------------------------------------------------------- training


def train(problem: Problem, setting: Setting, record: Record, rates: Any, seeds: Any) -> np.ndarray:
    """Accuracy of the model in per cent, `[step sizes · seeds, evaluations]`; one program for all records."""
    tables = record.clients()
    rounds = len(tables[0])
    rest = ((0, ROUNDS - rounds), (0, 0))  # never read; tables of one shape share the program
    clients, counted = (np.pad(table, rest, mode="edge") for table in tables)
    rows = simulate(
        Local(setting.local_steps, server=True), problem, cohort=scheduled(clients, counted), rounds=rounds,
        eval_every=setting.every, seeds=seeds, hyper={"lr": rates},
    ).rows  # fmt: skip
    return accuracies(rows)


def accuracies(rows: list[dict[str, Any]], column: str = "accuracy_merged") -> np.ndarray:
    """A column of the table, a row a run."""
    runs: dict[tuple[float, int], list[float]] = {}
    for row in rows:
        runs.setdefault((row["lr"], row["seed"]), []).append(row[column])
    return np.array(list(runs.values())) * (100 if column.startswith("accuracy") else 1)


def compare(problem: Problem, setting: Setting, world: dict[str, Any]) -> dict[str, Curve]:
    """Every method at the best of its step sizes."""
    length, central = setting.rounds["MoDeST"], setting.rounds["FL"]
    made = {
        "MoDeST": [modest(N, rounds=length, key=key, **world) for key in range(ORDERS)],
        "FL": [modest(N, rounds=central, key=100 + key, server=0, **world) for key in range(ORDERS)],
    }
    curves = {}
    for name, records in made.items():
        rounds = setting.rounds[name]
        tables = np.array([
            train(problem, setting, record, setting.rates, [seed])
            for seed, record in enumerate(records)
        ])  # fmt: skip
        costs = [cost(record, rounds, setting.every) for record in records]
        curves[name] = best(tables, costs, rounds, setting)
    curves["D-PSGD"] = peer_to_peer(problem, setting, world)
    return curves


def cost(record: Record, rounds: int, every: int) -> np.ndarray:
    """Bytes and seconds at every evaluation, `[2, evaluations]`."""
    at = np.arange(0, rounds + 1, every)
    sums = np.concatenate([[0.0], np.cumsum(record.bytes)]), np.concatenate([[0.0], record.end])
    return np.array([each[at] for each in sums])


def best(tables: np.ndarray, costs: list[np.ndarray], rounds: int, setting: Setting) -> Curve:
    """The step size whose mean over seeds reaches the target for the fewest bytes; `tables` [seeds, rates, times]."""
    sent, seconds = np.array(costs).transpose(1, 0, 2)
    reached_by = [reached(sent.mean(axis=0), each, setting.target) for each in tables.mean(axis=0)]
    ends = tables.mean(axis=0)[:, -3:].mean(axis=1)
    k = int(np.argmin(reached_by)) if np.isfinite(reached_by).any() else int(np.argmax(ends))
    steps = np.arange(0, rounds + 1, setting.every)
    across = np.broadcast_to(steps, sent.shape)
    return Curve(tables[:, k], across, sent, seconds, setting.rates[k])


def peer_to_peer(problem: Problem, setting: Setting, world: dict[str, Any]) -> Curve:
    """D-PSGD: the step sizes on one seed, and the best of them on all; one program."""
    rounds = setting.rounds["D-PSGD"]
    seconds = peer_seconds(rounds, **world)[:: setting.every]

    def run(rates: Any, seeds: Any) -> tuple[np.ndarray, list[np.ndarray]]:
        rows = simulate(
            Local(setting.local_steps, server=False), problem, tp.one_peer_exponential(N), rounds=rounds,
            eval_every=setting.every, seeds=seeds, hyper={"lr": rates},
        ).rows  # fmt: skip
        return accuracies(rows), [np.array([sent, seconds]) for sent in accuracies(rows, "bits_total") / 8]

    first, costs = run(setting.rates, [0])
    lr = best(first[None], costs[:1], rounds, setting).lr
    table, costs = run([lr], list(range(SEEDS)))
    return best(table[:, None], costs, rounds, setting)._replace(lr=lr)


def peer_seconds(
    rounds: int, *, compute: np.ndarray, latency: np.ndarray, bandwidth: float, model_bytes: float
) -> np.ndarray:
    """When the last node is through with a round of D-PSGD, `[rounds + 1]`: each waits for the one it hears alone."""
    n = len(compute)
    nodes, ready, times = np.arange(n), np.zeros(n), [0.0]
    hops = (n - 1).bit_length()
    for t in range(rounds):
        done = ready + compute + model_bytes / bandwidth
        peer = (nodes + 2 ** (t % hops)) % n
        ready = np.maximum(done, done[peer] + latency[nodes, peer])
        times.append(float(ready.max()))
    return np.array(times)


def reached(across: np.ndarray, accuracy: np.ndarray, target: float) -> float:
    """Where a curve reaches an accuracy, between two measurements; infinite where it does not.

    Of cohorts of few classes it is jagged: three measurements in a row are averaged, lest a peak counts.
    """
    accuracy, across = np.convolve(accuracy, np.full(3, 1 / 3), "valid"), across[1:-1]
    above = np.flatnonzero(accuracy >= target)
    if len(above) == 0:
        return np.inf
    k = above[0]
    if k == 0:
        return float(across[0])
    part = (target - accuracy[k - 1]) / (accuracy[k] - accuracy[k - 1])
    return float(across[k - 1] + part * (across[k] - across[k - 1]))


def price(curve: Curve, what: str, target: float) -> float:
    """Rounds, bytes or seconds until the mean over seeds reaches an accuracy."""
    return reached(getattr(curve, what).mean(axis=0), curve.accuracy.mean(axis=0), target)


def cost_rows(claims: Claims, curves: dict[str, Curve], setting: Setting, world: dict[str, Any]) -> None:
    """Item 4, theory 3 and the headlines."""
    mine, peers = curves["MoDeST"], curves["D-PSGD"]
    percent = f"{setting.target:g} %"
    rounds = {name: price(curve, "rounds", setting.target) for name, curve in curves.items()}
    seconds = {name: price(curve, "seconds", setting.target) for name, curve in curves.items()}
    for target in (setting.easy, setting.target):
        ratio = price(peers, "bytes", target) / price(mine, "bytes", target)
        claims.at_least(f"4. bytes to {target:g} %, D-PSGD by MoDeST (paper: 3 to 14)", 3.0, ratio)
    claims.at_most(
        f"4. rounds to {percent}, MoDeST by FL (paper: as fast; 1.1: own)", 1.1, rounds["MoDeST"] / rounds["FL"]
    )  # fmt: skip
    plain = modest(N, rounds=30, model_bytes=world["model_bytes"], entry_bytes=0.0, ping_bytes=0.0)
    per_round = peers.bytes[0, -1] / peers.rounds[0, -1] / plain.bytes[-1]
    claims.close("bytes of a round, D-PSGD by MoDeST, models alone: n/(2 s a) (derived)", 5.0, per_round)
    over = mine.bytes[0, -1] / mine.rounds[0, -1] / plain.bytes[-1] - 1
    claims.at_most("views and pings: share of a round's models, % (own)", 20.0, 100 * float(over))
    text = f"seconds to {percent}, D-PSGD by MoDeST"
    claims.at_least(
        f"{text}, all about as fast (Plexus: 1.2 to 8.3)", 1.2, seconds["D-PSGD"] / seconds["MoDeST"]
    )
    ratio = uneven_seconds(rounds, world)
    claims.at_least(f"{text}, exponential speeds (Plexus: 1.2 to 8.3)", 1.2, ratio)
    claims.at_least(
        f"local passes to {percent}, D-PSGD by MoDeST (Plexus: 6.4 to 370)",
        6.4,
        rounds["D-PSGD"] * N / (rounds["MoDeST"] * S),
    )
    claims.at_most(
        f"seconds to {percent}, MoDeST by FL (own: pings and views)", 1.5, seconds["MoDeST"] / seconds["FL"]
    )


def uneven_seconds(rounds: dict[str, float], world: dict[str, Any]) -> float:
    """Seconds for as many rounds, D-PSGD by MoDeST, if nodes differ widely; who trains does not depend on it."""
    if not np.isfinite([rounds["MoDeST"], rounds["D-PSGD"]]).all():
        return np.nan
    speeds = exponential(N, mean=1.8, least=0.2)  # of the same mean
    uneven = world | {"compute": np.array([speeds.seconds(i, 0) for i in range(N)])}
    last = int(np.ceil(rounds["MoDeST"]))
    ends = np.mean([modest(N, rounds=last, key=key, **uneven).end for key in range(SEEDS)], axis=0)
    mine = np.interp(rounds["MoDeST"], np.arange(last + 1), np.append(0.0, ends))
    last = int(np.ceil(rounds["D-PSGD"]))
    return float(np.interp(rounds["D-PSGD"], np.arange(last + 1), peer_seconds(last, **uneven)) / mine)


def survivors(record: Record) -> np.ndarray:
    """Who lives through the crash, `[20]`: any, but the aggregator of its round is among them."""
    head = record.aggregator[CRASH - 1]
    others = np.setdiff1d(np.arange(N), head)
    return np.append(np.random.default_rng(2).choice(others, N - DEAD - 1, replace=False), head)


def crash_rows(
    claims: Claims, problem: Problem, setting: Setting, world: dict[str, Any], lr: float
) -> dict[str, Any]:
    """Item 5, theory 4: 80 of 100 nodes fall silent."""
    calm = modest(N, rounds=ROUNDS, window=WINDOW, **world)
    alive = survivors(calm)
    responsive = np.ones((ROUNDS, N), bool)
    responsive[CRASH:] = False
    responsive[CRASH:, alive] = True
    hit = modest(N, rounds=ROUNDS, window=WINDOW, responsive=responsive, **world)
    told = np.zeros((ROUNDS, N), bool)
    for k, (ranking, mask) in enumerate(zip(hit.ranking[:-1], responsive, strict=True)):
        told[k, sample(ranking, mask, S)] = True
    records = {"crash": hit, "told": hit._replace(counted=told), "calm": calm}
    accuracy = {
        name: train(problem, setting, record, [lr], list(range(SEEDS))) for name, record in records.items()
    }
    text = f"5. {DEAD} of {N} fall silent in round {CRASH} of {ROUNDS}"
    claims.close(f"{text}: rounds lost (derived)", 0, ROUNDS - hit.finished)
    at_end = {name: float(table[:, -3:].mean()) for name, table in accuracy.items()}
    before = float(accuracy["crash"][:, CRASH // setting.every].mean())
    claims.at_least(
        f"{text}: points gained from then to the end (paper: keeps progressing)", 0.0, at_end["crash"] - before
    )  # fmt: skip
    gap = abs(at_end["crash"] - at_end["told"])
    claims.at_most(
        f"{text}: points from a run whose only candidates then are the {N - DEAD} (derived)", 5.0, gap
    )
    pings = hit.asked[:, 0] / np.maximum(hit.searches[:, 0], 1)
    during = float(pings[CRASH : 2 * CRASH].mean())
    claims.close(
        f"{text}: pings for a sample of 10 until round 100, s/(1 − u) (derived, 10 %: own)",
        50,
        during,
        rel=0.1,
    )
    # The trainers of round 49 pinged for the aggregator of round 50, which makes them active in it.
    gone = CRASH + WINDOW + 1
    after = float(pings[gone:].max())
    claims.close(f"{text}: the same from round {gone} on, the most of them (derived)", S, after)
    dead = hit.unanswered[CRASH : 2 * CRASH - 1, 1].sum() / hit.searches[CRASH : 2 * CRASH - 1, 1].sum()
    claims.close(
        f"{text}: dead candidates before an aggregator, u/(1 − u) (derived, 25 %: own)", 4.0, dead, rel=0.25
    )
    lengths = np.diff(hit.end, prepend=0.0)
    usual, late = float(lengths[:CRASH].mean()), float(lengths[CRASH : 2 * CRASH].mean())
    claims.at_least(
        f"{text}: seconds that pings add to a round until round 100: more than 4 time-outs of 5 s (derived)",
        20.0,
        late - usual,
    )
    settled = float(lengths[gone:].mean())
    claims.at_most(f"{text}: length of a round from {gone} on by that before (own)", 1.5, settled / usual)
    return {
        "pings": pings,
        "seconds": hit.end,
        "crash": accuracy["crash"],
        "calm": accuracy["calm"],
        "lengths": lengths,
    }


def straggler_rows(
    claims: Claims, problem: Problem, setting: Setting, world: dict[str, Any], lr: float
) -> None:
    """Item 7: one node is a hundred times slower."""
    slow = world["compute"].copy()
    slow[np.bincount(order(N, CRASH)[:, :S].ravel(), minlength=N).argmax()] *= 100  # whoever is drawn most
    bare = modest(N, rounds=100, success=0.8, compute=slow)
    each = np.where(bare.trained, slow, np.inf)
    lengths = np.diff(bare.end, prepend=0.0)
    off = float(np.abs(np.sort(each, axis=1)[:, 7] - lengths).max())
    text = "7. one node 100 times slower, sf = 0.8"
    claims.at_most(
        f"{text}: a round's length off the 8th to finish, largest, s (derived)", 1e-9 * bare.end[-1], off
    )
    rounds, seconds = setting.rounds["MoDeST"], {}
    for name, compute in (("even", world["compute"]), ("slow", slow)):
        records = [
            modest(N, rounds=rounds, success=0.8, key=key, **(world | {"compute": compute}))
            for key in range(SEEDS)
        ]
        tables = [train(problem, setting, record, [lr], list(range(SEEDS))) for record in records]
        across = np.mean([cost(record, rounds, setting.every)[1] for record in records], axis=0)
        seconds[name] = reached(across, np.mean(tables, axis=(0, 1)), setting.target)
    ratio = seconds["slow"] / seconds["even"]
    claims.at_most(
        f"{text}: seconds to {setting.target:g} % by those without it (derived, 1.3: own)", 1.3, ratio
    )
    whole = [
        modest(N, rounds=100, **(world | {"compute": compute})).end[-1]
        for compute in (world["compute"], slow)
    ]
    claims.at_least(
        "7. the same with sf = 1: seconds for 100 rounds by those without it (own)", 2.0, whole[1] / whole[0]
    )


# ---------------------------------------------------------------------------------------------------------- picture


def draw(
    curves: dict[str, Curve], crash: dict[str, Any], window: dict[str, Any], setting: Setting, what: str
) -> Figure:
    """Accuracy against bytes and seconds; the crash; and what the window trades."""
    figure = Figure(figsize=(14, 8.2), layout="constrained", facecolor="white")
    names = [["bytes", "seconds", "crash"], ["pings", "evicted", "wasted"]]
    panels = figure.subplot_mosaic(names)  # type: ignore[arg-type]
    for name, unit, label in (
        ("bytes", 1e6, "MB sent, by all nodes"),
        ("seconds", 1.0, "simulated time, s"),
    ):
        axes = panels[name]
        for k, (method, curve) in enumerate(curves.items()):
            across = getattr(curve, name).mean(axis=0)[1:] / unit  # 0 has no logarithm
            band(axes, across, curve.accuracy[:, 1:], COLOURS[k], f"{method}, lr {curve.lr:g}", DASHES[k])
        axes.axhline(setting.target, color="#666666", lw=0.8, ls=":")
        axes.set_xscale("log")
        plain_log(axes.xaxis)
        frame(axes, label, "accuracy, held out", f"{what}; n = {N}, s = {S}")
        accuracy_axis(axes, setting)
        axes.legend(frameon=False, fontsize=9, loc="lower right")
    axes = panels["crash"]
    steps = np.arange(0, ROUNDS + 1, setting.every)
    band(axes, steps, crash["calm"], COLOURS[0], "nobody falls silent", DASHES[0])
    band(axes, steps, crash["crash"], COLOURS[1], f"{DEAD} of {N} fall silent", DASHES[1])
    frame(axes, "round", "accuracy, held out", f"{DEAD} % of the nodes fall silent in round {CRASH}")
    accuracy_axis(axes, setting)
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    axes = panels["pings"]
    axes.plot(np.arange(1, ROUNDS), crash["pings"][1:], color=COLOURS[1], lw=0.9, alpha=0.8)
    axes.axhline(S / (1 - DEAD / N), color="#666666", lw=0.8, ls="--", label="s/(1 − u)")
    axes.axhline(S, color="#666666", lw=0.8, ls=":", label="s")
    frame(axes, "round", f"candidates pinged for a sample of {S}", f"the same crash, window Δ = {WINDOW}")
    axes.legend(frameon=False, fontsize=9)
    axes.set_ylim(0, None)
    for at, word in ((CRASH, "crash"), (CRASH + WINDOW, "+ Δ")):
        for axes in (panels["pings"], panels["crash"]):
            axes.axvline(at, color="#999999", lw=0.8)
        panels["pings"].annotate(
            word, (at, 1), xycoords=("data", "axes fraction"), xytext=(3, -10), textcoords="offset points",
            fontsize=8.5,
        )  # fmt: skip
    across = np.array(window["window"])
    note = f"half of {N} nodes die in round 100, seen at round {ROUNDS}"
    axes = panels["evicted"]
    band(axes, across, window["evicted"], COLOURS[0], "measured", DASHES[0], marker="o")
    first = 100 * (1 - S / N) ** across
    axes.plot(across, first, color="#666666", lw=1, ls="--", label="(1 − s/n)^Δ, of the first window")
    frame(axes, "window Δ, rounds", "live nodes that fell out of all views", note)
    axes.yaxis.set_major_formatter(PercentFormatter(decimals=0))
    axes = panels["wasted"]
    band(axes, across, window["wasted"], COLOURS[1], "measured", DASHES[0], marker="o")
    frame(axes, "window Δ, rounds", "pings to dead nodes, 200 rounds", note)
    for name in ("evicted", "wasted"):
        panels[name].axvline(
            10 * N / S, color="#999999", lw=0.8, ls=":", label="10 n/s, the least by default"
        )
        panels[name].set_ylim(0, None)
        panels[name].legend(frameon=False, fontsize=9)
    orders = f"window: {setting.keys} order{'s' if setting.keys > 1 else ''}"
    note = f"mean, band: min to max; MoDeST and FL: {ORDERS} orders; D-PSGD and the crash: {SEEDS} seeds; {orders}"
    figure.supxlabel(note, fontsize=8.5, color="#666666")
    return figure


def accuracy_axis(axes: Axes, setting: Setting) -> None:
    """Per cent, from where it matters."""
    axes.yaxis.set_major_formatter(PercentFormatter(decimals=0))
    axes.set_ylim(setting.target - 45, None)


def band(
    axes: Axes, across: np.ndarray, table: np.ndarray, colour: str, label: str, dash: Any, **style: Any
) -> None:
    """A line of means over seeds, and a band from the least to the largest."""
    axes.plot(across, table.mean(axis=0), color=colour, label=label, ls=dash, lw=1.8, **style)
    axes.fill_between(across, table.min(axis=0), table.max(axis=0), color=colour, alpha=0.15, lw=0)
