import re
from typing import Any

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from dlax import plots
from dlax.results import METRICS, Result

ROUNDS = np.arange(0, 60, 10)
RING = np.array([(i, (i + 1) % 8) for i in range(8)])
COMPLETE = np.array([(i, j) for i in range(8) for j in range(i)])


def make(label, *, edges=RING, seeds=3, level=0.8, consensus=1e-2, died=None, lrs=(None,), rounds=ROUNDS):
    """A classification run on 8 nodes; seeds in `died` have no finite loss from that round on."""
    rng = np.random.default_rng(len(label))
    died = died or {}
    rows, nodes = [], []
    for lr in lrs:
        swept = {} if lr is None else {"algorithm.lr": lr}
        for seed in range(seeds):
            first = died.get(seed, -1)
            for t in rounds:
                gone = 0 <= first <= t
                row = {"seed": seed, **swept, "round": int(t)}
                row |= {"accuracy_mean": level * (1 - np.exp(-(t + 5) / 20)) + 0.01 * rng.normal()}
                row |= {"accuracy_worst": 0.1, "accuracy_merged": level + 0.02}
                row |= {"test_loss_mean": np.nan if gone else 2 * np.exp(-t / 30) + 0.1 * rng.random()}
                row |= {"consensus": np.nan if gone else consensus * (t > 0) * (1 + rng.random())}
                row |= {"bits_node": 8e6 * t * (1 + seed), "diverged": first if gone else -1}
                rows.append(row)
            for node in range(8):
                nodes.append({"seed": seed, **swept, "node": node, "degree": 2, "samples": 10 * (node + 1)})
                nodes[-1]["accuracy"] = 0.1 if first >= 0 else level + 0.01 * rng.normal()
    partition = np.arange(8 * 4).reshape(8, 4)
    return Result(label, {"rounds": 50}, rows, nodes, edges, partition)


def quadratic():
    rows = [
        {"seed": s, "round": int(t), "suboptimality": np.exp(-t) * (t < 40), "distance": 1.0, "diverged": -1}
        for s in range(2)
        for t in ROUNDS
    ]
    nodes = [{"seed": s, "node": i, "degree": 2, "samples": 0} for s in range(2) for i in range(8)]
    return Result("gt, ring", {}, rows, nodes, RING)


@pytest.fixture(scope="module")
def four():
    results = [
        make("dsgd, ring", level=0.7),
        make("dsgd, complete", edges=COMPLETE, consensus=3e-14),
        make("gt, ring", died={1: 30}),
        make("gt, complete", edges=COMPLETE, consensus=0.0),
    ]
    for result in results:
        algorithm, graph = result.label.split(", ")
        result.config |= {"algorithm": {"name": algorithm}, "topology": {"name": graph}}
    return results


def table(result, metric):
    """[seeds, evaluations], without pandas."""
    seeds = sorted({row["seed"] for row in result.rows})
    return np.array([[row[metric] for row in result.rows if row["seed"] == seed] for seed in seeds])


def line(axes, label):
    (found,) = [line for line in axes.get_lines() if line.get_label() == label]
    return found


def band(axes, index):
    """(low, high) at every x of the index-th band, from its polygon."""
    x, y = axes.collections[index].get_paths()[0].vertices.T
    return [np.array([f(y[np.isclose(x, at)]) for at in np.unique(x)]) for f in (np.min, np.max)]


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_learning_curve_is_the_mean_of_its_seeds_with_a_band_from_min_to_max(four):
    figure = plots.learning_curves(four)
    (axes,) = figure.axes
    assert isinstance(figure, Figure)
    values = table(four[0], "accuracy_mean")
    drawn = line(axes, "dsgd, ring")
    np.testing.assert_allclose(drawn.get_xdata(), ROUNDS)
    np.testing.assert_allclose(drawn.get_ydata(), values.mean(axis=0))
    low, high = band(axes, 0)
    np.testing.assert_allclose(low, values.min(axis=0))
    np.testing.assert_allclose(high, values.max(axis=0))
    assert axes.get_title(loc="left").startswith("mean over 2 to 3 seeds, band: min to max")
    assert axes.get_ylabel().lower() == METRICS["accuracy_mean"]
    assert axes.get_xlabel().lower() == METRICS["round"]
    assert axes.get_yscale() == "linear"


def test_a_diverged_run_ends_in_a_cross_and_counts_in_no_mean(four):
    figure = plots.learning_curves(four)
    (axes,) = figure.axes
    values = table(four[2], "accuracy_mean")
    np.testing.assert_allclose(line(axes, "gt, ring").get_ydata(), values[[0, 2]].mean(axis=0))
    np.testing.assert_allclose(line(axes, "_diverged").get_xydata(), np.c_[[0, 10, 20], values[1, :3]])
    cross = line(axes, "_cross")
    assert cross.get_marker() == "X"
    np.testing.assert_allclose(cross.get_xydata(), [[20, values[1, 2]]])
    assert legend(figure)[2] == "gt, ring (1 of 3 diverged, round 30)"
    assert legend(figure)[0] == "dsgd, ring"


def test_values_that_stop_are_a_divergence_even_without_a_flag():
    result = make("dsgd", died={0: 20})
    for row in result.rows:
        del row["diverged"]
    figure = plots.learning_curves(result, "test_loss_mean")
    assert legend(figure) == ["dsgd (1 of 3 diverged, round 20)"]


def test_when_all_runs_diverged_they_are_still_drawn(four):
    dead = make("dsgd, ring", died={0: 30, 1: 40, 2: 0})
    for name in plots.available(dead):
        plots.PLOTS[name]([dead]).canvas.draw()
    figure = plots.learning_curves(dead)
    (axes,) = figure.axes
    assert legend(figure) == ["dsgd, ring (3 of 3 diverged, rounds 0–40)"]
    crosses = [line for line in axes.get_lines() if line.get_label() == "_cross"]
    np.testing.assert_array_equal([cross.get_xdata() for cross in crosses], [[20], [30]])
    assert np.isnan(line(axes, "dsgd, ring").get_ydata()).all()
    assert axes.get_title(loc="left") == "every run diverged"


def test_a_blow_up_does_not_take_the_axis_from_the_others():
    result = make("dsgd", died={0: 40})
    for row in result.rows:
        if row["seed"] == 0 and row["round"] in (20, 30):
            row["test_loss_mean"] = 1e12
    (axes,) = plots.learning_curves(result, "test_loss_mean").axes
    assert axes.get_ylim()[1] < 1e3
    x, y = np.asarray(line(axes, "_cross").get_xydata())[0]
    assert x == 30
    assert y <= axes.get_ylim()[1]
    assert "beyond" in axes.get_title(loc="left")


def test_losses_are_drawn_on_a_log_axis_when_they_are_positive(four):
    assert plots.learning_curves(four, "test_loss_mean").axes[0].get_yscale() == "log"
    shifted = make("dsgd")
    for row in shifted.rows:
        row["test_loss_mean"] -= 1
    assert plots.learning_curves(shifted, "test_loss_mean").axes[0].get_yscale() == "linear"


def test_consensus_lays_zero_and_rounding_on_a_floor_and_says_so(four):
    (axes,) = plots.consensus(four).axes
    assert axes.get_yscale() == "log"
    ordinary = table(four[0], "consensus")
    np.testing.assert_allclose(line(axes, "dsgd, ring").get_ydata()[1:], ordinary.mean(axis=0)[1:])
    assert np.isnan(line(axes, "dsgd, ring").get_ydata()[0])  # zero at the common start
    assert "starts at 0" in axes.get_title(loc="left")
    floor = line(axes, "floor").get_ydata()[0]
    assert floor == 1e-3
    np.testing.assert_allclose(line(axes, "dsgd, complete").get_ydata()[1:], floor)
    np.testing.assert_allclose(line(axes, "gt, complete").get_ydata()[1:], floor)
    (text,) = [t.get_text().replace("\n", " ") for t in axes.texts]
    most = np.nanmax(table(four[1], "consensus"))
    assert text == f"drawn on the dotted line: at most {most:.0e} (dsgd, complete; gt, complete)"


def test_small_distances_keep_their_values_when_nothing_larger_hides_them():
    (axes,) = plots.consensus(make("dsgd", consensus=1e-20)).axes
    assert line(axes, "dsgd").get_ydata()[1:].max() < 1e-19
    assert "floor" not in [line.get_label() for line in axes.get_lines()]


def test_bits_are_drawn_in_bytes_on_a_log_axis(four):
    (axes,) = plots.accuracy_against_bits(four).axes
    bits = table(four[0], "bits_node").mean(axis=0)
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel() == "MB sent so far, mean per node"
    np.testing.assert_allclose(line(axes, "dsgd, ring").get_xdata()[1:], bits[1:] / 8e6)
    assert np.isnan(line(axes, "dsgd, ring").get_xdata()[0])
    assert line(axes, "_cross").get_xdata() == pytest.approx([40.0])


def test_a_swept_value_gets_its_own_line(four):
    result = make("dsgd, ring", lrs=(0.01, 0.1))
    figure = plots.learning_curves(result)
    assert legend(figure) == ["dsgd, ring, lr=0.01", "dsgd, ring, lr=0.1"]
    chosen = [row["accuracy_mean"] for row in result.rows if row["algorithm.lr"] == 0.1]
    drawn = line(figure.axes[0], "dsgd, ring, lr=0.1")
    np.testing.assert_allclose(drawn.get_ydata(), np.reshape(chosen, (3, -1)).mean(axis=0))
    both = plots.curves([result, four[2]])
    assert len({curve.marker for curve in both[:2]}) == 2
    assert len({curve.colour for curve in both}) == 3


def test_colour_is_the_algorithm_and_dashes_are_the_graph(four):
    one, two, three, other = plots.curves(four)
    assert one.colour == two.colour != three.colour == other.colour
    assert one.dashes == three.dashes != two.dashes == other.dashes
    (axes,) = plots.learning_curves(four).axes
    assert line(axes, "gt, ring").get_color() == three.colour
    free = plots.curves([make(name) for name in ("a", "b", "c")])
    assert len({curve.colour for curve in free}) == len({str(curve.dashes) for curve in free}) == 3


def test_equal_labels_are_numbered():
    assert [c.label for c in plots.curves([make("dsgd"), make("dsgd")])] == ["dsgd #1", "dsgd #2"]


def test_one_seed_has_no_band_and_one_evaluation_is_a_point():
    (axes,) = plots.learning_curves(make("dsgd", seeds=1)).axes
    assert not axes.collections
    assert axes.get_title(loc="left") == "one seed, no band"
    (axes,) = plots.learning_curves(make("dsgd", rounds=[0])).axes
    assert line(axes, "dsgd").get_marker() == "o"
    assert len(axes.collections) == 1  # the spread of the seeds, upright


def test_accuracy_per_node_draws_every_node_and_the_mean_of_sound_runs(four):
    axes: Any = plots.accuracy_per_node(four).axes[0]
    sound = [row["accuracy"] for row in four[2].nodes if row["seed"] != 1]
    np.testing.assert_allclose(line(axes, "gt, ring, mean").get_xdata(), np.mean(sound))
    points = [c.get_offsets()[:, 0] for c in axes.collections if c.get_label().startswith("gt, ring, seed")]
    assert [len(p) for p in points] == [8, 8, 8]
    np.testing.assert_allclose(np.concatenate([points[0], points[2]]), sound)
    np.testing.assert_array_equal(
        points[1], axes.get_xlim()[0]
    )  # 10 %, far left of the others: on the edge, and said
    assert "left edge" in axes.get_title(loc="left")
    assert line(axes, "gt, ring, averaged model").get_xdata() == pytest.approx([0.82])
    assert axes.get_yticklabels()[2].get_text() == "gt, ring\n(1 of 3 diverged, round 30)"


def test_the_graph_shows_the_mean_accuracy_of_each_node(four):
    figure: Any = plots.graph(four)
    *panels, bar = figure.axes
    assert [axes.get_title() for axes in panels] == [
        *("dsgd, ring", "dsgd, complete", "gt, ring\n1 of 3 seeds diverged", "gt, complete")
    ]
    mean = [
        np.mean([r["accuracy"] for r in four[2].nodes if r["node"] == i and r["seed"] != 1]) for i in range(8)
    ]
    dots = panels[2].collections[1]
    low, high = bar.get_ylim()
    want = [to_hex(colormaps["viridis"]((m - low) / (high - low))) for m in mean]
    assert [to_hex(c) for c in dots.get_facecolor()] == want
    radii = np.linalg.norm(dots.get_offsets(), axis=1)
    np.testing.assert_allclose(radii, 1)  # a ring is a circle
    assert (np.diff(dots.get_sizes()) >= 0).all()  # areas follow the samples
    assert "accuracy" in bar.get_ylabel()
    assert len(panels[1].collections[0].get_segments()) == len(COMPLETE)


def test_graph_layouts_do_not_change_between_calls():
    star = make("dsgd", edges=np.array([(0, i) for i in range(1, 8)]))
    one, two = (plots.graph(star).axes[0].collections[1].get_offsets() for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_large_graphs_are_refused_with_a_hint():
    result = make("dsgd")
    result.partition = np.ones((1_000, 4), int)
    with pytest.raises(ValueError, match=r"up to 400 nodes and 'dsgd' has 1000; accuracy_per_node"):
        plots.graph(result)
    assert "graph" not in plots.available(result)
    assert plots.panel(result).axes[-1].get_ylabel() == "Training samples"


@pytest.mark.parametrize("shape", [(8, 4), (150, 4), (8, 30)])
def test_the_partition_is_stacked_by_class(shape):
    result = make("dsgd")
    result.partition = np.random.default_rng(0).integers(0, 9, shape)
    figure = plots.partition([result, result])
    axes: Any = figure.axes[0]
    if shape[0] <= 100:
        assert [len(bars) for bars in axes.containers] == [shape[0]] * shape[1]
        heights = np.array([[bar.get_height() for bar in bars] for bars in axes.containers])
        np.testing.assert_array_equal(heights.T, result.partition)
        tops = [bar.get_y() + bar.get_height() for bar in axes.containers[-1]]
        np.testing.assert_array_equal(tops, result.partition.sum(axis=1))
    else:
        assert len(axes.collections) == shape[1]
    if shape[1] <= 10:
        assert [t.get_text() for t in axes.get_legend().get_texts()] == list("3210")
    else:
        assert figure.axes[1].get_ylabel() == "class, 0 to 29"


def test_the_panel_puts_curves_consensus_and_graph_side_by_side(four):
    figure = plots.panel(four)
    curves, consensus, graph, _ = figure.axes
    assert curves.get_ylabel().startswith("Held-out accuracy")
    assert consensus.get_ylabel().startswith("Distance to consensus")
    assert graph.get_title() == "dsgd, ring"
    assert figure.get_figwidth() > 2.5 * figure.get_figheight()
    assert len(legend(figure)) == 4


def test_problems_without_accuracy_or_partition():
    result = quadratic()
    assert plots.main_metric(result) == "suboptimality"
    assert plots.available(result) == ["learning_curves", "graph", "panel"]
    (axes,) = plots.learning_curves(result).axes
    assert axes.get_ylabel() == METRICS["suboptimality"]
    values = line(axes, "gt, ring").get_ydata()
    np.testing.assert_allclose(values[:4], np.exp(-ROUNDS[:4]))
    assert (values[4:] == line(axes, "floor").get_ydata()[0]).all()
    assert len(plots.graph(result).axes) == 1  # plain nodes, no colour bar
    plots.panel(result)
    with pytest.raises(ValueError, match="no result has a partition"):
        plots.partition(result)


def test_every_picture_is_written_without_a_display(four, tmp_path):
    drawn = plots.available(four)
    # They differ in no number, and have no clock.
    assert drawn == [name for name in plots.PLOTS if name not in ("factor_curves", "accuracy_against_time")]
    for name in drawn:
        draw = plots.PLOTS[name]
        path = plots.save(draw(four), tmp_path / "deep" / f"{name}.png", dpi=40)
        with Image.open(path) as image:
            assert np.asarray(image.convert("L"), float).var() > 50
    assert plots.save(plots.consensus(four), tmp_path / "a.svg").read_text().startswith("<?xml")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.svg", "deep"]
    with pytest.raises(ValueError, match=re.escape("a.doc: pictures are jpg, pdf, png, svg, webp")):
        plots.save(plots.consensus(four), tmp_path / "a.doc")


def test_a_server_has_no_graph_to_draw():
    served = Result("fedavg, uniform", {"nodes": 7}, quadratic().rows, [], np.zeros((0, 2), int))
    assert plots.size(served) == 7 and "graph" not in plots.available(served)
    with pytest.raises(ValueError, match="clients of a server have none"):
        plots.graph(served)
    plots.panel(served)


def test_mistakes_are_explained(four):
    with pytest.raises(
        ValueError, match=r"metric 'acuracy' is not in the table .*; did you mean 'accuracy_mean'"
    ):
        plots.learning_curves(four, "acuracy")
    with pytest.raises(ValueError, match=r"x 'rounds' is not in the table .*; did you mean 'round'"):
        plots.learning_curves(four, x="rounds")
    with pytest.raises(ValueError, match=r"node metric 'acc' .* did you mean 'accuracy'"):
        plots.graph(four, "acc")
    with pytest.raises(
        ValueError, match="'zzz' is not in the table of 'gt, ring'; it has round, suboptimality"
    ):
        plots.learning_curves(quadratic(), "zzz")
    with pytest.raises(ValueError, match="node metric 'accuracy'"):
        plots.accuracy_per_node(quadratic())
    with pytest.raises(ValueError, match="share none of the metrics"):
        plots.main_metric([make("dsgd"), quadratic()])
    with pytest.raises(ValueError, match="no results"):
        plots.learning_curves([])
    with pytest.raises(ValueError, match="'empty' has no rows"):
        plots.consensus([Result("empty", {}, [], [], RING)])
