"""From an item and a task's config to a sample: seeding, the prompt's parts, the record."""

import hashlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ssl4rl_core.answers import BUILT_IN, canonical_json
from ssl4rl_core.configs import TaskConfig, suggestion
from ssl4rl_core.errors import TaskError, UsageError, one_line
from ssl4rl_core.samples import ImageItem, Item, Record, Sample
from ssl4rl_core.tasks import Draft, ImageParams, Skip, Task

if TYPE_CHECKING:
    from ssl4rl_core.sources import View

IMAGE_MARK = "<image>"


class PromptError(UsageError):
    """A template that was given in place of a task's own cannot be filled in."""


class TooSmall(Skip):
    """The picture's shorter side is below `min_side`."""


class PictureChanged(TypeError):
    """A task changed the picture of its item in place; it has been put back."""

    def __init__(self) -> None:
        super().__init__("transform changed the picture of its item in place: let it change item.image.copy()")


def check_sides(config: TaskConfig, max_side: int) -> None:
    """Raises UsageError where pictures brought to `max_side` pixels are all too small for the config."""
    task, params = config.task, config.params
    if not (isinstance(params, ImageParams) and issubclass(task.item_type, ImageItem)):
        return
    if max_side < params.min_side:
        raise UsageError(
            f"no picture can be large enough for {config.name}: max_side {max_side} is below its min_side "
            f"{params.min_side}: raise max_side to that or more, or write {task.name}:LEVEL?min_side={max_side} or less"
        )


def sample_rng(seed: int, config: TaskConfig, item_id: str, variant: int) -> np.random.Generator:
    """The generator a sample draws from: a function of what names the sample, and of nothing else."""
    task, item = config.task, canonical_json(item_id)
    key = f'[{seed},"{task.name}",{task.version},{config.params_json},{item},{variant}]'
    digest = hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))


def render(config: TaskConfig, item: Item, view: "View", *, seed: int = 0, variant: int = 0) -> Sample:
    """The sample that `config` makes of `item`.

    Raises:
        Skip: the item cannot become a question of this task.
        TaskError: the task's own code failed; the message names task and item.
        PromptError: the config's prompt is not the task's own, and does not fit what the task has drawn.
    """
    task, params = config.task, config.params
    if isinstance(item, ImageItem) and isinstance(params, ImageParams) and min(item.image.size) < params.min_side:
        raise TooSmall("picture smaller than min_side")
    try:
        draft = _transformed(config, item, sample_rng(seed, config, item.id, variant), view)
        if not isinstance(draft, Draft):
            raise TypeError(f"transform must return a Draft or raise Skip, and returned {draft!r}")
        return Sample(_record(config, item, view, variant, draft), tuple(draft.images))
    except (Skip, PromptError):
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise TaskError(
            f"task {config.name} failed on item {item.id!r}: {reason} (in plugin {type(task).__module__})"
        ) from error


def _transformed(config: TaskConfig, item: Item, rng: np.random.Generator, view: "View") -> Draft:
    if not isinstance(item, ImageItem):
        return config.task.transform(item, config.params, rng, view)
    picture, pixels = item.image, item.image.im
    # Other tasks get the same picture. Of one that is read-only Pillow copies the pixels before it changes any, so
    # that it can be told, and undone.
    picture.readonly = 1
    try:
        return config.task.transform(item, config.params, rng, view)
    finally:
        if picture.im is not pixels:
            picture.im = pixels
            raise PictureChanged


def _record(config: TaskConfig, item: Item, view: "View", variant: int, draft: Draft) -> Record:
    task, (question, parts) = config.task, _prompt(config, draft)
    return Record(
        task=task.name,
        version=task.version,
        level=config.level,
        question=question,
        parts=parts,
        answer=_recorded(task, draft),
        answer_text=draft.answer.text(),
        params=config.params_json,
        chance=_chance(config, draft),
        variant=variant,
        item=item.id,
        group=item.group,
        split=view.split,
        source=view.source.name,
    )


def _prompt(config: TaskConfig, draft: Draft) -> tuple[str, str]:
    """The prompt in one string, and its parts as JSON."""
    template, images = config.template, len(draft.images)
    try:
        if draft.fields:
            return _filled(template, {**config.params.model_dump(), **draft.fields}, images)
        if images not in config.filled:
            config.filled[images] = _filled(template, config.params.model_dump(), images)
        return config.filled[images]
    except ValueError as error:
        if config.prompt is None:
            raise
        raise PromptError(f"{config.name}: {error}") from error


def _filled(template: str, values: Mapping[str, object], images: int) -> tuple[str, str]:
    parts = fill(template, values, images)
    return "".join(part.get("text", IMAGE_MARK) for part in parts), canonical_json(parts)


_FIELD = re.compile(r"\{\{|\}\}|\{(\w+)\}")


def fill(template: str, values: Mapping[str, object], images: int) -> list[dict[str, str]]:
    """The prompt's parts. Marks are read in the template alone, so a value is only ever text.

    Raises:
        ValueError: the number of marks is not `images`, a field has no value, or a brace belongs to none.
    """
    if template.count(IMAGE_MARK) != images:
        marks = template.count(IMAGE_MARK)
        raise ValueError(f"the prompt has {marks} {IMAGE_MARK} marks for {images} images: write one for each")

    if brace := re.search("[{}]", _FIELD.sub("", template)):
        raise ValueError(f"the prompt has a {brace[0]} of no field: write {{name}}, or {2 * brace[0]} for the brace")

    def value(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0][0]
        if match[1] not in values:
            raise ValueError(
                f"the prompt's field {{{match[1]}}} is neither a param nor a field of the draft"
                f"{suggestion(match[1], values)}"
            )
        return str(values[match[1]])

    parts: list[dict[str, str]] = []
    for position, text in enumerate(template.strip().split(IMAGE_MARK)):
        if position:
            parts.append({"type": "image"})
        if text:
            parts.append({"type": "text", "text": _FIELD.sub(value, text)})
    return parts


def _chance(config: TaskConfig, draft: Draft) -> float:
    chance = draft.chance if draft.chance is not None else config.chance
    if chance is None:
        raise ValueError("neither the task nor its draft states a chance")
    return float(chance)


def _recorded(task: Task, draft: Draft) -> str:
    """The answer's JSON. It names the task where only the task's own code can score it."""
    text = draft.answer.to_json()
    if type(task).verify is Task.verify and type(draft.answer) in BUILT_IN:
        return text
    return text[:-1] + "," + canonical_json({"verifier": task.name})[1:]
