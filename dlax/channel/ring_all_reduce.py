"""The mean over those who are there, by a ring of peers; whole numbers, or a byte an entry."""

from typing import Literal, get_args

import jax
import jax.numpy as jnp

from dlax import tree
from dlax.compress.message import unravel
from dlax.types import Channel, Network, Tree

Rounding = Literal["nearest", "truncate"]

_LEVELS = 255  # of a byte


def ring_all_reduce(*, quantised: bool = False, rounding: Rounding = "nearest") -> Channel:
    """Everyone receives the mean of the messages of the m nodes that take part, whatever the graph.

    The peers stand on a ring in the order of their numbers; a message is cut into m chunks, of which the first
    d mod m are one entry longer. While sums are formed, chunk c starts at peer c and is passed on m − 1 times, each
    peer adding its own; then its sum is handed round. Not quantised, the mean is exact and the order of the
    additions not that of the ring.

    Quantised, what is passed on is one byte an entry, anew for each hop and chunk with least entry a and largest b:

        truncate:   q = ⌊255 (x − a)/(b − a)⌋,   x̂ = a + (b − a) q/255
        nearest:    u = (b − a)/255,  z = round(−a/u),  q = round(x/u) + z kept within 0..255,   x̂ = u (q − z)

    The owner of a finished chunk quantises it once more, overwrites its own copy with what the others will read, and
    the bytes are forwarded as they are: all peers hold the same bits. Truncation makes every hop a little too small,
    about half a level each; errors of the other kind cancel. In PCCL the search for b starts from the smallest
    positive float, so that chunks of negative numbers get b ≈ 0; that is not repeated here.

    Args:
      quantised: whether chunks travel as bytes.
      rounding: to which of the 256 levels.

    Returns:
      A channel without state, which algorithms bring along: it stands for a network beside the graph. A peer sends
      2 (m − 1) chunks, and with each quantised one its two numbers; who is absent sends nothing.

    Raises:
      ValueError: if `rounding` is neither; in a run, if a message is not floating.

    References:
      Patarasuk, Yuan. Bandwidth optimal all-reduce algorithms for clusters of workstations. J. Parallel and
      Distributed Computing 2009. Keiblinger, Sieg, Ong, Jaghouar, Hagemann. Prime Collective Communications Library.
      2025 (quantised; after a description of its code).
    """
    if rounding not in get_args(Rounding):
        raise ValueError(
            f"ring_all_reduce: rounding must be one of {', '.join(get_args(Rounding))}, got {rounding!r}"
        )

    def open_link(message: Tree, network: Network) -> tuple[()]:
        del network
        for leaf in jax.tree.leaves(message):
            if not jnp.issubdtype(leaf.dtype, jnp.floating):
                raise ValueError(
                    f"ring_all_reduce: a message must be floating, got a leaf of dtype {leaf.dtype}"
                )
        return ()

    def mix(link: tuple[()], message: Tree, network: Network) -> tuple[Tree, tuple[()], jax.Array]:
        n = tree.num_nodes(message)
        active = jnp.ones(n, bool) if network.active is None else network.active
        if quantised:
            rows = jax.eval_shape(tree.ravel, message)
            mean = unravel(quantised_mean(tree.ravel(message), active, rounding)[None], _one(message))
            mean = jax.tree.map(lambda leaf: leaf[0], mean)
            sent = _entries(active, rows.shape[1]) * 8 + _hops(active) * 2 * rows.dtype.itemsize * 8
            bits = sent.astype(network.out_degree.dtype)
        else:
            # Absent rows may hold anything, so they are not multiplied by zero but replaced.
            present = (
                message
                if network.active is None
                else tree.where_nodes(active, message, tree.zeros_like(message))
            )
            mean = tree.node_mean(present) if network.active is None else _weighted(present, active)
            shapes = [(leaf.size // n, leaf.dtype.itemsize * 8) for leaf in jax.tree.leaves(message)]
            d = sum(size for size, _ in shapes)
            width = sum(size * bits for size, bits in shapes) / max(d, 1)
            bits = jnp.round(_entries(active, d) * width).astype(network.out_degree.dtype)
        return tree.broadcast(mean, n), link, bits

    return Channel(open_link, mix)


def quantised_mean(rows: jax.Array, active: jax.Array, rounding: Rounding) -> jax.Array:
    """What every peer holds after the ring, `[d]`.

    Args:
      rows: `[n, d]`, a vector a node.
      active: `[n]` bool, who takes part.
      rounding: as the channel's.
    """
    n, d = rows.shape
    if d == 0:
        return rows[0]
    wide = jnp.promote_types(rows.dtype, jnp.float32)
    rows = jnp.where(active[:, None], rows, 0).astype(wide)
    m = jnp.maximum(jnp.sum(active), 1)
    peers = jnp.argsort(~active, stable=True)  # those who are there, in order
    chunk = _chunk(m, d)

    def heard(rank: jax.Array) -> jax.Array:
        """Entry j of the peer with rank[j]."""
        return jnp.take_along_axis(rows, peers[rank % m][None], axis=0)[0]

    def hop(s: jax.Array, total: jax.Array) -> jax.Array:
        passed = heard(chunk + s + 1) + _as_bytes(total, chunk, n, rounding)
        return jnp.where(s < m - 1, passed, total)

    total = jax.lax.fori_loop(0, n - 1, hop, heard(chunk))
    total = jnp.where(m > 1, _as_bytes(total, chunk, n, rounding), total)  # alone, nothing travels
    return (total / m).astype(rows.dtype)


def _as_bytes(x: jax.Array, chunk: jax.Array, chunks: int, rounding: Rounding) -> jax.Array:
    """What is read of a vector `[d]` that was sent as bytes, chunk by chunk."""
    low = jax.ops.segment_min(x, chunk, chunks)[chunk]
    high = jax.ops.segment_max(x, chunk, chunks)[chunk]
    span = high - low
    flat = span == 0
    if rounding == "truncate":
        q = jnp.floor((x - low) / jnp.where(flat, 1, span) * _LEVELS)
        return low + span * q / _LEVELS
    unit = jnp.where(flat, 1, span / _LEVELS)
    unit = jnp.where(unit == 0, 1, unit)  # a span so small that it has no 255th part
    zero = jnp.round(-low / unit)
    q = jnp.clip(jnp.round(x / unit) + zero, 0, _LEVELS)
    return jnp.where(flat, x, unit * (q - zero))


def _chunk(m: jax.Array, d: int) -> jax.Array:
    """The chunk of each of d entries, `[d]`: m slices, the first d mod m of them one longer."""
    size, rest = d // m, d % m
    place, border = jnp.arange(d), rest * (size + 1)
    return jnp.where(
        place < border, place // (size + 1), rest + (place - border) // jnp.maximum(size, 1)
    ).astype(jnp.int32)


def _hops(active: jax.Array) -> jax.Array:
    """How many chunks each node sends, `[n]`."""
    return jnp.where(active, 2 * (jnp.sum(active) - 1), 0)


def _entries(active: jax.Array, d: int) -> jax.Array:
    """How many entries each node sends, `[n]`: the peer of rank r all chunks but r + 1, and then all but r + 2."""
    m = jnp.maximum(jnp.sum(active), 1)
    rank = jnp.cumsum(active) - 1

    def size(chunk: jax.Array) -> jax.Array:
        return d // m + (chunk % m < d % m)

    return jnp.where(active, 2 * d - size(rank + 1) - size(rank + 2), 0)


def _one(message: Tree) -> Tree:
    """The message of a single node."""
    return jax.tree.map(lambda leaf: leaf[:1], message)


def _weighted(present: Tree, active: jax.Array) -> Tree:
    """The mean over who is there; with everyone there the same as `tree.node_mean` bit for bit."""

    def mean(leaf: jax.Array) -> jax.Array:
        rows = leaf.reshape(len(leaf), -1)
        weights = (active / jnp.maximum(jnp.sum(active), 1).astype(leaf.dtype)).astype(leaf.dtype)
        total = jnp.einsum("n,nd->d", weights, rows, precision=jax.lax.Precision.HIGHEST)
        return total.reshape(leaf.shape[1:])

    return jax.tree.map(mean, present)
