"""Exports: a build as the files that other programs read."""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from data_builders.exporters.parquet import Parquet
from data_builders.exporters.verl import Verl
from data_builders.reader import BuiltSamples
from data_builders.selection import Selection
from ssl4rl_core.atomic import partial_path
from ssl4rl_core.errors import Ssl4rlError, UsageError
from ssl4rl_core.exporters import Advance, ExportedFile, Exporter
from ssl4rl_core.hookspecs import hookimpl
from ssl4rl_core.plugins import registry
from ssl4rl_core.pydantic_errors import first_problem
from ssl4rl_core.samples import Split

__all__ = ["export"]


@hookimpl
def ssl4rl_exporters() -> list[type[Exporter]]:
    """`parquet` and `verl`."""
    return [Parquet, Verl]


def export(
    exporter: str,
    directory: str | Path,
    out: str | Path,
    *,
    tasks: Sequence[str] = (),
    splits: Sequence[Split] = (),
    advance: Advance = lambda samples: None,
    **options: Any,
) -> list[ExportedFile]:
    """Write a build as another kind of files, and return the files.

    The folder `out` is there when all of it is: until then it has another name.

    Args:
        exporter: name of the kind, as `ssl4rl export` lists them.
        directory: a finished build.
        out: a new folder, or an empty one.
        tasks: configs, or tasks with or without a level; none means all.
        splits: none means both.
        advance: told of each few samples that are done.
        options: the exporter's own; `registry().exporter(name).options_type` documents them.

    Raises:
        UsageError: the exporter, an option, a task or the build does not exist, or there is something in `out`.
        Ssl4rlError: a shard is not what was built, or the files cannot be written.
    """
    found = registry().exporter(exporter)
    try:
        settings = found.options_type(**options)
    except ValidationError as error:
        raise UsageError(f"exporter {exporter}, option {first_problem(error)}") from None
    selection = Selection(BuiltSamples(directory), tasks, splits)
    out = Path(out)
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UsageError(f"{out} is there already and not empty: export to a new folder")
        return _into(out, lambda folder: found.export(selection, folder, settings, advance))
    except OSError as error:
        raise Ssl4rlError(f"cannot write {error.filename or out}: {error.strerror or error}") from error


def _into(out: Path, write: Callable[[Path], list[ExportedFile]]) -> list[ExportedFile]:
    """Have a folder written under another name, flushed, and renamed; removed again where that fails.

    A folder that is there already is filled, since it may be a link, a mounted disk, or where the user stands.
    """
    is_there = out.exists()
    folder = partial_path(out.absolute() / "export" if is_there else out.absolute())
    folder.mkdir(parents=True)
    try:
        files = write(folder)
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        if is_there:
            for path in sorted(folder.iterdir()):
                path.replace(out / path.name)
        else:
            folder.replace(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return [file._replace(path=out / file.path.relative_to(folder)) for file in files]
