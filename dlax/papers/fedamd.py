"""FedAMD: anchors keep gradients of whole data sets, miners walk along their mean, where few clients take part.

Wu, Guo, Qu, He, Liu, Gao. Anchor Sampling for Federated Learning with Partial Client Participation. ICML 2023.

What is whose. Of the paper the abstract alone was to be had: fewer rounds than earlier methods under partial
participation, and a linear rate where gradients dominate (PL). It gives no number. The algorithm, its order and its
defaults are the authors' code's. The least-squares problem, its sizes and its figures are our own small study, marked
"derived", as are the fixed point, the refresh statistics and the bound on the training runs, marked "inferred".

What differs. The server's step is over the models of the miners, not divided by K. A client set is drawn by the
cohorts clock and coins are drawn in the round, not from the authors' generator. For the training runs every method
takes the best of a grid of step sizes, by its last accuracy.

What does not hold, and what was tried. On digits with a convex model FedAvg's drift is small, and FedAMD is level
with it: half a point behind after 100 rounds with q = 5, three with p = 0.2. On Fashion-MNIST with a network and
Dirichlet 0.1 FedAvg is at 75 % after 60 rounds and FedAMD not within the 200, at whose end it is 5.7 (q = 5) and
11.9 points (p = 0.2) behind. Step sizes 0.01, 0.03 and 0.1 were tried for all; more rounds or fewer local steps were
not.

FedAMD is bought with gradients: a miner takes two minibatches a step, an anchor a whole data set. Claims are by
rounds of communication, as the paper's are; `data["gradients"]` has what a round costs.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from dlax import sampling
from dlax.algorithms import fedamd, fedavg
from dlax.claims import Claims
from dlax.data import digits, dirichlet, fashion_mnist
from dlax.models import mlp
from dlax.papers import Reproduction
from dlax.plots.style import COLOURS, DASHES, blank, frame
from dlax.problems import classification, least_squares, softmax
from dlax.simulate import simulate
from dlax.simulate.streams import round_key, stream
from dlax.types import Algorithm, Problem, Scalar

M, A, K, BATCH, DIM, SAMPLES = 20, 5, 10, 5, 10, 50
RATES = (0.005, 0.02, 0.1)  # of the study on least squares
P, PERIOD = 0.2, 5
ROUNDS, EVERY, SEEDS = 400, 10, 3


class Setting(NamedTuple):
    """What the quick and the slow version differ in: the training runs.

    Attributes:
      clients: m.
      size: A, clients in a round.
      rounds: T.
      every: rounds between evaluations.
      target: accuracy in per cent to be reached.
      rates: step sizes tried.
      methods: that are trained.
    """

    clients: int
    size: int
    rounds: int
    every: int
    target: float
    rates: tuple[float, ...]
    methods: tuple[str, ...]


def constant(lr: Scalar) -> Algorithm:
    """FedAMD whose clients toss a coin."""
    return fedamd(lr, anchors=P, local_steps=K)


def sequential(lr: Scalar) -> Algorithm:
    """FedAMD with a round of anchors in every five."""
    return fedamd(lr, period=PERIOD, local_steps=K)


def averaging(lr: Scalar) -> Algorithm:
    """FedAvg with as many local steps."""
    return fedavg(lr, local_steps=K)


METHODS = {"FedAvg": averaging, f"FedAMD, p = {P:g}": constant, f"FedAMD, q = {PERIOD}": sequential}
QUICK = Setting(
    clients=50,
    size=10,
    rounds=100,
    every=5,
    target=85.0,
    rates=(0.02, 0.1, 0.3),
    methods=("FedAvg", f"FedAMD, q = {PERIOD}"),
)
SLOW = Setting(
    clients=50, size=10, rounds=200, every=10, target=75.0, rates=(0.01, 0.03, 0.1), methods=tuple(METHODS)
)


def reproduce(*, slow: bool = False) -> Reproduction:
    """Runs the claims: least squares, and training on digits, or with `slow` on Fashion-MNIST.

    Raises:
      ValueError: if Fashion-MNIST is not to be had.
    """
    setting = SLOW if slow else QUICK
    claims = Claims()
    gaps = descend(regression())
    rate_rows(claims, gaps)
    role_rows(claims)
    accuracy = train(network(setting, slow), setting)
    training_rows(claims, accuracy, setting)
    what = "Fashion-MNIST, MLP 784-64-10" if slow else "digits, softmax"
    data = {
        "gap": {name: {str(lr): gap.tolist() for lr, gap in table.items()} for name, table in gaps.items()},
        "accuracy": {name: values.tolist() for name, values in accuracy.items()},
        "gradients": {"FedAvg": K, "miner": 2 * (K - 1), "anchor": "its whole data set"},
    }
    return Reproduction(
        title="FedAMD: Anchor Sampling for Federated Learning with Partial Client Participation (ICML 2023)",
        setting=f"least squares, {A} of {M} clients, K = {K}, {ROUNDS} rounds, float64; {what}, {setting.size} of "
        f"{setting.clients} clients, Dirichlet 0.1, {setting.rounds} rounds; {SEEDS} seeds",
        claims=claims,
        figure=draw(gaps, accuracy, setting, what),
        data=data,
    )


# ----------------------------------------------------------------------------------------------- least squares


def regression(batch_size: int = BATCH) -> Problem:
    """Clients with minimisers of their own around 0, of deviation 2, and features of ten scales."""
    rng = np.random.default_rng(0)
    A_, own = rng.normal(size=(M, SAMPLES, DIM)), 2 * rng.normal(size=(M, DIM))
    A_ *= np.sqrt(np.linspace(0.3, 2.0, DIM))
    b = np.einsum("msd,md->ms", A_, own) + 0.5 * rng.normal(size=(M, SAMPLES))
    rows, values = A_.reshape(-1, DIM), b.reshape(-1)
    optimum = np.linalg.lstsq(rows, values, rcond=None)[0]
    minimum = float(np.mean((rows @ optimum - values) ** 2) / 2)
    problem = least_squares(M, dim=DIM, samples=SAMPLES, batch_size=batch_size)
    return problem._replace(local={"A": A_, "b": b}, optimum={"x": optimum}, minimum=minimum)


def descend(problem: Problem) -> dict[str, dict[float, np.ndarray]]:
    """Method -> step size -> f(x) − f*, `[seeds, evaluations]`."""
    return {
        name: table_of(
            simulate(
                method, problem, cohort=sampling.uniform(size=A), rounds=ROUNDS, eval_every=EVERY, seeds=SEEDS,
                hyper={"lr": RATES}, precision="float64",
            ).rows,
            "suboptimality",
        )
        for name, method in METHODS.items()
    }  # fmt: skip


def table_of(rows: list[dict[str, Any]], metric: str) -> dict[float, np.ndarray]:
    """Step size -> a metric by seed and evaluation."""
    found: dict[float, dict[int, list[float]]] = {}
    for row in rows:
        found.setdefault(float(np.float32(row["lr"])), {}).setdefault(row["seed"], []).append(row[metric])
    return {round(lr, 6): np.array(list(by_seed.values())) for lr, by_seed in found.items()}


def rate_rows(claims: Claims, gaps: dict[str, dict[float, np.ndarray]]) -> None:
    """Items 1 and 2, and what too long a step does."""
    averaged, coin, turns = (gaps[name] for name in METHODS)
    for name, table in (("p = 0.2", coin), ("q = 5", turns)):
        claims.at_most(
            f"1. f − f* after {ROUNDS} rounds, lr 0.005, {name} (derived)", 1e-6, _end(table[0.005])
        )
    best = min(_end(table) for table in averaged.values() if np.isfinite(table).all())
    claims.at_least("1. f − f* of FedAvg, the best of the step sizes (derived)", 1e-2, best)
    late = np.arange(50, ROUNDS + 1, EVERY)
    logs = np.log10(turns[0.005][:, late // EVERY])
    fits = [np.corrcoef(late, log)[0, 1] ** 2 for log in logs]
    claims.at_least("2. q = 5: a line through log f − f*, R², the least of the seeds", 0.95, min(fits))
    slopes = [np.polyfit(late, log, 1)[0] for log in logs]
    claims.at_most(
        "2. q = 5: its slope, decades in 100 rounds, the flattest (derived)", -0.5, 100 * max(slopes)
    )
    start = turns[0.1][:, 0].mean()
    late_gap = np.nan_to_num(coin[0.1][:, -1], nan=np.inf, posinf=np.inf).min()
    claims.at_least(
        "lag: lr 0.1, p = 0.2 ends above its start, f − f* over it (derived)", 1.0, late_gap / start
    )
    claims.at_most(
        "lag: lr 0.1, q = 5 does not, f − f* over its start (derived)", 0.1, _end(turns[0.1]) / start
    )


def _end(gap: np.ndarray) -> float:
    return float(gap[:, -1].mean())


def role_rows(claims: Claims) -> None:
    """Items 3 to 6: what anchors and miners do."""
    everyone, problem = sampling.uniform(size=M), regression()

    def after(algorithm: Algorithm, problem: Problem, rounds: int = 1) -> np.ndarray:
        options: Any = {"rounds": rounds, "eval_every": rounds, "precision": "float64"}
        return simulate(algorithm, problem, cohort=everyone, **options).params["x"][0, 0]

    A_, b = problem.local["A"], problem.local["b"]
    gradient = -np.einsum("msd,ms->d", A_, b) / (M * SAMPLES)
    gap = np.abs(after(fedamd(0.1, anchors=0.0, local_steps=1), problem) + 0.1 * gradient).max()
    claims.at_most("3. K = 1 after fresh anchors: off the whole gradient step, largest entry", 1e-12, gap)
    one = fedamd(0.05, anchors=0.5, local_steps=1)
    gap = np.abs(after(one, problem, 5) - after(one, regression(1), 5)).max()
    claims.at_most("4. K = 1: batches of 5 and of 1, largest difference", 0.0, gap)
    moved = np.abs(after(fedamd(0.1, anchors=1.0, local_steps=K), problem, 3)).max()
    claims.at_most("5. rounds of anchors alone move x by, largest entry", 0.0, moved)
    gaps = refreshes(2000)
    expected = M / (A * P)
    # A client is an anchor with probability A p / m a round, so its gaps are geometric.
    error = 3 * np.sqrt(expected * (expected - 1) / len(gaps))
    claims.between(
        "6. rounds between a client's refreshes, mean", expected - error, expected + error, float(gaps.mean())
    )


def refreshes(rounds: int) -> np.ndarray:
    """The rounds between refreshes of the same client, of all clients, from the key streams of seed 0."""

    def one(t: jax.Array) -> tuple[jax.Array, jax.Array]:
        key = round_key(jax.random.key(0), t)
        coins = jax.random.split(stream(key, "algorithm"), K + 1)[-1]
        clients = sampling.subset(stream(key, "graph"), M, A)
        return clients, jax.random.uniform(coins, (A,), jnp.float32) < P

    clients, anchors = map(np.asarray, jax.jit(jax.vmap(one))(jnp.arange(rounds)))
    gaps = [np.diff(np.flatnonzero((anchors & (clients == i)).any(axis=1))) for i in range(M)]
    return np.concatenate(gaps)


# ---------------------------------------------------------------------------------------------------- training


def network(setting: Setting, slow: bool) -> Problem:
    """Clients with few classes each."""
    partition = dirichlet(alpha=0.1, min_samples=1)
    if not slow:
        return softmax(setting.clients, dataset=digits(), partition=partition, batch_size=16, optimum=False)
    return classification(
        setting.clients, dataset=fashion_mnist(), model=mlp(hidden=(64,)), partition=partition, batch_size=32,
        train_samples=10_000, held_out=2_000,
    )  # fmt: skip


def train(problem: Problem, setting: Setting) -> dict[str, np.ndarray]:
    """Method -> accuracy in per cent, `[seeds, evaluations]`, at the best of the step sizes."""
    found = {}
    for name in setting.methods:
        rows = simulate(
            METHODS[name], problem, cohort=sampling.uniform(size=setting.size), rounds=setting.rounds,
            eval_every=setting.every, seeds=SEEDS, hyper={"lr": setting.rates},
        ).rows  # fmt: skip
        tables = table_of(rows, "accuracy_merged")
        found[name] = 100 * max(tables.values(), key=_end)
    return found


def training_rows(claims: Claims, accuracy: dict[str, np.ndarray], setting: Setting) -> None:
    """Item 7."""

    def reached(values: np.ndarray) -> float:
        mean = values.mean(axis=0)
        there = np.flatnonzero(mean >= setting.target)
        return float(there[0] * setting.every) if len(there) else float(setting.rounds)

    averaged = accuracy["FedAvg"]
    for name in setting.methods[1:]:
        ratio = reached(accuracy[name]) / reached(averaged)
        claims.at_most(f"7. {name}: rounds to {setting.target:g} % over FedAvg's (inferred)", 1.0, ratio)
        ahead = _end(accuracy[name]) - _end(averaged)
        claims.at_least(f"7. {name}: points ahead of FedAvg at the end (inferred)", 1.0, ahead)


# ----------------------------------------------------------------------------------------------------- picture


def draw(
    gaps: dict[str, dict[float, np.ndarray]],
    accuracy: dict[str, np.ndarray],
    setting: Setting,
    what: str,
) -> Figure:
    """f − f* by rounds, and accuracy by rounds."""
    figure, (left, right) = blank(11, 4.4, 1, 2)
    rounds = np.arange(0, ROUNDS + 1, EVERY)
    for k, (name, table) in enumerate(gaps.items()):
        for dash, lr in enumerate(RATES[:2]):
            style: dict[str, Any] = {"color": COLOURS[k], "ls": DASHES[dash], "lw": 1.8}
            _band(left, rounds, table[lr], label=f"{name}, lr {lr:g}", **style)
    left.set_yscale("log")
    frame(left, "rounds", "f(x) − f*", f"least squares, {A} of {M} clients a round")
    for name, values in accuracy.items():
        steps = np.arange(0, setting.rounds + 1, setting.every)
        _band(right, steps, values, label=name, color=COLOURS[list(METHODS).index(name)], lw=1.8)
    frame(
        right, "rounds", "accuracy, held out", f"{what}, {setting.size} of {setting.clients} clients a round"
    )
    right.yaxis.set_major_formatter(PercentFormatter(decimals=0))
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=8.5)
    figure.supxlabel(f"mean over {SEEDS} seeds; band: min to max", fontsize=8.5, color="#666666")
    return figure


def _band(axes: Any, x: np.ndarray, table: np.ndarray, *, color: str, **style: Any) -> None:
    """A line of means over seeds, and a band from the least to the largest."""
    axes.plot(x, table.mean(axis=0), color=color, **style)
    axes.fill_between(x, table.min(axis=0), table.max(axis=0), color=color, alpha=0.15, lw=0)
