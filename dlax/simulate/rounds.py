"""The rounds clock: every node steps, then gossips; the host sees one number a metric and block."""

import inspect
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlax import mixing
from dlax.channel import attacked, linear
from dlax.results import METRICS, Result
from dlax.simulate.program import Arrays, Carry, Hyper, MissingFact, Program, Start, functions
from dlax.topology import Topology, edge_table
from dlax.types import (
    Algorithm,
    Asynchronous,
    Attack,
    Channel,
    Execution,
    Knowledge,
    Pieces,
    Placement,
    Poison,
    Problem,
)

Build = Callable[[Hyper], Pieces]


@dataclass(frozen=True)
class Clock:
    """What a round costs in simulated time.

        time of a round = gradients · gradient + latency + (most bits sent by a node) / bandwidth

    Attributes:
      gradient: time of one minibatch gradient; 1 makes it the unit.
      latency: time until a message arrives.
      bandwidth: bits per unit of time that a node can send.
    """

    gradient: float = 1.0
    latency: float = 0.0
    bandwidth: float = float("inf")


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

    def __call__(self, hyper: Hyper) -> Pieces:
        """The algorithm with these hyper-parameters, the channel, and the attack."""
        made = self.algorithm if isinstance(self.algorithm, Algorithm) else self.algorithm(**hyper)
        if not isinstance(made, Algorithm):
            raise ValueError("simulate: an asynchronous algorithm takes a duration, not rounds")
        return Pieces(made, self.channel, self.attack)


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
    topology: Topology,
    *,
    channel: Channel = linear(),
    attack: Attack | None = None,
    rounds: int | None = None,
    duration: float | None = None,
    eval_every: float | None = None,
    seeds: int | Sequence[int] = 1,
    hyper: Mapping[str, float | Sequence[float]] | None = None,
    **options: Any,
) -> Result:
    """Runs an algorithm on a problem over a topology: one compiled program for all seeds and values.

    Args:
      algorithm: an `Algorithm`, or a factory such as `dsgd` whose arguments left of `*` come from `hyper`. A
        factory called again with other values does not compile again; a new `Algorithm` does. An
        `Asynchronous` algorithm, or its factory, takes a `duration` in place of `rounds`.
      problem: what the nodes minimise.
      topology: who hears whom; its n must be the problem's.
      channel: how messages travel; asynchronous algorithms take none.
      attack: what Byzantine nodes do; who they are is the option `byzantine`.
      rounds: T, rounds to run.
      duration: simulated time to run, of asynchronous algorithms.
      eval_every: rounds, or time, between evaluations; by default there are 20.
      seeds: how many seeds (0, 1, ...), or which.
      hyper: traced options of the factory; lists are swept, and combine with every seed and one another.
      **options: those of `run_rounds`: `start`, `participation`, `precision`, `execution`, `clock`, `label`,
        `byzantine`, `knowledge`; or of `run_events`: `start`, `precision`, `label`, `one_at_a_time`.

    Returns:
      The result, with a row for round 0 and for every evaluation after it.

    Raises:
      ValueError: on anything that does not fit together, before the run.
    """
    if hyper:
        check_hyper(algorithm, hyper)
    if (rounds is None) == (duration is None):
        raise ValueError("simulate: give rounds, or the duration of an asynchronous algorithm, and not both")
    values = {k: list(np.atleast_1d(np.asarray(v, float))) for k, v in (hyper or {}).items()}
    which = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if duration is not None:
        from dlax.simulate.events import run_events  # which builds on this module

        if not channel.plain:
            raise ValueError("simulate: an asynchronous algorithm takes no channel")
        if attack is not None:
            raise ValueError("simulate: an asynchronous algorithm takes no attack")
        every = eval_every if eval_every is not None else duration / 20 or 1.0
        return run_events(
            ReadyEvents(algorithm), problem, topology, duration=duration, eval_every=every, seeds=which,
            hyper=values, **options,
        )  # fmt: skip
    assert rounds is not None
    return run_rounds(
        Ready(algorithm, channel, attack),  # type: ignore[arg-type]
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
) -> Result:
    """The loop over blocks; `simulate` and the config runner are its two callers.

    Args:
      build: hyper-parameters of one run -> algorithm, channel, attack, called while tracing. Part of the program's
        identity: builds that compare equal share a compilation.
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

    Raises:
      ValueError: if sizes do not fit or a number is out of range.
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
        arrays = place_arrays(problem, tables, participation, clock, dtype)._replace(
            honest=None if honest is None else jnp.asarray(honest, jnp.int32)
        )
        program = Program(
            build=build,
            problem=functions(problem),
            plan=plan,
            topology=topology.name,
            properties=topology.properties,
            execution=_choose(execution, problem),
            start=start,
            knowledge=knowledge,
        )
        runs, keys, values = runs_of(seeds, hyper, dtype)
        columns = set(hyper if swept is None else swept) | {"seed"}
        runs = [{name: value for name, value in run.items() if name in columns} for run in runs]
        compiled, arrays = _with_facts(program, topology, len(runs) > 1, keys, values, arrays)
        seconds = {"compile": compiled.seconds, "run": 0.0}
        clock_start = time.perf_counter()
        carry = compiled.init(keys, values, arrays)
        snapshot = (resume(carry) if resume else None) or Snapshot(0, carry, [], [], seconds)
        seconds = {
            **snapshot.seconds,
            "compile": snapshot.seconds["compile"] + compiled.seconds * (snapshot.round > 0),
        }
        carry, t, rows, nodes = snapshot.carry, snapshot.round, list(snapshot.rows), snapshot.nodes
        before = seconds["run"]
        fresh = not rows
        while fresh or t < rounds:
            stop = t if fresh else min(t + eval_every - t % eval_every, rounds)
            carry, metrics, by_node = compiled.block(
                jnp.int32(t), jnp.int32(stop), carry, keys, values, arrays
            )
            metrics, by_node = jax.device_get((metrics, by_node))
            rows = rows + _rows(runs, stop, metrics, rows[-len(runs) :], problem.n)
            nodes = node_rows(runs, by_node, topology, problem, honest)
            t, fresh = stop, False
            seconds = {**seconds, "run": before + time.perf_counter() - clock_start}
            if on_block and on_block(Snapshot(t, carry, rows, nodes, seconds)):
                break
        params = jax.device_get(carry.state.params)
    if len(runs) == 1:
        params = jax.tree.map(lambda leaf: leaf[None], params)
    return Result(
        label=label,
        config={},
        rows=rows,
        nodes=nodes,
        edges=edges_of(topology),
        partition=None if problem.table is None else np.asarray(problem.table),
        seconds=seconds,
        params=params,
        runs=runs,
    )


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
        raise ValueError("attack: poisons labelled samples, and the problem has none")
    loss, evaluate = _poisoned(problem.poisoned, attack.poison)
    return problem._replace(loss=loss, evaluate=evaluate, prox=_clean_only, conjugate=_clean_only)


def _clean_only(*arguments: Any) -> Any:
    """In place of a proximal step or conjugate, which would be of clean data."""
    raise ValueError("attack: poisons minibatches, and this algorithm takes its steps on whole, clean losses")


@lru_cache(maxsize=8)
def _poisoned(poisoned: Callable[[Poison], Any], poison: Poison) -> Any:
    """The same functions for the same poison, so that a program is found again."""
    return poisoned(poison)


def check_sizes(problem: Problem, topology: Topology) -> None:
    """Refuses a topology of another number of nodes than the problem's."""
    if problem.n != topology.n:
        raise ValueError(
            f"simulate: the problem has {problem.n} nodes, topology {topology.name!r} {topology.n}"
        )


def _choose(execution: Execution | Literal["auto"], problem: Problem) -> Execution:
    if execution == "auto":
        return problem.on_cpu if jax.default_backend() == "cpu" else "vmap"
    return execution


@dataclass
class Compiled:
    """A run's compiled functions, and the seconds it took to make them: 0 if they were found."""

    init: Callable[..., Carry]
    block: Callable[..., Any]
    seconds: float


@dataclass
class _Cache:
    """Compiled programs by identity and shapes, least recently used out first."""

    size: int = 16
    entries: OrderedDict[Any, Compiled] = field(default_factory=OrderedDict)


_CACHE = _Cache()


def _compile(program: Program, several: bool, keys: Any, values: Any, arrays: Arrays) -> Compiled:
    """Compiles init and block ahead of time, or finds them; `seconds` is 0 when found."""
    identity, found = find_compiled(program, several, (keys, values, arrays))
    if found is not None:
        return found
    begin = time.perf_counter()
    init, block = program.init, program.block
    if several:
        init = jax.vmap(init, in_axes=(0, 0, None))
        block = jax.vmap(block, in_axes=(None, None, 0, 0, 0, None))
    lowered_init = jax.jit(init).lower(keys, values, arrays)
    # Init runs once, so it is compiled quickly rather than well (drawing normals costs seconds otherwise), and
    # beside the block.
    with ThreadPoolExecutor(max_workers=1) as pool:
        options: dict[str, str | bool] = {"xla_backend_optimization_level": "0"}
        compiling = pool.submit(lowered_init.compile, options)
        carry = lowered_init.out_info
        t = jax.ShapeDtypeStruct((), jnp.int32)
        compiled_block = jax.jit(block, donate_argnums=2).lower(t, t, carry, keys, values, arrays).compile()
        compiled_init = compiling.result()
    return keep_compiled(identity, Compiled(compiled_init, compiled_block, time.perf_counter() - begin))


def find_compiled(program: Any, several: bool, arguments: Any) -> tuple[Any, Compiled | None]:
    """The identity of a program on arguments of these shapes, and what was compiled for it before."""
    leaves, structure = jax.tree.flatten(arguments)
    shapes = tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves)
    identity = (program, several, shapes, structure, jax.default_backend())
    if identity not in _CACHE.entries:
        return identity, None
    _CACHE.entries.move_to_end(identity)
    found = _CACHE.entries[identity]
    return identity, Compiled(found.init, found.block, 0.0)


def keep_compiled(identity: Any, made: Compiled) -> Compiled:
    """Remembers what was compiled; forgets what was used least recently."""
    _CACHE.entries[identity] = made
    while len(_CACHE.entries) > _CACHE.size:
        _CACHE.entries.popitem(last=False)
    return made


def _above_minus_a_third(topology: Topology) -> float:
    """The least eigenvalue; refuses one at or below −1/3, where D2's recursion is not stable."""
    least = topology.least_eigenvalue
    if least <= -1 / 3 + 1e-9:
        raise ValueError(
            f"the algorithm needs weights whose least eigenvalue is above -1/3; {topology.name!r} has "
            f"{least:.6g} (lazy weights, (I + W)/2, are always above)"
        )
    return least


FACTS: dict[str, Callable[[Topology], Any]] = {
    "spectral gap": lambda topology: topology.spectral_gap,
    "least eigenvalue": lambda topology: topology.least_eigenvalue,
    "least eigenvalue above -1/3": _above_minus_a_third,  # asking is enough: it raises where it is not
    "second largest eigenvalue": lambda topology: topology.second_largest_eigenvalue,
    "worst gap": lambda topology: topology.worst_gap,
    "edges": edge_table,
}
# Facts that a program's algorithm asked for, given values of these options.
_ASKED: dict[tuple[Program, frozenset[str]], tuple[str, ...]] = {}


def _with_facts(
    program: Program, topology: Topology, several: bool, keys: Any, values: Any, arrays: Arrays
) -> tuple[Compiled, Arrays]:
    """Compiles; adds what the algorithm asks of the topology, which can be dear, and only that."""
    asker = (program, frozenset(values))
    names = list(_ASKED.get(asker, ()))
    dtype = arrays.clock["gradient"].dtype
    while True:
        arrays = arrays._replace(facts=compute_facts(names, topology, dtype))
        try:
            return _compile(program, several, keys, values, arrays), arrays
        except MissingFact as missing:
            names.append(known_fact(missing.name))
            if len(_ASKED) >= _CACHE.size:
                _ASKED.clear()
            _ASKED[asker] = tuple(names)


def compute_facts(names: Sequence[str], topology: Topology, dtype: Any) -> dict[str, Any]:
    """The facts of these names, as arguments of the compiled run."""
    return {name: jax.tree.map(lambda leaf: _place(leaf, dtype), FACTS[name](topology)) for name in names}


def known_fact(name: str) -> str:
    """The name itself; refuses one that is no fact."""
    if name not in FACTS:
        raise ValueError(f"no fact {name!r} is known of a topology; there are {', '.join(FACTS)}")
    return name


def place_arrays(
    problem: Problem, tables: Any, participation: float | None, clock: Clock, dtype: type
) -> Arrays:
    """Everything a run reads, on the device."""

    def place(leaf: Any) -> jax.Array:
        return _place(leaf, dtype)

    return Arrays(
        local=jax.tree.map(place, problem.local),
        shared=jax.tree.map(place, problem.shared),
        held=jax.tree.map(place, problem.held),
        tables=jax.tree.map(place, tables),
        optimum=None if problem.optimum is None else jax.tree.map(place, problem.optimum),
        minimum=None if problem.minimum is None else place(np.float64(problem.minimum)),
        clock={name: place(np.float64(value)) for name, value in vars(clock).items()},
        participation=None if participation is None else place(np.float64(participation)),
        starts=None if problem.starts is None else jax.tree.map(place, problem.starts),
        facts={},
    )


_PLACED: dict[tuple[int, type], jax.Array] = {}  # large host arrays on the device, while the host's live
_LARGE = 1_000_000  # bytes


def _place(leaf: Any, dtype: type) -> jax.Array:
    """Moves an array to the device, once: a data set takes longer to move than a short run takes."""
    leaf = np.asarray(leaf)
    placed = _PLACED.get((id(leaf), dtype))
    if placed is not None:
        return placed
    cast = leaf.astype(dtype, copy=False) if np.issubdtype(leaf.dtype, np.floating) else leaf
    placed = jnp.asarray(cast)
    if leaf.nbytes >= _LARGE and not leaf.flags.writeable:  # what can change in place must not be kept
        key = (id(leaf), dtype)
        _PLACED[key] = placed
        weakref.finalize(leaf, _PLACED.pop, key, None)
    return placed


def runs_of(
    seeds: Sequence[int], hyper: Mapping[str, Sequence[float]], dtype: type
) -> tuple[list[dict[str, Any]], jax.Array, Hyper]:
    """Every seed with every combination of swept values; without a leading axis when there is one run."""
    runs: list[dict[str, Any]] = [{"seed": int(seed)} for seed in seeds]
    for name, values in hyper.items():
        runs = [{**run, name: float(value)} for value in values for run in runs]
    keys = jax.vmap(jax.random.key)(jnp.asarray([run["seed"] for run in runs]))
    swept = {name: jnp.asarray(np.array([run[name] for run in runs], dtype)) for name in hyper}
    if len(runs) == 1:
        return runs, keys[0], {name: value[0] for name, value in swept.items()}
    return runs, keys, swept


def _rows(
    runs: list[dict[str, Any]], t: int, metrics: dict[str, Any], last: list[dict[str, Any]], n: int
) -> list[dict[str, Any]]:
    """One row a run; bits and time are summed on the host in double precision."""
    rows = []
    for r, run in enumerate(runs):
        values = {k: np.asarray(v).reshape(-1)[r].item() for k, v in metrics.items() if k != "bits"}
        high, low = np.asarray(metrics["bits"]).reshape(len(runs), 2, n)[r].astype(float).sum(axis=1)
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
