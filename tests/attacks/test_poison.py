"""Poisoned data: whose, how, and that it works under plain averaging."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlax.algorithms import dsgd
from dlax.attacks import backdoor, label_flip, last, sybil
from dlax.channel import linear
from dlax.data import digits
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
    loss, evaluate = problem.poisoned(attack.poison)
    params = jax.tree.map(
        lambda leaf: 0.1 * jax.random.normal(jax.random.key(0), leaf.shape), problem.init(jax.random.key(0))
    )
    for i in range(4):
        local = {name: leaf[i] for name, leaf in problem.local.items()}
        for byzantine in (False, True):
            shared = problem.shared
            if byzantine:
                start, stop = local["start"], local["start"] + local["count"]
                most = int(problem.local["count"].max())
                rows = np.minimum(np.arange(start, start + most), stop - 1)
                x, y = attack.poison.train(shared["x"][rows].astype(np.float32) / 255, shared["y"][rows], 10)
                many = stop - start
                x_all = (
                    shared["x"].astype(np.float32) / 255
                    if shared["x"].dtype == np.uint8
                    else shared["x"].copy()
                )
                if shared["x"].dtype != np.uint8:
                    x, y = attack.poison.train(jnp.asarray(shared["x"][rows]), shared["y"][rows], 10)
                y_all = shared["y"].copy()
                x_all[start:stop], y_all[start:stop] = np.asarray(x)[:many], np.asarray(y)[:many]
                shared = {**shared, "x": x_all, "y": y_all}
            wanted = problem.loss(params, jax.random.key(1), local, shared)
            got = loss(
                params, jax.random.key(1), local | {"byzantine": jnp.asarray(byzantine)}, problem.shared
            )
            np.testing.assert_allclose(got, wanted, rtol=1e-5)
    held = problem.held
    metrics = evaluate(params, held)
    assert metrics["accuracy"] == problem.evaluate(params, held)["accuracy"]
    x, target, counts = attack.poison.test(jnp.asarray(digits().x_test), jnp.asarray(digits().y_test), 10)
    taken = jnp.argmax(x.reshape(len(x), -1) @ params["w"] + params["c"][None], axis=1) == target
    np.testing.assert_allclose(metrics["attack_success"], taken[counts].mean(), rtol=1e-5)


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
    problem = softmax(11, dataset=digits(), optimum=False)
    graph = with_sybils(11, graph=ring, sybils=3)
    attack = sybil(poison=label_flip(flip="swap"))
    row = run(attack, problem, graph, byzantine=last(count=3), channel=linear())[-1]
    assert row["attack_success_mean"] > 0.05 and row["diverged"] == -1


def test_problems_without_labels_refuse():
    with pytest.raises(ValueError, match="poisons labelled samples, and the problem has none"):
        run(label_flip(), quadratic(4, dim=2), complete(4), byzantine=last(count=1))
