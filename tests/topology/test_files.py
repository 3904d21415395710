"""Graphs from networkx, edge lists and GraphML: round trips and refusals."""

import networkx as nx
import numpy as np
import pytest

from dlax import topology as tp


@pytest.fixture(scope="module")
def graph():
    return nx.connected_watts_strogatz_graph(12, 4, 0.3, seed=0)


@pytest.mark.parametrize(
    ("suffix", "separator", "head"),
    [
        (".txt", " ", "# a comment\n\n"),
        (".edges", "\t", "source target\n"),
        (".csv", ", ", "Source,Target,Weight\n"),
        (".tsv", "\t", "from\tto\n"),
    ],
)
def test_edge_list_round_trip(graph, tmp_path, suffix, separator, head):
    edges = list(graph.edges)[::-1]  # labels are integers: the order of lines does not matter
    file = tmp_path / f"graph{suffix}"
    file.write_text(head + "\n".join(separator.join((str(u), str(v), "1.5")) for u, v in edges))
    topology = tp.from_file(path=str(file))
    np.testing.assert_array_equal(topology.dense(), tp.from_networkx(graph).dense())
    assert topology.name == file.name
    assert tp.TOPOLOGIES["file"](12, path=str(file)).n == 12


def test_graphml_round_trip(graph, tmp_path):
    file = tmp_path / "graph.graphml"
    nx.write_graphml(graph, file)
    np.testing.assert_array_equal(tp.from_file(12, path=str(file)).dense(), tp.from_networkx(graph).dense())


def test_graphml_keeps_direction(tmp_path):
    file = tmp_path / "cycle.graphml"
    nx.write_graphml(nx.cycle_graph(4, create_using=nx.DiGraph), file)
    topology = tp.from_file(path=str(file), weights=tp.uniform_neighbour())
    assert topology.is_directed and topology.dense()[1, 0] == 0.5  # 0 -> 1: node 1 hears node 0
    with pytest.raises(ValueError, match="metropolis weights need an undirected graph"):
        tp.from_file(path=str(file))


def test_labels_loops_and_repeats(tmp_path):
    file = tmp_path / "names.csv"
    file.write_text("\ufeffzoe,adam\nadam,zoe\nzoe,zoe\nadam,bo # late\n", encoding="utf-8")
    np.testing.assert_array_equal(tp.from_file(3, path=str(file)).dense(), tp.path(3).dense())
    file.write_text("100,7\n7,30\n")  # in increasing order: 7, 30, 100
    np.testing.assert_array_equal(tp.from_file(path=str(file)).dense(), tp.star(3).dense())


def test_from_networkx_rules(graph):
    odd = nx.MultiGraph([("b", "a"), ("a", "b"), ("a", "a"), ("a", "c")], name="odd")
    topology = tp.from_networkx(odd)
    np.testing.assert_array_equal(topology.dense(), tp.path(3).dense())
    assert topology.name == "odd"
    assert tp.from_networkx(graph).name == "networkx" and tp.from_networkx(graph, name="mine").name == "mine"
    assert tp.from_networkx(nx.empty_graph(1)).dense().tolist() == [[1.0]]
    assert nx.utils.graphs_equal(tp.from_networkx(graph).graph(), graph)


def test_disconnected_graphs(tmp_path):
    parts = nx.disjoint_union(nx.cycle_graph(3), nx.path_graph(2))
    with pytest.raises(ValueError, match=r"2 components, of sizes 2, 3 \(smallest first\) in 5 nodes"):
        tp.from_networkx(parts)
    topology = tp.from_networkx(parts, allow_disconnected=True)
    assert not topology.is_connected and topology.spectral_gap == pytest.approx(0, abs=1e-12)
    file = tmp_path / "parts.txt"
    nx.write_edgelist(parts, file)
    with pytest.raises(ValueError, match=r"parts.txt: the graph is not connected"):
        tp.from_file(path=str(file))
    assert tp.from_file(path=str(file), allow_disconnected=True).n == 5
    with pytest.raises(ValueError, match="has no nodes"):
        tp.from_networkx(nx.Graph())


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("graph.txt", "0 1\n1\n", r"graph.txt, line 2: expected two nodes, got '1'"),
        ("graph.csv", "0,1\n1,\n", "line 2: expected two nodes"),
        ("graph.txt", "# nothing\n", "graph.txt has no edges"),
        ("graph.graphml", "no xml", "graph.graphml is not a GraphML file"),
        ("graph.graphml", "<xml/>", "graph.graphml is not a GraphML file"),
        ("graph.pdf", "0 1", "must end in one of .txt, .edges, .csv, .tsv, .graphml, got 'graph.pdf'"),
        ("graph.txt", "0 1\n1 2\n", "n must be the number of nodes in graph.txt, 3, got 2"),
    ],
)
def test_refusals(tmp_path, name, text, message):
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        tp.from_file(2, path=str(file))


def test_missing_file(tmp_path):
    with pytest.raises(ValueError, match=r"no file at path=.*absent\.txt"):
        tp.from_file(path=str(tmp_path / "absent.txt"))
