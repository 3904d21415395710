"""Graphs drawn in the run: every law against its enumeration in plain loops, and one compilation for all seeds."""

import functools
import itertools
from collections import defaultdict

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlax import mixing
from dlax import topology as tp
from dlax.algorithms import gossip
from dlax.problems import average
from dlax.simulate import simulate
from dlax.topology.sequences import drawn, equi

pytestmark = pytest.mark.usefixtures("strict_ranks")


def pair(n, pairs, weight):
    W = np.eye(n)
    for i, j in pairs:
        W[i, i] -= weight
        W[j, j] -= weight
        W[i, j] += weight
        W[j, i] += weight
    return W


def perfect_matchings(nodes):
    """All ways to pair the nodes up; one stays alone if their number is odd."""
    if len(nodes) < 2:
        yield []
        return
    if len(nodes) % 2:
        for alone in nodes:
            yield from perfect_matchings([node for node in nodes if node != alone])
        return
    for other in nodes[1:]:
        rest = [node for node in nodes[1:] if node != other]
        for pairs in perfect_matchings(rest):
            yield [(nodes[0], other), *pairs]


def pairwise_law(graph):
    n = graph.number_of_nodes()
    return [(1 / graph.number_of_edges(), pair(n, [edge], 0.5)) for edge in graph.edges]


def matching_law(n):
    ways = list(perfect_matchings(list(range(n))))
    return [(1 / len(ways), pair(n, pairs, 0.5)) for pairs in ways]


def erdos_renyi_law(n, p):
    everyone = list(itertools.combinations(range(n), 2))
    for size in range(len(everyone) + 1):
        for edges in itertools.combinations(everyone, size):
            degree = [sum(i in edge for edge in edges) for i in range(n)]
            W = np.eye(n)
            for i, j in edges:
                W += (pair(n, [(i, j)], 1) - np.eye(n)) / (1 + max(degree[i], degree[j]))
            yield p**size * (1 - p) ** (len(everyone) - size), W


def shift_law(n, h):
    for a in range(1, n):
        A = np.zeros((n, n))
        for i in range(n):
            A[i, (i + a) % n] += 1 - 1 / n
            A[i, i] += 1 / n
        yield 1 / (n - 1), (1 - h) * np.eye(n) + h * A


def scan(n, a, s):
    """Go through the nodes from s on; pair i with i + a if both are free."""
    partner = list(range(n))
    for i in [*range(s, n), *range(s)]:
        j = (i + a) % n
        if partner[i] == i and partner[j] == j:
            partner[i], partner[j] = j, i
    return partner


def scan_law(n, h):
    for a in range(1, n):
        for s in range(n):
            A = np.eye(n)
            for i, j in enumerate(scan(n, a, s)):
                if i != j:
                    A[i, i], A[i, j] = 1 / n, 1 - 1 / n
            yield 1 / n / (n - 1), (1 - h) * np.eye(n) + h * A


def matcha_law(topology):
    """All 2^M ways to switch the matchings on and off."""
    partner, chance, alpha = (topology.draw.arrays[name] for name in ("partner", "chance", "alpha"))
    n = len(partner)
    for active in itertools.product([False, True], repeat=len(chance)):
        pairs = [
            (i, partner[i, j]) for j in range(len(chance)) if active[j] for i in range(n) if i < partner[i, j]
        ]
        yield np.prod(np.where(active, chance, 1 - chance)), pair(n, pairs, alpha)


LOLLIPOP = nx.lollipop_graph(3, 3)  # six nodes, six edges, as the ring


def lollipop(n):
    assert n == 6
    return tp.from_networkx(LOLLIPOP)


CASES = {
    "pairwise": (tp.random_pairwise(6, base=lollipop), pairwise_law(LOLLIPOP)),
    "matching 6": (tp.random_matching(6), matching_law(6)),
    "matching 5": (tp.random_matching(5), matching_law(5)),
    "erdos_renyi": (tp.redrawn_erdos_renyi(4, p=0.4), erdos_renyi_law(4, 0.4)),
    "two nodes": (tp.redrawn_erdos_renyi(2, p=0.3), erdos_renyi_law(2, 0.3)),
    "directed equi_dyn": (tp.equi_dyn(6, directed=True), shift_law(6, 0.5)),
    "equi_dyn": (tp.equi_dyn(6, step=0.7), scan_law(6, 0.7)),
    "equi_dyn 7": (tp.equi_dyn(7), scan_law(7, 0.5)),
}
MATCHA = tp.matcha(6, base=lollipop, budget=0.5)
CASES["matcha"] = (MATCHA, matcha_law(MATCHA))
CASES = {name: (topology, list(law)) for name, (topology, law) in CASES.items()}
every_case = pytest.mark.parametrize("name", CASES)


def moments(law):
    """E[W], and the ρ of E[WᵀW] − J."""
    n = len(law[0][1])
    mean = sum(p * W for p, W in law)
    return mean, np.sqrt(np.linalg.norm(sum(p * W.T @ W for p, W in law) - 1 / n, 2))


def draws(topology, count, dtype=np.float64):
    """`[count, n, n]` the W of as many keys, in one compilation."""
    with jax.enable_x64(dtype is np.float64):
        plan, tables = mixing.plan(topology, dtype=dtype)
        tables = jax.tree.map(jnp.asarray, tables)

        @jax.jit
        @jax.vmap
        def table(key):
            return mixing.network(plan, tables, jnp.int32(0), key, key, None).table()

        index, weight, own = jax.device_get(table(jax.random.split(jax.random.key(0), count)))
    W = np.zeros((count, topology.n, topology.n), dtype)
    i = np.arange(topology.n)
    W[:, i, i] = own
    for slot in range(index.shape[2]):
        np.add.at(W, (np.arange(count)[:, None], i[None], index[:, :, slot]), weight[:, :, slot])
    if index.shape[2] < topology.n - 1:
        rows = np.broadcast_to(i[None, :, None], index.shape)
        np.testing.assert_array_equal(index[weight == 0], rows[weight == 0], "an unused slot shows the node")
    return W


@every_case
def test_expectation_and_contraction_are_those_of_the_enumerated_law(name):
    topology, law = CASES[name]
    assert sum(p for p, _ in law) == pytest.approx(1)
    mean, rho = moments(law)
    assert topology.order == "drawn" and topology.is_connected
    np.testing.assert_allclose(topology.dense(), mean, atol=1e-14)
    assert 1 - topology.spectral_gap == pytest.approx(rho, abs=1e-12)
    if topology.is_symmetric and "erdos" not in topology.name:
        least = min(np.linalg.eigvalsh(W)[0] for _, W in law)
        assert topology.least_eigenvalue == pytest.approx(least, abs=1e-14)


@every_case
def test_draws_follow_the_law_and_keep_what_the_topology_promises(name):
    topology, law = CASES[name]
    chance = defaultdict(float)
    for p, W in law:
        chance[tuple(W.round(9).ravel())] += p
    count = 600
    seen = draws(topology, count)
    np.testing.assert_allclose(seen.sum(axis=2), 1, atol=1e-15)
    np.testing.assert_allclose(seen.sum(axis=1), 1, atol=1e-15)
    assert topology.is_doubly_stochastic
    assert topology.is_nonnegative == all((W > -1e-15).all() for _, W in law)
    assert not topology.is_nonnegative or (seen > -1e-15).all()
    symmetric = bool((seen == seen.transpose(0, 2, 1)).all())
    assert symmetric == topology.is_symmetric == ("undirected" in topology.properties)
    found = defaultdict(int)
    for W in seen:
        found[tuple(W.round(9).ravel())] += 1
    assert set(found) <= set(chance)
    for W, p in chance.items():
        assert abs(found[W] - count * p) <= 5 * np.sqrt(count * p) + 1


@pytest.mark.parametrize("name", ["pairwise", "erdos_renyi", "equi_dyn"])
def test_one_key_one_matrix_in_both_precisions(name):
    topology = CASES[name][0]
    key = jax.random.split(jax.random.key(0), 20)[1]
    double = draws(topology, 20)
    np.testing.assert_array_equal(mixing.matrix(topology, 3, key), double[1])
    single = draws(topology, 20, np.float32)
    np.testing.assert_allclose(single, double, atol=1e-7)
    np.testing.assert_allclose(single.sum(axis=2, dtype=np.float64), 1, atol=2e-7)


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize(
    "build",
    [
        tp.random_pairwise,
        tp.random_matching,
        tp.redrawn_erdos_renyi,
        tp.equi_dyn,
        functools.partial(tp.equi_dyn, directed=True),
        tp.matcha,
    ],
)
def test_few_nodes(build, n):
    topology = build(n)
    assert topology.n == n and topology.is_doubly_stochastic and topology.is_connected
    if n == 1:
        assert topology.is_complete and topology.dense().tolist() == [[1.0]]
    if topology.draw:
        seen = draws(topology, 5)
        np.testing.assert_allclose(seen.sum(axis=2), 1, atol=1e-15)
        assert len({W.tobytes() for W in seen}) > 1
    else:
        assert n <= 2 and topology.is_fixed


@pytest.mark.parametrize("n", range(2, 9))
def test_matching_in_closed_form(n):
    mean, rho = moments(matching_law(n))
    topology = tp.random_matching(n)
    np.testing.assert_allclose(topology.dense(), mean, atol=1e-14)
    share = 1 / (n - 1) if n % 2 == 0 else 1 / n
    assert rho**2 == pytest.approx(1 - n * share / 2, abs=1e-12)
    assert (1 - topology.spectral_gap) == pytest.approx(rho, abs=1e-7)


def test_matchings_of_a_graph_are_drawn_from_a_list():
    topology = tp.random_matching(12, base=tp.torus)
    assert topology.order == "random" and topology.period <= 5
    total = np.zeros((12, 12))
    for t in range(topology.period):
        W = topology.dense(t)
        np.testing.assert_allclose(W @ W, W, atol=1e-15)
        assert ((W != 0).sum(axis=1) <= 2).all()
        total += (W != 0) & ~np.eye(12, dtype=bool)
    np.testing.assert_array_equal(total, (tp.torus(12).dense() != 0) & ~np.eye(12, dtype=bool))
    mean = np.mean([topology.dense(t) for t in range(topology.period)], axis=0)
    assert (1 - topology.spectral_gap) ** 2 == pytest.approx(np.sort(np.linalg.eigvalsh(mean))[-2], abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(2, 25), p=st.floats(0.05, 1), seed=st.integers(0, 1000))
def test_matchings_are_proper_and_few(n, p, seed):
    graph = nx.gnp_random_graph(n, p, seed=seed)
    edges = np.random.default_rng(seed).permutation(
        [sorted(edge) for edge in graph.edges] or np.zeros((0, 2), int)
    )
    matchings = tp.edge_matchings(n, edges)
    assert sorted(map(tuple, np.concatenate([edges[:0], *matchings]).tolist())) == sorted(
        map(tuple, edges.tolist())
    )
    for matching in matchings:
        assert len(matching) > 0 and len(np.unique(matching)) == 2 * len(matching)
    assert len(matchings) <= max(dict(graph.degree).values()) + 1 - (len(edges) == 0)


def test_matchings_where_greed_fails():
    """No three matchings hold Petersen's graph; greed in order of nodes wants more than max d + 1 elsewhere."""
    petersen = np.array([sorted(edge) for edge in nx.petersen_graph().edges])
    assert len(tp.edge_matchings(10, petersen)) == 4
    for n in (8, 9, 30, 31):
        assert len(tp.edge_matchings(n, np.array(list(itertools.combinations(range(n), 2))))) in (n - 1, n)


@pytest.mark.parametrize("n", range(2, 20))
def test_pairs_of_a_shift_all_at_once_are_those_of_the_scan(n):
    node = np.arange(n)
    for a, s in itertools.product(range(1, n), range(n)):
        at_once = (equi.partners((node - s) % n, a, n, np.where) + s) % n
        assert at_once.tolist() == scan(n, a, s), (a, s)


@pytest.mark.parametrize("n", [3, 4, 5, 8, 9, 12])
@pytest.mark.parametrize(("directed", "law"), [(True, shift_law), (False, scan_law)])
def test_equi_dyn_contraction(n, directed, law):
    for step in (0.5, 1.0):
        topology = tp.equi_dyn(n, directed=directed, step=step)
        mean, rho = moments(list(law(n, step)))
        np.testing.assert_allclose(topology.dense(), mean, atol=1e-14)
        assert 1 - topology.spectral_gap == pytest.approx(rho, abs=1e-10)


def test_equi_dyn_does_not_slow_down_with_n():
    squared = [(1 - tp.equi_dyn(n, directed=True).spectral_gap) ** 2 for n in (64, 256, 1024)]
    assert squared[0] == pytest.approx(0.49, abs=5e-3)
    assert max(squared) < 0.5
    rates = [1 - tp.equi_dyn(n).spectral_gap for n in (16, 64, 256, 1024)]
    assert max(rates) < 0.8, rates


@pytest.mark.parametrize(("n", "p"), [(3, 0.5), (4, 0.9), (5, 0.2)])
def test_moments_of_metropolis_weights(n, p):
    law = list(erdos_renyi_law(n, p))
    weight, square = drawn._metropolis_moments(n, p)
    assert weight == pytest.approx(sum(q * W[0, 1] for q, W in law), abs=1e-14)
    assert square == pytest.approx(sum(q * np.trace(W @ W) for q, W in law), abs=1e-13)


def test_redrawn_erdos_renyi_at_size():
    n = 60
    topology = tp.redrawn_erdos_renyi(n)
    seen = draws(topology, 200)
    degrees = (seen > 0).sum(axis=2) - 1
    assert degrees.mean() == pytest.approx(2 * np.log(n) * (n - 1) / n, rel=0.02)
    assert (degrees == 0).any()  # not every round is connected
    norms = ((seen - 1 / n) ** 2).sum(axis=(1, 2)) / (n - 1)
    error = norms.std() / np.sqrt(len(norms))
    assert abs(norms.mean() - (1 - topology.spectral_gap) ** 2) < 4 * error < 0.01
    assert tp.redrawn_erdos_renyi(9, p=1.0).is_complete


def test_matcha_spends_its_budget_where_it_helps():
    """Faster than with even shares and their best α, at the same number of matchings; no other α is better."""
    topology = tp.matcha(10, base=tp.barbell, budget=0.4)
    partner, chance, alpha = (topology.draw.arrays[name] for name in ("partner", "chance", "alpha"))
    matchings = partner.shape[1]
    assert chance.sum() == pytest.approx(0.4 * matchings, abs=1e-4) and (chance >= 0).all()
    couples = [[(i, j) for i, j in enumerate(column) if i < j] for column in partner.T]
    laplacians = np.stack([np.eye(10) - pair(10, pairs, 1) for pairs in couples])
    sizes = np.array([len(pairs) for pairs in couples])
    assert sizes.sum() * 2 == len(tp.barbell(10).edges)

    def rho(chance, alpha):
        mean = np.tensordot(chance, laplacians, 1)
        noise = 2 * np.tensordot(chance * (1 - chance), laplacians, 1)
        second = np.eye(10) - 2 * alpha * mean + alpha**2 * (mean @ mean + noise)
        return np.sqrt(np.linalg.norm(second - 1 / 10, 2))

    here = 1 - topology.spectral_gap
    assert here == pytest.approx(rho(chance, alpha), abs=1e-9)
    even = np.full(matchings, 0.4)
    assert here < min(rho(even, a) for a in np.linspace(0.01, 1, 200)) - 0.005
    assert here <= min(rho(chance, a) for a in (0.97 * alpha, 1.03 * alpha))
    active = draws(topology, 400)
    edges = ((active != 0).sum(axis=(1, 2)) - 10) / 2
    spread = np.sqrt((chance * (1 - chance) * sizes**2).sum() / 400)
    assert abs(edges.mean() - chance @ sizes) < 4 * spread


def test_matcha_with_the_whole_budget_is_the_best_constant_weight():
    topology = tp.matcha(6, base=lollipop, budget=1.0)
    assert topology.is_fixed
    np.testing.assert_array_equal(
        topology.dense(), tp.from_networkx(LOLLIPOP, weights=tp.best_constant()).dense()
    )


TWINS = {
    "random_pairwise": (tp.random_pairwise(6, base=lollipop), tp.random_pairwise(6, base=tp.ring)),
    "random_matching": (tp.random_matching(6), tp.random_matching(6)),
    "redrawn_erdos_renyi": (tp.redrawn_erdos_renyi(6, p=0.3), tp.redrawn_erdos_renyi(6, p=0.8)),
    "equi_dyn": (tp.equi_dyn(6), tp.equi_dyn(6, step=0.8)),
    "directed equi_dyn": (tp.equi_dyn(6, directed=True), tp.equi_dyn(6, directed=True, step=0.8)),
    "matcha": (MATCHA, tp.matcha(6, base=lollipop, budget=0.4)),
}


@pytest.mark.parametrize("name", TWINS)
def test_seeds_and_topologies_of_one_rule_share_a_compilation(name):
    one, other = TWINS[name]
    problem, algorithm = average(6, dim=3), gossip()

    def run(topology, seed):
        return simulate(algorithm, problem, topology, rounds=4, seeds=[seed])

    first, again, twin = run(one, 0), run(one, 1), run(other, 0)
    assert first.seconds["compile"] > 0
    assert again.seconds["compile"] == twin.seconds["compile"] == 0
    assert (first.params["x"] != again.params["x"]).any()
    for result in (first, again, twin):
        np.testing.assert_allclose(
            result.params["x"][0].mean(axis=0), problem.starts["x"].mean(axis=0), atol=1e-6
        )


def test_values_contract_as_promised():
    """E‖x − x̄‖² shrinks by exactly ρ² a round where all nodes are alike."""
    n, rounds, seeds = 8, 3, 1000
    topology = tp.random_matching(n)
    result = simulate(gossip(), average(n, dim=20), topology, rounds=rounds, eval_every=rounds, seeds=seeds)
    end = np.array([row["distance"] for row in result.rows if row["round"] == rounds])
    start = result.rows[0]["distance"]
    want = start * (1 - topology.spectral_gap) ** (2 * rounds)
    assert abs(end.mean() - want) < 4 * end.std() / np.sqrt(seeds) < 0.1 * want


def arrows(n):
    return tp.from_networkx(nx.cycle_graph(n, create_using=nx.DiGraph), weights=tp.uniform_neighbour())


def split(n):
    return tp.from_matrix(np.eye(n), name="split", allow_disconnected=True)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: tp.random_pairwise(5, base=arrows), "random_pairwise: base must be undirected, and"),
        (lambda: tp.random_matching(5, base=arrows), "random_matching: base must be undirected, and"),
        (
            lambda: tp.random_pairwise(5, base=split),
            "random_pairwise: base must be connected, and 'split' is not",
        ),
        (
            lambda: tp.random_pairwise(2, base=split),
            "random_pairwise: base must be connected, and 'split' is",
        ),
        (
            lambda: tp.random_matching(5, base=split),
            "random_matching: base must be connected, and 'split' is",
        ),
        (lambda: tp.redrawn_erdos_renyi(5, p=0.0), r"redrawn_erdos_renyi: p must be in \(0, 1\], got 0.0"),
        (lambda: tp.redrawn_erdos_renyi(5, p=1.5), r"redrawn_erdos_renyi: p must be in \(0, 1\], got 1.5"),
        (
            lambda: tp.redrawn_erdos_renyi(4097),
            "n must be at most 4096, as a round draws n² numbers; got 4097",
        ),
        (lambda: tp.equi_dyn(5, step=0.0), r"equi_dyn: step must be in \(0, 1\], got 0.0"),
        (lambda: tp.matcha(5, base=arrows), "matcha: base must be undirected, and"),
        (lambda: tp.matcha(5, base=split), "matcha: base must be connected, and 'split' is not"),
        (lambda: tp.matcha(5, budget=0.0), r"matcha: budget must be in \(0, 1\], got 0.0"),
        (lambda: tp.matcha(5, budget=1.1), r"matcha: budget must be in \(0, 1\], got 1.1"),
        (lambda: tp.equi_dyn(5, step=float("nan")), r"equi_dyn: step must be in \(0, 1\], got nan"),
    ],
)
def test_refusals(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_the_least_eigenvalue_may_be_unknown():
    with pytest.raises(
        ValueError, match="redrawn_erdos_renyi: the least eigenvalue over all draws is not known"
    ):
        _ = tp.redrawn_erdos_renyi(5).least_eigenvalue
