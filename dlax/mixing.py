"""The gossip kernels: W · message on rows = nodes, columns = flattened parameters, over a semiring.

The kernels stand behind one function, chosen by shape:

- "mean": W = 11ᵀ/n is one average.
- "dense": a small graph, or one with many neighbours, is a matrix product.
- "slots": a loop over neighbour slots, `acc += w[:, j] · X[index[:, j]]`, fused into one pass over memory.
  Nodes of like degree share a bucket, so that a hub does not make everyone as wide as itself.
- "drawn": a matrix made of the round's key, as slots or dense as its rule gives it.

Sums may be maxima, minima or ORs instead (`Semiring`), pulled by the receivers or pushed by the senders.

Circulant graphs (ring, exponential) have no kernel of their own: on two CPU cores rolls took 0.7 to 1.1 times
the slots' time with two neighbours and 0.9 to 2.2 times with four, for n from 16 to 65,536.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from scipy.sparse import csr_array

from dlax.topology import EdgeTable, Topology
from dlax.types import Edges, Key, Network, Tree

Kernel = Literal["mean", "dense", "slots", "drawn"]
Tables = dict[str, Any]  # arrays of one round, or of all rounds with a leading [L]

_UNROLL = 16  # slots written out one by one; wider buckets loop over groups of this many
_NARROW = 4  # slots: a graph without wider nodes is one bucket
_DENSE_NODES = 256  # larger graphs take the slots, whatever their degree; measured up to n = 64 only
_DENSE_SPARSITY = 8  # n <= 8 k: the product's 2n operations an entry cost less than k reads
_SLAB_BYTES = 2_000_000  # of columns mixed at once on a CPU: what stays in cache
_LARGE_BYTES = 16_000_000  # below this the whole message stays there
_SLAB_NEIGHBOURS = 6  # with fewer, fusing the mix with the update before it saves more
_NARROWEST_SLAB = 64  # columns; narrower slabs read memory in too small pieces


@dataclass(frozen=True)
class Semiring:
    """What takes the place of + and × in W · message.

        received_i = ⊕ⱼ W_ij ⊗ message_j

    Max and min are exact, whatever the kernel; infinities are numbers among others, and a NaN wins over every
    number, so it spreads to all who hear of it.

    Attributes:
      name: "sum", "max", "min" or "or".
      kinds: the kinds of message that it takes, out of "floating", "integer" and "boolean".
      add: ⊕, associative and commutative.
      reduce: ⊕ over an axis, `(array, axis) -> array`.
    """

    name: str
    kinds: tuple[str, ...]
    add: Callable[[jax.Array, jax.Array], jax.Array]
    reduce: Callable[..., jax.Array]

    def multiply(self, weight: jax.Array, x: jax.Array) -> jax.Array:
        """⊗: the product for sums; for the others x where the weight is not zero, and ⊕'s zero elsewhere."""
        return weight * x if self is SUM else jnp.where(weight != 0, x, self.zero(x.dtype))

    def zero(self, dtype: Any) -> jax.Array:
        """⊕'s neutral element, `[]`: no message at all."""
        if self.name in ("sum", "or") or dtype == jnp.bool_:
            return jnp.array(self.name == "min", dtype)
        if jnp.issubdtype(dtype, jnp.floating):
            return jnp.array(-jnp.inf if self.name == "max" else jnp.inf, dtype)
        limits = jnp.iinfo(dtype)
        return jnp.array(limits.min if self.name == "max" else limits.max, dtype)


SUM = Semiring("sum", ("floating",), jnp.add, jnp.sum)
MAX = Semiring("max", ("floating", "integer", "boolean"), jnp.maximum, jnp.max)
MIN = Semiring("min", ("floating", "integer", "boolean"), jnp.minimum, jnp.min)
OR = Semiring("or", ("boolean",), jnp.logical_or, jnp.any)
SEMIRINGS = {semiring.name: semiring for semiring in (SUM, MAX, MIN, OR)}

_KINDS = {"floating": jnp.floating, "integer": jnp.integer, "boolean": jnp.bool_}


@dataclass(frozen=True)
class Plan:
    """What is static about a topology's kernel: it is part of the compiled program's identity.

    Attributes:
      kernel: which kernel runs.
      n: number of nodes.
      period: L, the number of matrices that the rounds take turns with.
      order: "fixed", "cyclic", "random" or "drawn".
      buckets: (rows, slots) of every bucket of like degree.
      rule: of a drawn topology.
    """

    kernel: Kernel
    n: int
    period: int
    order: str
    buckets: tuple[tuple[int, int], ...]
    rule: Callable[..., Any] | None = None


def plan(
    topology: Topology, *, kernel: Kernel | Literal["auto"] = "auto", dtype: type = np.float32
) -> tuple[Plan, Tables]:
    """Chooses the kernel of a topology and lays out its arrays.

    Args:
      topology: the graph, or sequence of graphs.
      kernel: "auto" chooses by shape; a name forces that kernel.
      dtype: of the weights, which were computed in float64.

    Returns:
      The static plan, and a dict of NumPy arrays with a leading `[L]`, to be passed to the compiled run as an
      argument: `out_degree` `[L, n]`, and by kernel `matrix` `[L, n, n]` or, per bucket of r rows and k slots,
      `index` `[L, r, k]`, `weight` `[L, r, k]`, `own` `[L, r]`, `rows` `[r]`, and `inverse` `[n]`. A drawn
      topology has the arrays of its rule, under `draw`, and nothing else.

    Raises:
      ValueError: if the kernel is unknown, "mean" is forced on a W that is not 11ᵀ/n, or "drawn" on a topology
        that is not drawn or another on one that is.
    """
    if kernel not in (*get_args(Kernel), "auto"):
        raise ValueError(f"mixing: kernel must be 'auto' or one of {get_args(Kernel)}, got {kernel!r}")
    if kernel == "mean" and not topology.is_complete:
        raise ValueError(f"mixing: kernel 'mean' needs W = 11ᵀ/n, which {topology.name!r} is not")
    n, period = topology.n, topology.period
    if kernel != "auto" and (kernel == "drawn") != (topology.draw is not None):
        raise ValueError(
            f"mixing: kernel {kernel!r} does not fit {topology.name!r} of order {topology.order!r}; the kernel "
            "of what is drawn, and only of that, is 'drawn'"
        )
    if topology.draw:
        given = {
            name: value.astype(dtype) if np.issubdtype(value.dtype, np.floating) else value
            for name, value in topology.draw.arrays.items()
        }
        return Plan("drawn", n, 1, "drawn", (), topology.draw.rule), {"draw": given}
    out_degree = np.stack([_out_degree(W) for W in topology.matrices])
    tables: Tables = {"out_degree": out_degree.astype(dtype)}
    if kernel == "mean" or (kernel == "auto" and topology.is_complete):
        return Plan("mean", n, period, topology.order, ()), tables

    off_diagonal = [_without_diagonal(W) for W in topology.matrices]
    degrees = np.max([np.diff(W.indptr) for W in off_diagonal], axis=0)
    order, sizes = _bucket(degrees)
    stochastic = topology.is_row_stochastic
    filled = [
        _fill(W, None if stochastic else full.diagonal(), order, sizes, dtype)
        for W, full in zip(off_diagonal, topology.matrices, strict=True)
    ]
    tables["slots"] = [
        {name: np.stack([buckets[b][name] for buckets in filled]) for name in ("index", "weight", "own")}
        | {"rows": filled[0][b]["rows"]}
        for b in range(len(sizes))
    ]
    tables["inverse"] = np.argsort(order).astype(np.int32)
    mean_degree = float(degrees.mean())
    if kernel == "dense" or (kernel == "auto" and n <= min(_DENSE_NODES, _DENSE_SPARSITY * mean_degree)):
        tables["matrix"] = np.stack([W.toarray().astype(dtype) for W in topology.matrices])
        return Plan("dense", n, period, topology.order, sizes), tables
    return Plan("slots", n, period, topology.order, sizes), tables


def network(
    plan: Plan, tables: Tables, t: jax.Array, key: Key, channel_key: Key, active: jax.Array | None
) -> Network:
    """The graph of round t, ready to mix.

    Args:
      plan: the static part.
      tables: the arrays of `plan`, as jax arrays.
      t: `[]`, the round.
      key: the graph's key of this round; a random sequence draws from it.
      channel_key: what the channel draws from.
      active: `[n]` bool, or None when all nodes always take part.
    """
    if plan.rule is not None:
        return _drawn(plan, plan.rule(t, key, tables["draw"]), channel_key, active)
    turn = (
        jax.random.randint(key, (), 0, plan.period, jnp.int32) if plan.order == "random" else t % plan.period
    )
    per_round = {name: value for name, value in tables.items() if name not in ("inverse", "slots")}
    current = jax.tree.map(lambda leaf: leaf[turn], per_round)
    current["slots"] = [
        {name: (leaf if name == "rows" else leaf[turn]) for name, leaf in bucket.items()}
        for bucket in tables.get("slots", [])
    ]
    current["inverse"] = tables.get("inverse")

    def mix(message: Tree, semiring: Semiring = SUM) -> Tree:
        return jax.tree.map(lambda leaf: _mix_leaf(plan, current, leaf, semiring), message)

    return Network(
        mix,
        lambda: _neighbour_table(plan, current),
        current["out_degree"],
        active,
        channel_key,
        complete=plan.kernel == "mean",
    )


def matrix(topology: Topology, t: int, key: Key) -> np.ndarray:
    """The dense float64 W `[n, n]` of round t, whatever the order.

    Args:
      topology: the graph, or sequence of graphs.
      t: the round, from 0.
      key: the graph's key of the round; a random or drawn topology draws from it.

    Returns:
      A new array.
    """
    with jax.enable_x64(True):
        static, tables = plan(topology, dtype=np.float64)
        network_of_round = network(static, jax.tree.map(jnp.asarray, tables), jnp.int32(t), key, key, None)
        index, weight, own = jax.device_get(network_of_round.table())
    W = np.diag(np.asarray(own, np.float64))
    np.add.at(W, (np.repeat(np.arange(topology.n), index.shape[1]), index.ravel()), weight.ravel())
    return W


def pull(
    message: Tree, index: jax.Array, weight: jax.Array, own: jax.Array, semiring: Semiring = SUM
) -> Tree:
    """own ⊗ x ⊕ ⊕ⱼ weight[:, j] ⊗ x[index[:, j]], for weights made inside the run: every node reads.

    Args:
      message: leaves `[n, ...]`, or `[r n, ...]`, of which the first n rows are the nodes' own.
      index: `[n, k]` int32, whom each node hears: rows of the message.
      weight: `[n, k]`, zero in unused slots.
      own: `[n]`, the self weight.
      semiring: of ⊕ and ⊗.
    """

    def one(leaf: jax.Array) -> jax.Array:
        n = len(own)
        rows = _rows(leaf, len(leaf) if len(leaf) % n == 0 < len(leaf) else n, semiring)
        mixed = _slots(rows, rows[:n], index, weight, own, semiring)
        return mixed.reshape((n, *leaf.shape[1:])).astype(leaf.dtype)

    return jax.tree.map(one, message)


def push(
    message: Tree, index: jax.Array, weight: jax.Array, own: jax.Array, semiring: Semiring = SUM
) -> Tree:
    """own ⊗ x, ⊕ weight[j, s] ⊗ x[j] at index[j, s] for every sender j and slot s: every node writes.

    With the transposed weights this is `pull`; it is for senders who choose whom they write to, of whom a
    receiver may hear any number.

    Args:
      message: leaves `[n, ...]`.
      index: `[n, k]` int32, to whom each node sends.
      weight: `[n, k]`, of the edge to the receiver; zero in unused slots.
      own: `[n]`, the self weight.
      semiring: of ⊕ and ⊗.
    """

    def one(leaf: jax.Array) -> jax.Array:
        rows = _rows(leaf, len(own), semiring)

        def body(slot: jax.Array, result: jax.Array) -> jax.Array:
            place = result.at[index[:, slot]]
            write: Any = {"sum": place.add, "min": place.min}.get(semiring.name, place.max)
            return write(semiring.multiply(weight[:, slot, None], rows))

        result, k = semiring.multiply(own[:, None], rows), index.shape[1]
        result = jax.lax.fori_loop(0, k, body, result) if k else result
        return result.reshape(leaf.shape).astype(leaf.dtype)

    return jax.tree.map(one, message)


def edges(table: EdgeTable) -> Edges:
    """The edges of a graph, ready to carry state, from their table as jax arrays."""
    index, weight, twin = (jnp.asarray(array) for array in table)
    used = index != jnp.arange(len(index), dtype=index.dtype)[:, None]

    def swap(message: Tree) -> Tree:
        return jax.tree.map(lambda leaf: leaf[index, twin], message)

    return Edges(
        index, weight, used, jnp.sum(used, axis=1, dtype=weight.dtype), lambda rows: gather(rows, index), swap
    )


def gather(message: Tree, index: jax.Array) -> Tree:
    """The messages that each node hears: leaves `[n, ...]` -> `[n, k, ...]`."""
    return jax.tree.map(lambda leaf: leaf[index], message)


def _drawn(plan: Plan, made: Any, channel_key: Key, active: jax.Array | None) -> Network:
    """The graph of a round from what its rule made: slots (index, weight, own), or W [n, n]."""
    if isinstance(made, tuple):
        index, weight, own = made
        sent = (weight != 0).astype(weight.dtype)
        out_degree = jnp.zeros(plan.n, weight.dtype).at[index].add(sent)

        def mix(message: Tree, semiring: Semiring = SUM) -> Tree:
            return pull(message, index, weight, own, semiring)

        return Network(mix, lambda: made, out_degree, active, channel_key)

    others = (jnp.arange(plan.n)[:, None] + jnp.arange(1, plan.n)[None]) % plan.n
    links = (made != 0).astype(made.dtype)

    def table() -> tuple[jax.Array, jax.Array, jax.Array]:
        weight = jnp.take_along_axis(made, others, axis=1)
        index = jnp.where(weight != 0, others, jnp.arange(plan.n)[:, None]).astype(jnp.int32)
        return index, weight, jnp.diagonal(made)

    def mix_dense(message: Tree, semiring: Semiring = SUM) -> Tree:
        if semiring is not SUM:
            return pull(message, *table(), semiring)
        return jax.tree.map(lambda leaf: product(made, leaf), message)

    out_degree = links.sum(axis=0) - jnp.diagonal(links)
    return Network(mix_dense, table, out_degree, active, channel_key)


def _rows(leaf: jax.Array, n: int, semiring: Semiring = SUM) -> jax.Array:
    """A leaf [n, ...] as rows [n, d]; refuses one that does not fit."""
    if not any(jnp.issubdtype(leaf.dtype, _KINDS[kind]) for kind in semiring.kinds):
        allowed = " or ".join(semiring.kinds)
        raise ValueError(f"mixing: a message must be {allowed}, got a leaf of dtype {leaf.dtype}")
    if leaf.shape[0] != n:
        raise ValueError(f"mixing: the graph has {n} nodes, the message leads with {leaf.shape[0]}")
    return leaf.reshape(n, -1)


def product(W: jax.Array, leaf: jax.Array) -> jax.Array:
    """W `[r, n]` times a leaf `[n, ...]`: leaves `[r, ...]`."""
    # Accelerators would round float32 products to fewer bits.
    mixed = jnp.matmul(W, _rows(leaf, W.shape[1]), precision=jax.lax.Precision.HIGHEST)
    return mixed.reshape((len(W), *leaf.shape[1:])).astype(leaf.dtype)


def _mix_leaf(plan: Plan, tables: Tables, leaf: jax.Array, semiring: Semiring) -> jax.Array:
    if plan.kernel == "dense" and semiring is SUM:
        return product(tables["matrix"], leaf)
    rows = _rows(leaf, plan.n, semiring)
    if plan.kernel == "mean" and semiring is SUM:
        # In bfloat16, n times 1/n is not 1.
        ones = jnp.full((plan.n,), 1 / plan.n, jnp.promote_types(rows.dtype, jnp.float32))
        mean = jnp.einsum("n,nd->d", ones, rows, precision=jax.lax.Precision.HIGHEST)
        mixed = jnp.broadcast_to(mean[None], rows.shape)
    elif plan.kernel == "mean":
        mixed = jnp.broadcast_to(semiring.reduce(rows, axis=0)[None], rows.shape)
    else:
        mixed = _by_columns(plan, rows, lambda part: _bucketed(plan, tables, part, semiring))
    return mixed.reshape(leaf.shape).astype(leaf.dtype)


def _by_columns(plan: Plan, rows: jax.Array, kernel: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """Applies a kernel [n, c] -> [n, c] to slabs of columns, in place.

    Columns do not touch one another, so a slab is read into cache once, whatever the number of neighbours, and
    its result goes where it came from: no second [n, d] array. In a D-SGD run of 256 MLPs on 2 cores a round
    took 0.8 of the time with 8 neighbours, the same with 4, and 1.3 times as long on a ring.
    """
    n, d = rows.shape
    width = _SLAB_BYTES // (n * rows.dtype.itemsize) // 16 * 16
    few = sum(r * k for r, k in plan.buckets) < _SLAB_NEIGHBOURS * n
    small = rows.nbytes < _LARGE_BYTES or width < _NARROWEST_SLAB or width > d
    if few or small or jax.default_backend() != "cpu":
        return kernel(rows)

    def body(i: jax.Array, rows: jax.Array) -> jax.Array:
        slab = jax.lax.dynamic_slice_in_dim(rows, i * width, width, axis=1)
        mixed = kernel(slab).astype(rows.dtype)
        return jax.lax.dynamic_update_slice_in_dim(rows, mixed, i * width, axis=1)

    whole = d // width
    rows = jax.lax.fori_loop(0, whole, body, rows)
    if d % width:
        rows = rows.at[:, whole * width :].set(kernel(rows[:, whole * width :]).astype(rows.dtype))
    return rows


def _bucketed(plan: Plan, tables: Tables, rows: jax.Array, semiring: Semiring) -> jax.Array:
    parts = []
    for bucket in tables["slots"]:
        own_rows = rows if len(plan.buckets) == 1 else _take(rows, bucket["rows"])
        parts.append(_slots(rows, own_rows, bucket["index"], bucket["weight"], bucket["own"], semiring))
    return parts[0] if len(parts) == 1 else _take(jnp.concatenate(parts), tables["inverse"])


def _slots(
    rows: jax.Array,
    own_rows: jax.Array,
    index: jax.Array,
    weight: jax.Array,
    own: jax.Array,
    semiring: Semiring = SUM,
) -> jax.Array:
    """The slot loop of one bucket: rows [n, d], own_rows [r, d], index and weight [r, k], own [r] -> [r, d]."""
    k = index.shape[1]
    acc = semiring.multiply(own[:, None], own_rows)

    def group(acc: jax.Array, index: jax.Array, weight: jax.Array) -> jax.Array:
        for j in range(index.shape[1]):
            acc = semiring.add(acc, semiring.multiply(weight[:, j : j + 1], _take(rows, index[:, j])))
        return acc

    if k <= _UNROLL:
        return group(acc, index, weight)
    padding = ((0, 0), (0, -k % _UNROLL))  # slots of weight 0 that show row 0
    index, weight = jnp.pad(index, padding), jnp.pad(weight, padding)

    def body(g: jax.Array, acc: jax.Array) -> jax.Array:
        part = [jax.lax.dynamic_slice_in_dim(a, g * _UNROLL, _UNROLL, axis=1) for a in (index, weight)]
        return group(acc, *part)

    return jax.lax.fori_loop(0, index.shape[1] // _UNROLL, body, acc)


def _take(rows: jax.Array, index: jax.Array) -> jax.Array:
    return rows.at[index].get(mode="promise_in_bounds")


def _neighbour_table(plan: Plan, tables: Tables) -> tuple[jax.Array, jax.Array, jax.Array]:
    """All buckets as one table: index [n, k], weight [n, k], own [n]."""
    if plan.kernel == "mean":
        others = (jnp.arange(plan.n)[:, None] + jnp.arange(1, plan.n)[None]) % plan.n
        return others.astype(jnp.int32), jnp.full(others.shape, 1 / plan.n), jnp.full((plan.n,), 1 / plan.n)
    widest = max(k for _, k in plan.buckets)
    index: list[jax.Array] = []
    weight: list[jax.Array] = []
    own: list[jax.Array] = []
    for bucket in tables["slots"]:
        missing = widest - bucket["index"].shape[1]
        padding = jnp.broadcast_to(bucket["rows"][:, None], (bucket["rows"].shape[0], missing))
        index.append(jnp.concatenate([bucket["index"], padding], axis=1))
        weight.append(jnp.pad(bucket["weight"], ((0, 0), (0, missing))))
        own.append(bucket["own"])
    inverse = tables["inverse"]
    return jnp.concatenate(index)[inverse], jnp.concatenate(weight)[inverse], jnp.concatenate(own)[inverse]


def _without_diagonal(W: csr_array) -> csr_array:
    coo = W.tocoo()
    keep = coo.row != coo.col
    return csr_array((coo.data[keep], (coo.row[keep], coo.col[keep])), shape=W.shape)


def _out_degree(W: csr_array) -> np.ndarray:
    """How many other nodes hear each node."""
    return np.asarray(np.bincount(W.indices, minlength=W.shape[0]) - (W.diagonal() != 0), dtype=np.float64)


def _bucket(degrees: np.ndarray) -> tuple[np.ndarray, tuple[tuple[int, int], ...]]:
    """Sorts nodes by degree and cuts where the degree has doubled; one bucket where that saves little.

    Putting the rows of several buckets back in order is a pass over memory, worth about four reads of a slot.
    """
    n, widest = len(degrees), int(degrees.max(initial=0))
    if widest <= _NARROW:
        return np.arange(n), ((n, widest),)
    order = np.argsort(degrees, kind="stable")
    ranked = degrees[order]
    cuts, start = [0], 0
    while start < n:
        start = int(np.searchsorted(ranked, 2 * max(int(ranked[start]), 1), side="right"))
        cuts.append(start)
    sizes = tuple((stop - start, int(ranked[stop - 1])) for start, stop in itertools.pairwise(cuts))
    if n * widest <= 1.25 * sum(rows * k for rows, k in sizes):
        return np.arange(n), ((n, widest),)
    return order, sizes


def _fill(
    W: csr_array, own: np.ndarray | None, order: np.ndarray, sizes: tuple[tuple[int, int], ...], dtype: type
) -> list[dict[str, np.ndarray]]:
    """The padded arrays of one matrix without its diagonal, bucket by bucket."""
    buckets, start = [], 0
    lengths = np.diff(W.indptr)
    for r, k in sizes:
        rows = order[start : start + r]
        start += r
        index = np.repeat(rows[:, None], k, axis=1).astype(np.int32)
        weight: np.ndarray = np.zeros((r, k), dtype)
        slot = np.arange(k)[None, :]
        used = slot < lengths[rows][:, None]
        entry = (W.indptr[rows][:, None] + slot)[used]
        index[used] = W.indices[entry]
        weight[used] = W.data[entry]
        # Weights are rounded one by one; a self weight made from the rounded ones keeps every row's sum at one.
        self_weight = 1 - weight.sum(axis=1, dtype=np.float64) if own is None else own[rows]
        bucket = {"rows": rows.astype(np.int32), "index": index, "weight": weight}
        buckets.append(bucket | {"own": self_weight.astype(dtype)})
    return buckets
