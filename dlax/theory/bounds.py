"""Bounds of the literature: how things scale. Constants are left out where the papers leave them out."""

from typing import Literal, get_args

import numpy as np

from dlax.algorithms.dsgd import Order
from dlax.theory.checks import check_finite, check_gap

Setting = Literal["strongly_convex", "iid", "non_iid"]


def dsgd_bias_bound(
    *,
    lr: float,
    gap: float,
    zeta: float,
    smoothness: float = 1.0,
    spread: float = 0.0,
    order: Order = "adapt_then_combine",
) -> float:
    """What the bias of D-SGD on quadratics cannot exceed, constants and all: of order lr² ζ² / gap².

        (1/n) Σᵢ ‖E xᵢ − x*‖² ≤ κ (lr r ζ)² / (1 − q)²,   κ = 1 + s²,   q = lr r L √κ < 1
        r = ρ/(1 − ρ) if adapt_then_combine, 1/(1 − ρ) in the other orders

    Proof, for one local step. Let W̃ = W − J, E = X − 1x*ᵀ the error at the fixed point and G its gradients.
    1. Averaging X = W (X − lr G) over nodes says that G has mean zero; what remains is X − X̄ = −lr (I − W̃)⁻¹ W̃ G,
       and ‖(I − W̃)⁻¹ W̃‖ ≤ r. Without the last W̃ in the other orders.
    2. Σᵢ (Aᵢ (xᵢ − x*) + ∇fᵢ(x*)) = 0 gives x̄ − x* = −Ā⁻¹ (1/n) Σᵢ (Aᵢ − Ā)(xᵢ − x̄), so ‖E‖ ≤ √κ ‖X − X̄‖.
    3. ‖G‖ ≤ √n ζ + L ‖E‖. Insert 2 and 1, and solve for ‖X − X̄‖.
    combine_then_adapt takes its gradients at W X, where adapt_then_combine stands still, which only helps.

    For a common Hessian s = 0, and the bound is met as lr → 0 if the gradients at x* lie along an eigenvector of
    W with eigenvalue ρ.

    Args:
      lr: constant step size.
      gap: 1 − ρ with ρ = ‖W − J‖₂, of one doubly stochastic W; in (0, 1].
      zeta: ζ, with ζ² = (1/n) Σᵢ ‖∇fᵢ(x*)‖².
      smoothness: L, the largest eigenvalue of any Aᵢ.
      spread: s = maxᵢ ‖Aᵢ − Ā‖₂ / μ with μ the least eigenvalue of Ā; 0 for a common Hessian.
      order: as in the algorithm.

    Returns:
      The bound; infinite if q ≥ 1, where it says nothing.

    Raises:
      ValueError: if an argument is out of range.

    References:
      Yuan, Ling, Yin. On the convergence of decentralized gradient descent. SIAM J. Optimization 2016 (the
      scaling).
    """
    check_finite(lr=lr, zeta=zeta, smoothness=smoothness, spread=spread)
    check_gap(gap)
    if order not in get_args(Order):
        raise ValueError(f"theory: order must be one of {', '.join(get_args(Order))}, got {order!r}")
    reach = (1.0 - gap if order == "adapt_then_combine" else 1.0) / gap
    kappa = 1.0 + spread**2
    q = lr * reach * smoothness * float(np.sqrt(kappa))
    return kappa * (lr * reach * zeta / (1.0 - q)) ** 2 if q < 1.0 else np.inf


def dsgd_terms(
    rounds: int, *, n: int, gap: float, sigma: float, zeta: float, smoothness: float = 1.0, start: float = 1.0
) -> dict[str, float]:
    """The three terms of D-SGD's rate on smooth non-convex functions, up to constants.

        (1/T) Σₜ E‖∇f(x̄ₜ)‖²  ≲  √(L F σ² / (n T)) + (L F (ζ/p + σ/√p) / T)^(2/3) + L F / (p T)

    The first is that of centralised SGD with n workers; the others die out faster. The paper's p is 1 − ρ², which
    is between one and two gaps.

    Args:
      rounds: T ≥ 1.
      n: number of nodes.
      gap: p, the gap of W, in (0, 1].
      sigma: σ, noise of a node's gradient.
      zeta: ζ, heterogeneity.
      smoothness: L.
      start: F = f(x₀) − f*.

    Returns:
      "statistical", "consensus" and "optimization".

    Raises:
      ValueError: if an argument is out of range.

    References:
      Koloskova, Loizou, Boreiri, Jaggi, Stich. A unified theory of decentralized SGD. ICML 2020.
    """
    check_gap(gap)
    check_finite(sigma=sigma, zeta=zeta, smoothness=smoothness, start=start)
    if min(rounds, n) < 1:
        raise ValueError(f"theory: rounds and n must be at least 1, got {rounds} and {n}")
    scale = smoothness * start
    return {
        "statistical": (scale * sigma**2 / (n * rounds)) ** 0.5,
        "consensus": (scale * (zeta / gap + sigma / gap**0.5) / rounds) ** (2.0 / 3.0),
        "optimization": scale / (gap * rounds),
    }


def transient_bound(n: int, gap: float, setting: Setting) -> float:
    """Rounds before D-SGD's error is that of centralised SGD, up to constants.

        strongly_convex   n / p²      decaying steps; sharp
        iid               n³ / p²     non-convex, ζ = 0
        non_iid           n³ / p⁴     non-convex, ζ > 0

    The last two are where the terms of `dsgd_terms` cross.

    Args:
      n: number of nodes.
      gap: p, the gap of W, in (0, 1].
      setting: which of the three.

    Returns:
      The rounds.

    Raises:
      ValueError: if n or the gap is out of range, or the setting is none of them.

    References:
      Pu, Olshevsky, Paschalidis. A sharp estimate on the transient time of distributed stochastic gradient
      descent. IEEE Trans. Automatic Control 2022. Ying, Yuan, Chen, Hu, Pan, Yin. Exponential graph is provably
      efficient for decentralized deep training. NeurIPS 2021 (the other two).
    """
    powers = {"strongly_convex": (1, 2), "iid": (3, 2), "non_iid": (3, 4)}
    if setting not in powers:
        raise ValueError(f"theory: setting must be one of {', '.join(powers)}, got {setting!r}")
    if n < 1:
        raise ValueError(f"theory: n must be at least 1, got {n}")
    check_gap(gap)
    a, b = powers[setting]
    return float(n) ** a / gap**b
