"""Exports: what other programs read in them, and what is left where one fails."""

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from datasets import concatenate_datasets, load_dataset
from PIL import Image

from data_builders import BuiltSamples, build
from data_builders.exporters import export, parquet_files
from data_builders.exporters.parquet import features
from data_builders.exporters.parquet_files import ParquetFiles
from ssl4rl_core import Ssl4rlError, UsageError, registry
from ssl4rl_core.cli import run as cli
from ssl4rl_core.samples import Record
from ssl4rl_core.testing.memory import synthetic_source

CONFIGS = ["rotation:medium", "rotation:hard", "jigsaw:easy"]


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("build") / "photos"
    build(CONFIGS, synthetic_source(12), out, test_fraction=0.3, shard_size=5, max_side=64, license="CC0-1.0")
    return out


@pytest.fixture(scope="module")
def exported(built, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("export") / "parquet"
    export("parquet", built, out)
    return out


def loaded(out: Path, config: str, split: str) -> Any:
    return load_dataset(str(out), config, split=split, cache_dir=str(out.parent / "cache"))


def test_datasets_gives_every_sample_with_its_pictures(built, exported):
    samples = BuiltSamples(built)
    for config in samples.configs:
        for split in ("train", "test"):
            rows = loaded(exported, config, split)
            assert len(rows) == samples.size(config, split) > 0
            for index, row in enumerate(rows):
                sample = samples.sample(config, split, index)
                pictures = row.pop("images")
                assert [np.asarray(each).tolist() for each in pictures] == [
                    np.asarray(each).tolist() for each in sample.images
                ]
                assert Record(**row) == sample.record


def test_plain_parquet_files_decode_too_and_configs_go_into_one_table(exported, tmp_path):
    one, other = (
        load_dataset("parquet", data_files=str(exported / config / "*.parquet"), cache_dir=str(tmp_path))["train"]
        for config in ("rotation-medium", "jigsaw-easy")
    )
    assert one.features == other.features == features()
    rows: Any = concatenate_datasets([one, other])
    assert {row["task"] for row in rows} == {"rotation", "jigsaw"}
    assert all(isinstance(picture, Image.Image) for row in rows for picture in row["images"])


def test_pictures_keep_their_bytes(built, exported):
    stored = BuiltSamples(built).stored("rotation-medium", "train", 2)
    row = pyarrow.parquet.read_table(exported / "rotation-medium/train.parquet").slice(2, 1).to_pylist()[0]
    assert tuple(image["bytes"] for image in row["images"]) == stored.pictures
    assert len(stored.pictures) == 2 and Image.open(io.BytesIO(stored.pictures[0])).format == "JPEG"


def test_the_card_says_what_is_there_and_under_which_licence(exported):
    front = (exported / "README.md").read_text().split("---")[1]
    assert "license: cc0-1.0" in front and "config_name: rotation-hard" in front


def test_the_licence_is_the_sources_where_the_build_states_none(tmp_path):
    source = synthetic_source(4)
    source.license = "Pexels License"
    build(["rotation:easy"], source, tmp_path / "built", max_side=48)
    export("parquet", tmp_path / "built", tmp_path / "out")
    front = (tmp_path / "out" / "README.md").read_text().split("---")[1]
    assert front.startswith("\nlicense: other\nlicense_name: pexels-license\n")


def test_the_same_build_gives_the_same_bytes(built, exported, tmp_path):
    export("parquet", built, tmp_path / "again")
    files = sorted(path.relative_to(exported) for path in exported.rglob("*") if path.is_file())
    assert len(files) == 7
    assert all((exported / file).read_bytes() == (tmp_path / "again" / file).read_bytes() for file in files)


def test_part_of_a_build(built, tmp_path):
    done = []
    files = export(
        "parquet", built, tmp_path / "out", tasks=["jigsaw", "rotation:hard"], splits=["test"], advance=done.append
    )
    named = [file.path.relative_to(tmp_path / "out").as_posix() for file in files]
    assert named == ["rotation-hard/test.parquet", "jigsaw-easy/test.parquet", "README.md"]
    assert sum(file.samples for file in files) == sum(done) == 2 * BuiltSamples(built).size("jigsaw-easy", "test")
    assert len(loaded(tmp_path / "out", "jigsaw-easy", "test")) == files[1].samples


def test_large_tables_are_written_in_groups_and_files(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_files, "GROUP_BYTES", 5_000)
    schema = pyarrow.schema({"number": pyarrow.int64(), "picture": pyarrow.binary()})
    pictures = np.random.default_rng(0).bytes(50_000)
    with ParquetFiles(tmp_path, "train", schema, file_bytes=20_000) as table:
        for number in range(50):
            table.add({"number": number, "picture": pictures[1000 * number :][:1000]}, 1000)
            assert len(table._rows) < 5
        files = table.finish()
    assert [file.path.name for file in files] == [f"train-{part:05d}-of-00004.parquet" for part in range(4)]
    assert sum(file.samples for file in files) == 50
    assert pyarrow.parquet.ParquetFile(files[0].path).num_row_groups == 3
    tables = [pyarrow.parquet.read_table(file.path) for file in files]
    assert pyarrow.concat_tables(tables)["number"].to_pylist() == list(range(50))
    assert sorted(path.name for path in tmp_path.iterdir()) == [file.path.name for file in files]


def test_a_shard_that_was_changed_is_refused_and_nothing_is_left(built, tmp_path):
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(built), str(copy)], check=True)
    shard = sorted(copy.glob("jigsaw-easy/train-*.tar"))[0]
    data = bytearray(shard.read_bytes())
    data[1200] ^= 1
    shard.write_bytes(data)
    with pytest.raises(Ssl4rlError, match=rf"^shard \S+{shard.name} was changed after it was built: [^\n]+$"):
        export("parquet", copy, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy"]


def test_the_bar_moves_after_each_shard_and_not_once_all_are_hashed(built, tmp_path):
    copy, done = tmp_path / "copy", []
    shutil.copytree(built, copy)
    sorted(copy.glob("jigsaw-easy/test-*.tar"))[-1].unlink()
    with pytest.raises(Ssl4rlError, match=r"cannot read \S+: No such file"):
        export("parquet", copy, tmp_path / "out", advance=done.append)
    assert sum(done) >= BuiltSamples(built).size("jigsaw-easy", "train")
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_an_export_that_fails_half_way_leaves_nothing(built, tmp_path, monkeypatch):
    def no_room(self):
        raise OSError(28, "No space left on device", "train.parquet")

    monkeypatch.setattr(ParquetFiles, "_end_file", no_room)
    with pytest.raises(Ssl4rlError, match=r"cannot write train\.parquet: No space left on device"):
        export("parquet", built, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_never_overwritten(built, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        export("parquet", built, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("out", [".", "link"])
def test_an_empty_folder_that_is_there_is_filled(out, built, exported, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "link").symlink_to(tmp_path / "disk")
    (tmp_path / "disk").mkdir()
    monkeypatch.chdir(tmp_path / ("empty" if out == "link" else "disk"))
    files = export("parquet", built, out)
    assert [file.path.read_bytes() for file in files]
    assert {path.name for path in Path(out).iterdir()} == {path.name for path in exported.iterdir()}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["parquet", "nowhere", "--out", "OUT"], "no build in nowhere"),
        (["parket", "BUILD", "--out", "OUT"], "no exporter 'parket'; did you mean 'parquet'?"),
        (["parquet", "BUILD", "--out", "OUT", "--task", "jigsaw:hard"], "has no 'jigsaw:hard'"),
        (["parquet", "BUILD", "--out", "OUT", "--task", "rotatoin"], "has no 'rotatoin'; did you mean 'rotation'?"),
        (["parquet", "BUILD", "--out", "OUT", "--task", "rotatoin:hrd"], "did you mean 'rotation-hard'?"),
        (["verl", "BUILD", "--out", "OUT", "--format", "boxd"], "no format 'boxd'; did you mean 'boxed'?"),
        (["verl", "BUILD", "--out", "OUT", "--answer-weight", "-1"], "option answer_weight"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(words: list[str], said, built, tmp_path, capsys):
    places = {"BUILD": str(built), "OUT": str(tmp_path / "out")}
    assert cli(["export", *(places.get(word, word) for word in words)]) == 2
    printed = capsys.readouterr().err
    assert said in printed and printed.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_tells_of_the_files(built, tmp_path, capsys):
    assert cli(["export", "verl", str(built), "--out", str(tmp_path / "v"), "--format", "boxed", "--json"]) == 0
    files = json.loads(capsys.readouterr().out)
    assert [Path(file["file"]).name for file in files] == ["train.parquet", "test.parquet"]
    assert sum(file["samples"] for file in files) == 36 and all(file["bytes"] > 0 for file in files)


def test_on_a_terminal_there_is_a_bar(built, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert cli(["export", "parquet", str(built), "--out", str(tmp_path / "out")]) == 0
    assert "exporting" in capsys.readouterr().err


def test_exporters_are_listed_with_their_options(capsys):
    assert cli(["export", "--json"]) == 0
    listed = {line["name"]: line for line in json.loads(capsys.readouterr().out)}
    assert listed.keys() >= {"parquet", "verl"} and listed["verl"]["plugin"] == "ssl4rl-core"
    assert listed["verl"]["options"] == ["--format", "--answer-weight", "--format-weight", "--prefill"]
    assert cli(["export", "verl", "--help"]) == 0
    assert "--answer-weight" in capsys.readouterr().out


PLUGIN = '''
from pydantic import Field

from ssl4rl_core.exporters import ExportedFile, Exporter, ExportOptions
from ssl4rl_core.hookspecs import hookimpl


class LineOptions(ExportOptions):
    shout: bool = Field(False, description="In capitals.")


class Lines(Exporter[LineOptions]):
    """Right answers, one a line."""

    name = "lines"
    options_type = LineOptions

    def export(self, samples, out, options, advance):
        answers = [
            samples.sample(config, "train", index).record.answer_text
            for config in samples.configs
            for index in range(samples.size(config, "train"))
        ]
        text = "\\n".join(answers)
        (out / "answers.txt").write_text(text.upper() if options.shout else text)
        return [ExportedFile(out / "answers.txt", len(answers))]


@hookimpl
def ssl4rl_exporters():
    return [Lines]
'''


def test_anybody_may_add_an_exporter(built, tmp_path):
    plugin, out = tmp_path / "lines.py", tmp_path / "out"
    plugin.write_text(PLUGIN)
    words = ["--plugin", str(plugin), "export", "lines", str(built), "--out", str(out), "--task", "jigsaw", "--shout"]
    subprocess.run([sys.executable, "-m", "ssl4rl_core.cli", *words], check=True, timeout=120, capture_output=True)
    samples = BuiltSamples(built)
    count = samples.size("jigsaw-easy", "train")
    wanted = [samples.sample("jigsaw-easy", "train", index).record.answer_text for index in range(count)]
    assert (out / "answers.txt").read_text().splitlines() == wanted


def test_the_built_in_ones_come_through_the_hook():
    assert {"parquet", "verl"} <= registry().exporters.keys()
    assert registry().origin("exporter", "parquet") == "ssl4rl-core"
