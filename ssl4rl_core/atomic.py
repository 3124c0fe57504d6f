"""Files that are whole or absent: written under another name, flushed to the disk, then renamed."""

import os
import secrets
from pathlib import Path

from ssl4rl_core.errors import Ssl4rlError

_SUFFIX = ".partial"


def partial_path(path: Path) -> Path:
    """Where `path` is written until it is whole; another at each call, for processes on other machines too."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{_SUFFIX}")


def write_whole(path: Path, data: bytes) -> None:
    """Write a small file."""
    partial = partial_path(path)
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_named(path: Path, data: bytes) -> None:
    """Write a small file where a user asked for it; folders on the way are made.

    Raises:
        Ssl4rlError: it cannot be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)
    except OSError as error:
        raise Ssl4rlError(f"cannot write {path}: {error.strerror or error}; name another file") from error


def is_partial(path: Path) -> bool:
    """Whether a killed run left this half written."""
    return path.name.startswith(".") and path.name.endswith(_SUFFIX)


def remove_partials(folder: Path) -> None:
    """Remove what a killed run left half written in a folder and in the folders in it."""
    for pattern in (f".*{_SUFFIX}", f"*/.*{_SUFFIX}"):
        for partial in folder.glob(pattern):
            partial.unlink(missing_ok=True)
