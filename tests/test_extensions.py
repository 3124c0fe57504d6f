"""The examples of each kind of extension work as their first lines say, on the command line of a user."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ssl4rl_core import load_file, registry
from ssl4rl_core.answers import load_answer
from ssl4rl_core.testing.memory import synthetic_picture

ROOT = Path(__file__).parents[1]
EXTENSIONS = ROOT / "examples" / "extensions"


def ssl4rl(folder: Path, *words: str) -> str:
    """What a command says, run as a process of its own: a plugin it loads stays there."""
    run = subprocess.run(
        [sys.executable, "-m", "ssl4rl_core.cli", *words], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def plugin(name: str) -> tuple[str, str]:
    return "--plugin", str(EXTENSIONS / f"{name}.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A build of a task from one plugin file on a source from another."""
    folder = tmp_path_factory.mktemp("extensions")
    files = (*plugin("hidden_share_task"), *plugin("waves_source"))
    ssl4rl(folder, *files, "build", "--task", "hidden-share", "--source", "waves:40?side=64", "--out", "built")
    return folder


def test_a_source_and_a_task_are_built_and_read_back_without_them(folder):
    for path in sorted((folder / "built" / "hidden-share-easy").glob("*.json")):
        assert json.loads(path.read_text())["samples"]
    listed = json.loads(ssl4rl(folder, "inspect", "built", "--json"))
    assert "hidden-share-hard" in json.dumps(listed)


def test_the_hidden_share_is_what_is_covered():
    import numpy as np

    from ssl4rl_core import ImageItem, parse_config, render
    from ssl4rl_core.testing.memory import MemorySource

    load_file(EXTENSIONS / "hidden_share_task.py")
    source = MemorySource({"one": synthetic_picture(1, 200, 80)})
    entry = source.index("image")[0]
    item = source.load("image", entry)
    assert isinstance(item, ImageItem)
    view = source.view("image", "train", lambda entry: "train")  # pyright: ignore[reportArgumentType]
    for level in ("easy", "medium", "hard"):
        for variant in range(20):
            sample = render(parse_config(f"hidden-share:{level}", registry()), item, view, variant=variant)
            grey = (np.asarray(sample.images[0]) == 128).all(axis=(0, 2)).mean()
            assert 100 * grey == pytest.approx(int(sample.record.answer_text), abs=1)


@pytest.mark.parametrize(
    ("score", "texts"),
    [
        (1, ("40", "40 %", "40.0", " 40 percent.")),
        (0.5, ("50", "30%")),
        (0, ("60", "45", "0", "40 or 50", "", "-40", "4" * 10000, "\u0664\u0660")),
    ],
)
def test_a_near_miss_scores_a_half_and_hedging_nothing(score: float, texts: tuple[str, ...]):
    load_file(EXTENSIONS / "hidden_share_task.py")
    task = registry().task("hidden-share")
    answer = load_answer('{"kind":"percentage","value":40}', task.answer_types)
    assert [answer.score_text(text) for text in texts] == [score] * len(texts)


def test_an_exporter_has_a_command_with_its_own_flags(folder):
    files = (*plugin("hidden_share_task"), *plugin("jsonl_exporter"))
    ssl4rl(folder, *files, "export", "jsonl", "built", "--out", "lines", "--task", "hidden-share:easy", "--no-answers")
    lines = [json.loads(line) for line in (folder / "lines" / "train.jsonl").read_text().splitlines()]
    assert len(lines) > 20
    assert all((folder / "lines" / picture).is_file() for line in lines for picture in line["pictures"])
    assert "answer" not in lines[0] and "Grey bars" in lines[0]["question"]


def test_a_format_is_listed_and_reads_one_last_line(folder):
    listed = json.loads(ssl4rl(folder, *plugin("last_line_format"), "formats", "--json"))
    assert "last_line" in [each["name"] for each in listed]
    load_file(EXTENSIONS / "last_line_format.py")
    response_format = registry().format("last_line")
    assert response_format.extract(response_format.wrap("90", "It lies on its side.")) == "90"
    for broken in ("90", "Answer: 90\nAnswer: 180", "Answer: 90\nor so", "My Answer: 90", ""):
        assert response_format.extract(broken) is None


def test_a_command_counts_answers(folder):
    files = (*plugin("hidden_share_task"), *plugin("balance_command"))
    said = ssl4rl(folder, *files, "balance", "built", "--most", "2").splitlines()
    assert [line.partition(":")[0] for line in said] == [
        "hidden-share-easy",
        "hidden-share-medium",
        "hidden-share-hard",
    ]
    assert all(line.count("%") == 2 for line in said)
