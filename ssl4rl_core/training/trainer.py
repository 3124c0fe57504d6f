"""TRL's GRPOTrainer, fed from the stream. This module loads TRL; it is imported when a training starts."""

import math
import time
from collections.abc import Callable
from typing import Any

from datasets import Dataset
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from ssl4rl_core.training.prompts import Prompter
from ssl4rl_core.training.stream import Stream

METRICS = {
    "loss": "loss",
    "reward": "reward",
    "reward_std": "reward_std",
    "rewards/answer/mean": "rewards/answer",
    "rewards/format/mean": "rewards/format",
    "completions/mean_length": "completion_length",
    "completions/clipped_ratio": "clipped_ratio",
    "frac_reward_zero_std": "frac_reward_zero_std",
    "kl": "kl",
    "entropy": "entropy",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
    "step_time": "seconds",
    "stream_seconds": "stream_seconds",
}
"""What is kept of TRL's metrics, and its name in metrics.jsonl; those of single configs keep theirs."""

PIXELS = ("pixel_values", "image_grid_thw", "image_sizes", "image_position_ids", "pixel_attention_mask")


class StreamedTrainer(GRPOTrainer):
    """GRPOTrainer whose dataset is only the slots of a generation batch.

    What stands in a slot is looked up when a batch is about to be generated: by then it is known where training
    stands, also after a resume; repeats for gradient accumulation and for further iterations cost nothing; and the
    members of a group share one conversation with the same pictures.
    """

    def __init__(self, *, stream: Stream, prompter: Prompter, args: GRPOConfig, **options: Any) -> None:
        self._stream, self._prompter = stream, prompter
        self._slots = (args.generation_batch_size or 0) // (args.num_generations or 1)
        self._passes_per_batch = (args.steps_per_generation or 1) * args.num_iterations
        super().__init__(args=args, train_dataset=self._slot_numbers(args), **options)
        models: tuple[Any, ...] = (self.model, self.ref_model)
        for model in models:
            if model is not None:
                model.register_forward_pre_hook(without_empty_pictures, with_kwargs=True)

    def _slot_numbers(self, args: GRPOConfig) -> Dataset:
        """Slots for one pass over the data, in whole optimizer steps."""
        batches = math.ceil(len(self._stream) / self._slots)
        if args.max_steps > 0:
            batches = min(batches, args.max_steps * args.gradient_accumulation_steps)
        batches = math.ceil(batches / args.gradient_accumulation_steps) * args.gradient_accumulation_steps
        return Dataset.from_dict({"prompt": list(range(self._slots)) * batches})

    def steps(self) -> int:
        """How many optimizer steps the whole training has."""
        if self.args.max_steps > 0:
            return self.args.max_steps
        passes = len(self.get_train_dataloader()) // self.args.gradient_accumulation_steps
        return math.ceil(passes * self.args.num_train_epochs)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        started = time.perf_counter()
        rows = self.rows(self._batch_number(), [row["prompt"] for row in inputs])
        self._metrics["train"]["stream_seconds"].append(time.perf_counter() - started)
        return super()._generate_and_score_completions(rows)

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[Any, Any, Any]:
        """As TRL does, but a prompt without pictures has none instead of None, which no processor takes in a mix."""
        ids, images, fields = super()._tokenize_prompts(prompts)
        return ids, images and [pictures or [] for pictures in images], fields

    def _batch_number(self) -> int:
        """How many generation batches training has had, by its step alone, so that a resume needs no replay."""
        accumulated = self.args.gradient_accumulation_steps
        passes = self.state.global_step * accumulated + self._step % accumulated
        return passes // self._passes_per_batch

    def rows(self, batch: int, slots: list[int]) -> list[dict[str, Any]]:
        """What TRL reads of these slots: one row each, shared by equal slots."""
        references = self._stream.references(batch, self._slots)
        rows = {}
        for slot in dict.fromkeys(slots):
            sample = self._stream.sample(references[slot])
            rows[slot] = {"prompt": self._prompter.conversation(sample), "record": sample.record}
        return [rows[slot] for slot in slots]


def without_empty_pictures(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A forward hook: a slice of a mixed batch may hold text alone, and no model takes pixels of no picture."""
    pixels = kwargs.get("pixel_values")
    if pixels is not None and pixels.shape[0] == 0:
        kwargs = {name: value for name, value in kwargs.items() if name not in PIXELS}
    return args, kwargs


class StepLog(TrainerCallback):
    """Passes on the metrics of every logged step, under our names."""

    def __init__(self, each: Callable[[dict[str, float]], None]) -> None:
        self._each = each

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        if not logs or "reward" not in logs:
            return  # the summary at the end
        metrics: dict[str, float] = {"step": state.global_step}
        for name, value in logs.items():
            if isinstance(value, (int, float)) and math.isfinite(value):
                if name in METRICS:
                    metrics[METRICS[name]] = value
                elif name.startswith("rewards/") and not name.endswith(("/mean", "/std")):
                    metrics[name] = value
        self._each(metrics)
