"""The traffic counts: what is read, and what is said when something is missing."""

import importlib

import numpy as np
import pytest

from dlax.data import DataNotFound, traffic_counts
from dlax.data.traffic import TRAFFIC_COUNTS


def test_without_a_reader_the_extra_is_named(monkeypatch):
    real = importlib.import_module

    def missing(name, *rest):
        if name.startswith("pyarrow"):
            raise ImportError("no pyarrow here")
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(DataNotFound, match=r'pip install "dlax\[traffic\]"'):
        traffic_counts()


def test_the_counts_are_whole():
    pytest.importorskip("pyarrow")
    try:
        traffic = traffic_counts()
    except DataNotFound as error:
        pytest.skip(str(error))
    assert traffic.counts.shape == (2492, 22) and np.isfinite(traffic.counts).all()
    steps = np.diff(traffic.times) // np.timedelta64(15, "m")
    assert (steps == 1).sum() == 2489 and sorted(steps)[-2:] == [2, 4]  # four rows are missing
    assert str(traffic.times[0]) == "2024-04-18T00:00:00"
    assert traffic.counts.min() == 0 and traffic.counts.max() == 174
    assert len(set(traffic.detectors)) == 22 and (traffic.counts % 1 == 0).all()


def test_another_file_of_that_name_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib, "import_module", lambda name: None)  # reading is not reached
    (tmp_path / TRAFFIC_COUNTS.filename).write_bytes(b"not it")
    with pytest.raises(ValueError, match="is not the expected file"):
        traffic_counts(path=str(tmp_path))
