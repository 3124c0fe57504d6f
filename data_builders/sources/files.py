"""The files that a source's spec names: patterns, names as text, and whether they have changed."""

import glob
import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

from braceexpand import braceexpand

from ssl4rl_core.errors import UsageError

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
"""An address ("pipe:", "https:"); two letters at least, so that a drive's letter is none."""


def escaped(name: str) -> str:
    r"""A file name as text that any file can hold: bytes that are not UTF-8 as `\xff`, and so `\` as `\\`."""
    return os.fsencode(name.replace("\\", "\\\\")).decode("utf-8", "backslashreplace")


def expanded(path: str) -> str:
    """A path with the home folder for `~`, which stays where there is no such user."""
    return os.path.expanduser(path)  # noqa: PTH111 - Path.expanduser raises RuntimeError for ~nobody


def files_named(scheme: str, where: str, example: str) -> list[Path]:
    """The files that a pattern names, sorted, none twice: `{00..99}`, `{train,val}` and `*` stand for several.

    Raises:
        UsageError: it names an address or no file; the message shows `example`.
    """
    if address := _SCHEME.match(where):
        raise UsageError(f"{scheme} sources read files on this machine, not {address.group()} addresses: {where}")
    try:
        patterns = list(braceexpand(str(Path(expanded(where))))) if where else []
    except ValueError as error:
        raise UsageError(f"{scheme}:{where}: {error}") from error
    found: set[Path] = set()
    for pattern in patterns:
        # A file's own name comes before what its brackets could mean.
        matches = [pattern] if Path(pattern).is_file() else glob.glob(pattern, recursive=True)  # noqa: PTH207
        # Not resolved: caches link to files that are named by their hash.
        files = [Path(os.path.abspath(match)) for match in matches if Path(match).is_file()]  # noqa: PTH100
        if not files:
            raise UsageError(f"no file {pattern} (from {scheme}:{where})")
        found.update(files)
    if not found:
        raise UsageError(f"{scheme}:{where} names no file: write {example}")
    return sorted(found)


def common_folder(files: Iterable[Path]) -> Path:
    """The deepest folder that holds all the files."""
    return Path(os.path.commonpath([file.parent for file in files]))


def state_of(files: Iterable[Path]) -> str:
    """Another one whenever one of the files was written to."""
    digest = hashlib.blake2b(digest_size=16)
    for file in files:
        status = file.stat()
        digest.update(f"{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
