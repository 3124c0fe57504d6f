"""A build onto a disk that is full, or that cannot be written to; with that mended, it resumes to the same bytes."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from data_builders.sources.index import CACHE_VARIABLE
from ssl4rl_core.testing.memory import synthetic_picture

Remount = Callable[[str], None]


@pytest.fixture
def disk(tmp_path) -> Iterator[tuple[Path, Remount]]:
    """A small disk in memory, and how to mount it otherwise."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str, *more: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, *more, "tmpfs", str(folder)], check=True)

    try:
        mount("size=256k")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small disk is not permitted here: needs root, and Linux")
    try:
        yield folder, lambda options: mount(f"remount,{options}")
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(60):
        synthetic_picture(number).save(folder / f"{number:02d}.jpg")
    return folder


def build(pictures: Path, out: Path, workers: int, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ssl4rl_core.cli", "build", "--task", "rotation:paper", "--task", "position:easy"]
    command += ["--source", f"folder:{pictures}", "--out", str(out), "--shard-size", "5", "--workers", str(workers)]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=300, check=False
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def failed(done: subprocess.CompletedProcess[str], complaint: str) -> None:
    """It ended with one line, which says what to do."""
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("error: cannot write ") and done.stderr.count("\n") == 1, done.stderr
    assert complaint in done.stderr


@pytest.fixture(scope="module")
def undisturbed(pictures, tmp_path_factory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    assert build(pictures, out, workers=1).returncode == 0
    return contents(out)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_ends_a_build_in_one_line_and_with_room_it_resumes(workers, disk, pictures, undisturbed):
    folder, remount = disk
    out = folder / "out"
    failed(build(pictures, out, workers), "No space left on device; with that mended, run the same command again")
    left = contents(out)
    # What is there under its own name is whole: nothing is half written, and there is no manifest.
    assert left and left.items() <= undisturbed.items()
    remount("size=16m")
    assert build(pictures, out, workers).returncode == 0
    assert contents(out) == undisturbed


def test_an_output_that_cannot_be_written_to_is_one_line(disk, pictures, undisturbed):
    folder, remount = disk
    out = folder / "out"
    remount("size=16m")
    out.mkdir()
    remount("ro")
    failed(build(pictures, out, workers=1), "Read-only file system; with that mended, run the same command again")
    failed(build(pictures, folder / "new", workers=2), "Read-only file system")
    remount("rw")
    assert build(pictures, out, workers=1).returncode == 0
    assert contents(out) == undisturbed


def test_a_full_disk_under_the_index_says_what_to_set(disk, pictures, tmp_path):
    folder, remount = disk
    remount("size=8k")
    done = build(pictures, tmp_path / "out", workers=1, **{CACHE_VARIABLE: str(folder / "cache")})
    failed(done, f"set {CACHE_VARIABLE} to a folder with room")
    assert not any(path.is_file() for path in folder.rglob("*"))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_the_right_to_write_is_one_line(pictures, tmp_path):
    tmp_path.chmod(0o555)
    try:
        failed(build(pictures, tmp_path / "out", workers=1), "Permission denied")
    finally:
        tmp_path.chmod(0o755)
