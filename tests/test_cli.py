"""The command line, called as a program calls it: what it prints, writes and returns."""

import json
import sys

import pytest
import yaml

from dlax import cli, registry

CONFIG = {
    "nodes": 4,
    "problem": {"name": "quadratic", "dim": 3},
    "topology": "ring",
    "algorithm": {"name": "dsgd", "lr": 0.1},
    "rounds": 4,
}


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(CONFIG))
    return file


@pytest.fixture
def dlax(monkeypatch, capsys):
    """Calls the command line: arguments -> (exit code, stdout, stderr)."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["dlax", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as ended:
            code = ended.code or 0
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def test_list_shows_every_kind_and_entry(dlax):
    code, out, _ = dlax("list")
    assert code == 0
    for kind, entries in registry.REGISTRY.items():
        assert kind in out
        assert all(name in out for name in entries)


@pytest.mark.parametrize("kind", registry.REGISTRY)
def test_list_of_a_kind_has_a_line_for_every_entry(kind, dlax):
    code, out, _ = dlax("list", kind)
    assert code == 0
    assert all(name in out for name in registry.REGISTRY[kind])


def test_list_of_an_entry_shows_options_and_documentation(dlax):
    code, out, _ = dlax("list", "algorithm", "dsgd")
    assert code == 0
    assert "dsgd(lr=0.1, *, order=adapt_then_combine, local_steps=1, optimizer=sgd, schedule=constant)" in out
    assert "X ← W (X − lr G(X))" in out


def test_list_prints_the_schema_and_the_inventory(dlax):
    _, out, _ = dlax("list", "algorithm", "dsgd", "--schema")
    assert json.loads(out)["properties"]["lr"]["type"] == "number"
    _, out, _ = dlax("list", "--markdown")
    assert out == cli.inventory() + "\n"
    assert "| algorithm | `dsgd`, `gradient_tracking`" in out


def test_run_writes_where_it_is_told(config, dlax, tmp_path):
    code, out, _ = dlax("run", config, "algorithm.lr=0.2", "rounds=6", "--out", tmp_path / "here")
    assert code == 0 and "report.html" in out
    resolved = yaml.safe_load((tmp_path / "here" / "config.yaml").read_text())
    assert resolved["algorithm"]["lr"] == 0.2 and resolved["rounds"] == 6
    assert (tmp_path / "here" / "report.html").stat().st_size > 1000


def test_run_defaults_to_a_folder_named_after_the_config(config, dlax, tmp_path):
    assert dlax("run", config)[0] == 0
    folder = tmp_path / "runs" / "small"
    assert (folder / "metrics.csv").exists()
    code, _, err = dlax("run", config)
    assert code == 2 and "already holds a run" in err
    assert dlax("run", config, "--resume")[0] == 0
    assert dlax("run", config, "--overwrite")[0] == 0


def test_sweep_plot_and_report(config, dlax, tmp_path):
    folder = tmp_path / "sweep"
    code, out, _ = dlax("sweep", config, "grid.topology=[ring, star]", "--out", folder)
    assert code == 0 and "ring" in out and "star" in out
    assert (folder / "00_ring" / "metrics.csv").exists() and (folder / "01_star" / "metrics.csv").exists()
    rows = (folder / "metrics.csv").read_text().splitlines()
    assert rows[0].startswith("label,seed,round,") and len(rows) == 1 + 2 * 5
    pictures = {path.name for path in folder.glob("*.png")}
    assert "learning_curves.png" in pictures
    assert "<img" in (folder / "report.html").read_text()

    code, out, _ = dlax(
        "plot", folder, "--only", "learning_curves", "--metric", "consensus", "--out", tmp_path / "pictures"
    )
    assert code == 0 and "learning_curves.png" in out.replace("\n", "")
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["learning_curves.png"]


def test_a_run_that_blows_up_is_reported(config, dlax, tmp_path):
    code, _, err = dlax("run", config, "algorithm.lr=1e30", "rounds=40", "--out", tmp_path / "hot")
    assert code == 0
    assert "warning: dsgd, ring (seed 0) is not finite from round" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "CONFIG", "algoritm.lr=1"], "algoritm: unknown option"),
        (["run", "CONFIG", "algorithm.lr=fast"], "algorithm.lr: input should be a valid number"),
        (["run", "CONFIG", "algorithm.lr=[1"], "algorithm.lr"),
        (["run", "CONFIG", "algorithm=fedavg"], "needs a topology that is complete"),
        (["run", "CONFIG", "grid.topology=[ring]"], "a config with a grid is a sweep"),
        (["run", "nowhere.yaml"], "config: there is no file 'nowhere.yaml'"),
        (["list", "graphs"], "unknown kind 'graphs'; choose one of"),
        (["list", "topology", "rign"], "did you mean 'ring'?"),
        (["plot", "nowhere"], "neither a run directory (config.yaml) nor a folder of them"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, message, config, dlax):
    code, _, err = dlax(*[config if word == "CONFIG" else word for word in arguments])
    assert code == 2
    assert message in err and "Traceback" not in err
    assert err.strip().splitlines()[-1].startswith("error ")


def test_a_picture_that_does_not_exist(config, dlax, tmp_path):
    dlax("run", config, "--out", tmp_path / "here")
    code, _, err = dlax("plot", tmp_path / "here", "--only", "learning_curve")
    assert code == 2 and "did you mean 'learning_curves'?" in err
