"""Largest, smallest or any: gossip over a semiring other than (+, ×)."""

from typing import Literal, get_args

import jax
import jax.numpy as jnp

from dlax import mixing, tree
from dlax.channel.links import check_drop, messages, sent_and_arrived
from dlax.types import Channel, Network, Scalar, Tree

Operation = Literal["max", "min", "or"]
Form = Literal["pull", "push", "push_pull"]


def extremum(
    drop: Scalar | None = None,
    *,
    operation: Operation = "max",
    fanout: int | None = None,
    form: Form = "pull",
) -> Channel:
    """Every node receives the largest (or smallest) of its own message and what it was sent.

        received_i = max(message_i, message_j over all j that i hears)

    Over a connected fixed graph everyone knows the maximum after as many rounds as the diameter, exactly. With
    a `fanout` this is rumour spreading: every node contacts that many neighbours, drawn uniformly without
    repetition in every round. On the complete graph with fanout 1 one rumour reaches all n nodes after
    log₂ n + ln n + O(1) rounds of "push" and log₃ n + O(log log n) of "push_pull", with high probability.
    A NaN counts as larger and as smaller than every number: it spreads.

    Args:
      drop: probability in [0, 1] that a message is lost, independently by directed edge and round. None means
        perfect links.
      operation: "max" or "min" by entry, of floating, integer or boolean messages; "or" of boolean ones.
      fanout: how many neighbours a node contacts in a round; None means all of them.
      form: "pull" reads from the contacts, "push" writes to them, "push_pull" does both. Without a `fanout`
        they are the same.

    Returns:
      A channel without state. Who sends pays: a pulled node for each that pulled it.

    Raises:
      ValueError: if an option is out of range; in a run, if nodes push to a `fanout` on a directed graph.

    References:
      Frieze, Grimmett. The shortest-path problem for graphs with random arc-lengths. Discrete Applied
      Mathematics 1985 (push). Pittel. On spreading a rumor. SIAM J. Applied Mathematics 1987 (its O(1)).
      Karp, Schindelhauer, Shenker, Vöcking. Randomized rumor spreading. FOCS 2000 (push_pull).
    """
    check_drop("extremum", drop)
    if operation not in get_args(Operation):
        raise ValueError(
            f"extremum: operation must be one of {', '.join(get_args(Operation))}, got {operation!r}"
        )
    if form not in get_args(Form):
        raise ValueError(f"extremum: form must be one of {', '.join(get_args(Form))}, got {form!r}")
    if fanout is not None and fanout < 1:
        raise ValueError(f"extremum: fanout must be at least 1, got {fanout}")
    semiring = mixing.SEMIRINGS[operation]

    def open_link(message: Tree, network: Network) -> tuple[()]:
        del message  # nothing to remember
        if form != "pull" and fanout is not None:
            network.require(f"extremum with form {form}", "undirected")  # one knows only whom one hears
        return ()

    def mix(link: tuple[()], message: Tree, network: Network) -> tuple[Tree, tuple[()], jax.Array]:
        size = tree.message_bits(message)
        if drop is None and fanout is None and network.perfect:
            # A node's own message counts even where the graph gives it no weight.
            received = jax.tree.map(semiring.add, message, network.mix(message, semiring))
            return received, link, network.out_degree * size
        index, linked, network = _contacts(network, fanout)
        own = jnp.ones(len(index), bool)
        received, count = message, jnp.zeros_like(network.out_degree)
        if form != "push" or fanout is None:
            sent, arrived = sent_and_arrived(network, index, linked, drop)
            received = mixing.pull(message, index, arrived, own, semiring)
            count = count + messages(sent, index, count)
        if form != "pull" and fanout is not None:
            back = network._replace(key=jax.random.fold_in(network.key, 1))
            sent, arrived = sent_and_arrived(back, index, linked, drop)
            pushed = mixing.push(message, index, arrived, own, semiring)
            received = jax.tree.map(semiring.add, received, pushed)
            count = count + jnp.sum(sent, axis=1).astype(count.dtype)
        return received, link, count * size

    return Channel(open_link, mix)


def _contacts(network: Network, fanout: int | None) -> tuple[jax.Array, jax.Array, Network]:
    """Whom each node contacts: index `[n, c]`, a mask `[n, c]` of slots in use, and the network of these slots."""
    index, weight, _ = network.table()
    linked = weight != 0
    if fanout is None or fanout >= index.shape[1]:
        return index, linked, network
    score = jax.random.uniform(jax.random.fold_in(network.key, 2), index.shape, jnp.float32)
    slots = jax.lax.top_k(jnp.where(linked, score, -1.0), fanout)[1]
    index, linked = (jnp.take_along_axis(each, slots, axis=1) for each in (index, linked))
    if network.works is not None:
        network = network._replace(works=jnp.take_along_axis(network.works, slots, axis=1))
    return index, linked, network
