"""A run that was stopped, however rudely, and resumed is the run that was never stopped, bit for bit."""

import json
import os
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
import yaml

import dlax
from dlax import checkpoint

# Long enough to be stopped in the middle: 200 blocks with a checkpoint after each.
CONFIG = {
    "nodes": 4,
    "problem": {"name": "quadratic", "dim": 3, "noise": 1.0},
    "topology": "ring",
    "channel": {"name": "linear", "drop": 0.1},
    "algorithm": {"name": "dsgd", "lr": 0.1, "optimizer": "adam"},
    "participation": 0.8,
    "rounds": 200,
    "eval_every": 1,
    "seeds": 2,
}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "run"
    dlax.run(CONFIG, out=out)
    return out


@pytest.fixture
def config_file(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(CONFIG))
    return file


def start(config_file, out, *options):
    """`dlax run` as a user's program, with a checkpoint after every block."""
    command = [sys.executable, "-m", "dlax.cli", "run", str(config_file), "--out", str(out)]
    return subprocess.Popen(
        [*command, "--checkpoint-seconds", "0", *options],
        env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_until_under_way(process, out, least):
    """Until a checkpoint of at least so many rounds is there."""
    deadline = time.monotonic() + 240
    while not any(int(folder.name[6:]) >= least for folder in out.glob("checkpoint/round_*")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def stored(out):
    """The final checkpoint: rounds done and the arrays, leaf by leaf."""
    import orbax.checkpoint as ocp

    (folder,) = out.glob("checkpoint/round_*")
    with ocp.PyTreeCheckpointer() as checkpointer:
        return folder.name, checkpointer.restore((folder / "arrays").absolute())


def assert_same_run(one, other):
    (name, arrays), (other_name, others) = stored(one), stored(other)
    assert name == other_name
    jax.tree.map(np.testing.assert_array_equal, arrays, others)
    assert (one / "metrics.csv").read_text() == (other / "metrics.csv").read_text()
    assert (one / "nodes.csv").read_text() == (other / "nodes.csv").read_text()


def test_killed_and_resumed(config_file, tmp_path, uninterrupted):
    out = tmp_path / "run"
    with start(config_file, out) as process:
        wait_until_under_way(process, out, least=20)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not dlax.Result.load(out).rows or dlax.Result.load(out).rows[-1]["round"] < 200
    dlax.run(CONFIG, out=out, resume=True)
    assert_same_run(out, uninterrupted)


def test_interrupted_and_resumed(config_file, tmp_path, uninterrupted):
    """Ctrl-C ends the block, leaves a checkpoint and one line that says how to go on; exit code 130."""
    out = tmp_path / "run"
    with start(config_file, out) as process:
        wait_until_under_way(process, out, least=5)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=240)
    assert process.returncode == 130, errors
    assert "interrupted; go on with --resume" in errors and "Traceback" not in errors
    meta = json.loads((out / "meta.json").read_text())
    assert 5 <= meta["round"] < 200 and not meta["complete"]
    with start(config_file, out, "--resume") as process:
        _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert_same_run(out, uninterrupted)


def test_resuming_what_is_finished_does_nothing(uninterrupted):
    def written():
        files = [path for path in uninterrupted.rglob("*") if path.is_file() and path.name != "config.yaml"]
        return {path: path.stat().st_mtime_ns for path in files}

    before, blocks = written(), []
    result = dlax.run(CONFIG, out=uninterrupted, resume=True, on_block=blocks.append)
    assert blocks == [] and result.rows[-1]["round"] == 200
    assert written() == before


def test_more_rounds_equal_the_longer_run(tmp_path, uninterrupted):
    out = tmp_path / "run"
    dlax.run(CONFIG | {"rounds": 120}, out=out)
    dlax.run(CONFIG, out=out, resume=True)
    assert_same_run(out, uninterrupted)


@pytest.mark.parametrize("stop", [0, 1, 77])
def test_stopped_by_the_caller_and_resumed(stop, tmp_path, uninterrupted):
    out = tmp_path / "run"
    stopped = dlax.run(CONFIG, out=out, on_block=lambda snapshot: snapshot.round >= stop)
    assert stopped.rows[-1]["round"] == stop
    dlax.run(CONFIG, out=out, resume=True)
    assert_same_run(out, uninterrupted)


def test_a_table_that_changed_is_refused_by_name(tmp_path):
    out, trace, speeds = tmp_path / "run", tmp_path / "trace.csv", tmp_path / "speeds.csv"
    trace.write_text("round,node,state\n1,0,asleep\n")
    speeds.write_text("node,seconds\n" + "".join(f"{i},1.0\n" for i in range(4)))
    config = CONFIG | {
        "rounds": 4, "faults": ["on_off", {"name": "trace", "path": str(trace)}], "clock": {"speeds": str(speeds)}
    }  # fmt: skip
    dlax.run(config, out=out, on_block=lambda snapshot: snapshot.round == 2)
    for table, old, new in ((trace, "1,0,asleep", "1,1,asleep"), (speeds, "0,1.0", "0,2.0")):
        text = table.read_text()
        table.write_text(text.replace(old, new))
        with pytest.raises(ValueError, match=rf"run was run with another content of .*{table.name}"):
            dlax.run(config, out=out, resume=True)
        table.write_text(text)
    assert dlax.run(config, out=out, resume=True).rows[-1]["round"] == 4


@pytest.mark.parametrize("torn", ["", "0,54", "0,54,54.0,0.12", "0,54,54.0,0.1234\n1"])
def test_metrics_that_ran_ahead_of_the_checkpoint_are_dropped(torn, tmp_path, uninterrupted):
    """A crash leaves rows of later rounds behind, and the last one may be half written."""
    out = tmp_path / "run"
    dlax.run(CONFIG, out=out, on_block=lambda snapshot: snapshot.round >= 50)
    later = (uninterrupted / "metrics.csv").read_text().splitlines(keepends=True)[1 + 2 * 51 : 1 + 2 * 54]
    with (out / "metrics.csv").open("a") as file:
        file.write("".join(later).replace(",0.", ",9.") + torn)
    dlax.run(CONFIG, out=out, resume=True)
    assert_same_run(out, uninterrupted)


def test_without_a_checkpoint_a_resumed_run_begins_again(tmp_path, uninterrupted):
    out = tmp_path / "run"
    dlax.run(CONFIG, out=out, on_block=lambda snapshot: snapshot.round >= 30)
    (folder,) = out.glob("checkpoint/round_*")
    folder.rename(out / "checkpoint" / "writing_30")  # as a crash within the first checkpoint leaves it
    dlax.run(CONFIG, out=out, resume=True)
    assert_same_run(out, uninterrupted)


def test_a_checkpoint_appears_whole_and_replaces_the_older(tmp_path):
    arrays = {"x": np.arange(4.0), "count": np.int32(3)}
    checkpoint.save(tmp_path, 5, arrays, {"seconds": 1.5})
    checkpoint.save(tmp_path, 10, arrays, {"seconds": 2.5})
    assert [path.name for path in tmp_path.iterdir()] == ["round_10"]
    (tmp_path / "writing_15").mkdir()  # a crash while writing
    step, found, meta = checkpoint.load(tmp_path, arrays)
    assert step == 10 and meta == {"seconds": 2.5}
    np.testing.assert_equal(found, arrays)
    assert checkpoint.load(tmp_path / "nothing", arrays) is None
