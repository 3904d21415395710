"""Schedules of a server and its clients: the golden one, what must hold of all, and clear refusals."""

import functools
import inspect
import re

import numpy as np
import pytest
import references_served as plain

from dlax import schedulers as sc

GOLDEN = (1.03, 1.21, 1.97, 3.11, 5.23)
# time, group, {client: staleness}; and time, client, group, Q, T_a: of the released logic, worked out beside dlax
AGGREGATIONS = [
    (103.0, -1, {0: 0}), (121.0, -1, {1: 1}), (197.0, -1, {2: 2}), (206.0, 0, {0: 2, 1: 1}),
    (309.0, 2, {0: 0, 1: 0}), (311.0, -1, {3: 5}), (358.54, 1, {0: 1, 1: 1, 2: 3}), (461.54, 4, {0: 0, 1: 0}),
    (523.0, -1, {4: 8}), (541.14, 3, {0: 1, 1: 1, 2: 2, 3: 3}), (644.14, 6, {0: 0, 1: 0, 2: 0}),
]  # fmt: skip
ASSIGNMENTS = [
    (103, 0, 0, 100, 206), (121, 1, 0, 70, 206), (197, 2, 1, 82, 358.54), (206, 0, 2, 100, 309),
    (206, 1, 2, 85, 309), (309, 0, 1, 48, 358.54), (309, 1, 1, 40, 358.54), (311, 3, 3, 74, 541.14),
    (358.54, 0, 4, 100, 461.54), (358.54, 1, 4, 85, 461.54), (358.54, 2, 3, 92, 541.14),
    (461.54, 0, 3, 77, 541.14), (461.54, 1, 3, 65, 541.14), (523, 4, 5, 45, 758.35),
    (541.14, 0, 6, 100, 644.14), (541.14, 1, 6, 85, 644.14), (541.14, 2, 6, 52, 644.14),
    (541.14, 3, 5, 69, 758.35),
]  # fmt: skip


def by_row(schedule):
    """(time, group, {client: staleness}) of every row."""
    table = schedule.table()
    return [
        (part.time.iloc[0], part.group.iloc[0], dict(zip(part.client, part.staleness, strict=True)))
        for _, part in table.groupby("row")
    ]


def test_the_golden_schedule():
    schedule = sc.compass(GOLDEN, aggregations=11)
    got = by_row(schedule)
    assert [row[1:] for row in got] == [row[1:] for row in AGGREGATIONS]
    np.testing.assert_allclose([row[0] for row in got], [row[0] for row in AGGREGATIONS], rtol=0, atol=1e-6)
    told = schedule.assignments()[["begin", "client", "group", "steps", "due"]].to_numpy()
    np.testing.assert_allclose(told[5 : 5 + len(ASSIGNMENTS)], ASSIGNMENTS, rtol=0, atol=1e-6)
    assert (told[:5, 2] == -1).all() and (told[:5, 3] == 100).all()
    assert schedule.idle().max() < 0.0045 and schedule.applied.all()


@pytest.mark.parametrize("scale", [0.25, 1e-3, 3600.0])
def test_a_common_scale_of_all_speeds_scales_the_times_and_nothing_else(scale):
    one = sc.compass(GOLDEN, aggregations=60)
    other = sc.compass(scale * np.array(GOLDEN), aggregations=60)
    np.testing.assert_allclose(other.time, scale * one.time, rtol=1e-9)
    for name in ("client", "number", "steps", "version", "group", "row", "staleness", "weight"):
        np.testing.assert_array_equal(getattr(other.tasks, name), getattr(one.tasks, name))
    np.testing.assert_allclose(other.idle(), one.idle(), atol=1e-9)


@pytest.mark.parametrize("seconds", [1.0, 0.1, 1 / 3])
def test_equal_speeds_make_one_group_of_all(seconds):
    m = 7
    schedule = sc.compass(np.full(m, seconds), aggregations=m + 40, alpha=0.9)
    assert (schedule.group[:m] == -1).all() and (np.sum(schedule.members >= 0, axis=1)[m:] == m).all()
    assert (schedule.tasks.steps == 100).all() and schedule.applied.all()
    later = schedule.tasks.row > m
    assert (schedule.tasks.staleness[later] == 0).all()
    np.testing.assert_allclose(schedule.tasks.weight[later], 0.9 / m, rtol=1e-15)
    np.testing.assert_allclose(np.diff(schedule.time[m:]), 100 * seconds)


def test_one_slow_client_leaves_the_others_idle_under_fedavg_and_not_under_fedcompass():
    speeds = [1, 1, 1, 1, 10]
    idle = sc.synchronous(speeds, duration=10_000).idle()
    np.testing.assert_allclose(idle, [0.9] * 4 + [0.0], atol=1e-12)
    assert sc.compass(speeds, duration=10_000).idle().mean() < 0.02


def test_a_client_that_slows_down_is_left_behind_and_its_update_is_not_lost():
    """Item 6: the group aggregates at T_max, the late update counts in the next group's aggregation."""
    speeds = sc.slowed(GOLDEN, 0, factor=5.0, first=6)
    schedule = sc.compass(speeds, aggregations=40)
    tasks = schedule.tasks
    late = np.flatnonzero(~schedule.applied)
    assert len(late) >= 1
    task = schedule.members[late[0], 0]
    assert tasks.client[task] == 0 and tasks.number[task] >= 6 and tasks.end[task] > tasks.deadline[task]
    mates = (tasks.group == tasks.group[task]) & (tasks.client != 0) & (tasks.row >= 0)
    np.testing.assert_allclose(schedule.time[tasks.row[mates]], tasks.deadline[task])
    applied = late[0] + 1 + np.flatnonzero(schedule.cleared[late[0] + 1 :])[0]
    assert schedule.group[applied] >= 0
    u = schedule.version[applied] - 1 - tasks.version[task]
    assert tasks.staleness[task] == u and tasks.weight[task] == pytest.approx(0.9 / 5 / np.sqrt(u + 1))
    after = tasks.begin[tasks.client == 0]
    assert schedule.aggregations == 40 and (np.diff(after) > 0).all() and len(after) > 10


def test_a_group_that_nobody_reached_stays_and_goes_on():
    schedule = sc.compass(sc.slowed([1.0], 0, factor=5.0, first=1), aggregations=5)
    assert list(schedule.applied) == [True, False, True, True, True, True]
    table = schedule.table()
    assert table.time[1] == 100 + 500  # late: T_max was 250
    # μ = 0.9: S = 0.1 + 4.5 = 4.6, whose T_max covers 5 at λ = 1.5
    assert schedule.tasks.due[2] == pytest.approx(600 + 100 * 4.6)
    assert list(schedule.tasks.staleness[:4]) == [0, 0, 0, 0]


def random_speeds(seed, m=6):
    made = sc.exponential(m, noise=0.3, seed=seed)
    return sc.slowed(made, 1, factor=4.0, first=5)


@pytest.mark.parametrize("seed", range(8))
def test_schedules_are_those_of_the_plain_server(seed):
    speeds, m = random_speeds(seed), 6
    seconds = [functools.partial(speeds.seconds, i) for i in range(m)]
    options = {"q_min": 5, "q_max": 30, "lam": 1.2 + 0.1 * (seed % 3), "mu": 0.9}

    def server():
        return plain.Server(np.zeros(1), lambda i, v: 0 * v, seconds, 0.0)

    compass, fedbuff, rounds = server(), server(), server()
    plain.run_compass(compass, aggregations=80, **options)
    plain.run_fedbuff(fedbuff, 10, 3, 40)
    plain.run_rounds(rounds, 10, 12)
    made = [
        (compass, sc.compass(speeds, aggregations=80, **options)),
        (fedbuff, sc.fedbuff(speeds, steps=10, buffer=3, aggregations=40)),
        (rounds, sc.synchronous(speeds, steps=10, aggregations=12)),
    ]
    for reference, schedule in made:
        np.testing.assert_allclose(schedule.time[schedule.applied], [row[0] for row in reference.log])
        held, rows = [], iter(range(len(schedule.time)))
        for _, seen in reference.log:
            row = next(rows)
            while not schedule.applied[row]:
                held += list(schedule.members[row][schedule.members[row] >= 0])
                row = next(rows)
            members = list(schedule.members[row][schedule.members[row] >= 0])
            if schedule.cleared[row]:
                members, held = members + held, []
            got = sorted(zip(schedule.tasks.client[members], schedule.tasks.staleness[members], strict=True))
            assert got == sorted((client, u) for client, each in seen.items() for u in each)
    assert (~made[0][1].applied).any()  # somebody came late


@pytest.mark.parametrize("seed", range(4))
def test_of_constant_speeds_nobody_is_late_and_waits_less_than_a_step_of_the_slowest(seed):
    speeds = sc.exponential(9, seed=seed)
    schedule = sc.compass(speeds, aggregations=150)
    assert schedule.applied.all()
    table = schedule.table()
    table["wait"] = table.time - table.end
    table["S"] = [speeds.seconds(client, 0) for client in table.client]
    for _, part in table[table.group >= 0].groupby("row"):
        assert part.wait.max() < part.S.max() + 1e-9
    # every member of a group is in one aggregation
    assert table[table.group >= 0].groupby("group").row.nunique().eq(1).all()


@pytest.mark.parametrize("name", sc.SCHEDULERS)
def test_whatever_is_handed_in_counts_once_and_starts_from_the_newest_model(name):
    schedule = sc.SCHEDULERS[name](random_speeds(3), duration=900.0, alpha=0.7)
    tasks, rows = schedule.tasks, len(schedule.time)
    used = schedule.members[schedule.members >= 0]
    assert len(set(used)) == len(used) == (tasks.row >= 0).sum()
    assert (np.diff(schedule.time) >= 0).all() and schedule.time[-1] <= 900.0 == schedule.duration
    np.testing.assert_array_equal(schedule.version, np.cumsum(schedule.applied))
    for client in range(6):
        mine = np.flatnonzero(tasks.client == client)
        np.testing.assert_array_equal(tasks.number[mine], np.arange(len(mine)))
        handed = mine[tasks.row[mine] >= 0]
        np.testing.assert_array_equal(tasks.begin[mine[1:]], schedule.time[tasks.row[handed]])
        np.testing.assert_array_equal(tasks.version[mine[1:]], schedule.version[tasks.row[handed]])
        for row in range(rows):
            assert (tasks.client[schedule.members[row][schedule.members[row] >= 0]] == client).sum() <= 1
    stale = np.where(tasks.staleness < 0, 0, tasks.staleness)
    assert (tasks.end[tasks.row >= 0] <= schedule.time[tasks.row[tasks.row >= 0]] * (1 + 1e-12)).all()
    expected = 0.7 / 6 * (1.0 if name == "synchronous" else 1 / np.sqrt(stale + 1))
    np.testing.assert_allclose(tasks.weight, np.where(tasks.staleness >= 0, expected, 0.0))
    assert (schedule.idle() >= 0).all() and (schedule.idle() < 1).all()
    longer = sc.SCHEDULERS[name](random_speeds(3), duration=1500.0, alpha=0.7)
    np.testing.assert_array_equal(longer.time[:rows], schedule.time)


def test_tiers_are_between_fedavg_and_fedasync():
    speeds = random_speeds(0)
    for tiers, other in ((1, sc.synchronous), (6, sc.fedasync)):
        mine, theirs = (
            make(speeds, duration=2000.0, alpha=0.9)
            for make in (functools.partial(sc.tiered, tiers=tiers), other)
        )
        np.testing.assert_array_equal(mine.time, theirs.time)
        np.testing.assert_allclose(sorted(mine.table().weight), sorted(theirs.table().weight))
    three = sc.tiered(speeds, tiers=3, duration=2000.0)
    order = np.argsort([speeds.seconds(i, 0) for i in range(6)])
    companies = {frozenset(part) for part in order.reshape(3, 2)}
    assert {frozenset(part.client) for _, part in three.table().groupby("row")} == companies


def test_fedasync_is_fedbuff_with_a_buffer_of_one():
    one, other = sc.fedasync(GOLDEN, duration=3000.0), sc.fedbuff(GOLDEN, buffer=1, duration=3000.0)
    for a, b in zip(one.tasks, other.tasks, strict=True):
        np.testing.assert_array_equal(a, b)


def test_staleness():
    assert [sc.polynomial()(u) for u in (0, 3)] == [1.0, 0.5]
    assert [sc.polynomial(as_released=True)(u) for u in (0, 3)] == [1.0, 2.0]
    assert sc.polynomial(a=1)(4) == pytest.approx(0.2)
    assert [sc.hinge(a=2, b=1)(u) for u in (0, 1, 2, 3)] == pytest.approx([1, 1, 1 / 3, 1 / 5])
    assert sc.constant()(9) == 1.0
    by_name = sc.fedasync(GOLDEN, duration=900.0, staleness="hinge")
    np.testing.assert_array_equal(
        by_name.tasks.weight, sc.fedasync(GOLDEN, duration=900.0, staleness=sc.hinge()).tasks.weight
    )


def test_speeds_answer_the_same_whenever_they_are_asked():
    given = functools.partial(sc.listed, seconds=[1.0, 2.0, 0.5, 4.0])
    for make in [*(sc.SPEEDS[name] for name in sc.SPEEDS if name != "listed"), given]:
        made = make(4, noise=0.05, seed=2)
        drawn = np.array([[made.seconds(i, k) for k in range(400)] for i in range(4)])
        assert drawn[1, 7] == made.seconds(1, 7) == make(4, noise=0.05, seed=2).seconds(1, 7)
        assert drawn[1, 7] != make(4, noise=0.05, seed=3).seconds(1, 7)
        still = np.array([make(4, seed=2).seconds(i, 0) for i in range(4)])
        np.testing.assert_allclose(drawn.mean(axis=1), still, rtol=0.02)
        np.testing.assert_allclose(np.log(drawn).std(axis=1), 0.05, rtol=0.15)
    many = np.array([sc.normal(4000).seconds(i, 0) for i in range(4000)])
    assert many.min() == 0.3 and abs(many.mean() - 1) < 0.02
    many = np.array([sc.exponential(4000).seconds(i, 0) for i in range(4000)])
    assert many.min() > 0.2 and abs(many.mean() - 1.2) < 0.06


def test_tables_of_tasks_give_a_task_its_column():
    schedule = sc.fedasync([[1.0, 2.0]], steps=10, duration=100.0)
    np.testing.assert_array_equal(schedule.time, [10, 30, 50, 70, 90])
    assert schedule.idle() == [0.0]
    for empty in (sc.fedasync([1.0], duration=0.0), sc.compass([1.0, 2.0], aggregations=0)):
        assert empty.duration == 0 and (empty.idle() == 0).all() and len(empty.table()) == 0
    nothing = sc.fedasync([1.0], steps=10, duration=9.0)
    assert nothing.aggregations == 0 and len(nothing.table()) == 0 and len(nothing.assignments()) == 1


REFUSED = {
    "q_min must be 1 to q_max, got q_min 3 and q_max 2": lambda: sc.compass([1.0], q_min=3, q_max=2, duration=1.0),
    "q_min must be 1 to q_max, got q_min 0": lambda: sc.compass([1.0], q_min=0, duration=1.0),
    "lam must be at least 1, got 0.9": lambda: sc.compass([1.0], lam=0.9, duration=1.0),
    r"mu must be in \(0, 1\], got 0": lambda: sc.compass([1.0], mu=0.0, duration=1.0),
    r"fedasync: seconds must be positive, got \[1.0, 0.0\]": lambda: sc.fedasync([1.0, 0.0], duration=1.0),
    "compass: seconds must be positive, got -1.0 for client 0": lambda: sc.compass(
        sc.Speeds(1, lambda i, k: -1.0), duration=1.0
    ),
    r"seconds must be \[m\], \[m, tasks\] or Speeds": lambda: sc.fedasync(3.0, duration=1.0),
    "staleness must be one of constant, hinge, polynomial, got 'linear'": lambda: sc.fedbuff(
        [1.0], staleness="linear", duration=1.0
    ),
    "compass: clients must be at least 1, got 0": lambda: sc.compass(
        sc.Speeds(0, lambda i, k: 1.0), duration=1.0
    ),
    "give the duration": lambda: sc.synchronous([1.0]),
    "duration must be at least 0": lambda: sc.synchronous([1.0], duration=-1.0),
    "aggregations must be at least 0": lambda: sc.synchronous([1.0], aggregations=-1),
    "alpha must be positive": lambda: sc.synchronous([1.0], alpha=0.0, duration=1.0),
    "shares must be 2 numbers": lambda: sc.synchronous([1.0, 1.0], shares=[1.0], duration=1.0),
    "synchronous: steps must be at least 1": lambda: sc.synchronous([1.0], steps=0, duration=1.0),
    "synchronous: steps must be a whole number, got 2.5": lambda: sc.synchronous([1.0], steps=2.5, duration=1.0),
    "buffer must be at least 1": lambda: sc.fedbuff([1.0], buffer=0, duration=1.0),
    "tiers must be 1 to 2": lambda: sc.tiered([1.0, 1.0], tiers=3, duration=1.0),
    "polynomial: a must be at least 0": lambda: sc.polynomial(a=-1.0),
    "hinge: b must be at least 0": lambda: sc.hinge(b=-1.0),
    "exponential: seconds must be positive": lambda: sc.exponential(3, least=0.0),
    "homogeneous: m must be at least 1": lambda: sc.homogeneous(0),
    "normal: noise must be at least 0": lambda: sc.normal(2, noise=-0.1),
    "slowed: factor must be positive": lambda: sc.slowed([1.0], 0, factor=0.0, first=0),
    "slowed: client must be one of 1": lambda: sc.slowed([1.0], 1, factor=2.0, first=0),
}  # fmt: skip


@pytest.mark.parametrize("message", REFUSED)
def test_refusals(message):
    with pytest.raises(ValueError, match=message):
        REFUSED[message]()


FACTORIES = [*sc.SCHEDULERS.items(), *sc.STALENESS.items(), *sc.SPEEDS.items()]


@pytest.mark.parametrize(("name", "factory"), FACTORIES, ids=[name for name, _ in FACTORIES])
def test_every_factory_documents_all_its_options(name, factory):
    text = inspect.getdoc(factory)
    documented = re.findall(r"^  (\w+):", text.partition("Args:")[2].partition("\n\n")[0], re.M)
    assert documented == list(inspect.signature(factory).parameters) and factory.__name__ == name
