"""`ssl4rl inspect`: what a build holds."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.filesize import decimal

import data_builders
from data_builders.inspection import broken, problems
from data_builders.manifest import read_manifest
from ssl4rl_core.bars import bytes_bar
from ssl4rl_core.cli.app import app
from ssl4rl_core.cli.tables import JsonOption, chance_text, show, text_console


@app.command("inspect")
def inspect(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that 'ssl4rl build' wrote.")],
    samples: Annotated[int, typer.Option("--show", metavar="N", min=0, help="Also show N samples of each split.")] = 0,
    verify: Annotated[bool, typer.Option("--verify", help="Read every file, recount and hash it.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what a build holds, and what it left out: [bold]ssl4rl inspect data/photos --show 2[/bold]

    With --verify, everything is read and counted again; the exit code is 1 where anything is not as it was built.
    """
    if verify:
        _verify(directory)
    lines = data_builders.inspect(directory)
    shown = show_samples(directory, samples) if samples else []
    if as_json and samples:
        print(json.dumps({"splits": lines, "samples": shown}, indent=2, ensure_ascii=False))
        return
    show(summary(lines, as_json=as_json), as_json=as_json)
    if as_json:
        return
    console = text_console()
    for sample in shown:
        console.print(f"\n{sample['config']} {sample['split']}: {sample['item']}", style="bold")
        console.print(sample["question"])
        console.print(f"answer: {sample['answer']}; pictures: {', '.join(sample['pictures']) or 'none'}")
    if verify:
        console.print("\nall files are there, and what was built")


def _verify(directory: Path) -> None:
    """Show what is not as it was built, a line each, and end with the error that sums them up."""
    total = sum(shard.bytes for shard in read_manifest(directory).shards)
    console = text_console(stderr=True)
    with bytes_bar(console) as bar:
        step = bar.add_task("verifying", total=total)
        found = list(problems(directory, lambda size: bar.advance(step, size)))
    if len(found) > 1:
        for problem in found:
            console.print(problem)
    if found:
        raise broken(directory, found)


def show_samples(directory: Path, count: int) -> list[dict[str, Any]]:
    """The first samples of each config and split: item, question, answer, sizes of the pictures."""
    built = data_builders.BuiltSamples(directory)
    rows = []
    for config in built.configs:
        for split in ("train", "test"):
            for index in range(min(count, built.size(config, split))):
                sample = built.sample(config, split, index)
                rows.append(
                    {
                        "config": config,
                        "split": split,
                        "item": sample.record.item,
                        "question": sample.record.question,
                        "answer": sample.record.answer_text,
                        "pictures": [f"{image.width} x {image.height}" for image in sample.images],
                    }
                )
    return rows


def summary(lines: list[dict[str, Any]], *, as_json: bool) -> list[dict[str, Any]]:
    """The lines of `data_builders.inspect`, for machines as they are and for people in short."""
    if as_json:
        return lines
    return [
        {
            "config": line["config"],
            "split": line["split"],
            "samples": line["samples"],
            "size": decimal(line["bytes"]),
            "shards": line["shards"],
            "chance": chance_text(line["chance"]),
            "answers": _answers(line["answers"], line["samples"]),
            "left out": ", ".join(f"{items} {reason}" for reason, items in line["skips"].items()) or "none",
        }
        for line in lines
    ]


def _answers(answers: dict[str, int], samples: int) -> str:
    """How many right answers there are, and the shares of the rarest and the most frequent: "4: 16-35 %"."""
    if not answers:
        return "many" if samples else "none"
    low, high = (100 * count / samples for count in (min(answers.values()), max(answers.values())))
    return f"{len(answers)}: {low:.0f}-{high:.0f} %"
