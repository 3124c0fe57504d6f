"""`ssl4rl build` and `ssl4rl inspect` as a user types them."""

import json
import shlex
import subprocess
import sys

import pytest

pytest.importorskip("skimage", reason="embedded:photos needs scikit-image: pip install 'ssl4rl-core[embedded]'")

from ssl4rl_core.cli import run

BUILD = ["build", "--task", "rotation:paper", "--source", "embedded:photos", "--max-side", "64", "--out"]


def test_build_then_inspect(tmp_path, capsys):
    assert run([*BUILD, str(tmp_path), "--variants", "4", "--balance", "--license", "CC0-1.0"]) == 0
    assert "rotation-paper" in capsys.readouterr().out
    assert run(["inspect", str(tmp_path), "--json", "--show", "1", "--verify"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert sum(line["samples"] for line in shown["splits"]) == 40
    assert shown["samples"][0]["answer"] in ("0", "90", "180", "270") and len(shown["samples"][0]["pictures"]) == 2
    assert run(["inspect", str(tmp_path), "--show", "1"]) == 0
    assert "The second picture" in capsys.readouterr().out
    assert "license: cc0-1.0" in (tmp_path / "README.md").read_text()


def test_another_command_into_the_same_folder_says_what_differs(tmp_path, capsys):
    assert run([*BUILD, str(tmp_path)]) == 0
    assert run([*BUILD, str(tmp_path), "--seed", "1"]) == 2
    assert "options.seed: 0 here, 1 now" in capsys.readouterr().err


def test_a_ray_address_is_for_the_ray_engine_unless_it_stands_in_the_environment(tmp_path, capsys, monkeypatch):
    assert run([*BUILD, str(tmp_path), "--ray-address", "10.0.0.1:6379"]) == 2
    errors = capsys.readouterr().err
    assert "10.0.0.1:6379" in errors and "engine ray" in errors and errors.count("\n") == 1
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert run([*BUILD, str(tmp_path)]) == 0


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (["--task", "rotation:impossible"], 2, "has no level 'impossible'"),
        (["--source", "folder:nowhere-at-all"], 2, "nowhere-at-all"),
        (["--source", "photos"], 2, "kind:where"),
        (["--quality", "0"], 2, "quality"),
        (["--image-format", "gif"], 2, "gif"),
        (["--max-side", "24"], 2, "max_side 24 is below its min_side 28: raise max_side to that or more, or write"),
    ],
)
def test_a_wrong_word_is_one_line_and_writes_nothing(change, code, said, tmp_path, capsys):
    out = tmp_path / "out"
    assert run([*BUILD, str(out), *change]) == code
    errors = capsys.readouterr().err
    assert said in errors and errors.startswith("error: ") and errors.count("\n") == 1
    assert not out.exists()


def test_inspect_tells_no_build_from_an_unfinished_one(tmp_path, capsys):
    assert run(["inspect", str(tmp_path)]) == 2
    assert "no build in" in capsys.readouterr().err
    assert run([*BUILD, str(tmp_path)]) == 0
    (tmp_path / "manifest.json").unlink()
    assert run(["inspect", str(tmp_path)]) == 1
    assert "is not finished" in capsys.readouterr().err


def test_help_shows_an_example_and_what_balance_means(capsys):
    assert run(["build", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "ssl4rl build --task rotation" in said and "each angle once" in said


def test_an_interrupt_says_how_far_it_came_and_what_to_run(tmp_path, capsys, monkeypatch):
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("data_builders.units.Worker.do", interrupted)
    out = tmp_path / "my photos"
    assert run([*BUILD, str(out)]) == 130
    said = capsys.readouterr().err
    assert f"interrupted: 0 of 1 units of work are done in {out}; run the same command again" in said
    command = shlex.split(said.splitlines()[-1])
    assert command == ["ssl4rl", *BUILD, str(out)]
    monkeypatch.undo()
    assert run(command[1:]) == 0


def test_a_build_without_any_sample_fails_and_says_so(tmp_path, capsys):
    few = ["build", "--task", "rotation:easy?min_side=2000", "--source", "embedded:photos", "--limit", "3"]
    few += ["--max-side", "2000"]
    assert run([*few, "--out", str(tmp_path / "none")]) == 1
    told = capsys.readouterr()
    assert "left out" in told.out
    assert "error: no sample could be made" in told.err and "built in" not in told.out


def test_nothing_heavy_is_loaded_to_build(tmp_path):
    heavy = {"torch", "transformers", "trl", "cv2", "albumentations", "webdataset", "datasets"}
    lines = ("import sys", "from ssl4rl_core.cli import run", f"run({[*BUILD, str(tmp_path)]})")
    code = "; ".join([*lines, f"print(sorted({heavy} & set(sys.modules)))"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
