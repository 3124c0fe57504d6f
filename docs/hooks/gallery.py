"""Fills the gallery: every installed task at every level, asked about data that ordinary packages ship.

The tasks are those of the registry, so that of anybody's plugin that is installed is shown too. The same code and the
same packages give the same page; its pictures go into the site alone.
"""

import functools
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jinja2
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.utils import get_relative_url

from ssl4rl_core import Ssl4rlError, TaskConfig, registry
from ssl4rl_core.configs import param_text
from ssl4rl_core.pages import percent
from ssl4rl_core.preview import LevelPreview, sample_some
from ssl4rl_core.samples import Record
from ssl4rl_core.sources import Source
from ssl4rl_core.tasks import Task
from ssl4rl_core.testing.generated import generated_source
from ssl4rl_core.verification import truth

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page
    from PIL.Image import Image

MARK = "<!-- gallery -->"
_EMBEDDED = {"image": ("embedded:photos", "embedded:digits"), "graph": ("embedded:graphs",)}
_SEED = 1
_MAX_SIDE = 320  # pixels
_SMALLEST_SHOWN = 112  # pixels; smaller pictures are enlarged by a whole number


class _Picture(NamedTuple):
    url: str
    width: int
    height: int


def on_page_markdown(markdown: str, *, page: "Page", config: "MkDocsConfig", files: Files) -> str | None:
    """Put the gallery in the place of its mark, and its pictures among the site's files."""
    if MARK not in markdown:
        return None

    def add(name: str, image: "Image") -> _Picture:
        file = File.generated(config, f"gallery/{name}.jpg", content=_jpeg(image))
        files.append(file)
        zoom = max(1, _SMALLEST_SHOWN // max(image.size))
        return _Picture(get_relative_url(file.url, page.url), zoom * image.width, zoom * image.height)

    try:
        return markdown.replace(MARK, _template().render(tasks=[_shown(task, add) for task in _tasks()]))
    except Ssl4rlError as error:
        raise PluginError(f"gallery: {error}") from error


def _tasks() -> Iterator[Task]:
    """Pictures first, then graphs, then what is only evaluated; by name among equals."""
    yield from sorted(registry().tasks.values(), key=lambda task: (not task.reward, task.domain != "image", task.name))


def _shown(task: Task, add: Any) -> dict[str, Any]:
    configs = [TaskConfig(task, level, params) for level, params in task.levels.items()]
    source, previews = _previews(configs)
    return {
        "name": task.name,
        "about": (task.__doc__ or "").strip().partition("\n")[0],
        "origin": registry().origin("task", task.name),
        "version": task.version,
        "reward": task.reward,
        "source": source,
        "levels": [_level(preview, add) for preview in previews],
    }


def _previews(configs: list[TaskConfig]) -> tuple[str, list[LevelPreview]]:
    """The name of the first source that serves a task, and one sample of each of its levels, or why there is none."""
    task = configs[0].task
    split = "train" if task.reward else "test"
    previews = [LevelPreview(config) for config in configs]
    for source in _sources(task.domain):
        if task.kind in source.kinds:
            previews = sample_some(configs, source, count=1, seed=_SEED, split=split, max_side=_MAX_SIDE)
            if any(preview.samples for preview in previews):
                return source.name, previews
    return "", previews


@functools.cache
def _sources(domain: str) -> tuple[Source, ...]:
    if domain not in _EMBEDDED:
        return ()
    return *map(registry().source, _EMBEDDED[domain]), generated_source(domain)


def _level(preview: LevelPreview, add: Any) -> dict[str, Any]:
    config = preview.config
    sample = preview.samples[0] if preview.samples else None
    usual = type(config.params)()
    settings = {
        name: param_text(value)
        for name, value in config.params.model_dump(mode="json").items()
        if value != getattr(usual, name)
    }
    if sample is None:
        why = ", ".join(f"{count} x {reason}" for reason, count in preview.skipped.most_common())
        why = why or f"there are no items of kind {config.task.kind}"
        return {"name": config.level, "settings": settings, "sample": None, "why": why}
    pictures = [add(f"{config.name}-{number}", image) for number, image in enumerate(sample.images)]
    return {"name": config.level, "settings": settings, "sample": _question(sample.record, pictures)}


def _question(record: Record, pictures: list[_Picture]) -> dict[str, Any]:
    answer, _ = truth(record, registry())
    remaining = iter(pictures)
    return {
        "item": record.item,
        "parts": [
            {"picture": next(remaining)} if part["type"] == "image" else {"text": part["text"].strip()}
            for part in record.content()
        ],
        "hint": answer.hint(),
        "answer": record.answer_text,
        "chance": percent(record.chance, exact=True),
    }


def _jpeg(image: "Image") -> bytes:
    data = io.BytesIO()
    image.convert("RGB").save(data, "JPEG", quality=88)
    return data.getvalue()


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("gallery.md.j2")
