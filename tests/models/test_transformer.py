"""The character transformer: against NumPy, causal, alone and by node, and able to learn a text by heart."""

import jax
import numpy as np
import optax
import pytest

from dlax.algorithms import centralized_sgd
from dlax.data import from_texts
from dlax.models import char_transformer
from dlax.optimizers import OPTIMIZERS
from dlax.problems import classification
from dlax.results import METRICS
from dlax.simulate import simulate
from dlax.topology import complete

L, V, W, HEADS, LAYERS = 6, 7, 8, 2, 2
MODEL = char_transformer(layers=LAYERS, width=W, heads=HEADS)((L,), V)
APPLY = jax.jit(MODEL.apply)
X = np.random.default_rng(0).integers(0, V, (3, L)).astype(np.int32)


def drawn(seed, network=MODEL):
    """Parameters away from their start: every bias and scale matters; float64."""
    shapes, rng = jax.eval_shape(network.init, jax.random.key(0)), np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: rng.normal(0, 0.4, leaf.shape), shapes)


def gelu(z):
    return 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))


def normed(p, h):
    centred = h - h.mean()
    return p["scale"] * centred / np.sqrt((centred**2).mean() + 1e-6) + p["bias"]


def dense(p, h):
    return p["kernel"] @ h + p["bias"]


def attention(p, rows):
    """One place and one head at a time, over the places before it."""
    size, out = W // HEADS, []
    qkv = [dense(p["Dense_0"], row).reshape(3, HEADS, size) for row in rows]
    for i in range(len(rows)):
        heads = []
        for head in range(HEADS):
            scores = np.array([qkv[i][0, head] @ qkv[j][1, head] for j in range(i + 1)]) / np.sqrt(size)
            weights = np.exp(scores - scores.max())
            weights /= weights.sum()
            heads.append(sum(weights[j] * qkv[j][2, head] for j in range(i + 1)))
        out.append(dense(p["Dense_1"], np.concatenate(heads)))
    return out


def reference(p, text):
    """Logits `[L, V]` of one text."""
    rows = [p["symbols"][symbol] + p["places"][i] for i, symbol in enumerate(text)]
    for layer in range(LAYERS):
        before, after = p[f"LayerNorm_{2 * layer}"], p[f"LayerNorm_{2 * layer + 1}"]
        seen = attention(p[f"Attention_{layer}"], [normed(before, row) for row in rows])
        rows = [row + more for row, more in zip(rows, seen, strict=True)]
        wide, narrow = p[f"Dense_{2 * layer}"], p[f"Dense_{2 * layer + 1}"]
        rows = [row + dense(narrow, gelu(dense(wide, normed(after, row)))) for row in rows]
    return np.array([p["symbols"] @ normed(p[f"LayerNorm_{2 * LAYERS}"], row) for row in rows])


def test_it_equals_plain_numpy():
    params = drawn(0)
    with jax.enable_x64(True):
        logits = np.asarray(APPLY(params, X))
    assert logits.dtype == np.float64 and logits.shape == (3, L, V)
    np.testing.assert_allclose(logits, [reference(params, text) for text in X], rtol=0, atol=1e-10)


def test_the_count_of_parameters():
    params = jax.eval_shape(char_transformer()((80,), 76).init, jax.random.key(0))
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert count == 2 * (12 * 32**2 + 13 * 32) + (76 + 80 + 2) * 32


def test_a_later_character_changes_no_earlier_logit():
    params = drawn(1)
    with jax.enable_x64(True):
        before = np.asarray(APPLY(params, X))
        for place in range(L):
            changed = X.copy()
            changed[:, place] = (changed[:, place] + 1) % V
            after = np.asarray(APPLY(params, changed))
            np.testing.assert_array_equal(after[:, :place], before[:, :place])
            assert (after[:, place:] != before[:, place:]).any(axis=(0, 2)).all()  # and every later one


def test_the_gradient_by_node_is_that_of_the_node_alone():
    network = char_transformer(layers=1, width=W, heads=HEADS)((L,), V)
    nodes, y = [drawn(seed, network=network) for seed in (2, 3)], (X + 1) % V

    @jax.grad
    def grad(params):
        return optax.softmax_cross_entropy_with_integer_labels(network.apply(params, X), y).mean()

    with jax.enable_x64(True):
        one = jax.jit(grad)
        alone = jax.tree.map(lambda *leaves: np.stack(leaves), *map(one, nodes))
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *nodes)
        for over_nodes in (jax.vmap(grad), lambda params: jax.lax.map(grad, params)):
            together = jax.jit(over_nodes)(stacked)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(b, a, rtol=0, atol=1e-12), alone, together)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(alone))


def test_it_learns_a_short_text_by_heart():
    text = "to be, or not to be, that is the question: whether 'tis nobler in the mind to suffer"
    data = from_texts({"t": text * 2}, length=12, stride=1, held_out=0.5)
    problem = classification(
        2, dataset=data, model=char_transformer(layers=1, width=16, heads=2), batch_size=8
    )
    learner = centralized_sgd(1e-2, optimizer=OPTIMIZERS["adam"]())
    result = simulate(learner, problem, complete(2), rounds=300, eval_every=300)
    first, last = result.rows
    assert first["objective"] == pytest.approx(np.log(data.num_classes), abs=0.05)
    # Only the first characters of a window are a guess.
    assert last["objective"] < 0.3 and last["accuracy_mean"] > 0.85
    for row in result.rows:
        assert row["bits_per_character_mean"] == pytest.approx(row["test_loss_mean"] / np.log(2), rel=1e-5)
        assert row["bits_per_character_worst"] >= row["bits_per_character_best"]
    assert set(METRICS) >= set(last) - {"seed"}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: char_transformer(heads=3), "heads that divide the width, got layers=2, width=32, heads=3"),
        (lambda: char_transformer(layers=0), "positive sizes.* got layers=0"),
        (lambda: char_transformer()((8, 8, 1), 10), r"takes sequences \[L\].*\(8, 8, 1\)"),
        (lambda: MODEL.apply(drawn(0), X[:, :-1]), r"takes \[b, 6\], got shape \(3, 5\)"),
    ],
)
def test_refusals(build, message):
    with pytest.raises(ValueError, match=message):
        build()
