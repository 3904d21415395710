"""The gossip kernels against a plain copy of X, and against what one would write instead."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import sparse

from dlax import mixing
from dlax.bench.timing import interleave, ratio, row
from dlax.topology import (
    TOPOLOGIES,
    Topology,
    barabasi_albert,
    complete,
    equi_dyn,
    one_peer_exponential,
    random_regular,
    ring,
    static_exponential,
)

_OTHERS = (
    "path", "directed_ring", "grid", "torus", "hypercube", "binary_tree", "watts_strogatz", "erdos_renyi",
    "random_geometric", "caveman", "stochastic_block", "random_directed", "equi_static", "barbell", "base_graph",
    "b_connected", "equi_dyn", "random_matching", "random_pairwise", "redrawn_erdos_renyi",
)  # fmt: skip


def rows(quick: bool) -> Iterator[dict[str, Any]]:
    """Every topology's kernel by a copy `X * a` of 128 MB; the 4-regular ones by their alternatives too."""
    megabytes = 1 if quick else 128
    repeats = 2 if quick else 9
    sizes = (64,) if quick else (64, 1024, 4096)
    cases: list[tuple[str, Topology, float, bool]] = []
    for n in sizes:
        cases.append((f"ring n={n}", ring(n), 1.5, False))
        cases.append((f"static exponential n={n}", static_exponential(n), 1.5, False))
        cases.append((f"one-peer exponential n={n}", one_peer_exponential(n), 1.5, False))
        cases.append((f"complete n={n}", complete(n), 1.5, False))
        cases.append((f"4-regular n={n}", random_regular(n, degree=4), 2.0, True))
        cases.append((f"8-regular n={n}", random_regular(n, degree=8), 3.5, True))
    if not quick:
        cases.append(("Barabasi-Albert(4) n=1000", barabasi_albert(1000, m=4), 3.0, True))
    n = 64 if quick else 1024
    for kind in _OTHERS:
        other = TOPOLOGIES[kind](n)
        cases.append((f"{kind.replace('_', ' ')} n={n}", other, _target(other), False))
    cases.append((f"equi dyn, directed n={n}", equi_dyn(n, directed=True), 1.5, False))
    for name, topology, target, alternatives in cases:
        yield from _one(name, topology, target, alternatives, megabytes, repeats)


def _target(topology: Topology) -> float:
    """What two, four and more neighbours a round may cost."""
    heard = (
        topology.degrees if topology.is_fixed else np.ones(1)
    )  # drawn and dealt rounds are nearly pairings
    return 1.5 if heard.mean() <= 2.0 else 2.0 if heard.mean() <= 4.0 else 3.5


def _one(
    name: str, topology: Topology, target: float, alternatives: bool, megabytes: int, repeats: int
) -> Iterator[dict[str, Any]]:
    n = topology.n
    d = max(megabytes * 1_000_000 // 4 // n, 16)
    X = jax.random.normal(jax.random.key(0), (n, d))
    plan, tables = mixing.plan(topology)
    tables = jax.tree.map(jnp.asarray, tables)
    t, key = jnp.int32(0), jax.random.key(0)  # arguments: what is drawn must be drawn in every call

    def mix(X: jax.Array, tables: Any, t: jax.Array, key: jax.Array) -> jax.Array:
        return mixing.network(plan, tables, t, key, key, None).mix(X)

    calls = {"copy": _jitted(lambda X: X * 0.999, X), "dlax": _jitted(mix, X, tables, t, key)}
    if alternatives:
        calls |= _alternatives(topology, X)
    seconds = interleave(calls, repeats=repeats)
    value = ratio(seconds, "dlax", "copy")
    yield row(f"gossip {name} ({plan.kernel}) / copy", value, "x", most=target)
    if alternatives:
        best = min((ratio(seconds, other, "dlax"), other) for other in calls if other not in ("copy", "dlax"))
        yield row(f"gossip {name}: best alternative ({best[1]}) / dlax", best[0], "x", least=1.0)


def _alternatives(topology: Topology, X: jax.Array) -> dict[str, Callable[[], Any]]:
    W = topology.matrices[0].astype(np.float32)
    coo = W.tocoo()
    values, receivers, senders = jnp.asarray(coo.data), jnp.asarray(coo.row), jnp.asarray(coo.col)
    bcoo = sparse.BCOO.from_scipy_sparse(coo)
    host = np.asarray(X)

    def segment_sum(X: jax.Array, values: jax.Array, receivers: jax.Array, senders: jax.Array) -> jax.Array:
        sent = values[:, None] * X[senders]
        return jax.ops.segment_sum(sent, receivers, num_segments=X.shape[0], indices_are_sorted=True)

    calls = {
        "segment_sum": _jitted(segment_sum, X, values, receivers, senders),
        "BCOO": _jitted(lambda X, W: W @ X, X, bcoo),
        "scipy CSR": lambda: W @ host,
    }
    if topology.n <= 1024:  # beyond, a dense product takes seconds
        calls["dense"] = _jitted(lambda X, W: W @ X, X, jnp.asarray(W.toarray()))
    return calls


def _jitted(function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    compiled = jax.jit(function)
    return lambda: jax.block_until_ready(compiled(*arguments))


__all__ = ["rows"]
