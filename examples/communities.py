"""Write a graph of communities to a GraphML file: a node's text is its community's topic, and most edges stay inside.

python examples/communities.py --out runs/demo-data/communities.graphml
"""

from pathlib import Path
from typing import Annotated

import networkx as nx
import typer

TOPICS = ("birds", "ships", "music", "metal", "weather", "bread", "chess", "maps")


def main(
    out: Annotated[Path, typer.Option(metavar="FILE", help="GraphML file to write.")],
    communities: Annotated[int, typer.Option(min=2, max=len(TOPICS), help="How many, each with a topic.")] = 4,
    size: Annotated[int, typer.Option(min=2, help="Nodes of each.")] = 200,
    inside: Annotated[float, typer.Option(help="Edges a node has inside its community, in the mean.")] = 6.0,
    outside: Annotated[float, typer.Option(help="Edges a node has to all others together, in the mean.")] = 0.6,
    seed: Annotated[int, typer.Option(help="Of the edges.")] = 0,
) -> None:
    # The planted partition model of A. Condon and R. M. Karp, "Algorithms for graph partitioning on the planted
    # partition model" (1999).
    others = size * (communities - 1)
    drawn = nx.planted_partition_graph(communities, size, inside / (size - 1), outside / others, seed=seed)
    graph = nx.Graph()
    graph.add_nodes_from((node, {"text": TOPICS[node // size]}) for node in sorted(drawn))
    graph.add_edges_from(sorted(drawn.edges))
    out.parent.mkdir(parents=True, exist_ok=True)
    nx.write_graphml(graph, out)


if __name__ == "__main__":
    typer.run(main)
