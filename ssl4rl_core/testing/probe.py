"""A blind probe: can the answer be guessed from what a model sees besides the content?

Gradient boosting on sizes of pictures, lengths of the question, numbers and options in it, and ids, with folds that
keep a group's samples together. The question leaks where this beats the best constant guess by more than luck would.
The same may be asked of any other features of a sample.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ssl4rl_core.errors import MissingExtra, UsageError
from ssl4rl_core.intervals import interval
from ssl4rl_core.samples import Record, Sample
from ssl4rl_core.testing.significance import SIGNIFICANCE, above_zero, holm, matched

if TYPE_CHECKING:
    import numpy as np
    from sklearn.ensemble import HistGradientBoostingClassifier

Features = Callable[[Sample], Mapping[str, float]]

ADVANTAGE = 0.03
FOLDS = 5
MAX_CLASSES = 32
"""Rarer answers than the most frequent ones are probed as one class."""
MAX_NUMBERS, MAX_PARTS = 16, 12


@dataclass(frozen=True)
class ProbeResult:
    """What a blind guesser reached on one config.

    A permutation is probed place by place; then these are the figures of the place that gives itself away most.
    """

    config: str
    n: int
    """Samples."""
    score: float
    """Share of answers guessed right, out of fold, in [0, 1]."""
    chance: float
    """Share that the best constant guess gets right."""
    p_value: float
    """One-sided: how likely luck does as well; adjusted (Holm) for the places, and the configs, probed together.

    Of two tests: whether the guess of a group's samples beats the constant one, the groups being what is independent;
    and whether guesses tell the variants of an item apart, which few items can show too.
    """
    interval: tuple[float, float]
    """The 95 % interval of the score; of what is independent, groups and not their samples."""

    @property
    def passes(self) -> bool:
        """False where the probe beats chance with p < 0.001 and by 3 points or more."""
        return self.p_value >= SIGNIFICANCE or self.score - self.chance < ADVANTAGE


def blind_features(sample: Sample) -> dict[str, float]:
    """All that can be told without looking at a picture or understanding the text."""
    record, features = sample.record, {"variant": float(sample.record.variant), "images": float(len(sample.images))}
    first = sample.images[0].size if sample.images else (1, 1)
    for number, image in enumerate(sample.images):
        width, height = image.size
        features |= {
            f"image {number} width": width,
            f"image {number} height": height,
            f"image {number} aspect": width / height,
            # Vision models of the Qwen2-VL kind see one token for each 28 x 28 pixels.
            f"image {number} tokens": -(-width // 28) * -(-height // 28),
            f"image {number} width to first": width / first[0],
            f"image {number} height to first": height / first[1],
        }
    features |= _text_features(record)
    numbers = re.findall("[0-9]+", record.item)[-4:]
    features |= {f"id number {place}": float(number[-15:]) for place, number in enumerate(reversed(numbers))}
    features |= {f"id bucket {size}": _bucket(record.item, size) for size in (2, 5, 16)}
    features["id folder"] = _bucket(record.item.rpartition("/")[0], 16)
    return features


def probe(samples: Iterable[Sample], features: Features = blind_features) -> ProbeResult:
    """Probe samples of one config; only what is needed of each is kept.

    Raises:
        UsageError: fewer than 5 groups of items, more than one config, or always the same answer.
        MissingExtra: scikit-learn is not installed.
    """
    seen = [(sample.record, features(sample)) for sample in samples]
    return probe_rows([record for record, _ in seen], [row for _, row in seen])


def probe_rows(records: Sequence[Record], rows: Sequence[Mapping[str, float]]) -> ProbeResult:
    """Probe samples of one config by their records and their features; raises as `probe` does."""
    if len({record.group for record in records}) < FOLDS:
        raise UsageError(f"a probe needs samples of {FOLDS} or more unrelated items: give it a larger source")
    configs = sorted({record.config for record in records})
    if len(configs) > 1:
        raise UsageError(f"a probe takes samples of one config at a time, got {', '.join(configs)}")
    targets = [_few(target) for target in _targets(records)]
    if any(len(set(target)) < 2 for target in targets):
        raise UsageError(f"{configs[0]} always has the same answer: there is nothing to guess")
    table = _table(rows)
    results = [_probe_target(records, table, target) for target in targets]
    return min(adjusted(results), key=lambda result: (result.passes, result.p_value, result.chance - result.score))


def probe_all(configs: Iterable[Iterable[Sample]]) -> list[ProbeResult]:
    """Probe several configs, with p values adjusted for there being several."""
    return adjusted([probe(samples) for samples in configs])


def adjusted(results: Sequence[ProbeResult]) -> list[ProbeResult]:
    """The same results, with p values adjusted (Holm) for there being several."""
    p_values = holm([result.p_value for result in results])
    return [replace(result, p_value=p_value) for result, p_value in zip(results, p_values, strict=True)]


def new_classifier() -> "HistGradientBoostingClassifier":
    """What guesses, not yet trained.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier
    except ImportError as error:
        raise MissingExtra("the blind probe", "audit", error) from error

    # Left to itself it stops early from 10,000 samples on, and then fails on an answer that occurs once.
    early: Any = False
    return HistGradientBoostingClassifier(max_iter=40, max_leaf_nodes=15, early_stopping=early, random_state=0)


def _probe_target(records: Sequence[Record], table: "np.ndarray", target: list[str]) -> ProbeResult:
    classifier = new_classifier()
    from sklearn.model_selection import GroupKFold, cross_val_predict

    groups = [record.group for record in records]
    guesses = list(map(str, cross_val_predict(classifier, table, target, groups=groups, cv=GroupKFold(FOLDS))))
    ((constant, frequent),) = Counter(target).most_common(1)
    right = [guess == answer for guess, answer in zip(guesses, target, strict=True)]
    gains = [float(hit - (answer == constant)) for hit, answer in zip(right, target, strict=True)]
    within = matched(zip((record.item for record in records), guesses, target, strict=True))
    p_value = min(1.0, 2 * min(above_zero(gains, groups), within))
    score, chance = sum(right) / len(target), frequent / len(target)
    bounds = interval(list(map(float, right)), groups)
    return ProbeResult(records[0].config, len(target), score, chance, p_value, bounds)


def _targets(records: Sequence[Record]) -> list[list[str]]:
    """What is to be guessed of each sample: its answer, a permutation's places, or the number of the right option."""
    answers: list[dict[str, Any]] = [json.loads(record.answer) for record in records]
    if all(answer["kind"] == "permutation" for answer in answers):
        return [list(map(str, place)) for place in zip(*(answer["order"] for answer in answers), strict=True)]
    if all(answer["kind"] == "choice" for answer in answers) and len({tuple(a["options"]) for a in answers}) > 1:
        return [[str(answer["options"].index(answer["value"])) for answer in answers]]
    return [[record.answer_text for record in records]]


def _few(target: list[str]) -> list[str]:
    kept = {answer for answer, _ in Counter(target).most_common(MAX_CLASSES)}
    return [answer if answer in kept else "another" for answer in target]


def _text_features(record: Record) -> dict[str, float]:
    parts = record.content()
    features = {
        "characters": float(len(record.question)),
        "tokens": float(len(re.findall(r"\w+|[^\w\s]", record.question))),
        "parts": float(len(parts)),
    }
    for place, part in enumerate(parts[:MAX_PARTS]):
        features[f"part {place} length"] = float(len(part.get("text", ""))) if part["type"] == "text" else -1.0
    for place, number in enumerate(re.findall("[0-9]+", record.question)[:MAX_NUMBERS]):
        features[f"number {place}"] = float(number[:15])
    options = json.loads(record.answer).get("options", ())
    # A task's own answer type may have options that are no texts.
    for rank, option in enumerate(sorted(options, key=str)):
        features[f"place of option {rank}"] = float(options.index(option))
        features[f"length of option {options.index(option)}"] = float(len(str(option)))
    return features


def _bucket(text: str, size: int) -> float:
    return float(
        int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest()) % size
    )


def _table(rows: Sequence[Mapping[str, float]]) -> "np.ndarray":
    """The features as columns, those that never vary left out; -1 where a sample lacks one.

    Not NaN: the classifier fails on a column that has nothing else in some fold.
    """
    import numpy as np

    names = sorted({name for row in rows for name in row})
    table = np.array([[row.get(name, -1.0) for name in names] for row in rows], dtype=float)
    varies = [len(np.unique(column)) > 1 for column in table.T]
    # A classifier needs a column, even where nothing varies.
    return table[:, varies] if any(varies) else table[:, :1]
