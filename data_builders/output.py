"""Where a build goes: a folder on this machine, or any place that fsspec can write to.

Both forms promise the same. A file there is whole or absent, a unit's sidecars come after its shards, and two builds do
not write there at once. The remote form is written through a staging folder, of which only whole shards are uploaded.
"""

import contextlib
import hashlib
import os
import re
import shutil
import socket
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from data_builders.plan import Unit
from data_builders.sources.index import cache_folder
from ssl4rl_core.atomic import is_partial, remove_partials, write_whole
from ssl4rl_core.errors import Ssl4rlError, UsageError, one_line

try:
    import fcntl
except ImportError:  # Windows has none; there, two builds into one folder are not told apart
    fcntl = None

_LOCK = ".lock"
_URL = re.compile(r"([a-z][a-z0-9+.-]+)(::|://)", re.IGNORECASE)
"""Two letters at least, so that a drive's letter is no scheme."""
_LOGIN = re.compile(r"//([^/]*)@")
"""A user's name and password, which some schemes have in the address; a password may hold an @."""
RESUME = "with that mended, run the same command again to resume"


class Output(ABC):
    """The place of a build. Names are relative to it, with `/`. Pickles, for workers in other processes."""

    where: str
    """As messages name it."""
    in_this_process = False
    """Whether other processes would not see what is written."""

    @abstractmethod
    def lock(self) -> contextlib.AbstractContextManager[None]:
        """Make the place where it is missing, and keep other builds out of it.

        Raises:
            UsageError: another build is at it, or the place cannot be one.
        """

    @abstractmethod
    def is_new(self) -> bool:
        """Whether it holds nothing, but for what a killed build may leave before its plan."""

    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """Name and bytes of every file there, as deep as a build's files lie."""

    @abstractmethod
    def read(self, names: Iterable[str]) -> dict[str, bytes]:
        """The content of small files; those that are missing are left out."""

    @abstractmethod
    def write(self, name: str, data: bytes) -> None:
        """Write a small file."""

    @abstractmethod
    def writing(self, unit: Unit) -> contextlib.AbstractContextManager[Path]:
        """A folder on this machine to write a unit's shards to; they are in their place once the block has ended."""

    @abstractmethod
    def tidy(self) -> None:
        """Remove what killed workers left half written. Nobody may be writing."""


def open_output(out: str | Path) -> Output:
    """The output at a path or a URL: "data/photos", "file:///data/photos", "s3://bucket/photos".

    Raises:
        UsageError: there is no such scheme, or a file:// address names a machine.
        Ssl4rlError: the scheme's package is not installed.
    """
    scheme = _URL.match(str(out)) if isinstance(out, str) else None
    if scheme is None:
        return LocalOutput(Path(out))
    if scheme[0].lower() in ("file://", "local://"):
        path = str(out)[scheme.end() :].removeprefix("localhost")  # the one host that RFC 8089 takes for none
        if not path.startswith("/"):
            raise UsageError(f"{_LOGIN.sub('//', str(out))} names no folder here: write file:///PATH, or a path alone")
        return LocalOutput(Path(unquote(path)))
    _check_scheme(scheme[1])
    return RemoteOutput(str(out))


class LocalOutput(Output):
    """A folder."""

    def __init__(self, folder: Path) -> None:
        self.where = str(folder)
        self._folder = folder.absolute()

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise UsageError(f"{self.where} is a file: name a folder") from None
        with _locked(self._folder, self.where):
            yield

    def is_new(self) -> bool:
        return all(is_partial(path) or path.name == _LOCK for path in self._folder.iterdir())

    def sizes(self) -> dict[str, int]:
        folders = [("", self._folder), *((f"{each.name}/", each) for each in self._folder.iterdir() if each.is_dir())]
        sizes = {}
        for prefix, folder in folders:
            with os.scandir(folder) as entries:
                sizes |= {prefix + entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
        return sizes

    def read(self, names: Iterable[str]) -> dict[str, bytes]:
        found = {}
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                found[name] = (self._folder / name).read_bytes()
        return found

    def write(self, name: str, data: bytes) -> None:
        write_whole(self._folder / name, data)

    @contextlib.contextmanager
    def writing(self, unit: Unit) -> Iterator[Path]:
        yield self._folder

    def tidy(self) -> None:
        remove_partials(self._folder)


class RemoteOutput(Output):
    """A place behind an fsspec URL.

    Builds on other machines are not kept out, since object stores have no locks: those of the same plan write the same
    bytes, those of another plan are refused by the plan that lies there.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/") if not url.endswith("://") else url
        self.where = _LOGIN.sub("//", self._url)
        self.in_this_process = url.startswith("memory://")

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        self._staging.mkdir(parents=True, exist_ok=True)
        with _locked(self._staging, self.where):
            yield
        with contextlib.suppress(OSError):
            self._staging.rmdir()

    def is_new(self) -> bool:
        return not self.sizes()

    def sizes(self) -> dict[str, int]:
        with self._reached() as (files, root):
            files.invalidate_cache()
            try:
                found = files.find(root, maxdepth=2, detail=True)
            except FileNotFoundError:
                return {}
            prefix = root.rstrip("/") + "/"
            return {path.removeprefix(prefix): about["size"] or 0 for path, about in found.items()}

    def read(self, names: Iterable[str]) -> dict[str, bytes]:
        with self._reached() as (files, root):
            paths = {f"{root}/{name}": name for name in names}
            # All at once: one after another, thousands of sidecars would take minutes.
            found = files.cat(list(paths), on_error="return") if paths else {}
            for data in found.values():
                if isinstance(data, Exception) and not isinstance(data, FileNotFoundError):
                    raise data
            return {paths[path]: data for path, data in found.items() if isinstance(data, bytes)}

    def write(self, name: str, data: bytes) -> None:
        staged = self._staging / name
        write_whole(staged, data)
        self._put(staged, name)
        staged.unlink()

    @contextlib.contextmanager
    def writing(self, unit: Unit) -> Iterator[Path]:
        folder = self._staging / "units" / f"{unit.kind}-{unit.name}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            yield folder
            shards = [path for path in folder.rglob("*") if path.is_file()]
            for path in sorted(shards, key=lambda path: (path.suffix == ".json", path)):
                self._put(path, path.relative_to(folder).as_posix())
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def tidy(self) -> None:
        shutil.rmtree(self._staging / "units", ignore_errors=True)

    @property
    def _staging(self) -> Path:
        """On each machine its own, and the same for every run, so that the next one removes what a killed one left."""
        return cache_folder() / "staging" / hashlib.sha256(self._url.encode()).hexdigest()[:16]

    def _put(self, path: Path, name: str) -> None:
        with self._reached() as (files, root):
            files.put_file(str(path), f"{root}/{name}")

    @contextlib.contextmanager
    def _reached(self) -> Iterator[tuple[Any, str]]:
        """The file system, which fsspec keeps, and the path in it; whatever a foreign one raises becomes one line."""
        from fsspec.core import url_to_fs

        try:
            yield url_to_fs(self._url)
        except Exception as error:
            message = one_line(self._without_login(f"{type(error).__name__}: {error}"))
            raise Ssl4rlError(f"cannot write {self.where}: {message}; {RESUME}") from error

    def _without_login(self, message: str) -> str:
        for login in _LOGIN.findall(self._url):
            message = message.replace(f"{login}@", "")
            password = login.partition(":")[2]
            for secret in filter(None, (password, unquote(password))):
                message = message.replace(secret, "***")
        return message


def _check_scheme(scheme: str) -> None:
    from fsspec import get_filesystem_class
    from fsspec.registry import known_implementations

    try:
        get_filesystem_class(scheme)
    except ValueError:
        raise UsageError(
            f"no output by {scheme}:// addresses: name a folder, or an address such as s3://bucket/photos"
        ) from None
    except ImportError as error:
        package = known_implementations[scheme]["class"].partition(".")[0]
        if package == "fsspec":
            package = f"'fsspec[{scheme}]'"
        raise Ssl4rlError(
            f"writing to {scheme}:// needs a package that is not installed: pip install {package}"
        ) from error


@contextlib.contextmanager
def _locked(folder: Path, where: str) -> Iterator[None]:
    """Hold a file in the folder that says who we are. The lock dies with us, and the file goes when we end."""
    if fcntl is None:
        yield
        return
    path = folder / _LOCK
    handle = _lock_file(path, where)
    try:
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def _lock_file(path: Path, where: str) -> int:
    assert fcntl is not None
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except BlockingIOError:
            holder = os.read(handle, 300).decode(errors="replace")
            os.close(handle)
            raise UsageError(
                f"another build is writing to {where} ({holder or 'just begun'}): wait for it, or choose a new folder"
            ) from None
        except FileNotFoundError:
            pass  # its last holder has removed it since we opened it: so once more
        except OSError:
            os.close(handle)
            raise
        os.close(handle)
