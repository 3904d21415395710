"""What a run of the protocol leaves behind, and its bridge to the training."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dlax.modest.views import View
from dlax.sampling import scheduled
from dlax.types import Sampling

if TYPE_CHECKING:
    import pandas as pd


class Record(NamedTuple):
    """T rounds of n nodes. Round k: s nodes get θᵏ, train, and send to the aggregators of θᵏ⁺¹.

    A round that was never finished has −1 or NaN. `[T, 2]` counts searches for trainers of the round, and for
    aggregators of the next.

    Attributes:
      size: s.
      ranking: `[T + 1, n]` int32, the shared order.
      trained: `[T, n]` bool, who got θᵏ and began to train.
      counted: `[T, n]` bool, whose model is in θᵏ⁺¹, of the aggregator that was the first to have it.
      aggregator: `[T]` int32, that aggregator.
      end: `[T]` simulated seconds, when θᵏ⁺¹ was there.
      asked: `[T, 2]` int32, candidates that were asked, in all searches of the round.
      unanswered: `[T, 2]` int32, how many of them did not answer in time.
      searches: `[T, 2]` int32.
      transfers: `[T]` int32, models sent, those to oneself included.
      bytes: `[T]`, of models, views and pings.
      candidates: `[T]` int32, how many the first aggregator of the round could have asked; −1 in round 0.
      evicted: `[T]` int32, how many responsive members were not among them.
      split: `[T]` bool, whether models of this round that were counted came from another θᵏ than the first.
      views: all nodes' views at the end, `[n, n]`.
    """

    size: int
    ranking: np.ndarray
    trained: np.ndarray
    counted: np.ndarray
    aggregator: np.ndarray
    end: np.ndarray
    asked: np.ndarray
    unanswered: np.ndarray
    searches: np.ndarray
    transfers: np.ndarray
    bytes: np.ndarray
    candidates: np.ndarray
    evicted: np.ndarray
    split: np.ndarray
    views: View

    @property
    def finished(self) -> int:
        """How many rounds were finished; fewer than T if the protocol stalled."""
        return int((self.aggregator >= 0).sum())

    def clients(self) -> tuple[np.ndarray, np.ndarray]:
        """The cohorts `[T, s]` in the shared order, and who of them is counted, bool.

        Raises:
          ValueError: as `cohort`.
        """
        if self.split.any():
            raise ValueError(
                f"modest: in round {int(self.split.argmax())} models of different aggregators were averaged; "
                "train with aggregators=1 or success=1"
            )
        ranking = self.ranking[:-1]
        counted = np.take_along_axis(self.counted, ranking, axis=1)
        first = np.argsort(~counted, axis=1, kind="stable")[
            :, : self.size
        ]  # who is counted, and some to fill up
        return np.take_along_axis(ranking, first, axis=1), np.take_along_axis(counted, first, axis=1)

    def cohort(self) -> Sampling:
        """Who is counted in every round, for `simulate(..., cohort=)`: the training is then FedAvg's.

        In rounds after a stall nothing happens.

        Raises:
          ValueError: if trainers of one round began from different models: several aggregators took the mean of
            different arrivals (`success` below 1, time-outs), or views differed. One model cannot stand for them.
        """
        clients, counted = self.clients()
        return scheduled(clients, None if counted.all() else counted)

    def table(self) -> "pd.DataFrame":
        """One row a round: when it ended, who aggregated, how many were asked, what it cost."""
        import pandas as pd

        return pd.DataFrame({
            "round": np.arange(len(self.end)),
            "end": self.end,
            "aggregator": self.aggregator,
            "trained": self.trained.sum(axis=1),
            "counted": self.counted.sum(axis=1),
            "asked_trainers": self.asked[:, 0],
            "asked_aggregators": self.asked[:, 1],
            "unanswered": self.unanswered.sum(axis=1),
            "transfers": self.transfers,
            "bytes": self.bytes,
            "candidates": self.candidates,
            "evicted": self.evicted,
        })  # fmt: skip


def empty(ranking: np.ndarray, size: int, views: View) -> Record:
    """The record before the start; it is written to as things happen."""
    rounds, n = len(ranking) - 1, ranking.shape[1]
    return Record(
        size=size,
        ranking=ranking,
        trained=np.zeros((rounds, n), bool),
        counted=np.zeros((rounds, n), bool),
        aggregator=np.full(rounds, -1, np.int32),
        end=np.full(rounds, np.nan),
        asked=np.zeros((rounds, 2), np.int32),
        unanswered=np.zeros((rounds, 2), np.int32),
        searches=np.zeros((rounds, 2), np.int32),
        transfers=np.zeros(rounds, np.int32),
        bytes=np.zeros(rounds),
        candidates=np.full(rounds, -1, np.int32),
        evicted=np.zeros(rounds, np.int32),
        split=np.zeros(rounds, bool),
        views=views,
    )
