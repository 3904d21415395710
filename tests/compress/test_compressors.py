"""Every compressor keeps its promise, for any vector; bits by formulas of their own."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlax.compress import (
    COMPRESSORS,
    bfloat16,
    compress,
    dithered,
    identity,
    message_bits,
    qsgd,
    rand_k,
    sign,
    top_k,
)
from dlax.compress.message import unravel
from dlax.compress.sparsify import largest

pytestmark = pytest.mark.usefixtures("strict_ranks")

D = 12
CONTRACTIVE = {
    "identity": identity(), "bfloat16": bfloat16(), "sign": sign(), "top_1": top_k(fraction=0.01),
    "top_5": top_k(fraction=0.4), "top_all": top_k(fraction=1.0),
}  # fmt: skip
UNBIASED = {
    "rand_3": rand_k(fraction=0.25, rescale=True), "rand_all": rand_k(fraction=1.0, rescale=True),
    "qsgd_1": qsgd(levels=1), "qsgd_4": qsgd(levels=4), "dithered_1": dithered(bits=1),
    "dithered_3": dithered(bits=3),
}  # fmt: skip


def jitted(compressors):
    return {name: jax.jit(made.compress) for name, made in compressors.items()}


RUN = jitted(CONTRACTIVE | UNBIASED)
numbers = st.one_of(
    st.sampled_from([0.0, 1.0, -1.0, 2.5]),  # ties and zeros
    st.floats(-10, 10, width=32),
    st.floats(-(2.0**100), 2.0**100, width=32),  # whose squares overflow
).map(lambda value: value if abs(value) >= 2.0**-60 else 0.0)
vectors = st.lists(numbers, min_size=D, max_size=D).map(lambda row: np.array(row, np.float32))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(x=vectors)
@pytest.mark.parametrize("name", CONTRACTIVE)
def test_contraction(name, x):
    """‖C(x) − x‖² ≤ (1 − ω) ‖x‖², in float64."""
    compressed = np.asarray(RUN[name](jax.random.key(0), x))
    assert compressed.dtype == x.dtype and compressed.shape == x.shape
    error = np.sum((compressed.astype(float) - x) ** 2)
    bound = (1 - CONTRACTIVE[name].contraction(D)) * np.sum(x.astype(float) ** 2)
    assert error <= bound * (1 + 1e-5)  # the mean of a sign is rounded to float32


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(x=vectors)
@pytest.mark.parametrize("name", ["qsgd_1", "qsgd_4", "dithered_1", "dithered_3"])
def test_quantisers_move_an_entry_by_one_level_and_keep_its_sign(name, x):
    compressed = np.asarray(RUN[name](jax.random.key(0), x), float)
    x = x.astype(float)
    norm = np.abs(x).max() if "dithered" in name else np.linalg.norm(x)
    level = norm / {"qsgd_1": 1, "qsgd_4": 4, "dithered_1": 1, "dithered_3": 4}[name]
    assert np.isfinite(compressed).all() and (compressed * x >= 0).all()
    assert (np.abs(compressed - x) <= level * (1 + 1e-5)).all()
    np.testing.assert_array_equal(compressed[x == 0], 0)
    if level:
        np.testing.assert_allclose(compressed / level, np.round(compressed / level), atol=1e-5)


def draws(compressor, x, repeats):
    keys = jax.random.split(jax.random.key(1), repeats)
    return np.asarray(jax.jit(jax.vmap(compressor.compress, in_axes=(0, None)))(keys, x), float)


X = np.random.default_rng(0).normal(size=D).astype(np.float32) * np.float32(3)


@pytest.mark.parametrize("name", UNBIASED)
@pytest.mark.parametrize("x", [X, np.eye(D, dtype=np.float32)[2] + X / 8], ids=["normal", "peaked"])
def test_unbiased_compressors_are_right_on_average_and_err_as_little_as_they_promise(name, x):
    repeats = 4000
    got = draws(UNBIASED[name], x, repeats)
    deviation = got.std(axis=0) / np.sqrt(repeats)
    assert (np.abs(got.mean(axis=0) - x) <= 5 * deviation + 1e-5).all()
    errors = np.sum((got - x) ** 2, axis=1)
    bound = UNBIASED[name].variance(D) * np.sum(x.astype(float) ** 2)
    assert errors.mean() <= bound + 5 * errors.std() / np.sqrt(repeats) + 1e-9


def test_rand_k_keeps_every_entry_equally_often():
    """Its error is exactly 1 − k/d on average, and with the rescaling exactly d/k − 1."""
    repeats, share = 4000, 3 / D
    got = draws(rand_k(fraction=0.25), X, repeats)
    kept = got != 0
    assert (kept.sum(axis=1) == 3).all()
    assert (np.abs(kept.mean(axis=0) - share) < 5 * np.sqrt(share * (1 - share) / repeats)).all()
    np.testing.assert_array_equal(got[kept], np.tile(X, (repeats, 1))[kept])
    for compressor, factor in (
        (rand_k(fraction=0.25), 1 - share),
        (rand_k(fraction=0.25, rescale=True), 3.0),
    ):
        errors = np.sum((draws(compressor, X, repeats) - X) ** 2, axis=1) / np.sum(X.astype(float) ** 2)
        assert abs(errors.mean() - factor) < 5 * errors.std() / np.sqrt(repeats)
    assert rand_k(fraction=0.25).contraction(D) == share
    assert rand_k(fraction=0.25, rescale=True).contraction is None


def test_the_quantisers_by_hand():
    """u is what the key draws; levels are parts of the norm."""
    key, x = jax.random.key(3), jnp.asarray(X)
    u = np.asarray(jax.random.uniform(key, (D,), jnp.float32), float)
    top, two = np.abs(X).max(), np.linalg.norm(X.astype(float))
    want = top / 4 * np.sign(X) * np.floor(4 * np.abs(X) / top + u)
    np.testing.assert_allclose(dithered(bits=3).compress(key, x), want, rtol=1e-5)
    want = two / 7 * np.sign(X) * np.floor(7 * np.abs(X) / two + u)
    np.testing.assert_allclose(qsgd(levels=7).compress(key, x), want, rtol=1e-5)
    np.testing.assert_allclose(
        sign().compress(key, jnp.array([3.0, 0.0, -1.0, 4.0])), [2.0, 2.0, -2.0, 2.0], rtol=1e-6
    )


def test_bfloat16_is_the_nearest_of_numpys():
    import ml_dtypes

    x = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    got = jax.jit(bfloat16().compress)(
        jax.random.key(0), x
    )  # compiled, where a pair of casts may be left out
    np.testing.assert_array_equal(got, x.astype(ml_dtypes.bfloat16).astype(np.float32))


# ------------------------------------------------------------------------------------------------- selection


def numpy_largest(scores, k):
    order = np.lexsort((np.arange(len(scores)), -scores.astype(float)))
    mask = np.zeros(len(scores), bool)
    mask[order[:k]] = True
    return mask


@pytest.mark.parametrize("dtype", [np.float32, np.float64, jnp.bfloat16])
@pytest.mark.parametrize("d", [1500, 2048])
@pytest.mark.parametrize("ties", [False, True])
def test_the_largest_entries_of_long_vectors(dtype, d, ties):
    """By bisection and by lax.top_k, with many equal scores, zeros, infinities and one number only."""
    rng = np.random.default_rng(0)
    with jax.enable_x64(dtype is np.float64):
        scores = jnp.asarray(rng.integers(0, 5, d) if ties else np.abs(rng.normal(size=d)), dtype)
        scores = scores.at[7].set(jnp.inf).at[9].set(0)
        for k in (0, 1, 20, d // 40, d // 3, d - 1, d):
            np.testing.assert_array_equal(largest(scores, k), numpy_largest(np.asarray(scores), k))
        np.testing.assert_array_equal(np.flatnonzero(largest(jnp.zeros(d, dtype), d // 2)), np.arange(d // 2))


@pytest.mark.parametrize("d", [5, 2000])
def test_a_number_that_is_not_a_number_is_sent(d):
    """So that a run that diverges shows it."""
    x = jnp.arange(1.0, d + 1).at[2].set(jnp.nan)
    assert np.isnan(top_k(fraction=0.2).compress(jax.random.key(0), x)[2])


@pytest.mark.parametrize(
    ("fraction", "d", "k"),
    [(0.1, 30, 3), (0.1, 31, 4), (0.7, 10, 7), (1e-9, 10, 1), (1.0, 7, 7), (0.3, 1, 1)],
)
def test_k_is_the_fraction_rounded_up(fraction, d, k):
    x = jnp.arange(1.0, d + 1)
    assert int(jnp.sum(top_k(fraction=fraction).compress(jax.random.key(0), x) != 0)) == k
    assert top_k(fraction=fraction).contraction(d) == k / d


# ------------------------------------------------------------------------------------------------------- bits


def digits(d, values):
    """Bits of the largest number of d digits."""
    return (values**d - 1).bit_length()


def index_bits(d):
    return next(b for b in range(40) if 2**b >= d)


@pytest.mark.parametrize("d", [1, 2, 12, 100, 1000])
@pytest.mark.parametrize("width", [32, 64])
def test_bits(d, width):
    k = math.ceil(d / 4)
    want = {
        identity(): width * d,
        bfloat16(): 16 * d,
        sign(): width + d,
        top_k(fraction=0.25): k * (width + index_bits(d)),
        rand_k(fraction=0.25): k * width,
        rand_k(fraction=0.25, shared_seed=False): k * (width + index_bits(d)),
        qsgd(levels=1): width + digits(d, 3),
        qsgd(levels=16): width + digits(d, 33),
        dithered(bits=2): width + digits(d, 5),
        dithered(bits=8): width + digits(d, 257),
    }
    for made, count in want.items():
        assert made.bits(d, width) == count and isinstance(made.bits(d, width), int)


# --------------------------------------------------------------------------------------------------- messages


def message(n=3):
    rng = np.random.default_rng(2)
    leaves = [rng.normal(size=(n, *shape)).astype(np.float32) for shape in [(2, 3), (), (0, 2), (4,)]]
    return {"w": leaves[0], "more": [leaves[1], leaves[2]], "b": leaves[3].astype(jnp.bfloat16)}


def flat(tree, i):
    return np.concatenate([np.asarray(leaf[i], np.float32).ravel() for leaf in jax.tree.leaves(tree)])


def test_the_leaves_of_a_node_are_one_vector():
    """The top 4 of 11, wherever they are; shapes and dtypes stay."""
    tree, compressor = message(), top_k(fraction=4 / 11)
    got = compress(compressor, jax.random.key(0), tree)
    assert jax.tree.map(lambda a: (a.shape, a.dtype), got) == jax.tree.map(lambda a: (a.shape, a.dtype), tree)
    for i in range(3):
        x = flat(tree, i)
        np.testing.assert_array_equal(flat(got, i), np.where(numpy_largest(np.abs(x), 4), x, 0))
    assert message_bits(compressor, tree) == 4 * (32 + 4)


def test_nodes_and_messages_draw_from_keys_of_their_own():
    x, compressor, key = np.ones((3, 40), np.float32), rand_k(fraction=0.5), jax.random.key(5)
    first, second = compress(compressor, key, (x, {"y": x}))
    rows = np.concatenate([first, second["y"]])
    assert len({row.tobytes() for row in rows}) == 6
    for p, part in enumerate((first, second["y"])):
        keys = jax.random.split(jax.random.fold_in(key, p), 3)
        np.testing.assert_array_equal(
            part, [compressor.compress(k, row) for k, row in zip(keys, x, strict=True)]
        )
    np.testing.assert_array_equal(compress(compressor, key, x), first)
    assert message_bits(compressor, (x, {"y": x})) == 2 * 20 * 32


def test_each_message_of_a_tuple_is_compressed_by_itself():
    """However small one is beside the other."""
    large, small = 1000 * np.ones((2, 4), np.float32), np.ones((2, 4), np.float32)
    got = compress(top_k(fraction=0.25), jax.random.key(0), (large, small))
    assert [(part != 0).sum() for part in got] == [2, 2]


def test_unravel_undoes_ravel():
    tree = message()
    back = unravel(ravelled(tree), tree)
    for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(back), strict=True):
        np.testing.assert_array_equal(np.asarray(a, np.float32), np.asarray(b, np.float32))


def ravelled(tree):
    return jnp.stack([flat(tree, i) for i in range(3)])


@pytest.mark.parametrize("name", COMPRESSORS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, jnp.bfloat16])
def test_dtypes_stay_and_zero_is_sent_as_zero(name, dtype):
    with jax.enable_x64(dtype is np.float64):
        made = COMPRESSORS[name]()
        for x in (jnp.ones(9, dtype), jnp.zeros(9, dtype)):
            got = made.compress(jax.random.key(0), x)
            assert got.dtype == dtype and got.shape == (9,)
        np.testing.assert_array_equal(got, 0)


@pytest.mark.parametrize("name", ["identity", "sign", "qsgd", "dithered", "bfloat16"])
def test_a_vector_with_a_hole_shows(name):
    x = jnp.arange(9.0).at[2].set(jnp.nan)
    assert np.isnan(COMPRESSORS[name]().compress(jax.random.key(0), x)[2])


@pytest.mark.parametrize(
    ("factory", "options", "problem"),
    [
        (top_k, {"fraction": 0.0}, r"top_k: fraction must be in \(0, 1\], got 0.0"),
        (top_k, {"fraction": 1.1}, r"top_k: fraction must be in \(0, 1\], got 1.1"),
        (rand_k, {"fraction": float("nan")}, r"rand_k: fraction must be in \(0, 1\], got nan"),
        (qsgd, {"levels": 0}, "qsgd: levels must be at least 1, got 0"),
        (dithered, {"bits": 0}, "dithered: bits must be between 1 and 16, got 0"),
    ],
)
def test_options_that_do_not_exist(factory, options, problem):
    with pytest.raises(ValueError, match=problem):
        factory(**options)
