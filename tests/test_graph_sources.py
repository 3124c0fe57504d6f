"""Sources of graphs: ids, groups and splits, odd graphs, and one line for whatever is wrong."""

import hashlib
import json
import pickle
import shlex
from pathlib import Path

import pytest

from data_builders.sources.graph_source import GraphSource, read_texts
from data_builders.sources.networkx_graphs import NetworkX, from_networkx
from data_builders.sources.pyg import PyGOptions
from data_builders.sources.triples import Triples
from ssl4rl_core import EdgeItem, NodeItem, Skip, Splitter, UsageError, parse_configs, registry, render
from ssl4rl_core.cli import run

nx = pytest.importorskip("networkx", reason="needs the extra 'graph'")
SHARED = Path(__file__).parents[1] / ".." / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the outside data ../shared/data is absent")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL4RL_CACHE", str(tmp_path / "cache"))


def triples(folder: Path, **files: str) -> Triples:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return Triples.open(str(folder))


def entries(source: GraphSource, kind: str) -> dict:
    index = source.index(kind)
    return {index[position].id: index[position] for position in range(len(index))}


def test_triples_have_an_id_of_head_relation_tail_and_stand_once(tmp_path: Path):
    source = triples(tmp_path, valid="a\tlikes\tb\na\tlikes\tb\nb\tlikes\ta\na\tknows\tb\n\nc\tlikes\tc\n")
    edges = entries(source, "edge")
    assert sorted(edges) == ['["a","knows","b"]', '["a","likes","b"]', '["b","likes","a"]', '["c","likes","c"]']
    assert len({entry.group for id, entry in edges.items() if "c" not in id}) == 1
    assert sorted(entries(source, "node")) == ["a", "b", "c"]
    edge = source.load("edge", edges['["b","likes","a"]'])
    node = source.load("node", entries(source, "node")["b"])
    assert isinstance(edge, EdgeItem)
    assert isinstance(node, NodeItem)
    assert edge.head == node.node
    assert source.name == f"triples:{tmp_path.name}"


def test_ids_with_quotes_tabs_and_bars_stay_apart(tmp_path: Path):
    source = triples(tmp_path, train='a","b\tr\tc\na\tr\tb","c\né|\\\tr\ts\n')
    ids = list(entries(source, "edge"))
    assert len(set(ids)) == 3
    assert ['a","b', "c"] in map(json.loads, ids)


def test_train_and_test_files_are_the_split_and_a_triple_in_both_is_held_out(tmp_path: Path):
    source = triples(tmp_path, train="a\tr\tb\nb\tr\tc\n", valid="c\tr\td\n", test="a\tr\tb\n")
    splits = {json.loads(id)[0]: entry.split for id, entry in entries(source, "edge").items()}
    assert splits == {"a": "test", "b": "train", "c": "test"}
    assert not any(entry.split for entry in entries(triples(tmp_path / "x", valid="a\tr\tb\n"), "edge").values())


def test_texts_come_from_the_names_or_from_a_file(tmp_path: Path):
    lines = "q1\tr\tq2\nq2\tr\tq3\n"
    assert triples(tmp_path, test=lines).graph.attributes.content(0) == b"q1"
    (tmp_path / "texts.tsv").write_text("q1\tOne\tthe first\nq3\tThree\n")
    by_table = Triples.open(str(tmp_path), texts="texts.tsv")
    assert [by_table.graph.attributes.content(node) for node in range(3)] == [b"One: the first", b"", b"Three"]
    described = {"q1": {"label": "One", "description": "line\nbreak"}, "q2": {"label": "Two"}}
    (tmp_path / "entity2wikidata.json").write_text(json.dumps(described))
    found = triples(tmp_path, test=lines)
    assert [found.graph.attributes.content(node) for node in range(3)] == [b"One: line break", b"Two", b""]


def test_nodes_with_one_text_share_a_group_unless_it_is_a_category():
    graph = nx.path_graph(40)
    nx.set_node_attributes(graph, {n: "copy" if n < 2 else "class" if n < 30 else f"own {n}" for n in graph}, "t")
    index = NetworkX(from_networkx(graph, "memory:g", text="t"), "memory:g").index("node")
    groups = [index[n].group for n in range(40)]
    assert groups[0] == groups[1]
    assert len(set(groups)) == 39


def test_an_undirected_edge_has_one_id(tmp_path: Path):
    (tmp_path / "g.edgelist").write_text("b a\na b\n# a remark\nb c\nc c\n")
    source = NetworkX.open(str(tmp_path / "g.edgelist"))
    assert sorted(entries(source, "edge")) == ['["a","b"]', '["b","c"]', '["c","c"]']
    directed = NetworkX.open(str(tmp_path / "g.edgelist"), directed="true")
    assert sorted(entries(directed, "edge")) == ['["a","b"]', '["b","a"]', '["b","c"]', '["c","c"]']


def test_a_byte_order_mark_is_no_part_of_triples_and_texts(tmp_path: Path):
    (tmp_path / "train.txt").write_text("a\tr\tb\nb\tr\ta\n", encoding="utf-8-sig")
    for name, text in {"t.tsv": "a\tA\n", "t.json": '{"a": "A"}'}.items():
        (tmp_path / name).write_text(text, encoding="utf-8-sig")
        source = Triples.open(str(tmp_path), texts=name)
        assert sorted(entries(source, "node")) == ["a", "b"]
        assert source.graph.attributes.content(0) == b"A"


def test_texts_that_match_no_node_are_refused_with_a_name_of_each_side(tmp_path: Path):
    (tmp_path / "t.tsv").write_text("Alice\tfoo\nBob\tbar\n")
    (tmp_path / "none.tsv").write_text("\n")
    (tmp_path / "train.txt").write_text("a\tr\tb\n")
    says = r"t\.tsv has a text for no node: its names are like 'Alice', those of the graph like '(a|0)'$"
    for spec in ("networkx:karate", f"triples:{tmp_path}"):
        with pytest.raises(UsageError, match=says):
            registry().source(f"{spec}?texts={tmp_path}/t.tsv")
    with pytest.raises(UsageError, match="it is empty"):
        registry().source(f"networkx:karate?texts={tmp_path}/none.tsv")


def test_graphml_keeps_direction_relations_and_texts(tmp_path: Path):
    graph = nx.MultiDiGraph()
    graph.add_node("p", title="A\tpaper\n<b>on</b> graphs")
    graph.add_edge("p", "q", kind="cites")
    graph.add_edge("p", "q", kind="extends")
    graph.add_edge("q", "p", kind="cites")
    nx.write_graphml(graph, tmp_path / "g.graphml")
    source = NetworkX.open(str(tmp_path / "g.graphml"), relation="kind", text="title")
    assert sorted(entries(source, "edge")) == ['["p","cites","q"]', '["p","extends","q"]', '["q","cites","p"]']
    assert source.graph.attributes.content(0) == b"A paper on graphs"
    assert not source.graph.attributes.has(1)


def test_networkx_by_name():
    assert len(NetworkX.open("karate").graph) == 34
    assert NetworkX.open("karate").graph.attributes.content(0) == b"club: Mr. Hi"
    assert NetworkX.open("les").graph.attributes.content(0) == b"Napoleon"
    embedded = registry().source("embedded:graphs")
    assert len(embedded.index("node")) == 34 + 32 + 15 + 77
    assert "florentine/Medici" in entries(embedded, "node")  # pyright: ignore[reportArgumentType]


def test_the_fingerprint_tells_graphs_apart_and_survives_a_worker(tmp_path: Path):
    one = triples(tmp_path / "1", train="a\tr\tb\nb\tr\tc\n")
    same = triples(tmp_path / "2", train="a\tr\tb\nb\tr\tc\na\tr\tb\n")
    others = [
        triples(tmp_path / "3", train="a\tr\tb\nc\tr\tb\n"),
        triples(tmp_path / "4", train="a\tr\tb\nb\ts\tc\n"),
        triples(tmp_path / "5", valid="a\tr\tb\nb\tr\tc\n"),
    ]
    assert one.fingerprint() == same.fingerprint()
    assert one.fingerprint() not in {other.fingerprint() for other in others}
    one.view("edge", "train", Splitter())
    assert pickle.loads(pickle.dumps(one)).fingerprint() == one.fingerprint()


def test_the_cards_command_builds_the_same_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    words = ["rain", "snow", "hail", "fog", "wind", "sun", "frost", "storm"]
    (tmp_path / "big.edgelist").write_text("".join(f"{n} {(n * k) % 8}\n" for n in range(1, 8) for k in (2, 3, 5)))
    (tmp_path / "texts.tsv").write_text("".join(f"{n}\tall about {word}\n" for n, word in enumerate(words)))
    spec = f"networkx:{tmp_path}/big.edgelist?directed=true&texts={tmp_path}/texts.tsv&license=CC0-1.0"
    assert run(["build", "--task", "link:easy", "--source", spec, "--out", str(tmp_path / "one")]) == 0
    card = (tmp_path / "one" / "README.md").read_text()
    assert str(tmp_path) not in card
    command = shlex.split(next(line for line in card.splitlines() if line.startswith("ssl4rl build")))
    monkeypatch.chdir(tmp_path)
    assert run([word.replace("DIR", "two") for word in command[1:]]) == 0
    for path in ("plan.json", "manifest.json", "README.md"):
        assert (tmp_path / "two" / path).read_bytes() == (tmp_path / "one" / path).read_bytes()


def test_a_source_keeps_the_options_that_choose_and_no_places(tmp_path: Path):
    (tmp_path / "test.txt").write_text("a\tr\tb\n")
    (tmp_path / "texts.tsv").write_text("a\tA\n")
    texts = Triples.open(str(tmp_path), texts=str(tmp_path / "texts.tsv"), license="CC0-1.0")
    assert texts.published_options == pickle.loads(pickle.dumps(texts)).published_options == "?texts=texts.tsv"
    assert NetworkX.open("karate", relation="weight").published_options == "?relation=weight"
    assert NetworkX.open("karate").published_options == ""
    chosen = PyGOptions.read("pyg", {"root": str(tmp_path), "download": "true", "graph": "3", "classes": "/a/b/names"})
    assert chosen.choice() == "?classes=names&graph=3"


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    triples(tmp_path / "kg", train="a\tr\tb\n")
    (tmp_path / "g.edgelist").write_text("a b\n")
    (tmp_path / "texts.tsv").write_text("a\tA\n")
    assert registry().source("triples:~/kg").name == "triples:kg"
    source = registry().source("networkx:~/g.edgelist?texts=~/texts.tsv")
    assert isinstance(source, NetworkX) and source.graph.attributes.content(0) == b"A"
    asked = PyGOptions.read("pyg", dict.fromkeys(("root", "texts", "classes", "vocabulary"), "~/x"))
    assert asked.root == tmp_path / "x"
    assert {asked.texts, asked.classes, asked.vocabulary} == {str(tmp_path / "x")}


ERRORS = {
    "triples:nowhere": "no train.txt",
    "triples:.": "no train.txt",
    "triples:~nobody-of-this-name/kg": "no train.txt",
    "folder:~nobody-of-this-name/photos": "no folder",
    "networkx:nothing": "knows no graph 'nothing': davis",
    "networkx:none.graphml": "there is no file none.graphml",
    "networkx:karate?colour=red": "no option 'colour'",
    "networkx:karate?directed=perhaps": "option directed",
    "networkx:karate?text=titel": "no node has an attribute 'titel': write text=NAME with one of 'club'",
    "networkx:karate?relation=kind": "no edge has an attribute 'kind': write relation=NAME with one of 'weight'",
    "networkx:les?text=title": "no node has an attribute 'title': leave text= out",
    "pyg:TAGDataset/ogbn-arxiv": "texts=FILE",
    "pyg:Planetoid/Cora?root=nowhere": "root=nowhere is no folder",
}


@pytest.mark.parametrize(("spec", "message"), ERRORS.items(), ids=list(ERRORS))
def test_a_wrong_spec_is_told_in_one_line(spec: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=message) as caught:
        registry().source(spec)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("g.graphml", b"<graphml><broken", "cannot be read"),
        ("g.gml", b"graph [ node [", "cannot be read"),
        ("g.csv", b"\xff\xfe\x00", "cannot be read"),
        ("g.csv", b'a,b\n"Li" Bo,b\n', "line 2: .*; a name with quotes is put in quotes, and its own are doubled"),
        ("g.csv", b'a,b\n"Li,b\n', "line 2: "),
        ("g.csv", b"source,target\n", "g.csv has no line of two names with a comma between them"),
        ("g.csv", b"a;b\nb;c\n", "g.csv has no line of two names with a comma between them"),
        ("g.tsv", b"a b\n", "g.tsv has no line of two names with a tab between them"),
        ("g.edgelist", b"", "g.edgelist has no line of two names with a blank between them"),
        ("g.txt", b"a,b\n", "g.txt has no line of two names with a blank between them"),
        ("g.parquet", b"", "is none of .graphml"),
    ],
)
def test_a_broken_file_is_told_in_one_line(name: str, content: bytes, message: str, tmp_path: Path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=message) as caught:
        NetworkX.open(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_broken_triples_and_texts(tmp_path: Path):
    with pytest.raises(UsageError, match=r"train\.txt:2: not head TAB relation TAB tail"):
        triples(tmp_path, train="a\tr\tb\na b\n")
    with pytest.raises(UsageError, match="the graph is empty"):
        triples(tmp_path, train="\n")
    (tmp_path / "train.txt").write_bytes(b"a\tr\t\xff\n")
    with pytest.raises(UsageError, match="UTF-8"):
        Triples.open(str(tmp_path))
    for text in ["{", "[1, 2]", '"a"']:
        (tmp_path / "t.json").write_text(text)
        with pytest.raises(UsageError, match=r"t\.json"):
            read_texts(tmp_path / "t.json")
    with pytest.raises(UsageError, match=r"absent\.json"):
        read_texts(tmp_path / "absent.json")


def test_two_nodes_that_are_written_alike_are_refused():
    with pytest.raises(UsageError, match="same name"):
        from_networkx(nx.Graph([(1, "1")]), "memory:g")


def odd_graph() -> NetworkX:
    """All in one: a self-loop, an isolated node, doubles, both directions, several relations, every kind of text."""
    graph = nx.MultiDiGraph()
    texts = {
        "plain": "a plain text",
        "none": "",
        "lines": "two\nlines\tand a tab\r\n",
        "markup": '<h1 class="x">Title</h1> <image> {graph} <|im_end|> "quoted"',
        "huge": "very long " * 10_000,
        "isolated": "nobody knows me",
        "X": "X: \"a\"\nA - 12",
    }  # fmt: skip
    texts |= {f"n{n}": f"ordinary text {n}" for n in range(20)}
    for name, text in texts.items():
        graph.add_node(name, text=text)
    names = [name for name in texts if name != "isolated"]
    for place, name in enumerate(names):
        for step in (1, 2, 5):
            graph.add_edge(name, names[(place + step) % len(names)], kind=f"r{step}")
        graph.add_edge(names[(place + 1) % len(names)], name, kind="r1")
        graph.add_edge(name, names[(place + 1) % len(names)], kind="r1")
        graph.add_edge(name, names[(place + 1) % len(names)], kind="r9")
    graph.add_edge("plain", "plain", kind="self")
    return NetworkX(from_networkx(graph, "memory:odd", relation="kind"), "memory:odd")


@pytest.mark.parametrize("task", ["attribute-mask", "neighbor", "link"])
@pytest.mark.parametrize("form", ["edges", "adjacency", "prose"])
def test_every_item_of_an_odd_graph_is_a_sample_or_a_skip(task: str, form: str):
    source, reasons, made = odd_graph(), set(), 0
    for config in parse_configs([f"{task}?form={form}"], registry()):
        kind = config.task.kind
        for split in ("train", "test"):
            view = source.view(kind, split, Splitter(0.3))
            for entry in entries(source, kind).values():
                if Splitter(0.3)(entry) != split:
                    continue
                try:
                    record = render(config, source.load(kind, entry), view).record
                except Skip as skip:
                    reasons.add(str(skip))
                    continue
                made += 1
                assert "<" not in record.question.replace("<-", "")
                assert max(map(len, record.question.split('"'))) < 3000
    assert made > 20
    if task == "link":
        assert {"the edge is a self-loop", "a node asked about has no text that may be seen"} <= reasons
    if task == "attribute-mask":
        assert {"the node has no text", "no neighbour with a text"} <= reasons
    if task == "neighbor":
        assert "fewer neighbours than are to be hidden" in reasons


@needs_shared
def test_fb15k_237_with_its_descriptions():
    source = Triples.open(str(SHARED / "FB15k-237"))
    assert (len(source.graph), source.graph.size, len(source.graph.relations)) == (12039, 38001, 228)
    denton = entries(source, "node")["/m/010016"]
    assert source.graph.attributes.content(denton.position) == b"Denton: city in Texas, United States"
    assert not any(entry.split for entry in list(entries(source, "edge").values())[:100])


def test_opening_twice_gives_the_same_order(tmp_path: Path):
    lines = "".join(f"n{n}\tr{n % 3}\tn{n * 7 % 50}\n" for n in range(50))
    digests = {
        hashlib.sha256(json.dumps(list(entries(triples(tmp_path, train=lines), "edge"))).encode()).hexdigest()
        for _ in range(2)
    }
    assert len(digests) == 1
