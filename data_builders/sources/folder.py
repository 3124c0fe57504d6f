"""`folder:DIR`: the picture files of a folder."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Self

from pydantic import Field, field_validator

from data_builders.sources.decoding import EXTENSIONS
from data_builders.sources.files import escaped, expanded
from data_builders.sources.index import Found, Place, open_index
from data_builders.sources.options import SourceOptions
from data_builders.sources.pictures import IndexedPictures, read_or_none
from ssl4rl_core.errors import Ssl4rlError, UsageError


class FolderOptions(SourceOptions):
    recursive: bool = Field(default=True, description="whether pictures in subfolders count")
    extensions: str = Field(default=",".join(EXTENSIONS), description="endings of the files to read: jpg,png")

    @field_validator("extensions")
    @classmethod
    def _known(cls, value: str) -> str:
        wanted = sorted({f".{each.strip().lower().lstrip('.')}" for each in value.split(",")})
        if unknown := [each for each in wanted if each not in EXTENSIONS]:
            raise ValueError(f"{unknown[0]!r} is no ending of a picture file: {' '.join(EXTENSIONS)}")
        return ",".join(wanted)


class Folder(IndexedPictures):
    """The picture files of a folder and its subfolders.

    An item's id is its path inside the folder, with `/`, whatever the machine. Entries are ordered by a hash of the id,
    so that the first thousand are as mixed as any thousand. Identical files share a group. Files and folders whose
    names start with a dot, and folders that are links, are passed over.

    Options: `recursive=false` leaves subfolders out, `extensions=jpg,png` takes only these files, `license=CC0-1.0`
    is recorded in what is built.
    """

    scheme = "folder"
    example = "folder:photos?recursive=true"

    @classmethod
    def open(cls, where: str, **options: str) -> Self:
        chosen = FolderOptions.read(cls.scheme, options)
        given = Path(expanded(where))
        root = given.resolve()
        if not where or not root.exists():
            raise UsageError(f"no folder {where!r}: write folder:DIR with a folder that holds pictures")
        if not root.is_dir():
            raise UsageError(f"{given} is a file: write folder:DIR with the folder that holds it")
        name = f"{cls.scheme}:{escaped(root.name if given.name in ('', '..') else given.name)}{chosen.choice()}"
        files = partial(_files, root, frozenset(chosen.extensions.split(",")), chosen.recursive)
        index = open_index(
            name,
            (str(root), str(chosen.recursive), chosen.extensions),
            _state(files()),
            (_found(path, status) for path, status in files()),
            partial(read_or_none, root),
        )
        if not len(index):
            deeper = "" if chosen.recursive else ", not counting its subfolders (recursive=false)"
            raise UsageError(f"no pictures in {given}{deeper}: looked for {chosen.extensions}")
        return cls(name, root, index, chosen.license)


def _files(root: Path, extensions: frozenset[str], recursive: bool) -> Iterator[tuple[str, os.stat_result]]:
    """Paths inside `root`, in whatever order the file system has, without holding more than the folders' names."""
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(root / folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        if recursive:
                            waiting.append(f"{folder}{entry.name}/")
                    elif os.path.splitext(entry.name)[1].lower() in extensions and entry.is_file():  # noqa: PTH122
                        with suppress(FileNotFoundError):
                            yield folder + entry.name, entry.stat()
        except OSError as error:
            raise Ssl4rlError(f"cannot list folder {root / folder}: {error.strerror}") from error


def _state(files: Iterator[tuple[str, os.stat_result]]) -> str:
    """Another one whenever a file was added, removed, or written; the same for any order of files."""
    total = 0
    for path, status in files:
        line = f"{path}\0{status.st_size}\0{status.st_mtime_ns}".encode("utf-8", "surrogateescape")
        total += int.from_bytes(hashlib.blake2b(line, digest_size=16).digest(), "big")
    return f"{total % 2**128:032x}"


def _found(path: str, status: os.stat_result) -> Found:
    id = escaped(path)
    # Not the hash that decides an item's split: the held-out ones would come first, and a limit would leave no others.
    order = hashlib.blake2b(id.encode(), digest_size=8, person=b"order").digest()
    place = Place(os.fsencode(path), 0, status.st_size, written=status.st_mtime_ns)
    return Found(id, id, order, id.rpartition("/")[0], place)
