"""Toys that training is tried on: three tasks that ask next to nothing, the texts their models know, and a recipe."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from ssl4rl_core import Choice, Draft, ImageItem, ImageParams, Skip, Task
from ssl4rl_core.training.recipe import Recipe, parse_recipe


class Shade(Task[ImageItem, ImageParams]):
    """Which half was darkened?"""

    name, version = "toy-shade", 1
    levels = {"easy": ImageParams(min_side=8), "medium": ImageParams(min_side=9)}
    prompt = "<image>\nWhich half of this picture was darkened?"

    def transform(self, item, params, rng, view):
        side = str(rng.choice(["left", "right"]))
        pixels = np.array(item.image)
        middle = pixels.shape[1] // 2
        half = slice(None, middle) if side == "left" else slice(middle, None)
        pixels[:, half] //= 2
        return Draft(images=[Image.fromarray(pixels)], answer=Choice(side, ["left", "right"]))

    def chance(self, params):
        return 1 / 2


class Pair(Shade):
    """Which picture was darkened?"""

    name, version = "toy-pair", 1
    levels = {"easy": ImageParams(min_side=8)}
    prompt = "<image><image>\nWhich picture was darkened?"

    def transform(self, item, params, rng, view):
        side = str(rng.choice(["left", "right"]))
        dark = Image.fromarray(np.array(item.image) // 2)
        images = [dark, item.image] if side == "left" else [item.image, dark]
        return Draft(images=images, answer=Choice(side, ["left", "right"]))


class Word(Shade):
    """A question without pictures."""

    name, version = "toy-word", 1
    levels = {"easy": ImageParams(min_side=8)}
    prompt = "The picture is {width} pixels wide. Left or right?"

    def transform(self, item, params, rng, view):
        fields = {"width": item.image.width}
        return Draft(answer=Choice(str(rng.choice(["left", "right"])), ["left", "right"]), fields=fields)


class Few(Word):
    """A question about few of the pictures."""

    name, version = "toy-few", 1

    def transform(self, item, params, rng, view):
        if int(item.id.partition(".")[0]) % 4:
            raise Skip("not a fourth one")
        return super().transform(item, params, rng, view)


TEXTS = [
    "Which half of this picture was darkened? Give only the final answer, one of left, right, inside <answer>.",
    "Which picture was darkened? The picture is 12 pixels wide. Left or right? First reason step by step inside",
]


def recipe(model: Path, pictures: Path, output: Path, *changes: str, tasks: str = "[toy-shade:easy]") -> Recipe:
    """Two steps on a few samples; `changes` such as "grpo.max_steps=1"."""
    text = f"""
model: {model}
data: {{source: "folder:{pictures}", test_fraction: 0.5}}
tasks: {tasks}
format: answer_only
grpo:
  max_steps: 2
  per_device_train_batch_size: 8
  num_generations: 4
  learning_rate: 1e-4
  max_completion_length: 6
  gradient_checkpointing: false
  save_strategy: "no"
evaluate: {{limit: 4}}
output: {output}
"""
    return parse_recipe(text, changes=changes)


def base_of(run: Path) -> str:
    """The model that a run's adapter says it stands on."""
    return json.loads((run / "model" / "adapter_config.json").read_text())["base_model_name_or_path"]


def train(made: Recipe, *, overwrite: bool = False) -> Path:
    """Run it without a display; returns the run's folder."""
    from ssl4rl_core.training.grpo import train as run
    from ssl4rl_core.training.progress import Display

    return run(made, overwrite=overwrite, display=Display(shown=False))
