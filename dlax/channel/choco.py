"""Differences to public copies travel, compressed: CHOCO's channel, and LEAD's."""

import jax

from dlax import compress, tree
from dlax.compress import top_k
from dlax.types import Channel, Compressor, Network, Scalar, Tree


def choco(gamma: Scalar = 0.1, memory: Scalar = 1.0, *, compressor: Compressor = top_k()) -> Channel:
    """Every node keeps a public copy of its message, and sends what the copy lacks, compressed.

        Q = C(message − H)                                  sent
        Ĥ = H + Q
        received = message + γ (W − I) Ĥ
        H ← (1 − α) H + α Ĥ                                 with α = `memory`

    All who hear a node hold its copy H, so H need not travel; here it is kept once, since all holders agree. With
    α = 1 this is CHOCO-Gossip: as the copies come near the messages, what is left to send and the error of its
    compression vanish. LEAD takes α < 1. Without compression (`identity`) and γ = 1, received = W message. With
    α = 0 nothing is remembered: direct compression, which does not converge for compressors that err on
    consensus.

    The mean over nodes is kept exactly. A message that is a tuple is several, each with a copy of its own.

    Args:
      gamma: γ in (0, 1], the consensus step size. It must be small for strong compression: theory asks for the
        order of (1 − ρ)² ω with ω the compressor's contraction factor; far larger values work in practice.
      memory: α in [0, 1].
      compressor: C.

    Returns:
      A channel whose state is one more message. A node pays for one compressed message to each neighbour.

    Raises:
      ValueError: if `gamma` is a number outside (0, 1] or `memory` outside [0, 1]; in a run, unless the topology
        is fixed, symmetric and doubly stochastic and all nodes take part.

    References:
      Koloskova, Stich, Jaggi. Decentralized Stochastic Optimization and Gossip Algorithms with Compressed
      Communication. ICML 2019.
      Liu, Li, Wang, Tang, Yan. Linear Convergent Decentralized Optimization with Compression. ICLR 2021.
    """
    check_gamma("choco", gamma)
    if isinstance(memory, int | float) and not 0 <= memory <= 1:
        raise ValueError(f"choco: memory must be in [0, 1], got {memory}")

    def open_link(message: Tree, network: Network) -> Tree:
        network.require("choco", "fixed", "symmetric", "doubly stochastic")
        network.require("choco", "full participation")
        return tree.zeros_like(message)

    def mix(link: Tree, message: Tree, network: Network) -> tuple[Tree, Tree, jax.Array]:
        sent = compress.compress(compressor, network.key, tree.add(message, link, -1.0))
        public = tree.add(link, sent)
        received = pull_together(message, public, gamma, network)
        bits = network.out_degree * compress.message_bits(compressor, message)
        return received, tree.add(link, sent, memory), bits

    return Channel(open_link, mix)


def pull_together(message: Tree, public: Tree, gamma: Scalar, network: Network) -> Tree:
    """message + γ (W − I) public: a step towards agreement that leaves the mean where it is."""
    return tree.add(message, tree.add(network.mix(public), public, -1.0), gamma)


def check_gamma(who: str, gamma: Scalar) -> None:
    """Refuses a consensus step size outside (0, 1]; a traced one passes."""
    if isinstance(gamma, int | float) and not 0 < gamma <= 1:
        raise ValueError(f"{who}: gamma must be in (0, 1], got {gamma}")
