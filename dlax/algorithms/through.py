"""An algorithm over a channel of its own, whatever the run's."""

from typing import Any

from dlax.types import Algorithm, Channel, Info, Round, Tree


def through(algorithm: Algorithm, channel: Channel) -> Algorithm:
    """The same algorithm with its messages over `channel`: how most compressed methods are made.

    Args:
      algorithm: whose messages they are.
      channel: what they travel over.

    Returns:
      An algorithm that refuses, by `ValueError`, a run whose own channel is not plain.
    """

    def init(params: Tree, round: Round) -> Any:
        return algorithm.init(params, round.over(channel))

    def step(state: Any, round: Round) -> tuple[Any, Info]:
        return algorithm.step(state, round.over(channel))

    return Algorithm(init, step)
