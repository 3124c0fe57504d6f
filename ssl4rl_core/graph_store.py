"""A graph in memory, as compact arrays, and what a sample of one split may see of it.

Forty thousand nodes and ninety thousand edges take a few megabytes; nothing here is an object a node or an edge.
"""

import functools
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ssl4rl_core.node_attributes import Attributes, Strings
from ssl4rl_core.samples import Split
from ssl4rl_core.sources import Source, Splitter, View

# A network of fewer nodes has too few to choose among.
_SMALL = 8
# What more nodes than this have is a category, and no copy.
_COPIES = 8


class Labels(NamedTuple):
    """The class of each node, as published with the data: for evaluation alone."""

    classes: tuple[str, ...]
    """Their names; empty where they are not known."""
    of: np.ndarray
    """Integers of shape (n,): a node's class, or -1."""
    asked: np.ndarray
    """Booleans of shape (n,): the nodes of the public test split; all where the data has none."""


class Graph:
    """Nodes 0..n-1 with names and attributes, and edges 0..m-1, each once, with head, tail and relation.

    An undirected edge has its lower end as head. A self-loop is an edge, and nobody's neighbour.
    """

    def __init__(
        self,
        names: Strings,
        edges: np.ndarray,
        attributes: Attributes,
        *,
        directed: bool,
        relations: Sequence[str] = ("",),
        split: np.ndarray | None = None,
        labels: Labels | None = None,
    ) -> None:
        """
        Args:
            edges: integers of shape (m, 3): head, tail, relation. Doubles become one.
            split: integers of shape (m,): 1 where an edge belongs to the source's own test split; of doubles, one
                that does decides. None where the source has no split of its own.
            labels: classes of the nodes. No self-supervised task looks at them; their test nodes are held out.
        """
        self.labels = labels
        self.names, self.attributes, self.directed, self.relations = names, attributes, directed, tuple(relations)
        edges = np.asarray(edges, dtype=np.int64).reshape(-1, 3)
        if not directed:
            edges = np.column_stack([edges[:, :2].min(axis=1), edges[:, :2].max(axis=1), edges[:, 2]])
        unique, place = np.unique(edges, axis=0, return_inverse=True)
        self.edges = unique.astype(np.int32)
        self.split: np.ndarray | None = None
        if split is not None:
            self.split = np.zeros(len(unique), dtype=np.int8)
            np.maximum.at(self.split, place.reshape(-1), np.asarray(split, dtype=np.int8))
        self._lay_rows()

    def _lay_rows(self) -> None:
        """Each node's neighbours in ascending order, in compressed rows, with the edges that lead there."""
        proper = np.flatnonzero(self.edges[:, 0] != self.edges[:, 1])
        ends = self.edges[proper]
        starts = np.concatenate([ends[:, 0], ends[:, 1]])
        others = np.concatenate([ends[:, 1], ends[:, 0]])
        order = np.lexsort((others, starts))
        self.neighbour = others[order]
        self.edge = np.concatenate([proper, proper])[order].astype(np.int32)
        self.row = starts[order]
        self.rows = np.searchsorted(self.row, np.arange(len(self) + 1))

    def __len__(self) -> int:
        return len(self.names)

    @property
    def size(self) -> int:
        """The number of edges."""
        return len(self.edges)

    def arcs(self, node: int) -> slice:
        """Where the node's neighbours stand in `neighbour` and `edge`; one of several edges away stands there often."""
        return slice(self.rows[node], self.rows[node + 1])

    def joined(self, node: int, other: int) -> bool:
        """Whether an edge of any relation and direction joins the two."""
        row = self.neighbour[self.arcs(node)]
        place = np.searchsorted(row, other)
        return bool(place < len(row) and row[place] == other)

    @functools.cached_property
    def pairs(self) -> np.ndarray:
        """A number for the two ends of each edge, the same in both directions."""
        ends = self.edges[:, :2].astype(np.int64)
        return ends.min(axis=1) * len(self) + ends.max(axis=1)

    @functools.cached_property
    def relation_counts(self) -> np.ndarray:
        """How many edges each relation has."""
        return np.bincount(self.edges[:, 2], minlength=len(self.relations))

    @functools.cached_property
    def network(self) -> np.ndarray:
        """A number for each node, equal for those that edges join, over however many; 0 for all of small networks.

        A network of two sides with edges between them alone, as of people and the events they attend, has two numbers,
        unless a side is small: a neighbour is of the other side, so that nodes of the own one are known to be none.
        """
        ends = self.edges[self.edges[:, 0] != self.edges[:, 1], :2].astype(np.int64)
        count = len(self)
        whole = _joined(count, ends)
        # Each node twice, and each edge from either of one end to the other of the other end: what is joined then is an
        # even number of steps away, which is all of a network, or where it has two sides, one of them.
        side = _joined(2 * count, np.concatenate([ends + shift for shift in ([0, count], [count, 0])]))[:count]
        of_whole, of_side = np.bincount(whole, minlength=count)[whole], np.bincount(side, minlength=count)[side]
        label = np.where(np.minimum(of_side, of_whole - of_side) < _SMALL, whole, side)
        return np.where(of_whole < _SMALL, 0, label + 1)

    @functools.cached_property
    def copies(self) -> np.ndarray:
        """A number for what a node's attributes hold, where a few other nodes have the same; else -1."""
        attributes, nodes = self.attributes, range(len(self))
        digests = [hashlib.blake2b(attributes.content(node), digest_size=16).hexdigest() for node in nodes]
        _, places, counts = np.unique(digests, return_inverse=True, return_counts=True)
        has = np.array([attributes.has(node) for node in nodes], dtype=bool)
        return np.where(has & (counts[places] > 1) & (counts[places] <= _COPIES), places, -1)

    def with_copies(self, nodes: Iterable[int]) -> set[int]:
        """The nodes, and the copies of them."""
        found = set(nodes)
        copied = [number for number in self.copies[list(found)].tolist() if number >= 0]
        return found.union(np.flatnonzero(np.isin(self.copies, copied)).tolist()) if copied else found

    def digest(self) -> str:
        """A hash of all it holds, the same on every machine."""
        whole = hashlib.blake2b(digest_size=16)
        for part in (self.names.ends.astype("<i8").tobytes(), self.names.bytes, self.edges.astype("<i4").tobytes()):
            whole.update(part)
        if self.split is not None:
            whole.update(self.split.tobytes())
        if self.labels is not None:
            whole.update(repr(self.labels.classes).encode())
            whole.update(self.labels.of.astype("<i4").tobytes() + self.labels.asked.tobytes())
        whole.update(repr((self.directed, self.relations, type(self.attributes).__name__)).encode())
        for node in range(len(self)):
            content = self.attributes.content(node)
            whole.update(len(content).to_bytes(8, "little") + content)
        whole.update(self.attributes.shared())
        return whole.hexdigest()


def _joined(count: int, ends: np.ndarray) -> np.ndarray:
    """The lowest of the nodes 0..count-1 that edges join each to, over however many."""
    label = np.arange(count)
    while True:
        lowest = label[ends].min(axis=1)
        joined = label.copy()
        np.minimum.at(joined, ends.reshape(-1), lowest.repeat(2))
        joined = joined[joined]
        if np.array_equal(joined, label):
            return label
        label = joined


class HasGraph(Source):
    """A source of the nodes and edges of one graph."""

    graph: Graph


@dataclass(frozen=True)
class HeldOut:
    """Which nodes and edges belong to the test split: booleans of shape (n,) and (m,)."""

    nodes: np.ndarray
    edges: np.ndarray


class GraphView(View):
    """The graph as a sample of one split may see it.

    In training it has neither the texts of held-out nodes nor held-out edges, nor any edge between the ends of one:
    the same fact is often told by several. A test sample sees all; what it is asked about, the task leaves out.
    """

    def __init__(self, source: HasGraph, kind: str, split: Split, splitter: Splitter, held_out: HeldOut) -> None:
        super().__init__(source, kind, split, splitter)
        self.graph = graph = source.graph
        training = split == "train"
        self._hidden_nodes = held_out.nodes if training else np.zeros(len(graph), dtype=bool)
        self._hidden_edges = np.isin(graph.pairs, graph.pairs[held_out.edges] if training else [])
        self._own_nodes = held_out.nodes != training
        self._open_arcs = ~self._hidden_edges[graph.edge]
        self._degrees = np.bincount(graph.row[self._open_arcs], minlength=len(graph))

    def has_text(self, node: int) -> bool:
        """Whether the node has attributes, and they may be seen."""
        return not self._hidden_nodes[node] and self.graph.attributes.has(node)

    @functools.cached_property
    def any_text(self) -> bool:
        """Whether any node has attributes that may be seen."""
        return any(self.has_text(node) for node in range(len(self.graph)))

    def describe(self, nodes: Sequence[int], chars: int, rng: np.random.Generator) -> list[str]:
        """A line on each node, of `chars` characters at most; empty where there is nothing to see."""
        seen = [node for node in nodes if self.has_text(node)]
        lines = dict(zip(seen, self.graph.attributes.describe(seen, chars, rng), strict=True)) if seen else {}
        return [lines.get(node, "") for node in nodes]

    def shows(self, edge: int) -> bool:
        """Whether the edge may be seen."""
        return not self._hidden_edges[edge]

    def arcs(self, node: int) -> tuple[np.ndarray, np.ndarray]:
        """The node's neighbours, ascending, one of several edges away as often, and the edges that lead there."""
        row = self.graph.arcs(node)
        seen = self._open_arcs[row]
        return self.graph.neighbour[row][seen], self.graph.edge[row][seen]

    def degree(self, node: int) -> int:
        """How many edges of the node may be seen, self-loops left out."""
        return int(self._degrees[node])

    @functools.cached_property
    def own_nodes(self) -> np.ndarray:
        """The nodes of this split that have attributes: what a question on attributes may be asked about."""
        return np.array([n for n in np.flatnonzero(self._own_nodes).tolist() if self.has_text(n)], dtype=np.int64)

    @functools.cached_property
    def _by_degree(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Nodes by network and degree, their degrees, and where each stands."""
        order = np.lexsort((self._degrees, self.graph.network))
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        return order, self._degrees[order], rank

    @functools.cached_property
    def _networks(self) -> np.ndarray:
        """Where each network begins in the order of `_by_degree`, by its number; and one more, where the last ends."""
        counts = np.bincount(self.graph.network)
        return np.concatenate([[0], np.cumsum(counts)])

    def of_like_degree(self, node: int, rng: np.random.Generator, reach: int = 32) -> int:
        """A node of the same network, drawn among those of the same degree, or where they are few, the `reach` next
        ones either way. One of another network might be told by its text.
        """
        order, degrees, rank = self._by_degree
        network, place = int(self.graph.network[node]), int(rank[node])
        begin, end = self._networks[network : network + 2].tolist()
        first = begin + int(np.searchsorted(degrees[begin:end], self._degrees[node]))
        last = begin + int(np.searchsorted(degrees[begin:end], self._degrees[node], side="right"))
        if last - first < reach:
            first, last = max(begin, place - reach), min(end, place + reach + 1)
        return int(order[rng.integers(first, last)])

    def walk(self, node: int, steps: int, rng: np.random.Generator) -> int:
        """Where a random walk over edges that may be seen ends; an even number of steps stays on a bipartite side."""
        for _ in range(steps):
            others, _ = self.arcs(node)
            if not len(others):
                break
            node = int(others[rng.integers(len(others))])
        return node

    @functools.cached_property
    def _by_relation(self) -> tuple[np.ndarray, np.ndarray]:
        seen = np.flatnonzero(~self._hidden_edges)
        relations = self.graph.edges[seen, 2]
        ends = np.cumsum([0, *np.bincount(relations, minlength=len(self.graph.relations))])
        return seen[np.argsort(relations, kind="stable")], ends

    def end_of(self, relation: int, rng: np.random.Generator, *, tail: bool = True) -> int:
        """The tail, or the head, of a random edge of the relation; there must be one that may be seen."""
        edges, ends = self._by_relation
        return int(self.graph.edges[edges[rng.integers(ends[relation], ends[relation + 1])], int(tail)])
