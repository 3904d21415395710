"""Events packed into layers: those of a layer touch different nodes, so they commute and run together."""

from typing import Any, NamedTuple

import numpy as np

from dlax.types import EventList

_SLACK = 1.25  # width of a layer, in mean widths: narrower layers pad less, but there are more of them


class Slots(NamedTuple):
    """Events of one kind in L layers of w slots, NumPy's arrays or jax's; an empty slot shows node n.

    Attributes:
      own: `[L, w]` int32.
      peer: `[L, w]` int32.
      time: `[L, w]`.
      own_rest: `[L, w]`, time since the node's last event.
      peer_rest: `[L, w]`.
      number: `[L, w]` int32, of the event in the run: what its key is made of.
    """

    own: Any
    peer: Any
    time: Any
    own_rest: Any
    peer_rest: Any
    number: Any


class Block(NamedTuple):
    """The events between two measurements.

    Attributes:
      alone: events of one node.
      pairs: events of two.
      rest: `[n]`, time from each node's last event to the end of the block.
    """

    alone: Slots
    pairs: Slots
    rest: Any


class Packing(NamedTuple):
    """How one list of events is laid out.

    Attributes:
      blocks: one a measurement.
      layers: `[blocks]` int, layers in use.
      alone: `[blocks]` int, events of one node.
      pairs: `[blocks]` int, events of two.
    """

    blocks: list[Block]
    layers: np.ndarray
    alone: np.ndarray
    pairs: np.ndarray


def layers(events: EventList, n: int, width: tuple[int, int] | None = None) -> np.ndarray:
    """The layer of every event `[E]`: the first with room after the last of either of its nodes.

    Args:
      events: in the order of time.
      n: number of nodes.
      width: most events of one node, and of two, in a layer; None: any number.
    """
    last = [-1] * n
    placed = np.empty(len(events.node), np.int64)
    room: tuple[dict[int, int], dict[int, int]] = ({}, {})  # layer -> events in it, by kind
    after: tuple[dict[int, int], dict[int, int]] = ({}, {})  # full layer -> a later one that may not be
    for e, (i, j) in enumerate(zip(events.node.tolist(), events.peer.tolist(), strict=True)):
        layer = max(last[i], last[j]) + 1
        if width is not None:
            kind = int(i != j)
            step, path = after[kind], []
            while layer in step:
                path.append(layer)
                layer = step[layer]
            for passed in path:
                step[passed] = layer
            room[kind][layer] = room[kind].get(layer, 0) + 1
            if room[kind][layer] == width[kind]:
                step[layer] = layer + 1
        last[i] = last[j] = layer
        placed[e] = layer
    return placed


def widths(events: EventList, n: int) -> tuple[int, int]:
    """How many events of one node and of two a layer should hold: a little over the mean without a limit."""
    depth = int(layers(events, n).max(initial=0)) + 1
    pairs = int(np.sum(events.node != events.peer))
    counts = (len(events.node) - pairs, pairs)
    return tuple(min(n, few_sizes(int(np.ceil(_SLACK * c / depth)), 3)) for c in counts)  # type: ignore[return-value]


def few_sizes(size: int, bits: int) -> int:
    """The next number of so many significant bits: lists of other seeds then share shapes, hence a compiled run."""
    step = 1 << max(0, size.bit_length() - bits)
    return -(-size // step) * step


def pack(
    events: EventList, n: int, ends: np.ndarray, width: tuple[int, int], *, one_at_a_time: bool = False
) -> Packing:
    """Lays a list of events out in blocks of layers.

    Args:
      events: in the order of time.
      n: number of nodes.
      ends: `[blocks]`, when each block ends, ascending; an event at an end belongs to the block that ends.
      width: of `widths`.
      one_at_a_time: a layer an event, in order: what the packing must not differ from.
    """
    bounds = np.searchsorted(events.time, ends, side="right")
    start, last = 0, np.zeros(n)
    blocks, depths, alone, pairs = [], [], [], []
    for stop, end in zip(bounds.tolist(), ends.tolist(), strict=True):
        part = EventList(*(array[start:stop] for array in events))
        own_rest, peer_rest, last = _rests(part, last)
        layer = np.arange(stop - start) if one_at_a_time else layers(part, n, width)
        columns = (part.node, part.peer, part.time, own_rest, peer_rest, np.arange(start, stop))
        both = part.node != part.peer
        depth = int(layer.max(initial=-1)) + 1
        single = _fill(columns, ~both, layer, depth, width[0], n)
        blocks.append(Block(single, _fill(columns, both, layer, depth, width[1], n), end - last))
        depths.append(depth)
        alone.append(int(np.sum(~both)))
        pairs.append(int(np.sum(both)))
        start = stop
    return Packing(blocks, np.array(depths), np.array(alone), np.array(pairs))


def stack(packings: list[Packing], number: int, depth: int, n: int) -> Block:
    """Block `number` of several runs as arrays with a leading `[runs]`, padded to `depth` layers."""

    def pad(slots: Slots) -> Slots:
        rows = ((0, depth - len(slots.own)), (0, 0))
        fills = (n, n, 0, 0, 0, 0)
        return Slots(*(np.pad(a, rows, constant_values=fill) for a, fill in zip(slots, fills, strict=True)))

    padded = [
        block._replace(alone=pad(block.alone), pairs=pad(block.pairs))
        for block in (p.blocks[number] for p in packings)
    ]
    return Block(
        Slots(*(np.stack(arrays) for arrays in zip(*(b.alone for b in padded), strict=True))),
        Slots(*(np.stack(arrays) for arrays in zip(*(b.pairs for b in padded), strict=True))),
        np.stack([b.rest for b in padded]),
    )


def _rests(part: EventList, last: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Time since the last event of either end of every event, and when each node's last one now was `[n]`."""
    count = len(part.time)
    touched, time = np.concatenate([part.node, part.peer]), np.concatenate([part.time, part.time])
    order = np.lexsort((np.tile(np.arange(count), 2), touched))
    ranked, when = touched[order], time[order]
    first = np.diff(ranked, prepend=-1) != 0
    previous = np.empty(2 * count)
    previous[order] = np.where(first, last[ranked], np.roll(when, 1))
    own, peer = previous[:count], np.where(part.node == part.peer, previous[:count], previous[count:])
    last = last.copy()
    np.maximum.at(last, ranked, when)
    return part.time - own, part.time - peer, last


def _fill(
    columns: tuple[np.ndarray, ...], mask: np.ndarray, layer: np.ndarray, depth: int, width: int, n: int
) -> Slots:
    """The events of one kind in their slots."""
    chosen = np.flatnonzero(mask)
    chosen = chosen[np.argsort(layer[chosen], kind="stable")]
    rows = layer[chosen]
    slot = np.arange(len(rows)) - np.searchsorted(rows, rows)
    made = []
    for number, column in enumerate(columns):
        kind = np.float64 if column.dtype == np.float64 else np.int32
        array = np.full((depth, width), n if number < 2 else 0, kind)
        array[rows, slot] = column[chosen]
        made.append(array)
    return Slots(*made)
