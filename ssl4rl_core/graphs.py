"""From a graph to text: what is shown around the nodes a question asks about, and how it is put into words.

Whatever is shown is made so that only content tells the answer:

- Nodes asked about have letters, all others random numbers of one length; names and numbers of the data never show.
- Nodes that an answer is chosen among show equally many edges, and none to each other or to the node asked about, so
  degree and left-over duplicates say nothing.
- A neighbour's text stands where its edge stands, again at every edge, so that shared neighbours do not shorten a
  question.
"""

import functools
import html
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ssl4rl_core.graph_store import GraphView
from ssl4rl_core.sources import View
from ssl4rl_core.tasks import GraphParams, Skip

MAX_TEXT_CHARS = 2000
"""What is kept of a text; a question shows far less."""

NO_EDGES = "(no edges are shown)"

_MARKUP = re.compile(r"<[^<>]{0,200}>")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVW"


def clean(text: str, chars: int = MAX_TEXT_CHARS) -> str:
    """The text as one line of `chars` characters at most, without markup, control characters and double quotes.

    Linear in `chars`: what lies far behind the cut is not read.
    """
    text = html.unescape(text[: 4 * chars + 1000])
    text = _MARKUP.sub(" ", text).replace('"', "'")
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    text = " ".join(text.split())
    return text[:chars].rstrip()


def tokens(text: str) -> int:
    """About how many tokens the text has: one a word or one in four bytes of UTF-8, whichever makes more.

    English prose has about four characters a token in the usual vocabularies; lists of numbers and marks have fewer.
    Other scripts have fewer too, the more bytes their letters take.
    """
    return max(len(text.split()), -(-len(text.encode("utf-8", "replace")) // 4))


def letters(count: int) -> list[str]:
    """Names for the nodes asked about: A, B, C, ... (23 at most; X, Y and Z are left for a node in the question).

    Raises:
        ValueError: more are wanted than there are.
    """
    if count > len(_LETTERS):
        raise ValueError(f"{count} nodes to name, and {len(_LETTERS)} letters")
    return list(_LETTERS[:count])


def graph_view(view: View) -> GraphView:
    """The view as a graph's; what hands out nodes and edges but no graph cannot be asked about.

    Raises:
        Skip: it is the view of another kind of source.
    """
    if not isinstance(view, GraphView):
        raise Skip("the source is not a graph")
    return view


def draw(count: int, propose: Callable[[], int], suits: Callable[[int], bool], taken: Collection[int]) -> list[int]:
    """`count` different nodes that `propose` offers, `suits` accepts and `taken` does not hold.

    Raises:
        Skip: too few turn up in a number of tries that grows with `count` alone.
    """
    drawn: list[int] = []
    for _ in range(64 + 32 * count):
        if len(drawn) == count:
            break
        node = propose()
        if node not in taken and node not in drawn and suits(node):
            drawn.append(node)
    if len(drawn) < count:
        raise Skip("too few other nodes to choose among")
    return drawn


class Arc(NamedTuple):
    """An edge as it is shown: from the node it was drawn for to the other end."""

    centre: int
    other: int
    relation: int
    outward: bool
    """Whether it leads from the centre to the other end; of no meaning where the graph is undirected."""


def draw_stars(
    view: GraphView,
    groups: Sequence[Sequence[int]],
    most: int,
    rng: np.random.Generator,
    without: Collection[int] = (),
) -> dict[int, list[Arc]]:
    """Edges to show around each node of the groups, drawn at random, in random order.

    The nodes of one group get equally many: as many as its poorest has, and `most` at most. No edge leads to a node
    of any group, or to one in `without`.
    """
    left_out = {node for group in groups for node in group}.union(without)
    stars: dict[int, list[Arc]] = {}
    for group in groups:
        drawn = {node: _draw_arcs(view, node, most, rng, left_out) for node in group}
        count = min(map(len, drawn.values()))
        stars |= {node: arcs[:count] for node, arcs in drawn.items()}
    return stars


def _draw_arcs(view: GraphView, node: int, most: int, rng: np.random.Generator, left_out: Collection[int]) -> list[Arc]:
    others, edges = view.arcs(node)
    arcs: list[Arc] = []
    for place in rng.permutation(len(others)).tolist():
        if len(arcs) == most:
            break
        if (other := int(others[place])) not in left_out:
            head, _, relation = view.graph.edges[edges[place]].tolist()
            arcs.append(Arc(node, other, relation, head == node))
    return arcs


def draw_second_ring(
    view: GraphView, star: Sequence[Arc], most: int, rng: np.random.Generator, without: Collection[int]
) -> dict[int, list[Arc]]:
    """Up to `most` edges of each outer node of a star, none back to its centre, to another of them, or to `without`."""
    rings: dict[int, list[Arc]] = {}
    left_out = {arc.centre for arc in star} | {arc.other for arc in star} | set(without)
    for node in dict.fromkeys(arc.other for arc in star):
        rings |= draw_stars(view, [[node]], most, rng, left_out - {node})
    return rings


def write_graph(
    view: GraphView,
    stars: Mapping[int, Sequence[Arc]],
    names: Mapping[int, str],
    params: GraphParams,
    rng: np.random.Generator,
) -> str:
    """The edges in words, in random order. All stars are cut alike until the text keeps to `params.max_tokens`.

    Stars of nodes that are then neither asked about nor shown go with them.

    Args:
        stars: the edges to show, by centre.
        names: what the nodes asked about are called; all others get random numbers of one length.

    Raises:
        Skip: there is no edge to show, and the graph has no texts to go by.
    """
    arcs, asked = [arc for star in stars.values() for arc in star], set(names)
    names = {**names, **_numbers({end for arc in arcs for end in (arc.centre, arc.other)} - names.keys(), rng)}
    texts = _context(view, arcs, names, params.context_chars, rng)
    order = [arcs[place] for place in rng.permutation(len(arcs))]
    flips = dict(zip(order, rng.random(len(order)) < 0.5, strict=True))
    for count in range(max((len(star) for star in stars.values()), default=0), 0, -1):
        shown = asked.union(arc.other for node in asked & stars.keys() for arc in stars[node][:count])
        kept = {arc for node in shown & stars.keys() for arc in stars[node][:count]}
        text = _FORMS[params.form](view, [arc for arc in order if arc in kept], names, texts, flips)
        if tokens(text) <= params.max_tokens:
            return text
    if not view.any_text:
        raise Skip("no edges to show, and no texts")
    return NO_EDGES


def _numbers(nodes: Iterable[int], rng: np.random.Generator) -> dict[int, str]:
    ordered = sorted(nodes)
    low = next(low for low in (10, 100, 1000, 10**9) if len(ordered) <= 6 * low)
    drawn = rng.permutation(9 * low)[: len(ordered)] + low
    return {node: str(number) for node, number in zip(ordered, drawn.tolist(), strict=True)}


def _context(
    view: GraphView, arcs: Iterable[Arc], names: Mapping[int, str], chars: int, rng: np.random.Generator
) -> dict[int, str]:
    """Outer nodes by name, with their text in quotes where they have one."""
    others = dict.fromkeys(arc.other for arc in arcs)
    lines = {node: view.describe([node], chars, rng)[0] if chars else "" for node in others}
    return {node: f'{names[node]} "{line}"' if line else names[node] for node, line in lines.items()}


def relation_name(view: GraphView, relation: int) -> str:
    """The relation's name as it is shown: a clean line without square brackets, which mark where it ends."""
    return _relation_name(view.graph.relations[relation])


@functools.lru_cache(maxsize=4096)
def _relation_name(name: str) -> str:
    return clean(name, 200).replace("[", "(").replace("]", ")")


def link_mark(view: GraphView, relation: int, outward: bool = True) -> str:
    """What stands between two nodes, seen from the first: `-` for an undirected edge, `-[genre]->` or `<-[genre]-`."""
    name = relation_name(view, relation)
    middle = f"-[{name}]-" if name else "-"
    if not view.graph.directed:
        return middle
    return f"{middle}>" if outward else f"<{middle}"


def _as_edges(view: GraphView, arcs: list[Arc], names: Mapping, texts: Mapping, flips: Mapping) -> str:
    """A line an edge, `A - 12 "text"`; which end stands first is chance, or where the edge is directed, its head."""
    lines = []
    for arc in arcs:
        first = arc.outward if view.graph.directed else not flips[arc]
        link = link_mark(view, arc.relation)
        ends = [names[arc.centre], texts[arc.other]]
        lines.append(f" {link} ".join(ends if first else reversed(ends)))
    return "\n".join(lines)


def _as_adjacency(view: GraphView, arcs: list[Arc], names: Mapping, texts: Mapping, flips: Mapping) -> str:
    """A line a centre, `A: - 12 "text"; - 34 "text"`."""
    rows: dict[int, list[str]] = {}
    for arc in arcs:
        link = link_mark(view, arc.relation, arc.outward)
        rows.setdefault(arc.centre, []).append(f"{link} {texts[arc.other]}")
    return "\n".join(f"{names[centre]}: " + "; ".join(row) for centre, row in rows.items())


def _as_prose(view: GraphView, arcs: list[Arc], names: Mapping, texts: Mapping, flips: Mapping) -> str:
    """A sentence an edge."""
    sentences = []
    verb = "points to" if view.graph.directed else "is linked to"
    for arc in arcs:
        relation = relation_name(view, arc.relation)
        first = arc.outward if view.graph.directed else not flips[arc]
        ends = [names[arc.centre], texts[arc.other]]
        start, end = ends if first else reversed(ends)
        sentences.append(f"{start} {verb} {end}" + (f" by [{relation}]." if relation else "."))
    return " ".join(sentences)


_FORMS = {"edges": _as_edges, "adjacency": _as_adjacency, "prose": _as_prose}


def describe_asked(view: GraphView, nodes: Sequence[int], chars: int, rng: np.random.Generator) -> dict[int, str]:
    """A line on each node asked about; no lines where the graph has no texts at all.

    Raises:
        Skip: one of them has no text that may be seen while others have, so that this would tell it apart.
    """
    if not view.any_text:
        return {}
    lines = view.describe(nodes, chars, rng)
    if not all(lines):
        raise Skip("a node asked about has no text that may be seen")
    return dict(zip(nodes, lines, strict=True))


def list_nodes(names: Mapping[int, str], lines: Mapping[int, str]) -> str:
    """The paragraph on the nodes asked about, in the order of `names`; empty where there are no lines."""
    listed = [f'{name}: "{lines[node]}"\n' for node, name in names.items() if node in lines]
    return "Its nodes:\n" + "".join(listed) + "\n" if listed else ""
