"""FedCompass: clients get as many local steps as their speed allows, arrive in groups, and are averaged in groups.

Li, Chaturvedi, He, Chen, Singh, Huerta, Kim, Madduri. FedCompass: Efficient Cross-Silo Federated Learning on
Heterogeneous Client Devices using a Computing Power Aware Scheduler. ICLR 2024 (arXiv 2309.14675).

What is whose. From the abstract is the headline, without a number: faster and more accurate than asynchronous
methods, more efficient than synchronous ones, on non-IID data. The logic, its constants and the baselines' form
are the authors' code (APPFL), read completely. The golden schedule was worked out from that logic beside dlax; the
models of speed, the bound on waiting, the idle shares and all thresholds are derived, or ours. The paper's tables,
its speeds and its partitions could not be found. A tiered baseline, which reviewers asked for, is ours.

What differs. Staleness has the exponent −a of FedAsync and of the paper's purpose; the release's +a, which amplifies
stale updates, is an option. All methods weigh clients by 1/m, FedAsync too, as the code does: it is the slower for
it. Clients draw their speed once a seed, and every task 5 % of noise. A time that a method does not reach within a
run counts as the whole run, to its favour. Times are those of the mean curve over seeds, "at the end" is the mean of
the last three of 21 measurements, "noise" the standard error of the paired difference between seeds.

What does not hold. That an update of a group is no more versions old than there are groups: a fast group, or a
newcomer, is aggregated more than once while a slow one waits. It holds of all groups and newcomers that there were
during the task, each of which is aggregated once.

Beside the claims: noise costs. With exact speeds FedCompass's clients idle 2 % of the time at most, with 5 % of noise
6 to 10 %, whatever the distribution, since a group waits for the last of its members; FedAvg's idle 5 to 7 % at
homogeneous speeds and 50 to 75 % at exponential ones. At homogeneous speeds FedAvg is the faster, as the picture
shows: FedCompass first applies ten updates one by one, and then takes α = 0.9 of the mean.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from dlax import schedulers as sc
from dlax.claims import Claims
from dlax.data import Dataset, digits, dirichlet, fashion_mnist
from dlax.models import mlp
from dlax.papers import Reproduction, unmeasured
from dlax.plots.style import COLOURS, frame
from dlax.problems import classification
from dlax.results import Result
from dlax.schedulers import Schedule, Speeds
from dlax.simulate import serve
from dlax.types import Problem

M, SEEDS, EVALUATIONS, LAST = 10, 3, 20, 3
NOISE, ALPHA, PARTITION = 0.05, 0.9, 0.3
METHODS = ("FedCompass", "FedAvg", "FedAsync", "FedBuff", "tiered")
ASYNCHRONOUS = ("FedAsync", "FedBuff", "tiered")

GOLDEN = (1.03, 1.21, 1.97, 3.11, 5.23)
# Time, group (-1: a client alone), staleness by client.
AGGREGATIONS: tuple[tuple[float, int, dict[int, int]], ...] = (
    (103.0, -1, {0: 0}),
    (121.0, -1, {1: 1}),
    (197.0, -1, {2: 2}),
    (206.0, 0, {0: 2, 1: 1}),
    (309.0, 2, {0: 0, 1: 0}),
    (311.0, -1, {3: 5}),
    (358.54, 1, {0: 1, 1: 1, 2: 3}),
    (461.54, 4, {0: 0, 1: 0}),
    (523.0, -1, {4: 8}),
    (541.14, 3, {0: 1, 1: 1, 2: 2, 3: 3}),
    (644.14, 6, {0: 0, 1: 0, 2: 0}),
)
# Time, client, group, Q, Tₐ, from the first assignment to a group on.
ASSIGNMENTS: tuple[tuple[float, int, int, int, float], ...] = (
    (103, 0, 0, 100, 206), (121, 1, 0, 70, 206), (197, 2, 1, 82, 358.54), (206, 0, 2, 100, 309),
    (206, 1, 2, 85, 309), (309, 0, 1, 48, 358.54), (309, 1, 1, 40, 358.54), (311, 3, 3, 74, 541.14),
    (358.54, 0, 4, 100, 461.54), (358.54, 1, 4, 85, 461.54), (358.54, 2, 3, 92, 541.14),
    (461.54, 0, 3, 77, 541.14), (461.54, 1, 3, 65, 541.14), (523, 4, 5, 45, 758.35),
    (541.14, 0, 6, 100, 644.14), (541.14, 1, 6, 85, 644.14), (541.14, 2, 6, 52, 644.14),
    (541.14, 3, 5, 69, 758.35),
)  # fmt: skip


class Setting(NamedTuple):
    """What the quick and the slow version differ in.

    Attributes:
      batch_size: of a local step.
      held_out: of the test samples; None means all.
      q_min: fewest local steps.
      q_max: most local steps, those of the other methods.
      lr: of the clients' Adam.
      target: accuracy that times are measured to.
      durations: simulated seconds, by distribution of the speeds.
    """

    batch_size: int
    held_out: int | None
    q_min: int
    q_max: int
    lr: float
    target: float
    durations: dict[str, float]


QUICK = Setting(16, None, 4, 20, 0.003, 0.8, {"homogeneous": 400, "normal": 400, "exponential": 400})
SLOW = Setting(32, 2000, 20, 100, 0.003, 0.8, {"homogeneous": 1500, "normal": 1500, "exponential": 3000})


def reproduce(*, slow: bool = False) -> Reproduction:
    """Runs the claims on digits, or with `slow` on Fashion-MNIST with five times as many local steps.

    Raises:
      ValueError: if Fashion-MNIST is not to be had.
    """
    setting, dataset = (SLOW, fashion_mnist()) if slow else (QUICK, digits())
    claims = Claims()
    golden = golden_rows(claims)
    equal_rows(claims)
    idle_rows(claims)
    waiting_rows(claims)
    version_rows(claims, golden)
    slowdown_rows(claims)
    staleness_rows(claims)
    schedules = {name: plan(setting, name) for name in setting.durations}
    noise_rows(claims, schedules)
    curves = train(make_problem(dataset, setting), setting, schedules)
    training_rows(claims, curves, setting)
    idle = {
        name: {method: idle_share(each).tolist() for method, each in made.items()}
        for name, made in schedules.items()
    }
    what = "Fashion-MNIST" if slow else "digits"
    return Reproduction(
        title="FedCompass: cross-silo federated learning with a computing power aware scheduler (ICLR 2024)",
        setting=f"{what}, {M} clients, Dirichlet {PARTITION}, MLP 32, Adam {setting.lr:g}, Q = {setting.q_min} to "
        f"{setting.q_max}, λ = 1.5, {max(setting.durations.values()):g} simulated seconds, {SEEDS} seeds",
        claims=claims,
        figure=draw(curves, golden, setting, what),
        data={"curves": curves, "idle": idle, "golden": golden.table().to_dict("list")},
    )


# --------------------------------------------------------------------------------------------------- schedules alone


def golden_rows(claims: Claims) -> Schedule:
    """Item 1: the golden schedule, and a common scale of all speeds."""
    schedule = sc.compass(GOLDEN, aggregations=len(AGGREGATIONS))
    table = schedule.table()
    rows = [part for _, part in table.groupby("row")]
    times = [abs(part.time.iloc[0] - time) for part, (time, _, _) in zip(rows, AGGREGATIONS, strict=True)]
    claims.at_most("golden schedule, 11 aggregations: largest error of a time, s (code)", 1e-6, max(times))
    wrong = sum(
        part.group.iloc[0] != group or dict(zip(part.client, part.staleness, strict=True)) != stale
        for part, (_, group, stale) in zip(rows, AGGREGATIONS, strict=True)
    )
    claims.close("golden schedule: aggregations of other members, group or staleness (code)", 0, wrong)
    told = schedule.assignments()[["begin", "client", "group", "steps", "due"]].to_numpy()[len(GOLDEN) :]
    error = np.abs(told[: len(ASSIGNMENTS)] - ASSIGNMENTS).max()
    claims.at_most(
        "golden schedule, 18 assignments: largest error of time, group, Q or Tₐ (code)", 1e-6, error
    )
    idle = 100 * schedule.idle().max()
    claims.close("golden schedule: largest idle share of a client, % (derived)", 0.4, idle, abs=0.05)
    long, scaled = (sc.compass(scale * np.array(GOLDEN), aggregations=100) for scale in (1.0, 0.37))
    claims.at_most(
        "all speeds times 0.37, 100 aggregations: largest relative error of the scaled times (derived)",
        1e-9,
        float(np.abs(scaled.time / (0.37 * long.time) - 1).max()),
    )
    names = ("client", "steps", "version", "group", "row", "staleness")
    differ = sum(int((getattr(long.tasks, k) != getattr(scaled.tasks, k)).sum()) for k in names)
    claims.close("the same: entries of clients, Q, groups and staleness that differ (derived)", 0, differ)
    return schedule


def equal_rows(claims: Claims) -> None:
    """Item 2: equal speeds make one group, whose aggregation is FedAvg's with α/m."""
    schedule = sc.compass(np.ones(M), aggregations=M + 50, alpha=ALPHA)
    sizes = (schedule.members >= 0).sum(axis=1)
    claims.close(
        "equal speeds: smallest aggregation after the first tasks, of 10 clients", M, sizes[M:].min()
    )
    settled = schedule.tasks.row > M
    away = np.abs(schedule.tasks.weight[settled] - ALPHA / M).max()
    claims.at_most("equal speeds: largest distance of a weight from α/m, from then on", 1e-12, float(away))
    gaps = np.diff(schedule.time[M:])
    claims.at_most(
        "equal speeds: largest distance of a round's length from Q_max S", 1e-9, float(np.ptp(gaps))
    )


def idle_rows(claims: Claims) -> None:
    """Item 3: one slow client."""
    speeds = (1.0, 1.0, 1.0, 1.0, 10.0)
    compass, fedavg = sc.compass(speeds, duration=20_000), sc.synchronous(speeds, duration=20_000)
    text = "speeds 1, 1, 1, 1, 10: mean idle share, %"
    claims.at_most(f"{text}, FedCompass (derived)", 2.0, 100 * compass.idle().mean())
    claims.at_least(f"{text}, FedAvg (derived)", 60.0, 100 * fedavg.idle().mean())
    fast = 100 * fedavg.idle()[:4].mean()
    claims.close("the same: of FedAvg's fast clients, 1 − S/S_max (derived)", 90.0, fast, rel=1e-6)


def waiting_rows(claims: Claims) -> None:
    """Theory for exact, constant speeds: nobody is late, and nobody waits a step of the slowest."""
    late, worst, incomplete = 0, 0.0, 0
    for seed in range(5):
        speeds = sc.exponential(M, seed=seed)
        schedule = sc.compass(speeds, aggregations=200)
        late += int((~schedule.applied).sum())
        table = schedule.table()
        table = table[table.group >= 0].assign(wait=lambda part: part.time - part.end)
        slowest = table.client.map(lambda i, speeds=speeds: speeds.seconds(i, 0)).groupby(table.row).max()
        worst = max(worst, float((table.groupby("row").wait.max() / slowest).max()))
        incomplete += int((table.groupby("group").row.nunique() > 1).sum())
    claims.close("exact exponential speeds, 5 draws: updates that come late (derived)", 0, late)
    claims.close("the same: groups that are aggregated in pieces (derived)", 0, incomplete)
    claims.at_most("the same: longest wait by the largest S of the group (derived)", 1.0, worst)


def version_rows(claims: Claims, golden: Schedule) -> None:
    """Item 4: how old updates of groups are, against how many groups there are."""
    table = golden.table()
    table = table[table.group >= 0]
    oldest = table.groupby("row").staleness.max()
    k = int((oldest - golden.groups[oldest.index]).idxmax())
    claims.at_most(
        f"golden schedule, t = {golden.time[k]:g}: staleness, bounded by the number of groups (derived)",
        float(golden.groups[k]),
        float(oldest[k]),
    )
    long = sc.compass(GOLDEN, aggregations=300).table()
    later = long[(long.group >= 0) & (long.time > 400)]
    claims.at_most(
        "golden speeds after t = 400: largest staleness in groups (derived)", 3, later.staleness.max()
    )
    spare = min(spared(sc.compass(sc.exponential(M, seed=seed), aggregations=200)) for seed in range(5))
    claims.at_least(
        "exact exponential speeds, 5 draws: groups and newcomers met in a task, less its staleness, least (derived)",
        0.0,
        spare,
    )


def spared(schedule: Schedule) -> float:
    """The least, over tasks of groups, of other groups and newcomers there were meanwhile, less the staleness."""
    table = schedule.table()
    life = schedule.assignments().query("group >= 0").groupby("group").begin.min()
    ends = table[table.group >= 0].groupby("group").time.max().reindex(life.index).fillna(np.inf)
    alone = table[table.group < 0].time.to_numpy()
    least = np.inf
    for task in table[table.group >= 0].itertuples():
        met = ((life < task.time) & (ends > task.begin)).sum() - 1
        newcomers = ((alone > task.begin) & (alone < task.time)).sum()
        least = min(least, met + newcomers - task.staleness)
    return float(least)


def slowdown_rows(claims: Claims) -> None:
    """Item 6: a client that becomes five times as slow is left behind once, and its update is not lost."""
    schedule = sc.compass(sc.slowed(GOLDEN, 0, factor=5.0, first=6), aggregations=60)
    tasks = schedule.tasks
    late = np.flatnonzero(~schedule.applied)
    task = schedule.members[late[0], 0]
    mates = (tasks.group == tasks.group[task]) & (tasks.client != 0) & (tasks.row >= 0)
    wait = np.abs(schedule.time[tasks.row[mates]] - tasks.deadline[task]).max()
    claims.at_most(
        "a client slows down: its group is aggregated at T_max, distance, s (code)", 1e-6, float(wait)
    )
    taken = late[0] + 1 + int(np.flatnonzero(schedule.cleared[late[0] + 1 :])[0])
    stale = int(schedule.version[taken] - 1 - tasks.version[task])
    claims.close(
        "the late update's weight in the next group's aggregation, by α st(u)/m (code)",
        1.0,
        float(tasks.weight[task] / (ALPHA * (stale + 1) ** -0.5 / len(GOLDEN))),
        rel=1e-9,
    )
    after = tasks.begin[(tasks.client == 0) & (tasks.begin > schedule.time[late[0]])]
    claims.at_least("the client's later tasks, in 60 aggregations: no deadlock (code)", 5, len(after))


def staleness_rows(claims: Claims) -> None:
    """Item 7: the sign of the exponent."""
    ours, theirs = sc.polynomial(), sc.polynomial(as_released=True)
    claims.close("staleness (u + 1)^−a with a = 0.5, at u = 0", 1.0, ours(0), abs=1e-15)
    claims.close("the same at u = 3", 0.5, ours(3), abs=1e-15)
    claims.close("the same at u = 3 with the release's sign (code)", 2.0, theirs(3), abs=1e-15)


# ---------------------------------------------------------------------------------------------------------- training

Plans = dict[str, list[Schedule]]
Curves = dict[str, dict[str, dict[str, Any]]]


def plan(setting: Setting, distribution: str) -> Plans:
    """Every method's schedule of every seed; all methods see the same speeds."""
    made = [sc.SPEEDS[distribution](M, noise=NOISE, seed=seed) for seed in range(SEEDS)]
    length: dict[str, Any] = {"duration": setting.durations[distribution]}
    steps: dict[str, Any] = {"steps": setting.q_max} | length
    makers: dict[str, Callable[[Speeds], Schedule]] = {
        "FedCompass": functools.partial(
            sc.compass, q_min=setting.q_min, q_max=setting.q_max, alpha=ALPHA, **length
        ),
        "FedAvg": functools.partial(sc.synchronous, **steps),
        "FedAsync": functools.partial(sc.fedasync, alpha=ALPHA, **steps),
        "FedBuff": functools.partial(sc.fedbuff, buffer=3, alpha=ALPHA, **steps),
        "tiered": functools.partial(sc.tiered, tiers=3, alpha=ALPHA, **steps),
    }
    return {method: [makers[method](speeds) for speeds in made] for method in METHODS}


def idle_share(schedules: list[Schedule]) -> np.ndarray:
    """Mean over clients, of every seed `[seeds]`."""
    return np.array([schedule.idle().mean() for schedule in schedules])


def noise_rows(claims: Claims, schedules: dict[str, Plans]) -> None:
    """What noise leaves of it."""
    made = schedules["exponential"]
    ratio = idle_share(made["FedCompass"]).mean() / idle_share(made["FedAvg"]).mean()
    claims.at_most(
        "exponential speeds with noise: idle share, FedCompass by FedAvg (ours)", 0.25, float(ratio)
    )


def make_problem(dataset: Dataset, setting: Setting) -> Problem:
    """The clients' data and network."""
    return classification(
        M,
        dataset=dataset,
        model=mlp(hidden=(32,)),
        partition=dirichlet(alpha=PARTITION),
        batch_size=setting.batch_size,
        held_out=setting.held_out,
    )._replace(objective=unmeasured)


def train(problem: Problem, setting: Setting, schedules: dict[str, Plans]) -> Curves:
    """Accuracy of the server's model, `[seeds, times]`, of every method and distribution, in one compiled program."""
    curves: Curves = {}
    for name, plans in schedules.items():
        every = setting.durations[name] / EVALUATIONS
        curves[name] = {}
        for method, made in plans.items():
            # Seed by seed: schedules of several seeds in step would wait for one another.
            runs: list[Result] = [
                serve(each, problem, lr=setting.lr, seeds=[seed], eval_every=every, width=M)
                for seed, each in enumerate(made)
            ]
            curves[name][method] = {
                "time": [row["time"] for row in runs[0].rows],
                "accuracy": [[row["accuracy_mean"] for row in run.rows] for run in runs],
                "diverged": sum(len(run.diverged) for run in runs),
            }
    return curves


def time_to(curve: dict[str, Any], target: float) -> float:
    """When the mean over seeds reaches an accuracy, between two measurements; the whole run where it does not."""
    time, mean = np.array(curve["time"]), np.mean(curve["accuracy"], axis=0)
    above = np.flatnonzero(mean >= target)
    if len(above) == 0:
        return float(time[-1])
    k = above[0]
    if k == 0:
        return float(time[0])
    part = (target - mean[k - 1]) / (mean[k] - mean[k - 1])
    return float(time[k - 1] + part * (time[k] - time[k - 1]))


def at_the_end(curve: dict[str, Any]) -> np.ndarray:
    """Accuracy in per cent of every seed, mean of the last measurements."""
    return 100 * np.array(curve["accuracy"])[:, -LAST:].mean(axis=1)


def training_rows(claims: Claims, curves: Curves, setting: Setting) -> None:
    """Item 5 and the headline: simulated time to an accuracy, and accuracy at the end."""
    percent = f"{100 * setting.target:g} %"
    mine = curves["exponential"]
    for other, factor in (("FedAvg", 0.5), ("FedAsync", 1.0), ("FedBuff", 1.0), ("tiered", 1.0)):
        bound = factor * time_to(mine[other], setting.target)
        half = "half of " if factor < 1 else ""
        text = f"exponential speeds: seconds to {percent}, bounded by {half}{other}'s"
        claims.at_most(text, bound, time_to(mine["FedCompass"], setting.target))
    bound = time_to(curves["normal"]["FedAvg"], setting.target)
    text = f"normal speeds: seconds to {percent}, bounded by FedAvg's"
    claims.at_most(text, bound, time_to(curves["normal"]["FedCompass"], setting.target))
    for name in ("normal", "exponential"):
        for other in ASYNCHRONOUS:
            ahead = at_the_end(curves[name]["FedCompass"]) - at_the_end(curves[name][other])
            noise = float(ahead.std(ddof=1) / np.sqrt(SEEDS))
            text = f"{name} speeds: points ahead of {other} at the end, at least minus noise"
            claims.at_least(text, -noise, float(ahead.mean()))
    apart = at_the_end(curves["homogeneous"]["FedCompass"]) - at_the_end(curves["homogeneous"]["FedAvg"])
    claims.close(
        "homogeneous speeds: points ahead of FedAvg at the end (2: ours)", 0.0, apart.mean(), abs=2.0
    )
    broken = sum(curve["diverged"] for each in curves.values() for curve in each.values())
    claims.close("runs with a number that is not finite", 0, broken)


# ----------------------------------------------------------------------------------------------------------- picture


def draw(curves: Curves, golden: Schedule, setting: Setting, what: str) -> Figure:
    """Accuracy against simulated time for each distribution of the speeds; who does what on the golden speeds."""
    figure = Figure(figsize=(14, 8.4), layout="constrained", facecolor="white")
    mosaic: list[Any] = [list(curves), ["FedCompass", "FedCompass", "FedAvg"]]
    panels = figure.subplot_mosaic(mosaic, height_ratios=[1, 0.9])
    colours = dict(zip(METHODS, COLOURS, strict=False))
    for name, each in curves.items():
        axes = panels[name]
        for method in METHODS:
            table = 100 * np.array(each[method]["accuracy"])
            time, colour = each[method]["time"], colours[method]
            width = 2.4 if method == "FedCompass" else 1.5
            axes.plot(time, table.mean(axis=0), color=colour, lw=width, label=method)
            axes.fill_between(time, table.min(axis=0), table.max(axis=0), color=colour, alpha=0.15, lw=0)
        axes.axhline(100 * setting.target, color="#666666", lw=0.8, ls=":")
        note = f"{name} speeds; {what}, {M} clients, Dirichlet {PARTITION}"
        frame(axes, "simulated time, s", "accuracy of the server's model, held out", note)
        axes.yaxis.set_major_formatter(PercentFormatter(decimals=0))
        axes.set_ylim(100 * setting.target - 60, None)
        axes.set_xlim(0, None)
    title = f"mean of {SEEDS} seeds, band: min to max"
    first = panels[next(iter(curves))]
    first.legend(frameon=False, fontsize=9, loc="lower right", title=title, title_fontsize=8.5)
    note = "FedCompass on five clients, Q from 20 to 100; numbers are local steps"
    draw_schedule(panels["FedCompass"], golden, note)
    fedavg = sc.synchronous(GOLDEN, duration=golden.duration)
    draw_schedule(panels["FedAvg"], fedavg, "FedAvg on the same clients")
    figure.legend(handles=_legend(golden), loc="outside lower center", ncols=10, frameon=False, fontsize=9)
    return figure


def draw_schedule(axes: Axes, schedule: Schedule, note: str) -> None:
    """Tasks as bars, a colour a group, with their number of steps; waiting is hatched; lines are aggregations."""
    tasks, end = schedule.tasks, schedule.duration
    for k, client in enumerate(tasks.client):
        begin, done, group = float(tasks.begin[k]), min(float(tasks.end[k]), end), int(tasks.group[k])
        if done > begin:
            label = f"{tasks.steps[k]}" + (" …" if tasks.end[k] > end else "")
            ink = "#222222" if group < 0 or COLOURS[group] in LIGHT else "white"
            axes.barh(client, done - begin, 0.62, begin, color=_colour(group), edgecolor="white", lw=1)
            middle = (begin + done) / 2
            axes.text(middle, client, label, ha="center", va="center", fontsize=8, color=ink)
        until = float(schedule.time[tasks.row[k]]) if tasks.row[k] >= 0 else end
        if until > done:
            axes.barh(client, until - done, 0.62, done, **WAITING)
    for time in schedule.time[schedule.applied]:
        axes.axvline(time, **LINE)
    frame(axes, "simulated time, s", "client, and its seconds per step", note)
    axes.set_yticks(range(schedule.clients), [f"{i}: {GOLDEN[i]:g} s" for i in range(schedule.clients)])
    axes.invert_yaxis()
    axes.set_xlim(0, end)


WAITING: dict[str, Any] = {"facecolor": "white", "edgecolor": "#666666", "hatch": "//////", "lw": 0.5}
LINE: dict[str, Any] = {"color": "#222222", "lw": 0.8, "ls": ":", "zorder": 0}
LIGHT = ("#E69F00", "#56B4E9", "#CC79A7")


def _colour(group: int) -> str:
    return "#C4C4C4" if group < 0 else COLOURS[group % len(COLOURS)]


def _legend(schedule: Schedule) -> list[Any]:
    """What colours, hatches and lines mean, for the groups that began to train before the end."""
    groups = sorted(set(schedule.tasks.group[schedule.tasks.begin < schedule.duration].tolist()))
    names = {group: "no group" if group < 0 else f"group {group}" for group in groups}
    handles: list[Any] = [Patch(color=_colour(group), label=name) for group, name in names.items()]
    return [*handles, Patch(**WAITING, label="waiting"), Line2D([], [], **LINE, label="aggregation")]
