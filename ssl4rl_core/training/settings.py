"""From a recipe's blocks to the configurations of TRL and PEFT. This module loads both."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from peft import LoraConfig, get_peft_model
from trl.import_utils import is_vllm_available
from trl.trainer.grpo_config import GRPOConfig

from ssl4rl_core.errors import UsageError, one_line
from ssl4rl_core.training.recipe import Recipe, checked_fields

ELSEWHERE = {
    "output_dir": "set 'output' at the top instead",
    "seed": "set 'seed' at the top instead",
    "data_seed": "set 'seed' at the top instead",
    "reward_weights": "set 'rewards' instead",
    "model_init_kwargs": "set 'model' instead",
    "eval_strategy": "set 'evaluate' instead",
    "do_eval": "set 'evaluate' instead",
    "eval_on_start": "set 'evaluate' instead",
    "eval_steps": "set 'evaluate' instead",
    "load_best_model_at_end": "the model kept is that of the last step; those before it are in checkpoints/",
    "resume_from_checkpoint": "say --resume instead",
    "shuffle_dataset": "the stream is in random order already",
    "ignore_data_skip": "the stream goes on by itself after a resume",
    "remove_unused_columns": "the stream needs its columns",
    "disable_tqdm": "ssl4rl shows progress of its own",
}
"""Fields of GRPOConfig that are not a recipe's to set in `grpo`, and what to do instead."""

_COARSE = 1e-4
"""A learning rate from which on most updates change a weight in bfloat16."""


def grpo_fields(recipe: Recipe) -> dict[str, Any]:
    """What the recipe sets of GRPOConfig; UsageError for a field that is not known, or is set elsewhere."""
    for key in recipe.grpo:
        if key in ELSEWHERE:
            raise UsageError(f"{recipe.where('grpo', key)}: {ELSEWHERE[key]}")
    return checked_fields(GRPOConfig, recipe.grpo, recipe, ("grpo",))


def grpo_config(recipe: Recipe) -> GRPOConfig:
    """The configuration of TRL's trainer: what the recipe says, and what the stream needs.

    bf16 is off by default where there is no GPU, and pictures are not logged: TRL hands all of a batch to all processes
    for that, and in a mix waits for ever for those of a process that has text alone.

    Raises:
        UsageError: a field is not known, is set elsewhere, or GRPOConfig refuses it.
    """
    import torch

    given = grpo_fields(recipe)
    defaults: dict[str, Any] = {"logging_steps": 1, "report_to": "none", "log_multimodal": False}
    if not torch.cuda.is_available():
        defaults["bf16"] = False
    ours = {
        "output_dir": str(Path(recipe.output) / "checkpoints"),
        "seed": recipe.seed,
        "reward_weights": [recipe.rewards.answer, recipe.rewards.format],
        "shuffle_dataset": False,
        "ignore_data_skip": True,
        "remove_unused_columns": False,
        "disable_tqdm": True,
        # Read only where TRL loads the model again, as the reference of the KL term.
        "model_init_kwargs": None,
    }
    try:
        config = GRPOConfig(**{**defaults, **given, **ours})
    except (ValueError, TypeError, ImportError, NotImplementedError) as error:
        named = [key for key in recipe.grpo if key in str(error)]
        raise UsageError(f"{recipe.where('grpo', *named[:1])}: {one_line(error)}") from error
    bounds = {name: getattr(recipe.model, name) for name in ("min_pixels", "max_pixels")}
    if config.use_vllm and config.vllm_mode == "server" and (set_here := [name for name in bounds if bounds[name]]):
        raise UsageError(
            f"{recipe.where('model', set_here[0])}: a vLLM server shows the model pictures at sizes of its own: bring "
            "them to size by data.max_side instead, or take vllm_mode: colocate"
        )
    return config


def shares_weights_out(config: GRPOConfig) -> bool:
    """Whether each process will hold a part of the weights alone, by FSDP or ZeRO 3, so that all must compute alike."""
    if config.deepspeed_plugin is not None:
        return config.deepspeed_plugin.zero_stage == 3
    return _by_fsdp(config)


def keeps_float32(config: GRPOConfig) -> bool:
    """Whether the launcher has float32 weights beside those of 16 bits, in which updates add up."""
    return config.deepspeed_plugin is not None or _by_fsdp(config)


def _by_fsdp(config: GRPOConfig) -> bool:
    return bool(config.fsdp) or os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true"


def rounds_updates_away(recipe: Recipe, rate: float) -> bool:
    """Whether all weights are trained in 16 bits, at a learning rate that is too small for them to change.

    A weight of 0.02 in bfloat16 takes no change below 6e-5, and AdamW makes one of about the rate: after 100 updates at
    1e-6, 98 weights of 100 are what they were. Launchers that keep float32 weights beside those lose nothing.
    """
    return recipe.peft is None and recipe.model.dtype != "float32" and rate < _COARSE


def missing_here(recipe: Recipe) -> Iterator[str]:
    """What the recipe needs and this machine lacks, where that stands, and what mends it."""
    if recipe.grpo.get("use_vllm") and not is_vllm_available():
        where = recipe.where("grpo", "use_vllm")
        yield f"vllm ({where}): pip install 'trl[vllm]', or do without, --set grpo.use_vllm=false"
    for field in of_a_gpu(recipe):
        instead = "use_cpu=true" if field == "bf16" else f"{field}=false"
        yield f"a GPU ({recipe.where('grpo', field)}): without one, --set grpo.{instead}"
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not (recipe.grpo.get("use_cpu") or _has_gpu()):
        # Each of several processes would take itself for the only one.
        yield "a GPU for each process: on a CPU, --set grpo.use_cpu=true"


def of_a_gpu(recipe: Recipe) -> list[str]:
    """The fields of the recipe that only a GPU can do, where there is none or it is not to be used."""
    on_cpu = bool(recipe.grpo.get("use_cpu"))
    if not on_cpu and _has_gpu():
        return []
    # A CPU computes in bfloat16, if it is asked to.
    return [field for field in ("bf16", "fp16", "tf32") if recipe.grpo.get(field) and not (on_cpu and field == "bf16")]


def _has_gpu() -> bool:
    import torch

    return torch.accelerator.is_available()


def lora_config(recipe: Recipe) -> LoraConfig | None:
    """A fresh LoRA configuration, or None where the recipe has no `peft`; UsageError for a field that does not fit."""
    if recipe.peft is None:
        return None
    fields = checked_fields(LoraConfig, recipe.peft, recipe, ("peft",))
    try:
        return LoraConfig(**{"task_type": "CAUSAL_LM", **fields})
    except (ValueError, TypeError, ImportError) as error:
        raise UsageError(f"{recipe.where('peft')}: {one_line(error)}") from error


def with_adapter(model: Any, recipe: Recipe) -> Any:
    """The model with a fresh adapter in it, or as it is where the recipe has no `peft`.

    Raises:
        UsageError: the adapter does not fit the model, as where no module is called what `target_modules` names.
    """
    lora = lora_config(recipe)
    if lora is None:
        return model
    try:
        return get_peft_model(model, lora)
    except (ValueError, TypeError, KeyError, ImportError) as error:
        raise UsageError(f"{recipe.where('peft')}: {one_line(error)}") from error
