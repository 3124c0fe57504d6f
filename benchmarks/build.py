"""How near the builder comes to the codec floor, task by task, and what building tasks at once saves.

    python benchmarks/build.py --source folder:photos --limit 200

The floor is the time to decode the source's own files, scaled down to the same side, and to encode the pictures of the
samples, with the decoder, encoder and settings of a build. Processor time on one core, the least of several interleaved
rounds. The build's includes all that it does: planning, reading index and files, colour profiles, rendering, records,
hashing, flushing shards and manifest to the disk. The last row is a build of all configs at once: its floor decodes
each item once, and "at once / apart" compares its time with the sum of the others'.
"""

import itertools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from codec import collect
from rich.console import Console
from timing import Taken, fastest

from data_builders import BuildOptions, build
from ssl4rl_core import TaskConfig, parse_configs, registry
from ssl4rl_core.cli.tables import JsonOption, show
from ssl4rl_core.sources import Source

TASKS = ["rotation:paper", "rotation:medium", "jigsaw:paper", "position:paper", "contrastive:paper"]


def compare(
    source: Source, configs: Sequence[TaskConfig], options: BuildOptions, rounds: int
) -> list[dict[str, object]]:
    """A row for each config, and one for all of them at once."""
    works, number = [collect(source, config, options) for config in configs], itertools.count()
    with tempfile.TemporaryDirectory() as folder:

        def building(configs: Sequence[TaskConfig]) -> Callable[[], object]:
            return lambda: build(configs, source, Path(folder) / str(next(number)), **options.model_dump())

        runs = [run for config, work in zip(configs, works, strict=True) for run in (work.do, building([config]))]
        *apart, together = fastest(rounds, [*runs, building(configs)])
    floors, builds = apart[0::2], apart[1::2]
    rows = [
        _row(config.name, len(work.samples), floor, taken)
        for config, work, floor, taken in zip(configs, works, floors, builds, strict=True)
    ]
    if len(configs) > 1:
        samples = sum(len(work.samples) for work in works)
        saved = {"at once / apart": round(together.cpu / sum(taken.cpu for taken in builds), 2)}
        rows.append(_row("all at once", samples, None, together) | saved)
    return rows


def _row(name: str, samples: int, floor: Taken | None, taken: Taken) -> dict[str, object]:
    return {
        "config": name,
        "samples": samples,
        "per second": round(samples / taken.wall, 1),
        "per core-second": round(samples / taken.cpu, 1),
        "codec floor": round(samples / floor.cpu, 1) if floor else "",
        "build / floor": round(taken.cpu / floor.cpu, 2) if floor else "",
        "at once / apart": "",
    }


def main(
    source: Annotated[str, typer.Option(help="The items, as for 'ssl4rl build'.")] = "embedded:photos",
    task: Annotated[list[str], typer.Option(help="May be repeated.")] = TASKS,
    limit: Annotated[int, typer.Option(help="Items; 0 for all.")] = 200,
    variants: Annotated[int, typer.Option(help="Samples an item; an item is decoded once for all of them.")] = 1,
    max_side: Annotated[int, typer.Option(help="Longer side of a picture, pixels.")] = 512,
    image_format: Annotated[str, typer.Option(help="jpeg, png or webp.")] = "jpeg",
    rounds: Annotated[int, typer.Option(help="Rounds of which the fastest counts.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """Compare building with decoding and encoding alone."""
    options = BuildOptions.checked(
        {"limit": limit, "variants": variants, "max_side": max_side, "image_format": image_format}
    )
    with Console(stderr=True).status("measuring"):
        rows = compare(registry().source(source), parse_configs(task, registry()), options, rounds)
    show(rows, as_json=as_json, title=f"{source}, {image_format}, up to {max_side} pixels, one core")


if __name__ == "__main__":
    typer.run(main)
