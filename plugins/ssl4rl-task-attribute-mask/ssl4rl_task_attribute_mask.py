"""Attribute mask: which of several texts is a node's, told by its neighbourhood?

The graph task of arXiv 2510.16416 in which a node's attribute is hidden; masking attributes of nodes as
self-supervision is due to W. Hu et al., "Strategies for Pre-training Graph Neural Networks" (arXiv 1905.12265).
"""

from typing import TYPE_CHECKING, Literal

from ssl4rl_core import Choice, Draft, Field, GraphParams, NodeItem, Skip, Task, hookimpl
from ssl4rl_core.graphs import draw, draw_second_ring, draw_stars, graph_view, letters, write_graph

if TYPE_CHECKING:
    import numpy as np

    from ssl4rl_core import View
    from ssl4rl_core.graph_store import GraphView

GROUPS = 6


class AttributeMaskParams(GraphParams):
    candidates: int = Field(default=4, ge=2, le=12, description="texts to choose among")
    distractors: Literal["anywhere", "similar"] = Field(
        default="anywhere", description="wrong texts: any, or of like content"
    )
    second_ring: int = Field(
        default=0, ge=0, le=8, description="edges shown at most of each neighbour, beyond the node's own"
    )
    answer: Literal["letter", "text"] = Field(
        default="letter", description="what to answer with; text suits texts of a word or two"
    )


class AttributeMask(Task[NodeItem, AttributeMaskParams]):
    """Which text is the node's, whose neighbourhood is shown?"""

    name, version = "attribute-mask", 1
    uses_view = True
    levels = {
        "easy": AttributeMaskParams(),
        "medium": AttributeMaskParams(candidates=6, second_ring=1),
        "hard": AttributeMaskParams(candidates=6, distractors="similar", second_ring=1),
        "paper": AttributeMaskParams(form="prose", second_ring=2),
    }
    prompt = (
        "This is the neighbourhood of node X in a graph; the text of X is hidden.\n{graph}\n\n"
        "One of these texts is that of X:\n{texts}\n\nWhich one?"
    )

    def transform(self, item: NodeItem, params: AttributeMaskParams, rng: "np.random.Generator", view: "View") -> Draft:
        graph = graph_view(view)
        if not graph.has_text(item.node):
            raise Skip("the node has no text")
        choose = _any_nodes if params.distractors == "anywhere" else _like_nodes
        nodes = [item.node, *choose(graph, item.node, params.candidates - 1, rng)]
        nodes = [nodes[place] for place in rng.permutation(len(nodes))]
        lines = graph.describe(nodes, params.text_chars, rng)
        if len(set(lines)) < len(lines):
            raise Skip("texts to choose among look alike")
        # Nor a neighbour with a text that is offered: it would tell the right one, or rule a wrong one out.
        offered = graph.graph.with_copies(nodes)
        stars = draw_stars(graph, [[item.node]], params.neighbours, rng, without=offered)
        if not any(graph.has_text(arc.other) for arc in stars[item.node]):
            raise Skip("no neighbour with a text")
        if params.second_ring:
            stars |= draw_second_ring(graph, stars[item.node], params.second_ring, rng, without=offered)
        asked = nodes.index(item.node)
        shown = {"graph": write_graph(graph, stars, {item.node: "X"}, params, rng)}
        if params.answer == "text":
            return Draft(answer=_choice(lines[asked], lines), fields={**shown, "texts": ", ".join(lines)})
        names = letters(len(nodes))
        listed = "\n".join(f'{name}: "{line}"' for name, line in zip(names, lines, strict=True))
        return Draft(answer=Choice(names[asked], options=names), fields={**shown, "texts": listed})

    def chance(self, params: AttributeMaskParams) -> float:
        return 1 / params.candidates


def _choice(line: str, lines: list[str]) -> Choice:
    try:
        return Choice(line, options=lines)
    except ValueError:  # they differ in case or marks alone
        raise Skip("texts to choose among look alike") from None


# Wrong texts are of the split's own nodes: a text seen in training would otherwise be known to be wrong in the test.
def _any_nodes(view: "GraphView", node: int, count: int, rng: "np.random.Generator") -> list[int]:
    own = view.own_nodes
    content, seen = view.graph.attributes.content, {view.graph.attributes.content(node)}

    def is_new(other: int) -> bool:
        new = content(other) not in seen
        seen.add(content(other))
        return new

    return draw(count, lambda: int(own[rng.integers(len(own))]), is_new, taken=[node])


def _like_nodes(view: "GraphView", node: int, count: int, rng: "np.random.Generator") -> list[int]:
    """The others of the asked node's group, when it and a random pool are divided into groups of like nodes.

    The nodes most like the asked one would not do: it would stand in their middle, and be told by that. Of a group that
    is made without regard to which node is asked, each is equally likely to be it.
    """
    size = count + 1
    groups = max(1, min(GROUPS, len(view.own_nodes) // (2 * size)))
    pool = [node, *_any_nodes(view, node, groups * size - 1, rng)]
    pool = [pool[place] for place in rng.permutation(len(pool))]
    while True:
        likeness = view.graph.attributes.likeness(pool[0], pool[1:])
        chosen = {0, *(1 + (-likeness).argsort(kind="stable")[:count]).tolist()}
        group = [other for place, other in enumerate(pool) if place in chosen]
        if node in group:
            break
        pool = [other for place, other in enumerate(pool) if place not in chosen]
    return [other for other in group if other != node]


@hookimpl
def ssl4rl_tasks() -> list[type[Task]]:
    return [AttributeMask]
