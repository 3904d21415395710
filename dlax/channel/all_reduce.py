"""The exact mean of all nodes, as datacentres compute it."""

import jax
import jax.numpy as jnp

from dlax import tree
from dlax.types import Channel, Network, Tree


def all_reduce() -> Channel:
    """Every node receives the mean of all messages, whatever the graph: for algorithms that average exactly.

    Bits are those of a ring all-reduce: of n pieces of a message, every node sends n − 1 while sums are formed and
    n − 1 while they are handed out, hence 2 (n − 1)/n messages, the least there is.

    Returns:
      A channel without state, which an algorithm brings along: it stands for a network beside the graph.

    Raises:
      ValueError: in a run, if nodes sit rounds out.

    References:
      Patarasuk, Yuan. Bandwidth optimal all-reduce algorithms for clusters of workstations. J. Parallel and
      Distributed Computing 2009.
    """

    def open_link(message: Tree, network: Network) -> tuple[()]:
        del message
        network.require("all_reduce", "full participation")
        return ()

    def mix(link: tuple[()], message: Tree, network: Network) -> tuple[Tree, tuple[()], jax.Array]:
        n = tree.num_nodes(message)
        mean = tree.broadcast(tree.node_mean(message), n)
        bits = -(-2 * (n - 1) * tree.message_bits(message) // n)  # whole bits
        return mean, link, jnp.full_like(network.out_degree, bits)

    return Channel(open_link, mix)
