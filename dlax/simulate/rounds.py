"""The rounds clock: every node steps, then gossips; the host sees one number a metric and block."""

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlax import mixing
from dlax.channel import linear
from dlax.results import METRICS, Result
from dlax.simulate.compiled import Compiled, place_arrays, with_facts
from dlax.simulate.liars import under_attack
from dlax.simulate.pace import Clock, pace_of
from dlax.simulate.program import Arrays, Carry, Hyper, Program, Start, functions
from dlax.topology import Topology
from dlax.types import (
    Algorithm,
    Asynchronous,
    Attack,
    Channel,
    Execution,
    Fault,
    Knowledge,
    Pieces,
    Placement,
    Problem,
    Sampling,
    Tree,
)

Build = Callable[[Hyper], Pieces]
Advance = tuple[Carry, list[dict[str, Any]], list[dict[str, Any]]]  # carry, rows, table of nodes


class Snapshot(NamedTuple):
    """A run between two blocks: all that is needed to go on bit for bit.

    Attributes:
      round: rounds done.
      carry: device arrays; leaves lead with the runs when there are several.
      rows: the tidy table so far.
      nodes: the per-node table at this round.
      seconds: `compile` and `run` so far.
    """

    round: int
    carry: Carry
    rows: list[dict[str, Any]]
    nodes: list[dict[str, Any]]
    seconds: dict[str, float]


@dataclass(frozen=True)
class Ready:
    """Builds from an algorithm, or a factory of one whose traced options are swept."""

    algorithm: Algorithm | Callable[..., Algorithm]
    channel: Channel
    attack: Attack | None = None
    faults: Fault | None = None

    def __call__(self, hyper: Hyper) -> Pieces:
        """The algorithm with these hyper-parameters, the channel, attack and faults."""
        made = self.algorithm if isinstance(self.algorithm, Algorithm) else self.algorithm(**hyper)
        if not isinstance(made, Algorithm):
            raise ValueError("simulate: an asynchronous algorithm takes a duration, not rounds")
        return Pieces(made, self.channel, self.attack, self.faults)


@dataclass(frozen=True)
class ReadyEvents:
    """Builds from an asynchronous algorithm, or a factory of one."""

    algorithm: Any

    def __call__(self, hyper: Hyper) -> Asynchronous:
        """The algorithm with these hyper-parameters."""
        ready = isinstance(self.algorithm, Asynchronous | Algorithm)
        made = self.algorithm if ready else self.algorithm(**hyper)
        if not isinstance(made, Asynchronous):
            raise ValueError("simulate: this algorithm takes rounds, not a duration")
        return made


def simulate(
    algorithm: Algorithm | Callable[..., Algorithm] | Asynchronous | Callable[..., Asynchronous],
    problem: Problem,
    topology: Topology | None = None,
    *,
    cohort: Sampling | None = None,
    channel: Channel = linear(),
    attack: Attack | None = None,
    faults: Fault | None = None,
    rounds: int | None = None,
    duration: float | None = None,
    eval_every: float | None = None,
    seeds: int | Sequence[int] = 1,
    hyper: Mapping[str, float | Sequence[float]] | None = None,
    **options: Any,
) -> Result:
    """Runs an algorithm on a problem over a topology, or in cohorts: one compiled program for all seeds and values.

    Args:
      algorithm: an `Algorithm`, or a factory such as `dsgd` whose arguments left of `*` come from `hyper`. A
        factory called again with other values does not compile again; a new `Algorithm` does. An
        `Asynchronous` algorithm, or its factory, takes a `duration` in place of `rounds`.
      problem: what the nodes minimise.
      topology: who hears whom; its n must be the problem's.
      cohort: in place of a topology: which of the problem's n clients a server hears in a round, from
        `dlax.sampling`. Only their rows are computed; for algorithms with a server.
      channel: how messages travel; asynchronous algorithms take none.
      attack: what Byzantine nodes do; who they are is the option `byzantine`.
      faults: which nodes and links fail, and when; `dlax.faults.together` makes one of several.
      rounds: T, rounds to run.
      duration: simulated time to run, of asynchronous algorithms.
      eval_every: rounds, or time, between evaluations; by default there are 20.
      seeds: how many seeds (0, 1, ...), or which.
      hyper: traced options of the factory; lists are swept, and combine with every seed and one another.
      **options: those of `run_rounds`: `start`, `participation`, `precision`, `execution`, `clock`, `label`,
        `byzantine`, `knowledge`; of `run_cohorts`: `precision`, `execution`, `clock`, `label`; or of `run_events`:
        `start`, `precision`, `label`, `one_at_a_time`.

    Returns:
      The result, with a row for round 0 and for every evaluation after it.

    Raises:
      ValueError: on anything that does not fit together, before the run.
    """
    if hyper:
        check_hyper(algorithm, hyper)
    if (rounds is None) == (duration is None):
        raise ValueError("simulate: give rounds, or the duration of an asynchronous algorithm, and not both")
    if (topology is None) == (cohort is None):
        raise ValueError(
            "simulate: give a topology, or the cohort of an algorithm with a server, and not both"
        )
    values = {k: list(np.atleast_1d(np.asarray(v, float))) for k, v in (hyper or {}).items()}
    which = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if cohort is not None:
        from dlax.simulate.cohorts import run_cohorts  # which builds on this module

        if rounds is None:
            raise ValueError("simulate: cohorts take rounds, not a duration")
        strange = sorted(options.keys() - inspect.signature(run_cohorts).parameters.keys())
        if strange:
            raise ValueError(f"simulate: {strange[0]} has no place beside cohort")
        return run_cohorts(
            Ready(algorithm, channel, attack, faults), problem, cohort, rounds=rounds,  # type: ignore[arg-type]
            eval_every=int(eval_every or max(1, rounds // 20)), seeds=which, hyper=values, **options,
        )  # fmt: skip
    assert topology is not None
    if duration is not None:
        from dlax.simulate.events import run_events  # which builds on this module

        if not channel.plain:
            raise ValueError("simulate: an asynchronous algorithm takes no channel")
        if attack is not None:
            raise ValueError("simulate: an asynchronous algorithm takes no attack")
        if faults is not None:
            raise ValueError("simulate: an asynchronous algorithm takes no faults")
        every = eval_every if eval_every is not None else duration / 20 or 1.0
        return run_events(
            ReadyEvents(algorithm), problem, topology, duration=duration, eval_every=every, seeds=which,
            hyper=values, **options,
        )  # fmt: skip
    assert rounds is not None
    return run_rounds(
        Ready(algorithm, channel, attack, faults),  # type: ignore[arg-type]
        problem,
        topology,
        rounds=rounds,
        eval_every=int(eval_every or max(1, rounds // 20)),
        seeds=which,
        hyper=values,
        **options,
    )


def check_hyper(algorithm: Any, hyper: Mapping[str, Any]) -> None:
    """Refuses `hyper` for a ready algorithm, and names that its factory does not trace."""
    if isinstance(algorithm, Algorithm | Asynchronous):
        raise ValueError(
            "simulate: hyper needs a factory such as dlax.algorithms.dsgd, got a ready Algorithm"
        )
    parameters = inspect.signature(algorithm).parameters.values()
    traced = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    for name in hyper:
        if traced and name not in traced:
            raise ValueError(f"simulate: hyper {name!r} is no traced option; traced are {', '.join(traced)}")


def run_rounds(
    build: Build,
    problem: Problem,
    topology: Topology,
    *,
    rounds: int,
    eval_every: int,
    seeds: Sequence[int],
    hyper: Mapping[str, Sequence[float]],
    swept: Sequence[str] | None = None,
    start: Start = "common",
    participation: float | None = None,
    precision: Literal["float32", "float64"] = "float32",
    execution: Execution | Literal["auto"] = "auto",
    kernel: mixing.Kernel | Literal["auto"] = "auto",
    clock: Clock = Clock(),
    byzantine: Placement | np.ndarray | None = None,
    knowledge: Knowledge = "everything",
    label: str = "run",
    resume: Callable[[Carry], Snapshot | None] | None = None,
    on_block: Callable[[Snapshot], bool | None] | None = None,
    dry: bool = False,
) -> Result:
    """The loop over blocks; `simulate` and the config runner are its two callers.

    Args:
      build: hyper-parameters of one run -> algorithm, channel, attack, faults; called while tracing. Part of the
        program's identity: builds that compare equal share a compilation.
      problem: what the nodes minimise.
      topology: who hears whom.
      rounds: T.
      eval_every: rounds in a block.
      seeds: one run a seed and combination of `hyper`.
      hyper: values of the traced options by name.
      swept: which of `hyper` are columns of the table; None means all.
      start: "common": all nodes start from one draw; "independent": each from its own.
      participation: probability that a node takes part in a round; a node that does not keeps its state and is
        not heard. None means always.
      precision: of parameters, data and weights.
      execution: "vmap" computes all nodes' gradients together, "chunks" sixteen at a time, "map" one after the
        other; "auto" is the fastest of them for the model, by measurement.
      kernel: the mixing kernel, or "auto".
      clock: what a round costs in simulated time.
      byzantine: which nodes the attack moves: a placement, or a mask `[n]`. All metrics are then of the honest nodes
        alone; `objective` stays that of the whole data set where samples have no owners in it.
      knowledge: what Byzantine nodes know: "own", "neighbourhood" or "everything".
      label: the result's name.
      resume: called with a fresh carry; returns the snapshot to go on from, or None.
      on_block: called after every block; True stops the run there.
      dry: only see whether everything fits together: trace the program, and do not compile it.

    Raises:
      ValueError: if sizes do not fit or a number is out of range.
      Fits: in place of running, if `dry`.
    """
    check_sizes(problem, topology)
    if rounds < 0 or eval_every < 1:
        raise ValueError(
            f"simulate: rounds must be at least 0 and eval_every at least 1, got {rounds} and {eval_every}"
        )
    if not seeds:
        raise ValueError("simulate: seeds must name at least one seed")
    if participation is not None and not 0 < participation <= 1:
        raise ValueError(f"simulate: participation must be in (0, 1], got {participation}")

    with jax.enable_x64(precision == "float64"):
        dtype = np.float64 if precision == "float64" else np.float32
        honest = None
        if byzantine is not None:
            pieces = build({name: jnp.asarray(each[0], dtype) for name, each in hyper.items()})
            honest, problem = under_attack(problem, pieces, topology, byzantine, knowledge)
        plan, tables = mixing.plan(topology, kernel=kernel, dtype=dtype)
        pace, numbers = pace_of(clock, problem.n)
        arrays = place_arrays(problem, tables, participation, numbers, dtype)._replace(
            honest=None if honest is None else jnp.asarray(honest, jnp.int32),
        )
        program = Program(
            build=build,
            problem=functions(problem),
            plan=plan,
            topology=topology.name,
            properties=topology.properties,
            execution=choose_execution(execution, problem),
            start=start,
            knowledge=knowledge,
            pace=pace,
        )
        runs, keys, values = runs_of(seeds, hyper, swept, dtype)
        compiled, arrays = with_facts(program, topology, len(runs) > 1, keys, values, arrays, dry=dry)

        def advance(t: int, stop: int, carry: Carry, rows: list[dict[str, Any]]) -> Advance:
            carry, metrics, by_node = compiled.block(
                jnp.int32(t), jnp.int32(stop), carry, keys, values, arrays
            )
            metrics, by_node = jax.device_get((metrics, by_node))
            new = round_rows(runs, stop, metrics, rows[-len(runs) :], problem.n, problem.n)
            return carry, new, node_rows(runs, by_node, topology, problem, honest)

        made = run_blocks(
            compiled, (keys, values, arrays), advance, rounds=rounds, eval_every=eval_every, resume=resume,
            on_block=on_block,
        )  # fmt: skip
        return result_of(label, made, made.carry.state.params, runs, problem, topology)


def run_blocks(
    compiled: Compiled,
    start: tuple[jax.Array, Hyper, Arrays],
    advance: Callable[[int, int, Carry, list[dict[str, Any]]], Advance],
    *,
    rounds: int,
    eval_every: int,
    resume: Callable[[Carry], Snapshot | None] | None,
    on_block: Callable[[Snapshot], bool | None] | None,
) -> Snapshot:
    """Block after block of a compiled run, from the start or where it was left.

    Args:
      compiled: its `init` is called here.
      start: what `init` takes.
      advance: `(t, stop, carry, rows so far) -> (carry, new rows, table of nodes)`, which runs the rounds t, ...,
        stop − 1 and measures; the first call, of a run that is not resumed, is of no round.
      rounds: T; of the other clocks the number of measurements after the first.
      eval_every: rounds in a block; of the other clocks 1.
      resume: as in `run_rounds`.
      on_block: likewise.

    Returns:
      The last snapshot.
    """
    seconds = {"compile": compiled.seconds, "run": 0.0}
    clock_start = time.perf_counter()
    carry = compiled.init(*start)
    snapshot = (resume(carry) if resume else None) or Snapshot(0, carry, [], [], seconds)
    seconds = {
        **snapshot.seconds,
        "compile": snapshot.seconds["compile"] + compiled.seconds * (snapshot.round > 0),
    }
    carry, t, rows, nodes = snapshot.carry, snapshot.round, list(snapshot.rows), snapshot.nodes
    before = seconds["run"]
    while not rows or t < rounds:
        stop = min(t + eval_every - t % eval_every, rounds) if rows else t
        carry, new, nodes = advance(t, stop, carry, rows)
        t, rows = stop, rows + new
        seconds = {**seconds, "run": before + time.perf_counter() - clock_start}
        if on_block and on_block(Snapshot(t, carry, rows, nodes, seconds)):
            break
    return Snapshot(t, carry, rows, nodes, seconds)


def result_of(
    label: str,
    made: Snapshot,
    params: Tree,
    runs: list[dict[str, Any]],
    problem: Problem,
    topology: Topology | None = None,
) -> Result:
    """The result of a run that ended with this snapshot and these models; a server's has no topology."""
    params = jax.device_get(params)
    return Result(
        label=label,
        config={},
        rows=made.rows,
        nodes=made.nodes,
        edges=np.zeros((0, 2), int) if topology is None else edges_of(topology),
        partition=None if problem.table is None else np.asarray(problem.table),
        seconds=made.seconds,
        params=params if len(runs) > 1 else jax.tree.map(lambda leaf: leaf[None], params),
        runs=runs,
    )


def check_sizes(problem: Problem, topology: Topology) -> None:
    """Refuses a topology of another number of nodes than the problem's."""
    if problem.n != topology.n:
        raise ValueError(
            f"simulate: the problem has {problem.n} nodes, topology {topology.name!r} {topology.n}"
        )


def choose_execution(execution: Execution | Literal["auto"], problem: Problem) -> Execution:
    """The execution over nodes that was asked for, or the fastest for the model."""
    if execution == "auto":
        return problem.on_cpu if jax.default_backend() == "cpu" else "vmap"
    return execution


def runs_of(
    seeds: Sequence[int], hyper: Mapping[str, Sequence[float]], swept: Sequence[str] | None, dtype: type
) -> tuple[list[dict[str, Any]], jax.Array, Hyper]:
    """Every seed with every combination of traced values; without a leading axis when there is one run.

    Of the values a run is named by those that are `swept`; None means all.
    """
    runs: list[dict[str, Any]] = [{"seed": int(seed)} for seed in seeds]
    for name, values in hyper.items():
        runs = [{**run, name: float(value)} for value in values for run in runs]
    keys = jax.vmap(jax.random.key)(jnp.asarray([run["seed"] for run in runs]))
    traced = {name: jnp.asarray(np.array([run[name] for run in runs], dtype)) for name in hyper}
    columns = {"seed", *(hyper if swept is None else swept)}
    runs = [{name: value for name, value in run.items() if name in columns} for run in runs]
    if len(runs) == 1:
        return runs, keys[0], {name: value[0] for name, value in traced.items()}
    return runs, keys, traced


def round_rows(
    runs: list[dict[str, Any]],
    t: int,
    metrics: dict[str, Any],
    last: list[dict[str, Any]],
    slots: int,
    n: int,
) -> list[dict[str, Any]]:
    """One row a run; bits, of so many senders over n nodes, and time are summed on the host in double precision."""
    rows = []
    for r, run in enumerate(runs):
        values = {k: np.asarray(v).reshape(-1)[r].item() for k, v in metrics.items() if k != "bits"}
        high, low = np.asarray(metrics["bits"]).reshape(len(runs), 2, slots)[r].astype(float).sum(axis=1)
        total = high * 2.0**20 + low + (last[r]["bits_total"] if last else 0.0)
        elapsed = values.pop("time") + (last[r]["time"] if last else 0.0)
        values |= {"round": t, "time": elapsed, "bits_node": total / n, "bits_total": total}
        extras = {name: value for name, value in values.items() if name not in METRICS}
        rows.append({**run, **{name: values[name] for name in METRICS if name in values}, **extras})
    return rows


def node_rows(
    runs: list[dict[str, Any]],
    by_node: dict[str, Any],
    topology: Topology,
    problem: Problem,
    honest: np.ndarray | None = None,
) -> list[dict[str, Any]]:
    """One row a (run, node)."""
    samples = None if problem.table is None else np.asarray(problem.table).sum(axis=1)
    values = {name: np.asarray(value).reshape(len(runs), -1) for name, value in by_node.items()}
    rows = []
    for r, run in enumerate(runs):
        for i in range(problem.n if values else 0):
            row = {**run, "node": i, "degree": int(topology.degrees[i])}
            if samples is not None:
                row["samples"] = int(samples[i])
            if honest is not None:
                row["byzantine"] = int(i not in honest)
            rows.append(row | {name: value[r, i].item() for name, value in values.items()})
    return rows


def edges_of(topology: Topology) -> np.ndarray:
    """Undirected edges once, directed ones as they are."""
    edges = np.asarray(topology.edges)
    if topology.is_directed or len(edges) == 0:
        return edges
    return edges[edges[:, 0] < edges[:, 1]]
