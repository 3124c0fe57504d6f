"""What sources share whose pictures stand in the cells of a table: options, rows as entries, reading."""

import os
import struct
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

from pydantic import Field

from data_builders.sources.cells import file_inside, read_cell
from data_builders.sources.files import common_folder, escaped, files_named, state_of
from data_builders.sources.index import DiskIndex, Found, Place, digest_of, open_index
from data_builders.sources.options import SourceOptions
from data_builders.sources.pictures import IndexedPictures, read_or_none
from ssl4rl_core.errors import Ssl4rlError, UsageError
from ssl4rl_core.tasks import Skip, SourceChanged

if TYPE_CHECKING:
    import pyarrow as pa


class ColumnOptions(SourceOptions):
    column: str = Field(default="image", description="the column of the pictures")
    id: str = Field(default="", description="a column of ids, no two equal; else rows are numbered")
    group: str = Field(default="", description="a column: rows with the same value stay in one split")

    def columns(self) -> dict[str, str]:
        """The columns asked for, by what for: a field of `Row`."""
        return {"value": self.column} | {name: getattr(self, name) for name in ("id", "group") if getattr(self, name)}


class TableOptions(ColumnOptions):
    split: str = Field(default="", description="a column of the table's own split: train, test, val, ...")

    def columns(self) -> dict[str, str]:
        return super().columns() | ({"split": self.split} if self.split else {})


class Row(NamedTuple):
    """A row of a table as a scan comes across it; None where it has no such column or no value there."""

    number: int
    value: Any
    """What the column of the pictures holds."""
    id: Any = None
    group: Any = None
    split: Any = None
    offset: int = 0
    """Byte of the file where the row starts, for formats that are read by it."""
    key: Any = None
    """What other rows of the table call it by, where that is not its id."""


class Table(NamedTuple):
    """A file of rows."""

    path: bytes
    """As a `Place` has it."""
    number: int
    """Its place among the source's files."""
    name: str
    """Starts the ids of its rows where they are numbered; rows of tables of one name are neighbours."""
    first: int = 0
    """What its first row is numbered by in ids."""
    split: str = ""
    """The source's own split that all its rows belong to, "train" or "test"; empty where it has none."""


class Cells(Protocol):
    """Reads cells. Must be safe in threads, after a fork, and when pickled."""

    def value(self, place: Place) -> object:
        """What the column of the pictures holds in a row.

        Raises:
            SourceChanged: the file is gone or has changed.
            Skip: it cannot be read.
        """
        ...


class TablePictures(IndexedPictures):
    """Pictures in the cells of tables, or in files that those cells name."""

    def __init__(self, name: str, roots: Sequence[Path], index: DiskIndex, cells: Cells, license: str = "") -> None:
        """`roots`: places are relative to the first, and cells may name files in all of them."""
        super().__init__(name, roots[0], index, license)
        self._roots, self._cells = roots, cells

    def _read(self, place: Place) -> bytes:
        if place.row is None:
            return super()._read(place)
        cell = read_cell(self._cells.value(place))
        if cell.path:
            file_inside(cell.path, self._roots)
            raise SourceChanged("file has changed")  # the scan did not find it
        if len(cell.data) != place.size:
            raise SourceChanged("file has changed")
        if cell.reference:
            raise Skip("no row has this id")
        return cell.data


class TableFiles(TablePictures):
    """Tables that are files on this machine, named by a pattern. Subclasses read one kind of file."""

    @classmethod
    @abstractmethod
    def entries(cls, file: Path, table: Table, options: TableOptions, root: Path) -> Iterator[Found]:
        """The rows of a file, in order.

        Raises:
            UsageError: it lacks a column that an option names.
            Ssl4rlError: it is cut off, or another kind of file.
        """

    @classmethod
    @abstractmethod
    def cells(cls, root: Path, column: str) -> Cells:
        """One column of the files under a folder."""

    @classmethod
    def open(cls, where: str, **options: str) -> Self:
        chosen = TableOptions.read(cls.scheme, options)
        files = files_named(cls.scheme, where, cls.example)
        root = common_folder(files)
        name = f"{cls.scheme}:{escaped(Path(where).name)}{chosen.choice()}"
        paths = [file.relative_to(root) for file in files]
        tables = (
            Table(os.fsencode(path), at, escaped(path.with_suffix("").as_posix())) for at, path in enumerate(paths)
        )
        cells = cls.cells(root, chosen.column)
        index = open_index(
            name,
            (str(root), *map(str, paths)),
            state_of(files),
            (
                found
                for file, table in zip(files, tables, strict=True)
                for found in cls.entries(file, table, chosen, root)
            ),
            partial(read_or_none, root),
            unique=True,
            fresh=partial(as_found, [root], cells),
        )
        if not len(index):
            raise UsageError(f"{cls.scheme}:{where} has no rows")
        return cls(name, [root], index, cells, chosen.license)


def entries_of(
    table: Table, rows: Iterable[Row], options: ColumnOptions, roots: Sequence[Path], *, prefixed: bool = False
) -> Iterator[Found]:
    """The rows of a table as entries of an index. One that holds no picture is an entry too: it is counted.

    They come in order, but for rows with a key that show another's picture: those come last, when all ids are known.

    Args:
        prefixed: whether ids from a column are unique in their table only.

    Raises:
        Ssl4rlError: a row has no id.
    """
    ids: dict[str, str] = {}
    waiting: list[Found] = []
    for row in rows:
        if (prefixed or options.id) and row.id in (None, ""):
            raise Ssl4rlError(f"row {row.number} of {table.name} has no id: name another column, id=COLUMN")
        number = row.id if prefixed else f"{table.first + row.number:08d}"
        id = str(row.id) if options.id else f"{table.name}/{number}"
        place, digest, reference = _shown(table, row, roots)
        found = Found(
            id=id,
            sample=id if row.group in (None, "") else str(row.group),
            order=struct.pack(">IQ", table.number, row.number),
            folder=table.name,
            place=place,
            split=table.split if row.split in (None, "") else own_split(str(row.split)),
            digest=digest,
            same_as=f"{table.name}/{reference}" if reference and prefixed else reference,
        )
        if row.key is not None:
            key = str(row.key)
            ids[key] = id if key not in ids else ""  # two rows with one key: neither is meant
            if reference:
                waiting.append(found)
                continue
        yield found
    # Without `same_as` a row that shows another's is told to show none.
    yield from (found._replace(same_as=ids.get(found.same_as, "")) for found in waiting)


def _shown(table: Table, row: Row, roots: Sequence[Path]) -> tuple[Place, bytes | None, str]:
    """Where a row's picture lies, its digest where it was at hand, and whose picture it shows where that is told."""
    here = Place(table.path, row.offset, 0, row.number)
    try:
        cell = read_cell(row.value)
    except Skip:
        return here, None, ""
    if cell.path:
        return _named(cell.path, roots) or here._replace(written=-1), None, ""
    if cell.reference:
        return here, None, cell.reference
    return here._replace(size=len(cell.data)), digest_of(cell.data), ""


def _named(path: str, roots: Sequence[Path]) -> Place | None:
    """Where the file that a cell names lies; None where it cannot be had."""
    try:
        file, status = file_inside(path, roots)
    except Skip:
        return None
    root = os.path.realpath(roots[0])
    inside = os.fsencode(file.relative_to(root) if file.is_relative_to(root) else file)
    return Place(inside, 0, status.st_size, written=status.st_mtime_ns)


def as_found(roots: Sequence[Path], cells: Cells, index: DiskIndex) -> bool:
    """Whether all files that cells name are as the scan saw them, and those that it missed are still missing."""
    return all(_holds(place, roots, cells) for place in index.watched())


def _holds(place: Place, roots: Sequence[Path], cells: Cells) -> bool:
    try:
        if place.row is not None:
            return _named(read_cell(cells.value(place)).path, roots) is None
        status = (roots[0] / os.fsdecode(place.path)).stat()
    except Skip:
        return True
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (place.size, place.written)


def own_split(name: str) -> str:
    """ "test" for a split that is there to evaluate on (test, val, validation, dev, eval, testmini), else "train"."""
    return "test" if name.lower().startswith(("test", "val", "dev", "eval")) else "train"


def check_columns(source: str, options: ColumnOptions, columns: Sequence[str]) -> None:
    """Raises UsageError naming the first column that an option asks for and `columns` has not, and those there are."""
    for field, wanted in options.columns().items():
        if wanted not in columns:
            option = "column" if field == "value" else field
            raise UsageError(f"{source} has no column {wanted!r}: write {option}=COLUMN with one of {_listed(columns)}")


def check_schema(source: str, options: ColumnOptions, schema: "pa.Schema") -> None:
    """Raises UsageError where an option names a column that an Arrow schema has not, or that cannot hold pictures."""
    check_columns(source, options, schema.names)
    if not _may_hold_pictures(kind := schema.field(options.column).type):
        others = [field.name for field in schema if _may_hold_pictures(field.type)]
        mend = f"write column=COLUMN with one of {_listed(others)}" if others else "no other column does"
        raise UsageError(f"column {options.column!r} of {source} holds {str(kind)[:60]}, not pictures: {mend}")


def _may_hold_pictures(kind: "pa.DataType") -> bool:
    import pyarrow.types as types

    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_struct(kind):
        return "bytes" in {kind.field(number).name for number in range(kind.num_fields)}
    tests = (types.is_binary, types.is_large_binary, types.is_binary_view, types.is_fixed_size_binary)
    texts = (types.is_string, types.is_large_string, types.is_string_view)
    return any(test(kind) for test in (*tests, *texts))


def arrow_rows(batches: "Iterable[pa.RecordBatch]", options: ColumnOptions) -> Iterator[Row]:
    """The rows of Arrow batches, converted one by one: a batch of large pictures is never held twice."""
    number = 0
    for batch in batches:
        columns = {field: batch.column(name) for field, name in options.columns().items()}
        for within in range(batch.num_rows):
            yield Row(number, **{field: column[within].as_py() for field, column in columns.items()})
            number += 1


@contextmanager
def as_scanned() -> Iterator[None]:
    """Whatever Arrow raises for a cell in this block becomes SourceChanged: the scan has read the whole file once."""
    import pyarrow as pa

    try:
        yield
    except FileNotFoundError as error:
        raise SourceChanged("file is gone") from error
    except (IndexError, KeyError, OSError, pa.ArrowException) as error:
        raise SourceChanged("file has changed") from error


def _listed(columns: Sequence[str], most: int = 20) -> str:
    shown = [ascii(name)[1:-1][:40] for name in columns[:most]]
    return ", ".join(shown) + (f" and {len(columns) - most} more" if len(columns) > most else "")
