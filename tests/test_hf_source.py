"""`hf:` as a user meets it: saved datasets, folders, a Hub reached through HF_ENDPOINT, and streaming from it."""

import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from data_builders.live import LiveSamples
from data_builders.plan import BuildOptions, as_configs, make_plan
from data_builders.sources.hf import Hf
from ssl4rl_core import Skip, Splitter, Ssl4rlError, UsageError, registry
from ssl4rl_core.testing.sources import entries, groups, ids, load, noise, outcomes
from tests.hub_server import HubServer, serving
from tests.hub_store import Repo

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def own_caches(tmp_path, monkeypatch) -> None:
    """What datasets converts goes to a folder of the test, and it does not ask the network."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hf")
    monkeypatch.setattr("datasets.config.DOWNLOADED_DATASETS_PATH", tmp_path / "hf/downloads")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def dataset(first: int = 0, count: int = 6, column: str = "image") -> Any:
    features = datasets.Features({column: datasets.Image(), "label": datasets.Value("int64")})
    rows = [{"bytes": noise(each), "path": None} for each in range(first, first + count)]
    return datasets.Dataset.from_dict({column: rows, "label": list(range(count))}, features=features)


def repository(folder: Path, test: int = 100) -> Path:
    """Files as they lie in a dataset's repository, two of them with training rows."""
    (folder / "data").mkdir(parents=True)
    for shard in range(2):
        dataset(10 * shard).to_parquet(folder / f"data/train-{shard:05d}-of-00002.parquet", batch_size=2)
    dataset(test, 3).to_parquet(folder / "data/test-00000-of-00001.parquet")
    return folder


TRAIN = [f"train/{row:08d}" for row in range(12)]
TEST = [f"test/{row:08d}" for row in range(3)]


def test_a_saved_dataset(tmp_path):
    dataset().save_to_disk(tmp_path / "pets", num_shards=2)
    source = registry().source(f"hf:{tmp_path}/pets?license=MIT")
    assert ids(source) == TRAIN[:6]
    assert (source.name, source.license) == ("hf:pets", "MIT")
    assert set(outcomes(source).values()) == {"RGB 24x24"}
    wanted = Image.open(io.BytesIO(noise(4)))
    assert load(pickle.loads(pickle.dumps(source)), entries(source)[4]).image.tobytes() == wanted.tobytes()
    assert list(source.index("image").neighbours(3)) == list(range(6))


def test_splits_that_are_named_together_are_kept_apart_and_one_alone_is_divided(tmp_path):
    where = str(repository(tmp_path / "pets"))
    both = Hf.open(where, split="train+test")
    assert ids(both) == TRAIN + TEST
    assert both.name == "hf:pets?split=train+test"
    assert [entry.split for entry in entries(both)] == ["train"] * 12 + ["test"] * 3
    for options, wanted in (({}, TRAIN), ({"split": "train"}, TRAIN), ({"split": "test"}, TEST)):
        source = Hf.open(where, **options)
        assert ids(source) == wanted
        assert {entry.split for entry in entries(source)} == {""}
    assert {Splitter(0.4)(entry) for entry in entries(Hf.open(where))} == {"train", "test"}


def test_its_name_opens_the_same_splits_again(tmp_path, monkeypatch):
    monkeypatch.chdir(repository(tmp_path / "pets").parent)
    source = registry().source("hf:pets?split=train+test&column=image")
    assert ids(source) == TRAIN + TEST
    assert ids(registry().source(source.name)) == ids(source)


def test_identical_pictures_share_a_group_and_are_held_out_together(tmp_path):
    source = Hf.open(str(repository(tmp_path / "pets", test=4)), split="train+test")
    found = groups(source)
    # Pictures 4 and 5 are in both splits, and 6 in none other.
    for each in range(2):
        assert found[TRAIN[4 + each]] == found[TEST[each]]
    assert found[TEST[2]] == TEST[2]
    sides = {entry.id: entry.split for entry in entries(source)}
    assert [id for id, side in sides.items() if side == "test"] == [*TRAIN[4:6], *TEST]


def test_options_name_columns(tmp_path):
    saved = dataset(column="photo").add_column("name", [*"abcdef"]).add_column("scene", [1, 1, 2, 2, 3, 3])
    saved.save_to_disk(tmp_path / "pets")
    source = Hf.open(str(tmp_path / "pets"), column="photo", id="name", group="scene")
    assert groups(source) == {"a": "1", "b": "1", "c": "2", "d": "2", "e": "3", "f": "3"}
    assert set(outcomes(source).values()) == {"RGB 24x24"}


def test_pictures_in_files_are_followed_only_to_what_came_with_the_dataset(tmp_path):
    folder = tmp_path / "pets"
    (folder / "train").mkdir(parents=True)
    (tmp_path / "secret.jpg").write_bytes(noise(9))
    for each in range(3):
        (folder / f"train/{each}.jpg").write_bytes(noise(each % 2))
    source = Hf.open(str(folder))
    assert list(outcomes(source).values()) == ["RGB 24x24"] * 3
    assert groups(source) == {TRAIN[0]: TRAIN[0], TRAIN[1]: TRAIN[1], TRAIN[2]: TRAIN[0]}
    rows = [{"bytes": None, "path": str(tmp_path / "secret.jpg")}, {"bytes": None, "path": "../secret.jpg"}]
    datasets.Dataset.from_dict({"image": rows}).save_to_disk(tmp_path / "leads")
    assert list(outcomes(Hf.open(str(tmp_path / "leads"))).values()) == ["path leads outside"] * 2


def test_files_that_come_or_change_after_a_first_run_are_found(tmp_path):
    datasets.Dataset.from_dict({"image": ["a.jpg", "b.jpg"]}).save_to_disk(tmp_path / "pets")
    for seed, side in ((None, 0), (1, 24), (1, 30)):
        if seed:
            (tmp_path / "pets/b.jpg").write_bytes(noise(seed, side=side))
        wanted = f"RGB {side}x{side}" if seed else "file is gone"
        assert list(outcomes(Hf.open(str(tmp_path / "pets"))).values()) == ["file is gone", wanted]


def test_odd_pictures_are_skipped_by_reason(tmp_path):
    cells = [noise(1), b"no picture" * 9, b"", noise(2, side=200)[:5000]]
    datasets.Dataset.from_dict({"image": cells}).save_to_disk(tmp_path / "odd")
    reasons = list(outcomes(Hf.open(str(tmp_path / "odd"))).values())
    assert reasons == ["RGB 24x24", "not a picture", "empty cell", "truncated picture"]


def test_a_changed_dataset_is_indexed_anew_and_an_old_source_tells(tmp_path):
    dataset().save_to_disk(tmp_path / "pets")
    before = Hf.open(str(tmp_path / "pets"))
    fingerprint, first = before.fingerprint(), entries(before)[0]
    dataset(1).save_to_disk(tmp_path / "other")
    (arrow,) = (tmp_path / "other").glob("*.arrow")
    (kept,) = (tmp_path / "pets").glob("*.arrow")
    kept.unlink()
    with pytest.raises(Skip, match="file is gone"):
        before.load("image", first)
    arrow.replace(kept)
    with pytest.raises(Skip, match="file has changed"):
        before.load("image", first)
    assert Hf.open(str(tmp_path / "pets")).fingerprint() != fingerprint


@pytest.mark.parametrize(
    ("where", "options", "says"),
    [
        ("{}/pets", {"column": "img"}, "no column 'img': write column=COLUMN with one of image, label"),
        ("{}/pets", {"column": "label"}, "holds int64, not pictures: write column=COLUMN with one of image"),
        ("{}/pets", {"split": "val"}, "no split 'val': write split=NAME or NAME.NAME with train, test"),
        ("{}/pets", {"config": "big"}, "big"),
        ("{}/pets", {"colum": "image"}, "did you mean 'column'"),
        ("{}/pets", {"stream": "true", "id": "label"}, "leave out id= and group=, or stream=true"),
        ("{}/photos", {"stream": "true"}, "kept as imagefolder, only parquet can be streamed"),
        ("{}/two", {}, "several splits: write split=NAME or NAME.NAME with .*left"),
        ("{}/code", {}, "scripts are no longer supported"),
        ("{}/pets/data/test-00000-of-00001.parquet", {}, "is no dataset"),
        ("s3://bucket/pets", {}, "is no dataset"),
        ("", {}, "is no dataset"),
    ],
)
def test_misuse_is_one_line(tmp_path, where, options, says):
    repository(tmp_path / "pets")
    datasets.DatasetDict({"left": dataset(), "right": dataset(9)}).save_to_disk(tmp_path / "two")
    for folder in ("photos", "code"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.jpg").write_bytes(noise(1))
    (tmp_path / "code/code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(UsageError, match=says) as caught:
        Hf.open(where.format(tmp_path), **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("options", [{}, {"split": "train"}, {"stream": "true"}])
def test_a_dataset_of_several_configurations_names_them(tmp_path, options):
    folder = repository(tmp_path / "pets")
    listed = "".join(f"- config_name: {name}\n  data_files: data/{name}-*.parquet\n" for name in ("train", "test"))
    (folder / "README.md").write_text(f"---\nconfigs:\n{listed}---\n")
    with pytest.raises(UsageError, match=r"pets has several configs: add the option config=NAME, one of train, test$"):
        Hf.open(str(folder), **options)
    assert len(ids(Hf.open(str(folder), config="test"))) == 3


# -- streaming


def test_a_streamed_folder_has_the_rows_of_the_whole_one(tmp_path):
    where = str(repository(tmp_path / "pets"))
    streamed, whole = (Hf.open(where, split="train+test", stream=stream) for stream in ("true", "false"))
    assert ids(streamed) == ids(whole)
    assert [entry.split for entry in entries(streamed)] == [entry.split for entry in entries(whole)]
    again = pickle.loads(pickle.dumps(streamed))
    for entry in reversed(entries(streamed)):
        wanted = load(whole, entry).image.tobytes()
        assert load(streamed, entry).image.tobytes() == load(again, entry).image.tobytes() == wanted
    assert list(streamed.index("image").neighbours(7)) == [6, 7, 8, 9, 10, 11]
    assert streamed.fingerprint() == Hf.open(where, split="train+test", stream="true").fingerprint()
    assert streamed.fingerprint() != Hf.open(where, split="train", stream="true").fingerprint()


def test_a_folder_below_the_home_folder_is_streamed(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    repository(tmp_path / "pets")
    source = registry().source("hf:~/pets?stream=true")
    assert (source.name, ids(source)) == ("hf:pets?stream=true", TRAIN)


def test_a_streamed_dataset_serves_tasks_that_need_only_their_item(tmp_path):
    source = Hf.open(str(repository(tmp_path / "pets")), stream="true")
    rotation, contrastive = as_configs(["rotation:easy", "contrastive:easy"])
    plan = make_plan(source, [rotation], BuildOptions())
    assert sum(unit.items for unit in plan.units) == 12
    assert LiveSamples(source, [rotation], test_fraction=0).size(rotation.name, "train") == 12
    for ask in (lambda: make_plan(source, [contrastive], BuildOptions()), lambda: LiveSamples(source, [contrastive])):
        with pytest.raises(UsageError, match=r"contrastive looks at other items, and hf:pets.* is streamed"):
            ask()


def test_a_stream_that_breaks_stops_and_skips_nothing(tmp_path):
    where = repository(tmp_path / "pets")
    source = Hf.open(str(where), stream="true")
    for file in where.rglob("train-*.parquet"):
        file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(Ssl4rlError, match=r"cannot read .*train-00000.*: .*run the same command again"):
        source.load("image", entries(source)[0])


# -- a Hub


@pytest.fixture
def hub(tmp_path) -> Iterator[HubServer]:
    """A Hub that holds the dataset user/pets."""
    (tmp_path / "store").mkdir()
    with serving(tmp_path / "store") as server:
        tree = {}
        folder = repository(tmp_path / "pushed")
        for file in sorted(folder.rglob("*.parquet")):
            data = file.read_bytes()
            tree[file.relative_to(folder).as_posix()] = server.store.large(server.store.keep(data), len(data))
        repo = server.store.repos["user/pets"] = Repo(private=False)
        repo.commit("main", tree)
        yield server


_READ = """
import hashlib, json, sys
from ssl4rl_core import registry
from ssl4rl_core.errors import Ssl4rlError
for spec in sys.argv[1:]:
    try:
        source = registry().source(spec)
    except Ssl4rlError as error:
        print(json.dumps(str(error)))
        continue
    index = source.index("image")
    chosen = [index[position] for position in range(len(index))]
    shown = [hashlib.sha256(source.load("image", entry).image.tobytes()).hexdigest() for entry in chosen]
    print(json.dumps([source.name, [entry.id for entry in chosen], shown]))
"""


def test_a_dataset_of_a_hub_is_read_mapped_and_streamed(tmp_path, hub):
    """In a process that knows of the Hub by its environment alone."""
    usual = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    mine = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "OMP_NUM_THREADS": "1",
    }
    specs = ["hf:user/pets?stream=true", "hf:user/pets", "hf:user/none"]
    done = subprocess.run([sys.executable, "-c", _READ, *specs], env=usual | mine, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    *read, refused = map(json.loads, done.stdout.splitlines())
    pictures = [Image.open(io.BytesIO(noise(each))).tobytes() for each in (*range(6), *range(10, 16))]
    wanted = [hashlib.sha256(pixels).hexdigest() for pixels in pictures]
    assert read == [[spec, TRAIN, wanted] for spec in specs[:2]]
    assert refused.startswith("hf:user/none") and "\n" not in refused
