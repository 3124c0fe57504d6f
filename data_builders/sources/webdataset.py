"""`webdataset:SHARDS`: the pictures inside tar files, found in one pass and read where they lie."""

import hashlib
import io
import os
import struct
import tarfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal, Self

from pydantic import Field, ValidationError

from data_builders.sources.decoding import EXTENSIONS
from data_builders.sources.files import common_folder, escaped, files_named, state_of
from data_builders.sources.index import Found, Place, open_index
from data_builders.sources.options import SourceOptions
from data_builders.sources.pictures import IndexedPictures, read_or_none
from ssl4rl_core.errors import Ssl4rlError, UsageError

_PICKLES = (".pickle", ".pkl", ".pt", ".pth", ".pyd")
_LARGEST_HEADER = 2**20
"""Bytes of a member's headers: those of paths take a few hundred, and what is longer must not fill the memory."""


class WebDatasetOptions(SourceOptions):
    pickles: Literal["refuse", "ignore"] = Field(
        default="refuse", description="whether shards that hold pickles, which can run code, are refused"
    )


class WebDataset(IndexedPictures):
    """The pictures in tar files on this machine, as webdataset writes them.

    `{00..99}`, `{train,val}` and `*` stand for several files. An item's id is the shard's name and the picture's name
    inside it, without their endings: `00012/000123`; of two with one id the first is taken. Pictures of one sample (the
    name up to its first dot) share a group, and so do identical ones. Entries are ordered as they lie, so that reading
    is sequential. A shard is refused that holds links, devices, sparse members, pickles, or names that are absolute or
    hold `..`, and a shard of a build that does not have the hash in the file beside it.

    Options: `license=CC0-1.0` is recorded in what is built. `pickles=ignore` reads the pictures of shards that hold
    pickles too (members ending in .pickle, .pkl, .pt, .pth, .pyd), and leaves those alone.
    """

    scheme = "webdataset"
    example = "webdataset:shards/{00..99}.tar"

    @classmethod
    def open(cls, where: str, **options: str) -> Self:
        chosen = WebDatasetOptions.read(cls.scheme, options)
        shards = files_named(cls.scheme, where, cls.example)
        root = common_folder(shards)
        name = f"{cls.scheme}:{escaped(Path(where).name)}"
        index = open_index(
            name,
            (str(root), chosen.pickles, *(str(shard.relative_to(root)) for shard in shards)),
            state_of(shards),
            (found for number, shard in enumerate(shards) for found in _pictures(root, shard, number, chosen)),
            partial(read_or_none, root),
        )
        if not len(index):
            raise UsageError(f"no pictures in {where}: looked for members ending in {' '.join(EXTENSIONS)}")
        source = cls(name, root, index, chosen.license)
        source.published_options = chosen.choice()
        return source


def _pictures(root: Path, shard: Path, number: int, options: WebDatasetOptions) -> Iterator[Found]:
    """The picture members of a tar, in order; only headers are read, and no list of members is kept.

    Raises:
        Ssl4rlError: the file is no plain tar, ends early, declares members that it does not hold, or holds what no
            honest shard does.
    """
    _check_hash(shard)
    path = shard.relative_to(root)
    folder = escaped(path.with_suffix("").as_posix())
    written = shard.stat().st_mtime_ns
    for member in _members(shard):
        name = PurePosixPath(member.name)
        if wrong := _wrong(member, name):
            raise Ssl4rlError(f"shard {shard} holds {member.name[:80]!r}, {wrong}: take it from its source again")
        if name.suffix.lower() in _PICKLES and options.pickles == "refuse":
            raise Ssl4rlError(
                f"shard {shard} holds {member.name[:80]!r}, a pickle, which can run code where it is loaded: where the "
                "shard is to be trusted, its pictures alone are read with ?pickles=ignore"
            )
        if not member.isreg() or name.suffix.lower() not in EXTENSIONS or name.name.startswith("."):
            continue
        sample = name.with_name(name.name.partition(".")[0])
        yield Found(
            id=f"{folder}/{escaped(str(name.with_suffix('')))}",
            sample=f"{folder}/{escaped(str(sample))}",
            order=struct.pack(">IQ", number, member.offset_data),
            folder=folder,
            place=Place(os.fsencode(path), member.offset_data, member.size, written=written),
        )


def _wrong(member: tarfile.TarInfo, name: PurePosixPath) -> str:
    """What no honest shard holds; folders are let be."""
    if name.is_absolute() or ".." in name.parts:
        return "a name that leads out of the shard"
    return "" if (member.isreg() and not member.issparse()) or member.isdir() else "which is not a plain file"


def _check_hash(shard: Path) -> None:
    """A shard of a build has what vouches for it beside it."""
    from data_builders.shards import Sidecar

    beside = shard.with_suffix(".json")
    if not beside.is_file():
        return
    try:
        with beside.open("rb") as file:
            sidecar = Sidecar.model_validate_json(file.read(_LARGEST_HEADER))
    except (OSError, ValidationError):
        return
    if sidecar.shard != shard.stem:
        return
    with shard.open("rb") as file:
        # The length first: what was added may be endless.
        same = os.fstat(file.fileno()).st_size == sidecar.bytes
        if not same or hashlib.file_digest(file, "sha256").hexdigest() != sidecar.sha256:
            raise Ssl4rlError(
                f"shard {shard} was changed after it was built, by its hash; build again into a new folder"
            )


class _Headers(io.FileIO):
    """A tar of which only headers are read, whatever size they say they have."""

    left = _LARGEST_HEADER
    """Bytes that may still be read for the next member."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= self.left:
            raise ValueError(f"a member has headers of more than {_LARGEST_HEADER} bytes")
        self.left -= size
        return super().read(size)


def _members(shard: Path) -> Iterator[tarfile.TarInfo]:
    length, end = shard.stat().st_size, 0
    try:
        with _Headers(shard) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            while (member := tar.next()) is not None:
                file.left = _LARGEST_HEADER
                tar.members.clear()  # pyright: ignore[reportAttributeAccessIssue]
                size = member.size if member.isreg() and not member.issparse() else 0
                if size < 0 or member.offset_data < end or member.offset_data + size > length:
                    raise Ssl4rlError(f"shard {shard} is broken: it ends inside {member.name[:80]!r}; fetch it again")
                end = member.offset_data + size
                yield member
            end = tar.offset
        _check_end(shard, end)
    except tarfile.TarError as error:
        mend = "fetch it again" if end else "if it is compressed, unpack it first"
        raise Ssl4rlError(f"shard {shard} is no whole tar file: {error}; {mend}") from error
    except (OSError, ValueError, OverflowError, RecursionError) as error:
        raise Ssl4rlError(f"shard {shard} cannot be read: {error}") from error


def _check_end(shard: Path, offset: int) -> None:
    """tarfile takes a header cut short, or garbage, for the end of the archive."""
    with shard.open("rb") as file:
        file.seek(offset)
        if (block := file.read(tarfile.BLOCKSIZE)) and block != bytes(tarfile.BLOCKSIZE):
            raise Ssl4rlError(f"shard {shard} is broken: no member and no end at byte {offset}; fetch it again")
