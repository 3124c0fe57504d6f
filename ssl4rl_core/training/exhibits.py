"""Samples of a report with what the model said to them: before and after training, and what went wrong."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ssl4rl_core.pages import Picture
from ssl4rl_core.training.run_folder import STAGE_NAMES, STAGES, Completion, Run

_SAMPLES = 12
_FAILURES = 6
_LARGEST_PICTURE = 320


@dataclass(frozen=True)
class FailureGroup:
    """Answers that went wrong in one way: what the way is called, and samples as cards."""

    group: str
    title: str
    note: str
    samples: list[dict[str, Any]]


_FAILURE_GROUPS = (
    (
        "format",
        "Format broken",
        "No answer, or not exactly one, stood where the format asks for it: nothing is earned.",
    ),
    (
        "near",
        "Nearly right",
        "An angle one step off, of six or more; an order with two places swapped, of four or more; one option too many "
        "or missing, of four or more; of other kinds of answer, whatever earns a part of the score.",
    ),
    ("wrong", "Wrong", "Every other answer, in the right format."),
)


def before_and_after(run: Run) -> list[dict[str, Any]]:
    """The first recorded samples of each config, as cards, with what the run's model said to each at every stage."""
    said: dict[str, dict[str, dict[str, Completion]]] = {}
    for completion in run.completions:
        stages = said.setdefault(completion.config, {}).setdefault(completion.sample, {})
        stages[completion.stage] = completion
    shown = max(2, _SAMPLES // max(len(said), 1))
    return [_card(run, stages) for samples in said.values() for stages in list(samples.values())[:shown]]


def failures(run: Run) -> list[FailureGroup]:
    """What the run's model got wrong at its last stage, by the way it went wrong, a few of each."""
    last = next((stage for stage in reversed(STAGES) if any(each.stage == stage for each in run.completions)), "")
    recorded = run.failures or [each for each in run.completions if each.stage == last]
    groups = []
    for group, title, note in _FAILURE_GROUPS:
        mine = _in_turn([each for each in recorded if each.group == group])
        if mine:
            cards = [_card(run, {each.stage: each}) for each in mine[:_FAILURES]]
            groups.append(FailureGroup(group, title, note, cards))
    return groups


def _in_turn(completions: Sequence[Completion]) -> list[Completion]:
    """One of each config, then the next of each."""
    of: dict[str, list[Completion]] = {}
    for completion in completions:
        of.setdefault(completion.config, []).append(completion)
    return [completion for row in zip_longest(*of.values()) for completion in row if completion is not None]


def _card(run: Run, stages: dict[str, Completion]) -> dict[str, Any]:
    first = next(iter(stages.values()))
    pictures = [_picture(run.path, name) for name in first.images]
    texts = first.question.split("<image>")
    if len(texts) != len(pictures) + 1:  # a question that speaks of "<image>" itself
        texts = ["", *[""] * (len(pictures) - 1), first.question] if pictures else [first.question]
    parts: list[dict[str, Any]] = []
    for place, text in enumerate(texts):
        if place:
            parts.append({"image": pictures[place - 1]})
        if text.strip():
            parts.append({"text": text})
    said = [(STAGE_NAMES[stage], stages[stage]) for stage in STAGES if stage in stages]
    return {
        "config": first.config,
        "id": first.sample,
        "parts": parts,
        "answer": first.answer_text,
        "completions": said,
    }


def _picture(folder: Path, name: str) -> Picture | None:
    """A picture of the run's folder, decoded and encoded again so that nothing but pixels reaches the page."""
    from PIL import Image

    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        return None
    try:
        with Image.open(io.BytesIO(path.read_bytes()), formats=("PNG", "JPEG", "WEBP")) as image:
            image.thumbnail((_LARGEST_PICTURE, _LARGEST_PICTURE))
            return Picture.of(image)
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
