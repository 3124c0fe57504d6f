"""The command `ssl4rl sources`: what kinds there are, and what one source holds."""

import json

from typer.testing import CliRunner

from ssl4rl_core import registry
from ssl4rl_core.testing.sources import noise


def sources_command(*arguments: str) -> str:
    from ssl4rl_core.cli import sources_command  # noqa: F401
    from ssl4rl_core.cli.app import app

    done = CliRunner().invoke(app, ["sources", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_command_lists_kinds_and_describes_one():
    lines = {line["scheme"]: line for line in json.loads(sources_command("--json"))}
    assert {"folder", "embedded", "webdataset", "hf", "parquet", "tsv"} <= set(lines)
    for scheme in ("folder", "embedded", "webdataset", "hf", "parquet", "tsv"):
        assert lines[scheme]["example"].startswith(f"{scheme}:")
        assert lines[scheme]["reads"]
    assert "recursive=false" in sources_command("folder")


def test_the_command_describes_a_source(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for each in range(40):
        (folder / f"{each:03d}.jpg").write_bytes(noise(each))
    (line,) = json.loads(sources_command(f"folder:{folder}?license=CC0-1.0", "--test-fraction", "0.5", "--json"))
    assert (line["source"], line["kind"], line["items"], line["license"]) == ("folder:photos", "image", 40, "CC0-1.0")
    assert line["train"] + line["test"] == 40
    assert 5 <= line["test"] <= 35
    assert line["fingerprint"] == registry().source(f"folder:{folder}").fingerprint()
    assert str(tmp_path) not in json.dumps(line)
