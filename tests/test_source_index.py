"""The index on disk: built once, whole or not at all, read by any thread and process, small in memory."""

import concurrent.futures
import multiprocessing
import os
import threading
import tracemalloc
from pathlib import Path

import pytest

from data_builders.sources.folder import Folder
from data_builders.sources.index import CACHE_VARIABLE, Found, Place, digest_of, open_index
from data_builders.sources.webdataset import WebDataset
from ssl4rl_core import Source, Splitter, Ssl4rlError
from ssl4rl_core.testing.sources import load, noise


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv(CACHE_VARIABLE, str(folder))
    return folder


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def photos(folder: Path, count: int = 40) -> Path:
    return fill(folder, {f"place{each % 4}/{each:03d}.jpg": noise(each) for each in range(count)})


def test_the_index_is_built_once_and_again_when_the_folder_changes(tmp_path, cache, monkeypatch):
    folder = photos(tmp_path / "photos")
    files = lambda: {path.name: path.stat().st_ino for path in cache.rglob("*") if path.is_file()}  # noqa: E731
    Folder.open(str(folder))
    first = files()
    assert len(first) == 1
    Folder.open(str(folder))
    assert files() == first
    (folder / "place0/000.jpg").write_bytes(noise(1000))
    Folder.open(str(folder))
    assert len(files()) == 1
    assert files() != first


def test_a_damaged_index_is_built_anew(tmp_path, cache):
    folder = photos(tmp_path / "photos")
    wanted = list(Folder.open(str(folder)).index("image"))
    (kept,) = [path for path in cache.rglob("*") if path.is_file()]
    for damage in (b"", b"nonsense" * 1000):
        kept.write_bytes(damage)
        assert list(Folder.open(str(folder)).index("image")) == wanted


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    folder = photos(tmp_path / "photos")
    (tmp_path / "taken").write_bytes(b"")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "taken"))
    with pytest.raises(Ssl4rlError, match=f"set {CACHE_VARIABLE}"):
        Folder.open(str(folder))


def test_a_failed_scan_leaves_nothing_in_the_cache(tmp_path, cache):
    (tmp_path / "bad.tar").write_bytes(b"no tar" * 1000)
    with pytest.raises(Ssl4rlError):
        WebDataset.open(str(tmp_path / "bad.tar"))
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_entries_and_places_do_not_depend_on_the_order_in_which_they_are_asked_for(tmp_path):
    index = Folder.open(str(photos(tmp_path / "photos", 150))).index("image")
    entries = list(index)
    back, mixed = range(149, -1, -1), [position * 67 % 150 for position in range(300)]
    for positions in (range(150), back, mixed, [0, 140, 1, 2, 141, 3, 142]):
        for position in positions:
            assert index[position] == entries[position]
            assert Path(os.fsdecode(index.place(position).path)) == Path(entries[position].id)
    for outside in (-1, 150):
        with pytest.raises(IndexError):
            index[outside]
        with pytest.raises(IndexError):
            index.place(outside)


def _digest_of(source: Source, position: int) -> bytes:
    found = source.index("image")[position]
    return found.id.encode() + load(source, found).image.tobytes()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes_and_threads_read_the_same(tmp_path, method):
    source = Folder.open(str(photos(tmp_path / "photos", 12)))
    wanted = [_digest_of(source, position) for position in range(12)]
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        if method == "fork":
            assert list(pool.map(_digest_of, [source] * 12, range(12))) == wanted
        else:
            # A spawned child cannot import this test module: what it unpickles must be the package's own.
            futures = [pool.submit(source.load, "image", source.index("image")[position]) for position in range(12)]
            assert [future.result().id.encode() + future.result().image.tobytes() for future in futures] == wanted
    seen: list[bytes] = []
    thread = threading.Thread(target=lambda: seen.extend(_digest_of(source, position) for position in range(12)))
    thread.start()
    thread.join()
    assert seen == wanted


def test_building_an_index_holds_no_list_of_files(tmp_path):
    peaks = []
    for count in (100, 4_000):
        folder = tmp_path / str(count)
        folder.mkdir()
        for each in range(count):
            os.close(os.open(folder / f"{each:06d}-with-a-name-of-usual-length.jpg", os.O_CREAT | os.O_WRONLY))
        tracemalloc.start()
        assert len(Folder.open(str(folder)).index("image")) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # A list of the paths alone would take 400 KB.
    assert peaks[1] - peaks[0] < 100_000


def place(number: int) -> Place:
    return Place(b"table", 0, 3, number)


def found(id: str, number: int, **fields) -> Found:
    whole = {"sample": id, "order": number.to_bytes(4, "big"), "folder": "", "place": place(number)} | fields
    return Found(id=id, **whole)


def opened(*rows: Found, unique: bool = True):
    state = digest_of(repr(rows).encode()).hex()
    return open_index("test:rows", (), state, iter(rows), lambda place: None, unique=unique)


def test_a_group_with_a_held_out_picture_is_held_out_whole():
    same, other = digest_of(b"same"), digest_of(b"other")
    index = opened(
        found("a", 0, split="train", digest=same),
        found("b", 1, split="test", digest=same),
        found("c", 2, split="train", digest=other),
        found("d", 3, split="", sample="a"),
        found("e", 4, split="", digest=digest_of(b"alone")),
    )
    sides = {entry.id: entry.split for entry in index}
    assert sides == {"a": "test", "b": "test", "c": "train", "d": "test", "e": ""}
    assert [Splitter(0.5)(entry) for entry in index][:4] == ["test", "test", "train", "test"]


def test_an_entry_that_shows_anothers_picture_is_read_there_and_shares_its_group():
    same = digest_of(b"same")
    index = opened(found("late", 0, same_as="first"), found("first", 1, digest=same), found("lost", 2, same_as="none"))
    assert index.place(0) == index.place(1) == place(1)
    assert index.place(2) == place(2)
    assert {entry.id: entry.group for entry in index} == {"late": "first", "first": "first", "lost": "lost"}


def test_an_id_that_comes_twice_is_named_where_ids_must_be_unique(cache):
    rows = found("cat", 0), found("dog", 1), found("cat", 2)
    assert [entry.id for entry in opened(*rows, unique=False)] == ["cat", "dog"]
    with pytest.raises(Ssl4rlError, match="test:rows: two rows have the id 'cat'"):
        opened(*rows, found("bird", 3))
    assert not list(cache.rglob("*.tmp"))
