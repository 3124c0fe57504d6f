"""`webdataset:SHARDS`: the pictures inside tar files, found in one pass and read where they lie."""

import glob
import hashlib
import os
import re
import struct
import tarfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Self

from braceexpand import braceexpand

from data_builders.sources.decoding import EXTENSIONS
from data_builders.sources.folder import escaped
from data_builders.sources.index import Found, Place, open_index
from data_builders.sources.options import SourceOptions
from data_builders.sources.pictures import IndexedPictures, read_or_none
from ssl4rl_core.errors import Ssl4rlError, UsageError

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
"""An address ("pipe:", "https:"); two letters at least, so that a drive's letter is none."""


class WebDataset(IndexedPictures):
    """The pictures in tar files on this machine, as webdataset writes them.

    `{00..99}`, `{train,val}` and `*` stand for several files. An item's id is the shard's name and the picture's name
    inside it, without their endings: `00012/000123`; of two with one id the first is taken. Pictures of one sample (the
    name up to its first dot) share a group, and so do identical ones. Entries are ordered as they lie, so that reading
    is sequential. Links, devices, sparse members, and names that are absolute or hold `..` are passed over.

    Options: `license=CC0-1.0` is recorded in what is built.
    """

    scheme = "webdataset"
    example = "webdataset:shards/{00..99}.tar"

    @classmethod
    def open(cls, where: str, **options: str) -> Self:
        chosen = SourceOptions.read(cls.scheme, options)
        shards = _shards(where)
        root = Path(os.path.commonpath([shard.parent for shard in shards]))
        name = f"{cls.scheme}:{escaped(Path(where).name)}"
        index = open_index(
            name,
            (str(root), *(str(shard.relative_to(root)) for shard in shards)),
            _state(shards),
            (found for number, shard in enumerate(shards) for found in _pictures(root, shard, number)),
            partial(read_or_none, root),
        )
        if not len(index):
            raise UsageError(f"no pictures in {where}: looked for members ending in {' '.join(EXTENSIONS)}")
        return cls(name, root, index, chosen.license)


def _shards(where: str) -> list[Path]:
    """The files that a pattern names, sorted, none twice."""
    if address := _SCHEME.match(where):
        raise UsageError(f"webdataset sources read tar files on this machine, not {address.group()} addresses: {where}")
    try:
        patterns = list(braceexpand(str(Path(where).expanduser()))) if where else []
    except ValueError as error:
        raise UsageError(f"webdataset:{where}: {error}") from error
    shards: set[Path] = set()
    for pattern in patterns:
        # A file's own name comes before what its brackets could mean.
        matches = [pattern] if Path(pattern).is_file() else glob.glob(pattern, recursive=True)  # noqa: PTH207
        # Not resolved: caches link to files that are named by their hash.
        files = [Path(os.path.abspath(match)) for match in matches if Path(match).is_file()]  # noqa: PTH100
        if not files:
            raise UsageError(f"no file {pattern} (from webdataset:{where})")
        shards.update(files)
    if not shards:
        raise UsageError(f"webdataset:{where} names no file: write {WebDataset.example}")
    return sorted(shards)


def _state(shards: list[Path]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for shard in shards:
        status = shard.stat()
        digest.update(f"{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _pictures(root: Path, shard: Path, number: int) -> Iterator[Found]:
    """The picture members of a tar, in order; only headers are read, and no list of members is kept.

    Raises:
        Ssl4rlError: the file is no plain tar, ends early, or declares members that it does not hold.
    """
    path = shard.relative_to(root)
    folder = escaped(path.with_suffix("").as_posix())
    for member in _members(shard):
        name = PurePosixPath(member.name)
        if not member.isreg() or member.issparse() or name.is_absolute() or ".." in name.parts:
            continue
        if name.suffix.lower() not in EXTENSIONS or name.name.startswith("."):
            continue
        sample = name.with_name(name.name.partition(".")[0])
        yield Found(
            id=f"{folder}/{escaped(str(name.with_suffix('')))}",
            sample=f"{folder}/{escaped(str(sample))}",
            order=struct.pack(">IQ", number, member.offset_data),
            folder=folder,
            place=Place(os.fsencode(path), member.offset_data, member.size),
        )


def _members(shard: Path) -> Iterator[tarfile.TarInfo]:
    length, end = shard.stat().st_size, 0
    try:
        with tarfile.open(shard, mode="r:") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # pyright: ignore[reportAttributeAccessIssue]
                size = member.size if member.isreg() and not member.issparse() else 0
                if size < 0 or member.offset_data < end or member.offset_data + size > length:
                    raise Ssl4rlError(f"shard {shard} is broken: it ends inside {member.name!r}; fetch it again")
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
