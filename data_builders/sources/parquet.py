"""`parquet:FILES`: pictures in a column of parquet files."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from data_builders.sources.index import Found, Place
from data_builders.sources.row_groups import RowGroups, batches, open_parquet
from data_builders.sources.tables import (
    Row,
    Table,
    TableFiles,
    TableOptions,
    arrow_rows,
    as_scanned,
    check_schema,
    entries_of,
)
from ssl4rl_core.errors import Ssl4rlError, one_line


class Parquet(TableFiles):
    """The pictures in a column of parquet files on this machine.

    `{00..99}`, `{train,val}` and `*` stand for several files. The column holds a picture's bytes, an Image as datasets
    writes it, base64, or the path of a file in the same folder or below. An item's id is the file's name without its
    ending and the row's number there: `train-00000-of-00004/00000123`. Entries are ordered as the rows are, so that
    reading is sequential; another row costs its row group up to there, so files with groups of a few hundred rows, as
    datasets writes them, serve tasks best that look at other pictures.

    Options: `column=image` names the column; `id=COLUMN` takes ids from one; rows with the same value of `group=COLUMN`
    share a group, as identical pictures do; `split=COLUMN` keeps the table's own split (test, val, dev are held out);
    `license=CC0-1.0` is recorded in what is built.
    """

    scheme = "parquet"
    example = "parquet:train-*.parquet?column=image"

    @classmethod
    def entries(cls, file: Path, table: Table, options: TableOptions, root: Path) -> Iterator[Found]:
        return entries_of(table, _rows(file, options), options, [root])

    @classmethod
    def cells(cls, root: Path, column: str) -> "ParquetCells":
        return ParquetCells(root, column)


class ParquetCells:
    """One column of the parquet files under a folder."""

    def __init__(self, root: Path, column: str) -> None:
        self._groups = RowGroups(column, partial(os.path.join, root))

    def value(self, place: Place) -> object:
        assert place.row is not None
        with as_scanned():
            return self._groups.value(os.fsdecode(place.path), place.row)


def _rows(file: Path, options: TableOptions) -> Iterator[Row]:
    """All rows of a file, in order.

    Raises:
        UsageError: a column is missing.
        Ssl4rlError: the file is no whole parquet file.
    """
    import pyarrow as pa

    try:
        with open_parquet(str(file)) as opened:
            check_schema(str(file), options, opened.schema_arrow)
            groups = range(opened.num_row_groups)
            columns = dict.fromkeys(options.columns().values())
            read = (batch for group in groups for batch in batches(opened, group, columns, options.column))
            yield from arrow_rows(read, options)
    except (OSError, pa.ArrowException, MemoryError) as error:
        raise Ssl4rlError(f"{file} is no whole parquet file: {one_line(error)}; fetch it again") from error
