"""Links that lose messages: on their own, in bursts, or all between two parts of the network."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from dlax.channel.links import uniform_by_edge
from dlax.faults.nodes import check_share, check_span, check_word
from dlax.topology import Topology
from dlax.types import Fault, Outage, Scalar, Site

Parts = Literal["index", "random"]


def link_loss(rate: Scalar = 0.1, *, symmetric: bool = True) -> Fault:
    """Every link fails in every round with the same probability, independently.

    The same as `linear`'s `drop`, for any channel that minds lost messages.

    Args:
      rate: in [0, 1].
      symmetric: the two directions of a link fail together.

    Raises:
      ValueError: if the rate is out of range.
    """
    check_share("link_loss", "rate", rate, most=1)

    def step(memory: Any, site: Site) -> tuple[Outage, Any]:
        return Outage(works=uniform_by_edge(site.key, site.hears(), symmetric) >= rate), memory

    return Fault(step)


def bursts(fail: Scalar = 0.05, repair: Scalar = 0.3, loss: Scalar = 1.0, *, symmetric: bool = True) -> Fault:
    """The Gilbert–Elliott model: links turn bad and good again, and bad ones lose messages.

        P(bad next round | good) = fail,   P(good next round | bad) = repair,   P(lost | bad) = loss

    In round 0 a link is bad with the stationary probability fail / (fail + repair); bursts last 1/repair rounds on
    average.

    Args:
      fail: in [0, 1].
      repair: in (0, 1].
      loss: in [0, 1].
      symmetric: the two directions of a link fail together.

    Raises:
      ValueError: if a number is out of range; on a topology that changes from round to round.

    References:
      Gilbert. Capacity of a burst-noise channel. Bell System Technical Journal 1960. Elliott, ibid. 1963.
    """
    check_share("bursts", "fail", fail, most=1)
    check_share("bursts", "repair", repair, most=1, above=True)
    check_share("bursts", "loss", loss, most=1)

    def prepare(topology: Topology) -> Any:
        if not topology.is_fixed:
            raise ValueError(f"bursts: needs a fixed topology, and {topology.name!r} changes")
        return ()

    def begin(site: Site) -> jax.Array:
        return uniform_by_edge(site.key, site.hears(), symmetric) < fail / (fail + repair)

    def step(bad: jax.Array, site: Site) -> tuple[Outage, jax.Array]:
        index = site.hears()
        turn = uniform_by_edge(jax.random.fold_in(site.key, 1), index, symmetric)
        lost = bad
        if not (isinstance(loss, int | float) and loss == 1):
            lost = bad & (uniform_by_edge(jax.random.fold_in(site.key, 2), index, symmetric) < loss)
        return Outage(works=~lost), jnp.where(bad, turn >= repair, turn < fail)

    return Fault(step, prepare, begin)


def split(at: Scalar = 0.0, until: Scalar = float("inf"), *, parts: int = 2, by: Parts = "index") -> Fault:
    """The network falls into parts that do not hear one another, and heals.

    Args:
      at: the first round without links between parts.
      until: the first round with them again; never by default.
      parts: how many, of sizes as equal as can be.
      by: "index": of neighbouring indices; "random": drawn from the run's seed.

    Raises:
      ValueError: if a number is out of range, there are more parts than nodes, or the word is neither.
    """
    check_span("split", at, until)
    if parts < 2:
        raise ValueError(f"split: parts must be at least 2, got {parts}")
    check_word("split", "by", by, Parts)

    def prepare(topology: Topology) -> np.ndarray:
        if parts > topology.n:
            raise ValueError(f"split: parts must be at most the {topology.n} nodes, got {parts}")
        return (np.arange(topology.n) * parts // topology.n).astype(np.int32)

    def begin(site: Site) -> jax.Array:
        return jax.random.permutation(site.key, site.arrays) if by == "random" else site.arrays

    def step(part: jax.Array, site: Site) -> tuple[Outage, jax.Array]:
        whole = (site.t < at) | (site.t >= until)
        return Outage(works=whole | (part[:, None] == part[site.hears()])), part

    return Fault(step, prepare, begin)
