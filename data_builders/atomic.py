"""Files that are whole or absent: written under another name, flushed to the disk, then renamed."""

import os
from pathlib import Path

_SUFFIX = ".partial"


def partial_path(path: Path) -> Path:
    """Where `path` is written until it is whole; two processes never share one."""
    return path.with_name(f".{path.name}.{os.getpid()}{_SUFFIX}")


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


def remove_partials(folder: Path) -> None:
    """Remove what a killed run left half written in a folder and in the folders in it."""
    for pattern in (f".*{_SUFFIX}", f"*/.*{_SUFFIX}"):
        for partial in folder.glob(pattern):
            partial.unlink(missing_ok=True)
