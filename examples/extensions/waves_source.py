"""A source of one's own: pictures of waves, computed from their number.

    ssl4rl --plugin examples/extensions/waves_source.py preview rotation --source 'waves:200?side=128'

A source that reads files or a database looks the same: an index of ids, and `load`, which reads one of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from ssl4rl_core import Entry, ImageItem, Source, UsageError, hookimpl


@dataclass(frozen=True)
class Numbers:
    """Items called 0000, 0001, ...; kept all in one place."""

    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, position: int, /) -> Entry:
        if not 0 <= position < self.count:
            raise IndexError(position)
        return Entry(position, id=f"{position:06d}", group=f"{position:06d}")

    def __iter__(self) -> Iterator[Entry]:
        return map(self.__getitem__, range(self.count))

    def neighbours(self, position: int, /) -> Sequence[int]:
        return range(self.count)


class Waves(Source):
    """Coloured waves of random length and direction, brighter at the top.

    Option: `side=128`, of the square pictures in pixels.
    """

    scheme = "waves"
    example = "waves:200?side=128"
    license = "CC0-1.0"

    def __init__(self, count: int, side: int) -> None:
        self.name = f"waves:{count}?side={side}"
        self._numbers, self._side = Numbers(count), side

    @classmethod
    def open(cls, where: str, **options: str) -> Self:
        unknown = options.keys() - {"side"}
        if unknown:
            raise UsageError(f"waves has no option {min(unknown)!r}: there is side")
        side = options.get("side", "128")
        if not (where.isdecimal() and side.isdecimal()) or int(where) < 1 or not 8 <= int(side) <= 4096:
            raise UsageError(f"waves:{where}: write how many pictures, and a side of 8 to 4096: {cls.example}")
        return cls(int(where), int(side))

    def index(self, kind: str) -> Numbers:
        return self._numbers

    def load(self, kind: str, entry: Entry, *, max_side: int | None = None) -> ImageItem:
        from PIL import Image

        rng = np.random.default_rng(entry.position)
        down, right = np.mgrid[0 : self._side, 0 : self._side] / self._side
        phase = rng.uniform(2, 9) * down + rng.uniform(2, 9) * right
        waves = np.stack([np.sin(2 * np.pi * (phase + shift)) for shift in rng.random(3)], axis=-1)
        image = Image.fromarray((120 + 60 * waves + 60 * (0.5 - down)[..., None]).astype(np.uint8))
        if max_side is not None and self._side > max_side:
            image = image.resize((max_side, max_side))
        return ImageItem(entry.id, entry.group, entry.position, image)

    def fingerprint(self) -> str:
        return f"waves 1, {len(self._numbers)} of {self._side}"


@hookimpl
def ssl4rl_sources() -> list[type[Source]]:
    return [Waves]
