"""Doing a unit of work: one decode of each item, one shard for each config."""

import contextlib
from collections import Counter
from collections.abc import Callable, Sequence

from data_builders.output import Output
from data_builders.plan import Plan, Unit
from data_builders.renderer import Renderer
from data_builders.shards import ShardWriter
from ssl4rl_core.configs import TaskConfig
from ssl4rl_core.errors import Ssl4rlError
from ssl4rl_core.samples import Item, Split
from ssl4rl_core.sources import Entry, Source
from ssl4rl_core.tasks import Skip, SourceChanged

Tick = Callable[[int, int], None]
"""Called after each item with the unit's items and samples so far; may raise, which ends the unit."""


class Worker:
    """Does units of a plan, from a source and with tasks of its own process."""

    def __init__(self, plan: Plan, output: Output, source: Source, configs: Sequence[TaskConfig]) -> None:
        self._plan, self._output = plan, output
        self._configs = configs
        self._renderer = Renderer(source, plan.options)

    def do(self, unit: Unit, tick: Tick) -> None:
        """Write the unit's shards. Doing it again, or elsewhere, writes the same bytes.

        Raises:
            Ssl4rlError: the source failed, or has changed since the plan was made.
            TaskError: a task's code failed.
        """
        with self._output.writing(unit) as folder, contextlib.ExitStack() as stack:
            shards = [
                (config, stack.enter_context(ShardWriter(folder, config.name, unit, self._plan.options)), Counter())
                for config in self._configs
                if config.task.kind == unit.kind
            ]
            samples = 0
            entries = unit.entries(self._renderer.source, self._plan.options.splitter)
            for done, entry in enumerate(entries, 1):
                samples += self._ask_all(entry, unit, shards)
                tick(done, samples)
            for _, shard, skips in shards:
                shard.finish(skips)

    def _ask_all(self, entry: Entry, unit: Unit, shards: Sequence[tuple[TaskConfig, ShardWriter, Counter[str]]]) -> int:
        """Write an item's samples of all configs. The item is gone on return: the next takes its place in the cache."""
        try:
            item = self._renderer.load(unit.kind, entry)
        except Skip as skip:
            for _, _, skips in shards:
                skips[self._reason(skip, entry.id)] += 1
            return 0
        return sum(self._ask(config, item, unit.split, shard, skips) for config, shard, skips in shards)

    def _ask(self, config: TaskConfig, item: Item, split: Split, shard: ShardWriter, skips: Counter[str]) -> int:
        """Write an item's samples of one config, and count the item once for each reason that kept one out."""
        written, reasons = 0, set()
        for sample in self._renderer.samples(config, item, split):
            if isinstance(sample, Skip):
                reasons.add(self._reason(sample, item.id))
                continue
            try:
                shard.add(item.position, sample)
                written += 1
            except Skip as skip:
                reasons.add(str(skip))
        skips.update(reasons)
        return written

    def _reason(self, skip: Skip, id: str) -> str:
        """Why an item is left out. Where it or one that its question needs has changed, the plan cannot be kept.

        Counting that too would let a drive that was away for a minute take items out for good: on resume, units that
        are done are not done again.
        """
        if isinstance(skip, SourceChanged) and self._plan.options.on_error == "stop":
            raise Ssl4rlError(
                f"source {self._plan.source} is not what the build was planned from any more: item {id!r}: {skip}; put "
                "it back and run the same command again, or build into a new folder (--on-error skip counts such items)"
            ) from skip
        return str(skip)
