"""Doubly stochastic weights for directed graphs."""

import numpy as np
from scipy.sparse import csr_array, diags_array, eye_array

from dlax.topology.matrix import as_csr, components, same_support
from dlax.topology.weights.local import Weights


def sinkhorn(*, tolerance: float = 1e-12, max_iterations: int = 100_000) -> Weights:
    """Divide the rows and the columns of A + I by their sums, in turn, until both sum to one.

        W = diag(r) (A + I) diag(c)

    Doubly stochastic on directed graphs too; symmetric on undirected ones. Such r and c exist if every entry
    of A + I lies on a permutation within its support (total support). That is so on every strongly connected
    graph: an edge closes to a cycle, and the nodes off the cycle map to themselves, the diagonal being
    positive. W is then unique. It takes the whole graph in one place, and many iterations where the graph is
    long and thin: 6,000 for a path of 100 nodes, 2,000 for a Barabási-Albert graph of 100,000.

    Args:
      tolerance: largest error of a column sum, from 1e-15 to 1e-9, which is what a topology accepts. Rows sum
        to one up to rounding.
      max_iterations: how often rows and columns are scaled before giving up, at least 1.

    Returns:
      The rule; it raises `ValueError` if an edge lies on no cycle, or if the sums do not settle.

    Raises:
      ValueError: if `tolerance` or `max_iterations` is out of range.

    References:
      Sinkhorn, Knopp. Concerning nonnegative matrices and doubly stochastic matrices. Pacific Journal of
      Mathematics 1967.
    """
    if not 1e-15 <= tolerance <= 1e-9:
        raise ValueError(f"sinkhorn: tolerance must be in [1e-15, 1e-9], got {tolerance}")
    if max_iterations < 1:
        raise ValueError(f"sinkhorn: max_iterations must be at least 1, got {max_iterations}")

    def rule(adjacency: csr_array) -> csr_array:
        label = components(adjacency)[1]
        receiver, sender = adjacency.nonzero()
        stray = np.flatnonzero(label[receiver] != label[sender])
        if len(stray):
            raise ValueError(
                f"sinkhorn weights need a strongly connected graph, and the edge from {sender[stray[0]]} to "
                f"{receiver[stray[0]]} lies on no cycle: no doubly stochastic matrix gives it any weight"
            )
        support = as_csr(adjacency + eye_array(adjacency.shape[0]))
        support.data[:] = 1.0
        transposed = support.T.tocsr()
        c = np.ones(adjacency.shape[0])
        for _ in range(max_iterations):
            r = 1.0 / (support @ c)
            columns = transposed @ r
            error = np.abs(c * columns - 1.0).max()
            if error <= tolerance:
                break
            c = 1.0 / columns
        else:
            raise ValueError(
                f"sinkhorn: after max_iterations = {max_iterations} a column sum is still off by {error:.2g}, "
                f"more than tolerance = {tolerance:g}; raise either"
            )
        if same_support(adjacency, adjacency.T):
            r = c = np.sqrt(r * c)  # equal in the limit, and now in the last digit
        W = diags_array(r) @ support @ diags_array(c)
        return (W + diags_array(1.0 - W.sum(axis=1))).tocsr()

    return rule
