"""From a sample to what a model reads, and from its tokens back to text."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ssl4rl_core.errors import Ssl4rlError, UsageError, one_line
from ssl4rl_core.formats import ResponseFormat
from ssl4rl_core.questions import question
from ssl4rl_core.samples import Sample
from ssl4rl_core.training.models import Loaded
from ssl4rl_core.verification import HasTasks

if TYPE_CHECKING:
    from torch import Tensor

Conversation = list[dict[str, Any]]
"""Chat messages; a picture stands in a message's content as {"type": "image", "image": picture}."""


class Prompter:
    """Asks questions of a model in one response format.

    Args:
        processor: the model's processor, or its tokenizer where it sees no pictures.
        template_options: for the chat template, such as {"enable_thinking": False}.
        ends: the model's own tokens that end a completion, besides the tokenizer's.

    Raises:
        UsageError: there is no chat template, or it begins answers in a way that the format rules out.
    """

    def __init__(
        self,
        processor: Any,
        response_format: ResponseFormat,
        registry: HasTasks,
        template_options: dict[str, Any] | None = None,
        ends: int | list[int] | None = None,
    ) -> None:
        self.processor, self.response_format = processor, response_format
        self.tokenizer = getattr(processor, "tokenizer", processor)
        self.sees_pictures = hasattr(processor, "image_processor")
        self._registry = registry
        self._options = template_options or {}
        self.prefill = self._prefill()
        own = [ends] if isinstance(ends, int) else ends or []
        self.ends: list[int] = list(dict.fromkeys([self.tokenizer.eos_token_id, *own]))

    def conversation(self, sample: Sample) -> Conversation:
        """The question and how to answer it, as one message of the user.

        Raises:
            UsageError: the question has pictures, and the model sees none.
        """
        images = iter(sample.images)
        parts: list[dict[str, Any]] = [
            {**part, "image": next(images)} if part["type"] == "image" else part
            for part in question(sample.record, self.response_format, self._registry)
        ]
        if not self.sees_pictures:
            if sample.images:
                raise UsageError(f"task {sample.record.task} asks about pictures, and the model sees none: use a VLM")
            return [{"role": "user", "content": "".join(part["text"] for part in parts)}]
        return [{"role": "user", "content": parts}]

    def encode(self, conversations: Sequence[Conversation]) -> "dict[str, Tensor]":
        """Token ids of shape (batch, longest), padded on the left, their mask, and pixels as the model wants them."""
        options: dict[str, Any] = {"padding": True, "padding_side": "left"}
        if self.sees_pictures:
            # Processors take these as a block of their own.
            options = {"processor_kwargs": options}
        encoded = self.processor.apply_chat_template(
            list(conversations),
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            **options,
            **self._options,
        )
        return dict(encoded)

    def short(self, conversations: Sequence[Conversation]) -> list[list[int]]:
        """Token ids of prompts in which one mark stands for each picture, as vLLM takes them."""
        texts = self.processor.apply_chat_template(
            list(conversations), add_generation_prompt=True, tokenize=False, **self._options
        )
        begin = self.tokenizer.bos_token
        options = [{"add_special_tokens": not (begin and text.startswith(begin))} for text in texts]
        return [self.tokenizer(text, **each)["input_ids"] for text, each in zip(texts, options, strict=True)]

    def tokens(self, conversation: Conversation) -> int:
        """How many tokens a prompt has, those of its pictures included."""
        return int(self.encode([conversation])["input_ids"].shape[1])

    def decode(self, token_ids: Sequence[int]) -> str:
        """A completion's text, special tokens in it included, up to the token that ends it."""
        ids = list(token_ids)
        for position, token in enumerate(ids):
            if token in self.ends:
                ids = ids[:position]
                break
        return self.tokenizer.decode(ids, skip_special_tokens=False)

    def _prefill(self) -> str:
        if not self.tokenizer.chat_template and not getattr(self.processor, "chat_template", None):
            raise UsageError("the model has no chat template: take its instruction-tuned variant")
        content: Any = [{"type": "text", "text": "?"}] if self.sees_pictures else "?"
        text = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False, **self._options
        )
        opened = re.search(r"<think>\s*$", text)
        prefill = opened[0] if opened else ""
        rest = self.response_format.wrap("?").removeprefix(prefill.strip())
        if self.response_format.extract(prefill + rest) is None:
            raise UsageError(
                f"the chat template begins every completion with {prefill.strip()}, so format "
                f"{self.response_format.name} cannot be kept: use think_answer or boxed"
            )
        return prefill


def check_prompt(loaded: Loaded, prompter: Prompter, name: str, sample: Sample) -> None:
    """Ask the model for one token, so that a question it cannot take is found before anything is trained.

    Raises:
        UsageError: the question has several pictures and the model fails on it.
        Ssl4rlError: it fails on a question with one picture or none.
    """
    import torch

    try:
        inputs = prompter.encode([prompter.conversation(sample)])
        with torch.no_grad():
            loaded.model.generate(
                **{key: value.to(loaded.model.device) for key, value in inputs.items()},
                max_new_tokens=1,
                do_sample=False,
                pad_token_id=prompter.tokenizer.pad_token_id,
            )
    except Ssl4rlError:
        raise
    except (ValueError, TypeError, IndexError, KeyError, RuntimeError) as error:
        reason = f"{type(error).__name__}: {one_line(error)}"
        if len(sample.images) > 1:
            raise UsageError(
                f"model {name} cannot take the {len(sample.images)} pictures of a {sample.record.task} question "
                f"({reason}): set data.layout to composite, or build with --layout composite"
            ) from error
        raise Ssl4rlError(f"model {name} fails on a {sample.record.task} question: {reason}") from error
