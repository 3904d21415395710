"""What fails in a run: nodes, links. A fault is data of the compiled run, composable with everything."""

import functools
import operator
from collections.abc import Callable
from typing import Any

import jax

from dlax.faults.links import bursts, link_loss, split
from dlax.faults.nodes import battery, cyclic, node_loss, on_off
from dlax.faults.trace import record, trace
from dlax.types import Fault, Outage, Site


def together(*, faults: tuple[Fault, ...]) -> Fault:
    """Several faults at once: a node or link that any of them fails, fails.

    In a config a list in the place of a fault is this.

    Args:
      faults: at least one; each draws from keys of its own.

    Raises:
      ValueError: if there is none, or returning nodes hold this by one fault and that by another.
    """
    if not faults:
        raise ValueError("together: needs at least one fault")
    holds = {fault.holds for fault in faults} - {"old"}
    if len(holds) > 1:
        raise ValueError(f"together: returning nodes must hold one thing, got {' and '.join(sorted(holds))}")

    def at(site: Site, place: int) -> Site:
        return site._replace(key=jax.random.fold_in(site.key, place), arrays=site.arrays[place])

    def begin(site: Site) -> Any:
        return tuple(fault.begin(at(site, place)) for place, fault in enumerate(faults))

    def step(memory: Any, site: Site) -> tuple[Outage, Any]:
        made = [fault.step(memory[place], at(site, place)) for place, fault in enumerate(faults)]
        outages = [outage for outage, _ in made]
        merged = Outage(
            gone=_any([outage.gone for outage in outages]),
            asleep=_any([outage.asleep for outage in outages]),
            back=_any([outage.back for outage in outages]),
            works=_all([outage.works for outage in outages]),
        )
        return merged, tuple(memory for _, memory in made)

    def after(memory: Any, *work: jax.Array) -> Any:
        pairs = zip(faults, memory, strict=True)
        return tuple(mine if fault.after is None else fault.after(mine, *work) for fault, mine in pairs)

    return Fault(
        step,
        lambda topology: tuple(fault.prepare(topology) for fault in faults),
        begin,
        after if any(fault.after for fault in faults) else None,
        holds.pop() if holds else "old",
    )


def _any(masks: list[jax.Array | None]) -> jax.Array | None:
    there = [mask for mask in masks if mask is not None]
    return None if not there else functools.reduce(operator.or_, there)


def _all(masks: list[jax.Array | None]) -> jax.Array | None:
    there = [mask for mask in masks if mask is not None]
    return None if not there else functools.reduce(operator.and_, there)


FAULTS: dict[str, Callable[..., Fault]] = {
    "battery": battery,
    "bursts": bursts,
    "cyclic": cyclic,
    "link_loss": link_loss,
    "node_loss": node_loss,
    "on_off": on_off,
    "split": split,
    "together": together,
    "trace": trace,
}

__all__ = [
    "FAULTS",
    "battery",
    "bursts",
    "cyclic",
    "link_loss",
    "node_loss",
    "on_off",
    "record",
    "split",
    "together",
    "trace",
]
