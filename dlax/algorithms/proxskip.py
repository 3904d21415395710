"""ProxSkip (Scaffnew) through the complete graph: local steps that do not drift, averaged at random times.

Mishchenko, Malinovsky, Stich, Richtárik. ProxSkip: Yes! Local Gradient Steps Provably Lead to Communication
Acceleration! Finally! ICML 2022.
"""

from dlax.algorithms.decentralized_proxskip import ProxSkipState, check_coin, decentralized_proxskip
from dlax.optimizers import constant
from dlax.types import Algorithm, Round, Scalar, Schedule, Tree


def proxskip(lr: Scalar = 0.1, probability: Scalar = 0.2, *, schedule: Schedule = constant()) -> Algorithm:
    """ProxSkip for averaging, known as Scaffnew.

        X̂ = X − lr (G(X) − H);   with probability p  X⁺ = (1/n) 1 1ᵀ X̂,  else X⁺ = X̂;   H ← H + (p/lr) (X⁺ − X̂)

    With lr = 1/L and p = √(μ/L) it needs of order √(L/μ) log 1/ε communications where gradient descent needs
    L/μ log 1/ε, and as many gradients. It is decentralised ProxSkip with Wₐ = J and Y = −lr H.

    Args:
      lr: step size, at most 1/L.
      probability: p in (0, 1]; the coin is shared, drawn from the round's key.
      schedule: factor s(t) on lr, of the round t.

    Returns:
      The (init, step) pair; a message is the model, to each of the n − 1 others of the complete graph, in the
      rounds in which the coin says so.

    Raises:
      ValueError: if `probability` is a number outside (0, 1]; in a run, if the topology is not the complete graph
        with weights 1/n, or nodes sit rounds out.
    """
    check_coin("proxskip", probability)
    mixed = decentralized_proxskip(lr, probability, damping=0.5, schedule=schedule)

    def init(params: Tree, round: Round) -> ProxSkipState:
        round.require("proxskip", "complete", "full participation")
        return mixed.init(params, round)

    return Algorithm(init, mixed.step)
