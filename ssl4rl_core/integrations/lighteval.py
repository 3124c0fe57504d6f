"""The questions of a build as tasks of lighteval (https://github.com/huggingface/lighteval).

A file of two lines is all that lighteval wants:

    from ssl4rl_core.integrations.lighteval import tasks
    TASKS_TABLE = tasks("builds/photos")

    lighteval accelerate "model_name=..." "ssl4rl:rotation-easy" --custom-tasks questions.py --vision-model

Two limits are lighteval's (0.13). It reads what `datasets.load_dataset(PATH, CONFIG)` gives, every split of it: hence a
build, and no source on the fly. And it shows pictures to models of transformers alone, with `--vision-model`, after the
text instead of where they stand; its other backends would ask the question without them, and not say so.
"""

# The package cannot be installed beside verifiers, whose pins contradict it.
# pyright: reportMissingImports=false

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_builders.layout import without_marks
from data_builders.manifest import MANIFEST
from data_builders.reader import BuiltSamples
from data_builders.selection import Selection
from ssl4rl_core.errors import Ssl4rlError
from ssl4rl_core.formats import ResponseFormat
from ssl4rl_core.plugins import registry
from ssl4rl_core.questions import question
from ssl4rl_core.samples import Record, Split
from ssl4rl_core.training.endpoint import said
from ssl4rl_core.training.rewards import Judge
from ssl4rl_core.training.stream import check_any

try:
    from lighteval.metrics.metrics import Metrics
    from lighteval.metrics.metrics_sample import SampleLevelComputation
    from lighteval.metrics.utils.metric_utils import Metric, SampleLevelMetric
    from lighteval.models.model_output import ModelResponse
    from lighteval.tasks.lighteval_task import LightevalTaskConfig
    from lighteval.tasks.requests import Doc, SamplingMethod
except ImportError as error:
    raise Ssl4rlError(
        f"tasks for lighteval need that package ({error}): pip install lighteval==0.13.0 'huggingface_hub<2' 'xxhash<4'"
    ) from error


class Score(SampleLevelComputation):
    """One of a completion's numbers: `answer` and `format` are the rewards of `ssl4rl train`, `chance` the question's.

    Its attributes are plain text, because lighteval keeps answers by the text of all that a task is made of.
    """

    def __init__(self, what: str, response_format: str, prefill: str, build: str) -> None:
        self.what, self.response_format, self.prefill, self.build = what, response_format, prefill, build

    def compute(self, doc: Doc, model_response: ModelResponse, **_: Any) -> float:
        """The mean over the completions of one question, in [0, 1]."""
        record = Record(**(doc.specific or {})["record"])
        if self.what == "chance":
            return record.chance
        judge = Judge(registry().format(self.response_format), registry(), prefill=self.prefill)
        # Before lighteval takes the reasoning out. Its vision models give one string where others give a list.
        texts = [model_response.text] if isinstance(model_response.text, str) else model_response.text
        thoughts = model_response.reasonings or [None] * len(texts)
        verdicts = [judge(record, said(text, thought, judge)) for text, thought in zip(texts, thoughts, strict=True)]
        return float(np.mean([each.score if self.what == "answer" else each.format_ok for each in verdicts]))


def _prompt(response_format: ResponseFormat) -> Callable[[dict[str, Any], str], Doc]:
    def ssl4rl_question(row: dict[str, Any], task: str) -> Doc:
        record = Record(**row["json"])
        parts = question(record, response_format, registry())
        pictures = [row[column].convert("RGB") for column in sorted(row) if column[:2].isdigit()]
        return Doc(
            query=without_marks(parts),
            choices=[response_format.wrap(record.answer_text)],
            gold_index=0,
            images=pictures or None,
            specific={"record": record.model_dump()},
            task_name=task,
        )

    return ssl4rl_question


def tasks(
    build: str | Path,
    configs: Sequence[str] = (),
    *,
    split: Split = "test",
    format: str = "think_answer",
    prefill: str = "",
    max_tokens: int = 1024,
) -> list[LightevalTaskConfig]:
    """A task named `ssl4rl:CONFIG` for each config of a build; `ssl4rl` alone means all, where there are several.

    Args:
        configs: those wanted, as `ssl4rl eval --task` takes them; none means all.
        format: name of the response format that is asked for.
        prefill: what the chat template writes on the model's behalf, such as `<think>`.
        max_tokens: longest completion.

    Raises:
        UsageError: there is no such build, config or format, or a config has no samples in the split.
    """
    samples, response_format = BuiltSamples(build), registry().format(format)
    names = Selection(samples, configs).configs
    for name in names:
        check_any(samples, name, split)
    # So that answers to another build in the same folder are not taken for answers to this one.
    digest = hashlib.sha256((samples.directory / MANIFEST).read_bytes()).hexdigest()
    metrics: list[Metric | Metrics] = [
        SampleLevelMetric(
            metric_name=what,
            higher_is_better=True,
            category=SamplingMethod.GENERATIVE,
            sample_level_fn=Score(what, format, prefill, digest),
            corpus_level_fn=np.mean,
        )
        for what in ("answer", "format", "chance")
    ]
    return [
        LightevalTaskConfig(
            name=f"ssl4rl:{name}",
            prompt_function=_prompt(response_format),
            hf_repo=str(build),
            hf_subset=name,
            metrics=metrics,
            hf_avail_splits=["train", "test"],
            evaluation_splits=[split],
            generation_size=max_tokens,
        )
        for name in names
    ]
