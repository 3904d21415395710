"""Regions with incidents, made up and injected into real counts, and the detectors that learn from them."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from dlax import topology as tp
from dlax.algorithms import fedavg, network_lasso
from dlax.data import TrafficCounts
from dlax.optimizers import inverse_sqrt
from dlax.problems import one_class_of
from dlax.problems.one_class import feature_map
from dlax.simulate import simulate
from dlax.topology import Topology

REGIONS, CLUSTERS, TRAINING = 30, 3, 20
DAY = 96  # quarter-hours
LEARNED_DAYS = 14
LAMS = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)
FEATURES = 64
federated = partial(fedavg, local_steps=5, schedule=inverse_sqrt(rounds=20))

Detectors = tuple[np.ndarray, np.ndarray]  # w [n, p] and rho [n]


class Task(NamedTuple):
    """Regions with normal samples to learn from and labelled ones to be judged by.

    Attributes:
      training: `[n, s, p]`, normal.
      tested: `[n, m, p]`.
      incident: `[n, m]` bool.
      chosen: samples and labels as the two above, for choosing λ; empty when another task does it.
    """

    training: np.ndarray
    tested: np.ndarray
    incident: np.ndarray
    chosen: tuple[np.ndarray, np.ndarray] | None = None


class Learned(NamedTuple):
    """Scores of every method on a task: negative calls an incident.

    Attributes:
      scores: method -> `[n, m]`; "lasso" -> `[lams, n, m]` at `LAMS`.
      validation: the same on the samples for choosing λ.
      incident, incident_validation: labels `[n, m]`.
      own_negative: share of a region's own training samples that its own detector (λ = 0) rejects, the largest;
        on the margin itself, scores are 0 up to rounding, so that a rejection is a score below −1e-5.
      off: largest difference of w at λ = 0 to the local detectors of scikit-learn, over the norm of theirs.
      residual: the last dual residual, the largest over λ.
    """

    scores: dict[str, np.ndarray]
    validation: dict[str, np.ndarray]
    incident: np.ndarray
    incident_validation: np.ndarray
    own_negative: float
    off: float
    residual: float


def ring_of_clusters() -> Topology:
    """Clusters of regions, all of a cluster neighbours, one road to the next."""
    return tp.caveman(REGIONS, cliques=CLUSTERS)


def made_up_regions(seed: int, tested: int) -> Task:
    """Gaussians in the plane, mean and shape of a cluster's own; incidents are 2 σ off in a random direction."""
    rng = np.random.default_rng(seed)
    cluster = np.arange(REGIONS) * CLUSTERS // REGIONS
    means = 1.5 * rng.normal(size=(CLUSTERS, 2))
    turns = np.linalg.qr(rng.normal(size=(CLUSTERS, 2, 2)))[0]
    shapes = (turns * np.array([2.0, 0.5]))[cluster]  # standard deviations 2 and 1/2 along its axes

    def draw(count: int, shift: np.ndarray | float = 0.0) -> np.ndarray:
        white = rng.normal(size=(REGIONS, count, 2)) + shift
        return means[cluster][:, None] + np.einsum("nij,nkj->nki", shapes, white)

    training, normal = draw(TRAINING), draw(tested)
    way = rng.normal(size=(REGIONS, tested, 2))
    incidents = draw(tested, 2 * way / np.linalg.norm(way, axis=2, keepdims=True))
    labels = np.repeat([[False, True]], tested, axis=1).repeat(REGIONS, axis=0)
    return Task(training, np.concatenate([normal, incidents], axis=1), labels)


def learn(task: Task, graph: Topology, *, nu: float, gamma: float, with_federated: bool = False) -> Learned:
    """Trains every method on a task and scores what is to be judged."""
    flat = task.training.reshape(-1, task.training.shape[2])
    phi = feature_map(flat, features=FEATURES, gamma=gamma)
    problem = one_class_of(task.training, nu=nu, features=FEATURES, gamma=gamma)
    result = simulate(
        network_lasso,
        problem,
        graph,
        rounds=200,
        eval_every=100,
        hyper={"lam": LAMS, "penalty": 1.0},
    )
    models: dict[str, list[Detectors]] = {
        "lasso": list(zip(result.params["w"], result.params["rho"], strict=True)),
        "local": [_stack([_reference(phi(each), nu) for each in task.training])],
        "pooled": [_stack([_reference(phi(flat), nu)] * graph.n)],
    }
    if with_federated:
        made = simulate(
            federated, problem, tp.complete(graph.n), rounds=200, eval_every=200, hyper={"lr": 0.3}
        )
        models["federated"] = [(made.params["w"][0], made.params["rho"][0])]

    def judge(samples: np.ndarray) -> dict[str, np.ndarray]:
        mapped = phi(samples)
        found = {
            name: np.stack([np.einsum("nmp,np->nm", mapped, w) - rho[:, None] for w, rho in each])
            for name, each in models.items()
        }
        scores = {name: each if name == "lasso" else each[0] for name, each in found.items()}
        # Of traffic, the first feature is the residual now; without a threshold of its own.
        return scores | ({"residual": samples[..., 0]} if with_federated else {})

    samples, labels = task.chosen or (task.tested, task.incident)
    own = judge(task.training)["lasso"][0]
    (ours, _), (theirs, _) = models["lasso"][0], models["local"][0]
    off = np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(theirs, axis=1)
    last = [row["dual"] for row in result.rows if row["round"] == 200]
    return Learned(
        judge(task.tested),
        judge(samples),
        task.incident,
        labels,
        float(np.mean(own < -1e-5, axis=1).max()),
        float(off.max()),
        max(last),
    )


def _reference(phi: np.ndarray, nu: float) -> tuple[np.ndarray, float]:
    """The one-class SVM of samples φ `[s, p]`, by scikit-learn's solver: the baselines share no code of ours."""
    from sklearn.svm import OneClassSVM

    fit = OneClassSVM(kernel="linear", nu=nu, tol=1e-8).fit(phi)
    scale = nu * len(phi)  # its multipliers sum to this, ours to 1
    return fit.coef_[0] / scale, float(-fit.intercept_[0] / scale)


def _stack(models: Sequence[tuple[np.ndarray, float]]) -> Detectors:
    return np.stack([w for w, _ in models]), np.array([rho for _, rho in models])


def auc(scores: np.ndarray, incident: np.ndarray) -> float:
    """Area under the ROC curve, mean over the regions (each has a threshold of its own) that saw an incident."""
    from sklearn.metrics import roc_auc_score

    both = [(s, y) for s, y in zip(scores, incident, strict=True) if 0 < y.sum() < len(y)]
    return float(np.mean([roc_auc_score(y, -s) for s, y in both]))


def rates(scores: np.ndarray, incident: np.ndarray) -> tuple[float, float]:
    """Detection and false alarm rate over all regions, where a negative score is an alarm."""
    return float(np.mean(scores[incident] < 0)), float(np.mean(scores[~incident] < 0))


def detection_at(scores: np.ndarray, incident: np.ndarray, alarms: float = 0.05) -> float:
    """Detection rate where a share `alarms` of a region's normal samples is called, mean as in `auc`."""
    both = [(s, y) for s, y in zip(scores, incident, strict=True) if 0 < y.sum() < len(y)]
    return float(np.mean([np.mean(s[y] < np.quantile(s[~y], alarms)) for s, y in both]))


def best_lam(tasks: Sequence[Learned]) -> int:
    """The index in `LAMS` with the best mean AUC on what is for choosing."""
    values = [
        [auc(scores, each.incident_validation) for scores in each.validation["lasso"]] for each in tasks
    ]
    return int(np.argmax(np.mean(values, axis=0)))


def _clock(traffic: TrafficCounts) -> tuple[np.ndarray, np.ndarray]:
    """The quarter-hour of the day and the number of the day from 0, each `[T]`; a few rows are missing at night."""
    date = traffic.times.astype("datetime64[D]")
    slot = (traffic.times - date) // np.timedelta64(15, "m")
    return slot.astype(int), (date - date[0]).astype(int)


def _sites(traffic: TrafficCounts) -> np.ndarray:
    """Detectors that see five vehicles a quarter-hour on average: an incident does not show at the others."""
    return np.flatnonzero(traffic.counts[_clock(traffic)[1] < LEARNED_DAYS].mean(axis=0) >= 5)


def _expected(traffic: TrafficCounts) -> np.ndarray:
    """The median of the first two weeks at that time of day, weekdays and weekends apart, `[T, n]`."""
    counts = traffic.counts[:, _sites(traffic)]
    slot, day = _clock(traffic)
    weekend = (traffic.times.astype("datetime64[D]").astype(int) + 3) % 7 >= 5
    first = day < LEARNED_DAYS
    out = np.empty_like(counts)
    for off in (False, True):
        for s in range(DAY):
            here = (weekend == off) & (slot == s)
            out[here] = np.median(counts[here & first], axis=0)
    return out


def _residuals(counts: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """√count − √expected now and one and two quarter-hours ago, `[T, n, 3]`; roots even out the variance."""
    now = np.sqrt(counts) - np.sqrt(expected)
    return np.stack([now, np.roll(now, 1, axis=0), np.roll(now, 2, axis=0)], axis=-1)


def _correlation(traffic: TrafficCounts) -> np.ndarray:
    first = _clock(traffic)[1] < LEARNED_DAYS
    now = _residuals(traffic.counts[first][:, _sites(traffic)], _expected(traffic)[first])[..., 0]
    return np.corrcoef(now.T) - 2 * np.eye(now.shape[1])


def correlation_graph(traffic: TrafficCounts) -> Topology:
    """Each site with the three whose residuals correlate most with its own, and a spanning tree of the best edges.

    The roads between the detectors are not in the data; the paper takes them and the likeness of sites.
    """
    import networkx as nx

    like = _correlation(traffic)
    whole = nx.Graph()
    n = len(like)
    whole.add_nodes_from(range(n))
    whole.add_weighted_edges_from((i, j, like[i, j]) for i in range(n) for j in range(i))
    graph = nx.Graph(nx.maximum_spanning_tree(whole).edges)
    near = nx.Graph()
    near.add_nodes_from(range(n))
    near.add_edges_from(graph.edges)
    near.add_edges_from((i, int(j)) for i in range(n) for j in np.argsort(-like[i])[:3])
    return tp.from_networkx(near, name="correlation")


def injected_incidents(traffic: TrafficCounts, seed: int) -> Task:
    """A task by day, 7 to 19 h: learn from 20 quarter-hours of the first week, choose on the second, test after.

    40 incidents are injected in the second week and 60 in the twelve days of the test: see the module.
    """
    rng = np.random.default_rng(seed)
    expected = _expected(traffic)
    counts = traffic.counts[:, _sites(traffic)]
    near = np.argsort(-_correlation(traffic), axis=1)[:, :2]
    t = np.arange(len(counts))
    slot, date = _clock(traffic)
    day = (slot >= 7 * 4) & (slot < 19 * 4)
    weeks = [
        (date < 7) & day,
        (date >= 7) & (date < LEARNED_DAYS) & day,
        (date >= LEARNED_DAYS) & day,
    ]
    hit, label = counts.copy(), np.zeros(counts.shape, bool)
    for when, number in ((weeks[1], 40), (weeks[2], 60)):
        for _ in range(number):
            site, start = int(rng.integers(counts.shape[1])), int(rng.choice(np.flatnonzero(when)))
            length, factor = int(rng.integers(4, 13)), rng.uniform(0.1, 0.5)
            for other in (site, *near[site]):
                begin = start + (0 if other == site else int(rng.integers(1, 3)))
                rows = t[begin : begin + length]
                rows = rows[when[rows]]
                hit[rows, other] = np.round(hit[rows, other] * factor)
                label[rows, other] = True
    clean, dirty = (np.swapaxes(_residuals(c, expected), 0, 1) for c in (counts, hit))
    free = np.flatnonzero(weeks[0])
    training = np.stack([clean[i, rng.choice(free, TRAINING, replace=False)] for i in range(len(clean))])
    chosen = (dirty[:, weeks[1]], label[weeks[1]].T)
    return Task(training, dirty[:, weeks[2]], label[weeks[2]].T, chosen)
