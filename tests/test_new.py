"""`ssl4rl new`: what it writes works as it is, and what cannot be is refused before anything is written."""

import ast
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from ssl4rl_core.cli import run
from ssl4rl_core.errors import UsageError
from ssl4rl_core.plugins import Registry, load_file, registry
from ssl4rl_core.scaffold import class_name, new_task
from ssl4rl_core.tasks import Task
from ssl4rl_core.testing.checks import Subject, check_task


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def loaded(file: Path) -> Task:
    found = Registry()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ssl4rl_core.plugins.registry", lambda: found)
        load_file(file)
    (task,) = found.tasks.values()
    return task


@pytest.mark.parametrize("domain", ["image", "graph"])
def test_what_is_written_passes_the_check_as_it_is(domain, capsys):
    assert run(["new", "brand-new", "--domain", domain, "--author", 'A. "B" C']) == 0
    shown = capsys.readouterr().out
    folder = Path("ssl4rl-task-brand-new")
    assert "ssl4rl check brand-new" in shown and "pip install -e ssl4rl-task-brand-new" in shown
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["name"] == folder.name and project["authors"] == [{"name": 'A. "B" C'}]
    assert project["entry-points"]["ssl4rl"] == {"brand-new": "ssl4rl_task_brand_new"}
    assert "Apache License" in (folder / "LICENSE").read_text()
    assert len((folder / "ssl4rl_task_brand_new.py").read_text().splitlines()) < 80
    task = loaded(folder / "ssl4rl_task_brand_new.py")
    assert (task.name, task.domain, type(task).__name__) == ("brand-new", domain, "BrandNew")
    failed = [str(outcome) for outcome in check_task(Subject(task)) if outcome.status == "failed"]
    assert failed == []


@pytest.mark.parametrize("domain", ["image", "graph"])
def test_nothing_is_left_to_fill_in_and_all_of_it_is_in_style(domain):
    folder = new_task("brand-new", domain=domain)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"README.md", "LICENSE", "ci.yml", "test_brand_new.py", ".gitignore"}
    for path in files:
        assert "<<" not in path.read_text() and "{%" not in path.read_text()
    for path in folder.rglob("*.py"):
        ast.parse(path.read_text())
        assert max(map(len, path.read_text().splitlines())) <= 120
    readme = (folder / "README.md").read_text()
    assert ("`strips`" in readme) == (domain == "image")
    assert ("networkx:karate" in readme) == (domain == "graph")
    ruff = subprocess.run([sys.executable, "-m", "ruff", "format", "--check", "--line-length=120", folder])
    assert ruff.returncode == 0


def test_the_written_test_runs_the_kit():
    folder = new_task("tested-once")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", "-k", "docs or prompt"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder.resolve())},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "2 passed" in done.stdout, done.stdout


def test_the_name_of_the_distribution_means_its_task(tmp_path, capsys):
    assert run(["new", "ssl4rl-task-brand-new"]) == 0
    assert "ssl4rl check brand-new\n" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["ssl4rl-task-brand-new"]
    assert loaded(Path("ssl4rl-task-brand-new/ssl4rl_task_brand_new.py")).name == "brand-new"


@pytest.mark.parametrize(
    ("name", "mend"),
    [
        ("ssl4rl-task-", "lower-case words"),
        ("Shade", "lower-case words"),
        ("../shade", "lower-case words"),
        ("shade_task", "lower-case words"),
        ("9lives", "lower-case words"),
        ("", "lower-case words"),
        ("a" * 41, "at most 40"),
        ("turn\n", "lower-case words"),
    ],
)
def test_a_bad_name_is_refused_and_nothing_is_written(name, mend, tmp_path, capsys):
    assert run(["new", name]) == 2
    assert mend in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_name_of_an_installed_task_is_refused(tmp_path):
    taken = next(iter(registry().tasks), None)
    if taken is None:
        pytest.skip("no task is installed: pip install ssl4rl-task-rotation")
    with pytest.raises(UsageError, match=f"task {taken} is there already, from ssl4rl-task-{taken}"):
        new_task(taken)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_left_alone(tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    assert run(["new", "brand-new", "--out", "mine"]) == 2
    assert "mine is there already" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run(["new", "brand-new", "--out", "file/below"]) == 1
    assert "cannot write file/below" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("frame-order", "FrameOrder"),
        ("choice", "ChoiceTask"),
        ("image", "ImageTask"),
        ("task", "TaskTask"),
        ("none", "NoneTask"),
    ],
)
def test_a_class_never_hides_what_its_module_imports(name, expected):
    assert class_name(name) == expected
    folder = new_task(name)
    task = loaded(folder / f"ssl4rl_task_{name.replace('-', '_')}.py")
    assert type(task).__name__ == expected
    assert json.loads(task.levels["easy"].model_dump_json()) == {"min_side": 28, "strips": 2}
