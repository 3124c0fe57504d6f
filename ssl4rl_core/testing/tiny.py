"""Tiny models with random weights, for tests and for the demo: nothing is downloaded, every code path is the real one.

Each model comes with a tokenizer trained on the given texts. It is byte-level, so any text can be encoded, and the tags
`<think>`, `</think>`, `<answer>` and `</answer>` are single ordinary tokens: TRL decodes completions with
`skip_special_tokens=True`, which would strip them if they were special.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, ProcessorMixin

TAGS = ("<think>", "</think>", "<answer>", "</answer>")

_PAD, _START, _END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
_VISION_START, _VISION_END, _IMAGE, _VIDEO = "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"
_PATCH, _MERGE = 14, 2
_HEAD = 32
# The sections of a head's rotary frequencies for time, height and width: they must sum to half the head's size.
_MROPE_SECTION = (4, 6, 6)
_CONTEXT = 32768
# Standard deviation of the random weights. A model this narrow learns rotation by GRPO in half the steps that it needs
# with the usual 0.02: 1 / sqrt(96) is 0.1.
_INIT = 0.08

# Qwen's layout of a chat, without its default system message (every prompt token costs time here). The content of a
# message is a string or a list of parts; a picture is {"type": "image"}, with or without the picture itself.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tiny_tokenizer(texts: Iterable[str], *, vocab: int = 2048) -> PreTrainedTokenizerBase:
    """A Qwen2 tokenizer (byte-level BPE, a token for each digit) with at most `vocab` learned tokens, from `texts`.

    Words of `texts` become single tokens as far as `vocab` reaches, any other text falls back to shorter pieces and at
    last to bytes. The same texts in any order give the same tokenizer.
    """
    from tokenizers import AddedToken, pre_tokenizers, trainers
    from transformers import Qwen2Tokenizer

    trainer = trainers.BpeTrainer(
        vocab_size=vocab, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    untrained = Qwen2Tokenizer().backend_tokenizer
    untrained.train_from_iterator(["user\nassistant\nsystem\n", *sorted(texts)], trainer)
    learned = json.loads(untrained.to_str())["model"]
    # Pairs and added tokens are what the constructor and `add_tokens` take, whatever their annotations say.
    merges: Any = [tuple(merge) for merge in learned["merges"]]
    tags: Any = [AddedToken(tag, special=False, normalized=False) for tag in TAGS]
    tokenizer = Qwen2Tokenizer(
        vocab=learned["vocab"],
        merges=merges,
        pad_token=_PAD,
        unk_token=_PAD,
        eos_token=_END,
        extra_special_tokens=[_START, _END, _VISION_START, _VISION_END, _IMAGE, _VIDEO],
        padding_side="left",
        model_max_length=_CONTEXT,
    )
    tokenizer.add_tokens(tags)
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def tiny_vlm(
    out: Path, texts: Iterable[str], *, pixels: int = 56, hidden: int = 96, layers: int = 3, seed: int = 0
) -> Path:
    """Write a Qwen2.5-VL with random weights, a tokenizer trained on `texts` and a processor to `out`; returns `out`.

    It loads with plain `AutoModelForImageTextToText.from_pretrained(out)` and `AutoProcessor.from_pretrained(out)`. The
    same arguments give the same weights. At the default size it has 1.2 million parameters and 192 more for each token
    that is learned from `texts` (float32, about 5 MB on disk).

    Args:
        out: folder, made where it is missing.
        texts: prompts, and answers where they hold other words, that the tokenizer is trained on.
        pixels: side in pixels of the square that pictures are scaled to, a multiple of 28. A picture that is not square
            keeps its shape, roughly, and gets about as many pixels or fewer. A square takes (pixels / 28)^2 tokens of
            the prompt (4 at 56), and two more mark its start and end. A prompt may hold any number of pictures.
        hidden: width of the vision part and of the text part, a multiple of 32 (the size of a head).
        layers: layers of the vision part, and as many of the text part.
        seed: of the weights.

    Raises:
        ValueError: `pixels` or `hidden` is not such a multiple.
    """
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    if pixels <= 0 or pixels % (_PATCH * _MERGE):
        raise ValueError(f"pixels must be a multiple of {_PATCH * _MERGE}, got {pixels}")
    tokenizer = tiny_tokenizer(texts)
    ids = tokenizer.get_vocab()
    text_config = _text_config(tokenizer, hidden, layers)
    text_config["rope_parameters"]["mrope_section"] = list(_MROPE_SECTION)
    config = Qwen2_5_VLConfig(
        text_config=text_config,
        vision_config=_vision_config(hidden, layers, pixels),
        image_token_id=ids[_IMAGE],
        video_token_id=ids[_VIDEO],
        vision_start_token_id=ids[_VISION_START],
        vision_end_token_id=ids[_VISION_END],
        tie_word_embeddings=False,
    )
    _save(Qwen2_5_VLForConditionalGeneration, config, seed, out)
    _processor(tokenizer, pixels).save_pretrained(out)
    return out


def tiny_lm(out: Path, texts: Iterable[str], *, hidden: int = 96, layers: int = 3, seed: int = 0) -> Path:
    """Write a Qwen3 for text alone, with random weights and a tokenizer trained on `texts`, to `out`; returns `out`.

    It loads with plain `AutoModelForCausalLM.from_pretrained(out)` and `AutoTokenizer.from_pretrained(out)`. The same
    arguments give the same weights. At the default size it has 0.5 million parameters and 192 more for each token that
    is learned from `texts`. `hidden` is a multiple of 32, the size of a head.

    Raises:
        ValueError: `hidden` is not such a multiple.
    """
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tokenizer = tiny_tokenizer(texts)
    config = Qwen3Config(**_text_config(tokenizer, hidden, layers), head_dim=_HEAD, tie_word_embeddings=False)
    _save(Qwen3ForCausalLM, config, seed, out)
    tokenizer.save_pretrained(out)
    return out


def _text_config(tokenizer: PreTrainedTokenizerBase, hidden: int, layers: int) -> dict[str, Any]:
    if hidden <= 0 or hidden % _HEAD:
        raise ValueError(f"hidden must be a multiple of {_HEAD}, got {hidden}")
    return {
        # Rounded up, as Qwen's is, for the sake of matrix shapes.
        "vocab_size": -(-len(tokenizer) // 64) * 64,
        "hidden_size": hidden,
        "intermediate_size": 4 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // _HEAD,
        "num_key_value_heads": hidden // _HEAD,
        "max_position_embeddings": _CONTEXT,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "initializer_range": _INIT,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    }


def _vision_config(hidden: int, layers: int, pixels: int) -> dict[str, Any]:
    return {
        "depth": layers,
        "hidden_size": hidden,
        "intermediate_size": 4 * hidden,
        "num_heads": hidden // _HEAD,
        "out_hidden_size": hidden,
        "patch_size": _PATCH,
        "spatial_merge_size": _MERGE,
        "window_size": max(4 * _PATCH * _MERGE, pixels),
        "fullatt_block_indexes": [layers - 1],
        "initializer_range": _INIT,
    }


def _processor(tokenizer: PreTrainedTokenizerBase, pixels: int) -> ProcessorMixin:
    """A processor that scales a picture to about `pixels` x `pixels` pixels."""
    from transformers import Qwen2_5_VLProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    # The 2 % keep the processor's floor and ceil from losing or adding a whole row of patches to a rounding error.
    visual: dict[str, Any] = {
        "size": {"shortest_edge": int(pixels**2 * 0.98), "longest_edge": int(pixels**2 * 1.02)},
        "patch_size": _PATCH,
        "merge_size": _MERGE,
    }
    pictures, videos = Qwen2VLImageProcessor(**visual), Qwen2VLVideoProcessor(**visual)
    return Qwen2_5_VLProcessor(pictures, tokenizer, videos, chat_template=CHAT_TEMPLATE)


def _save(model_type: Any, config: Any, seed: int, out: Path) -> None:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_type(config)
    model.save_pretrained(out)
