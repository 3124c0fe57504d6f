"""Neighbor: the right candidates are joined to X, no other is, and nothing shown gives them away."""

import math
from collections import Counter

import numpy as np
import pytest
from pydantic import ValidationError
from ssl4rl_task_neighbor import Neighbor, NeighborParams

from data_builders.sources.graph_source import texts_of
from data_builders.sources.networkx_graphs import NetworkX
from ssl4rl_core import Sample, Skip, Splitter, parse_config, registry, render
from ssl4rl_core.graph_store import Graph
from ssl4rl_core.node_attributes import Strings
from ssl4rl_core.samples import Split
from ssl4rl_core.testing import conformance
from ssl4rl_core.testing.graph_questions import read_question
from ssl4rl_core.testing.guessing import constant_guess, uniform_guess
from ssl4rl_core.testing.memory import synthetic_source

test_conformance = conformance(Neighbor)

LEVELS = ["easy", "medium", "hard", "paper"]


def communities(texts: bool = True, seed: int = 0) -> NetworkX:
    """Four communities of 25 nodes, some hubs among them, and edges in both directions by several relations."""
    rng = np.random.default_rng(seed)
    edges = [
        (a, b, int(rng.integers(2)))
        for a in range(100)
        for b in range(100)
        if a != b and rng.random() < (0.3 if a % 4 == b % 4 else 0.01) * (3 if a < 8 else 1)
    ]
    names = [f"n{n}" for n in range(100)]
    lines = {name: f"a node of kind {n % 4} called {n}" for n, name in enumerate(names)} if texts else {}
    graph = Graph(Strings(names), np.array(edges), texts_of(names, lines), directed=True, relations=("likes", "knows"))
    return NetworkX(graph, "memory:communities")


SOURCE = communities()
NODES = {f"a node of kind {n % 4} called {n}": n for n in range(100)}


def samples(spec: str, source: NetworkX = SOURCE, split: Split = "train", variants: int = 1) -> list[Sample]:
    config, view = parse_config(f"neighbor:{spec}", registry()), source.view("node", split, Splitter())
    index, made = source.index("node"), []
    for position in range(len(index)):
        for variant in range(variants):
            if Splitter()(index[position]) == split:
                try:
                    made.append(render(config, source.load("node", index[position]), view, variant=variant))
                except Skip:
                    continue
    return made


@pytest.mark.parametrize("level", [*LEVELS, "hard?form=adjacency"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_right_candidates_are_neighbours_and_all_others_are_not(level: str, split: Split):
    made = samples(level, split=split)
    assert len(made) > 5
    for sample in made:
        shown = read_question(sample.record.question)
        asked = NODES[shown.texts["X"]]
        right = set(sample.record.answer_text.split(", "))
        listed = {name for name in shown.texts if name.isalpha() and name != "X"}
        assert sample.record.item == f"n{asked}"
        assert {name for name in listed if SOURCE.graph.joined(asked, NODES[shown.texts[name]])} == right
        assert len(listed) == Neighbor.levels[level.partition("?")[0]].candidates


@pytest.mark.parametrize("level", LEVELS)
def test_no_asked_edge_is_shown_and_all_candidates_have_one_degree(level: str):
    shown_edges = 0
    for sample in samples(level, variants=3):
        shown = read_question(sample.record.question)
        degrees = shown.degrees()
        assert not any(edge.first.isalpha() and edge.second.isalpha() for edge in shown.edges)
        assert len({degrees[name] for name in shown.texts if name.isalpha() and name != "X"}) == 1
        shown_edges += len(shown.edges)
    assert shown_edges > 1000


def test_edges_shown_are_edges_of_the_graph():
    for sample in samples("easy"):
        shown = read_question(sample.record.question)
        for edge in shown.edges:
            ends = [shown.texts.get(name) for name in (edge.first, edge.second)]
            if None not in ends:
                assert SOURCE.graph.joined(*(NODES[str(text)] for text in ends))


def test_training_shows_no_held_out_text():
    index = SOURCE.index("node")
    held = {f"a node of kind {n % 4} called {n}" for n in range(100) if Splitter()(index[n]) == "test"}
    shown = {text for s in samples("easy", variants=3) for text in read_question(s.record.question).texts.values()}
    assert len(held) > 4
    assert not held & shown
    assert held & {t for s in samples("easy", split="test") for t in read_question(s.record.question).texts.values()}


def test_without_texts_there_is_only_the_graph():
    made = samples("easy", communities(texts=False))
    assert len(made) > 50
    for sample in made:
        assert '"' not in sample.record.question
        assert "Its nodes" not in sample.record.question


@pytest.mark.parametrize("level", LEVELS)
def test_chance_is_what_guessers_reach(level: str):
    made = samples(level, variants=8)
    chance = made[0].record.chance
    margin = 4 * math.sqrt(0.25 / len(made))
    assert abs(constant_guess(made) - chance) < margin
    assert uniform_guess(made) < chance + margin
    places = Counter(sample.record.answer_text for sample in made)
    assert max(places.values()) / len(made) < 1 / len(places) + margin


@pytest.mark.parametrize(
    ("edges", "reason"),
    [
        ([(0, 1, 0)], "too few other nodes"),
        ([(0, 1, 0), (1, 0, 0), (0, 0, 0)], "too few other nodes"),
        ([(1, 2, 0)], "fewer neighbours"),
        ([(0, n, 0) for n in range(1, 9)], "too few other nodes"),
    ],
)
def test_nodes_that_cannot_be_asked_about_are_skipped(edges: list, reason: str):
    names = [f"n{n}" for n in range(4 if len(edges) < 8 else 9)]
    graph = Graph(Strings(names), np.array(edges), texts_of(names, {}), directed=False)
    source = NetworkX(graph, "memory:small")
    item = source.load("node", source.index("node")[0])
    with pytest.raises(Skip, match=reason):
        render(parse_config("neighbor:easy", registry()), item, source.view("node", "train", Splitter(0)))


@pytest.mark.parametrize("level", LEVELS)
def test_where_people_are_joined_to_events_alone_nobody_is_a_candidate_beside_events(level: str):
    rng = np.random.default_rng(0)
    edges = [(one, 60 + int(other), 0) for one in range(60) for other in rng.choice(60, 4, replace=False)]
    names = [f"n{n}" for n in range(120)]
    lines = {name: f"{'person' if n < 60 else 'event'} {n}" for n, name in enumerate(names)}
    graph = Graph(Strings(names), np.array(edges), texts_of(names, lines), directed=False)
    made = samples(level, NetworkX(graph, "memory:events"))
    assert len(made) > 60
    for sample in made:
        texts = read_question(sample.record.question).texts
        kinds = {texts[name].split()[0] for name in texts if name.isalpha() and name != "X"}
        assert kinds == {"event" if texts["X"].startswith("person") else "person"}


def test_a_source_of_pictures_is_skipped():
    item = SOURCE.load("node", SOURCE.index("node")[0])
    with pytest.raises(Skip, match="not a graph"):
        render(parse_config("neighbor:easy", registry()), item, synthetic_source(2).view("image", "train", Splitter()))


@pytest.mark.parametrize("wrong", [{"candidates": 1}, {"hidden": 4}, {"form": "table"}, {"max_tokens": 0}])
def test_params_that_cannot_be_are_refused(wrong: dict):
    with pytest.raises(ValidationError):
        NeighborParams(**wrong)
