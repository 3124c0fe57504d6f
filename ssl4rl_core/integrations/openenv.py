"""An environment server for OpenEnv (https://github.com/huggingface/OpenEnv), whose clients many trainers have.

A file app.py of two lines is the server, here and in a container:

    from ssl4rl_core.integrations.openenv import create_app
    app = create_app(task="rotation:easy", source="folder:photos")

    uvicorn app:app --port 8000

An episode is one question: `reset` gives the message that asks it, `step` takes the completion and gives the reward.
A client needs nothing of ours: OpenEnv's `GenericEnvClient` sends `{"completion": "..."}`.
"""

# The package cannot be installed beside verifiers, whose pins contradict it.
# pyright: reportMissingImports=false

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from ssl4rl_core.errors import Ssl4rlError, UsageError
from ssl4rl_core.integrations.in_turn import Asked, InTurn
from ssl4rl_core.plugins import registry
from ssl4rl_core.samples import Split
from ssl4rl_core.tasks import Skip
from ssl4rl_core.training.endpoint import said
from ssl4rl_core.training.recipe import DataSettings, RewardSettings, checked
from ssl4rl_core.training.rewards import Judge

try:
    from openenv.core.env_server.http_server import create_app as serve
    from openenv.core.env_server.interfaces import Environment
    from openenv.core.env_server.types import Action, Observation, State
except ImportError as error:
    raise Ssl4rlError(f"an environment for OpenEnv needs that package ({error}): pip install openenv") from error

if TYPE_CHECKING:
    from fastapi import FastAPI

# Draws that meet only items which cannot become a question; then there is something wrong with the source.
_DRAWS = 1000


class Completion(Action):
    """What the model answered."""

    completion: str
    reasoning: str | None = None
    """What a server took out of the completion as its reasoning."""


class Question(Observation):
    """A question; after `step`, what its answer earned: `reward` is the weighted sum of `rewards`."""

    messages: list[dict[str, Any]] = []
    """The user's message, as OpenAI's API has it: pictures are data URLs; empty after `step`."""
    key: str = ""
    """Config, item and variant: what names a sample in a build, too."""
    chance: float = Field(default=0.0, description="expected score of the best guesser who does not look")
    rewards: dict[str, float] = {}
    """`answer` and `format`, each in [0, 1]; empty before `step`."""


class Questions(Environment[Completion, Question, State]):
    """A session: asks one question at a time, of those that all sessions share."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, questions: InTurn, lock: threading.Lock, judge: Judge, weights: RewardSettings) -> None:
        super().__init__()
        self._questions, self._lock, self._judge, self._weights = questions, lock, judge, weights
        self._rng = np.random.default_rng()
        self._asked: Asked | None = None
        self._state = State()

    def reset(
        self, seed: int | None = None, episode_id: str | None = None, index: int | None = None, **_: Any
    ) -> Question:
        """Ask question `index`, or one that is drawn.

        Args:
            seed: of this draw and those after it. The same seed asks the same question of every session, which the
                completions of a group need.

        Raises:
            UsageError: there is no such question.
        """
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        self._asked = None
        self._asked = asked = self._draw() if index is None else self._question(index)
        self._state = State(episode_id=episode_id)
        return Question(
            messages=[{"role": "user", "content": asked.content}], key=asked.key, chance=asked.record.chance
        )

    def step(self, action: Completion, timeout_s: float | None = None, **_: Any) -> Question:
        """Score the answer, which ends the episode.

        Raises:
            UsageError: there is no question to answer.
        """
        if self._asked is None:
            raise UsageError("there is no question to answer: reset first, in the same session (OpenEnv's WebSocket)")
        record, key, self._asked = self._asked.record, self._asked.key, None
        verdict = self._judge(record, said(action.completion, action.reasoning, self._judge))
        rewards = {"answer": verdict.score, "format": float(verdict.format_ok)}
        self._state.step_count += 1
        reward = sum(getattr(self._weights, name) * value for name, value in rewards.items())
        return Question(done=True, reward=reward, key=key, chance=record.chance, rewards=rewards)

    @property
    def state(self) -> State:
        """The episode's id, and whether its question was answered: 0 or 1 steps."""
        return self._state

    def list_splits(self) -> list[str]:
        """The one split that is asked about."""
        return [self._questions.split]

    def num_tasks(self, split: str) -> int:
        """How many questions there are to `reset` to by `index`."""
        return len(self._questions) if split == self._questions.split else 0

    def _question(self, number: int) -> Asked:
        try:
            with self._lock:  # sessions have threads of their own, and rendering is not made for that
                return self._questions[number]
        except (IndexError, Skip) as error:
            raise UsageError(f"question {number} cannot be asked: {error}") from error

    def _draw(self) -> Asked:
        for number in self._rng.integers(len(self._questions), size=_DRAWS):
            try:
                with self._lock:
                    return self._questions[int(number)]
            except Skip:
                continue
        raise UsageError(f"no question can be asked: {_DRAWS} items that were drawn cannot become one")


def sessions(
    task: str | Sequence[str] = (),
    source: str | None = None,
    *,
    split: Split = "train",
    format: str = "think_answer",
    prefill: str = "",
    answer_weight: float = RewardSettings().answer,
    format_weight: float = RewardSettings().format,
    **data: Any,
) -> Callable[[], Questions]:
    """What opens sessions over the questions of one or more tasks.

    Args:
        task: NAME[:LEVEL][?param=value], one or several; none means all configs of a build.
        source: kind:where?option=value; samples are rendered when they are asked for.
        format: name of the response format that is asked for.
        prefill: what the chat template writes on the model's behalf, such as `<think>`.
        data: fields of a recipe's `data`, such as `build`, the folder of a build, in place of `source`.

    Raises:
        UsageError: the data, a task or the format does not exist, or options do not fit together.
    """
    settings = checked(DataSettings, source=source, **data)
    weights = checked(RewardSettings, answer=answer_weight, format=format_weight)
    questions = InTurn(settings, [task] if isinstance(task, str) else list(task), split, format)
    judge, lock = Judge(questions.format, registry(), prefill=prefill), threading.Lock()
    return lambda: Questions(questions, lock, judge, weights)


def create_app(
    task: str | Sequence[str] = (), source: str | None = None, *, most: int = 64, **options: Any
) -> "FastAPI":
    """The server of one or more tasks.

    Args:
        most: clients at a time; the next one is refused.
        task, source, options: as for `sessions`, which says what they raise.
    """
    opener = sessions(task, source, **options)
    return serve(opener, Completion, Question, env_name="ssl4rl", max_concurrent_envs=most)
