"""Node classification: of which class is a node, told by its text and its neighbourhood?

A downstream task, with labels for answers: it evaluates what other tasks have trained and is never a reward. Asked are
the test nodes of the public split: for Cora and Citeseer that of Z. Yang et al., "Revisiting Semi-Supervised Learning
with Graph Embeddings" (arXiv 1603.08861), for WikiCS that of P. Mernyei and C. Cangea (arXiv 2007.02901).
"""

from typing import TYPE_CHECKING

from ssl4rl_core import Choice, Draft, GraphParams, NodeItem, Skip, Task, hookimpl
from ssl4rl_core.graphs import describe_asked, draw_stars, graph_view, list_nodes, write_graph

if TYPE_CHECKING:
    import numpy as np

    from ssl4rl_core import View
    from ssl4rl_core.graph_store import Labels


class NodeClassification(Task[NodeItem, GraphParams]):
    """Of which class is the node? (an evaluation, never a reward)"""

    name, version = "node-classification", 1
    uses_view = True
    reward = False
    levels = {
        "easy": GraphParams(neighbours=12),
        "medium": GraphParams(),
        "hard": GraphParams(neighbours=0),
    }
    prompt = (
        "This is a part of a graph.\n{graph}\n\n{nodes}"
        "Every node is of one of these classes:\n{classes}\n\nOf which class is X?"
    )

    def transform(self, item: NodeItem, params: GraphParams, rng: "np.random.Generator", view: "View") -> Draft:
        graph = graph_view(view)
        if view.split == "train":
            raise Skip("labels are for evaluation alone")
        labels = _labels(graph.graph.labels)
        if not labels.asked[item.node]:
            raise Skip("not a test node of the public split")
        if labels.of[item.node] < 0:
            raise Skip("the node has no class")
        classes = [labels.classes[place] for place in rng.permutation(len(labels.classes))]
        lines = describe_asked(graph, [item.node], params.text_chars, rng)
        stars = draw_stars(graph, [[item.node]], params.neighbours, rng)
        shown = {
            "graph": write_graph(graph, stars, {item.node: "X"}, params, rng),
            "nodes": list_nodes({item.node: "X"}, lines),
            "classes": "\n".join(classes),
        }
        return Draft(Choice(labels.classes[labels.of[item.node]], classes), fields=shown, chance=_majority(labels))

    def chance(self, params: GraphParams) -> None:
        """What always naming the most frequent class earns, which the data decides."""


def _labels(labels: "Labels | None") -> "Labels":
    if labels is None:
        raise Skip("the source has no classes of nodes")
    if len(labels.classes) < 2:
        raise Skip("the classes have no names: give them by classes=FILE")
    return labels


def _majority(labels: "Labels") -> float:
    """The share of the most frequent class among the nodes that are asked about."""
    import numpy as np

    asked = labels.of[labels.asked & (labels.of >= 0)]
    return float(np.bincount(asked).max() / len(asked))


@hookimpl
def ssl4rl_tasks() -> list[type[Task]]:
    return [NodeClassification]
