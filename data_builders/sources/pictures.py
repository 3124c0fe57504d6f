"""What sources share that find their pictures as bytes in files: an index on disk, and reading from it."""

import os
from pathlib import Path

from data_builders.sources.decoding import decode
from data_builders.sources.index import DiskIndex, Place
from ssl4rl_core.samples import ImageItem
from ssl4rl_core.sources import Entry, Source
from ssl4rl_core.tasks import Skip, SourceChanged

MAX_BYTES = 2**29
"""No picture within the limit on pixels needs a larger file, and a whole file is held in memory while it is decoded."""


class IndexedPictures(Source):
    """Pictures that lie at places in files under `root`. Subclasses find them in `open`."""

    def __init__(self, name: str, root: Path, index: DiskIndex, license: str = "") -> None:
        self.name, self.license = name, license
        self._root, self._index = root, index

    def index(self, kind: str) -> DiskIndex:
        self.check_kind(kind)
        return self._index

    def load(self, kind: str, entry: Entry, *, max_side: int | None = None) -> ImageItem:
        data = self._read(self.index(kind).place(entry.position))
        return ImageItem(entry.id, entry.group, entry.position, decode(data, max_side=max_side))

    def _read(self, place: Place) -> bytes:
        """The bytes at a place. Raises Skip."""
        return read_place(self._root, place)

    def fingerprint(self) -> str:
        return self._index.fingerprint


def read_place(root: Path, place: Place) -> bytes:
    """The bytes at a place.

    Raises:
        SourceChanged: "file is gone" or "file has changed".
        Skip: "file cannot be read" or "file too large".
    """
    if place.size > MAX_BYTES:
        raise Skip("file too large")
    # One more byte than a whole file should hold, to see whether it has grown.
    wanted = place.size + (place.offset == 0)
    try:
        # Plain and unbuffered: this runs once for each of millions of files.
        with open(os.path.join(root, os.fsdecode(place.path)), "rb", buffering=0) as file:  # noqa: PTH118, PTH123
            if place.offset:
                file.seek(place.offset)
            data = file.read(wanted)
            written = os.fstat(file.fileno()).st_mtime_ns if place.written else 0
    except FileNotFoundError as error:
        raise SourceChanged("file is gone") from error
    except OSError as error:
        raise Skip("file cannot be read") from error
    if len(data) != place.size or written != place.written:
        raise SourceChanged("file has changed")
    return data


def read_or_none(root: Path, place: Place) -> bytes | None:
    """The bytes at a place, or None where `read_place` would skip them."""
    try:
        return read_place(root, place)
    except Skip:
        return None
