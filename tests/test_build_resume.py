"""A build that is killed, interrupted, repeated or disturbed."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_builders import BuiltSamples, Manifest, build, builder
from ssl4rl_core import Ssl4rlError, UsageError, load_file
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
        time.sleep(0.25)
        with open(os.environ["PIDS"], "a") as file:
            file.write(f"{os.getpid()} ")
        return super().load(kind, entry, max_side=max_side)

if __name__ == "__main__":
    pixels = np.random.default_rng(5).integers(0, 256, (60, 5, 5, 3), dtype=np.uint8)
    source = Slow({str(n): Image.fromarray(each).resize((64, 48)) for n, each in enumerate(pixels)})
    build(["rotation:paper", "position"], source, sys.argv[1], shard_size=6, workers=2)
"""

ANOTHER = """
from ssl4rl_core import Choice, Draft, ImageItem, ImageParams, Task, hookimpl

class AnotherOne(Task[ImageItem, ImageParams]):
    \"\"\"Is it another picture?\"\"\"

    name, version, levels = "another-one", 1, {"easy": ImageParams()}
    prompt = "<image><image>Is the second one {other}?"

    def transform(self, item, params, rng, view):
        other = view.another(item, rng)
        return Draft(Choice("yes", ("yes", "no")), [item.image, other.image], {"other": other.id})

    def chance(self, params):
        return 1 / 2

@hookimpl
def ssl4rl_tasks():
    return [AnotherOne]
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
            # A shell lets what runs in its background ignore Ctrl-C, and a child inherits that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
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


def test_killed_workers_are_replaced(undisturbed, tmp_path):
    running = Running(tmp_path)
    for items in (5, 25):
        running.wait_for(items)
        os.kill(running.loaded()[-1], signal.SIGKILL)
    errors = running.process.communicate(timeout=300)[1]
    assert (running.process.returncode, errors) == (0, "")
    assert contents(tmp_path / "out") == undisturbed
    assert len(set(running.loaded())) > 2


def test_an_interrupt_stops_all_workers_leaves_nothing_half_written_and_says_how_far_it_came(undisturbed, tmp_path):
    running = Running(tmp_path)
    running.wait_for(20)
    running.process.send_signal(signal.SIGINT)
    errors = running.process.communicate(timeout=300)[1]
    out = tmp_path / "out"
    assert not [path for path in out.rglob("*") if path.name.startswith(".")]
    assert len(running.loaded()) < 60
    done = len({path.name for path in out.rglob("t*.json")})
    assert re.search(rf"Interrupted: interrupted: {done} of 11 units of work are done in {out}; run the same", errors)
    build(["rotation:paper", "position"], pictures(), out, shard_size=6)
    assert contents(out) == undisturbed


def test_two_builds_do_not_write_to_one_folder(undisturbed, tmp_path):
    running = Running(tmp_path)
    running.wait_for(1)
    holder = rf"another build is writing to .*out \(process {running.process.pid} on {socket.gethostname()}\): wait for"
    with pytest.raises(UsageError, match=holder):
        build(["rotation:paper", "position"], pictures(), tmp_path / "out", shard_size=6)
    running.process.kill()
    running.process.communicate()
    # The lock died with its holder, and its file goes with the next one.
    build(["rotation:paper", "position"], pictures(), tmp_path / "out", shard_size=6)
    assert contents(tmp_path / "out") == undisturbed


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
    assert "  configs.position-easy: not built with, asked for now" in lines
    assert "  configs.rotation-paper: built with, not asked for now" in lines
    assert "configs." in lines[-1] and "configs." not in lines[1], "what the user chose comes first"
    other = MemorySource({"0": Image.new("RGB", (64, 48))})
    with pytest.raises(UsageError, match=r"\n  fingerprint: '[0-9a-f]{64}' here, '[0-9a-f]{64}' now"):
        build(["rotation:paper"], other, tmp_path)
    assert contents(tmp_path) == before


def test_other_libraries_are_refused_when_they_draw_otherwise(tmp_path, monkeypatch):
    build(["rotation:paper"], pictures(), tmp_path)
    monkeypatch.setattr("data_builders.plan.canary", lambda *options: "0123456789abcdef")
    with pytest.raises(UsageError, match=r"\n  canary: '[0-9a-f]{16}' here, '0123456789abcdef' now"):
        build(["rotation:paper"], pictures(), tmp_path)


def test_what_only_tests_of_a_plugin_need_is_no_part_of_a_build(tmp_path, monkeypatch):
    lines = ["numpy>=1", "networkx>=3; extra == 'test'", "Not a requirement"]
    monkeypatch.setattr("importlib.metadata.Distribution.requires", lines)
    build(["rotation:paper"], pictures(), tmp_path)
    libraries = json.loads((tmp_path / "plan.json").read_text())["libraries"]
    assert "numpy" in libraries and "networkx" not in libraries


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


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """A disk of its own in memory."""
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", *options, "none", str(folder)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.skipif(not shutil.which("mount"), reason="needs mount")
def test_a_full_disk_is_one_line_and_with_room_it_goes_on(undisturbed, tmp_path):
    for workers in (1, 2):
        disk = tmp_path / f"disk{workers}"
        with mounted(disk, "-o", "size=160k"):
            with pytest.raises(Ssl4rlError, match="No space left on device; with that mended, run the same command"):
                build(["rotation:paper", "position"], pictures(), disk / "out", shard_size=6, workers=workers)
            assert not [path for path in disk.rglob("*") if path.name.startswith(".")]
            subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
            build(["rotation:paper", "position"], pictures(), disk / "out", shard_size=6, workers=workers)
            assert contents(disk / "out") == undisturbed


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
def test_a_disk_that_fills_up_at_the_last_byte_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("data_builders.shards.partial_path", lambda path: Path("/dev/full"))
    monkeypatch.setattr(Path, "unlink", lambda path, missing_ok=False: None)
    with pytest.raises(Ssl4rlError, match="No space left on device; with that mended, run the same command again"):
        build(["rotation:paper"], pictures(), tmp_path / "out")


@pytest.mark.skipif(not shutil.which("mount"), reason="needs mount")
def test_a_read_only_output_is_one_line(tmp_path):
    disk = tmp_path / "disk"
    with mounted(disk, "-o", "ro"):
        for out in (disk, disk / "out"):
            with pytest.raises(Ssl4rlError, match=rf"cannot write {out}.*: Read-only file system; with that mended"):
                build(["rotation:paper"], pictures(), out)


class TestSourceThatChanges:
    """After the plan is made, one picture is removed, and another is written anew."""

    @pytest.fixture
    def photos(self, tmp_path, monkeypatch) -> Path:
        monkeypatch.setenv("SSL4RL_CACHE", str(tmp_path / "cache"))
        folder = tmp_path / "photos"
        folder.mkdir()
        for entry in pictures().index("image").entries[:20]:
            pictures().load("image", entry).image.save(folder / f"{entry.id}.png")
        return folder

    @staticmethod
    def change_after_planning(monkeypatch, change) -> None:
        planned = builder.make_plan

        def plan_then_change(*arguments):
            plan = planned(*arguments)
            change()
            return plan

        monkeypatch.setattr(builder, "make_plan", plan_then_change)

    def test_it_stops_and_goes_on_once_the_file_is_back(self, photos, tmp_path, monkeypatch):
        away, out = tmp_path / "away.png", tmp_path / "out"
        with monkeypatch.context() as patched:
            self.change_after_planning(patched, lambda: (photos / "7.png").rename(away))
            with pytest.raises(Ssl4rlError, match=r"source folder:photos is not .* item '7.png': file is gone; put it"):
                build(["rotation:paper"], f"folder:{photos}", out, shard_size=3)
        away.rename(photos / "7.png")
        build(["rotation:paper"], f"folder:{photos}", out, shard_size=3)
        build(["rotation:paper"], f"folder:{photos}", tmp_path / "whole", shard_size=3)
        assert contents(out) == contents(tmp_path / "whole")

    def test_asked_to_go_on_it_counts_what_has_changed(self, photos, tmp_path, monkeypatch):
        def change() -> None:
            (photos / "7.png").unlink()
            Image.new("RGB", (64, 48)).save(photos / "8.png")

        self.change_after_planning(monkeypatch, change)
        manifest = build(["rotation:paper"], f"folder:{photos}", tmp_path / "out", on_error="skip")
        skips = sum((Counter(total.skips) for total in manifest.totals), Counter())
        assert skips == {"file is gone": 1, "file has changed": 1}

    def test_another_picture_that_a_question_needs_is_not_silently_replaced(self, photos, tmp_path, monkeypatch):
        def negatives(out: Path, **options) -> Manifest:
            return build(["another-one"], f"folder:{photos}", out, test_fraction=0, **options)

        plugin = tmp_path / "another.py"
        plugin.write_text(ANOTHER)
        load_file(plugin)
        negatives(tmp_path / "whole")
        with monkeypatch.context() as patched:
            self.change_after_planning(patched, (photos / "7.png").unlink)
            manifest = negatives(tmp_path / "out", on_error="skip")
        whole, left = questions(tmp_path / "whole"), questions(tmp_path / "out")
        asked_of_it = [item for item, question in whole.items() if "7.png" in question]
        assert asked_of_it and manifest.totals[0].skips == {"file is gone": 1 + len(asked_of_it)}
        assert left == {item: question for item, question in whole.items() if item not in {*asked_of_it, "7.png"}}


def questions(out: Path) -> dict[str, str]:
    samples = BuiltSamples(out)
    records = (
        samples.sample("another-one-easy", "train", n).record for n in range(samples.size("another-one-easy", "train"))
    )
    return {record.item: record.question for record in records}
