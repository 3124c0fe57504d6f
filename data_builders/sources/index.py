"""An index of pictures on disk: built once, reused while what it describes has not changed, flat in memory."""

import hashlib
import os
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import platformdirs
from rich.console import Console
from rich.progress import MofNCompleteColumn

from ssl4rl_core.bars import bar, bytes_bar
from ssl4rl_core.errors import Ssl4rlError
from ssl4rl_core.sources import Entry

CACHE_VARIABLE = "SSL4RL_CACHE"
_LAYOUT = 6
"""Raised whenever the tables, what they say or the order of entries change, so that older files are left alone."""
_ENTRY, _PLACE = "position, id, grp, split", "path, start, size, row, written"
"""Columns of an `Entry` and of a `Place`."""
_ROWS = f"SELECT {_ENTRY}, {_PLACE} FROM entries WHERE position BETWEEN ? AND ? ORDER BY position"
_PAGE = 64
"""Rows read at once by who reads in order."""


class Place(NamedTuple):
    """Where the bytes of a picture lie."""

    path: bytes
    """File name as the file system has it, relative to the source's root."""
    offset: int
    size: int
    row: int | None = None
    """Number of the row whose cell holds the picture, where the file is a table; `offset` is then the table's own."""
    written: int = 0
    """When the file was last written, in nanoseconds, as the scan saw it; 0 where that is not watched. -1 for a row
    whose cell names a file that could not be had."""


class Found(NamedTuple):
    """A picture as a scan of its source came across it."""

    id: str
    sample: str
    """Pictures of one sample share a group; the id where it stands alone."""
    order: bytes
    """Entries are sorted by this, then by id."""
    folder: str
    """Entries of one folder are neighbours."""
    place: Place
    split: str = ""
    """The source's own, "train" or "test"; a group with a held-out picture is held out whole."""
    digest: bytes | None = None
    """`digest_of` the bytes, where the scan had them at hand."""
    same_as: str = ""
    """Id of the entry whose picture this one shows; its place and digest are taken."""


class DiskIndex:
    """The entries of a source, read from an index file. Safe in threads, after a fork, and when pickled.

    Raises:
        Ssl4rlError: the file is gone or is no index.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        about = dict(self._query("SELECT name, value FROM about"))
        self._length = int(about["length"])
        self.fingerprint: str = about["fingerprint"]
        """Hash of ids, sizes, and the content of files of equal size: the same on every machine."""

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, position: int, /) -> Entry:
        return self._row(position)[0]

    def __iter__(self) -> Iterator[Entry]:
        return (Entry(*row) for row in self._query(f"SELECT {_ENTRY} FROM entries ORDER BY position"))

    def neighbours(self, position: int, /) -> Sequence[int]:
        """Positions of the entries in the same folder, itself included; looked up when asked for."""
        (folder,) = self._one("SELECT folder FROM entries WHERE position = ?", position)
        return _Folder(self, folder)

    def place(self, position: int) -> Place:
        """Where the bytes of an entry lie."""
        return self._row(position)[1]

    def watched(self) -> Iterator[Place]:
        """The places whose `written` is not 0, in the order of the entries."""
        statement = f"SELECT {_PLACE} FROM entries WHERE written != 0 ORDER BY position"
        return (Place(*row) for row in self._query(statement))

    def __reduce__(self) -> tuple[type["DiskIndex"], tuple[Path]]:
        return DiskIndex, (self.path,)

    def _row(self, position: int) -> tuple[Entry, Place]:
        """An entry and its place. Read in order, as a build does, rows come from the file many at a time."""
        first, rows = getattr(self._local, "page", (0, []))
        if not first <= position < first + len(rows):
            last = position + _PAGE - 1 if position == first + len(rows) else position
            rows = [(Entry(*row[:4]), Place(*row[4:])) for row in self._query(_ROWS, position, last)]
            if not rows:
                raise IndexError(f"no entry {position} among {self._length}")
            self._local.page = first, rows = position, rows
        return rows[position - first]

    def _one(self, statement: str, *values: int) -> tuple:
        row = self._query(statement, *values).fetchone()
        if row is None:
            raise IndexError(f"no entry {values} among {self._length}")
        return row

    def _query(self, statement: str, *values: int) -> sqlite3.Cursor:
        owner, connection = getattr(self._local, "connection", (None, None))
        try:
            # SQLite connections must not be carried into a forked process.
            if connection is None or owner != os.getpid():
                # The file never changes once it has its name, so that no lock is needed, on a network drive either.
                connection = sqlite3.connect(f"file:{quote(str(self.path))}?mode=ro&immutable=1", uri=True)
                self._local.connection = os.getpid(), connection
            return connection.execute(statement, values)
        except sqlite3.Error as error:
            raise Ssl4rlError(
                f"index {self.path}: {error}; it was removed or changed, run the command again"
            ) from error


class _Folder(Sequence[int]):
    def __init__(self, index: DiskIndex, folder: int) -> None:
        self._index, self._folder = index, folder
        statement = "SELECT rank FROM entries WHERE folder = ? ORDER BY rank DESC LIMIT 1"
        self._length = index._one(statement, folder)[0] + 1

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, rank):
        if isinstance(rank, slice):
            return [self[each] for each in range(*rank.indices(self._length))]
        rank = rank + self._length if rank < 0 else rank
        return self._index._one("SELECT position FROM entries WHERE folder = ? AND rank = ?", self._folder, rank)[0]


def cache_folder() -> Path:
    """Where indexes are kept: `$SSL4RL_CACHE`, or the platform's cache folder of this user."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named).expanduser() if named else platformdirs.user_cache_path("ssl4rl", appauthor=False)


def digest_of(data: bytes) -> bytes:
    """What equal pictures are told by."""
    return hashlib.blake2b(data, digest_size=20).digest()


def open_index(
    source: str,
    options: Iterable[str],
    state: str,
    scan: Iterable[Found],
    read: Callable[[Place], bytes | None],
    *,
    unique: bool = False,
    fresh: Callable[[DiskIndex], bool] = lambda index: True,
) -> DiskIndex:
    """The index of a source from the cache, or a new one where the source has changed.

    Args:
        source: the published name of the source, for messages.
        options: whatever else tells this index from others: the absolute path, options that choose entries.
        state: changes whenever the source may have changed; cheap to compute (sizes and times).
        scan: the pictures, in any order; run through only when the index has to be built.
        read: the bytes at a place that is no row, or None where they cannot be read.
        unique: an id that comes twice is an error; else the first to come is taken.
        fresh: whether an index from the cache still holds, for what `state` cannot tell.

    Raises:
        Ssl4rlError: the index cannot be written, or an id comes twice.
    """
    key = hashlib.sha256("\0".join([str(_LAYOUT), source, *options]).encode("utf-8", "backslashreplace")).hexdigest()
    path = cache_folder() / "index" / f"{key[:16]}-{state}.sqlite"
    with suppress(Ssl4rlError, KeyError):
        if fresh(index := DiskIndex(path)):
            return index
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, source, scan, read, unique)
        for old in path.parent.glob(f"{key[:16]}-*.sqlite"):
            if old != path:
                old.unlink(missing_ok=True)
        return DiskIndex(path)
    except (OSError, sqlite3.Error) as error:
        raise Ssl4rlError(
            f"cannot write the index of {source} to {path.parent}: {error}; set {CACHE_VARIABLE} to a folder with room"
        ) from error


def _write(path: Path, source: str, scan: Iterable[Found], read: Callable[[Place], bytes | None], unique: bool) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=".tmp", dir=path.parent)
    os.close(handle)
    unfinished = Path(name)
    try:
        with closing(sqlite3.connect(unfinished, isolation_level=None)) as connection:
            # No journal: an index that was not finished is thrown away whole.
            connection.executescript(_TABLES)
            connection.execute("BEGIN")
            _insert(connection, source, scan, unique)
            connection.execute(_FOLLOW)
            _hash_equal_sizes(connection, source, read)
            _group(connection)
            connection.execute(_ENTRIES)
            connection.execute("CREATE UNIQUE INDEX folders ON entries (folder, rank)")
            connection.execute("INSERT INTO about SELECT 'length', count(*) FROM entries")
            connection.execute("INSERT INTO about VALUES ('fingerprint', ?)", (_fingerprint(connection),))
            connection.execute("COMMIT")
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TEMP TABLE found (
    id TEXT PRIMARY KEY, sample TEXT, grp TEXT, sort BLOB, folder TEXT, path BLOB, start INTEGER, size INTEGER,
    row INTEGER, written INTEGER, split TEXT, digest BLOB, same_as TEXT
) WITHOUT ROWID;
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE entries (
    position INTEGER PRIMARY KEY, id TEXT, grp TEXT, split TEXT, folder INTEGER, rank INTEGER, path BLOB,
    start INTEGER, size INTEGER, row INTEGER, written INTEGER
);
"""
_ENTRIES = """
INSERT INTO entries
SELECT
    row_number() OVER (ORDER BY sort, id) - 1, id, grp, split, dense_rank() OVER (ORDER BY folder),
    row_number() OVER (PARTITION BY folder ORDER BY sort, id) - 1, path, start, size, row, written
FROM found ORDER BY sort, id
"""
_FOLLOW = """
UPDATE found SET
    path = shown.path, start = shown.start, size = shown.size, row = shown.row, written = shown.written,
    digest = shown.digest
FROM found AS shown WHERE found.same_as != '' AND shown.id = found.same_as AND shown.same_as = ''
"""
_EQUAL_SIZES = """
FROM found WHERE digest IS NULL AND row IS NULL AND size IN (SELECT size FROM found GROUP BY size HAVING count(*) > 1)
"""
_SPLIT = """
UPDATE found SET split = held.split FROM (
    SELECT grp, min(split) AS split FROM found WHERE split != '' GROUP BY grp
) AS held WHERE found.grp = held.grp AND found.split != held.split
"""
"""`min`, for "test" comes before "train"."""
_JOIN = """
UPDATE found SET grp = joined.first FROM (
    SELECT {by} AS shared, min(grp) AS first FROM found WHERE {by} IS NOT NULL GROUP BY {by} HAVING count(*) > 1
) AS joined WHERE found.{by} = joined.shared AND found.grp > joined.first
"""


def _insert(connection: sqlite3.Connection, source: str, scan: Iterable[Found], unique: bool) -> None:
    id = ""
    with bar(Console(stderr=True), MofNCompleteColumn()) as progress:
        task = progress.add_task(f"looking through {source}", total=None)

        def rows() -> Iterator[tuple]:
            nonlocal id
            for number, found in enumerate(scan, 1):
                id = found.id
                yield (
                    *(id, found.sample, found.sample, found.order, found.folder),
                    *(*found.place, found.split, found.digest, found.same_as),
                )
                if number % 1000 == 0:
                    progress.update(task, completed=number)

        marks = ", ".join("?" * 13)
        try:
            connection.executemany(f"INSERT {'' if unique else 'OR IGNORE'} INTO found VALUES ({marks})", rows())
        except sqlite3.IntegrityError as error:
            raise Ssl4rlError(
                f"{source}: two rows have the id {id!r}; name a column of unique ids: id=COLUMN"
            ) from error


def _hash_equal_sizes(connection: sqlite3.Connection, source: str, read: Callable[[Place], bytes | None]) -> None:
    """Fill `digest`, for pictures that are not alone with their size: others have no twin."""
    connection.execute("CREATE TEMP TABLE digests (id TEXT PRIMARY KEY, digest BLOB) WITHOUT ROWID")
    (total,) = connection.execute(f"SELECT coalesce(sum(size), 0) {_EQUAL_SIZES}").fetchone()
    with bytes_bar(Console(stderr=True)) as progress:
        task = progress.add_task(f"looking for equal pictures in {source}", total=total)

        def digests() -> Iterator[tuple[str, bytes]]:
            for id, *place in connection.execute(f"SELECT id, path, start, size {_EQUAL_SIZES} ORDER BY path, start"):
                if (data := read(Place(*place))) is not None:
                    yield id, digest_of(data)
                progress.advance(task, place[-1])

        connection.executemany("INSERT INTO digests VALUES (?, ?)", digests())
    connection.execute("UPDATE found SET digest = digests.digest FROM digests WHERE digests.id = found.id")


def _group(connection: sqlite3.Connection) -> None:
    """Give identical pictures the first of their groups; then whole samples, until nothing moves; then one split."""
    while connection.execute(_JOIN.format(by="digest")).rowcount:
        if not connection.execute(_JOIN.format(by="sample")).rowcount:
            break
    connection.execute(_SPLIT)


def _fingerprint(connection: sqlite3.Connection) -> str:
    digest = hashlib.sha256()
    for id, size, content in connection.execute("SELECT id, size, digest FROM found ORDER BY id"):
        digest.update(f"{id}\0{size}\0".encode() + (content or b"") + b"\n")
    return digest.hexdigest()
