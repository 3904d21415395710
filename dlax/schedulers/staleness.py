"""How much an update still counts when the server has moved on by u versions since its client got the model."""

from collections.abc import Callable

Staleness = Callable[[int], float]  # u -> st(u)


def constant() -> Staleness:
    """Every update counts the same: st(u) = 1."""
    return lambda u: 1.0


def polynomial(*, a: float = 0.5, as_released: bool = False) -> Staleness:
    """st(u) = (u + 1)⁻ᵃ, as in FedAsync.

    Args:
      a: a ≥ 0.
      as_released: take the exponent +a, which amplifies stale updates. So did FedCompass's released code, against
        FedAsync's definition and the purpose that the paper states.

    Raises:
      ValueError: if `a` is negative.
    """
    _check("polynomial", "a", a)
    power = a if as_released else -a
    return lambda u: (u + 1.0) ** power


def hinge(*, a: float = 10.0, b: float = 4.0) -> Staleness:
    """st(u) = 1 while u ≤ b, then 1 / (a (u − b) + 1).

    Args:
      a: how fast it falls, a ≥ 0.
      b: the staleness up to which updates count whole.

    Raises:
      ValueError: if `a` or `b` is negative.
    """
    _check("hinge", "a", a)
    _check("hinge", "b", b)
    return lambda u: 1.0 if u <= b else 1.0 / (a * (u - b) + 1.0)


STALENESS: dict[str, Callable[..., Staleness]] = {
    "constant": constant,
    "hinge": hinge,
    "polynomial": polynomial,
}


def resolve(who: str, staleness: Staleness | str) -> Staleness:
    """The function itself, or that of this name with its defaults."""
    if isinstance(staleness, str):
        if staleness not in STALENESS:
            raise ValueError(f"{who}: staleness must be one of {', '.join(STALENESS)}, got {staleness!r}")
        return STALENESS[staleness]()
    return staleness


def _check(who: str, name: str, value: float) -> None:
    if not value >= 0:
        raise ValueError(f"{who}: {name} must be at least 0, got {value}")
