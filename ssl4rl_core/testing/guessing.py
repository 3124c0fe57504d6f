"""Guessers that do not look, to confirm by measurement what a task says of its chance level."""

from collections.abc import Sequence

import numpy as np

from ssl4rl_core.answers import Answer, load_answer
from ssl4rl_core.samples import Sample


def constant_guess(samples: Sequence[Sample]) -> float:
    """The mean score of one answer, the first sample's, given to all others."""
    guess, *truths = _answers(samples)
    return float(np.mean([truth.score_text(guess.text()) for truth in truths]))


def uniform_guess(samples: Sequence[Sample], seed: int = 0) -> float:
    """The mean score of answers drawn evenly from all that there are."""
    rng = np.random.default_rng(seed)
    return float(np.mean([truth.score_text(truth.draw(rng).text()) for truth in _answers(samples)]))


def _answers(samples: Sequence[Sample]) -> list[Answer]:
    return [load_answer(sample.record.answer) for sample in samples]
