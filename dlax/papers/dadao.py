"""DADAO: gradients and communications on decoupled Poisson clocks.

Nabli, Oyallon. DADAO: Decoupled Accelerated Decentralized Asynchronous Optimization. ICML 2023; and of the same
device A²CiD²: Nabli, Belilovsky, Oyallon. NeurIPS 2023.

From the abstracts are: a precision takes O(n √(L/μ) log 1/ε) gradients and O(n √(χ₁χ₂) √(L/μ) log 1/ε)
communications, and rates of the edges that are optimised beat uniform ones. The numbers of edges on a star of 300 are
those of the authors' code. All other bounds are ours: read off the constants of that code, or measured with an
independent NumPy loop of it. The paper's text, figures and tables were not available. That moving a node
on only when it is touched gives what moving all nodes at every event gives is shown by tests/test_events.py.

On the complete graph, of the slow version, DADAO takes 1.03 times as many gradients as ADOM+: that it takes fewer
holds on the other graphs only. One exchange is an exact average there, and ADOM+ loses nothing to gossip.

With dual gradients at hand MSDA and the continuized method need fewer communications than DADAO on graphs this small,
as the picture shows; what is claimed of them is the number of edges a round of gradients.

Quick: quadratics. Slow: more of them, and the authors' data: `make_regression` on every worker, with a random factor
on its slope, and l2-regularised logistic regression of `make_classification`, where dual methods have no closed form.
"""

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from sklearn.datasets import make_classification, make_regression

from dlax import topology as tp
from dlax.algorithms import adom_plus, msda
from dlax.algorithms.asynchronous import acid, continuized, dadao
from dlax.claims import Claims
from dlax.papers import Reproduction
from dlax.plots import COLOURS, DASHES, MARKERS, blank, frame
from dlax.problems import average, least_squares, quadratic
from dlax.simulate import simulate
from dlax.timing import exchange_rates
from dlax.types import Asynchronous, Event, Info, Key, Problem, Tree

Graph = Callable[..., tp.Topology]

_DIM = 4
_EVERY = 10.0  # units of time between measurements
_UNITS = 120.0  # length of runs, in √κ: 1e-6 takes about 71
_FAMILIES: dict[str, Graph] = {
    "ring": tp.ring,
    "complete": tp.complete,
    "star": tp.star,
    "path": tp.path,
    "grid": tp.grid,
}
_UNEVEN: dict[str, Graph] = {"barbell": tp.barbell, "lollipop": tp.lollipop, "grid": tp.grid}


class Trace(NamedTuple):
    """What a method reached, and at what cost; a run a row.

    Attributes:
      time: `[E]`, simulated time or rounds.
      distance: `[S, E]`, mean of ‖xᵢ − x*‖² over the nodes, by that of the first row.
      gradients: `[S, E]`, of single nodes.
      edges: `[S, E]`, activations; a synchronous round activates every edge once for each mix.
    """

    time: np.ndarray
    distance: np.ndarray
    gradients: np.ndarray
    edges: np.ndarray

    def slope(self) -> float:
        """Of log distance over the later half of where it is neither rounding nor overflow, mean over runs."""
        slopes = []
        for line in self.distance:
            usable = np.flatnonzero(np.isfinite(line) & (line > 1e-22) & (line < 1e200))
            part = slice((usable[-1] + 1) // 2, usable[-1] + 1)
            slopes.append(np.polyfit(self.time[part], np.log(line[part]), 1)[0])
        return float(np.mean(slopes))

    def cost(self, what: str, precision: float) -> np.ndarray:
        """`[S]` gradients, edges or time until the distance is below the precision; inf where it never is."""
        counts = np.broadcast_to(getattr(self, what), self.distance.shape)
        out = []
        for line, count in zip(self.distance, counts, strict=True):
            below = np.flatnonzero(line < precision)
            if len(below) == 0:
                out.append(np.inf)
                continue
            k = below[0]
            log = np.log(line[[k - 1, k]] / precision)
            out.append(count[k - 1] + (count[k] - count[k - 1]) * log[0] / (log[0] - log[1]))
        return np.array(out)

    def at_least(self, what: str, precision: float) -> float:
        """The mean of `cost`, with what was spent in all where the precision is not reached: it takes more."""
        spent = np.broadcast_to(getattr(self, what), self.distance.shape)[:, -1]
        return float(np.minimum(self.cost(what, precision), spent).mean())

    def share(self) -> float:
        """Communications by gradients, in all."""
        return float(self.edges[:, -1].sum() / self.gradients[:, -1].sum())


def reproduce(*, slow: bool = False) -> Reproduction:
    """Runs DADAO beside ADOM+, MSDA and the continuized method, and the gossip of A²CiD²."""
    claims, n = Claims(), 20
    seeds = 5 if slow else 3
    rates = _rates(n, seeds, slow)
    _claim_rates(claims, rates, n)
    _claim_condition(claims, rates["ring", n, 16], n, seeds)
    _claim_zero_sum(claims, n)
    chosen = _chosen_rates(claims, seeds, slow)
    families = ("ring", "star", "complete") if slow else ("ring",)
    methods = {name: _methods(quadratic_of(2.0, n), _FAMILIES[name], 2.0, seeds) for name in families}
    for name, traces in methods.items():
        _claim_methods(claims, traces, _FAMILIES[name], name, n)
    _claim_star(claims, run=slow)
    gossip = _claim_gossip(claims, seeds)
    shown = {"quadratics, κ = 2, ring of 20": methods["ring"]}
    if slow:
        shown |= _authors_data(claims, seeds)
    figure = _picture(shown, rates, chosen)
    return Reproduction(
        title="DADAO: decoupled accelerated decentralized asynchronous optimization (ICML 2023)",
        setting=f"quadratics in {_DIM} dimensions, κ = 2 to 64, mostly {n} nodes, {seeds} seeds, float64"
        + ("; linear and logistic regression on stars and random geometric graphs" if slow else ""),
        claims=claims,
        figure=figure,
        data={
            "methods": {
                title: {m: t._asdict() for m, t in traces.items()} for title, traces in shown.items()
            },
            "rates": {" ".join(map(str, key)): trace._asdict() for key, trace in rates.items()},
            "edge rates": {name: totals for name, (totals, _) in chosen.items()},
            "gossip": gossip,
        },
    )


def quadratic_of(condition: float, n: int) -> Problem:
    """Quadratics with L = 1 and μ = 1/κ; those of one n have the same functions, hence share compiled runs."""
    made = quadratic(n, dim=_DIM, hessian="common", condition=condition)
    return _like(n)._replace(local=made.local, shared=made.shared, optimum=made.optimum)


@cache
def _like(n: int) -> Problem:
    return quadratic(n, dim=_DIM, hessian="common")


def follow(
    method: Any,
    problem: Problem,
    topology: tp.Topology,
    seeds: int,
    hyper: Mapping[str, float],
    **length: Any,
) -> Trace:
    """Runs a method and counts.

    Args:
      method: a factory, of rounds or asynchronous.
      problem: with an optimum.
      topology: the graph.
      seeds: how many.
      hyper: L and μ under the factory's names.
      **length: `duration`, or `rounds` and the `vectors` that a message consists of; `eval_every`.
    """
    vectors = length.pop("vectors", 1)
    result = simulate(method, problem, topology, seeds=seeds, hyper=hyper, precision="float64", **length)
    table = result.to_pandas()

    def column(name: str) -> np.ndarray:
        return table.pivot(index="seed", columns="round", values=name).to_numpy(float)

    rounds, distance = column("round"), column("distance")
    distance = distance / distance[:, :1]
    if "exchanges" in table:
        return Trace(column("time")[0], distance, column("gradients"), column("exchanges"))
    size = sum(leaf.size for leaf in jax.tree.leaves(problem.optimum))
    edges = column("bits_total") / (2 * 64 * size * vectors)  # both ends send, in float64
    return Trace(rounds[0], distance, problem.n * rounds, edges)


def run_dadao(
    problem: Problem, topology: tp.Topology, condition: float, seeds: int, duration: float, **options: Any
) -> Trace:
    """DADAO with L = 1 and μ = 1/κ."""
    method = partial(dadao, **options) if options else dadao
    hyper = {"smoothness": 1.0, "convexity": 1 / condition}
    return follow(method, problem, topology, seeds, hyper, duration=duration, eval_every=_EVERY)


def _rates(n: int, seeds: int, slow: bool) -> dict[tuple[str, int, int], Trace]:
    """DADAO over condition numbers, graphs and numbers of nodes."""
    cases = [("ring", n, kappa) for kappa in ((4, 8, 16, 32, 64) if slow else (4, 16, 64))]
    cases += [(name, n, 16) for name in _FAMILIES if name != "ring"]
    cases += [(name, m, 16) for name in ("ring", "star") for m in (10, 40)] if slow else []
    cases += [] if slow else [("ring", 10, 16)]
    return {
        (name, m, kappa): run_dadao(
            quadratic_of(kappa, m), _FAMILIES[name](m), kappa, seeds, _UNITS * np.sqrt(kappa)
        )
        for name, m, kappa in cases
    }


def _claim_rates(claims: Claims, rates: Mapping[tuple[str, int, int], Trace], n: int) -> None:
    """The rate is that of √(μ/L) whatever the graph; the graph sets the number of communications."""
    slopes = {key: trace.slope() for key, trace in rates.items()}
    for name in _FAMILIES:
        claims.between(
            f"{name} of {n}, κ = 16: slope of log mean ‖xᵢ − x*‖² / √(μ/L); the constants' bound is −0.088",
            -0.25,
            -0.09,
            4 * slopes[name, n, 16],
        )
    ends = np.array([slopes[name, n, 16] for name in _FAMILIES])
    claims.at_most(
        "slopes on the five graphs, (largest − smallest) / mean", 0.15, float(np.ptp(ends) / abs(ends.mean()))
    )
    claims.between(
        f"ring of {n}: slope at κ = 4 over κ = 64; √16 by theory",
        3.4,
        4.6,
        slopes["ring", n, 4] / slopes["ring", n, 64],
    )
    off = [
        abs(trace.share() * m / tp.uniform_rates(_FAMILIES[name](m)).total - 1)
        for (name, m, _), trace in rates.items()
    ]
    claims.at_most("communications by gradients against λ/n, largest relative difference", 0.05, max(off))
    precision = 1e-6
    kappas = sorted({key[2] for key in rates})
    times = [rates["ring", n, k].cost("gradients", precision).mean() for k in kappas]
    claims.close(
        f"gradients to {precision:g} on the ring of {n}, κ = {kappas[0]} to {kappas[-1]}: power of κ (0.1)",
        0.5,
        float(np.polyfit(np.log(kappas), np.log(times), 1)[0]),
        abs=0.1,
    )
    graphs = [key for key in rates if key[2] == 16]
    per_node = np.array([rates[key].cost("gradients", precision).mean() / key[1] for key in graphs])
    claims.at_most(
        f"gradients a node to {precision:g} on all graphs and n, κ = 16: largest / smallest",
        1.25,
        float(per_node.max() / per_node.min()),
    )
    hardness = [_hardness(_FAMILIES[name](m)) for name, m, _ in graphs]
    sent = [rates[key].cost("edges", precision).mean() for key in graphs]
    claims.close(
        f"communications to {precision:g} on the same: power of √(χ₁χ₂) (0.1)",
        1.0,
        float(np.polyfit(np.log(hardness), np.log(sent), 1)[0]),
        abs=0.1,
    )


def _hardness(topology: tp.Topology) -> float:
    """√(χ₁χ₂) where all edges together tick once a unit of time."""
    found = tp.uniform_rates(topology)
    return float(np.sqrt(found.chi1 * found.chi2) * found.total)


def _claim_condition(claims: Claims, at_rule: Trace, n: int, seeds: int) -> None:
    """The condition 2 χ₁χ₂ ≤ 1 is sharp: half the rate diverges, twice the rate gains nothing."""
    kappa, slopes = 16, {1.0: at_rule.slope()}
    for factor in (0.5, 2.0):
        trace = run_dadao(
            quadratic_of(kappa, n), tp.ring(n), kappa, seeds, _UNITS * np.sqrt(kappa), intensity=factor
        )
        slopes[factor] = trace.slope()
    claims.at_least(
        f"ring of {n}, half the rate of communications: slope of log distance, which diverges",
        0.0,
        slopes[0.5],
    )
    claims.close(
        f"ring of {n}, twice the rate of communications: slope by that at the rule (5 %)",
        1.0,
        slopes[2.0] / slopes[1.0],
        rel=0.05,
    )


class _Shown(NamedTuple):
    """A row of DADAO that shows z where a model is expected."""

    params: Tree
    row: Any


def dadao_showing_z(smoothness: Any = 1.0, convexity: Any = 0.1) -> Asynchronous:
    """DADAO whose models are its consensus variable z: to look at it after the flow to the run's end."""
    rule = dadao(smoothness, convexity)
    assert rule.compute is not None and rule.meet is not None and rule.flow is not None
    compute, meet, flow = rule.compute, rule.meet, rule.flow

    def show(row: Any) -> _Shown:
        return _Shown(row.z, row)

    def shown_compute(own: _Shown, event: Event) -> tuple[_Shown, Info]:
        row, info = compute(own.row, event)
        return show(row), info

    def shown_meet(own: _Shown, peer: _Shown, event: Event) -> tuple[_Shown, _Shown, Info]:
        first, second, info = meet(own.row, peer.row, event)
        return show(first), show(second), info

    return Asynchronous(
        rule.timing,
        lambda params, facts: show(rule.init(params, facts)),
        shown_compute,
        shown_meet,
        lambda own, elapsed, facts: show(flow(own.row, elapsed, facts)),
    )


def _claim_zero_sum(claims: Claims, n: int) -> None:
    result = simulate(
        dadao_showing_z, quadratic_of(16.0, n), tp.ring(n), duration=50.0, eval_every=50.0, precision="float64",
        hyper={"smoothness": 1.0, "convexity": 1 / 16},
    )  # fmt: skip
    z = result.params["x"][0]
    claims.at_most(
        f"ring of {n}, after 50 units of time: |Σᵢ zᵢ| / max |z|",
        1e-10,
        float(np.abs(z.sum(axis=0)).max() / np.abs(z).max()),
    )


def _chosen_rates(
    claims: Claims, seeds: int, slow: bool
) -> dict[str, tuple[tuple[float, float], tuple[Trace, Trace] | None]]:
    """Uniform and optimised rates of the edges: totals by name, and runs."""
    n, kappa, found = 20, 16, {}
    for name, make in _UNEVEN.items():
        graph = make(n)
        totals = tp.uniform_rates(graph).total, tp.edge_rates(graph).total
        least = {"barbell": 4.0, "lollipop": 2.0, "grid": 1.0}[name]
        claims.at_least(
            f"{name} of {n}: total rate of communications, uniform / optimised", least, totals[0] / totals[1]
        )
        runs = None
        if slow or name == "barbell":
            problem, duration = quadratic_of(kappa, n), _UNITS * np.sqrt(kappa)
            uniform = run_dadao(problem, graph, kappa, seeds, duration)
            optimal = run_dadao(problem, graph, kappa, seeds, duration, rates="optimal")
            runs = uniform, optimal
            sent = [trace.cost("edges", 1e-6).mean() for trace in runs]
            claims.close(
                f"{name} of {n}: communications to 1e-06, uniform / optimised, is that of the totals (15 %: seeds)",
                totals[0] / totals[1],
                float(sent[0] / sent[1]),
                rel=0.15,
            )
        found[name] = totals, runs
    return found


def _methods(
    problem: Problem, graph: Graph, condition: float, seeds: int, *, dual: bool = True, longest: int = 9_500
) -> dict[str, Trace]:
    """DADAO, ADOM+ with and without multi-consensus, MSDA and the continuized method; L = 1, μ = 1/κ."""
    n = problem.n
    plain = graph(n)
    largest = float(np.linalg.eigvalsh(tp.laplacian_matrix(plain).toarray())[-1])
    # W = I − L/λ_max, which on the complete graph is its average of all
    weighted = plain if graph is tp.complete else graph(n, weights=tp.laplacian(step=1 / largest))
    hyper = {"smoothness": 1.0, "strong_convexity": 1 / condition}
    multi = partial(adom_plus, multi_consensus=True)
    traces = {
        "DADAO": run_dadao(problem, plain, condition, seeds, 360 * np.sqrt(condition / 2)),
        "ADOM+": follow(adom_plus, problem, weighted, 1, hyper, rounds=longest, eval_every=25, vectors=2),
        "ADOM+, multi-consensus": follow(
            multi, problem, weighted, 1, hyper, rounds=450, eval_every=5, vectors=2
        ),
    }
    if dual:
        of_time = {"smoothness": 1.0, "convexity": 1 / condition}
        traces["MSDA"] = follow(msda, problem, weighted, 1, hyper, rounds=60, eval_every=1)
        traces["continuized"] = follow(
            continuized, problem, plain, seeds, of_time, duration=60.0 * n, eval_every=_EVERY
        )
    return traces


def _claim_methods(claims: Claims, traces: Mapping[str, Trace], graph: Graph, name: str, n: int) -> None:
    """Against ADOM+, the other primal method: totals. Against dual methods: edges a round of gradients."""
    where, precision = f"{name} of {n}, κ = 2, to 1e-08", 1e-8
    edges = {method: trace.cost("edges", precision).mean() for method, trace in traces.items()}
    gradients = {method: trace.cost("gradients", precision).mean() for method, trace in traces.items()}
    for method in ("ADOM+", "ADOM+, multi-consensus"):
        claims.at_most(f"{where}: edges of DADAO / {method}", 0.2, float(edges["DADAO"] / edges[method]))
    claims.at_most(
        f"{where}: gradients of DADAO / ADOM+", 1.0, float(gradients["DADAO"] / gradients["ADOM+"])
    )
    share = {method: n * trace.share() for method, trace in traces.items()}
    for method in ("MSDA", "ADOM+, multi-consensus"):
        claims.at_most(
            f"{name} of {n}: edges per n gradients, DADAO / {method}", 1.0, share["DADAO"] / share[method]
        )
    claims.close(
        f"{name} of {n}: edges per n gradients, continuized: each of its edges takes two (1e-9)",
        n / 2,
        share["continuized"],
        rel=1e-9,
    )


def _claim_star(claims: Claims, *, run: bool) -> None:
    """The authors' worked example: edges per n gradients on a star of 300."""
    n, problem = 300, quadratic_of(2.0, 300)
    trace = run_dadao(problem, tp.star(n), 2.0, 1, 30.0)
    claims.close(
        "star of 300: edges per 300 gradients, DADAO (5 %: clocks)", 299, n * trace.share(), rel=0.05
    )
    if not run:
        return
    star = tp.star(n, weights=tp.laplacian(step=1 / n))
    hyper = {"smoothness": 1.0, "strong_convexity": 0.5}
    multi = partial(adom_plus, multi_consensus=True)
    for method, factory, vectors, paper in (
        ("ADOM+", adom_plus, 2, 299),
        ("MSDA", msda, 1, 5083),
        ("ADOM+, multi-consensus", multi, 2, 62192),
    ):
        made = follow(factory, problem, star, 1, hyper, rounds=2, eval_every=1, vectors=vectors)
        claims.close(
            f"star of 300: edges per 300 gradients, {method} (1e-9)", paper, n * made.share(), rel=1e-9
        )


def _claim_gossip(claims: Claims, seeds: int) -> dict[str, Any]:
    """A²CiD² without gradients: how fast averaging is with and without the momentum."""
    n = 32
    problem = average(n, dim=_DIM)
    starts: Any = problem.starts
    ring = tp.ring(n)
    rates = exchange_rates(ring, 1.0)[1]
    one, two = tp.chi1(ring, rates), tp.chi2(ring, rates)
    shown: dict[str, Any] = {}
    for accelerated in (False, True):
        method = partial(acid, accelerated=accelerated)
        run = simulate(
            method, problem, ring, duration=300.0, eval_every=5.0, seeds=seeds, hyper={"lr": 0.0},
            precision="float64",
        )  # fmt: skip
        drift = float(np.abs(run.params["x"].mean(axis=1) - starts["x"].mean(axis=0)).max())
        table = run.to_pandas().pivot(index="seed", columns="time", values="consensus")
        values = table.to_numpy(float)
        trace = Trace(table.columns.to_numpy(float), values / values[:, :1], values, values)
        shown["with momentum" if accelerated else "without"] = {"slope": trace.slope(), "drift": drift}
    slopes = {name: value["slope"] for name, value in shown.items()}
    claims.at_least(
        f"A²CiD², ring of {n}, no gradients: slope of log distance to consensus, with / without momentum",
        3.0,
        slopes["with momentum"] / slopes["without"],
    )
    claims.close(
        "the same without momentum: slope is about −1/χ₁ (30 %, our measurement)",
        -1 / one,
        slopes["without"],
        rel=0.3,
    )
    claims.close(
        "the same with momentum: slope is about −0.8/√(χ₁χ₂) (30 %, our measurement)",
        -0.8 / np.sqrt(one * two),
        slopes["with momentum"],
        rel=0.3,
    )
    claims.at_most(
        "the same: the mean of x is kept, largest change",
        1e-12,
        max(value["drift"] for value in shown.values()),
    )
    return shown


def linear_regression(n: int, *, samples: int = 100, dim: int = 2, seed: int = 0) -> tuple[Problem, float]:
    """The authors' linear regression, and κ; scaled to L = 1.

    Every worker draws `make_regression` with noise 10 and multiplies its slope by U(0.01, 5);
    fᵢ = mean squared residual / L.
    """
    rng = np.random.default_rng(seed)
    A, b = np.empty((n, samples, dim)), np.empty((n, samples))
    for i in range(n):
        A[i], b[i], slope = make_regression(
            samples, dim, n_informative=dim, noise=10.0, coef=True, random_state=int(rng.integers(2**31))
        )
        b[i] += (rng.uniform(0.01, 5.0) - 1) * A[i] @ slope
    spectrum = 2 * np.linalg.eigvalsh(np.einsum("nsd,nse->nde", A, A) / samples)
    scale = np.sqrt(2 / spectrum.max())
    A, b = scale * A, scale * b
    optimum = np.linalg.lstsq(A.reshape(-1, dim), b.reshape(-1), rcond=None)[0]
    minimum = float(np.mean((A @ optimum - b) ** 2) / 2)
    problem = least_squares(n, dim=dim, samples=samples)
    problem = problem._replace(local={"A": A, "b": b}, optimum={"x": optimum}, minimum=minimum)
    return problem, float(spectrum.max() / spectrum.min())


def logistic_regression(
    n: int, *, samples: int = 100, dim: int = 2, l2: float = 0.1, seed: int = 0
) -> tuple[Problem, float]:
    """The authors' logistic regression, and κ; scaled to L = 1.

    Every worker draws `make_classification` without redundant features;
    fᵢ = (mean log(1 + exp(−y aᵀx)) + (l2/2) ‖x‖²) / L. They set μ = 1, which leaves nothing to condition; we take l2.
    """
    rng = np.random.default_rng(seed)
    A, y = np.empty((n, samples, dim)), np.empty((n, samples))
    for i in range(n):
        A[i], labels = make_classification(
            samples,
            dim,
            n_informative=dim,
            n_redundant=0,
            n_clusters_per_class=1,
            random_state=int(rng.integers(2**31)),
        )
        y[i] = 2 * labels - 1
    largest = np.linalg.eigvalsh(np.einsum("nsd,nse->nde", A, A) / samples).max() / 4 + l2

    def value(x: Any, A: Any, y: Any) -> Any:
        return (jnp.mean(jax.nn.softplus(-y * (A @ x))) + 0.5 * l2 * jnp.sum(x**2)) / largest

    def loss(params: Tree, key: Key, local: Tree, shared: Tree) -> jax.Array:
        return value(params["x"], local["A"], local["y"])

    def objective(params: Tree, local: Tree, shared: Tree) -> jax.Array:
        return value(params["x"], local["A"], local["y"])

    def whole(x: np.ndarray) -> tuple[float, np.ndarray]:
        margin = y * (A @ x)
        f = np.mean(np.logaddexp(0, -margin)) + 0.5 * l2 * x @ x
        slope = -y / (1 + np.exp(margin))
        return f / largest, (np.mean(slope[..., None] * A, axis=(0, 1)) + l2 * x) / largest

    x = scipy.optimize.minimize(whole, np.zeros(dim), jac=True, method="BFGS", options={"gtol": 1e-9}).x
    for _ in range(3):  # Newton: the distance is read to 1e-8 of its start and below
        p = 1 / (1 + np.exp(-(A @ x)))
        hessian = np.einsum("ns,nsd,nse->de", p * (1 - p), A, A) / (n * samples) + l2 * np.eye(dim)
        x = x - np.linalg.solve(hessian, largest * whole(x)[1])
    problem = Problem(
        n, lambda key: {"x": jnp.zeros(dim)}, loss, {"A": A, "y": y}, {}, objective, optimum={"x": x},
        minimum=whole(x)[0],
    )  # fmt: skip
    return problem, float(largest / l2)


def _authors_data(claims: Claims, seeds: int) -> dict[str, dict[str, Trace]]:
    """Linear regression on a star of 150, logistic regression on a random geometric graph of 50."""
    problem, kappa = linear_regression(150)
    star = _methods(problem, tp.star, kappa, seeds, longest=6000)
    n, precision = 150, 1e-8
    share = {method: n * trace.share() for method, trace in star.items()}
    for method in ("MSDA", "ADOM+, multi-consensus"):
        claims.at_most(
            f"linear regression, star of {n}: edges per n gradients, DADAO / {method}",
            1.0,
            share["DADAO"] / share[method],
        )
    logistic, steep = logistic_regression(50)
    geometric = _methods(logistic, tp.random_geometric, steep, seeds, dual=False, longest=15_000)
    for title, traces in (
        ("linear regression, star of 150", star),
        ("logistic regression, random geometric graph of 50", geometric),
    ):
        for what, most in (("edges", 0.2), ("gradients", 1.0)):
            needed = traces["DADAO"].cost(what, precision).mean()
            spent = traces["ADOM+"].at_least(what, precision)  # it may not be there yet
            claims.at_most(f"{title}, to 1e-08: {what} of DADAO / ADOM+ or more", most, float(needed / spent))
    return {
        f"linear regression, κ = {kappa:.1f}, star of 150": star,
        f"logistic regression, κ = {steep:.1f}, random geometric of 50": geometric,
    }


def _picture(
    shown: Mapping[str, Mapping[str, Trace]],
    rates: Mapping[tuple[str, int, int], Trace],
    chosen: Mapping[str, tuple[tuple[float, float], tuple[Trace, Trace] | None]],
) -> Any:
    """Distance against gradients and edges by method, one row a problem; and the costs of a precision."""
    figure, panels = blank(10.4, 3.7 * (len(shown) + 1), len(shown) + 1, 2)
    for row, (title, traces) in enumerate(shown.items()):
        for axes, what in zip(panels[2 * row :], ("gradients", "edges"), strict=False):
            _draw_methods(axes, traces, what)
            label = "gradients of single nodes" if what == "gradients" else "edges activated"
            frame(
                axes,
                label,
                "mean ‖xᵢ − x*‖² / its start",
                title if what == "gradients" else "band: min to max over seeds",
            )
        panels[2 * row + 1].legend(fontsize=7.5, frameon=False, loc="lower left")
    _draw_precision(panels[-2], panels[-1], rates, chosen)
    return figure


def _draw_methods(axes: Any, traces: Mapping[str, Trace], what: str) -> None:
    ends = [trace.at_least(what, 1e-8) for trace in traces.values()]
    for number, (method, trace) in enumerate(traces.items()):
        across, values = getattr(trace, what).mean(axis=0), np.maximum(trace.distance, 1e-30)
        style = {"color": COLOURS[number], "linestyle": DASHES[number]}
        axes.plot(across, np.exp(np.log(values).mean(axis=0)), lw=1.8, label=method, **style)
        axes.fill_between(
            across, values.min(axis=0), values.max(axis=0), color=COLOURS[number], alpha=0.2, lw=0
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(1e-9, 3)
    axes.set_xlim(min(ends) / 60, max(ends) * 1.5)


def _draw_precision(
    left: Any,
    right: Any,
    rates: Mapping[tuple[str, int, int], Trace],
    chosen: Mapping[str, tuple[tuple[float, float], tuple[Trace, Trace] | None]],
) -> None:
    precision, n = 1e-6, 20
    kappas = np.array(sorted({key[2] for key in rates}))
    cost = np.array([rates["ring", n, k].cost("gradients", precision) / n for k in kappas])
    left.plot(np.sqrt(kappas), cost.mean(axis=1), "o-", color=COLOURS[0], lw=1.5, ms=5)
    left.fill_between(np.sqrt(kappas), cost.min(axis=1), cost.max(axis=1), color=COLOURS[0], alpha=0.2, lw=0)
    frame(left, "√κ", f"gradients a node to {precision:g}", f"ring of {n}: a line through 0 by theory")
    left.set_xlim(left=0)
    left.set_ylim(bottom=0)
    names = sorted({key[0] for key in rates}, key=list(_FAMILIES).index)
    for number, name in enumerate(names):
        mine = [key for key in rates if key[0] == name and key[2] == 16]
        across = [_hardness(_FAMILIES[name](m)) for _, m, _ in mine]
        values = np.array([rates[key].cost("edges", precision) for key in mine])
        spread = np.abs(np.stack([values.min(axis=1), values.max(axis=1)]) - values.mean(axis=1))
        right.errorbar(
            across,
            values.mean(axis=1),
            yerr=spread,
            fmt=MARKERS[number],
            color=COLOURS[number],
            ms=6,
            capsize=3,
            label=name,
        )
    for name, (_, runs) in chosen.items():
        for kind, trace, marker in zip(("uniform", "optimised"), runs or (), ("X", "*"), strict=False):
            graph = _UNEVEN[name](n)
            values = trace.cost("edges", precision)
            right.plot(_hardness(graph), values.mean(), marker, color=COLOURS[6], ms=8)
            if name != "grid":  # which gains little
                right.annotate(
                    f"{name}, {kind}",
                    (_hardness(graph), values.mean()),
                    (-8, -3) if name == "barbell" else (8, -3),
                    textcoords="offset points",
                    fontsize=8,
                    ha="right" if name == "barbell" else "left",
                )
    reference = next(key for key in rates if key[0] == "ring" and key[2] == 16)
    slope = rates[reference].cost("edges", precision).mean() / _hardness(tp.ring(reference[1]))
    line = np.array([4.0, 300.0])
    right.plot(line, slope * line, color="#999999", lw=0.9, zorder=0)
    right.set_xscale("log")
    right.set_xlim(right=900)
    right.set_yscale("log")
    frame(
        right,
        "√(χ₁χ₂) of uniform rates with total 1",
        f"communications to {precision:g}",
        "κ = 16; line: proportional",
    )
    right.legend(fontsize=8, frameon=False, loc="upper left")
