"""Which clients take part in a round of the cohorts clock."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlax.types import Key, Problem, Sampling

_FEW = 2048  # cohorts up to this size are drawn one client after the other


class Draw(NamedTuple):
    """A round's cohort.

    Attributes:
      clients: `[s]` int32, all different.
      present: `[s]` bool, which of them are awake.
    """

    clients: jax.Array
    present: jax.Array


def uniform(*, size: int = 10) -> Sampling:
    """s of all N clients, every set of them as likely as any other.

    Who draws does not know who sleeps: those of the cohort who do are missing from the round. Takes time that depends
    on s alone.

    Args:
      size: s.

    Raises:
      ValueError: if s < 1; in a run, if s > N.
    """
    _check_size("uniform", size)

    def draw(arrays: Any, t: jax.Array, key: Key, awake: jax.Array | None) -> Draw:
        del t
        clients = subset(key, len(arrays), size)
        return Draw(clients, _among(awake, clients))

    return Sampling(draw, size, _every_client)


def available(*, size: int = 10) -> Sampling:
    """s of the clients that are awake, every set of them as likely as any other; all, where there are fewer.

    Args:
      size: s.

    Raises:
      ValueError: if s < 1; in a run, if s > N.
    """
    _check_size("available", size)

    def draw(arrays: Any, t: jax.Array, key: Key, awake: jax.Array | None) -> Draw:
        if awake is None:
            return Draw(subset(key, len(arrays), size), jnp.ones(size, bool))
        return _first(jax.random.bits(key, (len(arrays),), jnp.uint32), awake, size)

    return Sampling(draw, size, _every_client)


def weighted(*, size: int = 10, power: float = 1.0) -> Sampling:
    """s different clients of those awake, one after the other with probability ∝ (number of samples)^power.

    Clients without samples are never drawn. The draw is by Gumbel's trick: the s largest of power · log nᵢ + Gᵢ.

    Args:
      size: s.
      power: 1 makes clients with twice the samples twice as likely, 0 all alike.

    Raises:
      ValueError: if s < 1 or the power is not finite; in a run, if s > N, or the problem does not count samples.
    """
    _check_size("weighted", size)
    if not np.isfinite(power):
        raise ValueError(f"weighted: power must be finite, got {power}")

    def prepare(problem: Problem) -> np.ndarray:
        if problem.table is None:
            raise ValueError("weighted: the problem's clients hold no samples to weigh them by")
        counts = np.asarray(problem.table).sum(axis=1)
        if (counts > 0).sum() < size:
            raise ValueError(f"weighted: size must be at most the {(counts > 0).sum()} clients with samples")
        return counts.astype(np.float32)

    def draw(arrays: Any, t: jax.Array, key: Key, awake: jax.Array | None) -> Draw:
        score = power * jnp.log(jnp.maximum(arrays, 1)) + jax.random.gumbel(key, arrays.shape, jnp.float32)
        there = arrays > 0 if awake is None else awake & (arrays > 0)
        return _first(score, there, size)

    return Sampling(draw, size, prepare)


def hashed(*, size: int = 10) -> Sampling:
    """The first s clients awake in an order that anybody can compute: by a hash of (client, round).

    What MoDeST's nodes agree on without a server: who knows who is awake knows the cohort. The hash is a 32-bit mix
    of both numbers and does not depend on the run's seed (the paper takes MD5). Of equal hashes the smaller client
    comes first.

    Args:
      size: s.

    Raises:
      ValueError: if s < 1; in a run, if s > N.
    """
    _check_size("hashed", size)

    def draw(arrays: Any, t: jax.Array, key: Key, awake: jax.Array | None) -> Draw:
        del key
        order = mix32(jnp.arange(len(arrays), dtype=jnp.uint32), t.astype(jnp.uint32))
        return _first(~order, jnp.ones(len(arrays), bool) if awake is None else awake, size)

    return Sampling(draw, size, _every_client)


def scheduled(clients: np.ndarray, present: np.ndarray | None = None) -> Sampling:
    """The cohorts of a table, row t in round t: made beforehand, by a protocol such as `dlax.modest` or by hand.

    Tables of one shape share a compiled program. No registry names it, for no config can hold a table.

    Args:
      clients: `[T, s]` whole numbers, in a row all different.
      present: `[T, s]` bool, who of a cohort is counted; None: all. Whoever is not keeps its state. In a round in
        which nobody is, nothing happens.

    Raises:
      ValueError: if shapes do not fit or a client is twice in a row; in a run, if there are fewer rows than rounds,
        or no such client.
    """
    table = np.asarray(clients)
    if table.ndim != 2 or table.size == 0 or not np.issubdtype(table.dtype, np.integer):
        raise ValueError(
            f"scheduled: clients must be whole numbers [T, s], got {table.dtype} {list(table.shape)}"
        )
    if (np.diff(np.sort(table, axis=1), axis=1) == 0).any():
        raise ValueError("scheduled: the clients of a row must be all different")
    there = None if present is None else np.asarray(present)
    if there is not None and (there.shape != table.shape or there.dtype != bool):
        raise ValueError(f"scheduled: present must be bool {list(table.shape)}, got {list(there.shape)}")

    def prepare(problem: Problem) -> dict[str, np.ndarray]:
        if table.min() < 0 or table.max() >= problem.n:
            raise ValueError(f"scheduled: clients must be in 0 ... {problem.n - 1}, got up to {table.max()}")
        rows = {"clients": table.astype(np.int32)}
        return rows if there is None else rows | {"present": there}

    return Sampling(_row, table.shape[1], prepare, whole=there is None, rounds=len(table))


def _row(arrays: Any, t: jax.Array, key: Key, awake: jax.Array | None) -> Draw:
    """Row t of a table."""
    clients = arrays["clients"][t]
    present = arrays["present"][t] if "present" in arrays else jnp.ones(len(clients), bool)
    return Draw(clients, present & _among(awake, clients))


def mix32(a: Any, b: Any) -> Any:
    """A 32-bit hash of two uint32 arrays: rounds of multiplication and shifts, each of which is one to one.

    Of NumPy arrays it is NumPy's, so that the host and a compiled run agree on it.
    """
    h = a * np.uint32(0x9E3779B1) ^ (b + np.uint32(0x7F4A7C15)) * np.uint32(0x85EBCA6B)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        h = (h ^ (h >> np.uint32(shift))) * np.uint32(factor)
    return h ^ (h >> np.uint32(16))


def subset(key: Key, n: int, size: int) -> jax.Array:
    """`size` different numbers below n, every set as likely as any other; `[size]` int32.

    Few of many by Floyd's algorithm, in O(size²) whatever n is.
    """
    if size > _FEW or size * 8 > n:
        return jax.random.permutation(key, n)[:size].astype(jnp.int32)
    candidates = n - size + jnp.arange(size, dtype=jnp.int32)
    draws = jax.random.randint(key, (size,), 0, candidates + 1, jnp.int32)

    def add(j: jax.Array, chosen: jax.Array) -> jax.Array:
        taken = jnp.any(chosen == draws[j])
        return chosen.at[j].set(jnp.where(taken, candidates[j], draws[j]))

    return jax.lax.fori_loop(0, size, add, jnp.full(size, -1, jnp.int32))


def _first(score: jax.Array, awake: jax.Array, size: int) -> Draw:
    """The clients of the highest scores that are awake, and then some that are not."""
    whole = jnp.issubdtype(score.dtype, jnp.integer)
    score = jnp.where(awake, jnp.maximum(score, 1) if whole else score, 0 if whole else -jnp.inf)
    clients = jax.lax.top_k(score, size)[1].astype(jnp.int32)
    return Draw(clients, awake[clients])


def _among(awake: jax.Array | None, clients: jax.Array) -> jax.Array:
    return jnp.ones(len(clients), bool) if awake is None else awake[clients]


def _every_client(problem: Problem) -> np.ndarray:
    return np.zeros(problem.n, np.int8)


def _check_size(who: str, size: int) -> None:
    if not isinstance(size, int | np.integer):
        raise ValueError(f"{who}: size must be a whole number, got {size}")
    if size < 1:
        raise ValueError(f"{who}: size must be at least 1, got {size}")


SAMPLINGS = {"uniform": uniform, "available": available, "hashed": hashed, "weighted": weighted}
