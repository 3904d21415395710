import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlax.data import (
    PARTITIONS,
    by_group,
    check_partition,
    class_windows,
    dirichlet,
    empty_nodes,
    iid,
    label_skew,
    partition_table,
    quantity_skew,
    shards,
    split,
)

BALANCED = np.repeat(np.arange(10), 60)  # sorted by class, as a careless file is


def labels_of(N, classes, seed):
    return np.random.default_rng(seed).integers(0, classes, N)


def sizes(parts):
    return np.array([len(part) for part in parts])


ANY = {
    "iid": iid(),
    "shards": shards(shards_per_node=3),
    "dirichlet": dirichlet(alpha=0.3, min_samples=0),
    "label_skew": label_skew(labels_per_node=4),
    "class_windows": class_windows(width=4, whole=1),
    "quantity_skew": quantity_skew(alpha=0.2),
    "by_group": by_group(),
    "empty_nodes": empty_nodes(fraction=0.4, inner=shards(shards_per_node=1)),
}


def test_every_partition_has_an_invariant_test():
    assert set(ANY) == set(PARTITIONS)


@pytest.mark.parametrize("name", ANY)
@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 12), N=st.integers(80, 200), seed=st.integers(0, 2**40))
def test_disjoint_covering_seeded(name, n, N, seed):
    labels = np.random.default_rng(seed).permutation(N) % 4
    groups = np.arange(N) % 15
    parts = split(labels, groups, n, ANY[name], seed)
    again = split(labels, groups, n, ANY[name], seed)
    assert len(parts) == n
    assert (np.sort(np.concatenate(parts)) == np.arange(N)).all()
    for part, other in zip(parts, again, strict=True):
        assert part.dtype == np.int64
        assert (np.diff(part) > 0).all()
        np.testing.assert_array_equal(part, other)
    assert partition_table(parts, labels, 4).sum() == N


@pytest.mark.parametrize("name", ANY)
def test_another_seed_gives_another_partition(name):
    groups = np.arange(600) % 15
    first, second = (split(BALANCED % 4, groups, 5, ANY[name], seed) for seed in (0, 1))
    assert any(len(a) != len(b) or (a != b).any() for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("name", PARTITIONS)
def test_one_and_two_nodes(name, n):
    options = {"label_skew": {"labels_per_node": 10}, "class_windows": {"width": 10}}.get(name, {})
    parts = split(BALANCED, BALANCED, n, PARTITIONS[name](**options), 3)
    assert sizes(parts).sum() == 600


def test_iid_sizes_differ_by_at_most_one():
    counts = sizes(split(BALANCED, None, 7, iid(), 0))
    assert counts.max() - counts.min() == 1


def test_shards_nodes_see_few_classes():
    # 20 shards of 30 rows, classes of 60: no shard straddles two classes.
    table = partition_table(split(BALANCED, None, 10, shards(shards_per_node=2), 0), BALANCED, 10)
    assert (table.sum(1) == 60).all()
    assert ((table > 0).sum(1) <= 2).all()


@pytest.mark.parametrize("alpha", [0.1, 1.0, 10.0])
def test_dirichlet_concentration(alpha):
    # E Σᵢ pᵢ² = (α + 1) / (nα + 1) for the symmetric Dirichlet over n nodes.
    n, classes = 8, 2_000
    labels = np.repeat(np.arange(classes), 100)
    table = partition_table(split(labels, None, n, dirichlet(alpha=alpha), 0), labels, classes)
    share = table / 100
    measured = (share**2).sum(0)
    expected = (alpha + 1) / (n * alpha + 1)
    assert abs(measured.mean() - expected) < 5 * measured.std() / classes**0.5
    # No node is favoured, not even the last one, which takes the rounding.
    assert (abs(share.mean(1) - 1 / n) < 5 * share.std() / classes**0.5).all()


def test_dirichlet_extremes():
    even = partition_table(split(BALANCED, None, 6, dirichlet(alpha=1e6), 0), BALANCED, 10)
    assert abs(even - 10).max() <= 1
    skew = partition_table(split(BALANCED, None, 4, dirichlet(alpha=1e-3, min_samples=0), 0), BALANCED, 10)
    assert ((skew == 60).sum(0) == 1).mean() > 0.8  # nearly every class is whole on one node
    for alpha in (1e-300, 1e100):
        check_partition(split(BALANCED, None, 3, dirichlet(alpha=alpha, min_samples=0), 0), 600)


def test_dirichlet_minimum_is_met_or_refused():
    parts = split(BALANCED, None, 10, dirichlet(alpha=0.5, min_samples=10), 0)
    assert sizes(parts).min() >= 10
    # 10 classes, each whole on one node, cannot feed 12 nodes.
    with pytest.raises(ValueError, match=r"smallest node has 0 samples.*alpha=0.001, n=12 nodes, N=600"):
        split(BALANCED, None, 12, dirichlet(alpha=1e-3), 0)
    with pytest.raises(ValueError, match="n=10 nodes with min_samples=61 need 610 samples; there are N=600"):
        split(BALANCED, None, 10, dirichlet(min_samples=61), 0)


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 20), each=st.integers(1, 7), seed=st.integers(0, 1000))
def test_label_skew_is_exact(n, each, seed):
    labels = np.concatenate([np.repeat(np.arange(7), 30), labels_of(100, 7, seed)])
    if n * each < 7:
        with pytest.raises(ValueError, match=rf"labels_per_node to at least {-(-7 // n)}$"):
            split(labels, None, n, label_skew(labels_per_node=each), seed)
        return
    parts = split(labels, None, n, label_skew(labels_per_node=each), seed)
    table = partition_table(parts, labels, 7)
    assert ((table > 0).sum(1) == each).all()
    holders = (table > 0).sum(0)
    assert holders.max() - holders.min() <= 1
    for column in table.T:  # the holders of a class share it equally
        held = column[column > 0]
        assert held.max() - held.min() <= 1


def test_class_windows():
    table = partition_table(split(BALANCED, None, 12, class_windows(width=4, whole=2), 0), BALANCED, 10)
    for node in range(10):
        assert set(np.flatnonzero(table[node])) == {(node + step) % 10 for step in range(4)}
    assert (table == 10).sum() == 60 and (table[10:] == 10).all()  # six holders a class share 60 samples
    with pytest.raises(ValueError, match="class 4 has 60 samples for 0 holders"):
        split(BALANCED, None, 1, class_windows(), 0)
    with pytest.raises(ValueError, match="width=11, but 10 classes occur"):
        split(BALANCED, None, 12, class_windows(width=11), 0)
    with pytest.raises(ValueError, match="whole=13, but there are n=12 nodes"):
        split(BALANCED, None, 12, class_windows(whole=13), 0)
    with pytest.raises(ValueError, match="width must be a whole number, at least 1"):
        class_windows(width=0)


def test_label_skew_errors():
    with pytest.raises(ValueError, match="labels_per_node=11, but 10 classes occur"):
        split(BALANCED, None, 3, label_skew(labels_per_node=11), 0)
    rare = np.array([0] * 50 + [1] * 2)
    with pytest.raises(ValueError, match="class 1 has 2 samples for 5 holders"):
        split(rare, None, 5, label_skew(labels_per_node=2), 0)


def test_quantity_skew():
    labels = labels_of(20_000, 4, 0)
    parts = split(labels, None, 10, quantity_skew(alpha=0.3, min_samples=50), 1)
    counts = sizes(parts)
    assert counts.min() >= 50
    assert counts.max() > 3 * counts.mean()
    large = partition_table(parts, labels, 4)[counts > 2_000]
    assert abs(large / large.sum(1, keepdims=True) - 0.25).max() < 0.05
    even = sizes(split(labels, None, 10, quantity_skew(alpha=1e9), 1))
    assert abs(even - 2_000).max() <= 2
    with pytest.raises(ValueError, match="n=10 nodes with min_samples=2001 need 20010"):
        split(labels, None, 10, quantity_skew(min_samples=2_001), 1)


def test_by_group_keeps_groups_whole():
    groups = np.array([7, 7, 3, 3, 3, 9, 1, 1])
    parts = split(np.zeros(8, int), groups, 3, by_group(), 0)
    homes = [set(groups[part]) for part in parts]
    assert set.union(*homes) == {1, 3, 7, 9}
    assert sorted(map(len, homes)) == [1, 1, 2]
    with pytest.raises(ValueError, match="no natural groups"):
        split(np.zeros(8, int), None, 3, by_group(), 0)
    with pytest.raises(ValueError, match="4 groups cannot fill n=5 nodes"):
        split(np.zeros(8, int), groups, 5, by_group(), 0)


def test_empty_nodes():
    parts = split(BALANCED, None, 20, empty_nodes(fraction=0.25), 0)
    assert (sizes(parts) == 0).sum() == 5
    assert sorted(set(sizes(parts))) == [0, 40]
    table = partition_table(
        split(BALANCED, None, 20, empty_nodes(fraction=0.5, inner=label_skew(labels_per_node=1)), 0),
        BALANCED,
        10,
    )
    assert sorted((table > 0).sum(1)) == [0] * 10 + [1] * 10
    # More nodes than samples are fine when enough of them are empty, and one node always keeps data.
    assert sizes(split(np.zeros(3, int), None, 10, empty_nodes(fraction=0.7), 0)).max() == 1
    assert sorted(sizes(split(BALANCED, None, 2, empty_nodes(fraction=0.99), 0))) == [0, 600]
    with pytest.raises(ValueError, match="n=8 nodes for N=3 samples"):
        split(np.zeros(3, int), None, 10, empty_nodes(fraction=0.2), 0)


@pytest.mark.parametrize("name", [name for name in PARTITIONS if name != "empty_nodes"])
def test_more_nodes_than_samples(name):
    with pytest.raises(ValueError, match="n=9 nodes for N=8 samples"):
        split(np.zeros(8, int), np.arange(8), 9, PARTITIONS[name](), 0)


def test_shards_need_a_sample_each():
    with pytest.raises(ValueError, match="n=5 nodes with shards_per_node=2 need 10 samples"):
        split(np.zeros(8, int), None, 5, shards(), 0)


@pytest.mark.parametrize(
    ("factory", "options", "message"),
    [
        (dirichlet, {"alpha": 0.0}, r"alpha must be in \(0, 1e\+100\]; got 0.0"),
        (dirichlet, {"alpha": float("nan")}, "alpha must be"),
        (quantity_skew, {"alpha": -1.0}, "alpha must be"),
        (dirichlet, {"min_samples": -1}, "min_samples must be a whole number, at least 0; got -1"),
        (dirichlet, {"max_tries": 0}, "max_tries must be a whole number, at least 1; got 0"),
        (shards, {"shards_per_node": 0}, "shards_per_node must be a whole number, at least 1"),
        (label_skew, {"labels_per_node": 1.5}, "labels_per_node must be a whole number, at least 1; got 1.5"),
        (empty_nodes, {"fraction": 1.0}, r"fraction must be in \[0, 1\); got 1.0"),
    ],
)
def test_bad_options(factory, options, message):
    with pytest.raises(ValueError, match=message):
        factory(**options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": np.zeros((2, 2), int)}, r"labels must be \[N\] integers; got shape \(2, 2\)"),
        ({"labels": np.zeros(4)}, "dtype float64"),
        ({"groups": np.zeros(3, int)}, "groups must have the shape of labels"),
        ({"n": 0}, "n must be a whole number, at least 1; got 0"),
        ({"seed": -1}, "seed must be a whole number, at least 0; got -1"),
    ],
)
def test_bad_arguments_of_split(arguments, message):
    good = {"labels": np.zeros(4, int), "groups": None, "n": 2, "partition": iid(), "seed": 0}
    with pytest.raises(ValueError, match=message):
        split(**(good | arguments))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([[0, 1], [1, 2]], "sample 1 has 2 owners instead of 1"),
        ([[0, 1], [3]], "sample 2 has 0 owners instead of 1; 1 of N=4 samples have no owner"),
        ([[0, 1, 2, 3, 4]], "node 0 has sample 4, N=4"),
        ([[0, 1, 2], [-1]], "node 1 has sample -1, N=4"),
        ([[0.0, 1.0, 2.0, 3.0]], "node 0 must have [size] integers"),
    ],
)
def test_check_partition_refuses(parts, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check_partition([np.array(part) for part in parts], 4)


def test_a_users_own_partition_is_checked():
    def lossy(labels, groups, n, rng):
        return [np.arange(2) for _ in range(n)]

    with pytest.raises(ValueError, match="owners instead of 1"):
        split(np.zeros(4, int), None, 2, lossy, 0)
    with pytest.raises(ValueError, match="gave 1 parts for n=2"):
        split(np.zeros(4, int), None, 2, lambda labels, groups, n, rng: [np.arange(4)], 0)


def test_partition_table_counts():
    table = partition_table([np.array([0, 3]), np.array([1, 2]), np.zeros(0, int)], np.array([0, 1, 1, 2]), 4)
    np.testing.assert_array_equal(table, [[1, 0, 1, 0], [0, 2, 0, 0], [0, 0, 0, 0]])
    with pytest.raises(ValueError, match=r"labels must be in 0..1; got 0..2"):
        partition_table([np.array([0])], np.array([0, 2]), 2)
