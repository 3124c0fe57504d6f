"""Graphs that networkx ships or reads: by name, or from GraphML, GML and edge-list files."""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import Field

from data_builders.sources.extras import missing
from data_builders.sources.files import expanded
from data_builders.sources.graph_source import GraphSource, read_texts, some_of, texts_of
from data_builders.sources.options import LocalFile, SourceOptions
from ssl4rl_core.errors import UsageError, one_line
from ssl4rl_core.graph_store import Graph
from ssl4rl_core.node_attributes import Strings

if TYPE_CHECKING:
    import networkx

_DELIMITERS = {".edgelist": None, ".edges": None, ".txt": None, ".csv": ",", ".tsv": "\t"}
_BETWEEN = {",": "a comma", "\t": "a tab", None: "a blank"}
_SUFFIXES = (".graphml", ".gml", *_DELIMITERS)
_HEADERS = (("source", "target"), ("head", "tail"), ("from", "to"), ("src", "dst"), ("fromnodeid", "tonodeid"))
"""What a header calls the ends of an edge, in small letters."""


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

    In `.csv` and `.tsv` a name may stand in quotes, and blanks around it are no part of it. A line that starts with
    `# ` is a remark; any other `#` there is part of a name. A first line that names its columns as a header does
    (`source` and `target`, `head` and `tail`, `from` and `to`, `src` and `dst`, in any case) is no edge: it says which
    columns the ends are in. Without one they are in the first two. A line where one of them is empty is no edge either.

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
        texts = read_texts(chosen.texts, list(map(str, graph))) if chosen.texts else None
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
        UsageError: two nodes have the same name as strings, or no node has the attribute `text` or no edge `relation`.
    """
    _check(spec, "text", text, "node", (data for _, data in graph.nodes(data=True)))
    _check(spec, "relation", relation, "edge", (data for *_, data in graph.edges(data=True)))
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


def _check(spec: str, option: str, attribute: str, kind: str, all_data: Iterable[Mapping[str, Any]]) -> None:
    """Raises UsageError where an option names an attribute that stands nowhere: it would be taken for empty."""
    there = {str(key) for data in all_data for key in data} if attribute else {attribute}
    if attribute not in there:
        mend = f"write {option}=NAME with one of {some_of(sorted(there), 20)}" if there else f"leave {option}= out"
        raise UsageError(f"{spec}: no {kind} has an attribute {attribute!r}: {mend}")


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
    shipped = _shipped(f"networkx:{name}")
    if name not in shipped:
        raise UsageError(f"networkx: knows no graph {name!r}: {', '.join(shipped)}, or a file {', '.join(_SUFFIXES)}")
    return shipped[name]()


def _networkx(spec: str) -> Any:
    """The package; MissingExtra saying that the source needs it where it is not installed."""
    try:
        import networkx
    except ImportError as error:
        raise missing(spec, error) from error
    return networkx


def _shipped(spec: str) -> "dict[str, Callable[[], networkx.Graph]]":
    """The graphs of real data in networkx, by the first word of their function's name."""
    social = _networkx(spec).generators.social
    return {title.split("_")[0]: getattr(social, title) for title in sorted(social.__all__)}


def _read(path: Path, directed: bool) -> "networkx.Graph":
    nx = _networkx(f"networkx:{path.name}")
    if not path.is_file():
        raise UsageError(f"networkx: there is no file {path}")
    if path.suffix not in _SUFFIXES:
        raise UsageError(f"networkx: {path.name} is none of {', '.join(_SUFFIXES)}")
    graph = (nx.MultiDiGraph if directed else nx.MultiGraph)()
    try:
        if path.suffix == ".graphml":
            return nx.read_graphml(path)
        if path.suffix == ".gml":
            return nx.read_gml(path, label=None)  # by id
        if delimiter := _DELIMITERS[path.suffix]:
            graph.add_edges_from(_edges(path, delimiter))
        else:
            nx.read_edgelist(path, data=False, encoding="utf-8-sig", create_using=graph)
    except Exception as error:  # each reader has errors of its own, from XML's to UnicodeDecodeError
        raise UsageError(f"networkx: {path} cannot be read: {one_line(error)}") from error
    if not graph:
        raise UsageError(f"networkx: {path.name} has no line of two names with {_BETWEEN[delimiter]} between them")
    return graph


def _edges(path: Path, delimiter: str) -> Iterator[tuple[str, str]]:
    """The ends of each edge of a table; lines that lack one are left out, as networkx leaves them out."""
    ends = None
    with path.open(newline="", encoding="utf-8-sig") as file:
        # An empty line for a remark, so that lines are counted as the file has them.
        lines = ("\n" if f"{line.strip()} ".startswith("# ") else line for line in file)
        rows = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
        try:
            for row in rows:
                cells = [cell.strip() for cell in row]
                if ends is None and len(cells) > 1:
                    ends = _ends(cells)
                    if ends:
                        continue
                head, tail = ends or (0, 1)
                if max(head, tail) < len(cells) and cells[head] and cells[tail]:
                    yield cells[head], cells[tail]
        except csv.Error as error:
            mend = "a name with quotes is put in quotes, and its own are doubled"
            raise csv.Error(f"line {rows.line_num}: {error}; {mend}") from error


def _ends(cells: list[str]) -> tuple[int, int] | tuple[()]:
    """The columns of an edge's ends, where a first line is a header."""
    names = [cell.lstrip("#").casefold() for cell in cells]
    for head, tail in _HEADERS:
        if head in names and tail in names:
            return names.index(head), names.index(tail)
    return ()


def embedded_graphs(license: str = "") -> NetworkX:
    """The social networks that networkx ships as one graph in four parts; a node's name starts with its part's."""
    name = "embedded:graphs"
    nx = _networkx(name)
    parts = []
    texts: dict[str, str] = {}
    for title, make in _shipped(name).items():
        graph = make()
        names = {node: f"{title}/{node}" for node in graph}
        texts |= _texts(graph, list(names.values()), "")
        parts.append(nx.relabel_nodes(graph, names))
    return NetworkX(from_networkx(nx.union_all(parts), name, texts=texts), name, license)
