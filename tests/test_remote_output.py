"""Builds written through fsspec: the same files as in a folder, whole shards only, resumed from what is there."""

import itertools
import os
import sys
from pathlib import Path

import fsspec
import numpy as np
import pytest
from PIL import Image

from data_builders import BuiltSamples, build
from ssl4rl_core import Ssl4rlError, UsageError, load_file
from ssl4rl_core.cli import run
from ssl4rl_core.testing.memory import MemorySource

# An object store for several processes: a folder, behind a scheme of its own, which may be full.
SHELF = """
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from ssl4rl_core import hookimpl

class Shelf(LocalFileSystem):
    protocol = "shelf"

    def __init__(self, **options):
        super().__init__(auto_mkdir=True, **options)

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(str(path).removeprefix("shelf://"))

    def put_file(self, source, target, **options):
        shelf = Path(target.split("/photos/")[0])
        if (shelf / "full").exists() and "00003" in target:
            raise RuntimeError(f"quota\\nof {shelf.name} exceeded")
        super().put_file(source, target, **options)

fsspec.register_implementation("shelf", Shelf, clobber=True)

@hookimpl
def ssl4rl_sources():
    return []
"""
TASKS = ["rotation:paper", "position:easy"]
WORDS = ["build", "--task", "rotation:paper?min_side=8", "--source", "embedded:digits", "--limit", "20", "--out"]


def pictures() -> MemorySource:
    pixels = np.random.default_rng(5).integers(0, 256, (30, 5, 5, 3), dtype=np.uint8)
    return MemorySource({str(n): Image.fromarray(each).resize((64, 48)) for n, each in enumerate(pixels)})


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def staged() -> list[Path]:
    return [path for path in Path(os.environ["SSL4RL_CACHE"], "staging").rglob("*") if path.is_file()]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    build(TASKS, pictures(), out, shard_size=5)
    return contents(out)


@pytest.fixture
def memory(request):
    """An empty place in memory: its file system and its address."""
    files = fsspec.filesystem("memory")
    place = f"memory://{request.node.name}/photos"
    yield files, place
    files.rm(f"/{request.node.name}", recursive=True)


def stored(memory) -> dict[str, bytes]:
    files, place = memory
    root = place.removeprefix("memory:/")
    return {name.removeprefix(f"{root}/"): files.cat_file(name) for name in files.find(root)}


def watched(files, monkeypatch) -> list[str]:
    """The names of what is uploaded from now on, in order."""
    put, came = files.put_file, []

    def put_and_note(self, local, remote, **options) -> None:
        came.append(remote.split("/photos/")[1])
        put(local, remote)

    monkeypatch.setattr(type(files), "put_file", put_and_note)
    return came


def test_it_holds_the_bytes_of_a_build_in_a_folder(memory, undisturbed):
    build(TASKS, pictures(), memory[1], shard_size=5)
    assert stored(memory) == undisturbed
    assert not staged()


def test_whole_shards_come_first_then_sidecars_and_the_manifest_last(memory, undisturbed, monkeypatch):
    files, place = memory
    put, came = files.put_file, []
    monkeypatch.setattr(
        type(files), "put_file", lambda self, a, b, **o: (came.append(b.split("/photos/")[1]), put(a, b))
    )
    build(TASKS, pictures(), place, shard_size=5)
    assert came[0] == "plan.json" and came[-2:] == ["README.md", "manifest.json"] and set(came) == set(undisturbed)
    for unit, names in itertools.groupby(came[1:-2], lambda name: Path(name).stem):
        kinds = [Path(name).suffix for name in names]
        assert kinds == [".tar", ".tar", ".json", ".json"], unit


def test_an_interrupted_build_goes_on_from_what_is_there(memory, undisturbed, monkeypatch, capsys):
    files, place = memory
    put = files.put_file

    def interrupted(self, local, remote, **options):
        if "00003" in remote and remote.endswith(".json"):
            raise KeyboardInterrupt
        put(local, remote)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt, match="interrupted: 3 of 7 units of work"):
        patched.setattr(type(files), "put_file", interrupted)
        build(TASKS, pictures(), place, shard_size=5)
    assert "manifest.json" not in stored(memory) and not staged()
    came = watched(files, monkeypatch)
    build(TASKS, pictures(), place, shard_size=5)
    assert stored(memory) == undisturbed
    assert not [name for name in came if "train-00002" in name] and [name for name in came if "train-00003" in name]


def test_another_plan_or_other_things_are_refused(memory):
    files, place = memory
    build(["rotation:paper"], pictures(), place)
    with pytest.raises(
        UsageError, match=rf"^{place} holds a build of another plan[^\n]*\n  options.seed: 0 here, 1 now"
    ):
        build(["rotation:paper"], pictures(), place, seed=1)
    files.pipe_file("/elsewhere/thesis.tex", b"years of work")
    with pytest.raises(UsageError, match="memory://elsewhere is not empty and holds no build"):
        build(["rotation:paper"], pictures(), "memory://elsewhere/")


def test_memory_is_for_one_process():
    with pytest.raises(UsageError, match="memory://x lies in this process only: build with workers=1"):
        build(["rotation:paper"], pictures(), "memory://x", workers=2)


def test_several_workers_upload_and_a_refused_upload_is_one_line(undisturbed, tmp_path):
    plugin = tmp_path / "shelf.py"
    plugin.write_text(SHELF)
    load_file(plugin)
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    (shelf / "full").touch()
    place = f"shelf://{shelf}/photos"
    with pytest.raises(
        Ssl4rlError, match=r"cannot write shelf://.*: RuntimeError: quota of shelf exceeded; with that m"
    ):
        build(TASKS, pictures(), place, shard_size=5, workers=2)
    assert not staged()
    (shelf / "full").unlink()
    build(TASKS, pictures(), place, shard_size=5, workers=2)
    assert contents(shelf / "photos") == undisturbed


def test_file_addresses_are_folders(undisturbed, tmp_path, capsys):
    out = tmp_path / "my photos"
    build(TASKS, pictures(), out.as_uri(), shard_size=5, workers=2)
    assert contents(out) == undisturbed
    assert BuiltSamples(out).size("rotation-paper", "train") > 0


def test_file_addresses_that_name_a_machine_are_refused(tmp_path, capsys):
    for address in ("file://data/photos", "file://me:secret@data/photos", "local://photos", "file://"):
        assert run([*WORDS, address]) == 2
        said = capsys.readouterr().err
        assert "write file:///PATH, or a path alone" in said and said.count("\n") == 1 and "secret" not in said
    for place in (f"file://localhost{tmp_path}/one", f"file://{tmp_path}/one#1"):
        assert run([*WORDS, place]) == 0
        assert "built in /" in (said := capsys.readouterr().out) and "ssl4rl inspect" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "one#1"]


def test_the_command_line_writes_there_too(memory, capsys):
    assert run([*WORDS, memory[1]]) == 0
    assert capsys.readouterr().out.rstrip().endswith(f"built in {memory[1]}")
    assert "manifest.json" in stored(memory)


@pytest.mark.parametrize(
    ("out", "code", "said"),
    [
        ("s3://bucket/photos", 1, "pip install s3fs"),
        ("gs://bucket/photos", 1, "pip install gcsfs"),
        ("teapot://kitchen", 2, "no output by teapot:// addresses: name a folder, or an address such as s3://"),
    ],
)
def test_a_scheme_that_cannot_be_written_is_one_line(out, code, said, capsys, monkeypatch):
    for package in ("s3fs", "gcsfs"):
        monkeypatch.setitem(sys.modules, package, None)
    assert run(["build", "--task", "rotation:paper", "--source", "embedded:digits", "--out", out]) == code
    errors = capsys.readouterr().err
    assert said in errors and errors.count("\n") == 1


def test_a_password_in_an_address_is_not_shown(monkeypatch):
    monkeypatch.setitem(sys.modules, "paramiko", None)
    from data_builders.output import RemoteOutput

    output = RemoteOutput("sftp://me:secret@host/photos")
    assert output.where == "sftp://host/photos"
    with pytest.raises(Ssl4rlError) as raised:
        output.sizes()
    assert "secret" not in str(raised.value)


def test_nor_is_one_with_an_at_sign_by_the_command_or_in_what_a_file_system_says(capsys, monkeypatch):
    files, place, address = fsspec.filesystem("memory"), "memory://host/photos", "memory://me:se%25c@ret@host/photos"
    assert run([*WORDS, address]) == 0
    assert capsys.readouterr().out.rstrip().endswith(f"built in {place}")

    def find(self, *arguments, **options):
        raise RuntimeError(f"no login at {address} by se%c@ret, me:se%25c@ret")

    with monkeypatch.context() as patched:
        patched.setattr(type(files), "find", find)
        assert run([*WORDS, address]) == 1
    said = capsys.readouterr().err
    assert f"cannot write {place}: RuntimeError: no login at {place} by ***, me:***; with that mended" in said
    files.rm("/me:se%25c@ret@host", recursive=True)
