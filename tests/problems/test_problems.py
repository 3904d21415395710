"""Problems: what they promise to know is true, and every node draws from its own samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from dlax.algorithms import gossip
from dlax.data import DATASETS, empty_nodes, from_arrays, iid, quantity_skew
from dlax.models import linear
from dlax.problems import (
    PROBLEMS,
    average,
    average_of,
    classification,
    least_squares,
    logistic,
    quadratic,
    softmax,
)
from dlax.problems.finite_sum import decode, encode, evaluator, hold_out
from dlax.simulate import simulate
from dlax.topology import complete, ring


def objective(problem, params):
    """f and ∇f at one model, in float64."""
    with jax.enable_x64(True):
        arguments = jax.tree.map(jnp.asarray, (params, problem.local, problem.shared))
        return jax.device_get(jax.jit(jax.value_and_grad(problem.objective))(*arguments))


def node_gradients(problem, params, draws=1):
    """Losses [draws, n] and gradients [draws, n, ...] of every node at one model, in float64."""

    def one(key, params, local, shared):
        return jax.value_and_grad(problem.loss)(params, key, local, shared)

    over_nodes = jax.vmap(one, (0, None, 0, None))
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(0), (draws, problem.n))
        arguments = jax.tree.map(jnp.asarray, (params, problem.local, problem.shared))
        return jax.device_get(jax.jit(jax.vmap(over_nodes, (0, None, None, None)))(keys, *arguments))


def once(result):
    """The only draw of `node_gradients`."""
    return jax.tree.map(lambda leaf: leaf[0], result)


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


# ------------------------------------------------------------------------------------------------ quadratic


@pytest.mark.parametrize("hessian", ["random", "common"])
@pytest.mark.parametrize("n", [1, 2, 7])
def test_quadratic_keeps_its_promises(n, hessian):
    problem = quadratic(n, dim=4, condition=25.0, heterogeneity=3.0, hessian=hessian)
    value, grads = objective(problem, problem.optimum)
    assert value == problem.minimum == 0
    np.testing.assert_allclose(flat(grads), 0, atol=1e-15)
    np.testing.assert_allclose(np.linalg.norm(problem.optimum["x"]), 1)

    _, at_optimum = once(node_gradients(problem, problem.optimum))
    zeta = np.mean(np.sum(at_optimum["x"] ** 2, axis=1))
    np.testing.assert_allclose(zeta, 9.0 if n > 1 else 0.0, rtol=1e-12)

    matrices = problem.local["A"] if hessian == "random" else [np.diag(problem.shared["a"])]
    for A in matrices:
        eigenvalues = np.linalg.eigvalsh(A)
        np.testing.assert_allclose(np.diff(np.log(eigenvalues)), np.log(25) / 3, rtol=1e-10)
        np.testing.assert_allclose(eigenvalues[[0, -1]], [1 / 25, 1])


@pytest.mark.parametrize("hessian", ["random", "common"])
def test_quadratic_objective_is_the_mean_of_the_nodes_losses(hessian):
    problem = quadratic(5, dim=4, hessian=hessian)
    x = {"x": np.arange(4.0)}
    losses, grads = once(node_gradients(problem, x))
    value, total = objective(problem, x)
    np.testing.assert_allclose(value, np.mean(losses), rtol=1e-12)
    np.testing.assert_allclose(total["x"], np.mean(grads["x"], axis=0), atol=1e-12)


def test_quadratic_noise_is_unbiased_with_the_variance_asked_for():
    n, sigma, dim = 5000, 2.0, 3
    noisy = quadratic(n, dim=dim, noise=sigma, hessian="common")
    exact = quadratic(n, dim=dim, hessian="common")
    losses, noisy_grads = once(node_gradients(noisy, noisy.optimum))
    exact_losses, grads = once(node_gradients(exact, noisy.optimum))
    np.testing.assert_array_equal(losses, exact_losses)
    xi = noisy_grads["x"] - grads["x"]
    # ξ has n · d independent normal entries of variance σ²/d; ‖ξ‖² d/σ² is chi-square with d degrees.
    np.testing.assert_allclose(xi.mean(axis=0), 0, atol=5 * sigma / np.sqrt(dim * n))
    deviation = sigma**2 * np.sqrt(2 / dim / n)
    np.testing.assert_allclose(np.mean(np.sum(xi**2, axis=1)), sigma**2, atol=5 * deviation)


# -------------------------------------------------------------------------------------------- least squares


@pytest.mark.parametrize("n", [1, 2, 6])
def test_least_squares_optimum_and_minimum(n):
    problem = least_squares(n, dim=4, samples=6, heterogeneity=2.0)
    value, grads = objective(problem, problem.optimum)
    np.testing.assert_allclose(value, problem.minimum, rtol=1e-12)
    np.testing.assert_allclose(flat(grads), 0, atol=1e-13)
    A, b = problem.local["A"].reshape(-1, 4), problem.local["b"].reshape(-1)
    np.testing.assert_allclose(problem.optimum["x"], np.linalg.solve(A.T @ A, A.T @ b), rtol=1e-10)
    x = {"x": np.arange(4.0)}
    np.testing.assert_allclose(objective(problem, x)[0], np.mean((A @ x["x"] - b) ** 2) / 2, rtol=1e-12)
    np.testing.assert_allclose(
        objective(problem, x)[0], np.mean(once(node_gradients(problem, x))[0]), rtol=1e-12
    )


def test_least_squares_samples_are_unbiased():
    full, sampled = (least_squares(4, dim=2, samples=5, batch_size=b) for b in (None, 2))
    x = {"x": np.ones(2)}
    draws = node_gradients(sampled, x, draws=400)[1]["x"]
    exact = once(node_gradients(full, x))[1]["x"]
    deviation = draws.std(axis=0) / np.sqrt(len(draws))
    assert (np.abs(draws.mean(axis=0) - exact) < 5 * deviation).all()
    assert (draws.std(axis=0) > 0).all()


# ------------------------------------------------------------------------------- finite sums over real samples


def dataset(classes, N=60):
    """Points in three dimensions whose classes overlap."""
    rng = np.random.default_rng(classes)
    x = rng.normal(size=(N, 3)).astype(np.float32)
    y = np.argmax(x @ rng.normal(size=(3, classes)) + rng.gumbel(size=(N, classes)), axis=1)
    return from_arrays(x, y, x[:17] + 0.5, y[:17], num_classes=classes)


REGRESSIONS = {"logistic": (logistic, dataset(2)), "softmax": (softmax, dataset(3))}
regressions = pytest.mark.parametrize("name", REGRESSIONS)


def make(name, n=4, **options):
    factory, data = REGRESSIONS[name]
    return factory(n, dataset=data, **{"l2": 0.01, **options})


@regressions
@pytest.mark.parametrize("node_weights", ["equal", "samples"])
def test_regression_optimum(name, node_weights):
    problem = make(name, partition=quantity_skew(alpha=0.5), node_weights=node_weights)
    value, grads = objective(problem, problem.optimum)
    assert np.linalg.norm(flat(grads)) < 1e-7
    np.testing.assert_allclose(value, problem.minimum, rtol=1e-12)
    rng = np.random.default_rng(0)
    for scale in (1e-3, 1.0):
        step = jax.tree.map(lambda leaf: rng.normal(size=np.shape(leaf)), problem.optimum)
        other = jax.tree.map(lambda leaf, move: leaf + scale * move, problem.optimum, step)  # noqa: B023
        assert objective(problem, other)[0] > problem.minimum


def plain_losses(name, params, x, y):
    """Cross entropy of each sample, a sample at a time, in float64."""
    losses = []
    for a, label in zip(x.astype(float), y, strict=True):
        outputs = a @ np.asarray(params["w"]) + np.asarray(params["c"])
        if name == "logistic":
            outputs = np.array([0.0, outputs])
        losses.append(np.log(np.sum(np.exp(outputs))) - outputs[label])
    return np.array(losses)


def some_params(problem):
    rng = np.random.default_rng(3)
    with jax.enable_x64(True):
        shapes = jax.eval_shape(problem.init, jax.random.key(0))
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), shapes)


@regressions
@pytest.mark.parametrize("node_weights", ["equal", "samples"])
def test_full_batches_of_unequal_nodes_are_plain_means(name, node_weights):
    """The padded, masked loss against the mean over the node's samples; weights by hand; f is their mean."""
    problem = make(name, partition=quantity_skew(alpha=0.5), batch_size=None, node_weights=node_weights)
    params = some_params(problem)
    losses, grads = once(node_gradients(problem, params))
    start, count = problem.local["start"], problem.local["count"]
    assert len(set(count)) > 1
    x, y = problem.shared["x"], problem.shared["y"]
    penalty = 0.005 * np.sum(flat(params) ** 2)
    for i in range(4):
        mine = slice(start[i], start[i] + count[i])
        weight = 1.0 if node_weights == "equal" else 4 * count[i] / 60
        assert problem.local["weight"][i] == pytest.approx(weight, rel=1e-12)
        want = weight * plain_losses(name, params, x[mine], y[mine]).mean() + penalty
        np.testing.assert_allclose(losses[i], want, rtol=1e-10)
    value, total = objective(problem, params)
    np.testing.assert_allclose(value, np.mean(losses), rtol=1e-10)
    np.testing.assert_allclose(flat(total), flat(jax.tree.map(lambda g: g.mean(axis=0), grads)), rtol=1e-10)


def test_weights_by_samples_make_the_split_disappear():
    """wᵢ = n sᵢ / N: f is the mean over all samples, whoever holds them."""
    values = []
    for partition in (iid(), quantity_skew(alpha=0.3)):
        problem = make("softmax", partition=partition, node_weights="samples")
        values.append(objective(problem, some_params(problem))[0])
        np.testing.assert_allclose(problem.shared["weight"], 1 / 60)
    np.testing.assert_allclose(*values, rtol=1e-12)


@regressions
@pytest.mark.parametrize("batch_size", [None, 8])
def test_nodes_without_data_feel_the_regulariser_only(name, batch_size):
    problem = make(name, n=6, partition=empty_nodes(fraction=0.4), batch_size=batch_size)
    params = some_params(problem)
    losses, grads = once(node_gradients(problem, params))
    without = np.flatnonzero(problem.local["count"] == 0)
    assert len(without) == 2 and (problem.local["weight"][without] == 0).all()
    for i in without:
        np.testing.assert_allclose(losses[i], 0.005 * np.sum(flat(params) ** 2), rtol=1e-12)
        for g, leaf in zip(jax.tree.leaves(grads), jax.tree.leaves(params), strict=True):
            np.testing.assert_allclose(g[i], 0.01 * leaf, rtol=1e-12)
    unregularised = make(
        name, n=6, partition=empty_nodes(fraction=0.4), batch_size=batch_size, l2=0.0, optimum=False
    )
    _, grads = once(node_gradients(unregularised, params))
    assert all((g[without] == 0).all() for g in jax.tree.leaves(grads))


def drawn_samples(problem, batch_size, draws):
    """How often every node drew every row [draws, n, N]: gradients of a model that is linear in the row."""
    N = len(problem.shared["y"])
    problem = problem._replace(shared=problem.shared | {"x": np.eye(N, dtype=np.float32)})
    _, grads = node_gradients(problem, {"w": np.zeros(N), "c": np.zeros(())}, draws)
    return grads["w"] * (2 - 4 * problem.shared["y"]) * batch_size  # each row pulls by ±1/2 over the batch


def test_minibatches_are_uniform_over_the_nodes_own_samples():
    batch_size, repeats = 4, 500
    problem = make(
        "logistic", partition=quantity_skew(alpha=0.7), batch_size=batch_size, l2=0.0, optimum=False
    )
    counts = drawn_samples(problem, batch_size, repeats)
    np.testing.assert_allclose(counts, np.round(counts), atol=1e-9)
    for i in range(4):
        start, count = problem.local["start"][i], problem.local["count"][i]
        mine = counts[:, i, start : start + count]
        assert mine.sum() == counts[:, i].sum() == repeats * batch_size
        if count > 1:
            assert scipy.stats.chisquare(mine.sum(axis=0)).pvalue > 1e-4


@regressions
@pytest.mark.parametrize("n", [1, 2])
def test_regressions_of_one_and_two_nodes(name, n):
    problem = make(name, n=n)
    assert problem.local["count"].sum() == 60 and problem.table.shape == (n, REGRESSIONS[name][1].num_classes)
    assert np.linalg.norm(flat(objective(problem, problem.optimum)[1])) < 1e-7


@regressions
def test_held_out_loss_and_accuracy_are_plain_means(name):
    problem = make(name)
    data = REGRESSIONS[name][1]
    params = some_params(problem)
    with jax.enable_x64(True):
        got = jax.device_get(problem.evaluate(params, problem.held))
    outputs = data.x_test.astype(float) @ params["w"] + params["c"]
    predicted = outputs > 0 if name == "logistic" else outputs.argmax(axis=1)
    losses = plain_losses(name, params, data.x_test, data.y_test)
    np.testing.assert_allclose(got["test_loss"], losses.mean(), rtol=1e-6)
    np.testing.assert_allclose(got["accuracy"], (predicted == data.y_test).mean(), rtol=1e-6)


@pytest.mark.parametrize("M", [1, 63, 64, 65, 200])
def test_chunks_of_an_evaluation_hold_every_sample_once(M):
    """The padding of the last chunk counts for nothing."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(M, 2)).astype(np.float32), rng.integers(0, 2, M)
    held = hold_out(from_arrays(x, y, x, y, num_classes=2), None, 0)
    assert held["mask"].sum() == M
    evaluate = evaluator(lambda params, x: x[:, 0], lambda outputs, y: outputs, lambda outputs: outputs > 0)
    got = evaluate({}, held)
    np.testing.assert_allclose(got["test_loss"], x[:, 0].mean(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(got["accuracy"], ((x[:, 0] > 0) == y).mean(), rtol=1e-6)


def test_a_limit_on_the_held_out_samples_keeps_a_fixed_subset():
    data = dataset(3)
    first, again, other = (hold_out(data, 5, seed) for seed in (0, 0, 1))
    assert first["mask"].sum() == 5
    np.testing.assert_array_equal(first["x"], again["x"])
    assert (first["x"] != other["x"]).any()
    np.testing.assert_array_equal(hold_out(data, 1000, 0)["x"][0], data.x_test)


def images(N=70):
    """Small grey pictures as bytes over 255, in float32."""
    return np.random.default_rng(0).integers(0, 256, (N, 4, 4, 1)).astype(np.float32) / np.float32(255)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_images_are_kept_as_bytes_and_come_back_whole(dtype):
    stored = encode(images())
    assert stored.dtype == np.uint8
    np.testing.assert_array_equal(decode(stored, dtype).astype(np.float32), images())


@pytest.mark.parametrize(
    "x",
    [
        images() - 0.1,
        images() * 2,
        images() + np.float32(1e-4),
        np.concatenate([images(), images() / 3]),  # the first picture is bytes, the last is not
        np.nextafter(images(), np.float32(0.5)),
        np.zeros((3, 2), np.float64),
    ],
    ids=["negative", "large", "shifted", "late", "nearly", "float64"],
)
def test_other_features_are_left_alone(x):
    assert encode(x) is x


@pytest.mark.parametrize("factory", [softmax, classification])
def test_a_problem_on_bytes_is_the_problem_on_their_values(factory):
    """Bytes against the same numbers spelt out as float64, which are not encoded."""
    labels = np.arange(70) % 3
    data = from_arrays(images(), labels, images(9), labels[:9])
    options = {"dataset": data, "partition": quantity_skew(alpha=1.0), "batch_size": None, "l2": 0.1}
    options |= {"model": linear()} if factory is classification else {}
    problem = factory(4, **options)
    assert problem.shared["x"].dtype == problem.held["x"].dtype == np.uint8
    spelt = problem._replace(
        shared=problem.shared | {"x": problem.shared["x"] / 255.0},
        held=problem.held | {"x": problem.held["x"] / 255.0},
    )
    params = some_params(problem)
    for compute in (node_gradients, objective):
        for mine, theirs in zip(
            jax.tree.leaves(compute(problem, params)), jax.tree.leaves(compute(spelt, params)), strict=True
        ):
            np.testing.assert_allclose(mine, theirs, rtol=1e-9)
    with jax.enable_x64(True):
        mine, theirs = (jax.device_get(p.evaluate(params, p.held)) for p in (problem, spelt))
    np.testing.assert_allclose(mine["test_loss"], theirs["test_loss"], rtol=1e-9)


# -------------------------------------------------------------------------------------------- classification


def network(n=5, **options):
    return classification(n, dataset=options.pop("dataset", dataset(3)), model=linear(), **options)


@pytest.mark.parametrize("node_weights", ["equal", "samples"])
def test_a_network_sees_the_nodes_losses_and_their_mean(node_weights):
    """Up to 1,000 samples the objective is exact: the mean of the nodes' full-batch losses."""
    problem = network(partition=quantity_skew(alpha=0.5), batch_size=None, l2=0.1, node_weights=node_weights)
    params = some_params(problem)
    losses, grads = once(node_gradients(problem, params))
    value, total = objective(problem, params)
    np.testing.assert_allclose(value, losses.mean(), rtol=1e-10)
    np.testing.assert_allclose(flat(total), flat(jax.tree.map(lambda g: g.mean(axis=0), grads)), rtol=1e-9)


def test_above_1000_samples_the_objective_is_an_estimate_on_a_fixed_subset():
    """On some 1,000 of 2,500, with weights that add up to the whole's; the seed chooses which."""
    data = dataset(3, N=2500)
    problem, again, other = (
        network(dataset=data, partition=quantity_skew(alpha=1.0), seed=s) for s in (0, 0, 1)
    )
    drawn, weight = problem.shared["probe"], problem.shared["probe_weight"]
    used = drawn[weight > 0]
    assert len(used) == len(np.unique(used)) == 1000
    np.testing.assert_allclose(weight.sum(), problem.shared["weight"].sum())
    ratio = weight[weight > 0] / problem.shared["weight"][used]
    np.testing.assert_allclose(ratio, ratio[0])
    np.testing.assert_array_equal(drawn, again.shared["probe"])
    assert (drawn != other.shared["probe"]).any()
    params = some_params(problem)
    losses, every_weight = sample_losses(problem, params), problem.shared["weight"]
    exact = np.average(losses, weights=every_weight)
    assert objective(problem, params)[0] != exact
    # Standard error of a weighted mean over a subset drawn without replacement.
    N, m = len(losses), len(used)
    error = N * np.std(every_weight * (losses - exact)) * np.sqrt((1 - m / N) / m) / every_weight.sum()
    np.testing.assert_allclose(objective(problem, params)[0], exact, atol=4 * error, rtol=0)


def sample_losses(problem, params):
    """The loss of every training sample [N] at one model, in float64."""

    def one(j, params, local, shared):
        alone = {"probe": j[None, None], "probe_weight": jnp.ones((1, 1))}
        return problem.objective(params, local, shared | alone)

    with jax.enable_x64(True):
        arguments = jax.tree.map(jnp.asarray, (params, problem.local, problem.shared))
        indices = jnp.arange(len(problem.shared["y"]))
        return jax.device_get(jax.jit(jax.vmap(one, (0, None, None, None)))(indices, *arguments))


# ------------------------------------------------------------------------------------------------- averaging


@pytest.mark.parametrize(
    ("problem", "want"),
    [
        (average(4, values="spike"), [[4.0], [0.0], [0.0], [0.0]]),
        (average(4, values="ramp", dim=2), [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]),
        (average_of([[1, 2], [3, 4], [5, 6]]), [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),
        (average_of(np.arange(8).reshape(4, 2)), np.arange(8.0).reshape(4, 2)),
    ],
)
def test_values_to_average(problem, want):
    assert problem.n == len(want)
    np.testing.assert_array_equal(problem.starts["x"], want)
    np.testing.assert_allclose(problem.optimum["x"], np.mean(want, axis=0), rtol=1e-15)
    assert problem.starts["x"].dtype == np.float64


def test_drawn_values_are_standard_normal_and_follow_the_seed():
    first, again, other = (average(100, dim=50, seed=s).starts["x"] for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert scipy.stats.kstest(first.ravel(), "norm").pvalue > 1e-4
    assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 5 / np.sqrt(5000)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_averaging_keeps_its_promises(n):
    """fᵢ = ½ ‖x − vᵢ‖², f is their mean, and the mean of the values is where f is least."""
    problem = average(n, dim=3)
    v, x = problem.starts["x"], np.array([0.5, -1.0, 2.0])
    losses, grads = once(node_gradients(problem, {"x": x}))
    np.testing.assert_allclose(losses, [0.5 * np.sum((x - row) ** 2) for row in v], rtol=1e-14)
    np.testing.assert_allclose(grads["x"], x - v, rtol=1e-14)
    value, total = objective(problem, {"x": x})
    np.testing.assert_allclose(value, losses.mean(), rtol=1e-14)
    np.testing.assert_allclose(total["x"], x - v.mean(axis=0), rtol=1e-12, atol=1e-15)
    least, flat_there = objective(problem, problem.optimum)
    np.testing.assert_allclose(least, problem.minimum, rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(flat_there["x"], 0, atol=1e-15)


def test_metrics_of_averaging():
    """At the start, and when everyone has the mean."""
    problem = average(6, dim=3)
    v = problem.starts["x"]
    spread = np.mean(np.sum((v - v.mean(axis=0)) ** 2, axis=1))
    rows = simulate(gossip, problem, complete(6), rounds=1, precision="float64").rows
    for name, (first, last) in {
        "distance": (spread, 0), "consensus": (spread, 0), "objective": (spread / 2, spread / 2),
        "suboptimality": (0, 0), "grad_norm": (0, 0),
    }.items():  # fmt: skip
        assert rows[0][name] == pytest.approx(first, rel=1e-12, abs=1e-14), name
        assert rows[1][name] == pytest.approx(last, rel=1e-12, abs=1e-14), name


# ---------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("quadratic", {"dim": 0}, "quadratic: dim must be at least 1, got 0"),
        ("quadratic", {"condition": 0.5}, r"quadratic: condition must be at least 1, got 0\.5"),
        (
            "quadratic",
            {"noise": -1.0},
            r"quadratic: heterogeneity and noise must be at least 0, got 1\.0 and -1\.0",
        ),
        (
            "least_squares",
            {"samples": 0},
            "dim, samples and batch_size must be at least 1, got 10, 0 and None",
        ),
        (
            "least_squares",
            {"batch_size": 0},
            "dim, samples and batch_size must be at least 1, got 10, 50 and 0",
        ),
        ("least_squares", {"noise": -0.1}, r"heterogeneity and noise must be at least 0, got 1\.0 and -0\.1"),
        ("least_squares", {"dim": 9, "samples": 2}, "n · samples = 8 rows cannot determine dim = 9 numbers"),
        (
            "logistic",
            {"dataset": dataset(3)},
            "logistic: needs two classes, 'arrays' has 3; use problem 'softmax'",
        ),
        ("logistic", {"dataset": dataset(2), "l2": 0.0}, "set l2 > 0 or optimum: false"),
        (
            "softmax",
            {"dataset": dataset(3), "batch_size": 0},
            "softmax: batch_size must be at least 1, or null",
        ),
        ("softmax", {"dataset": dataset(3), "l2": -1.0}, r"l2 must be at least 0, got -1\.0"),
        ("classification", {"dataset": dataset(3), "held_out": 0}, "held_out must be at least 1, or null"),
        (
            "classification",
            {"dataset": dataset(3), "batch_size": 0},
            "classification: batch_size must be at least 1",
        ),
        ("average", {"dim": 0}, "average: dim must be at least 1, got 0"),
        ("average", {"values": "spikes"}, "average: values must be one of normal, spike, ramp, got 'spikes'"),
    ],
)
def test_refusals(name, options, message):
    with pytest.raises(ValueError, match=message):
        PROBLEMS[name](4, **options)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((4, 0)), r"average: values must be \[n, d\] with n, d >= 1, got shape \(4, 0\)"),
        (np.zeros(4), r"average: values must be \[n, d\] with n, d >= 1, got shape \(4,\)"),
        ([[1.0], [np.nan]], "average: values must be finite"),
        ([[1.0], [2.0, 3.0]], r"average: values must be an array \[n, d\] of numbers"),
        ([["one"]], r"average: values must be an array \[n, d\] of numbers"),
    ],
)
def test_values_that_cannot_be_averaged(values, message):
    with pytest.raises(ValueError, match=message):
        average_of(values)


def test_more_nodes_than_samples():
    with pytest.raises(ValueError, match="n=61 nodes for N=60 samples; lower n, or leave nodes empty"):
        make("softmax", n=61)


def test_digits_are_where_the_quickstart_expects_them():
    digits = DATASETS["digits"]()
    assert digits.num_classes == 10 and len(digits.y_train) + len(digits.y_test) == 1797


def test_averages_of_one_size_share_a_compiled_run():
    first, second = (simulate(gossip, average(5, dim=2, seed=seed), ring(5), rounds=2) for seed in (0, 1))
    assert first.seconds["compile"] > 0 == second.seconds["compile"]
    assert (first.params["x"] != second.params["x"]).any()
