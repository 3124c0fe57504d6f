"""Rewards inside verl (https://verl.readthedocs.io), for data that `ssl4rl export verl` wrote.

Give verl this function as its own reward, either of

    reward.custom_reward_function.path=pkg://ssl4rl_core.integrations.verl
    reward.custom_reward_function.path=FOLDER/ssl4rl_core/integrations/verl.py

with `reward.custom_reward_function.name=compute_score` (before verl 0.7: `custom_reward_function.path` and `.name`).
ssl4rl-core must be installed where the rewards are computed, and the plugins of tasks that score by code of their own.
Neither torch nor verl is imported here.
"""

import functools
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from ssl4rl_core.errors import UsageError
from ssl4rl_core.plugins import registry
from ssl4rl_core.pydantic_errors import first_problem
from ssl4rl_core.samples import Record

if TYPE_CHECKING:
    from ssl4rl_core.training.rewards import Judge


class GroundTruth(BaseModel):
    """What a row's `reward_model.ground_truth` holds, as JSON text: all that its completions are scored by."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    record: Record
    """Without its question and parts, which the row's prompt holds."""
    format: str
    """Name of the response format that was asked for."""
    prefill: str
    """What the chat template writes on the model's behalf, such as `<think>`."""
    answer_weight: float
    format_weight: float


def compute_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: dict[str, Any] | None = None, **_: Any
) -> dict[str, float]:
    """The reward of one completion, as verl's reward managers call for it.

    Args:
        solution_str: the completion as text.
        ground_truth: of the row that was answered.

    Returns:
        `score`, the reward: the same number, to the last bit, as TRL makes of the rewards and weights of
        `ssl4rl train`; `answer` and `format`, its parts before they are weighed, in [0, 1]; and the answer's again as
        `acc`, which verl puts first among its validation metrics instead of the reward.

    Raises:
        UsageError: the ground truth is none of ours, or the task's plugin is needed and missing.
        TaskError: the task's own code failed.
    """
    truth, judge = _read(ground_truth)
    verdict = judge(truth.record, solution_str)
    answer, kept = verdict.score, float(verdict.format_ok)
    score = _total(answer, kept, truth.answer_weight, truth.format_weight)
    return {"score": score, "answer": answer, "format": kept, "acc": answer}


def _total(answer: float, kept: float, answer_weight: float, format_weight: float) -> float:
    """The weighted sum in single precision, in which trainers hold rewards."""
    rewards = np.array([answer, kept], dtype=np.float32)
    weights = np.array([answer_weight, format_weight], dtype=np.float32)
    first, second = rewards * weights
    return float(first + second)


# verl calls from several threads, and loading plugins is not made for that.
_LOADING = threading.Lock()


@functools.lru_cache(maxsize=4096)
def _read(ground_truth: str) -> "tuple[GroundTruth, Judge]":
    from ssl4rl_core.training.rewards import Judge

    try:
        truth = GroundTruth.model_validate_json(ground_truth)
    except ValidationError as error:
        raise UsageError(
            f"not a ground truth of ssl4rl ({first_problem(error, whole='all of it')}): "
            "compute_score is for what 'ssl4rl export verl' wrote"
        ) from error
    with _LOADING:
        tasks = registry()
    return truth, Judge(tasks.format(truth.format), tasks, prefill=truth.prefill)
