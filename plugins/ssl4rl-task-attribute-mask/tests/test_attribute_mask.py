"""Attribute mask: the right text is the node's, the wrong ones are not, and none of them is shown elsewhere."""

import math
from collections import defaultdict

import numpy as np
import pytest
from pydantic import ValidationError
from ssl4rl_task_attribute_mask import AttributeMask, AttributeMaskParams

from data_builders.sources.graph_source import texts_of
from data_builders.sources.networkx_graphs import NetworkX
from ssl4rl_core import Choice, Sample, Skip, Splitter, parse_config, registry, render
from ssl4rl_core.answers import load_answer
from ssl4rl_core.graph_store import Graph
from ssl4rl_core.node_attributes import Attributes, Bags, Numbers, Strings
from ssl4rl_core.samples import Split
from ssl4rl_core.testing import conformance
from ssl4rl_core.testing.graph_questions import read_question

test_conformance = conformance(AttributeMask)

LEVELS = ["easy", "medium", "hard", "paper"]
NAMES = [f"n{n}" for n in range(200)]
COLOURS = ("red", "green", "blue", "grey")
EDGES = np.array([(n, (n + 4 * step) % 200, 0) for n in range(200) for step in (1, 2, 5)])


def communities(attributes: Attributes | None = None) -> NetworkX:
    """Four rings of 50 nodes, whose texts share the words of their ring."""
    texts = {name: f"{COLOURS[n % 4]} thing {n // 4 % 7} {n}" for n, name in enumerate(NAMES)}
    graph = Graph(Strings(NAMES), EDGES, attributes or texts_of(NAMES, texts), directed=False)
    return NetworkX(graph, "memory:communities")


SOURCE = communities()


def samples(spec: str, source: NetworkX = SOURCE, split: Split = "train", variants: int = 1) -> list[Sample]:
    config, view = parse_config(f"attribute-mask:{spec}", registry()), source.view("node", split, Splitter())
    index, made = source.index("node"), []
    for position in range(len(index)):
        for variant in range(variants):
            if Splitter()(index[position]) == split:
                try:
                    made.append(render(config, source.load("node", index[position]), view, variant=variant))
                except Skip:
                    continue
    return made


def offered(sample: Sample) -> dict[str, str]:
    texts = read_question(sample.record.question).texts
    return {name: text for name, text in texts.items() if name in "ABCDEF"}


@pytest.mark.parametrize("level", LEVELS)
def test_no_offered_text_stands_in_the_neighbourhood_where_neighbours_share_texts(level: str):
    texts = {name: f"{COLOURS[n % 4]} thing {n // 8 % 50}" for n, name in enumerate(NAMES)}
    source = NetworkX(Graph(Strings(NAMES), EDGES, texts_of(NAMES, texts), directed=False), "memory:copies")
    made = samples(level, source)
    assert len(made) > 8
    for sample in made:
        for text in offered(sample).values():
            assert sample.record.question.count(f'"{text}"') == 1


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("split", ["train", "test"])
def test_the_right_text_is_the_nodes_and_wrong_ones_are_of_its_split(level: str, split: Split):
    made = samples(level, split=split)
    assert len(made) > 8
    for sample in made:
        texts = offered(sample)
        assert texts[sample.record.answer_text].split()[-1] == sample.record.item[1:]
        assert len(texts) == AttributeMask.levels[level].candidates
        for text in texts.values():
            entry = SOURCE.index("node")[int(text.split()[-1])]
            assert Splitter()(entry) == split


@pytest.mark.parametrize("level", LEVELS)
def test_no_offered_text_is_shown_in_the_neighbourhood(level: str):
    for sample in samples(level):
        texts = read_question(sample.record.question).texts
        inline = {text for name, text in texts.items() if name.isdecimal()}
        assert inline
        assert not inline & set(offered(sample).values())


def test_the_text_itself_may_be_the_answer():
    graph = Graph(
        Strings(NAMES), EDGES, texts_of(NAMES, {n: COLOURS[i % 4] for i, n in enumerate(NAMES)}), directed=False
    )
    made = samples("easy?answer=text", NetworkX(graph, "memory:colours"))
    assert len(made) > 100
    places = set()
    for sample in made:
        answer = load_answer(sample.record.answer)
        assert isinstance(answer, Choice)
        assert answer.text() == COLOURS[int(sample.record.item[1:]) % 4]
        assert sorted(answer.options) == sorted(COLOURS)
        assert answer.hint() == "one of " + ", ".join(answer.options)
        assert answer.score_text(answer.text().upper()) == 1
        assert answer.score_text("A") == answer.score_text(", ".join(COLOURS)) == 0
        places.add(answer.options.index(answer.text()))
    assert places == {0, 1, 2, 3}


def test_texts_that_differ_in_marks_alone_cannot_be_answered_with():
    alike = {n: ("red", "red!", "Red", "blue")[i % 4] for i, n in enumerate(NAMES)}
    graph = Graph(Strings(NAMES), EDGES, texts_of(NAMES, alike), directed=False)
    assert samples("easy?answer=letter", NetworkX(graph, "memory:alike"))
    assert not samples("easy?answer=text", NetworkX(graph, "memory:alike"))


def test_training_shows_no_held_out_text():
    held = {str(n) for n in range(200) if Splitter()(SOURCE.index("node")[n]) == "test"}
    shown = {text.split()[-1] for s in samples("medium") for text in read_question(s.record.question).texts.values()}
    assert len(held) > 8
    assert not held & shown


def test_the_neighbourhood_is_of_the_asked_node():
    for sample in samples("easy"):
        shown, asked = read_question(sample.record.question), int(sample.record.item[1:])
        around = {text for name, text in shown.texts.items() if name.isdecimal()}
        assert all(SOURCE.graph.joined(asked, int(text.split()[-1])) for text in around)
        assert all("X" in (edge.first, edge.second) for edge in shown.edges)
    assert any(
        "X" not in (edge.first, edge.second)
        for sample in samples("medium")
        for edge in read_question(sample.record.question).edges
    )


def test_similar_texts_are_more_alike_and_the_right_one_is_not_in_their_middle():
    def alike(text: str, other: str) -> float:
        return len(set(text.split()) & set(other.split()) - {"thing"})

    spread, middle = defaultdict(float), defaultdict(float)
    for level in ("medium", "hard"):
        for sample in samples(level, variants=4):
            texts = offered(sample)
            likeness = {n: sum(alike(text, other) for o, other in texts.items() if o != n) for n, text in texts.items()}
            spread[level] += sum(likeness.values())
            best = [name for name, value in likeness.items() if value == max(likeness.values())]
            middle[level] += (sample.record.answer_text in best) / len(best)
            middle[level + " n"] += 1
    assert spread["hard"] > 2 * spread["medium"]
    for level in ("medium", "hard"):
        n = middle[level + " n"]
        assert middle[level] / n < 1 / 6 + 4 * math.sqrt(0.14 / n)


def test_bags_and_numbers_are_attributes_too():
    rng = np.random.default_rng(0)
    words = np.sort(rng.integers(0, 500, (200, 12)), axis=1)
    bags = communities(Bags(np.arange(0, 2401, 12), words.reshape(-1)))
    for sample in samples("hard", bags):
        assert all(text.startswith("features ") for text in offered(sample).values())
        assert len({len(text.split()) for text in offered(sample).values()}) == 1
    numbers = communities(Numbers(rng.normal(size=(200, 8)).astype(np.float32)))
    assert len(samples("hard", numbers)) > 100


@pytest.mark.parametrize(
    ("texts", "edges", "reason"),
    [
        ({}, [(0, 1, 0)], "the node has no text"),
        ({name: name for name in NAMES}, [(1, 2, 0)], "no neighbour with a text"),
        ({"n0": "only one"}, [(0, 1, 0)], "too few other nodes"),
        ({name: ("one", "two")[n % 2] for n, name in enumerate(NAMES)}, EDGES, "too few other nodes"),
        ({n: f"{'the same start of it ' * 20}{n}" for n in NAMES}, EDGES, "look alike"),
    ],
)
def test_nodes_that_cannot_be_asked_about_are_skipped(texts: dict, edges: list, reason: str):
    source = NetworkX(Graph(Strings(NAMES), np.array(edges), texts_of(NAMES, texts), directed=False), "memory:small")
    item = source.load("node", source.index("node")[0])
    with pytest.raises(Skip, match=reason):
        render(parse_config("attribute-mask:easy", registry()), item, source.view("node", "train", Splitter(0)))


@pytest.mark.parametrize("wrong", [{"candidates": 1}, {"distractors": "near"}, {"second_ring": -1}, {"text_chars": 0}])
def test_params_that_cannot_be_are_refused(wrong: dict):
    with pytest.raises(ValidationError):
        AttributeMaskParams(**wrong)
