"""Samples rendered from a source when they are asked for: the same that a build would write."""

import itertools
from array import array
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, TypeVar

from data_builders.plan import BuildOptions, as_configs
from data_builders.renderer import Renderer
from ssl4rl_core.configs import TaskConfig
from ssl4rl_core.errors import UsageError
from ssl4rl_core.plugins import registry
from ssl4rl_core.rendering import check_sides
from ssl4rl_core.samples import Item, Sample, Split
from ssl4rl_core.sources import Source
from ssl4rl_core.tasks import Skip

T = TypeVar("T")

# An item is asked several things in a row, and a picture takes under a megabyte at the default side.
_KEPT = 16


class LiveSamples:
    """A `SampleSet` over a source. Numbers count (item, variant) pairs, those that turn out to be skipped included."""

    def __init__(self, source: str | Source, configs: Sequence[str | TaskConfig], **options: Any) -> None:
        """Open a source; `options` are fields of `BuildOptions`, of which those about files do not matter.

        Raises:
            UsageError: a task, the source or an option is not known, or the source has no items for a task, or none
                that `max_side` leaves large enough.
        """
        self._source = registry().source(source) if isinstance(source, str) else source
        self._options = BuildOptions.checked(options)
        self._renderer = Renderer(self._source, self._options)
        self._configs = {config.name: config for config in as_configs(configs)}
        self._positions: dict[tuple[str, Split], array[int]] = {}
        for config in self._configs.values():
            self._source.check_serves(config.task)
            check_sides(config, self._options.max_side)
            self._divide(config.task.kind)
        self._items = _Recent[Item]()
        self._answered = _Recent[list[Sample | Skip]]()

    @property
    def configs(self) -> list[str]:
        """Names of the configs, in the order given."""
        return list(self._configs)

    def size(self, config: str, split: Split) -> int:
        """Items of the split times variants."""
        return len(self._of(config, split)) * self._options.variants

    def balanced(self, config: str, split: Split, index: int) -> range:
        """The numbers of an item's samples, where they are balanced; else this one alone."""
        together = self._options.variants if self._options.balance else 1
        first = index - index % together
        return range(first, first + together)

    def sample(self, config: str, split: Split, index: int) -> Sample:
        """Sample `index`: variant `index % variants` of an item.

        Raises:
            IndexError: there is no such number.
            Skip: the item cannot become a question, or, when balanced, has no more answers.
            TaskError: the task's code failed.
        """
        if not 0 <= index < self.size(config, split):
            raise IndexError(f"{config} has {self.size(config, split)} samples in split {split}, asked for {index}")
        number, variant = divmod(index, self._options.variants)
        asked = self._configs[config]
        position = self._of(config, split)[number]
        item = self._items.get((asked.task.kind, position), lambda: self._load(asked.task.kind, position))
        if not self._options.balance:
            return self._renderer.sample(asked, item, split, variant)
        made = self._answered.get((config, position), lambda: list(self._renderer.samples(asked, item, split)))
        samples = [sample for sample in made if isinstance(sample, Sample)]
        if variant < len(samples):
            return samples[variant]
        skip = next((skip for skip in made if isinstance(skip, Skip)), None)
        if samples or skip is None:
            raise Skip("item has fewer answers than variants")
        raise skip.with_traceback(None)  # it is kept, and may be raised again

    def _load(self, kind: str, position: int) -> Item:
        return self._renderer.load(kind, self._source.index(kind)[position])

    def _of(self, config: str, split: Split) -> "array[int]":
        if config not in self._configs:
            raise UsageError(f"no config {config!r}: there are {', '.join(self._configs)}")
        return self._positions[self._configs[config].task.kind, split]

    def _divide(self, kind: str) -> None:
        """Note which positions belong to which split: eight bytes an item."""
        if (kind, "train") in self._positions:
            return
        index, splitter = self._source.index(kind), self._options.splitter
        train, test = array("q"), array("q")
        for entry in itertools.islice(index, self._options.limit or None):
            (test if splitter(entry) == "test" else train).append(entry.position)
        self._positions[kind, "train"], self._positions[kind, "test"] = train, test


class _Recent(Generic[T]):
    """The values asked for last."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, T] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        if key not in self._kept:
            self._kept[key] = make()
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]
