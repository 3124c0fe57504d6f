"""The task under check in a process of its own, with another hash seed and nothing left from before.

The two processes are one program, so what passes between them may be pickled, as `multiprocessing` would do.
"""

import base64
import contextlib
import importlib
import importlib.util
import inspect
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssl4rl_core.errors import one_line
from ssl4rl_core.formats import ThinkAnswer
from ssl4rl_core.plugins import Registry
from ssl4rl_core.samples import Record
from ssl4rl_core.tasks import Task
from ssl4rl_core.testing.checks.outcome import NotRun
from ssl4rl_core.testing.checks.subject import Place, Subject, trace
from ssl4rl_core.testing.checks.world import world
from ssl4rl_core.verification import verify

LIMIT = 300
"""Seconds that the other process may take."""


def render_elsewhere(subject: Subject, places: Sequence[tuple[str, Place]]) -> list[dict[str, str]]:
    """The traces of samples, named by level and place, in this order, rendered in a new process.

    Raises:
        NotRun: the task's class cannot be found from a new process.
    """
    return _ask(subject, "render", list(places), with_source=not subject.generated)


def score_elsewhere(subject: Subject, completions: Sequence[tuple[str, str]]) -> list[Any]:
    """The score of each (record's JSON, completion), in a new process; a string says what was raised instead.

    Raises:
        NotRun: the task's class cannot be found from a new process.
    """
    return _ask(subject, "score", list(completions), with_source=False)


def _ask(subject: Subject, what: str, request: list[Any], *, with_source: bool) -> list[Any]:
    task = type(subject.task)
    if "<locals>" in task.__qualname__ or task.__module__ == "__main__":
        raise NotRun("the class is defined in a function or a notebook: a new process can find it only in a file")
    asked: dict[str, Any] = {
        "module": task.__module__,
        "file": inspect.getfile(task),
        "class": task.__qualname__,
        "what": what,
        "request": request,
    }
    if with_source:
        try:
            asked["source"] = base64.b64encode(pickle.dumps(subject.source)).decode()
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            raise NotRun(f"the source cannot be sent to a new process: {one_line(error)}") from error
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", f"from {__name__} import main; main()"],
            input=json.dumps(asked),
            env=environment,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"the task was not done in a new process after {LIMIT} seconds") from error
    if done.returncode:
        raise RuntimeError(f"in a new process: {done.stderr.strip().rpartition(chr(10))[2]}")
    return json.loads(done.stdout)


def _answer(asked: dict[str, Any]) -> list[Any]:
    task = _find(asked["module"], asked["file"], asked["class"])()
    if asked["what"] == "score":
        return [_score(task, record, completion) for record, completion in asked["request"]]
    subject = Subject(task, pickle.loads(base64.b64decode(asked["source"])) if "source" in asked else None)
    configs = {config.level: config for config in subject.configs}
    traces = []
    for level, place in asked["request"]:
        with world(0, sys.modules[type(task).__module__]):
            traces.append(trace(subject.draw(configs[level], tuple(place))))
    return traces


def _score(task: Task, record: str, completion: str) -> float | str:
    try:
        found = Registry()
        found.tasks[task.name] = task
        return verify(Record.model_validate_json(record), completion, ThinkAnswer(), found).score
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _find(module: str, file: str, name: str) -> type[Task]:
    """The class `name` of a module, by its name where that leads to the same file, else from the file."""
    spec = None
    with contextlib.suppress(ImportError, ValueError):
        spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None or Path(spec.origin).resolve() != Path(file).resolve():
        spec = importlib.util.spec_from_file_location(module, file)
        assert spec is not None and spec.loader is not None, f"{file} is not a Python file"
        sys.modules[module] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[module])
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def main() -> None:
    """Answer one question from standard input; what the task prints does not get among the answers."""
    with contextlib.redirect_stdout(sys.stderr):
        given = _answer(json.load(sys.stdin))
    print(json.dumps(given))
