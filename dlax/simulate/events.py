"""The events clock: nodes and edges fire at their own times; a compiled step runs a layer of events that commute.

The host draws the list of events and packs it (`layers`); the results are bit for bit those of one event at a time.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from dlax import tree
from dlax.results import METRICS, Result
from dlax.simulate.compiled import compile_program, place_arrays
from dlax.simulate.layers import Block, Slots, few_sizes, pack, stack, widths
from dlax.simulate.pace import Clock, pace_of
from dlax.simulate.program import (
    Arrays,
    Carry,
    Functions,
    Hyper,
    Start,
    first_params,
    functions,
    measure,
)
from dlax.simulate.rounds import (
    Advance,
    Snapshot,
    check_sizes,
    node_rows,
    result_of,
    run_blocks,
    runs_of,
)
from dlax.simulate.streams import stream
from dlax.timing import evaluations
from dlax.topology import Topology
from dlax.types import Asynchronous, End, Event, Info, Key, Problem, Tree

Build = Callable[[dict[str, Any]], Asynchronous]


@dataclass(frozen=True)
class EventProgram:
    """The static identity of an asynchronous run; see `Program`.

    Attributes:
      build: hyper-parameters -> algorithm; called inside the trace.
      problem: the functions of the problem.
      n: number of nodes.
      start: "common" or "independent" draws of the nodes' first models.
    """

    build: Build
    problem: Functions
    n: int
    start: Start

    def init(self, key: Key, hyper: Hyper, arrays: Arrays) -> Carry:
        """Draws the first models and starts the algorithm; for one run."""
        params = first_params(self.problem, self.n, self.start, key, arrays)
        return Carry(self.build(hyper).init(params, arrays.facts), jnp.int32(-1))

    def block(
        self,
        number: jax.Array,
        depth: jax.Array,
        block: Block,
        carry: Carry,
        key: Key,
        hyper: Hyper,
        arrays: Arrays,
    ) -> tuple[Carry, Info, Info]:
        """The layers of a block and one measurement; for one run.

        Returns:
          The carry, the metrics of the block (each `[]`; `gradients` counts those of the block), and the metrics
          of every node (each `[n]`).
        """
        algorithm = self.build(hyper)
        event_key = stream(key, "events")

        def step(layer: jax.Array, loop: tuple[Any, Info]) -> tuple[Any, Info]:
            state, sums = loop
            for slots in (block.alone, block.pairs):
                if slots.own.shape[1]:
                    row = Slots(*(array[layer] for array in slots))
                    state, info = self._layer(algorithm, state, row, slots is block.pairs, event_key, arrays)
                    sums = {name: sums[name] + info.get(name, 0) for name in sums}
            return state, sums

        zero = jnp.zeros((), arrays.clock["gradient"].dtype)
        state, sums = jax.lax.fori_loop(
            0, depth, step, (carry.state, {"loss": zero, "losses": jnp.int32(0), "gradients": jnp.int32(0)})
        )
        shown = self.flow(algorithm, state, block.rest, arrays)
        metrics, nodes = measure(self.problem, shown.params, arrays)
        finite = tree.all_finite(shown.params) & jnp.isfinite(sums["loss"])
        diverged = jnp.where((carry.diverged < 0) & ~finite, number, carry.diverged)
        metrics = {
            "train_loss": sums["loss"] / sums["losses"],
            "gradients": sums["gradients"],
            **metrics,
            "diverged": diverged,
        }
        return Carry(state, diverged), metrics, nodes

    def message_bits(self, hyper: Hyper, key: Key, arrays: Arrays) -> int:
        """Bits that the two ends of an exchange send, in all."""
        state = jax.eval_shape(self.init, key, hyper, arrays).state
        rows = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), state)
        sent = jax.eval_shape(lambda row: self.build(hyper).message(row), rows)
        return 2 * sum(leaf.size * leaf.dtype.itemsize * 8 for leaf in jax.tree.leaves(sent))

    def flow(self, algorithm: Asynchronous, rows: Any, elapsed: jax.Array, arrays: Arrays) -> Any:
        """Rows of the state after a time of their own without events."""
        if algorithm.flow is None:
            return rows
        return jax.vmap(algorithm.flow, in_axes=(0, 0, None))(rows, elapsed, arrays.facts)

    def _layer(
        self, algorithm: Asynchronous, state: Any, slots: Slots, pairs: bool, key: Key, arrays: Arrays
    ) -> tuple[Any, Info]:
        """One layer of events of a kind on the whole state."""

        def rows(nodes: jax.Array, elapsed: jax.Array) -> Any:
            taken = jax.tree.map(lambda leaf: leaf.at[nodes].get(mode="clip"), state)
            return self.flow(algorithm, taken, elapsed, arrays)

        def one(own: Any, peer: Any, slot: Slots) -> Any:
            number_key = jax.random.fold_in(key, slot.number)
            event = Event(
                slot.time,
                stream(number_key, "algorithm"),
                self._end(slot.own, number_key, arrays),
                self._end(slot.peer, number_key, arrays),
                arrays.facts,
            )
            if pairs:
                assert algorithm.meet is not None
                return algorithm.meet(own, peer, event)
            assert algorithm.compute is not None
            own, info = algorithm.compute(own, event)
            return own, None, info

        own = rows(slots.own, slots.own_rest)
        peer = rows(slots.peer, slots.peer_rest) if pairs else own
        own, peer, info = jax.vmap(one)(own, peer, slots)

        def write(leaf: jax.Array, new: jax.Array, nodes: jax.Array) -> jax.Array:
            return leaf.at[nodes].set(new.astype(leaf.dtype), mode="drop", unique_indices=True)

        state = jax.tree.map(lambda leaf, new: write(leaf, new, slots.own), state, own)
        if pairs:
            state = jax.tree.map(lambda leaf, new: write(leaf, new, slots.peer), state, peer)
        real = slots.own < self.n
        count = jnp.sum(real, dtype=jnp.int32)
        gradients = info.get("gradients", 1 if "loss" in info else 0)
        sums = {"gradients": jnp.sum(jnp.where(real, gradients, 0), dtype=jnp.int32)}
        if "loss" in info:
            sums |= {"loss": jnp.sum(jnp.where(real, info["loss"], 0)), "losses": count}
        return state, sums

    def _end(self, node: jax.Array, key: Key, arrays: Arrays) -> End:
        def local() -> Tree:
            return jax.tree.map(lambda leaf: leaf.at[node].get(mode="clip"), arrays.local)

        def grad(params: Tree) -> tuple[jax.Array, Tree]:
            node_key = jax.random.fold_in(stream(key, "data"), node)
            return jax.value_and_grad(self.problem.loss)(params, node_key, local(), arrays.shared)

        def conjugate(y: Tree) -> Tree:
            if self.problem.conjugate is None:
                raise ValueError(
                    "the algorithm needs a problem with a gradient of the conjugate, such as quadratic or "
                    "least_squares"
                )
            return self.problem.conjugate(y, local(), arrays.shared)

        return End(node, grad, conjugate)


def run_events(
    build: Build,
    problem: Problem,
    topology: Topology,
    *,
    duration: float,
    eval_every: float,
    seeds: Sequence[int],
    hyper: Mapping[str, Sequence[float]],
    swept: Sequence[str] | None = None,
    start: Start = "common",
    precision: Literal["float32", "float64"] = "float32",
    one_at_a_time: bool = False,
    label: str = "run",
    resume: Callable[[Carry], Snapshot | None] | None = None,
    on_block: Callable[[Snapshot], bool | None] | None = None,
    dry: bool = False,
) -> Result:
    """The loop over blocks of an asynchronous run; `simulate` and the config runner are its two callers.

    The list of events is drawn from the seed, so runs of one seed and different `hyper` see the same events. It
    is made for the first value of every option in `hyper`: rates are static.

    Args:
      build: hyper-parameters of one run -> algorithm, as in `run_rounds`.
      problem: what the nodes minimise.
      topology: who may meet whom.
      duration: simulated time to run.
      eval_every: simulated time between measurements; they do not touch the run.
      seeds: one run a seed and combination of `hyper`.
      hyper: values of the traced options by name.
      swept: which of `hyper` are columns of the table; None means all.
      start: "common" or "independent" first models.
      precision: of parameters, data and times.
      one_at_a_time: run every event in a step of its own: slow, and the same bits.
      label: the result's name.
      resume: called with a fresh carry; returns the snapshot to go on from, or None.
      on_block: called after every block; True stops the run there.
      dry: as in `run_rounds`.

    Returns:
      The result; `round` counts measurements, `time` is simulated time, `gradients` and `exchanges` count events.

    Raises:
      ValueError: if sizes do not fit, a number is out of range, or the algorithm refuses the topology.
    """
    check_sizes(problem, topology)
    if not (0 <= duration < np.inf and 0 < eval_every < np.inf):
        raise ValueError(
            "simulate: duration must be at least 0 and eval_every positive, both finite, got "
            f"{duration} and {eval_every}"
        )
    if not seeds:
        raise ValueError("simulate: seeds must name at least one seed")
    ends = evaluations(duration, eval_every)
    n = problem.n
    with jax.enable_x64(precision == "float64"):
        dtype = np.float64 if precision == "float64" else np.float32
        timing = build({name: values[0] for name, values in hyper.items()}).timing(topology)
        program = EventProgram(build, functions(problem), n, start)
        arrays = place_arrays(problem, {}, None, pace_of(Clock(), n)[1], dtype)
        arrays = arrays._replace(facts={k: jnp.asarray(v, dtype) for k, v in timing.facts.items()})
        runs, keys, values = runs_of(seeds, hyper, swept, dtype)
        lists = {seed: timing.draw(duration, generator(seed)) for seed in seeds}
        sizes = np.max([widths(events, n) for events in lists.values()], axis=0)
        width = (int(sizes[0]), int(sizes[1]))
        packed = {
            seed: pack(events, n, ends, width, one_at_a_time=one_at_a_time) for seed, events in lists.items()
        }
        packings = [packed[run["seed"]] for run in runs]
        deepest = few_sizes(max(1, *(int(p.layers.max()) for p in packings)), 1)
        several = len(runs) > 1

        def events(number: int) -> Block:
            stacked = stack(packings, number, deepest, n)
            stacked = stacked if several else jax.tree.map(lambda array: array[0], stacked)
            return jax.tree.map(
                lambda array: jnp.asarray(array, dtype if array.dtype == np.float64 else None), stacked
            )

        first_hyper = {k: v[0] if several else v for k, v in values.items()}
        bits = program.message_bits(first_hyper, keys[0] if several else keys, arrays)
        count = jax.ShapeDtypeStruct((), jnp.int32)
        compiled = compile_program(
            program,
            several,
            keys,
            values,
            arrays,
            inputs=(count, count, events(0)),
            by_run=(False, False, True),
            dry=dry,
        )

        def advance(_: int, number: int, carry: Carry, rows: list[dict[str, Any]]) -> Advance:
            depth = jnp.int32(max(int(p.layers[number]) for p in packings))
            carry, metrics, by_node = compiled.block(
                jnp.int32(number), depth, events(number), carry, keys, values, arrays
            )
            metrics, by_node = jax.device_get((metrics, by_node))
            meetings = [int(p.pairs[number]) for p in packings]
            new = _rows(runs, number, float(ends[number]), metrics, meetings, bits, rows[-len(runs) :], n)
            return carry, new, node_rows(runs, by_node, topology, problem)

        made = run_blocks(
            compiled, (keys, values, arrays), advance, rounds=len(ends) - 1, eval_every=1, resume=resume,
            on_block=on_block,
        )  # fmt: skip
        rest = events(made.round).rest
        shown = _final(program, several, rest, values, made.carry.state, arrays)
        return result_of(label, made, shown, runs, problem, topology)


def generator(seed: int) -> np.random.Generator:
    """The host's generator of a run's events, from the run's key."""
    words = np.asarray(jax.random.key_data(stream(jax.random.key(seed), "events")))
    return np.random.default_rng(words.astype(np.uint64).tolist())


def _final(
    program: EventProgram, several: bool, rest: jax.Array, values: Hyper, state: Any, arrays: Arrays
) -> Tree:
    """The models as they were measured last."""

    def one(state: Any, rest: jax.Array, hyper: Hyper) -> Tree:
        return program.flow(program.build(hyper), state, rest, arrays).params

    if program.build({k: v[0] if several else v for k, v in values.items()}).flow is None:
        return state.params
    return jax.jit(jax.vmap(one) if several else one)(state, rest, values)


def _rows(
    runs: list[dict[str, Any]],
    number: int,
    now: float,
    metrics: Info,
    meetings: list[int],
    bits: int,
    last: list[dict[str, Any]],
    n: int,
) -> list[dict[str, Any]]:
    """One row a run; what adds up is summed on the host."""
    rows = []
    for r, run in enumerate(runs):
        values = {k: np.asarray(v).reshape(-1)[r].item() for k, v in metrics.items()}
        exchanges = meetings[r] + (last[r]["exchanges"] if last else 0)
        values["gradients"] += last[r]["gradients"] if last else 0
        total = float(bits * exchanges)
        values |= {"round": number, "time": now, "bits_node": total / n, "bits_total": total}
        extras = {name: value for name, value in values.items() if name not in METRICS}
        known = {name: values[name] for name in METRICS if name in values}
        rows.append({**run, **known, **extras, "exchanges": exchanges})
    return rows
