"""Reading a graph question back: which nodes, edges and texts a model is shown. For checks that nothing leaks."""

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from ssl4rl_core.samples import Sample

_NODE = r'([A-Z]|[0-9]+)(?: "([^"]*)")?'
_LINK = r"<?-(?:\[([^\[\]]*)\]-)?>?"
_EDGE = re.compile(f"{_NODE} {_LINK} {_NODE}")
_ROW = re.compile(r"([A-Z]|[0-9]+): (?=<?-)")
_PLACE = re.compile(f"({_LINK}) {_NODE}(?:; |$)")
_SENTENCE = re.compile(rf"{_NODE} (?:points|is linked) to {_NODE}(?: by \[([^\[\]]*)\])?\.(?: |$)")
_TEXT = re.compile(r'([A-Z]): "([^"]*)"')


class ShownEdge(NamedTuple):
    """An edge of a question, by the names that nodes have there; its direction is left out."""

    first: str
    second: str
    relation: str


@dataclass
class ShownGraph:
    """What a question shows; `texts` is by node name, as listed for the lettered nodes and inline for all others."""

    edges: list[ShownEdge] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)

    def degrees(self) -> Counter[str]:
        """How many edges each node has in the question."""
        return Counter(end for edge in self.edges for end in (edge.first, edge.second))

    def joined(self, first: str, second: str) -> bool:
        """Whether an edge between the two is shown."""
        return any({edge.first, edge.second} == {first, second} for edge in self.edges)


def read_question(question: str) -> ShownGraph:
    """The graph that a question of `ssl4rl_core.graphs` shows, in any of its forms."""
    shown = ShownGraph()
    for line in question.split("\n"):
        if edge := _EDGE.fullmatch(line):
            first, first_text, relation, second, second_text = edge.groups()
            _add(shown, (first, first_text), (second, second_text), relation)
        elif row := _ROW.match(line):
            place = row.end()
            while match := _PLACE.match(line, place):
                _, relation, other, text = match.groups()
                _add(shown, (row[1], None), (other, text), relation)
                place = match.end()
        elif text := _TEXT.fullmatch(line):
            shown.texts[text[1]] = text[2]
        else:
            place = 0
            while sentence := _SENTENCE.match(line, place):
                first, first_text, second, second_text, relation = sentence.groups()
                _add(shown, (first, first_text), (second, second_text), relation)
                place = sentence.end()
    return shown


def degree_features(sample: Sample) -> dict[str, float]:
    """How many edges the question shows of each node asked about, the most of any, and all.

    What two nodes share is structure; how many edges there are is degree, and must not tell an answer.
    """
    degrees = read_question(sample.record.question).degrees()
    lettered = {f"degree of {name}": float(degree) for name, degree in degrees.items() if name.isalpha()}
    return {**lettered, "largest degree": max(lettered.values(), default=0.0), "edges": float(degrees.total() // 2)}


def _add(
    shown: ShownGraph, first: tuple[str, str | None], second: tuple[str, str | None], relation: str | None
) -> None:
    shown.edges.append(ShownEdge(first[0], second[0], relation or ""))
    shown.texts |= {name: text for name, text in (first, second) if text is not None}
