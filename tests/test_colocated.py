"""vLLM on the devices that train, with a stand-in for it that reads prompts as it does."""

import contextlib
import os
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest

from ssl4rl_core.errors import Ssl4rlError, UsageError
from ssl4rl_core.training.run_folder import read_run
from tests.training_toys import base_of, recipe, train

os.environ.setdefault("HF_HUB_OFFLINE", "1")
pytestmark = pytest.mark.usefixtures("toy_tasks", "vllm")

ALL = "[toy-shade:easy, toy-pair:easy, toy-word:easy]"
# Pictures of 28 x 28 pixels are brought to 56 x 56: four tokens instead of one.
LARGER = ("model.min_pixels=3136", "model.max_pixels=3200", "grpo.use_vllm=true", "grpo.gradient_accumulation_steps=3")


class Vllm:
    """In place of TRL's `VLLMGeneration`: opens the processor by the model's name, and puts the tokens of a picture
    where a mark stands.
    """

    opened: ClassVar[list[str]] = []

    def __init__(self, *, model: Any, **_: Any) -> None:
        from transformers import AutoProcessor

        self.opened.append(model.name_or_path)
        self.generation_kwargs: dict[str, Any] = {}
        self._processor: Any = AutoProcessor.from_pretrained(model.name_or_path)

    def sync_weights(self) -> None:
        pass

    def generate(self, *, prompts: Sequence[list[int]], images: Sequence[Any] | None, **_: Any) -> tuple[Any, ...]:
        pictures = images or [None] * len(prompts)
        seen = [self._read(ids, shown) for ids, shown in zip(prompts, pictures, strict=True)]
        said = self._processor.tokenizer("left", add_special_tokens=False)["input_ids"]
        return seen, [list(said) for _ in prompts], [[[-1.0]] * len(said) for _ in prompts], None

    def _read(self, ids: list[int], shown: Any) -> list[int]:
        if shown is None:
            return ids
        assert shown, "TRL takes the first of the pictures, if there are any"
        mark, merged = self._processor.image_token_id, self._processor.image_processor.merge_size**2
        assert ids.count(mark) == len(shown), "of more marks than pictures, vLLM takes the first ones"
        grids = iter(self._processor.image_processor(images=shown, return_tensors="pt")["image_grid_thw"])
        read: list[int] = []
        for token in ids:
            grid = next(grids, None) if token == mark else None
            read += [token] if grid is None else [mark] * (int(grid.prod()) // merged)
        return read


@pytest.fixture
def vllm(monkeypatch) -> None:
    monkeypatch.setattr(Vllm, "opened", [])
    monkeypatch.setattr("ssl4rl_core.training.settings.is_vllm_available", lambda: True)
    monkeypatch.setattr("trl.trainer.grpo_trainer.VLLMGeneration", Vllm)


def test_vllm_reads_the_prompts_that_are_trained_on_in_a_mix_of_pictures_and_text(vlm, pictures, tmp_path):
    out = train(recipe(vlm, pictures, tmp_path / "run", *LARGER, tasks=ALL))
    assert [line["step"] for line in read_run(out, "run").metrics] == [1, 2]
    assert Vllm.opened == [str(out / "vllm")]
    assert not (out / "vllm").exists()


def test_a_prompt_that_vllm_reads_otherwise_ends_the_training(vlm, pictures, tmp_path, monkeypatch):
    unseen = lambda *_, **options: contextlib.nullcontext()  # noqa: E731
    monkeypatch.setattr("ssl4rl_core.training.grpo.copied_for_vllm", unseen)
    with pytest.raises(Ssl4rlError, match=r"vLLM reads a prompt of \d+ tokens as one of \d+"):
        train(recipe(vlm, pictures, tmp_path / "run", *LARGER))


def test_an_adapter_names_its_base_and_no_copy_of_it(vlm, pictures, tmp_path):
    out = train(recipe(vlm, pictures, tmp_path / "run", *LARGER, "peft={r: 2, target_modules: [q_proj]}"))
    assert base_of(out) == str(vlm)


def test_after_a_format_start_vllm_opens_what_came_of_it(vlm, pictures, tmp_path):
    out = train(recipe(vlm, pictures, tmp_path / "run", *LARGER, "format_start={steps: 1, batch: 2}"))
    assert Vllm.opened == [str(out / "format")]


def test_a_server_is_not_asked_at_sizes_that_it_cannot_know(vlm, pictures, tmp_path):
    with pytest.raises(UsageError, match=r"min_pixels.*a vLLM server shows the model pictures at sizes of its own"):
        train(recipe(vlm, pictures, tmp_path / "run", *LARGER, "grpo.vllm_mode=server"))
