"""A fixed random subset of the training samples, for nodes with little data."""

import numpy as np
import pytest

from dlax.data import from_arrays
from dlax.problems import classification
from dlax.problems.finite_sum import keep_samples

x = np.arange(40.0).reshape(20, 2)
DATA = from_arrays(x, np.arange(20) % 2, x[:3], np.zeros(3, int), groups=np.arange(20) // 5)


def test_a_subset_keeps_rows_labels_and_groups_together():
    kept = keep_samples(DATA, 7, seed=1)
    rows = (kept.x_train[:, 0] / 2).astype(int)
    assert len(rows) == len(set(rows)) == 7
    np.testing.assert_array_equal(kept.y_train, rows % 2)
    np.testing.assert_array_equal(kept.groups, rows // 5)
    np.testing.assert_array_equal(kept.x_test, DATA.x_test)
    np.testing.assert_array_equal(keep_samples(DATA, 7, seed=1).x_train, kept.x_train)
    assert (keep_samples(DATA, 7, seed=2).x_train != kept.x_train).any()


def test_none_keeps_all_and_a_problem_splits_what_is_kept():
    assert keep_samples(DATA, None, seed=0) is DATA
    assert classification(2, dataset=DATA, train_samples=12).table.sum() == 12


@pytest.mark.parametrize("limit", [0, 21])
def test_a_subset_that_is_none_is_refused(limit):
    with pytest.raises(ValueError, match=rf"train_samples must be in 1\.\.20, or null for all, got {limit}"):
        classification(2, dataset=DATA, train_samples=limit)
