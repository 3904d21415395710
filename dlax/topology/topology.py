"""The record of a graph with mixing weights, and the one door through which every matrix enters it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_array

from dlax.topology.matrix import (
    TOLERANCE,
    as_list,
    components,
    is_symmetric,
    off_diagonal,
    same_support,
    sums_to_one,
)
from dlax.topology.spectra import gap
from dlax.topology.spectra.gap import Order

if TYPE_CHECKING:
    import networkx as nx

ORDERS = ("fixed", "cyclic", "random", "drawn")


@dataclass(frozen=True, eq=False)
class Draw:
    """A matrix that is drawn afresh in every round, inside the compiled run.

    Attributes:
      rule: `(t, key, arrays) -> (index [n, k], weight [n, k], own [n])`, whom each node hears in round t, with
        which weight, and its self weight; or `-> W [n, n]` where most nodes hear most others. A function of a
        module, traced by jax; unused slots have weight 0 and index i. What it needs comes in `arrays`, so
        that two topologies of one rule share a compilation.
      arrays: name -> NumPy array.
      words: what holds of every draw: "symmetric", "row stochastic", "column stochastic", "nonnegative",
        "undirected".
      contraction: computes ‖E[Wᵀ(I − J)W]‖₂ in float64, with J = 11ᵀ/n; its root is the ρ of a round.
      least_eigenvalue: the infimum over draws, or None where it is not known.
    """

    rule: Callable[..., Any]
    arrays: Mapping[str, np.ndarray]
    words: frozenset[str]
    contraction: Callable[[], float]
    least_eigenvalue: float | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Topology:
    """Who hears whom, with which weight, in which round.

    Build one by a named factory, `from_networkx`, `from_file` or `from_matrix`: these bring matrices into the
    form below and check them. Facts about the graph are computed when first asked for, and kept.

    Attributes:
      name: what it is called in tables and errors.
      matrices: L float64 matrices `[n, n]`. `W[i, j]` is the weight that node i gives to what node j sent;
        the diagonal holds the self weights. Sorted indices, no explicit zeros.
      order: which matrix round t uses: "fixed" the only one; "cyclic" matrix t mod L; "random" an independent
        uniform draw of the L in every round; "drawn" what `draw` makes of the round's key.
      draw: how a matrix is drawn when the order is "drawn"; `matrices` then holds the expected one, E[W].
      positions: `[n, 2]`, where the nodes are, of graphs that lie in the plane; else None.

    Raises:
      ValueError: if there is no matrix, if the order is unknown, if the sizes differ, if several matrices
        are "fixed" or "drawn", or if "drawn" and `draw` do not come together.
    """

    name: str
    matrices: tuple[csr_array, ...]
    order: Order = "fixed"
    draw: Draw | None = None
    positions: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            known = ", ".join(map(repr, ORDERS))
            raise ValueError(f"{self.name}: order must be one of {known}, got {self.order!r}")
        if (self.order == "drawn") != (self.draw is not None):
            raise ValueError(f"{self.name}: order 'drawn' and a draw belong together")
        if not self.matrices:
            raise ValueError(f"{self.name}: a topology needs at least one matrix")
        if self.order in ("fixed", "drawn") and len(self.matrices) > 1:
            raise ValueError(
                f"{self.name}: order {self.order!r} takes one matrix, got {self.period}; use 'cyclic' or "
                "'random'"
            )
        sizes = sorted({W.shape[0] for W in self.matrices})
        if len(sizes) > 1:
            raise ValueError(f"{self.name}: all matrices must have the same number of nodes, got {sizes}")

    def __repr__(self) -> str:
        order = self.order if self.period == 1 else f"{self.order} L={self.period}"
        implied = {"row stochastic", "column stochastic"} if self.is_doubly_stochastic else set()
        words = sorted(self.properties - {"fixed"} - implied)
        return f"Topology({self.name}, n={self.n}, m={len(self.edges)}, {order}: {', '.join(words)})"

    @property
    def n(self) -> int:
        """Number of nodes."""
        return int(self.matrices[0].shape[0])

    @property
    def period(self) -> int:
        """L, the number of matrices."""
        return len(self.matrices)

    @property
    def is_fixed(self) -> bool:
        """Every round uses the same matrix."""
        return self.order == "fixed"

    @cached_property
    def is_symmetric(self) -> bool:
        """Every matrix equals its transpose, to within 1e-9 an entry."""
        return self._every("symmetric", is_symmetric)

    @cached_property
    def is_row_stochastic(self) -> bool:
        """The rows of every matrix sum to one, to within 1e-9: consensus is a fixed point."""
        return self._every("row stochastic", lambda W: sums_to_one(W, 1))

    @cached_property
    def is_column_stochastic(self) -> bool:
        """The columns of every matrix sum to one, to within 1e-9: the mean over nodes is kept."""
        return self._every("column stochastic", lambda W: sums_to_one(W, 0))

    @property
    def is_doubly_stochastic(self) -> bool:
        """Rows and columns sum to one."""
        return self.is_row_stochastic and self.is_column_stochastic

    @cached_property
    def is_nonnegative(self) -> bool:
        """No weight is negative; some rules with a best constant have negative self weights at hubs."""
        return self._every("nonnegative", lambda W: W.data.min(initial=0.0) >= 0.0)

    @cached_property
    def is_directed(self) -> bool:
        """In some round a node hears another that does not hear it."""
        return not self._every("undirected", lambda W: same_support(W, W.T))

    @cached_property
    def is_connected(self) -> bool:
        """The union of all rounds is strongly connected (for L > 1: jointly connected over the window)."""
        return components(self._union)[0] == 1

    @cached_property
    def is_complete(self) -> bool:
        """One round averages exactly: fixed and W = 11ᵀ/n to rounding."""
        W = self.matrices[0]
        full = self.is_fixed and W.nnz == self.n**2
        return bool(full and np.abs(W.data - 1.0 / self.n).max() <= 1e-14)

    @cached_property
    def is_tree(self) -> bool:
        """Fixed, undirected and connected, with n − 1 edges: one path between any two nodes."""
        one_path = self.is_fixed and not self.is_directed and self.is_connected
        return one_path and len(self.edges) == 2 * (self.n - 1)

    @cached_property
    def properties(self) -> frozenset[str]:
        """The words that hold of this topology, for algorithms that refuse a graph by name.

        Out of "symmetric", "row stochastic", "column stochastic", "doubly stochastic", "nonnegative",
        "undirected", "connected", "tree", "complete" and "fixed".
        """
        holds = {
            "symmetric": self.is_symmetric,
            "row stochastic": self.is_row_stochastic,
            "column stochastic": self.is_column_stochastic,
            "doubly stochastic": self.is_doubly_stochastic,
            "nonnegative": self.is_nonnegative,
            "undirected": not self.is_directed,
            "connected": self.is_connected,
            "tree": self.is_tree,
            "complete": self.is_complete,
            "fixed": self.is_fixed,
        }
        return frozenset(word for word, true in holds.items() if true)

    @cached_property
    def degrees(self) -> np.ndarray:
        """`[n]` int: how many other nodes each node hears, over the union of all rounds."""
        return np.diff(self._union.indptr).astype(np.int64)

    @cached_property
    def edges(self) -> np.ndarray:
        """`[m, 2]` int: (sender j, receiver i) of every directed edge of the union, without loops.

        An undirected edge appears in both directions. Ordered by receiver, then by sender.
        """
        receiver = np.repeat(np.arange(self.n), self.degrees)
        return np.stack([self._union.indices.astype(np.int64), receiver], axis=1)

    @cached_property
    def spectral_gap(self) -> float:
        """1 − ρ, per round; `dlax.topology.spectral_gap` says what ρ is if W is not symmetric or L > 1."""
        if self.draw is not None:
            return float(1.0 - np.sqrt(self.draw.contraction()))
        return gap.spectral_gap(list(self.matrices), order=self.order)

    @cached_property
    def least_eigenvalue(self) -> float:
        """The least eigenvalue over all matrices; raises `ValueError` unless all are symmetric."""
        if not self.is_symmetric:
            raise ValueError(f"{self.name}: the least eigenvalue needs symmetric matrices, and these are not")
        if self.draw is None:
            return min(gap.least_eigenvalue(W) for W in self.matrices)
        if self.draw.least_eigenvalue is None:
            raise ValueError(f"{self.name}: the least eigenvalue over all draws is not known")
        return self.draw.least_eigenvalue

    @cached_property
    def second_largest_eigenvalue(self) -> float:
        """λ₂ of the one matrix, with sign; raises `ValueError` unless it is fixed and symmetric."""
        if not (self.is_fixed and self.is_symmetric):
            raise ValueError(f"{self.name}: the second largest eigenvalue needs one symmetric matrix")
        return gap.second_largest_eigenvalue(self.matrices[0])

    @cached_property
    def worst_gap(self) -> float:
        """The least 1 − ρ of any single round; raises `ValueError` if that is not known, or 0."""
        if self.draw is not None:
            raise ValueError(f"{self.name}: the worst gap over all draws is not known")
        worst = min(gap.spectral_gap(W) for W in self.matrices)
        if worst <= TOLERANCE:
            raise ValueError(f"{self.name}: the worst gap is 0: some round on its own does not contract")
        return worst

    def dense(self, t: int = 0) -> np.ndarray:
        """Return matrix number t mod L, dense.

        That is the matrix of round t when the order is fixed or cyclic. When it is random, t merely counts
        through the L matrices that rounds draw from; when it is drawn, this is E[W], and
        `dlax.mixing.matrix` gives the matrix of a round's key.

        Args:
          t: from 0.

        Returns:
          `[n, n]` float64, a new array.
        """
        return self.matrices[t % self.period].toarray()

    def graph(self) -> "nx.Graph | nx.DiGraph":
        """Return the union of all rounds for `networkx`: nodes 0 to n − 1, edges from sender to receiver.

        Returns:
          A `DiGraph` if the topology is directed, else a `Graph`; without loops and weights.
        """
        import networkx as nx

        graph = nx.DiGraph() if self.is_directed else nx.Graph()
        graph.add_nodes_from(range(self.n))
        graph.add_edges_from(self.edges.tolist())
        return graph

    def _every(self, word: str, holds: Callable[[csr_array], Any]) -> bool:
        """Whether something holds of every matrix, or is promised of every draw."""
        if self.draw is not None:
            return word in self.draw.words
        return all(holds(W) for W in self.matrices)

    @cached_property
    def _union(self) -> csr_array:
        """The union of supports without the diagonal, `[n, n]`; values mean nothing."""
        return off_diagonal(sum((abs(W) for W in self.matrices[1:]), abs(self.matrices[0])))


Base = Callable[..., Topology]  # n -> topology: a graph's factory, its other options filled in


def dense(topology: Topology, t: int = 0) -> np.ndarray:
    """Return matrix number t mod L of a topology as a dense float64 array `[n, n]`; see `Topology.dense`."""
    return topology.dense(t)


def from_matrix(
    W: Any,
    *,
    name: str = "matrix",
    order: Order | None = None,
    allow_negative: bool = False,
    allow_column: bool = False,
    allow_disconnected: bool = False,
) -> Topology:
    """Make a topology of any mixing matrix, or of a sequence of them. Every other factory ends here.

    Args:
      W: `[n, n]` dense or sparse; or a list of L of them, or an array `[L, n, n]`. `W[i, j]` is the weight
        that node i gives to what node j sent.
      name: what to call it.
      order: "cyclic" or "random" for a sequence (None: cyclic). One matrix is always "fixed".
      allow_negative: accept negative weights, as optimised matrices have.
      allow_column: accept rows that do not sum to one if the columns do (push-sum).
      allow_disconnected: accept a union of rounds that is not strongly connected.

    Returns:
      The topology.

    Raises:
      ValueError: see `check`; also if the matrices are not square or differ in size.
    """
    if order not in (None, "fixed", "cyclic", "random"):
        raise ValueError(f"{name}: order must be 'fixed', 'cyclic' or 'random', got {order!r}")
    matrices = tuple(as_list(W))
    topology = Topology(name, matrices, "fixed" if len(matrices) == 1 else (order or "cyclic"))
    return check(
        topology,
        allow_negative=allow_negative,
        allow_column=allow_column,
        allow_disconnected=allow_disconnected,
    )


def check(
    topology: Topology,
    *,
    allow_negative: bool = False,
    allow_column: bool = False,
    allow_disconnected: bool = False,
) -> Topology:
    """Refuse matrices that cannot average.

    Args:
      topology: what to check.
      allow_negative: accept negative weights.
      allow_column: accept matrices whose columns, but not rows, sum to one.
      allow_disconnected: accept a union of rounds that is not strongly connected.

    Returns:
      The same topology.

    Raises:
      ValueError: if a weight is not finite or is negative, if the rows (or, where allowed, the columns) of a
        matrix do not sum to one to within 1e-9, or if the graph is not connected.
    """
    by_column = allow_column and not topology.is_row_stochastic
    for number, W in enumerate(topology.matrices):
        who = topology.name if topology.period == 1 else f"{topology.name}: matrix {number}"
        if not np.isfinite(W.data).all():
            i, j = _entry(W, int(np.argmin(np.isfinite(W.data))))
            raise ValueError(f"{who}: weights must be finite, got W[{i}, {j}] = {W[i, j]}")
        if not allow_negative and W.data.min(initial=0.0) < 0:
            i, j = _entry(W, int(np.argmin(W.data)))
            raise ValueError(
                f"{who}: weights must not be negative, got W[{i}, {j}] = {W[i, j]:.6g}; if that is "
                "meant, pass allow_negative=True"
            )
        sums = W.sum(axis=0 if by_column else 1)
        worst = int(np.argmax(np.abs(sums - 1.0)))
        if abs(sums[worst] - 1.0) > TOLERANCE:
            line = "column" if by_column else "row"
            advice = f"divide every {line} by its sum"
            if not by_column and sums_to_one(W, 0):
                advice += ", or pass allow_column=True: its columns do sum to 1"
            raise ValueError(
                f"{who}: every {line} must sum to 1 (to within {TOLERANCE:g}), but {line} {worst} sums to "
                f"{sums[worst]:.10g}; {advice}"
            )
    if not allow_disconnected and not topology.is_connected:
        count, labels = components(topology._union)
        sizes = np.sort(np.bincount(labels))
        strongly = "strongly connected " if topology.is_directed else ""
        shown = ", ".join(map(str, sizes[:3])) + (", ..." if count > 3 else "")
        what = "the graph" if topology.period == 1 else f"the union of its {topology.period} rounds"
        raise ValueError(
            f"{topology.name}: {what} is not connected: {count} {strongly}components, of sizes {shown} "
            f"(smallest first) in {topology.n} nodes; join them, or pass allow_disconnected=True"
        )
    return topology


def _entry(W: csr_array, place: int) -> tuple[int, int]:
    """(row, column) of the stored entry at `place`."""
    return int(np.searchsorted(W.indptr, place, side="right")) - 1, int(W.indices[place])
