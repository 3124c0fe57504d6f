"""How near the builder comes to the codec floor, task by task, in one run on one core.

    python benchmarks/build.py --source folder:photos --limit 200

The floor is the time that Pillow alone takes to decode the source's own files, scaled down to the same side, and to
encode the pictures of the samples. Processor time, the least of several interleaved rounds. The build's includes
planning, reading the index, colour profiles, rendering, records, hashing, and flushing shards and manifest to the disk.
"""

import io
import os
import shutil
import tempfile
import time
import unittest.mock
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image
from rich.console import Console

# Before OpenCV is loaded: figures are for one core.
os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")

from data_builders import BuildOptions, build
from data_builders.renderer import Renderer
from ssl4rl_core import Sample, TaskConfig, parse_configs, registry
from ssl4rl_core.cli.tables import JsonOption, show
from ssl4rl_core.sources import Source

TASKS = ["rotation:paper", "rotation:medium", "jigsaw:paper", "position:paper", "contrastive:paper"]


@dataclass(frozen=True)
class Work:
    """What the floor does for a config: pictures to decode, and pictures to encode."""

    files: list[bytes]
    pictures: list[Image.Image]
    samples: int

    def codec(self, options: BuildOptions) -> None:
        """Decode and encode, and nothing else."""
        for file in self.files:
            picture = Image.open(io.BytesIO(file))
            picture.thumbnail((options.max_side, options.max_side))
            picture.load()
        for picture in self.pictures:
            picture.save(io.BytesIO(), options.image_format, quality=options.quality)


def collect(source: Source, config: TaskConfig, options: BuildOptions) -> Work:
    """The files that a build decodes and the pictures that it encodes, in memory."""
    renderer, splitter = Renderer(source, options), options.splitter
    files: list[bytes] = []
    samples: list[Sample] = []
    index = source.index(config.task.kind)
    open_picture = Image.open

    def recording(file: io.BytesIO, *arguments: Any, **settings: Any) -> Image.Image:
        files.append(file.getvalue())
        return open_picture(file, *arguments, **settings)

    for position in range(min(len(index), options.limit or len(index))):
        entry = index[position]
        with unittest.mock.patch("PIL.Image.open", recording):
            item = renderer.load(config.task.kind, entry)
        samples += [each for each in renderer.samples(config, item, splitter(entry)) if isinstance(each, Sample)]
    return Work(files, [image for sample in samples for image in sample.images], len(samples))


def fastest(rounds: int, *runs: Callable[[], object]) -> list[tuple[float, float]]:
    """Least processor and wall seconds of each run; the runs take turns, so that a busy machine slows them alike."""
    taken: list[list[tuple[float, float]]] = [[] for _ in runs]
    for _ in range(rounds):
        for run, times in zip(runs, taken, strict=True):
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            times.append((time.process_time() - cpu, time.perf_counter() - wall))
    return [(min(cpu for cpu, _ in times), min(wall for _, wall in times)) for times in taken]


def measure(source: Source, config: TaskConfig, options: BuildOptions, rounds: int, out: Path) -> dict[str, object]:
    """One row of the table."""
    work = collect(source, config, options)

    def build_anew() -> None:
        shutil.rmtree(out, ignore_errors=True)
        build([config], source, out, **options.model_dump())

    (floor, _), (cpu, wall) = fastest(rounds, lambda: work.codec(options), build_anew)
    return {
        "config": config.name,
        "samples": work.samples,
        "samples per second": round(work.samples / wall, 1),
        "per core-second": round(work.samples / cpu, 1),
        "codec floor, per core-second": round(work.samples / floor, 1),
        "build / floor": round(cpu / floor, 2),
    }


def compare(
    source: Source, configs: Sequence[TaskConfig], options: BuildOptions, rounds: int
) -> list[dict[str, object]]:
    """A row for each config."""
    with tempfile.TemporaryDirectory() as folder, Console(stderr=True).status("measuring"):
        return [measure(source, config, options, rounds, Path(folder) / config.name) for config in configs]


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
    rows = compare(registry().source(source), parse_configs(task, registry()), options, rounds)
    show(rows, as_json=as_json, title=f"{source}, {image_format}, up to {max_side} pixels, one core")


if __name__ == "__main__":
    typer.run(main)
