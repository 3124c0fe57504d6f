"""What a training or evaluation run left in its folder, read for a report.

A run may have been killed, or may still be running: a broken last line, a missing file or a step without a value is no
error. Only a folder that holds no run at all is.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ssl4rl_core.errors import Ssl4rlError, UsageError
from ssl4rl_core.pydantic_errors import first_problem

STAGES = ("start", "format", "end")
"""Before training, after the supervised start on the format, after GRPO."""

STAGE_NAMES = {"start": "start", "format": "after the format start", "end": "after GRPO"}
"""The stages in words."""

GROUPS = ("right", "near", "wrong", "format")
"""What became of an answer: right; nearly right (as `Answer.near` says); wrong; or the format was broken."""

Series = list[tuple[float, float]]
"""(step, value) pairs, by step; steps without a finite value are left out."""


class Result(BaseModel):
    """Held-out accuracy of one config at one stage, with a 95 % interval; shares are in [0, 1]."""

    model_config = ConfigDict(extra="ignore")

    task: str
    level: str
    model: str = ""
    stage: str = Field(pattern="^(start|format|end)$")
    n: int = Field(ge=0)
    accuracy: float = Field(ge=0, le=1)
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)
    chance: float = Field(ge=0, le=1)
    format_rate: float | None = Field(default=None, ge=0, le=1)
    seconds: float | None = None
    source: str = ""
    downstream: bool = False
    """Whether it was asked in evaluation alone, and never a reward."""
    outcomes: dict[str, int] = {}
    """How many of the n answers fell into each of GROUPS; empty where that was not counted."""

    @property
    def config(self) -> str:
        """What it is a result of; downstream, one task may stand for several sources."""
        return f"{self.task}-{self.level}" + (f" of {self.source}" if self.downstream else "")


class Completion(BaseModel):
    """What the model said to one held-out sample at one stage."""

    model_config = ConfigDict(extra="ignore")

    sample: str
    config: str
    stage: str
    question: str = ""
    answer_text: str = ""
    completion: str = ""
    score: float = 0.0
    format_ok: bool = False
    near: str = ""
    """In what way a wrong answer is nearly right, as `Answer.near` says it, or ""."""
    images: list[str] = []

    @property
    def group(self) -> str:
        """One of GROUPS."""
        return group_of(self.score, self.format_ok, self.near)


def group_of(score: float, format_ok: bool, near: str) -> str:
    """Which of GROUPS an answer falls into; `near` as in `Completion`."""
    if not format_ok:
        return "format"
    return "right" if score >= 1 else "near" if near else "wrong"


@dataclass(frozen=True)
class Run:
    """A run as its folder tells it.

    Attributes:
        metrics: the logged steps, in order.
        completions: what the model said to some held-out samples, not picked, at every stage.
        failures: some answers of the last stage that are not right, picked for that.
        lost: how many lines could not be read.
    """

    name: str
    path: Path
    results: list[Result]
    config: Mapping[str, Any] = field(default_factory=dict)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    completions: list[Completion] = field(default_factory=list)
    failures: list[Completion] = field(default_factory=list)
    recipe: str = ""
    environment: Mapping[str, Any] = field(default_factory=dict)
    lost: int = 0

    def series(self, key: str) -> Series:
        """A metric over the steps."""
        values = ((line["step"], line.get(key)) for line in self.metrics)
        return [(float(step), float(value)) for step, value in values if _is_number(value)]

    def settings(self) -> dict[str, Any]:
        """The recipe's values; those in results.json, less its counts, where recipe.yaml is missing or no mapping."""
        try:
            values = yaml.safe_load(self.recipe)
        except yaml.YAMLError:
            values = None
        counts = ("skipped", "failed")
        return _mapping(values) or {name: value for name, value in self.config.items() if name not in counts}

    def result(self, config: str, stage: str) -> Result | None:
        """The newest result of a config at a stage."""
        found = [result for result in self.results if (result.config, result.stage) == (config, stage)]
        return found[-1] if found else None


def read_runs(paths: list[Path]) -> list[Run]:
    """The runs in these folders, each once and under a name of its own.

    Raises:
        UsageError: a folder holds no run.
        Ssl4rlError: a run's results are not what a run leaves.
    """
    paths = list({path.resolve(): path for path in paths}.values())
    names = [path.resolve().name for path in paths]
    return [
        read_run(path, name if names.count(name) == 1 else f"{path.resolve().parent.name}/{name}")
        for path, name in zip(paths, names, strict=True)
    ]


def read_run(path: Path, name: str) -> Run:
    """The run in folder `path`; raises as `read_runs` does."""
    if not any((path / file).is_file() for file in ("results.json", "metrics.jsonl")):
        raise UsageError(f"{path} holds no run: there is no results.json as 'ssl4rl train' and 'ssl4rl eval' leave it")
    results = _json(path / "results.json")
    metrics, lost_steps = _lines(path / "metrics.jsonl")
    samples, lost_samples = _lines(path / "samples.jsonl")
    failed, lost_failures = _lines(path / "failures.jsonl")
    try:
        rows = [Result.model_validate(row) for row in results.get("runs", [])]
        completions = [Completion.model_validate(line) for line in samples]
        failures = [Completion.model_validate(line) for line in failed]
    except (ValidationError, TypeError) as error:
        problem = first_problem(error) if isinstance(error, ValidationError) else str(error)
        raise Ssl4rlError(f"{path} is not a run of this version of ssl4rl: {problem}") from error
    # A resumed run logs some steps again: what was logged last holds.
    steps = {line["step"]: line for line in metrics if _is_number(line.get("step"))}
    return Run(
        name=name,
        path=path,
        results=rows,
        config=_mapping(results.get("config")),
        metrics=[steps[step] for step in sorted(steps)],
        completions=completions,
        failures=failures,
        recipe=_text(path / "recipe.yaml"),
        environment=_json(path / "environment.json"),
        lost=lost_steps + lost_samples + lost_failures,
    )


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise Ssl4rlError(f"{path} is not JSON ({error}): run 'ssl4rl eval' or 'ssl4rl train' again") from error
    if not isinstance(value, dict):
        raise Ssl4rlError(f"{path} holds no JSON object: run 'ssl4rl eval' or 'ssl4rl train' again")
    return value


def _lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The JSON objects of a file, one a line, and how many lines were not one."""
    objects, lost = [], 0
    # Not splitlines: what a model says may hold any of the other characters that end a line for Python.
    for line in _text(path).split("\n"):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            objects.append(value)
        else:
            lost += 1
    return objects, lost


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
