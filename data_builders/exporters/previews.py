"""One sample of each task, as a card shows it: a picture beside the card, and the question with its answer."""

from dataclasses import dataclass

from data_builders.encoding import encode
from data_builders.layout import composite
from data_builders.manifest import Manifest
from data_builders.reader import BuiltSamples
from data_builders.shards import Sidecar
from ssl4rl_core.samples import Sample

_LARGEST = (960, 640)
"""Width and height, pixels."""
_LONGEST_TEXT = 2000


@dataclass(frozen=True)
class Preview:
    """A config's first sample. `picture` is a JPEG, empty where the sample has no picture."""

    config: str
    picture: bytes
    text: str

    @property
    def path(self) -> str:
        """Where the picture stands beside the card."""
        return preview_path(self.config)


def preview_path(config: str) -> str:
    """Where a config's picture stands beside the card."""
    return f"preview/{config}.jpg"


def previews(samples: BuiltSamples) -> list[Preview]:
    """A preview of each task that has a sample.

    Raises:
        Ssl4rlError: a shard was changed since it was built.
    """
    firsts = _first_shards(samples.manifest)
    return [_preview(shard.config, samples.sample(shard.config, shard.split, 0)) for shard in firsts]


def markdown(shown: list[Preview]) -> str:
    """The card's section with the previews."""
    return "## One sample of each task\n" + "".join(_section(preview) for preview in shown)


def _first_shards(manifest: Manifest) -> list[Sidecar]:
    """The first shard of each task that holds a sample."""
    by_task: dict[str, Sidecar] = {}
    for shard in manifest.shards:
        if shard.samples:
            by_task.setdefault(manifest.config(shard.config)["task"], shard)
    return list(by_task.values())


def _preview(config: str, sample: Sample) -> Preview:
    drawn = composite(sample)
    question = "".join(part.get("text", "") for part in drawn.record.content()).strip()
    picture = b""
    if drawn.images:
        image = drawn.images[0].copy()
        image.thumbnail(_LARGEST)
        picture = encode(image, "jpeg", 85)
    if len(question) > _LONGEST_TEXT:
        question = f"{question[:_LONGEST_TEXT]} [...]"
    return Preview(config, picture, f"{question}\n\nAnswer: {sample.record.answer_text}")


def _section(preview: Preview) -> str:
    picture = f"![{preview.config}]({preview.path})\n\n" if preview.picture else ""
    # Text of a graph's nodes may hold any Markdown: a fence longer than any run of backticks in it keeps it text.
    fence = "```"
    while fence in preview.text:
        fence += "`"
    return f"\n### {preview.config}\n\n{picture}{fence}text\n{preview.text}\n{fence}\n"
