"""Configs: overrides, sweeps, labels, and every mistake answered by its path, its value and what is allowed."""

import gc
import re

import numpy as np
import pytest
import yaml

import dlax
from dlax import checkpoint, experiment
from dlax.simulate import compiled

BASE = {
    "nodes": 4,
    "problem": "quadratic",
    "topology": "ring",
    "algorithm": {"name": "dsgd", "lr": 0.1},
    "rounds": 4,
}


def resolve(*overrides, **changes):
    return experiment.resolve(experiment.load(BASE | changes, overrides))


def plain(resolved):
    return resolved.model_dump(mode="json")


# ----------------------------------------------------------------------------------------- loading and overrides


def test_a_resolved_config_is_whole_and_resolves_to_itself():
    once = resolve()
    text = yaml.safe_dump(plain(once))
    again = experiment.resolve(yaml.safe_load(text))
    assert again == once and plain(again) == plain(once)
    assert once.algorithm["optimizer"]["name"] == "sgd" and once.topology["weights"] == {"name": "metropolis"}
    assert once.channel == {"name": "linear", "drop": None, "symmetric": False, "lost": "receiver"}
    assert once.eval_every == 1 and once.label == "dsgd, ring"


@pytest.mark.parametrize(
    ("overrides", "part", "want"),
    [
        (["topology=complete"], "topology", "complete"),
        (["algorithm.name=fedavg"], "algorithm", {"name": "fedavg"}),  # another name takes other options
        (["algorithm.name=dsgd"], "algorithm", {"name": "dsgd", "lr": 0.1}),
        (["algorithm.lr=1e-3"], "algorithm", {"name": "dsgd", "lr": "1e-3"}),
        (["topology.weights=max_degree"], "topology", {"name": "ring", "weights": "max_degree"}),
        (["algorithm.optimizer.momentum=0.9", "algorithm.optimizer.name=sgd"], "algorithm",
         {"name": "dsgd", "lr": 0.1, "optimizer": {"momentum": 0.9, "name": "sgd"}}),
        (["clock.latency=2"], "clock", {"latency": 2}),
        (["seeds=[3, 5]"], "seeds", [3, 5]),
        (["vmap.algorithm.lr=[0.1, 0.2]"], "vmap", {"algorithm.lr": [0.1, 0.2]}),
        (["grid.topology=[ring, star]"], "grid", {"topology": ["ring", "star"]}),
        ([" rounds = 9"], "rounds", 9),
        (["label=a=b"], "label", "a=b"),
    ],
)  # fmt: skip
def test_overrides(overrides, part, want):
    assert experiment.load(BASE, overrides)[part] == want


def test_overrides_do_not_touch_the_config_given():
    config = {**BASE, "algorithm": {"name": "dsgd", "lr": 0.1}}
    experiment.load(config, ["algorithm.lr=0.5"])
    assert config["algorithm"]["lr"] == 0.1


@pytest.mark.parametrize("overrides", [["algorithm.lr=0.5", "algorithm.name=gradient_tracking"],
                                       ["algorithm.name=gradient_tracking", "algorithm.lr=0.5"]])  # fmt: skip
def test_an_option_survives_a_new_name_in_either_order(overrides):
    assert experiment.load(BASE, overrides)["algorithm"] == {"name": "gradient_tracking", "lr": 0.5}


def test_numbers_that_yaml_reads_as_strings():
    assert resolve("algorithm.lr=1e-3").algorithm["lr"] == 1e-3
    assert resolve("vmap.algorithm.lr=[1e-3, 1e-2]").vmap == {"algorithm.lr": [1e-3, 1e-2]}
    assert resolve("clock.bandwidth=1e9").clock.bandwidth == 1e9


# ----------------------------------------------------------------------------------------------------------- sweeps


def test_a_grid_is_a_product_in_its_own_order():
    cells = experiment.expand(
        BASE | {"grid": {"topology": ["ring", "star"], "algorithm.local_steps": [1, 2], "seeds": [3]}}
    )
    assert [(c.topology["name"], c.algorithm["local_steps"], c.seeds) for c in cells] == [
        ("ring", 1, 3), ("ring", 2, 3), ("star", 1, 3), ("star", 2, 3),
    ]  # fmt: skip
    assert cells[2].label == "star, local_steps=1, seeds=3"


def test_labels_name_what_differs_and_are_unique():
    mixed = [{"name": "dsgd", "lr": 0.2}, {"name": "dsgd", "lr": 0.2}, "fedavg"]
    cells = experiment.expand(BASE | {"topology": "complete", "grid": {"algorithm": mixed}})
    assert [cell.label for cell in cells] == ["dsgd lr=0.2 #1", "dsgd lr=0.2 #2", "fedavg"]
    assert [cell.algorithm["lr"] for cell in cells] == [0.2, 0.2, 0.1]


@pytest.mark.parametrize("first", ["algorithm.lr", "algorithm.name"])
def test_a_grid_over_names_and_their_options_in_either_order(first):
    """What the label says is what runs."""
    axes = {"algorithm.lr": [0.3, 0.2], "algorithm.name": ["dsgd", "gradient_tracking"]}
    grid = {first: axes[first]} | axes
    for cell in experiment.expand(BASE | {"grid": grid}):
        assert f"lr={cell.algorithm['lr']}" in cell.label and cell.algorithm["name"] in cell.label


def test_no_grid_is_one_experiment():
    (only,) = experiment.expand(BASE)
    assert plain(only) == plain(resolve())


def test_vmap_sweeps_run_as_one_and_single_values_stay_out_of_the_table():
    result = dlax.run(BASE | {"seeds": 2, "vmap": {"algorithm.lr": [0.1, 0.2], "channel.drop": [0.0, 0.5]}})
    assert len(result.runs) == 8
    assert {(row["algorithm.lr"], row["channel.drop"]) for row in result.rows} == {
        (0.1, 0.0), (0.1, 0.5), (0.2, 0.0), (0.2, 0.5),
    }  # fmt: skip
    assert "algorithm.lr" not in dlax.run(BASE).rows[0]


def test_runs_of_one_structure_share_a_compilation():
    first = dlax.run(BASE | {"rounds": 5, "participation": 0.5})
    other = {"rounds": 6, "participation": 0.9, "algorithm": {"name": "dsgd", "lr": 0.03}, "seeds": [8]}
    second = dlax.run(BASE | other)
    assert first.seconds["compile"] > 0 == second.seconds["compile"]


def test_run_and_simulate_are_the_same_engine():
    by_config = dlax.run(BASE | {"precision": "float64", "seeds": 2})
    from dlax.simulate import simulate

    problem, ring = dlax.make("problem", "quadratic", n=4), dlax.make("topology", "ring", n=4)
    by_hand = simulate(
        dlax.make("algorithm", "dsgd", lr=0.1), problem, ring, rounds=4, seeds=2, precision="float64"
    )
    np.testing.assert_allclose(by_config.params["x"], by_hand.params["x"], atol=1e-14)
    assert by_config.versions["jax"] and by_config.config["algorithm"]["lr"] == 0.1


def test_a_tidy_table_has_a_row_for_every_seed_and_evaluation():
    frame = dlax.run(BASE | {"seeds": 2, "eval_every": 2}).to_pandas()
    assert list(frame["seed"]) == [0, 1] * 3 and list(frame["round"]) == [0, 0, 2, 2, 4, 4]


# --------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"algoritm": "dsgd"}, r"algoritm: unknown option, given 'dsgd'; .*did you mean 'algorithm'\?"),
        ({"algorithm": "dsdg"}, r"algorithm: unknown algorithm 'dsdg'; .*did you mean 'dsgd'\?"),
        (
            {"algorithm": {"name": "dsgd", "learning_rate": 1}},
            r"algorithm\.learning_rate: unknown option, given 1",
        ),
        ({"topology": {"name": "ring", "n": 5}}, r"topology\.n: unknown option, given 5"),
        ({"algorithm": None}, "algorithm: expected a name or a mapping with 'name', got None"),
        ({"nodes": "many"}, "nodes: input should be a valid integer.*given 'many'"),
        ({"nodes": 0}, "nodes: input should be greater than or equal to 1, given 0"),
        ({"rounds": 0}, "rounds: input should be greater than or equal to 1, given 0"),
        ({"seeds": 0}, "seeds: must be at least 1, or a list of seeds that are at least 0, given 0"),
        ({"seeds": [1, 1]}, r"seeds: must not repeat a seed, given \[1, 1\]"),
        ({"seeds": [-1]}, "seeds: must be at least 1, or a list of seeds"),
        ({"seeds": [2**40]}, "seeds"),
        ({"precision": "float16"}, "precision: input should be 'float32' or 'float64', given 'float16'"),
        ({"start": "random"}, "start: input should be 'common' or 'independent', given 'random'"),
        ({"participation": 0}, "participation: input should be greater than 0, given 0"),
        ({"clock": {"latncy": 1}}, r"clock\.latncy: unknown option, given 1"),
        ({"clock": {"latency": -1}}, r"clock\.latency: input should be greater than or equal to 0, given -1"),
        ({"eval_every": float("inf")}, "eval_every: input should be a finite number, given inf"),
        *(
            ({"clock": {name: float("inf")}}, rf"clock\.{name}: input should be a finite number, given inf")
            for name in ("gradient", "latency", "sigma", "slowdown")
        ),
        ({"vmap": {"algorithm.local_steps": [1]}}, r"'local_steps' is static for dsgd; traced are lr"),
        ({"vmap": {"algorithm.lrr": [1]}}, r"'lrr' is unknown for dsgd; .*did you mean 'lr'\?"),
        (
            {"vmap": {"problem.noise": [1]}},
            "only options of algorithm, channel, attack, faults can be traced; use grid",
        ),
        ({"vmap": {"algorithm.lr": [0.1, 0.1]}}, "expected a list of different values"),
        ({"vmap": {"algorithm.lr": []}}, "expected a list of different values"),
        ({"vmap": {"algorithm.lr": 0.1}}, r"vmap\.algorithm\.lr: input should be a valid list, given 0\.1"),
        (
            {"grid": {"topology": "ring"}},
            r"grid\.topology: expected a list of at least one value, got 'ring'",
        ),
        ({"grid": {"topology": []}}, r"grid\.topology: expected a list of at least one value"),
        ({"grid": ["ring"]}, "grid: expected a mapping of dotted paths to lists"),
        ({"grid": {"topology": ["ring", "rign"]}}, r"unknown topology 'rign'; .*did you mean 'ring'\?"),
        ({"grid": {"rounds.of": [3]}}, r"rounds\.of: rounds is 4, which has no options"),
    ],
)
def test_mistakes_in_a_config(change, message):
    with pytest.raises(ValueError, match=message):
        for cell in experiment.expand(BASE | change):
            dlax.run(cell)


@pytest.mark.parametrize("key", ["nodes", "problem", "topology", "algorithm", "rounds"])
def test_what_a_config_must_have(key):
    with pytest.raises(ValueError, match=f"{key}: is required"):
        experiment.resolve({k: v for k, v in BASE.items() if k != key})


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["rounds"], "override 'rounds': write it as dotted.path=value"),
        (["algorithm.lr=[0.1"], r"algorithm\.lr.*YAML"),
        (["rounds.of=3"], r"rounds\.of: rounds is 4, which has no options"),
    ],
)
def test_mistakes_in_an_override(overrides, message):
    with pytest.raises(ValueError, match=message):
        experiment.load(BASE, overrides)


def test_mistakes_in_a_file(tmp_path):
    with pytest.raises(ValueError, match=r"config: there is no file '.*missing.yaml'"):
        experiment.load(tmp_path / "missing.yaml")
    (tmp_path / "broken.yaml").write_text("a: [1")
    with pytest.raises(ValueError, match=r"config: .*broken.yaml is not valid YAML"):
        experiment.load(tmp_path / "broken.yaml")
    (tmp_path / "list.yaml").write_text("- 1")
    with pytest.raises(ValueError, match="config: expected a mapping of options, got list"):
        experiment.load(tmp_path / "list.yaml")
    (tmp_path / "empty.yaml").write_text("")
    with pytest.raises(ValueError, match="config: expected a mapping of options, got NoneType"):
        experiment.load(tmp_path / "empty.yaml")


DIGITS = {"name": "softmax", "dataset": "digits", "optimum": False}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"topology": {"name": "file", "path": "two.txt"}}, "topology: two.txt: the graph is not connected: 2 comp"),
        ({"topology": {"name": "file", "path": "nowhere.txt"}}, "topology: from_file: no file at path='nowhere.txt'"),
        ({"topology": {"name": "file", "path": "two.txt"}, "nodes": 5}, "topology: from_file: n must be .*4, got 5"),
        ({"topology": "hypercube", "nodes": 6}, "topology: hypercube: n must be .*6"),
        ({"topology": {"name": "random_regular", "degree": 3}, "nodes": 5}, "topology: random_regular: .*even"),
        ({"problem": {**DIGITS, "partition": {"name": "dirichlet", "alpha": 0.01, "min_samples": 90}}, "nodes": 12},
         r"problem: dirichlet: .*fewer than min_samples=90 \(alpha=0\.01, n=12 nodes"),
        ({"problem": DIGITS, "nodes": 5000}, "problem: .*n=5000 nodes for N=.* samples; lower n"),
        ({"problem": {**DIGITS, "dataset": {"name": "npz", "path": "none.npz"}}}, r"problem: .*none\.npz"),
        ({"problem": {**DIGITS, "partition": "by_group"}}, "problem: by_group: this data set has no natural groups"),
        ({"problem": {"name": "logistic", "dataset": "digits"}}, "problem: logistic: needs two classes, 'digits'"),
        ({"channel": {"name": "linear", "drop": 1.5}}, r"channel: linear: drop must be in \[0, 1\], got 1\.5"),
        ({"vmap": {"channel.drop": [0.1, 1.5]}}, r"channel: linear: drop must be in \[0, 1\], got 1\.5"),
        ({"algorithm": {"name": "dsgd", "local_steps": 0}}, "algorithm: dsgd: local_steps must be at least 1, got 0"),
        ({"algorithm": "fedavg"}, "'fedavg' needs a topology that is complete; 'ring' is"),
        ({"algorithm": "gradient_tracking", "topology": {"name": "star", "weights": "uniform_neighbour"}},
         "'gradient_tracking' needs a topology that is doubly stochastic; 'star' is"),
        ({"grid": {"topology": ["ring"]}}, "a config with a grid is a sweep; use dlax.sweep"),
    ],
)  # fmt: skip
def test_mistakes_that_show_when_the_pieces_are_built(change, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.txt").write_text("0 1\n2 3\n")
    with pytest.raises(ValueError, match=message):
        dlax.run(BASE | change)


def test_weights_that_do_not_average_are_refused():
    W = np.full((4, 4), 0.3)
    with pytest.raises(
        ValueError, match=r"matrix: every row must sum to 1 .*row 0 sums to 1\.2; divide every row"
    ):
        dlax.topology.from_matrix(W)


def test_a_sweep_checks_its_last_cell_before_its_first_runs(tmp_path):
    started = []
    with pytest.raises(ValueError, match="hypercube: n must be"):
        dlax.sweep(
            BASE | {"nodes": 5, "grid": {"topology": ["ring", "hypercube"]}},
            out=tmp_path / "sweep",
            on_start=lambda *about: started.append(about),
        )
    assert started == [] and not (tmp_path / "sweep").exists()


CROWD = {key: value for key, value in BASE.items() if key != "topology"} | {
    "cohort": {"name": "uniform", "size": 2},
    "algorithm": "fedavg",
}
# Mistakes that show only while the run is traced.
LATE = [
    (BASE, {"algorithm": "fedavg"}, "'fedavg' needs a topology that is complete"),
    (BASE, {"algorithm": "extra", "faults": "link_loss"}, "'extra' needs every node and link in every round"),
    (CROWD, {"cohort": {"name": "uniform", "size": 5}}, "size must be at most the 4 clients, got 5"),
    (CROWD, {"faults": "link_loss"}, "links fail only where there is a graph"),
    (CROWD, {"clock": {"barrier": "neighbours"}}, "barrier 'neighbours' and latencies of edges need a graph"),
    (CROWD, {"algorithm": "dsgd"}, "this algorithm has no server"),
]


@pytest.mark.parametrize(("base", "change", "message"), LATE)
def test_a_run_that_cannot_begin_leaves_the_disk_as_it_was(base, change, message, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(ValueError, match=message):
        dlax.run(base | change, out=out)
    assert not out.exists()
    out.mkdir()
    for name in ("config.yaml", "metrics.csv"):
        (out / name).write_text("of an earlier run")
    with pytest.raises(ValueError, match=message):
        dlax.run(base | change, out=out, overwrite=True)
    assert {path.name: path.read_text() for path in out.iterdir()} == dict.fromkeys(
        ("config.yaml", "metrics.csv"), "of an earlier run"
    )


@pytest.mark.parametrize(("base", "change", "message"), LATE)
def test_a_sweep_traces_all_its_cells_before_its_first_runs(base, change, message, tmp_path):
    ((option, value),) = [*change.items()][:1]
    started = []
    with pytest.raises(ValueError, match=message):
        dlax.sweep(
            base | change | {"grid": {option: [base.get(option, None if option == "faults" else {}), value]}},
            out=tmp_path / "sweep",
            on_start=lambda *about: started.append(about),
        )
    assert started == [] and not (tmp_path / "sweep").exists()


def test_a_check_costs_no_compilation():
    asynchronous = {
        key: value for key, value in BASE.items() if key != "rounds"
    } | {"algorithm": "ad_psgd", "duration": 2.0}  # fmt: skip
    served = {key: value for key, value in CROWD.items() if key not in ("rounds", "cohort")} | {
        "algorithm": "local_training", "scheduler": {"name": "synchronous", "steps": 2}, "duration": 4.0
    }  # fmt: skip
    before = dict(compiled._CACHE.entries)
    for config in (
        BASE | {"rounds": 5, "seeds": 3},
        CROWD | {"seeds": 3},
        asynchronous | {"seeds": 3},
        served,
    ):
        experiment.check(experiment.resolve(config))
    assert compiled._CACHE.entries == before


# -------------------------------------------------------------------------------------------- directories


def test_a_directory_in_use_is_refused_resumed_or_overwritten(tmp_path):
    out = tmp_path / "run"
    first = dlax.run(BASE, out=out)
    with pytest.raises(
        ValueError, match=r"out: .* already holds a run; resume it, overwrite it, or choose another"
    ):
        dlax.run(BASE, out=out)
    assert dlax.run(BASE, out=out, resume=True).rows[-1] == first.rows[-1]
    other = dlax.run(BASE | {"seeds": [5]}, out=out, overwrite=True)
    assert {row["seed"] for row in other.rows} == {5}
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    for options in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(ValueError, match=r"full is not empty and holds no config\.yaml; choose another"):
            dlax.run(BASE, out=tmp_path / "full", **options)
    assert (tmp_path / "full" / "thesis.tex").exists()
    with pytest.raises(ValueError, match=r"thesis\.tex is a file, not a directory"):
        dlax.run(BASE, out=tmp_path / "full" / "thesis.tex")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"algorithm": {"name": "dsgd", "lr": 0.2}},
            r"run with algorithm\.lr = 0\.1, the config now says 0\.2",
        ),
        ({"rounds": 2}, "run with rounds = 4, the config now says 2"),
        ({"topology": "star"}, "run with topology.name = 'ring', the config now says 'star'"),
    ],
)
def test_resume_with_another_config(change, message, tmp_path):
    dlax.run(BASE, out=tmp_path / "run")
    with pytest.raises(ValueError, match=message):
        dlax.run(BASE | change, out=tmp_path / "run", resume=True)


@pytest.fixture
def failed_reads():
    """Orbax leaves open event loops behind when a read fails; they complain when they are collected: here."""
    yield
    gc.collect()


orbax_litter = pytest.mark.filterwarnings(
    "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"
)


@orbax_litter
@pytest.mark.usefixtures("failed_reads")
@pytest.mark.parametrize("how", ["truncate", "flip a byte"])
def test_a_damaged_checkpoint_is_refused_and_never_read_wrongly(how, tmp_path):
    """Whichever file is hit: a clear error, or (where the file is not needed) exactly what was stored."""
    arrays = {"x": np.arange(3000.0).reshape(30, 100), "t": np.int32(5)}
    checkpoint.save(tmp_path, 3, arrays, {"seconds": 1.0})
    refused = 0
    for path in [path for path in sorted(tmp_path.rglob("*")) if path.is_file() and path.stat().st_size]:
        whole = path.read_bytes()
        half = len(whole) // 2
        flipped = whole[:half] + bytes([whole[half] ^ 0xFF]) + whole[half + 1 :]
        path.write_bytes(whole[:half] if how == "truncate" else flipped)
        try:
            step, found, meta = checkpoint.load(tmp_path, arrays)
        except ValueError as error:
            assert re.search(r"checkpoint: .*round_3 .*; remove .*round_3 to start again", str(error))
            refused += 1
        else:
            assert step == 3 and meta == {"seconds": 1.0}
            np.testing.assert_equal(found, arrays)
        path.write_bytes(whole)
    assert refused >= 2  # at least the arrays and the record beside them


@orbax_litter
@pytest.mark.usefixtures("failed_reads")
def test_a_damaged_run_says_how_to_go_on(tmp_path):
    dlax.run(BASE, out=tmp_path)
    for path in (tmp_path / "checkpoint" / "round_4").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(
        ValueError, match=r"checkpoint: .*round_4 cannot be read .*; remove .*round_4 to start again"
    ):
        dlax.run(BASE | {"rounds": 8}, out=tmp_path, resume=True)


def test_a_checkpoint_of_another_program_is_refused(tmp_path):
    checkpoint.save(tmp_path, 3, {"x": np.zeros(3)}, {})
    with pytest.raises(ValueError, match="made by another program, its arrays differ in shape"):
        checkpoint.load(tmp_path, {"x": np.zeros(4)})
    (tmp_path / "round_3" / "meta.json").write_text("{")
    with pytest.raises(ValueError, match=r"cannot be read \(JSONDecodeError\); remove .*round_3"):
        checkpoint.load(tmp_path, {"x": np.zeros(3)})


def test_what_a_run_directory_holds(tmp_path):
    result = dlax.run(BASE | {"seeds": 2, "problem": DIGITS | {"batch_size": 8}}, out=tmp_path)
    loaded = dlax.Result.load(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "checkpoint", "config.yaml", "edges.csv", "meta.json", "metrics.csv", "nodes.csv", "partition.csv",
    }  # fmt: skip
    for mine, theirs in zip(result.rows, loaded.rows, strict=True):
        np.testing.assert_equal(mine, theirs)  # also where both are nan
    assert loaded.config == result.config and loaded.label == "dsgd, ring"
    np.testing.assert_equal(loaded.nodes, result.nodes)
    np.testing.assert_array_equal(loaded.edges, result.edges)
    np.testing.assert_array_equal(loaded.partition, result.partition)
    assert loaded.partition.sum() == len(dlax.data.digits().y_train)
    assert {"python", "jax", "numpy", "device", "commit"} <= set(loaded.versions)
    assert set(loaded.seconds) == {"compile", "run"}


def test_a_finished_sweep_resumes_by_reading(tmp_path):
    sweep = BASE | {"grid": {"topology": ["ring", "star"]}}
    first = dlax.sweep(sweep, out=tmp_path / "sweep")
    rounds = []
    again = dlax.sweep(sweep, out=tmp_path / "sweep", resume=True, on_start=lambda *_: rounds.append)
    assert rounds == []
    np.testing.assert_equal([r.rows for r in again], [r.rows for r in first])
    assert [result.label for result in again] == ["ring", "star"]
    files = sorted(path.name for path in (tmp_path / "sweep").iterdir())
    assert files == ["00_ring", "01_star", "metrics.csv", "sweep.yaml"]


@pytest.mark.parametrize("override", ["algorithm.lr=0.5", "algorithm=dsgd"])
def test_an_override_that_the_grid_would_discard_is_refused(override):
    with pytest.raises(ValueError, match=r"the grid sets 'algorithm' whole; change grid.algorithm instead"):
        experiment.load(BASE | {"grid": {"algorithm": ["dsgd", "gradient_tracking"]}}, [override])
