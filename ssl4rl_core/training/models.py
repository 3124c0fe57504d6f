"""Loading a model, any that transformers can, by folder or by name; with or without eyes, or an adapter."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ssl4rl_core.errors import MissingExtra, Ssl4rlError, UsageError, one_line
from ssl4rl_core.training.recipe import ModelSettings


class Loaded(NamedTuple):
    """A model and what prepares its inputs: a processor, or a tokenizer where it sees no pictures."""

    model: Any
    processor: Any


def need_training(what: str) -> None:
    """Raise MissingExtra unless the packages of the extra 'train' are installed."""
    try:
        import accelerate  # noqa: F401
        import peft  # noqa: F401
        import torch  # noqa: F401
        import torchvision  # noqa: F401
        import transformers  # noqa: F401
        import trl  # noqa: F401
    except ImportError as error:
        raise MissingExtra(what, "train", error) from error


def load_model(settings: ModelSettings) -> Loaded:
    """The model on the device at hand, in evaluation mode, and its processor.

    A folder that holds a LoRA adapter alone is loaded on top of the model that the adapter names.

    Raises:
        UsageError: there is no such model, here or on the Hub, or it is of a kind that cannot chat.
        MissingExtra: the extra 'train' is not installed.
    """
    need_training(f"model {settings.name}")
    try:
        with _whole():
            loaded = _load(settings)
    except _UNLOADABLE as error:
        raise _cannot_load(settings.name, error) from error
    _set_pixels(loaded.processor, settings)
    return loaded


@contextlib.contextmanager
def _whole() -> Iterator[None]:
    """While this lasts, transformers loads all weights into each process under ZeRO 3 too, which is told of globally.

    Models are asked before they are trained; the trainer leaves each process its part then.
    """
    from transformers.integrations import deepspeed

    known = deepspeed._hf_deepspeed_config_weak_ref
    deepspeed.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        if known is not None and (config := known()) is not None:
            deepspeed.set_hf_deepspeed_config(config)


def model_without_weights(settings: ModelSettings) -> Any:
    """The model on the device `meta`: what it is made of, by its configuration alone; raises as `load_model` does."""
    need_training(f"model {settings.name}")
    import torch

    try:
        kind = _kind(settings)
        with _whole(), torch.device("meta"):
            return kind.model_class.from_config(kind.config, **kind.attention)
    except _UNLOADABLE as error:
        raise _cannot_load(settings.name, error) from error


def dtype_of(settings: ModelSettings) -> str:
    """The type of the weights as "auto" finds it, by the model's configuration; raises as `load_model` does."""
    if settings.dtype != "auto":
        return settings.dtype
    try:
        return str(_kind(settings).config.dtype).removeprefix("torch.")
    except _UNLOADABLE as error:
        raise _cannot_load(settings.name, error) from error


OWN_BASES = ("format", "base")
"""Folders of a run that may hold what its adapter stands on: the model after the format start, or as training began."""

_UNLOADABLE = OSError, ValueError, KeyError, ImportError
"""What transformers raises for a model that is not there, is of no kind it knows, or wants a package."""


class _Kind(NamedTuple):
    """What a model is, before its weights: where they are, and the classes that read them."""

    base: str
    config: Any
    model_class: Any
    processor_class: Any
    attention: dict[str, Any]


def _kind(settings: ModelSettings) -> _Kind:
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    base = _base_of(settings.name) if is_adapter(settings.name) else settings.name
    config = AutoConfig.from_pretrained(base, trust_remote_code=False)
    attention = {"attn_implementation": settings.attn_implementation} if settings.attn_implementation else {}
    if config.model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        return _Kind(base, config, AutoModelForImageTextToText, AutoProcessor, attention)
    return _Kind(base, config, AutoModelForCausalLM, AutoTokenizer, attention)


def _load(settings: ModelSettings) -> Loaded:
    name, kind = settings.name, _kind(settings)
    options = {"dtype": settings.dtype, **kind.attention}
    model = kind.model_class.from_pretrained(kind.base, trust_remote_code=False, **options)
    if is_adapter(name):
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, name).merge_and_unload()
        model.requires_grad_(True)  # PEFT has frozen what an adapter stands on
    processor = kind.processor_class.from_pretrained(name, padding_side="left", trust_remote_code=False)
    tokenizer = getattr(processor, "tokenizer", processor)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return Loaded(model.to(_device()).eval(), processor)


def is_adapter(name: str) -> bool:
    """Whether a folder of this name holds a LoRA adapter alone."""
    return (Path(name) / "adapter_config.json").is_file()


def _base_of(adapter: str) -> str:
    from peft import PeftConfig

    base = PeftConfig.from_pretrained(adapter).base_model_name_or_path
    if not base:
        raise UsageError(f"the adapter in {adapter} does not name its base model")
    # A run keeps beside its adapter what that stands on, and keeps it there when it is copied or moved.
    beside = Path(adapter).parent / Path(base).name
    return str(beside) if beside.name in OWN_BASES and (beside / "config.json").is_file() else base


def _device() -> Any:
    """This process's device, as accelerate will choose it again."""
    from accelerate import PartialState

    return PartialState().device


def _set_pixels(processor: Any, settings: ModelSettings) -> None:
    """Bound the area of pictures, in the way of the Qwen2-VL family."""
    image_processor = getattr(processor, "image_processor", None)
    bounds = {"shortest_edge": settings.min_pixels, "longest_edge": settings.max_pixels}
    wanted = {edge: pixels for edge, pixels in bounds.items() if pixels is not None}
    if not wanted:
        return
    size = getattr(image_processor, "size", None)
    if size is None or not set(wanted) <= set(dict(size)):
        raise UsageError(
            f"model {settings.name}: its processor takes no min_pixels or max_pixels; use max_side of the data instead"
        )
    setattr(image_processor, "size", {**dict(size), **wanted})  # noqa: B010


def _cannot_load(name: str, error: Exception) -> Ssl4rlError:
    reason = one_line(error)
    if Path(name).is_dir():
        return UsageError(f"cannot load the model in folder {name}: {reason}")
    if isinstance(error, ImportError):
        return UsageError(f"cannot load model {name}: {reason}")
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        return UsageError(f"there is no model folder {name}")
    if isinstance(error, OSError):
        return UsageError(
            f"there is no model {name}: neither a folder of that name nor, as far as can be reached from here, one on "
            "the Hub; give a folder, or download it first with 'hf download'"
        )
    return UsageError(f"cannot load model {name}: {reason}")
