"""PowerGossip: decentralised SGD that sends rank-one approximations of differences between neighbours.

Vogels, Karimireddy, Jaggi. Practical Low-Rank Communication Compression in Decentralized Deep Learning. NeurIPS 2020.
"""

from dlax.algorithms.dsgd import dsgd
from dlax.algorithms.local import check_steps
from dlax.algorithms.through import through
from dlax.channel import power_gossip
from dlax.optimizers import constant, sgd
from dlax.types import Algorithm, Optimizer, Scalar, Schedule


def power_gossip_sgd(
    lr: Scalar = 0.1,
    *,
    local_steps: int = 1,
    optimizer: Optimizer = sgd(),
    schedule: Schedule = constant(),
) -> Algorithm:
    """PowerGossip with SGD: `dsgd`, adapting first, over the channel `power_gossip`.

        X ← X − lr G(X);  on every edge, for every weight matrix:  Mᵢ −= W_ij p qᵀ;  Mⱼ += W_ij p qᵀ

    p qᵀ approximates Mᵢ − Mⱼ by one step of the power iteration a round. Nothing is to be tuned but lr. With
    constant step size and different fᵢ it stands still at a bias, as D-SGD does.

    Args:
      lr: step size of the local optimiser.
      local_steps: gradients a round.
      optimizer: the local optimiser; plain SGD by default.
      schedule: factor s(t) on lr, of the round t.

    Returns:
      The (init, step) pair; a message to a neighbour is one vector a weight matrix.

    Raises:
      ValueError: if local_steps < 1; in a run, unless the topology is fixed, symmetric and doubly stochastic, the
        run's channel plain, and all nodes take part.
    """
    check_steps("power_gossip_sgd", local_steps)
    local = dsgd(lr, local_steps=local_steps, optimizer=optimizer, schedule=schedule)
    return through(local, power_gossip())
