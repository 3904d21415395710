"""The server's clock: clients hand their updates to a server by a schedule; a compiled step runs a row of its book.

A `Schedule` is made on the host and knows no model, so the run is compiled whole. The clients' local training is done
when it is handed in: each client's start is kept in its row of an `[m, ...]` tree until then.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlax import tree
from dlax.algorithms.local_training import local_training
from dlax.optimizers import OPTIMIZERS
from dlax.results import METRICS, Result
from dlax.schedulers import Schedule
from dlax.simulate.compiled import compile_program, place_arrays
from dlax.simulate.pace import Clock, pace_of
from dlax.simulate.program import Arrays, Carry, Functions, Hyper, first_params, functions, measure_server
from dlax.simulate.rounds import Advance, Snapshot, result_of, run_blocks, runs_of
from dlax.simulate.streams import round_key, stream
from dlax.timing import evaluations
from dlax.types import Delta, Info, Key, LocalTraining, Optimizer, Problem, Tree

_ROWS = 32  # rows in a call of the compiled program: one shape for runs of any length


class Served(NamedTuple):
    """The state of a run.

    Attributes:
      params: `[1, ...]`, the server's model x.
      starts: `[m, ...]`, the model that each client trains from.
      buffer: `[...]`, the weighted sum of updates that are laid by.
    """

    params: Tree
    starts: Tree
    buffer: Tree


class Book(NamedTuple):
    """Some rows of a schedule, as arrays; w slots a row, empty ones last.

    Attributes:
      client: `[r, w]` int32, m in empty slots.
      number: `[r, w]` int32, which of the client's tasks it is.
      steps: `[r, w]` int32, 0 in empty slots.
      weight: `[r, w]`.
      applied: `[r]` bool.
      cleared: `[r]` bool.
      pull: `[r]`, the sum of the weights of all updates that a row applies, those of earlier rows included.
    """

    client: np.ndarray
    number: np.ndarray
    steps: np.ndarray
    weight: np.ndarray
    applied: np.ndarray
    cleared: np.ndarray
    pull: np.ndarray


@dataclass(frozen=True)
class ServedProgram:
    """The static identity of a run by a schedule; see `Program`.

    Attributes:
      build: hyper-parameters -> clients' training; called inside the trace.
      problem: the functions of the problem.
      m: number of clients.
      most: Q_max, the largest number of steps of a task.
      at_once: how many members of a row train together.
    """

    build: Callable[[Hyper], LocalTraining]
    problem: Functions
    m: int
    most: int
    at_once: int

    def init(self, key: Key, hyper: Hyper, arrays: Arrays) -> Carry:
        """Draws the first model, and hands it to all; for one run."""
        params = first_params(self.problem, 1, "common", key, arrays)
        model = jax.tree.map(lambda leaf: leaf[0], params)
        return Carry(Served(params, tree.broadcast(model, self.m), tree.zeros_like(model)), jnp.int32(-1))

    def block(
        self,
        number: jax.Array,
        depth: jax.Array,
        trips: jax.Array,
        book: Book,
        carry: Carry,
        key: Key,
        hyper: Hyper,
        arrays: Arrays,
    ) -> tuple[Carry, Info, Info]:
        """Rows of a schedule and one measurement; for one run.

        Args:
          number: `[]`, of the measurement.
          depth: `[]`, how many of the rows are there.
          trips: `[r, w / at_once]`, local steps of each part of a row that must be run, over all runs.
          book: the rows.
          carry: of the run.
          key: of the run.
          hyper: traced options, each `[]`.
          arrays: of the problem.

        Returns:
          The carry, the metrics `[]` (`loss` is a sum over the rows), and nothing of single clients.
        """
        zero = jnp.zeros((), arrays.clock["gradient"].dtype)
        training = self.build(hyper)

        def row(r: jax.Array, loop: tuple[Served, jax.Array]) -> tuple[Served, jax.Array]:
            state, loss = loop
            mine = Book(*(array[r] for array in book))

            def part(k: jax.Array, done: tuple[Tree, jax.Array]) -> tuple[Tree, jax.Array]:
                total, loss = done
                client, number, steps, weight = (
                    jax.lax.dynamic_slice_in_dim(array, k * self.at_once, self.at_once)
                    for array in (mine.client, mine.number, mine.steps, mine.weight)
                )
                updates, losses = self._updates(
                    training, state.starts, client, number, steps, trips[r, k], key, arrays
                )
                total = jax.tree.map(
                    lambda total, leaf: total + jnp.sum(tree.beside(weight, leaf) * leaf, axis=0),
                    total,
                    updates,
                )
                return total, loss + jnp.sum(losses)

            parts = jnp.sum(trips[r] > 0, dtype=jnp.int32)
            empty = tree.zeros_like(state.buffer)
            total, loss = jax.lax.fori_loop(0, parts, part, (empty, loss))
            # Either all that is laid by is applied with the row, or the row alone, or the row is laid by too.
            both = tree.add(state.buffer, total)
            shift = jax.tree.map(lambda a, b: jnp.where(mine.cleared, a, b), both, total)
            if training.delta == "server":
                shift = jax.tree.map(lambda b, x: b + mine.pull * x[0], shift, state.params)
            params = jax.tree.map(lambda x, s: jnp.where(mine.applied, x - s[None], x), state.params, shift)
            kept = jax.tree.map(lambda a, b: jnp.where(mine.applied, a, b), state.buffer, both)
            buffer = jax.tree.map(lambda leaf: jnp.where(mine.cleared, 0, leaf), kept)
            starts = jax.tree.map(
                lambda leaf, x: leaf.at[mine.client].set(x, mode="drop"), state.starts, params
            )
            return Served(params, starts, buffer), loss

        state, loss = jax.lax.fori_loop(0, depth, row, (carry.state, zero))
        metrics = measure_server(self.problem, state.params, arrays)
        finite = tree.all_finite(state.params) & jnp.isfinite(loss)
        diverged = jnp.where((carry.diverged < 0) & ~finite, number, carry.diverged)
        return Carry(state, diverged), {"loss": loss, **metrics, "diverged": diverged}, {}

    def _updates(
        self,
        training: LocalTraining,
        starts: Tree,
        client: jax.Array,
        number: jax.Array,
        steps: jax.Array,
        trips: jax.Array,
        key: Key,
        arrays: Arrays,
    ) -> tuple[Tree, jax.Array]:
        """Local training of some clients `[c]`: their updates `[c, ...]` and sums of losses `[c]`."""
        transform = training.optimizer

        def rows(of: Tree) -> Tree:
            return jax.tree.map(lambda leaf: leaf.at[client].get(mode="clip"), of)

        def task_keys(number: jax.Array, steps: jax.Array) -> jax.Array:
            whole = stream(round_key(key, number), "algorithm")
            return jnp.where(steps == 1, whole, jax.random.split(whole, self.most))  # as `descend` does

        local, first, keys = rows(arrays.local), rows(starts), jax.vmap(task_keys)(number, steps)

        def step(s: jax.Array, loop: tuple[Tree, Any, jax.Array]) -> tuple[Tree, Any, jax.Array]:
            def one(
                params: Tree, memory: Any, loss: jax.Array, client: jax.Array, keys: jax.Array, steps: jax.Array,
                local: Tree,
            ) -> tuple[Tree, Any, jax.Array]:  # fmt: skip
                data_key = jax.random.fold_in(stream(keys[s], "data"), client)
                value, grads = jax.value_and_grad(self.problem.loss)(params, data_key, local, arrays.shared)
                updates, moved = transform.update(grads, memory, params)
                new = (optax.apply_updates(params, updates), moved, loss + value)
                # Whoever has done its steps rests.
                return jax.tree.map(lambda a, b: jnp.where(s < steps, a, b), new, (params, memory, loss))

            return jax.vmap(one)(*loop, client, keys, steps, local)

        zeros = jnp.zeros(client.shape, arrays.clock["gradient"].dtype)
        trained, _, losses = jax.lax.fori_loop(
            0, trips, step, (first, jax.vmap(transform.init)(first), zeros)
        )
        if training.delta == "server":
            return jax.tree.map(jnp.negative, trained), losses
        return jax.tree.map(jnp.subtract, first, trained), losses


@dataclass(frozen=True)
class Trains:
    """Builds clients' training inside the trace, for the option `lr`."""

    optimizer: Optimizer
    delta: Delta

    def __call__(self, hyper: Hyper) -> LocalTraining:
        """The training with this step size."""
        return local_training(hyper["lr"], optimizer=self.optimizer, delta=self.delta)


def serve(
    schedule: Schedule | Sequence[Schedule] | Callable[[int], Schedule],
    problem: Problem,
    *,
    lr: float | Sequence[float] = 1e-3,
    optimizer: Optimizer = OPTIMIZERS["adam"](),
    delta: Delta = "start",
    seeds: int | Sequence[int] = 1,
    **options: Any,
) -> Result:
    """Trains a server's model by a schedule: one compiled program for all seeds and step sizes.

        v ← Q local steps from the client's start, on its data     Δ = start − v   ("start"; or x − v, "server")
        x ← x − Σ weight · Δ   over all that a row applies;   the row's members start from x next

    Clients keep nothing: the optimiser's memory starts anew in every task. The minibatches of a client's k-th task
    are those that `simulate` gives it in round k: FedAvg's rounds and a `synchronous` schedule draw the same.

    Args:
      schedule: of `dlax.schedulers`; the same for all seeds, or one a seed: a list, or a function of the seed.
      problem: what the clients minimise; its n is the number of clients.
      lr: step size of the clients' optimiser; several are swept.
      optimizer: of the clients, as in `dlax.algorithms.local_training`.
      delta: likewise, what an update is the difference to.
      seeds: how many seeds (0, 1, ...), or which.
      **options: those of `run_served`: `eval_every`, `eval_aggregations`, `precision`, `at_once`, `width`, `label`.

    Returns:
      The result, as of `run_served`.

    Raises:
      ValueError: if sizes do not fit or a number is out of range.
    """
    which = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if isinstance(schedule, Schedule):
        plans = [schedule] * len(which)
    else:
        plans = [schedule(seed) for seed in which] if callable(schedule) else list(schedule)
    values = [float(value) for value in np.atleast_1d(np.asarray(lr, float))]
    local_training(
        values[0], optimizer=optimizer, delta=delta
    )  # refuses what it refuses before anything is traced
    return run_served(
        Trains(optimizer, delta), problem, plans, seeds=which, hyper={"lr": values},
        swept=["lr"] if len(values) > 1 else [], **options,
    )  # fmt: skip


def run_served(
    build: Callable[[Hyper], LocalTraining],
    problem: Problem,
    plans: Sequence[Schedule],
    *,
    seeds: Sequence[int],
    hyper: Mapping[str, Sequence[float]],
    swept: Sequence[str] | None = None,
    eval_every: float | None = None,
    eval_aggregations: int | None = None,
    precision: Literal["float32", "float64"] = "float32",
    at_once: int | None = None,
    width: int | None = None,
    label: str = "run",
    resume: Callable[[Carry], Snapshot | None] | None = None,
    on_block: Callable[[Snapshot], bool | None] | None = None,
    dry: bool = False,
) -> Result:
    """The loop over measurements of a run by schedules; `serve` and the config runner are its two callers.

    Args:
      build: hyper-parameters of one run -> clients' training; called while tracing.
      problem: what the clients minimise.
      plans: one schedule a seed.
      seeds: one run a seed and combination of `hyper`.
      hyper: values of the traced options by name.
      swept: which of `hyper` are columns of the table; None means all.
      eval_every: simulated time between measurements; by default there are 20. They do not touch the run.
      eval_aggregations: in its place, aggregations between measurements; their times then differ between seeds.
      precision: of parameters and data.
      at_once: how many members of a row train together: 1 does nobody's work in vain, and all (None on accelerators)
        is one wide step, in which those of fewer steps rest. None on a CPU is 1.
      width: slots that rows are padded to: schedules of equal widths share a compiled program. None: their own.
      label: the result's name.
      resume: called with a fresh carry; returns the snapshot to go on from, or None.
      on_block: called after every measurement; True stops the run there.
      dry: as in `run_rounds`.

    Returns:
      The result. `round` counts measurements, `time` is simulated time, all metrics are those of the server's model,
      and `params` is `[runs, 1, ...]`. `exchanges` counts updates that were handed in: for each, a model goes up and
      one comes down, `bits_total` in all; `gradients` counts their local steps, `aggregations` versions. Of clients,
      `nodes` has the numbers of updates and local steps of the whole schedule, and the share of its time that they
      were `idle`.

    Raises:
      ValueError: if sizes do not fit or a number is out of range.
    """
    if not seeds:
        raise ValueError("serve: seeds must name at least one seed")
    _check(problem, plans, seeds, at_once, width)
    ends, targets = _measurements(plans, eval_every, eval_aggregations)
    with jax.enable_x64(precision == "float64"):
        dtype = np.float64 if precision == "float64" else np.float32
        runs, keys, values = runs_of(seeds, hyper, swept, dtype)
        several = len(runs) > 1
        w = max(width or 1, *(plan.members.shape[1] for plan in plans))
        together = at_once or (1 if jax.default_backend() == "cpu" else w)
        w = -(-w // together) * together
        arrays = place_arrays(problem, {}, None, pace_of(Clock(), problem.n)[1], dtype)
        most = max(1, *(int(plan.tasks.steps.max(initial=0)) for plan in plans))
        program = ServedProgram(build, functions(problem), problem.n, most, together)
        books = [to_book(plan, w) for plan in plans]
        per_run = [list(seeds).index(run["seed"]) for run in runs]

        def rows_of(begin: np.ndarray, stop: np.ndarray) -> tuple[Any, Any, Book]:
            """A padded piece of every run's book, from its row `begin` up to `stop`, and the steps it takes."""
            pieces = [
                _piece(book, int(a), int(b), problem.n) for book, a, b in zip(books, begin, stop, strict=True)
            ]
            depth = int(np.max(stop - begin))
            steps = np.max([piece.steps for piece in pieces], axis=0)
            trips = steps.reshape(_ROWS, -1, together).max(axis=2)
            stacked = Book(*(np.stack([array[i] for i in per_run]) for array in zip(*pieces, strict=True)))
            stacked = stacked if several else Book(*(array[0] for array in stacked))
            placed = [jnp.asarray(a, dtype if a.dtype == np.float64 else None) for a in stacked]
            return jnp.int32(depth), jnp.asarray(trips, jnp.int32), Book(*placed)  # type: ignore[arg-type]

        nothing = np.zeros(len(plans), int)
        compiled = compile_program(
            program, several, keys, values, arrays, inputs=(jnp.int32(0), *rows_of(nothing, nothing)),
            by_run=(False, False, False, True), dry=dry,
        )  # fmt: skip
        clients = _clients(runs, per_run, plans, problem)

        def advance(last: int, number: int, carry: Carry, rows: list[dict[str, Any]]) -> Advance:
            begin = done = targets[last] if rows else nothing
            loss = np.zeros(len(runs))
            while True:
                stop = np.minimum(done + _ROWS, targets[number])
                carry, metrics, _ = compiled.block(
                    jnp.int32(number), *rows_of(done, stop), carry, keys, values, arrays
                )
                metrics, done = jax.device_get(metrics), stop
                loss += np.asarray(metrics["loss"], float).reshape(-1)
                if (done == targets[number]).all():
                    break
            bits = _bits(carry.state.params, several)
            new = _rows(runs, per_run, plans, number, ends[number], metrics, loss, begin, done, bits)
            return carry, new, clients

        made = run_blocks(
            compiled, (keys, values, arrays), advance, rounds=len(ends) - 1, eval_every=1, resume=resume,
            on_block=on_block,
        )  # fmt: skip
        return result_of(label, made, made.carry.state.params, runs, problem)


def _measurements(
    plans: Sequence[Schedule], every: float | None, aggregations: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Times, and numbers of rows done by then: both `[measurements, plans]`."""
    if aggregations is not None:
        if every is not None or aggregations < 1:
            raise ValueError(
                f"serve: eval_aggregations must be at least 1, and without eval_every, got {aggregations}"
            )
        counts = evaluations(max(plan.aggregations for plan in plans), aggregations).astype(int)
        rows, times = [], []
        for plan in plans:
            after = np.concatenate([[0], np.flatnonzero(plan.applied) + 1])  # row 0: before everything
            done = after[np.minimum(counts, plan.aggregations)]
            rows.append(done)
            times.append(np.concatenate([[0.0], plan.time])[done])
        return np.stack(times, axis=1), np.stack(rows, axis=1)
    durations = sorted({plan.duration for plan in plans})
    if len(durations) > 1:
        raise ValueError(
            f"serve: schedules must last equally long, or take eval_aggregations, got {durations}"
        )
    every = every if every is not None else durations[0] / 20 or 1.0
    if not 0 < every < np.inf:
        raise ValueError(f"serve: eval_every must be positive and finite, got {every}")
    ends = evaluations(durations[0], every)
    done = [np.searchsorted(plan.time, ends, side="right") for plan in plans]
    return np.repeat(ends[:, None], len(plans), axis=1), np.stack(done, axis=1)


def to_book(schedule: Schedule, width: int) -> Book:
    """The rows of a schedule as arrays, padded to `width` slots; the longest tasks of a row come first."""
    tasks, r = schedule.tasks, len(schedule.time)
    members = np.full((r, width), -1)
    members[:, : schedule.members.shape[1]] = schedule.members
    steps = np.where(members >= 0, tasks.steps[members], 0)
    order = np.argsort(-steps, axis=1, kind="stable")
    members, steps = (np.take_along_axis(array, order, axis=1) for array in (members, steps))
    there = members >= 0
    weight = np.where(there, tasks.weight[members], 0.0)
    pull, laid_by = np.zeros(r), 0.0
    for k, own in enumerate(weight.sum(axis=1)):
        if not schedule.applied[k]:
            laid_by += own
            continue
        pull[k] = own + laid_by * schedule.cleared[k]
        laid_by *= not schedule.cleared[k]
    return Book(
        client=np.where(there, tasks.client[members], schedule.clients).astype(np.int32),
        number=np.where(there, tasks.number[members], 0).astype(np.int32),
        steps=steps.astype(np.int32),
        weight=weight,
        applied=schedule.applied,
        cleared=schedule.cleared,
        pull=pull,
    )


def _piece(book: Book, begin: int, stop: int, m: int) -> Book:
    """Rows begin, ..., stop − 1, padded by rows in which nothing happens."""
    rest = _ROWS - (stop - begin)

    def pad(array: np.ndarray, value: float) -> np.ndarray:
        return np.concatenate([array[begin:stop], np.full((rest, *array.shape[1:]), value, array.dtype)])

    return Book(pad(book.client, m), *(pad(array, 0) for array in book[1:]))


def _check(
    problem: Problem, plans: Sequence[Schedule], seeds: Sequence[int], at_once: int | None, width: int | None
) -> None:
    """Refuses what does not fit together."""
    if len(plans) != len(seeds):
        raise ValueError(f"serve: needs one schedule, or one a seed, got {len(plans)} for {len(seeds)} seeds")
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"serve: seeds must be different, got {list(seeds)}")
    for plan in plans:
        if plan.clients != problem.n:
            raise ValueError(f"serve: the problem has {problem.n} clients, the schedule {plan.clients}")
    if problem.starts is not None:
        raise ValueError("serve: a server has one first model, and the problem gives every node its own")
    for name, value in (("at_once", at_once), ("width", width)):
        if value is not None and value < 1:
            raise ValueError(f"serve: {name} must be at least 1, got {value}")


def _bits(params: Tree, several: bool) -> int:
    """Of one model."""
    return sum(leaf[0].nbytes if several else leaf.nbytes for leaf in jax.tree.leaves(params)) * 8


def _rows(
    runs: list[dict[str, Any]],
    per_run: list[int],
    plans: Sequence[Schedule],
    number: int,
    now: np.ndarray,
    metrics: Mapping[str, Any],
    loss: np.ndarray,
    begin: np.ndarray,
    done: np.ndarray,
    bits: int,
) -> list[dict[str, Any]]:
    """One row a run; what was counted is known from the schedule."""
    rows = []
    for r, (run, p) in enumerate(zip(runs, per_run, strict=True)):
        plan = plans[p]
        values = {k: np.asarray(v).reshape(-1)[r].item() for k, v in metrics.items() if k != "loss"}
        row, steps = plan.tasks.row, plan.tasks.steps
        handed = (row >= 0) & (row < done[p])
        fresh = int(steps[handed & (row >= begin[p])].sum())
        total = float(2 * bits * int(handed.sum()))
        values |= {
            "round": number, "time": float(now[p]), "train_loss": loss[r] / fresh if fresh else np.nan,
            "bits_node": total / plan.clients, "bits_total": total, "gradients": int(steps[handed].sum()),
            "exchanges": int(handed.sum()), "aggregations": int(plan.applied[: done[p]].sum()),
        }  # fmt: skip
        extras = {name: value for name, value in values.items() if name not in METRICS}
        rows.append({**run, **{name: values[name] for name in METRICS if name in values}, **extras})
    return rows


def _clients(
    runs: list[dict[str, Any]], per_run: list[int], plans: Sequence[Schedule], problem: Problem
) -> list[dict[str, Any]]:
    """One row a (run, client)."""
    samples = None if problem.table is None else np.asarray(problem.table).sum(axis=1)
    rows = []
    for run, p in zip(runs, per_run, strict=True):
        plan = plans[p]
        handed = plan.tasks.row >= 0
        client = plan.tasks.client[handed]
        updates = np.bincount(client, minlength=plan.clients)
        steps = np.bincount(client, plan.tasks.steps[handed], plan.clients)
        idle = plan.idle()
        for i in range(plan.clients):
            row = {**run, "node": i} | ({} if samples is None else {"samples": int(samples[i])})
            counts = {"updates": int(updates[i]), "steps": int(steps[i]), "idle": float(idle[i])}
            rows.append(row | counts)
    return rows
