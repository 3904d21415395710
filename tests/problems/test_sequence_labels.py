"""Classification of sequences: a label at every place."""

import jax
import numpy as np
import pytest

from dlax.algorithms import gossip
from dlax.attacks import label_flip
from dlax.data import by_group, from_texts
from dlax.models import char_transformer, mlp
from dlax.problems import classification, one_class, softmax
from dlax.simulate import simulate
from dlax.topology import complete

TEXTS = {
    "a": "to be, or not to be, that is the question." * 2,
    "b": "whether 'tis nobler in the mind to suffer",
}
DATA = from_texts(TEXTS, length=5, held_out=0.3)
MODEL = char_transformer(layers=1, width=8, heads=2)


def problem_of(**options):
    return classification(2, dataset=DATA, model=MODEL, partition=by_group(), **options)


def log_softmax(z):
    z = z - z.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def test_loss_and_metrics_are_means_over_characters():
    network, rng = MODEL((5,), DATA.num_classes), np.random.default_rng(0)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    weights = jax.tree.map(lambda leaf: rng.normal(0, 0.5, leaf.shape), shapes)
    norm = sum(np.sum(leaf**2) for leaf in jax.tree.leaves(weights))
    problem = problem_of(batch_size=None, l2=0.1)
    with jax.enable_x64(True):
        apply, loss = jax.jit(network.apply), jax.jit(problem.loss)

        def characters(x, y):
            logits = log_softmax(np.asarray(apply(weights, x)))
            losses = -np.take_along_axis(logits, y[..., None], axis=-1)[..., 0]
            return losses, logits.argmax(axis=-1) == y

        mine = []
        for i in range(2):
            rows = slice(problem.local["start"][i], problem.local["start"][i] + problem.local["count"][i])
            local = jax.tree.map(lambda leaf, i=i: leaf[i], problem.local)
            losses, _ = characters(problem.shared["x"][rows], problem.shared["y"][rows])
            mine.append(losses.mean())
            got = loss(weights, jax.random.key(0), local, problem.shared)
            assert float(got) == pytest.approx(mine[i] + 0.05 * norm, abs=1e-10)
        # The groups differ in size: f is the mean of the nodes' means.
        total = jax.jit(problem.objective)(weights, problem.local, problem.shared)
        assert float(total) == pytest.approx(np.mean(mine) + 0.05 * norm, abs=1e-10)
        metrics = jax.jit(problem.evaluate)(weights, problem.held)
        losses, right = characters(DATA.x_test, DATA.y_test)
    assert float(metrics["test_loss"]) == pytest.approx(losses.mean(), abs=1e-10)
    assert float(metrics["accuracy"]) == pytest.approx(right.mean(), abs=1e-10) and 0 < right.mean() < 1
    assert float(metrics["bits_per_character"]) == pytest.approx(losses.mean() / np.log(2), abs=1e-10)


def test_a_node_is_a_group():
    problem = problem_of()
    assert DATA.groups is not None
    sizes = np.bincount(DATA.groups)
    assert sorted(problem.table.max(axis=1)) == sorted(sizes)
    assert problem.table.sum(axis=1).tolist() == problem.local["count"].tolist()
    assert problem.shared["x"].dtype == np.int32 and problem.shared["x"].shape == (sizes.sum(), 5)


def test_what_does_not_fit_is_refused():
    with pytest.raises(
        ValueError, match=r"labels of shape \(5,\).* outputs must have shape \(5, .*got \(\d+,\)"
    ):
        classification(2, dataset=DATA, model=mlp(hidden=(4,)))
    for problem in (softmax, one_class):
        with pytest.raises(ValueError, match=f"{problem.__name__}: needs one label a sample, and 'texts'"):
            problem(2, dataset=DATA)
    with pytest.raises(ValueError, match="sequences do not count"):
        simulate(gossip(), problem_of(), complete(2), rounds=1, attack=label_flip(), byzantine=[True, False])
