"""What a source's tests ask of it: its ids, its groups, its pictures, and why others were skipped."""

import io

import numpy as np

from ssl4rl_core.samples import ImageItem
from ssl4rl_core.sources import Entry, Source
from ssl4rl_core.tasks import Skip


def noise(seed: int, format: str = "JPEG", side: int = 24) -> bytes:
    """A picture file of random pixels, side x side; the same for the same seed."""
    from PIL import Image

    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format)
    return file.getvalue()


def entries(source: Source) -> list[Entry]:
    """The index of a source of pictures, in order."""
    return list(source.index("image"))


def ids(source: Source) -> list[str]:
    """Ids in the order of the index."""
    return [entry.id for entry in entries(source)]


def groups(source: Source) -> dict[str, str]:
    """Group by id."""
    return {entry.id: entry.group for entry in entries(source)}


def load(source: Source, entry: Entry, *, max_side: int | None = None) -> ImageItem:
    """The item, for certain one with a picture."""
    item = source.load("image", entry, max_side=max_side)
    assert isinstance(item, ImageItem)
    return item


def outcomes(source: Source, *, max_side: int | None = None) -> dict[str, str]:
    """By id, the mode and size of the picture, "RGB 24x24", or why it was skipped."""
    found = {}
    for entry in entries(source):
        try:
            image = load(source, entry, max_side=max_side).image
            found[entry.id] = f"{image.mode} {image.width}x{image.height}"
        except Skip as skip:
            found[entry.id] = str(skip)
    return found
