"""Parquet files written a group of rows at a time: memory holds one group, whatever the number of rows."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ssl4rl_core.exporters import ExportedFile

if TYPE_CHECKING:
    import pyarrow

# A group is what a reader must take in at once: rows, or bytes of pictures, whichever comes first.
GROUP_ROWS, GROUP_BYTES = 1000, 32 * 2**20
# As files on the Hub usually are: https://huggingface.co/docs/hub/datasets-libraries
FILE_BYTES = 500 * 10**6


class ParquetFiles:
    """One table as `STEM.parquet`, or where it is large as `STEM-00000-of-00003.parquet` and so on.

    Leaving the `with` block unfinished leaves files under other names.
    """

    def __init__(self, folder: Path, stem: str, schema: "pyarrow.Schema", *, file_bytes: int = FILE_BYTES) -> None:
        self._folder, self._stem, self._schema, self._file_bytes = folder, stem, schema, file_bytes
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0
        self._writer: Any = None
        self._files: list[ExportedFile] = []
        self.rows = 0
        """How many rows were added."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def add(self, row: dict[str, Any], size: int) -> None:
        """Append a row whose pictures have `size` bytes."""
        self._rows.append(row)
        self._bytes += size
        self.rows += 1
        if len(self._rows) >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
            self._write_group()

    def finish(self) -> list[ExportedFile]:
        """Write what is left and give the files their names; none where there was no row."""
        self._write_group()
        self._end_file()
        count = len(self._files)
        named = []
        for number, file in enumerate(self._files):
            part = "" if count == 1 else f"-{number:05d}-of-{count:05d}"
            named.append(file._replace(path=file.path.rename(self._folder / f"{self._stem}{part}.parquet")))
        return named

    def _write_group(self) -> None:
        import pyarrow
        import pyarrow.parquet

        if not self._rows:
            return
        if self._writer is None:
            self._folder.mkdir(exist_ok=True)
            path = self._folder / f"{self._stem}.{len(self._files)}.partial"
            self._writer = pyarrow.parquet.ParquetWriter(path, self._schema)
            self._files.append(ExportedFile(path, 0))
        self._writer.write_table(pyarrow.Table.from_pylist(self._rows, self._schema))
        last = self._files[-1]
        self._files[-1] = last._replace(samples=last.samples + len(self._rows))
        self._rows, self._bytes = [], 0
        if last.path.stat().st_size >= self._file_bytes:
            self._end_file()

    def _end_file(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
