"""Every mixing kernel on every kind of graph, against the dense float64 matrix."""

import functools

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlax import mixing
from dlax import topology as tp

pytestmark = pytest.mark.usefixtures("strict_ranks")

KEY = jax.random.key(7)
NAMED = sorted(set(tp.TOPOLOGIES) - {"file"})
SIZES = {"hypercube": [8, 16], "torus": [6, 8, 16]}  # 5 is prime; the others take 5, 8 and 16


def special():
    """Graphs that no name gives: hubs, sequences, a user's matrix, edges in one direction, one node."""
    rng = np.random.default_rng(0)
    W = rng.random((6, 6)) * (rng.random((6, 6)) < 0.6) + np.eye(6)
    arrows = nx.DiGraph([(i, (i + 1) % 6) for i in range(6)] + [(0, 3), (4, 2)])
    hubs = tp.barabasi_albert(300, m=2)
    assert 16 < hubs.degrees.max() < 299  # a hub wider than one unrolled loop
    return {
        "hubs": hubs,
        "wide star": tp.star(40),
        "cyclic": tp.cyclic(tp.ring(8), tp.star(8), tp.complete(8)),
        "random": tp.random_sequence(tp.ring(8), tp.star(8), tp.path(8)),
        "user matrix": tp.from_matrix(W / W.sum(axis=1, keepdims=True)),
        "negative weights": tp.from_networkx(nx.star_graph(6), weights=tp.laplacian()),
        "directed": tp.from_networkx(arrows, weights=tp.uniform_neighbour()),
        "column stochastic": tp.from_matrix((W / W.sum(axis=1, keepdims=True)).T, allow_column=True),
        "row sums of a star": tp.star(9, weights=tp.uniform_neighbour()),
        "one node": tp.ring(1),
        "two nodes": tp.path(2),
    }


GRAPHS = {f"{name} {n}": tp.TOPOLOGIES[name](n) for name in NAMED for n in SIZES.get(name, [5, 8, 16])}
GRAPHS |= special()


def kernels(topology):
    return ["dense", "slots"] + (["mean"] if topology.is_complete else [])


def matrix(topology, t, x, y):
    """The W of round t; of a random sequence, the member that explains y best."""
    if topology.order != "random":
        return topology.dense(t)
    return min(map(topology.dense, range(topology.period)), key=lambda W: np.abs(W @ x - y).max())


def network(topology, kernel, t=0, dtype=np.float64):
    plan, tables = mixing.plan(topology, kernel=kernel, dtype=dtype)
    return mixing.network(plan, jax.tree.map(jnp.asarray, tables), jnp.int32(t), KEY, KEY, None)


def message(n):
    """Leaves of several ranks: a number a node, vectors, matrices, and something empty."""
    rng = np.random.default_rng(n)
    shapes = {"number": (), "vector": (3,), "matrix": (2, 3), "empty": (0,)}
    return {name: rng.normal(size=(n, *shape)) for name, shape in shapes.items()}


@functools.cache
def outcome(name, kernel):
    """What a kernel makes of `message` in rounds 0, 1, 2, and its table in round 0; one compilation."""
    topology = GRAPHS[name]
    plan, tables = mixing.plan(topology, kernel=kernel, dtype=np.float64)

    @jax.jit
    def evaluate(tables, x):
        def mix(t):
            return mixing.network(plan, tables, t, KEY, KEY, None).mix(x)

        first = mixing.network(plan, tables, jnp.int32(0), KEY, KEY, None)
        return jax.vmap(mix)(jnp.arange(3)), first.table(), first.out_degree

    with jax.numpy_rank_promotion("raise"), jax.enable_x64(True):
        return jax.device_get(evaluate(tables, message(topology.n)))


@pytest.mark.parametrize("name", GRAPHS)
def test_every_kernel_multiplies_by_w(name):
    topology = GRAPHS[name]
    x = message(topology.n)
    for kernel in kernels(topology):
        mixed = outcome(name, kernel)[0]
        for t in range(3):
            W = matrix(topology, t, x["vector"], mixed["vector"][t])
            for leaf, y in mixed.items():
                want = np.einsum("ij,j...->i...", W, x[leaf])
                np.testing.assert_allclose(y[t], want, atol=1e-12, err_msg=f"{kernel}, round {t}")
            if topology.is_doubly_stochastic:
                np.testing.assert_allclose(
                    mixed["matrix"][t].mean(axis=0), x["matrix"].mean(axis=0), atol=1e-14
                )


@pytest.mark.parametrize("name", GRAPHS)
def test_the_neighbour_table_is_the_same_matrix(name):
    topology = GRAPHS[name]
    for kernel in kernels(topology):
        mixed, (index, weight, own), out_degree = outcome(name, kernel)
        W = matrix(topology, 0, message(topology.n)["vector"], mixed["vector"][0])
        built = np.diag(own)
        for i, slot in np.ndindex(index.shape):
            built[i, index[i, slot]] += weight[i, slot]
        np.testing.assert_allclose(built, W, atol=1e-15, err_msg=kernel)
        rows, _ = np.nonzero(weight == 0)
        np.testing.assert_array_equal(index[weight == 0], rows, "an unused slot shows the node itself")
        np.testing.assert_array_equal(out_degree, (W * (1 - np.eye(topology.n)) != 0).sum(axis=0))


@pytest.mark.parametrize("name", GRAPHS)
def test_float32_rows_sum_to_one_as_well_as_float32_can(name):
    topology = GRAPHS[name]
    if not topology.is_row_stochastic:
        pytest.skip("its columns sum to one")
    _, weight, own = map(np.asarray, jax.jit(network(topology, "slots", dtype=np.float32).table)())
    assert weight.dtype == own.dtype == np.float32
    # The weights are rounded one by one; the self weight, made from the rounded ones, is rounded once.
    np.testing.assert_allclose(weight.sum(axis=1, dtype=np.float64) + own, 1, atol=2.0**-24)


@pytest.mark.parametrize("columns", [64, 150, 200])
def test_large_messages_are_mixed_in_slabs_of_columns(columns, monkeypatch):
    """What is a question of size, made to happen on a small message: two slabs of 64 columns and a rest."""
    monkeypatch.setattr(mixing, "_LARGE_BYTES", 0)
    topology = tp.static_exponential(40)
    monkeypatch.setattr(mixing, "_SLAB_BYTES", 64 * topology.n * 8)
    x = np.random.default_rng(0).normal(size=(topology.n, columns))
    with jax.enable_x64(True):
        mix = network(topology, "slots").mix
        if jax.default_backend() == "cpu":
            assert "while" in str(jax.make_jaxpr(mix)(x)) or "scan" in str(jax.make_jaxpr(mix)(x))
        np.testing.assert_allclose(jax.jit(mix)(x), topology.dense() @ x, atol=1e-13)


def test_hubs_do_not_make_everyone_wide():
    hubs = GRAPHS["hubs"]
    plan, _ = mixing.plan(hubs)
    assert plan.kernel == "slots" and len(plan.buckets) > 1
    assert sum(rows for rows, _ in plan.buckets) == 300
    assert sum(rows * slots for rows, slots in plan.buckets) < 2 * hubs.degrees.sum()


@pytest.mark.parametrize(
    ("name", "kernel"),
    [("complete 16", "mean"), ("ring 16", "dense"), ("hubs", "slots"), ("cyclic", "dense")],
)
def test_the_automatic_choice(name, kernel):
    assert mixing.plan(GRAPHS[name])[0].kernel == kernel


@settings(max_examples=15, deadline=None)
@given(n=st.sampled_from([3, 6]), p=st.floats(0, 1), seed=st.integers(0, 1000), data=st.data())
def test_relabelling_nodes_permutes_the_result(n, p, seed, data):
    """On random connected graphs: mixing knows nodes by their edges, never by their numbers."""
    graph = nx.compose(nx.random_labeled_tree(n, seed=seed), nx.gnp_random_graph(n, p, seed=seed))
    W = tp.from_networkx(graph).dense()
    order = np.array(data.draw(st.permutations(range(n))))
    x = np.random.default_rng(seed).normal(size=(n, 3))
    with jax.enable_x64(True):
        for kernel in ("dense", "slots"):
            here = jax.jit(network(tp.from_matrix(W), kernel).mix)(x)
            there = jax.jit(network(tp.from_matrix(W[np.ix_(order, order)]), kernel).mix)(x[order])
            np.testing.assert_allclose(here, W @ x, atol=1e-14)
            np.testing.assert_allclose(there, np.asarray(here)[order], atol=1e-14)


def test_a_random_sequence_draws_all_its_matrices():
    topology = GRAPHS["random"]
    plan, tables = mixing.plan(topology)
    tables = jax.tree.map(jnp.asarray, tables)

    def mix(key):
        return mixing.network(plan, tables, jnp.int32(0), key, key, None).mix(jnp.eye(8))

    drawn = jax.jit(jax.vmap(mix))(jax.random.split(KEY, 60))
    distance = np.abs(np.asarray(drawn)[:, None] - np.stack([topology.dense(i) for i in range(3)])).max(
        axis=(2, 3)
    )
    assert (distance.min(axis=1) < 1e-6).all()
    counts = np.bincount(distance.argmin(axis=1), minlength=3)
    assert (abs(counts - 20) < 5 * np.sqrt(60 * (1 / 3) * (2 / 3))).all()


def test_combine_and_gather_look_at_the_right_rows():
    x = jnp.arange(6.0).reshape(3, 2)
    index = jnp.array([[1, 2], [0, 1], [2, 2]], jnp.int32)
    weight, own = jnp.array([[0.5, 0.25], [1.0, 0.0], [0.0, 0.0]]), jnp.array([0.25, 0.0, 1.0])
    np.testing.assert_allclose(mixing.combine(x, index, weight, own), [[2.0, 3.0], [0.0, 1.0], [4.0, 5.0]])
    np.testing.assert_array_equal(mixing.gather(x, index)[0], [[2.0, 3.0], [4.0, 5.0]])


@pytest.mark.parametrize("kernel", ["dense", "slots", "mean"])
def test_refusals(kernel):
    net = network(GRAPHS["complete 8"], kernel, dtype=np.float32)
    with pytest.raises(ValueError, match="a message must be floating, got a leaf of dtype int32"):
        net.mix(jnp.zeros((8, 2), jnp.int32))
    with pytest.raises(ValueError, match="the graph has 8 nodes, the message leads with 7"):
        net.mix(jnp.zeros((7, 2)))


def test_a_kernel_that_does_not_exist_or_fit():
    with pytest.raises(ValueError, match=r"kernel must be 'auto' or one of .*, got 'rolls'"):
        mixing.plan(tp.ring(8), kernel="rolls")
    with pytest.raises(ValueError, match="'mean' needs W = 11ᵀ/n, which 'ring' is not"):
        mixing.plan(tp.ring(8), kernel="mean")
