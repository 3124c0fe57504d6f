"""What a build leaves on disk: the same bytes however it was done, readable by everybody's readers, nothing secret."""

import hashlib
import json
import os
import re
import shlex
import socket
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from braceexpand import braceexpand
from PIL import Image

from data_builders import BuiltSamples, Progress, build, inspect
from data_builders.layout import side_by_side
from ssl4rl_core import (
    Choice,
    Draft,
    ImageItem,
    ImageParams,
    Skip,
    Ssl4rlError,
    Task,
    TaskConfig,
    TaskError,
    UsageError,
    load_file,
    parse_configs,
    registry,
)
from ssl4rl_core.testing.memory import MemorySource

TASKS = ["rotation:easy", "jigsaw:hard?form=tiles", "pair", "position:paper"]

# Looks at its view, as contrastive does, without the seconds that albumentations takes to load in every process.
PAIR = """
from ssl4rl_core import Choice, Draft, ImageItem, ImageParams, Task, hookimpl

class Pair(Task[ImageItem, ImageParams]):
    \"\"\"Is it twice the same picture?\"\"\"

    name, version, levels = "pair", 1, {"easy": ImageParams()}
    prompt = "<image><image>Are they the same?"

    def transform(self, item, params, rng, view):
        same = bool(rng.integers(2))
        other = item if same else view.another(item, rng)
        return Draft(Choice("yes" if same else "no", ("yes", "no")), [item.image, other.image])

    def chance(self, params):
        return 1 / 2

@hookimpl
def ssl4rl_tasks():
    return [Pair]
"""


def pictures(count: int, size: tuple[int, int] = (96, 72)) -> MemorySource:
    """Smooth random pictures, all different."""
    rng = np.random.default_rng(7)
    coarse = rng.integers(0, 256, (count, 6, 8, 3), dtype=np.uint8)
    return MemorySource({f"album/{n}": Image.fromarray(pixels).resize(size) for n, pixels in enumerate(coarse)})


SOURCE = pictures(40)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class Params(ImageParams):
    pass


class Odd(Task[ImageItem, Params]):
    """Is the item's number odd?"""

    name, version, levels = "odd", 1, {"easy": Params()}
    prompt = "<image>\nIs the number odd?"

    def transform(self, item, params, rng, view):
        number = int(item.id.rpartition("/")[2])
        if number % 10 == 3:
            raise Skip("number ends in 3")
        if number % 10 == 4:
            raise ZeroDivisionError("division by zero")
        picture = item.image.convert("RGBA")
        picture.info.update(comment=b"secret", icc_profile=b"secret")
        return Draft(answer=Choice("yes" if number % 2 else "no", ("yes", "no")), images=[picture])

    def chance(self, params):
        return 1 / 2


ODD = TaskConfig(Odd(), "easy", Params())


def test_a_level_of_ones_own_is_refused_before_any_work(tmp_path):
    with pytest.raises(UsageError, match=r"^task odd has no level 'mine': easy; [^\n]* odd:easy\?param=value$"):
        build([TaskConfig(Odd(), "mine", Params())], SOURCE, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module", autouse=True)
def pair_plugin(tmp_path_factory) -> None:
    plugin = tmp_path_factory.mktemp("plugin") / "pair.py"
    plugin.write_text(PAIR)
    load_file(plugin)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("built") / "out"
    build(TASKS, SOURCE, out, shard_size=10, test_fraction=0.3)
    return out


def test_the_bytes_do_not_depend_on_the_number_of_workers_which_load_plugin_files_too(built, tmp_path):
    build(TASKS, SOURCE, tmp_path / "two", shard_size=10, test_fraction=0.3, workers=2)
    assert contents(tmp_path / "two") == contents(built)
    assert len(contents(built)) > 20


def test_samples_do_not_depend_on_shard_size_or_on_other_tasks(built, tmp_path):
    build(TASKS[2:3], SOURCE, tmp_path, shard_size=7, test_fraction=0.3)
    whole, alone = BuiltSamples(built), BuiltSamples(tmp_path)
    for split in ("train", "test"):
        assert whole.size("pair-easy", split) == alone.size("pair-easy", split) > 0
        for index in range(alone.size("pair-easy", split)):
            a, b = (each.sample("pair-easy", split, index) for each in (whole, alone))
            assert a.record == b.record
            assert [image.tobytes() for image in a.images] == [image.tobytes() for image in b.images]


def test_tars_name_nobody_and_no_time_and_are_never_empty(built):
    for path in built.rglob("*.tar"):
        with tarfile.open(path) as tar:
            members = tar.getmembers()
        assert members and [member.name for member in members] == sorted(member.name for member in members)
        for member in members:
            assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")
            assert member.mode == 0o644 and "." not in member.name.partition(".")[0]


def test_nothing_on_disk_names_a_place_or_a_machine(built):
    for name, data in contents(built).items():
        for place in (built.parent, Path.cwd(), Path.home()):
            assert str(place).encode() not in data, (name, place)
        if not name.endswith(".tar"):
            words = re.findall(r"\w+", data.decode())
            assert socket.gethostname() not in words and "workers" not in words


def test_a_sidecar_vouches_for_its_shard(built):
    for path in built.rglob("*.tar"):
        sidecar = json.loads(path.with_suffix(".json").read_text())
        data = path.read_bytes()
        assert sidecar["sha256"] == hashlib.sha256(data).hexdigest() and sidecar["bytes"] == len(data)
        assert sidecar["samples"] == sum(sidecar["answers"].values() or [sidecar["samples"]]) > 0


def test_plain_webdataset_reads_every_config(built):
    import webdataset

    samples = BuiltSamples(built)
    for config in samples.configs:
        shards = sorted(str(path) for path in (built / config).glob("train-*.tar"))
        read = list(webdataset.WebDataset(shards, shardshuffle=False).decode("pil"))  # pyright: ignore[reportAttributeAccessIssue]
        assert len(read) == samples.size(config, "train") > 0
        for index, sample in enumerate(read):
            ours = samples.sample(config, "train", index)
            assert sample["json"] == ours.record.model_dump()
            theirs = [value for key, value in sorted(sample.items()) if key.endswith(".jpg")]
            assert [image.tobytes() for image in theirs] == [image.tobytes() for image in ours.images]


def test_plain_datasets_reads_every_config_both_ways(built, tmp_path):
    import datasets

    samples = BuiltSamples(built)
    for config in samples.configs:
        files = {split: str(built / config / f"{split}-*.tar") for split in ("train", "test")}
        plain = datasets.load_dataset("webdataset", data_files=files, cache_dir=str(tmp_path))
        by_card = datasets.load_dataset(str(built), config, cache_dir=str(tmp_path))
        for read in (plain, by_card):
            for split in ("train", "test"):
                assert len(read[split]) == samples.size(config, split)
                last = read[split][-1]
                record = samples.sample(config, split, len(read[split]) - 1).record
                assert last["json"] == record.model_dump()
                assert sum(key.endswith(".jpg") for key in last) == record.question.count("<image>")
                assert last["00.jpg"].size[0] > 0


def test_the_card_names_what_a_reader_and_the_hub_need(built):
    card = (built / "README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert [config["config_name"] for config in head["configs"]] == BuiltSamples(built).configs
    assert "license" not in head and "licence: not stated" in card
    command = shlex.split(next(line for line in card.splitlines() if line.startswith("ssl4rl build")))
    named = [command[position + 1] for position, word in enumerate(command) if word == "--task"]
    configs = parse_configs(named, registry())
    assert [config.describe() for config in configs] == [c.describe() for c in parse_configs(TASKS, registry())]
    assert command[-4:] == ["--shard-size", "10", "--test-fraction", "0.3"]


@pytest.mark.parametrize("empty", [[], [1], [1, 2, 6], [0], [0, 1, 2, 4, 5, 6, 7]], ids=str)
def test_the_cards_webdataset_line_names_the_tars_there_are(empty, tmp_path):
    class Holey(MemorySource):
        def load(self, kind, entry, *, max_side=None):
            if entry.position // 3 in empty:
                raise Skip("unreadable picture")
            return super().load(kind, entry, max_side=max_side)

    pictures = np.random.default_rng(1).integers(0, 256, (24, 30, 40, 3), dtype=np.uint8)
    source = Holey({f"{n}": Image.fromarray(pixels) for n, pixels in enumerate(pictures)})
    build(["rotation:easy?min_side=20"], source, tmp_path, test_fraction=0, shard_size=3)
    (line,) = re.findall(r'WebDataset\("DIR/(.*?)"', (tmp_path / "README.md").read_text())
    there = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("*/*.tar"))
    assert list(braceexpand(line)) == there and len(there) == 8 - len(empty)


def test_what_was_left_out_is_counted_by_reason(tmp_path):
    class Holey(MemorySource):
        def load(self, kind, entry, *, max_side=None):
            if entry.position % 10 == 7:
                raise Skip("unreadable picture")
            if entry.position == 8:
                raise KeyError("a bug")
            return super().load(kind, entry, max_side=max_side)

    source = Holey({f"album/{n}": Image.new("RGB", (40, 40 if n else 9)) for n in range(20)})
    manifest = build([ODD, "rotation:paper"], source, tmp_path, test_fraction=0, on_error="skip", variants=2)
    by_config = {total.config: total for total in manifest.totals}
    assert by_config["odd-easy"].skips == {
        "number ends in 3": 2,
        "picture smaller than min_side": 1,
        "source failed: KeyError": 1,
        "task failed: ZeroDivisionError": 2,
        "unreadable picture": 2,
    }
    assert by_config["odd-easy"].samples == 2 * (20 - 8)
    # All skipped: a sidecar, but no tar, and no config on the card.
    assert by_config["rotation-paper"].samples == 0 and not list((tmp_path / "rotation-paper").glob("*.tar"))
    card = (tmp_path / "README.md").read_text()
    assert "config_name: rotation-paper" not in card and "| picture of one colour | 16 |" in card


def test_a_bug_in_a_task_ends_the_build_with_task_and_item(tmp_path):
    with pytest.raises(TaskError, match=r"odd-easy failed on item 'album/4': ZeroDivisionError: division by zero"):
        build([ODD], SOURCE, tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".tar", ".partial")]


def test_a_bug_in_a_source_ends_the_build_with_source_and_item_in_one_line(tmp_path):
    class Wordy(MemorySource):
        def load(self, kind, entry, *, max_side=None):
            raise OSError("the disk\nsays so:\n\tno")

    with pytest.raises(Ssl4rlError, match=r"source memory:w failed on item 'a': OSError: the disk says so: no$"):
        build([ODD], Wordy({"a": Image.new("RGB", (40, 40))}, "memory:w"), tmp_path)


def test_odd_files_in_a_folder_do_not_end_a_build(tmp_path, monkeypatch):
    monkeypatch.setenv("SSL4RL_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(6):
        SOURCE.load("image", SOURCE.index("image")[number]).image.save(folder / f"{number}.jpg")
    whole = (folder / "0.jpg").read_bytes()
    (folder / "copy.jpg").write_bytes(whole)
    (folder / "truncated.jpg").write_bytes(whole[:400])
    (folder / "text.jpg").write_text("no picture")
    (folder / "empty.png").write_bytes(b"")
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    (folder / os.fsdecode(b"caf\xe9.jpg")).write_bytes(whole[:-3] + b"\0" + whole[-3:])
    manifest = build(["rotation:paper", "pair"], f"folder:{folder}", tmp_path / "out", workers=2, test_fraction=0.4)
    totals = [total for total in manifest.totals if total.config == "rotation-paper"]
    assert sum(total.samples for total in totals) == 8
    assert sum((Counter(total.skips) for total in totals), Counter()) == {
        "empty file": 1,
        "not a picture": 1,
        "picture smaller than min_side": 1,
        "truncated picture": 1,
    }
    samples = BuiltSamples(tmp_path / "out")
    splits = {
        samples.sample("rotation-paper", split, index).record.item: split
        for split in ("train", "test")
        for index in range(samples.size("rotation-paper", split))
    }
    assert splits["0.jpg"] == splits["copy.jpg"] and set(splits.values()) == {"train", "test"}
    assert str(folder).encode() not in b"".join(contents(tmp_path / "out").values())


def test_pictures_are_stored_without_metadata(tmp_path):
    for image_format in ("jpeg", "png", "webp"):
        build([ODD], SOURCE, tmp_path / image_format, image_format=image_format, on_error="skip", limit=3)
        data = b"".join(path.read_bytes() for path in (tmp_path / image_format).rglob("*.tar"))
        assert b"secret" not in data
        assert BuiltSamples(tmp_path / image_format).sample("odd-easy", "train", 0).images[0].mode == "RGB"


def test_balance_gives_each_item_each_answer_once(tmp_path):
    manifest = build(["rotation:paper", "pair"], SOURCE, tmp_path, variants=4, balance=True, limit=6)
    samples = BuiltSamples(tmp_path)
    asked = [
        samples.sample("rotation-paper", "train", n).record for n in range(samples.size("rotation-paper", "train"))
    ]
    for item in {record.item for record in asked}:
        assert sorted(record.answer_text for record in asked if record.item == item) == ["0", "180", "270", "90"]
    by_split = {total.split: total for total in manifest.totals if total.config == "pair-easy"}
    # Two answers are all there are, however many variants are asked for.
    assert by_split["train"].answers == {"no": len(asked) // 4, "yes": len(asked) // 4}


def test_composite_draws_one_numbered_picture_and_says_so(tmp_path):
    build(["jigsaw:easy?form=tiles", "rotation:paper"], SOURCE, tmp_path, layout="composite", limit=4, test_fraction=0)
    samples = BuiltSamples(tmp_path)
    jigsaw = samples.sample("jigsaw-easy-form-tiles", "train", 0)
    assert len(jigsaw.images) == 1 and jigsaw.record.question.count("<image>") == 1
    assert [part["type"] for part in jigsaw.record.content()] == ["image", "text"]
    assert "The image holds 4 pictures, numbered 1 to 4." in jigsaw.record.question
    assert "Tile 1: [picture 1]\nTile 2: [picture 2]\n" in jigsaw.record.question
    rotation = samples.sample("rotation-paper", "train", 0)
    assert rotation.record.question.startswith("<image>\nThe image holds 2 pictures, numbered 1 to 2.\nThe second")
    # Two squares of 72 and their margins; the pictures themselves stand uncovered in their places.
    width, height = rotation.images[0].size
    assert 2 * 72 < width < 3 * 72 and 72 < height < 120


def test_a_composite_covers_nothing_of_its_pictures():
    colours = [(number, 200, 50) for number in range(10)]
    drawn = side_by_side([Image.new("RGB", (30 + number, 40), colour) for number, colour in enumerate(colours)])
    seen, counts = np.unique(np.asarray(drawn).reshape(-1, 3), axis=0, return_counts=True)
    counted = dict(zip(map(tuple, seen.tolist()), counts.tolist(), strict=True))
    assert [counted[colour] for colour in colours] == [40 * (30 + number) for number in range(10)]
    assert seen.sum(axis=1).min() < 200  # the numbers' ink


def test_a_limit_bounds_what_is_asked_not_what_a_view_shows(tmp_path):
    build(["pair"], SOURCE, tmp_path, limit=1, variants=8, test_fraction=0)
    samples = BuiltSamples(tmp_path)
    assert samples.size("pair-easy", "train") == 8
    assert {samples.sample("pair-easy", "train", n).record.answer_text for n in range(8)} == {"yes", "no"}


def test_progress_ends_at_all_items(tmp_path):
    for workers in (1, 2):
        heard: list[Progress] = []
        build(["rotation"], SOURCE, tmp_path / str(workers), shard_size=15, workers=workers, progress=heard.append)
        assert heard[-1] == (40, 40, 120) and heard == sorted(heard)


@pytest.mark.parametrize(
    ("options", "mend"),
    [
        ({"sede": 1}, "did you mean 'seed'"),
        ({"quality": 101}, "quality: Input should be less than or equal to 100, got 101"),
        ({"image_format": "gif"}, "'jpeg', 'png' or 'webp'"),
        ({"workers": 0}, "workers must be 1 or more"),
    ],
)
def test_a_wrong_option_is_named(options, mend, tmp_path):
    with pytest.raises(UsageError, match=mend):
        build(["rotation"], SOURCE, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_task_of_this_process_alone_needs_this_process(tmp_path):
    with pytest.raises(UsageError, match="task odd is known in this process only: build with workers=1"):
        build([ODD], SOURCE, tmp_path, workers=2)


def test_inspect_counts_and_verifies(built, tmp_path):
    lines = inspect(built, verify=True)
    assert sum(line["samples"] for line in lines) == 160
    assert {line["config"] for line in lines} == set(BuiltSamples(built).configs)
    with pytest.raises(UsageError, match=r"no build in .*'ssl4rl build' makes one"):
        inspect(tmp_path)


def test_inspect_finds_a_changed_byte(tmp_path):
    build(["rotation:easy"], SOURCE, tmp_path, test_fraction=0)
    assert inspect(tmp_path, verify=True)
    shard = tmp_path / "rotation-easy" / "train-00000-of-00001.tar"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    with pytest.raises(Ssl4rlError, match=r"not what was built: shard .*train-00000-of-00001\.tar"):
        inspect(tmp_path, verify=True)
