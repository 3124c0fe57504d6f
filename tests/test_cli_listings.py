"""The commands that list, and how a wrong call is answered."""

import importlib
import json
import subprocess
import sys
import tomllib
from enum import Enum
from pathlib import Path
from typing import Literal

import pytest

from ssl4rl_core import Choice, Draft, Field, ImageItem, ImageParams, Task, registry
from ssl4rl_core.cli import run
from ssl4rl_core.cli.tables import show
from ssl4rl_core.cli.tasks_command import describe_task, list_tasks
from ssl4rl_core.plugins import Plugin, Registry
from ssl4rl_core.testing.memory import MemorySource, synthetic_source


class TurnParams(ImageParams):
    step: Literal[90, 45] = Field(default=90, description="granularity, degrees")
    share: float = Field(default=0.5, gt=0, le=1, description="how much is kept")


class Turn(Task[ImageItem, TurnParams]):
    """By how much was it turned?

    More about it.
    """

    name, version = "turn", 3
    levels = {"easy": TurnParams(), "hard": TurnParams(step=45)}
    prompt = "<image> By how much?"

    def transform(self, item, params, rng, view):
        return Draft(images=[item.image], answer=Choice("a", ["a", "b"]))

    def chance(self, params):
        return params.step / 360


class Pictures(MemorySource):
    """Eight pictures, for the command line."""

    @classmethod
    def open(cls, where, **options):
        return synthetic_source()


@pytest.fixture
def found() -> Registry:
    found = Registry()
    found.add_task(Turn, Plugin("turn", "some-distribution", "1"))
    return found


def test_a_task_is_listed_in_a_line(found):
    assert list_tasks(found) == [
        {
            "name": "turn",
            "version": 3,
            "domain": "image",
            "levels": ["easy", "hard"],
            "question": "By how much was it turned?",
            "plugin": "some-distribution",
        }
    ]


def test_a_task_is_described_with_what_its_params_take_and_its_chance_at_each_level(found):
    described = describe_task(found, "turn")
    assert {param["param"]: param["values"] for param in described["params"]} == {
        "min_side": "an integer, >= 1",
        "step": "one of 90, 45",
        "share": "a number, > 0, <= 1",
    }
    assert described["params"][1] == {
        "param": "step",
        "values": "one of 90, 45",
        "default": 90,
        "description": "granularity, degrees",
    }
    assert {level: shown["chance"] for level, shown in described["levels"].items()} == {"easy": 0.25, "hard": 0.125}
    assert described["levels"]["hard"]["params"] == {"min_side": 28, "step": 45, "share": 0.5}


def test_a_task_whose_params_lack_a_default_or_hold_what_json_does_not_is_described_all_the_same(monkeypatch, capsys):
    class Side(Enum):
        LEFT = "left"

    class OddParams(ImageParams):
        side: Side = Field(default=Side.LEFT, description="which side")
        count: int = Field(description="how many")

    class Odd(Task[ImageItem, OddParams]):
        name, version, levels = "odd", 1, {"easy": OddParams(count=2)}

        def chance(self, params):
            return 0.5

    monkeypatch.setitem(registry().tasks, "odd", Odd())
    assert run(["tasks", "odd", "--json"]) == 0
    params = json.loads(capsys.readouterr().out)["params"]
    assert {param["param"]: param["default"] for param in params} == {
        "min_side": 28,
        "side": "left",
        "count": "required",
    }
    assert run(["tasks", "odd"]) == 0
    assert "required" in capsys.readouterr().out


def test_the_commands_show_the_same_to_people_and_machines(found, monkeypatch, capsys):
    monkeypatch.setattr("ssl4rl_core.cli.tasks_command.registry", lambda: found)
    monkeypatch.setenv("COLUMNS", "200")
    assert run(["tasks", "turn", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == describe_task(found, "turn")
    assert run(["tasks", "turn"]) == 0
    shown = capsys.readouterr().out
    for text in ("By how much was it turned?", "granularity, degrees", "one of 90, 45", "25 %", "12.5 %"):
        assert text in shown


def test_formats_are_listed_with_a_completion_that_they_read(capsys):
    assert run(["formats", "--json"]) == 0
    listed = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    assert {"think_answer", "answer_only", "boxed"} <= listed.keys()
    for name, each in listed.items():
        assert registry().format(name).extract(each["completion"]) == "90"
        assert "one of 0, 90, 180, 270" in each["asks"]


def test_the_built_in_plugins_are_listed_without_an_error(capsys):
    assert run(["plugins", "--json"]) == 0
    core = [each for each in json.loads(capsys.readouterr().out) if each["distribution"] == "ssl4rl-core"]
    assert any("format think_answer" in each["provides"] for each in core)
    assert [each["error"] for each in core] == [""] * len(core)


PREVIEW = ["preview", "--out", "never.html"]


@pytest.mark.parametrize(
    ("arguments", "mend"),
    [
        (["tasks", "rotaton-of-nothing"], "pip install ssl4rl-task-rotaton-of-nothing"),
        (
            ["tasks", "turn:easy"],
            "tasks goes through all levels of a task, and takes no 'turn:easy': run 'ssl4rl tasks turn'",
        ),
        (["tasks", "turn?step=45"], "run 'ssl4rl tasks turn'"),
        (["check", "turn:easy"], "run 'ssl4rl check turn', with --level easy for that one alone"),
        (["check", "turn:easier"], "check goes through all levels of a task, and takes no 'turn:easier'"),
        (["check", "no-such-task:easy"], "pip install ssl4rl-task-no-such-task"),
        (["tasks", "--jsn"], "ssl4rl tasks --help"),
        (["taks"], "Did you mean 'tasks'"),
        (["formats", "more"], "ssl4rl formats --help"),
        ([*PREVIEW, "turn"], "Missing option '--source'"),
        ([*PREVIEW, "no-such-task", "--source", "folder:x"], "pip install ssl4rl-task-no-such-task"),
        ([*PREVIEW, "turn:easier", "--source", "folder:x"], "easy, hard"),
        ([*PREVIEW, "turn", "--source", "photos"], "folder:photos"),
        ([*PREVIEW, "turn", "--source", "foldr:photos"], "no source 'foldr'"),
        ([*PREVIEW, "turn", "--source", "folder:x", "--format", "boxd"], "did you mean 'boxed'"),
        ([*PREVIEW, "turn", "--source", "folder:x", "--split", "dev"], "ssl4rl preview --help"),
        ([*PREVIEW, "turn:hard", "--source", "folder:x", "--level", "all"], "leave out --level"),
        (["report", "no-such-run"], "no-such-run holds no run"),
        (["report", "runs:key:[red]"], "runs:key:[red] holds no run"),
    ],
)
def test_a_wrong_call_is_answered_in_one_line_with_its_mend(arguments, mend, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(registry().tasks, "turn", Turn())
    assert run(arguments) == 2
    shown = capsys.readouterr()
    assert mend in shown.err and shown.err.count("\n") == 1 and shown.out == ""
    assert not list(tmp_path.iterdir())


def test_a_table_shows_its_cells_as_they_are(capsys):
    cells = ["[bold]", r"\[bold] of photos\[red]", ":key: and :heart:", "[/]"]
    show([{"cell": cell} for cell in cells], as_json=False)
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()[1:]] == cells


@pytest.mark.parametrize("out", ["pages", "notes.txt/page.html"])
def test_a_page_that_cannot_be_written_is_named_in_one_line(out, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(registry().tasks, "turn", Turn())
    monkeypatch.setitem(registry().sources, "memory", Pictures)
    (tmp_path / "pages").mkdir()
    (tmp_path / "notes.txt").touch()
    assert run(["preview", "turn:easy", "--source", "memory:pictures", "--out", out]) == 1
    shown = capsys.readouterr().err
    assert f"cannot write {out}" in shown and "Traceback" not in shown
    assert not [path for path in tmp_path.rglob("*") if path.name not in ("pages", "notes.txt")]


def test_a_fault_of_ours_is_one_line_too_and_debug_shows_the_way_there(monkeypatch, capsys):
    def fail(found):
        raise ZeroDivisionError("no\nluck")

    monkeypatch.setattr("ssl4rl_core.cli.formats_command.list_formats", fail)
    assert run(["formats"]) == 1
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1 and "ZeroDivisionError: no luck (test_cli_listings.py, line" in shown
    with pytest.raises(ZeroDivisionError):
        run(["--debug", "formats"])


def test_data_to_evaluate_on_is_asked_for_by_the_options_that_name_it(capsys):
    assert run(["eval", "--model", "none"]) == 2
    assert "--data DIR" in capsys.readouterr().err
    assert run(["eval", "--model", "none", "--source", "folder:photos"]) == 2
    assert "--task NAME" in capsys.readouterr().err


def test_the_version_is_told_though_no_plugin_can_be_loaded(monkeypatch, capsys):
    def hang() -> Registry:
        raise AssertionError("a plugin may hang, and its user wants to say which version this is")

    # Not by its dotted name, which is that of the Typer app as well.
    monkeypatch.setattr(importlib.import_module("ssl4rl_core.cli.app"), "registry", hang)
    assert run(["--version"]) == 0
    shown = capsys.readouterr()
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert (shown.out, shown.err) == (f"ssl4rl {project['version']}\n", "")


def test_the_command_is_a_module_too_as_distributed_launchers_start_it():
    command = [sys.executable, "-m", "ssl4rl_core.cli", "formats", "--json"]
    assert "think_answer" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
