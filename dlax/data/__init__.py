"""Real data sets and their partitions over nodes. Host NumPy only.

    data = DATASETS["digits"]()
    parts = split(data.y_train, data.groups, 16, PARTITIONS["dirichlet"](alpha=0.3), seed=0)

A data set is any function that returns a `Dataset`, a partition any function that returns a `Partition`; the
two dicts are what configs and `dlax list` offer. Nothing is made up when data are missing: the loaders raise
`DataNotFound`, which names the command that brings them. `from_arrays` takes arrays of your own.
"""

from collections.abc import Callable

from dlax.data.cache import cache_dir
from dlax.data.dataset import Dataset, from_arrays
from dlax.data.fetch import DataNotFound
from dlax.data.hub import from_hub
from dlax.data.partition import (
    Partition,
    by_group,
    check_partition,
    class_windows,
    dirichlet,
    empty_nodes,
    iid,
    label_skew,
    partition_table,
    quantity_skew,
    shards,
    split,
)
from dlax.data.sources import adult, digits, fashion_mnist, mnist5k, mushroom, npz
from dlax.data.text import descriptions, from_texts, shakespeare
from dlax.data.traffic import TrafficCounts, traffic_counts

DATASETS: dict[str, Callable[..., Dataset]] = {
    "digits": digits,
    "fashion_mnist": fashion_mnist,
    "mnist5k": mnist5k,
    "adult": adult,
    "mushroom": mushroom,
    "shakespeare": shakespeare,
    "descriptions": descriptions,
    "npz": npz,
    "hub": from_hub,
}

PARTITIONS: dict[str, Callable[..., Partition]] = {
    "iid": iid,
    "shards": shards,
    "dirichlet": dirichlet,
    "label_skew": label_skew,
    "class_windows": class_windows,
    "quantity_skew": quantity_skew,
    "by_group": by_group,
    "empty_nodes": empty_nodes,
}

__all__ = [
    "DATASETS",
    "PARTITIONS",
    "DataNotFound",
    "Dataset",
    "Partition",
    "TrafficCounts",
    "adult",
    "by_group",
    "cache_dir",
    "check_partition",
    "class_windows",
    "descriptions",
    "digits",
    "dirichlet",
    "empty_nodes",
    "fashion_mnist",
    "from_arrays",
    "from_hub",
    "from_texts",
    "iid",
    "label_skew",
    "mnist5k",
    "mushroom",
    "npz",
    "partition_table",
    "quantity_skew",
    "shakespeare",
    "shards",
    "split",
    "traffic_counts",
]
