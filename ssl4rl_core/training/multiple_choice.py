"""A benchmark's multiple-choice questions put to a model, scored by exact match of the letter.

Circular evaluation is MMBench's (arXiv 2307.06281): a question is asked once for each turn of its options, and is right
only if every turn is. A model that favours a letter, or guesses anew each time, then earns nothing by it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ssl4rl_core.configs import TaskConfig, parse_config
from ssl4rl_core.errors import UsageError
from ssl4rl_core.plugins import registry
from ssl4rl_core.samples import SampleSet
from ssl4rl_core.sources import Source
from ssl4rl_core.training.evaluate import Evaluator, check_any
from ssl4rl_core.training.progress import Advance

MOST_TURNS = 26
"""Options that have a letter."""
MAX_SIDE = 8192
"""Longer side of pictures, pixels: they are shown as published, within the model's own bounds."""


@dataclass(frozen=True)
class Questions:
    """Questions of a source: every model is asked the same, in the same words.

    Attributes:
        turns: samples an item, at most: above 1 an item is asked in every turn of its options.
        limit: how many items are asked about, a fixed choice among all; None for all.
    """

    samples: SampleSet
    source: str
    config: str
    turns: int
    limit: int | None = None

    @property
    def most_samples(self) -> int | None:
        """`limit` in samples, as an Evaluator takes it."""
        return None if self.limit is None else self.limit * self.turns


@dataclass(frozen=True)
class Choices:
    """What a model made of the questions.

    Attributes:
        scores: by item, 1 where it was right, in every turn if it was asked in all of them, else 0.
        format_rate: share of completions whose format is whole.
        chance: what is earned by always choosing one option by its text, without a look at the picture.
    """

    scores: Mapping[str, float]
    format_rate: float
    chance: float


def open_questions(source: Source, *, limit: int | None = None) -> Questions:
    """The questions of a source, in every turn of their options unless its own `circular` says otherwise.

    Raises:
        UsageError: it has no questions, or no installed task asks them.
    """
    from data_builders.live import LiveSamples

    circular = getattr(source, "circular", True)
    config = _config("turned" if circular else "published")
    turns = MOST_TURNS if circular else 1
    # A benchmark is all held out. Turns differ in their answer, so that balance asks each once.
    options = {"test_fraction": 1.0, "variants": turns, "balance": circular, "max_side": MAX_SIDE}
    samples = LiveSamples(source, [config], **options)
    check_any(samples, config.name, "test")
    return Questions(samples, source.name, config.name, turns, limit)


def ask(
    model: Any,
    questions: Questions,
    evaluator: Evaluator,
    advance: Advance = lambda done, text: None,
) -> Choices:
    """The model's choices.

    Args:
        evaluator: its limit is `questions.most_samples`.
        advance: called after each answer with how many items have been asked and the share of right answers.

    Raises:
        UsageError: none of the questions can be asked.
    """
    scores: dict[str, float] = {}
    chances: dict[str, float] = {}
    whole: list[bool] = []
    right = 0.0
    for outcome in evaluator.outcomes(model, questions.samples, questions.config):
        item, verdict = outcome.sample.record.item, outcome.verdict
        scores[item] = min(scores.get(item, 1.0), verdict.score)
        chances[item] = outcome.sample.record.chance
        whole.append(verdict.format_ok)
        right += verdict.score
        advance(len(scores), f"answers {right / len(whole):.3f}")
    if not scores:
        raise UsageError(f"none of the questions of {questions.config} can be asked")
    return Choices(scores, sum(whole) / len(whole), sum(chances.values()) / len(chances))


def _config(level: str) -> TaskConfig:
    """The installed task that asks a benchmark's questions, at a level."""
    tasks = [task for task in registry().tasks.values() if task.kind == "question" and not task.reward]
    named = [task.name for task in tasks if level in task.levels]
    if not named:
        raise UsageError("no installed task asks multiple-choice questions: pip install ssl4rl-task-multiple-choice")
    return parse_config(f"{named[0]}:{level}", registry())
