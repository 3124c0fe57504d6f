"""`hf:user/name?stream=true`: rows of a dataset's parquet files, read from the hub as they are asked for."""

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path
from typing import IO, NamedTuple, Self

import numpy as np

from data_builders.sources.cells import read_cell
from data_builders.sources.decoding import decode
from data_builders.sources.files import expanded
from data_builders.sources.hf import HfOptions, loading, published
from data_builders.sources.row_groups import RowGroups, open_parquet
from data_builders.sources.tables import check_schema
from ssl4rl_core.errors import Ssl4rlError, UsageError, one_line
from ssl4rl_core.samples import ImageItem, Item, Split
from ssl4rl_core.sources import Entry, Source, Splitter, View
from ssl4rl_core.tasks import Skip

_AT_ONCE = 16
"""Footers fetched at a time."""


class RemoteFile(NamedTuple):
    """A parquet file of a dataset."""

    url: str
    """With the commit in it, so that it never changes."""
    split: str
    side: str
    """The source's own split, "train" or "test", or empty."""
    rows: int
    content: str
    """Hash of its bytes."""


class HfStream(Source):
    """The rows of a dataset's parquet files. Their numbers come from the files' footers, all else when asked for."""

    scheme = "hf"
    example = "hf:user/name?stream=true"
    streamed = True

    def __init__(self, name: str, files: Sequence[RemoteFile], column: str, license: str = "") -> None:
        self.name, self.license = name, license
        self._files, self._index = files, RowIndex(files)
        self._groups = RowGroups(column, _remote)

    @classmethod
    def open(cls, where: str, **options: str) -> Self:
        """The rows of a dataset as they are asked for.

        Raises:
            UsageError: there is no such dataset, split or column, or it is not kept in parquet files.
            Ssl4rlError: the hub cannot be reached.
        """
        from datasets import load_dataset_builder

        chosen = HfOptions.read(cls.scheme, options)
        name = published(where, chosen)
        if chosen.id or chosen.group:
            raise UsageError("rows of a streamed dataset are known by number: leave out id= and group=, or stream=true")
        config, revision, folder = chosen.config or None, chosen.revision or None, expanded(where)
        source = folder if Path(folder).is_dir() else where
        builder = loading(where, lambda: load_dataset_builder(source, config, revision=revision))
        if builder.name != "parquet":
            raise UsageError(
                f"hf:{where} is kept as {builder.name}, only parquet can be streamed: leave out stream=true"
            )
        named = builder.config.data_files
        sides = chosen.named_splits(list(named), where)
        urls = [(str(url), split, side) for split, side in sides.items() for url in named[split]]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            asked = [pool.submit(_described, name, chosen, *each) for each in urls]
            files = loading(where, lambda: [future.result() for future in asked])
        if not sum(file.rows for file in files):
            raise UsageError(f"{name} has no rows")
        return cls(name, files, chosen.column, chosen.license)

    def index(self, kind: str) -> "RowIndex":
        self.check_kind(kind)
        return self._index

    def load(self, kind: str, entry: Entry, *, max_side: int | None = None) -> ImageItem:
        file, row = self.index(kind).place(entry.position)
        try:
            value = self._groups.value(file.url, row)
        except Exception as error:  # a network's failures are many, and none may pass for a picture that is broken
            raise Ssl4rlError(f"cannot read {file.url}: {one_line(error)}; run the same command again") from error
        data = read_cell(value).data
        if not data:
            raise Skip("path leads outside")
        return ImageItem(entry.id, entry.group, entry.position, decode(data, max_side=max_side))

    def fingerprint(self) -> str:
        lines = (f"{file.split}\0{file.rows}\0{file.content}\n" for file in self._files)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def view(self, kind: str, split: Split, splitter: Splitter, *, max_side: int | None = None) -> View:
        return _OwnItemOnly(self, kind, split, splitter, max_side=max_side)


class RowIndex:
    """Rows as entries, made when asked for."""

    def __init__(self, files: Sequence[RemoteFile]) -> None:
        self._files = files
        self._starts = list(accumulate((file.rows for file in files), initial=0))
        self._firsts: dict[str, int] = {}
        for start, file in zip(self._starts, files, strict=False):
            self._firsts.setdefault(file.split, start)

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, position: int, /) -> Entry:
        file, _ = self.place(position)
        id = f"{file.split}/{position - self._firsts[file.split]:08d}"
        return Entry(position, id, id, file.side)

    def __iter__(self) -> Iterator[Entry]:
        return map(self.__getitem__, range(len(self)))

    def neighbours(self, position: int, /) -> Sequence[int]:
        """Positions of the rows of the same file, itself included."""
        _, row = self.place(position)
        start = position - row
        return range(start, self._starts[bisect_right(self._starts, position)])

    def place(self, position: int) -> tuple[RemoteFile, int]:
        """The file of a row, and the row's number there."""
        if not 0 <= position < len(self):
            raise IndexError(f"no entry {position} among {len(self)}")
        number = bisect_right(self._starts, position) - 1
        return self._files[number], position - self._starts[number]


class _OwnItemOnly(View):
    def another(self, item: Item, rng: np.random.Generator, *, nearby: bool = False) -> Item:
        raise self._refusal()

    def has_another(self, item: Item) -> bool:
        raise self._refusal()

    def _refusal(self) -> UsageError:
        return UsageError(f"{self.source.name} is streamed, and this task looks at other items: leave out stream=true")


def _described(name: str, options: HfOptions, url: str, split: str, side: str) -> RemoteFile:
    from fsspec.core import url_to_fs

    files, path = url_to_fs(url)
    about = files.info(path)
    content = (about.get("lfs") or {}).get("sha256") or about.get("blob_id")
    if not content:
        with files.open(path, "rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    with _remote(url) as file, open_parquet(file) as opened:
        check_schema(name, options, opened.schema_arrow)
        return RemoteFile(url, split, side, opened.metadata.num_rows, content)


def _remote(url: str) -> "IO[bytes]":
    from fsspec.core import url_to_fs

    files, path = url_to_fs(url)
    return files.open(path, "rb")
