"""The two rewards of a completion, `answer` and `format`, which TRL logs by these names."""

from collections.abc import Callable, Sequence
from typing import Any

from ssl4rl_core.errors import Ssl4rlError, TaskError
from ssl4rl_core.formats import ResponseFormat
from ssl4rl_core.samples import Record
from ssl4rl_core.verification import HasTasks, Verdict, verify

Reward = Callable[..., list[float]]


class Judge:
    """Scores completions to questions asked in one format.

    Args:
        registry: where a task is found that scores by code of its own.
        prefill: what the chat template has written on the model's behalf, such as `<think>`.
    """

    def __init__(self, response_format: ResponseFormat, registry: HasTasks, *, prefill: str = "") -> None:
        self.response_format, self.prefill = response_format, prefill
        self._registry = registry

    def __call__(self, record: Record, completion: str) -> Verdict:
        """The verdict on one completion.

        Raises:
            TaskError: the task's own code failed on it.
            UsageError: the task's own code is needed and missing.
        """
        try:
            return verify(record, completion, self.response_format, self._registry, prefill=self.prefill)
        except Ssl4rlError:
            raise
        except Exception as error:
            raise TaskError(f"task {record.task} failed to verify {completion[:80]!r}: {error!r}") from error


def reward_functions(judge: Judge, decode: Callable[[Sequence[int]], str]) -> list[Reward]:
    """`[answer, format]`, in the form that TRL's GRPOTrainer calls.

    Args:
        decode: from the ids of a completion to its text. TRL's own text of a completion may lack what its tokenizer
            holds for special or for reasoning.
    """

    def answer(completion_ids: list[list[int]], record: list[Record], log_metric: Any = None, **_: Any) -> list[float]:
        """The answer's score, 0 where the format is broken."""
        scores = [judge(each, decode(ids)).score for each, ids in zip(record, completion_ids, strict=True)]
        _log("answer", record, scores, log_metric)
        return scores

    def format(completion_ids: list[list[int]], record: list[Record], log_metric: Any = None, **_: Any) -> list[float]:
        """1 where the completion keeps to the format, whatever it answers."""
        kept = [float(judge(each, decode(ids)).format_ok) for each, ids in zip(record, completion_ids, strict=True)]
        _log("format", record, kept, log_metric)
        return kept

    return [answer, format]


def _log(
    name: str, records: list[Record], values: list[float], log_metric: Callable[[str, float], None] | None
) -> None:
    """Each value under its config, so that TRL's mean over them is exact."""
    if log_metric is not None:
        for record, value in zip(records, values, strict=True):
            log_metric(f"rewards/{name}/{record.config}", value)
