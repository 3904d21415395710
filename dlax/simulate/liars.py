"""A run with Byzantine nodes: who is honest, whether everything fits together, and the problem as it is then."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from dlax.channel import attacked
from dlax.topology import Topology
from dlax.types import Attack, Knowledge, Pieces, Placement, Poison, Problem


def under_attack(
    problem: Problem,
    pieces: Pieces,
    topology: Topology,
    byzantine: Placement | np.ndarray,
    knowledge: Knowledge,
) -> tuple[np.ndarray, Problem]:
    """The honest nodes' indices, and the problem as they and the liars see it.

    Raises:
      ValueError: if problem, attack, channel and graph do not fit together, or somewhere there are too many liars.
    """
    if pieces.attack is None:
        raise ValueError("attack: is required, since there is byzantine")
    mask = byzantine(topology) if callable(byzantine) else np.asarray(byzantine)
    if mask.shape != (topology.n,) or mask.dtype != bool:
        raise ValueError(
            f"byzantine: expected a mask of {topology.n} booleans, got {mask.dtype} {mask.shape}"
        )
    if mask.all():
        raise ValueError("byzantine: at least one node must be honest")
    attacked(pieces.channel, pieces.attack, knowledge)  # refuses what does not fit
    if pieces.channel.check is not None:
        heard, lying = heard_by(topology, mask)
        pieces.channel.check(heard, np.where(mask, 0, lying))  # what liars hear does not matter
    return np.flatnonzero(~mask), _poison(problem, pieces.attack)


def heard_by(topology: Topology, byzantine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many messages every node combines, its own included, and how many of them are Byzantine, `[n]` each.

    Of a sequence of graphs, in the round with the largest share of them.
    """
    heard, lying = np.ones(topology.n, int), np.zeros(topology.n, int)
    for t in range(topology.period):
        W = topology.matrices[t].tocoo()
        other = (W.row != W.col) & (W.data != 0)
        row, col = W.row[other], W.col[other]
        now = 1 + np.bincount(row, minlength=topology.n)
        lies = np.bincount(row, weights=byzantine[col], minlength=topology.n).astype(int)
        worse = lies * heard > lying * now
        heard, lying = np.where(worse | (t == 0), now, heard), np.where(worse | (t == 0), lies, lying)
    return heard, lying


def _poison(problem: Problem, attack: Attack) -> Problem:
    """The problem with Byzantine nodes' data poisoned, and without an optimum that counts their data."""
    problem = problem._replace(optimum=None, minimum=None)
    if attack.poison is None:
        return problem
    if problem.poisoned is None:
        raise ValueError(
            "attack: poisons labelled samples, and the problem has none (sequences do not count)"
        )
    loss, evaluate = _poisoned(problem.poisoned, attack.poison)
    return problem._replace(
        loss=loss, evaluate=evaluate, prox=_clean_only, conjugate=_clean_only, exact=_clean_only
    )


def _clean_only(*arguments: Any) -> Any:
    """In place of a proximal step or conjugate, which would be of clean data."""
    raise ValueError("attack: poisons minibatches, and this algorithm takes its steps on whole, clean losses")


@lru_cache(maxsize=8)
def _poisoned(poisoned: Callable[[Poison], Any], poison: Poison) -> Any:
    """The same functions for the same poison, so that a program is found again."""
    return poisoned(poison)
