"""`hf:user/name`: the pictures of a dataset of the Hugging Face Hub, or of a folder that datasets can load."""

import functools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from pydantic import Field, field_validator

from data_builders.sources.files import escaped, expanded, state_of
from data_builders.sources.index import Found, Place, open_index
from data_builders.sources.pictures import read_or_none
from data_builders.sources.tables import (
    ColumnOptions,
    Table,
    TablePictures,
    arrow_rows,
    as_found,
    as_scanned,
    check_schema,
    entries_of,
    own_split,
)
from ssl4rl_core.errors import Ssl4rlError, UsageError, one_line
from ssl4rl_core.sources import Source

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset


class HfOptions(ColumnOptions):
    config: str = Field(default="", description="the dataset's configuration, where it has several")
    split: str = Field(default="", description="its splits: train, or train+test")
    revision: str = Field(default="", description="a commit, branch or tag of the Hub")
    stream: bool = Field(default=False, description="read rows from the Hub as they are asked for")

    @field_validator("split")
    @classmethod
    def _joined(cls, value: str) -> str:
        """A `+` of a spec's query arrives as a space."""
        return "+".join(value.replace("+", " ").split())

    def choice(self) -> str:
        return re.sub("(?<=[?&]split=)[^&]+", lambda splits: splits[0].replace("%2B", "+"), super().choice())

    def named_splits(self, there: Sequence[str], where: str) -> dict[str, str]:
        """The splits asked for, and for each "train" or "test" where it is to be kept, or nothing.

        Raises:
            UsageError: one is not there, or none is named and there are several without a "train" among them.
        """
        usual = ["train"] if "train" in there else list(there)
        names = list(dict.fromkeys(self.split.split("+"))) if self.split else usual
        missing = [name for name in names if name not in there]
        if missing or (len(usual) > 1 and not self.split):
            what = f"no split {missing[0]!r}" if missing else "several splits"
            raise UsageError(f"hf:{where} has {what}: write split=NAME or NAME+NAME with {', '.join(there)}")
        sides = {name: own_split(name) for name in names}
        # One side alone is all that was asked for: it is divided as other sources are.
        return sides if len(set(sides.values())) > 1 else dict.fromkeys(names, "")


class HfFiles(NamedTuple):
    """A dataset as datasets keeps it on this machine."""

    name: str
    """Its published name."""
    where: str
    """The dataset's name on the Hub, or the path of the folder."""
    roots: list[Path]
    """The folders that cells may name files in."""
    arrow: dict[str, list[Path]]
    """The Arrow files of each split asked for, in the order of their rows."""
    sides: dict[str, str]
    """ "train" or "test" for each split, where it is to be kept, or nothing."""

    @classmethod
    def of(cls, where: str, options: HfOptions) -> Self:
        """The files of a dataset, which is fetched and converted where it has not been.

        Raises:
            UsageError: there is no such dataset or split, or several of which none is named.
            Ssl4rlError: it cannot be read.
        """
        name, folder = published(where, options), Path(expanded(where))
        source = folder if folder.is_dir() else where
        loaded = _loaded(source, options)
        sides = options.named_splits(list(loaded), where)
        arrow = {split: _files(loaded[split]) for split in sides}
        return cls(name, str(folder.resolve()) if source is folder else where, _roots(source), arrow, sides)

    def paths(self) -> list[Path]:
        """All Arrow files, in the order of the entries."""
        return [file for of_split in self.arrow.values() for file in of_split]

    def texts(self, column: str) -> Iterator[dict[str, Any]]:
        """The cells beside the pictures in `column`, by column, row by row in the order of `Hf`'s entries.

        Raises:
            Ssl4rlError: a file cannot be read.
        """
        for file in self.paths():
            with _reading(self.name, file) as reader:
                for batch in reader:
                    yield from batch.select([name for name in batch.schema.names if name != column]).to_pylist()


class Hf(TablePictures):
    """The pictures of a dataset of the Hugging Face Hub, or of a folder that datasets can load or has saved.

    datasets fetches and converts it once, into its own cache, and it is read from there without being held in memory.
    `$HF_ENDPOINT` names another hub. Code that comes with a dataset is never run. An item's id is its split and the
    row's number there: `train/00000123`. A row that names a file instead of holding a picture is followed only to what
    came with the dataset.

    Options: `column=image` names the column; `config=NAME` chooses a configuration; `split=train+test` takes several
    splits and keeps them apart as they are (one alone is divided as other sources are; train where none is named);
    `revision=COMMIT`; `id=COLUMN` takes ids from a column; rows with the same value of `group=COLUMN` share a group, as
    identical pictures do; `license=CC0-1.0` is recorded in what is built.

    `stream=true` fetches nothing beforehand: row groups of the parquet files are read from the hub as they are asked
    for. It serves tasks that need only their item, and cannot tell that two pictures are identical.
    """

    scheme = "hf"
    example = "hf:user/name?split=train&column=image"

    @classmethod
    def open(cls, where: str, **options: str) -> Source:
        chosen = HfOptions.read(cls.scheme, options)
        if chosen.stream:
            from data_builders.sources.hf_stream import HfStream

            return HfStream.open(where, **options)
        return cls.of(HfFiles.of(where, chosen), chosen)

    @classmethod
    def of(cls, files: HfFiles, options: HfOptions) -> Self:
        """The pictures of a dataset that is on this machine.

        Raises:
            UsageError: it has no rows, or lacks a column that an option names.
            Ssl4rlError: a file cannot be read, or the index cannot be written.
        """
        cells = ArrowCells(options.column)
        index = open_index(
            files.name,
            (files.where, *map(str, files.paths())),
            state_of(files.paths()),
            _found(files, options),
            partial(read_or_none, files.roots[0]),
            unique=True,
            fresh=partial(as_found, files.roots, cells),
        )
        if not len(index):
            raise UsageError(f"{files.name} has no rows")
        return cls(files.name, files.roots, index, cells, options.license)


class ArrowCells:
    """One column of Arrow files, which are mapped into memory."""

    def __init__(self, column: str) -> None:
        self._column = column
        self._mapped = functools.lru_cache(maxsize=64)(self._map)

    def __reduce__(self) -> tuple[type["ArrowCells"], tuple[str]]:
        return ArrowCells, (self._column,)

    def value(self, place: Place) -> object:
        assert place.row is not None
        with as_scanned():
            return self._mapped(os.fsdecode(place.path))[place.row].as_py()

    def _map(self, path: str) -> "pa.ChunkedArray":
        return _opened(path).read_all().column(self._column)


def published(where: str, options: HfOptions) -> str:
    """The name of a dataset, of a folder without where it lies.

    Raises:
        UsageError: it cannot be a dataset's name.
    """
    folder = Path(expanded(where))
    if not where or "://" in where or folder.is_file():
        raise UsageError(f"hf:{where} is no dataset: write {Hf.example}, or a folder of this machine")
    return f"hf:{escaped(folder.resolve().name) if folder.is_dir() else where}{options.choice()}"


def loading(where: object, load: Any) -> Any:
    """What `load` returns; whatever datasets raises in it becomes one line."""
    from datasets.exceptions import DatasetNotFoundError

    try:
        return load()
    except Ssl4rlError:
        raise
    except Exception as error:
        reason = one_line(error) or type(error).__name__
        if configs := re.search(r"Config name is missing.*available configs: \[(.*?)\]", str(error), re.DOTALL):
            names = one_line(configs[1].replace("'", ""))
            several = f"hf:{where} has several configs: add the option config=NAME, one of {names}"
            raise UsageError(several) from error
        if isinstance(error, (DatasetNotFoundError, FileNotFoundError, ValueError, RuntimeError)):
            raise UsageError(f"hf:{where}: {reason}") from error
        raise Ssl4rlError(f"hf:{where} cannot be read: {reason}") from error


def _loaded(where: str | Path, options: HfOptions) -> "Mapping[str, Dataset]":
    """Every split of the dataset, as datasets keeps it on disk."""
    import datasets

    saved = [Path(where) / name for name in ("state.json", "dataset_dict.json")]
    if isinstance(where, Path) and any(file.is_file() for file in saved):
        loaded = loading(where, lambda: datasets.load_from_disk(str(where), keep_in_memory=False))
        return loaded if isinstance(loaded, Mapping) else {str(loaded.split or "train"): loaded}
    config, revision = options.config or None, options.revision or None
    return loading(where, lambda: datasets.load_dataset(str(where), config, revision=revision, keep_in_memory=False))


def _files(dataset: "Dataset") -> list[Path]:
    """The Arrow files of a split.

    Raises:
        Ssl4rlError: it is a choice of the rows there.
    """
    from datasets.table import list_table_cache_files

    if dataset.data.num_rows != dataset.num_rows:
        raise Ssl4rlError("the dataset was saved as a choice of rows: save it again after flatten_indices()")
    return [Path(file).resolve() for file in list_table_cache_files(dataset.data)]


def _roots(where: str | Path) -> list[Path]:
    """Where files lie that come with a dataset: its folder or what was fetched for it, and what was unpacked."""
    from datasets import config
    from huggingface_hub import constants

    unpacked = Path(config.DOWNLOADED_DATASETS_PATH)
    if isinstance(where, Path):
        return [where.resolve(), unpacked]
    return [Path(constants.HF_HUB_CACHE) / f"datasets--{where.replace('/', '--')}", unpacked]


def _found(files: HfFiles, options: HfOptions) -> Iterator[Found]:
    number = 0
    for split, of_split in files.arrow.items():
        first = 0
        for file in of_split:
            table = Table(os.fsencode(file), number, split, first, files.sides[split])
            with _reading(files.name, file) as reader:
                check_schema(files.name, options, reader.schema)
                for found in entries_of(table, arrow_rows(reader, options), options, files.roots):
                    yield found
                    first += 1
            number += 1


@contextmanager
def _reading(name: str, file: Path) -> "Iterator[pa.RecordBatchStreamReader]":
    """An open Arrow file; what goes wrong with it becomes one line."""
    import pyarrow as pa

    try:
        yield _opened(str(file))
    except (OSError, pa.ArrowException) as error:
        raise Ssl4rlError(f"{file} of {name} cannot be read: {one_line(error)}; have datasets make it again") from error


def _opened(path: str) -> "pa.RecordBatchStreamReader":
    import pyarrow as pa

    return pa.ipc.open_stream(pa.memory_map(path))
