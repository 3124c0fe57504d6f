"""Node classification: asked of public test nodes alone, right, with an honest chance, and never trained on."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from ssl4rl_task_node_classification import NodeClassification

from data_builders.sources.graph_source import GraphSource, texts_of
from data_builders.sources.networkx_graphs import NetworkX
from data_builders.sources.pyg import PyG
from ssl4rl_core import Sample, Skip, Splitter, parse_config, registry, render
from ssl4rl_core.graph_store import Graph, Labels
from ssl4rl_core.node_attributes import Strings
from ssl4rl_core.samples import Split
from ssl4rl_core.testing import conformance
from ssl4rl_core.testing.graph_questions import read_question

test_conformance = conformance(NodeClassification)

SHARED = Path(__file__).parents[3] / ".." / "shared" / "data"
LEVELS = ["easy", "medium", "hard"]
NAMES = [f"n{n}" for n in range(120)]
CLASSES = ("Birds", "Fish", "Stones")


def source(classes: tuple[str, ...] = CLASSES, labelled: bool = True, split: bool = True) -> GraphSource:
    """A ring of nodes of three classes, half of them in the first; every third node is a public test node."""
    of = np.array([0 if n % 2 else 1 + n // 2 % 2 for n in range(120)], dtype=np.int32)
    asked = np.array([n % 3 == 0 or not split for n in range(120)])
    # Node 1 has the text of node 0, which is a test node: it is held out with it, and not asked about.
    texts = {name: f"a thing called {max(n, 2) if n != 1 else 2}" for n, name in enumerate(NAMES)}
    texts["n0"] = texts["n1"]
    edges = np.array([(n, (n + step) % 120, 0) for n in range(120) for step in (1, 2)])
    labels = Labels(classes, of, asked) if labelled else None
    graph = Graph(Strings(NAMES), edges, texts_of(NAMES, texts), directed=False, labels=labels)
    return NetworkX(graph, "memory:ring")


def samples(level: str, graph: GraphSource, split: Split = "test") -> tuple[list[Sample], Counter[str]]:
    """The samples of a split, and what was skipped there by reason."""
    config, view = parse_config(f"node-classification:{level}", registry()), graph.view("node", split, Splitter())
    made, skipped = [], Counter()
    for position in range(len(graph.graph)):
        entry = graph.index("node")[position]
        if Splitter()(entry) == split:
            try:
                made.append(render(config, graph.load("node", entry), view))
            except Skip as skip:
                skipped[str(skip)] += 1
    return made, skipped


@pytest.mark.parametrize("level", LEVELS)
def test_every_public_test_node_is_asked_and_the_answer_is_its_class(level: str):
    ring = source()
    made, skipped = samples(level, ring)
    assert {sample.record.item for sample in made} == {f"n{n}" for n in range(0, 120, 3)}
    assert skipped == {"not a test node of the public split": 2}
    orders = set()
    for sample in made:
        record = sample.record
        number = int(record.item[1:])
        assert record.answer_text == ("Birds" if number % 2 else ("Fish", "Stones")[number // 2 % 2])
        listed = record.question.split("of these classes:\n")[1].split("\n\n")[0].split("\n")
        assert sorted(listed) == sorted(CLASSES)
        orders.add(tuple(listed))
        assert len(read_question(record.question).edges) == {"easy": 4, "medium": 4, "hard": 0}[level]
    assert len(orders) == 6


def test_no_class_is_shown_beside_the_list():
    for sample in samples("easy", source())[0]:
        assert all(sample.record.question.count(name) == 1 for name in CLASSES)


def test_chance_is_what_the_most_frequent_class_earns():
    made, _ = samples("medium", source())
    assert made[0].record.chance == 0.5
    assert Counter(sample.record.answer_text for sample in made).most_common(1) == [("Birds", 20)]
    assert len(made) == 40
    assert NodeClassification().chance(NodeClassification.levels["easy"]) is None


def test_training_neither_asks_nor_shows_a_public_test_node():
    ring = source()
    assert samples("easy", ring, "train") == ([], {"labels are for evaluation alone": 78})
    view = ring.view("node", "train", Splitter())
    assert [node for node in range(120) if not view.has_text(node)] == [0, 1, 2, *range(3, 120, 3)]


def test_without_a_split_of_its_own_the_data_is_split_by_hash():
    ring = source(split=False)
    made, skipped = samples("easy", ring)
    assert 0 < len(made) < 40
    assert not skipped


@pytest.mark.parametrize(
    ("made", "reason"),
    [(source(labelled=False), "the source has no classes of nodes"), (source(classes=()), "give them by classes=FILE")],
)
def test_data_without_classes_or_their_names_is_skipped(made: GraphSource, reason: str):
    found, skipped = samples("easy", made)
    assert not found
    assert all(reason in skip for skip in skipped)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the outside data ../shared/data is absent")
@pytest.mark.parametrize(("name", "chance"), [("Cora", 0.319), ("Citeseer", 0.231)])
def test_planetoid_has_its_thousand_test_nodes(name: str, chance: float, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("SSL4RL_CACHE", str(tmp_path))
    made, _ = samples("medium", PyG.open(f"Planetoid/{name}", root=str(SHARED / "planetoid")))
    assert len(made) == 1000
    assert made[0].record.chance == pytest.approx(chance)
    assert Counter(sample.record.answer_text for sample in made).most_common(1)[0][1] == round(1000 * chance)
