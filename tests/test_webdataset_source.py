"""`webdataset:` as a user meets it: which members count, in which order and groups, and what broken tars say."""

import io
import tarfile
import zlib
from pathlib import Path

import pytest
from PIL import Image

from data_builders.sources.webdataset import WebDataset
from ssl4rl_core import Ssl4rlError, UsageError
from ssl4rl_core.testing.sources import ids, load, noise, outcomes


def write_shard(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def shards(folder: Path, count: int = 3, samples: int = 5) -> Path:
    for shard in range(count):
        members = {}
        for each in range(samples):
            members[f"{each:06d}.json"] = b"{}"
            members[f"{each:06d}.jpg"] = noise(100 * shard + each)
        write_shard(folder / f"{shard:02d}.tar", members)
    return folder


def test_pictures_of_shards_in_the_order_they_lie(tmp_path):
    shards(tmp_path / "shards")
    wanted = [f"{shard:02d}/{each:06d}" for shard in range(3) for each in range(5)]
    spelt = WebDataset.open(f"{tmp_path}/shards/{{00..02}}.tar", license="MIT")
    globbed = WebDataset.open(f"{tmp_path}/shards/*.tar")
    assert ids(spelt) == ids(globbed) == wanted
    assert spelt.fingerprint() == globbed.fingerprint()
    assert (spelt.name, spelt.published_options, spelt.license) == ("webdataset:{00..02}.tar", "", "MIT")
    assert WebDataset.open(f"{tmp_path}/shards/*.tar", pickles="ignore").published_options == "?pickles=ignore"
    image = load(spelt, spelt.index("image")[wanted.index("02/000003")]).image
    assert image.tobytes() == Image.open(io.BytesIO(noise(203))).tobytes()
    assert list(spelt.index("image").neighbours(7)) == [5, 6, 7, 8, 9]


def test_a_shards_fingerprint_is_the_same_elsewhere_and_tells_of_changes(tmp_path):
    first = WebDataset.open(f"{shards(tmp_path / 'a')}/*.tar").fingerprint()
    assert WebDataset.open(f"{shards(tmp_path / 'b')}/*.tar").fingerprint() == first
    write_shard(tmp_path / "b/01.tar", {"000000.jpg": noise(7)})
    assert WebDataset.open(f"{tmp_path}/b/*.tar").fingerprint() != first


def test_odd_pictures_in_a_shard_are_skipped_by_reason(tmp_path):
    members = {"cut.jpg": noise(2, side=200)[:6000], "text.jpg": b"no picture\n" * 20, "empty.png": b""}
    path = write_shard(tmp_path / "odd.tar", members | {"good.webp": noise(1, "WEBP")})
    assert outcomes(WebDataset.open(str(path))) == {
        "odd/cut": "truncated picture",
        "odd/text": "not a picture",
        "odd/empty": "empty file",
        "odd/good": "RGB 24x24",
    }


def test_pictures_of_one_sample_and_identical_ones_share_a_group(tmp_path):
    a, b, c, d = (noise(each) for each in range(4))
    write_shard(tmp_path / "0.tar", {"x.left.jpg": a, "x.right.jpg": b, "y.jpg": c})
    write_shard(tmp_path / "1.tar", {"p.0.jpg": d, "p.1.jpg": b, "q/x.jpg": d, "z.jpg": noise(9)})
    groups = {each.id: each.group for each in WebDataset.open(f"{tmp_path}/*.tar").index("image")}
    assert groups == {
        "0/x.left": "0/x",
        "0/x.right": "0/x",
        "0/y": "0/y",
        # One picture of p is in x too, and the other is q/x: none of these may part.
        "1/p.0": "0/x",
        "1/p.1": "0/x",
        "1/q/x": "0/x",
        "1/z": "1/z",
    }


def test_folders_hidden_members_and_doubled_names_are_passed_over(tmp_path):
    path = tmp_path / "odd.tar"
    data = noise(1)
    with tarfile.open(path, "w") as tar:
        folder = tarfile.TarInfo("./deep.jpg")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name in ("._good.jpg", "good.jpg", "good.jpg"):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    assert outcomes(WebDataset.open(str(path))) == {"odd/good": "RGB 24x24"}


def test_long_and_foreign_names_in_a_shard(tmp_path):
    path = tmp_path / "names.tar"
    long, data = "deep/" * 40 + "x" * 120, noise(1)
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name in (f"{long}.jpg", "bücher/ä.jpg"):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    assert ids(WebDataset.open(str(path))) == [f"names/{long}", "names/bücher/ä"]


def broken_shards() -> dict[str, bytes]:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name in ("a.jpg", "b.jpg"):
            member = tarfile.TarInfo(name)
            member.size = len(noise(1))
            tar.addfile(member, io.BytesIO(noise(1)))
    whole = file.getvalue()
    second = whole.index(b"b.jpg")
    lying = tarfile.TarInfo("huge.jpg")
    lying.size = 2**40
    negative = bytearray(whole)
    # A size of -512 in base 256, which leads back to the same header for ever, and a checksum that fits.
    header = slice(second, second + 512)
    negative[second + 124 : second + 136] = b"\xff" * 10 + b"\xfe\x00"
    negative[second + 148 : second + 156] = b" " * 8
    negative[second + 148 : second + 156] = b"%06o\0 " % sum(negative[header])
    return {
        "inside a picture": whole[: second + 700],
        "inside a header": whole[: second + 100],
        "garbage": whole[:second] + b"garbage!" * 400,
        "size": lying.tobuf(tarfile.GNU_FORMAT) + bytes(2000),
        "negative": bytes(negative),
        "text": b"hello " * 1000,
        "gzip": zlib.compress(whole),
        "nothing": b"",
    }


@pytest.mark.parametrize("damage", list(broken_shards()))
def test_a_broken_shard_is_named(tmp_path, damage):
    path = tmp_path / "00.tar"
    path.write_bytes(broken_shards()[damage])
    with pytest.raises(Ssl4rlError, match=r"shard .*00\.tar") as caught:
        WebDataset.open(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("where", "options", "says"),
    [
        ("pipe:cat x.tar", {}, "not pipe: addresses"),
        ("https://host/00.tar", {}, "not https: addresses"),
        ("{}/*.none", {}, "no file"),
        ("{}/{{00..01}}.tar", {}, r"no file .*01\.tar"),
        ("{}/{{00..01.tar", {}, "webdataset:"),
        ("", {}, "names no file"),
        ("{}/00.tar", {"licence": "MIT"}, "did you mean 'license'"),
        ("{}/text.tar", {}, "no pictures"),
    ],
)
def test_misuse_of_webdataset_is_one_line(tmp_path, where, options, says):
    write_shard(tmp_path / "00.tar", {"a.jpg": noise(1)})
    write_shard(tmp_path / "text.tar", {"a.txt": b"x"})
    with pytest.raises(UsageError, match=says) as caught:
        WebDataset.open(where.format(tmp_path), **options)
    assert "\n" not in str(caught.value)
