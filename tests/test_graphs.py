"""What is shown of a graph: clean text, even degrees, a budget kept, and nothing of what is held out."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_builders.sources.graph_source import texts_of
from data_builders.sources.networkx_graphs import NetworkX
from ssl4rl_core import GraphParams, Skip, Splitter
from ssl4rl_core.graph_store import Graph, GraphView
from ssl4rl_core.graphs import (
    clean,
    describe_asked,
    draw,
    draw_second_ring,
    draw_stars,
    graph_view,
    letters,
    list_nodes,
    tokens,
    write_graph,
)
from ssl4rl_core.node_attributes import Bags, Numbers, Strings, clip
from ssl4rl_core.samples import Split
from ssl4rl_core.testing.graph_questions import read_question
from ssl4rl_core.testing.memory import synthetic_source

RING = [(n, (n + step) % 30, 0) for n in range(30) for step in (1, 2, 7)]


def source(edges=RING, *, directed=False, relations=("",), texts=True, count=30, split=None) -> NetworkX:
    names = [f"node{n}" for n in range(count)]
    lines = {name: f"text of {name}" for name in names} if texts else {}
    graph = Graph(
        Strings(names), np.array(edges), texts_of(names, lines), directed=directed, relations=relations, split=split
    )
    return NetworkX(graph, "memory:graph")


def view(given: NetworkX, split: Split = "test", fraction=0.3) -> GraphView:
    return given.view("node", split, Splitter(fraction))


@pytest.mark.parametrize(
    ("dirty", "expected"),
    [
        ("two\nlines\r\nand\ttabs\x00\x1b[0m", "two lines and tabs [0m"),
        ("<b>bold</b> &amp; <br/>plain", "bold & plain"),
        ('he said "no"', "he said 'no'"),
        ("<image> {name} <|im_end|>", "{name}"),
        ("a\u2028b\u200bc", "a b c"),
        ("   ", ""),
    ],
)
def test_text_becomes_one_clean_line(dirty: str, expected: str):
    assert clean(dirty) == expected


@given(st.text(), st.integers(1, 50))
def test_clean_text_is_short_printable_and_without_quotes(text: str, chars: int):
    cleaned = clean(text, chars)
    assert len(cleaned) <= chars
    assert cleaned.isprintable()
    assert '"' not in cleaned
    assert cleaned == " ".join(cleaned.split())


@pytest.mark.parametrize("unit", ["word ", "<", "<b>", "&lt;", "\n", "\u200b"])
def test_a_huge_text_is_cleaned_in_no_time(unit: str):
    start = time.perf_counter()
    assert len(clean(unit * 2_000_000, 100)) <= 100
    assert time.perf_counter() - start < 0.5


def test_text_is_cut_between_words():
    assert clip("alpha beta gamma", 12) == "alpha beta"
    assert clip("alpha beta gamma", 10) == "alpha beta"
    assert clip("alphabet", 5) == "alpha"
    assert clip("alpha", 5) == "alpha"


@pytest.mark.parametrize("form", ["edges", "adjacency", "prose"])
@pytest.mark.parametrize("directed", [False, True])
def test_every_form_says_the_same_edges(form: str, directed: bool):
    given = source([(*edge[:2], edge[0] % 2) for edge in RING], directed=directed, relations=("is [a] of", "has"))
    rng = np.random.default_rng(0)
    stars = draw_stars(view(given), [[0], [15]], 4, rng)
    names = {0: "X", 15: "A"}
    shown = read_question(write_graph(view(given), stars, names, GraphParams.model_validate({"form": form}), rng))
    expected = sorted((names[a.centre], f"text of node{a.other}") for star in stars.values() for a in star)
    found = sorted(
        (edge.first, shown.texts[edge.second]) if edge.first in "XA" else (edge.second, shown.texts[edge.first])
        for edge in shown.edges
    )
    assert found == expected
    assert len(expected) == 8
    assert {edge.relation for edge in shown.edges} == {"is (a) of", "has"}


def test_direction_is_told_right_from_both_sides():
    given = source([(0, 1, 0), (2, 0, 0)], directed=True, texts=False, count=3)
    stars = draw_stars(view(given), [[0]], 4, np.random.default_rng(0))
    for form, outward, inward in [
        ("edges", "X -> {}", "{} -> X"),
        ("adjacency", "-> {}", "<- {}"),
        ("prose", "X points to {}.", "{} points to X."),
    ]:
        rng = np.random.default_rng(3)
        text = write_graph(view(given), stars, {0: "X"}, GraphParams.model_validate({"form": form}), rng)
        numbers = sorted(np.random.default_rng(3).permutation(90)[:2] + 10)
        assert any(outward.format(number) in text for number in numbers)
        assert any(inward.format(number) in text for number in numbers)


def test_numbers_are_drawn_anew_for_each_sample_and_say_nothing_of_the_data():
    seen = set()
    for seed in range(20):
        rng = np.random.default_rng(seed)
        text = write_graph(
            view(source(texts=False)), draw_stars(view(source()), [[0]], 1, rng), {0: "X"}, GraphParams(), rng
        )
        seen.add(text)
        assert "node" not in text
    assert len(seen) > 15


def test_nodes_of_a_group_show_equally_many_edges_and_none_among_themselves():
    star = [(0, n, 0) for n in range(1, 20)] + [(20, 21, 0), (20, 0, 0)]
    given = view(source(star))
    stars = draw_stars(given, [[0, 20]], 5, np.random.default_rng(0))
    assert {node: len(arcs) for node, arcs in stars.items()} == {0: 1, 20: 1}
    assert stars[20][0].other == 21
    assert len(draw_stars(given, [[0], [20]], 5, np.random.default_rng(0))[0]) == 5
    shunned = draw_stars(given, [[0]], 50, np.random.default_rng(0), without=range(1, 15))
    assert {arc.other for arc in shunned[0]} == {15, 16, 17, 18, 19, 20}


def test_the_second_ring_leads_outward_only():
    given, rng = view(source()), np.random.default_rng(1)
    star = draw_stars(given, [[0]], 6, rng)[0]
    rings = draw_second_ring(given, star, 2, rng, without=[5])
    outer = {arc.other for arc in star}
    assert set(rings) == outer
    for arcs in rings.values():
        assert len(arcs) <= 2
        assert not {arc.other for arc in arcs} & ({0, 5} | outer)


def test_the_budget_is_kept_and_all_are_cut_alike():
    given = view(source([(centre, other, 0) for centre in (0, 1) for other in range(2, 30)]))
    rng = np.random.default_rng(0)
    text = write_graph(given, draw_stars(given, [[0], [1]], 20, rng), {0: "X", 1: "A"}, GraphParams(max_tokens=64), rng)
    degrees = read_question(text).degrees()
    assert tokens(text) <= 64
    assert 0 < degrees["X"] == degrees["A"] < 20


@pytest.mark.parametrize(("letter", "a_token"), [("word ", 4), ("слово", 2), ("鯨", 1.5)])
def test_a_budget_is_kept_in_any_script(letter: str, a_token: float):
    names = [f"n{n}" for n in range(30)]
    lines = {name: f"{letter * 40} {n}" for n, name in enumerate(names)}
    graph = Graph(Strings(names), np.array(RING), texts_of(names, lines), directed=False)
    given, rng = view(NetworkX(graph, "memory:scripts")), np.random.default_rng(0)
    text = write_graph(given, draw_stars(given, [[0]], 6, rng), {0: "X"}, GraphParams(max_tokens=64), rng)
    assert letter.strip() in text
    assert len(text) / a_token <= 64


def test_where_a_star_is_cut_the_rings_of_what_it_no_longer_shows_go_too():
    given = view(source([(0, other, 0) for other in range(1, 9)] + [(n, n + 8, 0) for n in range(1, 9)]))
    rng = np.random.default_rng(0)
    star = draw_stars(given, [[0]], 8, rng)
    stars = star | draw_second_ring(given, star[0], 4, rng, without=[])
    text = write_graph(given, stars, {0: "X"}, GraphParams(max_tokens=64), rng)
    edges = [{end.split()[0] for end in line.split(" - ")} for line in text.splitlines()]
    shown = set().union(*(edge for edge in edges if "X" in edge))
    assert 0 < len(edges) < 16
    assert all(edge & shown for edge in edges)


def test_no_edges_to_show_is_said_where_there_are_texts_and_skipped_where_there_are_none():
    params, rng = GraphParams(), np.random.default_rng(0)
    assert write_graph(view(source()), {0: []}, {0: "X"}, params, rng) == "(no edges are shown)"
    with pytest.raises(Skip, match="no edges to show"):
        write_graph(view(source(texts=False)), {0: []}, {0: "X"}, params, rng)


def test_training_sees_no_held_out_text_and_no_edge_between_the_ends_of_a_held_out_one():
    both_ways = [(n, m, 0) for n, m, _ in RING] + [(m, n, 1) for n, m, _ in RING]
    given = source(both_ways, directed=True, relations=("to", "back"))
    training, test = view(given, "train"), view(given, "test")
    held = [n for n in range(30) if Splitter(0.3)(given.index("node")[n]) == "test"]
    assert 3 < len(held) < 20
    for node in range(30):
        lines = training.describe([node], 50, np.random.default_rng(0))
        assert lines == ([""] if node in held else [f"text of node{node}"])
        assert training.has_text(node) == (node not in held)
        assert test.has_text(node)
    held_pairs = {
        given.index("edge")[e].group for e in range(given.graph.size) if Splitter(0.3)(given.index("edge")[e]) == "test"
    }
    for edge in range(given.graph.size):
        assert training.shows(edge) == (given.index("edge")[edge].group not in held_pairs)
        assert test.shows(edge)
    seen = {int(edge) for node in range(30) for edge in training.arcs(node)[1]}
    assert seen == {edge for edge in range(given.graph.size) if training.shows(edge)}
    assert sum(training.degree(node) for node in range(30)) == 2 * len(seen)
    assert set(training.own_nodes) == set(range(30)) - set(held)
    assert set(test.own_nodes) == set(held)


def test_an_own_split_hides_the_pair_of_a_test_edge_whatever_its_direction():
    edges = [(0, 1, 0), (1, 0, 0), (1, 2, 0), (2, 3, 0)]
    given = source(edges, directed=True, count=4, split=np.array([0, 1, 0, 0]))
    training = view(given, "train")
    assert [training.shows(edge) for edge in range(4)] == [False, False, True, True]


def test_the_view_of_pictures_is_no_graph():
    with pytest.raises(Skip, match="not a graph"):
        graph_view(synthetic_source(2).view("image", "train", Splitter()))


def test_like_degree_means_the_same_degree_where_enough_nodes_have_it():
    spokes = [(0, n, 0) for n in range(1, 100)] + [(n, n + 1, 0) for n in range(1, 50, 2)]
    given, rng = view(source(spokes, count=101)), np.random.default_rng(0)
    assert {given.degree(given.of_like_degree(60, rng)) for _ in range(50)} == {1}
    assert 0 in {given.of_like_degree(0, rng) for _ in range(300)}


def test_nodes_of_like_degree_are_of_the_same_network_and_small_ones_are_one():
    rings = [(first + n, first + (n + 1) % 10, 0) for first in (0, 10) for n in range(10)]
    given, rng = view(source([*rings, (20, 21, 0), (22, 23, 0)], count=24)), np.random.default_rng(0)
    assert {given.of_like_degree(3, rng) for _ in range(300)} == set(range(10))
    assert {given.of_like_degree(12, rng) for _ in range(300)} == set(range(10, 20))
    assert {given.of_like_degree(20, rng) for _ in range(300)} == {20, 21, 22, 23}


def test_a_long_chain_is_one_network_of_two_sides():
    chain = [(n, n + 1, 0) for n in range(999)]
    network = source(chain, count=1000).graph.network
    assert len(set(network.tolist())) == 2
    assert len(set(network[::2].tolist())) == 1
    assert len(set(source([*chain, (0, 2, 0)], count=1000).graph.network.tolist())) == 1


def test_nodes_of_like_degree_are_of_the_same_side_where_a_network_has_two():
    people, events = range(20), range(20, 40)
    edges = [(n, 20 + (n + step) % 20, 0) for n in people for step in (0, 1, 2)]
    alone = [(n, n, 0) for n in range(40)]
    given, rng = view(source([*edges, *alone], count=40)), np.random.default_rng(0)
    assert {given.of_like_degree(3, rng) for _ in range(500)} == set(people)
    assert {given.of_like_degree(30, rng) for _ in range(500)} == set(events)
    mixed = view(source([*edges, (0, 1, 0)], count=40))
    assert {mixed.of_like_degree(3, rng) for _ in range(500)} > {*people} - {0, 1}


def test_ends_are_those_of_the_relation():
    given = view(source([(0, 1, 0), (0, 2, 1), (3, 2, 1), (4, 5, 1)], directed=True, relations=("a", "b"), count=6))
    rng = np.random.default_rng(0)
    assert {given.end_of(1, rng) for _ in range(40)} == {2, 5}
    assert {given.end_of(1, rng, tail=False) for _ in range(40)} == {0, 3, 4}
    assert given.end_of(0, rng) == 1


def test_drawing_gives_up_where_too_few_suit():
    rng = np.random.default_rng(0)
    assert sorted(draw(2, lambda: int(rng.integers(4)), lambda node: node != 1, taken=[0])) == [2, 3]
    with pytest.raises(Skip, match="too few other nodes"):
        draw(3, lambda: int(rng.integers(4)), lambda node: node != 1, taken=[0])


def test_asked_nodes_are_all_described_or_none():
    rng = np.random.default_rng(0)
    assert describe_asked(view(source(texts=False)), [0, 1], 50, rng) == {}
    assert list_nodes({0: "X"}, {}) == ""
    lines = describe_asked(view(source()), [0, 1], 50, rng)
    assert list_nodes({1: "X", 0: "A"}, lines) == 'Its nodes:\nX: "text of node1"\nA: "text of node0"\n\n'
    with pytest.raises(Skip, match="no text that may be seen"):
        describe_asked(view(source(), "train", 0.99), [0, 1], 50, rng)


def test_letters_leave_x_y_z():
    assert letters(3) == ["A", "B", "C"]
    assert not set("XYZ") & set(letters(23))
    with pytest.raises(ValueError, match="24"):
        letters(24)


def test_bags_described_together_show_equally_many_words():
    words = np.array([1, 5, 9, *range(20, 60)])
    bags = Bags(np.array([0, 3, 43, 43]), words)
    short, long = bags.describe([0, 1], 200, np.random.default_rng(0))
    assert short == "features 1 5 9"
    assert len(long.split()) == 4
    assert [bags.has(node) for node in range(3)] == [True, True, False]
    vocabulary = Strings(f"word{n}" for n in range(60))
    assert Bags(bags.ends, words, vocabulary).describe([0], 200, np.random.default_rng(0)) == ["word1 word5 word9"]
    assert bags.likeness(0, [0, 1]).tolist() == [1.0, 0.0]


def test_a_vocabulary_is_part_of_the_fingerprint():
    def digest(*words: str) -> str:
        bags = Bags(np.array([0, 2, 3]), np.array([0, 1, 1]), Strings(words) if words else None)
        return Graph(Strings(["a", "b"]), np.array([(0, 1, 0)]), bags, directed=False).digest()

    assert len({digest(), digest("alpha", "beta"), digest("omega", "beta"), digest("al", "phabeta")}) == 4


def test_numbers_are_shown_as_far_as_they_fit():
    numbers = Numbers(np.array([[0.12345, -2, 3e9], [0, 1, 2]], dtype=np.float32))
    assert numbers.describe([0, 1], 100, np.random.default_rng(0)) == ["0.123 -2 3e+09", "0 1 2"]
    assert numbers.describe([0], 8, np.random.default_rng(0)) == ["0.123"]
    assert numbers.likeness(1, [1, 0])[0] == 0


def test_strings_keep_any_text():
    texts = ["", "a", "ünï\U0001f600", "lone \ud800 half"]
    assert list(Strings(texts)) == ["", "a", "ünï\U0001f600", "lone ? half"]


def test_doubles_and_self_loops_in_an_undirected_graph():
    given = source([(0, 1, 0), (1, 0, 0), (0, 1, 0), (2, 2, 0), (1, 2, 0)], count=4)
    assert given.graph.edges.tolist() == [[0, 1, 0], [1, 2, 0], [2, 2, 0]]
    assert [view(given).degree(node) for node in range(4)] == [1, 2, 1, 0]
    assert view(given).arcs(2)[0].tolist() == [1]
    assert given.graph.joined(1, 0)
    assert not given.graph.joined(0, 2)
