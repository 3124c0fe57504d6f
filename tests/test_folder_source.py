"""`folder:` as a user meets it: what it holds, in which order, in which groups, and what it says when misused."""

import io
import os
import pickle
import struct
import sys
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_builders.sources.folder import Folder
from ssl4rl_core import Splitter, UsageError, registry
from ssl4rl_core.testing.sources import ids, noise, outcomes


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def photos(folder: Path, count: int = 40) -> Path:
    return fill(folder, {f"place{each % 4}/{each:03d}.jpg": noise(each) for each in range(count)})


def test_ids_are_paths_inside_the_folder_and_positions_count_up(tmp_path):
    source = Folder.open(str(photos(tmp_path / "photos")))
    assert sorted(ids(source)) == sorted(f"place{each % 4}/{each:03d}.jpg" for each in range(40))
    index = source.index("image")
    assert [each.position for each in index] == list(range(40))
    assert list(index) == [index[position] for position in range(40)]
    with pytest.raises(IndexError):
        index[40]
    assert source.name == "folder:photos"
    assert str(tmp_path) not in source.name


def test_the_order_mixes_folders(tmp_path):
    source = Folder.open(str(photos(tmp_path / "photos", 200)))
    assert len({id.split("/")[0] for id in ids(source)[:12]}) == 4


def test_the_order_mixes_splits_so_that_a_limit_leaves_some_of_both(tmp_path):
    index, splitter = Folder.open(str(photos(tmp_path / "photos", 200))).index("image"), Splitter(0.5)
    assert 30 < sum(splitter(index[position]) == "test" for position in range(100)) < 70


def test_order_groups_and_fingerprint_do_not_depend_on_how_the_folder_came_to_be(tmp_path):
    files = {f"place{each % 4}/{each:03d}.jpg": noise(each % 30) for each in range(40)}
    first = Folder.open(str(fill(tmp_path / "first", files)))
    backwards = fill(tmp_path / "second", dict(reversed(files.items())))
    for path in backwards.rglob("*.jpg"):
        os.utime(path, (1, 1))
    second = Folder.open(str(backwards))
    assert list(first.index("image")) == list(second.index("image"))
    assert first.fingerprint() == second.fingerprint()


@pytest.mark.parametrize("change", ["content", "size", "name", "more", "less"])
def test_the_fingerprint_tells_of_any_change(tmp_path, change):
    twins = {"a.png": b"1" * 50, "b.png": b"2" * 50, "c.png": b"3" * 60}
    folder = fill(tmp_path / "photos", twins)
    before = Folder.open(str(folder)).fingerprint()
    if change == "content":
        (folder / "a.png").write_bytes(b"9" * 50)
    elif change == "size":
        (folder / "c.png").write_bytes(b"3" * 61)
    elif change == "name":
        (folder / "c.png").rename(folder / "d.png")
    elif change == "more":
        (folder / "new.png").write_bytes(b"4")
    else:
        (folder / "c.png").unlink()
    assert Folder.open(str(folder)).fingerprint() != before


def test_only_picture_files_count_and_options_narrow_them(tmp_path):
    names = ["a.jpg", "b.PNG", "c.txt", "d.json", ".hidden.jpg", "._a.jpg", ".git/e.jpg", "deep/er/f.webp", "g"]
    where = str(fill(tmp_path, {name: noise(3) for name in names}))
    assert sorted(ids(Folder.open(where))) == ["a.jpg", "b.PNG", "deep/er/f.webp"]
    assert sorted(ids(Folder.open(where, recursive="false"))) == ["a.jpg", "b.PNG"]
    assert sorted(ids(Folder.open(where, extensions="PNG, .webp"))) == ["b.PNG", "deep/er/f.webp"]
    assert Folder.open(where, license="CC0-1.0").license == "CC0-1.0"


def test_a_name_says_which_files_were_chosen_so_that_it_opens_the_same_ones(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "photos", {name: noise(3) for name in ("a.jpg", "b.png", "deep/c.png")})
    chosen = registry().source("folder:photos?extensions=PNG,jpg&recursive=no")
    assert chosen.name == "folder:photos?recursive=false&extensions=.jpg,.png"
    assert ids(registry().source(chosen.name)) == ids(chosen)


def test_identical_files_share_the_first_ones_group_and_never_part(tmp_path):
    files = {f"a/{each:03d}.jpg": noise(each) for each in range(60)}
    files |= {f"b/copy of {each:03d}.jpeg": noise(each) for each in range(60)}
    source = Folder.open(str(fill(tmp_path, files)))
    index, splitter = source.index("image"), Splitter(0.3)
    assert set(Counter(each.group for each in index).values()) == {2}
    assert {each.group for each in index} == {f"a/{each:03d}.jpg" for each in range(60)}
    sides = {each.group: set() for each in index}
    for each in index:
        sides[each.group].add(splitter(each))
    assert all(len(side) == 1 for side in sides.values())
    assert set.union(*sides.values()) == {"train", "test"}


def test_a_file_of_equal_size_and_other_content_keeps_its_own_group(tmp_path):
    source = Folder.open(str(fill(tmp_path, {"a.png": b"1" * 50, "b.png": b"2" * 50})))
    assert [each.group for each in source.index("image")] == ids(source)


def odd_files() -> dict[str, bytes]:
    def saved(image: Image.Image, format: str, **options) -> bytes:
        file = io.BytesIO()
        image.save(file, format, **options)
        return file.getvalue()

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    plain = Image.open(io.BytesIO(noise(1, side=64))).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0))
    return {
        "truncated.jpg": noise(2, side=200)[:6000],
        "text.jpg": b"this is no picture\n" * 20,
        "one.png": saved(Image.new("RGB", (1, 1)), "PNG"),
        "cmyk.jpg": saved(plain.convert("CMYK"), "JPEG"),
        "deep.png": saved(Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64) * 16), "PNG"),
        "palette.png": saved(plain.quantize(8), "PNG", transparency=0),
        "animated.gif": saved(plain, "GIF", save_all=True, append_images=[plain.rotate(90)]),
        "turned.jpg": saved(plain.crop((0, 0, 64, 32)), "JPEG", exif=exif),
        "bomb.png": bomb + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b""),
        "empty.jpg": b"",
    }


ODD = {
    "truncated.jpg": "truncated picture",
    "text.jpg": "not a picture",
    "one.png": "RGB 1x1",
    "cmyk.jpg": "RGB 64x64",
    "deep.png": "RGB 64x64",
    "palette.png": "RGB 64x64",
    "animated.gif": "RGB 64x64",
    "turned.jpg": "RGB 32x64",
    "bomb.png": "picture too large",
    "empty.jpg": "empty file",
}


def test_odd_files_are_converted_or_skipped_by_reason(tmp_path, capfd):
    source = Folder.open(str(fill(tmp_path, odd_files())))
    assert outcomes(source) == ODD
    assert outcomes(source, max_side=16)["turned.jpg"] == "RGB 8x16"
    assert capfd.readouterr() == ("", "")


def test_a_file_that_goes_or_changes_afterwards_is_skipped(tmp_path):
    source = Folder.open(str(photos(tmp_path / "photos", 6)))
    folder = tmp_path / "photos"
    (folder / "place0/000.jpg").unlink()
    (folder / "place1/001.jpg").write_bytes(noise(1) + b"more")
    (folder / "place2/002.jpg").write_bytes(noise(2)[:-30])
    (folder / "place3/003.jpg").unlink()
    (folder / "place3/003.jpg").mkdir()
    flipped = bytes(255 - byte for byte in (folder / "place1/005.jpg").read_bytes())
    (folder / "place1/005.jpg").write_bytes(flipped)  # of the same size
    assert outcomes(source) == {
        "place0/000.jpg": "file is gone",
        "place1/001.jpg": "file has changed",
        "place2/002.jpg": "file has changed",
        "place3/003.jpg": "file cannot be read",
        "place0/004.jpg": "RGB 24x24",
        "place1/005.jpg": "file has changed",
    }


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_not_utf8_get_ids_that_are(tmp_path):
    for name in (b"caf\xe9.jpg", b"back\\xe9.jpg", b"line\nbreak.jpg", "näive.jpg".encode()):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(noise(len(name)))
    source = Folder.open(str(tmp_path))
    assert set(ids(source)) == {"caf\\xe9.jpg", "back\\\\xe9.jpg", "line\nbreak.jpg", "näive.jpg"}
    assert set(outcomes(source).values()) == {"RGB 24x24"}
    assert all(id.encode("utf-8") for id in ids(source))


def test_neighbours_are_the_files_of_the_same_folder(tmp_path):
    source = Folder.open(str(photos(tmp_path / "photos")))
    index = source.index("image")
    for position in range(len(index)):
        neighbours = index.neighbours(position)
        folder = index[position].id.split("/")[0]
        assert sorted(neighbours) == [each.position for each in index if each.id.startswith(folder + "/")]
        assert len(neighbours) == 10
        assert neighbours[-1] == neighbours[9]


@pytest.mark.parametrize(
    ("where", "options", "says"),
    [
        ("{}/none", {}, "no folder"),
        ("", {}, "write folder:DIR"),
        ("{}/file.jpg", {}, "is a file"),
        ("{}/empty", {}, "no pictures in"),
        ("{}/above", {"recursive": "false"}, "not counting its subfolders"),
        ("{}/above", {"recursiv": "false"}, "did you mean 'recursive'"),
        ("{}/above", {"recursive": "perhaps"}, "option recursive"),
        ("{}/above", {"extensions": "jpg,exe"}, "'.exe' is no ending"),
    ],
)
def test_misuse_is_one_line_that_says_what_mends_it(tmp_path, where, options, says):
    fill(tmp_path, {"file.jpg": b"x", "empty/readme.txt": b"x", "above/below/a.jpg": noise(1)})
    with pytest.raises(UsageError, match=says) as caught:
        Folder.open(where.format(tmp_path), **options)
    assert "\n" not in str(caught.value)


def test_another_is_repeatable_and_stays_in_its_split(tmp_path):
    files = {f"place{each % 4}/{each:03d}.jpg": noise(each % 30) for each in range(40)} | odd_files()
    source = Folder.open(str(fill(tmp_path, files)))
    index, splitter = source.index("image"), Splitter(0.4)
    reopened = pickle.loads(pickle.dumps(source))
    for split in ("train", "test"):
        view = source.view("image", split, splitter)
        again = reopened.view("image", split, splitter)
        items = [each for each in index if splitter(each) == split and each.id not in ODD]
        assert items
        for each in items:
            item = source.load("image", each)
            for nearby in (False, True):
                other = view.another(item, np.random.default_rng(5), nearby=nearby)
                assert splitter(index[other.position]) == split
                assert other.group != item.group
                assert other.id == again.another(item, np.random.default_rng(5), nearby=nearby).id
                if nearby and any(
                    splitter(index[near]) == split and index[near].group != item.group
                    for near in index.neighbours(item.position)
                ):
                    assert other.id.split("/")[0] == item.id.split("/")[0]
