"""`ssl4rl push` against a Hub of the tests' own: what is uploaded, when, and what others then load from there."""

import hashlib
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
import yaml
from PIL import Image

from data_builders import BuiltSamples, build, push
from data_builders.card import dataset_card
from data_builders.exporters import hub as hub_exporter
from data_builders.exporters.previews import Preview, markdown
from data_builders.manifest import read_manifest
from data_builders.plan import as_configs
from ssl4rl_core import Ssl4rlError, UsageError
from ssl4rl_core.cli import run
from ssl4rl_core.testing.memory import synthetic_source
from tests.hub_server import TOKEN, HubServer, serving

REPO = "user/turned"
# huggingface_hub's own way of calling its HTTP library.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
CONFIGS = ["rotation:easy", "rotation:hard", "jigsaw:easy"]


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("build") / "out"
    build(CONFIGS, synthetic_source(20), out, shard_size=5, test_fraction=0.3, license="CC-BY-4.0")
    return out


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Iterator[HubServer]:
    """A Hub, which this process's huggingface_hub takes for the real one."""
    importlib.import_module("huggingface_hub.hf_api")  # it keeps an endpoint from its import on, for later tests too
    (tmp_path / "hub").mkdir()
    with serving(tmp_path / "hub") as server:
        # Read from the environment once, when huggingface_hub is imported.
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
        files = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", files)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


def environment(hub: HubServer, home: Path) -> dict[str, str]:
    """For a process that knows of this Hub only by its environment."""
    usual = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    mine = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    return {**usual, **mine, "OMP_NUM_THREADS": "1"}


def shards(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("*/*.tar")}


def test_a_push_puts_there_what_was_built_and_a_second_one_nothing(built, hub):
    first = push(built, REPO)
    there = hub.store.files(REPO)
    assert {path: data for path, data in there.items() if path.endswith(".tar")} == shards(built)
    assert there["manifest.json"] == (built / "manifest.json").read_bytes()
    previews = {"preview/rotation-easy.jpg", "preview/jigsaw-easy.jpg"}
    assert there.keys() - shards(built).keys() == {".gitattributes", "README.md", "manifest.json", *previews}
    assert first.uploaded == {path: len(data) for path, data in there.items() if path != ".gitattributes"}
    assert not [path for path, data in there.items() if str(built.parent).encode() in data or TOKEN.encode() in data]
    hub.requests.clear()
    second = push(built, REPO)
    assert (second.uploaded, second.deleted, second.unchanged) == ({}, [], len(first.uploaded))
    assert hub.writes() == []


def test_a_dry_run_says_what_a_push_does_without_a_token_and_without_writing(built, hub, monkeypatch, capsys):
    monkeypatch.delenv("HF_TOKEN")
    assert run(["push", str(built), REPO, "--dry-run", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert hub.writes() == [] and not hub.store.repos
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert said["uploaded"] == push(built, REPO).uploaded
    assert run(["push", str(built), REPO, "--dry-run"]) == 0
    assert f"nothing to upload: {REPO} holds this build" in capsys.readouterr().out


def test_another_build_replaces_the_shards_of_the_earlier_and_nothing_else(built, hub, tmp_path):
    from huggingface_hub import HfApi

    push(built, REPO)
    for path in ("LICENSE", "rotation-easy/notes.txt"):
        HfApi().upload_file(path_or_fileobj=b"a user's own", path_in_repo=path, repo_id=REPO, repo_type="dataset")
    other = tmp_path / "other"
    build(CONFIGS[:2], synthetic_source(20), other, shard_size=10, test_fraction=0.3, license="CC-BY-4.0")
    before = list(hub.uploads)
    published = push(other, REPO)
    there = hub.store.files(REPO)
    assert {path for path in there if path.endswith(".tar")} == shards(other).keys()
    assert set(published.deleted) == (shards(built).keys() - shards(other).keys()) | {"preview/jigsaw-easy.jpg"}
    assert there["LICENSE"] == there["rotation-easy/notes.txt"] == b"a user's own"
    hashes = {hashlib.sha256(data).hexdigest() for data in shards(other).values()}
    assert set(hub.uploads[len(before) :]) == hashes - set(before)  # some shards hold the same under another name


def test_shards_that_another_version_of_ssl4rl_published_are_replaced_too(built, hub, tmp_path):
    from huggingface_hub import HfApi

    push(built, REPO)
    manifest = json.loads((built / "manifest.json").read_text())
    manifest["plan"] |= {"ssl4rl": "9.0.0", "what only that version knows": 1}
    HfApi().upload_file(
        path_or_fileobj=json.dumps(manifest).encode(), path_in_repo="manifest.json", repo_id=REPO, repo_type="dataset"
    )
    other = tmp_path / "other"
    build(CONFIGS[:1], synthetic_source(20), other, shard_size=10, test_fraction=0.3)
    push(other, REPO)
    assert {path for path in hub.store.files(REPO) if path.endswith(".tar")} == shards(other).keys()


def test_files_that_only_look_like_shards_are_nobodys_to_delete(built, hub, tmp_path):
    from huggingface_hub import HfApi

    other = tmp_path / "other"
    build(CONFIGS[:1], synthetic_source(20), other, shard_size=10, test_fraction=0.3)
    named = "rotation-hard/train-00000-of-00003"
    theirs = ["raw/train-00000-of-00010.tar", f"{named}.json", "rotation-hard/train-00007-of-00010.tar"]
    theirs += ["preview/my-cat.jpg"]
    sidecar = (built / "rotation-easy/train-00001-of-00003.json").read_bytes()
    files = dict.fromkeys(theirs, b"somebody's own") | {"rotation-easy/train-00001-of-00003.json": sidecar}
    HfApi().create_repo(REPO, repo_type="dataset")
    for path, data in files.items():
        HfApi().upload_file(path_or_fileobj=data, path_in_repo=path, repo_id=REPO, repo_type="dataset")
    assert push(built, REPO, dry_run=True).deleted == []  # there is no manifest
    push(built, REPO)
    published = push(other, REPO)
    assert {f"{named}.tar", "rotation-easy/train-00001-of-00003.json"} <= set(published.deleted)
    assert not set(theirs) & set(published.deleted)
    there = hub.store.files(REPO)
    assert [there[path] for path in theirs] == [b"somebody's own"] * 4
    assert {path for path in there if path.endswith(".tar")} == shards(other).keys() | {theirs[0], theirs[2]}


@pytest.mark.parametrize("manifest", ["none", "foreign", "leads out", "large"])
def test_without_a_manifest_of_ours_nothing_is_deleted(manifest, built, hub, tmp_path, monkeypatch):
    from huggingface_hub import HfApi

    push(built, REPO)
    text = (built / "manifest.json").read_text()
    if manifest == "none":
        HfApi().delete_file("manifest.json", REPO, repo_type="dataset")
    elif manifest == "large":
        monkeypatch.setattr(hub_exporter, "_LARGEST_MANIFEST", len(text) - 1)
    else:
        text = '{"files": []}' if manifest == "foreign" else text.replace('"train-00000-of', '"../train-00000-of')
        HfApi().upload_file(
            path_or_fileobj=text.encode(), path_in_repo="manifest.json", repo_id=REPO, repo_type="dataset"
        )
    other = tmp_path / "other"
    build(CONFIGS[:1], synthetic_source(20), other, shard_size=10, test_fraction=0.3)
    assert push(other, REPO).deleted == []
    assert hub.store.files(REPO).keys() >= shards(built).keys()


def test_a_push_that_was_killed_goes_on_where_it_stopped(built, hub, tmp_path):
    command = [sys.executable, "-m", "ssl4rl_core.cli", "push", str(built), REPO]
    enough, killed = threading.Event(), threading.Event()

    def hold() -> None:
        if len(hub.uploads) >= 4:
            enough.set()
            killed.wait(20)

    hub.before_upload = hold
    pushing = subprocess.Popen(command, env=environment(hub, tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert enough.wait(60), pushing.communicate(timeout=5)
    pushing.send_signal(signal.SIGKILL)
    pushing.wait()
    before = list(hub.uploads)
    assert list(hub.store.files(REPO)) == [".gitattributes"]  # readers see all of it or nothing
    hub.before_upload = lambda: None
    killed.set()
    subprocess.run(command, env=environment(hub, tmp_path), check=True, capture_output=True)
    assert {path: data for path, data in hub.store.files(REPO).items() if path.endswith(".tar")} == shards(built)
    # The server notes what comes in whole, whether it has it or not: nothing came twice.
    assert len(before) >= 4 and len(set(hub.uploads)) == len(hub.uploads)


def test_of_many_shards_card_and_manifest_come_last(built, hub, monkeypatch):
    monkeypatch.setattr(hub_exporter, "_FILES_A_COMMIT", 5)
    push(built, REPO)
    *early, last = list(hub.store.repos[REPO].trees.values())[1:]
    assert [len(tree) for tree in early] == [1 + 5 * commits for commits in range(1, len(early) + 1)]
    assert early and {"README.md", "manifest.json"} <= last.keys()
    assert not any({"README.md", "manifest.json"} & tree.keys() for tree in early)


@pytest.mark.parametrize("already_there", [False, True])
def test_a_shard_that_was_changed_is_refused_before_anything_is_written(built, hub, tmp_path, already_there):
    if already_there:
        push(built, REPO)
    shutil.copytree(built, tmp_path / "changed")
    shard = tmp_path / "changed" / "rotation-easy" / "train-00000-of-00003.tar"
    data = bytearray(shard.read_bytes())
    data[700] ^= 1
    shard.write_bytes(data)
    hub.requests.clear()
    with pytest.raises(Ssl4rlError, match=r"train-00000-of-00003\.tar .*changed"):
        push(tmp_path / "changed", REPO)
    assert hub.writes() == []


def test_an_unfinished_build_is_refused(built, hub, tmp_path, capsys):
    shutil.copytree(built, tmp_path / "begun")
    (tmp_path / "begun" / "manifest.json").unlink()
    assert run(["push", str(tmp_path / "begun"), REPO]) == 1
    assert run(["push", str(tmp_path), REPO]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "is not finished" in first and "no build in" in second
    assert hub.requests == []


@pytest.mark.parametrize("debug", [[], ["--debug"]])
@pytest.mark.parametrize(
    ("token", "repo", "said"),
    [
        ("", REPO, "run 'hf auth login', or set HF_TOKEN"),
        ("hf_somebodyelses", REPO, "does not take this token: run 'hf auth login'"),
        (TOKEN, "others/turned", "may not write to others/turned (You don't have the rights"),
        (TOKEN, "turned", "write user/turned"),
        (TOKEN, "user/tur ned", "is no name of a dataset"),
    ],
)
def test_a_refusal_is_one_line_with_the_mend_and_never_the_token(
    built, hub, monkeypatch, capsys, token, repo, said, debug
):
    monkeypatch.setenv("HF_TOKEN", token)
    shown = ""
    try:
        assert run([*debug, "push", str(built), repo]) in (1, 2)
    except Ssl4rlError as error:  # as --debug lets it out
        assert debug
        assert error.__cause__ is None or TOKEN not in str(error.__cause__)
        shown = f"{error}\n"
    shown += capsys.readouterr().err
    assert said in shown and shown.count("\n") == 1
    assert not token or token not in shown


def test_an_endpoint_out_of_reach_is_named(built, hub, monkeypatch, capsys):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert run(["push", str(built), REPO]) == 1
    errors = capsys.readouterr().err
    assert "http://127.0.0.1:9" in errors and "HF_ENDPOINT" in errors and errors.count("\n") == 1


def test_private_is_private_or_refused(built, hub):
    push(built, "user/mine", private=True)
    assert hub.store.repos["user/mine"].private
    push(built, REPO)
    assert not hub.store.repos[REPO].private
    with pytest.raises(UsageError, match="exists and is public"):
        push(built, REPO, private=True)


def test_a_branch_is_made_and_main_stays(built, hub):
    published = push(built, REPO, revision="v2")
    assert list(hub.store.files(REPO)) == [".gitattributes"]
    assert hub.store.files(REPO, "v2").keys() >= shards(built).keys()
    assert published.load.endswith('"rotation-easy", split="train", revision="v2")')
    assert 'revision="v2"' in hub.store.files(REPO, "v2")["README.md"].decode()


def test_the_card_on_the_hub_shows_loads_and_rebuilds(built, hub, tmp_path):
    url = push(built, REPO).url
    there = hub.store.files(REPO)
    card = there["README.md"].decode()
    head = yaml.safe_load(card.split("---\n")[1])
    assert head["license"] == "cc-by-4.0" and head["size_categories"] == ["n<1K"]
    assert head["tags"] == ["ssl4rl", "jigsaw", "rotation"]
    for config in head["configs"]:
        for file in config["data_files"]:
            assert file["path"] == f"{config['config_name']}/{file['split']}-*.tar"
    assert len(head["configs"]) == 3
    assert (
        f'from datasets import load_dataset\nsamples = load_dataset("{REPO}", "rotation-easy", split="train")' in card
    )
    assert f'webdataset.WebDataset("{url}/resolve/main/rotation-easy/train-{{00000..00002}}-of-00003.tar"' in card
    assert "memory:pictures" in card and "licence: CC-BY-4.0" in card
    sample = BuiltSamples(built).sample("rotation-easy", "train", 0)
    assert "![rotation-easy](preview/rotation-easy.jpg)\n\n```text\n" in card
    assert f"Answer: {sample.record.answer_text}\n```" in card
    with Image.open(BytesIO(there["preview/rotation-easy.jpg"])) as preview:
        assert preview.format == "JPEG" and preview.size == sample.images[0].size
    assert "pip install ssl4rl-core==" in card and "ssl4rl build --task rotation:easy" in card
    # The words that a user put in stay.
    shutil.copytree(built, tmp_path / "edited")
    with (tmp_path / "edited" / "README.md").open("a") as readme:
        readme.write("\nThanks to all who took pictures.\n")
    assert list(push(tmp_path / "edited", REPO).uploaded) == ["README.md"]
    assert hub.store.files(REPO)["README.md"].decode() == f"{card}\nThanks to all who took pictures.\n"


def test_text_from_a_source_stays_text_on_the_card():
    shown = markdown([Preview("link-easy", b"", "a ``` fence\n# and a heading")])
    assert "````text\na ``` fence\n# and a heading\n````" in shown and "![" not in shown


@pytest.mark.parametrize(
    ("spdx", "front"),
    [
        ("CC0-1.0", {"license": "cc0-1.0"}),
        ("ODbL-1.0", {"license": "odbl"}),
        ("LicenseRef-My: own", {"license": "other", "license_name": "licenseref-my-own"}),
        ("", {}),
    ],
)
def test_a_licence_is_told_in_words_that_the_hub_takes(built, spdx, front):
    manifest = read_manifest(built)
    manifest = manifest.model_copy(update={"plan": manifest.plan.model_copy(update={"license": spdx})})
    head = yaml.safe_load(dataset_card(manifest, as_configs(CONFIGS)).split("---\n")[1])
    assert {key: value for key, value in head.items() if key.startswith("license")} == front


LOAD = """
import hashlib, json
from datasets import load_dataset

splits = load_dataset("user/turned", "rotation-easy")
first = next(iter(load_dataset("user/turned", "rotation-easy", split="train", streaming=True)))
pixels = lambda sample: hashlib.sha256(sample["00.jpg"].convert("RGB").tobytes()).hexdigest()
loaded = {split: [[sample["json"], pixels(sample)] for sample in samples] for split, samples in splits.items()}
assert [first["json"], pixels(first)] == loaded["train"][0]
print(json.dumps(loaded))
"""


def test_datasets_loads_every_sample_with_its_picture_and_answer(built, hub, tmp_path):
    push(built, REPO)
    done = subprocess.run(
        [sys.executable, "-c", LOAD], env=environment(hub, tmp_path / "home"), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout)
    samples = BuiltSamples(built)
    assert sum(map(len, loaded.values())) == 20
    for split in ("train", "test"):
        stored = [samples.sample("rotation-easy", split, n) for n in range(samples.size("rotation-easy", split))]
        assert loaded[split] == [
            [sample.record.model_dump(), hashlib.sha256(sample.images[0].tobytes()).hexdigest()] for sample in stored
        ]
