"""Shards that somebody tampered with: every reader refuses them in one line, and runs nothing that they hold."""

import gzip
import hashlib
import io
import json
import os
import pickle
import re
import shutil
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from data_builders import BuiltSamples, Manifest, build
from data_builders.manifest import make_manifest
from data_builders.sources.index import CACHE_VARIABLE
from data_builders.sources.webdataset import WebDataset
from ssl4rl_core import Ssl4rlError
from ssl4rl_core.cli import run
from ssl4rl_core.testing.memory import synthetic_source

KEY = "000000000-00000"
GIB = 2**30
Members = list[tuple[tarfile.TarInfo, bytes]]
Change = Callable[[Path, Members], None]


class Touch:
    """Pickled, it makes a file wherever it is loaded."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self._path,)


def ran(shard: Path) -> Path:
    """The file that is there if code of the shard was run, or a member of it unpacked."""
    return shard.parents[2] / "ran"


def member(name: str, data: bytes = b"{}", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def write(shard: Path, members: Members, format: int = tarfile.USTAR_FORMAT) -> None:
    with tarfile.open(shard, "w", format=format) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))


def replaced(shard: Path, members: Members, ending: str, change: Callable[[bytes], bytes]) -> None:
    """Write the shard with the first member of such an ending changed."""
    place = next(place for place, (info, _) in enumerate(members) if info.name.endswith(ending))
    info, data = members[place]
    write(shard, [*members[:place], member(info.name, change(data)), *members[place + 1 :]])


def with_record(**fields: object) -> Change:
    return lambda shard, members: replaced(
        shard, members, ".json", lambda data: json.dumps({**json.loads(data), **fields}).encode()
    )


def with_first(**fields: object) -> Change:
    """With a member before all others: a picture that is none, or leads elsewhere."""
    return lambda shard, members: write(shard, [member(**{"name": f"{KEY}.00.jpg", "data": b"", **fields}), *members])


def bomb(data: bytes) -> bytes:
    """A small JPEG that says it is 30,000 pixels wide and high."""
    sides = data.index(b"\xff\xc0") + 5
    return data[:sides] + 2 * (30_000).to_bytes(2, "big") + data[sides + 4 :]


def claims_ten_gibibytes(shard: Path, members: Members) -> None:
    header = tarfile.TarInfo(f"{KEY}.00.jpg")
    header.size = 10 * GIB
    shard.write_bytes(header.tobuf(tarfile.GNU_FORMAT) + shard.read_bytes()[512:])


def holds_ten_gibibytes(shard: Path, members: Members) -> None:
    """All of them zeros that take no room on the disk."""
    claims_ten_gibibytes(shard, members)
    os.truncate(shard, 10 * GIB + 4096)


def compressed(shard: Path, members: Members) -> None:
    shard.write_bytes(gzip.compress(shard.read_bytes()))


def sparse(shard: Path, members: Members) -> None:
    header = bytearray(member(f"{KEY}.00.jpg", b"", type=tarfile.GNUTYPE_SPARSE)[0].tobuf(tarfile.GNU_FORMAT))
    header[483:495] = b"%011o\0" % (10 * GIB)  # the size it says it has when unpacked
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    shard.write_bytes(bytes(header) + shard.read_bytes())


NESTED = "[" * 100_000
CHANGES: dict[str, tuple[Change, str]] = {
    "a pickle member": (
        lambda shard, members: write(shard, [*members, member(f"{KEY}.pyd", pickle.dumps(Touch(ran(shard))))]),
        r"a member called '\S+\.pyd'",
    ),
    "a pickle for a record": (
        lambda shard, members: replaced(shard, members, ".json", lambda _: pickle.dumps(Touch(ran(shard)))),
        "a record that is none of ours",
    ),
    "a pickle for a picture": (
        lambda shard, members: replaced(shard, members, ".00.jpg", lambda _: pickle.dumps(Touch(ran(shard)))),
        "a picture that cannot be read",
    ),
    "a way out": (with_first(name="../../ran"), r"a member called '\.\./\.\./ran'"),
    "an absolute path": (
        lambda shard, members: write(shard, [member(str(ran(shard))), *members]),
        "a member called '/",
    ),
    "a symlink": (with_first(type=tarfile.SYMTYPE, linkname="/etc/passwd"), "not a plain file"),
    "a hard link": (with_first(type=tarfile.LNKTYPE, linkname=f"{KEY}.json"), "not a plain file"),
    "a device": (with_first(type=tarfile.CHRTYPE), "not a plain file"),
    "sparse": (sparse, "not a plain file"),
    "extended headers": (
        lambda shard, members: write(
            shard, [member(f"{KEY}.00.jpg", pax_headers={"comment": "x"}), *members], tarfile.PAX_FORMAT
        ),
        "not a plain file",
    ),
    "ten gibibytes claimed": (claims_ten_gibibytes, "larger than the shard"),
    "ten gibibytes": (holds_ten_gibibytes, f"which has {10 * GIB} bytes"),
    "cut short": (lambda shard, members: os.truncate(shard, 2000), "larger than the shard|broken or missing header"),
    "cut away": (lambda shard, members: os.truncate(shard, 0), "broken or missing header"),
    "compressed": (compressed, "broken or missing header"),
    "two members exchanged": (
        lambda shard, members: write(shard, [members[1], members[0], *members[2:]]),
        "out of order",
    ),
    "a giant record": (
        lambda shard, members: replaced(shard, members, ".json", lambda data: data + b" " * 2**26),
        r"which has \d+ bytes",
    ),
    "a nested record": (
        lambda shard, members: replaced(shard, members, ".json", lambda _: NESTED.encode()),
        "a record that is none of ours",
    ),
    "a nested prompt": (with_record(parts=NESTED), "a record that is none of ours"),
    "a nested answer": (with_record(answer='{"a":' + NESTED), "a record that is none of ours"),
    "a prompt of other parts": (with_record(parts='[{"type": "video"}]'), "a prompt that is none of ours"),
    "a record of another task": (with_record(task="jigsaw"), "a record of 'jigsaw'"),
    "a decompression bomb": (
        lambda shard, members: replaced(shard, members, ".00.jpg", bomb),
        "a picture that cannot be read",
    ),
}
# What only a reader of records meets, or is sound in shards from elsewhere, or is one bad picture among others.
NOT_OF_SHARDS_FROM_ELSEWHERE = {name for name in CHANGES if "record" in name or "prompt" in name or "answer" in name}
NOT_OF_SHARDS_FROM_ELSEWHERE |= {"extended headers", "two members exchanged", "ten gibibytes"}
NOT_OF_SHARDS_FROM_ELSEWHERE |= {"a pickle for a picture", "a decompression bomb"}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("built")
    build(["rotation:easy"], synthetic_source(12), out, test_fraction=0.5, max_side=56)
    return out


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))


def tampered(built: Path, folder: Path, how: str) -> Path:
    """A copy of the build with both its shards changed."""
    out = folder / "out"
    shutil.copytree(built, out)
    for shard in sorted(out.rglob("*.tar")):
        with tarfile.open(shard) as tar:
            members: Members = [member(info.name, tar.extractfile(info).read()) for info in tar]  # pyright: ignore[reportOptionalMemberAccess]
        CHANGES[how][0](shard, members)
    return out


def vouch_for(out: Path) -> None:
    """Write sizes and hashes of the shards, as they are now, into the manifest and the sidecars."""
    manifest = Manifest.model_validate_json((out / "manifest.json").read_bytes())
    shards = []
    for shard in manifest.shards:
        path = out / shard.config / f"{shard.shard}.tar"
        size = path.stat().st_size
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if size < GIB else shard.sha256
        shards.append(shard.model_copy(update={"bytes": size, "sha256": digest}))
        path.with_suffix(".json").write_text(shards[-1].model_dump_json())
    (out / "manifest.json").write_text(make_manifest(manifest.plan, shards).model_dump_json())


def refused(error: object, complaint: str) -> None:
    """One line that names the shard and what is wrong with it."""
    message = str(error)
    assert "\n" not in message and len(message) < 500
    assert ".tar" in message
    assert re.search(complaint, message), message


def command_refuses(capsys, *words: object) -> str:
    """The one line with which a command ends."""
    capsys.readouterr()
    assert run([str(word) for word in words]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1, said
    return said.strip()


BY_ANY_SIGN = "by their hash|by its hash|"


@pytest.mark.parametrize("how", CHANGES)
def test_the_reader_of_builds_refuses_it_though_the_hash_was_made_to_fit(how, built, tmp_path):
    out = tampered(built, tmp_path, how)
    complaint = CHANGES[how][1]
    for vouched in (False, True):
        if vouched:
            vouch_for(out)
        tracemalloc.start()
        try:
            with pytest.raises(Ssl4rlError) as error:
                BuiltSamples(out).sample("rotation-easy", "train", 0)
            assert tracemalloc.get_traced_memory()[1] < 2**28
        finally:
            tracemalloc.stop()
        refused(error.value, complaint if vouched else BY_ANY_SIGN + complaint)
    assert not ran(next(out.rglob("*.tar"))).exists()


@pytest.mark.parametrize("how", CHANGES)
def test_inspect_verify_refuses_it(how, built, tmp_path, capsys):
    out = tampered(built, tmp_path, how)
    assert run(["inspect", str(out), "--verify"]) == 1
    *lines, last = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and f"{out} is not what was built: {lines[0]} (and 1 more)" in last
    for line in lines:
        refused(line, BY_ANY_SIGN + CHANGES[how][1])
    assert not ran(next(out.rglob("*.tar"))).exists()


@pytest.mark.parametrize("how", CHANGES)
def test_the_webdataset_source_refuses_it(how, built, tmp_path, capsys):
    out = tampered(built, tmp_path, how)
    shards = f"webdataset:{out}/rotation-easy/*.tar"
    words = ["build", "--task", "rotation:easy", "--source", shards, "--out", tmp_path / "again"]
    refused(command_refuses(capsys, *words), "by its hash")
    for path in out.rglob("*.json"):
        path.unlink()  # as shards from elsewhere, which nothing vouches for
    tracemalloc.start()
    try:
        if how in NOT_OF_SHARDS_FROM_ELSEWHERE:
            # Where one picture takes up all of a shard, there is no other.
            assert run([*map(str, words), "--limit", "3"]) == (1 if how == "ten gibibytes" else 0)
        else:
            refused(command_refuses(capsys, *words), "shard .* (holds|is broken|is no whole tar file)")
        assert tracemalloc.get_traced_memory()[1] < 2**28
    finally:
        tracemalloc.stop()
    assert not ran(next(out.rglob("*.tar"))).exists()


def test_headers_without_end_do_not_fill_the_memory(tmp_path):
    header = member("x", b"", type=tarfile.XHDTYPE)[0]
    header.size = 10 * GIB
    shard = tmp_path / "00.tar"
    shard.write_bytes(header.tobuf(tarfile.GNU_FORMAT))
    os.truncate(shard, 11 * GIB)
    with pytest.raises(Ssl4rlError, match=r"00\.tar cannot be read: a member has headers of more than"):
        WebDataset.open(str(shard))


def test_pictures_beside_pickles_are_read_where_the_user_says_so(tmp_path):
    shard = tmp_path / "a" / "b" / "00.tar"
    shard.parent.mkdir(parents=True)
    file = io.BytesIO()
    synthetic_source(1)._images["picture-0"].save(file, "JPEG")
    write(shard, [member("0.jpg", file.getvalue()), member("0.pyd", pickle.dumps(Touch(ran(shard))))])
    assert len(WebDataset.open(str(shard), pickles="ignore").index("image")) == 1
    with pytest.raises(Ssl4rlError, match=r"holds '0\.pyd', a pickle, which can run code .*\?pickles=ignore"):
        WebDataset.open(str(shard))
    assert not ran(shard).exists()


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    for package in ("torch", "transformers", "trl"):
        pytest.importorskip(package, reason="needs the extra 'train'")
    from ssl4rl_core.testing.tiny import tiny_vlm

    return tiny_vlm(tmp_path_factory.mktemp("model"), ["0 90 180 270 degrees"], pixels=56, hidden=32, layers=1)


@pytest.mark.parametrize("how", CHANGES)
def test_eval_refuses_it(how, built, model, tmp_path, capsys):
    out = tampered(built, tmp_path, how)
    vouch_for(out)
    said = command_refuses(capsys, "eval", "--model", model, "--data", out, "--max-tokens", "2")
    refused(said, CHANGES[how][1])
    assert not ran(next(out.rglob("*.tar"))).exists()


def test_train_refuses_it(built, model, tmp_path, capsys):
    out = tampered(built, tmp_path, "a pickle for a record")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"model: {model}\ndata: {{build: {out}}}\ntasks: [rotation:easy]\nformat: answer_only\n"
        "grpo: {max_steps: 1, per_device_train_batch_size: 2, num_generations: 2, max_completion_length: 2}\n"
        f"evaluate: {{stages: []}}\noutput: {tmp_path / 'run'}\n"
    )
    refused(command_refuses(capsys, "train", recipe), "by their hash")
    vouch_for(out)
    refused(command_refuses(capsys, "train", recipe, "--overwrite"), "a record that is none of ours")
    assert not ran(next(out.rglob("*.tar"))).exists()


def test_inspect_verify_names_missing_and_extra_files_and_wrong_counts(built, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(built, out)
    assert run(["inspect", str(out), "--verify"]) == 0
    assert "all files are there, and what was built" in capsys.readouterr().out
    (out / ".gitattributes").write_text("kept by others, and hidden")
    (out / "rotation-easy" / "train-00001-of-00001.tar").write_bytes(b"")
    (out / "rotation-easy" / "test-00000-of-00001.tar").unlink()
    (out / "plan.json").unlink()
    sidecar = out / "rotation-easy" / "train-00000-of-00001.json"
    sidecar.write_text(sidecar.read_text().replace('"skips":{}', '"skips":{"dull":1}'))
    assert run(["inspect", str(out), "--verify"]) == 1
    said = [line.removeprefix(f"{out}/") for line in capsys.readouterr().err.splitlines()]
    assert said[:-1] == [
        "plan.json is not the plan that manifest.json holds",
        "plan.json is missing",
        "rotation-easy/test-00000-of-00001.tar is missing",
        "rotation-easy/train-00001-of-00001.tar is none of the build's files",
        "rotation-easy/train-00000-of-00001.json does not say what manifest.json says of this shard",
    ]
    assert said[-1].endswith("plan.json is not the plan that manifest.json holds (and 4 more)")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda manifest: manifest["shards"].pop(), "does not name each shard of its plan once"),
        (
            lambda manifest: manifest["shards"].append(manifest["shards"][0]),
            "does not name each shard of its plan once",
        ),
        (lambda manifest: manifest["shards"][0].update(split="test"), "does not name each shard of its plan once"),
        (lambda manifest: manifest["totals"][0].update(samples=99), "totals that are not those of its shards"),
        (lambda manifest: manifest["shards"][0]["answers"].update({"45": 1}), "other answers than manifest.json says"),
        (lambda manifest: manifest["shards"][0].update(samples=3), "or more samples than it should"),
    ],
)
def test_inspect_verify_counts_what_the_manifest_says(change, complaint, built, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(built, out)
    manifest = json.loads((out / "manifest.json").read_text())
    change(manifest)
    (out / "manifest.json").write_text(json.dumps(manifest))
    assert run(["inspect", str(out), "--verify"]) == 1
    assert complaint in capsys.readouterr().err


def test_a_manifest_that_names_shards_of_no_config_is_refused(built, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(built, out)
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["shards"][0]["config"] = "elsewhere"
    (out / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(Ssl4rlError, match=r"manifest\.json is not a manifest of this version"):
        BuiltSamples(out)
