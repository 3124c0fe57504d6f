"""The score of a completion, from the record alone."""

import functools
import json
import math
from typing import NamedTuple, Protocol

from ssl4rl_core.answers import Answer, load_answer
from ssl4rl_core.errors import TaskError, UsageError
from ssl4rl_core.formats import ResponseFormat
from ssl4rl_core.samples import Record
from ssl4rl_core.tasks import Task


class HasTasks(Protocol):
    """What is needed of a registry here."""

    @property
    def tasks(self) -> dict[str, Task]: ...

    def why_missing(self, task: str) -> str: ...


class Verdict(NamedTuple):
    """What a completion earned. `given` is what stood as its answer, or None when the format was broken."""

    score: float
    format_ok: bool
    given: str | None


def verify(
    record: Record, completion: str, response_format: ResponseFormat, registry: HasTasks, *, prefill: str = ""
) -> Verdict:
    """Score one completion: the answer's score, and 0 when the format is broken.

    Args:
        prefill: what the chat template has already written into the prompt on the model's behalf, such as `<think>`.

    Raises:
        UsageError: the task scores by code of its own, and that is not installed or of another version.
        TaskError: that code gave no number.
    """
    given = response_format.extract(prefill + completion)
    if given is None:
        return Verdict(0.0, False, None)
    answer, task = truth(record, registry)
    score = float(answer.score_text(given) if task is None else task.verify(answer, given))
    if math.isnan(score):
        raise TaskError(f"task {record.task} scores {given[:80]!r} as not a number")
    return Verdict(min(max(score, 0.0), 1.0), True, given)


def near_miss(record: Record, verdict: Verdict, registry: HasTasks) -> str:
    """In what way a wrong answer is nearly right, as `Answer.near` says it, or "".

    Raises:
        UsageError: as `verify` does.
        TaskError: an answer type of the task's own failed.
    """
    if verdict.given is None or verdict.score >= 1:
        return ""
    answer, task = truth(record, registry)
    if task is not None and type(task).verify is not Task.verify:  # which may read and score otherwise
        return "part of the score" if verdict.score > 0 else ""
    try:
        return answer.near_text(verdict.given)
    except Exception as error:
        raise TaskError(f"task {record.task} failed to compare {verdict.given[:80]!r}: {error!r}") from error


def truth(record: Record, registry: HasTasks) -> tuple[Answer, Task | None]:
    """The right answer, and the task where it scores by code of its own.

    Raises:
        UsageError: the task is needed and not at hand or of another version, or the record's answer cannot be read.
    """
    verifier, text = _recorded(record.answer)
    if not verifier:
        return _answer(text, ()), None
    task = registry.tasks.get(verifier)
    if task is None or task.version != record.version:
        found = "it is not installed" if task is None else f"version {task.version} is installed"
        why = "" if task else registry.why_missing(verifier)
        raise UsageError(
            f"samples of task {verifier} version {record.version} are scored by the task's own code, and "
            + (why or f"{found}: pip install ssl4rl-task-{verifier}")
        )
    return _answer(text, tuple(task.answer_types)), task


@functools.lru_cache(maxsize=4096)
def _recorded(text: str) -> tuple[str, str]:
    """The task whose own code scores this answer, or "", and the answer without that mark."""
    if '"verifier":' not in text:  # inside a string of JSON, the quotes would be escaped
        return "", text
    try:
        fields = json.loads(text)
        return str(fields.pop("verifier", "")), json.dumps(fields)
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise UsageError(f"not a recorded answer: {text[:200]!r}") from error


_answer = functools.lru_cache(maxsize=4096)(load_answer)
