"""One-class SVMs: the proximal step, the ν-property, features, and what is measured on held-out data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.svm import OneClassSVM

from dlax.algorithms import fedavg
from dlax.data import from_arrays
from dlax.problems import one_class, one_class_of
from dlax.problems.one_class import feature_map
from dlax.simulate import simulate
from dlax.topology import complete

RNG = np.random.default_rng(0)
SAMPLES = [RNG.normal(size=(count, 3)) + node for node, count in enumerate((12, 20, 7))]


def node(tree, i):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf[i]), tree)


def step(problem, i, v, scale):
    """The proximal step of node i in float64."""
    with jax.enable_x64(True):
        return jax.device_get(jax.jit(problem.prox)(v, scale, node(problem.local, i), {}))


def value(x, phi, nu):
    return 0.5 * x["w"] @ x["w"] - x["rho"] + np.maximum(0, x["rho"] - phi @ x["w"]).sum() / (nu * len(phi))


def at(v, x, scale):
    return (np.sum((x["w"] - v["w"]) ** 2) + (x["rho"] - v["rho"]) ** 2) / (2 * scale)


@pytest.mark.parametrize("scale", [0.05, 1.0, 20.0])
@pytest.mark.parametrize("features", [None, 16])
def test_the_proximal_step_is_that_of_a_conic_solver(scale, features):
    """Node 0 has less samples than node 1, so that padding is in it."""
    cp = pytest.importorskip("cvxpy")
    from dlax.topology.weights.optimal import solve

    nu, gamma = 0.2, 0.3
    problem = one_class_of(SAMPLES, nu=nu, features=features, gamma=gamma)
    phi = feature_map(np.concatenate(SAMPLES), features=features, gamma=gamma)(SAMPLES[0])
    v = {"w": phi.mean(axis=0), "rho": np.array(0.4)}
    w, rho = cp.Variable(phi.shape[1]), cp.Variable()
    hinge = cp.sum(cp.pos(rho - phi @ w)) / (nu * len(phi))
    far = (cp.sum_squares(w - v["w"]) + cp.square(rho - v["rho"])) / (2 * scale)
    solve("test", cp.Minimize(cp.sum_squares(w) / 2 - rho + hinge + far), [])
    want, got = {"w": w.value, "rho": rho.value}, step(problem, 0, v, scale)
    best = value(want, phi, nu) + at(v, want, scale)
    assert abs(value(got, phi, nu) + at(v, got, scale) - best) < 1e-6 * max(1, abs(best))
    np.testing.assert_allclose(got["w"], want["w"], atol=1e-4)


def test_proximal_steps_lead_to_the_svm_of_scikit_learn_and_its_nu_property():
    """A long proximal step is the fit itself; libsvm's multipliers sum to ν s, ours to 1."""
    nu = 0.3
    problem = one_class_of(SAMPLES, nu=nu, features=32, gamma=0.3)
    phi = feature_map(np.concatenate(SAMPLES), features=32, gamma=0.3)
    for i, samples in enumerate(SAMPLES):
        x = {"w": np.zeros(64), "rho": np.zeros(())}
        for _ in range(3):
            x = step(problem, i, x, 1e3)
        fit = OneClassSVM(kernel="linear", nu=nu, tol=1e-9).fit(phi(samples))
        np.testing.assert_allclose(x["w"], fit.coef_[0] / (nu * len(samples)), atol=1e-4)
        scores = phi(samples) @ x["w"] - x["rho"]
        assert np.mean(scores < -1e-6) <= nu <= np.mean(scores < 1e-6)


def test_loss_is_the_objective_of_the_node_and_minibatches_are_unbiased():
    problem = one_class_of(SAMPLES, nu=0.2, features=8, gamma=0.3)
    phi = feature_map(np.concatenate(SAMPLES), features=8, gamma=0.3)
    x = {"w": RNG.normal(size=16), "rho": np.array(0.7)}
    want = [value(x, phi(samples), 0.2) for samples in SAMPLES]
    with jax.enable_x64(True):
        x64 = jax.tree.map(jnp.asarray, x)
        got = [float(problem.loss(x64, jax.random.key(0), node(problem.local, i), {})) for i in range(3)]
        whole = float(problem.objective(x64, jax.tree.map(jnp.asarray, problem.local), {}))
        sampled = one_class_of(SAMPLES, nu=0.2, features=8, gamma=0.3, batch_size=4)
        draws = jax.vmap(lambda key: sampled.loss(x64, key, node(sampled.local, 0), {}))(
            jax.random.split(jax.random.key(1), 4000)
        )
        draws = np.asarray(draws)
    np.testing.assert_allclose(got, want, atol=1e-10)
    np.testing.assert_allclose(whole, np.mean(want), atol=1e-10)
    assert abs(np.mean(draws) - want[0]) < 4 * np.std(draws) / np.sqrt(4000)


def test_features_have_length_one_and_come_near_the_kernel():
    x = RNG.normal(size=(30, 3))
    phi = feature_map(x, features=4000, gamma=0.4, seed=2)(x)
    np.testing.assert_allclose(np.linalg.norm(phi, axis=1), 1, atol=1e-12)
    kernel = np.exp(-0.4 * np.sum((x[:, None] - x) ** 2, axis=2))
    assert np.abs(phi @ phi.T - kernel).max() < 5 / np.sqrt(4000)
    np.testing.assert_array_equal(feature_map(x, features=None)(x), x)


def test_held_out_metrics_are_those_of_scikit_learn():
    y = np.repeat([0, 1, 2], 30)
    x = RNG.normal(size=(90, 3)) + y[:, None]
    data = from_arrays(x, y, x[1::2], y[1::2])
    problem = one_class(4, dataset=data, nu=0.3, features=None, normal=1)
    assert problem.table[:, 1].sum() == 30 and problem.table[:, [0, 2]].sum() == 0
    w, rho = np.array([1.0, 1.0, 0.0]), 1.5
    held = data.y_test == 1
    scores = data.x_test.astype(float) @ w - rho
    scores = np.round(scores, 1)  # ties, which count half; so each is put where it scores that
    with jax.enable_x64(True):
        shown = {
            "normal": jnp.asarray(scores[held])[:, None], "abnormal": jnp.asarray(scores[~held])[:, None]
        }  # fmt: skip
        got = problem.evaluate({"w": jnp.ones(1), "rho": jnp.zeros(())}, shown)
    assert abs(float(got["auc_gap"]) - (1 - roc_auc_score(~held, -scores))) < 1e-6
    assert abs(float(got["missed"]) - np.mean(scores[~held] >= 0)) < 1e-6
    assert abs(float(got["false_alarms"]) - np.mean(scores[held] < 0)) < 1e-6
    np.testing.assert_allclose(problem.held["abnormal"], data.x_test[~held])


def test_federated_averaging_lowers_the_objective():
    problem = one_class_of(SAMPLES, nu=0.3, features=16, gamma=0.3)
    rows = simulate(fedavg(0.05), problem, complete(3), rounds=60, eval_every=20).rows
    objective = [row["objective"] for row in rows]
    assert objective[0] == 0 and objective[-1] < -0.04  # f at its start, and well below it


def test_bad_options_are_refused():
    data = from_arrays(np.eye(4), [0, 0, 1, 1], np.eye(4), [0, 0, 1, 1])
    for make, word in [
        (lambda: one_class_of([np.zeros((0, 2))]), "at least one normal sample"),
        (lambda: one_class_of([np.zeros(3)]), r"an array \[s, p\]"),
        (lambda: one_class_of(SAMPLES, nu=0.0), r"nu must be in \(0, 1\], got 0"),
        (lambda: one_class_of(SAMPLES, features=0), "features must be at least 1"),
        (lambda: one_class_of(SAMPLES, batch_size=0), "batch_size must be at least 1"),
        (lambda: one_class(2, dataset=data, normal=5), "normal = 5 must be one of several classes"),
    ]:
        with pytest.raises(ValueError, match=f"one_class: .*{word}|{word}"):
            make()
