"""A short supervised start that teaches the form of an answer, and nothing about what the answer is.

The target of every sample is an answer drawn evenly from all that its question admits. The right one takes no part in
the draw, so accuracy must stay at chance; the report says whether it did. Without it, a model that never produces the
format earns no reward that GRPO could climb.
"""

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ssl4rl_core.samples import Record
from ssl4rl_core.training.prompts import Prompter
from ssl4rl_core.training.recipe import FormatStart
from ssl4rl_core.training.stream import Stream
from ssl4rl_core.verification import HasTasks, truth

if TYPE_CHECKING:
    from torch import Tensor

IGNORED = -100
"""The label of tokens that are not learned."""


def random_target(record: Record, prompter: Prompter, registry: HasTasks, *, seed: int, draw: int) -> str:
    """A completion in the prompter's format with an answer drawn by lot: a function of seed and draw alone, given the
    question. What the template has written already is left out.
    """
    key = f"{seed}\0{draw}".encode()
    rng = np.random.default_rng(int.from_bytes(hashlib.blake2b(key, digest_size=16).digest(), "big"))
    answer, _ = truth(record, registry)
    return prompter.response_format.wrap(answer.draw(rng).text()).removeprefix(prompter.prefill.strip())


def start_on_format(
    model: Any,
    stream: Stream,
    prompter: Prompter,
    registry: HasTasks,
    settings: FormatStart,
    *,
    seed: int = 0,
    bf16: bool = False,
    checkpointing: bool = False,
    each: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Train the model in place, with AdamW and cross entropy on the completion's tokens.

    Args:
        bf16: compute in mixed precision.
        checkpointing: save memory by computing activations twice.
        each: called after every step with its number, from 1, and the loss.
    """
    import torch

    trained = [weights for weights in model.parameters() if weights.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=settings.learning_rate, betas=(0.9, 0.95), weight_decay=0.0)
    if checkpointing:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    for step in range(settings.steps):
        conversations, targets = [], []
        for slot, reference in enumerate(stream.references(step, settings.batch)):
            sample = stream.sample(reference)
            draw = step * settings.batch + slot
            conversations.append(prompter.conversation(sample))
            targets.append(random_target(sample.record, prompter, registry, seed=seed, draw=draw))
        batch = {name: value.to(model.device) for name, value in supervised(prompter, conversations, targets).items()}
        with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
            loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        each(step + 1, float(loss.detach()))
    if checkpointing:
        model.gradient_checkpointing_disable()
        model.disable_input_require_grads()
    model.eval()


def supervised(prompter: Prompter, conversations: list[Any], targets: list[str]) -> "dict[str, Tensor]":
    """Prompts padded on the left, completions on the right, as GRPO lays them out; only completions are labelled.

    Returns:
        What `encode` does, with `input_ids`, `attention_mask` and the like widened to (batch, prompt + completion), and
        `labels` of that shape.
    """
    import torch

    batch = prompter.encode(conversations)
    tokenizer = prompter.tokenizer
    ids = [[*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id] for text in targets]
    longest = max(map(len, ids))
    completion = torch.tensor([row + [tokenizer.pad_token_id] * (longest - len(row)) for row in ids])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids])
    prompt_shape = batch["input_ids"].shape
    labels = torch.cat(
        [torch.full(prompt_shape, IGNORED), completion.masked_fill(mask == 0, IGNORED)],
        dim=1,
    )
    tails = {"input_ids": completion, "attention_mask": mask}
    widened = {
        # Marks of a token's type say nothing of a completion: it is text.
        name: torch.cat([value, tails.get(name, torch.zeros_like(completion)).to(value.dtype)], dim=1)
        if value.shape == prompt_shape
        else value
        for name, value in batch.items()
    }
    return {**widened, "labels": labels}
