"""Traffic counts of a real intersection: a table of time by detector, without labels. Not a `Dataset`."""

import importlib
import io
from typing import NamedTuple

import numpy as np

from dlax.data.fetch import DataNotFound, Member, read_member

TRAFFIC_COUNTS = Member(
    "traffic-anomaly==2.5.4",
    "traffic_anomaly/data/sample_counts.parquet",
    "29746e4af4a5a9b46585687c7c9aab8a3a7c2c7694ca193196593e478c5c5d65",
    "package and sample data MIT",
)


class TrafficCounts(NamedTuple):
    """Vehicles counted by every detector in the same quarters of an hour.

    Attributes:
      times: `[T]` datetime64, when each interval begins; increasing.
      detectors: `[n]` int, their numbers at the intersection.
      counts: `[T, n]` float64.
    """

    times: np.ndarray
    detectors: np.ndarray
    counts: np.ndarray


def traffic_counts(*, path: str | None = None) -> TrafficCounts:
    """The counts of 22 detectors over 2,492 quarter-hours (18 April to 13 May 2024) at one intersection.

    Four quarter-hours are missing, three in the first night and one on 7 May, at every detector alike.
    Fetched once out of the wheel of `traffic-anomaly` (0.2 MB). The file is parquet, which needs `pyarrow`, the
    extra "traffic".

    Args:
      path: the file `sample_counts.parquet`, the wheel, or a folder with the file. None: `$DLAX_DATA_DIR`, the
        cache, an installed traffic-anomaly, or pip.

    Raises:
      DataNotFound: if pyarrow is not installed, or the file is nowhere and cannot be fetched.
      ValueError: if a file is not the pinned one.
    """
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise DataNotFound(
            f'traffic_counts: parquet files need pyarrow, the extra "traffic": pip install "dlax[traffic]" '
            f"({error})"
        ) from error
    raw = read_member(TRAFFIC_COUNTS, path=path)
    table = parquet.read_table(io.BytesIO(raw)).to_pydict()
    stamps = np.array(table["timestamp"], dtype="datetime64[s]")
    times, row = np.unique(stamps, return_inverse=True)
    detectors, column = np.unique(np.array(table["detector"], dtype=int), return_inverse=True)
    counts = np.full((len(times), len(detectors)), np.nan)
    counts[row, column] = table["total"]
    return TrafficCounts(times, detectors, counts)
