"""A source of pictures held in memory, for tests and notebooks."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from ssl4rl_core.errors import UsageError
from ssl4rl_core.samples import ImageItem, QuestionItem
from ssl4rl_core.sources import Entry, Source

if TYPE_CHECKING:
    from PIL.Image import Image


class MemorySource(Source):
    """The RGB pictures of a mapping, by id; an id such as "cats/7" lies in the folder "cats".

    As questions, each asks for the picture's number, with four options.
    """

    scheme = "memory"
    example = "memory:pictures"
    kinds = ("image", "question")

    def __init__(self, images: "Mapping[str, Image]", name: str = "memory:pictures") -> None:
        self.name = name
        self._images = dict(images)
        self._index = _MemoryIndex([Entry(position, id, id) for position, id in enumerate(self._images)])

    @classmethod
    def open(cls, where: str, **options: str) -> Self:
        raise UsageError("a memory source is made in Python, from pictures: MemorySource({id: picture})")

    def index(self, kind: str) -> "_MemoryIndex":
        return self._index

    def load(self, kind: str, entry: Entry, *, max_side: int | None = None) -> ImageItem:
        image = self._images[entry.id]
        if max_side is not None and max(image.size) > max_side:
            image = image.copy()
            image.thumbnail((max_side, max_side))
        if kind == "question":
            place = entry.position % 4
            options = tuple(str(entry.position - place + number) for number in range(4))
            return QuestionItem(entry.id, entry.group, entry.position, image, "Which number has it?", options, place)
        return ImageItem(entry.id, entry.group, entry.position, image)

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for id, image in self._images.items():
            digest.update(f"{id}\0{image.mode}\0{image.size}\0".encode())
            digest.update(image.tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class _MemoryIndex:
    entries: Sequence[Entry]

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, position: int, /) -> Entry:
        return self.entries[position]

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def neighbours(self, position: int, /) -> Sequence[int]:
        folder = _folder(self.entries[position])
        return [entry.position for entry in self.entries if _folder(entry) == folder]


def _folder(entry: Entry) -> str:
    return entry.id.rpartition("/")[0]


def synthetic_picture(seed: int, width: int = 160, height: int = 120) -> "Image":
    """A picture of soft random patches under fine noise, the same for the same seed; no two parts of it look alike.

    All values lie in 60..255, so that black shows only where something was filled in.
    """
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(seed)
    patches = Image.fromarray(rng.integers(70, 245, (8, 8, 3), dtype=np.uint8)).resize(
        (width, height), Image.Resampling.BILINEAR
    )
    return Image.fromarray(np.asarray(patches) + rng.integers(-10, 11, (height, width, 3)).astype(np.uint8))


def synthetic_source(count: int = 8, **size: int) -> MemorySource:
    """`count` synthetic pictures."""
    return MemorySource({f"picture-{seed}": synthetic_picture(seed, **size) for seed in range(count)})
