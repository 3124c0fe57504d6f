"""The files that benchmarks of multiple-choice questions are published as: their texts, and where their pictures are.

A benchmark has some thousands of questions, so their texts are held in memory; pictures stay in their files.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from pydantic import Field

from data_builders.sources.cells import file_inside
from data_builders.sources.decoding import decode
from data_builders.sources.files import files_named
from data_builders.sources.hf import Hf, HfFiles, HfOptions
from data_builders.sources.index import Place
from data_builders.sources.options import LocalFile, SourceOptions
from data_builders.sources.parquet import Parquet
from data_builders.sources.pictures import read_place
from data_builders.sources.tsv import Tsv, tsv_texts
from ssl4rl_core.errors import Ssl4rlError, UsageError, one_line
from ssl4rl_core.samples import ImageItem
from ssl4rl_core.sources import Source
from ssl4rl_core.tasks import Skip

Texts = Mapping[str, Any]
"""The cells of a row but for its picture, by column."""


class BenchmarkOptions(SourceOptions):
    column: str = Field(default="image", description="the column of the pictures")
    images: LocalFile = Field(default="", exclude=True, description="the folder of the pictures of SEED-Bench's JSON")
    config: str = Field(default="", description="the Hub dataset's configuration, where it has several")
    split: str = Field(default="", description="the Hub dataset's splits: dev, or dev+test")
    revision: str = Field(default="", description="a commit, branch or tag of the Hub")
    circular: bool | None = Field(default=None, description="whether a question counts only if right in every turn")


class Pictures(Protocol):
    """The picture of each row, by the row's number."""

    def group(self, row: int) -> str:
        """Rows that show one picture share it."""
        ...

    def picture(self, row: int, max_side: int | None) -> ImageItem:
        """The picture; raises Skip."""
        ...

    def fingerprint(self) -> str:
        """A hash of what all the pictures are."""
        ...


class Rows(NamedTuple):
    """A benchmark as its files tell it."""

    texts: Sequence[Texts]
    pictures: Pictures


def read_rows(scheme: str, where: str, options: BenchmarkOptions, example: str) -> Rows:
    """The rows of a TSV, parquet or JSON file, or of a dataset of the Hub (`hf:user/name`).

    Raises:
        UsageError: there is no such file or dataset, or it is of another kind.
        Ssl4rlError: it is broken.
    """
    if where.startswith("hf:"):
        return _hub(where.removeprefix("hf:"), options)
    files = files_named(scheme, where, example)
    kinds = {file.suffix.lower() for file in files}
    if kinds == {".tsv"}:
        pictures = Tsv.open(where, column=options.column)
        return _joined(where, [row for file in files for row in tsv_texts(file, options.column)], pictures)
    if kinds == {".parquet"}:
        pictures = Parquet.open(where, column=options.column)
        return _joined(where, [row for file in files for row in _parquet_texts(file, options.column)], pictures)
    if kinds == {".json"} and len(files) == 1:
        return _seed_bench(files[0], options)
    raise UsageError(f"{scheme}:{where} is no benchmark's file: write {example}, a .parquet, a .json or hf:user/name")


def _joined(where: str, texts: Sequence[Texts], pictures: Source) -> Rows:
    if len(texts) != len(pictures.index("image")):
        raise Ssl4rlError(f"{where} was read as {len(texts)} rows, and as {len(pictures.index('image'))} pictures")
    return Rows(texts, SourcePictures(pictures))


class SourcePictures:
    """The pictures of a source whose entries are the rows, in order."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def group(self, row: int) -> str:
        return self._source.index("image")[row].group

    def picture(self, row: int, max_side: int | None) -> ImageItem:
        item = self._source.load("image", self._source.index("image")[row], max_side=max_side)
        assert isinstance(item, ImageItem)
        return item

    def fingerprint(self) -> str:
        return self._source.fingerprint()


def _parquet_texts(file: Path, column: str) -> Iterable[Texts]:
    from data_builders.sources.row_groups import open_parquet

    with open_parquet(str(file)) as opened:
        wanted = [name for name in opened.schema_arrow.names if name != column]
        return opened.read(columns=wanted).to_pylist()


def _hub(where: str, options: BenchmarkOptions) -> Rows:
    chosen = HfOptions.read(Hf.scheme, options.model_dump(include={"column", "config", "split", "revision"}))
    files = HfFiles.of(where, chosen)
    pictures = Hf.of(files, chosen)
    return _joined(f"hf:{where}", list(files.texts(options.column)), pictures)


def _seed_bench(file: Path, options: BenchmarkOptions) -> Rows:
    """SEED-Bench's own form: {"questions": [...], "question_type": {name: number}}; its video questions are left out.

    The form is that of https://github.com/AILab-CVC/SEED-Bench: `data_id` is the name of a picture's file.
    """
    folder = Path(options.images) if options.images else file.parent / "SEED-Bench-image"
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder} of the pictures of {file.name}: write images=DIR")
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        kinds = {number: name for name, number in told.get("question_type", {}).items()}
        rows = [row for row in told["questions"] if row.get("data_type", "image") == "image"]
        texts = [{"category": kinds.get(row.get("question_type_id"), ""), **row} for row in rows]
        names = [str(row["data_id"]) for row in rows]
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        reason = one_line(error)
        raise Ssl4rlError(f"{file} is not the JSON of SEED-Bench ({type(error).__name__}: {reason})") from error
    return Rows(texts, NamedPictures(folder.resolve(), names))


class NamedPictures:
    """Pictures that are files of one folder, or below it."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._folder, self._names = folder, names

    def group(self, row: int) -> str:
        return self._names[row]

    def picture(self, row: int, max_side: int | None) -> ImageItem:
        file, status = file_inside(self._names[row], [self._folder])
        place = Place(os.fsencode(file.relative_to(self._folder)), 0, status.st_size)
        return ImageItem(
            self._names[row], self._names[row], row, decode(read_place(self._folder, place), max_side=max_side)
        )

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for name in sorted(set(self._names)):
            try:
                size = file_inside(name, [self._folder])[1].st_size
            except Skip:
                size = -1
            digest.update(f"{name}\0{size}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()
