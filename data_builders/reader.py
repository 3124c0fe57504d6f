"""Reading a build: random access to its samples, by code that can neither run what it reads nor leave the shard.

Only what `shards` writes is understood: plain USTAR files under names of ours. The tar headers are read one by one
rather than through `tarfile`, which would follow links, sparse maps and extended headers. A shard is hashed before the
first sample of it is handed out.
"""

import bisect
import hashlib
import io
import itertools
import os
import re
import stat
import tarfile
import warnings
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from data_builders.encoding import EXTENSIONS
from data_builders.manifest import read_manifest
from data_builders.shards import Sidecar
from ssl4rl_core.errors import Ssl4rlError, UsageError
from ssl4rl_core.exporters import StoredSample
from ssl4rl_core.samples import Record, Sample, Split

if TYPE_CHECKING:
    from PIL.Image import Image

_BLOCK = tarfile.BLOCKSIZE
# Members are held in memory: bytes of a record and of a picture that no task of sense goes beyond.
_LARGEST_RECORD, _LARGEST_PICTURE = 2**26, 2**29
# Unlike the json module, pydantic's parser refuses what is nested too deeply.
_PARTS, _FIELDS = TypeAdapter(list[dict[str, str]]), TypeAdapter(dict[str, Any])


class BuiltSamples:
    """A `SampleSet` over a finished build. A shard's index is read when a sample of it is first asked for."""

    def __init__(self, directory: str | Path) -> None:
        """Open the build in a folder.

        Raises:
            UsageError: the folder holds no build.
            Ssl4rlError: the build is not finished, or its manifest is none of ours.
        """
        self.directory = Path(directory)
        self.manifest = read_manifest(self.directory)
        self._formats = (self.manifest.plan.options.image_format.upper(),)
        self._extension = EXTENSIONS[self.manifest.plan.options.image_format]
        self._shards: dict[tuple[str, Split], list[Sidecar]] = {}
        for config in self.configs:
            self._shards[config, "train"], self._shards[config, "test"] = [], []
        for shard in self.manifest.shards:
            if shard.samples > 0:
                self._shards[shard.config, shard.split].append(shard)
        self._ends = {
            key: list(itertools.accumulate(shard.samples for shard in shards)) for key, shards in self._shards.items()
        }
        self._indexes: dict[Path, ShardIndex] = {}

    @property
    def configs(self) -> list[str]:
        """Names of the configs, in the order they were built with."""
        return [config["name"] for config in self.manifest.plan.configs]

    def size(self, config: str, split: Split) -> int:
        """How many samples of a config there are in a split."""
        ends = self._ends[self._known(config, split)]
        return ends[-1] if ends else 0

    def sample(self, config: str, split: Split, index: int) -> Sample:
        """Sample `index` of a config in a split, in the order of the shards.

        Raises:
            IndexError: there is no such number.
            Ssl4rlError: the shard is missing, was changed since it was built, or holds what it should not.
        """
        path, stored = self._stored(config, split, index)
        return Sample(stored.record, tuple(self._picture(path, picture) for picture in stored.pictures))

    def stored(self, config: str, split: Split, index: int) -> StoredSample:
        """As `sample`, with each picture as the bytes of its file, unread."""
        return self._stored(config, split, index)[1]

    def balanced(self, config: str, split: Split, index: int) -> range:
        """The numbers of an item's samples, which stand together, in a balanced build; else this one alone."""
        first, end, size = index, index + 1, self.size(config, split)
        if self.manifest.plan.options.balance:
            item = self.stored(config, split, index).record.item
            while first > 0 and self.stored(config, split, first - 1).record.item == item:
                first -= 1
            while end < size and self.stored(config, split, end).record.item == item:
                end += 1
        return range(first, end)

    def _stored(self, config: str, split: Split, index: int) -> tuple[Path, StoredSample]:
        if not 0 <= index < self.size(config, split):
            raise IndexError(f"{config} has {self.size(config, split)} samples in split {split}, asked for {index}")
        ends = self._ends[config, split]
        number = bisect.bisect_right(ends, index)
        shard = self._shards[config, split][number]
        path = self.directory / config / f"{shard.shard}.tar"
        if path not in self._indexes:
            self._indexes[path] = ShardIndex(path, shard, self._extension)
        *pictures, data = self._indexes[path].read(index - (ends[number] - shard.samples))
        return path, StoredSample(read_record(path, shard, data, len(pictures)), tuple(pictures))

    def _picture(self, path: Path, data: bytes) -> "Image":
        from PIL import Image

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                # Of Pillow's many decoders, the one that wrote it.
                with Image.open(io.BytesIO(data), formats=self._formats) as image:
                    return image.convert("RGB")
        except (
            OSError,
            ValueError,
            SyntaxError,
            Image.DecompressionBombError,
            Image.DecompressionBombWarning,
        ) as error:
            raise _changed(path, "a picture that cannot be read") from error

    def _known(self, config: str, split: Split) -> tuple[str, Split]:
        if (config, split) not in self._ends:
            raise UsageError(f"no config {config!r} in {self.directory}: there are {', '.join(self.configs)}")
        return config, split


class ShardIndex:
    """Where the members of a shard's samples lie: 16 bytes a member."""

    def __init__(self, path: Path, shard: Sidecar, extension: str) -> None:
        """Read the headers of a shard, and compare its hash.

        Raises:
            Ssl4rlError: it is missing, or not as it was built.
        """
        self._path, self._shard, self._extension = path, shard, extension
        self._offsets, self._sizes = array("q"), array("q")
        self._members = 0
        self._state = (-1, -1)
        self.read(0)

    def read(self, number: int) -> list[bytes]:
        """The members of a sample: its pictures in order, and its record last. Raises as the constructor does."""
        try:
            if not stat.S_ISREG(self._path.stat().st_mode):
                raise Ssl4rlError(f"{self._path} is not a file; build again into a new folder")
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                if self._state != (state := (status.st_size, status.st_mtime_ns)):
                    self._scan(file)
                    self._state = state
                members = range(self._members * number, self._members * (number + 1))
                return [_read(self._path, file, self._offsets[member], self._sizes[member]) for member in members]
        except OSError as error:
            raise Ssl4rlError(
                f"cannot read {self._path}: {error.strerror or error}; build again to make it anew"
            ) from error

    def _scan(self, file: io.BufferedReader) -> None:
        """Note where members lie: KEY.00.jpg, KEY.01.jpg, ..., KEY.json, then those of the next key."""
        self._offsets, self._sizes, self._members = array("q"), array("q"), 0
        name = re.compile(rf"([0-9]{{9}}-[0-9]{{5,}})\.(json|[0-9]{{2}}\.{self._extension})")
        samples, pictures, key = 0, 0, ""
        for member, offset, size in _members(self._path, file):
            matched = name.fullmatch(member)
            if matched is None:
                raise _changed(self._path, f"a member called {member[:80]!r}")
            follows = matched[1] == key if pictures else matched[1] > key
            key, ending = matched.groups()
            is_last = ending == "json"
            if not follows or ending not in ("json", f"{pictures:02d}.{self._extension}"):
                raise _changed(self._path, f"{member!r} out of order, or members missing before it")
            if size > (_LARGEST_RECORD if is_last else _LARGEST_PICTURE):
                raise _changed(self._path, f"{member!r}, which has {size} bytes")
            self._offsets.append(offset)
            self._sizes.append(size)
            pictures = 0 if is_last else pictures + 1
            samples += is_last
            self._members = self._members or samples * len(self._sizes)
            if len(self._sizes) != samples * self._members + pictures or samples > self._shard.samples:
                raise _changed(self._path, f"sample {key} with members missing, or more samples than it should")
        if samples != self._shard.samples or pictures:
            raise _changed(self._path, f"{samples} samples of {self._shard.samples}, or samples with members missing")
        # The length first: what was added may be endless.
        if file.seek(0, io.SEEK_END) != self._shard.bytes or _digest(file) != self._shard.sha256:
            raise _changed(self._path, "other bytes, by their hash")


def read_record(path: Path, shard: Sidecar, data: bytes, pictures: int) -> Record:
    """The record of a sample with so many pictures.

    Raises:
        Ssl4rlError: it is none of ours, or of another config or split.
    """
    try:
        record = Record.model_validate_json(data)
        parts = _PARTS.validate_json(record.parts)
        for text in (record.answer, record.params):
            _FIELDS.validate_json(text)
    except ValidationError as error:
        raise _changed(path, "a record that is none of ours") from error
    marks = parts.count({"type": "image"})
    if marks + sum(part.keys() == {"type", "text"} and part["type"] == "text" for part in parts) != len(parts):
        raise _changed(path, "a record with a prompt that is none of ours")
    if marks != pictures:
        raise _changed(path, f"{pictures} pictures for a prompt with {marks}")
    if (record.config, record.split) != (shard.config, shard.split):
        raise _changed(path, f"a record of {record.task[:80]!r}, level {record.level[:80]!r}, split {record.split}")
    return record


def sha256(path: Path) -> str:
    """The hash of a file, read in pieces; empty where there is no such file."""
    try:
        with path.open("rb") as file:
            return _digest(file)
    except FileNotFoundError:
        return ""


def _digest(file: io.BufferedReader) -> str:
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()


def _members(path: Path, file: io.BufferedReader) -> Iterator[tuple[str, int, int]]:
    """Name, offset and size of each member."""
    end = file.seek(0, io.SEEK_END)
    position = 0
    while True:
        file.seek(position)
        header = file.read(_BLOCK)
        if header == bytes(_BLOCK):
            return
        try:
            member = tarfile.TarInfo.frombuf(header, "ascii", "strict")
        except (tarfile.HeaderError, ValueError) as error:
            raise _changed(path, "a broken or missing header") from error
        if member.type != tarfile.REGTYPE or member.linkname:
            raise _changed(path, f"{member.name[:80]!r}, which is not a plain file")
        offset = position + _BLOCK
        if not 0 <= member.size <= end - offset:
            raise _changed(path, f"{member.name[:80]!r}, which is said to be larger than the shard")
        yield member.name, offset, member.size
        position = offset + -(-member.size // _BLOCK) * _BLOCK


def _read(path: Path, file: io.BufferedReader, offset: int, size: int) -> bytes:
    file.seek(offset)
    data = file.read(size)
    if len(data) != size:
        raise _changed(path, "less than it held a moment ago")
    return data


def _changed(path: Path, what: str) -> Ssl4rlError:
    return Ssl4rlError(f"shard {path} was changed after it was built: it holds {what}; build again into a new folder")
