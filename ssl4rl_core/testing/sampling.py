"""Many samples of several configs from one source, in one pass over its items, for checks that count."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from ssl4rl_core.configs import TaskConfig
from ssl4rl_core.errors import UsageError
from ssl4rl_core.rendering import render
from ssl4rl_core.samples import Sample, Split
from ssl4rl_core.sources import Source, Splitter
from ssl4rl_core.tasks import Skip


def draw_samples(
    configs: Sequence[TaskConfig], source: Source, count: int, *, seed: int = 0, max_side: int | None = None
) -> Iterator[tuple[TaskConfig, Sample]]:
    """`count` samples of each config, of items in random order: as many variants of each as that takes.

    All items stand on one side: the training split's, and for a downstream task the held-out one's. An item is read
    once for all configs that ask about its kind, and nothing is kept.

    Raises:
        UsageError: the source holds no item that a config can ask about; the message has the reasons.
    """
    groups: dict[tuple[str, Split], list[TaskConfig]] = {}
    for config in configs:
        source.check_serves(config.task)
        groups.setdefault((config.task.kind, "train" if config.task.reward else "test"), []).append(config)
    for (kind, split), group in groups.items():
        yield from _Drawing(source, kind, split, seed, max_side).samples(group, count)


class _Drawing:
    """Items of one kind and split, in an order drawn with `seed`."""

    def __init__(self, source: Source, kind: str, split: Split, seed: int, max_side: int | None) -> None:
        splitter = Splitter(test_fraction=0 if split == "train" else 1)
        self.source, self.kind, self.split, self.seed, self.max_side = source, kind, split, seed, max_side
        self.view = source.view(kind, split, splitter, max_side=max_side)
        index = source.index(kind)
        order = np.random.default_rng(seed).permutation(len(index)).tolist()
        self.order = [position for position in order if splitter(index[position]) == split]

    def samples(self, configs: Sequence[TaskConfig], count: int) -> Iterator[tuple[TaskConfig, Sample]]:
        left = {config.name: count for config in configs}
        skipped: Counter[str] = Counter()
        variants = math.ceil(count / max(1, len(self.order)))
        first = 0
        while any(left.values()):
            before = sum(left.values())
            for config, sample in self._pass(configs, left, range(first, first + variants), skipped):
                left[config.name] -= 1
                yield config, sample
            first += variants
            if sum(left.values()) == before:
                break
        for config in configs:
            if left[config.name] == count:
                reasons = ", ".join(f"{number} x {reason}" for reason, number in skipped.most_common(3))
                raise UsageError(
                    f"no item of {self.source.name} can become a question of {config.name}: {reasons or 'it is empty'}"
                )

    def _pass(
        self, configs: Sequence[TaskConfig], left: dict[str, int], variants: range, skipped: Counter[str]
    ) -> Iterator[tuple[TaskConfig, Sample]]:
        """The next variants of every item, for the configs that still lack samples."""
        index = self.source.index(self.kind)
        for position in self.order:
            if not any(left.values()):
                return
            try:
                item = self.source.load(self.kind, index[position], max_side=self.max_side)
            except Skip as skip:
                skipped[str(skip)] += 1
                continue
            for config in configs:
                for variant in variants:
                    if not left[config.name]:
                        break
                    try:
                        yield config, render(config, item, self.view, seed=self.seed, variant=variant)
                    except Skip as skip:
                        skipped[str(skip)] += 1
