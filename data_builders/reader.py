"""Reading a build: random access to its samples, by code that can neither run what it reads nor leave the shard.

Only what `shards` writes is understood: plain USTAR files under names of ours. The tar headers are read one by one
rather than through `tarfile`, which would follow links, sparse maps and extended headers.
"""

import bisect
import hashlib
import io
import itertools
import re
import tarfile
import warnings
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from pydantic import ValidationError

from data_builders.encoding import EXTENSIONS
from data_builders.manifest import read_manifest
from data_builders.shards import Sidecar
from ssl4rl_core.errors import Ssl4rlError, UsageError
from ssl4rl_core.samples import Record, Sample, Split

if TYPE_CHECKING:
    from PIL.Image import Image

_BLOCK = tarfile.BLOCKSIZE
# What Pillow raises on files that are not what they say they are.
_BROKEN_PICTURE = (OSError, ValueError, SyntaxError)


class BuiltSamples:
    """A `SampleSet` over a finished build. A shard's index is read when a sample of it is first asked for."""

    def __init__(self, directory: str | Path) -> None:
        """Open the build in a folder; raises as `read_manifest` does."""
        self._directory = Path(directory)
        self.manifest = read_manifest(self._directory)
        self._formats = (self.manifest.plan.options.image_format.upper(),)
        self._extension = EXTENSIONS[self.manifest.plan.options.image_format]
        self._shards: dict[tuple[str, Split], list[Sidecar]] = {}
        for config in self.configs:
            self._shards[config, "train"], self._shards[config, "test"] = [], []
        for shard in self.manifest.shards:
            if shard.samples:
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
        if not 0 <= index < self.size(config, split):
            raise IndexError(f"{config} has {self.size(config, split)} samples in split {split}, asked for {index}")
        ends = self._ends[config, split]
        number = bisect.bisect_right(ends, index)
        shard = self._shards[config, split][number]
        path = self._directory / config / f"{shard.shard}.tar"
        if path not in self._indexes:
            self._indexes[path] = ShardIndex(path, shard, self._extension)
        *pictures, record = self._indexes[path].read(index - (ends[number] - shard.samples))
        return self._sample(path, record, pictures)

    def _sample(self, path: Path, record: bytes, pictures: list[bytes]) -> Sample:
        try:
            read = Record.model_validate_json(record)
            marks = [part["type"] for part in read.content()].count("image")
        except (ValidationError, ValueError, TypeError, KeyError) as error:
            raise _changed(path, "a record that is none of ours") from error
        if marks != len(pictures):
            raise _changed(path, f"{len(pictures)} pictures for a prompt with {marks}")
        return Sample(read, tuple(self._picture(path, picture) for picture in pictures))

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
            raise UsageError(f"no config {config!r} in {self._directory}: there are {', '.join(self.configs)}")
        return config, split


class ShardIndex:
    """Where the members of a shard's samples lie: 16 bytes a member."""

    def __init__(self, path: Path, shard: Sidecar, extension: str) -> None:
        """Read the headers of a shard.

        Raises:
            Ssl4rlError: it is missing, or not as it was built.
        """
        self._path = path
        self._offsets, self._sizes = array("q"), array("q")
        name = re.compile(rf"([0-9]{{9}}-[0-9]{{5,}})\.(json|[0-9]{{2}}\.{extension})")
        keys: dict[str, int] = {}
        try:
            with path.open("rb") as file:
                for member, offset, size in _members(path, file):
                    matched = name.fullmatch(member)
                    if matched is None:
                        raise _changed(path, f"a member called {member[:80]!r}")
                    keys[matched[1]] = keys.get(matched[1], 0) + 1
                    self._offsets.append(offset)
                    self._sizes.append(size)
        except OSError as error:
            raise Ssl4rlError(f"cannot read {path}: {error.strerror or error}; build again to make it anew") from error
        if len(keys) != shard.samples or len(set(keys.values())) > 1:
            raise _changed(path, f"{len(keys)} samples of {shard.samples}, or samples with members missing")
        self._members = len(self._sizes) // shard.samples

    def read(self, number: int) -> list[bytes]:
        """The members of a sample: its pictures in order, and its record last."""
        members = range(self._members * number, self._members * (number + 1))
        try:
            with self._path.open("rb") as file:
                return [_read(self._path, file, self._offsets[member], self._sizes[member]) for member in members]
        except OSError as error:
            raise Ssl4rlError(f"cannot read {self._path}: {error.strerror or error}") from error


def sha256(path: Path) -> str:
    """The hash of a file, read in pieces; empty where there is no such file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return ""


def _members(path: Path, file: BinaryIO) -> Iterator[tuple[str, int, int]]:
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


def _read(path: Path, file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    data = file.read(size)
    if len(data) != size:
        raise _changed(path, "less than it held a moment ago")
    return data


def _changed(path: Path, what: str) -> Ssl4rlError:
    return Ssl4rlError(f"shard {path} was changed after it was built: it holds {what}; build again into a new folder")
