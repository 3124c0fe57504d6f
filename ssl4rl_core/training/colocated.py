"""vLLM on the devices that train: asked with the very prompts that training computes with."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from ssl4rl_core.errors import Ssl4rlError


def asked_alike(generate: Callable[..., Any], short: Callable[[], list[list[int]]]) -> Callable[..., Any]:
    """TRL's `VLLMGeneration.generate`, given one mark for each picture.

    TRL hands over prompts that hold the tokens of their pictures already. vLLM takes the first of them for a mark and
    puts all of them in its place, so that the model answers another question than the one it is trained on
    (https://github.com/huggingface/trl/issues/6294).

    Args:
        short: the prompts of the batch, each with one mark a picture; called at every batch.

    Raises:
        Ssl4rlError: when called, if vLLM makes another prompt of what it is given than the trainer has.
    """

    @functools.wraps(generate)
    def alike(*, prompts: Sequence[Sequence[int]], images: Sequence[Any] | None, **options: Any) -> Any:
        if images is None:
            return generate(prompts=prompts, images=None, **options)
        pictures = [each or None for each in images]  # none for the text in a mix
        seen, *said = generate(prompts=short(), images=pictures, **options)
        for wanted, got in zip(prompts, seen, strict=True):
            if list(wanted) != list(got):
                raise Ssl4rlError(
                    f"vLLM reads a prompt of {len(wanted)} tokens as one of {len(got)}, so that what it says would be "
                    "no answer to what is trained: --set grpo.use_vllm=false, and tell us of the model"
                )
        return seen, *said

    return alike
