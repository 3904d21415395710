"""Merging by matching, against loops over nodes and units in plain NumPy, and the cases with exact answers."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from dlax import mixing
from dlax import topology as tp
from dlax.algorithms import gossip
from dlax.channel import linear, matching
from dlax.channel.alignment import activation_matching, assign, repair, weight_matching
from dlax.channel.matching import merging
from dlax.models import cnn, mlp, permutations
from dlax.simulate import simulate
from dlax.types import Problem

N, INPUTS, HIDDEN, OUTPUTS = 5, 6, (7, 5), 3
MODEL = mlp(hidden=HIDDEN)((INPUTS,), OUTPUTS)
SHAPES = jax.eval_shape(MODEL.init, jax.random.key(0))
SPEC = permutations.describe(SHAPES)
GRAPHS = {
    "ring": tp.ring(N),
    "star": tp.star(N),
    "complete": tp.complete(N),
    "directed": tp.static_exponential(N),
}
RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, INPUTS))
STARTS = jax.tree.map(lambda leaf: RNG.normal(size=(N, *leaf.shape)), SHAPES)
ZERO = Problem(
    N,
    MODEL.init,
    lambda *args: 0.0,
    {"x": np.zeros(N)},
    {},
    lambda params, *_: params["Dense_0"]["bias"].sum(),
)
MATCHERS = {
    "activations": activation_matching(MODEL.apply, SPEC, X),
    "weights": weight_matching(SPEC),
    "weights on the device": weight_matching(SPEC, solver="device"),
}


def merge(channel, graph="ring", starts=STARTS, active=None):
    """Models after one merge, in float64, and the bits sent by each node; the step alone, without the engine."""
    topology = GRAPHS[graph]

    def require(who, *needed):
        holds = topology.properties | ({"full participation"} if active is None else set())
        if not set(needed) <= holds:
            raise ValueError(f"{who} needs {needed}")

    with jax.enable_x64(True):
        plan, tables = mixing.plan(topology, dtype=np.float64)
        key = jax.random.key(0)

        def once(starts):
            network = mixing.network(plan, jax.tree.map(jnp.asarray, tables), jnp.int32(0), key, key, active)
            received, link, bits = channel.mix((), starts, network._replace(require=require))
            assert link == ()
            return received, bits

        return jax.device_get(jax.jit(once)(starts))


# ------------------------------------------------------------------------------------------------- the reference


def layers(params, i):
    """Node i's MLP as a list of (kernel [out, in], bias [out])."""
    return [
        (params[f"Dense_{level}"]["kernel"][i], params[f"Dense_{level}"]["bias"][i]) for level in range(3)
    ]


def correlations(here, there):
    """Of hidden activations on X, one matrix a hidden layer."""
    seen = []
    for model in (here, there):
        z, mine = X, []
        for kernel, bias in model[:-1]:
            z = np.maximum(z @ kernel.T + bias, 0)
            mine.append(z)
        seen.append(mine)
    found = []
    for a, b in zip(*seen, strict=True):
        scores = np.zeros((a.shape[1], b.shape[1]))
        for c in range(a.shape[1]):
            for d in range(b.shape[1]):
                if a[:, c].std() > 0 and b[:, d].std() > 0:
                    scores[c, d] = np.corrcoef(a[:, c], b[:, d])[0, 1]
        found.append(scores)
    return found


def by_activations(here, there):
    return [linear_sum_assignment(scores, maximize=True)[1] for scores in correlations(here, there)]


def by_weights(here, there):
    """Coordinate descent over the two hidden layers, first to last."""
    found = [np.arange(size) for size in HIDDEN]
    while True:
        before = [unit.copy() for unit in found]
        for level in range(2):
            scores = np.zeros((HIDDEN[level], HIDDEN[level]))
            inputs = np.arange(INPUTS) if level == 0 else found[0]
            outputs = np.arange(OUTPUTS) if level == 1 else found[1]
            for c in range(HIDDEN[level]):
                for d in range(HIDDEN[level]):
                    scores[c, d] = (
                        here[level][0][c] @ there[level][0][d][inputs]
                        + here[level][1][c] * there[level][1][d]
                        + here[level + 1][0][:, c] @ there[level + 1][0][outputs][:, d]
                    )
            found[level] = linear_sum_assignment(scores, maximize=True)[1]
        if all((a == b).all() for a, b in zip(found, before, strict=True)):
            return found


def renumber(model, found):
    """W^l ← P^l W^l (P^{l−1})ᵀ, b^l ← P^l b^l, entry by entry."""
    units = [np.arange(INPUTS), *found, np.arange(OUTPUTS)]
    out = []
    for level, (kernel, bias) in enumerate(model):
        new = np.zeros_like(kernel)
        for r, row in enumerate(units[level + 1]):
            for c, column in enumerate(units[level]):
                new[r, c] = kernel[row, column]
        out.append((new, bias[units[level + 1]]))
    return out


def reference(params, W, match, *, common=False):
    """Every node's merged model, one node after the other."""
    models = [layers(params, i) for i in range(N)]
    merged = []
    for i in range(N):
        total = [(np.zeros_like(kernel), np.zeros_like(bias)) for kernel, bias in models[i]]
        space = 0 if common else i
        for j in range(N):
            moved = models[j] if j == space else renumber(models[j], match(models[space], models[j]))
            total = [
                (a + W[i, j] * kernel, b + W[i, j] * bias)
                for (a, b), (kernel, bias) in zip(total, moved, strict=True)
            ]
        merged.append(total)
    return merged


CASES = [
    *(("activations", *case) for case in (("ring", "own"), ("directed", "own"), ("complete", "common"))),
    *(("weights", *case) for case in (("ring", "own"), ("complete", "own"), ("complete", "common"))),
    ("weights on the device", "ring", "own"),
]


@pytest.mark.parametrize(("matcher", "graph", "space"), CASES)
def test_a_merge_is_the_loop_over_nodes(matcher, graph, space):
    got, bits = merge(merging(MATCHERS[matcher], space=space), graph)
    match = by_activations if matcher == "activations" else by_weights
    want = reference(STARTS, GRAPHS[graph].dense(), match, common=space == "common")
    for i in range(N):
        for (kernel, bias), (want_kernel, want_bias) in zip(layers(got, i), want[i], strict=True):
            np.testing.assert_allclose(kernel, want_kernel, atol=1e-10)
            np.testing.assert_allclose(bias, want_bias, atol=1e-10)
    degrees = (GRAPHS[graph].dense() != 0).sum(axis=0) - 1
    np.testing.assert_array_equal(bits, 64 * degrees * sum(leaf.size for leaf in jax.tree.leaves(SHAPES)))


def test_auto_is_common_on_the_complete_graph_and_own_elsewhere():
    """The registered channel, which matches weights."""
    for graph, space in (("complete", "common"), ("ring", "own")):
        auto, chosen = (
            merge(channel, graph)[0] for channel in (matching(), merging(MATCHERS["weights"], space=space))
        )
        jax.tree.map(np.testing.assert_array_equal, auto, chosen)
        kernel = auto["Dense_0"]["kernel"]
        assert (kernel == kernel[0]).all() == (space == "common")  # one model for all


def test_where_nodes_sleep_auto_is_own_and_their_weight_returns():
    active = np.arange(N) != 2
    got, bits = merge(matching(), "complete", active=jnp.asarray(active))
    W = np.where(np.outer(active, active), 1 / N, 0.0)
    W += np.diag(1 - W.sum(axis=1))
    want = reference(STARTS, W, by_weights)
    for i in range(N):
        for pair, want_pair in zip(layers(got, i), want[i], strict=True):
            np.testing.assert_allclose(pair[0], want_pair[0], atol=1e-10)
    assert bits[2] == 0 < bits[0]


# ---------------------------------------------------------------------------------------------------- exact cases


@pytest.mark.parametrize(("matcher", "graph"), [("activations", "ring"), ("weights", "complete")])
def test_renumbered_copies_of_one_model_merge_into_it(matcher, graph):
    """And n identical models stay what they are; with repair too."""
    one = jax.tree.map(lambda leaf: leaf[0], STARTS)
    # Every unit is on somewhere: else nothing tells which of two that are off is which.
    one["Dense_0"]["bias"], one["Dense_1"]["bias"] = np.full(7, 1.0), np.full(5, 2.0)
    found = [permutations.draw(SPEC, jax.random.key(i)) for i in range(N)]
    with jax.enable_x64(True):
        exact = jax.tree.map(np.asarray, [permutations.permute(SPEC, one, each) for each in found])
    starts = jax.tree.map(lambda *rows: np.stack(rows), *exact)
    for fix in (None, repair(MODEL.apply, SPEC, X)):
        got, _ = merge(merging(MATCHERS[matcher], repair=fix), graph, starts)
        want = jax.tree.map(lambda leaf: np.stack([leaf[0]] * N), starts) if graph == "complete" else starts
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10), got, want)
    pair = MATCHERS[matcher]
    with jax.enable_x64(True):
        back = pair.pair(pair.prepare(one), pair.prepare(exact[1]))
    jax.tree.map(np.testing.assert_array_equal, back, permutations.invert(found[1]))


def test_without_hidden_units_it_is_plain_averaging():
    model = mlp(hidden=())((INPUTS,), OUTPUTS)
    starts = jax.tree.map(
        lambda leaf: RNG.normal(size=(N, *leaf.shape)), jax.eval_shape(model.init, jax.random.key(0))
    )
    for graph in ("ring", "complete"):
        matched, plain = (merge(channel, graph, starts)[0] for channel in (matching(), linear()))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), matched, plain)


def test_lost_messages_leave_ones_own_model():
    matcher = MATCHERS["weights"]
    none, paid = merge(merging(matcher, 1.0))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), none, STARTS)
    every, bits = merge(merging(matcher))
    some, _ = merge(merging(matcher, 0.0))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), some, every)
    np.testing.assert_array_equal(bits, paid)


# ----------------------------------------------------------------------------------------------------- assignment


@pytest.mark.parametrize("solver", ["host", "device"])
def test_assignments_are_the_best_there_are(solver):
    scores = RNG.normal(size=(6, 6))
    every = [np.array(p) for p in itertools.permutations(range(6))]
    for blocks in (1, 2, 3, 6):
        size = 6 // blocks
        legal = [p for p in every if (p.reshape(blocks, size) // size == p[::size, None] // size).all()]
        best = max(legal, key=lambda p: scores[np.arange(6), p].sum())
        np.testing.assert_array_equal(assign(jnp.asarray(scores), blocks=blocks, solver=solver), best)


@pytest.mark.parametrize("solver", ["host", "device"])
def test_assignments_under_vmap_and_jit(solver):
    many = RNG.normal(size=(3, 2, 20, 20)).astype(np.float32)
    got = jax.jit(jax.vmap(jax.vmap(lambda scores: assign(scores, solver=solver))))(many)
    for i, j in np.ndindex(3, 2):
        np.testing.assert_array_equal(got[i, j], linear_sum_assignment(many[i, j], maximize=True)[1])


def test_scores_that_are_not_numbers_give_a_permutation():
    for scores in (np.full((4, 4), np.nan), np.full((4, 4), np.inf), np.full((4, 4), -np.inf)):
        assert sorted(np.asarray(assign(jnp.asarray(scores)))) == [0, 1, 2, 3]


# --------------------------------------------------------------------------------------------------------- repair


def statistics(model, x):
    """Mean and deviation of every hidden unit before its activation."""
    z, found = x, []
    for kernel, bias in model[:-1]:
        z = z @ kernel.T + bias
        found.append((z.mean(axis=0), z.std(axis=0)))
        z = np.maximum(z, 0)
    return found


def test_repaired_models_have_the_statistics_of_their_parents():
    got, _ = merge(merging(MATCHERS["activations"], repair=repair(MODEL.apply, SPEC, X)))
    W = GRAPHS["ring"].dense()
    for i in range(N):
        goal = [[np.zeros(size), np.zeros(size)] for size in HIDDEN]
        for j in range(N):
            if W[i, j]:
                here, there = layers(STARTS, i), layers(STARTS, j)
                moved = renumber(there, by_activations(here, there)) if i != j else there
                for level, pair in enumerate(statistics(moved, X)):
                    for s in (0, 1):
                        goal[level][s] += W[i, j] * pair[s]
        for pair, want in zip(statistics(layers(got, i), X), goal, strict=True):
            np.testing.assert_allclose(pair, want, atol=1e-10)
    without, _ = merge(merging(MATCHERS["activations"]))
    deviation = [statistics(layers(models, 0), X)[0][1].mean() for models in (without, got)]
    assert deviation[0] < 0.8 * deviation[1]  # there was something to repair


def test_repair_of_a_cnn_and_of_units_that_never_vary():
    x = RNG.uniform(size=(10, 4, 4, 1)).astype(np.float32)
    model = cnn(channels=(2, 3), hidden=4, kernel=3)((4, 4, 1), 2)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    spec = permutations.describe(shapes)
    params = jax.tree.map(lambda leaf: RNG.normal(size=leaf.shape).astype(np.float32), shapes)
    params["Conv_0"]["kernel"][..., 1] = 0.0
    fix = repair(model.apply, spec, x)
    now = fix.measure(params)
    goal = jax.tree.map(lambda leaf: np.abs(leaf) + 0.5, now)
    after = fix.measure(fix.rescale(params, goal))
    assert set(now) == {"Conv_0", "Conv_1", "MLP_0/Dense_0"}
    for name in now:
        np.testing.assert_allclose(after[name]["mean"], goal[name]["mean"], atol=1e-5)
        alive = np.asarray(now[name]["deviation"]) > 1e-6
        np.testing.assert_allclose(after[name]["deviation"][alive], goal[name]["deviation"][alive], rtol=1e-4)
    assert np.asarray(after["Conv_0"]["deviation"])[1] < 1e-6  # a rounding error, never scaled up


# ------------------------------------------------------------------------------------------------------ refusals


def run(channel, graph="ring", **options):
    """In the engine."""
    flat = Problem(N, MODEL.init, lambda *args: 0.0, {"x": np.zeros(N)}, {}, lambda *args: jnp.zeros(()))
    return simulate(gossip(), flat, GRAPHS[graph], channel=channel, rounds=1, start="independent", **options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: matching(space="mine"), "matching: space must be one of auto, own, common, got 'mine'"),
        (lambda: matching(solver="gpu"), "matching: solver must be one of host, device, got 'gpu'"),
        (lambda: weight_matching(SPEC, sweeps=0), "weight_matching: sweeps must be at least 1, got 0"),
        (lambda: activation_matching(MODEL.apply, SPEC, X, solver=""), "activation_matching: solver must be"),
        (lambda: run(matching(space="common")), "common space' needs a topology that is complete"),
        (lambda: run(matching(0.1, space="common"), "complete"), "needs perfect links; set drop to null"),
        (
            lambda: run(matching(space="common"), "complete", participation=0.5),
            "needs every node and link in every round",
        ),
        (
            lambda: merge(matching(), "ring", {"Dense_0": {"bias": np.zeros((N, 2))}, "w": np.zeros((N, 2))}),
            "must be those of linear, mlp, cnn or resnet8",
        ),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
