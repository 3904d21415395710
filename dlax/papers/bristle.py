"""Bristle: class-by-class merging of output layers among nodes with few classes each, and Byzantine ones.

Verbraeken, de Vos, Pouwelse. Bristle: Decentralized Federated Learning in Byzantine, Non-i.i.d. Environments. 2021
(arXiv 2110.11006).

A feature extractor is trained on some classes beforehand and frozen; its features of all samples are computed once.
Ten honest nodes then train the output layer alone, by Adam on minibatches of five; node i has data of the classes
i..i + 3 mod 10, all hear all, and attackers, who hold every class, train on labels y + 1. Bristle is `dsgd` over the
channel `bristle`, and columns of classes that a node has no data of are left to others (`consolidated`).

Where this comes from: formulas, step size, batch, attack, classes a node, ten test samples a class and the rules that
are compared (b = 4) are the authors' code; the bounds on accuracy, weights and iterations are of our notes, in the
spirit of the abstract ("at least 2.3x the accuracy of most Byzantine-resilient baselines", "83 % fewer iterations",
"90 % of the communication"); the golden numbers of the weights follow from the formulas. The paper's text and tables
were not to be had. Attackers' own test sets carry their wrong labels. BRIDGE here trims where the authors take a
plain step if they hear too few, and Krum's winner is not averaged with one's own model. Baselines train all columns.

Quick (digits, extractor trained on classes 0 to 4; UBAR, and the mean among five attackers, are left out) and slow
(Fashion-MNIST, likewise). Every claim holds in both. Without attackers the mean ends 5 (Fashion-MNIST) to 9 (digits)
points above Bristle, which the source does not say; "2.3 times most rules" is met by the middle one of those
compared, while Bristle is 1.6 times as accurate as UBAR on Fashion-MNIST.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dlax import channel, robust, tree
from dlax.algorithms import dsgd, local_only
from dlax.algorithms.dsgd import Order
from dlax.attacks import label_flip
from dlax.channel.bristle import Exam, Trust, bristle, weights
from dlax.claims import Claims
from dlax.data import Dataset, class_windows, digits, fashion_mnist, from_arrays
from dlax.optimizers import OPTIMIZERS
from dlax.papers import Reproduction, unmeasured
from dlax.plots.style import COLOURS, DASHES, blank, frame
from dlax.problems import classification, softmax
from dlax.simulate import simulate
from dlax.topology import complete
from dlax.types import Algorithm, Channel, Info, Key, Model, Poison, Problem, Round, Rule, Scalar, Tree

HONEST, WIDTH = 10, 4
ATTACKERS = (0, 1, 5, 10)
MAIN = 5
EXAM = 10  # test samples a familiar class
TOLERATED = 4  # b of the rules that are compared
BASELINES = ("median", "Krum", "BRIDGE", "UBAR")


class Setting(NamedTuple):
    """What a version of the reproduction runs.

    Attributes:
      data: features of all classes.
      model: parameters of the whole model, extractor and output layer.
      per_class: training samples a node and class; fewer where it has all classes, for as many in all.
      rounds: iterations.
      seeds: runs.
      lr: of Adam.
      l2: on the output layer.
      batch_size: samples in a gradient.
    """

    data: Dataset
    model: int
    per_class: int
    rounds: int = 300
    seeds: int = 3
    lr: float = 1e-3
    l2: float = 5e-3
    batch_size: int = 5


class Task(NamedTuple):
    """Who has what, with so many attackers after the honest nodes."""

    problem: Problem
    exam: Exam
    attackers: np.ndarray  # [n] bool


class Curves(NamedTuple):
    """What runs of one method gave, over seeds.

    Attributes:
      rounds: `[evaluations]`.
      accuracy: `[seeds, evaluations]`, mean over honest nodes, of all classes.
      trust: `[seeds, evaluations, 2]`, the mean weight of an attacker and of an honest candidate since the last
        evaluation; NaN of other methods.
      foreign: accuracy at the end on classes that a node has no data of, mean over honest nodes and seeds; NaN where
        it has all.
      bits: of a message.
    """

    rounds: np.ndarray
    accuracy: np.ndarray
    trust: np.ndarray
    foreign: float
    bits: float

    @property
    def last(self) -> float:
        """At the end, mean over seeds."""
        return float(self.accuracy[:, -1].mean())


def reproduce(*, slow: bool = False) -> Reproduction:
    """Checks Bristle's claims.

    Args:
      slow: Fashion-MNIST instead of digits.
    """
    setting, claims = _fashion() if slow else _digits(), Claims()
    _weights(claims)
    runs = _runs(setting, slow=slow)
    _claims(claims, runs, setting)
    return Reproduction(
        title="Bristle: Decentralized Federated Learning in Byzantine, Non-i.i.d. Environments (2021)",
        setting=(
            f"{setting.data.name}, {HONEST} honest nodes with {WIDTH} classes each and {setting.per_class} samples "
            f"a class, up to {max(ATTACKERS)} attackers, complete graph; output layer on "
            f"{setting.data.x_train.shape[1]} frozen features, {setting.rounds} iterations, {setting.seeds} seeds"
        ),
        claims=claims,
        figure=_figure(runs),
        data={
            name: {"rounds": run.rounds.tolist(), "accuracy": run.accuracy.tolist(), "foreign": run.foreign}
            | ({"trust": run.trust.tolist()} if name.startswith("Bristle") else {})
            for name, run in runs.items()
        },
    )


def _runs(setting: Setting, *, slow: bool) -> dict[str, Curves]:
    """Every method that a claim needs: `method, attackers` or `method, IID`."""
    most = max(ATTACKERS)
    crowd, main, apart = (_task(setting, attackers, WIDTH) for attackers in (most, MAIN, 0))
    alike = _task(setting, 0, setting.data.num_classes)
    runs = {
        f"Bristle, {attackers}": run
        for attackers, run in zip(ATTACKERS, _bristle(setting, crowd, ATTACKERS), strict=True)
    }
    runs["Bristle, IID"] = _bristle(setting, alike, (0,), every=2)[0]
    adam = OPTIMIZERS["adam"]()
    atc, cta, at_once = (dsgd(setting.lr, order=order, optimizer=adam) for order in get_args(Order))
    alone = local_only(setting.lr, optimizer=adam)
    # As many samples: one compiled program runs both.
    shared = alike.problem._replace(local=apart.problem.local, shared=apart.problem.shared)
    for name, task, problem in (("IID", alike, alike.problem), ("0", apart, shared)):
        run = _train(setting, task, alone, channel.linear(), problem, every=2)
        runs[f"no averaging, {name}"] = run[0]
    for task in (apart, main, crowd) if slow else (apart, crowd):
        runs[f"mean, {task.attackers.sum()}"] = _train(setting, task, atc, channel.linear(), task.problem)[0]

    def over(rule: Rule) -> Channel:
        return channel.robust(rule=rule, tolerated=TOLERATED, beyond=True)

    rules = {
        "median": (atc, over(robust.median())),
        "Krum": (atc, over(robust.krum())),
        "BRIDGE": (cta, over(robust.trimmed_mean())),
    }
    if slow:
        rules["UBAR"] = (at_once, channel.ubar(share=0.5))
    for name, (algorithm, rule) in rules.items():
        runs[f"{name}, {MAIN}"] = _train(setting, main, algorithm, rule, main.problem)[0]
    return runs


def _digits() -> Setting:
    data, size = featured(digits(), hidden=(128, 100), classes=5, steps=300)
    return Setting(data, size, per_class=5, rounds=150, seeds=2)


def _fashion() -> Setting:
    whole, rng = fashion_mnist(), np.random.default_rng(0)
    train, test = rng.permutation(len(whole.y_train))[:10_000], rng.permutation(len(whole.y_test))[:1_000]
    data = whole._replace(
        x_train=whole.x_train[train],
        y_train=whole.y_train[train],
        x_test=whole.x_test[test],
        y_test=whole.y_test[test],
    )
    data, size = featured(data, hidden=(256, 128), classes=5, steps=1_000)
    return Setting(data, size, per_class=10, seeds=3)


def featured(data: Dataset, *, hidden: tuple[int, ...], classes: int, steps: int) -> tuple[Dataset, int]:
    """A data set of the features that a network learns from some classes; all of it, computed once.

    Args:
      data: the data set.
      hidden: sizes of the layers, of rectified linear units; the last one's outputs are the features.
      classes: the network is trained on the first so many.
      steps: of Adam, on minibatches of 64.

    Returns:
      The data set, features `[N, hidden[-1]]` with mean square one over the training rows, and the number of
      parameters of the network with an output layer for all classes.
    """
    known, held = data.y_train < classes, data.y_test < classes
    part = from_arrays(data.x_train[known], data.y_train[known], data.x_test[held], data.y_test[held])
    problem = classification(1, dataset=part, model=_layers(hidden), batch_size=64)
    teach = local_only(1e-3, optimizer=OPTIMIZERS["adam"](), local_steps=steps)
    problem = problem._replace(objective=unmeasured, evaluate=None)
    params = jax.tree.map(lambda leaf: leaf[0, 0], simulate(teach, problem, complete(1), rounds=1).params)
    features = [np.asarray(_features(params, jnp.asarray(x))) for x in (data.x_train, data.x_test)]
    scale = np.sqrt(np.mean(features[0] ** 2))
    size = sum(w.size + b.size for w, b in params["hidden"]) + (hidden[-1] + 1) * data.num_classes
    return data._replace(x_train=features[0] / scale, x_test=features[1] / scale), int(size)


def _layers(hidden: tuple[int, ...]) -> Callable[..., Model]:
    """A network whose last hidden outputs `_features` gives."""

    def made(shape: tuple[int, ...], classes: int) -> Model:
        sizes = (int(np.prod(shape)), *hidden, classes)

        def init(key: Key) -> Tree:
            keys = jax.random.split(key, len(sizes) - 1)
            layers = [
                (jax.random.normal(key, (a, b)) * (2 / a) ** 0.5, jnp.zeros(b))
                for key, a, b in zip(keys, sizes[:-1], sizes[1:], strict=True)
            ]
            return {"hidden": layers[:-1], "out": layers[-1]}

        def apply(params: Tree, x: jax.Array) -> jax.Array:
            w, b = params["out"]
            return _features(params, x) @ w + b[None]

        return Model(init, apply)

    return made


def _features(params: Tree, x: jax.Array) -> jax.Array:
    """Outputs of the last hidden layer, `[b, hidden[-1]]`."""
    x = x.reshape(len(x), -1)
    for w, b in params["hidden"]:
        x = jax.nn.relu(x @ w + b[None])
    return x


def _task(setting: Setting, attackers: int, width: int) -> Task:
    """Deals disjoint test and training samples to the honest nodes; attackers take their tests where they like."""
    data, rng = setting.data, np.random.default_rng(0)
    n, classes = HONEST + attackers, data.num_classes
    per_class = setting.per_class * WIDTH // width
    familiar = (np.arange(classes)[None] - np.arange(n)[:, None]) % classes < width
    familiar[HONEST:] = True
    each = np.where(
        np.arange(n) < HONEST, EXAM, EXAM * width // classes
    )  # attackers: as many, of all classes
    length = EXAM * width
    x = np.zeros((n, length, data.x_train.shape[1]), np.float32)
    y, used, filled = np.zeros((n, length), np.int32), np.zeros((n, length), bool), np.zeros(n, int)
    rest = []
    for c in range(classes):
        rows = rng.permutation(np.flatnonzero(data.y_train == c))
        holders, taken = np.flatnonzero(familiar[:, c]), 0
        for node in holders:
            honest = bool(node < HONEST)
            start, slots = taken if honest else 0, slice(filled[node], filled[node] + each[node])
            x[node, slots] = data.x_train[rows[start : start + each[node]]]
            y[node, slots] = c if honest else (c + 1) % classes  # an attacker's labels are all wrong
            used[node, slots] = True
            filled[node] += each[node]
            taken += EXAM * honest
        need = taken + per_class * len(holders)
        if need > len(rows):
            raise ValueError(f"bristle: class {c} has {len(rows)} samples, the nodes need {need}")
        rest.append(rows[taken:need])
    kept = np.concatenate(rest)
    dealt = data._replace(x_train=data.x_train[kept], y_train=data.y_train[kept], groups=None)
    partition = class_windows(width=width, whole=attackers)
    problem = softmax(
        n, dataset=dealt, partition=partition, batch_size=setting.batch_size, l2=setting.l2, optimum=False
    )
    exam = Exam(*map(jnp.asarray, (x, y, used, familiar)))
    return Task(problem._replace(objective=unmeasured, prox=None), exam, np.arange(n) >= HONEST)


def consolidated(problem: Problem, familiar: np.ndarray) -> Problem:
    """The same problem, in which no node moves the columns of classes that it has no data of.

    CWR* keeps two copies of the output layer, a training copy that a step moves as a whole and a consolidated one,
    into which the columns of familiar classes are copied. Under an optimiser that works entry by entry from zero
    memory, such as SGD or Adam, that is the same as no gradient for the other columns.

    Args:
      problem: its parameters have one column a class, the last axis of every leaf.
      familiar: `[n, C]` bool.
    """

    def still(loss: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
        def value(params: Tree, key: Key, local: Tree, shared: Tree) -> jax.Array:
            def one(leaf: jax.Array) -> jax.Array:
                mask = local["familiar"].reshape((1,) * (leaf.ndim - 1) + (-1,))
                return jnp.where(mask, leaf, jax.lax.stop_gradient(leaf))

            return loss(jax.tree.map(one, params), key, local, shared)

        return value

    def poisoned(poison: Poison) -> tuple[Callable[..., Any], Callable[..., Any] | None]:
        assert problem.poisoned is not None
        loss, evaluate = problem.poisoned(poison)
        return still(loss), evaluate

    return problem._replace(
        loss=still(problem.loss),
        local={**problem.local, "familiar": familiar},
        poisoned=None if problem.poisoned is None else poisoned,
    )


def watched(algorithm: Algorithm, attackers: np.ndarray) -> Algorithm:
    """D-SGD over `bristle` that reports what a node gives an attacker and an honest candidate, on average."""

    def mean(trust: Trust, which: jax.Array) -> jax.Array:
        counted = trust.chosen & which
        return jnp.sum(jnp.where(counted, trust.weight, 0), axis=1) / jnp.maximum(jnp.sum(counted, axis=1), 1)

    def step(state: Any, round: Round) -> tuple[Any, Info]:
        state, info = algorithm.step(state, round)
        lies = jnp.asarray(attackers)[state.link.who]
        seen = {"weight_of_attackers": mean(state.link, lies), "weight_of_honest": mean(state.link, ~lies)}
        return state, info | seen

    return algorithm._replace(step=step)


def apply(params: Tree, x: jax.Array) -> jax.Array:
    """The output layer: logits `[T, C]`."""
    return x @ params["w"] + params["c"][None]


def _bristle(setting: Setting, task: Task, attackers: tuple[int, ...], *, every: int = 10) -> list[Curves]:
    """Bristle among so many attackers; the task has the most, and those beyond the number are silent."""
    over, n = bristle(task.exam, apply), task.problem.n

    def factory(attackers: Scalar = 0.0) -> Algorithm:
        inner = dsgd(setting.lr, optimizer=OPTIMIZERS["adam"]())

        def step(state: Any, round: Round) -> tuple[Any, Info]:
            silent = jnp.arange(n) >= HONEST + attackers

            def mix(link: Any, message: Tree) -> tuple[Tree, Any, jax.Array]:
                # What is not finite is never tested.
                sent = tree.where_nodes(
                    silent, jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), message), message
                )
                received, link, bits = round.mix(link, sent)
                return tree.where_nodes(silent, message, received), link, bits

            return inner.step(state, round._replace(mix=mix))

        return watched(inner._replace(step=step), task.attackers)

    problem = consolidated(task.problem, np.asarray(task.exam.familiar))
    return _train(setting, task, factory, over, problem, every=every, attackers=attackers)


def _train(
    setting: Setting,
    task: Task,
    algorithm: Any,
    over: Channel,
    problem: Problem,
    *,
    every: int = 10,
    attackers: tuple[int, ...] | None = None,
) -> list[Curves]:
    """Runs all seeds, and all numbers of attackers if the algorithm is a factory of them."""
    attacked = bool(task.attackers.any())
    result = simulate(
        algorithm,
        problem,
        complete(problem.n),
        channel=over,
        attack=label_flip(flip="next") if attacked else None,
        byzantine=task.attackers if attacked else None,
        rounds=setting.rounds,
        eval_every=every,
        seeds=setting.seeds,
        hyper=None if attackers is None else {"attackers": attackers},
    )
    data, own = setting.data, np.asarray(task.exam.familiar)[:HONEST]
    foreign = ~own[:, data.y_test]
    curves = []
    for place, number in enumerate(attackers or (None,)):
        rows = [row for row in result.rows if number is None or row["attackers"] == number]

        def column(name: str, rows: list[dict[str, Any]] = rows) -> np.ndarray:  # [seeds, evaluations]
            by_seed = [
                [row.get(name, np.nan) for row in rows if row["seed"] == s] for s in range(setting.seeds)
            ]
            return np.array(by_seed)

        here = slice(place * setting.seeds, (place + 1) * setting.seeds)
        logits = np.einsum("td,sndc->sntc", data.x_test, result.params["w"][here, :HONEST])
        right = (logits + result.params["c"][here, :HONEST, None]).argmax(axis=-1) == data.y_test
        curves.append(
            Curves(
                rounds=column("round")[0],
                accuracy=column("accuracy_mean"),
                trust=np.stack([column("weight_of_attackers"), column("weight_of_honest")], axis=-1),
                foreign=float(right[:, foreign].mean()) if foreign.any() else np.nan,
                bits=rows[-1]["bits_node"] / setting.rounds / (problem.n - 1),
            )
        )
    return curves


def _weights(claims: Claims) -> None:
    """The golden numbers of one candidate's weights, and what bounds them."""

    def count(mine: Any, theirs: Any) -> np.ndarray:
        mine, theirs = jnp.asarray(mine, jnp.float32), jnp.asarray(theirs, jnp.float32)
        return np.asarray(weights(mine, theirs, jnp.ones(len(mine), bool), jnp.int32(len(mine))))

    golden = (
        ("as good as oneself, F1 0.7: its weight is its certainty", 0.7, 0.7, 0.7),
        ("perfect, and oneself at F1 0", 0.0, 1.0, 6 * (1 - 1e-4)),
        ("0.1 better than F1 0.8", 0.8, 0.9, 1.025 * 0.9),
        ("0.2 worse than F1 0.9", 0.9, 0.7, 0.259 * 0.7),
        ("0.3 worse than F1 0.9", 0.9, 0.6, 0.0),
        ("0.22 worse than F1 0.9", 0.9, 0.68, 0.0),
    )
    for name, mine, theirs, expected in golden:
        claims.close(f"weight of a candidate {name}", expected, float(count([mine], [theirs])[0]), abs=1e-3)
    rng = np.random.default_rng(0)
    drawn = [count(*rng.uniform(size=(2, 4))) for _ in range(100)]
    claims.between("weights of 100 candidates with F1 at random: the least", 0.0, 6.0, float(np.min(drawn)))
    claims.between("weights of 100 candidates with F1 at random: the largest", 0.0, 6.0, float(np.max(drawn)))
    top = float(count([0.0], [1.0])[0])
    claims.at_most("share of a column that one candidate replaces, at most 6/7", 6 / 7, top / (1 + top))


def _claims(claims: Claims, runs: dict[str, Curves], setting: Setting) -> None:
    """What the trained output layers show."""
    main = runs[f"Bristle, {MAIN}"]
    others = {name: runs[f"{name}, {MAIN}"].last for name in BASELINES if f"{name}, {MAIN}" in runs}
    best = max(("median", "Krum", "BRIDGE"), key=lambda name: others[name])
    claims.at_least(
        f"{MAIN} attackers: Bristle's accuracy, against twice that of the best of median, Krum and BRIDGE ({best})",
        2 * others[best],
        main.last,
    )
    claims.at_least(
        f"{MAIN} attackers: Bristle's accuracy, against 2.3 times that of most rules (the middle one of these"
        f"{' and UBAR' if 'UBAR' in others else ''})",
        2.3 * float(np.median(list(others.values()))),
        main.last,
    )
    alike, alone = runs["Bristle, IID"], runs["no averaging, IID"]
    goal = 0.9 * max(alike.accuracy.mean(axis=0).max(), alone.accuracy.mean(axis=0).max())
    claims.at_most(
        f"IID, no attackers: iterations to 90 % of the best accuracy ({100 * goal:.1f} %), Bristle, against half of "
        f"those without averaging (never: {setting.rounds})",
        _until(alone, goal, setting.rounds) / 2,
        _until(alike, goal, np.inf),
    )
    ends = {attackers: runs[f"Bristle, {attackers}"].last for attackers in ATTACKERS}
    claims.at_most(
        f"{', '.join(map(str, ATTACKERS))} attackers: largest difference of Bristle's accuracy",
        0.05,
        max(ends.values()) - min(ends.values()),
    )
    claims.at_least(
        f"{max(ATTACKERS)} attackers: accuracy that the plain mean loses",
        0.2,
        runs["mean, 0"].last - runs[f"mean, {max(ATTACKERS)}"].last,
    )
    claims.at_least(
        "accuracy on classes that a node has no data of: Bristle", 0.5, runs["Bristle, 0"].foreign
    )
    claims.at_most(
        "accuracy on classes that a node has no data of: no averaging", 0.01, runs["no averaging, 0"].foreign
    )
    after = main.rounds > 50
    lies, honest = main.trust[:, after].mean(axis=(0, 1))
    claims.at_most(
        f"{MAIN} attackers: mean weight of an attacker over that of an honest candidate, from iteration 50 on",
        0.05,
        float(lies / honest),
    )
    message = 32 * (setting.data.x_train.shape[1] + 1) * setting.data.num_classes
    claims.close(
        "bits of a message: 32 a feature (and intercept) and class, exactly",
        message,
        main.bits,
    )
    claims.at_most(
        "bits of a message, against the whole model (here a network of three layers)",
        0.1,
        main.bits / (32 * setting.model),
    )


def _until(run: Curves, goal: float, never: float) -> float:
    """Iterations until the mean over seeds reaches a goal."""
    reached = np.flatnonzero(run.accuracy.mean(axis=0) >= goal)
    return float(run.rounds[reached[0]]) if len(reached) else never


def _figure(runs: dict[str, Curves]) -> Figure:
    """Accuracy under attack by method, without one and IID, by number of attackers; and weights."""
    figure, axes = blank(12, 3.6, columns=3)
    for number, method in enumerate(("Bristle", "mean", *BASELINES)):
        if f"{method}, {MAIN}" in runs:
            run = runs[f"{method}, {MAIN}"]
            _band(axes[0], run.rounds, run.accuracy, method, number)
    run = runs["no averaging, 0"]
    _band(axes[0], run.rounds, run.accuracy, "no averaging", 6)
    frame(axes[0], "iteration", "mean accuracy of honest nodes", f"{MAIN} attackers, {WIDTH} classes a node")
    for number, attackers in enumerate(ATTACKERS):
        run = runs[f"Bristle, {attackers}"]
        _band(axes[1], run.rounds, run.accuracy, f"Bristle, {attackers} attackers", number)
    for dashes, attackers in enumerate((0, max(ATTACKERS)), start=1):
        run = runs[f"mean, {attackers}"]
        _band(axes[1], run.rounds, run.accuracy, f"mean, {attackers} attackers", 6, dashes)
    frame(axes[1], "iteration", "mean accuracy of honest nodes", "by number of attackers")
    run = runs[f"Bristle, {MAIN}"]
    for number, name in ((1, "an attacker"), (0, "an honest candidate")):
        _band(axes[2], run.rounds[1:], run.trust[:, 1:, 1 - number], f"of {name}", number)
    frame(axes[2], "iteration", "mean weight (one's own model: 1)", f"Bristle, {MAIN} attackers")
    for here in axes[:2]:
        here.set_ylim(0, 1)
    for here in axes:
        here.legend(fontsize=7.5, frameon=False, handlelength=2.8, loc="center right")
    return figure


def _band(axes: Axes, t: np.ndarray, values: np.ndarray, label: str, colour: int, dashes: int = 0) -> None:
    """Mean over seeds; the band goes from the smallest to the largest of them."""
    shade = COLOURS[colour % len(COLOURS)]
    axes.plot(t, values.mean(axis=0), color=shade, linestyle=DASHES[dashes], linewidth=1.4, label=label)
    axes.fill_between(t, values.min(axis=0), values.max(axis=0), color=shade, alpha=0.15, linewidth=0)
