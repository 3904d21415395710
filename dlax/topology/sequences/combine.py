"""Graphs used in turn, drawn from a list, or dealt out over rounds."""

from collections.abc import Iterable

from scipy.sparse import csr_array

from dlax.topology.graphs.adjacency import graph_stream, node_count, undirected
from dlax.topology.graphs.lattices import ring
from dlax.topology.sequences.drawn import undirected_edges
from dlax.topology.spectra.gap import Order
from dlax.topology.topology import Base, Topology, check, from_matrix
from dlax.topology.weights import metropolis


def cyclic(n: int, *, members: tuple[Base, ...]) -> Topology:
    """Use several graphs in turn, for ever: round t uses matrix t mod L.

    Members need not be connected; their union must be.

        cyclic(16, members=(ring, star))

    Args:
      n: number of nodes, at least 1.
      members: the graphs, at least one, fixed or cyclic (whose L matrices then follow one another). In a
        config, topologies without n; in Python, factories called with n, or topologies of n nodes.

    Returns:
      A cyclic topology; fixed if there is but one matrix.

    Raises:
      ValueError: if there is none, if sizes differ, if a member is random or drawn, if row- and
        column-stochastic members do not go together, or if the union is not connected.
    """
    return _sequence("cyclic", "cyclic", n, members, allowed=("fixed", "cyclic"))


def random_sequence(n: int, *, members: tuple[Base, ...]) -> Topology:
    """Draw one of several graphs in every round, independently and uniformly.

    Members need not be connected; their union must be.

    Args:
      n: number of nodes, at least 1.
      members: the graphs, at least one, all fixed. Repeat one to give it more weight. In a config, topologies
        without n; in Python, factories called with n, or topologies of n nodes.

    Returns:
      A random topology; fixed if there is but one matrix.

    Raises:
      ValueError: if there is none, if sizes differ, if a member is not fixed, if row- and column-stochastic
        members do not go together, or if the union is not connected.
    """
    return _sequence("random_sequence", "random", n, members, allowed=("fixed",))


def b_connected(n: int, *, base: Base = ring, window: int = 4, seed: int = 0) -> Topology:
    """The edges of a connected graph are dealt out at random over B rounds, which then repeat.

    Round t has the edges dealt to t mod B, with Metropolis weights of their own. A round is in general not
    connected, and has no edge at all if B exceeds their number; the union of any B rounds in a row is the
    whole graph.

    Args:
      n: number of nodes, at least 1.
      base: the graph whose edges are dealt; its weights do not count. In a config, a topology without n.
      window: B, at least 1.
      seed: of the deal.

    Returns:
      A cyclic topology of B matrices; fixed if B = 1 or n = 1.

    Raises:
      ValueError: if B < 1, or if the base is directed or not connected.

    References:
      Nedić, Olshevsky. Distributed optimization over time-varying directed graphs. IEEE Trans. Automatic
      Control 2015.
    """
    n = node_count("b_connected", n)
    if window < 1:
        raise ValueError(f"b_connected: window must be at least 1, got {window}")
    edges = graph_stream(seed).permutation(undirected_edges("b_connected", base(n)))
    dealt = [edges[t::window] for t in range(window if n > 1 else 1)]
    return from_matrix([metropolis()(undirected(n, *part.T)) for part in dealt], name="b_connected")


def _sequence(
    who: str, order: Order, n: int, members: Iterable[Base | Topology], allowed: tuple[str, ...]
) -> Topology:
    n = node_count(who, n)
    if isinstance(members, Topology) or callable(members):
        raise ValueError(f"{who}: members must be a list of graphs, got {members!r}")
    made = [member if isinstance(member, Topology) else member(n) for member in members]
    if not made:
        raise ValueError(f"{who}: members must name at least one graph, got none")
    for member in made:
        if member.order not in allowed:
            raise ValueError(
                f"{who}: members must be {' or '.join(allowed)}, but {member.name} is {member.order}"
            )
        if member.n != n:
            raise ValueError(f"{who}: every member must have n = {n} nodes, but {member.name} has {member.n}")
    matrices: tuple[csr_array, ...] = tuple(W for member in made for W in member.matrices)
    name = f"{who}({', '.join(member.name for member in made)})"
    # Each member passed its own check: its signs and sums are meant.
    return check(
        Topology(name, matrices, "fixed" if len(matrices) == 1 else order),
        allow_negative=True,
        allow_column=True,
    )
