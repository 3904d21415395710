"""Robust rules: the field's golden numbers, loops over vectors, and what no attack may do to them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references_robust as ref

from dlax import robust
from dlax.robust.network import sort
from dlax.robust.similarity import foolsgold_weights
from dlax.types import Heard

SLOTS, D = 9, 5
GOLDEN = np.array([(1, 0), (0, 2), (2, 1), (1.5, 1.2), (10, -8)])
# name -> the rule for f, and the loop; rules whose tables need f are made for it.
RULES = {
    "bulyan": (lambda f: robust.bulyan(), ref.bulyan),
    "caf": (lambda f: robust.caf(iterations=100), ref.caf),
    "centered_clipping": (lambda f: robust.centered_clipping(2.0, iterations=3), ref.centered_clipping),
    "centered_clipping, zero": (
        lambda f: robust.centered_clipping(2.0, iterations=2, start="zero"),
        lambda rows, f, **o: ref.centered_clipping(rows, f, iterations=2, own=False),
    ),
    "clipped_gossip": (lambda f: robust.clipped_gossip(), ref.clipped_gossip),
    "clipped_gossip, constant": (
        lambda f: robust.clipped_gossip(1.5, threshold="constant"),
        lambda rows, f, **o: ref.clipped_gossip(rows, f, kind="constant", radius=1.5, **o),
    ),
    "clipped_gossip, oracle": (
        lambda f: robust.clipped_gossip(threshold="oracle"),
        lambda rows, f, **o: ref.clipped_gossip(rows, f, kind="oracle", **o),
    ),
    "clipped_gossip, second": (
        lambda f: robust.clipped_gossip(threshold="second"),
        lambda rows, f, **o: ref.clipped_gossip(rows, f, kind="second", **o),
    ),
    "cs_plus": (lambda f: robust.cs_plus(), ref.cs_plus),
    "faba": (lambda f: robust.faba(), ref.faba),
    "flag": (lambda f: robust.flag(), ref.flag),
    "flag, pairs": (
        lambda f: robust.flag(0.7, iterations=4),
        lambda rows, f, **o: ref.flag(rows, f, lam=0.7, iterations=4),
    ),
    "foolsgold": (lambda f: robust.foolsgold(), ref.foolsgold),
    "geometric_median": (lambda f: robust.geometric_median(), ref.geometric_median),
    "gts": (lambda f: robust.gts(), ref.gts),
    "ios": (lambda f: robust.ios(), ref.ios),
    "krum": (lambda f: robust.krum(), ref.krum),
    "krum, inclusive": (lambda f: robust.krum(neighbours="inclusive", squared=False), ref.krum_inclusive),
    "mda": (lambda f: robust.mda(f=f), ref.mda),
    "mean": (lambda f: robust.mean(), ref.mean),
    "mean_of_units": (lambda f: robust.mean_of_units(), ref.mean_of_units),
    "meamed": (lambda f: robust.meamed(), ref.meamed),
    "median": (lambda f: robust.median(), ref.median),
    "multi_krum": (lambda f: robust.multi_krum(), ref.multi_krum),
    "nna": (lambda f: robust.nna(), ref.nna),
    "phocas": (lambda f: robust.phocas(), ref.phocas),
    "rtc": (lambda f: robust.rtc(), ref.rtc),
    "smea": (lambda f: robust.smea(f=f), ref.smea),
    "trimmed_mean": (lambda f: robust.trimmed_mean(), ref.trimmed_mean),
}
STATIC = ("mda", "smea")  # f is an option
MADE: dict = {}


def heard_of(rows, f, weight, lies, slots=SLOTS, centred=True, dtype=np.float64):
    """What a node hears: its own vector first, then the others, then empty slots."""
    m = len(rows)
    finite = np.isfinite(rows).all(axis=1)
    clean = np.where(finite[:, None], rows, 0)
    clean = np.where(finite[:, None], clean - (clean[0] if centred else 0), 0)
    inner = np.zeros((slots, slots))
    inner[:m, :m] = clean @ clean.T

    def pad(values, fill):
        return jnp.asarray(np.concatenate([values, np.full(slots - m, fill)]))

    b = weight[np.asarray(lies)].sum()
    return Heard(
        jnp.asarray(inner, dtype), pad(np.ones(m, bool), False), pad(finite, True),
        pad(weight.astype(dtype), 0).astype(dtype), jnp.int32(f), jnp.asarray(b, dtype), jax.random.key(0),
        pad(np.asarray(lies), False),
    )  # fmt: skip


def compiled(name, f):
    """The rule as a function of what was heard and the vectors; one compilation for all f but where f shapes it."""
    key = (name, f if name in STATIC else None)
    if key not in MADE:
        rule = RULES[name][0](f)

        def apply(heard, vectors):
            if rule.select is not None:
                matrix, present = rule.select.matrix(heard)
                vectors = jnp.where(
                    present[:, None], matrix @ jnp.where(jnp.isfinite(vectors), vectors, 0), jnp.inf
                )
                heard = heard._replace(present=present)
            if rule.reduce is not None:
                return rule.reduce(jnp.where(jnp.isfinite(vectors), vectors, jnp.inf), heard)
            weights = rule.weigh(heard)
            spoilt = jnp.any((weights != 0) & ~heard.finite)
            return jnp.where(
                spoilt, jnp.nan, weights @ jnp.where((heard.finite & heard.present)[:, None], vectors, 0)
            )

        MADE[key] = rule, jax.jit(apply)
    return MADE[key]


def run(name, rows, f, weight=None, lies=None, dtype=np.float64, slots=SLOTS):
    m = len(rows)
    weight = np.full(m, 1 / m) if weight is None else weight
    lies = np.zeros(m, bool) if lies is None else lies
    with jax.enable_x64(dtype == np.float64), jax.numpy_rank_promotion("raise"):
        rule, apply = compiled(name, f)
        heard = heard_of(rows, f, weight, lies, slots, rule.translates, dtype)
        vectors = np.concatenate([rows, np.full((slots - m, rows.shape[1]), np.inf)]).astype(dtype)
        return np.asarray(apply(heard, jnp.asarray(vectors)))


def test_every_rule_is_here():
    assert {name.partition(",")[0] for name in RULES} == set(robust.RULES)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_its_loop(name):
    rng = np.random.default_rng(0)
    limit = RULES[name][0](3).most
    compared = 0
    for m in (9, 6, 3, 2, 1):
        for f in range(min(limit(m), 3) + 1):
            for wide in (1.0, 30.0):
                rows = rng.normal(size=(m, D)) + 1
                lies = np.zeros(m, bool)
                lies[1 : 1 + f] = True
                rows[lies] += wide * rng.normal(size=(f, D))
                weight = rng.uniform(0.5, 1, m)
                weight /= weight.sum()
                b = weight[lies].sum()
                expected = RULES[name][1](rows, f, weight=weight, b=b, lies=lies)
                got = (
                    run(name, rows, f, weight, lies)
                    if name not in STATIC
                    else run(name, rows, f, weight, lies, slots=m)
                )
                np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9, err_msg=f"m={m} f={f}")
                compared += 1
    assert compared >= 10


@pytest.mark.parametrize(
    "name, expected",
    {
        "mean": (2.9, -0.76), "median": (1.5, 1.0), "trimmed_mean": (1.5, 0.7333),
        "geometric_median": (1.5307, 0.8189),
        "krum, inclusive": (1.5, 1.2), "multi_krum": (1.125, 1.05), "mda": (1.125, 1.05), "nna": (1.125, 1.05),
        "meamed": (1.125, 1.05), "smea": (1.125, 1.05), "caf": (1.3491, 0.8748), "cs_plus": (1.3849, 0.5051),
        "gts": (1.1, 0.84), "clipped_gossip": (1.5407, 0.4483),
    }.items(),
)  # fmt: skip
def test_golden_numbers(name, expected):
    lies = np.array([False] * 4 + [True])
    got = run(name, GOLDEN, 1, lies=lies, dtype=np.float32, slots=5)
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_more_golden_numbers():
    def weights(rule, rows=GOLDEN, f=1):
        heard = heard_of(rows, f, np.full(5, 0.2), [False] * 4 + [True], 5, rule.translates, np.float32)
        return np.asarray(rule.weigh(heard)) @ rows

    clipping = {1: (1.1701, 0.5690), 3: (1.4655, 0.6906)}
    for iterations, expected in clipping.items():
        rule = robust.centered_clipping(2.0, iterations=iterations, start="zero")
        np.testing.assert_allclose(weights(rule), expected, atol=1e-4)
    np.testing.assert_allclose(weights(robust.nna(), np.roll(GOLDEN, 1, axis=0)), (3.625, -1.45), atol=1e-4)
    constant = robust.clipped_gossip(2.0, threshold="constant")
    np.testing.assert_allclose(weights(constant), (1.4201, 0.5320), atol=1e-4)


def pre(rule, rows, f, key=0):
    heard = heard_of(
        rows, f, np.full(len(rows), 1 / len(rows)), np.zeros(len(rows), bool), SLOTS, rule.translates
    )
    matrix, present = rule.matrix(heard._replace(key=jax.random.key(key)))
    clean = np.where(np.isfinite(rows), rows, 0)
    return (np.asarray(matrix)[:, : len(rows)] @ clean)[np.asarray(present)]


def test_pre_rules():
    with jax.enable_x64(True):
        cut = pre(robust.clipping(2.0), GOLDEN, 1)
        np.testing.assert_allclose(cut[[2, 4]], [(1.7889, 0.8944), (1.5617, -1.2494)], atol=1e-4)
        np.testing.assert_allclose(cut, ref.clip(GOLDEN, 2.0), atol=1e-12)
        arc = pre(robust.arc(), GOLDEN, 1)
        np.testing.assert_allclose(arc[4], (1.7461, -1.3969), atol=1e-4)
        np.testing.assert_allclose(arc, ref.arc(GOLDEN, 1), atol=1e-12)
        np.testing.assert_allclose(pre(robust.arc(), GOLDEN, 0), GOLDEN, atol=1e-12)
        mixed = pre(robust.nnm(), GOLDEN, 1)
        np.testing.assert_allclose(mixed[:4], np.tile((1.125, 1.05), (4, 1)), atol=1e-12)
        np.testing.assert_allclose(mixed, ref.nnm(GOLDEN, 1), atol=1e-12)
        bomb = np.array([*GOLDEN[:4], (np.inf, np.nan)])
        np.testing.assert_allclose(pre(robust.clipping(2.0), bomb, 1)[4], 0)
        np.testing.assert_allclose(pre(robust.arc(), bomb, 1), ref.arc(bomb, 1), atol=1e-12)


def test_buckets_are_a_partition_drawn_afresh():
    rows = np.random.default_rng(0).normal(size=(7, D))
    seen = set()
    for key in range(6):
        with jax.enable_x64(True):
            made = pre(robust.bucketing(size=2), rows, 1, key)
        assert len(made) == 4
        pairs = [[j for j in range(7) if np.allclose(row, rows[j]) or any(
            np.allclose(row, (rows[j] + rows[k]) / 2) for k in range(7) if k != j)] for row in made]  # fmt: skip
        assert sorted(j for pair in pairs for j in pair) == list(range(7)) and 0 in pairs[0]
        assert sorted(map(len, pairs)) == [1, 2, 2, 2]
        seen.add(str(pairs))
    assert len(seen) > 3


MEAN_AT_ZERO = [
    "caf",
    "faba",
    "ios",
    "mda",
    "mean",
    "meamed",
    "multi_krum",
    "nna",
    "phocas",
    "smea",
    "trimmed_mean",
]


@pytest.mark.parametrize("name", MEAN_AT_ZERO)
def test_without_liars_it_is_the_mean(name):
    rows = np.random.default_rng(1).normal(size=(9, D))
    np.testing.assert_allclose(run(name, rows, 0), rows.mean(axis=0), atol=1e-9)


@pytest.mark.parametrize("name", ["clipped_gossip", "cs_plus", "gts", "rtc"])
def test_without_liars_it_is_plain_gossip(name):
    rows, weight = np.random.default_rng(1).normal(size=(9, D)), np.arange(1, 10) / 45
    np.testing.assert_allclose(run(name, rows, 0, weight), weight @ rows, atol=1e-12)


@pytest.mark.parametrize("name", RULES)
def test_the_order_of_the_others_does_not_matter(name):
    rng = np.random.default_rng(2)
    for draw in range(3):
        rows = rng.normal(size=(9, D))
        order = np.concatenate([[0], 1 + rng.permutation(8)])
        f = min(RULES[name][0](2).most(9), 2)
        np.testing.assert_allclose(
            run(name, rows, f), run(name, rows[order], f), atol=1e-8, err_msg=str(draw)
        )


@pytest.mark.parametrize("name", [name for name in RULES if RULES[name][0](1).translates])
def test_a_shift_of_all_shifts_the_result(name):
    rng = np.random.default_rng(3)
    rows, shift = rng.normal(size=(9, D)), 5 * rng.normal(size=D)
    f = min(RULES[name][0](2).most(9), 2)
    np.testing.assert_allclose(run(name, rows + shift, f), run(name, rows, f) + shift, atol=1e-8)


BOUNDED = [name for name in RULES if RULES[name][0](2).most(9) >= 1]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("name", BOUNDED)
def test_f_arbitrary_vectors_cannot_carry_the_result_away(name, bad):
    rng = np.random.default_rng(4)
    f = min(RULES[name][0](2).most(9), 2)
    rows = rng.normal(size=(9, D)) + 3
    lies = np.zeros(9, bool)
    lies[[3, 7][:f]] = True
    rows[lies] = bad
    got = run(name, rows, f, lies=lies)
    assert np.isfinite(got).all()
    assert np.abs(got).max() < 4 * np.abs(rows[~lies]).max()


def test_the_mean_hands_on_what_is_not_finite():
    rows = np.ones((9, D))
    rows[4] = np.nan
    assert not np.isfinite(run("mean", rows, 0)).any()


def test_nearest_neighbour_mixing_contracts():
    """(1/h) Σ ‖yᵢ − x̄‖² ≤ 8 f/(n − f) Var over the honest rows, whatever the others are."""
    rng = np.random.default_rng(5)
    worst = 0.0
    for _ in range(300):
        n, f = int(rng.integers(4, 10)), 0
        f = int(rng.integers(1, (n - 1) // 2 + 1))
        honest = rng.normal(size=(n - f, 3)) * rng.uniform(0.1, 3, 3)
        mu, s = honest.mean(axis=0), honest.std(axis=0, ddof=1)
        lie = mu + rng.choice([-1, 1]) * rng.uniform(0, 3) * s
        rows = np.concatenate([honest, np.tile(lie, (f, 1))])
        mixed = ref.nnm(rows, f)[: n - f]
        variance = ((honest - mu) ** 2).sum() / (n - f)
        got = ((mixed - mu) ** 2).sum() / (n - f)
        worst = max(worst, got / (8 * f / (n - f) * variance))
    assert 0.05 < worst <= 1


@pytest.mark.parametrize(
    "cut, mixed", [([(0, 1), (1, 0), (1, -1)], (1, 0, 0)), ([(0, 1), (1, 0), (0, -1)], (1, 1, 1))]
)
def test_foolsgold_golden_weights(cut, mixed):
    h = np.array(cut, float)
    got = foolsgold_weights(jnp.asarray(h @ h.T), jnp.ones(3, bool))
    np.testing.assert_allclose(got, mixed, atol=1e-5)
    scaled = h * np.array([[2.0], [0.1], [7.0]])
    np.testing.assert_allclose(
        foolsgold_weights(jnp.asarray(scaled @ scaled.T), jnp.ones(3, bool)), got, atol=1e-5
    )


def test_foolsgold_sees_copies_only_beside_each_other():
    rng = np.random.default_rng(0)
    rows, sybil = rng.normal(size=(7, 200)), rng.normal(size=200)
    copies = sybil + 1e-3 * rng.normal(size=(4, 200))
    for many, expected in ((4, [1] * 7 + [0] * 4), (1, [1] * 8)):
        h = np.concatenate([rows, copies[:many]])
        got = foolsgold_weights(jnp.asarray(h @ h.T), jnp.ones(len(h), bool))
        np.testing.assert_allclose(got, expected, atol=1e-6)


def test_the_largest_number_withstood():
    for m in range(1, 12):
        assert robust.krum().most(m) == max((m - 3) // 2, 0)
        assert robust.bulyan().most(m) == max((m - 3) // 4, 0)
        assert robust.nna().most(m) == robust.trimmed_mean().most(m) == (m - 1) // 2
        assert robust.mda(f=2).most(m) == min(2, (m - 1) // 2)
        assert robust.mean().most(m) == 0


def test_sorting_by_a_network():
    rng = np.random.default_rng(0)
    for m in range(1, 18):
        values = rng.integers(-3, 3, (m, 40)).astype(np.float32)
        values[rng.uniform(size=values.shape) < 0.1] = np.inf
        np.testing.assert_array_equal(sort(jnp.asarray(values)), np.sort(values, axis=0))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: robust.krum(neighbours="all"), "krum: neighbours must be classical or inclusive, got 'all'"),
        (lambda: robust.multi_krum(keep="f"), "multi_krum: keep must be"),
        (lambda: robust.geometric_median(iterations=0), "geometric_median: iterations must be at least 1"),
        (lambda: robust.centered_clipping(start="there"), "centered_clipping: start must be own or zero"),
        (lambda: robust.centered_clipping(iterations=0), "centered_clipping: iterations must be at least 1"),
        (lambda: robust.clipped_gossip(threshold="best"), "clipped_gossip: threshold must be one of"),
        (lambda: robust.mda(f=-1), "mda: f must be at least 0"),
        (lambda: robust.caf(iterations=0), "caf: iterations must be at least 1"),
        (lambda: robust.flag(rank=0), "flag: iterations and rank must be at least 1"),
        (lambda: robust.flag(-1.0), "flag: lam must be at least 0"),
        (lambda: robust.flag(start="here"), "flag: start must be none or random, got 'here'"),
        (lambda: robust.flag(pairs="all"), "flag: pairs must be objective or release, got 'all'"),
        (lambda: robust.bucketing(size=0), "bucketing: size must be at least 1"),
    ],
)
def test_bad_options(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_too_many_subsets():
    rows = np.zeros((40, 2))
    heard = heard_of(rows, 12, np.full(40, 1 / 40), np.zeros(40, bool), 40, dtype=np.float32)
    with pytest.raises(ValueError, match=r"mda: there are 5,586,853,480 subsets of 28 of 40"):
        robust.mda(f=12).weigh(heard)
