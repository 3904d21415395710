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
NAMED = sorted(set(tp.TOPOLOGIES) - {"file", "cyclic", "random_sequence"})  # what needs no options
ODD = ["complete", "one_peer_exponential", "ring", "star", "static_exponential"]  # also with 9 nodes


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
        "cyclic": tp.cyclic(8, members=(tp.ring, tp.star, tp.complete)),
        "random": tp.random_sequence(8, members=(tp.ring, tp.star, tp.path)),
        "user matrix": tp.from_matrix(W / W.sum(axis=1, keepdims=True)),
        "negative weights": tp.from_networkx(nx.star_graph(6), weights=tp.best_constant()),
        "directed": tp.from_networkx(arrows, weights=tp.uniform_neighbour()),
        "column stochastic": tp.from_matrix((W / W.sum(axis=1, keepdims=True)).T, allow_column=True),
        "row sums of a star": tp.star(9, weights=tp.uniform_neighbour()),
        "one node": tp.ring(1),
        "two nodes": tp.path(2),
    }


GRAPHS = {f"{name} 16": tp.TOPOLOGIES[name](16) for name in NAMED}
GRAPHS |= {f"{name} 9": tp.TOPOLOGIES[name](9) for name in ODD}
GRAPHS |= special()
GRAPHS = {name: graph for name, graph in GRAPHS.items() if graph.draw is None}  # the others: test_drawn.py


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
        largest = jax.jit(lambda x: mix(x, mixing.MAX))(x)
        np.testing.assert_array_equal(largest, brute("max", topology.dense(), x))
        monkeypatch.setattr(mixing, "_SLAB_BYTES", 64 * topology.n * 2)
        short = jnp.asarray(np.abs(x), jnp.bfloat16)
        assert_rounded_once(jax.jit(mix)(short), topology.dense() @ np.asarray(short, float))


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


def test_pull_and_gather_look_at_the_right_rows():
    x = jnp.arange(6.0).reshape(3, 2)
    index = jnp.array([[1, 2], [0, 1], [2, 2]], jnp.int32)
    weight, own = jnp.array([[0.5, 0.25], [1.0, 0.0], [0.0, 0.0]]), jnp.array([0.25, 0.0, 1.0])
    np.testing.assert_allclose(mixing.pull(x, index, weight, own), [[2.0, 3.0], [0.0, 1.0], [4.0, 5.0]])
    np.testing.assert_array_equal(mixing.gather(x, index)[0], [[2.0, 3.0], [4.0, 5.0]])


@pytest.mark.parametrize("kernel", ["dense", "slots", "mean"])
def test_refusals(kernel):
    net = network(GRAPHS["complete 16"], kernel, dtype=np.float32)
    with pytest.raises(ValueError, match="a message must be floating, got a leaf of dtype int32"):
        net.mix(jnp.zeros((16, 2), jnp.int32))
    with pytest.raises(ValueError, match="the graph has 16 nodes, the message leads with 7"):
        net.mix(jnp.zeros((7, 2)))


def test_a_kernel_that_does_not_exist_or_fit():
    with pytest.raises(ValueError, match=r"kernel must be 'auto' or one of .*, got 'rolls'"):
        mixing.plan(tp.ring(8), kernel="rolls")
    with pytest.raises(ValueError, match="'mean' needs W = 11ᵀ/n, which 'ring' is not"):
        mixing.plan(tp.ring(8), kernel="mean")
    with pytest.raises(
        ValueError, match="'dense' does not fit 'random_pairwise' of order 'drawn'; the kernel of"
    ):
        mixing.plan(tp.random_pairwise(6), kernel="dense")
    with pytest.raises(
        ValueError, match="'drawn' does not fit 'ring' of order 'fixed'; the kernel of what is"
    ):
        mixing.plan(tp.ring(8), kernel="drawn")


# ------------------------------------------------------------------------------------------------- semirings

EVERY = [*special(), "complete 9", "ring 16", "drawn slots", "drawn dense"]
DRAWN = {"drawn slots": tp.random_pairwise(6), "drawn dense": tp.redrawn_erdos_renyi(8)}


def brute(name, W, x):
    """⊕ over the x [n, ...] of all j with W_ij ≠ 0, node by node; W x for sums."""
    x = np.asarray(x)
    if name == "sum":
        return np.einsum("ij,j...->i...", W, x.astype(float))
    reduce = {"max": np.max, "min": np.min, "or": np.any}[name]
    return np.stack([reduce(x[W[i] != 0], axis=0) for i in range(len(x))])


def assert_rounded_once(got, want):
    """To bfloat16, which has 8 significant bits; the sum itself was computed in float32."""
    assert got.dtype == jnp.bfloat16
    half = 2.0 ** (np.floor(np.log2(np.abs(want))) - 8)
    assert (np.abs(np.asarray(got, float) - want) <= half * 1.001).all()


def messages(n):
    """Leaves of every kind and of several ranks for every semiring, something empty among them."""
    rng = np.random.default_rng(n)
    double, boolean = rng.normal(size=(n, 2, 3)), rng.random((n, 4)) < 0.4
    short = jnp.asarray(rng.uniform(1, 2, size=(n, 3)), jnp.bfloat16)
    integer = rng.integers(-(2**31), 2**31, (n, 3)).astype(np.int32)
    unsigned = rng.integers(0, 2**32, (n, 3)).astype(np.uint32)
    return {
        "sum": {"double": double, "short": short},
        "max": {"double": double, "few": integer % 3, "integer": integer, "empty": np.zeros((n, 0))},
        "min": {"short": short, "unsigned": unsigned, "boolean": boolean, "number": double[:, 0, 0]},
        "or": {"boolean": boolean, "flag": boolean[:, 0]},
    }


@pytest.mark.parametrize("name", EVERY)
def test_every_kernel_over_every_semiring(name):
    topology = (GRAPHS | DRAWN)[name]
    given = messages(topology.n)
    with jax.enable_x64(True):
        Ws = [mixing.matrix(topology, t, KEY) for t in range(2)]
        # "dense" differs from "slots" in sums only, which are tested above.
        for kernel in ["drawn"] if topology.draw else kernels(topology)[1:]:
            plan, tables = mixing.plan(topology, kernel=kernel, dtype=np.float64)

            @jax.jit
            def evaluate(tables, given, t, plan=plan):
                mix = mixing.network(plan, tables, t, KEY, KEY, None).mix
                return {name: mix(leaves, mixing.SEMIRINGS[name]) for name, leaves in given.items()}

            for t, W in enumerate(Ws if topology.order != "fixed" else Ws[:1]):
                mixed = evaluate(tables, given, jnp.int32(t))
                for semiring, leaves in mixed.items():
                    for leaf, got in leaves.items():
                        x = given[semiring][leaf]
                        assert got.shape == x.shape and got.dtype == x.dtype
                        want = brute(semiring, W, x)
                        if semiring != "sum":
                            np.testing.assert_array_equal(got, want, err_msg=f"{kernel} {semiring} {leaf}")
                        elif leaf == "double":
                            np.testing.assert_allclose(got, want, atol=1e-12, err_msg=f"{kernel} {leaf}")
                        elif topology.is_nonnegative:
                            assert_rounded_once(got, want)


def test_the_mean_of_short_messages_is_rounded_once():
    """1/9 has an error of 0.2 % in bfloat16, half of what the result may have."""
    short = jnp.asarray(np.random.default_rng(0).uniform(1, 2, size=(9, 100)), jnp.bfloat16)
    mixed = network(tp.complete(9), "mean", dtype=np.float32).mix(short)
    assert_rounded_once(mixed, np.tile(np.asarray(short, float).mean(axis=0), (9, 1)))


@pytest.mark.parametrize("name", [*special(), *DRAWN])
def test_the_matrix_of_a_round(name):
    """Of a fixed or cyclic topology it is known; a random one has it among its members."""
    topology = (GRAPHS | DRAWN)[name]
    for t in range(2):
        W = mixing.matrix(topology, t, jax.random.fold_in(KEY, t))
        assert W.dtype == np.float64 and W.shape == (topology.n, topology.n)
        if topology.draw:
            np.testing.assert_allclose([W.sum(axis=0), W.sum(axis=1)], 1, atol=1e-15)
            assert (topology.dense() != W).any()
        elif topology.order == "random":
            assert min(np.abs(W - topology.dense(i)).max() for i in range(3)) < 1e-15
        else:
            np.testing.assert_allclose(W, topology.dense(t), atol=1e-15)


def transposed_table(W):
    """To whom each node sends [n, k], with which weight, and the self weights."""
    n = len(W)
    receivers = [[i for i in range(n) if i != j and W[i, j] != 0] for j in range(n)]
    k = max(map(len, receivers))
    index, weight = np.tile(np.arange(n, dtype=np.int32)[:, None], k), np.zeros((n, k))
    for j, found in enumerate(receivers):
        index[j, : len(found)] = found
        weight[j, : len(found)] = W[found, j]
    return index, weight, np.diag(W)


@pytest.mark.parametrize("name", ["user matrix", "directed", "column stochastic", "wide star", "one node"])
def test_pushing_is_pulling_with_the_transposed_weights(name):
    topology = GRAPHS[name]
    W, given = topology.dense(), messages(topology.n)
    table = transposed_table(W)

    @jax.jit
    def evaluate(given, table):
        return {name: mixing.push(leaves, *table, mixing.SEMIRINGS[name]) for name, leaves in given.items()}

    with jax.enable_x64(True):
        pushed = evaluate(given, table)
    for semiring, leaves in pushed.items():
        for leaf, got in leaves.items():
            x = given[semiring][leaf]
            assert got.shape == x.shape and got.dtype == x.dtype
            if leaf == "short" and semiring == "sum":
                assert_rounded_once(got, brute(semiring, W, x))
            else:
                want, atol = brute(semiring, W, x), 1e-12 if semiring == "sum" else 0
                np.testing.assert_allclose(np.asarray(got, want.dtype), want, atol=atol, rtol=0)


LIMITS = {
    "float32": (-np.inf, np.inf),
    "float64": (-np.inf, np.inf),
    "bfloat16": (-np.inf, np.inf),
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
    "bool": (False, True),
}


@pytest.mark.parametrize("dtype", LIMITS)
def test_who_hears_nobody_gets_the_neutral_element(dtype):
    nobody = (jnp.zeros((2, 1), jnp.int32), jnp.zeros((2, 1)), jnp.zeros(2))
    with jax.enable_x64(True):
        x = jnp.ones((2, 3), dtype)
        for semiring, want in zip((mixing.MAX, mixing.MIN), LIMITS[dtype], strict=True):
            for combine in (mixing.pull, mixing.push):
                got = combine(x, *nobody, semiring)
                assert got.dtype == x.dtype and (np.asarray(got) == want).all()
            one = semiring.add(x, semiring.zero(x.dtype))
            np.testing.assert_array_equal(one, x)
    if dtype == "bool":
        assert not mixing.pull(x, *nobody, mixing.OR).any()


def test_infinities_are_numbers_and_a_nan_spreads():
    """To those who hear it and to nobody else, whatever the kernel."""
    x = np.zeros((8, 4))
    x[2] = [np.nan, np.inf, -np.inf, -1.0]
    for name, topology in (("dense", tp.ring(8)), ("slots", tp.ring(8)), ("mean", tp.complete(8))):
        W = topology.dense()
        with jax.enable_x64(True):
            mix = jax.jit(network(topology, name).mix, static_argnums=1)
            for semiring in (mixing.MAX, mixing.MIN):
                want = brute(semiring.name, W, x)
                assert np.isnan(want[:, 0]).sum() == (W[:, 2] != 0).sum()
                np.testing.assert_array_equal(mix(x, semiring), want)
                pushed = jax.jit(mixing.push, static_argnums=4)(x, *transposed_table(W), semiring)
                np.testing.assert_array_equal(pushed, want)


@pytest.mark.parametrize(
    ("semiring", "dtype", "allowed"),
    [
        *(("sum", dtype, "floating") for dtype in ("int32", "uint32", "bool", "complex64")),
        *(("or", dtype, "boolean") for dtype in ("float32", "bfloat16", "int32")),
        ("max", "complex64", "floating or integer or boolean"),
        ("min", "complex64", "floating or integer or boolean"),
    ],
)
def test_messages_of_the_wrong_kind_are_refused_by_name(semiring, dtype, allowed):
    x, semiring = {"a": jnp.zeros((6, 2), dtype)}, mixing.SEMIRINGS[semiring]
    table = (jnp.zeros((6, 1), jnp.int32), jnp.zeros((6, 1)), jnp.ones(6))
    drawn = network(DRAWN["drawn slots"], "auto", dtype=np.float32)
    message = f"mixing: a message must be {allowed}, got a leaf of dtype {dtype}"
    for mix in (
        network(tp.ring(6), "slots", dtype=np.float32).mix,
        network(tp.complete(6), "mean", dtype=np.float32).mix,
        drawn.mix,
        lambda x, semiring: mixing.pull(x, *table, semiring),
        lambda x, semiring: mixing.push(x, *table, semiring),
    ):
        with pytest.raises(ValueError, match=message):
            mix(x, semiring)


def test_messages_of_another_size_are_refused_by_what_is_drawn_too():
    table = (jnp.zeros((6, 1), jnp.int32), jnp.zeros((6, 1)), jnp.ones(6))
    for mix in (
        network(DRAWN["drawn slots"], "auto", dtype=np.float32).mix,
        lambda x: mixing.pull(x, *table),
        lambda x: mixing.push(x, *table),
    ):
        with pytest.raises(ValueError, match="the graph has 6 nodes, the message leads with 7"):
            mix(jnp.zeros((7, 2)))
    with pytest.raises(ValueError, match="the graph has 8 nodes, the message leads with 7"):
        network(DRAWN["drawn dense"], "auto", dtype=np.float32).mix(jnp.zeros((7, 2)))
