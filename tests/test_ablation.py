"""A sweep as a table: what varies, what is in a cell, and the text that a paper takes."""

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from dlax import cli, plots
from dlax.ablation import ablation, by_fault, factors
from dlax.results import Result


def result(config, values, *, metric="accuracy_merged", diverged=(), swept="algorithm.lr"):
    """Last rows by (swept value, seed)."""
    rows, runs = [], []
    for value, by_seed in values.items():
        for seed, number in enumerate(by_seed):
            run = {"seed": seed} | ({swept: value} if swept else {})
            runs.append(run)
            rows.append({**run, "round": 5, metric: number, "diverged": 3 if value in diverged else -1})
    first = [{**row, "round": 0, metric: 0.0, "diverged": -1} for row in rows]
    return Result(
        label=str(config), config=config, rows=first + rows, nodes=[], edges=np.zeros((0, 2)), runs=runs
    )


def config(algorithm, topology, alpha, **options):
    return {
        "label": f"{algorithm} {topology} {alpha}",
        "nodes": 4,
        "algorithm": {"name": algorithm, "lr": 0.1, **options},
        "topology": {"name": topology, "weights": {"name": "metropolis"}},
        "problem": {"name": "x", "partition": {"name": "dirichlet", "alpha": alpha}},
        "vmap": {"algorithm.lr": [0.1, 0.2]},
    }


def sweep():
    cells = {
        ("dsgd", "ring", 0.1): {0.1: [0.5, 0.7], 0.2: [0.8, 0.9]},
        ("dsgd", "ring", 1.0): {0.1: [0.9, 0.9], 0.2: [0.8, 0.8]},
        ("track", "ring", 0.1): {0.1: [0.6, 0.6], 0.2: [0.99, 0.99]},
        ("track", "ring", 1.0): {0.1: [0.95, 0.97], 0.2: [0.1, 0.1]},
    }
    return [
        result(config(*key, **({"extra": 1} if key[0] == "track" else {})), values,
               diverged=(0.2,) if key == ("track", "ring", 0.1) else ())
        for key, values in cells.items()
    ]  # fmt: skip


def test_an_option_that_some_lack_is_a_row_of_none():
    made = [result(config("dsgd", "ring", 1), {0.1: [0.5]})]
    made += [result(config("track", "ring", 1, k=k), {0.1: [value]}) for k, value in ((None, 0.6), (5, 0.7))]
    assert ablation(made, metric="accuracy_merged").text().splitlines()[2:] == [
        "| none | 50.0   | **60.0** |",
        "| 5    |        | **70.0** |",
    ]


def course(name, by_lr):
    """Accuracy at rounds 0, 1, 2 by (lr, seed), whose rounds take 10 seconds for seed 0 and 20 for seed 1."""
    rows, runs = [], [{"seed": seed, "algorithm.lr": lr} for lr in by_lr for seed in range(2)]
    for t in range(3):
        for run in runs:
            accuracy = by_lr[run["algorithm.lr"]][run["seed"]][t]
            time = 10.0 * t * (1 + run["seed"])
            rows.append({**run, "round": t, "time": time, "accuracy_mean": accuracy, "diverged": -1})
    made = config(name, "ring", 1)
    return Result(label=name, config=made, rows=rows, nodes=[], edges=np.zeros((0, 2)), runs=runs)


def test_time_to_accuracy():
    slow = course("dsgd", {0.1: [[0, 0.4, 0.8], [0, 0.4, 0.8]], 0.2: [[0, 0.3, 0.4], [0, 0.9, 0.9]]})
    fast = course("track", {0.1: [[0.6, 0.7, 0.8], [0.0, 0.5, 0.2]], 0.2: [[0, 0.3, 0.4], [0, 0.5, 0.9]]})
    assert [row["time"] for row in slow.reach(0.6)][:2] == pytest.approx([15.0, 30.0])
    assert np.isnan(slow.reach(0.6)[2]["time"]) and slow.reach(0.6)[3]["time"] == pytest.approx(20 * 2 / 3)
    assert [row["round"] for row in fast.reach(0.5, along="round")][:2] == [0.0, 1.0]
    # where less is better, a target is reached from above; who diverges has not reached it
    losses = [{**row, "test_loss_mean": 1 - row["accuracy_mean"]} for row in slow.rows]
    falling = Result("x", {}, losses, [], slow.edges, runs=slow.runs)
    assert falling.reach(0.4, "test_loss_mean")[0]["time"] == pytest.approx(15.0)
    falling.rows[-4]["diverged"] = 2
    assert np.isnan(falling.reach(0.4, "test_loss_mean")[0]["time"])
    text = ablation([slow, fast], metric="accuracy_mean", reach=0.6).text("text").splitlines()
    assert text[-1].split() == ["time", "22.5", "±", "11", "never"]  # lr 0.1; neither lr for both seeds
    with pytest.raises(ValueError, match="reach: dsgd has no column 'bits_node'; it has seed, "):
        ablation([slow, fast], metric="accuracy_mean", reach=0.6, along="bits_node")
    assert "accuracy_against_time" in plots.available([slow, fast])
    (axes,) = plots.accuracy_against_time([slow, fast]).axes
    assert axes.get_xlabel() == "Simulated time"


def test_factors_are_what_configs_differ_in():
    assert factors(sweep()) == {
        "algorithm": ["dsgd", "dsgd", "track", "track"],
        "problem.partition.alpha": [0.1, 1.0, 0.1, 1.0],
    }
    options = [result(config("dsgd", "ring", 1, k=k), {0.1: [1]}) for k in (1, 5)]
    options += [result(config("track", "ring", 1, k=k), {0.1: [1]}) for k in (1, 5)]
    assert list(factors(options)) == ["algorithm", "algorithm.k"]


def test_a_cell_is_the_mean_of_the_best_swept_value_that_never_diverged():
    table = ablation(sweep())
    assert table.metric == "accuracy_merged" and table.maximise and table.seeds == 2
    np.testing.assert_allclose(table.mean.to_numpy(), [[0.85, 0.6], [0.9, 0.96]])
    np.testing.assert_allclose(table.spread.to_numpy(), [[np.sqrt(0.005), 0], [0, np.sqrt(0.0002)]])
    assert table.chosen.to_numpy().tolist() == [
        [{"algorithm.lr": 0.2}, {"algorithm.lr": 0.1}],
        [{"algorithm.lr": 0.1}, {"algorithm.lr": 0.1}],
    ]
    assert table.diverged.to_numpy().tolist() == [[0, 2], [0, 0]]
    assert table.best.to_numpy().tolist() == [[True, False], [False, True]]
    assert list(table.mean.columns) == ["dsgd", "track"]
    turned = ablation(sweep(), columns="problem.partition.alpha")
    np.testing.assert_allclose(turned.mean.to_numpy(), table.mean.to_numpy().T)
    least = ablation(sweep(), maximise=False)
    assert least.mean.to_numpy()[0, 0] == pytest.approx(0.6)


def test_text():
    table = ablation(sweep())
    lines = table.text().splitlines()
    assert [part.strip() for part in lines[0].split("|")[1:-1]] == ["alpha", "dsgd", "track"]
    assert [part.strip() for part in lines[2].split("|")[1:-1]] == ["0.1", "**85.0 ± 7.1**", "60.0 ± 0.0*"]
    latex = table.text("latex")
    assert latex.count(r"\toprule") == latex.count(r"\midrule") == latex.count(r"\bottomrule") == 1
    assert r"\textbf{85.0 $\pm$ 7.1}" in latex and r"\hline" not in latex
    assert "**" not in table.text("text")
    dead = ablation([result(config(a, "ring", 1), {0.1: [np.nan]}, diverged=(0.1,)) for a in ("p_a", "q")])
    assert "diverged" in dead.text() and r"p\_a" in dead.text("latex")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ablation([]), "there is no result"),
        (lambda: ablation(sweep()[:1]), "differ in nothing"),
        (lambda: ablation([*sweep(), sweep()[0]]), "two results have the same settings"),
        (lambda: ablation(sweep(), metric="accuracy_merge"), "did you mean 'accuracy_merged'"),
        (lambda: ablation(sweep(), columns="alpha"), "do not differ in 'alpha', but in algorithm, problem"),
        (lambda: ablation(sweep()).text("html"), "format must be one of markdown, latex, text, got 'html'"),
        (
            lambda: ablation([result(config(a, "ring", 1), {1: [1]}, metric="x") for a in "ab"]),
            "share none of",
        ),
    ],
)
def test_mistakes_are_explained(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_heat_map_says_every_number():
    figure = plots.heat_map(sweep())
    texts = {text.get_text() for text in figure.axes[0].texts}
    assert texts == {"85.0", "60.0*", "90.0", "96.0"}
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["alpha 0.1", "alpha 1"]
    assert len(figure.axes[0].patches) == 2
    losses = [result(config(a, "ring", b), {0.1: [v]}, metric="objective") for a, b, v in
              [("a", 1, 1.0), ("a", 2, 0.1), ("b", 1, 10.0), ("b", 2, 1e-3)]]  # fmt: skip
    image = plots.heat_map(losses).axes[0].images[0].get_array()
    assert image[1, 1] > image[1, 0] > image[0, 0] > image[0, 1]  # less is better, and darker


def test_a_sweep_leaves_tables_and_a_heat_map_and_the_command_prints_one(tmp_path):
    raw = {
        "nodes": 4, "rounds": 4, "seeds": 2, "problem": "quadratic", "topology": "ring", "algorithm": "dsgd",
        "grid": {"algorithm": ["dsgd", "gradient_tracking"], "topology": ["ring", "complete"]},
    }  # fmt: skip
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(raw))
    run = CliRunner().invoke(cli.app, ["sweep", str(tmp_path / "sweep.yaml"), "--out", str(tmp_path / "out")])
    assert run.exit_code == 0, run.output
    assert {"heat_map.png", "table.md", "table.tex"} <= {path.name for path in (tmp_path / "out").iterdir()}
    made = CliRunner().invoke(cli.app, ["table", str(tmp_path / "out"), "--metric", "distance"])
    assert made.exit_code == 0 and "gradient_tracking" in made.output and "complete" in made.output
    frame = pd.read_csv(tmp_path / "out" / "metrics.csv")
    least = frame[(frame["round"] == 4)].groupby("label")["distance"].mean().min()
    assert f"**{least:.3g}" in made.output
    file = tmp_path / "t.tex"
    CliRunner().invoke(cli.app, ["table", str(tmp_path / "out"), "--format", "latex", "--out", str(file)])
    assert r"\toprule" in file.read_text()


def breakdown(counts=(0, 3, 6), rules=("mean", "nna")):
    """Accuracy falls with the number of liars; the second factor of the attack is worse, and lethal to the mean."""
    out = []
    for rule in rules:
        for count in counts:
            cell = config("dsgd", "complete", 1.0)
            cell |= {"label": f"{rule} {count}", "byzantine": {"name": "random", "count": count}}
            cell["channel"] = {"name": "robust", "rule": {"name": rule}}
            high = 0.9 - 0.05 * count
            values = {1.0: [high, high], 3.0: [high - 0.1, high - 0.2]}
            lethal = (3.0,) if rule == "mean" and count == counts[-1] else ()
            out.append(result(cell, values, swept="attack.factor", diverged=lethal))
    return out


def test_an_attack_chooses_the_worst_of_its_values():
    table = ablation(breakdown(), columns="byzantine.count")
    np.testing.assert_allclose(table.mean.loc["nna"].to_numpy(float), [[0.75, 0.6, 0.45]])
    assert np.isnan(table.mean.loc["mean"].to_numpy(float)[0, -1])  # what makes a run diverge is the worst
    assert table.chosen.loc["nna"].iloc[0, 0] == {"attack.factor": 3.0}
    assert table.given
    best = table.best  # of every column: the rules compete under one number of liars
    assert best.loc["nna"].to_numpy().all() and best.loc["mean"].to_numpy().tolist() == [[True, True, False]]


def test_a_breakdown_curve_says_what_broke():
    figure = plots.factor_curves(breakdown())
    axes = figure.axes[0]
    assert axes.get_xlabel() == "Byzantine count" and "accuracy" in axes.get_ylabel()
    lines = {
        line.get_label(): line.get_ydata() for line in axes.lines if not line.get_label().startswith("_")
    }
    np.testing.assert_allclose(lines["nna"], [0.75, 0.6, 0.45])
    np.testing.assert_allclose(lines["mean"], [0.75, 0.6, np.nan])
    assert "crosses: diverged" in axes.get_title(loc="left")
    assert len(axes.collections) == 2  # bands
    one = plots.factor_curves(breakdown(rules=("nna",)))
    assert one.axes[0].get_legend() is None and not one.legends
    with pytest.raises(ValueError, match="differ in no number"):
        plots.factor_curves(breakdown(counts=(3,)))
    assert plots.available(breakdown())[-1] == "factor_curves"


def resilience(graphs=("ring", "torus", "star"), metric="accuracy_mean"):
    """Accuracy falls with the share of nodes that leave, twice as fast when the central ones do."""
    out = []
    for graph in graphs:
        for algorithm in ("dsgd", "track"):
            for by, slope in (("random", 0.5), ("degree", 1.0)):
                cell = config(algorithm, graph, 1.0) | {
                    "faults": {"name": "node_loss", "share": 0.2, "by": by}
                }
                cell |= {"label": f"{graph} {algorithm} {by}", "vmap": {"faults.share": [0.0, 0.1, 0.4]}}
                top = 0.9 if algorithm == "dsgd" else 0.8
                values = {share: [top - slope * share] * 2 for share in (0.0, 0.1, 0.4)}
                out.append(result(cell, values, metric=metric, swept="faults.share"))
    return out


def test_every_swept_value_of_a_fault_is_a_cell_of_its_own():
    parts = by_fault(resilience())
    assert len(parts) == 36 and [part.config["faults"]["share"] for part in parts[:3]] == [0.0, 0.1, 0.4]
    assert parts[1].label.endswith(", share 0.1") and parts[1].runs == [{"seed": 0}, {"seed": 1}]
    assert all("faults.share" not in row for row in parts[1].rows) and len(parts[1].rows) == 4
    assert resilience()[0].config["faults"]["share"] == 0.2  # what was given stays as it was
    table = ablation(resilience(), columns="faults.share")
    assert table.mean.loc[("track", "torus", "degree")].to_numpy(float) == pytest.approx([0.8, 0.7, 0.4])
    assert table.given and table.best.loc[("dsgd", "ring", "random")].all()
    attacked = breakdown()
    assert all(part is whole for part, whole in zip(by_fault(attacked), attacked, strict=True))


def test_nodes_that_faults_cut_off_are_not_merged():
    cells = resilience()
    for cell in cells:
        cell.rows = [row | {"accuracy_merged": 0.1, "alive": 3} for row in cell.rows]
    assert ablation(cells).metric == "accuracy_mean"
    for cell in cells:
        cell.rows = [{k: v for k, v in row.items() if k != "alive"} for row in cell.rows]
    assert ablation(cells).metric == "accuracy_merged"


def test_many_curves_are_a_panel_a_graph_with_colours_and_dashes():
    figure = plots.factor_curves(resilience())
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        f"topology: {g}" for g in ("ring", "torus", "star")
    ]
    for axes in figure.axes:
        lines = {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}
        assert set(lines) == {"dsgd, random", "dsgd, degree", "track, random", "track, degree"}
        np.testing.assert_allclose(lines["track, degree"].get_ydata(), [0.8, 0.7, 0.4])
        assert lines["dsgd, random"].get_color() == lines["dsgd, degree"].get_color()
        assert lines["dsgd, random"].get_linestyle() == lines["track, random"].get_linestyle()
        assert lines["dsgd, random"].get_linestyle() != lines["dsgd, degree"].get_linestyle()
    assert len(figure.legends) == 1 and len(figure.legends[0].get_texts()) == 4
    assert "2 seeds" in figure.get_suptitle()
    assert len(plots.factor_curves(resilience(graphs=("ring",))).axes) == 1  # few lines share a panel
    assert "factor_curves" in plots.available(resilience(graphs=("ring",))[:1])
