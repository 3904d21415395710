"""What a run leaves behind: tidy tables, final models, and a directory that holds them."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from dlax.tables import read_csv, to_csv, write_atomically
from dlax.timing import evaluations

if TYPE_CHECKING:
    import pandas as pd

METRICS = {
    "round": "rounds done",
    "time": "simulated time",
    "train_loss": "training loss of the node models on their own minibatches, mean since the last row",
    "test_loss_mean": "held-out loss, mean over nodes",
    "test_loss_worst": "held-out loss of the worst node",
    "test_loss_best": "held-out loss of the best node",
    "test_loss_merged": "held-out loss of the averaged model",
    "accuracy_mean": "held-out accuracy, mean over nodes",
    "accuracy_worst": "held-out accuracy of the worst node",
    "accuracy_best": "held-out accuracy of the best node",
    "accuracy_merged": "held-out accuracy of the averaged model",
    "bits_per_character_mean": "held-out loss of a text in bits a character, mean over nodes",
    "bits_per_character_worst": "the same of the worst node",
    "bits_per_character_best": "the same of the best node",
    "bits_per_character_merged": "the same of the averaged model",
    "attack_success_mean": "share of held-out samples on which the attack on data succeeds, mean over honest nodes",
    "attack_success_worst": "the same of the worst node: the highest",
    "attack_success_best": "the same of the best node: the lowest",
    "attack_success_merged": "the same of the averaged model",
    "consensus": "distance to consensus, (1/n) Σᵢ ‖xᵢ − x̄‖²",
    "objective": "f(x̄), the global objective at the averaged model",
    "grad_norm": "‖∇f(x̄)‖ at the averaged model",
    "suboptimality": "f(x̄) − f(x*)",
    "distance": "distance to the optimum, (1/n) Σᵢ ‖xᵢ − x*‖²",
    "alive": "nodes that count and have not left, of a run with faults",
    "components": "connected components of what is left of the graph, counted among them",
    "giant": "share of them in the largest component",
    "isolated": "how many of them are on their own",
    "consensus_inside": "mean squared distance of a node's model to the mean of its component",
    "consensus_across": "mean squared distance of that mean to the overall one",
    "accuracy_giant": "held-out accuracy, mean over the largest component",
    "accuracy_isolated": "held-out accuracy, mean over isolated nodes",
    "bits_node": "bits sent so far, mean per node",
    "bits_total": "bits sent so far by all nodes",
    "gradients": "gradients taken so far by all nodes, of a run without rounds",
    "exchanges": "meetings of two nodes so far, or updates that a server got",
    "diverged": "first round with a non-finite loss or parameter, -1 when there is none",
}


_LESS_IS_BETTER = (
    "attack_success", "loss", "suboptimality", "distance", "consensus", "objective", "grad_norm",
)  # fmt: skip


def more_is_better(metric: str) -> bool:
    """Whether a metric is the better the larger it is; so are all that no name says otherwise of."""
    return not any(word in metric for word in _LESS_IS_BETTER)


def last_round(config: dict[str, Any]) -> int:
    """The `round` of a config's last row: its rounds, or how often a run without rounds is measured."""
    if config.get("duration") is None:
        return int(config["rounds"])
    return len(evaluations(config["duration"], config["eval_every"])) - 1


@dataclass
class Result:
    """One experiment: all its seeds and traced hyper-parameters, on one graph with one algorithm.

    Attributes:
      label: how plots and tables call it, such as "dsgd, ring".
      config: the resolved config, plain data.
      rows: the tidy table, one dict a (run, evaluation); keys are `seed`, the swept paths (such as
        "algorithm.lr") and the names of `METRICS`.
      nodes: one dict a (run, node) at the last evaluation: `seed`, the swept paths, `node`, `degree`,
        `samples` and the held-out metrics of that node (`test_loss`, `accuracy`).
      edges: `[m, 2]` undirected edges (directed ones for a directed graph), of the union over rounds.
      partition: `[n, classes]` counts of training samples, or None when the problem has no labels.
      seconds: `{"compile": ..., "run": ...}`, wall clock.
      versions: packages, device and commit.
      params: final models, every leaf `[runs, n, ...]`; empty when loaded from a directory.
      runs: the (seed, swept values) of every row of `params`.
    """

    label: str
    config: dict[str, Any]
    rows: list[dict[str, Any]]
    nodes: list[dict[str, Any]]
    edges: np.ndarray
    partition: np.ndarray | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    params: Any = ()
    runs: list[dict[str, Any]] = field(default_factory=list)

    def to_pandas(self) -> "pd.DataFrame":
        """The tidy table: one row a (seed, swept values, evaluation)."""
        import pandas as pd

        return pd.DataFrame(self.rows)

    def reach(
        self, target: float, metric: str = "accuracy_mean", *, along: str = "time"
    ) -> list[dict[str, Any]]:
        """When each run first reaches a target, such as its time to accuracy.

        Args:
          target: of the metric: at least that, or at most where less is better.
          metric: a column of the tidy table.
          along: what it took: "time" (simulated), "round", "bits_node", or another column that grows.

        Returns:
          One row a run: its seed and swept values, `along`, and `diverged` of its last row. Between the two
          measurements around the target a straight line is taken; NaN if the run never gets there, or diverges.

        Raises:
          ValueError: if there is no such column.
        """
        table = self.to_pandas()
        for column in (metric, along):
            if column not in table:
                raise ValueError(f"reach: {self.label} has no column {column!r}; it has {', '.join(table)}")
        names = list(self.runs[0]) if self.runs else ["seed"]
        rows = []
        for values, part in table.groupby(names, sort=False):
            y, x = part[metric].to_numpy(float), part[along].to_numpy(float)
            if not more_is_better(metric):
                y, aim = -y, -target
            else:
                aim = target
            there, took = np.flatnonzero(y >= aim), np.nan
            if len(there) and part["diverged"].iloc[-1] < 0:
                k = there[0]
                took = x[k] if k == 0 else x[k - 1] + (aim - y[k - 1]) / (y[k] - y[k - 1]) * (x[k] - x[k - 1])
            run = dict(zip(names, values if isinstance(values, tuple) else (values,), strict=True))
            rows.append({**run, along: float(took), "diverged": int(part["diverged"].iloc[-1])})
        return rows

    @property
    def diverged(self) -> list[dict[str, Any]]:
        """The last row of every run that met a non-finite number; empty when all went well."""
        last = self.rows[-1]["round"] if self.rows else 0
        return [row for row in self.rows if row["round"] == last and row["diverged"] >= 0]

    def save(self, folder: str | Path) -> None:
        """Writes tables, config and meta data into a directory; `load` reads them back, without `params`."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        done = self.rows[-1]["round"] if self.rows else 0
        meta = {
            "label": self.label,
            "round": done,
            "complete": bool(self.config) and done == last_round(self.config),
            "seconds": self.seconds,
            "versions": self.versions,
            "runs": self.runs,
        }
        edges = [{"source": int(a), "target": int(b)} for a, b in self.edges]
        write_atomically(
            folder / "config.yaml", yaml.safe_dump(self.config, sort_keys=False, allow_unicode=True)
        )
        write_atomically(folder / "metrics.csv", to_csv(self.rows))
        write_atomically(folder / "nodes.csv", to_csv(self.nodes))
        write_atomically(folder / "edges.csv", to_csv(edges))
        if self.partition is not None:
            counts = [{str(label): int(count) for label, count in enumerate(row)} for row in self.partition]
            write_atomically(folder / "partition.csv", to_csv(counts))
        write_atomically(folder / "meta.json", json.dumps(meta, indent=2))

    @classmethod
    def load(cls, folder: str | Path) -> "Result":
        """Reads a run directory, finished or not.

        Raises:
          ValueError: if it holds no run.
        """
        folder = Path(folder)
        if not (folder / "config.yaml").exists():
            raise ValueError(f"{folder}: not a run directory, config.yaml is missing")
        config = yaml.safe_load((folder / "config.yaml").read_text())
        meta = json.loads((folder / "meta.json").read_text()) if (folder / "meta.json").exists() else {}
        edges = [(row["source"], row["target"]) for row in read_csv(folder / "edges.csv")]
        counts = read_csv(folder / "partition.csv")
        return cls(
            label=meta.get("label", config.get("label") or folder.name),
            config=config,
            rows=read_csv(folder / "metrics.csv"),
            nodes=read_csv(folder / "nodes.csv"),
            edges=np.array(edges, dtype=int).reshape(-1, 2),
            partition=np.array([list(row.values()) for row in counts]) if counts else None,
            seconds=meta.get("seconds", {}),
            versions=meta.get("versions", {}),
            runs=meta.get("runs", []),
        )

    def nodes_to_pandas(self) -> "pd.DataFrame":
        """The per-node table at the last evaluation."""
        import pandas as pd

        return pd.DataFrame(self.nodes)
