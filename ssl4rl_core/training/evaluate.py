"""Held-out accuracy: what a model answers to questions, and how that compares with chance."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ssl4rl_core.errors import UsageError
from ssl4rl_core.plugins import registry
from ssl4rl_core.samples import Sample, SampleSet, Split
from ssl4rl_core.tasks import Skip
from ssl4rl_core.training.intervals import interval
from ssl4rl_core.training.prompts import Prompter
from ssl4rl_core.training.rewards import Judge, config_name
from ssl4rl_core.training.run_folder import Result
from ssl4rl_core.training.stream import shuffled
from ssl4rl_core.verification import Verdict

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Outcome:
    """One question, what the model said, and what that earned."""

    config: str
    index: int
    sample: Sample
    completion: str
    verdict: Verdict


@dataclass(frozen=True)
class Evaluator:
    """How a model is asked.

    Attributes:
        limit: questions of each config, a fixed choice among all; None for all of them.
        temperature: 0 for greedy decoding; above, one completion is sampled from the fixed seed.
    """

    prompter: Prompter
    judge: Judge
    batch_size: int = 32
    max_tokens: int = 256
    temperature: float = 0.0
    limit: int | None = None
    split: Split = "test"
    seed: int = 0

    def outcomes(self, model: Any, samples: SampleSet, config: str) -> Iterator[Outcome]:
        """The model's answers to the questions of one config, a batch at a time; what cannot be asked is left out."""
        batch: list[tuple[int, Sample]] = []
        for index in self.indices(samples, config):
            try:
                batch.append((index, samples.sample(config, self.split, index)))
            except Skip:
                continue
            if len(batch) == self.batch_size:
                yield from self._ask(model, config, batch)
                batch = []
        if batch:
            yield from self._ask(model, config, batch)

    def indices(self, samples: SampleSet, config: str) -> list[int]:
        """The numbers of the questions, in ascending order."""
        size = samples.size(config, self.split)
        if self.limit is None or self.limit >= size:
            return list(range(size))
        return sorted(shuffled(position, size, key=0) for position in range(self.limit))

    def _ask(self, model: Any, config: str, batch: Sequence[tuple[int, Sample]]) -> Iterator[Outcome]:
        texts = self._complete(model, [sample for _, sample in batch])
        for (index, sample), text in zip(batch, texts, strict=True):
            yield Outcome(config, index, sample, text, self.judge(sample.record, text))

    def _complete(self, model: Any, samples: Sequence[Sample]) -> list[str]:
        import torch

        inputs = {
            name: value.to(model.device)
            for name, value in self.prompter.encode([self.prompter.conversation(sample) for sample in samples]).items()
        }
        with torch.no_grad(), torch.random.fork_rng(devices=_devices(model.device)):
            torch.manual_seed(self.seed)
            tokens = model.generate(
                **inputs,
                max_new_tokens=self.max_tokens,
                pad_token_id=self.prompter.tokenizer.pad_token_id,
                eos_token_id=self.prompter.ends,
                repetition_penalty=1.0,
                **_sampling(self.temperature),
            )
        prompt = inputs["input_ids"].shape[1]
        return [self.prompter.decode(row[prompt:].tolist()) for row in tokens]


def evaluate(
    model: Any,
    samples: SampleSet,
    configs: Sequence[str],
    evaluator: Evaluator,
    *,
    name: str = "",
    stage: str = "end",
    downstream: bool = False,
    each: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Result]:
    """Accuracy of a model on each config, beside chance, with a 95 % interval.

    Args:
        name: of the model, for the results.
        stage: "start", "format" or "end".
        downstream: mark the results as those of questions that are never a reward, as those of a downstream task are.
        each: called with every outcome, as it comes.

    Raises:
        UsageError: a config has no samples in the split, or none that can be asked.
    """
    results = []
    training = model.training
    model.eval()
    try:
        for config in configs:
            if samples.size(config, evaluator.split) == 0:
                raise UsageError(
                    f"there are no {evaluator.split} samples of {config}: build with a larger test fraction"
                )
            started = time.perf_counter()
            outcomes = []
            for outcome in evaluator.outcomes(model, samples, config):
                each(outcome)
                outcomes.append(Scored(outcome.sample.record, outcome.verdict))
            if not outcomes:
                raise UsageError(f"none of the {evaluator.split} samples of {config} can be asked")
            result = summary(outcomes, model=name, stage=stage, seconds=time.perf_counter() - started)
            results.append(result.model_copy(update={"downstream": downstream or result.downstream}))
    finally:
        model.train(training)
    return results


@dataclass(frozen=True)
class Scored:
    """A record and the verdict on a completion to it."""

    record: Any
    verdict: Verdict


def summary(scored: Iterable[Scored], *, model: str = "", stage: str = "end", seconds: float | None = None) -> Result:
    """The result of one or more outcomes of one config."""
    scored = list(scored)
    scores = [each.verdict.score for each in scored]
    low, high = interval(scores, [each.record.item for each in scored])
    record = scored[0].record
    return Result(
        task=record.task,
        level=record.level,
        model=model,
        stage=stage,
        n=len(scored),
        accuracy=sum(scores) / len(scores),
        low=low,
        high=high,
        chance=sum(each.record.chance for each in scored) / len(scored),
        format_rate=sum(each.verdict.format_ok for each in scored) / len(scored),
        seconds=None if seconds is None else round(seconds, 3),
        source=record.source,
        downstream=record.task in registry().tasks and not registry().task(record.task).reward,
    )


def by_config(scored: Iterable[Scored]) -> dict[str, list[Scored]]:
    """Scored completions under the name of their config, in order of first appearance."""
    found: dict[str, list[Scored]] = {}
    for each in scored:
        found.setdefault(config_name(each.record), []).append(each)
    return found


def _sampling(temperature: float) -> dict[str, Any]:
    """Options of `generate`; the model's own habits of sampling are set aside."""
    if temperature == 0:
        return {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    return {"do_sample": True, "temperature": temperature, "top_p": 1.0, "top_k": 0}


def _devices(device: "torch.device") -> list[Any]:
    return [device] if device.type == "cuda" else []
