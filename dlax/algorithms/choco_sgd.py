"""CHOCO-SGD: decentralised SGD that sends compressed differences to public copies.

Koloskova, Stich, Jaggi. Decentralized Stochastic Optimization and Gossip Algorithms with Compressed Communication.
ICML 2019. Koloskova, Lin, Stich, Jaggi. Decentralized Deep Learning with Arbitrary Communication Compression. ICLR
2020 (deep networks, momentum).
"""

from dlax.algorithms.dsgd import dsgd
from dlax.algorithms.local import check_steps
from dlax.algorithms.through import through
from dlax.channel import choco
from dlax.compress import top_k
from dlax.optimizers import constant, sgd
from dlax.types import Algorithm, Compressor, Optimizer, Scalar, Schedule


def choco_sgd(
    lr: Scalar = 0.1,
    gamma: Scalar = 0.1,
    *,
    compressor: Compressor = top_k(),
    local_steps: int = 1,
    optimizer: Optimizer = sgd(),
    schedule: Schedule = constant(),
) -> Algorithm:
    """CHOCO-SGD: `dsgd`, adapting first, over the channel `choco`.

        V = X − lr G(X);   Q = C(V − X̂);   X̂ ← X̂ + Q;   X ← V + γ (W − I) X̂

    X̂, from 0, are the public copies that all neighbours hold. With constant step size and different fᵢ it stands
    still at a bias, as D-SGD does. Without compression and with γ = 1 it is D-SGD; with lr = 0 it is CHOCO-Gossip.

    Args:
      lr: step size of the local optimiser.
      gamma: γ in (0, 1], the consensus step size; smaller for stronger compression.
      compressor: C, biased or unbiased.
      local_steps: gradients a round.
      optimizer: the local optimiser; plain SGD by default.
      schedule: factor s(t) on lr, of the round t.

    Returns:
      The (init, step) pair; a message is one compressed model.

    Raises:
      ValueError: if `gamma` is a number outside (0, 1] or local_steps < 1; in a run, unless the topology is fixed,
        symmetric and doubly stochastic, the run's channel plain, and all nodes take part.
    """
    check_steps("choco_sgd", local_steps)
    local = dsgd(lr, local_steps=local_steps, optimizer=optimizer, schedule=schedule)
    return through(local, choco(gamma, compressor=compressor))
