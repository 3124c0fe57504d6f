"""Where items come from (`Source`), which split they belong to, and what a sample of one split may see (`View`).

A source is opened from a spec, `kind:where?option=value`. It is sized, gives random access, and keeps only an index; an
item is read when it is asked for.
"""

import hashlib
import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol, Self

import numpy as np

from ssl4rl_core.errors import UsageError
from ssl4rl_core.samples import Item, Split
from ssl4rl_core.tasks import Skip, SourceChanged, Task


class Entry(NamedTuple):
    """A line of a source's index: enough to plan with, nothing of the content."""

    position: int
    id: str
    group: str
    """Identical files, frames of one video, near copies share it. Default: the id."""
    split: str = ""
    """The source's own split, "train" or "test"; empty where it has none."""


class Index(Protocol):
    """The entries of one kind of item, in an order that never changes while the fingerprint does not."""

    def __len__(self) -> int: ...

    def __getitem__(self, position: int, /) -> Entry: ...

    def __iter__(self) -> Iterator[Entry]:
        """All entries by position, at less cost than one by one."""
        ...

    def neighbours(self, position: int, /) -> Sequence[int]:
        """Positions of the entries kept in the same place (the same folder), itself included."""
        ...


@dataclass(frozen=True)
class Splitter:
    """Which split an entry belongs to: by its group alone, the same for every seed and task."""

    test_fraction: float = 0.1

    def __call__(self, entry: Entry) -> Split:
        """The entry's split: the source's own where it has one."""
        if entry.split:
            return "test" if entry.split == "test" else "train"
        digest = hashlib.blake2b(entry.group.encode("utf-8", "surrogateescape"), digest_size=8).digest()
        return "test" if int.from_bytes(digest, "big") < self.test_fraction * 2**64 else "train"


class Source(ABC):
    """Items to make questions of. Subclasses set `scheme` and are opened through `open`."""

    scheme: ClassVar[str]
    example: ClassVar[str]
    """A spec as a user would write it, for listings and error messages."""
    kinds: ClassVar[tuple[str, ...]] = ("image",)
    streamed: ClassVar[bool] = False
    """Reading an item out of order is dear: only tasks that need nothing but their item are served."""
    name: str
    """As samples and messages name it: its spec without absolute paths."""
    published_options: str = ""
    """What `name` leaves out of the spec that opens the same items again, "?directed=true"; without absolute paths."""
    license: str = ""
    """SPDX identifier, or empty when unknown."""

    @classmethod
    @abstractmethod
    def open(cls, where: str, **options: str) -> Self:
        """The source at `where`.

        Raises:
            UsageError: there is no such thing, or an option is not known.
        """

    @abstractmethod
    def index(self, kind: str) -> Index:
        """All items of a kind, one of `kinds`."""

    def check_kind(self, kind: str) -> None:
        """Raises UsageError where the source has no items of this kind, and names those it has."""
        if kind not in self.kinds:
            raise UsageError(f"{self.name} has no items of kind {kind!r}, only {', '.join(self.kinds)}")

    def check_serves(self, task: Task) -> None:
        """Raises UsageError where the source does not hand out what the task asks for."""
        if task.kind not in self.kinds:
            holds = " and ".join(self.kinds)
            raise UsageError(
                f"{self.name} holds no item of kind {task.kind}, which task {task.name} asks about, only {holds}"
            )
        if self.streamed and task.uses_view:
            raise UsageError(
                f"task {task.name} looks at other items, and {self.name} is streamed: leave out stream=true"
            )

    @abstractmethod
    def load(self, kind: str, entry: Entry, *, max_side: int | None = None) -> Item:
        """Read one item. A picture's longer side is brought to `max_side` pixels where it is longer.

        Raises:
            SourceChanged: the item is gone, or another one than the fingerprint vouches for.
            Skip: the item cannot be used (unreadable, too large, empty); the reason is counted.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of what the source holds: the same on every machine, another when it holds other items.

        It need not read every byte. Picture files count by id and size, and by content where several are of one size:
        those that others of the same sizes have replaced may pass for the former.
        """

    def view(self, kind: str, split: Split, splitter: Splitter, *, max_side: int | None = None) -> "View":
        """What a sample of `split` may see of this source."""
        return View(self, kind, split, splitter, max_side=max_side)


class View:
    """The source as a sample of one split may see it: other items of the same split."""

    def __init__(
        self, source: Source, kind: str, split: Split, splitter: Splitter, *, max_side: int | None = None
    ) -> None:
        self.source, self.kind = source, kind
        self.split: Split = split
        self._splitter, self._max_side = splitter, max_side

    def another(self, item: Item, rng: np.random.Generator, *, nearby: bool = False) -> Item:
        """Another item of this split, of another group, drawn with `rng`; unreadable ones are passed over.

        Args:
            nearby: take it from the same folder as `item` where that holds another, so that where a picture was
                kept does not tell it apart.

        Raises:
            Skip: the split holds no other item.
        """
        index = self.source.index(self.kind)
        pools: list[Sequence[int]] = [range(len(index))]
        if nearby:
            pools.insert(0, index.neighbours(item.position))
        for position in itertools.chain.from_iterable(_in_random_order(pool, rng) for pool in pools):
            entry = index[position]
            if not self._is_another(entry, item):
                continue
            try:
                return self.source.load(self.kind, entry, max_side=self._max_side)
            except SourceChanged:
                raise  # to pass it over would be to ask another question than the one planned
            except Skip:
                continue
        raise Skip("no other item in its split")

    def has_another(self, item: Item) -> bool:
        """Whether `another` has one to choose: a task asks before it lets the answer depend on it."""
        index = self.source.index(self.kind)
        following = range(item.position + 1, item.position + len(index))
        return any(self._is_another(index[position % len(index)], item) for position in following)

    def _is_another(self, entry: Entry, item: Item) -> bool:
        return entry.group != item.group and self._splitter(entry) == self.split


def _in_random_order(pool: Sequence[int], rng: np.random.Generator, draws: int = 64) -> Iterator[int]:
    """Independent draws first, which nearly always suffice; then every element, from a random one on."""
    if not pool:
        return
    for _ in range(draws):
        yield pool[int(rng.integers(len(pool)))]
    start = int(rng.integers(len(pool)))
    for offset in range(len(pool)):
        yield pool[(start + offset) % len(pool)]
