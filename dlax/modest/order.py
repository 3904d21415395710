"""The order that all nodes agree on without a word, and how a node goes down it until enough have answered."""

from typing import NamedTuple

import numpy as np

from dlax.sampling import mix32


def order(n: int, rounds: int, *, key: int = 0) -> np.ndarray:
    """The shared order of n nodes in every round, by a hash of (node, round): `[rounds, n]` int32.

    The hash is that of `dlax.sampling.hashed`, a 32-bit mix (the paper takes MD5 of the two as text). Equal hashes
    go by number.

    Args:
      n: number of nodes.
      rounds: T.
      key: other keys give other orders; 0 gives that of `hashed`.
    """
    nodes = np.arange(n, dtype=np.uint32)[None]
    shift = key * 0x9E3779B1 % 2**32
    when = np.arange(rounds, dtype=np.uint32)[:, None] + np.uint32(shift)
    return np.argsort(mix32(nodes, when), axis=1, kind="stable").astype(np.int32)


def sample(ranking: np.ndarray, candidates: np.ndarray, size: int) -> np.ndarray:
    """The first s candidates of an order, `[≤ s]`."""
    return ranking[candidates[ranking]][:size]


class Search(NamedTuple):
    """What came of asking down the order.

    Attributes:
      chosen: `[≤ s]`, the first s that answered, in the order; fewer where the order ended.
      asked: how many were asked, oneself included if one's turn came.
      seconds: until the last of the chosen answered; until the last time-out where the order ended.
    """

    chosen: np.ndarray
    asked: int
    seconds: float


def search(
    ranking: np.ndarray,
    candidates: np.ndarray,
    responsive: np.ndarray,
    size: int,
    *,
    round_trip: np.ndarray,
    timeout: float,
) -> Search:
    """Asks the first s candidates at once, and for each that does not answer in time the next in the order.

    Whoever is pinged at the same time is given up at the same time, so the pings come in waves, a time-out apart; in
    all they go down to the s-th candidate that answers.

    Args:
      ranking: `[n]`, the order of the round.
      candidates: `[n]` bool.
      responsive: `[n]` bool, who answers.
      size: s.
      round_trip: `[n]`, seconds until an answer is there; 0 for oneself.
      timeout: seconds after which a node is given up.
    """
    queue = ranking[candidates[ranking]]
    answers = responsive[queue] & (round_trip[queue] < timeout)
    places = np.flatnonzero(answers)[:size]
    asked = int(places[-1]) + 1 if len(places) == size else len(queue)
    seconds, begin, end, wave = 0.0, 0, min(size, asked), 0
    while begin < end:
        got = queue[begin:end][answers[begin:end]]
        missing = end - begin - len(got)
        if len(got):
            seconds = max(seconds, wave * timeout + float(round_trip[got].max()))
        if missing:
            wave += 1
        begin, end = end, min(end + missing, asked)
    if len(places) < size and asked > len(places):
        seconds = max(seconds, wave * timeout)
    return Search(queue[places], asked, seconds)
