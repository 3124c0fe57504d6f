"""A batch of the paper's size, 512 prompts x 5 completions: pictures are rendered once a group, memory is a group's.

The trainer is whole but for what a model does: tokens and pixels of prompts, completions and losses are stubs, so that
what is measured is the stream, the rows that it becomes and the copy that TRL makes of them. Each measurement has a
process of its own, for memory that was freed once is not given back.
"""

import gc
import importlib.util
import multiprocessing
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from data_builders.live import LiveSamples
from ssl4rl_core import Choice, Draft, ImageItem, ImageParams, Task, TaskConfig, registry
from ssl4rl_core.testing.memory import synthetic_source

# Looked for and not imported: only the processes that measure need it.
pytestmark = pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="needs the extra 'train'")

PROMPTS, GENERATIONS = 512, 5
SLICES = 4  # of a generation batch, as the paper's mini-batches of 128 prompts
PICTURES, SIDE = 32, 280
BATCH_OF_PICTURES = PROMPTS * SIDE * SIDE * 4  # bytes: Pillow keeps a pixel of three channels in four


class Turned(Task[ImageItem, ImageParams]):
    """Is it upright?"""

    name, version = "toy-turned", 1
    levels = {"easy": ImageParams()}
    prompt = "<image>Is it upright?"
    rendered = 0

    def transform(self, item, params, rng, view):
        Turned.rendered += 1
        answer = str(rng.choice(["yes", "no"]))
        image = item.image.copy() if answer == "yes" else item.image.transpose(Image.Transpose.ROTATE_180)
        return Draft(images=[image], answer=Choice(answer, ["yes", "no"]))

    def chance(self, params):
        return 1 / 2


class Measured(NamedTuple):
    """What a batch took."""

    rendered: int
    completions: int
    pictures: int
    """Held by the prompts that were asked, each counted once."""
    rewards: list[float]
    peak: int
    """Bytes of resident memory above what the trainer had before its first step."""


def measure(generations: int, copied: bool) -> Measured:
    """Train on one generation batch; `copied` gives every completion pictures of its own, as TRL's dataset would."""
    from trl.trainer.grpo_config import GRPOConfig

    from ssl4rl_core.testing.tiny import tiny_vlm
    from ssl4rl_core.training import trainer as ours
    from ssl4rl_core.training.curriculum import Uniform
    from ssl4rl_core.training.models import load_model
    from ssl4rl_core.training.prompts import Prompter
    from ssl4rl_core.training.recipe import ModelSettings
    from ssl4rl_core.training.rewards import Judge, reward_functions
    from ssl4rl_core.training.stream import Stream

    config = TaskConfig(Turned(), "easy", ImageParams())
    source = synthetic_source(PICTURES, width=SIDE, height=SIDE)
    samples = LiveSamples(source, [config], variants=PROMPTS // PICTURES, test_fraction=0.0)
    with tempfile.TemporaryDirectory() as folder:
        model = tiny_vlm(Path(folder) / "model", ["Is it upright? <answer> yes no"], pixels=28, hidden=32, layers=1)
        loaded = load_model(ModelSettings(name=str(model)))
        prompter = Prompter(loaded.processor, registry().format("answer_only"), registry())
        said = [prompter.tokenizer.encode(f"<answer>{text}</answer><|im_end|>") for text in ("yes", "no", "?")]
        asked = _stub_model(said)
        if copied:
            ours.rows = _copied(ours.rows)
        settings = GRPOConfig(
            output_dir=folder,
            max_steps=SLICES,
            per_device_train_batch_size=PROMPTS * generations // SLICES,
            steps_per_generation=SLICES,
            num_generations=generations,
            reward_weights=[1.0, 0.1],
            save_strategy="no",
            logging_steps=1,
            report_to="none",
            disable_tqdm=True,
            bf16=False,
            gradient_checkpointing=False,
            shuffle_dataset=False,
            remove_unused_columns=False,
        )
        trainer = ours.StreamedTrainer(
            model=loaded.model,
            args=settings,
            processing_class=loaded.processor,
            reward_funcs=reward_functions(Judge(prompter.response_format, registry()), prompter.decode),
            stream=Stream(samples, {config.name: 1.0}),
            curriculum=Uniform({config.name: 1.0}),
            prompter=prompter,
        )
        Turned.rendered = 0
        with _peak() as peak:
            trainer.train()
    rewards = [line["rewards/answer/mean"] for line in trainer.state.log_history if "rewards/answer/mean" in line]
    return Measured(Turned.rendered, sum(asked["prompts"]), sum(asked["pictures"]), rewards, peak[0])


def _stub_model(said: list[list[int]]) -> dict[str, list[int]]:
    """Put stubs in the place of all that reads pixels or runs the model; returns what each batch asked of them."""
    import torch
    from trl.trainer.grpo_trainer import GRPOTrainer

    asked: dict[str, list[int]] = {"prompts": [], "pictures": []}

    def tokenize(self: Any, prompts: list[Any]) -> Any:
        asked["prompts"].append(len(prompts))
        parts = [part for prompt in prompts for message in prompt for part in message["content"]]
        asked["pictures"].append(len({id(part["image"]) for part in parts if part["type"] == "image"}))
        return [[1, 2, 3]] * len(prompts), None, {}

    def complete(self: Any, prompt_ids: list[Any], *_: Any) -> Any:
        return [said[number % len(said)] for number in range(len(prompt_ids))], None

    def likelihoods(self: Any, model: Any, input_ids: Any, attention_mask: Any, logits_to_keep: int, **_: Any) -> Any:
        return torch.zeros(len(input_ids), logits_to_keep), None, None

    def loss(self: Any, model: Any, inputs: Any) -> Any:
        return 0.0 * next(model.parameters()).sum()

    trl: Any = GRPOTrainer
    trl._tokenize_prompts, trl._generate_single_turn = tokenize, complete
    trl._get_per_token_logps_and_entropies, trl._compute_loss = likelihoods, loss
    return asked


def _copied(rows: Any) -> Any:
    """Rows whose conversations are no longer shared."""
    import copy

    return lambda *given: [{**row, "prompt": copy.deepcopy(row["prompt"])} for row in rows(*given)]


@contextmanager
def _peak() -> Iterator[list[int]]:
    """The highest resident memory inside the block, above that at its start: looked up every few milliseconds."""
    import psutil

    gc.collect()
    process, done, peak = psutil.Process(), threading.Event(), [0]
    start = process.memory_info().rss

    def watch() -> None:
        while not done.wait(0.005):
            peak[0] = max(peak[0], process.memory_info().rss - start)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def measured(generations: int, *, copied: bool = False) -> Measured:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, generations, copied).result()


@pytest.fixture(scope="module")
def two() -> Measured:
    return measured(2)


def test_a_batch_of_the_papers_size_takes_the_memory_of_its_prompts(two):
    five = measured(GENERATIONS)
    assert (two.completions, five.completions) == (2 * PROMPTS, GENERATIONS * PROMPTS)
    assert (two.rendered, five.rendered) == (PROMPTS, PROMPTS)
    assert (two.pictures, five.pictures) == (PROMPTS, PROMPTS)
    assert five.rewards and 0 < five.rewards[0] < 1
    # Each picture twice: the stream's, and in the copy that TRL makes of the prompts.
    assert two.peak > 1.8 * BATCH_OF_PICTURES
    assert five.peak < 1.05 * two.peak


def test_a_copy_a_completion_would_be_seen(two):
    copied = measured(2, copied=True)
    assert (copied.rendered, copied.pictures) == (PROMPTS, 2 * PROMPTS)
    assert copied.peak > 1.5 * two.peak
