"""What the tests' Hub keeps: datasets with branches and commits, and the content of their files on the disk."""

import hashlib
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class File:
    """A committed file: the hash of its content, and that by which git knows it."""

    sha256: str
    size: int
    git: str
    lfs: bool

    def entry(self, path: str) -> dict[str, Any]:
        """As a listing has it."""
        lfs = {"lfs": {"oid": self.sha256, "size": self.size, "pointerSize": 130}} if self.lfs else {}
        return {"type": "file", "path": path, "oid": self.git, "size": self.size, **lfs}


Tree = dict[str, File]


@dataclass
class Repo:
    """A dataset: every commit is a whole tree."""

    private: bool
    trees: dict[str, Tree] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, tree: Tree) -> str:
        sha = hashlib.sha1(f"{branch} {len(self.trees)} {sorted(tree.items())}".encode()).hexdigest()
        self.trees[sha], self.branches[branch] = tree, sha
        return sha


class Store:
    """Repositories by name, and files by hash in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repos: dict[str, Repo] = {}
        self.lock = threading.RLock()

    def path(self, sha256: str) -> Path:
        return self.folder / sha256

    def keep(self, data: bytes) -> str:
        """Store content, whole or not at all, and return its hash."""
        sha256 = hashlib.sha256(data).hexdigest()
        partial = self.folder / f".{sha256}.{threading.get_ident()}"
        partial.write_bytes(data)
        partial.replace(self.path(sha256))
        return sha256

    def regular(self, data: bytes) -> File:
        """A file that git itself keeps."""
        git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        return File(self.keep(data), len(data), git, lfs=False)

    def large(self, sha256: str, size: int) -> File:
        """A file that git knows by a pointer."""
        return File(sha256, size, hashlib.sha1(f"pointer to {sha256}".encode()).hexdigest(), lfs=True)

    def files(self, repo: str, branch: str = "main") -> dict[str, bytes]:
        """What a branch holds, by path."""
        tree = self.repos[repo].trees[self.repos[repo].branches[branch]]
        return {path: self.path(file.sha256).read_bytes() for path, file in sorted(tree.items())}


def listing(tree: Tree, path: str, recursive: bool) -> list[dict[str, Any]]:
    """The files and folders below `path`; empty where there is no such folder."""
    prefix, entries = f"{path}/" if path else "", {}
    for each in sorted(each for each in tree if each.startswith(prefix)):
        below = each[len(prefix) :].split("/")
        for depth in range(1, len(below) if recursive else min(len(below), 2)):
            folder = prefix + "/".join(below[:depth])
            entries[folder] = {"type": "directory", "path": folder, "oid": "0" * 40, "size": 0}
        if recursive or len(below) == 1:
            entries[each] = tree[each].entry(each)
    return list(entries.values())
