"""Poisoned data: whose, how, and that it works under plain averaging."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlax.algorithms import dsgd
from dlax.attacks import augment, backdoor, label_flip, last, sybil
from dlax.data import digits, dirichlet
from dlax.problems import quadratic, softmax
from dlax.simulate import simulate
from dlax.topology import complete, ring, with_sybils

Y = jnp.arange(5)
X = jnp.asarray(np.random.default_rng(0).uniform(size=(5, 4, 4, 1)), jnp.float32)


@pytest.mark.parametrize(
    ("attack", "wanted"),
    [
        (label_flip(), [4, 3, 2, 1, 0]),
        (label_flip(flip="next"), [1, 2, 3, 4, 0]),
        (label_flip(flip="swap", swap=(1, 3)), [0, 3, 2, 1, 4]),
    ],
)
def test_flips(attack, wanted):
    x, y = attack.poison.train(X, Y, 5)
    np.testing.assert_array_equal(y, wanted)
    assert x is X and y.dtype == Y.dtype
    _, target, counts = attack.poison.test(X, Y, 5)
    np.testing.assert_array_equal(target, wanted)
    np.testing.assert_array_equal(counts, np.array(wanted) != np.arange(5))


@pytest.mark.parametrize("shape", [(4, 4, 1), (4, 4, 3), (4, 4), (16,)])
def test_patches(shape):
    x = jnp.asarray(np.random.default_rng(0).uniform(size=(5, *shape)), jnp.float32)
    patched, y = backdoor(size=2, target=3, fraction=0.5).poison.train(x, Y, 5)
    np.testing.assert_array_equal(y, [3, 3, 3, 3, 4])  # 3 of 5 have it, and 3 is 3
    before, after = (np.asarray(each).reshape(5, 4, 4, -1) for each in (x, patched))
    assert (after[:3, :2, :2] == 1).all() and (after[3:] == before[3:]).all()
    assert (after[:3, 2:] == before[:3, 2:]).all() and (after[:3, :, 2:] == before[:3, :, 2:]).all()
    shown, target, counts = backdoor(size=2, target=3).poison.test(x, Y, 5)
    assert (np.asarray(shown).reshape(5, 4, 4, -1)[:, :2, :2] == 1).all() and (target == 3).all()
    np.testing.assert_array_equal(counts, np.arange(5) != 3)


def test_equal_options_are_the_same_poison():
    assert backdoor(size=2).poison is backdoor(size=2).poison is not backdoor().poison
    assert label_flip().poison is label_flip().poison


def test_noisy_copies_are_of_their_sample():
    x = jnp.asarray(np.random.default_rng(0).uniform(size=(400, 8, 8, 1)), jnp.float32)
    y = jnp.arange(400) % 10
    copies, labels = augment(noise=0.5).poison.train(x, y, 10)
    assert labels is y
    np.testing.assert_allclose(np.std(copies - x), 0.5, rtol=0.02)
    assert np.abs(np.corrcoef(np.asarray(copies - x)[:2].reshape(2, -1))[0, 1]) < 0.4
    again, _ = augment(noise=0.5).poison.train(x[::-1], y, 10)
    np.testing.assert_array_equal(again, copies[::-1])  # wherever in a batch it is
    some, _ = augment(noise=0.5, fraction=0.3).poison.train(x, y, 10)
    kept = np.asarray(some == x).all(axis=(1, 2, 3))
    assert 0.6 < kept.mean() < 0.8
    np.testing.assert_array_equal(some[~kept], copies[~kept])
    for options in ({"noise": 0.0}, {"fraction": 0.0}, {"fraction": 1.1}):
        with pytest.raises(ValueError, match=f"augment: {next(iter(options))} must be"):
            augment(**options)


@pytest.mark.parametrize(
    ("x", "attack", "message"),
    [
        (jnp.zeros((5, 10)), backdoor(), "does not fit in samples of shape"),
        (X, backdoor(size=5), "does not fit in samples of shape"),
        (X, backdoor(target=5), "target must be one of the 5 classes"),
        (X, label_flip(flip="swap", swap=(0, 7)), "swap must be two of the 5 classes"),
    ],
)
def test_data_that_cannot_be_poisoned(x, attack, message):
    with pytest.raises(ValueError, match=message):
        attack.poison.train(x, Y, 5)


@pytest.mark.parametrize("attack", [label_flip(), backdoor(fraction=0.3)])
def test_only_byzantine_nodes_train_on_it(attack):
    """Their loss is the clean loss of a data set that was poisoned by hand, the others' that of the clean one."""
    problem = softmax(4, dataset=digits(), batch_size=None, optimum=False)
    with jax.enable_x64(True):
        loss, evaluate = problem.poisoned(attack.poison)
        shapes = problem.init(jax.random.key(0))
        params = {
            k: 0.1 * jax.random.normal(jax.random.key(0), v.shape, jnp.float64) for k, v in shapes.items()
        }
        most = int(problem.local["count"].max())
        clean = problem.shared | {"x": np.asarray(problem.shared["x"], np.float64)}
        for i in range(4):
            local = {name: leaf[i] for name, leaf in problem.local.items()}
            start, count = int(local["start"]), int(local["count"])
            rows = start + np.minimum(np.arange(most), count - 1)
            x, y = attack.poison.train(jnp.asarray(clean["x"][rows]), jnp.asarray(clean["y"][rows]), 10)
            dirty = clean | {"x": clean["x"].copy(), "y": clean["y"].copy()}
            dirty["x"][start : start + count] = np.asarray(x)[:count]
            dirty["y"][start : start + count] = np.asarray(y)[:count]
            assert (dirty["y"] != clean["y"]).any()
            for byzantine, shared in ((False, clean), (True, dirty)):
                wanted = problem.loss(params, jax.random.key(1), local, jax.tree.map(jnp.asarray, shared))
                marked = local | {"byzantine": jnp.asarray(byzantine)}
                got = loss(params, jax.random.key(1), marked, jax.tree.map(jnp.asarray, clean))
                np.testing.assert_allclose(got, wanted, rtol=1e-10)
        held = jax.tree.map(jnp.asarray, problem.held)
        metrics = evaluate(params, held)
        np.testing.assert_allclose(
            metrics["accuracy"], problem.evaluate(params, held)["accuracy"], rtol=1e-12
        )
        x, target, counts = attack.poison.test(jnp.asarray(digits().x_test), jnp.asarray(digits().y_test), 10)
        taken = np.argmax(x.reshape(len(x), -1) @ params["w"] + params["c"][None], axis=1) == target
        np.testing.assert_allclose(
            metrics["attack_success"], np.mean(np.asarray(taken, float)[counts]), rtol=1e-10
        )


def run(attack, problem, topology, **options):
    return simulate(
        dsgd, problem, topology, attack=attack, hyper={"lr": 0.5}, rounds=60, eval_every=60, **options
    ).rows


def test_a_backdoor_opens_under_plain_averaging():
    problem = softmax(8, dataset=digits(), optimum=False)
    few, many = (run(backdoor(), problem, complete(8), byzantine=last(count=k)) for k in (0, 4))
    assert few[-1]["attack_success_mean"] < 0.3 < 0.8 < many[-1]["attack_success_mean"]
    assert many[-1]["accuracy_mean"] > 0.7  # and nobody notices
    row = many[-1]
    assert row["attack_success_best"] <= row["attack_success_mean"] <= row["attack_success_worst"]
    assert 0 <= row["attack_success_merged"] <= 1


def test_sybils_swap_two_classes():
    """Where each class is with few nodes, the learner behind the Sybils turns honest models."""
    problem = softmax(12, dataset=digits(), optimum=False, partition=dirichlet(alpha=0.1))
    graph = with_sybils(12, graph=ring, sybils=4, density=2.0)
    flip = label_flip(flip="swap", swap=(0, 1))
    nobody = run(flip, problem, graph, byzantine=last(count=0))[-1]
    sybils = run(sybil(poison=flip), problem, graph, byzantine=last(count=4))[-1]
    assert nobody["attack_success_mean"] + 0.05 < sybils["attack_success_mean"]
    assert sybils["diverged"] == -1


def test_problems_without_labels_refuse():
    with pytest.raises(ValueError, match="poisons labelled samples, and the problem has none"):
        run(label_flip(), quadratic(4, dim=2), complete(4), byzantine=last(count=1))
