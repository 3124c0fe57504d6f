"""`tsv:` as a user meets it: MMBench's form, rows that show another row's picture, quoting, and broken files."""

import base64
import csv
import os
import pickle
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from data_builders.sources import tsv
from data_builders.sources.tsv import Tsv
from ssl4rl_core import Skip, Ssl4rlError, UsageError, registry
from ssl4rl_core.testing.sources import entries, groups, ids, load, noise, outcomes

HEADER = ("index", "question", "image", "split")


def encoded(seed: int) -> str:
    return base64.b64encode(noise(seed)).decode()


def write(path: Path, rows: Iterable[Sequence[object]], header: Sequence[str] = HEADER) -> Path:
    """As pandas writes a table: only what needs quotes has them."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t", lineterminator="\n").writerows([header, *rows])
    return path


def test_rows_of_mmbench(tmp_path):
    where = write(tmp_path / "MMBench_DEV_EN.tsv", [(241 + each, "What?", encoded(each), "dev") for each in range(5)])
    source = registry().source(f"tsv:{where}?license=CC-BY-4.0")
    assert ids(source) == [f"MMBench_DEV_EN/{241 + each}" for each in range(5)]
    assert (source.name, source.license) == ("tsv:MMBench_DEV_EN.tsv", "CC-BY-4.0")
    assert set(outcomes(source).values()) == {"RGB 24x24"}
    last = load(pickle.loads(pickle.dumps(source)), entries(source)[4]).image
    one = Tsv.open(str(write(tmp_path / "one.tsv", [(0, "", encoded(4), "")])))
    assert last.tobytes() == load(one, entries(one)[0]).image.tobytes()


def test_a_cell_may_name_the_row_whose_picture_it_shows(tmp_path):
    rows = [(1000001, "later first", "1", "dev"), (1, "What?", encoded(1), "dev"), (2, "Who?", encoded(2), "dev")]
    rows += [(1000002, "again", "2", "dev"), (3, "lost", "77", "dev"), (4, "a chain", "1000002", "dev")]
    source = Tsv.open(str(write(tmp_path / "m.tsv", rows)))
    assert outcomes(source) == {
        **dict.fromkeys(["m/1000001", "m/1", "m/2", "m/1000002"], "RGB 24x24"),
        **dict.fromkeys(["m/3", "m/4"], "no row has this id"),
    }
    shown = {entry.id: load(source, entry).image.tobytes() for entry in entries(source)[:4]}
    assert shown["m/1000001"] == shown["m/1"] != shown["m/2"] == shown["m/1000002"]
    joined = {"m/1": "m/1", "m/1000001": "m/1", "m/2": "m/1000002", "m/1000002": "m/1000002"}
    assert groups(source) == joined | {"m/3": "m/3", "m/4": "m/4"}


def test_cells_name_rows_by_index_also_where_ids_come_from_another_column(tmp_path):
    header = ("index", "qid", "image")
    # Each row's `qid` is the `index` of another: looked up among ids, the last row would show the second's picture.
    rows = [(13, "30", "10"), (10, "12", encoded(1)), (11, "10", encoded(2)), (12, "11", "10"), (14, "31", "12")]
    source = Tsv.open(str(write(tmp_path / "a.tsv", [*rows, (15, "32", "30")], header)), id="qid")
    assert ids(source) == ["30", "12", "10", "11", "31", "32"]
    lost = dict.fromkeys(["31", "32"], "no row has this id")  # a chain, and an id that is no index
    assert outcomes(source) == dict.fromkeys(["30", "12", "10", "11"], "RGB 24x24") | lost
    shown = {entry.id: load(source, entry).image.tobytes() for entry in entries(source)[:4]}
    assert shown["30"] == shown["12"] == shown["11"] != shown["10"]
    assert groups(source) == {"30": "11", "12": "11", "11": "11", "10": "10", "31": "31", "32": "32"}
    by_index = Tsv.open(str(tmp_path / "a.tsv"), id="index")
    assert outcomes(by_index)["12"] == "RGB 24x24" and ids(by_index)[0] == "13"
    twice = [(1, "a", encoded(1)), (1, "b", encoded(2)), (2, "c", "1")]
    assert outcomes(Tsv.open(str(write(tmp_path / "b.tsv", twice, header)), id="qid"))["c"] == "no row has this id"


def test_text_with_quotes_tabs_and_line_breaks_does_not_shift_rows(tmp_path):
    texts = ['say "cheese"', "two\nlines", "a\ttab", "ünïcode", '"', ""]
    source = Tsv.open(
        str(write(tmp_path / "q.tsv", [(each, text, encoded(each), "dev") for each, text in enumerate(texts)]))
    )
    assert list(outcomes(source).values()) == ["RGB 24x24"] * 6
    plain = Tsv.open(str(write(tmp_path / "p.tsv", [(each, "x", encoded(each), "dev") for each in range(6)])))
    assert [load(source, entry).image.tobytes() for entry in entries(source)] == [
        load(plain, entry).image.tobytes() for entry in entries(plain)
    ]


def test_other_encodings_line_ends_and_broken_base64(tmp_path):
    body = f"\ufeffname\timage\r\ncaf\u00e9\t{encoded(1)}\r\n\r\nb\t{encoded(2)[:-3]}\r\nc\t{encoded(3)}"
    (tmp_path / "w.tsv").write_bytes(body.encode().replace("café".encode(), "café".encode("latin-1")))
    assert outcomes(Tsv.open(str(tmp_path / "w.tsv"), id="name")) == {
        "caf\\xe9": "RGB 24x24",
        "b": "broken base64",
        "c": "RGB 24x24",
    }
    assert ids(Tsv.open(str(tmp_path / "w.tsv"))) == ["w/00000000", "w/00000001", "w/00000002"]


def test_columns_give_groups_and_splits_and_identical_pictures_share_a_group(tmp_path):
    rows = [(1, "a", encoded(1), "train"), (2, "a", encoded(2), "train"), (3, "b", encoded(2), "dev")]
    source = Tsv.open(str(write(tmp_path / "t.tsv", [*rows, (4, "c", encoded(4), "train")])), split="split")
    assert groups(source) == {"t/1": "t/1", "t/2": "t/2", "t/3": "t/2", "t/4": "t/4"}
    assert [entry.split for entry in entries(source)] == ["train", "test", "test", "train"]
    grouped = Tsv.open(str(tmp_path / "t.tsv"), group="question")
    assert groups(grouped) == {"t/1": "a", "t/2": "a", "t/3": "a", "t/4": "c"}


def test_paths_are_followed_inside_the_folder_only(tmp_path):
    inner = tmp_path / "data"
    inner.mkdir()
    for folder in (tmp_path, inner):
        (folder / "photo.jpg").write_bytes(noise(1))
    rows = [(1, "photo.jpg"), (2, "../photo.jpg"), (3, str(tmp_path / "photo.jpg"))]
    source = Tsv.open(str(write(inner / "p.tsv", rows, ("index", "image_path"))), column="image_path")
    assert list(outcomes(source).values()) == ["RGB 24x24", "path leads outside", "path leads outside"]


def test_a_picture_longer_than_csvs_own_limit_is_read(tmp_path):
    large = base64.b64encode(noise(1, "PNG", side=300)).decode()
    assert len(large) > 131_072
    source = Tsv.open(str(write(tmp_path / "l.tsv", [(1, 'a "quoted" question', large, "dev")])))
    assert outcomes(source) == {"l/1": "RGB 300x300"}


def test_a_file_that_goes_or_changes_afterwards_is_told(tmp_path):
    where = write(tmp_path / "a.tsv", [(each, "What?", encoded(each), "dev") for each in range(3)])
    source = Tsv.open(str(where))
    where.write_bytes(where.read_bytes()[:1000])
    with pytest.raises(Skip, match="file has changed"):
        source.load("image", entries(source)[2])
    where.unlink()
    with pytest.raises(Skip, match="file is gone"):
        source.load("image", entries(source)[0])


def test_a_header_in_quotes_after_a_byte_order_mark(tmp_path):
    (tmp_path / "b.tsv").write_text(f'\ufeff"index"\t"image"\n7\t{encoded(1)}\n', encoding="utf-8")
    assert outcomes(Tsv.open(str(tmp_path / "b.tsv"))) == {"b/7": "RGB 24x24"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"column": "picture"}, "no column 'picture': write column=COLUMN with one of index, question, image, split"),
        ({"id": "nr"}, "no column 'nr': write id=COLUMN"),
        ({"spilt": "split"}, "did you mean 'split'"),
    ],
)
def test_misuse_is_one_line(tmp_path, options, says):
    with pytest.raises(UsageError, match=says) as caught:
        Tsv.open(str(write(tmp_path / "a.tsv", [(1, "What?", encoded(1), "dev")])), **options)
    assert "\n" not in str(caught.value)


def test_rows_with_one_index_are_named(tmp_path):
    where = write(tmp_path / "a.tsv", [(1, "a", encoded(1), "dev"), (1, "b", encoded(2), "dev")])
    with pytest.raises(Ssl4rlError, match="two rows have the id 'a/1'"):
        Tsv.open(str(where))
    assert ids(Tsv.open(str(where), id="question")) == ["a", "b"]


@pytest.mark.parametrize("damage", ["cut", "quote", "garbage", "nothing", "header", "long"])
def test_a_broken_file_is_one_line(tmp_path, damage, monkeypatch):
    monkeypatch.setattr(tsv, "MAX_ROW", 10_000)
    where = write(tmp_path / "00.tsv", [(each, "What?", encoded(each), "dev") for each in range(3)])
    whole = where.read_bytes()
    header = whole[: whole.index(b"\n") + 1]
    broken = {
        "cut": (whole[:-200], "row 2 of .* has 3 cells, and the header 4"),
        "quote": (header + b'1\t"never closed\tx\ty\n' + whole[len(header) :], "cells"),
        "garbage": (bytes(range(256)) * 20, "no column 'image'"),
        "nothing": (b"", "no column 'image'"),
        "header": (header, "has no rows"),
        "long": (header + b"A" * 20_000, "has a row of .* at byte"),
    }
    content, says = broken[damage]
    where.write_bytes(content)
    with pytest.raises(Ssl4rlError, match=says) as caught:
        Tsv.open(str(where))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "a.tsv")
    with pytest.raises(UsageError, match="no file"):
        Tsv.open(str(tmp_path / "a.tsv"))
