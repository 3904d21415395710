"""BEER: gradient tracking with compressed messages.

Zhao, Li, Li, Richtárik, Chi. BEER: Fast O(1/T) Rate for Decentralized Nonconvex Optimization with Communication
Compression. NeurIPS 2022.
"""

from dlax.algorithms.gradient_tracking import gradient_tracking
from dlax.algorithms.through import through
from dlax.channel import choco
from dlax.compress import top_k
from dlax.optimizers import constant
from dlax.types import Algorithm, Compressor, Scalar, Schedule


def beer(
    lr: Scalar = 0.1,
    gamma: Scalar = 0.1,
    *,
    compressor: Compressor = top_k(),
    schedule: Schedule = constant(),
) -> Algorithm:
    """BEER: `gradient_tracking` over the channel `choco`; the models and the trackers are compressed apart.

        X⁺ = X + γ (W − I) H − lr V;                      H ← H + C(X⁺ − H)
        V⁺ = V + γ (W − I) G + ∇F(X⁺) − ∇F(X);           G ← G + C(V⁺ − G)

    H and G are the public copies. The index of V is one ahead of the paper's, as in `gradient_tracking`: the copies
    are brought up to date at the beginning of a round and not at the end of the one before, with the same numbers.
    The run is the paper's with first copies H = C(X₀) and G = C(V₀), where the paper begins with zeros, so that its
    first exchange moves nothing. Reaches the optimum exactly with full gradients and a constant step size.

    Args:
      lr: step size.
      gamma: γ in (0, 1], the consensus step size; smaller for stronger compression.
      compressor: C, biased or unbiased.
      schedule: factor s(t) on lr, of the round t.

    Returns:
      The (init, step) pair; a message is the compressed model and the compressed tracker.

    Raises:
      ValueError: if `gamma` is a number outside (0, 1]; in a run, unless the topology is fixed, symmetric and
        doubly stochastic, the run's channel plain, and all nodes take part.
    """
    return through(gradient_tracking(lr, schedule=schedule), choco(gamma, compressor=compressor))
