"""What goes into a task and what comes out: the items a source hands out, and the sample with its record."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from PIL.Image import Image

Split = Literal["train", "test"]


@dataclass(frozen=True)
class Item:
    """One thing of a source. `id` is stable and unique there; items of one `group` never stand on both splits."""

    kind: ClassVar[str]
    domain: ClassVar[str]
    id: str
    group: str
    position: int
    """Its place in the source's index."""


@dataclass(frozen=True)
class ImageItem(Item):
    """A picture: RGB, EXIF applied, sRGB. Tasks must not change it in place: other tasks get the same object."""

    kind = "image"
    domain = "image"
    image: "Image"


@dataclass(frozen=True)
class QuestionItem(ImageItem):
    """A question of a benchmark about a picture, with options to choose from: for downstream tasks, never a reward."""

    kind = "question"
    question: str
    options: tuple[str, ...]
    """Two or more, in the benchmark's own order."""
    answer: int
    """The place of the right one among `options`, from 0."""
    hint: str = ""
    """What the benchmark tells besides, empty where it tells nothing."""
    category: str = ""
    """What the benchmark says that the question is about, empty where it does not."""


@dataclass(frozen=True)
class NodeItem(Item):
    """A node of a graph. `node` is its number there; its text and edges are the view's to give."""

    kind = "node"
    domain = "graph"
    node: int


@dataclass(frozen=True)
class EdgeItem(Item):
    """An edge of a graph. `edge` is its number there; `head` and `tail` are the numbers of its ends."""

    kind = "edge"
    domain = "graph"
    edge: int
    head: int
    tail: int


class Record(BaseModel):
    """A sample without its pixels: flat, the same fields for every task, never null and never a list.

    `answer`, `params` and `parts` are JSON text, so that records of all tasks concatenate into one table.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    task: str
    version: int
    level: str
    question: str
    """The prompt as one string, `<image>` where a picture stands; for readers that know no parts."""
    parts: str
    """JSON list of {"type": "text", "text": ...} and {"type": "image"}: the prompt in order, for chat templates."""
    answer: str
    """JSON of the typed answer."""
    answer_text: str
    """The canonical right answer."""
    params: str
    chance: float
    """Expected score of the best guesser who does not look."""
    variant: int
    item: str
    group: str
    split: Split
    source: str

    @property
    def config(self) -> str:
        """Name of the config it belongs to: "rotation-easy"."""
        return f"{self.task}-{self.level}"

    def content(self) -> list[dict[str, str]]:
        """The prompt's parts, as the content of a chat message."""
        return json.loads(self.parts)


@dataclass(frozen=True)
class Sample:
    """A question: its record and its pictures, in the order of the image parts."""

    record: Record
    images: "tuple[Image, ...]" = ()


class SampleSet(Protocol):
    """Samples by number, whether read from a build's shards or rendered from a source when asked for."""

    @property
    def configs(self) -> list[str]:
        """Names of the configs it holds: "rotation-easy"."""
        ...

    def size(self, config: str, split: Split) -> int:
        """How many samples of a config there are in a split."""
        ...

    def sample(self, config: str, split: Split, index: int) -> Sample:
        """Sample `index` of a config in a split.

        Raises:
            Skip: the item behind this number cannot become a question (rendered on the fly only).
        """
        ...


@runtime_checkable
class BalancedSet(Protocol):
    """A sample set that may have been balanced: each answer at most once an item."""

    def balanced(self, config: str, split: Split, index: int) -> range:
        """The numbers of the samples that belong together with sample `index`: of its item where the set is balanced,
        and it alone elsewhere.
        """
        ...
