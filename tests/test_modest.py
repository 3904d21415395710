"""MoDeST's protocol against messages between objects; the shared order; views; what is refused; the training."""

import numpy as np
import pytest
import references
import references_modest

from dlax import sampling
from dlax.algorithms import fedavg
from dlax.modest import View, candidates, join, leave, merge, modest, order, sample, search, views
from dlax.problems import least_squares, quadratic
from dlax.schedulers import exponential
from dlax.simulate import simulate
from dlax.simulate.streams import stream

N, S, ROUNDS = 24, 4, 30


def masks(rows, nodes, value, n=N, rounds=ROUNDS):
    made = np.full((rounds, n), not value)
    made[np.ix_(rows, nodes)] = value
    return made


DEAD = [0, 1, 2, 3, 5, 8, 9, 11, 12, 15, 17, 19, 20, 22]
AGAIN = [5, 6, 8]
# All have random latencies and times to compute, so that no two events are at the same time.
CASES = {
    "nothing fails": {},
    "two aggregators": {"aggregators": 2},
    "a server": {"server": 7},
    "most die": {"responsive": masks(range(12, 30), DEAD, False), "aggregators": 3},
    "all aggregators die": {"responsive": masks(range(9, 30), range(20), False)},
    "some come back": {"responsive": masks(range(10, 14), DEAD, False), "aggregators": 6},
    "a straggler": {"success": 0.75, "slow": 3},
    "trainers fail, and their aggregator tires": {"fails": masks(range(5, 12), [1, 4], True), "patience": 40.0},
    "too few models": {"fails": masks(range(8, 30), range(22), True), "patience": 40.0},
    "slow answers": {"timeout": 0.8},
    "nodes join and leave": {"joins": {5: [20, 21], 9: [22, 23]}, "leaves": {7: [2, 3], 12: [21]}, "aggregators": 2},
    "live nodes fall out": {"window": 8, "allow_eviction": True},
    "and join again": {"window": 9, "allow_eviction": True, "joins": {20: AGAIN}, "members": np.ones(N, bool)},
    "messages take time": {"model_bytes": 1e4, "bandwidth": np.linspace(2e3, 9e3, N), "entry_bytes": 0.0},
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_protocol_is_the_loop_over_messages(name):
    options = dict(CASES[name])
    rng = np.random.default_rng(3)
    compute, latency = rng.uniform(1, 3, N), rng.uniform(0.1, 0.5, (N, N))
    if "slow" in options:
        compute[options.pop("slow")] *= 100
    record = modest(N, rounds=ROUNDS, size=S, compute=compute, latency=latency, **options)
    options.pop("allow_eviction", None)
    options.pop("entry_bytes", None)
    if options.get("members") is not None:
        options["members"] = list(range(N))
    done, log, nodes = references_modest.protocol(
        N, ROUNDS, S, compute=compute, latency=latency,
        **({"bandwidth": np.ones(N), "window": 60} | options),
    )  # fmt: skip
    assert record.finished == len(done)
    for k, (time, aggregator, counted) in enumerate(done):
        assert record.end[k] == pytest.approx(time, rel=1e-12)
        assert record.aggregator[k] == aggregator
        assert set(np.flatnonzero(record.counted[k]).tolist()) == counted
    for k, entry in enumerate(log):
        assert set(np.flatnonzero(record.trained[k]).tolist()) == entry["trained"]
        assert record.asked[k].tolist() == entry["asked"] and record.searches[k].tolist() == entry["searches"]
        assert record.unanswered[k].sum() == sum(entry["silent"]) and record.transfers[k] == entry["sent"]
    for i, node in enumerate(nodes):
        for j, (last, counter, state) in node.view.items():
            assert record.views.last_active[i, j] == last
            assert record.views.counter[i, j] == counter
            assert record.views.joined[i, j] == (state == "JOIN")


def test_cases_are_what_they_are_called():
    """Each of them does something: else the comparison above compared runs without failures."""

    def made(name):
        return modest(N, rounds=ROUNDS, size=S, **{k: v for k, v in CASES[name].items() if k != "slow"})

    assert made("most die").finished == ROUNDS and made("most die").unanswered.sum() > 50
    assert made("all aggregators die").finished < 12
    tired = made("trainers fail, and their aggregator tires")
    assert tired.finished == ROUNDS and (tired.counted.sum(axis=1) == 3).any() and tired.end[-1] > 40 + ROUNDS
    assert made("too few models").finished < ROUNDS
    assert made("live nodes fall out").evicted[-1] > 0
    assert made("and join again").trained[20:, AGAIN].any(axis=0).all()
    before = modest(N, rounds=20, size=S, window=9, allow_eviction=True)
    view = View(*(part[before.aggregator[-1]] for part in before.views))
    assert not candidates(view, 20, 9)[AGAIN].any()
    joined = made("nodes join and leave")
    assert joined.trained[:, 20:].any(axis=0).all() and not joined.trained[16:, [2, 3, 21]].any()
    assert (made("two aggregators").transfers == [16 - 8 * (k == 0) for k in range(ROUNDS)]).all()


def test_two_models_of_one_round_have_no_single_cohort():
    rng = np.random.default_rng(0)
    options = {"compute": rng.uniform(1, 3, N), "latency": rng.uniform(0, 1, (N, N)), "success": 0.5}
    record = modest(N, rounds=ROUNDS, size=S, aggregators=2, **options)
    assert record.split.any()
    with pytest.raises(
        ValueError, match=r"models of different aggregators were averaged; train with aggregators=1"
    ):
        record.cohort()
    assert not modest(N, rounds=ROUNDS, size=S, **options).split.any()


# ----------------------------------------------------------------------------------------------- order and search

BY_MD5 = np.array([sorted(range(50), key=lambda j, k=k: references_modest.md5(j, k)) for k in range(400)])
ORDERS = {"hash": order(50, 400), "another key": order(50, 400, key=7), "md5": BY_MD5}


@pytest.mark.parametrize("which", ORDERS)
def test_orders_are_even_and_samples_nearly_agree(which):
    """What the protocol needs of its order, MD5's and ours alike."""
    ranking, rng = ORDERS[which], np.random.default_rng(1)
    for place in (0, 4, 49):
        counts = np.bincount(ranking[:, place], minlength=50)
        assert ((counts - 8) ** 2 / 8).sum() < 95  # χ² of 49 degrees: p = 10⁻⁴
    for row in ranking:
        mine = rng.random(50) < 0.7
        theirs = mine.copy()
        changed = rng.choice(50, rng.integers(0, 12), replace=False)
        theirs[changed] = ~theirs[changed]
        samples = [set(sample(row, view, 5).tolist()) for view in (mine, theirs)]
        assert len(samples[0] - samples[1]) <= len(changed)


def test_the_order_is_the_one_of_the_hashed_cohorts():
    expected = [sorted(range(N), key=lambda j, k=k: (references_modest.mix(j, k), j)) for k in range(9)]
    np.testing.assert_array_equal(order(N, 9), expected)
    assert not np.array_equal(order(N, 9), order(N, 9, key=1))


def test_a_search_by_hand():
    """Order 4, 1, 3, 0, 2; 1 and 3 are dead: two waves; with 0 dead too the order ends after a third time-out."""
    options = {"round_trip": np.array([0.2, 0.3, 0.4, 0.5, 0.1]), "timeout": 5.0}
    ranking, alive = np.array([4, 1, 3, 0, 2]), np.array([True, False, True, False, True])
    found = search(ranking, np.ones(5, bool), alive, 3, **options)
    assert (found.chosen.tolist(), found.asked, found.seconds) == ([4, 0, 2], 5, 5.4)
    found = search(ranking, np.ones(5, bool), alive & (np.arange(5) != 0), 2, **options)
    assert (found.chosen.tolist(), found.asked, found.seconds) == ([4, 2], 5, 15.4)
    found = search(ranking, np.arange(5) != 2, alive, 3, **options)
    assert (found.chosen.tolist(), found.asked, found.seconds) == ([4, 0], 4, 5.2)


# --------------------------------------------------------------------------------------------------------- views


def test_views_merge_by_counter_and_never_lose_activity():
    rng = np.random.default_rng(2)
    counter = rng.integers(0, 3, (3, 6))
    mine, theirs, third = (View(rng.integers(-1, 9, 6), row, row % 2 == 1) for row in counter)
    for one, other in ((merge(mine, theirs), merge(theirs, mine)), (merge(mine, mine), mine)):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    left, right = merge(merge(mine, theirs), third), merge(mine, merge(theirs, third))
    assert all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))
    # The authors' code would set 1's activity to its counter, 2, and a window of 10 rounds would miss it in round 50.
    old = View(np.array([45, 45]), np.array([1, 1]), np.array([True, True]))
    again = merge(old, View(np.array([45, 44]), np.array([1, 2]), np.array([True, True])))
    assert again.last_active.tolist() == [45, 45] and candidates(again, 50, 10).all()


def test_who_joins_and_leaves_says_so_by_its_counter():
    everyone = views(np.array([True, True, False]))
    own = View(*(part[2] for part in everyone))
    assert candidates(own, 3, 5).tolist() == [True, True, False]
    own = join(own, 2, 3)
    assert (own.counter[2], own.joined[2], own.last_active[2]) == (1, True, 3)
    gone = leave(own, 2, 4)
    assert (gone.counter[2], gone.joined[2]) == (2, False) and own.joined[2]
    assert candidates(merge(gone, own), 5, 5).tolist() == [
        False,
        False,
        False,
    ]  # the others were never active


# ------------------------------------------------------------------------------------------------------ training


def test_without_failures_it_is_fedavg_bit_for_bit():
    """Aggregators=1, success=1: the library's FedAvg on the cohorts that the hash draws."""
    problem = least_squares(N, dim=5, samples=12, batch_size=3)
    record = modest(N, rounds=12, size=S, compute=exponential(N), latency=0.1)
    options = {"rounds": 12, "eval_every": 4, "seeds": 2}
    mine = simulate(fedavg(0.05), problem, cohort=record.cohort(), **options)
    theirs = simulate(fedavg(0.05), problem, cohort=sampling.hashed(size=S), **options)
    assert np.array_equal(mine.params["x"], theirs.params["x"])
    assert [row["objective"] for row in mine.rows] == [row["objective"] for row in theirs.rows]


def test_who_is_not_counted_is_missing_from_the_mean():
    n, rounds, k, lr = 12, 7, 2, 0.05
    problem = quadratic(n, dim=3)
    gradient = references.quadratic_gradient(problem)
    rng = np.random.default_rng(0)
    clients = np.array([rng.permutation(n)[:4] for _ in range(rounds)])
    present = rng.random((rounds, 4)) < 0.6
    present[2] = False
    import jax

    with jax.enable_x64(True):
        x = np.asarray(problem.init(stream(jax.random.key(0), "start"))["x"])
    for t in range(rounds):
        ends = []
        for i in clients[t][present[t]]:
            v = x
            for step in range(k):
                v = v - lr * gradient(i, v, t, step)
            ends.append(v)
        x = np.mean(ends, axis=0) if ends else x
    result = simulate(
        fedavg(lr, local_steps=k), problem, cohort=sampling.scheduled(clients, present), rounds=rounds,
        eval_every=rounds, precision="float64",
    )  # fmt: skip
    np.testing.assert_allclose(result.params["x"][0, 0], x, atol=1e-12)
    assert result.rows[-1]["bits_total"] == present.sum() * 2 * 3 * 64
    other = sampling.scheduled(clients[:, ::-1].copy(), present)
    again = simulate(
        fedavg(lr, local_steps=k),
        problem,
        cohort=other,
        rounds=rounds,
        eval_every=rounds,
        precision="float64",
    )
    assert again.params["x"].shape == result.params["x"].shape and not np.allclose(again.params["x"], x)


# ------------------------------------------------------------------------------------------------------ mistakes

MISTAKES = [
    ({"size": 99}, "modest: size must be in 1 ... 24, got 99"),
    ({"aggregators": 0}, "modest: aggregators must be in 1 ... 24, got 0"),
    ({"success": 0.0}, "modest: success must be in"),
    (
        {"window": 50},
        "window must be at least 10 n/s = 60 rounds, or live nodes fall out of all views, got 50",
    ),
    ({"window": 0, "allow_eviction": True}, "window must be at least"),
    ({"server": 24}, "modest: server must be in 0 ... 23, got 24"),
    ({"compute": np.ones(3)}, "compute must be of 24 nodes, got 3"),
    ({"compute": np.zeros(N)}, "seconds must be positive"),
    ({"latency": np.ones(N)}, "latency must be a number or"),
    ({"bandwidth": 0.0}, "bandwidth must be a number or"),
    ({"responsive": np.ones((3, N), bool)}, "responsive must be bool"),
    ({"fails": np.ones((30, N))}, "fails must be bool"),
    ({"members": np.ones(3, bool)}, "members must be bool"),
    ({"joins": {40: [1]}}, "joins must name rounds below 30 and nodes below 24"),
    ({"leaves": {4: [24]}}, "leaves must name rounds below 30 and nodes below 24"),
]


@pytest.mark.parametrize(("change", "message"), MISTAKES)
def test_mistakes(change, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        modest(N, **({"rounds": ROUNDS, "size": S} | change))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((0, 3), int),), "clients must be whole numbers"),
        ((np.ones((2, 2)),), "clients must be whole numbers"),
        ((np.array([[1, 1]]),), "must be all different"),
        ((np.array([[1, 2]]), np.ones(2, bool)), "present must be bool"),
    ],
)
def test_tables_that_are_none(arguments, message):
    with pytest.raises(ValueError, match=message):
        sampling.scheduled(*arguments)


def test_tables_that_do_not_fit_the_run():
    problem = quadratic(4, dim=2)
    with pytest.raises(ValueError, match="rounds must be at most the 2 of the table, got 3"):
        simulate(fedavg(0.1), problem, cohort=sampling.scheduled(np.array([[0, 1], [2, 3]])), rounds=3)
    with pytest.raises(ValueError, match=r"clients must be in 0 ... 3, got up to 4"):
        simulate(fedavg(0.1), problem, cohort=sampling.scheduled(np.array([[0, 4]])), rounds=1)


def test_no_rounds_are_no_rounds():
    record = modest(N, rounds=0, size=S)
    assert record.finished == 0 and len(record.table()) == 0
