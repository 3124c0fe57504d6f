"""TRL's GRPOTrainer, fed from the stream. This module loads TRL; it is imported when a training starts."""

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from datasets import Dataset
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from ssl4rl_core.atomic import write_whole
from ssl4rl_core.training.colocated import asked_alike
from ssl4rl_core.training.curriculum import Curriculum
from ssl4rl_core.training.prompts import Conversation, Prompter
from ssl4rl_core.training.stream import Reference, Stream, batches_of_a_pass

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
    "sampling/sampling_logp_difference/mean": "sampling_logp_difference",
    "step_time": "seconds",
    "stream_seconds": "stream_seconds",
    "reward_seconds": "reward_seconds",
}
"""What is kept of TRL's metrics, and its name in metrics.jsonl."""

OF_CONFIGS = ("rewards/answer/", "rewards/format/", "frac_reward_zero_std/", "completion_length/", "share/")
"""How metrics of single configs begin: the config's name follows."""

CURRICULUM = "curriculum.json"
"""The curriculum's state, in a checkpoint."""

SKIPPED = "skipped.json"
"""How many samples were passed over until a checkpoint, by reason, in it."""

_GATHERED = "stage3_gather_16bit_weights_on_model_save"
"""DeepSpeed's word for saving weights in one piece."""

PIXELS = ("pixel_values", "image_grid_thw", "image_sizes", "image_position_ids", "pixel_attention_mask")


class StreamedTrainer(GRPOTrainer):
    """GRPOTrainer whose dataset is only the slots of a generation batch.

    What stands in a slot is looked up when a batch is about to be generated: by then it is known where training
    stands, also after a resume; repeats for gradient accumulation and for further iterations cost nothing; and the
    members of a group share one conversation with the same pictures. The curriculum learns from the rewards of all
    processes, which is why all of them draw the same.
    """

    def __init__(
        self, *, stream: Stream, curriculum: Curriculum, prompter: Prompter, args: GRPOConfig, **options: Any
    ) -> None:
        self._stream, self._curriculum, self._prompter = stream, curriculum, prompter
        self._references: list[Reference] = []
        self._batch, self._before_batch = -1, (curriculum.state(), Counter(stream.skipped))
        self._group = args.num_generations or 1
        self._slots = (args.generation_batch_size or 0) // self._group
        self._reward_weights = torch.tensor(args.reward_weights or [1.0])
        self._passes_per_batch = (args.steps_per_generation or 1) * args.num_iterations
        self._asked: list[Conversation] = []
        if args.deepspeed_plugin is not None and args.deepspeed_plugin.zero_stage == 3:
            # Off unless asked for, and then the trained model would be saved in parts that nothing else reads.
            args.deepspeed_plugin.deepspeed_config["zero_optimization"][_GATHERED] = True
        super().__init__(args=args, train_dataset=self._slot_numbers(args), **options)
        if args.use_vllm and args.vllm_mode == "colocate":
            vllm: Any = self.vllm_generation
            vllm.generate = asked_alike(vllm.generate, lambda: prompter.short(self._asked))
            mark = getattr(prompter.processor, "image_token_id", None)
            if mark is not None:
                # In a completion it would be a picture that is not there; where transformers generates, TRL sees to it.
                vllm.generation_kwargs = {"logit_bias": {mark: -100.0}, **vllm.generation_kwargs}
        models: tuple[Any, ...] = (self.model, self.ref_model)
        for model in models:
            if model is not None:
                model.register_forward_pre_hook(without_empty_pictures, with_kwargs=True)

    def _slot_numbers(self, args: GRPOConfig) -> Dataset:
        """Slots for one pass over the data, in whole optimizer steps."""
        accumulated = args.gradient_accumulation_steps
        batches = batches_of_a_pass(len(self._stream), self._slots, self._passes_per_batch, accumulated)
        if args.max_steps > 0:
            batches = min(batches, args.max_steps * accumulated)
        return Dataset.from_dict({"prompt": list(range(self._slots)) * batches})

    def save_whole(self, folder: Path) -> None:
        """Save the model, or its adapter, in one piece. Every process calls this: parts are gathered here."""
        if self.is_fsdp_enabled:
            plugin: Any = self.accelerator.state.fsdp_plugin
            plugin.set_state_dict_type("FULL_STATE_DICT")
        self.save_model(str(folder))

    def trained(self) -> Any:
        """The model without what accelerate has put around it, mixed precision too: it is asked as it was before.

        `unwrap_model(..., keep_fp32_wrapper=False)` would take off what transformers and TRL have put there as well.
        """
        model = self.accelerator.unwrap_model(self.model)
        if (forward := vars(model).pop("_original_forward", None)) is not None:
            model.forward = forward
        return model

    def steps(self) -> int:
        """How many optimizer steps the whole training has."""
        if self.args.max_steps > 0:
            return self.args.max_steps
        passes = len(self.get_train_dataloader()) // self.args.gradient_accumulation_steps
        return math.ceil(passes * self.args.num_train_epochs)

    def _run_epoch(self, **options: Any) -> None:
        """As transformers does, but no step more where a resumed run has had its last: it stops only after a step."""
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(**options)
        else:
            self.control.should_training_stop = True

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        started = time.perf_counter()
        inputs = self._rows(self._batch_number(), [row["prompt"] for row in inputs])
        self._metrics["train"]["stream_seconds"].append(time.perf_counter() - started)
        return super()._generate_and_score_completions(inputs)

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[Any, Any, Any]:
        """As TRL does, but a prompt without pictures has none instead of None, which no processor takes in a mix."""
        self._asked = prompts
        ids, images, fields = super()._tokenize_prompts(prompts)
        return ids, images and [pictures or [] for pictures in images], fields

    def _batch_number(self) -> int:
        """How many generation batches training has had, by its step alone, so that a resume needs no replay."""
        accumulated = self.args.gradient_accumulation_steps
        passes = self.state.global_step * accumulated + self._step % accumulated
        return passes // self._passes_per_batch

    def _rows(self, batch: int, slots: list[int]) -> list[dict[str, Any]]:
        done = batch * self._passes_per_batch / self.args.gradient_accumulation_steps
        self._batch, self._before_batch = batch, (self._curriculum.state(), Counter(self._stream.skipped))
        shares = self._curriculum.shares(done / max(self.state.max_steps, 1))
        self._references = self._stream.references(batch, self._slots, shares)
        for config, share in shares.items():
            self._metrics["train"][f"share/{config}"].append(share)
        # A group whose completions are shared with the process before this one is counted there.
        begun = math.ceil(self.accelerator.process_index * len(slots) / self._group)
        return rows(self._stream, self._prompter, self._references, slots, begun)

    def _calculate_rewards(
        self, inputs: list[dict[str, Any]], prompts: Any, completions: Any, completion_ids_list: list[list[int]]
    ) -> torch.Tensor:
        """TRL's, of all processes; the curriculum and the metrics of each config learn from them."""
        started = time.perf_counter()
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        self._metrics["train"]["reward_seconds"].append(time.perf_counter() - started)
        local = [[row["slot"], len(ids)] for row, ids in zip(inputs, completion_ids_list, strict=True)]
        gathered: Any = self.accelerator.gather(torch.tensor(local, device=rewards.device))
        self._observe(rewards.float().cpu(), gathered.cpu())
        return rewards

    def _observe(self, rewards: torch.Tensor, completions: torch.Tensor) -> None:
        """Take in a batch: rewards of each function, and slot and length of each completion, group by group."""
        groups = rewards.unflatten(0, (-1, self._group))
        total = (groups * self._reward_weights).sum(dim=-1)
        slots, lengths = completions.unflatten(0, (-1, self._group)).unbind(dim=-1)
        metrics = self._metrics["train"]
        for group, slot in enumerate(slots[:, 0].tolist()):
            config = self._references[slot].config
            self._curriculum.observe(config, float(groups[group, :, 0].mean()))
            metrics[f"frac_reward_zero_std/{config}"].append(float(total[group].max() == total[group].min()))
            metrics[f"completion_length/{config}"].append(float(lengths[group].float().mean()))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """With what is ours, which is written first: a checkpoint is whole when transformers has written its last.

        A batch that training stands in the middle of is generated again after a resume, from what was known before it.
        By number, because batches end elsewhere after such a resume: the one begun anew has all its passes once more.
        """
        passes = self.state.global_step * self.args.gradient_accumulation_steps
        again = passes // self._passes_per_batch == self._batch
        state, skipped = self._before_batch if again else (self._curriculum.state(), self._stream.skipped)
        skipped = of_all_processes(skipped)
        if self.is_world_process_zero():
            folder = Path(self._get_output_dir(trial=trial)) / f"checkpoint-{self.state.global_step}"
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(folder / SKIPPED, json.dumps(skipped).encode())
            write_whole(folder / CURRICULUM, json.dumps(state).encode())
        super()._save_checkpoint(model, trial)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            self._curriculum.restore(json.loads((Path(checkpoint) / CURRICULUM).read_text(encoding="utf-8")))
            if self.is_world_process_zero() and (Path(checkpoint) / SKIPPED).is_file():
                self._stream.skipped.update(json.loads((Path(checkpoint) / SKIPPED).read_text(encoding="utf-8")))


def of_all_processes(counts: Mapping[str, int]) -> Counter[str]:
    """The counts of all processes together. Every process calls this."""
    return sum(map(Counter, gather_object([dict(counts)])), Counter())


def rows(
    stream: Stream, prompter: Prompter, references: Sequence[Reference], slots: Sequence[int], begun: int = 0
) -> list[dict[str, Any]]:
    """The rows of slots, in which references stand; equal slots share one.

    Args:
        begun: the first slot whose skipped samples are counted.
    """
    shared = {}
    for slot in dict.fromkeys(slots):
        sample = stream.sample(references[slot], counted=slot >= begun)
        shared[slot] = {"prompt": prompter.conversation(sample), "record": sample.record, "slot": slot}
    return [shared[slot] for slot in slots]


def last_checkpoint(folder: Path, most: int) -> tuple[Path | None, int]:
    """The newest whole checkpoint in a folder, and its step, at most `most`; None and 0 where there is none.

    A run killed while it saved one goes on from the one before, and so does a run that is to be shorter than it was.
    """
    numbered = [path for path in folder.glob("checkpoint-*") if path.name.partition("-")[2].isdecimal()]
    whole = [path for path in numbered if (path / CURRICULUM).is_file() and _is_json(path / "trainer_state.json")]
    steps = {int(path.name.partition("-")[2]): path for path in whole}
    step = max((step for step in steps if step <= most), default=0)
    return steps.get(step), step


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


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
        if not logs or "loss" not in logs:
            return  # the summary at the end
        metrics: dict[str, float] = {"step": state.global_step}
        for name, value in logs.items():
            if isinstance(value, (int, float)) and math.isfinite(value):
                if name in METRICS:
                    metrics[METRICS[name]] = value
                elif name.startswith(OF_CONFIGS) and not name.endswith(("/mean", "/std")):
                    metrics[name] = value
        self._each(metrics)
