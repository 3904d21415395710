"""How fast gossip averages: plain, Chebyshev, second order, push-sum, rumours."""

from typing import Literal, get_args

import numpy as np

from dlax.theory.checks import check_finite, check_gap
from dlax.topology import Topology

Form = Literal["push", "push_pull"]
_LARGEST = 2_000  # nodes
_ZERO = 1e-12  # a factor below this is rounding; its L-th root would not look like zero


def contraction(topology: Topology, rounds: int = 1) -> float:
    """The worst factor on ‖X − X̄‖ after some rounds of plain gossip, over all starts; exact.

        ‖W⁽ᵏ⁻¹⁾ ⋯ W⁽⁰⁾ − J‖₂        (ρᵏ if W is symmetric and fixed)

    Args:
      topology: fixed or cyclic, doubly stochastic; at most 2,000 nodes unless W is symmetric and fixed.
      rounds: k ≥ 0.

    Returns:
      The factor: at most 1 if no weight is negative.

    Raises:
      ValueError: if the topology is random or not doubly stochastic, or too large, or k is negative.
    """
    check_finite(rounds=rounds)
    if not topology.is_doubly_stochastic or topology.order not in ("fixed", "cyclic"):
        raise ValueError(
            f"theory: contraction needs doubly stochastic matrices in a known order, got {topology!r}"
        )
    n = topology.n
    if topology.is_fixed and topology.is_symmetric and n > 1:
        return float((1.0 - topology.spectral_gap) ** rounds)
    if n > _LARGEST:
        raise ValueError(f"theory: contraction takes at most {_LARGEST:,} nodes here, got {n}")
    product = np.eye(n)
    for t in range(rounds):
        product = topology.matrices[t % topology.period] @ product
    return float(np.linalg.norm(product - 1.0 / n, 2))


def chebyshev_contraction(gap: float, rounds: int) -> float:
    """The worst factor on ‖X − X̄‖ after k rounds of Chebyshev gossip.

        1 / Tₖ(1/ρ) = 1 / cosh(k arcosh(1/ρ))        ρ = 1 − gap

    No polynomial of degree k in W that keeps the mean does better on all eigenvalues in [−ρ, ρ]. It is met
    where ±ρ is an eigenvalue.

    Args:
      gap: of a symmetric W, in (0, 1].
      rounds: k ≥ 0.

    Returns:
      The factor, at most 1.

    Raises:
      ValueError: if an argument is out of range.
    """
    check_gap(gap)
    check_finite(rounds=rounds)
    if gap == 1.0:
        return 1.0 if rounds == 0 else 0.0
    x = rounds * np.arctanh(np.sqrt(gap * (2.0 - gap)))  # k arcosh(1/ρ), without cancellation
    return float(2.0 * np.exp(-x) / (1.0 + np.exp(-2.0 * x)))


def second_order_contraction(gap: float, rounds: int) -> float:
    """The worst factor on ‖X − X̄‖ after k rounds of second-order gossip.

        (ω − 1)^(k/2) (1 + k √(1 − ρ²)),   ω = 2 / (1 + √(1 − ρ²))

    Met at an eigenvalue ±ρ, where the recursion has a double root.

    Args:
      gap: of a symmetric W, in (0, 1].
      rounds: k ≥ 0.

    Returns:
      The factor, at most 1.

    Raises:
      ValueError: if an argument is out of range.
    """
    check_gap(gap)
    check_finite(rounds=rounds)
    if gap == 1.0:
        return 1.0 if rounds == 0 else 0.0
    root = np.sqrt(gap * (2.0 - gap))  # √(1 − ρ²)
    return float(np.exp(-rounds * np.arctanh(root)) * (1.0 + rounds * root))  # √(ω − 1) = exp(−arcosh(1/ρ))


def push_sum_rate(topology: Topology) -> float:
    """The asymptotic factor on the error of push-sum in a round: |λ₂(P)|.

    Over L matrices in turn, |λ₂(P⁽ᴸ⁻¹⁾ ⋯ P⁽⁰⁾)|^(1/L).

    Args:
      topology: fixed or cyclic, column stochastic, at most 2,000 nodes.

    Returns:
      The factor: 0 if the mean is exact after finitely many rounds, 1 if nothing converges.

    Raises:
      ValueError: if it is not so.
    """
    if (
        topology.order not in ("fixed", "cyclic")
        or not topology.is_column_stochastic
        or topology.n > _LARGEST
    ):
        raise ValueError(
            "theory: push_sum_rate needs column-stochastic matrices in a known order, of at most "
            f"{_LARGEST:,} nodes, got {topology!r}"
        )
    product = np.eye(topology.n)
    for P in topology.matrices:
        product = P @ product
    # P − J has the eigenvalues of P but for one 1, since 1ᵀ P = 1ᵀ.
    second = float(np.abs(np.linalg.eigvals(product - 1.0 / topology.n)).max())
    return 0.0 if second < _ZERO else second ** (1.0 / topology.period)


def rounds_to(rate: float, factor: float) -> float:
    """Rounds until a quantity that shrinks by `rate` a round has shrunk to `factor`: log factor / log rate.

    Args:
      rate: at least 0; from 1 on nothing shrinks.
      factor: in (0, 1].

    Returns:
      The rounds, a fraction; infinite if the quantity never gets there.

    Raises:
      ValueError: if an argument is out of range.
    """
    if not 0.0 < factor <= 1.0 or not rate >= 0.0:
        raise ValueError(f"theory: rate must be at least 0 and factor in (0, 1], got {rate} and {factor}")
    if factor == 1.0 or rate == 0.0:
        return 0.0
    return float(np.log(factor) / np.log(rate)) if rate < 1.0 else np.inf


def rumour_rounds(n: int, form: Form = "push") -> float:
    """Rounds until one rumour has reached all n nodes of the complete graph, one contact a node and round.

    Leading terms, with high probability: "push" log₂ n + ln n (plus O(1)), "push_pull" log₃ n (plus
    O(log log n)).

    Args:
      n: number of nodes.
      form: "push" or "push_pull".

    Returns:
      The rounds, a fraction.

    Raises:
      ValueError: if n < 1 or the form is neither.

    References:
      Pittel. On spreading a rumor. SIAM J. Applied Mathematics 1987 (push). Karp, Schindelhauer, Shenker,
      Vöcking. Randomized rumor spreading. FOCS 2000.
    """
    if n < 1:
        raise ValueError(f"theory: n must be at least 1, got {n}")
    if form not in get_args(Form):
        raise ValueError(f"theory: form must be 'push' or 'push_pull', got {form!r}")
    return float(np.log2(n) + np.log(n) if form == "push" else np.log(n) / np.log(3.0))
