"""GRPO with a model of Qwen2.5-VL's own shape, from shards: samples a second, peak memory, and whose time it is.

    python benchmarks/real_shape.py --shape 3b              # one GPU of 24 GB or more
    python benchmarks/real_shape.py --shape 7b --device cuda
    python benchmarks/real_shape.py                         # what two CPU cores and 8 GB carry

Weights are random, in bfloat16, and everything else is recipes/lora-one-gpu.yaml: LoRA on the language model, gradient
checkpointing, several slices an update. A random model hardly ever ends a completion, so all are as long as allowed:
a step costs as much as it can. What its answers are worth is not looked at.
"""

import json
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Console

from ssl4rl_core.cli.tables import JsonOption, show

RECIPE = Path(__file__).parents[1] / "recipes" / "lora-one-gpu.yaml"
WARM_UP = 2
"""The first steps, which are not counted."""


class Shape(NamedTuple):
    """Widths and depths, of the part that reads text and of the part that sees."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    key_value_heads: int
    tied: bool
    vision_hidden: int
    vision_intermediate: int
    vision_layers: int
    vision_heads: int


# As in the config.json of Qwen2.5-VL-3B-Instruct and of 7B; "small" is 3b at a quarter of its widths and depths.
SHAPES = {
    "small": Shape(512, 2752, 9, 4, 1, True, 320, 856, 8, 4),
    "3b": Shape(2048, 11008, 36, 16, 2, True, 1280, 3420, 32, 16),
    "7b": Shape(3584, 18944, 28, 28, 4, False, 1280, 3420, 32, 16),
}
VOCABULARY = {"small": 151_936, "3b": 151_936, "7b": 152_064}


def write_model(folder: Path, texts: list[str], shape: str, pixels: int, device: str) -> int:
    """A model with random weights, its tokenizer trained on `texts`, and its processor; how many parameters it has."""
    import torch
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    from ssl4rl_core.testing.tiny import tiny_vlm

    size = SHAPES[shape]
    tiny_vlm(folder, texts, pixels=pixels)  # for its tokenizer and processor
    config: Any = Qwen2_5_VLConfig.from_pretrained(folder)
    config.text_config.update(
        {
            "vocab_size": VOCABULARY[shape],
            "hidden_size": size.hidden,
            "intermediate_size": size.intermediate,
            "num_hidden_layers": size.layers,
            "layer_types": ["full_attention"] * size.layers,
            "max_window_layers": size.layers,
            "num_attention_heads": size.heads,
            "num_key_value_heads": size.key_value_heads,
            "initializer_range": 0.02,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
        }
    )
    quarter = size.vision_layers // 4
    config.vision_config.update(
        {
            "depth": size.vision_layers,
            "hidden_size": size.vision_hidden,
            "intermediate_size": size.vision_intermediate,
            "num_heads": size.vision_heads,
            "out_hidden_size": size.hidden,
            "window_size": 112,
            "fullatt_block_indexes": [quarter * part - 1 for part in range(1, 5)],
            "initializer_range": 0.02,
        }
    )
    config.tie_word_embeddings = size.tied
    with torch.device(device):
        torch.manual_seed(0)
        model = Qwen2_5_VLForConditionalGeneration._from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters())


def prepare(folder: Path, shape: str, pixels: int, device: str) -> int:
    """Shards of the recipe's tasks and a model beside them; how many parameters it has."""
    from data_builders import BuiltSamples, build
    from ssl4rl_core import registry
    from ssl4rl_core.training.recipe import load_recipe

    tasks = [entry.task for entry in load_recipe(RECIPE).tasks]
    build(tasks, "embedded:photos", folder / "built", max_side=pixels, variants=4, test_fraction=0.3)
    samples, response_format = BuiltSamples(folder / "built"), registry().format("think_answer")
    asked = [samples.sample(config, "train", 0).record for config in samples.configs]
    texts = [f"{record.question}\n{response_format.instruction('an answer')}" for record in asked]
    return write_model(folder / "model", texts, shape, pixels, device)


def run(folder: Path, device: str, pixels: int, changes: list[str]) -> dict[str, float]:
    """Train; medians over the counted steps, and this process's peak memory."""
    import torch

    from ssl4rl_core.training.grpo import train
    from ssl4rl_core.training.progress import Display
    from ssl4rl_core.training.recipe import load_recipe
    from ssl4rl_core.training.run_folder import read_run

    ours = [
        f"model.name={folder / 'model'}",
        f"model.max_pixels={pixels**2}",
        f"data={json.dumps({'build': str(folder / 'built')})}",
        f"output={folder / 'run'}",
        "evaluate={limit: 2, max_tokens: 8}",
        "grpo.save_strategy='no'",
        f"grpo.use_cpu={device == 'cpu'}",
    ]
    path = train(load_recipe(RECIPE, [*ours, *changes]), display=Display(shown=False))
    steps = read_run(path, "run").metrics[WARM_UP:]
    seconds = statistics.median(step["seconds"] for step in steps)
    return {
        "seconds a step": seconds,
        "completion tokens": statistics.mean(step["completion_length"] for step in steps),
        "samples and rewards": statistics.median(step["stream_seconds"] + step["reward_seconds"] for step in steps),
        "peak MiB": _peak_gpu(torch) if device == "cuda" else _peak_resident(),
    }


def _peak_gpu(torch: Any) -> float:
    return torch.cuda.max_memory_allocated() / 2**20


def _peak_resident() -> float:
    # Kibibytes, but on macOS bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def main(
    shape: Annotated[str, typer.Option(help=f"Of the model: {', '.join(SHAPES)}.")] = "small",
    device: Annotated[str, typer.Option(help="cpu or cuda; default: cuda where there is one.")] = "",
    pixels: Annotated[int, typer.Option(help="Longer side of the pictures, a multiple of 28.")] = 448,
    steps: Annotated[int, typer.Option(min=WARM_UP + 1, help=f"Of GRPO; the first {WARM_UP} are not counted.")] = 10,
    prompts: Annotated[int, typer.Option(min=1, help="An update.")] = 2,
    generations: Annotated[int, typer.Option(min=2, help="Completions a prompt; a multiple of 4.")] = 8,
    tokens: Annotated[int, typer.Option(min=1, help="A completion.")] = 64,
    as_json: JsonOption = False,
) -> None:
    """Run GRPO steps of a model of real shape and say what they cost."""
    import torch

    if shape not in SHAPES:
        raise typer.BadParameter(f"no shape {shape!r}: {', '.join(SHAPES)}")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    completions = prompts * generations
    changes = [
        f"grpo.max_steps={steps}",
        f"grpo.num_generations={generations}",
        f"grpo.gradient_accumulation_steps={completions // 4}",
        f"grpo.max_completion_length={tokens}",
    ]
    with tempfile.TemporaryDirectory() as name, Console(stderr=True).status(f"{steps} steps of the shape {shape}"):
        os.environ["SSL4RL_CACHE"] = str(Path(name) / "cache")
        spawned = multiprocessing.get_context("spawn")
        # Each in a process of its own: what making the model takes is no memory of the training.
        with ProcessPoolExecutor(1, spawned, max_tasks_per_child=1) as pool:
            parameters = pool.submit(prepare, Path(name), shape, pixels, device).result()
            figures = pool.submit(run, Path(name), device, pixels, changes).result()
    step = figures["seconds a step"]
    row = {
        "shape": shape,
        "parameters, M": round(parameters / 1e6, 1),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "completions a step": completions,
        "tokens each": round(figures["completion tokens"], 1),
        "seconds a step": round(step, 2),
        "completions a second": round(completions / step, 2),
        "peak MiB": round(figures["peak MiB"]),
        "samples and rewards, ms a step": round(1000 * figures["samples and rewards"], 1),
        "samples and rewards, % of it": round(100 * figures["samples and rewards"] / step, 2),
    }
    if as_json:
        show([row], as_json=True)
    else:
        show([{"": key, "figure": str(value)} for key, value in row.items()], as_json=False)


if __name__ == "__main__":
    typer.run(main)
