"""A page of samples with their answers: what a task asks about a source, before anything is built."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ssl4rl_core.configs import TaskConfig, param_text, parse_config, parse_configs
from ssl4rl_core.errors import Ssl4rlError, UsageError
from ssl4rl_core.formats import ResponseFormat
from ssl4rl_core.pages import Picture, write_page
from ssl4rl_core.plugins import Registry, registry
from ssl4rl_core.rendering import check_sides, render
from ssl4rl_core.samples import Item, Sample, Split
from ssl4rl_core.sources import Source, Splitter
from ssl4rl_core.tasks import Skip
from ssl4rl_core.verification import truth

# So many index entries are looked at for a sample that is wanted, however many are of the other split or skipped.
_TRIES = 50


@dataclass
class LevelPreview:
    """Samples of one config, and why items on the way to them were left out."""

    config: TaskConfig
    samples: list[Sample] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


def preview(
    task: str,
    source: str | Source,
    out: str | Path = "preview.html",
    *,
    count: int = 6,
    seed: int = 0,
    level: str = "",
    split: Split = "train",
    response_format: str = "think_answer",
    max_side: int = 512,
    show_answers: bool = False,
) -> list[LevelPreview]:
    """Write a self-contained HTML page of `count` samples a level, and return what is on it.

    Args:
        task: `NAME[:LEVEL][?param=value&...]`; without a level, easy.
        source: a source or its spec, `folder:photos`.
        out: where the page goes.
        seed: picks the items and seeds the samples; the same seed gives the same page.
        level: a level, or "all" for easy, medium and hard.
        max_side: longer sides of pictures are brought to this, pixels.
        show_answers: open the answers instead of hiding them behind a click.

    Raises:
        UsageError: the task, level, format or source is not known, the source does not hold what the task asks for, or
            `max_side` leaves no picture large enough.
        Ssl4rlError: no sample could be made; the message has the reasons.
    """
    found = registry()
    configs = _configs(task, level, found)
    for config in configs:
        check_sides(config, max_side)
    asked_format = found.format(response_format)
    opened = found.source(source) if isinstance(source, str) else source
    previews = sample_some(configs, opened, count=count, seed=seed, split=split, max_side=max_side)
    for each in previews:
        if not each.samples:
            reasons = ", ".join(f"{count} x {reason}" for reason, count in each.skipped.most_common())
            raise Ssl4rlError(
                f"no sample of {each.config.name} could be made of the {split} split of {opened.name}: "
                f"{reasons or 'it holds no item'}"
            )
    first = configs[0].task
    write_page(
        Path(out),
        "preview.html.j2",
        title=f"{first.name}: preview",
        task=first,
        about=(type(first).__doc__ or "").strip().partition("\n")[0],
        source=opened.name,
        split=split,
        seed=seed,
        format=response_format,
        show_answers=show_answers,
        levels=[_level(each, asked_format, found) for each in previews],
    )
    return previews


def sample_some(
    configs: Sequence[TaskConfig], source: Source, *, count: int, seed: int, split: Split, max_side: int | None = None
) -> list[LevelPreview]:
    """Up to `count` samples of each config from items drawn with `seed`; the levels of a task ask about the same items.

    Raises:
        UsageError: `count` is not positive, or the source does not hold what a task asks for.
    """
    kind = configs[0].task.kind
    if count < 1:
        raise UsageError(f"a preview needs 1 sample or more, got {count}")
    for config in configs:
        source.check_serves(config.task)
    previews = [LevelPreview(config) for config in configs]
    view = source.view(kind, split, Splitter(), max_side=max_side)
    for item in _some_items(source, kind, split, seed, _TRIES * count, max_side):
        wanting = [each for each in previews if len(each.samples) < count]
        if not wanting:
            break
        for each in wanting:
            try:
                if isinstance(item, Skip):
                    raise item
                each.samples.append(render(each.config, item, view, seed=seed))
            except Skip as skip:
                each.skipped[str(skip)] += 1
    return previews


def _some_items(
    source: Source, kind: str, split: Split, seed: int, tries: int, max_side: int | None
) -> Iterator[Item | Skip]:
    """Items of a split in an order drawn with `seed`; a Skip stands for one that could not be read."""
    index, splitter = source.index(kind), Splitter()
    rng = np.random.Generator(np.random.PCG64(seed))
    for position in rng.choice(len(index), size=min(tries, len(index)), replace=False) if len(index) else ():
        entry = index[int(position)]
        if splitter(entry) != split:
            continue
        try:
            yield source.load(kind, entry, max_side=max_side)
        except Skip as skip:
            yield skip


def _configs(task: str, level: str, found: Registry) -> list[TaskConfig]:
    if not level:
        return [parse_config(task, found)]
    name, _, params = task.partition("?")
    if ":" in name:
        raise UsageError(f"{task!r} names a level already: leave out --level, or the part after the colon")
    named = name if level == "all" else f"{name}:{level}"
    return parse_configs([f"{named}?{params}" if params else named], found)


def _level(preview: LevelPreview, response_format: ResponseFormat, found: Registry) -> dict[str, Any]:
    config = preview.config
    return {
        "name": config.level,
        "chance": config.task.chance(config.params),
        "params": {key: param_text(value) for key, value in config.params.model_dump(mode="json").items()},
        "samples": [_shown(sample, response_format, found) for sample in preview.samples],
        "skipped": preview.skipped.most_common(),
    }


def _shown(sample: Sample, response_format: ResponseFormat, found: Registry) -> dict[str, Any]:
    record, pictures = sample.record, iter(sample.images)
    answer, _ = truth(record, found)
    return {
        "item": record.item,
        "parts": [
            {"image": Picture.of(next(pictures))} if part["type"] == "image" else part for part in record.content()
        ],
        "instruction": response_format.instruction(answer.hint()),
        "answer": record.answer_text,
        "completion": response_format.wrap(record.answer_text, "..."),
    }
