"""Data that is made up, for checks: pictures and a graph that every task can ask about, and odd ones that few can."""

from typing import TYPE_CHECKING

from ssl4rl_core.errors import UsageError
from ssl4rl_core.sources import Source
from ssl4rl_core.testing.memory import MemorySource, synthetic_picture

if TYPE_CHECKING:
    from ssl4rl_core.graph_store import Graph

_SIZES = ((96, 72), (72, 96), (80, 80), (128, 90), (90, 128), (97, 83))
_RELATIONS = ("likes", "knows", "owns", "sees", "hears")

PICTURES = 18
"""So many are made unless more are asked for: what digests are recorded of."""


def generated_source(domain: str, pictures: int = PICTURES) -> Source:
    """The source that a task of this domain is checked on when none is named: the same on every machine.

    For "image" textured pictures of six sizes; for "graph" a directed graph of 96 nodes in four communities, with a
    text a node, five relations, and classes of which every third node's is for evaluation.

    Args:
        pictures: how many there are of them; the first are the same.

    Raises:
        UsageError: nothing can be generated for this domain.
    """
    if domain == "image":
        sizes = [_SIZES[number % len(_SIZES)] for number in range(pictures)]
        return MemorySource({f"picture-{n:02d}": synthetic_picture(n, *size) for n, size in enumerate(sizes)})
    if domain == "graph":
        from data_builders.sources.networkx_graphs import NetworkX

        return NetworkX(_communities(), "memory:communities")
    raise UsageError(f"nothing can be generated for domain {domain!r}: name a source of it")


def odd_source(domain: str) -> Source:
    """Items that most tasks cannot ask about: flat, tiny and narrow pictures; lone nodes, self-loops, few nodes."""
    if domain == "image":
        from PIL import Image

        sizes = ((1, 1), (7, 5), (12, 60), (200, 27), (300, 30), (33, 31), (29, 41))
        flat = {f"flat-{width}x{height}": Image.new("RGB", (width, height), (9, 99, 199)) for width, height in sizes}
        textured = {
            f"textured-{width}x{height}": synthetic_picture(n, width, height) for n, (width, height) in enumerate(sizes)
        }
        return MemorySource({**flat, **textured}, "memory:odd-pictures")
    if domain == "graph":
        import numpy as np

        from data_builders.sources.graph_source import texts_of
        from data_builders.sources.networkx_graphs import NetworkX
        from ssl4rl_core.graph_store import Graph
        from ssl4rl_core.node_attributes import Strings

        names = [f"odd-{n}" for n in range(12)]
        edges = np.array([(0, 0, 0), (0, 1, 0), (1, 0, 0), *((2, n, 0) for n in range(3, 8)), (8, 9, 0)])
        texts = texts_of(names, {"odd-0": "a text", "odd-2": "a text", "odd-3": "another text"})
        return NetworkX(Graph(Strings(names), edges, texts, directed=False), "memory:odd-graph")
    raise UsageError(f"nothing can be generated for domain {domain!r}: name a source of it")


def _communities(count: int = 96) -> "Graph":
    import numpy as np

    from data_builders.sources.graph_source import texts_of
    from ssl4rl_core.graph_store import Graph, Labels
    from ssl4rl_core.node_attributes import Strings

    rng = np.random.Generator(np.random.PCG64(0))
    edges = [
        (head, tail, min(int(rng.geometric(0.5)) - 1, len(_RELATIONS) - 1))
        for head in range(count)
        for tail in range(count)
        if head != tail and rng.random() < (0.3 if head % 4 == tail % 4 else 0.02)
    ]
    names = [f"node-{n:02d}" for n in range(count)]
    colours = ("red", "green", "blue", "grey")
    texts = {name: f"a {colours[n % 4]} thing of kind {n % 7} called {name}" for n, name in enumerate(names)}
    of = np.arange(count, dtype=np.int32) % 4
    labels = Labels(("Birds", "Fish", "Stones", "Trees"), of, np.arange(count) % 3 == 0)
    return Graph(
        Strings(names), np.array(edges), texts_of(names, texts), directed=True, relations=_RELATIONS, labels=labels
    )
