"""D-SGD, gradient tracking and centralised SGD on quadratics: against loops, dense solvers and runs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references
import scipy.linalg

from dlax import theory
from dlax import topology as tp
from dlax.algorithms import dsgd, gradient_tracking
from dlax.data import from_arrays
from dlax.problems import average, least_squares, logistic, quadratic
from dlax.simulate import simulate, unroll
from dlax.types import Problem

N, DIM, LR = 8, 3, 0.1
GRAPHS = {
    "ring": tp.ring(N),
    "star": tp.star(N),
    "exponential": tp.static_exponential(N),
    "one-peer": tp.one_peer_exponential(N),
    "in turns": tp.cyclic(N, members=(tp.ring, tp.star)),
    "uneven": tp.star(N, weights=tp.uniform_neighbour()),  # row stochastic only
    "complete": tp.complete(N),
}
DOUBLY = [name for name in GRAPHS if name != "uneven"]
ORDERS = ["adapt_then_combine", "combine_then_adapt", "combine_while_adapt"]
PLAIN, NOISY = quadratic(N, dim=DIM), quadratic(N, dim=DIM, noise=1.0)
COMMON, LEAST = quadratic(N, dim=DIM, hessian="common", noise=1.0), least_squares(N, dim=DIM, samples=4)


def nested(n=N, seed=0, dtype=np.float32):
    """½ ‖Pᵢ (w₀₀, w₀₁, w₁₀, w₁₁, c) − qᵢ rᵢ‖² of parameters in a tree, started at random, and its matrices."""
    rng = np.random.default_rng(seed)
    P, q, r = (rng.normal(size=(n, 6, *more)).astype(dtype) for more in ((5,), (), ()))

    def init(key):
        return {"w": jax.random.normal(key, (2, 2)), "c": {"bias": jnp.ones(())}}

    def loss(params, key, local, shared):
        w, c = params["w"], params["c"]["bias"]
        x = jnp.stack([w[0, 0], w[0, 1], w[1, 0], w[1, 1], c])
        return 0.5 * jnp.sum(jnp.square(local["P"] @ x - local["q"] * local["r"]))

    def objective(params, local, shared):
        return jnp.mean(jax.vmap(lambda row: loss(params, None, row, shared))(local))

    problem = Problem(n, init, loss, {"P": P, "q": q, "r": r}, {}, objective)
    place = [4, 0, 1, 2, 3]  # of a flattened model: "c" comes before "w"
    P, q = P.astype(np.float64), q.astype(np.float64) * r
    A = np.einsum("nki,nkj->nij", P, P)[:, place][:, :, place]
    return problem, A, -np.einsum("nki,nk->ni", P, q)[:, place]


# ------------------------------------------------------------------------------------------------ quadratic_of


def test_quadratic_of_reads_off_random_hessians():
    q = theory.quadratic_of(NOISY)
    A, g, optimum = NOISY.local["A"], NOISY.local["g"], NOISY.optimum["x"]
    np.testing.assert_allclose(q.A, A, atol=1e-15)
    np.testing.assert_allclose(q.b, g - A @ optimum, atol=1e-15)
    np.testing.assert_array_equal(q.optimum, optimum)
    np.testing.assert_allclose(np.linalg.solve(q.A.mean(axis=0), -q.b.mean(axis=0)), optimum, atol=1e-14)
    assert q.sigma == pytest.approx(1.0, rel=1e-15) and q.start.tolist() == [[0.0] * DIM] * N
    assert theory.quadratic_of(NOISY, sigma=0.0).sigma == 0.0
    assert theory.quadratic_of(PLAIN, sigma=2.0).sigma == 2.0 and theory.quadratic_of(PLAIN).sigma == 0.0


def test_quadratic_of_reads_off_the_other_problems():
    q = theory.quadratic_of(COMMON)
    np.testing.assert_allclose(q.A, np.tile(np.diag(np.logspace(-1, 0, DIM)), (N, 1, 1)), atol=1e-15)
    q = theory.quadratic_of(LEAST)
    A, b = LEAST.local["A"], LEAST.local["b"]
    np.testing.assert_allclose(q.A, np.einsum("nsi,nsj->nij", A, A) / 4, atol=1e-14)
    np.testing.assert_allclose(q.b, -np.einsum("nsi,ns->ni", A, b) / 4, atol=1e-14)
    np.testing.assert_array_equal(q.optimum, LEAST.optimum["x"])
    problem = average(N, dim=2)
    q = theory.quadratic_of(problem)
    np.testing.assert_array_equal(q.A, np.tile(np.eye(2), (N, 1, 1)))
    np.testing.assert_array_equal(q.b, -problem.starts["x"])
    np.testing.assert_array_equal(q.start, problem.starts["x"])
    np.testing.assert_array_equal(q.optimum, problem.optimum["x"])


def test_quadratic_of_takes_any_affine_gradient():
    """Of a tree of parameters, single-precision data, an optimum nobody told, and a random start."""
    problem, A, b = nested()
    q = theory.quadratic_of(problem)
    np.testing.assert_allclose(q.A, A, atol=1e-13)
    np.testing.assert_allclose(q.b, b, atol=1e-13)
    np.testing.assert_allclose(q.optimum, np.linalg.solve(A.mean(axis=0), -b.mean(axis=0)), atol=1e-13)
    with jax.enable_x64(True):
        run = unroll(dsgd(LR), problem, GRAPHS["ring"])
        first = jax.vmap(lambda p: jax.flatten_util.ravel_pytree(p)[0])(run.params)
    np.testing.assert_array_equal(q.start, first)


def tiny_logistic(**options):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(32, 2)).astype(np.float32), np.arange(32, dtype=np.int32) % 2
    return logistic(N, dataset=from_arrays(x, y, x, y), optimum=False, **options)


def huber(n=N):
    """Quadratic near zero, and nowhere else."""

    def loss(params, key, local, shared):
        x = jnp.abs(params - local)
        return jnp.sum(jnp.where(x < 9.0, 0.5 * x**2, 9.0 * x - 40.5))

    return Problem(n, lambda key: jnp.zeros(2), loss, np.zeros((n, 2)), (), lambda *args: jnp.zeros(()))


@pytest.mark.parametrize(
    ("problem", "options", "message"),
    [
        (tiny_logistic(batch_size=None), {}, "gradients of this problem are not affine"),
        (tiny_logistic(batch_size=4), {}, "gradients of this problem are not affine"),
        (huber(), {}, "gradients of this problem are not affine"),
        (least_squares(N, dim=DIM, samples=4, batch_size=2), {}, r"samples its gradients.*batch_size: null"),
        (PLAIN, {"sigma": -1.0}, "sigma must be at least 0 and finite, got -1.0"),
        (PLAIN, {"sigma": np.nan}, "sigma must be at least 0 and finite, got nan"),
        (
            quadratic(2, dim=3_000, hessian="common"),
            {},
            "2 nodes with 3,000 parameters have Hessians of more",
        ),
    ],
)
def test_what_is_not_a_known_quadratic_is_refused(problem, options, message):
    with pytest.raises(ValueError, match=f"theory: .*{message}"):
        theory.quadratic_of(problem, **options)


# -------------------------------------------------------------------------------------------------------- runs


def affine_gradient(A, b):
    return lambda i, x, t, k: A[i] @ x + b[i]


def paths(step, x, optimum, rounds, period):
    """Distance, consensus and error of the mean at the ends of periods, of a loop over rounds."""
    rows = []
    for t in range(rounds + 1):
        if t % period == 0:
            mean = x.mean(axis=0)
            consensus = np.mean(np.sum((x - mean) ** 2, axis=1))
            rows.append(
                (np.mean(np.sum((x - optimum) ** 2, axis=1)), consensus, np.sum((mean - optimum) ** 2))
            )
        x = step(x, t)
    return np.array(rows).T


def check_paths(prediction, want, rounds):
    for got, path in zip(
        (prediction.distances, prediction.consensuses, prediction.mean_errors), want, strict=True
    ):
        np.testing.assert_allclose(got(rounds), path, rtol=1e-9, atol=1e-18)


PROBLEMS = {"quadratic": PLAIN, "least squares": LEAST, "average": average(N, dim=2)}


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("problem", "local_steps"), [("average", 1), ("quadratic", 3)])
def test_dsgd_is_the_loop_over_nodes(graph, order, problem, local_steps):
    topology, options = GRAPHS[graph], {"lr": LR, "order": order, "local_steps": local_steps}
    q = theory.quadratic_of(PROBLEMS[problem])

    def step(x, t):
        grad = affine_gradient(q.A, q.b)
        return references.dsgd(grad, lambda _: topology.dense(t), x, rounds=1, **options)

    prediction = theory.dsgd(PROBLEMS[problem], topology, **options)
    check_paths(prediction, paths(step, q.start, q.optimum, 6, topology.period), 6)


def tracking(A, b, W, x, lr, rounds, noise=None):
    """Models [rounds + 1, ..., n, d] of DIGing; W of the round; x may lead with many runs."""
    y, old, path = np.zeros_like(x), np.zeros_like(x), [x]
    for t in range(rounds):
        g = np.einsum("nij,...nj->...ni", A, x) + b
        g = g if noise is None else g + noise(t)
        y, old = W(t) @ y + g - old, g
        x = W(t) @ x - lr * y
        path.append(x)
    return np.array(path)


@pytest.mark.parametrize("graph", DOUBLY)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_gradient_tracking_is_the_loop_and_has_no_bias(graph, problem):
    topology, problem = GRAPHS[graph], PROBLEMS[problem]
    q = theory.quadratic_of(problem)
    models = tracking(q.A, q.b, topology.dense, q.start, 0.05, 12)
    prediction = theory.gradient_tracking(problem, topology, lr=0.05)
    check_paths(
        prediction, paths(lambda x, t: models[min(t + 1, 12)], q.start, q.optimum, 12, topology.period), 12
    )
    assert prediction.rate < 1 and prediction.conserved.size == 0
    assert prediction.bias < 1e-26 and prediction.steady_distance == prediction.bias


@pytest.mark.parametrize("graph", ["ring", "exponential", "one-peer"])
def test_predictions_are_what_runs_do(graph):
    topology = GRAPHS[graph]
    L = topology.period
    for algorithm, prediction in (
        (dsgd(LR), theory.dsgd(PLAIN, topology, lr=LR)),
        (gradient_tracking(0.05), theory.gradient_tracking(PLAIN, topology, lr=0.05)),
    ):
        run = simulate(
            algorithm, PLAIN, topology, rounds=12 * L, eval_every=L, precision="float64"
        ).to_pandas()
        assert run["round"].tolist() == prediction.times(12 * L).tolist()
        np.testing.assert_allclose(run["distance"], prediction.distances(12 * L), rtol=1e-10)
        np.testing.assert_allclose(run["consensus"], prediction.consensuses(12 * L), rtol=1e-9, atol=1e-20)


def noisy_run(algorithm, problem=NOISY, topology=GRAPHS["ring"], rounds=400):
    """Every metric at every tenth round, [seeds, times]."""
    table = simulate(
        algorithm, problem, topology, rounds=rounds, eval_every=10, seeds=96, precision="float64"
    ).to_pandas()
    return {
        name: table.pivot(index="seed", columns="round", values=name).to_numpy()
        for name in ("distance", "consensus")
    }


def deviations(samples, predicted):
    """How many standard errors the mean over the leading axis is off."""
    return (samples.mean(axis=0) - predicted) / (samples.std(axis=0, ddof=1) / np.sqrt(len(samples)))


@pytest.mark.parametrize(
    ("algorithm", "predict"),
    [
        (dsgd(LR, local_steps=2), functools.partial(theory.dsgd, lr=LR, local_steps=2)),
        (
            dsgd(LR, order="combine_then_adapt"),
            functools.partial(theory.dsgd, lr=LR, order="combine_then_adapt"),
        ),
        (gradient_tracking(0.05), functools.partial(theory.gradient_tracking, lr=0.05)),
    ],
    ids=["local steps", "combine then adapt", "tracking"],
)
def test_noisy_runs_are_within_their_standard_errors(algorithm, predict):
    """At every time, and in the long run (averaged over the second half); five standard errors."""
    prediction, runs = predict(NOISY, GRAPHS["ring"]), noisy_run(algorithm)
    assert prediction.rate**400 < 1e-3  # what is left at half time of the squared start
    for name, path, steady in (
        ("distance", prediction.distances(400), prediction.steady_distance),
        ("consensus", prediction.consensuses(400), prediction.steady_consensus),
    ):
        assert np.abs(deviations(runs[name][:, 1:], path[10::10])).max() < 5
        late = runs[name][:, 20:].mean(axis=1)
        assert abs(deviations(late, path[200::10].mean())) < 5
        assert abs(deviations(late, steady)) < 5
        assert late.std(ddof=1) / np.sqrt(96) < 0.05 * steady  # or the test could not fail


# ------------------------------------------------------------------------------------------------ steady state


def dense(problem, W, lr, order, local_steps):
    """M, c, Q of one round of D-SGD, node by node from the definition."""
    q = theory.quadratic_of(problem)
    n, d = q.b.shape
    G, h, S = (np.zeros(shape) for shape in ((n * d, n * d), n * d, (n * d, n * d)))
    for i in range(n):
        own = slice(i * d, (i + 1) * d)
        inner = np.eye(d) - lr * q.A[i]
        powers = [np.linalg.matrix_power(inner, k) for k in range(local_steps + 1)]
        G[own, own] = powers[-1]
        h[own] = -lr * sum(powers[:-1]) @ q.b[i]
        S[own, own] = lr**2 * q.sigma**2 / d * sum(power @ power.T for power in powers[:-1])
    mix = np.kron(W, np.eye(d))
    return {
        "adapt_then_combine": (mix @ G, mix @ h, mix @ S @ mix.T),
        "combine_then_adapt": (G @ mix, h, S),
        "combine_while_adapt": (mix + G - np.eye(n * d), h, S),
    }[order]


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("order", ORDERS)
def test_the_steady_state_of_dsgd_is_that_of_dense_solvers(graph, order, local_steps=2):
    """Over a cyclic graph: the fixed point of a whole period, and the noise of its rounds carried to its end."""
    topology = GRAPHS[graph]
    M, c, Q = np.eye(N * DIM), np.zeros(N * DIM), np.zeros((N * DIM, N * DIM))
    for t in range(topology.period):
        m, o, noise = dense(NOISY, topology.dense(t), LR, order, local_steps)
        M, c, Q = m @ M, m @ c + o, m @ Q @ m.T + noise
    mean = np.linalg.solve(np.eye(N * DIM) - M, c).reshape(N, DIM)
    spread = scipy.linalg.solve_discrete_lyapunov(M, Q)
    optimum = NOISY.optimum["x"]
    bias = np.mean(np.sum((mean - optimum) ** 2, axis=1))
    middle = np.kron(np.full((1, N), 1 / N), np.eye(DIM))
    of_mean = np.sum((mean.mean(axis=0) - optimum) ** 2) + np.trace(middle @ spread @ middle.T)
    got = theory.dsgd(NOISY, topology, lr=LR, order=order, local_steps=local_steps)
    assert got.rate == pytest.approx(np.abs(np.linalg.eigvals(M)).max() ** (1 / topology.period), rel=1e-10)
    assert got.bias == pytest.approx(bias, rel=1e-9)
    assert got.steady_distance == pytest.approx(bias + np.trace(spread) / N, rel=1e-9)
    assert got.steady_mean_error == pytest.approx(of_mean, rel=1e-9)
    assert got.steady_consensus == pytest.approx(bias + np.trace(spread) / N - of_mean, rel=1e-8, abs=1e-15)
    assert got.conserved.size == 0


@pytest.mark.parametrize("order", ORDERS)
def test_the_bias_is_of_order_lr_squared(order):
    """bias / lr² tends to what perturbation theory says, from the pseudo-inverse of I − W alone."""
    ring, q = GRAPHS["ring"], theory.quadratic_of(PLAIN)
    W, g = ring.dense(), PLAIN.local["g"]  # g: the gradients at x*
    apart = -np.linalg.pinv(np.eye(N) - W) @ g  # X − X̄ per lr, before a last average
    models = W @ apart if order == "adapt_then_combine" else apart
    at = apart if order == "combine_while_adapt" else W @ apart  # where gradients are taken
    drift = -np.linalg.solve(q.A.mean(axis=0), np.einsum("nij,nj->i", q.A, at) / N)  # x̄ − x* per lr
    constant = np.mean(np.sum((models + drift) ** 2, axis=1))
    off = [
        abs(theory.dsgd(PLAIN, ring, lr=lr, order=order).bias / lr**2 / constant - 1) for lr in (1e-3, 1e-4)
    ]
    assert off[1] < 2e-3 and off[0] / off[1] == pytest.approx(10, rel=0.1)


@pytest.mark.parametrize("order", ORDERS)
def test_without_heterogeneity_there_is_no_bias(order):
    same = quadratic(N, dim=DIM, heterogeneity=0.0)
    for graph in GRAPHS.values():
        assert theory.dsgd(same, graph, lr=LR, order=order, local_steps=2).bias < 1e-27
    assert theory.dsgd(PLAIN, GRAPHS["ring"], lr=LR, order=order).bias > 1e-3


def test_a_common_hessian_leaves_the_mean_without_bias():
    quiet = theory.dsgd(COMMON, GRAPHS["ring"], lr=LR, sigma=0.0)
    assert quiet.steady_mean_error < 1e-28 < 1e-3 < quiet.steady_consensus


def test_beyond_the_stability_limit_nothing_is_steady():
    """adapt_then_combine, common Hessian: |1 − lr L| = 1 at lr = 2, whatever the graph."""
    below, above = (theory.dsgd(COMMON, GRAPHS["ring"], lr=lr) for lr in (1.99, 2.01))
    assert below.rate == pytest.approx(0.99, rel=1e-12) and np.isfinite(below.steady_distance)
    assert above.rate == pytest.approx(1.01, rel=1e-12) and not above.converges
    assert np.isnan([above.steady_distance, above.bias, above.steady_consensus]).all()
    growing = above.mean_errors(2_000)
    assert growing[-1] > 1e10 * growing[0]


def test_on_the_complete_graph_dsgd_is_centralized():
    complete, central = theory.dsgd(NOISY, GRAPHS["complete"], lr=LR), theory.centralized_sgd(NOISY, lr=LR)
    assert complete.steady_distance == pytest.approx(central.steady_distance, rel=1e-12)
    assert complete.steady_consensus < 1e-16
    np.testing.assert_allclose(complete.distances(30), central.distances(30), rtol=1e-12)
    assert complete.rate == pytest.approx(central.rate, rel=1e-12)


# --------------------------------------------------------------------------------------------- linear speed-up


def common(n, noise=1.0):
    return quadratic(n, dim=DIM, hessian="common", noise=noise)


CURVES = np.logspace(-1, 0, DIM)  # the eigenvalues of the common Hessian


@pytest.mark.parametrize("n", [1, 2, 8, 32])
def test_the_variance_of_centralized_sgd_falls_as_one_over_n(n):
    """σ² lr / n · mean over eigenvalues a of 1 / (a (2 − lr a))."""
    central = theory.centralized_sgd(common(n), lr=LR)
    want = LR / n * np.mean(1 / (CURVES * (2 - LR * CURVES)))
    assert central.steady_distance == pytest.approx(want, rel=1e-12)
    assert central.bias < 1e-28 and central.nodes == 1


@pytest.mark.parametrize("order", ORDERS)
def test_with_a_common_hessian_the_network_adds_consensus_error_and_nothing_else(order):
    """The mean follows centralised SGD exactly; what is added decouples over eigenvectors of W."""
    g, ring = COMMON.local["g"], GRAPHS["ring"]
    prediction = theory.dsgd(COMMON, ring, lr=LR, order=order)
    central = theory.centralized_sgd(COMMON, lr=LR)
    assert prediction.steady_mean_error == pytest.approx(central.steady_distance, rel=1e-11)
    eigenvalues, vectors = np.linalg.eigh(ring.dense())
    excess = 0.0
    for value, vector in zip(eigenvalues[:-1], vectors.T[:-1], strict=True):
        for a, pull in zip(CURVES, vector @ g, strict=True):
            outside = value if order == "adapt_then_combine" else 1.0
            factor = value - LR * a if order == "combine_while_adapt" else value * (1 - LR * a)
            excess += (outside * LR) ** 2 * (pull**2 / (1 - factor) ** 2 + 1 / DIM / (1 - factor**2))
    # combine_then_adapt steps with the gradient at W x, of which a pull is the same
    assert prediction.steady_consensus == pytest.approx(excess / N, rel=1e-11)


def test_the_excess_of_dsgd_over_centralized_sgd_vanishes_with_the_step_size():
    """Random Hessians: the mean's error exceeds σ²/n's by a share that falls like lr."""
    excess = []
    for lr in (1e-2, 1e-3, 1e-4):
        mean = theory.dsgd(NOISY, GRAPHS["ring"], lr=lr).steady_mean_error
        excess.append(mean / theory.centralized_sgd(NOISY, lr=lr).steady_distance - 1)
    assert 0 < excess[2] < 2e-2
    assert excess[1] / excess[2] == pytest.approx(10, rel=0.1) and excess[0] > excess[1]


# ------------------------------------------------------------------------------------------- gradient tracking


@pytest.mark.parametrize("graph", ["ring", "exponential", "one-peer"])
def test_the_rate_of_gradient_tracking_is_the_slope_of_a_long_run(graph):
    topology, q = GRAPHS[graph], theory.quadratic_of(PLAIN)
    rate = theory.gradient_tracking(PLAIN, topology, lr=0.05).rate
    models = tracking(q.A, q.b, topology.dense, q.start, 0.05, 1_000)
    distance = np.sum((models - q.optimum) ** 2, axis=(1, 2))
    assert (distance[1_000] / distance[700]) ** (1 / 600) == pytest.approx(rate, rel=1e-6)


@pytest.mark.parametrize("graph", ["ring", "exponential", "in turns"])
def test_gradient_tracking_diverges_where_its_rate_crosses_one(graph):
    topology, q = GRAPHS[graph], theory.quadratic_of(PLAIN)
    low, high = 0.01, 2.0
    while high - low > 1e-3 * low:
        lr = (low + high) / 2
        low, high = (lr, high) if theory.gradient_tracking(PLAIN, topology, lr=lr).rate < 1 else (low, lr)
    assert 0.05 < low < 1.9
    for lr, grows in ((0.99 * low, False), (1.01 * low, True)):
        prediction = theory.gradient_tracking(PLAIN, topology, lr=lr)
        assert prediction.converges is not grows and np.isnan(prediction.bias) == grows
        models = tracking(q.A, q.b, topology.dense, q.start, lr, 2_000)
        distance = np.sum((models - q.optimum) ** 2, axis=(1, 2))
        early, late = distance[900:1_001].max(), distance[1_900:].max()  # the slowest mode may oscillate
        assert (late > early > distance[0]) if grows else late < early
        assert (late / early) ** (1 / 2_000) == pytest.approx(prediction.rate, rel=1e-3)


@pytest.mark.parametrize("graph", ["ring", "exponential", "one-peer"])
def test_the_noise_of_gradient_tracking_is_that_of_its_full_state(graph):
    """(x, y, g_old) as the algorithm holds it: the same distances after every period."""
    topology, q = GRAPHS[graph], theory.quadratic_of(NOISY)
    nd, lr, eye = N * DIM, 0.05, np.eye(N * DIM)
    A = scipy.linalg.block_diag(*q.A)
    z, spread = np.concatenate([q.start.ravel(), np.zeros(2 * nd)]), np.zeros((3 * nd, 3 * nd))
    rounds = 4 * topology.period
    want = []
    for t in range(rounds + 1):
        if t % topology.period == 0:
            x = z[:nd].reshape(N, DIM)
            want.append(np.mean(np.sum((x - q.optimum) ** 2, axis=1)) + np.trace(spread[:nd, :nd]) / N)
        W, zero = np.kron(topology.dense(t), np.eye(DIM)), np.zeros((nd, nd))
        of_y = np.hstack([A, W, -eye])
        M = np.vstack([np.hstack([W, zero, zero]) - lr * of_y, of_y, np.hstack([A, zero, zero])])
        enters = np.vstack([-lr * eye, eye, eye])
        z = M @ z + enters @ q.b.ravel()
        spread = M @ spread @ M.T + q.sigma**2 / DIM * enters @ enters.T
    prediction = theory.gradient_tracking(NOISY, topology, lr=lr)
    np.testing.assert_allclose(prediction.distances(rounds), want, rtol=1e-11)


# -------------------------------------------------------------------------------------------- sizes, refusals


@pytest.mark.parametrize("n", [1, 2])
def test_one_and_two_nodes(n):
    problem, graph = quadratic(n, dim=DIM, noise=1.0), tp.complete(n)
    central = theory.centralized_sgd(problem, lr=LR)
    plain, tracked = theory.dsgd(problem, graph, lr=LR), theory.gradient_tracking(problem, graph, lr=LR)
    assert plain.steady_distance == pytest.approx(central.steady_distance, rel=1e-12)
    assert tracked.bias < 1e-28 and tracked.rate < 1
    if n == 1:
        assert tracked.rate == pytest.approx(central.rate, rel=1e-12)
        assert tracked.steady_distance == pytest.approx(central.steady_distance, rel=1e-12)


def test_a_step_size_of_zero_is_gossip():
    still = theory.dsgd(average(N, dim=2), GRAPHS["ring"], lr=0.0)
    assert still.conserved.shape == (2 * N, 2) and still.bias < 1e-28
    assert still.rate == pytest.approx(1 - GRAPHS["ring"].spectral_gap, rel=1e-12)


TWO_RINGS = tp.random_sequence(N, members=(tp.ring, tp.star))
COLUMNS = tp.from_matrix(GRAPHS["uneven"].dense().T, allow_column=True)


@pytest.mark.parametrize(
    ("predict", "topology", "options", "message"),
    [
        (theory.dsgd, tp.ring(6), {}, "the problem has 8 nodes, topology 'ring' 6"),
        (theory.gradient_tracking, tp.ring(9), {}, "the problem has 8 nodes, topology 'ring' 9"),
        (theory.dsgd, TWO_RINGS, {}, "needs a fixed or cyclic topology, and .random_sequence.* is random"),
        (theory.gradient_tracking, tp.random_pairwise(N), {}, "needs a fixed or cyclic .* is random"),
        (theory.dsgd, COLUMNS, {}, "needs a topology that is row stochastic"),
        (theory.gradient_tracking, GRAPHS["uneven"], {}, "needs a topology that is doubly stochastic"),
        (
            theory.dsgd,
            GRAPHS["ring"],
            {"order": "combine"},
            "order must be one of adapt_then_combine, .*'combine'",
        ),
        (theory.dsgd, GRAPHS["ring"], {"local_steps": 0}, "local_steps must be at least 1, got 0"),
        (theory.dsgd, GRAPHS["ring"], {"lr": -0.1}, "lr must be at least 0 and finite, got -0.1"),
        (
            theory.gradient_tracking,
            GRAPHS["ring"],
            {"lr": np.inf},
            "lr must be at least 0 and finite, got inf",
        ),
    ],
)
def test_what_does_not_fit_is_refused(predict, topology, options, message):
    with pytest.raises(ValueError, match=f"theory: {message}"):
        predict(PLAIN, topology, **{"lr": LR} | options)


def test_what_is_too_large_is_refused_before_it_is_built():
    """A matrix of 100,000² numbers would be 80 GB."""
    large = quadratic(50_000, dim=2, hessian="common")
    for predict in (theory.dsgd, theory.gradient_tracking):
        with pytest.raises(ValueError, match=r"a recursion over .* numbers is too large"):
            predict(large, tp.ring(50_000), lr=LR)
    assert theory.centralized_sgd(large, lr=LR).rate == pytest.approx(0.99, rel=1e-9)
