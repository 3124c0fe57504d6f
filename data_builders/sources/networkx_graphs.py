"""Graphs that networkx ships or reads: by name, or from GraphML, GML and edge-list files."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import Field

from data_builders.sources.files import expanded
from data_builders.sources.graph_source import GraphSource, read_texts, texts_of
from data_builders.sources.options import LocalFile, SourceOptions
from ssl4rl_core.errors import MissingExtra, UsageError, one_line
from ssl4rl_core.graph_store import Graph, Strings

if TYPE_CHECKING:
    import networkx

_DELIMITERS = {".edgelist": None, ".edges": None, ".txt": None, ".csv": ",", ".tsv": "\t"}
_SUFFIXES = (".graphml", ".gml", *_DELIMITERS)


class NetworkXOptions(SourceOptions):
    """What follows the `?`."""

    text: str = Field(default="", description="the node attribute that is its text; else all that are strings")
    texts: LocalFile = Field(default="", description="file of node texts by name, JSON or TSV, instead")
    relation: str = Field(default="", description="the edge attribute that names its relation")
    directed: bool = Field(default=False, description="whether an edge list is directed")


class NetworkX(GraphSource):
    """A graph that networkx ships, or reads from a file.

    By name: `karate`, `davis`, `florentine`, `les` (Les Miserables). A file: `.graphml`, `.gml`, or an edge list of two
    names a line (`.edgelist`, `.edges`, `.txt`; `.csv` and `.tsv` with their delimiters).

    A node's text is made of its attributes that are strings; where no node has any, it is its name, unless all names
    are numbers.
    """

    scheme = "networkx"
    example = "networkx:karate"

    @classmethod
    def open(cls, where: str, **options: str) -> Self:
        chosen = NetworkXOptions.read(cls.scheme, options)
        path = Path(expanded(where))
        graph = _read(path, chosen.directed) if path.suffix else _by_name(where)
        texts = read_texts(chosen.texts) if chosen.texts else None
        spec = f"{cls.scheme}:{path.name}"
        arrays = from_networkx(graph, spec, chosen.text, chosen.relation, texts)
        return cls(arrays, spec, chosen.license, chosen.choice())


def from_networkx(
    graph: "networkx.Graph",
    spec: str,
    text: str = "",
    relation: str = "",
    texts: Mapping[str, str] | None = None,
) -> Graph:
    """A networkx graph, directed or not, with several edges between two nodes or not, as arrays.

    Raises:
        UsageError: two nodes have the same name as strings.
    """
    number = {node: place for place, node in enumerate(graph)}
    names = [str(node) for node in graph]
    if len(set(names)) < len(names):
        raise UsageError(f"{spec}: two nodes have the same name once written as text")
    kinds = [str(data.get(relation, "")) if relation else "" for *_, data in graph.edges(data=True)]
    relations = sorted(set(kinds)) or [""]
    place = {kind: index for index, kind in enumerate(relations)}
    edges = [(number[head], number[tail], place[kind]) for (head, tail), kind in zip(graph.edges(), kinds, strict=True)]
    if texts is None:
        texts = _texts(graph, names, text)
    return Graph(
        Strings(names),
        np.array(edges, dtype=np.int32).reshape(-1, 3),
        texts_of(names, texts),
        directed=graph.is_directed(),
        relations=relations,
    )


def _texts(graph: "networkx.Graph", names: list[str], attribute: str) -> dict[str, str]:
    texts = {name: _text(data, attribute) for name, (_, data) in zip(names, graph.nodes(data=True), strict=True)}
    if attribute or any(texts.values()) or all(isinstance(node, int) or str(node).isdecimal() for node in graph):
        return texts
    return {name: str(node) for name, node in zip(names, graph, strict=True)}


def _text(data: Mapping[str, Any], attribute: str) -> str:
    if attribute:
        return str(data.get(attribute, ""))
    return "; ".join(f"{key}: {value}" for key, value in sorted(data.items()) if isinstance(value, str) and value)


def _by_name(name: str) -> "networkx.Graph":
    shipped = _shipped()
    if name not in shipped:
        raise UsageError(f"networkx: knows no graph {name!r}: {', '.join(shipped)}, or a file {', '.join(_SUFFIXES)}")
    return shipped[name]()


def _networkx(what: str = "a networkx source") -> Any:
    """The package; MissingExtra saying that `what` needs it where it is not installed."""
    try:
        import networkx
    except ImportError as error:
        raise MissingExtra(what, "graph", error) from error
    return networkx


def _shipped() -> "dict[str, Callable[[], networkx.Graph]]":
    """The graphs of real data in networkx, by the first word of their function's name."""
    social = _networkx().generators.social
    return {title.split("_")[0]: getattr(social, title) for title in sorted(social.__all__)}


def _read(path: Path, directed: bool) -> "networkx.Graph":
    nx = _networkx()
    if not path.is_file():
        raise UsageError(f"networkx: there is no file {path}")
    kind = nx.MultiDiGraph if directed else nx.MultiGraph
    try:
        if path.suffix == ".graphml":
            return nx.read_graphml(path)
        if path.suffix == ".gml":
            return nx.read_gml(path, label=None)  # by id
        if path.suffix in _DELIMITERS:
            delimiter = _DELIMITERS[path.suffix]
            return nx.read_edgelist(path, data=False, delimiter=delimiter, create_using=kind)
    except Exception as error:  # each reader has errors of its own, from XML's to UnicodeDecodeError
        raise UsageError(f"networkx: {path} cannot be read: {one_line(error)}") from error
    raise UsageError(f"networkx: {path.name} is none of {', '.join(_SUFFIXES)}")


def embedded_graphs(license: str = "") -> NetworkX:
    """The social networks that networkx ships as one graph in four parts; a node's name starts with its part's."""
    name = "embedded:graphs"
    nx = _networkx(name)
    parts = []
    texts: dict[str, str] = {}
    for title, make in _shipped().items():
        graph = make()
        names = {node: f"{title}/{node}" for node in graph}
        texts |= _texts(graph, list(names.values()), "")
        parts.append(nx.relabel_nodes(graph, names))
    return NetworkX(from_networkx(nx.union_all(parts), name, texts=texts), name, license)
