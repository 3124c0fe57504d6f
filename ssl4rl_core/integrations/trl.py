"""A build as TRL's trainers take it: `load` gives the dataset, `rewards` the functions that score it.

For who has a training script already; `ssl4rl train` does more (mixes with weights, text beside pictures, resuming a
stream, held-out accuracy). Neither torch nor TRL is imported here.
"""

import bisect
import functools
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_builders.reader import BuiltSamples
from data_builders.selection import Selection
from ssl4rl_core.configs import check_rewards
from ssl4rl_core.formats import ResponseFormat
from ssl4rl_core.plugins import registry
from ssl4rl_core.questions import question
from ssl4rl_core.samples import Record, Sample, Split
from ssl4rl_core.training.prompts import Prompter
from ssl4rl_core.training.rewards import Judge, Reward, reward_functions

if TYPE_CHECKING:
    from datasets import Dataset

_NUMBER, _COLUMNS = "number", ("prompt", "images", *Record.model_fields)


def load(
    directory: str | Path, config: str | None = None, split: Split = "train", format: str = "think_answer"
) -> "Dataset":
    """The samples of a build, ready for TRL's trainers.

    Nothing is read until it is asked for: a sample is read from its shard, and its pictures decoded, when its row is.

        import ssl4rl_core
        from trl import GRPOConfig, GRPOTrainer

        trainer = GRPOTrainer(
            "Qwen/Qwen2.5-VL-3B-Instruct",
            reward_funcs=ssl4rl_core.rewards(),
            args=GRPOConfig(output_dir="run", reward_weights=[1.0, 0.1]),
            train_dataset=ssl4rl_core.load("data/photos", "rotation-easy"),
            eval_dataset=ssl4rl_core.load("data/photos", "rotation-easy", split="test"),
        )

    Args:
        directory: a finished build.
        config: one of its configs, or a task with or without a level; None means all, one after the other.
        format: name of the response format, the same that `rewards` is given.

    Returns:
        A dataset whose rows have `prompt`, a conversation of one message; `images`, RGB pictures in the order of the
        message's image parts, [] where there are none; and the fields of `Record`. A question without pictures is plain
        text, so that tokenizers of language models take it too.

    Raises:
        UsageError: there is no such build, config or format, there are no samples, or it is the train split of a
            downstream task, which is never a reward.
        Ssl4rlError: later, when a row is read: its shard was changed.
    """
    import numpy as np
    import pyarrow
    from datasets import Dataset

    samples = Selection(BuiltSamples(directory), [config] if config else (), (split,))
    if split == "train":
        check_rewards(config for config in samples.configs if samples.size(config, split))
    rows = _Rows(samples, split, registry().format(format))
    # What a row is made from, and by name alone, in no memory, what it is made into.
    names = dict.fromkeys(_COLUMNS, pyarrow.nulls(len(samples)))
    table = pyarrow.table({_NUMBER: pyarrow.array(np.arange(len(samples))), **names})
    return Dataset(table).with_transform(rows)


class _Rows:
    """From the numbers of samples to rows; equal numbers of a batch, a group's, share their pictures."""

    def __init__(self, samples: Selection, split: Split, response_format: ResponseFormat) -> None:
        self._samples, self._format = samples, response_format
        self._split: Split = split
        self._ends = list(itertools.accumulate(samples.size(config, split) for config in samples.configs))

    def __call__(self, batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        rows = {number: self._row(number) for number in dict.fromkeys(batch[_NUMBER])}
        return {column: [rows[number][column] for number in batch[_NUMBER]] for column in _COLUMNS}

    def _row(self, number: int) -> dict[str, Any]:
        place = bisect.bisect_right(self._ends, number)
        config = self._samples.configs[place]
        first = self._ends[place] - self._samples.size(config, self._split)
        sample = self._samples.sample(config, self._split, number - first)
        message = {"role": "user", "content": self._content(sample)}
        return {"prompt": [message], "images": list(sample.images), **sample.record.model_dump()}

    def _content(self, sample: Sample) -> str | list[dict[str, str]]:
        parts = question(sample.record, self._format, registry())
        return parts if sample.images else "".join(part["text"] for part in parts)


def rewards(format: str = "think_answer", *, processor: Any = None) -> list[Reward]:
    """The reward functions `[answer, format]` for `GRPOTrainer`, both in [0, 1]; TRL logs them by these names.

    They read the record from a row's columns, so rows of `load` and of `ssl4rl export parquet` are scored alike. Their
    weights are TRL's to give: `GRPOConfig(reward_weights=[1.0, 0.1])` is what `ssl4rl train` has by default.

    Args:
        format: name of the response format that the prompts asked for.
        processor: the model's processor or tokenizer. Needed where `<think>` or `<answer>` is one of its special
            tokens, which TRL leaves out of a completion's text, and where its chat template begins the completion.

    Raises:
        UsageError: there is no such format, or it cannot be kept with this chat template.
    """
    response_format = registry().format(format)
    if processor is None:
        judge = Judge(response_format, registry())
        return [_on_rows(each, "completions") for each in reward_functions(judge, _text)]
    prompter = Prompter(processor, response_format, registry())
    judge = Judge(response_format, registry(), prefill=prompter.prefill)
    return [_on_rows(each, "completion_ids") for each in reward_functions(judge, prompter.decode)]


def _on_rows(reward: Reward, said: str) -> Reward:
    """The reward function, with the record taken from the columns of its fields."""

    @functools.wraps(reward)
    def on_rows(log_metric: Any = None, **columns: Any) -> list[float]:
        fields = zip(*(columns[name] for name in Record.model_fields), strict=True)
        records = [Record(**dict(zip(Record.model_fields, values, strict=True))) for values in fields]
        return reward(completion_ids=columns[said], record=records, log_metric=log_metric)

    return on_rows


def _text(completion: str | Sequence[Any]) -> str:
    """What TRL's own text of a completion says: a string, or the messages of a conversation."""
    return completion if isinstance(completion, str) else completion[-1]["content"] or ""
