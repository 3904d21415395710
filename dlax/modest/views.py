"""What a node knows of all others: when each was last active, and whether it has joined or left."""

from typing import NamedTuple

import numpy as np


class View(NamedTuple):
    """One node's view of n nodes, `[n]`; or the views of all, `[n, n]`, a row a node.

    Attributes:
      last_active: int32, the last round in which a node was heard of; −1: never.
      counter: int32, how often it has joined or left; it counts that itself.
      joined: bool, what it did last.
    """

    last_active: np.ndarray
    counter: np.ndarray
    joined: np.ndarray


def views(members: np.ndarray) -> View:
    """All nodes' views at the start: the members `[n]` know one another from the start, and nobody was active."""
    n = len(members)
    known = np.broadcast_to(np.asarray(members, bool), (n, n)).copy()
    return View(np.full((n, n), -1, np.int32), known.astype(np.int32), known)


def merge(mine: View, theirs: View) -> View:
    """What both know, for each node: the later activity, and the state with the higher counter.

    As the paper describes it. The code of February 2023 overwrites the last activity by the counter where theirs is
    higher, so that a node that rejoins can look inactive; that is not reproduced.
    """
    newer = theirs.counter > mine.counter
    return View(
        np.maximum(mine.last_active, theirs.last_active),
        np.maximum(mine.counter, theirs.counter),
        np.where(newer, theirs.joined, mine.joined),
    )


def join(view: View, node: int, round: int) -> View:
    """The node's own view once it has joined: its counter grows, and it is active in this round."""
    return _changed(view, node, round, joined=True)


def leave(view: View, node: int, round: int) -> View:
    """The node's own view once it has left: its counter grows."""
    return _changed(view, node, round, joined=False)


def candidates(view: View, round: int, window: int) -> np.ndarray:
    """Who may be asked in round k: whoever has joined and was active in round k − Δ or later."""
    return view.joined & (view.last_active >= round - window)


def _changed(view: View, node: int, round: int, *, joined: bool) -> View:
    changed = View(*(field.copy() for field in view))
    changed.counter[node] += 1
    changed.joined[node] = joined
    changed.last_active[node] = max(round, view.last_active[node])
    return changed
