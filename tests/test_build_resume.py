"""A build that is killed, interrupted, repeated or disturbed."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_builders import build
from ssl4rl_core import Ssl4rlError, UsageError
from ssl4rl_core.testing.memory import MemorySource

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills processes by POSIX signals")

# Slow enough to be killed in the middle, on a busy machine too: 60 items, three seconds for each of the workers.
SCRIPT = """
import os, sys, time
import numpy as np
from PIL import Image
from data_builders import build
from ssl4rl_core.testing.memory import MemorySource

class Slow(MemorySource):
    def load(self, kind, entry, *, max_side=None):
        time.sleep(0.1)
        with open(os.environ["PIDS"], "a") as file:
            file.write(f"{os.getpid()} ")
        return super().load(kind, entry, max_side=max_side)

if __name__ == "__main__":
    pixels = np.random.default_rng(5).integers(0, 256, (60, 5, 5, 3), dtype=np.uint8)
    source = Slow({str(n): Image.fromarray(each).resize((64, 48)) for n, each in enumerate(pixels)})
    build(["rotation:paper", "position"], source, sys.argv[1], shard_size=6, workers=2)
"""


def pictures() -> MemorySource:
    pixels = np.random.default_rng(5).integers(0, 256, (60, 5, 5, 3), dtype=np.uint8)
    return MemorySource({str(n): Image.fromarray(each).resize((64, 48)) for n, each in enumerate(pixels)})


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class Running:
    """The script in a process of its own, and the processes that read items for it."""

    def __init__(self, folder: Path) -> None:
        script = folder / "script.py"
        script.write_text(SCRIPT)
        self._log = folder / "pids"
        self._log.write_text("")
        self.process = subprocess.Popen(
            [sys.executable, str(script), str(folder / "out")],
            env={**os.environ, "PIDS": str(self._log)},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )

    def loaded(self) -> list[int]:
        """The process that read each item so far."""
        return [int(line) for line in self._log.read_text().split()]

    def wait_for(self, items: int) -> None:
        deadline = time.monotonic() + 300
        while len(self.loaded()) < items:
            assert self.process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    build(["rotation:paper", "position"], pictures(), out, shard_size=6)
    return contents(out)


@pytest.mark.parametrize("items", [3, 30])
def test_killed_and_run_again_it_has_the_bytes_of_an_undisturbed_build(items, undisturbed, tmp_path):
    running = Running(tmp_path)
    running.wait_for(items)
    running.process.kill()
    running.process.wait()
    workers = set(running.loaded())
    deadline = time.monotonic() + 60
    while any(alive(pid) for pid in workers):
        assert time.monotonic() < deadline, "workers outlive the build"
        time.sleep(0.01)
    out = tmp_path / "out"
    assert not (out / "manifest.json").exists()
    finished = {path: path.stat().st_mtime_ns for path in out.rglob("*.json") if path.name != "plan.json"}
    build(["rotation:paper", "position"], pictures(), out, shard_size=6)
    assert contents(out) == undisturbed
    # Units all of whose shards were there have not been touched again.
    names = [path.name for path in finished]
    for path, written in finished.items():
        if names.count(path.name) == 4:
            assert path.stat().st_mtime_ns == written


def test_a_killed_worker_ends_the_build_with_one_line(undisturbed, tmp_path):
    running = Running(tmp_path)
    running.wait_for(10)
    os.kill(running.loaded()[-1], signal.SIGKILL)
    errors = running.process.communicate(timeout=300)[1]
    assert running.process.returncode == 1
    assert "a worker process died (killed, or out of memory?): run the same command again to resume" in errors
    build(["rotation:paper", "position"], pictures(), tmp_path / "out", shard_size=6)
    assert contents(tmp_path / "out") == undisturbed


def test_an_interrupt_stops_all_workers_and_leaves_nothing_half_written(undisturbed, tmp_path):
    running = Running(tmp_path)
    running.wait_for(10)
    running.process.send_signal(signal.SIGINT)
    running.process.communicate(timeout=300)
    assert not [path for path in (tmp_path / "out").rglob("*") if "partial" in path.name]
    assert len(running.loaded()) < 60
    build(["rotation:paper", "position"], pictures(), tmp_path / "out", shard_size=6)
    assert contents(tmp_path / "out") == undisturbed


def test_two_builds_do_not_write_to_one_folder(tmp_path):
    running = Running(tmp_path)
    running.wait_for(1)
    with pytest.raises(UsageError, match="another build is writing to"):
        build(["rotation:paper", "position"], pictures(), tmp_path / "out", shard_size=6)
    running.process.kill()
    running.process.communicate()


def test_killed_while_it_wrote_its_plan_it_can_be_run_again(undisturbed, tmp_path):
    (tmp_path / ".plan.json.4711.partial").write_text("{")
    build(["rotation:paper", "position"], pictures(), tmp_path, shard_size=6)
    assert contents(tmp_path) == undisturbed


def test_another_plan_is_refused_with_what_differs(tmp_path):
    build(["rotation:paper"], pictures(), tmp_path)
    before = contents(tmp_path)
    with pytest.raises(UsageError) as refused:
        build(["rotation:paper?partial=true", "position:easy"], pictures(), tmp_path, seed=3, quality=80)
    lines = str(refused.value).splitlines()
    assert lines[0].endswith("holds a build of another plan: choose a new folder, or mend")
    assert "  options.seed: 0 here, 3 now" in lines
    assert "  options.quality: 90 here, 80 now" in lines
    assert "  configs.position-easy: nothing here, something now" in lines
    other = MemorySource({"0": Image.new("RGB", (64, 48))})
    with pytest.raises(UsageError, match=r"\n  fingerprint: '[0-9a-f]{64}' here, '[0-9a-f]{64}' now"):
        build(["rotation:paper"], other, tmp_path)
    assert contents(tmp_path) == before


def test_other_libraries_are_refused_when_they_draw_otherwise(tmp_path, monkeypatch):
    build(["rotation:paper"], pictures(), tmp_path)
    monkeypatch.setattr("data_builders.plan.canary", lambda *options: "0123456789abcdef")
    with pytest.raises(UsageError, match=r"\n  canary: '[0-9a-f]{16}' here, '0123456789abcdef' now"):
        build(["rotation:paper"], pictures(), tmp_path)


def test_a_lost_or_cut_shard_is_made_again(undisturbed, tmp_path):
    build(["rotation:paper", "position"], pictures(), tmp_path, shard_size=6)
    shards = sorted(tmp_path.rglob("*.tar"))
    shards[0].unlink()
    os.truncate(shards[-1], 1000)
    (tmp_path / "manifest.json").unlink()
    build(["rotation:paper", "position"], pictures(), tmp_path, shard_size=6)
    assert contents(tmp_path) == undisturbed


def test_a_folder_of_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="is not empty and holds no build: choose a new folder"):
        build(["rotation"], pictures(), tmp_path)
    with pytest.raises(UsageError, match=r"thesis.tex is a file: name a folder"):
        build(["rotation"], pictures(), tmp_path / "thesis.tex")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("data_builders.shards.partial_path", lambda path: Path("/dev/full"))
    monkeypatch.setattr(Path, "unlink", lambda path, missing_ok=False: None)
    with pytest.raises(Ssl4rlError, match="No space left on device; with that mended, run the same command again"):
        build(["rotation:paper"], pictures(), tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
