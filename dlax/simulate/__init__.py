"""The only loops. One engine a clock; rounds for now."""

from dlax.simulate.rounds import Clock, Snapshot, run_rounds, simulate
from dlax.simulate.streams import STREAMS, stream

__all__ = ["STREAMS", "Clock", "Snapshot", "run_rounds", "simulate", "stream"]
