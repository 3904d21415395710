"""Named key streams: what is random in a run, and from which key it draws.

    run key = key(seed);  round key = fold_in(run key, t);  stream = fold_in(round key, name)

State never holds a key, so a run resumes exactly at any round, and two algorithms with one seed see the same
starts, minibatches and graphs.
"""

import zlib

import jax

from dlax.types import Key

STREAMS = ("start", "data", "graph", "channel", "faults", "algorithm", "events")


def stream(key: Key, name: str) -> Key:
    """The sub-stream `name` of a key.

    Raises:
      ValueError: if no stream has that name.
    """
    if name not in STREAMS:
        raise ValueError(f"streams: {name!r} is not one of {STREAMS}")
    return jax.random.fold_in(key, zlib.crc32(name.encode()) & 0x7FFFFFFF)


def fault_key(run_key: Key, t: jax.Array) -> Key:
    """What the faults of round t draw from; `participation` draws from the stream itself."""
    return jax.random.fold_in(stream(round_key(run_key, t), "faults"), 1)


def round_key(run_key: Key, t: jax.Array) -> Key:
    """The key of round t of a run."""
    return jax.random.fold_in(run_key, t)
