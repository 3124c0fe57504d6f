"""Cells of parquet files by row number: a row group is read as a stream of batches, and the last few are kept."""

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_BATCH_BYTES = 2**24
_BATCH_ROWS = 256
"""Rows of one picture are stored once and told by a number: their sizes say not how much they unfold to."""
_BATCHES = 8
_FILES = 4
_BUFFER = 2**20


class RowGroups:
    """One column of parquet files, by file and row. Safe in threads, after a fork, and when pickled with its `opener`.

    The next rows cost what reading them in order costs; any other row costs its row group up to there. Memory is some
    batches of 16 MiB, however large the row groups are.
    """

    def __init__(self, column: str, opener: "Callable[[str], str | IO[bytes]]") -> None:
        """`opener` turns a file's name into a path of this machine or an open file."""
        self._column, self._opener = column, opener
        self._local = threading.local()

    def __reduce__(self) -> tuple[type["RowGroups"], tuple[Any, ...]]:
        return RowGroups, (self._column, self._opener)

    def value(self, file: str, row: int) -> Any:
        """What the column holds in a row.

        Raises:
            IndexError: the file has no such row.
            OSError, pyarrow.ArrowException: the file cannot be read, or is no parquet file.
        """
        # Not shared by threads, so that none waits for another's reading.
        kept: _Kept | None = getattr(self._local, "kept", None)
        if kept is None:
            kept = self._local.kept = _Kept(self._column, self._opener)
        return kept.value(file, row)


def open_parquet(source: "str | IO[bytes]") -> "pq.ParquetFile":
    """A parquet file, of which pages are read as they are needed. Not mapped: a file cut off while it is would kill."""
    import pyarrow.parquet as pq

    return pq.ParquetFile(source, buffer_size=_BUFFER, pre_buffer=False)


def batches(file: "pq.ParquetFile", group: int, columns: Iterable[str], sized_by: str) -> "Iterator[pa.RecordBatch]":
    """A row group as batches of about 16 MiB of the column `sized_by`, and of 256 rows at most."""
    metadata = file.metadata.row_group(group)
    chunks = map(metadata.column, range(metadata.num_columns))
    size = sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema.partition(".")[0] == sized_by)
    rows = min(_BATCH_ROWS, max(1, _BATCH_BYTES * metadata.num_rows // max(1, size)))
    # Without threads: a build has a process a core already.
    return file.iter_batches(rows, row_groups=[group], columns=list(columns), use_threads=False)


class _Kept:
    """What a thread has open: a few files, the row group it is in, the batches it read last."""

    def __init__(self, column: str, opener: "Callable[[str], str | IO[bytes]]") -> None:
        self._column, self._opener = column, opener
        self._files: OrderedDict[str, tuple[pq.ParquetFile, list[int]]] = OrderedDict()
        self._batches: OrderedDict[tuple[str, int, int], pa.Array] = OrderedDict()
        self._reading: tuple[str, int] = "", -1
        self._next, self._following = 0, iter(())

    def value(self, file: str, row: int) -> Any:
        for (name, first, last), column in reversed(self._batches.items()):
            if name == file and first <= row < last:
                return column[row - first].as_py()
        opened, starts = self._file(file)
        if not 0 <= row < starts[-1]:
            raise IndexError(f"row {row} of {starts[-1]}")
        group = bisect_right(starts, row) - 1
        if self._reading != (file, group) or row < self._next:
            self._reading, self._next = (file, group), starts[group]
            self._following = batches(opened, group, [self._column], self._column)
        try:
            for batch in self._following:
                column, first = batch.column(0), self._next
                self._next += len(column)
                if row < self._next:
                    self._batches[file, first, self._next] = column
                    while len(self._batches) > _BATCHES:
                        self._batches.popitem(last=False)
                    return column[row - first].as_py()
        except BaseException:
            # What failed ends or has lost its place: the next call starts the row group again.
            self._reading = "", -1
            raise
        raise IndexError(f"row {row}: the row group ends before it")

    def _file(self, name: str) -> "tuple[pq.ParquetFile, list[int]]":
        """The open file, and the row that each of its groups starts with; the number of rows last."""
        if name not in self._files:
            file = open_parquet(self._opener(name))
            sizes = (file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))
            self._files[name] = file, list(accumulate(sizes, initial=0))
            while len(self._files) > _FILES:
                self._files.popitem(last=False)
        self._files.move_to_end(name)
        return self._files[name]
