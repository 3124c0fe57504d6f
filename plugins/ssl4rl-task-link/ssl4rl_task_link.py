"""Link: is there an edge between two nodes, which relation holds between them, which node completes the triple?

The graph task of arXiv 2510.16416 that asks for links, and for knowledge graphs the questions of link prediction
(A. Bordes et al., "Translating Embeddings for Modeling Multi-relational Data", 2013), with true answers other than
the asked one kept out of the choice. No edge between the two nodes asked about is shown, whatever its relation.
"""

from typing import TYPE_CHECKING, Literal

from ssl4rl_core import Choice, Draft, EdgeItem, Field, GraphParams, Skip, Task, hookimpl
from ssl4rl_core.graphs import (
    describe_asked,
    draw,
    draw_stars,
    graph_view,
    letters,
    link_mark,
    list_nodes,
    relation_name,
    write_graph,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np

    from ssl4rl_core import View
    from ssl4rl_core.graph_store import GraphView
    from ssl4rl_core.graphs import Arc

TRIES = 16
POOL = 8


class LinkParams(GraphParams):
    mode: Literal["exists", "relation", "tail", "auto"] = Field(
        default="exists",
        description="what is asked; auto: the relation where the graph has as many as options, else the tail",
    )
    options: int = Field(default=4, ge=2, le=12, description="relations or tails to choose among")
    distractors: Literal["degree", "relation"] = Field(
        default="degree", description="wrong tails: of like degree, or tails that the same relation has elsewhere"
    )


class Link(Task[EdgeItem, LinkParams]):
    """Is there an edge, and which?"""

    name, version = "link", 1
    uses_view = True
    levels = {
        "easy": LinkParams(),
        "medium": LinkParams(mode="auto"),
        "hard": LinkParams(mode="tail", options=8, distractors="relation"),
        "paper": LinkParams(form="prose"),
    }
    prompt = (
        "This is a part of a graph.\n{graph}\n\n{nodes}Any edge between the nodes asked about is hidden. {question}"
    )

    def transform(self, item: EdgeItem, params: LinkParams, rng: "np.random.Generator", view: "View") -> Draft:
        graph = graph_view(view)
        if item.head == item.tail:
            raise Skip("the edge is a self-loop")
        if not graph.shows(item.edge):
            raise Skip("its ends are joined by a held-out edge too")
        ask = {"exists": _ask_whether, "relation": _ask_relation, "tail": _ask_tail}
        return ask[_mode(graph, params)](graph, item, params, rng)

    def chance(self, params: LinkParams) -> float:
        return 1 / 2 if params.mode == "exists" else 1 / params.options


def _mode(view: "GraphView", params: LinkParams) -> str:
    if params.mode != "auto":
        return params.mode
    return "relation" if (view.graph.relation_counts > 0).sum() >= params.options else "tail"


def _ask_whether(view: "GraphView", item: EdgeItem, params: LinkParams, rng: "np.random.Generator") -> Draft:
    """The edge's one end stays; the other is its other end, or a node of like degree that no edge joins to the first.

    Before the answer is drawn, both are, described and given edges, so that no count and no skip depends on it.
    """
    first, second = (item.head, item.tail) if rng.integers(2) else (item.tail, item.head)
    (other,) = _unjoined(view, first, 1, lambda: _counterpart(view, item, second, rng), second, rng)
    stars = draw_stars(view, [[first], [second, other]], params.neighbours, rng)
    joined = bool(rng.integers(2))
    asked = [first, second if joined else other]
    asked = asked if rng.integers(2) else asked[::-1]
    answer = Choice("yes" if joined else "no", options=("yes", "no"))
    lines = describe_asked(view, [first, second, other], params.text_chars, rng)
    names = dict(zip(asked, "XY", strict=True))
    return _draft(view, names, lines, stars, params, rng, answer, "Is there an edge between X and Y?")


def _ask_relation(view: "GraphView", item: EdgeItem, params: LinkParams, rng: "np.random.Generator") -> Draft:
    asked = int(view.graph.edges[item.edge, 2])
    others, edges = view.graph.neighbour[view.graph.arcs(item.head)], view.graph.edge[view.graph.arcs(item.head)]
    holding = set(view.graph.edges[edges[others == item.tail], 2].tolist())
    weights = even_weights(view.graph.relation_counts, params.options)
    if rng.random() * view.graph.relation_counts[asked] > weights[asked]:
        raise Skip("the relation is asked about often enough")
    for _ in range(TRIES):
        relations = even_options(weights, asked, params.options, rng)
        if len(set(relations)) == params.options and holding.intersection(relations) == {asked}:
            break
    else:
        raise Skip("several of the relations to choose among hold")
    relations = [relations[place] for place in rng.permutation(len(relations))]
    listed = letters(len(relations))
    names = {item.head: "X", item.tail: "Y"}
    stars = draw_stars(view, [[item.head], [item.tail]], params.neighbours, rng)
    written = [f"{name}: {relation_name(view, r)}" for name, r in zip(listed, relations, strict=True)]
    question = "Which of these relations leads from X to Y?\n" + "\n".join(written)
    answer = Choice(listed[relations.index(asked)], listed)
    lines = describe_asked(view, list(names), params.text_chars, rng)
    return _draft(view, names, lines, stars, params, rng, answer, question)


def _ask_tail(view: "GraphView", item: EdgeItem, params: LinkParams, rng: "np.random.Generator") -> Draft:
    head, tail = item.head, item.tail
    if not view.graph.directed and rng.integers(2):
        head, tail = tail, head
    relation = int(view.graph.edges[item.edge, 2])

    def propose() -> int:
        if params.distractors == "relation" and view.graph.directed:
            return view.end_of(relation, rng)
        return view.of_like_degree(tail, rng) if view.graph.directed else _near(view, tail, rng)

    wrong = _unjoined(view, head, params.options - 1, propose, tail, rng)
    nodes = [[tail, *wrong][place] for place in rng.permutation(params.options)]
    listed = letters(len(nodes))
    names = {head: "X", **dict(zip(nodes, listed, strict=True))}
    stars = draw_stars(view, [[head], nodes], params.neighbours, rng)
    question = (
        f"Which of the nodes {', '.join(listed)} stands for the question mark in this edge?\n"
        f"X {link_mark(view, relation)} ?"
    )
    lines = describe_asked(view, list(names), params.text_chars, rng)
    return _draft(view, names, lines, stars, params, rng, Choice(names[tail], listed), question)


def _counterpart(view: "GraphView", item: EdgeItem, end: int, rng: "np.random.Generator") -> int:
    """A node to stand for the edge's `end`: of like degree, and in a knowledge graph in the same role.

    There, nodes of one degree but of another kind would differ in the relations they show, and so in length.
    """
    if not view.graph.directed:
        return _near(view, end, rng)
    relation = int(view.graph.edges[item.edge, 2])
    return _most_alike(view, end, [view.end_of(relation, rng, tail=end == item.tail) for _ in range(POOL)])


def _near(view: "GraphView", end: int, rng: "np.random.Generator") -> int:
    """A node of like degree some even number of steps away: of the same network, and where that has two sides, as that
    of people and the events they attend, of the same side. Others would be told by their text.
    """
    return _most_alike(view, end, [view.walk(end, 2 * int(rng.integers(1, 4)), rng) for _ in range(POOL)])


def _most_alike(view: "GraphView", end: int, pool: list[int]) -> int:
    degree = view.degree(end)
    others = [node for node in pool if node != end]
    return min(others, key=lambda node: abs(view.degree(node) - degree), default=end)


def _unjoined(
    view: "GraphView",
    node: int,
    count: int,
    propose: "Callable[[], int]",
    like: int,
    rng: "np.random.Generator",
) -> list[int]:
    """Nodes that no edge joins to `node`, held out or not: a true answer must never count as wrong.

    They are those that `propose` offers, or where it offers too few, as for a relation of few ends, nodes of like
    degree as `like`.
    """

    def suits(other: int) -> bool:
        return not view.graph.joined(node, other) and (not view.any_text or view.has_text(other))

    try:
        return draw(count, propose, suits, taken=[node])
    except Skip:
        return draw(count, lambda: view.of_like_degree(like, rng), suits, taken=[node])


def _draft(
    view: "GraphView",
    names: "Mapping[int, str]",
    lines: "Mapping[int, str]",
    stars: "Mapping[int, list[Arc]]",
    params: LinkParams,
    rng: "np.random.Generator",
    answer: Choice,
    question: str,
) -> Draft:
    shown = {centre: star for centre, star in stars.items() if centre in names}
    graph = write_graph(view, shown, names, params, rng)
    return Draft(answer=answer, fields={"graph": graph, "nodes": list_nodes(names, lines), "question": question})


def even_weights(counts: "np.ndarray", options: int) -> "np.ndarray":
    """How often to ask about each relation, at most `counts`, with none in more than one of `options` questions.

    Raises:
        Skip: there are fewer relations than options.
    """
    import numpy as np

    ordered = np.sort(counts)[::-1].astype(float)
    if np.count_nonzero(ordered) < options:
        raise Skip("fewer relations than options")
    rest = ordered[::-1].cumsum()[::-1]
    # The largest are cut until the next one is no more than an even share of what is left.
    shares = rest[:options] / np.arange(options, 0, -1)
    return np.minimum(counts, shares[np.argmax(ordered[:options] <= shares)])


def even_options(weights: "np.ndarray", asked: int, options: int, rng: "np.random.Generator") -> list[int]:
    """Relations to choose among, the asked one first, such that each is equally likely to be the right one.

    They are drawn by systematic sampling (W. G. Madow, "On the theory of systematic sampling II", 1949) with inclusion
    probabilities in proportion to how often each is asked about, through the asked one.
    """
    import numpy as np

    order = rng.permutation(len(weights))
    lengths = weights[order] * (options / weights.sum())
    ends = np.cumsum(lengths)
    place = int(np.flatnonzero(order == asked)[0])
    points = (ends[place] - rng.random() * lengths[place] + np.arange(1, options)) % options
    return [asked, *order[np.minimum(np.searchsorted(ends, points), len(order) - 1)].tolist()]


@hookimpl
def ssl4rl_tasks() -> list[type[Task]]:
    return [Link]
