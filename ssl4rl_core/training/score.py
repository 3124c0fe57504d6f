"""Scoring completions that any other system made.

A line of the file is a JSON object with `completion`, the text, and with what names its sample: either `record`, the
sample's whole record as KEY.json of a build holds it, or `config` (or `task` and `level`), `item`, and `variant` (0
where it is left out). `id`, any JSON, is handed on. Several completions to one sample are scored each.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from ssl4rl_core.errors import UsageError
from ssl4rl_core.pydantic_errors import first_problem
from ssl4rl_core.samples import Record, SampleSet
from ssl4rl_core.tasks import Skip
from ssl4rl_core.training.evaluate import Scored, by_config, summary
from ssl4rl_core.training.rewards import Judge
from ssl4rl_core.training.run_folder import Result


class Line(BaseModel):
    """A completion and what names its sample; other keys are let be."""

    model_config = ConfigDict(extra="ignore")

    completion: str
    id: Any = None
    config: str = ""
    task: str = ""
    level: str = ""
    item: str = ""
    variant: int = 0
    record: Record | None = None

    @model_validator(mode="after")
    def _names_a_sample(self) -> "Line":
        if self.record is None and not (self.item and (self.config or (self.task and self.level))):
            raise ValueError("name the sample: config and item (and variant), or the whole record")
        named = f"{self.task}-{self.level}"
        if self.config and self.task and self.config != named and (self.level or not self.config.startswith(named)):
            at = f" at level {self.level}" if self.level else ""
            raise ValueError(f"config {self.config} is not of task {self.task}{at}")
        return self

    @property
    def key(self) -> "Key":
        return Key(self.config or f"{self.task}-{self.level}", self.item, self.variant)


class Key(NamedTuple):
    """What names a sample in a build, whatever its split: an item is in one only."""

    config: str
    item: str
    variant: int


class Problem(NamedTuple):
    """A line that was not scored, and why."""

    line: int
    reason: str


class LineScore(NamedTuple):
    """A line that was."""

    line: int
    id: Any
    scored: Scored


class Scores(NamedTuple):
    """All lines, scored or not, in the file's order, and a result for each config."""

    lines: list[LineScore]
    problems: list[Problem]
    results: list[Result]


def score(path: str | Path, judge: Judge, samples: SampleSet | None = None, *, model: str = "") -> Scores:
    """Score a file of completions against the samples that they answer.

    Args:
        samples: where samples are looked up that a line names without its record.
        model: name of what made the completions, for the results.

    Raises:
        UsageError: the file cannot be read.
    """
    read, problems = _read(Path(path))
    wanted = {line.key for _, line in read if line.record is None}
    records = _records(samples, wanted) if samples is not None else {}
    lines: list[LineScore] = []
    for number, line in read:
        record = line.record or records.get(line.key)
        if record is None:
            problems.append(Problem(number, _unmatched(line.key, samples)))
        else:
            lines.append(LineScore(number, line.id, Scored(record, judge(record, line.completion))))
    results = [summary(scored, model=model) for scored in by_config(line.scored for line in lines).values()]
    return Scores(lines, sorted(problems), results)


def score_rows(scores: Scores) -> Iterator[dict[str, Any]]:
    """What is known of every scored line, as JSON values."""
    for line in scores.lines:
        record, verdict = line.scored.record, line.scored.verdict
        yield {
            "line": line.line,
            "id": line.id,
            "config": record.config,
            "item": record.item,
            "variant": record.variant,
            "score": verdict.score,
            "format_ok": verdict.format_ok,
            "given": verdict.given,
            "answer_text": record.answer_text,
        }


def _read(path: Path) -> tuple[list[tuple[int, Line]], list[Problem]]:
    lines: list[tuple[int, Line]] = []
    problems: list[Problem] = []
    try:
        with path.open("rb") as file:
            for number, text in enumerate(file, start=1):
                if not text.strip():
                    continue
                try:
                    lines.append((number, Line.model_validate(json.loads(text))))
                except ValidationError as error:
                    problems.append(Problem(number, first_problem(error)))
                except (ValueError, RecursionError):
                    problems.append(Problem(number, "not a JSON object in UTF-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    return lines, problems


def _records(samples: SampleSet, wanted: Iterable[Key]) -> dict[Key, Record]:
    """The records of these samples; one pass over the configs that are named, both splits."""
    wanted = set(wanted)
    # Of a build, the pictures are left as they are stored: nothing here looks at them.
    sample = getattr(samples, "stored", samples.sample)
    found: dict[Key, Record] = {}
    for config in sorted({key.config for key in wanted} & set(samples.configs)):
        for split in ("train", "test"):
            for index in range(samples.size(config, split)):
                try:
                    record = sample(config, split, index).record
                except Skip:
                    continue
                key = Key(config, record.item, record.variant)
                if key in wanted:
                    found[key] = record
    return found


def _unmatched(key: Key, samples: SampleSet | None) -> str:
    if samples is None:
        return "it names a sample, and there is no data to find it in: give --data, or lines with records"
    if key.config not in samples.configs:
        return f"no config {key.config!r} in the data"
    return f"no sample of {key.config} with item {key.item!r} and variant {key.variant}"
