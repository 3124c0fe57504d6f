"""Held-out accuracy: what a model answers to questions, and how that compares with chance."""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ssl4rl_core.errors import UsageError
from ssl4rl_core.intervals import interval
from ssl4rl_core.plugins import registry
from ssl4rl_core.samples import BalancedSet, Record, Sample, SampleSet, Split
from ssl4rl_core.tasks import Skip
from ssl4rl_core.training.prompts import Prompter
from ssl4rl_core.training.rewards import Judge
from ssl4rl_core.training.run_folder import GROUPS, Result, group_of
from ssl4rl_core.training.stream import check_any, shuffled
from ssl4rl_core.verification import Verdict, near_miss

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
        limit: questions of each config, as `chosen` takes it.
        temperature: 0 for greedy decoding; above, one completion is sampled from the fixed seed.
        shared: the processes of a distributed run, each of which holds the model, ask a share of the batches each, and
            all have all outcomes, the same as one process alone would have.
    """

    prompter: Prompter
    judge: Judge
    batch_size: int = 32
    max_tokens: int = 256
    temperature: float = 0.0
    limit: int | None = None
    split: Split = "test"
    seed: int = 0
    shared: bool = False

    def outcomes(self, model: Any, samples: SampleSet, config: str) -> Iterator[Outcome]:
        """The model's answers to the questions of one config, batch by batch; what cannot be asked is left out."""
        indices = self.indices(samples, config)
        batches = [indices[first : first + self.batch_size] for first in range(0, len(indices), self.batch_size)]
        rank, processes = _place() if self.shared else (0, 1)
        for first in range(0, len(batches), processes):
            mine = batches[first + rank] if first + rank < len(batches) else []
            asked = self._askable(samples, config, mine)
            said = list(zip(asked, self._complete(model, list(asked.values())), strict=True))
            for index, text in _gathered(said) if self.shared else said:
                # Another process's, whose pictures weigh more to send than to render again.
                sample = asked[index] if index in asked else samples.sample(config, self.split, index)
                yield Outcome(config, index, sample, text, self.judge(sample.record, text))

    def indices(self, samples: SampleSet, config: str) -> list[int]:
        """The numbers of the questions, in ascending order."""
        return chosen(samples, config, self.split, self.limit)

    def _askable(self, samples: SampleSet, config: str, indices: Iterable[int]) -> dict[int, Sample]:
        found = {}
        for index in indices:
            with contextlib.suppress(Skip):
                found[index] = samples.sample(config, self.split, index)
        return found

    def _complete(self, model: Any, samples: Sequence[Sample]) -> list[str]:
        import torch

        if not samples:
            return []
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


def chosen(samples: SampleSet, config: str, split: Split, limit: int | None = None) -> list[int]:
    """The numbers of the samples that are asked about, in ascending order: a fixed choice from all over the split.

    Where samples are balanced, whole items are taken, as many as stay within `limit` (one at least): parts of them
    would have one answer more often than another, and a model that always says it would seem to know something.
    Elsewhere single samples are, which gives more items and so a narrower interval.

    Args:
        limit: how many samples; None for all of them.
    """
    size = samples.size(config, split)
    if limit is None or limit >= size:
        return list(range(size))
    taken: set[int] = set()
    for position in range(size):
        index = shuffled(position, size, key=0)
        if index in taken:
            continue
        item = samples.balanced(config, split, index) if isinstance(samples, BalancedSet) else range(index, index + 1)
        if taken and len(taken) + len(item) > limit:
            break
        taken.update(item)
    return sorted(taken)


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
            check_any(samples, config, evaluator.split)
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

    record: Record
    verdict: Verdict


def summary(scored: Iterable[Scored], *, model: str = "", stage: str = "end", seconds: float | None = None) -> Result:
    """The result of one or more outcomes of one config."""
    scored = list(scored)
    scores = [each.verdict.score for each in scored]
    low, high = interval(scores, [each.record.item for each in scored])
    record = scored[0].record
    groups = Counter(group(each.record, each.verdict) for each in scored)
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
        outcomes={name: groups[name] for name in GROUPS},
    )


def group(record: Any, verdict: Verdict) -> str:
    """What became of an answer, as one of `run_folder.GROUPS`."""
    return group_of(verdict.score, verdict.format_ok, near_miss(record, verdict, registry()))


def by_config(scored: Iterable[Scored]) -> dict[str, list[Scored]]:
    """Scored completions under the name of their config, in order of first appearance."""
    found: dict[str, list[Scored]] = {}
    for each in scored:
        found.setdefault(each.record.config, []).append(each)
    return found


def _place() -> tuple[int, int]:
    """Which of how many processes this is."""
    from accelerate import PartialState

    return PartialState().process_index, PartialState().num_processes


def _gathered(said: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """What all processes have, in their order."""
    from accelerate.utils import gather_object

    return gather_object(said)


def _sampling(temperature: float) -> dict[str, Any]:
    """Options of `generate`; the model's own habits of sampling are set aside."""
    if temperature == 0:
        return {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    return {"do_sample": True, "temperature": temperature, "top_p": 1.0, "top_k": 0}


def _devices(device: "torch.device") -> list[Any]:
    return [device] if device.type == "cuda" else []
