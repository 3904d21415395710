"""Trackers send every metric of every run, and say which extra brings them."""

import sys
import types

import pytest

from dlax import trackers
from dlax.simulate import Snapshot

ROWS = [
    {"seed": 0, "algorithm.lr": 0.1, "round": 0, "objective": 3.0},
    {"seed": 0, "algorithm.lr": 0.1, "round": 10, "objective": 2.0},
    {"seed": 1, "algorithm.lr": 0.1, "round": 10, "objective": 1.0},
]
SNAPSHOT = Snapshot(10, (), ROWS, [], {})


class Writer:
    def __init__(self, folder):
        self.folder, self.scalars = folder, []

    def add_scalar(self, name, value, round):
        self.scalars.append((name, value, round))

    def flush(self):
        pass


def test_tensorboard_gets_the_newest_block(monkeypatch, tmp_path):
    made = []
    package = types.ModuleType("tensorboardX")
    package.SummaryWriter = lambda folder: made.append(Writer(folder)) or made[-1]
    monkeypatch.setitem(sys.modules, "tensorboardX", package)
    track = trackers.tensorboard(tmp_path, {})
    assert not made, "the run directory is not touched before the run has claimed it"
    track(SNAPSHOT)
    assert made[0].scalars == [
        ("objective/seed=0,algorithm.lr=0.1", 2.0, 10),
        ("objective/seed=1,algorithm.lr=0.1", 1.0, 10),
    ]


def test_wandb_gets_the_config_and_the_newest_block(monkeypatch, tmp_path):
    logged, started = [], []
    run = types.SimpleNamespace(log=lambda scalars, step: logged.append((scalars, step)))
    package = types.ModuleType("wandb")
    package.init = lambda **options: started.append(options) or run
    monkeypatch.setitem(sys.modules, "wandb", package)
    track = trackers.wandb(tmp_path, {"label": "dsgd, ring"})
    track(SNAPSHOT)
    track(SNAPSHOT)
    assert [options["name"] for options in started] == ["dsgd, ring"]
    assert logged[0] == (
        {"objective/seed=0,algorithm.lr=0.1": 2.0, "objective/seed=1,algorithm.lr=0.1": 1.0},
        10,
    )


@pytest.mark.parametrize(("name", "package"), [("tensorboard", "tensorboardX"), ("wandb", "wandb")])
def test_a_missing_package_names_the_extra(monkeypatch, tmp_path, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=r"dlax\[trackers\]"):
        trackers.TRACKERS[name](tmp_path, {})
