"""What all sources of graphs share: the index of nodes and edges, items, views, node texts from a file."""

import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from json.encoder import encode_basestring
from pathlib import Path

import numpy as np

from data_builders.sources.flat_index import FlatIndex
from ssl4rl_core.errors import UsageError
from ssl4rl_core.graph_store import Graph, GraphView, HasGraph, HeldOut
from ssl4rl_core.graphs import clean
from ssl4rl_core.node_attributes import Strings, Texts
from ssl4rl_core.samples import EdgeItem, Item, NodeItem, Split
from ssl4rl_core.sources import Entry, Splitter


class GraphSource(HasGraph):
    """Nodes and edges of one graph. Subclasses read it in `open`.

    A node's id is its name in the data. An edge's is a JSON list: of its ends in order of their names where the graph
    is undirected, of head, relation and tail where it is directed (of head and tail where there is one relation).
    Nodes with the same text share a group, and edges between the same two nodes do.
    """

    kinds = ("node", "edge")

    def __init__(self, graph: Graph, name: str, license: str = "", published_options: str = "") -> None:
        if not len(graph):
            raise UsageError(f"{name}: the graph is empty: it has no nodes")
        self.graph, self.name, self.license = graph, name, license
        self.published_options = published_options

    def __getstate__(self) -> dict[str, object]:
        """Without what is made when it is asked for: a worker makes its own."""
        kept = ("graph", "name", "license", "published_options")
        return {name: getattr(self, name) for name in kept}

    def index(self, kind: str) -> FlatIndex:
        self.check_kind(kind)
        if kind == "node":
            return FlatIndex(len(self.graph), self._node_entry)
        return FlatIndex(self.graph.size, self._edge_entry)

    def load(self, kind: str, entry: Entry, *, max_side: int | None = None) -> Item:
        if kind == "node":
            return NodeItem(entry.id, entry.group, entry.position, entry.position)
        head, tail, _ = self.graph.edges[entry.position].tolist()
        return EdgeItem(entry.id, entry.group, entry.position, entry.position, head, tail)

    def fingerprint(self) -> str:
        return self._fingerprint

    @functools.cached_property
    def _fingerprint(self) -> str:
        return self.graph.digest()

    def view(self, kind: str, split: Split, splitter: Splitter, *, max_side: int | None = None) -> GraphView:
        return self._view(kind, split, splitter)

    @functools.cached_property
    def _view(self) -> Callable[[str, Split, Splitter], GraphView]:
        """Views, each made once: masks over all nodes and edges are cheap to have and take a while to make."""

        @functools.cache
        def held_out(splitter: Splitter) -> HeldOut:
            indexes = (self.index("node"), self.index("edge"))
            return HeldOut(*(np.array([splitter(entry) == "test" for entry in index], dtype=bool) for index in indexes))

        return functools.cache(lambda kind, split, splitter: GraphView(self, kind, split, splitter, held_out(splitter)))

    def _node_entry(self, node: int) -> Entry:
        name, copied = self.graph.names[node], self.graph.copies[node] >= 0
        group = f"text:{_digest(self.graph.attributes.content(node))}" if copied else name
        held = self._held_nodes
        return Entry(node, name, group, "" if held is None else ("test" if held[node] else "train"))

    @functools.cached_property
    def _held_nodes(self) -> np.ndarray | None:
        """The nodes of the public test split, with those that have the text of one; None where there is no split."""
        labels = self.graph.labels
        if labels is None or labels.asked.all():
            return None
        copies = self.graph.copies
        return labels.asked | ((copies >= 0) & np.isin(copies, copies[labels.asked]))

    def _edge_entry(self, edge: int) -> Entry:
        head, tail, relation = self.graph.edges[edge].tolist()
        ends = [self.graph.names[head], self.graph.names[tail]]
        parts = ends if self.graph.directed else sorted(ends)
        if len(self.graph.relations) > 1:
            parts = [parts[0], self.graph.relations[relation], parts[1]]
        split = "" if self.graph.split is None else ("test" if self.graph.split[edge] else "train")
        return Entry(edge, _json(parts), _json(sorted(ends)), split)


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _json(names: list[str]) -> str:
    # What json.dumps gives, without the encoder it would make for each of a million lists.
    return f"[{','.join(map(encode_basestring, names))}]"


def texts_of(names: Sequence[str], texts: Mapping[str, str]) -> Texts:
    """The node texts, cleaned, in the order of the names; empty where `texts` has none."""
    return Texts(Strings(clean(texts.get(name, "")) for name in names))


def read_texts(path: str | Path, names: Sequence[str] = ()) -> dict[str, str]:
    """Node texts from a file, by node name.

    Args:
        names: the nodes of the graph that they are for, where it is to be checked that the file knows any of them.

    `.json`: an object of texts, or of objects with `label` and `description` (as `entity2wikidata.json` has);
    `.tsv` or `.txt`: a line a node, NAME TAB TEXT, further columns joined to the text.

    Raises:
        UsageError: the file is missing, is not of this form, or knows none of `names`.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix != ".json":
            rows = (line.split("\t") for line in text.split("\n") if line.strip())
            texts = {name: ": ".join(filter(None, rest)) for name, *rest in rows}
        else:
            texts = {str(name): _text(value) for name, value in dict(json.loads(text)).items()}
    except OSError as error:
        raise UsageError(f"texts={path}: {error.strerror or error}") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise UsageError(f"texts={path} is not UTF-8 JSON or NAME TAB TEXT: {error}") from error
    if names and texts.keys().isdisjoint(names):
        known = f"its names are like {some_of(list(texts))}" if texts else "it is empty"
        raise UsageError(f"texts={path} has a text for no node: {known}, those of the graph like {some_of(names)}")
    return texts


def some_of(names: Sequence[str], most: int = 1) -> str:
    """The first of some names for one line of a message, each cut short."""
    shown = ", ".join(ascii(name)[:60] for name in names[:most])
    return f"{shown} and {len(names) - most} more" if 1 < most < len(names) else shown


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return ": ".join(str(value[key]) for key in ("label", "description") if value.get(key))
    return "" if value is None else str(value)
