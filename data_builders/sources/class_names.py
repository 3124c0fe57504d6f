"""Names of the node classes of benchmarks whose files only number them, in the order of the numbers.

Cora and Citeseer are numbered in the files of Z. Yang et al., "Revisiting Semi-Supervised Learning with Graph
Embeddings" (arXiv 1603.08861), and named in P. Sen et al., "Collective Classification in Network Data" (AI Magazine,
2008). No two classes of either are equally large, so the sizes published there say which number is which (of
Citeseer's 264 papers of class 0, 15 have no words and are not among those published). PubMed's names are those of
G. Namata et al., "Query-driven Active Surveying for Collective Classification" (2012); WikiCS's those of the
`metadata.json` that comes with P. Mernyei and C. Cangea, "Wiki-CS" (arXiv 2007.02901).
"""

CLASSES: dict[str, tuple[str, ...]] = {
    "planetoid/cora": (
        "Theory",
        "Reinforcement Learning",
        "Genetic Algorithms",
        "Neural Networks",
        "Probabilistic Methods",
        "Case Based",
        "Rule Learning",
    ),
    "planetoid/citeseer": (
        "Artificial Intelligence",
        "Machine Learning",
        "Information Retrieval",
        "Databases",
        "Agents",
        "Human-Computer Interaction",
    ),
    "planetoid/pubmed": ("Diabetes Mellitus, Experimental", "Diabetes Mellitus Type 1", "Diabetes Mellitus Type 2"),
    "wikics": (
        "Computational linguistics",
        "Databases",
        "Operating systems",
        "Computer architecture",
        "Computer security",
        "Internet protocols",
        "Computer file systems",
        "Distributed computing architecture",
        "Web technology",
        "Programming language topics",
    ),
}
"""By what follows `pyg:`, in lower case."""
