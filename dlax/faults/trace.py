"""Availability from a file, and to one: what happened can be replayed."""

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from dlax import mixing
from dlax.simulate.streams import fault_key, round_key, stream
from dlax.tables import read_table
from dlax.topology import Topology
from dlax.types import Fault, Outage, Site

if TYPE_CHECKING:
    import pandas as pd

STATES = ("awake", "asleep", "gone")


def trace(*, path: str, repeat: bool = False) -> Fault:
    """Nodes are awake, asleep or gone as a table says.

    The table has a row for every change: columns `round`, `node` and `state` ("awake", "asleep" or "gone"). A state
    holds until the next change; before the first a node is awake. `record` writes the same.

    Args:
      path: a CSV file, or one that ends in .parquet (which needs the extra "traffic", for pyarrow).
      repeat: start again after the last change, from round 0 on; False: the last states hold.

    Returns:
      A fault.

    Raises:
      ValueError: if the file cannot be read as such a table, or names a node that the topology lacks, or in some
        round every node is gone.
    """
    states = _read(path)

    def prepare(topology: Topology) -> tuple[np.ndarray, np.ndarray]:
        """The rounds in which something changes, from 0 on, `[c]`, and every node's state from then on, `[c, n]`."""
        rounds, nodes, what = states
        if len(nodes) and nodes.max() >= topology.n:
            raise ValueError(f"trace: {path}: node {nodes.max()} is not among the {topology.n} nodes")
        when = np.unique(np.append(rounds, 0)).astype(np.int32)
        rows = np.searchsorted(when, rounds)
        table = np.zeros((len(when), topology.n), np.int8)
        first = np.searchsorted(rows, np.arange(len(when) + 1))
        for k in range(len(when)):
            table[k] = table[k - 1] if k else 0
            these = slice(first[k], first[k + 1])
            table[k, nodes[these]] = what[these]  # of two of one node the last holds
        empty = np.flatnonzero((table == STATES.index("gone")).all(axis=1))
        if len(empty):
            raise ValueError(f"trace: {path}: every node is gone in round {when[empty[0]]}")
        return when, table

    def step(memory: Any, site: Site) -> tuple[Outage, Any]:
        when, table = site.arrays
        t = site.t % (when[-1] + 1) if repeat else site.t
        now = table[jnp.searchsorted(when, t, side="right") - 1]
        return Outage(gone=now == STATES.index("gone"), asleep=now == STATES.index("asleep")), memory

    return Fault(step, prepare)


def record(fault: Fault, topology: Topology, *, rounds: int, seed: int = 0) -> "pd.DataFrame":
    """The table of changes that a fault makes in a run of this seed, as `trace` reads it.

    Args:
      fault: of nodes; what it does to links is not in the table, nor what depends on work done (`battery`).
      topology: the graph of the run.
      rounds: how many rounds to write down.
      seed: of the run.

    Returns:
      A data frame with columns `round`, `node` and `state`; save it with `to_csv(path, index=False)`.

    Raises:
      ValueError: if the fault depends on what the run does, or fails links.
    """
    import pandas as pd

    if fault.after is not None:
        raise ValueError("record: this fault depends on what the run does, and has no table before it")
    plan, tables = mixing.plan(topology)
    arrays = jax.tree.map(jnp.asarray, (tables, fault.prepare(topology)))
    run_key = jax.random.key(seed)

    def site(t: jax.Array) -> Site:
        key = round_key(run_key, t)

        def hears() -> jax.Array:
            made = mixing.network(plan, arrays[0], t, stream(key, "graph"), stream(key, "channel"), None)
            return made.table()[0]

        return Site(t, fault_key(run_key, t), arrays[1], hears)

    def body(memory: Any, t: jax.Array) -> tuple[Any, jax.Array]:
        outage, memory = fault.step(memory, site(t))
        if outage.works is not None:
            raise ValueError("record: this fault fails links, and the table is of nodes")
        gone, asleep = (
            jnp.zeros(topology.n, bool) if mask is None else mask for mask in (outage.gone, outage.asleep)
        )
        return memory, jnp.where(gone, 2, jnp.where(asleep, 1, 0)).astype(jnp.int8)

    states = np.asarray(
        jax.jit(lambda: jax.lax.scan(body, fault.begin(site(jnp.int32(0))), jnp.arange(rounds))[1])()
    )
    before = np.concatenate([np.zeros((1, topology.n), np.int8), states[:-1]])
    when, who = np.nonzero(states != before)
    return pd.DataFrame({"round": when, "node": who, "state": [STATES[k] for k in states[when, who]]})


def _read(path: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rounds, nodes and states (their places in `STATES`) of a table, by round."""
    table = read_table(path, "trace", ("round", "node", "state"))
    for name in ("round", "node"):
        if not (np.issubdtype(table[name].dtype, np.integer) and (table[name] >= 0).all()):
            raise ValueError(f"trace: {path}: column {name!r} must hold whole numbers that are at least 0")
    if len(table) and table["round"].max() >= 2**31 - 1:
        raise ValueError(f"trace: {path}: round must be below 2³¹ − 1, got {table['round'].max()}")
    strange = sorted(set(table["state"].astype(str)) - set(STATES))
    if strange:
        raise ValueError(f"trace: {path}: state must be one of {', '.join(STATES)}, got {strange[0]!r}")
    table = table.sort_values("round", kind="stable")
    what = np.array([STATES.index(str(state)) for state in table["state"]], np.int8)
    return table["round"].to_numpy(), table["node"].to_numpy(), what
