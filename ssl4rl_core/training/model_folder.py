"""A model in a folder: saved whole or not at all, also for vLLM, which opens a model by its name."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from ssl4rl_core.errors import Ssl4rlError
from ssl4rl_core.training.models import Loaded


def save(loaded: Loaded, folder: Path) -> None:
    """Save a model and its processor under another name, then rename."""
    partial = partial_folder(folder)
    shutil.rmtree(partial, ignore_errors=True)
    loaded.model.save_pretrained(partial)
    loaded.processor.save_pretrained(partial)
    settle(partial, folder)


def partial_folder(folder: Path) -> Path:
    """Where a model is saved until it is whole; a killed run may have left something there."""
    return folder.with_name(f".{folder.name}.partial")


def settle(partial: Path, folder: Path) -> None:
    """Put a folder that is whole in its place, instead of what a killed run has left there.

    Raises:
        Ssl4rlError: there is no such folder: whoever was to save the model did not.
    """
    if not partial.is_dir():
        raise Ssl4rlError(f"the model was not saved to {folder}")
    if folder.exists():
        shutil.rmtree(folder)
    partial.rename(folder)


@contextlib.contextmanager
def copied_for_vllm(loaded: Loaded, folder: Path, *, writes: bool) -> Iterator[None]:
    """Have the model named after a copy in `folder` while the block lasts, for whoever opens it by its name.

    vLLM opens the processor too, and sees pictures at the sizes that are set there. All processes read the folder.

    Args:
        writes: whether this process is the one of several that writes.
    """
    from accelerate import PartialState

    if writes:
        save(loaded, folder)
    PartialState().wait_for_everyone()
    model, name = loaded.model, loaded.model.name_or_path
    model.name_or_path = str(folder)
    try:
        yield
        PartialState().wait_for_everyone()
    finally:
        model.name_or_path = name
        if writes:
            shutil.rmtree(folder)
