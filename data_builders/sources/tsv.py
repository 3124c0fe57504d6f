"""`tsv:FILE`: pictures as base64 in a column of tab-separated text, the form of MMBench and its kin."""

import codecs
import csv
import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import IO

from data_builders.sources.index import Found, Place
from data_builders.sources.tables import Row, Table, TableFiles, TableOptions, check_columns, entries_of
from ssl4rl_core.errors import Ssl4rlError
from ssl4rl_core.tasks import Skip, SourceChanged

MAX_ROW = 2**28
"""Bytes of a row. A picture of 190 MiB fits; what is longer is no table, and would be held whole."""
_NUMBERS = "index"
"""The column that VLMEvalKit's tables number their rows by."""


class Tsv(TableFiles):
    """The pictures in a column of tab-separated files with a header, as base64: MMBench, SEEDBench and their kin.

    `{00..99}`, `{train,val}` and `*` stand for several files. A cell may also hold the path of a file in the same
    folder or below, or, as in MMBench, the id of the row whose picture it shows; both rows then share a group. An
    item's id is the file's name without its ending and the row's `index`, or the row's number where there is no such
    column: `MMBench_DEV_EN/241`. Entries are ordered as the rows are.

    Options: `column=image` names the column; `id=COLUMN` takes ids from one (cells go on naming rows by their `index`
    where there is one); rows with the same value of `group=COLUMN` share a group, as identical pictures do;
    `split=COLUMN` keeps the table's own split (test, val, dev are held out); `license=CC0-1.0` is recorded in what is
    built.
    """

    scheme = "tsv"
    example = "tsv:MMBench_DEV_EN.tsv"

    @classmethod
    def entries(cls, file: Path, table: Table, options: TableOptions, root: Path) -> Iterator[Found]:
        records = _records(file)
        _, header = next(records)
        check_columns(str(file), options, header)
        numbered = not options.id and _NUMBERS in header
        columns = options.columns()
        if _NUMBERS in header and options.id != _NUMBERS:
            columns["key" if options.id else "id"] = _NUMBERS
        places = {field: header.index(name) for field, name in columns.items()}
        rows = (
            Row(number, offset=offset, **{field: record[place] for field, place in places.items()})
            for number, (offset, record) in enumerate(records)
        )
        yield from entries_of(table, rows, options, [root], prefixed=numbered)

    @classmethod
    def cells(cls, root: Path, column: str) -> "TsvCells":
        return TsvCells(root, column)


class TsvCells:
    """One column of the tab-separated files under a folder."""

    def __init__(self, root: Path, column: str) -> None:
        self._root, self._column = root, column

    def value(self, place: Place) -> object:
        file = os.path.join(self._root, os.fsdecode(place.path))  # noqa: PTH118 (once for each of millions of rows)
        try:
            with open(file, "rb") as opened:  # noqa: PTH123
                number = _header(opened, file).index(self._column)
                opened.seek(place.offset)
                return (_record(opened, file) or [])[number]
        except FileNotFoundError as error:
            raise SourceChanged("file is gone") from error
        except OSError as error:
            raise Skip("file cannot be read") from error
        except (IndexError, ValueError, Ssl4rlError) as error:
            raise SourceChanged("file has changed") from error


def tsv_texts(file: Path, column: str) -> Iterator[dict[str, str]]:
    """The cells beside the pictures in `column`, by column, row by row as `Tsv` has them.

    Raises:
        Ssl4rlError: the file cannot be read, is cut off or no table.
    """
    records = _records(file)
    _, header = next(records)
    for _, record in records:
        yield {name: text for name, text in zip(header, record, strict=True) if name != column}


def _records(file: Path) -> Iterator[tuple[int, list[str]]]:
    """The byte where a row starts, and its cells: the header first, and lines without text left out."""
    try:
        with file.open("rb") as opened:
            header = _header(opened, file)
            yield 0, header
            number, offset = 0, opened.tell()
            while (record := _record(opened, file)) is not None:
                if record != [""]:
                    if len(record) != len(header):
                        cells = f"{len(record)} cells, and the header {len(header)}"
                        raise Ssl4rlError(
                            f"row {number} of {file} has {cells}: it is cut off or no tab-separated table"
                        )
                    yield offset, record
                    number += 1
                offset = opened.tell()
    except OSError as error:
        raise Ssl4rlError(f"{file} cannot be read: {error.strerror or error}") from error


def _header(opened: IO[bytes], file: Path | str) -> list[str]:
    if opened.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
        opened.seek(0)
    return _record(opened, file) or []


def _record(opened: IO[bytes], file: Path | str) -> list[str] | None:
    """The next row, None at the end.

    Raises:
        Ssl4rlError: it is longer than a row may be.
    """
    start = opened.tell()

    def next_line() -> str:
        # Only ids need be text; a picture's base64 is ASCII in any encoding.
        line = opened.readline(MAX_ROW).decode("utf-8", "backslashreplace")
        if len(line) >= MAX_ROW or opened.tell() - start >= MAX_ROW:
            raise Ssl4rlError(f"{file} has a row of {MAX_ROW >> 20} MiB or more at byte {start}: is it a table?")
        return line

    line = next_line()
    if '"' not in line:
        return line.rstrip("\r\n").split("\t") if line else None
    # The limit is one for the whole process, and by default lower than a photograph is long.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_ROW))
    try:
        return next(csv.reader(chain([line], iter(next_line, "")), delimiter="\t"))
    except csv.Error as error:
        raise Ssl4rlError(f"{file} is no tab-separated table: {error} in the row at byte {start}") from error
