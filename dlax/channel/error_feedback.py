"""What compression lost is added to the next message: DeepSqueeze's channel."""

import jax

from dlax import compress, tree
from dlax.channel.choco import check_gamma, pull_together
from dlax.compress import top_k
from dlax.types import Channel, Compressor, Network, Scalar, Tree


def error_feedback(gamma: Scalar = 0.1, *, compressor: Compressor = top_k()) -> Channel:
    """Every node sends its message plus what its receivers still miss, compressed.

        U = message + δ
        c = C(U)                                            sent
        δ ← U − c                                           kept at home, from δ = 0
        received = message + γ (W − I) c

    No one keeps copies of others, so the graph may change. Messages themselves travel, not differences: the error
    does not vanish as the nodes agree, and γ must be smaller than CHOCO's. The mean over nodes is kept exactly.

    Args:
      gamma: γ in (0, 1], the consensus step size.
      compressor: C.

    Returns:
      A channel whose state is one more message. A node pays for one compressed message to each neighbour.

    Raises:
      ValueError: if `gamma` is a number outside (0, 1]; in a run, unless the topology is doubly stochastic and all
        nodes take part.

    References:
      Tang, Lian, Qiu, Yuan, Zhang, Zhang, Liu. DeepSqueeze: Decentralization Meets Error-Compensated Compression.
      2019.
    """
    check_gamma("error_feedback", gamma)

    def open_link(message: Tree, network: Network) -> Tree:
        network.require("error_feedback", "doubly stochastic")
        network.require("error_feedback", "full participation")
        return tree.zeros_like(message)

    def mix(link: Tree, message: Tree, network: Network) -> tuple[Tree, Tree, jax.Array]:
        whole = tree.add(message, link)
        sent = compress.compress(compressor, network.key, whole)
        received = pull_together(message, sent, gamma, network)
        bits = network.out_degree * compress.message_bits(compressor, message)
        return received, tree.add(whole, sent, -1.0), bits

    return Channel(open_link, mix)
