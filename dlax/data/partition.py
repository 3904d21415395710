"""Who holds which training rows: partitions of N samples over n nodes.

Each factory checks its options and returns a `Partition`, a callable that is given the labels, the natural
groups, n and a random generator, and returns n disjoint index arrays that cover every sample.
"""

import zlib
from collections.abc import Callable, Sequence

import numpy as np

# (labels [N], groups [N] or None, n, rng) -> n arrays of row numbers, disjoint, together 0..N - 1
Partition = Callable[[np.ndarray, np.ndarray | None, int, np.random.Generator], list[np.ndarray]]

_LARGEST_ALPHA = 1e100  # n · alpha must stay far below the largest float


def split(
    labels: np.ndarray, groups: np.ndarray | None, n: int, partition: Partition, seed: int
) -> list[np.ndarray]:
    """Share the training rows among n nodes, reproducibly.

    The generator is a stream of its own, named "partition": changing what else is random in a run does not
    change who holds what.

    Args:
      labels: `[N]` integers.
      groups: `[N]` integers, the natural group of each row, or None.
      n: number of nodes, at least 1.
      partition: how to share, from a factory of this module.
      seed: not negative; the same seed gives the same shares.

    Returns:
      n sorted int64 arrays of row numbers: disjoint, together every row.

    Raises:
      ValueError: if an argument is out of range, or the partition cannot be made or is not one.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.dtype.kind not in "biu":
        raise ValueError(f"labels must be [N] integers; got shape {labels.shape}, dtype {labels.dtype}")
    if groups is not None:
        groups = np.asarray(groups)
        if groups.shape != labels.shape:
            raise ValueError(f"groups must have the shape of labels, {labels.shape}; got {groups.shape}")
    _whole("n", n, 1)
    _whole("seed", seed, 0)
    rng = np.random.default_rng([seed, zlib.crc32(b"partition")])
    parts = [np.sort(np.asarray(part)) for part in partition(labels, groups, n, rng)]
    if len(parts) != n:
        raise ValueError(f"the partition gave {len(parts)} parts for n={n} nodes")
    check_partition(parts, len(labels))
    return [part.astype(np.int64) for part in parts]


def check_partition(parts: Sequence[np.ndarray], N: int) -> None:
    """Check that every sample has exactly one owner.

    Args:
      parts: index arrays, one a node; a node may have none.
      N: number of samples.

    Raises:
      ValueError: if an index is not an integer in 0..N - 1, or a sample has no owner or several.
    """
    arrays = [np.asarray(part) for part in parts]
    for node, part in enumerate(arrays):
        if part.ndim != 1 or (part.size and part.dtype.kind not in "iu"):
            raise ValueError(f"node {node} must have [size] integers; got {part.shape} of {part.dtype}")
        if part.size and not 0 <= part.min() <= part.max() < N:
            raise ValueError(f"node {node} has sample {part.max() if part.max() >= N else part.min()}, N={N}")
    rows = np.concatenate([np.zeros(0, np.int64), *(part.astype(np.int64) for part in arrays)])
    owners = np.bincount(rows, minlength=N)
    if (owners != 1).any():
        sample = int(np.argmax(owners != 1))
        raise ValueError(
            f"sample {sample} has {owners[sample]} owners instead of 1; {int((owners == 0).sum())} of N={N} "
            f"samples have no owner and {int((owners > 1).sum())} several"
        )


def partition_table(parts: Sequence[np.ndarray], labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Count each node's samples of each class: the table behind the stacked bars.

    Args:
      parts: n index arrays.
      labels: `[N]` integers in 0..num_classes - 1.
      num_classes: C.

    Returns:
      `[n, C]` int64 counts; row i sums to the number of samples of node i.

    Raises:
      ValueError: if a label is outside 0..C - 1.
    """
    labels = np.asarray(labels)
    if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
        raise ValueError(f"labels must be in 0..{num_classes - 1}; got {labels.min()}..{labels.max()}")
    return np.array(
        [np.bincount(labels[part], minlength=num_classes) for part in parts], dtype=np.int64
    ).reshape(len(parts), num_classes)


def iid() -> Partition:
    """Equal shares at random: sizes differ by at most one, every node sees the same distribution.

    Returns:
      The partition.
    """

    def partition(
        labels: np.ndarray, groups: np.ndarray | None, n: int, rng: np.random.Generator
    ) -> list[np.ndarray]:
        _enough(labels, n)
        return np.array_split(rng.permutation(len(labels)), n)

    return partition


def shards(*, shards_per_node: int = 2) -> Partition:
    """Sort by label, cut into n · s equal shards, give each node s of them at random.

    A shard that is smaller than every class touches at most two of them. Sizes differ by at most s.

    Args:
      shards_per_node: s ≥ 1; larger is closer to iid.

    Returns:
      The partition.

    Raises:
      ValueError: if s < 1, or at use if there are fewer samples than shards.

    References:
      McMahan et al. Communication-Efficient Learning of Deep Networks from Decentralized Data. AISTATS 2017.
    """
    _whole("shards_per_node", shards_per_node, 1)

    def partition(
        labels: np.ndarray, groups: np.ndarray | None, n: int, rng: np.random.Generator
    ) -> list[np.ndarray]:
        _enough(labels, n)
        total = n * shards_per_node
        if total > len(labels):
            raise ValueError(
                f"shards: n={n} nodes with shards_per_node={shards_per_node} need {total} samples, one a "
                f"shard; there are N={len(labels)}. Lower n or shards_per_node"
            )
        order = rng.permutation(len(labels))
        pieces = np.array_split(order[np.argsort(labels[order], kind="stable")], total)
        deal = rng.permutation(total).reshape(n, shards_per_node)
        return [np.concatenate([pieces[shard] for shard in hand]) for hand in deal]

    return partition


def dirichlet(*, alpha: float = 0.5, min_samples: int = 1, max_tries: int = 100) -> Partition:
    """Label skew by a Dirichlet draw of proportions.

    Class c is spread over the nodes in the proportions

        p_c ~ Dirichlet(alpha, ..., alpha)   over n nodes, independently for each class.

    Sizes differ too. The mean of Σᵢ p_ci² is (alpha + 1) / (n · alpha + 1). The whole draw is repeated until
    each node has `min_samples`, so the accepted draws are a little more even than the formula says; no cap on
    the size of a node is applied, as some codes do.

    Args:
      alpha: in (0, 1e100]: 0.1 is strong skew, 100 nearly iid, 1e-3 gives nearly every class to one node.
      min_samples: every node's least number of samples, ≥ 0. With 0 a node may have none.
      max_tries: draws before giving up, ≥ 1.

    Returns:
      The partition.

    Raises:
      ValueError: if an option is out of range, or at use if no draw gives every node `min_samples`.

    References:
      Hsu, Qi, Brown. Measuring the Effects of Non-Identical Data Distribution. 2019.
      Yurochkin et al. Bayesian Nonparametric Federated Learning of Neural Networks. ICML 2019.
    """
    _alpha(alpha)
    _whole("min_samples", min_samples, 0)
    _whole("max_tries", max_tries, 1)

    def partition(
        labels: np.ndarray, groups: np.ndarray | None, n: int, rng: np.random.Generator
    ) -> list[np.ndarray]:
        _enough(labels, n, min_samples)
        sizes = np.unique(labels, return_counts=True)[1]
        best = -1
        for _ in range(max_tries):
            ends = np.cumsum(rng.dirichlet(np.full(n, float(alpha)), size=len(sizes)), axis=1)
            ends = np.rint(ends * sizes[:, None]).astype(np.int64)
            ends[:, -1] = sizes  # whatever the rounding of the sums
            counts = np.diff(ends, axis=1, prepend=0)
            smallest = int(counts.sum(0).min())
            best = max(best, smallest)
            if smallest >= min_samples:
                pieces = [
                    np.split(rows, row[:-1]) for rows, row in zip(_classes(labels, rng), ends, strict=True)
                ]
                return [np.concatenate(node) for node in zip(*pieces, strict=True)]
        raise ValueError(
            f"dirichlet: in the best of max_tries={max_tries} draws the smallest node has {best} samples, "
            f"fewer than min_samples={min_samples} (alpha={alpha}, n={n} nodes, N={len(labels)} samples, "
            f"{len(sizes)} classes). Raise alpha or max_tries, lower n, or set min_samples=0 to allow nodes "
            "without data"
        )

    return partition


def label_skew(*, labels_per_node: int = 2) -> Partition:
    """Every node holds exactly L classes, and the holders of a class share it equally.

    Classes are dealt to one node after another, always those with the fewest holders so far (ties at random),
    so the numbers of holders differ by at most one. Only classes that occur count.

    Args:
      labels_per_node: L, from 1 to the number of classes.

    Returns:
      The partition.

    Raises:
      ValueError: if L < 1, or at use if L exceeds the number of classes, n · L is less than it (then some
        class would have no holder), or a class has fewer samples than holders.

    References:
      Li, Diao, Chen, He. Federated Learning on Non-IID Data Silos. ICDE 2022 (there: #C = k).
    """
    _whole("labels_per_node", labels_per_node, 1)

    def partition(
        labels: np.ndarray, groups: np.ndarray | None, n: int, rng: np.random.Generator
    ) -> list[np.ndarray]:
        _enough(labels, n)
        names, sizes = np.unique(labels, return_counts=True)
        classes = len(names)
        if labels_per_node > classes:
            raise ValueError(f"label_skew: labels_per_node={labels_per_node}, but {classes} classes occur")
        if n * labels_per_node < classes:
            raise ValueError(
                f"label_skew: n={n} nodes with labels_per_node={labels_per_node} hold at most "
                f"{n * labels_per_node} of the {classes} classes; set labels_per_node to at least "
                f"{-(-classes // n)}"
            )
        holders = np.zeros(classes, np.int64)
        nodes: list[list[int]] = [[] for _ in range(classes)]
        for node in range(n):
            fewest = np.lexsort((rng.random(classes), holders))[:labels_per_node]
            holders[fewest] += 1
            for c in fewest:
                nodes[c].append(node)
        short = np.flatnonzero(sizes < holders)
        if short.size:
            c = short[0]
            raise ValueError(
                f"label_skew: class {names[c]} has {sizes[c]} samples for {holders[c]} holders (n={n}, "
                f"labels_per_node={labels_per_node}); lower n or labels_per_node"
            )
        hands: list[list[np.ndarray]] = [[] for _ in range(n)]
        for rows, owners in zip(_classes(labels, rng), nodes, strict=True):
            for node, piece in zip(owners, np.array_split(rows, len(owners)), strict=True):
                hands[node].append(piece)
        return [np.concatenate(hand) for hand in hands]

    return partition


def class_windows(*, width: int = 4, whole: int = 0) -> Partition:
    """Node i holds the classes i, i + 1, ..., i + width − 1 modulo C, and the holders of a class share it equally.

    Args:
      width: classes a node, from 1 to C.
      whole: how many nodes, the last ones, hold every class instead: attackers, in the source.

    Returns:
      The partition. Only classes that occur count.

    Raises:
      ValueError: if an option is out of range, or at use if a class has no holder, or fewer samples than holders.

    References:
      Verbraeken, de Vos, Pouwelse. Bristle. 2021 (the authors' code, with width 4).
    """
    _whole("width", width, 1)
    _whole("whole", whole, 0)

    def partition(
        labels: np.ndarray, groups: np.ndarray | None, n: int, rng: np.random.Generator
    ) -> list[np.ndarray]:
        _enough(labels, n)
        if whole > n:
            raise ValueError(f"class_windows: whole={whole}, but there are n={n} nodes")
        names, sizes = np.unique(labels, return_counts=True)
        classes = len(names)
        if width > classes:
            raise ValueError(f"class_windows: width={width}, but {classes} classes occur")
        holds = (np.arange(classes)[None] - np.arange(n)[:, None]) % classes < width
        holds[n - whole :] = True
        holders = holds.sum(axis=0)
        bad = np.flatnonzero((holders == 0) | (sizes < holders))
        if bad.size:
            c = bad[0]
            raise ValueError(
                f"class_windows: class {names[c]} has {sizes[c]} samples for {holders[c]} holders (n={n}, "
                f"width={width}, whole={whole})"
            )
        hands: list[list[np.ndarray]] = [[] for _ in range(n)]
        for c, rows in enumerate(_classes(labels, rng)):
            owners = np.flatnonzero(holds[:, c])
            for node, piece in zip(owners, np.array_split(rows, len(owners)), strict=True):
                hands[node].append(piece)
        return [np.concatenate(hand) for hand in hands]

    return partition


def quantity_skew(*, alpha: float = 0.5, min_samples: int = 1) -> Partition:
    """Nodes of very different size, all with the same distribution of labels.

        size_i = min_samples + p_i · (N − n · min_samples),   p ~ Dirichlet(alpha, ..., alpha)

    rounded so that the sizes sum to N; the rows are drawn at random.

    Args:
      alpha: in (0, 1e100]: small gives a few large nodes, large gives equal ones.
      min_samples: every node's least number of samples, ≥ 0.

    Returns:
      The partition.

    Raises:
      ValueError: if an option is out of range, or at use if n · min_samples exceeds N.

    References:
      Li, Diao, Chen, He. Federated Learning on Non-IID Data Silos. ICDE 2022.
    """
    _alpha(alpha)
    _whole("min_samples", min_samples, 0)

    def partition(
        labels: np.ndarray, groups: np.ndarray | None, n: int, rng: np.random.Generator
    ) -> list[np.ndarray]:
        N = len(labels)
        _enough(labels, n, min_samples)
        free = N - n * min_samples
        shares = rng.dirichlet(np.full(n, float(alpha)))
        ends = np.rint(np.cumsum(shares) * free).astype(np.int64) + min_samples * np.arange(1, n + 1)
        return np.split(rng.permutation(N), ends[:-1])

    return partition


def by_group() -> Partition:
    """The data's own partition: each natural group (a writer, an occupation) stays whole on one node.

    Groups are shuffled and dealt in turn, so the numbers of groups differ by at most one; the sizes are the
    data's.

    Returns:
      The partition.

    Raises:
      ValueError: at use, if the data have no groups or fewer groups than nodes.
    """

    def partition(
        labels: np.ndarray, groups: np.ndarray | None, n: int, rng: np.random.Generator
    ) -> list[np.ndarray]:
        if groups is None:
            raise ValueError("by_group: this data set has no natural groups; choose another partition")
        _enough(labels, n)
        names, member = np.unique(groups, return_inverse=True)
        if len(names) < n:
            raise ValueError(f"by_group: {len(names)} groups cannot fill n={n} nodes; lower n")
        node = np.empty(len(names), np.int64)
        node[rng.permutation(len(names))] = np.arange(len(names)) % n
        owner = node[member]
        order = np.argsort(owner, kind="stable")
        return np.split(order, np.cumsum(np.bincount(owner, minlength=n))[:-1])

    return partition


_IID = iid()


def empty_nodes(*, fraction: float = 0.25, inner: Partition = _IID) -> Partition:
    """Some nodes have no data and only relay or learn from others; the rest are split by another partition.

    Which nodes is drawn at random. fraction · n is rounded to the nearest whole number; at least one node
    keeps data.

    Args:
      fraction: share of nodes without data, in [0, 1).
      inner: the partition over the nodes with data, which it sees as n; `iid()` when not given.

    Returns:
      The partition; it allows more nodes than samples as long as `inner` finds enough for its nodes.

    Raises:
      ValueError: if `fraction` is outside [0, 1); at use, whatever `inner` raises.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"fraction must be in [0, 1); got {fraction}")

    def partition(
        labels: np.ndarray, groups: np.ndarray | None, n: int, rng: np.random.Generator
    ) -> list[np.ndarray]:
        holders = n - min(round(fraction * n), n - 1)
        chosen = rng.permutation(n)[:holders]
        parts = [np.zeros(0, np.int64) for _ in range(n)]
        for node, part in zip(chosen, inner(labels, groups, holders, rng), strict=True):
            parts[node] = part
        return parts

    return partition


def _classes(labels: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """The shuffled rows of each class that occurs, classes in ascending order."""
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    sizes = np.unique(labels, return_counts=True)[1]
    return np.split(order, np.cumsum(sizes)[:-1])


def _enough(labels: np.ndarray, n: int, each: int = 1) -> None:
    N = len(labels)
    if n > N:
        raise ValueError(f"n={n} nodes for N={N} samples; lower n, or leave nodes empty with empty_nodes")
    if n * each > N:
        raise ValueError(f"n={n} nodes with min_samples={each} need {n * each} samples; there are N={N}")


def _whole(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} must be a whole number, at least {least}; got {value!r}")


def _alpha(alpha: float) -> None:
    if not 0 < alpha <= _LARGEST_ALPHA:
        raise ValueError(f"alpha must be in (0, {_LARGEST_ALPHA:g}]; got {alpha}")
