"""Does a graph question show what it must not? Questions are read back and compared with the source.

    python benchmarks/graph_leaks.py triples:../shared/data/FB15k-237 --samples 2000
    python benchmarks/graph_leaks.py triples:../shared/data/FB15k-237 --build DIR

For every question of `link` and `neighbor`: no edge between the nodes asked about is shown, and those that an answer is
chosen among show equally many. For every training question: no text of a held-out node, and no held-out edge, as far as
the shown texts say which nodes they are (a text that a training node has too is no evidence, and is counted).

Then two probes on what a model could count: `ssl4rl_core.testing.probe`, and one on each candidate's degree alone.
"""

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import cast

import numpy as np

from data_builders.sources.graph_source import GraphSource
from ssl4rl_core import Record, Sample, Skip, Splitter, TaskConfig, parse_configs, registry, render
from ssl4rl_core.node_attributes import Bags, clip
from ssl4rl_core.samples import Split
from ssl4rl_core.testing.graph_questions import ShownGraph, degree_features, read_question
from ssl4rl_core.testing.probe import ProbeResult, probe, probe_all


class LeakCheck:
    """Held-out texts and edges of a source, computed from its index alone, and what was found of them in questions."""

    def __init__(self, source: GraphSource, splitter: Splitter) -> None:
        self.graph = source.graph
        self.held_nodes = {node.position for node in source.index("node") if splitter(node) == "test"}
        self.held_pairs = {edge.group for edge in source.index("edge") if splitter(edge) == "test"}
        self.numbers = {self.graph.names[node]: node for node in range(len(self.graph))}
        self.counts: Counter[str] = Counter()
        self._by_text: dict[tuple[int, str], set[int]] = {}
        self._by_word: dict[str, set[int]] = defaultdict(set)
        if isinstance(self.graph.attributes, Bags):
            for node in range(len(self.graph)):
                everything = self.graph.attributes.describe([node], 10**6, np.random.default_rng(0))[0]
                for word in everything.split():
                    self._by_word[word].add(node)

    def check(self, record: Record) -> list[str]:
        """What a question shows that it must not, one line each."""
        shown = read_question(record.question)
        self.counts["questions"] += 1
        self.counts["shown edges"] += len(shown.edges)
        found = [] if record.task == "attribute-mask" else list(_asked_edges(shown))
        if record.split == "train":
            found += self._held_out(record, shown)
        return [f"{record.task}-{record.level} {record.item}: {problem}" for problem in found]

    def _held_out(self, record: Record, shown: ShownGraph) -> Iterator[str]:
        lengths = [json.loads(record.params)[key] for key in ("text_chars", "context_chars")]
        meant = {name: self._nodes(text, lengths) for name, text in shown.texts.items()}
        for name, nodes in meant.items():
            self.counts["shown texts"] += 1
            self.counts["shown texts of exactly one node"] += len(nodes) == 1
            if nodes and nodes <= self.held_nodes:
                yield f"the text of held-out node {self.graph.names[min(nodes)]!r} as {name}"
        if record.item in self.numbers:
            meant["X"] = {self.numbers[record.item]}
        for edge in shown.edges:
            ends = [meant.get(name, set()) for name in (edge.first, edge.second)]
            if all(len(nodes) == 1 for nodes in ends):
                self.counts["shown edges whose ends are known"] += 1
                names = sorted(self.graph.names[min(nodes)] for nodes in ends)
                if json.dumps(names, ensure_ascii=False, separators=(",", ":")) in self.held_pairs:
                    yield f"held-out edge {names}"

    def _nodes(self, text: str, lengths: list[int]) -> set[int]:
        """The nodes that a shown text may be of."""
        if self._by_word:
            return set.intersection(*(self._by_word.get(word, set()) for word in text.split()))
        for length in lengths:
            if (length, "") not in self._by_text:
                self._by_text[length, ""] = set()
                for node in range(len(self.graph)):
                    whole = self.graph.attributes.content(node).decode()
                    self._by_text.setdefault((length, clip(whole, length)), set()).add(node)
        return set.union(*(self._by_text.get((length, text), set()) for length in lengths))


def _asked_edges(shown: ShownGraph) -> Iterator[str]:
    degrees = shown.degrees()
    for edge in shown.edges:
        if edge.first.isalpha() and edge.second.isalpha():
            yield f"an edge between {edge.first} and {edge.second}"
    candidates = {degrees[name] for name in shown.texts if name.isalpha() and name not in "XYZ"}
    if len(candidates) > 1:
        yield f"candidates with different degrees: {sorted(candidates)}"


def render_samples(source: GraphSource, config: TaskConfig, split: Split, count: int) -> Iterator[Sample]:
    """Up to `count` samples of a config, of items in random order."""
    splitter, kind = Splitter(), config.task.kind
    index, view, made = source.index(kind), source.view(kind, split, Splitter()), 0
    for position in np.random.default_rng(0).permutation(len(index)).tolist():
        if made == count:
            return
        if splitter(index[position]) != split:
            continue
        try:
            yield render(config, source.load(kind, index[position]), view)
            made += 1
        except Skip:
            continue


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="as for ssl4rl build: triples:DIR, pyg:Planetoid/Cora?root=DIR")
    parser.add_argument("--build", help="check every record of this build of the source, instead of rendering")
    parser.add_argument("--samples", type=int, default=2000, help="how many to render of each task, level and split")
    parser.add_argument("--task", action="append", help="default: neighbor, attribute-mask, link")
    parser.add_argument("--probe", action="store_true", help="run the two probes as well")
    arguments = parser.parse_args()
    source = cast(GraphSource, registry().source(arguments.source))
    check, found = LeakCheck(source, Splitter()), []
    if arguments.build:
        for record in read_records(arguments.build):
            found += check.check(record)
        report(check, found)
        return
    configs = parse_configs(arguments.task or ["neighbor", "attribute-mask", "link"], registry())
    sampled: dict[str, list[Sample]] = {}
    for config in configs:
        for split in ("train", "test"):
            samples = list(render_samples(source, config, split, arguments.samples))
            for sample in samples:
                found += check.check(sample.record)
            sampled.setdefault(config.name, []).extend(samples)
    report(check, found)
    if arguments.probe:
        probe_samples({name: samples[: arguments.samples] for name, samples in sampled.items()})


def read_records(folder: str) -> Iterator[Record]:
    """Every record of a build, both splits."""
    from data_builders.reader import BuiltSamples

    dataset = BuiltSamples(folder)
    for config in dataset.configs:
        for split in ("train", "test"):
            for number in range(dataset.size(config, split)):
                yield dataset.stored(config, split, number).record


def report(check: LeakCheck, found: list[str]) -> None:
    print(", ".join(f"{count:,} {what}" for what, count in check.counts.items()))
    print(f"leaks: {len(found)}", *found[:10], sep="\n  ")


def probe_samples(sampled: dict[str, list[Sample]]) -> None:
    show("probe", probe_all(sampled.values()))
    counted = [samples for name, samples in sampled.items() if not name.startswith("attribute-mask")]
    show("degrees", [probe(samples, degree_features) for samples in counted])


def show(what: str, results: Iterable[ProbeResult]) -> None:
    for result in results:
        print(f"{what:7} {result.config:22} n {result.n:5}  score {result.score:.3f}  chance {result.chance:.3f}"
              f"  p {result.p_value:.3f}  {'passes' if result.passes else 'LEAKS'}")  # fmt: skip


if __name__ == "__main__":
    main()
