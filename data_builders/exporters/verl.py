"""`ssl4rl export verl`: the tables that verl trains on, scored by `ssl4rl_core.integrations.verl.compute_score`."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from data_builders.exporters.parquet_files import ParquetFiles
from data_builders.selection import SPLITS
from ssl4rl_core.configs import check_rewards
from ssl4rl_core.exporters import Advance, ExportedFile, Exporter, ExportOptions, StoredSamples
from ssl4rl_core.integrations.verl import GroundTruth
from ssl4rl_core.plugins import registry
from ssl4rl_core.questions import question
from ssl4rl_core.rendering import IMAGE_MARK
from ssl4rl_core.samples import Record

if TYPE_CHECKING:
    import pyarrow

_MARKS = re.compile("<(image|video|audio)>")


class VerlOptions(ExportOptions):
    """What is fixed at export, because verl scores a completion by its row alone."""

    format: str = Field("think_answer", description="How the model is asked to answer; see 'ssl4rl formats'.")
    answer_weight: float = Field(1.0, ge=0, description="Of the answer's score in the reward.")
    format_weight: float = Field(0.1, ge=0, description="Of keeping to the format; the paper's recipe has 0.")
    prefill: str = Field("", description="What the chat template writes for the model, such as <think>.")


class Verl(Exporter[VerlOptions]):
    """Tables for verl's trainers, with the reward's ground truth in every row.

    OUT/train.parquet and OUT/test.parquet, in several files each where they are large; samples of all configs in one
    table, by `data_source` "ssl4rl/CONFIG". verl reads `<image>`, `<video>` and `<audio>` in a prompt as marks; where a
    question's own text says so (a node's text may say anything) a blank is put in: `<image >`.
    """

    name = "verl"
    options_type = VerlOptions

    def export(self, samples: StoredSamples, out: Path, options: VerlOptions, advance: Advance) -> list[ExportedFile]:
        """Write the tables; raises as reading the samples does.

        Raises:
            UsageError: there is no such format, or there are train samples of a downstream task, never a reward.
        """
        registry().format(options.format)
        check_rewards(config for config in samples.configs if samples.size(config, "train"))
        files: list[ExportedFile] = []
        for split in SPLITS:
            with ParquetFiles(out, split, _schema()) as table:
                for config in samples.configs:
                    for index in range(samples.size(config, split)):
                        record, pictures = samples.stored(config, split, index)
                        row = _row(record, config, table.rows, options)
                        table.add({**row, "images": [{"bytes": each} for each in pictures]}, sum(map(len, pictures)))
                        advance(1)
                files += table.finish()
        return files


def prompt_text(parts: Iterable[Mapping[str, str]]) -> str:
    """A prompt's parts as the one string that verl takes apart again: `<image>` stands where a picture does, only."""
    texts = [""]
    for part in parts:
        if part["type"] == "image":
            texts.append("")
        else:
            texts[-1] += part["text"]
    return IMAGE_MARK.join(_MARKS.sub(r"<\1 >", text) for text in texts)


def _row(record: Record, config: str, index: int, options: VerlOptions) -> dict[str, Any]:
    parts = question(record, registry().format(options.format), registry())
    # The prompt holds the question, and graders do not read it.
    truth = GroundTruth(record=record.model_copy(update={"question": "", "parts": "[]"}), **options.model_dump())
    return {
        "data_source": f"ssl4rl/{config}",
        "prompt": [{"role": "user", "content": prompt_text(parts)}],
        "ability": record.task,
        "reward_model": {"style": "rule", "ground_truth": truth.model_dump_json()},
        "extra_info": {
            "split": record.split,
            "index": index,
            "task": record.task,
            "level": record.level,
            "item": record.item,
            "variant": record.variant,
        },
    }


def _schema() -> "pyarrow.Schema":
    import pyarrow as pa

    text = pa.string()
    return pa.schema(
        {
            "data_source": text,
            "prompt": pa.list_(pa.struct({"role": text, "content": text})),
            "images": pa.list_(pa.struct({"bytes": pa.binary()})),
            "ability": text,
            "reward_model": pa.struct({"style": text, "ground_truth": text}),
            "extra_info": pa.struct(
                {"split": text, "index": pa.int64(), "task": text, "level": text, "item": text, "variant": pa.int64()}
            ),
        }
    )
