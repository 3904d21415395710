"""`dlax topology`: the numbers, the picture, the refusals; and `describe` and the picture by themselves."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from dlax import plots
from dlax import topology as tp
from dlax.cli import app


def run(*arguments):
    return CliRunner().invoke(app, ["topology", *arguments])


def test_numbers_and_picture(tmp_path):
    picture, numbers = tmp_path / "ring.png", tmp_path / "deep" / "ring.json"
    done = run("ring", "n=16", "--out", str(picture), "--json", str(numbers))
    assert done.exit_code == 0 and str(picture) in done.output.replace("\n", "")
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    found = json.loads(numbers.read_text())
    assert found["spectral gap 1 - rho"] == pytest.approx(2 / 3 * (1 - np.cos(np.pi / 8)))
    assert found["edges (undirected)"] == 16 and found["name"] == "ring"
    assert found["effective resistance, largest"] == pytest.approx(4.0)  # 8 ohms and 8 ohms in parallel
    assert found["effective resistance, total"] == pytest.approx(16 * (16**2 - 1) / 12)


def test_options_reach_the_graph_and_its_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("random_pairwise", "n=9", "base.name=torus", "base.weights=max_degree", "--no-picture")
    assert done.exit_code == 0 and "drawn" in done.output
    assert list(tmp_path.iterdir()) == []
    assert run("path", "n=5").exit_code == 0 and (tmp_path / "runs" / "topology" / "path_n5.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rnig", "n=8"], "did you mean 'ring'"),
        (["ring"], "how many nodes"),
        (["ring", "8"], "write it as dotted.path=value"),
        (["ring", "n=8", "wieghts=push"], "did you mean 'weights'"),
        (["torus", "n=7"], "n must not be prime, got 7"),
        (["ring", "n=-1"], "at least 1, got -1"),
    ],
)
def test_refusals(arguments, message):
    done = run(*arguments)
    assert done.exit_code != 0 and message in str(done.exception)


def test_a_graph_too_large_to_draw_still_has_numbers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("ring", "n=3000")
    assert done.exit_code == 0 and "1.46" in done.output and not (tmp_path / "runs").exists()
    assert run("ring", "n=3000", "--out", "x.png").exit_code != 0


@pytest.mark.parametrize("name", sorted(set(tp.TOPOLOGIES) - {"file", "cyclic", "random_sequence"}))
def test_every_topology_is_described_and_drawn(name):
    topology = tp.TOPOLOGIES[name](9 if name not in ("hypercube",) else 8)
    facts = tp.describe(topology)
    assert facts["spectral gap 1 - rho"] == topology.spectral_gap
    json.dumps(facts)
    figure = plots.topology_picture(topology)
    assert len(figure.axes) == 1 + min(topology.period, 4)


def test_what_is_left_out():
    assert "mixing time (1/4)" in tp.describe(tp.ring(8)) and "connectivity window" not in tp.describe(
        tp.ring(8)
    )
    directed = tp.describe(tp.random_directed(8))
    assert "effective resistance, total" not in directed and directed["Perron weight, largest · n"] > 1
    assert tp.describe(tp.b_connected(9, window=3))["connectivity window"] == 3
