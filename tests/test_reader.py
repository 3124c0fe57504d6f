"""Reading a build back, rendering the same without one, and shards that somebody changed."""

import hashlib
import io
import os
import pickle
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from data_builders import BuiltSamples, LiveSamples, Manifest, build
from data_builders.shards import Sidecar
from ssl4rl_core import Skip, Ssl4rlError, UsageError
from ssl4rl_core.samples import SampleSet, Split
from ssl4rl_core.testing.memory import MemorySource

CONFIGS = ["rotation:medium", "jigsaw:easy", "position:hard"]


def pictures(count: int = 30) -> MemorySource:
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 256, (count, 6, 8, 3), dtype=np.uint8)
    return MemorySource({f"{n}": Image.fromarray(pixels).resize((120, 90)) for n, pixels in enumerate(coarse)})


def every_sample(samples: SampleSet, config: str):
    splits: tuple[Split, ...] = ("train", "test")
    for split in splits:
        for index in range(samples.size(config, split)):
            try:
                yield samples.sample(config, split, index)
            except Skip:
                continue


@pytest.mark.parametrize("options", [{}, {"variants": 3, "balance": True}, {"layout": "composite", "seed": 4}])
def test_a_build_holds_what_is_rendered_on_the_fly(options, tmp_path):
    options = {"max_side": 80, "test_fraction": 0.2, "image_format": "png", **options}
    build(CONFIGS, pictures(), tmp_path, shard_size=7, **options)
    built, live = BuiltSamples(tmp_path), LiveSamples(pictures(), CONFIGS, **options)
    assert built.configs == live.configs == ["rotation-medium", "jigsaw-easy", "position-hard"]
    for config in built.configs:
        pairs = list(zip(every_sample(built, config), every_sample(live, config), strict=True))
        assert len(pairs) == 30 * options.get("variants", 1)
        for stored, rendered in pairs:
            assert stored.record == rendered.record
            assert [image.tobytes() for image in stored.images] == [image.tobytes() for image in rendered.images]


@pytest.mark.parametrize("variants", [1, 3])
def test_a_picture_that_scaling_may_have_made_too_small_is_told_from_a_small_one(variants, tmp_path, monkeypatch):
    monkeypatch.setenv("SSL4RL_CACHE", str(tmp_path / "cache"))
    sizes = {
        "kept": [(400, 300), (40, 30), (64, 28)],
        "picture smaller than min_side at this max_side": [(400, 100), (100, 400), (66, 28), (3000, 28)],
        "picture smaller than min_side": [(63, 20), (20, 63), (20, 20)],
    }
    folder = tmp_path / "photos"
    folder.mkdir()
    for width, height in (size for all in sizes.values() for size in all):
        noisy = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(noisy).save(folder / f"{width}x{height}.{'png' if width < 400 else 'jpg'}")
    options = {"max_side": 64, "test_fraction": 0, "variants": variants}
    manifest = build(["rotation:easy"], f"folder:{folder}", tmp_path / "out", **options)
    reasons = {reason: len(all) for reason, all in sizes.items() if reason != "kept"}
    (total,) = [total for total in manifest.totals if total.split == "train"]
    assert total.skips == reasons and total.samples == 3 * variants
    card = (tmp_path / "out" / "README.md").read_text()
    assert all(f"| {reason} | {count} |" in card for reason, count in reasons.items())
    live, found = LiveSamples(f"folder:{folder}", ["rotation:easy"], **options), Counter()
    for index in range(live.size("rotation-easy", "train")):
        try:
            live.sample("rotation-easy", "train", index)
        except Skip as skip:
            found[str(skip)] += 1
    assert found == {reason: variants * count for reason, count in reasons.items()}


def test_balanced_samples_rendered_on_the_fly_are_skipped_for_their_own_reason():
    rng = np.random.default_rng(3)
    sizes = {"small": 20, "large": 120}
    noise = {name: rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for name, side in sizes.items()}
    source = MemorySource({name: Image.fromarray(pixels) for name, pixels in noise.items()})
    live = LiveSamples(source, ["rotation:easy"], variants=5, balance=True, test_fraction=0)
    for variant in (0, 4, 0):
        with pytest.raises(Skip, match=r"^picture smaller than min_side$"):
            live.sample("rotation-easy", "train", variant)
    answers = {live.sample("rotation-easy", "train", 5 + variant).record.answer_text for variant in range(4)}
    assert answers == {"0", "90", "180", "270"}
    with pytest.raises(Skip, match=r"^item has fewer answers than variants$"):
        live.sample("rotation-easy", "train", 9)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("built")
    build(["rotation:medium"], pictures(), out, test_fraction=0)
    return out


def test_samples_come_in_any_order_and_travel_to_another_process(built):
    samples = BuiltSamples(built)
    expected = [sample.record for sample in every_sample(samples, "rotation-medium")]
    again = pickle.loads(pickle.dumps(samples))
    order = np.random.default_rng(0).permutation(30).tolist()
    assert [again.sample("rotation-medium", "train", n).record for n in order] == [expected[n] for n in order]


def test_an_item_is_loaded_once_for_all_that_is_asked_of_it():
    loaded = []

    class Counting(MemorySource):
        def load(self, kind, entry, *, max_side=None):
            loaded.append(entry.id)
            return super().load(kind, entry, max_side=max_side)

    source = Counting({"a": pictures(1)._images["0"]})
    live = LiveSamples(source, ["rotation:paper", "position:paper"], variants=4, test_fraction=0)
    for config in live.configs:
        for index in range(live.size(config, "train")):
            live.sample(config, "train", index)
    assert loaded == ["a"]


@pytest.mark.parametrize("make", [BuiltSamples, lambda out: LiveSamples(pictures(), ["rotation:medium"])])
def test_what_is_not_there_is_named(make, built):
    samples = make(built)
    with pytest.raises(UsageError, match=r"no config 'jigsaw-easy'.*rotation-medium"):
        samples.size("jigsaw-easy", "train")
    with pytest.raises(IndexError, match="rotation-medium has"):
        samples.sample("rotation-medium", "train", 10_000)


def test_an_unfinished_build_is_told_from_none(built, tmp_path):
    with pytest.raises(UsageError, match=r"no build in .*'ssl4rl build' makes one"):
        BuiltSamples(tmp_path)
    (tmp_path / "plan.json").write_bytes((built / "plan.json").read_bytes())
    with pytest.raises(Ssl4rlError, match=r"is not finished: run the 'ssl4rl build' command that began it again"):
        BuiltSamples(tmp_path)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(Ssl4rlError, match="is not a manifest of this version"):
        BuiltSamples(tmp_path)


KEY = "000000000-00000"
Members = list[tuple[tarfile.TarInfo, bytes]]


def member(name: str, data: bytes = b"{}", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def replaced(members: Members, name: str, data: bytes) -> Members:
    return [member(info.name, data if info.name == name else old) for info, old in members]


def bomb(members: Members) -> Members:
    """A small JPEG that says it is 30,000 pixels wide and high."""
    data = bytearray(next(data for info, data in members if info.name == f"{KEY}.00.jpg"))
    sides = data.index(b"\xff\xc0") + 5
    data[sides : sides + 4] = 2 * (30_000).to_bytes(2, "big")
    return replaced(members, f"{KEY}.00.jpg", bytes(data))


TAMPERED: dict[str, tuple[Callable[[Members], Members], str]] = {
    "a pickle": (lambda members: [*members, member(f"{KEY}.pyd", pickle.dumps([1]))], r"a member called '\S+\.pyd'"),
    "a way out": (lambda members: [member(f"../{KEY}.json"), *members], r"a member called '\.\./"),
    "an absolute path": (lambda members: [member("/etc/passwd"), *members], "a member called '/etc/passwd'"),
    "a symlink": (
        lambda members: [member(f"{KEY}.json", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"), *members[3:]],
        "not a plain file",
    ),
    "a hard link": (
        lambda members: [member(f"{KEY}.json", b"", type=tarfile.LNKTYPE, linkname="x"), *members[3:]],
        "not a plain file",
    ),
    "a device": (lambda members: [member(f"{KEY}.json", b"", type=tarfile.CHRTYPE), *members], "not a plain file"),
    "an extended header": (lambda members: [member("x", type=tarfile.XHDTYPE), *members], "not a plain file"),
    "a missing picture": (lambda members: members[1:], "members missing"),
    "a missing sample": (lambda members: members[3:], "29 samples of 30"),
    "a foreign record": (lambda members: replaced(members, f"{KEY}.json", b'{"answer": 1}'), "a record"),
    "a broken picture": (lambda members: replaced(members, f"{KEY}.00.jpg", b"GIF89a"), "a picture that cannot be"),
    "a bomb": (bomb, "a picture that cannot be read"),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_a_shard_that_was_changed_is_refused_by_name(how, built, tmp_path):
    change, complaint = TAMPERED[how]
    shard = copy_of(built, tmp_path)
    with tarfile.open(shard) as tar:
        members: Members = [member(info.name, tar.extractfile(info).read()) for info in tar]  # pyright: ignore[reportOptionalMemberAccess]
    with tarfile.open(shard, "w", format=tarfile.USTAR_FORMAT) as tar:
        for info, data in change(members):
            tar.addfile(info, io.BytesIO(data))
    refused(tmp_path, f"{complaint}|other bytes, by their hash")
    vouch_for(shard)
    refused(tmp_path, complaint)


@pytest.mark.parametrize("keep", [0, 700, 5000])
def test_a_shard_that_was_cut_is_refused(keep, built, tmp_path):
    shard = copy_of(built, tmp_path)
    shard.write_bytes(shard.read_bytes()[:keep])
    refused(tmp_path, "a broken or missing header|larger than the shard")


def test_a_shard_that_claims_ten_gibibytes_is_refused_at_once(built, tmp_path):
    shard = copy_of(built, tmp_path)
    data = shard.read_bytes()
    header = tarfile.TarInfo(f"{KEY}.00.jpg")
    header.size = 10 * 2**30
    shard.write_bytes(header.tobuf(tarfile.GNU_FORMAT) + data[512:])
    refused(tmp_path, "larger than the shard")


def test_a_lost_shard_is_named(built, tmp_path):
    copy_of(built, tmp_path).unlink()
    with pytest.raises(Ssl4rlError, match=r"cannot read .*train-00000-of-00001\.tar: No such file"):
        BuiltSamples(tmp_path).sample("rotation-medium", "train", 0)


def copy_of(built: Path, folder: Path) -> Path:
    """A copy of the build; returns its one shard."""
    (folder / "rotation-medium").mkdir()
    for path in (built / "manifest.json", *(built / "rotation-medium").iterdir()):
        (folder / path.relative_to(built)).write_bytes(path.read_bytes())
    return folder / "rotation-medium" / "train-00000-of-00001.tar"


def vouch_for(shard: Path) -> None:
    """Write size and hash of the shard, as it is now, into the manifest."""
    path = shard.parents[1] / "manifest.json"
    manifest = Manifest.model_validate_json(path.read_bytes())
    measured = {"bytes": shard.stat().st_size, "sha256": hashlib.sha256(shard.read_bytes()).hexdigest()}
    shards = [sidecar.model_copy(update=measured) for sidecar in manifest.shards]
    path.write_text(manifest.model_copy(update={"shards": shards}).model_dump_json())


def refused(folder: Path, complaint: str) -> None:
    with pytest.raises(Ssl4rlError, match=complaint) as error:
        BuiltSamples(folder).sample("rotation-medium", "train", 0)
    assert "train-00000-of-00001.tar was changed after it was built" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("field", [{"config": "../elsewhere"}, {"shard": "../../elsewhere"}, {"config": "/etc"}])
def test_a_manifest_cannot_name_a_shard_outside_its_build(field):
    fields = {"config": "a-easy", "split": "train", "shard": "train-00000-of-00001", "samples": 1, "bytes": 1}
    assert Sidecar(**fields, sha256="", skips={}, answers={}).config == "a-easy"
    with pytest.raises(ValidationError):
        Sidecar(**{**fields, **field}, sha256="", skips={}, answers={})


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_in_the_place_of_a_shard_is_not_waited_for(built, tmp_path):
    shard = copy_of(built, tmp_path)
    shard.unlink()
    os.mkfifo(shard)
    with pytest.raises(Ssl4rlError, match="is not a file"):
        BuiltSamples(tmp_path).sample("rotation-medium", "train", 0)


def test_a_shard_that_changes_while_it_is_read_is_checked_anew(built, tmp_path):
    shard = copy_of(built, tmp_path)
    samples = BuiltSamples(tmp_path)
    first = samples.sample("rotation-medium", "train", 0).record
    os.utime(shard, ns=(1, 1))
    assert samples.sample("rotation-medium", "train", 0).record == first
    data = bytearray(shard.read_bytes())
    data[-2000] ^= 1
    shard.write_bytes(data)
    with pytest.raises(Ssl4rlError, match="other bytes, by their hash"):
        samples.sample("rotation-medium", "train", 0)
