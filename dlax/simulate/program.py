"""One compiled program: the rounds of a block and the evaluation at its end, for every run of a sweep."""

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from dlax import mixing, tree
from dlax.channel import attacked
from dlax.channel.attacked import where_rows
from dlax.simulate import outages
from dlax.simulate.pace import EVEN, Pace, elapsed, links_of, rounds_ahead, times_ahead
from dlax.simulate.streams import fault_key, round_key, stream
from dlax.types import (
    Channel,
    Edges,
    Execution,
    Fault,
    Info,
    Key,
    Knowledge,
    Network,
    Outage,
    Pieces,
    Problem,
    Round,
    Site,
    Tree,
)

Start = Literal["common", "independent"]
Hyper = dict[str, jax.Array]  # traced hyper-parameters of one run, each []

_EVALUATIONS_AT_ONCE = {"cpu": 1}  # node models evaluated together; elsewhere:
_EVALUATIONS_DEFAULT = 32
_CHUNK = 16  # nodes of "chunks": their minibatches are gathered into cache and used there


class Arrays(NamedTuple):
    """Everything a run reads and does not change; arguments of the compiled program, never constants.

    Attributes:
      local: the problem's `[n, ...]` arrays.
      shared: the problem's arrays that all nodes see.
      held: the held-out arrays.
      tables: the mixing kernel's arrays.
      optimum: one model, or None.
      minimum: `[]`, or None.
      clock: the numbers of a `Clock`.
      participation: `[]`, the probability that a node takes part in a round, or None.
      starts: the nodes' own first models `[n, ...]`, or None.
      facts: what the topology knows and the algorithm asked for: numbers `[]`, the table of its edges.
      honest: `[h]` int32, who is not Byzantine, or None when nobody is.
      faults: what the faults prepared on the host; None before they were asked.
    """

    local: Tree
    shared: Tree
    held: Tree
    tables: Tree
    optimum: Tree | None
    minimum: jax.Array | None
    clock: dict[str, jax.Array]
    participation: jax.Array | None
    starts: Tree | None
    facts: dict[str, Any]
    honest: jax.Array | None = None
    faults: Tree = None


class Functions(NamedTuple):
    """The callables of a problem that the compiled program is made of."""

    init: Callable[..., Any]
    loss: Callable[..., Any]
    objective: Callable[..., Any]
    evaluate: Callable[..., Any] | None
    prox: Callable[..., Any] | None
    conjugate: Callable[..., Any] | None
    exact: Callable[..., Any] | None


class MissingFact(Exception):  # noqa: N818 - a question, not an error
    """Raised while tracing, when an algorithm asks for a fact that is not among the arguments yet."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class MissingArrays(Exception):  # noqa: N818 - likewise
    """Raised while tracing, when faults have arrays that are not among the arguments yet."""

    def __init__(self, prepare: Callable[[Any], Tree]) -> None:
        super().__init__()
        self.prepare = prepare


class Beside(NamedTuple):
    """What the engine remembers of a run.

    Attributes:
      faults: what the faults remember.
      lag: `[n]`, by how much each node's clock is behind the last one's; () where all are even.
    """

    faults: Any = ()
    lag: Any = ()


class Carry(NamedTuple):
    """What one block hands to the next, of one run.

    Attributes:
      state: the algorithm's.
      diverged: `[]` int32, the first round with a non-finite number, -1 before.
      beside: what the engine remembers beside it: `Beside`.
    """

    state: Any
    diverged: jax.Array
    beside: Any = Beside()


@dataclass(frozen=True)
class Program:
    """The static identity of a run: equal programs with arrays of equal shapes share one compilation.

    Attributes:
      build: hyper-parameters -> algorithm, channel and attack; called inside the trace.
      problem: the functions of the problem.
      plan: the mixing kernel.
      topology: its name, for errors.
      properties: what the topology is.
      execution: "vmap" or "map" over nodes.
      start: "common" or "independent" draws of the nodes' first models.
      knowledge: what Byzantine nodes know.
      pace: how simulated time passes.
    """

    build: Callable[[Hyper], Pieces]
    problem: Functions
    plan: mixing.Plan
    topology: str
    properties: frozenset[str]
    execution: Execution
    start: Start
    knowledge: Knowledge = "everything"
    pace: Pace = EVEN

    def init(self, key: Key, hyper: Hyper, arrays: Arrays) -> Carry:
        """Draws the first models and starts the algorithm; for one run."""
        pieces = self.build(hyper)
        state = self._begin(pieces, self.first_params(key, arrays), key, arrays)
        memory: Any = ()
        if pieces.faults is not None:
            memory = pieces.faults.begin(self._site(pieces.faults, jnp.int32(0), key, arrays))
        lag = () if self.pace.even else jnp.zeros(self.plan.n, _dtype(arrays))
        return Carry(state, jnp.int32(-1), Beside(memory, lag))

    def first_params(self, key: Key, arrays: Arrays) -> Tree:
        """The models `[n, ...]` that a run starts from."""
        return first_params(self.problem, self.plan.n, self.start, key, arrays)

    def begin(self, params: Tree, key: Key, hyper: Hyper, arrays: Arrays) -> Any:
        """The algorithm's state at given models."""
        return self._begin(self.build(hyper), params, key, arrays)

    def _begin(self, pieces: Pieces, params: Tree, key: Key, arrays: Arrays) -> Any:
        t, outage = jnp.int32(0), Outage()
        if pieces.faults is not None:
            site = self._site(pieces.faults, t, key, arrays)
            outage, _ = pieces.faults.step(pieces.faults.begin(site), site)
        return pieces.algorithm.init(params, self._round(t, key, pieces, arrays, outage))

    def step(self, t: jax.Array, state: Any, key: Key, hyper: Hyper, arrays: Arrays) -> tuple[Any, Info]:
        """Round t of one run without faults: the algorithm's step; nodes that take no part keep their state."""
        return self._advance(self.build(hyper), t, state, key, arrays, Outage())[:2]

    def _advance(
        self, pieces: Pieces, t: jax.Array, state: Any, key: Key, arrays: Arrays, outage: Outage
    ) -> tuple[Any, Info, jax.Array | None]:
        """The state after round t, what the round reports, and who was awake (None: everyone)."""
        round, given = self._round(t, key, pieces, arrays, outage), None
        if outage.back is not None and pieces.faults is not None and pieces.faults.holds != "old":
            if not pieces.channel.reopens:
                raise ValueError(
                    f"faults: holds must be 'old', got {pieces.faults.holds!r}: over this channel neighbours go on "
                    "from what a node sent before it left"
                )
            state, given = self._revive(pieces, state, round, key, arrays, outage.back, outage.works)
        new, info = pieces.algorithm.step(state, round)
        if given is not None:
            info = info | {"bits": info["bits"] + given}
        active = self._active(key, t, arrays, outage)
        if active is not None:
            new = where_rows(active, new, state, memory="ours")  # who takes no part keeps its whole state
        return new, info, active

    def _revive(
        self,
        pieces: Pieces,
        state: Any,
        round: Round,
        key: Key,
        arrays: Arrays,
        back: jax.Array,
        works: jax.Array | None,
    ) -> tuple[Any, jax.Array]:
        """The state when nodes return as if they were new, at their start or with the model of a neighbour.

        Beside it the bits `[n]` that neighbours send for it.
        """
        assert pieces.faults is not None
        nothing = jnp.zeros(self.plan.n, _dtype(arrays))

        def renew(state: Any) -> tuple[Any, jax.Array]:
            params, given = self.first_params(key, arrays), nothing
            if pieces.faults.holds == "neighbour":  # type: ignore[union-attr]
                made = self._network(round.t, key, arrays)
                awake = round.active & ~back
                donor = outages.donors(made.table(), awake, works, stream(round.key, "faults"))
                params = jax.tree.map(lambda leaf: leaf[donor], state.params)
                fetches = back & (donor != jnp.arange(self.plan.n))
                given = given.at[donor].add(fetches * tree.message_bits(params))
            return where_rows(back, pieces.algorithm.init(params, round), state, memory="others"), given

        return jax.lax.cond(jnp.any(back), renew, lambda state: (state, nothing), state)

    def _network(self, t: jax.Array, run_key: Key, arrays: Arrays) -> Network:
        """The graph of round t, as it is when nothing fails."""
        key = round_key(run_key, t)
        return mixing.network(self.plan, arrays.tables, t, stream(key, "graph"), stream(key, "channel"), None)

    def _site(self, faults: Fault, t: jax.Array, run_key: Key, arrays: Arrays) -> Site:
        """Round t, as faults see it."""
        if arrays.faults is None:
            raise MissingArrays(faults.prepare)
        return Site(
            t, fault_key(run_key, t), arrays.faults, lambda: self._network(t, run_key, arrays).table()[0]
        )

    def _active(self, run_key: Key, t: jax.Array, arrays: Arrays, outage: Outage) -> jax.Array | None:
        """Who takes part in round t, `[n]`; None when everyone always does."""
        masks = [~mask for mask in (outage.gone, outage.asleep) if mask is not None]
        if arrays.participation is not None:
            key = stream(round_key(run_key, t), "faults")
            masks.append(jax.random.uniform(key, (self.plan.n,), jnp.float32) < arrays.participation)
        return functools.reduce(jnp.logical_and, masks) if masks else None

    def block(
        self, start: jax.Array, stop: jax.Array, carry: Carry, key: Key, hyper: Hyper, arrays: Arrays
    ) -> tuple[Carry, Info, Info]:
        """Rounds start, ..., stop − 1 and one evaluation; for one run.

        Returns:
          The carry, the metrics of the block (each `[]`; sums over the block for `bits` and `time`), and the
          metrics of every node (each `[n]`).
        """
        pieces = self.build(hyper)

        def fail(memory: Any, t: jax.Array) -> tuple[Outage, Any]:
            if pieces.faults is None:
                return Outage(), memory
            return pieces.faults.step(memory, self._site(pieces.faults, t, key, arrays))

        def links(t: jax.Array) -> tuple[jax.Array, jax.Array] | None:
            return links_of(self.pace, arrays.clock, lambda: self._network(t, key, arrays).table())

        same = links(start) if self.plan.order == "fixed" else None  # in every round: found once

        def ahead(first: jax.Array) -> jax.Array:
            return times_ahead(self.pace, arrays.clock, first, key, self.plan.n)

        def step(t: jax.Array, state: Any, beside: Beside, seconds: Any) -> tuple[Any, Beside, Info]:
            outage, memory = fail(beside.faults, t)
            state, info, active = self._advance(pieces, t, state, key, arrays, outage)
            if pieces.faults is not None and pieces.faults.after is not None:
                work = jnp.broadcast_to(gradients_of(info), (self.plan.n,))
                awake = jnp.ones(self.plan.n, bool) if active is None else active
                memory = pieces.faults.after(memory, awake, work, info["bits"])
            lag, clock, bits = beside.lag, arrays.clock, info["bits"]
            if self.pace.even and active is None:
                time = jnp.max(gradients_of(info)) * clock["gradient"]
                time = time + jnp.max(bits) / clock["bandwidth"] + clock["latency"]
            else:
                seconds = clock["gradient"] if self.pace.even else seconds
                time, lag = elapsed(
                    self.pace, clock, seconds, gradients_of(info), bits, active, outage.works,
                    same if self.plan.order == "fixed" else links(t), lag,
                )  # fmt: skip
            return state, Beside(memory, lag), _totals(info, time, arrays, outage.gone)

        def evaluate(state: Any, beside: Beside) -> tuple[Info, Info]:
            outage, _ = fail(beside.faults, stop)  # the network as the next round would find it
            metrics, nodes = measure(self.problem, state.params, arrays, outage.gone)
            if pieces.faults is not None and self.plan.order == "fixed":
                index, weight, _ = self._network(stop, key, arrays).table()
                linked = outages.linked(index, weight, outage)
                counted = _counted(self.plan.n, arrays, outage.gone)
                metrics |= outages.by_component(index, linked, state.params, nodes, counted)
            return metrics, nodes

        return block_of(
            start, stop, carry, step, lambda state: _honest(state.params, arrays), evaluate,
            None if self.pace.even else (rounds_ahead(self.plan.n), ahead),
        )  # fmt: skip

    def _round(self, t: jax.Array, run_key: Key, pieces: Pieces, arrays: Arrays, outage: Outage) -> Round:
        key = round_key(run_key, t)
        n = self.plan.n
        channel = pieces.channel
        if pieces.attack is not None and arrays.honest is None:
            raise ValueError("byzantine: is required, since there is attack")
        active = self._active(run_key, t, arrays, outage)
        perfect = active is None and outage.works is None
        graph_key, channel_key = stream(key, "graph"), stream(key, "channel")
        stages = itertools.count()

        def network() -> Any:
            # The stage is counted while tracing: a second message in one round draws its own losses.
            stage_key = jax.random.fold_in(channel_key, next(stages))
            made = mixing.network(self.plan, arrays.tables, t, graph_key, stage_key, active)
            return made._replace(
                require=require,
                edges=lambda: mixing.edges(fact("edges")),
                byzantine=byzantine,
                losses=losses,
                works=outage.works,
            )

        byzantine = None
        if arrays.honest is not None:
            byzantine = jnp.ones(n, bool).at[arrays.honest].set(False)

        def losses(params: Tree) -> jax.Array:
            node_keys = jax.vmap(lambda i: jax.random.fold_in(stream(made.key, "data"), i))(jnp.arange(n))
            value = jax.vmap(self.problem.loss, in_axes=(0, 0, 0, None))
            return value(params, node_keys, local_arrays, arrays.shared)

        local_arrays = arrays.local
        if pieces.attack is not None and pieces.attack.poison is not None:
            local_arrays = {**arrays.local, "byzantine": byzantine}

        def grad(params: Tree, key: Key, nodes: jax.Array | None = None) -> tuple[jax.Array, Tree]:
            ids = jnp.arange(n) if nodes is None else nodes
            local = local_arrays if nodes is None else jax.tree.map(lambda leaf: leaf[nodes], local_arrays)
            return gradients(self.problem, self.execution, params, ids, local, arrays, stream(key, "data"))

        def full_grad(params: Tree) -> tuple[jax.Array, Tree]:
            return full_gradients(self.problem, self.execution, params, arrays.local, arrays)

        def prox(v: Tree, scale: Any) -> Tree:
            step = self._known("proximal step", self.problem.prox)
            scales = jnp.broadcast_to(jnp.asarray(scale, _dtype(arrays)), (n,))
            return jax.vmap(step, in_axes=(0, 0, 0, None))(v, scales, arrays.local, arrays.shared)

        def conjugate(y: Tree) -> Tree:
            solve = self._known("gradient of the conjugate", self.problem.conjugate)
            return jax.vmap(solve, in_axes=(0, 0, None))(y, arrays.local, arrays.shared)

        def edges() -> Edges:
            if pieces.attack is not None and pieces.attack.craft is not None:
                raise ValueError("an algorithm with state on edges can only be attacked by poisoned data")
            if not perfect or not channel.plain:
                raise ValueError(
                    "an algorithm with state on edges needs a plain channel and all nodes and links in every round"
                )
            return mixing.edges(fact("edges"))

        def through(channel: Channel) -> dict[str, Any]:
            if pieces.attack is not None:
                channel = attacked(channel, pieces.attack, self.knowledge)
            return {
                "open": lambda message: channel.open(message, network()),
                "mix": lambda link, message: channel.mix(link, message, network()),
            }

        def over(other: Channel) -> Round:
            if not channel.plain:
                raise ValueError(
                    "an algorithm that brings its own channel needs channel: linear, without losses"
                )
            return made._replace(**through(other))

        def require(who: str, *needed: str) -> None:
            holds = self.properties | ({"full participation"} if perfect else frozenset())
            missing = [word for word in needed if word not in holds]
            if missing == ["full participation"]:
                raise ValueError(
                    f"{who!r} needs every node and link in every round; set participation and faults to null"
                )
            if missing:
                raise ValueError(
                    f"{who!r} needs a topology that is {' and '.join(missing)}; "
                    f"{self.topology!r} is {', '.join(sorted(self.properties)) or 'none of these'}"
                )

        def fact(name: str) -> Any:
            if name not in arrays.facts:
                raise MissingFact(name)
            return arrays.facts[name]

        made = Round(
            t=t,
            key=stream(key, "algorithm"),
            grad=grad,
            full_grad=full_grad,
            **through(channel),
            active=jnp.ones(n, bool) if active is None else active,
            clients=n,
            require=require,
            fact=fact,
            edges=edges,
            over=over,
            prox=prox,
            conjugate=conjugate,
        )
        return made

    def _known(self, what: str, function: Callable[..., Any] | None) -> Callable[..., Any]:
        if function is None:
            raise ValueError(
                f"the algorithm needs a problem with a {what}, such as quadratic or least_squares"
            )
        return function


def block_of(
    start: jax.Array,
    stop: jax.Array | None,
    carry: Carry,
    step: Callable[[jax.Array, Any, Any, Any], tuple[Any, Any, Info]],
    watched: Callable[[Any], Tree],
    evaluate: Callable[[Any, Any], tuple[Info, Info]],
    ahead: tuple[int, Callable[[jax.Array], Tree]] | None = None,
) -> tuple[Carry, Info, Info]:
    """Rounds start, ..., stop − 1 and one evaluation; for one run of any clock that has rounds.

    Args:
      start: `[]`, the first round.
      stop: `[]`, the round after the last; None: the round `start` is traced, and nothing done.
      carry: the state before.
      step: `(t, state, memory, given) -> (state, memory, totals)`; totals are `bits` of every sender, and numbers
        `[]`. Of them `heard`, if it is there, is 1 in rounds in which somebody took part, and `nobody` says whether
        there was nobody whose loss must stay finite.
      watched: `state -> what of it must stay finite`.
      evaluate: `(state, memory) -> (metrics [], metrics of every node)`.
      ahead: (C, `first -> what rounds first, ..., first + C − 1 are given, [C, ...]`), for numbers that are cheaper
        to draw for many rounds at once; None: `given` is None.

    Returns:
      The carry, the metrics of the block (sums for `bits` and `time`, means of what else the rounds report, over
      those that were `heard`, but for `participants`), and those of every node.
    """
    many, draw = ahead or (1, lambda first: None)

    def exact(t: jax.Array, state: Any, memory: Any, given: Tree) -> tuple[Any, Any, Info, jax.Array]:
        mine = jax.tree.map(lambda leaf: leaf[t % many], given)
        state, memory, totals = step(t, state, memory, mine)
        broken = ~jnp.isfinite(totals.get("train_loss", 0.0)) & ~totals.pop("nobody", jnp.bool_(False))
        return state, memory, totals | {"bits": _split(totals["bits"])}, broken

    shapes = jax.eval_shape(lambda: exact(start, carry.state, carry.beside, draw(start))[2])
    if stop is None:
        return carry, {}, {}
    zeros = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)

    def body(t: jax.Array, loop: Any, given: Tree = None) -> tuple[Carry, Info, jax.Array]:
        (state, diverged, memory), sums, rest = loop
        state, memory, totals, broken = exact(t, state, memory, given)
        first = (diverged < 0) & broken
        # Kahan's sum of time: what rounding took from it is added in the next round.
        before, more = sums["time"], totals["time"] - rest
        sums = jax.tree.map(jnp.add, sums, totals | {"time": more})
        sums["bits"] = _carry(sums["bits"])
        rest = (sums["time"] - before) - more
        return Carry(state, jnp.where(first, t, diverged), memory), sums, rest

    def bodies(chunk: jax.Array, loop: Any) -> tuple[Carry, Info, jax.Array]:
        first = chunk * many
        given = draw(first)
        low, high = jnp.maximum(start, first), jnp.minimum(stop, first + many)
        return jax.lax.fori_loop(low, high, lambda t, loop: body(t, loop, given), loop)

    begin = (carry, zeros, jnp.zeros_like(zeros["time"]))
    if ahead is None:
        looped = jax.lax.fori_loop(start, stop, body, begin)
    else:
        looped = jax.lax.fori_loop(start // many, -(-stop // many), bodies, begin)
    (state, diverged, memory), sums, _ = looped
    broken = (diverged < 0) & ~tree.all_finite(watched(state))
    diverged = jnp.where(broken, stop, diverged)
    metrics, nodes = evaluate(state, memory)
    rounds = stop - start
    heard = sums.pop("heard", rounds)  # a round without anybody has nothing to report
    means = {
        k: v if k in ("bits", "time") else v / (rounds if k == "participants" else heard)
        for k, v in sums.items()
    }
    return Carry(state, diverged, memory), {**means, **metrics, "diverged": diverged}, nodes


def gradients(
    problem: Functions,
    execution: Execution,
    params: Tree,
    nodes: jax.Array,
    local: Tree,
    arrays: Arrays,
    key: Key,
) -> tuple[jax.Array, Tree]:
    """Losses `[s]` and gradients `[s, ...]` of these nodes, each on a minibatch of its own data."""

    def one(args: tuple[Tree, jax.Array, Tree]) -> tuple[jax.Array, Tree]:
        params, node, local = args
        node_key = jax.random.fold_in(key, node)
        return jax.value_and_grad(problem.loss)(params, node_key, local, arrays.shared)

    return _over_nodes(one, (params, nodes, local), execution)


def full_gradients(
    problem: Functions, execution: Execution, params: Tree, local: Tree, arrays: Arrays
) -> tuple[jax.Array, Tree]:
    """Losses `[s]` and gradients `[s, ...]` of nodes with these data, on all of them."""
    exact = problem.exact
    if exact is None:
        raise ValueError(
            "the algorithm needs gradients on all of a node's data, which the problem does not have"
        )

    def one(args: tuple[Tree, Tree]) -> tuple[jax.Array, Tree]:
        return jax.value_and_grad(exact)(*args, arrays.shared)

    # Whole data sets at once would fill the memory: a few nodes at a time, whatever the execution.
    return _over_nodes(one, (params, local), "map" if execution == "map" else "chunks")


def _over_nodes(one: Callable[[Any], Any], arguments: Any, execution: Execution) -> Any:
    """A function of one node over all rows of its arguments."""
    if execution == "map":
        return jax.lax.map(one, arguments)
    if execution == "chunks" and tree.num_nodes(arguments) > _CHUNK:
        return jax.lax.map(one, arguments, batch_size=_CHUNK)
    return jax.vmap(one)(arguments)


def first_params(problem: Functions, n: int, start: Start, key: Key, arrays: Arrays) -> Tree:
    """The models `[n, ...]` that a run starts from."""
    start_key = stream(key, "start")
    if arrays.starts is not None:
        params = arrays.starts
    elif start == "common":
        params = tree.broadcast(problem.init(start_key), n)
    else:
        params = jax.vmap(problem.init)(jax.random.split(start_key, n))
    return jax.tree.map(lambda leaf: leaf.astype(_dtype(arrays)), params)


def measure(
    problem: Functions, params: Tree, arrays: Arrays, gone: jax.Array | None = None
) -> tuple[Info, Info]:
    """The metrics of a run `[]`, and those of every node `[n]`.

    The former are of nodes that are honest and not `gone`, and NaN where there are none; the objective stays that of
    all honest nodes.
    """
    objective, evaluate = problem.objective, problem.evaluate
    honest = _honest(params, arrays)
    there = None if gone is None else _honest(~gone, arrays)
    merged = tree.node_mean(honest, there)
    value, grads = jax.value_and_grad(objective)(merged, _honest(arrays.local, arrays), arrays.shared)
    metrics = {
        "objective": value,
        "grad_norm": jnp.sqrt(tree.squared_norm(grads)),
        "consensus": tree.consensus(honest, merged, there),
    }
    if arrays.minimum is not None:
        metrics["suboptimality"] = value - arrays.minimum
    if arrays.optimum is not None:
        metrics["distance"] = tree.distance_to(honest, arrays.optimum, there)

    def shown() -> Info:
        if there is None:
            return metrics
        return {name: jnp.where(jnp.any(there), value, jnp.nan) for name, value in metrics.items()}

    if evaluate is None:
        return shown(), {}
    at_once = _EVALUATIONS_AT_ONCE.get(jax.default_backend(), _EVALUATIONS_DEFAULT)
    nodes = jax.lax.map(lambda one: evaluate(one, arrays.held), params, batch_size=at_once)
    for name, values in _honest(nodes, arrays).items():
        low, high = (
            jnp.min(values, where=there, initial=jnp.inf),
            jnp.max(values, where=there, initial=-jnp.inf),
        )
        metrics[f"{name}_mean"] = jnp.mean(values, where=there)
        metrics[f"{name}_worst"], metrics[f"{name}_best"] = (low, high) if name == "accuracy" else (high, low)
    for name, value in evaluate(merged, arrays.held).items():
        metrics[f"{name}_merged"] = value
    return shown(), nodes


def measure_server(problem: Functions, params: Tree, arrays: Arrays) -> Info:
    """The metrics of a server's only model `[1, ...]`, without those that compare nodes."""
    metrics, _ = measure(problem, params, arrays)
    compare = ("consensus", *(name for name in metrics if name.endswith(("_worst", "_best"))))
    return {name: value for name, value in metrics.items() if name not in compare}


def functions(problem: Problem) -> Functions:
    """The callables of a problem that the compiled program is made of."""
    return Functions(
        problem.init,
        problem.loss,
        problem.objective,
        problem.evaluate,
        problem.prox,
        problem.conjugate,
        problem.exact,
    )


def _honest(rows: Tree, arrays: Arrays) -> Tree:
    """The rows `[h, ...]` of honest nodes; all when nobody is Byzantine."""
    return rows if arrays.honest is None else jax.tree.map(lambda leaf: leaf[arrays.honest], rows)


def _counted(n: int, arrays: Arrays, gone: jax.Array | None) -> jax.Array:
    """Which nodes count in metrics, `[n]`: honest ones that are there."""
    honest = jnp.ones(n, bool) if arrays.honest is None else jnp.zeros(n, bool).at[arrays.honest].set(True)
    return honest if gone is None else honest & ~gone


def gradients_of(info: Info) -> jax.Array:
    """How many minibatch gradients each node took in a round, `[]` or `[n]`."""
    return jnp.asarray(info.get("gradients", 1 if "loss" in info else 0))


def _dtype(arrays: Arrays) -> Any:
    return arrays.clock["gradient"].dtype


def _totals(info: Info, time: jax.Array, arrays: Arrays, gone: jax.Array | None) -> Info:
    """What a round adds to the sums of its block: every number an algorithm reports, averaged over nodes.

    And `nobody`, whether there were no nodes, where some may be gone.
    """
    bits = info["bits"]
    n = len(bits)
    there = None if gone is None else _honest(~gone, arrays)

    def average(values: Any) -> jax.Array:
        each = jnp.shape(values)[:1] == (n,)
        return jnp.mean(_honest(values, arrays), where=there) if each else jnp.mean(values)

    extras = {k: average(v) for k, v in info.items() if k not in ("loss", "bits", "gradients")}
    loss = {"train_loss": average(info["loss"])} if "loss" in info else {}
    totals = loss | {"time": time} | extras
    totals = {k: jnp.asarray(v, _dtype(arrays)) for k, v in totals.items()}
    nobody = {} if there is None else {"nobody": ~jnp.any(there)}
    return totals | nobody | {"bits": bits}


_LIMB = 20  # bits sent are counted exactly, as high · 2²⁰ + low: float32 would round sums over a block


def _split(bits: jax.Array) -> jax.Array:
    high = jnp.floor(bits / 2**_LIMB)
    return jnp.stack([high, bits - high * 2**_LIMB]).astype(jnp.uint32)


def _carry(total: jax.Array) -> jax.Array:
    high, low = total[0], total[1]
    return jnp.stack([high + (low >> _LIMB), low & (2**_LIMB - 1)])
