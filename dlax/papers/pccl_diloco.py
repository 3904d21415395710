"""PCCL and DiLoCo: few, averaged displacements in place of many gradients, among peers that come and go.

Keiblinger, Sieg, Ong, Jaghouar, Hagemann. Prime Collective Communications Library. Technical report, 2025. Douillard
et al. DiLoCo, 2023, and Streaming DiLoCo, 2025. Kale, Douillard, Donchev. Eager Updates for DiLoCo, 2025.

What is whose. The rules are those of the papers' public parts and of the authors' code as described to us. The
papers' figures are of language models of 60 million parameters and more on C4 and Dolma and of networks between
continents; none of them can be checked at this scale, and none is in the table. "Derived" are the companion
matrices of outer optimisers on a parabola. "Study" marks figures of a small study of our own that fixed the
logistic problem; it had no intercept and draws of its own, so that orders and ratios are compared and not its
losses. Thresholds are inferred. The language model, when slow, is a character transformer of 29,000 parameters on
Shakespeare by roles: the papers' claims on it are compared in kind, with thresholds of our own, in runs of 600
gradients. Two do not hold there. DiLoCo needs 1.13 times the bits a character of synchronous gradients; step sizes
tried, bits at the end, one seed: synchronous 3.13 and 3.14 with 3e-3 and 1e-2, DiLoCo 3.71, 3.54 and 3.47 with
3e-3, 1e-2 and 2e-2. Eager DiLoCo with Nesterov diverges, as on the network of eight workers (the paper has two);
with plain SGD outside it trains.

What differs. Who takes part is drawn by round, each node with probability 1/2; a node that fails during an
all-reduce counts as absent from that round, and the time lost by trying again is not simulated. Joining, the election
by revision and the two-fold synchronisation of PCCL come down to handing newcomers the state of the newest revision.
Votes, abort and the order of the ring by bandwidth are not simulated.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dlax import mixing, theory
from dlax import topology as tp
from dlax.algorithms import (
    centralized_sgd,
    delayed_diloco,
    diloco,
    eager_diloco,
    fedavg,
    gradient_averaging,
    streaming_diloco,
)
from dlax.algorithms.diloco import ADAMW
from dlax.algorithms.outer import parity_hash
from dlax.channel.ring_all_reduce import Rounding, quantised_mean, ring_all_reduce
from dlax.claims import Claims
from dlax.data import Dataset, by_group, digits, dirichlet, fashion_mnist, from_arrays, shakespeare
from dlax.models import char_transformer, mlp
from dlax.optimizers import OPTIMIZERS, sgd
from dlax.papers import Reproduction, unmeasured
from dlax.plots.style import COLOURS, DASHES, blank, frame, plain_log
from dlax.problems import classification, logistic, quadratic
from dlax.results import Result
from dlax.simulate import simulate
from dlax.types import Algorithm, Info, Problem, Round

N, SEEDS, ROUNDS, H, NETWORK_H = 8, 3, 100, 20, 30
TEXT_H, TEXT_ROUNDS, TEXT_SEEDS = 20, 30, 2
EVERY_LR, TEXT_LR = 3e-3, 2e-2  # of synchronous gradients and of local phases: the best of those tried
LENGTH, BATCH = 32, 4  # characters a window, windows a gradient of one node
ADAM = OPTIMIZERS["adam"]()


class Setting(NamedTuple):
    """What the quick and the slow version differ in.

    Attributes:
      train_samples: over all nodes; None means all.
      held_out: of the test samples.
      hidden: of the network; none is softmax regression, which compiles in half the time.
      lr: of its inner AdamW.
      rounds: outer rounds of the network.
    """

    train_samples: int | None
    held_out: int | None
    hidden: tuple[int, ...]
    lr: float
    rounds: int


QUICK = Setting(train_samples=None, held_out=None, hidden=(), lr=1e-2, rounds=16)
SLOW = Setting(train_samples=8000, held_out=1000, hidden=(64,), lr=1e-3, rounds=24)


def reproduce(*, slow: bool = False) -> Reproduction:
    """Runs the claims on synthetic data and digits, or with `slow` on Fashion-MNIST, Shakespeare and more variants.

    Raises:
      ValueError: if Fashion-MNIST or the plays are not to be had.
    """
    setting, dataset = (SLOW, fashion_mnist()) if slow else (QUICK, digits())
    plays = shakespeare(length=LENGTH) if slow else None  # before the minutes that other parts take
    claims = Claims()
    if slow:
        special_rows(claims)
    problem = workers()
    runs = train(problem, slow=slow)
    communication_rows(claims, runs)
    growth = parabola()
    stability_rows(claims, growth)
    networks = train_networks(dataset, setting)
    order_rows(claims, networks)
    if slow:
        order_rows(claims, train_networks(dataset, setting, N), N)
    membership_rows(claims, runs)
    ring_rows(claims)
    texts = {} if plays is None else train_text(plays)
    if texts:
        text_rows(claims, texts)
    data = {
        "logistic": {name: curve(result, "objective") for name, result in runs.items()},
        "growth": growth,
        "network": {name: curve(result, "test_loss_merged") for name, result in networks.items()},
        "text": {name: against_bits(result) for name, result in texts.items()},
    }
    what = "Fashion-MNIST" if slow else "digits"
    network = "MLP " + "-".join(map(str, setting.hidden)) if setting.hidden else "softmax regression"
    return Reproduction(
        title="PCCL (2025) with DiLoCo, Eager DiLoCo and Streaming DiLoCo",
        setting=f"logistic regression of {N} unlike workers, H = {H} of Adam, {ROUNDS} rounds; {what}, 2 workers, "
        f"Dirichlet 0.5, {network}, H = {NETWORK_H} of AdamW, {setting.rounds} rounds; {SEEDS} seeds"
        + (f"; Shakespeare by roles, {N} workers, H = {TEXT_H}, {TEXT_SEEDS} seeds" if slow else ""),
        claims=claims,
        figure=draw(data, what),
        data=data,
    )


# --------------------------------------------------------------------------------------------------- special cases


def special_rows(claims: Claims) -> None:
    """What DiLoCo becomes at the ends of its options, noisy quadratics, float64: when slow, as it compiles."""

    def final(algorithm: Algorithm, n: int = 4, **options: Any) -> np.ndarray:
        problem = quadratic(n, dim=3, noise=1.0)
        complete = tp.complete(n)
        result = simulate(
            algorithm, problem, complete, rounds=6, eval_every=6, precision="float64", **options
        )
        return result.params["x"][0]

    def row(text: str, bound: float, a: np.ndarray, b: np.ndarray) -> None:
        claims.at_most(f"{text}: largest difference", bound, float(np.abs(a - b).max()))

    plain: dict[str, Any] = {"outer_lr": 1.0, "outer_momentum": 0.0, "optimizer": sgd()}
    whole = final(diloco(0.05, local_steps=5))
    streamed = streaming_diloco(0.05, keep=0.0, local_steps=5, overlap=0, fragments=1)
    text = "1. Streaming DiLoCo with P = 1, τ = 0, nothing kept is DiLoCo, bit for bit"
    row(text, 0.0, final(streamed), whole)
    several = [final(make) for make in (diloco(0.1, local_steps=5, **plain), fedavg(0.1, local_steps=5))]
    row("1. plain SGD inside, α = 1, μ = 0 is FedAvg", 1e-6, *several)
    once = [final(make) for make in (diloco(0.1, local_steps=1, **plain), centralized_sgd(0.1))]
    row("1. and H = 1 is synchronous SGD", 1e-6, *once)
    alone = [final(make(0.05, local_steps=5), 1) for make in (eager_diloco, diloco)]
    row("1. Eager DiLoCo of one worker is DiLoCo, bit for bit", 0.0, *alone)
    drawn = final(diloco(0.05, local_steps=5), participation=1.0)
    row("5. a mask with everybody there changes nothing, bit for bit", 0.0, drawn, whole)


# ---------------------------------------------------------------------------------- few displacements, many gradients


def workers() -> Problem:
    """Logistic regression in 40 dimensions of 8 workers with their own scales and shifts; 200 samples each."""
    rng = np.random.default_rng(0)
    d, each = 40, 200
    truth = rng.normal(size=d)

    def draw(centre: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = rng.normal(size=(each, d)) * scale + centre
        return x, rng.random(each) < 1 / (1 + np.exp(-x @ truth))

    laws = [(0.5 * rng.normal(size=d), rng.uniform(1, 1.5, size=d)) for _ in range(N)]
    train = [draw(*law) for law in laws]
    x, y = (np.concatenate(part) for part in zip(*train, strict=True))
    data = from_arrays(
        x, y.astype(int), x[:50], y[:50].astype(int), groups=np.repeat(np.arange(N), each), name="unlike workers"
    )  # fmt: skip
    return logistic(N, dataset=data, partition=by_group(), batch_size=32, l2=1e-3, optimum=False)._replace(
        evaluate=None
    )


def train(problem: Problem, *, slow: bool) -> dict[str, Result]:
    """Every method on the logistic problem; several outer optimisers share a program."""

    def run(algorithm: Any, **options: Any) -> Result:
        return simulate(
            algorithm, problem, tp.complete(N), rounds=ROUNDS, eval_every=5, seeds=SEEDS, **options
        )

    inner: dict[str, Any] = {"optimizer": ADAM, "local_steps": H}
    both = {"lr": [0.01], "outer_lr": [0.7], "outer_momentum": [0.0, 0.9]}
    late = run(functools.partial(delayed_diloco, **inner), hyper=both)
    both_ways = watched(diloco(0.01, **inner))  # with everybody there by chance: the same program
    runs = {
        "data parallel, H = 1": run(centralized_sgd(0.01, optimizer=ADAM)),
        "DiLoCo": run(both_ways, participation=1.0),
        "delayed, plain": only(late, 0.7, 0.0),
        "delayed, Nesterov": only(late, 0.7, 0.9),
        "DiLoCo, half absent": run(both_ways, participation=0.5),
    }
    if slow:
        runs["plain averaging"] = run(diloco(0.01, 1.0, 0.0, **inner))
        longer: dict[str, Any] = {"optimizer": ADAM, "local_steps": 50}
        runs["delayed, Nesterov, H = 50"] = run(delayed_diloco(0.01, outer_momentum=0.9, **longer))
        for rounding in ("nearest", "truncate"):
            ring = ring_all_reduce(quantised=True, rounding=rounding)
            runs[f"DiLoCo, bytes, {rounding}"] = run(diloco(0.01, reduce=ring, **inner))
    return runs


def watched(algorithm: Algorithm) -> Algorithm:
    """The same, and what PCCL's peers would find when they compare hashes after every round.

    Reports `parity`, whether all who took part hold the same bits; `joined`, how many of them had an older revision
    before; and `moved`, whether a round of fewer than two changed anything.
    """

    def step(state: Any, round: Round) -> tuple[Any, Info]:
        new, info = algorithm.step(state, round)
        after, active = parity_hash(new.params), round.active
        few = jnp.sum(active) < 2
        same = jnp.all(~active | (after == after[jnp.argmax(active)]))
        changed = jnp.any(active & ((after != parity_hash(state.params)) | (new.revision != state.revision)))
        joined = jnp.sum(active & (state.revision < jnp.max(state.revision)))
        return new, info | {"parity": same, "joined": joined, "few": few, "moved": few & changed}

    return algorithm._replace(step=step)


def only(result: Result, outer_lr: float, momentum: float) -> Result:
    """The runs of one outer optimiser."""
    rows = [
        row for row in result.rows
        if np.isclose(row["outer_lr"], outer_lr) and np.isclose(row["outer_momentum"], momentum)
    ]  # fmt: skip
    return Result(**{**vars(result), "rows": rows})


def curve(result: Result, metric: str) -> dict[str, Any]:
    """Of every seed: `rounds` [r], `values` [seeds, r]."""
    rounds = sorted({row["round"] for row in result.rows})
    seeds = sorted({row["seed"] for row in result.rows})
    values = [[row[metric] for row in result.rows if row["seed"] == seed] for seed in seeds]
    return {"rounds": rounds, "values": values}


def mean_at(result: Result, t: int, metric: str = "objective") -> float:
    """Mean over seeds after t rounds."""
    return float(np.mean([row[metric] for row in result.rows if row["round"] == t]))


def communication_rows(claims: Claims, runs: dict[str, Result]) -> None:
    """The same number of communications, H times the local work."""
    whole, every = runs["DiLoCo"], runs["data parallel, H = 1"]
    claims.at_most("2. loss after 20 communications: DiLoCo's over that of data parallelism (study: 0.49)", 0.6,
                   mean_at(whole, 20) / mean_at(every, 20))  # fmt: skip
    claims.at_most("2. loss of DiLoCo after 20 communications, below data parallelism's after 100",
                   mean_at(every, 100), mean_at(whole, 20))  # fmt: skip
    late = runs["delayed, plain"]
    claims.at_most("delayed, plain α = 0.7: final loss over DiLoCo's (study: 0.99)", 1.05,
                   mean_at(late, 100) / mean_at(whole, 100))  # fmt: skip
    claims.at_least("delayed, Nesterov: final loss over DiLoCo's (study: 1.56)", 1.1,
                    mean_at(runs["delayed, Nesterov"], 100) / mean_at(whole, 100))  # fmt: skip
    if "delayed, Nesterov, H = 50" in runs:
        start = mean_at(whole, 0)
        claims.at_least("delayed, Nesterov, H = 50: final loss, above that at the start (study)", start,
                        mean_at(runs["delayed, Nesterov, H = 50"], 100))  # fmt: skip
        for rounding in ("nearest", "truncate"):
            ratio = mean_at(runs[f"DiLoCo, bytes, {rounding}"], 100) / mean_at(whole, 100)
            claims.at_most(f"bytes on the ring, {rounding}: final loss over DiLoCo's (inferred)", 1.02, ratio)
        bits = runs["DiLoCo, bytes, nearest"].rows[-1]["bits_node"] / whole.rows[-1]["bits_node"]
        d = 41  # weights and intercept; a chunk of bytes travels with its two numbers
        claims.close(
            "bytes on the ring: bits over those of float32, 1/4 + 2 n/d", 0.25 + 2 * N / d, bits, rel=1e-9
        )


# ------------------------------------------------------------------------------------------------------- the delay


def parabola(c: float = 0.5, rounds: int = 400) -> dict[str, Any]:
    """|θ − θ*| on a parabola with one gradient step of c a round, delayed, with and without momentum."""
    problem = quadratic(2, dim=1, condition=1.0, heterogeneity=0.0)
    late = functools.partial(delayed_diloco, local_steps=1, optimizer=sgd())
    result = simulate(
        late, problem, tp.complete(2), rounds=rounds, eval_every=1, precision="float64",
        hyper={"lr": [c], "outer_lr": [0.7], "outer_momentum": [0.0, 0.9]},
    )  # fmt: skip
    distances = {
        name: np.sqrt([row["distance"] for row in only(result, 0.7, momentum).rows]).tolist()
        for name, momentum in (("plain", 0.0), ("Nesterov", 0.9))
    }
    predicted = {
        "plain": theory.outer_radius(c, 0.7, 0.0, form="delayed"),
        "Nesterov": theory.outer_radius(c, form="delayed"),
    }
    return {"c": c, "distance": distances, "predicted": predicted}


def growth_rate(distance: list[float], begin: int, end: int) -> float:
    """Factor a round of an oscillation A rᵗ cos(ωt + φ), of which only magnitudes are known.

    Its squares obey a linear recurrence of order three, whose roots r², r² e^{±2iω} are fitted by least squares.
    """
    squares = np.square(np.array(distance[begin:end]))
    table = np.stack([squares[3 - lag : len(squares) - lag] for lag in range(4)], axis=1)
    table = table / table.max(axis=1, keepdims=True)
    fitted = np.linalg.lstsq(table[:, 1:], table[:, 0], rcond=None)[0]
    return float(np.sqrt(np.abs(np.roots([1.0, *-fitted])).max()))


def stability_rows(claims: Claims, growth: dict[str, Any]) -> None:
    """A round late, momentum is too much."""
    distance = {name: np.array(values) for name, values in growth["distance"].items()}
    claims.at_least("3. delayed, Nesterov, c = 0.5: |θ| after 100 rounds over the start's", 10.0,
                    float(distance["Nesterov"][80:101].max() / distance["Nesterov"][0]))  # fmt: skip
    claims.at_most("3. delayed, plain, c = 0.5: |θ| after 100 rounds over the start's", 1e-3,
                   float(distance["plain"][80:101].max() / distance["plain"][0]))  # fmt: skip
    windows = {"plain": (2, 30), "Nesterov": (100, 400)}  # before rounding, after what dies out
    for name, values in growth["distance"].items():
        rate = growth_rate(values, *windows[name])
        text = f"3. delayed, {name}: factor a round, spectral radius (derived)"
        claims.close(text, growth["predicted"][name], rate, rel=0.01)
    limits = {
        "delayed, α = 0.7": (0.362, theory.outer_limit()),
        "delayed, α = 0.4": (0.633, theory.outer_limit(0.4)),
        "eager, 3 workers": (0.719, theory.outer_limit(form="eager", workers=3)),
        "eager, 4 workers": (0.595, theory.outer_limit(form="eager", workers=4)),
        "eager, 8 workers": (0.458, theory.outer_limit(form="eager", workers=8)),
    }
    for name, (study, here) in limits.items():
        claims.close(f"{name}, μ = 0.9: unstable from this c on (study)", study, here, abs=1e-3)


def train_networks(dataset: Dataset, setting: Setting, workers: int = 2) -> dict[str, Result]:
    """DiLoCo, eager and delayed on a network; two workers, as in the paper's comparison."""
    problem = classification(
        workers,
        dataset=dataset,
        model=mlp(hidden=setting.hidden),
        partition=dirichlet(alpha=0.5),
        train_samples=setting.train_samples,
        held_out=setting.held_out,
    )._replace(objective=unmeasured)

    def run(factory: Any, rates: list[float]) -> Result:
        hyper = {"lr": [setting.lr], "outer_lr": rates, "outer_momentum": [0.9]}
        return simulate(
            functools.partial(factory, local_steps=NETWORK_H),
            problem,
            tp.complete(workers),
            rounds=setting.rounds,
            eval_every=max(1, setting.rounds // 10),
            seeds=SEEDS,
            hyper=hyper,
        )

    late = run(delayed_diloco, [0.4, 0.7])
    return {
        "DiLoCo": run(diloco, [0.7]),
        "eager": run(eager_diloco, [0.7]),
        "delayed, α = 0.4": only(late, 0.4, 0.9),
        "delayed, α = 0.7": only(late, 0.7, 0.9),
    }


def order_rows(claims: Claims, networks: dict[str, Result], workers: int = 2) -> None:
    """Held-out loss of the mean model, mean over the second half of the run: on time, eager, slower, late."""

    def late_loss(result: Result) -> float:
        end = result.rows[-1]["round"]
        return float(np.mean([row["test_loss_merged"] for row in result.rows if 2 * row["round"] > end]))

    loss = {name: late_loss(result) for name, result in networks.items()}
    what = f"4. network, H = 30, {workers} workers: held-out loss"
    claims.at_most(f"{what} of DiLoCo, at most eager's", loss["eager"], loss["DiLoCo"])
    claims.at_most(f"{what} of eager, at most delayed's", loss["delayed, α = 0.7"], loss["eager"])
    slower, bounds = loss["delayed, α = 0.4"], (loss["eager"], loss["delayed, α = 0.7"])
    if workers == 2:
        claims.between(f"{what} of delayed with α = 0.4, between eager's and delayed's", *bounds, slower)
    else:
        text = f"{what} of delayed with α = 0.4, at most eager's, whose region is smaller (derived)"
        claims.at_most(text, loss["eager"], slower)


# --------------------------------------------------------------------------------------------------- a language model


def train_text(plays: Dataset) -> dict[str, Result]:
    """A character transformer on eight nodes, each with roles of its own; as many characters with every method."""
    problem = classification(
        N,
        dataset=plays,
        model=char_transformer(),
        partition=by_group(),
        batch_size=BATCH,
        held_out=250,
    )._replace(objective=unmeasured)

    def run(algorithm: Any, gradients: int = TEXT_H, **options: Any) -> Result:
        rounds = TEXT_ROUNDS * TEXT_H // gradients
        return simulate(
            algorithm,
            problem,
            tp.complete(N),
            rounds=rounds,
            eval_every=rounds // 6,
            seeds=TEXT_SEEDS,
            **options,
        )

    inner: dict[str, Any] = {"local_steps": TEXT_H}
    both = {"lr": [TEXT_LR], "outer_lr": [0.7], "outer_momentum": [0.0, 0.9]}
    late = run(functools.partial(delayed_diloco, **inner), hyper=both)
    eager = run(functools.partial(eager_diloco, **inner), hyper=both)
    ring = ring_all_reduce(quantised=True)
    every = gradient_averaging(EVERY_LR, optimizer=ADAMW)
    streaming = streaming_diloco(TEXT_LR, fragments=3, overlap=2, reduce=ring, **inner)
    return {
        "synchronous, H = 1": run(every, 1, channel=ring_all_reduce()),
        "DiLoCo": run(diloco(TEXT_LR, **inner)),
        "DiLoCo, bytes": run(diloco(TEXT_LR, reduce=ring, **inner)),
        "streaming, bytes": run(streaming),
        "eager, plain": only(eager, 0.7, 0.0),
        "eager, Nesterov": only(eager, 0.7, 0.9),
        "delayed, plain": only(late, 0.7, 0.0),
        "delayed, Nesterov": only(late, 0.7, 0.9),
    }


def text_rows(claims: Claims, runs: dict[str, Result]) -> None:
    """Bits a character of the mean model at the end, and bits sent; thresholds are inferred."""
    last = {name: result.rows[-1] for name, result in runs.items()}
    score = {
        name: mean_at(result, last[name]["round"], "bits_per_character_merged")
        for name, result in runs.items()
    }
    sent = {name: row["bits_node"] for name, row in last.items()}
    every, whole, what = "synchronous, H = 1", "DiLoCo", "language, equal characters: bits a character"

    def over(name: str, other: str = whole) -> float:
        return score[name] / score[other]

    claims.at_most(f"{what}, DiLoCo's over synchronous's", 1.05, over(whole, every))
    claims.at_most(f"{what}, with bytes on the ring, over DiLoCo's", 1.01, over("DiLoCo, bytes"))
    claims.at_most(f"{what}, streaming with bytes, over DiLoCo's", 1.02, over("streaming, bytes"))
    claims.at_most(f"{what}, eager's with Nesterov, over DiLoCo's", 1.02, over("eager, Nesterov"))
    for name in ("eager", "delayed"):
        claims.at_most(f"{what}, {name}'s with plain α = 0.7, over DiLoCo's", 1.05, over(f"{name}, plain"))
    text = f"{what}, delayed's with Nesterov, over eager's"
    claims.at_least(text, 1.0, over("delayed, Nesterov", "eager, Nesterov"))
    text = "language: bits sent, synchronous's over DiLoCo's: H"
    claims.close(text, TEXT_H, sent[every] / sent[whole], rel=1e-9)
    text = "language: bits sent, synchronous's over streaming's with bytes: nearly 4 H"
    claims.at_least(text, 3.9 * TEXT_H, sent[every] / sent["streaming, bytes"])


def against_bits(result: Result) -> dict[str, Any]:
    """Bits a character against megabytes sent by a node; the first row, where nothing was sent, is left out."""
    made = curve(result, "bits_per_character_merged")
    begun = max(values[0] for values in made["values"])
    sent = {row["round"]: row["bits_node"] / 8e6 for row in result.rows}
    return {
        "rounds": [sent[t] for t in made["rounds"][1:]],
        "values": [values[1:] for values in made["values"]],
        "begun": begun,
    }


# ------------------------------------------------------------------------------------------------------ membership


def membership_rows(claims: Claims, runs: dict[str, Result]) -> None:
    """Peers that come and go."""
    churn, whole = runs["DiLoCo, half absent"], runs["DiLoCo"]
    rows = [row for row in churn.rows if row["round"] > 0]

    def total(name: str) -> float:
        return float(5 * sum(row[name] for row in rows))  # rows are means over five rounds

    claims.at_most("6. half of the workers absent in every round: final loss over full participation's (study: 1.03)",
                   1.1, mean_at(churn, ROUNDS) / mean_at(whole, ROUNDS))  # fmt: skip
    claims.at_least("6. workers that joined in these runs", 100.0, total("joined"))
    claims.at_least("6. share of rounds after which all who took part, newcomers too, have one hash", 1.0,
                    min(row["parity"] for row in rows))  # fmt: skip
    claims.at_least("8. rounds with fewer than two workers in these runs", 1.0, total("few"))
    claims.at_most("8. of these, how many changed a state or its revision", 0.0, total("moved"))
    vectors = np.random.default_rng(1).normal(size=(N, 24))
    there = np.arange(N) % 3 != 1  # the others fail while it is under way
    got = reduced(vectors, there)
    claims.at_most("8. failures during an all-reduce: difference from the mean over the survivors", 1e-12,
                   float(np.abs(got[there] - vectors[there].mean(axis=0)).max()))  # fmt: skip
    vectors[~there] = np.nan
    claims.at_most("5. absent slots filled with NaN: what changes", 0.0,
                   float(np.abs(reduced(vectors, there) - got).max()))  # fmt: skip


def reduced(vectors: np.ndarray, there: np.ndarray) -> np.ndarray:
    """What the exact ring makes of vectors, float64."""
    with jax.enable_x64(True):
        plan, tables = mixing.plan(tp.complete(len(vectors)), dtype=np.float64)
        key = jax.random.key(0)
        network = mixing.network(
            plan, jax.tree.map(jnp.asarray, tables), jnp.int32(0), key, key, jnp.asarray(there)
        )
        return np.asarray(ring_all_reduce().mix((), {"x": jnp.asarray(vectors)}, network)[0]["x"])


def ring_rows(claims: Claims) -> None:
    """Bytes on a ring of eight, normal entries; errors in levels of a peer's own vector."""
    vectors = np.random.default_rng(0).normal(size=(N, 8000)).astype(np.float32)
    level = float(np.ptp(vectors, axis=1).mean() / 255)

    def error(rounding: Rounding) -> float:
        mean = jax.jit(functools.partial(quantised_mean, rounding=rounding))(
            jnp.asarray(vectors), active=jnp.ones(N, bool)
        )
        return float((np.asarray(mean, float) - vectors.mean(axis=0, dtype=float)).mean() / level)

    claims.at_most("7. bytes, to nearest: mean error, in levels (study: 0.002)", 0.05, abs(error("nearest")))
    claims.between("7. bytes, truncated: mean error, in levels (study: −0.88)", -1.0, -0.5, error("truncate"))
    received = over_the_ring(vectors[:, :400])
    claims.at_most(
        "7. largest difference between what peers hold", 0.0, float(np.ptp(received, axis=0).max())
    )


def over_the_ring(vectors: np.ndarray) -> np.ndarray:
    """What the peers of a quantised ring hold, two of the eight away: all there is of one."""
    plan, tables = mixing.plan(tp.complete(N))
    there, key = jnp.arange(N) < N - 2, jax.random.key(0)
    network = mixing.network(plan, jax.tree.map(jnp.asarray, tables), jnp.int32(0), key, key, there)
    channel = ring_all_reduce(quantised=True)
    return np.asarray(channel.mix((), {"x": jnp.asarray(vectors)}, network)[0]["x"])


# --------------------------------------------------------------------------------------------------------- picture


def draw(data: dict[str, Any], what: str) -> Figure:
    """Loss against communications; a parabola a round late; a network; a language model if there is one."""
    widths = [1.25, 1, 1] + [1.1] * bool(data["text"])
    figure, (left, middle, right, *more) = blank(4.8 * sum(widths), 4.6, 1, len(widths), width_ratios=widths)
    for number, (name, each) in enumerate(data["logistic"].items()):
        dashes = DASHES[1] if name.startswith("delayed") else DASHES[2 * (number // len(COLOURS))]
        _band(left, each, name, COLOURS[number % len(COLOURS)], dashes)
    top = max(np.max(each["values"][0][0]) for each in data["logistic"].values())
    left.set_ylim(0.15, top + 0.02)
    frame(left, "communications", "training loss of the mean model",
          f"{N} unlike workers, H = {H}; mean over {SEEDS} seeds, band: min to max")  # fmt: skip
    left.legend(framealpha=0.85, edgecolor="none", fontsize=8.5, ncols=2)

    for number, (name, values) in enumerate(data["growth"]["distance"].items()):
        shown = np.array(values[:101])
        shown = shown[: int(np.argmax(shown < 1e-14)) or None]  # below is rounding
        middle.semilogy(shown, color=COLOURS[number], lw=1.2, label=f"{name}, measured")
        line = shown[:20].max() * data["growth"]["predicted"][name] ** np.arange(len(shown))
        middle.semilogy(line, color=COLOURS[number], lw=1.2, ls=DASHES[1], label=f"{name}, predicted slope")
    frame(middle, "outer rounds", "distance to the minimiser",
          f"parabola, c = {data['growth']['c']}, a round late, α = 0.7; one exact run")  # fmt: skip
    middle.legend(frameon=False, fontsize=8.5)

    for number, (name, each) in enumerate(data["network"].items()):
        _band(right, each, name, COLOURS[number], DASHES[0])
    right.set_yscale("log")
    plain_log(right.yaxis)
    frame(right, "outer rounds", "held-out loss of the mean model",
          f"{what}, 2 workers, H = {NETWORK_H}, Nesterov 0.9\nmean over {SEEDS} seeds, band: min to max")  # fmt: skip
    right.legend(frameon=False, fontsize=8.5)
    for axes in more:
        for number, (name, each) in enumerate(data["text"].items()):
            above = " (above)" if np.mean(each["values"], axis=0).min() > each["begun"] else ""
            dashes = DASHES[1] if name.startswith("delayed") else DASHES[0]
            _band(axes, each, name + above, COLOURS[number], dashes)
        axes.set_xscale("log")
        plain_log(axes.xaxis)
        least = min(np.min(each["values"]) for each in data["text"].values())
        axes.set_ylim(
            0.97 * least, max(each["begun"] for each in data["text"].values())
        )  # what diverges leaves it
        frame(axes, "megabytes sent by a node", "held-out bits a character",
              f"Shakespeare, roles on {N} workers, H = {TEXT_H}, {TEXT_ROUNDS * TEXT_H} gradients each\n"
              f"mean model, mean over {TEXT_SEEDS} seeds, band: min to max")  # fmt: skip
        axes.legend(frameon=False, fontsize=8.5)
    return figure


def _band(axes: Axes, each: dict[str, Any], label: str, colour: str, dashes: Any) -> None:
    values = np.array(each["values"])
    axes.plot(each["rounds"], values.mean(axis=0), label=label, color=colour, ls=dashes, lw=1.8)
    axes.fill_between(each["rounds"], values.min(axis=0), values.max(axis=0), color=colour, alpha=0.18, lw=0)
