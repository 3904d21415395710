"""Pictures of results: learning curves, consensus, bits, node accuracies, the graph and the partition.

Every function takes results and returns a `matplotlib.figure.Figure` of its own; pyplot's global state is
never touched, so all of it works without a display. What the pictures share:

* A line is one result, or one swept value of it (`curves`): the mean over its runs that did not diverge, with
  a band from the smallest to the largest of them.
* A run that diverged is drawn alone, thin, and ends in a cross at its last finite point; the legend counts
  it.
* Colours and dashes depend only on the labels and their order. When labels read "algorithm, graph", the
  colour is the algorithm and the dashes are the graph.

A new picture is one function, one line in `PLOTS`, and one in `available`.
"""

from collections.abc import Callable, Sequence

from matplotlib.figure import Figure

from dlax.plots.curve import Curve, curves, main_metric
from dlax.plots.factor import factor_curves
from dlax.plots.graphs import MAX_NODES_DRAWN, MAX_PANELS, graph, size
from dlax.plots.heat import heat_map
from dlax.plots.lines import accuracy_against_bits, accuracy_against_time, consensus, learning_curves
from dlax.plots.nodes import accuracy_per_node, partition
from dlax.plots.panels import available, panel
from dlax.plots.style import COLOURS, DASHES, MARKERS, blank, check_picture, frame, plain_log, save
from dlax.plots.topology import topology_picture
from dlax.results import Result

PLOTS: dict[str, Callable[[Sequence[Result]], Figure]] = {
    "learning_curves": learning_curves,
    "consensus": consensus,
    "accuracy_against_bits": accuracy_against_bits,
    "accuracy_against_time": accuracy_against_time,
    "accuracy_per_node": accuracy_per_node,
    "graph": graph,
    "partition": partition,
    "panel": panel,
    "heat_map": heat_map,
    "factor_curves": factor_curves,
}

__all__ = [
    "COLOURS",
    "DASHES",
    "MARKERS",
    "MAX_NODES_DRAWN",
    "MAX_PANELS",
    "PLOTS",
    "Curve",
    "accuracy_against_bits",
    "accuracy_against_time",
    "accuracy_per_node",
    "available",
    "blank",
    "check_picture",
    "consensus",
    "curves",
    "factor_curves",
    "frame",
    "graph",
    "heat_map",
    "learning_curves",
    "main_metric",
    "panel",
    "partition",
    "plain_log",
    "save",
    "size",
    "topology_picture",
]
