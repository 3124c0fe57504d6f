"""What was learnt without labels, measured where it was never a reward: one table of models and downstream tasks.

A downstream task is either a few-shot linear probe on frozen vision features (`digits`, `faces`) or the multiple-choice
questions of a source (`mmbench:FILE`). All models get the same labelled pictures and the same questions, so that the
change from the first model, the one before training, is judged item by item.
"""

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import Field

from ssl4rl_core.configs import query_values
from ssl4rl_core.errors import UsageError
from ssl4rl_core.formats import ResponseFormat
from ssl4rl_core.intervals import Z, interval, wilson
from ssl4rl_core.plugins import registry
from ssl4rl_core.training.evaluate import Evaluator
from ssl4rl_core.training.linear_probe import (
    DATASETS,
    SHOTS,
    LabelledPictures,
    labelled_pictures,
    probe,
    vision_features,
)
from ssl4rl_core.training.models import Loaded, dtype_of, load_model, need_training
from ssl4rl_core.training.multiple_choice import Questions, ask, open_questions
from ssl4rl_core.training.progress import Advance, Display, quietly
from ssl4rl_core.training.prompts import Prompter
from ssl4rl_core.training.recipe import ModelSettings
from ssl4rl_core.training.rewards import Judge
from ssl4rl_core.training.run_folder import Result


class Transfer(Result):
    """A model's result on a downstream task; the first model's stage is "start" where there are several."""

    change: float | None = None
    """Accuracy less that of the first model."""
    change_low: float | None = None
    change_high: float | None = None
    """95 % interval of the change, from the differences item by item (normal approximation)."""
    by_draw: list[float] = Field(default_factory=list)
    """Of a probe: accuracy for each draw of labelled pictures."""


@dataclass(frozen=True)
class Asking:
    """How questions are asked; a probe asks none. What is None was not given.

    Attributes:
        response_format: by default think_answer.
        batch_size: questions at once, by default 16.
        max_tokens: longest completion, by default 1024.
        limit: questions of each source, a fixed choice among all; by default all.
    """

    response_format: str | None = None
    batch_size: int | None = None
    max_tokens: int | None = None
    limit: int | None = None


class Downstream(Protocol):
    """A downstream task, opened."""

    steps: int
    """What its progress counts up to."""

    def measure(self, loaded: Loaded, advance: Advance) -> tuple[Transfer, Mapping[str, float]]:
        """A model's result, and its score in [0, 1] for each item."""
        ...


def transfer(
    models: Sequence[ModelSettings],
    downstream: Sequence[str],
    asking: Asking | None = None,
    *,
    verbose: bool = False,
    display: Display | None = None,
) -> list[Transfer]:
    """Accuracy of models on downstream tasks, beside chance, and how it changed from the first model.

    Args:
        downstream: `digits`, `faces`, each with `?shots=N` if wanted, or a source of questions, `mmbench:FILE`.

    Returns:
        One result a task and model, by task.

    Raises:
        MissingExtra: the extra 'train', or 'embedded' for a probe, is not installed.
        UsageError: a model, a task, a source or the format does not exist, a model sees no pictures, the models see
            them at other sizes, or there are no questions to ask as `asking` says.
    """
    need_training("transfer")
    asking, display = asking or Asking(), display or Display()
    if not models or not downstream:
        raise UsageError("transfer needs a model and a downstream task: " + ", ".join([*DATASETS, "mmbench:FILE"]))
    with quietly(verbose):
        tasks = [open_downstream(spec, asking) for spec in downstream]
        given = [name for name, value in vars(asking).items() if value is not None]
        if given and all(isinstance(task, _Probe) for task in tasks):
            options = ", ".join("--" + name.removeprefix("response_").replace("_", "-") for name in given)
            raise UsageError(f"a probe asks no questions: leave out {options}")
        _check_sizes(models)
        models = _of_one_precision(models)
        found: list[list[tuple[Transfer, Mapping[str, float]]]] = [[] for _ in tasks]
        for number, settings in enumerate(models):
            loaded = load_model(settings)
            # Of one model there is no before and after.
            stage = "start" if number == 0 and len(models) > 1 else "end"
            for task, results in zip(tasks, found, strict=True):
                started = time.perf_counter()
                with display.phase(settings.name, task.steps) as advance:
                    result, scores = task.measure(loaded, advance)
                told = {"model": settings.name, "stage": stage, "seconds": round(time.perf_counter() - started, 3)}
                if results:
                    told |= _change(result.accuracy - results[0][0].accuracy, results[0][1], scores)
                results.append((result.model_copy(update=told), scores))
            del loaded  # two models need not fit in memory together
    return [result for results in found for result, _ in results]


def _check_sizes(models: Sequence[ModelSettings]) -> None:
    """Raise UsageError where models would see a picture at other sizes: a change would be of the pictures too."""
    from transformers import AutoImageProcessor

    seen: list[tuple[str, dict[str, int]]] = []
    for settings in models if len(models) > 1 else ():
        try:
            processor = AutoImageProcessor.from_pretrained(settings.name, trust_remote_code=False)
        except (OSError, ValueError, KeyError, ImportError):
            continue  # there is no such model, or it has no eyes: loading it will say so
        size = dict(getattr(processor, "size", None) or {})
        bounds = {"shortest_edge": settings.min_pixels, "longest_edge": settings.max_pixels}
        # Areas, in the way of the Qwen2-VL family; what other families do to a picture cannot be made the same.
        if bounds.keys() <= size.keys():
            size |= {edge: pixels for edge, pixels in bounds.items() if pixels is not None}
            seen.append((settings.name, {edge: size[edge] for edge in bounds}))
    for name, size in seen[1:]:
        first, other = seen[0]
        if size != other:
            flags = {"shortest_edge": "--min-pixels", "longest_edge": "--max-pixels"}
            mend = " ".join(f"{flags[edge]} {pixels}" for edge, pixels in size.items() if pixels != other[edge])
            shown = [f"{each['shortest_edge']} to {each['longest_edge']} pixels" for each in (other, size)]
            raise UsageError(f"{first} sees pictures of {shown[0]}, {name} of {shown[1]}: show all the same by {mend}")


def _of_one_precision(models: Sequence[ModelSettings]) -> list[ModelSettings]:
    """The models in float32 where "auto" would compute with them in several types: a change would be of rounding too.

    A base is published in bfloat16, and what was trained of it in mixed precision is saved in float32.
    """
    found = {dtype_of(settings) for settings in models} if len(models) > 1 else set()
    alike = {"dtype": "float32"} if len(found) > 1 else {}
    return [settings.model_copy(update=alike if settings.dtype == "auto" else {}) for settings in models]


def open_downstream(spec: str, asking: Asking) -> Downstream:
    """The task of a spec; raises as `transfer` does."""
    name = spec.partition("?")[0]
    if name in DATASETS:
        return _Probe(spec, labelled_pictures(name), _shots(spec))
    if ":" not in name:
        raise UsageError(f"no downstream task {spec!r}: write {', '.join(DATASETS)} or a source, as mmbench:FILE")
    response_format = registry().format(asking.response_format or "think_answer")
    return _Choice(open_questions(registry().source(spec), limit=asking.limit), asking, response_format)


def _shots(spec: str) -> int:
    options = query_values(spec)
    shots = options.pop("shots", str(SHOTS))
    if options or not shots.isdecimal() or int(shots) < 1:
        raise UsageError(f"{spec!r}: a probe takes shots=N alone, labelled pictures a class, 1 or more")
    return int(shots)


class _Probe:
    def __init__(self, spec: str, pictures: LabelledPictures, shots: int) -> None:
        self._spec, self._pictures, self._shots = spec, pictures, shots
        self.steps = len(pictures.images)

    def measure(self, loaded: Loaded, advance: Advance) -> tuple[Transfer, Mapping[str, float]]:
        features = vision_features(loaded, self._pictures.images, advance=advance)
        score = probe(features, self._pictures.labels, shots=self._shots)
        result = Transfer(
            task="linear-probe",
            level=f"{self._shots}-shot",
            stage="end",
            n=len(score.scores),
            accuracy=score.accuracy,
            low=score.low,
            high=score.high,
            chance=score.chance,
            source=self._spec.partition("?")[0],
            downstream=True,
            by_draw=list(score.by_draw),
        )
        return result, score.scores


class _Choice:
    def __init__(self, questions: Questions, asking: Asking, response_format: ResponseFormat) -> None:
        self._questions, self._asking, self._format = questions, asking, response_format
        items = questions.samples.size(questions.config, "test") // questions.turns
        self.steps = min(items, questions.limit or items)

    def measure(self, loaded: Loaded, advance: Advance) -> tuple[Transfer, Mapping[str, float]]:
        asking, questions, response_format = self._asking, self._questions, self._format
        ends = loaded.model.generation_config.eos_token_id
        prompter = Prompter(loaded.processor, response_format, registry(), ends=ends)
        judge = Judge(response_format, registry(), prefill=prompter.prefill)
        batch_size, max_tokens = asking.batch_size or 16, asking.max_tokens or 1024
        evaluator = Evaluator(prompter, judge, batch_size, max_tokens, limit=questions.most_samples)
        choices = ask(loaded.model, questions, evaluator, advance)
        scores = list(choices.scores.values())
        low, high = interval(scores, list(choices.scores))
        result = Transfer(
            task="multiple-choice",
            level="circular" if questions.turns > 1 else "published",
            stage="end",
            n=len(scores),
            accuracy=statistics.fmean(scores),
            low=low,
            high=high,
            chance=choices.chance,
            format_rate=choices.format_rate,
            source=questions.source,
            downstream=True,
        )
        return result, choices.scores


def _change(change: float, before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """A change of accuracy with its interval, whose width is that of the differences of the items both were asked."""
    differences = [score - before[item] for item, score in after.items() if item in before]
    spread = statistics.stdev(differences) if len(differences) > 1 else 0.0
    # Where nothing varied, no difference in n items still leaves room for one: as much as none in n trials does.
    half = Z * spread / math.sqrt(len(differences)) or wilson(0.0, len(differences))[1]
    return {"change": change, "change_low": max(-1.0, change - half), "change_high": min(1.0, change + half)}
