"""The composite picture, and which pictures results have the data for."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dlax.ablation import by_fault, factors
from dlax.plots.curve import Results, curves, listed, main_axis, main_metric, shared_metrics
from dlax.plots.factor import numeric_factor
from dlax.plots.graphs import MAX_NODES_DRAWN, draw_graphs, size
from dlax.plots.lines import draw_curves, legend
from dlax.plots.nodes import draw_partition
from dlax.plots.style import GREY, blank, count
from dlax.results import Result

_DATA = ("dataset", "partition")  # what a problem is made of, beside its name


def available(results: Results) -> list[str]:
    """The pictures that these results have the data for.

    Args:
      results: one result or several.

    Returns:
      Names of `PLOTS`, in its order.

    Raises:
      ValueError: if there is no result, or one has no rows.
    """
    results = listed(results)
    parts, tables = by_fault(results), [result.to_pandas() for result in results]
    main = bool(shared_metrics(tables))
    bits = all("bits_node" in table and (table["bits_node"] > 0).any() for table in tables)
    fits = {
        "learning_curves": main,
        "consensus": all("consensus" in table for table in tables),
        "accuracy_against_bits": main and bits,
        "accuracy_against_time": main and main_axis(results) == "round" and _uneven(tables),
        "accuracy_per_node": all("accuracy" in result.nodes_to_pandas() for result in results),
        "graph": any(len(result.edges) for result in results)
        and all(size(result) <= MAX_NODES_DRAWN for result in results),
        "partition": any(result.partition is not None for result in results),
        "panel": main,
        "heat_map": len(parts) > 1 and len(factors(parts)) > 1,
        "factor_curves": len(parts) > 1 and numeric_factor(parts) is not None,
    }
    return [name for name, fit in fits.items() if fit]


def _uneven(tables: Sequence[pd.DataFrame]) -> bool:
    """Whether simulated time tells more than the rounds: it is not one and the same multiple of them."""
    if not all("time" in table for table in tables):
        return False
    paces = np.concatenate([(table["time"] / table["round"])[table["round"] > 0] for table in tables])
    return len(paces) > 0 and not np.allclose(paces, paces[0], rtol=1e-3)


def panel(results: Results) -> Figure:
    """Draw the composite picture: learning curves, consensus, and the graph or the partition, side by side.

    What the results share (problem, data, nodes) stands at the top left. The graph is that of the first
    result with sound runs, and left to the partition when it is too large.

    Args:
      results: one result or several.

    Returns:
      The figure, three times as wide as high; panels without data are left out.

    Raises:
      ValueError: if there is nothing to draw.
    """
    results = listed(results)
    drawn, fits = curves(results), available(results)
    metrics = [main_metric(results), *(["consensus"] if "consensus" in fits else [])]
    last = next((name for name in ("graph", "partition") if name in fits), None)
    widths = [1.25] * len(metrics) + ([1.0] if last else [])
    figure, panels = blank(4.1 * sum(widths), 4.4, 1, len(widths), width_ratios=widths)
    figure.get_layout_engine().set(w_pad=0.1, wspace=0.03)  # type: ignore[union-attr, call-arg]
    stopped = [
        draw_curves(axes, drawn, metric, main_axis(results))
        for axes, metric in zip(panels, metrics, strict=False)
    ]
    heading = "\n".join(part for part in (_experiment(results), panels[0].get_title(loc="left")) if part)
    panels[0].set_title(heading, loc="left", fontsize=8.5, color=GREY)
    if last == "graph":
        shown = next((curve for curve in drawn if len(curve.diverged()) < curve.seeds()), drawn[0])
        draw_graphs(figure, panels[-1:], [shown])
    elif last == "partition":
        draw_partition(figure, panels[-1], next(r.partition for r in results if r.partition is not None))
    legend(figure, drawn, stopped[0])
    return figure


def _experiment(results: Sequence[Result]) -> str:
    """What the results share of problem, data set, partition and nodes, such as "quadratic, 16 nodes"."""
    parts = []
    for result in results:
        problem = result.config.get("problem") or {}
        specs = [problem] if isinstance(problem, str) else [problem, *(problem.get(k) for k in _DATA)]
        names = [spec.get("name") if isinstance(spec, Mapping) else spec for spec in specs]
        parts.append([*(str(name) for name in names if name), count([size(result)], "node")])
    shared = [part for part in parts[0] if all(part in other for other in parts)]
    return ", ".join(shared)
