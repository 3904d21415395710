"""Who is Byzantine, and where Sybils attach themselves."""

import networkx as nx
import numpy as np
import pytest

from dlax import topology as tp
from dlax.attacks import at, bounded, by_degree, clustered, last, random

GRAPH = tp.barabasi_albert(40, seed=1)


def test_the_last_the_named_and_the_drawn():
    assert np.flatnonzero(last(count=3)(GRAPH)).tolist() == [37, 38, 39]
    assert last(count=0)(GRAPH).sum() == 0
    assert np.flatnonzero(at(nodes=(5, 2))(GRAPH)).tolist() == [2, 5]
    drawn = random(fraction=0.25, seed=3)(GRAPH)
    assert drawn.sum() == 10 and (drawn == random(count=10, seed=3)(GRAPH)).all()
    assert (drawn != random(count=10, seed=4)(GRAPH)).any()


def test_the_highest_degrees_come_first():
    mask = by_degree(count=6)(GRAPH)
    assert mask.sum() == 6 and GRAPH.degrees[mask].min() >= GRAPH.degrees[~mask].max()
    assert np.flatnonzero(by_degree(count=2)(tp.ring(5))).tolist() == [0, 1]


@pytest.mark.parametrize("count", [1, 4, 9, 20])
def test_a_cluster_is_a_ball_but_for_its_last_shell(count):
    mask = clustered(count=count, start=7)(GRAPH)
    hops = nx.single_source_shortest_path_length(nx.Graph([tuple(e) for e in GRAPH.edges]), 7)
    inside, outside = ([hops[i] for i in np.flatnonzero(part)] for part in (mask, ~mask))
    assert mask.sum() == count and mask[7] and max(inside) <= min(outside)
    assert clustered(count=count, seed=2)(GRAPH).sum() == count


def test_bounded_leaves_few_in_every_honest_neighbourhood():
    for most in (1, 2):
        for seed in range(5):
            graph = tp.random_regular(30, degree=4, seed=seed)
            mask = bounded(most=most, count=4 * most, seed=seed)(graph)
            A = graph.matrices[0].toarray() != 0
            assert mask.sum() == 4 * most and (A[~mask][:, mask].sum(axis=1) <= most).all()
    with pytest.raises(ValueError, match=r"bounded: with at most 1 .*, 1 of 3 Byzantine nodes found a place"):
        bounded(most=1, count=3)(tp.complete(6))


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (lambda: last(), "last: give count or fraction"),
        (lambda: by_degree(count=1, fraction=0.1), "by_degree: give count or fraction"),
        (lambda: clustered(count=1, start=40)(GRAPH), "clustered: start must be in"),
        (lambda: clustered(count=40)(GRAPH), "clustered: count must be below"),
        (lambda: bounded(count=1, most=-1), "bounded: most must"),
        (lambda: at(nodes=(40,))(GRAPH), "at: nodes must be in"),
    ],
)
def test_what_is_out_of_range(place, message):
    with pytest.raises(ValueError, match=message):
        place()


@pytest.mark.parametrize("density", [0.25, 0.5, 1.0, 1.3, 2.0])
@pytest.mark.parametrize("sybils", [2, 5])
def test_sybils_spread_over_the_honest_graph(density, sybils):
    honest = 24
    graph = tp.with_sybils(honest + sybils, graph=lambda n: tp.torus(n), sybils=sybils, density=density)
    A = graph.matrices[0].toarray() != 0
    np.fill_diagonal(A, False)
    attack = A[:honest, honest:]
    assert attack.sum() == round(density * honest)
    assert not A[honest:, honest:].any()  # none among themselves
    assert set(np.unique(attack.sum(axis=1))) <= {int(density), int(density) + 1}
    assert attack.any(axis=0).all()
    if density in (0.25, 0.5, 1.0):
        loads = attack.sum(axis=0)
        assert loads.max() - loads.min() <= 1
    plain = tp.torus(honest).matrices[0].toarray() != 0
    np.fill_diagonal(plain, False)
    assert (A[:honest, :honest] == plain).all()
    assert graph.is_doubly_stochastic and graph.is_symmetric


def test_attacked_nodes_are_far_apart_and_a_sybils_nodes_near():
    graph = tp.with_sybils(42, graph=tp.ring, sybils=2, density=0.25)
    attack = graph.matrices[0].toarray()[:40, 40:] != 0
    nodes = np.flatnonzero(attack.any(axis=1))
    gaps = np.diff(np.append(nodes, nodes[0] + 40))
    assert len(nodes) == 10 and gaps.min() >= 2 and gaps.max() <= 6
    for sybil in range(2):
        mine = np.flatnonzero(attack[nodes, sybil])  # neighbours along the ring
        jumps = np.diff(np.append(mine, mine[0] + 10))
        assert len(mine) == 5 and (jumps > 1).sum() <= 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sybils": 0}, "sybils must be from 1"),
        ({"sybils": 2, "density": 2.5}, "density must be above 0"),
        ({"sybils": 5, "density": 0.2}, "take fewer, or a higher density"),
        ({"graph": tp.directed_ring}, "must be fixed and undirected"),
    ],
)
def test_sybil_graphs_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        tp.with_sybils(12, **options)
