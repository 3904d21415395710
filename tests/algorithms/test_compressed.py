"""Compressed and relayed methods against plain NumPy loops, and where they come to rest."""

import compressed_references as published
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references

import dlax
from dlax import topology as tp
from dlax.algorithms import (
    beer,
    choco_sgd,
    deep_squeeze,
    dsgd,
    gossip,
    gradient_tracking,
    lead,
    power_gossip_sgd,
    relay_sgd,
    through,
)
from dlax.channel import choco, error_feedback, linear, power_gossip
from dlax.compress import dithered, identity, qsgd, rand_k, top_k
from dlax.problems import least_squares
from dlax.simulate import simulate
from dlax.simulate.streams import round_key, stream
from dlax.types import Problem

pytestmark = pytest.mark.usefixtures("strict_ranks")

N, DIM, ROUNDS = 10, 5, 25
PROBLEM = least_squares(N, dim=DIM, samples=8, heterogeneity=3.0)
GRAD = references.least_squares_gradient(PROBLEM)
A = PROBLEM.local["A"]
HESSIANS = np.einsum("nsi,nsj->nij", A, A) / A.shape[1]
STEP = 1 / max(np.linalg.eigvalsh(H)[-1] for H in HESSIANS)  # 1/L
RING, STAR, PATH = tp.ring(N), tp.star(N), tp.path(N)
STARTS = np.random.default_rng(4).normal(size=(N, DIM))
APART = PROBLEM._replace(starts={"x": STARTS})
TOP_2 = top_k(fraction=0.4)


def run(algorithm, topology, problem=PROBLEM, rounds=ROUNDS, **options):
    return simulate(
        algorithm, problem, topology, rounds=rounds, eval_every=rounds, precision="float64", **options
    )


def final(*args, **options):
    return run(*args, **options).params["x"][0]


def distance(*args, **options):
    """(1/n) Σᵢ ‖xᵢ − x*‖² after all rounds."""
    return run(*args, **options).rows[-1]["distance"]


# Compressors, and what NumPy loops take for them.
COMPRESSORS = {
    "top_k": (TOP_2, published.top_k(2)),
    "qsgd": (qsgd(levels=2), published.drawn(qsgd(levels=2), N)),
    "rand_k": (rand_k(fraction=0.4), published.drawn(rand_k(fraction=0.4), N)),
}


def name_of(value):
    """Of a topology in the name of a test."""
    return getattr(value, "name", value)


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize(("topology", "name"), [(RING, "top_k"), (STAR, "qsgd")], ids=name_of)
@pytest.mark.parametrize(
    ("method", "reference"), [(choco_sgd, published.choco_sgd), (deep_squeeze, published.deep_squeeze)]
)
def test_choco_sgd_and_deep_squeeze(method, reference, name, topology, x64):
    ours, theirs = COMPRESSORS[name]
    got = final(method(0.1, 0.2, compressor=ours), topology, APART)
    want = reference(GRAD, topology.dense(), STARTS, theirs, lr=0.1, gamma=0.2, rounds=ROUNDS)
    np.testing.assert_allclose(got, want, atol=1e-10)


@pytest.mark.parametrize(("topology", "name"), [(RING, "top_k"), (STAR, "qsgd")], ids=name_of)
def test_beer_is_the_published_recursion_after_one_exchange(name, topology, x64):
    """From first copies that hold one compressed message; the paper's zeros give another path."""
    ours, theirs = COMPRESSORS[name]
    got = final(beer(0.05, 0.2, compressor=ours), topology, APART)
    arguments = (GRAD, topology.dense(), STARTS, theirs)
    options = {"lr": 0.05, "gamma": 0.2, "rounds": ROUNDS}
    want = published.beer(*arguments, **options, first_copies=True)
    np.testing.assert_allclose(got, want, atol=1e-10)
    assert np.abs(published.beer(*arguments, **options, first_copies=False) - got).max() > 1e-3


@pytest.mark.parametrize(("name", "gamma", "memory"), [("dithered", 1.0, 0.5), ("top_k", 0.6, 0.3)])
def test_lead(name, gamma, memory, x64):
    made = {
        "dithered": (dithered(bits=3), published.drawn(dithered(bits=3), N)),
        "top_k": COMPRESSORS["top_k"],
    }
    ours, theirs = made[name]
    got = final(lead(0.1, gamma, memory, compressor=ours), STAR, APART)
    want = published.lead(
        GRAD, STAR.dense(), STARTS, theirs, lr=0.1, gamma=gamma, memory=memory, rounds=ROUNDS
    )
    np.testing.assert_allclose(got, want, atol=1e-10)


def test_lead_without_compression_is_nids():
    """From NIDS's own first step on."""
    first, want = published.nids(GRAD, RING.dense(), STARTS, lr=0.1, rounds=ROUNDS)
    started = PROBLEM._replace(starts={"x": first})
    got = final(lead(0.1, compressor=identity()), RING, started, rounds=ROUNDS - 1)
    np.testing.assert_allclose(got, want, atol=1e-10)


@pytest.mark.parametrize("topology", [PATH, tp.binary_tree(N)], ids=name_of)
def test_relay_sgd(topology):
    """From a common start that is not zero, longer than the tree is wide."""
    start = np.tile(STARTS[0], (N, 1))
    got = final(relay_sgd(0.05), topology, PROBLEM._replace(starts={"x": start}))
    adjacency = (topology.dense() != 0) & ~np.eye(N, dtype=bool)
    want = published.relay_sgd(GRAD, adjacency, start, lr=0.05, rounds=ROUNDS)
    np.testing.assert_allclose(got, want, atol=1e-10)


# ---------------------------------------------------------------------------------------- without compression


@pytest.mark.parametrize(
    ("compressed", "plain"),
    [
        (choco_sgd(0.1, 1.0, compressor=identity(), local_steps=2), dsgd(0.1, local_steps=2)),
        (deep_squeeze(0.1, 1.0, compressor=identity()), dsgd(0.1)),
        (beer(0.05, 1.0, compressor=identity()), gradient_tracking(0.05)),
        (power_gossip_sgd(0.1), dsgd(0.1)),  # a model of one vector is averaged as it is
    ],
    ids=["choco_sgd", "deep_squeeze", "beer", "power_gossip_sgd"],
)
def test_without_compression_they_are_the_plain_methods(compressed, plain):
    np.testing.assert_allclose(final(compressed, STAR, APART), final(plain, STAR, APART), atol=1e-12)


# -------------------------------------------------------------------------------------------------- exactness


@pytest.mark.parametrize(
    ("algorithm", "topology", "rounds"),
    [
        (beer(0.05 * STEP, 0.2, compressor=TOP_2), RING, 4000),
        (lead(0.3 * STEP, compressor=dithered(bits=4)), RING, 1500),
        (relay_sgd(0.1 * STEP), PATH, 4000),
    ],
    ids=["beer", "lead", "relay_sgd"],
)
def test_exact_methods_reach_the_optimum(algorithm, topology, rounds):
    assert distance(algorithm, topology, rounds=rounds) < 1e-18


def biased_fixed_point(lr, W):
    """Where X = W (X − lr G(X)): one dense linear system."""
    b = np.einsum("nsi,ns->ni", A, PROBLEM.local["b"]) / A.shape[1]
    blocks = np.zeros((N * DIM, N * DIM))
    for i in range(N):
        blocks[i * DIM : (i + 1) * DIM, i * DIM : (i + 1) * DIM] = HESSIANS[i]
    mix = np.kron(W, np.eye(DIM))
    matrix = np.eye(N * DIM) - mix + lr * mix @ blocks
    return np.linalg.solve(matrix, lr * mix @ b.reshape(-1)).reshape(N, DIM)


def test_choco_sgd_stands_still_where_dsgd_does():
    """Compression errors vanish, the bias of D-SGD with weights I + γ (W − I) stays."""
    lr, gamma = 0.3 * STEP, 0.2
    got = final(choco_sgd(lr, gamma, compressor=TOP_2), RING, rounds=2000)
    want = biased_fixed_point(lr, np.eye(N) + gamma * (RING.dense() - np.eye(N)))
    np.testing.assert_allclose(got, want, atol=1e-9)
    assert np.mean(np.sum((want - PROBLEM.optimum["x"]) ** 2, axis=1)) > 0.1


def test_deep_squeeze_stalls_and_never_rests():
    """Models travel, not differences: what is lost does not vanish, however long it runs."""
    algorithm = deep_squeeze(0.3 * STEP, 0.2, compressor=TOP_2)
    last, next_to = final(algorithm, RING, rounds=2000), final(algorithm, RING, rounds=1999)
    assert np.abs(last - next_to).max() > 1e-4
    assert np.mean(np.sum((last - PROBLEM.optimum["x"]) ** 2, axis=1)) > 0.1


# --------------------------------------------------------------------------------------------------- channels


@pytest.mark.parametrize(("name", "memory"), [("rand_k", 1.0), ("top_k", 0.5)])
def test_choco_gossip(name, memory, x64):
    ours, theirs = COMPRESSORS[name]
    got = final(gossip(), STAR, APART, channel=choco(0.2, memory, compressor=ours))
    want = published.choco_gossip(STAR.dense(), STARTS, theirs, gamma=0.2, memory=memory, rounds=ROUNDS)
    np.testing.assert_allclose(got, want, atol=1e-10)
    np.testing.assert_allclose(got.mean(axis=0), STARTS.mean(axis=0), atol=1e-14)


def spread(x):
    return np.sum((x - x.mean(axis=0)) ** 2)


def test_remembering_what_was_sent_is_what_makes_compressed_gossip_agree():
    """CHOCO to rounding; direct compression (no memory) and error feedback only so far."""
    channels = {
        "choco": choco(0.3, compressor=TOP_2),
        "direct": choco(0.3, memory=0.0, compressor=TOP_2),
        "feedback": error_feedback(0.3, compressor=TOP_2),
    }
    left = {
        name: spread(final(gossip(), RING, APART, channel=channel, rounds=600))
        for name, channel in channels.items()
    }
    assert left["choco"] < 1e-18 * spread(STARTS)
    assert min(left["direct"], left["feedback"]) > 1e-6 * spread(STARTS)


@pytest.mark.parametrize("channel", [choco, error_feedback])
def test_a_compressed_message_a_neighbour_is_paid_for(channel):
    compressor = top_k(fraction=0.4)
    result = run(dsgd(0.1), STAR, channel=channel(0.2, compressor=compressor), rounds=3)
    assert result.rows[-1]["bits_total"] == 3 * 2 * (N - 1) * 2 * (64 + 3)
    tracking = run(gradient_tracking(0.01), STAR, channel=channel(0.2, compressor=compressor), rounds=3)
    assert tracking.rows[-1]["bits_total"] == 2 * result.rows[-1]["bits_total"]


def test_relayed_models_are_paid_for():
    assert run(relay_sgd(0.01), STAR, rounds=3).rows[-1]["bits_total"] == 3 * 2 * (N - 1) * 64 * DIM


def matrices(shapes):
    """Models of several leaves, to be averaged; nobody's gradient matters."""

    def init(key):
        return {name: jax.random.normal(jax.random.fold_in(key, len(name)), s) for name, s in shapes.items()}

    zero = lambda params, *rest: jnp.zeros(())  # noqa: E731
    return Problem(N, init, zero, {"i": np.arange(float(N))}, {}, zero)


SHAPES = {"m": (4, 3), "mm": (2, 2, 3), "v__": (5,), "n___": ()}
MODELS = matrices(SHAPES)


def first_vectors(topology, leaf, size, seed=0):
    """q of every edge, from the documented keys."""
    key = jax.random.fold_in(stream(round_key(jax.random.key(seed), 0), "channel"), 0)
    key, vectors = jax.random.fold_in(key, leaf), {}
    for i, j in np.argwhere(np.triu(topology.dense(), 1)):
        edge_key = jax.random.fold_in(jax.random.fold_in(key, i), j)
        vectors[i, j] = np.asarray(jax.random.normal(edge_key, (size,), np.float64))
    return vectors


@pytest.mark.parametrize("topology", [STAR], ids=name_of)
def test_power_gossip(topology, x64):
    options = {"channel": power_gossip(), "start": "independent"}
    begin = simulate(gossip(), MODELS, topology, rounds=0, precision="float64", start="independent").params
    begin = {name: leaf[0] for name, leaf in begin.items()}
    result = run(gossip(), topology, MODELS, rounds=9, **options)
    got = {name: leaf[0] for name, leaf in result.params.items()}
    W = topology.dense()
    for leaf, (name, shape) in enumerate([("m", (4, 3)), ("mm", (4, 3))]):
        q = first_vectors(topology, leaf, shape[1])
        want = published.power_gossip(W, begin[name].reshape(N, *shape), q, rounds=9)
        np.testing.assert_allclose(got[name].reshape(N, *shape), want, atol=1e-10)
        np.testing.assert_allclose(got[name].mean(axis=0), begin[name].mean(axis=0), atol=1e-14)
    for name in ("v__", "n___"):
        want = np.linalg.matrix_power(W, 9) @ begin[name].reshape(N, -1)
        np.testing.assert_allclose(got[name].reshape(N, -1), want, atol=1e-12)
    # Five rounds send a = 4 numbers a matrix, four rounds b = 3; the vector and the number travel whole.
    numbers = 2 * (5 * 4 + 4 * 3) + 9 * (5 + 1)
    assert result.rows[-1]["bits_total"] == len(topology.edges) * 64 * numbers


def test_power_gossip_agrees_on_matrices():
    square = matrices({"m": (6, 5)})
    result = run(gossip(), RING, square, rounds=600, channel=power_gossip(), start="independent")
    begin = run(gossip(), RING, square, rounds=1, start="independent").params["m"][0].mean(axis=0)
    got = result.params["m"][0]
    assert spread(got) < 1e-9
    np.testing.assert_allclose(got.mean(axis=0), begin, atol=1e-13)


def test_power_gossip_wakes_where_two_nodes_agreed():
    """All start alike, so all differences vanish; gradients then part them, and p and q come back."""
    pulled = np.random.default_rng(0).normal(size=(N, 3, 2))

    def loss(params, key, local, shared):
        return 0.5 * jnp.sum((params["m"] - local["target"]) ** 2)

    def objective(params, local, shared):
        return 0.5 * jnp.mean(jnp.sum((params["m"][None] - local["target"]) ** 2, axis=(1, 2)))

    problem = Problem(N, lambda key: {"m": jnp.zeros((3, 2))}, loss, {"target": pulled}, {}, objective)
    result = run(through(dsgd(0.05, order="combine_then_adapt"), power_gossip()), RING, problem, rounds=300)
    got = result.params["m"][0]
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got.mean(axis=0), pulled.mean(axis=0), atol=1e-3)
    assert spread(got) < 0.2 * spread(pulled)


# --------------------------------------------------------------------------------------------------- refusals

ROTATING, ROWS = tp.one_peer_exponential(N), tp.star(N, weights=tp.uniform_neighbour())
OWN = [beer, choco_sgd, deep_squeeze, lead, power_gossip_sgd, relay_sgd]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"algorithm": dsgd, "channel": choco(), "topology": ROTATING}, "'choco' needs a topology that is fixed"),
        ({"algorithm": dsgd, "channel": choco(), "topology": ROWS}, "'choco' needs .* doubly stochastic"),
        ({"algorithm": dsgd, "channel": error_feedback(), "topology": ROWS}, "'error_feedback' needs .* doubly"),
        ({"algorithm": dsgd, "channel": power_gossip(), "topology": ROTATING}, "'power_gossip' needs .* fixed"),
        (
            {"algorithm": lead, "topology": tp.directed_ring(N)},
            "'choco' needs a topology that is symmetric; 'directed_ring' is",
        ),
        ({"algorithm": relay_sgd, "topology": RING}, "'relay_sgd' needs a topology that is tree; 'ring' is"),
    ]
    + [
        ({"algorithm": dsgd, "channel": make(), "participation": 0.5}, f"{make.__name__!r} needs every node and link")
        for make in (choco, error_feedback, power_gossip)
    ]
    + [
        ({"algorithm": name, "channel": channel, "topology": PATH}, "brings its own channel|plain channel")
        for name, channel in [*((name, linear(0.1)) for name in OWN), (beer, choco())]
    ],
)  # fmt: skip
def test_what_they_are_not_valid_on_is_refused(options, message):
    given = {"topology": RING} | options
    with pytest.raises(ValueError, match=message):
        simulate(given.pop("algorithm"), PROBLEM, given.pop("topology"), rounds=1, **given)


@pytest.mark.parametrize(
    ("factory", "options", "message"),
    [
        (choco, {"gamma": 0.0}, r"choco: gamma must be in \(0, 1\], got 0.0"),
        (choco, {"memory": -0.1}, r"choco: memory must be in \[0, 1\], got -0.1"),
        (error_feedback, {"gamma": 1.5}, r"error_feedback: gamma must be in \(0, 1\], got 1.5"),
        (lead, {"gamma": 2.5}, r"lead: gamma must be in \(0, 2\], got 2.5"),
        (relay_sgd, {"local_steps": 0}, "relay_sgd: local_steps must be at least 1, got 0"),
    ],
)
def test_options_that_do_not_exist(factory, options, message):
    with pytest.raises(ValueError, match=message):
        factory(**options)


# ---------------------------------------------------------------------------------------------------- configs

CONFIG = {
    "nodes": 6,
    "problem": {"name": "least_squares", "dim": 20},
    "topology": "ring",
    "algorithm": {"name": "dsgd", "lr": 0.05},
    "channel": {"name": "choco", "compressor": {"name": "top_k", "fraction": 0.1}},
    "rounds": 40,
    "eval_every": 40,
}


def test_a_config_names_the_compressor_and_sweeps_gamma_in_one_compilation():
    result = dlax.run(CONFIG)
    assert result.config["channel"] == {
        "name": "choco", "gamma": 0.1, "memory": 1.0, "compressor": {"name": "top_k", "fraction": 0.1}
    }  # fmt: skip
    assert result.rows[-1]["bits_node"] == 40 * 2 * 2 * (32 + 5)
    swept = dlax.run(CONFIG | {"vmap": {"channel.gamma": [0.1, 0.4]}})
    assert [row["channel.gamma"] for row in swept.rows[-2:]] == [0.1, 0.4]
    alone, beside, other = result.rows[-1], *swept.rows[-2:]
    np.testing.assert_allclose(alone["consensus"], beside["consensus"], rtol=1e-4)
    assert other["consensus"] < 0.9 * beside["consensus"]


def test_a_config_names_an_algorithm_with_a_compressor():
    algorithm = {"name": "lead", "lr": 0.05, "compressor": {"name": "dithered", "bits": 4}}
    result = dlax.run(CONFIG | {"channel": "linear", "algorithm": algorithm})
    assert result.rows[-1]["distance"] < 0.1 * result.rows[0]["distance"]
