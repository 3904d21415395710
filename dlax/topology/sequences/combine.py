"""Graphs that change from round to round."""

from collections.abc import Iterable

from scipy.sparse import csr_array

from dlax.topology.spectra.gap import Order
from dlax.topology.topology import Topology, check


def cyclic(*topologies: Topology) -> Topology:
    """Use the topologies in turn, for ever: round t uses matrix t mod L.

    Members need not be connected; their union must be.

    Args:
      *topologies: at least one, fixed or cyclic (whose L matrices then follow one another), of equal n.

    Returns:
      A cyclic topology; fixed if there is but one matrix.

    Raises:
      ValueError: if there is none, if sizes differ, if a member is random, if row- and column-stochastic
        members do not go together, or if the union is not connected.
    """
    return _sequence("cyclic", topologies, allowed=("fixed", "cyclic"))


def random_sequence(*topologies: Topology) -> Topology:
    """Draw one of the topologies in every round, independently and uniformly.

    Members need not be connected; their union must be.

    Args:
      *topologies: at least one, all fixed, of equal n. Repeat one to give it more weight.

    Returns:
      A random topology; fixed if there is but one matrix.

    Raises:
      ValueError: if there is none, if sizes differ, if a member is not fixed, if row- and column-stochastic
        members do not go together, or if the union is not connected.
    """
    return _sequence("random", topologies, allowed=("fixed",))


def _sequence(order: Order, topologies: Iterable[Topology], allowed: tuple[str, ...]) -> Topology:
    members = list(topologies)
    if not members:
        raise ValueError(f"{order} sequence: at least one topology is needed, got none")
    for member in members:
        if member.order not in allowed:
            raise ValueError(
                f"{order} sequence: members must be {' or '.join(allowed)}, but {member.name} is "
                f"{member.order}"
            )
    if len({member.n for member in members}) > 1:
        sizes = ", ".join(f"{member.name}: {member.n}" for member in members)
        raise ValueError(f"{order} sequence: all members must have the same number of nodes, got {sizes}")
    matrices: tuple[csr_array, ...] = tuple(W for member in members for W in member.matrices)
    name = f"{order}({', '.join(member.name for member in members)})"
    # Each member passed its own check: its signs and sums are meant.
    return check(
        Topology(name, matrices, "fixed" if len(matrices) == 1 else order),
        allow_negative=True,
        allow_column=True,
    )
