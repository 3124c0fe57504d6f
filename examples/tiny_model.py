"""Write a tiny model with random weights for a build, its tokenizer trained on the build's prompts.

A Qwen2.5-VL where the build has pictures, a Qwen3 where it has none.

python examples/tiny_model.py --data runs/demo/faces --format answer_only --seed 0 --out runs/demo/tiny
"""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from data_builders import BuiltSamples
from ssl4rl_core import ResponseFormat, Sample, registry
from ssl4rl_core.answers import load_answer
from ssl4rl_core.testing.tiny import tiny_lm, tiny_vlm

PROMPTS = 64


def main(
    data: Annotated[Path, typer.Option(metavar="DIR", help="What 'ssl4rl build' left.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the model; one that is there is replaced.")],
    format: Annotated[str, typer.Option(help="How it will be asked to answer.")] = "answer_only",
    pixels: Annotated[int, typer.Option(help="Side of the square that pictures are scaled to.")] = 56,
    hidden: Annotated[int, typer.Option(help="Width of the model.")] = 96,
    layers: Annotated[int, typer.Option(help="Layers, and as many again of the part that sees pictures.")] = 3,
    seed: Annotated[int, typer.Option(help="Of the weights.")] = 0,
) -> None:
    samples, response_format = BuiltSamples(data), registry().format(format)
    asked = [
        samples.sample(config, "train", index)
        for config in samples.configs
        for index in range(min(PROMPTS, samples.size(config, "train")))
    ]
    texts = {_text(sample, response_format) for sample in asked}
    shutil.rmtree(out, ignore_errors=True)
    if any(sample.images for sample in asked):
        tiny_vlm(out, texts, pixels=pixels, hidden=hidden, layers=layers, seed=seed)
    else:
        tiny_lm(out, texts, hidden=hidden, layers=layers, seed=seed)


def _text(sample: Sample, response_format: ResponseFormat) -> str:
    hint = load_answer(sample.record.answer).hint()
    return f"{sample.record.question}\n{response_format.instruction(hint)}"


if __name__ == "__main__":
    typer.run(main)
