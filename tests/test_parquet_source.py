"""`parquet:` as a user meets it: which cells are pictures, ids, groups, splits, and what broken files say."""

import base64
import concurrent.futures
import io
import multiprocessing
import os
import pickle
import random
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_builders.sources import row_groups
from data_builders.sources.parquet import Parquet
from data_builders.sources.row_groups import RowGroups
from ssl4rl_core import Skip, Splitter, Ssl4rlError, UsageError, registry
from ssl4rl_core.tasks import SourceChanged
from ssl4rl_core.testing.sources import entries, groups, ids, load, noise, outcomes


def write(path: Path, images: Sequence[Any], group_size: int = 4, **columns: Sequence[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": list(images), **columns}), path, row_group_size=group_size)
    return path


def image(data: bytes | None, path: str | None = None) -> dict[str, Any]:
    """As datasets writes its Image."""
    return {"bytes": data, "path": path}


def test_rows_in_order_with_ids_that_say_where_they_lie(tmp_path):
    for file in range(2):
        write(tmp_path / f"train-{file:02d}.parquet", [image(noise(10 * file + each)) for each in range(7)])
    spelt = registry().source(f"parquet:{tmp_path}/train-{{00..01}}.parquet?license=MIT")
    globbed = Parquet.open(f"{tmp_path}/*.parquet")
    assert ids(spelt) == ids(globbed) == [f"train-{file:02d}/{row:08d}" for file in range(2) for row in range(7)]
    assert (spelt.name, spelt.license) == ("parquet:train-{00..01}.parquet", "MIT")
    assert spelt.fingerprint() == globbed.fingerprint()
    assert set(outcomes(spelt).values()) == {"RGB 24x24"}
    index = globbed.index("image")
    assert list(index.neighbours(8)) == [7, 8, 9, 10, 11, 12, 13]


def test_every_row_is_read_right_in_any_order(tmp_path):
    write(tmp_path / "a.parquet", [noise(each, "PNG") for each in range(40)], group_size=15)
    write(tmp_path / "b.parquet", [noise(each, "PNG") for each in range(40, 80)], group_size=100)
    source = pickle.loads(pickle.dumps(Parquet.open(f"{tmp_path}/*.parquet")))
    wanted = {entry.position: load(source, entry).image.tobytes() for entry in entries(source)}
    assert len(set(wanted.values())) == 80
    for position in (79, 0, 41, 40, 39, 14, 15, 16, 3, 2, 78):
        assert load(source, entries(source)[position]).image.tobytes() == wanted[position]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes_read_the_same(tmp_path, method):
    source = Parquet.open(str(write(tmp_path / "a.parquet", [noise(each) for each in range(12)])))
    wanted = [load(source, entry).image.tobytes() for entry in entries(source)]
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
        items = pool.map(source.load, ["image"] * 12, entries(source))
        assert [item.image.tobytes() for item in items] == wanted


def test_pictures_as_bytes_base64_or_files_beside_the_table(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/photo.jpg").write_bytes(noise(3))
    encoded = base64.b64encode(noise(4)).decode()
    cells = [encoded, f"data:image/jpeg;base64,{encoded}", "deep/photo.jpg", encoded[:-7], "", None, "https://a/b.jpg"]
    write(tmp_path / "text.parquet", cells)
    assert list(outcomes(Parquet.open(f"{tmp_path}/text.parquet")).values()) == [
        *["RGB 24x24"] * 3,
        *["broken base64", "empty cell", "empty cell", "picture is an address"],
    ]
    rows = [image(noise(1), "name.jpg"), image(None, "deep/photo.jpg"), image(None, None), image(b"", None)]
    write(tmp_path / "struct.parquet", rows)
    read = outcomes(Parquet.open(f"{tmp_path}/struct.parquet"))
    assert list(read.values()) == ["RGB 24x24", "RGB 24x24", "empty cell", "empty cell"]
    write(tmp_path / "bytes.parquet", [noise(2), b"no picture" * 20, b"", noise(5, side=200)[:5000]])
    read = outcomes(Parquet.open(f"{tmp_path}/bytes.parquet"))
    assert list(read.values()) == ["RGB 24x24", "not a picture", "empty cell", "truncated picture"]


def test_a_cell_leads_to_no_file_outside_the_tables_folder(tmp_path):
    (tmp_path / "secret.jpg").write_bytes(noise(1))
    inner = tmp_path / "data"
    inner.mkdir()
    (inner / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (inner / "folder.jpg").mkdir()
    os.mkfifo(inner / "pipe.jpg")
    outside = ["../secret.jpg", str(tmp_path / "secret.jpg"), "link.jpg"]
    write(inner / "a.parquet", [*outside, "folder.jpg", "pipe.jpg", "none.jpg", "zero\0.jpg"])
    reasons = list(outcomes(Parquet.open(f"{inner}/a.parquet")).values())
    assert reasons == [*["path leads outside"] * 3, *["file cannot be read"] * 2, "file is gone", "file cannot be read"]


def test_files_that_cells_name_are_found_again_when_they_come_or_change(tmp_path):
    where = str(write(tmp_path / "t.parquet", ["a.jpg", "b.jpg", "", "../c.jpg"]))
    early = Parquet.open(where)
    assert list(outcomes(early).values()) == ["file is gone", "file is gone", "empty cell", "path leads outside"]
    for each, name in enumerate(("a.jpg", "b.jpg")):
        (tmp_path / name).write_bytes(noise(each))
    with pytest.raises(SourceChanged):
        load(early, entries(early)[0])
    source = Parquet.open(where)
    assert list(outcomes(source).values()) == ["RGB 24x24", "RGB 24x24", "empty cell", "path leads outside"]
    for content in (noise(2, side=30), noise(2, side=30)[::-1]):  # of another size, and of the same
        (tmp_path / "a.jpg").write_bytes(content)
        with pytest.raises(SourceChanged):
            load(source, entries(source)[0])
        source = Parquet.open(where)
        assert list(outcomes(source).values())[1] == "RGB 24x24"
        assert source._read(source.index("image").place(0)) == content
    (tmp_path / "a.jpg").unlink()
    assert list(outcomes(Parquet.open(where)).values())[:2] == ["file is gone", "RGB 24x24"]


def test_an_index_is_reused_while_the_named_files_are_as_they_were(tmp_path, monkeypatch):
    (tmp_path / "b.jpg").write_bytes(noise(1))
    where = str(write(tmp_path / "t.parquet", ["a.jpg", "b.jpg"]))
    Parquet.open(where)
    monkeypatch.setattr(Parquet, "entries", lambda *_: pytest.fail("the table is scanned again"))
    assert list(outcomes(Parquet.open(where)).values()) == ["file is gone", "RGB 24x24"]


def test_ids_groups_and_splits_from_columns(tmp_path):
    pictures = [noise(each) for each in range(5)]
    columns = {"name": ["a", "b", "c", "d", "e"], "scene": [1, 1, None, 2, 2]}
    sides = ["train", "test", "", "validation", "train"]
    where = write(tmp_path / "a.parquet", pictures, **columns, side=sides)
    source = Parquet.open(str(where), id="name", group="scene", split="side")
    assert source.name == "parquet:a.parquet?id=name&group=scene&split=side"
    assert groups(source) == {"a": "1", "b": "1", "c": "c", "d": "2", "e": "2"}
    # A group with a row that is held out is held out whole.
    assert [entry.split for entry in entries(source)] == ["test", "test", "", "test", "test"]
    with pytest.raises(Ssl4rlError, match="two rows have the id '1'"):
        Parquet.open(str(where), id="scene", column="image", split="side")
    with pytest.raises(Ssl4rlError, match=r"row 2 of a has no id"):
        Parquet.open(str(write(tmp_path / "a.parquet", pictures, scene=[1, 2, None, 3, 4])), id="scene")


def test_identical_pictures_share_a_group_over_files_and_forms(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(noise(0))
    write(tmp_path / "a.parquet", [image(noise(0)), image(noise(1)), image(None, "photo.jpg")])
    write(tmp_path / "b.parquet", [image(noise(1)), image(noise(2))])
    found = groups(Parquet.open(f"{tmp_path}/*.parquet"))
    assert found == {
        "a/00000000": "a/00000000",
        "a/00000001": "a/00000001",
        "a/00000002": "a/00000000",
        "b/00000000": "a/00000001",
        "b/00000001": "b/00000001",
    }


def test_the_fingerprint_tells_of_a_change_of_equal_size(tmp_path):
    before = Parquet.open(str(write(tmp_path / "a.parquet", [b"1" * 50, b"3" * 60]))).fingerprint()
    assert Parquet.open(str(write(tmp_path / "b/a.parquet", [b"1" * 50, b"3" * 60]))).fingerprint() == before
    assert Parquet.open(str(write(tmp_path / "a.parquet", [b"1" * 50, b"4" * 60]))).fingerprint() != before


def test_a_file_that_goes_or_changes_afterwards_is_told(tmp_path):
    where = write(tmp_path / "a.parquet", [noise(each) for each in range(6)], group_size=2)
    source = Parquet.open(str(where))
    whole = where.read_bytes()
    for content, reason in ((whole[: len(whole) // 2], "has changed"), (None, "is gone")):
        where.write_bytes(content) if content else where.unlink()
        with pytest.raises(Skip, match=reason):
            pickle.loads(pickle.dumps(source)).load("image", entries(source)[0])
    write(where, [noise(9, side=30)] * 2)
    with pytest.raises(Skip, match="has changed"):
        pickle.loads(pickle.dumps(source)).load("image", entries(source)[5])
    with pytest.raises(Skip, match="has changed"):
        pickle.loads(pickle.dumps(source)).load("image", entries(source)[0])


@pytest.mark.parametrize(
    ("where", "options", "says"),
    [
        ("pics.parquet", {"column": "imag"}, "no column 'imag': write column=COLUMN with one of image, label"),
        ("pics.parquet", {"group": "scene"}, "no column 'scene': write group=COLUMN with one of image, label"),
        ("pics.parquet", {"column": "label"}, "holds int64, not pictures: write column=COLUMN with one of image"),
        ("pics.parquet", {"colum": "image"}, "did you mean 'column'"),
        ("none.parquet", {}, "no file"),
        ("empty.parquet", {}, "has no rows"),
        ("lists.parquet", {}, "holds list<.*>, not pictures: no other column does"),
    ],
)
def test_misuse_is_one_line(tmp_path, where, options, says):
    write(tmp_path / "pics.parquet", [noise(1)], label=[1])
    pq.write_table(pa.table({"image": pa.array([], pa.binary())}), tmp_path / "empty.parquet")
    write(tmp_path / "lists.parquet", [[noise(1)]])
    with pytest.raises(UsageError, match=says) as caught:
        Parquet.open(str(tmp_path / where), **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["cut", "text", "nothing", "inside"])
def test_a_broken_file_is_named(tmp_path, damage):
    path = write(tmp_path / "00.parquet", [noise(each) for each in range(20)])
    whole = path.read_bytes()
    half = len(whole) // 2
    broken = {"cut": whole[:half], "text": b"hello " * 99, "nothing": b"", "inside": whole[:4] + bytes(half)}
    path.write_bytes(broken[damage] + (whole[half + 4 :] if damage == "inside" else b""))
    with pytest.raises(Ssl4rlError, match=r"00\.parquet is no whole parquet file") as caught:
        Parquet.open(str(path))
    assert "\n" not in str(caught.value)


def test_memory_depends_on_neither_rows_nor_row_groups(tmp_path):
    peaks = []
    for rows in (1_000, 20_000):
        # One row group, and rows that are stored once but would unfold to all of them.
        where = write(tmp_path / f"{rows}.parquet", [noise(0, side=16)] * rows, group_size=rows)
        before = pa.default_memory_pool().max_memory()
        tracemalloc.start()
        source = Parquet.open(str(where))
        for entry in map(source.index("image").__getitem__, range(0, rows, rows // 20)):
            load(source, entry)
        peaks.append((tracemalloc.get_traced_memory()[1], pa.default_memory_pool().max_memory() - before))
        tracemalloc.stop()
    assert peaks[1][0] - peaks[0][0] < 300_000
    assert peaks[1][1] < 20_000_000


def test_rows_are_read_after_an_error_that_passed(tmp_path, monkeypatch):
    # So large that each row is a page and a batch of its own.
    cells = [random.Random(each).randbytes(2**21) for each in range(4)]
    where = str(tmp_path / "a.parquet")
    pq.write_table(pa.table({"image": cells}), where, use_dictionary=False, write_batch_size=1)
    broken = False

    class Drive(io.FileIO):
        def read(self, size: int = -1) -> bytes:
            if broken:
                raise OSError("the drive is away")
            return super().read(size)

    monkeypatch.setattr(row_groups, "_BATCH_ROWS", 1)
    groups = RowGroups("image", Drive)
    assert groups.value(where, 0) == cells[0]
    broken = True
    for _ in range(2):
        with pytest.raises(OSError, match="the drive is away"):
            groups.value(where, 3)
    broken = False
    assert groups.value(where, 3) == cells[3]


def test_both_sides_of_a_split_are_filled(tmp_path):
    source = Parquet.open(str(write(tmp_path / "a.parquet", [noise(each) for each in range(40)])))
    assert {Splitter(0.4)(entry) for entry in entries(source)} == {"train", "test"}
