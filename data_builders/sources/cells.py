"""What the cell of a table holds of a picture: its bytes, its base64, the path of a file, or another row's id."""

import base64
import binascii
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from data_builders.sources.decoding import EXTENSIONS
from data_builders.sources.pictures import MAX_BYTES
from ssl4rl_core.tasks import Skip

LONGEST_REFERENCE = 64
"""A text of so many characters or fewer is no picture but another row's id: VLMEvalKit reads its TSV files so."""


class Cell(NamedTuple):
    """Exactly one of the three is not empty."""

    data: bytes = b""
    path: str = ""
    reference: str = ""


def read_cell(value: object) -> Cell:
    """What a cell says: bytes, text, or a mapping with `bytes` and `path`, as datasets writes an Image column.

    A text is a path where it ends as picture files do; else, where it is short, another row's id; else base64, with or
    without `data:image/...;base64,` before it.

    Raises:
        Skip: "empty cell", "broken base64", "picture is an address", "file too large" or "not a picture".
    """
    if isinstance(value, Mapping):
        data, path = value.get("bytes"), value.get("path")
        if data or not path:
            return read_cell(data)
        return _path(path) if isinstance(path, str) else read_cell(None)
    if isinstance(value, bytes):
        if len(value) > MAX_BYTES:
            raise Skip("file too large")
        return Cell(data=value) if value else read_cell(None)
    if isinstance(value, str) and value:
        return _text(value.strip())
    raise Skip("not a picture" if value else "empty cell")


def _text(text: str) -> Cell:
    if text[-16:].lower().endswith(EXTENSIONS):
        return _path(text)
    if text.startswith("data:"):
        text = text.partition(",")[2]
    elif "://" in text[:16]:
        raise Skip("picture is an address")
    elif 0 < len(text) <= LONGEST_REFERENCE:
        return Cell(reference=text)
    if len(text) > MAX_BYTES * 4 // 3:
        raise Skip("file too large")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        try:
            # Some writers break it into lines.
            data = base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise Skip("broken base64") from error
    return read_cell(data)


def _path(text: str) -> Cell:
    if "://" in text[:16]:
        raise Skip("picture is an address")
    return Cell(path=text)


def file_inside(path: str, roots: Sequence[Path]) -> tuple[Path, os.stat_result]:
    """The plain file that a cell names, without links on the way, and its status.

    Args:
        path: absolute, or relative to the first of `roots`.
        roots: the folders it may lie in; a cell written by a stranger must not choose among all files of this machine.

    Raises:
        Skip: "path leads outside", "file is gone" or "file cannot be read".
    """
    try:
        found = Path(os.path.realpath(roots[0] / path))
        if not any(found.is_relative_to(os.path.realpath(root)) for root in roots):
            raise Skip("path leads outside")
        status = found.stat()
    except FileNotFoundError as error:
        raise Skip("file is gone") from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in it
        raise Skip("file cannot be read") from error
    if not stat.S_ISREG(status.st_mode):
        raise Skip("file cannot be read")
    return found, status
