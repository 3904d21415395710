"""The cohorts clock: in every round a server hears s of N clients, and only their rows are computed.

The state's fields that the server holds (`Algorithm.server`) are kept once, the others in one array a field with a
row a client, of which a round gathers s and scatters s: its time depends on s, not on N.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from dlax import mixing, tree
from dlax.results import Result
from dlax.simulate.compiled import compile_program, place_arrays
from dlax.simulate.pace import Clock, Pace, pace_of, work_time
from dlax.simulate.program import (
    Arrays,
    Beside,
    Carry,
    Functions,
    Hyper,
    block_of,
    first_params,
    full_gradients,
    functions,
    gradients,
    gradients_of,
    measure_server,
)
from dlax.simulate.rounds import (
    Advance,
    Build,
    Snapshot,
    choose_execution,
    result_of,
    round_rows,
    run_blocks,
    runs_of,
)
from dlax.simulate.streams import fault_key, round_key, stream
from dlax.types import (
    Execution,
    Info,
    Key,
    Network,
    Pieces,
    Problem,
    Round,
    Sampling,
    Site,
    Tree,
)

_HOLDS = {
    "complete",
    "connected",
    "fixed",
    "nonnegative",
    "symmetric",
    "undirected",
    "full participation",
} | {f"{which} stochastic" for which in ("row", "column", "doubly")}


@dataclass(frozen=True)
class Crowd:
    """Clients without a graph, as faults of nodes see them.

    Attributes:
      n: N, how many.
      name: for errors.
      positions: None: they have no places.
      is_fixed: True.
    """

    n: int
    name: str = "a cohort"
    positions: None = None
    is_fixed: bool = True

    @property
    def degrees(self) -> np.ndarray:
        """Refuses: there are no edges."""
        raise ValueError("faults: centrality needs a graph, and clients of a server have none")


@dataclass(frozen=True)
class CohortProgram:
    """The static identity of a run in cohorts, as `Program` is of one in rounds.

    Attributes:
      build: hyper-parameters -> algorithm, channel and faults; called inside the trace.
      problem: the functions of the problem.
      draw: how cohorts are drawn, of a `Sampling`; what it prepared is an argument, so tables of one shape share a
        program.
      whole: of the same, whether all of a cohort are present where nobody sleeps.
      n: N, the number of clients.
      execution: over the cohort.
      pace: how simulated time passes.
    """

    build: Callable[[Hyper], Pieces]
    problem: Functions
    draw: Callable[[Any, jax.Array, Key, jax.Array | None], tuple[jax.Array, jax.Array]]
    whole: bool
    n: int
    execution: Execution
    pace: Pace

    def init(self, key: Key, hyper: Hyper, arrays: Arrays) -> Carry:
        """Draws the first model and starts the algorithm on all clients; for one run."""
        pieces, t = self.build(hyper), jnp.int32(0)
        everyone = jnp.arange(self.n, dtype=jnp.int32)
        params = first_params(self.problem, self.n, "common", key, arrays)
        state = pieces.algorithm.init(params, self._round(t, key, pieces, arrays, everyone, None, []))
        memory = () if pieces.faults is None else pieces.faults.begin(self._site(t, key, arrays))
        first = {
            name: jax.tree.map(lambda leaf: leaf[:1], getattr(state, name))
            for name in pieces.algorithm.server
        }
        return Carry(state._replace(**first), jnp.int32(-1), Beside(memory))

    def block(
        self, start: jax.Array, stop: jax.Array, carry: Carry, key: Key, hyper: Hyper, arrays: Arrays
    ) -> tuple[Carry, Info, Info]:
        """Rounds start, ..., stop − 1 and one evaluation of the server's model, as `Program.block`."""
        pieces = self.build(hyper)
        server = pieces.algorithm.server

        def step(t: jax.Array, state: Any, beside: Beside, _: None) -> tuple[Any, Beside, Info]:
            awake, memory = None, beside.faults
            if pieces.faults is not None:
                outage, memory = pieces.faults.step(memory, self._site(t, key, arrays))
                masks = [~mask for mask in (outage.gone, outage.asleep) if mask is not None]
                awake = functools.reduce(jnp.logical_and, masks) if masks else None
            draw_key = stream(round_key(key, t), "graph")
            clients, present = self.draw(arrays.tables, t, draw_key, awake)
            some_absent = awake is not None or not self.whole
            there = present if some_absent else None
            size = len(clients)
            rows = state._replace(**{
                name: (
                    jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (size, *leaf.shape[1:])), value)
                    if name in server
                    else jax.tree.map(lambda leaf: leaf[clients], value)
                )
                for name, value in state._asdict().items()
            })  # fmt: skip
            down = list[jax.Array]()
            round = self._round(t, key, pieces, arrays, clients, there, down)
            new, info = pieces.algorithm.step(rows, round)
            if there is not None:
                new = tree.where_nodes(present, new, rows)
            some = jnp.argmax(present)  # the server's fields are the same in all rows that took part
            state = state._replace(**{
                name: (
                    jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, some, 1), value)
                    if name in server
                    else jax.tree.map(
                        lambda all_, mine: all_.at[clients].set(mine, unique_indices=True),
                        getattr(state, name),
                        value,
                    )
                )
                for name, value in new._asdict().items()
            })  # fmt: skip
            if pieces.faults is not None and pieces.faults.after is not None:
                work = jnp.broadcast_to(gradients_of(info), (size,))
                memory = pieces.faults.after(memory, *self._spread(clients, present, work, info["bits"]))
            time = work_time(self.pace, arrays.clock, t, key, clients, gradients_of(info))
            totals = self._totals(info, time, clients, arrays, there, present)
            totals["bits"] = sum(down, totals["bits"])
            return state, Beside(memory), totals

        def evaluate(state: Any, beside: Beside) -> tuple[Info, Info]:
            return measure_server(self.problem, state.params, arrays), {}

        return block_of(start, stop, carry, step, lambda state: state.params, evaluate)

    def _site(self, t: jax.Array, run_key: Key, arrays: Arrays) -> Site:
        def hears() -> jax.Array:
            raise ValueError(
                "faults: links fail only where there is a graph, and clients of a server have none"
            )

        return Site(t, fault_key(run_key, t), arrays.faults, hears)

    def _spread(self, clients: jax.Array, present: jax.Array, *numbers: jax.Array) -> tuple[jax.Array, ...]:
        """Of the cohort's masks and numbers `[s]` those of all clients `[N]`: 0 for the others."""
        awake = jnp.zeros(self.n, bool).at[clients].set(present)
        return awake, *(jnp.zeros(self.n, each.dtype).at[clients].set(each) for each in numbers)

    def _totals(
        self,
        info: Info,
        time: jax.Array,
        clients: jax.Array,
        arrays: Arrays,
        there: jax.Array | None,
        present: jax.Array,
    ) -> Info:
        """What a round adds to the sums of its block; numbers are averaged over clients that took part."""
        clock, dtype = arrays.clock, arrays.clock["gradient"].dtype
        bits, bandwidth = info["bits"], clock["bandwidth"]
        busy = time + bits / (bandwidth if bandwidth.ndim == 0 else bandwidth[clients])
        time = jnp.max(jnp.where(present, busy, 0)) + 2 * clock["latency"]

        def average(values: Any) -> jax.Array:
            if jnp.shape(values)[:1] != present.shape:
                return jnp.mean(values)
            if there is None:
                return jnp.mean(values)
            return jnp.sum(jnp.where(there, values, 0)) / jnp.maximum(jnp.sum(there), 1)

        totals = {"time": time, "participants": jnp.sum(present)}
        if there is not None:
            totals["heard"] = jnp.any(there)
        if "loss" in info:
            totals["train_loss"] = average(info["loss"])
        totals |= {k: average(v) for k, v in info.items() if k not in ("loss", "bits", "gradients")}
        return {k: jnp.asarray(v, dtype) for k, v in totals.items()} | {"bits": bits}

    def _round(
        self,
        t: jax.Array,
        run_key: Key,
        pieces: Pieces,
        arrays: Arrays,
        clients: jax.Array,
        present: jax.Array | None,
        down: list[jax.Array],
    ) -> Round:
        """The round as the algorithm sees it; bits `[s]` that come back to the clients are added to `down`."""
        key = round_key(run_key, t)
        size = len(clients)
        channel = pieces.channel
        local = jax.tree.map(lambda leaf: leaf[clients], arrays.local)

        def grad(params: Tree, key: Key, nodes: jax.Array | None = None) -> tuple[jax.Array, Tree]:
            if nodes is not None:
                raise ValueError(
                    "cohort: the algorithm picks nodes of its own, and the cohort is picked already"
                )
            data_key = stream(key, "data")
            return gradients(self.problem, self.execution, params, clients, local, arrays, data_key)

        def full_grad(params: Tree) -> tuple[jax.Array, Tree]:
            return full_gradients(self.problem, self.execution, params, local, arrays)

        def mix(link: Any, message: Tree) -> tuple[Tree, Any, jax.Array]:
            # The channel counts what its nodes would send one another; here one message goes to the server.
            received, link, _ = channel.mix(link, message, star_of(size, present, channel_key, dtype))
            there = jnp.ones(size, dtype) if present is None else present.astype(dtype)
            bits = there * tree.message_bits(message)
            down.append(bits)
            return received, link, bits

        dtype = arrays.clock["gradient"].dtype
        channel_key = stream(key, "channel")

        def require(who: str, *needed: str) -> None:
            missing = [word for word in needed if word not in _HOLDS]
            if missing:
                raise ValueError(
                    f"{who!r} needs a graph that is {' and '.join(missing)}, and has a server here"
                )

        def refuse(*arguments: Any, **options: Any) -> Any:
            raise ValueError("cohort: the algorithm needs a graph, and clients of a server have none")

        return Round(
            t=t,
            key=stream(key, "algorithm"),
            grad=grad,
            full_grad=full_grad,
            open=lambda message: channel.open(message, star_of(size, None, channel_key, dtype)),
            mix=mix,
            active=jnp.ones(size, bool) if present is None else present,
            clients=self.n,
            require=require,
            fact=refuse,
            edges=refuse,
            over=refuse,
            prox=refuse,
            conjugate=refuse,
        )


def star_of(size: int, present: jax.Array | None, key: Key, dtype: Any) -> Network:
    """The cohort as a channel sees it: everybody's message comes back as the mean over those present."""
    count = jnp.asarray(size, dtype) if present is None else jnp.sum(present).astype(dtype)
    share = (
        jnp.full(size, 1 / size, dtype) if present is None else present.astype(dtype) / jnp.maximum(count, 1)
    )
    others = (jnp.arange(size)[:, None] + jnp.arange(1, size)[None]) % size

    def mix(message: Tree, semiring: mixing.Semiring = mixing.SUM) -> Tree:
        if semiring is not mixing.SUM:
            raise ValueError("cohort: a server takes means")
        return tree.broadcast(tree.node_mean(message, present), size)

    def table() -> tuple[jax.Array, jax.Array, jax.Array]:
        weight = jnp.broadcast_to(share[others], others.shape)
        if present is None:
            return others.astype(jnp.int32), weight, share
        weight = jnp.where(present[:, None], weight, 0)
        return others.astype(jnp.int32), weight, jnp.where(present, share, 1)

    return Network(mix, table, jnp.ones(size, dtype), None, key, complete=present is None)


def check_cohort(pieces: Pieces, problem: Problem, sampling: Sampling) -> None:
    """Refuses what does not fit a server and its clients.

    Raises:
      ValueError: if the cohort is larger than the crowd, the algorithm has no server, the channel is not fit for one,
        there is an attack, returning clients hold anything but their old state, or every client has its own start.
    """
    if sampling.size > problem.n:
        raise ValueError(f"cohort: size must be at most the {problem.n} clients, got {sampling.size}")
    if not pieces.algorithm.server:
        raise ValueError(
            "cohort: this algorithm has no server; fedavg, fedopt, fedprox and scaffold have, among others"
        )
    if not pieces.channel.server:
        raise ValueError(
            "channel: a server hands all clients the same, and keeps nothing of a client; fit for it are linear, "
            "median and robust, each with drop: null, the last by a rule that counts all vectors alike "
            "(median, krum, ...)"
        )
    if pieces.attack is not None:
        raise ValueError("attack: cohorts have none yet; take the rounds clock and the complete graph")
    if pieces.faults is not None and pieces.faults.holds != "old":
        raise ValueError(
            "faults: holds must be old on the cohorts clock, where clients return with what they have, "
            f"got {pieces.faults.holds!r}"
        )
    if problem.starts is not None:
        raise ValueError("cohort: a server has one first model, and the problem gives every node its own")


def run_cohorts(
    build: Build,
    problem: Problem,
    sampling: Sampling,
    *,
    rounds: int,
    eval_every: int,
    seeds: Sequence[int],
    hyper: Mapping[str, Sequence[float]],
    swept: Sequence[str] | None = None,
    precision: Literal["float32", "float64"] = "float32",
    execution: Execution | Literal["auto"] = "auto",
    clock: Clock = Clock(),
    label: str = "run",
    resume: Callable[[Carry], Snapshot | None] | None = None,
    on_block: Callable[[Snapshot], bool | None] | None = None,
    dry: bool = False,
) -> Result:
    """Runs an algorithm with a server on N = `problem.n` clients, s of them a round.

    Bits are what the cohort sends to the server and what comes back, an uncompressed message each. A round takes as
    long as the slowest client works and sends, and two latencies: what comes back takes no bandwidth of the client's,
    and nothing of a battery. `train_loss`, and what else an algorithm reports, are means over the rounds in which
    somebody took part.

    Args:
      build: hyper-parameters of one run -> algorithm, channel, faults, as in `run_rounds`.
      problem: what the clients minimise.
      sampling: who takes part.
      rounds: T.
      eval_every: rounds between evaluations of the server's model.
      seeds: one run a seed and combination of `hyper`.
      hyper: values of the traced options by name.
      swept: which of `hyper` are columns of the table; None means all.
      precision: of parameters and data.
      execution: over the cohort, as in `run_rounds`.
      clock: what a round costs in simulated time.
      label: the result's name.
      resume: called with a fresh carry; returns the snapshot to go on from, or None.
      on_block: called after every block; True stops the run there.
      dry: as in `run_rounds`.

    Returns:
      The result: one row a run and evaluation, `participants` the mean number of clients in a round, and the server's
      model, `[runs, 1, ...]`.

    Raises:
      ValueError: if a number is out of range, as `check_cohort`, or if the algorithm or a fault needs a graph.
    """
    if rounds < 0 or eval_every < 1:
        raise ValueError(
            f"simulate: rounds must be at least 0 and eval_every at least 1, got {rounds} and {eval_every}"
        )
    if not seeds:
        raise ValueError("simulate: seeds must name at least one seed")
    if sampling.rounds is not None and rounds > sampling.rounds:
        raise ValueError(f"cohort: rounds must be at most the {sampling.rounds} of the table, got {rounds}")
    with jax.enable_x64(precision == "float64"):
        dtype = np.float64 if precision == "float64" else np.float32
        pieces = build({name: jnp.asarray(each[0], dtype) for name, each in hyper.items()})
        check_cohort(pieces, problem, sampling)
        pace, numbers = pace_of(clock, problem.n)
        if pace.barrier != "all" or numbers["latency"].ndim:
            raise ValueError("clock: barrier 'neighbours' and latencies of edges need a graph")
        arrays = place_arrays(problem, sampling.prepare(problem), None, numbers, dtype)
        if pieces.faults is not None:
            prepared = pieces.faults.prepare(Crowd(problem.n))
            arrays = arrays._replace(faults=jax.tree.map(jnp.asarray, prepared))
        program = CohortProgram(
            build,
            functions(problem),
            sampling.draw,
            sampling.whole,
            problem.n,
            choose_execution(execution, problem),
            pace,
        )
        runs, keys, values = runs_of(seeds, hyper, swept, dtype)
        compiled = compile_program(program, len(runs) > 1, keys, values, arrays, dry=dry)

        def advance(t: int, stop: int, carry: Carry, rows: list[dict[str, Any]]) -> Advance:
            carry, metrics, _ = compiled.block(jnp.int32(t), jnp.int32(stop), carry, keys, values, arrays)
            metrics = jax.device_get(metrics)
            return carry, round_rows(runs, stop, metrics, rows[-len(runs) :], sampling.size, problem.n), []

        made = run_blocks(
            compiled, (keys, values, arrays), advance, rounds=rounds, eval_every=eval_every, resume=resume,
            on_block=on_block,
        )  # fmt: skip
        return result_of(label, made, made.carry.state.params, runs, problem)
