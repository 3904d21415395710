"""The records and callables that every part of dlax agrees on; imports nothing of dlax.

The letters mean the same everywhere: n nodes, d parameters of one model, k neighbour slots, m edges,
s cohort, b batch, N samples, t round, W and w mixing weights. Nodes lead every leaf: `[n, ...]`.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

Tree = Any  # a pytree of arrays
Key = jax.Array  # a typed key, `jax.random.key`
Scalar = float | jax.Array  # a hyper-parameter that may be traced, hence swept with one compile
Info = dict[str, Any]  # name -> array, or a Python number
Optimizer = Callable[[Scalar], Any]  # lr -> optax.GradientTransformation
Schedule = Callable[[jax.Array], jax.Array]  # round t -> factor on lr


class Algorithm(NamedTuple):
    """A decentralised algorithm: a pair of pure functions, and nothing else.

    `init(params, round) -> state` with params `[n, ...]`; the state is a NamedTuple whose first field is
    `params`. `step(state, round) -> (state, info)`; info holds `bits` `[n]` (sent by each node in this round),
    `loss` `[n]` if gradients were taken, and may hold more numbers that a person wants to see.

    `server` names the fields of the state that a server would hold: they are the same in every row. The cohorts clock
    keeps one copy of them; it takes only algorithms that name some.
    """

    init: Callable[[Tree, "Round"], Any]
    step: Callable[[Any, "Round"], tuple[Any, Info]]
    server: tuple[str, ...] = ()


class Round(NamedTuple):
    """Everything an algorithm may use in round t. A new need is a new field; no algorithm changes.

    Attributes:
      t: `[]` int32, the round, from 0.
      key: a key of this round; the same for every algorithm with the same seed.
      grad: `(params [n, ...], key, nodes=None) -> (loss [n], grads [n, ...])`; each node on a minibatch of
        its own data. `nodes` `[s]` picks a cohort: params and results then lead with s.
      full_grad: `params [n, ...] -> (loss [n], grads [n, ...])` on all of each node's data; raises `ValueError` where
        the problem has no such thing.
      open: `message [n, ...] -> link`: the channel's state for messages of this shape.
      mix: `(link, message) -> (received [n, ...], link, bits [n])`: what each node makes of what it got.
      active: `[n]` bool, who takes part in this round.
      clients: n; on the cohorts clock N, of whom only s have rows in this round.
      require: `(who, *properties) -> None`: raises `ValueError` when the topology lacks one of them
        ("symmetric", "doubly stochastic", "row stochastic", "column stochastic", "complete", "fixed", ...)
        or, for "full participation", when nodes may sit rounds out.
      fact: `name -> []`: a number that the topology knows ("spectral gap", "worst gap" of a single round, "second
        largest eigenvalue", "least eigenvalue"); computed on the host when first asked for, and an argument of
        the compiled run. "least eigenvalue above -1/3" raises `ValueError` where it is not: asking is a way to
        refuse what is too dear to know of every topology.
      edges: `() -> Edges`: the neighbours of every node in slots, for state that lives on edges; raises
        `ValueError` unless the topology is fixed and undirected and the channel plain.
      over: `channel -> Round`: the same round over another channel, for algorithms that bring their own; raises
        `ValueError` unless the run's channel is plain.
      prox: `(v [n, ...], scale) -> [n, ...]`: argmin_x fᵢ(x) + ‖x − vᵢ‖² / (2 scale), scale `[]` or `[n]`; raises
        `ValueError` where the problem has none.
      conjugate: `y [n, ...] -> [n, ...]`: ∇fᵢ*(yᵢ) = argmin_x fᵢ(x) − ⟨yᵢ, x⟩; likewise.
    """

    t: jax.Array
    key: Key
    grad: Callable[..., tuple[jax.Array, Tree]]
    full_grad: Callable[[Tree], tuple[jax.Array, Tree]]
    open: Callable[[Tree], Any]
    mix: Callable[[Any, Tree], tuple[Tree, Any, jax.Array]]
    active: jax.Array
    clients: int
    require: Callable[..., None]
    fact: Callable[[str], Any]
    edges: Callable[[], "Edges"]
    over: Callable[["Channel"], "Round"]
    prox: Callable[[Tree, Scalar], Tree]
    conjugate: Callable[[Tree], Tree]


class Edges(NamedTuple):
    """The edges of a fixed undirected graph, k slots a node; state on edges is `[n, k, ...]`.

    Attributes:
      neighbour: `[n, k]` int32, who is in a slot; i itself where the slot is empty.
      weight: `[n, k]`, W_ij; 0 where the slot is empty.
      used: `[n, k]` bool, whether there is a neighbour.
      degree: `[n]` float.
      gather: `[n, ...] -> [n, k, ...]`: the neighbours' rows; one's own in empty slots.
      swap: `[n, k, ...] -> [n, k, ...]`: what i finds in slot s is what that neighbour has in its slot for i.
    """

    neighbour: jax.Array
    weight: jax.Array
    used: jax.Array
    degree: jax.Array
    gather: Callable[[Tree], Tree]
    swap: Callable[[Tree], Tree]


class Network(NamedTuple):
    """The graph of one round, as a channel sees it.

    Attributes:
      mix: `(message [n, ...], semiring=SUM) -> W message`, the fast kernel; only right when every edge works.
      table: `() -> (index [n, k] int32, weight [n, k], own [n])`: whom each node hears, with which weight,
        and its self weight. Unused slots have weight 0 and index i.
      out_degree: `[n]` float, the number of nodes that each node sends to.
      active: `[n]` bool, or None when everyone takes part (known at trace time).
      key: the channel's key of this round; a second message in the round gets another.
      require: as `Round.require`; a channel refuses a graph by it.
      edges: as `Round.edges`, for channels with state on edges; None where nobody can make them.
      byzantine: `[n]` bool, who lies, or None when nobody does (known at trace time). For attacks and for oracles
        that know their number; a rule that asks who they are would be no rule.
      told: what the Byzantine nodes tell node i in place of their rows of the message, leaves `[n, ...]` by
        receiver; None when everybody hears the same of a node. Only channels that are `faces` see it.
      losses: `params [n, ...] -> [n]`, the loss of node i's own minibatch of this round at a model it heard.
      complete: whether all hear all, with equal weights.
      works: `[n, k]` bool over the slots of `table`, which links carry messages in this round, or None when all do
        (known at trace time).
    """

    mix: Callable[..., Tree]
    table: Callable[[], tuple[jax.Array, jax.Array, jax.Array]]
    out_degree: jax.Array
    active: jax.Array | None
    key: Key
    require: Callable[..., None] = lambda who, *words: None
    edges: Callable[[], Edges] | None = None
    byzantine: jax.Array | None = None
    told: Tree | None = None
    losses: Callable[[Tree], jax.Array] | None = None
    complete: bool = False
    works: jax.Array | None = None

    @property
    def perfect(self) -> bool:
        """Whether every node takes part and every link works, known at trace time."""
        return self.active is None and self.works is None


class Channel(NamedTuple):
    """What happens to a message between sending and having received.

    `open(message [n, ...], network) -> link` makes the channel's state (public copies, histories; `()` when
    there is none). `mix(link, message, network) -> (received [n, ...], link, bits [n])`.

    `plain` is True of a channel that hands every message on as it is: received = W message. `faces` is True of one
    that heeds `Network.told`: over others nobody can tell each receiver another thing. `aged` is True of one
    that also takes messages of several rounds, leaves `[r n, ...]` of which the first n are of this round, with a
    table that points into them. `reopens` is False of one whose link says what neighbours know, so that a node
    cannot begin anew while others go on. `server` is True of one without state that, where all hear all, hands every
    receiver the same: what a server can do.

    `check(heard [n], byzantine [n]) -> None`, NumPy, raises `ValueError` when some node that hears so many messages
    (its own is one) cannot withstand that many Byzantine ones; None where no number is too many.
    """

    open: Callable[[Tree, Network], Any]
    mix: Callable[[Any, Tree, Network], tuple[Tree, Any, jax.Array]]
    plain: bool = False
    faces: bool = False
    aged: bool = False
    reopens: bool = True
    server: bool = False
    check: Callable[[np.ndarray, np.ndarray], None] | None = None


class Heard(NamedTuple):
    """What a robust rule may know of the m vectors that ONE node may combine; its own comes first.

    Attributes:
      inner: `[m, m]`, inner products of the vectors, seen from a point among them if the rule commutes with
        translations; 0 for vectors that are absent or not finite.
      present: `[m]` bool; a node of smaller degree than others has slots to spare.
      finite: `[m]` bool, False of a vector with an infinity or a NaN.
      weight: `[m]`, the gossip weights W_ij, the node's own first; 0 where absent.
      tolerated: `[]` int32, f, how many Byzantine vectors are to be withstood.
      mass: `[]`, b, the gossip weight that they hold together.
      key: for rules that draw.
      lies: `[m]` bool, which are Byzantine: for oracles that papers compare with, no rule may look.
    """

    inner: jax.Array
    present: jax.Array
    finite: jax.Array
    weight: jax.Array
    tolerated: jax.Array
    mass: jax.Array
    key: Key
    lies: jax.Array


class PreRule(NamedTuple):
    """What is done to the vectors before a rule sees them: linear in the vectors, by a matrix made of them.

    Attributes:
      matrix: `Heard -> (M [m, m], present [m])`: row r of M makes vector r of the result.
      translates: as `Rule.translates`.
      rows: `m -> int`, how many vectors it makes of m.
    """

    matrix: Callable[[Heard], tuple[jax.Array, jax.Array]]
    translates: bool = True
    rows: Callable[[int], int] = lambda m: m


class Rule(NamedTuple):
    """A robust way to combine the vectors that one node heard; one of two functions, the other is None.

    Attributes:
      weigh: `Heard -> [m]`, weights of the vectors; they need not sum to one. Then the result is a mixing
        matrix made of the data, and rides the gossip kernel.
      reduce: `(values [m, c], Heard) -> [c]`, by coordinate, for c of the coordinates at a time; what is not finite
        is handed over as +inf, absent values too.
      most: `m -> int`, the largest f that can be withstood among m vectors, the node's own included.
      translates: whether adding one vector to all inputs adds it to the result. False: inner products are of the
        vectors as they are.
      select: what a rule by coordinate does to the vectors before, or None.
      symmetric: whether the node's own vector counts as any other; where all hear the same, one of them computes.
    """

    weigh: Callable[[Heard], jax.Array] | None = None
    reduce: Callable[[jax.Array, Heard], jax.Array] | None = None
    most: Callable[[int], int] = lambda m: (m - 1) // 2
    translates: bool = True
    select: PreRule | None = None
    symmetric: bool = False


Knowledge = Literal["own", "neighbourhood", "everything"]


class Sight(NamedTuple):
    """What Byzantine nodes see when they make up their messages in a round.

    Attributes:
      key: for attacks that draw.
      message: leaves `[n, ...]`, what every node would send if all were honest. Rows of honest nodes are zero unless
        the knowledge is "everything".
      byzantine: `[n]` bool.
      mean: `() -> μ`: the mean of the honest messages that a Byzantine node knows of, leaves `[1, ...]` when all know
        the same, else `[n, ...]`, zero in honest rows. With knowledge "own" it is the node's own message.
      deviation: `() -> s`: their standard deviation by coordinate, with ddof = 1, shaped like `mean`'s.
      around: `() -> (μ, s)`: the same over the honest messages in the closed neighbourhood of every receiver,
        leaves `[n, ...]`; for lies by receiver. Knowledge "everything" only.
      table: as `Network.table`.
      respond: `Lies -> received [n, ...]`: what every node would make of these lies. Knowledge "everything" only.
    """

    key: Key
    message: Tree
    byzantine: jax.Array
    mean: Callable[[], Tree]
    deviation: Callable[[], Tree]
    around: Callable[[], tuple[Tree, Tree]]
    table: Callable[[], tuple[jax.Array, jax.Array, jax.Array]]
    respond: Callable[["Lies"], Tree]


class Lies(NamedTuple):
    """What Byzantine nodes send.

    Attributes:
      sent: leaves `[n, ...]` or `[1, ...]`; a Byzantine node sends its row to everyone who hears it.
      told: leaves `[n, ...]` by receiver: all Byzantine neighbours of node i tell it row i. None: `sent` holds.
      kept: leaves `[n, ...]` or `[1, ...]`: what a Byzantine node goes on with as if it had received that. None: the
        mean of the honest messages that it knows of.
      silent: Byzantine nodes send nothing, as if they slept; over channels that are `faces`, since others need not
        heed who takes part.
    """

    sent: Tree
    told: Tree | None = None
    kept: Tree | None = None
    silent: bool = False


class Poison(NamedTuple):
    """What Byzantine nodes do to the labelled samples they train on. For one batch; C classes.

    Attributes:
      train: `(x [b, ...], y [b], C) -> (x, y)`.
      test: `(x [b, ...], y [b], C) -> (x, target [b], counts [b] bool)`: the attack succeeds on a held-out sample
        that counts if the prediction is the target. None: there is no such measure.
    """

    train: Callable[[jax.Array, jax.Array, int], tuple[jax.Array, jax.Array]]
    test: Callable[[jax.Array, jax.Array, int], tuple[jax.Array, jax.Array, jax.Array]] | None = None


class Attack(NamedTuple):
    """What Byzantine nodes do; inside the channel, after honest messages are formed, or to their data.

    Attributes:
      craft: `(memory, Sight) -> (Lies, memory)`; None: they send what the algorithm makes of their data.
      init: `(message, key) -> memory`, for a message of this shape `[n, ...]`.
      poison: of their data, or None.
      faces: whether each receiver may be told another thing, or nothing.
      needs: the least that they must know.
    """

    craft: Callable[[Any, Sight], tuple[Lies, Any]] | None = None
    init: Callable[[Tree, Key], Any] = lambda message, key: ()
    poison: Poison | None = None
    faces: bool = False
    needs: Knowledge = "own"


class Site(NamedTuple):
    """Where and when a fault acts.

    Attributes:
      t: `[]` int32, the round.
      key: of this round, for faults that draw.
      arrays: what the fault's `prepare` made.
      hears: `() -> index [n, k]` int32: whom each node hears in this round, in the slots of `Network.table`.
    """

    t: jax.Array
    key: Key
    arrays: Tree
    hears: Callable[[], jax.Array]


class Outage(NamedTuple):
    """What fails in one round; None where nothing of the kind can (known at trace time).

    Attributes:
      gone: `[n]` bool, nodes that have left: they are not heard, keep their state and do not count in metrics.
      asleep: `[n]` bool, nodes that sit the round out: the same, but they count.
      back: `[n]` bool, nodes that return in this round.
      works: `[n, k]` bool over the slots, which links carry messages.
    """

    gone: jax.Array | None = None
    asleep: jax.Array | None = None
    back: jax.Array | None = None
    works: jax.Array | None = None


Holds = Literal["old", "neighbour", "start"]


class Fault(NamedTuple):
    """What fails, and when: pure functions inside the compiled run. Memory is the engine's, not the algorithm's.

    Attributes:
      prepare: `topology -> arrays`, NumPy, on the host: ranks, traces; raises `ValueError` where they do not fit.
      begin: `Site -> memory`, at round 0.
      step: `(memory, Site) -> (Outage, memory)`.
      after: `(memory, awake [n], gradients [n], bits [n]) -> memory`, once the round's work is known; or None.
      holds: what a node holds that returns: its old state; the model of a neighbour, or its start, and the rest of
        its state as at the start.
    """

    step: Callable[[Any, Site], tuple[Outage, Any]]
    prepare: Callable[[Any], Tree] = lambda topology: ()
    begin: Callable[[Site], Any] = lambda site: ()
    after: Callable[..., Any] | None = None
    holds: Holds = "old"


Placement = Callable[[Any], np.ndarray]  # topology -> [n] bool, who is Byzantine


class Compressor(NamedTuple):
    """What a vector loses so that its message is short; for ONE vector of one node.

    Attributes:
      compress: `(key, x [d]) -> C(x) [d]`, in x's dtype: what the receiver makes of what travels.
      bits: `(d, width) -> int`, what travels for one vector whose entries have `width` bits. It depends on
        shapes alone.
      contraction: `d -> ω in (0, 1]` with E‖C(x) − x‖² ≤ (1 − ω) ‖x‖² for every x; None where there is none.
      variance: `d -> ω ≥ 0` with E C(x) = x and E‖C(x) − x‖² ≤ ω ‖x‖² for every x; None where C is biased.
    """

    compress: Callable[[Key, jax.Array], jax.Array]
    bits: Callable[[int, int], int]
    contraction: Callable[[int], float] | None = None
    variance: Callable[[int], float] | None = None


# Nodes' gradients all together, sixteen at a time, or one node after the other.
Execution = Literal["vmap", "chunks", "map"]


class Model(NamedTuple):
    """A network for one node: `init(key) -> params` and `apply(params, x [b, ...]) -> outputs [b, c]`.

    `on_cpu` is the faster execution over nodes on a CPU, by measurement; accelerators always take "vmap".
    """

    init: Callable[[Key], Tree]
    apply: Callable[[Tree, jax.Array], jax.Array]
    on_cpu: Execution = "vmap"


class Pieces(NamedTuple):
    """What a run is built of inside the trace; attack and faults are None where there are none."""

    algorithm: Algorithm
    channel: Channel
    attack: "Attack | None" = None
    faults: "Fault | None" = None


class Sampling(NamedTuple):
    """Which clients take part in a round of the cohorts clock.

    Attributes:
      draw: `(arrays, t, key, awake [N] or None) -> (clients [s] int32, present [s] bool)`, all different.
      size: s.
      prepare: `problem -> arrays`, NumPy, on the host; raises `ValueError` where the two do not fit.
      whole: whether all of a cohort are present where nobody sleeps.
      rounds: how many rounds it knows the cohorts of; None: of all.
    """

    draw: Callable[[Any, jax.Array, Key, jax.Array | None], tuple[jax.Array, jax.Array]]
    size: int
    prepare: Callable[["Problem"], Any]
    whole: bool = True
    rounds: int | None = None


class Problem(NamedTuple):
    """What the nodes minimise: f(x) = (1/n) Σᵢ fᵢ(x). Functions are for ONE node; the engine maps them.

    Attributes:
      n: number of nodes.
      init: `key -> params`, one node's start.
      loss: `(params, key, local, shared) -> []`, a stochastic value of fᵢ whose gradient is unbiased; `key`
        draws the minibatch.
      local: every leaf `[n, ...]`: node i's loss sees row i (offsets into the data, its own matrices, ...).
      shared: arrays that all nodes see (the data set itself).
      objective: `(params, local, shared) -> []`, the global f at ONE model; `local` is the whole tree.
      evaluate: `(params, held) -> {"loss": [], "accuracy": [], ...}` of ONE model on held-out data, or
        None when there is nothing to hold out.
      held: the held-out arrays that `evaluate` sees.
      optimum: the minimiser x* of f, one model, or None when it is not known.
      minimum: f(x*), or None.
      table: `[n, classes]` counts of training samples by label, for pictures, or None.
      on_cpu: the faster execution over nodes on a CPU.
      starts: `[n, ...]` the nodes' own first models, which then replace draws of `init`; None draws.
      prox: `(v, scale, local, shared) -> argmin_x fᵢ(x) + ‖x − v‖² / (2 scale)`, or None.
      conjugate: `(y, local, shared) -> ∇fᵢ*(y) = argmin_x fᵢ(x) − ⟨y, x⟩`, or None.
      exact: `(params, local, shared) -> []`, fᵢ on all of the node's data; None where there is no such thing.
      poisoned: `Poison -> (loss, evaluate)`: the same with Byzantine nodes (`local["byzantine"]`, a bool a node)
        training on poisoned samples, and with `attack_success` among the held-out metrics; None where samples have
        no labels.
    """

    n: int
    init: Callable[[Key], Tree]
    loss: Callable[[Tree, Key, Tree, Tree], jax.Array]
    local: Tree
    shared: Tree
    objective: Callable[[Tree, Tree, Tree], jax.Array]
    evaluate: Callable[[Tree, Tree], Info] | None = None
    held: Tree = ()
    optimum: Tree | None = None
    minimum: float | None = None
    table: Any = None
    on_cpu: Execution = "vmap"
    starts: Tree | None = None
    prox: Callable[[Tree, Scalar, Tree, Tree], Tree] | None = None
    conjugate: Callable[[Tree, Tree, Tree], Tree] | None = None
    exact: Callable[[Tree, Tree, Tree], jax.Array] | None = None
    poisoned: Callable[[Poison], tuple[Callable[..., Any], Callable[..., Any] | None]] | None = None


class EventList(NamedTuple):
    """What happens in an asynchronous run, in the order of time; NumPy arrays.

    Attributes:
      time: `[E]` float64, ascending.
      node: `[E]` int32.
      peer: `[E]` int32, whom the node meets; the node itself when it acts alone.
    """

    time: np.ndarray
    node: np.ndarray
    peer: np.ndarray


DrawEvents = Callable[[float, np.random.Generator], EventList]  # (duration, rng) -> events


class Timing(NamedTuple):
    """The clocks of an asynchronous algorithm on one topology; made on the host.

    Attributes:
      draw: makes the list of events.
      facts: numbers and arrays that the rules need, such as a resistance of the graph; arguments of the run.
    """

    draw: DrawEvents
    facts: dict[str, Any]


class End(NamedTuple):
    """One of the two ends of an event.

    Attributes:
      node: `[]` int32.
      grad: `params [...] -> (loss [], grads [...])`, on a minibatch of this node's data.
      conjugate: `y [...] -> ∇fᵢ*(y) [...]`; raises `ValueError` where the problem has none.
    """

    node: jax.Array
    grad: Callable[[Tree], tuple[jax.Array, Tree]]
    conjugate: Callable[[Tree], Tree]


class Event(NamedTuple):
    """What the rule for one event may use.

    Attributes:
      time: `[]`, simulated.
      key: of this event.
      own: the node whose clock ticked, or the first end of the edge.
      peer: the second end; the same as `own` when the node acts alone.
      facts: of the `Timing`, as jax arrays.
    """

    time: jax.Array
    key: Key
    own: End
    peer: End
    facts: dict[str, Any]


Delta = Literal["start", "server"]


class LocalTraining(NamedTuple):
    """What a client of a scheduled server does between two hand-ins.

    Attributes:
      optimizer: an `optax.GradientTransformation` for its local steps.
      delta: what its update is the difference to, the model it began with or the server's.
    """

    optimizer: Any
    delta: Delta


class Asynchronous(NamedTuple):
    """An asynchronous algorithm: rules for ONE event, which touches one node or two.

    Attributes:
      timing: `topology -> Timing`, on the host; refuses graphs with `ValueError`.
      init: `(params [n, ...], facts) -> state [n, ...]`; a NamedTuple whose first field is `params`.
      compute: `(own, event) -> (own, info)`, for a node on its own; `own` is its row of the state. None if that
        does not happen. `info` may hold `loss` `[]`, and `gradients` if they are not one a loss.
      meet: `(own, peer, event) -> (own, peer, info)`, for two nodes; None if they never do.
      flow: `(own, elapsed [], facts) -> own`, how a node's row moves between its events; the engine applies it
        before an event and before it measures. None: it rests.
      message: `own -> tree`, what each end sends when two meet: its bits are counted.
    """

    timing: Callable[[Any], Timing]
    init: Callable[[Tree, dict[str, Any]], Any]
    compute: Callable[[Any, Event], tuple[Any, Info]] | None = None
    meet: Callable[[Any, Any, Event], tuple[Any, Any, Info]] | None = None
    flow: Callable[[Any, jax.Array, dict[str, Any]], Any] | None = None
    message: Callable[[Any], Tree] = lambda own: own.params
