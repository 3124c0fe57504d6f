"""From a source's entry to samples: what a build writes, and what a sample set renders on the fly."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from data_builders.layout import composite
from data_builders.plan import BuildOptions
from ssl4rl_core.configs import TaskConfig
from ssl4rl_core.errors import Ssl4rlError, TaskError, one_line
from ssl4rl_core.rendering import TooSmall, render
from ssl4rl_core.samples import ImageItem, Item, Sample, Split
from ssl4rl_core.sources import Entry, Source
from ssl4rl_core.tasks import Skip

# A balanced item with k answers is given up after 20 (k + 1) draws in a row without a new one. Where just one more of
# k + 1 equally likely answers is left, that misses it with a probability of e^-20 or so.
_PATIENCE = 20


@dataclass(frozen=True)
class Renderer:
    """A source and the options that say how its items become samples."""

    source: Source
    options: BuildOptions

    def load(self, kind: str, entry: Entry) -> Item:
        """Read one item.

        Raises:
            Skip: it cannot be used, or the source's code failed on it and `on_error` says to go on.
            Ssl4rlError: the source's code failed on it.
        """
        try:
            return self.source.load(kind, entry, max_side=self.options.max_side)
        except (Skip, Ssl4rlError):
            raise
        except Exception as error:
            if self.options.on_error == "skip":
                raise Skip(f"source failed: {type(error).__name__}") from error
            raise Ssl4rlError(
                f"source {self.source.name} failed on item {entry.id!r}: {type(error).__name__}: {one_line(error)}"
            ) from error

    def samples(self, config: TaskConfig, item: Item, split: Split) -> Iterator[Sample | Skip]:
        """An item's samples of one config, up to `options.variants`; a Skip stands where none could be made.

        Raises:
            TaskError: the task's code failed, and `on_error` says to stop.
        """
        if not self.options.balance:
            for variant in range(self.options.variants):
                yield self._sample_or_skip(config, item, split, variant)
            return
        answers: set[str] = set()
        variant = last_new = 0
        while len(answers) < self.options.variants and variant - last_new <= _PATIENCE * (len(answers) + 1):
            sample = self._sample_or_skip(config, item, split, variant)
            if isinstance(sample, Skip):
                yield sample
                if not answers:
                    return  # an item that is skipped is so for its content, nearly always: once is enough
            elif sample.record.answer_text not in answers:
                answers.add(sample.record.answer_text)
                last_new = variant
                yield sample
            variant += 1

    def sample(self, config: TaskConfig, item: Item, split: Split, variant: int) -> Sample:
        """One sample, its pictures RGB and laid out as the options say. Raises Skip or TaskError as `render` does."""
        view = self.source.view(config.task.kind, split, self.options.splitter, max_side=self.options.max_side)
        try:
            sample = render(config, item, view, seed=self.options.seed, variant=variant)
        except TooSmall as skip:
            if isinstance(item, ImageItem) and max(item.image.size) == self.options.max_side:
                raise Skip("picture smaller than min_side at this max_side") from skip
            raise
        if any(image.mode != "RGB" for image in sample.images):
            sample = replace(sample, images=tuple(image.convert("RGB") for image in sample.images))
        return composite(sample) if self.options.layout == "composite" else sample

    def _sample_or_skip(self, config: TaskConfig, item: Item, split: Split, variant: int) -> Sample | Skip:
        try:
            return self.sample(config, item, split, variant)
        except Skip as skip:
            return skip
        except TaskError as error:
            if self.options.on_error == "stop":
                raise
            return Skip(f"task failed: {type(error.__cause__ or error).__name__}")
