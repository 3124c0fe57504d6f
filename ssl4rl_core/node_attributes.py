"""What the nodes of a graph have, as compact arrays: texts, bags of words, or numbers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np

_FRACTION_DIGITS = 3


class Strings(Sequence[str]):
    """Many texts in one block of bytes. Lone surrogates, which no file can hold, become question marks."""

    def __init__(self, texts: Iterable[str]) -> None:
        encoded = [text.encode("utf-8", "replace") for text in texts]
        self.ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        self.bytes = b"".join(encoded)

    @classmethod
    def of(cls, block: bytes, ends: np.ndarray) -> Self:
        """The texts of a block whose text i lies in `block[ends[i]:ends[i + 1]]`."""
        made = cls([])
        made.bytes, made.ends = block, ends
        return made

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, place: int) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.bytes[self.ends[place] : self.ends[place + 1]].decode()


class Attributes(Protocol):
    """What the nodes of a graph have: a text, a bag of words, or numbers."""

    def has(self, node: int) -> bool:
        """Whether the node has any."""
        ...

    def describe(self, nodes: Sequence[int], chars: int, rng: np.random.Generator) -> list[str]:
        """One line a node of `chars` characters at most; what can be made equally long is."""
        ...

    def content(self, node: int) -> bytes:
        """All of it, empty where there is none; equal for nodes that are alike."""
        ...

    def shared(self) -> bytes:
        """What the lines of all nodes are made with besides, such as the words that numbers stand for."""
        ...

    def likeness(self, node: int, others: Sequence[int]) -> np.ndarray:
        """How alike the others are to the node: the more, the higher."""
        ...


@dataclass(frozen=True)
class Texts:
    """A text a node, each one clean line (`graphs.clean`)."""

    texts: Strings

    def has(self, node: int) -> bool:
        return bool(self.texts.ends[node + 1] > self.texts.ends[node])

    def describe(self, nodes: Sequence[int], chars: int, rng: np.random.Generator) -> list[str]:
        return [clip(self.texts[node], chars) for node in nodes]

    def content(self, node: int) -> bytes:
        return self.texts[node].encode()

    def shared(self) -> bytes:
        return b""

    def likeness(self, node: int, others: Sequence[int]) -> np.ndarray:
        return _overlaps(set(self.texts[node].casefold().split()), [self.texts[o].casefold().split() for o in others])


@dataclass(frozen=True)
class Bags:
    """A bag of words a node, in compressed rows: those of node i are `words[ends[i]:ends[i + 1]]`, ascending.

    Words are shown by name where there is a vocabulary, by number otherwise. Nodes described together show equally
    many, drawn at random, since the size of a bag is a property of the node that needs no reading.
    """

    ends: np.ndarray
    words: np.ndarray
    vocabulary: Strings | None = None

    def has(self, node: int) -> bool:
        return bool(self.ends[node + 1] > self.ends[node])

    def describe(self, nodes: Sequence[int], chars: int, rng: np.random.Generator) -> list[str]:
        bags = [self._bag(node) for node in nodes]
        count = min(min(map(len, bags), default=0), max(1, chars // (8 if self.vocabulary else 6)))
        return [self._named(np.sort(bag[rng.permutation(len(bag))[:count]])) for bag in bags]

    def _named(self, words: np.ndarray) -> str:
        if self.vocabulary is None:
            return ("features " if len(words) else "") + " ".join(map(str, words.tolist()))
        return " ".join(self.vocabulary[word] for word in words.tolist())

    def content(self, node: int) -> bytes:
        return self._bag(node).astype("<i4").tobytes()

    def shared(self) -> bytes:
        words = self.vocabulary
        return b"" if words is None else words.ends.astype("<i8").tobytes() + words.bytes

    def likeness(self, node: int, others: Sequence[int]) -> np.ndarray:
        return _overlaps(set(self._bag(node).tolist()), [self._bag(other).tolist() for other in others])

    def _bag(self, node: int) -> np.ndarray:
        return self.words[self.ends[node] : self.ends[node + 1]]


@dataclass(frozen=True)
class Numbers:
    """A row of numbers a node; as many are shown as fit, the same ones for every node."""

    rows: np.ndarray

    def has(self, node: int) -> bool:
        return self.rows.shape[1] > 0

    def describe(self, nodes: Sequence[int], chars: int, rng: np.random.Generator) -> list[str]:
        shown = self.rows[list(nodes), : max(1, chars // (_FRACTION_DIGITS + 5))]
        return [" ".join(f"{number:.{_FRACTION_DIGITS}g}" for number in row) for row in shown.tolist()]

    def content(self, node: int) -> bytes:
        return self.rows[node].astype("<f4").tobytes()

    def shared(self) -> bytes:
        return b""

    def likeness(self, node: int, others: Sequence[int]) -> np.ndarray:
        return -np.linalg.norm(self.rows[list(others)] - self.rows[node], axis=1)


def clip(text: str, chars: int) -> str:
    """The text, or as many whole words of it as `chars` characters hold, or that much of its first word."""
    if len(text) <= chars:
        return text
    return text[: chars + 1].rpartition(" ")[0] or text[:chars]


def _overlaps(words: set, others: Iterable[Iterable]) -> np.ndarray:
    """Jaccard index of each of the others with `words`."""
    return np.array([len(words & other) / max(1, len(words | other)) for other in map(set, others)])
