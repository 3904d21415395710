"""What the literature reads off mixing matrices beside their gap, exact and in float64.

Dense decompositions and powers take at most `DENSE` nodes. Circulant matrices (ring, exponential, complete
graphs) are diagonalised by the Fourier transform, at any size. J is 11ᵀ/n.
"""

import math
import operator
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_array, eye_array
from scipy.sparse.linalg import ArpackNoConvergence, eigs, splu

from dlax.topology.matrix import components, is_symmetric, sums_to_one
from dlax.topology.spectra.extremes import extremes, start_vector
from dlax.topology.spectra.gap import DENSE, circulant_eigenvalues, largest_modulus

if TYPE_CHECKING:
    from dlax.topology.topology import Topology

_DOUBLINGS = 60  # a chain that takes 2⁶⁰ rounds to mix has no positive gap in float64


def eigenvalues(topology: "Topology", t: int = 0) -> np.ndarray:
    """Compute all eigenvalues of one matrix W.

    Args:
      topology: any; of a drawn one, the eigenvalues of E[W].
      t: which matrix, as in `Topology.dense`.

    Returns:
      `[n]` float64 in descending order if W is symmetric; else complex128 in descending order of modulus.

    Raises:
      ValueError: if there are more than 2,000 nodes and W is not circulant.
    """
    W = topology.matrices[t % topology.period]
    symmetric = is_symmetric(W)
    found = circulant_eigenvalues([W])
    if found is not None:
        values = found[0].real if symmetric else found[0]
    else:
        dense = _dense("eigenvalues", topology, W)
        values = np.linalg.eigvalsh(dense) if symmetric else np.linalg.eigvals(dense)
    if symmetric:
        return np.sort(values)[::-1]
    values = values.astype(np.complex128)
    return values[np.argsort(-np.abs(values), kind="stable")]


def second_eigenvalue(topology: "Topology") -> float | complex:
    """Compute the eigenvalue of W of second largest modulus: the asymptotic rate at which Wᵗ x settles.

    It equals ρ or −ρ for symmetric W. Where W is not normal its modulus is less than ρ = ‖W − J‖₂, which
    bounds every single round.

    Args:
      topology: fixed.

    Returns:
      A float if W is symmetric, else a complex number (the one above the real axis, of a conjugate pair);
      0 for one node.

    Raises:
      ValueError: if the topology is not fixed.
    """
    W = _fixed("second_eigenvalue", topology)
    n = topology.n
    if n == 1:
        return 0.0
    symmetric = is_symmetric(W)
    found = circulant_eigenvalues([W])
    if found is not None:
        values = found[0, 1:]
    elif n <= DENSE:
        # W − J has the eigenvalues of W except one eigenvalue 1, whichever of 1 and 1ᵀ W fixes (Brauer).
        values = np.linalg.eigvals(W.toarray() - 1.0 / n)
        if symmetric:
            values = np.linalg.eigvalsh(W.toarray() - 1.0 / n)
    elif symmetric:
        values = np.array(extremes(lambda x: W @ x, n, "modulus", fallback=lambda: W, centred=True))
    else:
        values = largest_modulus(lambda x: W @ x - x.mean(), n)
    value = values[np.argmax(np.abs(values))]
    return float(value.real) if symmetric else complex(value.real, abs(value.imag))


def perron_vectors(topology: "Topology") -> tuple[np.ndarray, np.ndarray]:
    """Compute the left and the right eigenvector of W to the eigenvalue 1, each summing to one:

        πᵀ W = πᵀ,   W v = v,   Wᵗ → v πᵀ / (πᵀ v)

    Rows that sum to one: v = 1/n, and π is the stationary distribution, which weighs what gossip agrees on,
    Σ πᵢ xᵢ. Columns that sum to one: π = 1/n, and v says how a sum is spread in the end.

    Args:
      topology: fixed, connected, without negative weights.

    Returns:
      (π, v), `[n]` each, positive.

    Raises:
      ValueError: if the topology is not fixed, not strongly connected or has negative weights.
    """
    W = _fixed("perron_vectors", topology)
    _needs("perron_vectors", topology, "connected", "nonnegative")
    even = np.full(topology.n, 1.0 / topology.n)
    left = even if sums_to_one(W, 0) else _fixed_point(W.T.tocsr())
    right = even if sums_to_one(W, 1) else _fixed_point(W)
    return left, right


def mixing_time(topology: "Topology", epsilon: float = 0.25) -> int:
    """Compute after how many steps a walk by W has forgotten where it began, up to ε in total variation:

        min {t : maxᵢ ½ Σⱼ |(Wᵗ)ᵢⱼ − πⱼ| ≤ ε}

    The distance never increases with t, so that doubling and bisection on dense powers find t exactly.

    Args:
      topology: fixed, row stochastic, without negative weights, connected and aperiodic; at most 2,000 nodes.
      epsilon: ε in (0, 1).

    Returns:
      t, from 0.

    Raises:
      ValueError: if the topology is none of that, or if it does not mix in 2⁶⁰ steps.

    References:
      Levin, Peres, Wilmer. Markov chains and mixing times. American Mathematical Society 2009.
    """
    if not 0.0 < epsilon < 1.0:
        raise ValueError(f"mixing_time: epsilon must be in (0, 1), got {epsilon}")
    W = _fixed("mixing_time", topology)
    _needs("mixing_time", topology, "connected", "nonnegative", "row stochastic")
    period = _period(W)
    if period > 1:
        raise ValueError(f"mixing_time: a walk on {topology.name} has period {period} and never mixes")
    power = _dense("mixing_time", topology, W)
    stationary = perron_vectors(topology)[0]

    def is_far(power: np.ndarray) -> bool:
        return bool(0.5 * np.abs(power - stationary).sum(axis=1).max() > epsilon)

    def product(A: np.ndarray, B: np.ndarray) -> np.ndarray:
        C = A @ B
        return C / C.sum(axis=1, keepdims=True)  # else rounding doubles with every squaring

    reached = np.eye(topology.n)
    if not is_far(reached):
        return 0
    powers = [power]  # W^(2^k), all far but the last
    while is_far(powers[-1]):
        if len(powers) > _DOUBLINGS:
            raise ValueError(f"mixing_time: {topology.name} does not mix in 2^{_DOUBLINGS} steps")
        powers.append(product(powers[-1], powers[-1]))
    t = 0  # the largest t that is still far, digit by digit
    for digit in range(len(powers) - 2, -1, -1):
        candidate = product(reached, powers[digit])
        if is_far(candidate):
            t, reached = t + 2**digit, candidate
    return t + 1


def effective_neighbours(topology: "Topology", decay: float = 0.99) -> float:
    """Compute how many nodes a node averages with, in effect, when what it has averaged fades at rate γ.

    Every node adds noise of variance 1 to what it holds, and the network averages: x ← W (√γ x + ξ). n_W(γ) is
    the variance that x would have without neighbours, over the mean of those that it has:

        n_W(γ) = (1/(1 − γ)) / ((1/n) Σₖ γᵏ ‖Wᵏ⁺¹‖²_F)
               = (1/(1 − γ)) / ((1/n) Σᵢ λᵢ²/(1 − γ λᵢ²))   for symmetric W

    1 for W = I, and n for W = J. With D-SGD, γ close to 1 stands for small steps. Of a cyclic sequence the
    variance is averaged over the rounds of a period as well.

    Args:
      topology: fixed or cyclic, doubly stochastic; at most 2,000 nodes unless circulant.
      decay: γ, in [0, 1).

    Returns:
      n_W(γ).

    Raises:
      ValueError: if `decay` is outside [0, 1), or if the topology is random, not doubly stochastic or too
        large.

    References:
      Vogels, Hendrikx, Jaggi. Beyond spectral gap: the role of the topology in decentralized learning.
      NeurIPS 2022.
    """
    if not 0.0 <= decay < 1.0:
        raise ValueError(f"effective_neighbours: decay must be in [0, 1), got {decay}")
    _in_turn("effective_neighbours", topology)
    _needs("effective_neighbours", topology, "doubly stochastic")
    spectra = circulant_eigenvalues(topology.matrices)
    if spectra is None and topology.is_fixed and topology.is_symmetric:
        spectra = eigenvalues(topology)[None]
    if spectra is not None:  # n blocks of size 1, whose phases do not matter
        blocks = np.abs(spectra)[:, :, None, None]
    else:
        blocks = np.stack([_dense("effective_neighbours", topology, W) for W in topology.matrices])[:, None]
    return topology.n / ((1.0 - decay) * _variance(blocks, decay))


def heterogeneity(gradients: Any) -> float:
    """Compute how much the nodes' gradients differ:

        ζ² = (1/n) Σᵢ ‖gᵢ − ḡ‖²

    Args:
      gradients: g `[n, d]`, of all nodes at the same parameters.

    Returns:
      ζ².

    Raises:
      ValueError: if the gradients are not finite and `[n, d]`.
    """
    g = _gradients("heterogeneity", gradients, None)
    return float(((g - g.mean(axis=0)) ** 2).sum(axis=1).mean())


def neighbourhood_heterogeneity(topology: "Topology", gradients: Any) -> float:
    """Compute how far what the nodes average of their neighbours' gradients is from the mean of all:

        τ² = (1/n) Σᵢ ‖Σⱼ W_ij gⱼ − ḡ‖²

    A graph can undo heterogeneity: where neighbours make up for each other, τ² is 0 however large the plain
    `heterogeneity` ζ². τ² ≤ ρ² ζ² for doubly stochastic W, and τ² = ζ² for W = I. Of several matrices, the
    mean over them.

    Args:
      topology: any but a drawn one, whose E[W] does not say it.
      gradients: g `[n, d]`, of all nodes at the same parameters.

    Returns:
      τ².

    Raises:
      ValueError: if the topology is drawn, or if the gradients are not finite and `[n, d]`.

    References:
      Le Bars, Bellet, Tommasi, Lavoie, Kermarrec. Refined convergence and topology learning for decentralized
      SGD with heterogeneous data. AISTATS 2023.
    """
    g = _gradients("neighbourhood_heterogeneity", gradients, topology.n)
    if topology.order == "drawn":
        raise ValueError(
            f"neighbourhood_heterogeneity: the matrices of {topology.name} are drawn in the run, and their "
            "mean does not say what a round leaves"
        )
    left = [((W @ g - g.mean(axis=0)) ** 2).sum(axis=1).mean() for W in topology.matrices]
    return float(np.mean(left))


def is_jointly_connected(topology: "Topology", window: int) -> bool:
    """Tell whether the union of any `window` consecutive rounds is strongly connected.

    Args:
      topology: fixed or cyclic.
      window: B, at least 1.

    Returns:
      Whether it is so wherever the window begins.

    Raises:
      ValueError: if `window` is not a positive integer, or if the rounds are random.
    """
    _in_turn("is_jointly_connected", topology)
    try:
        length = operator.index(window)
    except TypeError:
        length = 0
    if length < 1:
        raise ValueError(f"is_jointly_connected: window must be an integer of at least 1, got {window!r}")
    L = topology.period
    length = min(length, L)
    supports = [abs(W) for W in topology.matrices]
    for start in range(L if length < L else 1):
        union = sum((supports[(start + t) % L] for t in range(1, length)), supports[start])
        if components(union)[0] > 1:
            return False
    return True


def connectivity_window(topology: "Topology") -> int | None:
    """Find the least B such that the union of any B consecutive rounds is strongly connected.

    What analyses of directed and time-varying gossip call B-strong connectivity.

    Args:
      topology: fixed or cyclic.

    Returns:
      B, at most the period L; None if not even the union of all rounds is connected.

    Raises:
      ValueError: if the rounds are random: then no window is certain.

    References:
      Nedić, Olshevsky. Distributed optimization over time-varying directed graphs. IEEE Trans. Automatic
      Control 2015.
    """
    _in_turn("connectivity_window", topology)
    if not is_jointly_connected(topology, topology.period):
        return None
    low, high = 1, topology.period
    while low < high:  # a longer window has a larger union
        middle = (low + high) // 2
        low, high = (low, middle) if is_jointly_connected(topology, middle) else (middle + 1, high)
    return low


def _variance(matrices: np.ndarray, decay: float) -> float:
    """The trace of the stationary covariance of x ← W (√γ x + ξ), averaged over a period.

    W is block diagonal, one row of `matrices` `[L, blocks, size, size]` a round.
    """

    def onward(W: np.ndarray, S: np.ndarray) -> np.ndarray:
        return W @ (decay * S + np.eye(S.shape[-1])) @ W.swapaxes(-1, -2)

    S = np.zeros_like(matrices[0])
    A = S + np.eye(S.shape[-1])
    for W in matrices:  # once round the period, from nothing
        S, A = onward(W, S), math.sqrt(decay) * W @ A
    # The sum of Aᵏ S (Aᵏ)ᵀ over all k, twice as many terms in each pass.
    while np.abs(more := A @ S @ A.swapaxes(-1, -2)).max() > 1e-17 * np.abs(S).max():
        S, A = S + more, A @ A
    total = 0.0
    for W in matrices:
        S = onward(W, S)
        total += float(np.trace(S, axis1=-2, axis2=-1).sum())
    return total / len(matrices)


def _fixed_point(W: csr_array) -> np.ndarray:
    """The positive v with W v = v and Σ v = 1, of a column-stochastic irreducible W."""
    n = W.shape[0]
    if n <= DENSE:
        v = np.linalg.solve(np.eye(n) - W.toarray() + 1.0 / n, np.full(n, 1.0 / n))
    else:
        try:
            v = eigs(W, k=1, which="LR", v0=np.abs(start_vector(n)), maxiter=200, tol=1e-14)[1][:, 0].real
        except ArpackNoConvergence:  # slow to mix: small separators, little fill
            A = (eye_array(n) - W).tocsc()
            v = np.concatenate([[1.0], splu(A[1:, 1:]).solve(-A[1:, [0]].toarray().ravel())])
    return v / v.sum()


def _period(W: csr_array) -> int:
    """The greatest common divisor of the lengths of all cycles of a strongly connected support."""
    level = {0: 0}
    queue, period = [0], 0
    while queue:
        node = queue.pop()
        for other in W.indices[W.indptr[node] : W.indptr[node + 1]].tolist():
            if other not in level:
                level[other] = level[node] + 1
                queue.append(other)
            period = math.gcd(period, level[node] + 1 - level[other])
    return period


def _gradients(who: str, gradients: Any, n: int | None) -> np.ndarray:
    g = np.asarray(gradients, dtype=np.float64)
    if g.ndim != 2 or len(g) != (n or len(g)) or len(g) == 0:
        given = "" if n is None else f" with n = {n}"
        raise ValueError(f"{who}: gradients must be [n, d]{given}, got shape {g.shape}")
    if not np.isfinite(g).all():
        raise ValueError(f"{who}: gradients must be finite")
    return g


def _dense(who: str, topology: "Topology", W: csr_array) -> np.ndarray:
    if topology.n > DENSE:
        raise ValueError(
            f"{who}: takes at most {DENSE:,} nodes where the matrices are not circulant, and {topology.name} has "
            f"{topology.n:,}"
        )
    return W.toarray()


def _fixed(who: str, topology: "Topology") -> csr_array:
    if not topology.is_fixed:
        raise ValueError(f"{who}: needs a fixed topology, and {topology.name} is {topology.order}")
    return topology.matrices[0]


def _in_turn(who: str, topology: "Topology") -> None:
    if topology.order not in ("fixed", "cyclic"):
        raise ValueError(f"{who}: needs a fixed or cyclic topology, and {topology.name} is {topology.order}")


def _needs(who: str, topology: "Topology", *words: str) -> None:
    for word in words:
        if word not in topology.properties:
            raise ValueError(f"{who}: needs a topology that is {word}, and {topology.name} is not")
