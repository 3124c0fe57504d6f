"""Neighbor: which of several nodes are neighbours of a node, when the edges that say so are hidden?

The graph task of arXiv 2510.16416 that asks for neighbours. Wrong candidates are drawn like a hidden neighbour in
degree, and all candidates show equally many edges.
"""

from typing import TYPE_CHECKING, Self

from pydantic import model_validator

from ssl4rl_core import Choice, Draft, Field, GraphParams, NodeItem, Skip, Subset, Task, hookimpl
from ssl4rl_core.graphs import describe_asked, draw, draw_stars, graph_view, letters, list_nodes, write_graph

if TYPE_CHECKING:
    import numpy as np

    from ssl4rl_core import View

ONE = "Exactly one of the nodes {listed} is joined to X by an edge that is hidden. Which one?"
SEVERAL = "Some of the nodes {listed} are joined to X by edges that are hidden. Which ones?"


class NeighborParams(GraphParams):
    candidates: int = Field(default=4, ge=2, le=12, description="nodes to choose among")
    hidden: int = Field(
        default=1, ge=1, le=11, description="how many of them are neighbours; more than one gives part credit"
    )

    @model_validator(mode="after")
    def _has_wrong_candidates(self) -> Self:
        if self.hidden >= self.candidates:
            raise ValueError(f"hidden must be less than candidates, got {self.hidden} and {self.candidates}")
        return self


class Neighbor(Task[NodeItem, NeighborParams]):
    """Which candidates are hidden neighbours?"""

    name, version = "neighbor", 1
    uses_view = True
    levels = {
        "easy": NeighborParams(),
        "medium": NeighborParams(candidates=8),
        "hard": NeighborParams(candidates=6, hidden=2),
        "paper": NeighborParams(form="prose"),
    }

    def prompt(self, params: NeighborParams) -> str:
        question = ONE if params.hidden == 1 else SEVERAL
        return "This is a part of a graph.\n{graph}\n\n{nodes}" + question

    def transform(self, item: NodeItem, params: NeighborParams, rng: "np.random.Generator", view: "View") -> Draft:
        graph = graph_view(view)
        # Each neighbour once, however many edges lead there.
        others = [
            n for n in dict.fromkeys(graph.arcs(item.node)[0].tolist()) if not graph.any_text or graph.has_text(n)
        ]
        if len(others) < params.hidden:
            raise Skip("fewer neighbours than are to be hidden")
        hidden = [others[place] for place in rng.permutation(len(others))[: params.hidden]]
        wrong = draw(
            params.candidates - params.hidden,
            lambda: graph.of_like_degree(hidden[int(rng.integers(len(hidden)))], rng),
            lambda node: not graph.graph.joined(item.node, node) and (not graph.any_text or graph.has_text(node)),
            taken=[item.node],
        )
        nodes = [(hidden + wrong)[place] for place in rng.permutation(params.candidates)]
        listed = letters(len(nodes))
        names = {item.node: "X", **dict(zip(nodes, listed, strict=True))}
        stars = draw_stars(graph, [[item.node], nodes], params.neighbours, rng)
        lines = describe_asked(graph, list(names), params.text_chars, rng)
        right = [names[node] for node in hidden]
        return Draft(
            answer=Choice(right[0], listed) if params.hidden == 1 else Subset(right, listed),
            fields={
                "graph": write_graph(graph, stars, names, params, rng),
                "nodes": list_nodes(names, lines),
                "listed": ", ".join(listed),
            },
        )

    def chance(self, params: NeighborParams) -> float:
        if params.hidden == 1:
            return 1 / params.candidates
        listed = letters(params.candidates)
        return Subset(listed[: params.hidden], listed).chance()


@hookimpl
def ssl4rl_tasks() -> list[type[Task]]:
    return [Neighbor]
