"""Graphs that come from elsewhere: `networkx` objects, edge lists and GraphML files."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array

from dlax.topology.graphs.adjacency import directed, from_adjacency, undirected
from dlax.topology.topology import Topology
from dlax.topology.weights import Weights, metropolis

if TYPE_CHECKING:
    import networkx as nx

_SEPARATORS = {".txt": None, ".edges": None, ".csv": ",", ".tsv": "\t"}  # None: any white space
_HEADERS = [("source", "target"), ("from", "to"), ("src", "dst"), ("u", "v")]


def from_networkx(
    graph: "nx.Graph | nx.DiGraph",
    *,
    weights: Weights = metropolis(),
    name: str | None = None,
    allow_disconnected: bool = False,
) -> Topology:
    """Take the graph of `networkx`, with weights of ours.

    Nodes are numbered in the order of `graph.nodes`. An edge u -> v of a directed graph means that v hears u.
    Self loops are dropped, since the rule sets every node's own weight; multiple edges count once; edge
    attributes are ignored.

    Args:
      graph: any `networkx` graph with at least one node.
      weights: the rule for the mixing weights; directed graphs need `uniform_neighbour()`.
      name: None: the graph's own name, or "networkx".
      allow_disconnected: accept a graph that is not (strongly) connected.

    Returns:
      A fixed topology.

    Raises:
      ValueError: if the graph is empty, not connected, or directed where the weights need an undirected one.
    """
    n = graph.number_of_nodes()
    if n == 0:
        raise ValueError("from_networkx: the graph has no nodes")
    number = {node: i for i, node in enumerate(graph.nodes)}
    ends = [(number[u], number[v]) for u, v in graph.edges()]
    adjacency = _adjacency(n, np.array(ends, dtype=np.int64).reshape(-1, 2), graph.is_directed())
    return from_adjacency(name or graph.name or "networkx", adjacency, weights, allow_disconnected)


def from_file(
    n: int | None = None,
    *,
    path: str,
    weights: Weights = metropolis(),
    allow_disconnected: bool = False,
) -> Topology:
    """Read a graph from an edge list or a GraphML file.

    An edge list (.txt, .edges: white space; .csv: commas; .tsv: tabs) names the two ends of an undirected
    edge in a line; further columns, empty lines and what follows a `#` are ignored, and so is a first line
    "source target" ("from to", "src dst", "u v"). Nodes are numbered by their labels in increasing order if
    all labels are integers, else in order of appearance. Nodes without edges cannot be written this way.
    GraphML keeps its own order and its direction of edges. Self loops are dropped and multiple edges count
    once.

    Args:
      n: the number of nodes that the file must have. None: any.
      path: of the file.
      weights: the rule for the mixing weights; directed graphs need `uniform_neighbour()`.
      allow_disconnected: accept a graph that is not (strongly) connected.

    Returns:
      A fixed topology, called by the file's name.

    Raises:
      ValueError: if the file is missing, empty, of another kind or not readable, if it has other than n
        nodes, or if the graph is not connected.
    """
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"from_file: no file at path={str(path)!r}")
    if file.suffix == ".graphml":
        topology = _graphml(file, weights, n, allow_disconnected)
    elif file.suffix in _SEPARATORS:
        count, ends = _edge_list(file)
        _expect(file, n, count)
        topology = from_adjacency(file.name, _adjacency(count, ends, False), weights, allow_disconnected)
    else:
        allowed = ", ".join([*_SEPARATORS, ".graphml"])
        raise ValueError(f"from_file: path must end in one of {allowed}, got {file.name!r}")
    return topology


def _graphml(file: Path, weights: Weights, n: int | None, allow_disconnected: bool) -> Topology:
    from xml.etree.ElementTree import ParseError

    import networkx as nx

    try:
        graph = nx.read_graphml(file)
    except (ParseError, nx.NetworkXError, KeyError) as error:
        raise ValueError(f"from_file: {file.name} is not a GraphML file: {error}") from error
    _expect(file, n, graph.number_of_nodes())
    return from_networkx(graph, weights=weights, name=file.name, allow_disconnected=allow_disconnected)


def _edge_list(file: Path) -> tuple[int, np.ndarray]:
    """Read (number of nodes, ends `[m, 2]`)."""
    separator = _SEPARATORS[file.suffix]
    labels: list[str] = []
    for line_number, line in enumerate(file.read_text(encoding="utf-8-sig").splitlines(), start=1):
        words = [word.strip() for word in line.split("#", 1)[0].strip().split(separator)]
        if not any(words):
            continue
        if len(words) < 2 or not words[0] or not words[1]:
            raise ValueError(f"from_file: {file.name}, line {line_number}: expected two nodes, got {line!r}")
        if not labels and (words[0].lower(), words[1].lower()) in _HEADERS:
            continue
        labels += words[:2]
    if not labels:
        raise ValueError(f"from_file: {file.name} has no edges")
    try:
        names, ends = np.unique(np.array([int(label) for label in labels]), return_inverse=True)
        return len(names), ends.reshape(-1, 2)
    except (ValueError, OverflowError):  # not all integers
        number: dict[str, int] = {}
        places = [number.setdefault(label, len(number)) for label in labels]
        return len(number), np.array(places).reshape(-1, 2)


def _expect(file: Path, n: int | None, count: int) -> None:
    if n is not None and n != count:
        raise ValueError(f"from_file: n must be the number of nodes in {file.name}, {count}, got {n}")


def _adjacency(n: int, ends: np.ndarray, is_directed: bool) -> csr_array:
    """The adjacency of edges `[m, 2]` from the first to the second node."""
    build = directed if is_directed else undirected
    return build(n, ends[:, 1], ends[:, 0])
