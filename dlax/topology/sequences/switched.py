"""One topology, and another from some round on or for a while."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dlax.topology.graphs.adjacency import node_count
from dlax.topology.graphs.lattices import complete, ring
from dlax.topology.matrix import as_csr
from dlax.topology.sequences.drawn import drawn
from dlax.topology.spectra import spectral_gap
from dlax.topology.topology import Base, Draw, Topology

_LARGEST = 1_024  # nodes of two W [n, n]
_PROMISES = ("symmetric", "row stochastic", "column stochastic", "nonnegative", "undirected")


def switched(
    n: int, *, at: int = 100, until: int | None = None, base: Base = ring, then: Base = complete
) -> Topology:
    """One topology, and in a window of rounds, or from a round on, another.

        W(t) = W_then(t)   for at ≤ t < until,   W_base(t) elsewhere

    Both count the rounds of the run: a cyclic one that is switched on in round t goes on with matrix t mod L. A
    single global merge at the end of T rounds is `at=T − 1` with `then=complete`.

    Args:
      n: number of nodes, from 1 to 1,024: matrices are dense inside the run.
      at: the first round of the other topology, at least 0.
      until: the first round after it, more than `at`. None: it stays.
      base: the topology outside, of any order. In a config, a topology without n.
      then: the other one.

    Returns:
      A drawn topology, which promises what both do. As the law depends on the round, its E[W] is the mean of
      those of the two (so that it has the edges of both), and its gap the smaller of theirs.

    Raises:
      ValueError: if `at` or `until` is out of range, or there are more than 1,024 nodes.
    """
    n = node_count("switched", n)
    if n > _LARGEST:
        raise ValueError(f"switched: n must be at most {_LARGEST}, as matrices are dense; got {n}")
    if at < 0:
        raise ValueError(f"switched: at must be at least 0, got {at}")
    if until is not None and until <= at:
        raise ValueError(f"switched: until must be more than at = {at}, got {until}")
    members = {"base": base(n), "then": then(n)}
    rules: list[Callable[..., Any]] = []
    arrays: dict[str, Any] = {}
    for name, member in members.items():
        rule, own = _rule(member)
        rules.append(rule)
        arrays |= {f"{name}.{key}": value for key, value in own.items()}
    last = np.iinfo(np.int32).max if until is None else until
    arrays |= {"at": np.array(at, np.int32), "until": np.array(last, np.int32)}
    outer, inner = members.values()
    expected = as_csr(0.5 * (_mean(outer) + _mean(inner)))
    words = frozenset(_PROMISES) & outer.properties & inner.properties
    draw = Draw(_Switch(*rules), arrays, words, lambda: max(_squared(outer), _squared(inner)))
    return drawn("switched", expected, draw, allow_negative=True)


@dataclass(frozen=True)
class _Switch:
    """The rule of a round; equal pairs of rules share a compilation."""

    base: Callable[..., Any]
    then: Callable[..., Any]

    def __call__(self, t: Any, key: Any, arrays: Any) -> Any:
        import jax

        def matrix(name: str, rule: Callable[..., Any]) -> Any:
            own = {k.removeprefix(f"{name}."): v for k, v in arrays.items() if k.startswith(f"{name}.")}
            return _dense(rule(t, key, own))

        inside = (t >= arrays["at"]) & (t < arrays["until"])
        return jax.lax.cond(inside, lambda: matrix("then", self.then), lambda: matrix("base", self.base))


def _rule(topology: Topology) -> tuple[Callable[..., Any], dict[str, np.ndarray]]:
    if topology.draw is not None:
        return topology.draw.rule, dict(topology.draw.arrays)
    matrices = np.stack([topology.dense(t) for t in range(topology.period)])
    return (_one_of if topology.order == "random" else _in_turn), {"matrices": matrices}


def _in_turn(t: Any, key: Any, arrays: Any) -> Any:
    del key
    return arrays["matrices"][t % arrays["matrices"].shape[0]]


def _one_of(t: Any, key: Any, arrays: Any) -> Any:
    import jax
    import jax.numpy as jnp

    del t
    return arrays["matrices"][jax.random.randint(key, (), 0, arrays["matrices"].shape[0], jnp.int32)]


def _dense(made: Any) -> Any:
    """What a rule made, slots or a matrix, as W `[n, n]`."""
    import jax.numpy as jnp

    if not isinstance(made, tuple):
        return made
    index, weight, own = made
    node = jnp.arange(len(own))
    empty = jnp.zeros((len(own), len(own)), weight.dtype)
    return empty.at[node[:, None], index].add(weight).at[node, node].add(own)


def _mean(topology: Topology) -> np.ndarray:
    return np.mean([topology.dense(t) for t in range(topology.period)], axis=0)


def _squared(topology: Topology) -> float:
    """ρ² of a topology, per round."""
    if topology.draw is not None:
        return topology.draw.contraction()
    return (1.0 - spectral_gap(list(topology.matrices), order=topology.order)) ** 2
