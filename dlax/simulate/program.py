"""One compiled program: the rounds of a block and the evaluation at its end, for every run of a sweep."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from dlax import mixing, tree
from dlax.channel import attacked
from dlax.simulate.streams import round_key, stream
from dlax.types import Channel, Edges, Execution, Info, Key, Knowledge, Pieces, Problem, Round, Tree

Start = Literal["common", "independent"]
Hyper = dict[str, jax.Array]  # traced hyper-parameters of one run, each []

_EVALUATIONS_AT_ONCE = {"cpu": 1}  # node models evaluated together; elsewhere:
_EVALUATIONS_DEFAULT = 32
_CHUNK = 16  # nodes of "chunks": their minibatches are gathered into cache and used there


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


class Arrays(NamedTuple):
    """Everything a run reads and does not change; arguments of the compiled program, never constants.

    Attributes:
      local: the problem's `[n, ...]` arrays.
      shared: the problem's arrays that all nodes see.
      held: the held-out arrays.
      tables: the mixing kernel's arrays.
      optimum: one model, or None.
      minimum: `[]`, or None.
      clock: `gradient`, `latency` and `bandwidth`, each `[]`.
      participation: `[]`, the probability that a node takes part in a round, or None.
      starts: the nodes' own first models `[n, ...]`, or None.
      facts: what the topology knows and the algorithm asked for: numbers `[]`, the table of its edges.
      honest: `[h]` int32, who is not Byzantine, or None when nobody is.
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


class Functions(NamedTuple):
    """The callables of a problem that the compiled program is made of."""

    init: Callable[..., Any]
    loss: Callable[..., Any]
    objective: Callable[..., Any]
    evaluate: Callable[..., Any] | None
    prox: Callable[..., Any] | None
    conjugate: Callable[..., Any] | None


class MissingFact(Exception):  # noqa: N818 - a question, not an error
    """Raised while tracing, when an algorithm asks for a fact that is not among the arguments yet."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Carry(NamedTuple):
    """What one block hands to the next, of one run.

    Attributes:
      state: the algorithm's.
      diverged: `[]` int32, the first round with a non-finite number, -1 before.
    """

    state: Any
    diverged: jax.Array


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
    """

    build: Callable[[Hyper], Pieces]
    problem: Functions
    plan: mixing.Plan
    topology: str
    properties: frozenset[str]
    execution: Execution
    start: Start
    knowledge: Knowledge = "everything"

    def init(self, key: Key, hyper: Hyper, arrays: Arrays) -> Carry:
        """Draws the first models and starts the algorithm; for one run."""
        return Carry(self.begin(self.first_params(key, arrays), key, hyper, arrays), jnp.int32(-1))

    def first_params(self, key: Key, arrays: Arrays) -> Tree:
        """The models `[n, ...]` that a run starts from."""
        return first_params(self.problem, self.plan.n, self.start, key, arrays)

    def begin(self, params: Tree, key: Key, hyper: Hyper, arrays: Arrays) -> Any:
        """The algorithm's state at given models."""
        pieces = self.build(hyper)
        return pieces.algorithm.init(params, self._round(jnp.int32(0), key, pieces, arrays))

    def step(self, t: jax.Array, state: Any, key: Key, hyper: Hyper, arrays: Arrays) -> tuple[Any, Info]:
        """Round t of one run: the algorithm's step; nodes that take no part keep their state."""
        return self._advance(self.build(hyper), t, state, key, arrays)

    def _advance(
        self, pieces: Pieces, t: jax.Array, state: Any, key: Key, arrays: Arrays
    ) -> tuple[Any, Info]:
        round = self._round(t, key, pieces, arrays)
        new, info = pieces.algorithm.step(state, round)
        if arrays.participation is not None:
            new = tree.where_nodes(round.active, new, state)  # who takes no part keeps its whole state
        return new, info

    def block(
        self, start: jax.Array, stop: jax.Array, carry: Carry, key: Key, hyper: Hyper, arrays: Arrays
    ) -> tuple[Carry, Info, Info]:
        """Rounds start, ..., stop − 1 and one evaluation; for one run.

        Returns:
          The carry, the metrics of the block (each `[]`; sums over the block for `bits` and `time`), and the
          metrics of every node (each `[n]`).
        """
        pieces = self.build(hyper)

        def step(t: jax.Array, state: Any) -> tuple[Any, Info]:
            new, info = self._advance(pieces, t, state, key, arrays)
            return new, _totals(info, arrays)

        shapes = jax.eval_shape(lambda: step(start, carry.state)[1])
        zeros = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)

        def body(t: jax.Array, loop: tuple[Carry, Info]) -> tuple[Carry, Info]:
            (state, diverged), sums = loop
            state, totals = step(t, state)
            first = (diverged < 0) & ~jnp.isfinite(totals.get("train_loss", 0.0))
            sums = jax.tree.map(jnp.add, sums, totals)
            sums["bits"] = _carry(sums["bits"])
            return Carry(state, jnp.where(first, t, diverged)), sums

        (state, diverged), sums = jax.lax.fori_loop(start, stop, body, (carry, zeros))
        broken = (diverged < 0) & ~tree.all_finite(_honest(state.params, arrays))
        diverged = jnp.where(broken, stop, diverged)
        metrics, nodes = measure(self.problem, state.params, arrays)
        # Bits and time add up; everything else that a round reports is averaged over the block.
        means = {k: v if k in ("bits", "time") else v / (stop - start) for k, v in sums.items()}
        return Carry(state, diverged), {**means, **metrics, "diverged": diverged}, nodes

    def _round(self, t: jax.Array, run_key: Key, pieces: Pieces, arrays: Arrays) -> Round:
        key = round_key(run_key, t)
        n = self.plan.n
        channel = pieces.channel
        if pieces.attack is not None and arrays.honest is None:
            raise ValueError("byzantine: is required, since there is attack")
        loss_function = self.problem.loss
        active = None
        if arrays.participation is not None:
            active = jax.random.uniform(stream(key, "faults"), (n,), jnp.float32) < arrays.participation
        graph_key, channel_key = stream(key, "graph"), stream(key, "channel")
        stages = itertools.count()

        def network() -> Any:
            # The stage is counted while tracing: a second message in one round draws its own losses.
            stage_key = jax.random.fold_in(channel_key, next(stages))
            made = mixing.network(self.plan, arrays.tables, t, graph_key, stage_key, active)
            return made._replace(
                require=require, edges=lambda: mixing.edges(fact("edges")), byzantine=byzantine, losses=losses
            )

        byzantine = None
        if arrays.honest is not None:
            byzantine = jnp.ones(n, bool).at[arrays.honest].set(False)

        def losses(params: Tree) -> jax.Array:
            node_keys = jax.vmap(lambda i: jax.random.fold_in(stream(made.key, "data"), i))(jnp.arange(n))
            value = jax.vmap(loss_function, in_axes=(0, 0, 0, None))
            return value(params, node_keys, local_arrays, arrays.shared)

        local_arrays = arrays.local
        if pieces.attack is not None and pieces.attack.poison is not None:
            local_arrays = {**arrays.local, "byzantine": byzantine}

        def grad(params: Tree, key: Key, nodes: jax.Array | None = None) -> tuple[jax.Array, Tree]:
            ids = jnp.arange(n) if nodes is None else nodes
            local = local_arrays if nodes is None else jax.tree.map(lambda leaf: leaf[nodes], local_arrays)
            data_key = stream(key, "data")

            def one(args: tuple[Tree, jax.Array, Tree]) -> tuple[jax.Array, Tree]:
                params, node, local = args
                node_key = jax.random.fold_in(data_key, node)
                return jax.value_and_grad(loss_function)(params, node_key, local, arrays.shared)

            if self.execution == "map":
                return jax.lax.map(one, (params, ids, local))
            if self.execution == "chunks" and len(ids) > _CHUNK:
                return jax.lax.map(one, (params, ids, local), batch_size=_CHUNK)
            return jax.vmap(one)((params, ids, local))

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
            if active is not None or not channel.plain:
                raise ValueError(
                    "an algorithm with state on edges needs a plain channel and all nodes in every round"
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
            holds = self.properties | ({"full participation"} if active is None else frozenset())
            missing = [word for word in needed if word not in holds]
            if missing == ["full participation"]:
                raise ValueError(f"{who!r} needs every node in every round; set participation to null")
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
            **through(channel),
            active=jnp.ones(n, bool) if active is None else active,
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


def measure(problem: Functions, params: Tree, arrays: Arrays) -> tuple[Info, Info]:
    """The metrics of a run `[]`, which are of honest nodes alone, and those of every node `[n]`."""
    objective, evaluate = problem.objective, problem.evaluate
    honest = _honest(params, arrays)
    merged = tree.node_mean(honest)
    value, grads = jax.value_and_grad(objective)(merged, _honest(arrays.local, arrays), arrays.shared)
    metrics = {
        "objective": value,
        "grad_norm": jnp.sqrt(tree.squared_norm(grads)),
        "consensus": tree.consensus(honest, merged),
    }
    if arrays.minimum is not None:
        metrics["suboptimality"] = value - arrays.minimum
    if arrays.optimum is not None:
        metrics["distance"] = tree.distance_to(honest, arrays.optimum)
    if evaluate is None:
        return metrics, {}
    at_once = _EVALUATIONS_AT_ONCE.get(jax.default_backend(), _EVALUATIONS_DEFAULT)
    nodes = jax.lax.map(lambda one: evaluate(one, arrays.held), params, batch_size=at_once)
    for name, values in _honest(nodes, arrays).items():
        low, high = jnp.min(values), jnp.max(values)
        metrics[f"{name}_mean"] = jnp.mean(values)
        metrics[f"{name}_worst"], metrics[f"{name}_best"] = (low, high) if name == "accuracy" else (high, low)
    for name, value in evaluate(merged, arrays.held).items():
        metrics[f"{name}_merged"] = value
    return metrics, nodes


def functions(problem: Problem) -> Functions:
    """The callables of a problem that the compiled program is made of."""
    return Functions(
        problem.init, problem.loss, problem.objective, problem.evaluate, problem.prox, problem.conjugate
    )


def _honest(rows: Tree, arrays: Arrays) -> Tree:
    """The rows `[h, ...]` of honest nodes; all when nobody is Byzantine."""
    return rows if arrays.honest is None else jax.tree.map(lambda leaf: leaf[arrays.honest], rows)


def _dtype(arrays: Arrays) -> Any:
    return arrays.clock["gradient"].dtype


def _totals(info: Info, arrays: Arrays) -> Info:
    """What a round adds to the sums of its block; every number an algorithm reports, averaged over nodes."""
    bits = info["bits"]
    clock = arrays.clock
    gradients = jnp.max(jnp.asarray(info.get("gradients", 1 if "loss" in info else 0)))
    time = gradients * clock["gradient"] + clock["latency"] + jnp.max(bits) / clock["bandwidth"]
    rest = {k: v for k, v in info.items() if k not in ("loss", "bits", "gradients")}
    n = len(bits)
    extras = {k: jnp.mean(_honest(v, arrays) if jnp.shape(v)[:1] == (n,) else v) for k, v in rest.items()}
    loss = {"train_loss": jnp.mean(_honest(info["loss"], arrays))} if "loss" in info else {}
    totals = loss | {"time": time} | extras
    totals = {k: jnp.asarray(v, _dtype(arrays)) for k, v in totals.items()}
    return totals | {"bits": _split(bits)}


_LIMB = 20  # bits sent are counted exactly, as high · 2²⁰ + low: float32 would round sums over a block


def _split(bits: jax.Array) -> jax.Array:
    high = jnp.floor(bits / 2**_LIMB)
    return jnp.stack([high, bits - high * 2**_LIMB]).astype(jnp.uint32)


def _carry(total: jax.Array) -> jax.Array:
    high, low = total[0], total[1]
    return jnp.stack([high + (low >> _LIMB), low & (2**_LIMB - 1)])
