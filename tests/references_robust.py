"""Robust rules as plain loops in float64: one node's vectors, its own first, and how many of them may lie."""

import itertools

import numpy as np


def _distances(rows):
    with np.errstate(all="ignore"):
        far = np.linalg.norm(rows[:, None] - rows[None], axis=2)
    bad = ~np.isfinite(rows).all(axis=1)
    far[bad], far[:, bad] = np.inf, np.inf
    np.fill_diagonal(far, 0)
    return far


def nna(rows, f, **_):
    near = np.argsort(_distances(rows)[0], kind="stable")[: len(rows) - f]
    return rows[near].mean(axis=0)


def nnm(rows, f):
    far = _distances(rows)
    return np.array([rows[np.argsort(line, kind="stable")[: len(rows) - f]].mean(axis=0) for line in far])


def median(rows, f, **_):
    return np.median(np.where(np.isfinite(rows), rows, np.inf), axis=0)


def trimmed_mean(rows, f, **_):
    ranked = np.sort(np.where(np.isfinite(rows), rows, np.inf), axis=0)
    return ranked[f : len(rows) - f].mean(axis=0)


def _around(rows, keep, centre):
    out = []
    for column, c in zip(np.where(np.isfinite(rows), rows, np.inf).T, centre, strict=True):
        out.append(column[np.argsort(np.abs(column - c), kind="stable")[:keep]].mean())
    return np.array(out)


def meamed(rows, f, **_):
    return _around(rows, len(rows) - f, median(rows, f))


def phocas(rows, f, **_):
    return _around(rows, len(rows) - f, trimmed_mean(rows, f))


def _krum_scores(rows, f, less=2, squared=True):
    far = _distances(rows) ** (2 if squared else 1)
    q = max(len(rows) - f - less, 1)
    scores = [np.sort(np.delete(line, i))[:q].sum() for i, line in enumerate(far)]
    bad = ~np.isfinite(rows).all(axis=1)
    return np.where(bad, np.inf, scores)


def krum(rows, f, **_):
    return rows[np.argmin(_krum_scores(rows, f))]


def krum_inclusive(rows, f, **_):
    return rows[np.argmin(_krum_scores(rows, f, 1, False))]


def multi_krum(rows, f, **_):
    return rows[np.argsort(_krum_scores(rows, f), kind="stable")[: len(rows) - f]].mean(axis=0)


def bulyan(rows, f, **_):
    left, chosen = list(range(len(rows))), []
    for _ in range(max(len(rows) - 2 * f - 2, 1)):
        best = left[0] if len(left) == 1 else left[int(np.argmin(_krum_scores(rows[left], f)))]
        chosen.append(best)
        left.remove(best)
    picked = rows[chosen]
    keep = max(len(picked) - 2 * f, 1)
    return _around(picked, keep, np.median(picked, axis=0))


def geometric_median(rows, f, nu=0.1, iterations=3, **_):
    rows = rows[np.isfinite(rows).all(axis=1)]
    z = np.zeros(rows.shape[1])
    for _ in range(iterations):
        beta = 1 / np.maximum(nu, np.linalg.norm(rows - z, axis=1))
        z = beta @ rows / beta.sum()
    return z


def centered_clipping(rows, f, radius=2.0, iterations=3, own=True, **_):
    v = rows[0].copy() if own else np.zeros(rows.shape[1])
    for _ in range(iterations):
        total = np.zeros_like(v)
        for x in rows:
            if np.isfinite(x).all():
                total += (x - v) * min(1, radius / max(np.linalg.norm(x - v), 1e-300))
        v = v + total / len(rows)
    return v


def mda(rows, f, **_):
    far = _distances(rows)
    best = min(itertools.combinations(range(len(rows)), len(rows) - f), key=lambda s: far[np.ix_(s, s)].max())
    return rows[list(best)].mean(axis=0)


def smea(rows, f, **_):
    def top(subset):
        part = rows[list(subset)]
        if not np.isfinite(part).all():
            return np.inf
        return np.linalg.eigvalsh((part - part.mean(axis=0)).T @ (part - part.mean(axis=0)))[-1]

    best = min(itertools.combinations(range(len(rows)), len(rows) - f), key=top)
    return rows[list(best)].mean(axis=0)


def caf(rows, f, passes=100, **_):
    finite = np.isfinite(rows).all(axis=1)
    count, rows, c = len(rows), rows[finite], np.ones(finite.sum())
    best, least = rows.mean(axis=0), np.inf
    for _ in range(passes):
        if c.sum() <= count - 2 * f:
            break
        mu = c @ rows / c.sum()
        away = rows - mu
        values, vectors = np.linalg.eigh((away.T * c) @ away / c.sum())
        if values[-1] < least:
            best, least = mu, values[-1]
        t = (away @ vectors[:, -1]) ** 2
        c = c * (1 - t / t.max())
    return best


def _gossip(rows, weight, factor):
    x = rows[0].copy()
    for j in range(1, len(rows)):
        if factor[j] > 0:
            x = x + weight[j] * factor[j] * (rows[j] - rows[0])
    return x


def _clip(far, tau):
    return np.array([0 if not np.isfinite(d) else 1 if d <= tau else tau / d for d in far])


def clipped_gossip(rows, f, weight, b, lies, kind="kept", radius=1.0, **_):
    if len(rows) == 1:
        return rows[0]
    far = _distances(rows)[0]
    others = range(1, len(rows))
    if kind == "constant":
        tau = radius
    elif kind == "second":
        ranked = sorted(far[1:])
        tau = ranked[-2] if len(ranked) > 1 else ranked[-1]
    elif b == 0:
        tau = np.inf
    elif kind == "oracle":
        tau = np.sqrt(sum(weight[j] * far[j] ** 2 for j in others if not lies[j]) / b)
    else:
        total, tau2, room = 0.0, 0.0, weight[1:].sum() - b
        for j in sorted(others, key=lambda j: far[j]):
            total += weight[j]
            if total > room + 1e-9:
                break
            tau2 += weight[j] * far[j] ** 2
        tau = np.sqrt(tau2 / b)
    return _gossip(rows, weight, _clip(far, tau))


def cs_plus(rows, f, weight, b, **_):
    far, total, tau = _distances(rows)[0], 0.0, 0.0
    for j in sorted(range(1, len(rows)), key=lambda j: far[j]):
        total += weight[j]
        if total > weight[1:].sum() - 2 * b + 1e-9:
            break
        tau = far[j]
    return _gossip(rows, weight, _clip(far, np.inf if b == 0 else tau))


def gts(rows, f, weight, b, **_):
    far, room, x = _distances(rows)[0], weight[1:].sum() - b, rows[0].copy()
    for j in sorted(range(1, len(rows)), key=lambda j: far[j]):
        kept = min(weight[j], max(room, 0))
        room -= weight[j]
        if kept > 0 and np.isfinite(far[j]):
            x = x + kept * (rows[j] - rows[0])
    return x


def _scissor(rows, f, weight, own):
    left = list(range(1, len(rows)))
    for _ in range(f):
        bad = [j for j in left if not np.isfinite(rows[j]).all()]
        if bad:
            left.remove(bad[0])
            continue
        inside = ([0] if own else []) + left
        mean = np.average(rows[inside], axis=0, weights=weight[inside])
        left.remove(max(left, key=lambda j: np.linalg.norm(rows[j] - mean)))
    return [0, *left]


def ios(rows, f, weight, **_):
    left = _scissor(rows, f, weight, True)
    return np.average(rows[left], axis=0, weights=weight[left])


def faba(rows, f, **_):
    return rows[_scissor(rows, f, np.ones(len(rows)), False)].mean(axis=0)


def rtc(rows, f, weight, b, **_):
    if b == 0:
        return _gossip(rows, weight, np.ones(len(rows)))
    far, gone, total = _distances(rows)[0], set(), 0.0
    for j in sorted(range(1, len(rows)), key=lambda j: -far[j]):
        total += weight[j]
        if total > b + 1e-9:
            break
        gone.add(j)
    kept = [j for j in range(1, len(rows)) if j not in gone]
    tau = np.sqrt(sum(weight[j] * far[j] ** 2 for j in kept) / b)
    factor = _clip(far, tau)
    return _gossip(rows, weight, np.array([factor[j] if j in kept else 0 for j in range(len(rows))]))


def foolsgold(rows, f, **_):
    others = [j for j in range(1, len(rows)) if np.isfinite(rows[j]).all()]
    if not others:
        return rows[0]
    w = foolsgold_weights(rows[others])
    return (rows[0] + sum(weight * rows[j] for weight, j in zip(w, others, strict=True))) / (1 + sum(w))


def foolsgold_weights(h):
    m = len(h)
    unit = [x / np.linalg.norm(x) for x in h]
    cs = np.array([[0 if i == j else unit[i] @ unit[j] for j in range(m)] for i in range(m)])
    v = [max(cs[i]) + 1e-5 for i in range(m)]
    for i in range(m):
        for j in range(m):
            if i != j and v[i] < v[j]:
                cs[i, j] *= v[i] / v[j]
    w = np.array([min(max(1 - max(cs[i]), 0), 1) for i in range(m)])
    if w.max() == 0:
        return w
    w = w / w.max()
    return np.array([1 if x == 1 else 0 if x == 0 else min(max(np.log(x / (1 - x)) + 0.5, 0), 1) for x in w])


def mean_of_units(rows, f, **_):
    total = np.zeros(rows.shape[1])
    for x in rows:
        if np.isfinite(x).all():
            total += x / np.linalg.norm(x)
    return total / len(rows)


def flag(rows, f, lam=0.0, iterations=1, **_):
    """In d dimensions, by singular vectors; ordered pairs as columns."""
    X = np.array([x / np.linalg.norm(x) for x in rows if np.isfinite(x).all()]).T
    p = X.shape[1]
    r = (p + 2) // 2
    pairs = [(i, j) for i in range(p) for j in range(p) if i != j]
    share = lam / (p * (p - 1)) if p > 1 else 0

    def basis(own, both):
        columns = [np.sqrt(own[i]) * X[:, i] for i in range(p)]
        columns += [np.sqrt(share * both[i, j]) * (X[:, i] - X[:, j]) for i, j in pairs] if lam else []
        return np.linalg.svd(np.array(columns).T, full_matrices=False)[0][:, :r]

    def value(Y):
        own = sum(np.sqrt(max(0, 1 - np.sum((Y.T @ X[:, i]) ** 2))) for i in range(p))
        return own + share * sum(np.sqrt(abs(1 - np.sum((Y.T @ (X[:, i] - X[:, j])) ** 2))) for i, j in pairs)

    Y = basis(np.ones(p), np.ones((p, p)))
    for _ in range(iterations - 1):
        own = [1 / np.sqrt(abs(1 - np.sum((Y.T @ X[:, i]) ** 2)) + 1e-7) for i in range(p)]
        both = np.zeros((p, p))
        for i, j in pairs:
            both[i, j] = 1 / np.sqrt(abs(1 - np.sum((Y.T @ (X[:, i] - X[:, j])) ** 2)) + 1e-7)
        new = basis(own, both)
        if value(new) > value(Y):
            break
        Y = new
    return Y @ (Y.T @ X.sum(axis=1)) / r


def mean(rows, f, **_):
    return rows.mean(axis=0)


def clip(rows, radius):
    return np.array([
        x * min(1, radius / np.linalg.norm(x)) if np.isfinite(x).all() else 0 * np.nan_to_num(x) for x in rows
    ])  # fmt: skip


def arc(rows, f):
    m = len(rows)
    norms = np.array([np.linalg.norm(x) if np.isfinite(x).all() else np.inf for x in rows])
    k = int(np.floor(2 * f / m * (m - f) + 1e-9))
    return clip(rows, np.sort(norms)[m - k - 1])
