"""Link: the answer is what the graph says, the asked edge is never shown, and nothing that can be counted tells it."""

import math
from collections import Counter

import numpy as np
import pytest
from pydantic import ValidationError
from ssl4rl_task_link import Link, LinkParams, even_options, even_weights

from data_builders.sources.graph_source import texts_of
from data_builders.sources.networkx_graphs import NetworkX
from ssl4rl_core import Sample, Skip, Splitter, parse_config, registry, render
from ssl4rl_core.graph_store import Graph
from ssl4rl_core.node_attributes import Strings
from ssl4rl_core.samples import Split
from ssl4rl_core.testing import conformance
from ssl4rl_core.testing.graph_questions import read_question

test_conformance = conformance(Link)

LEVELS = ["easy", "medium", "hard", "paper"]
RELATIONS = ("likes", "knows", "owns", "sees", "hears")


def communities(relations: tuple[str, ...] = RELATIONS, directed: bool = True, texts: bool = True) -> NetworkX:
    """Four communities of 25 nodes; each pair of kinds has its relations, frequent ones and rare ones."""
    rng = np.random.default_rng(0)
    edges = [
        (a, b, min(int(rng.geometric(0.5)) - 1, len(relations) - 1))
        for a in range(100)
        for b in range(100)
        if a != b and rng.random() < (0.3 if a % 4 == b % 4 else 0.01)
    ]
    names = [f"n{n}" for n in range(100)]
    lines = {name: f"a node of kind {n % 4} called {n}" for n, name in enumerate(names)} if texts else {}
    graph = Graph(Strings(names), np.array(edges), texts_of(names, lines), directed=directed, relations=relations)
    return NetworkX(graph, "memory:communities")


KNOWLEDGE, PLAIN = communities(), communities(("",), directed=False)
NODES = {f"a node of kind {n % 4} called {n}": n for n in range(100)}


def samples(spec: str, source: NetworkX = KNOWLEDGE, split: Split = "train", count: int = 10**6) -> list[Sample]:
    config, view = parse_config(f"link:{spec}", registry()), source.view("edge", split, Splitter())
    index, made = source.index("edge"), []
    for position in range(len(index)):
        if Splitter()(index[position]) == split and len(made) < count:
            try:
                made.append(render(config, source.load("edge", index[position]), view))
            except Skip:
                continue
    return made


@pytest.mark.parametrize("source", [KNOWLEDGE, PLAIN], ids=["directed", "undirected"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_whether_there_is_an_edge(source: NetworkX, split: Split):
    answers = Counter()
    for sample in samples("easy", source, split):
        texts = read_question(sample.record.question).texts
        joined = source.graph.joined(NODES[texts["X"]], NODES[texts["Y"]])
        assert sample.record.answer_text == ("yes" if joined else "no")
        answers[sample.record.answer_text] += 1
    assert abs(answers["yes"] / answers.total() - 0.5) < 2 / math.sqrt(answers.total())


@pytest.mark.parametrize("level", ["medium", "hard", "hard?distractors=degree&options=3"])
@pytest.mark.parametrize("source", [PLAIN, KNOWLEDGE], ids=["undirected", "directed"])
def test_which_tail_completes_the_edge(source: NetworkX, level: str):
    if source is KNOWLEDGE and level == "medium":
        level = "medium?mode=tail"
    made = samples(level, source, count=200)
    for sample in made:
        texts = read_question(sample.record.question).texts
        asked = NODES[texts["X"]]
        joined = {
            name for name, text in texts.items() if name in "ABCDEFGH" and source.graph.joined(asked, NODES[text])
        }
        assert joined == {sample.record.answer_text}
        ends = {f"n{asked}", f"n{NODES[texts[sample.record.answer_text]]}"}
        assert ends == set(sample.record.item.strip("[]").replace('"', "").split(",")) - set(RELATIONS)
    assert len(made) == 200


def test_which_relation_holds():
    made = samples("medium")
    for sample in made:
        head, relation, tail = sample.record.item.strip("[]").replace('"', "").split(",")
        shown = read_question(sample.record.question)
        assert [NODES[shown.texts[name]] for name in "XY"] == [int(head[1:]), int(tail[1:])]
        options = dict(line.split(": ") for line in sample.record.question.split("\n")[-4:])
        assert options[sample.record.answer_text] == relation
        assert len(set(options.values())) == 4
    assert len(made) > 100


def test_no_relation_is_right_more_often_than_it_is_offered():
    offered, right = Counter(), Counter()
    for sample in samples("medium"):
        options = dict(line.split(": ") for line in sample.record.question.split("\n")[-4:])
        offered.update(options.values())
        right[options[sample.record.answer_text]] += 1
    assert set(offered) == set(RELATIONS)
    for relation in RELATIONS:
        share, error = right[relation] / offered[relation], math.sqrt(0.19 / offered[relation])
        assert abs(share - 0.25) < 4 * error, relation


def test_even_options_are_even_for_any_frequencies():
    rng = np.random.default_rng(0)
    counts = np.array([500, 200, 100, 50, 20, 5, 1, 0])
    weights = even_weights(counts, 3)
    assert weights.max() == pytest.approx(weights.sum() / 3)
    assert (weights <= counts).all()
    offered, right = Counter(), Counter()
    for asked in rng.choice(len(counts), size=6000, p=weights / weights.sum()):
        options = even_options(weights, int(asked), 3, rng)
        assert len(set(options)) == 3
        offered.update(options)
        right[int(asked)] += 1
    for relation in range(6):
        assert abs(right[relation] / offered[relation] - 1 / 3) < 4 * math.sqrt(0.23 / offered[relation])
    with pytest.raises(Skip, match="fewer relations"):
        even_weights(counts, 8)


@pytest.mark.parametrize("level", [*LEVELS, "easy?form=adjacency"])
@pytest.mark.parametrize("source", [KNOWLEDGE, PLAIN], ids=["directed", "undirected"])
def test_no_asked_edge_is_shown_and_candidates_have_one_degree(source: NetworkX, level: str):
    for sample in samples(level, source, count=300):
        shown = read_question(sample.record.question)
        degrees = shown.degrees()
        assert shown.edges
        assert not any(edge.first.isalpha() and edge.second.isalpha() for edge in shown.edges)
        assert len({degrees[name] for name in shown.texts if name in "ABCDEFGH"}) <= 1


def test_degrees_and_length_are_those_of_yes_whether_the_answer_is_yes_or_no():
    # A ring with spokes: nodes of degree 1 to 12, where removing the asked edge would show.
    edges = [(n, (n + 1) % 60, 0) for n in range(60)] + [
        (n, m, 0) for n in range(0, 60, 10) for m in range(n + 2, n + 9)
    ]
    names = [f"n{n}" for n in range(60)]
    graph = Graph(Strings(names), np.array(edges), texts_of(names, {}), directed=False)
    source, config = NetworkX(graph, "memory:ring"), parse_config("link:easy", registry())
    view, index = source.view("edge", "test", Splitter()), source.index("edge")
    sums = {"yes": [], "no": []}
    for position in range(len(index)):
        for variant in range(40):
            try:
                record = render(config, source.load("edge", index[position]), view, variant=variant).record
            except Skip:
                continue
            degrees = read_question(record.question).degrees()
            sums[record.answer_text].append((degrees["X"] + degrees["Y"], len(record.question)))
    yes, no = (np.array(sums[answer], dtype=float) for answer in ("yes", "no"))
    spread = np.sqrt(yes.var(axis=0) / len(yes) + no.var(axis=0) / len(no))
    assert min(len(yes), len(no)) > 1000
    assert (np.abs(yes.mean(axis=0) - no.mean(axis=0)) < 4 * spread + 1e-9).all()


def test_training_asks_about_no_pair_that_a_held_out_edge_joins():
    index, held = KNOWLEDGE.index("edge"), set()
    for position in range(len(index)):
        if Splitter()(index[position]) == "test":
            held.add(index[position].group)
    trained = {sample.record.group for sample in samples("easy")}
    assert held
    assert not held & trained


def test_a_knowledge_graph_of_few_relations_is_asked_for_tails():
    made = samples("medium", communities(("likes", "knows")), count=5)
    assert all("question mark" in sample.record.question for sample in made)
    assert samples("medium?mode=relation", communities(("likes", "knows"))) == []


def test_a_sample_is_a_function_of_its_item_alone():
    assert [s.record for s in samples("hard", count=20)] == [s.record for s in samples("hard", communities(), count=20)]


def test_a_self_loop_is_skipped():
    graph = Graph(Strings(["a", "b"]), np.array([(0, 0, 0), (0, 1, 0)]), texts_of(["a", "b"], {}), directed=False)
    source = NetworkX(graph, "memory:loop")
    view, config = source.view("edge", "test", Splitter()), parse_config("link:easy", registry())
    for position, reason in enumerate(["self-loop", "too few other nodes"]):
        with pytest.raises(Skip, match=reason):
            render(config, source.load("edge", source.index("edge")[position]), view)


@pytest.mark.parametrize("wrong", [{"mode": "head"}, {"options": 1}, {"distractors": "any"}, {"neighbours": -1}])
def test_params_that_cannot_be_are_refused(wrong: dict):
    with pytest.raises(ValidationError):
        LinkParams(**wrong)
