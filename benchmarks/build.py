"""How near the builder comes to the codec floor, task by task, and what building tasks at once saves.

    python benchmarks/build.py --source folder:photos --limit 200 --copies 5

There are two floors, both with the decoder, encoder and settings of a build, from memory to memory:

- "codec": the source's own files decoded and scaled to the same side, and the pictures of the samples encoded.
- "pixels": also what the same pixels cannot be had without: colour profiles converted to sRGB, and for rotation by
  other angles than 90 degrees one OpenCV warp a picture.

Processor time on one core, the least of several interleaved rounds. The build's includes all that it does: planning,
reading index and files, rendering, records, hashing, flushing shards and manifest to the disk. What starting and ending
takes is the same however long a build is: with --copies, it reads every picture that many times, and a floor does its
work as often, since of two runs the shorter would have the better chance of a quiet moment.

The last row is a build of all configs at once, which decodes each item once: "at once / apart" compares its time with
the sum of the others'.
"""

import itertools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from codec import Work, collect
from copies import linked
from rich.console import Console
from timing import Taken, fastest

from data_builders import BuildOptions, build
from ssl4rl_core import TaskConfig, parse_configs, registry
from ssl4rl_core.cli.tables import JsonOption, show
from ssl4rl_core.sources import Source

TASKS = ["rotation:paper", "rotation:medium", "jigsaw:paper", "position:paper", "contrastive:paper"]


def compare(
    works: Sequence[Work],
    configs: Sequence[TaskConfig],
    source: Source,
    options: BuildOptions,
    copies: int,
    rounds: int,
    folder: Path,
) -> list[dict[str, object]]:
    """A row for each config, and one for all of them at once.

    Args:
        works: of each config, the work of its samples.
        source: what is built from: the items of the works, so many times over.
    """
    number = itertools.count()

    def building(configs: Sequence[TaskConfig]) -> Callable[[], object]:
        return lambda: build(configs, source, folder / str(next(number)), **options.model_dump())

    def floor(work: Work, *, pixels: bool) -> Callable[[], object]:
        """As much work as the build's, and so as long a time to measure."""
        return lambda: [work.do(pixels=pixels) for _ in range(copies)]

    floors = [(floor(work, pixels=False), floor(work, pixels=True)) for work in works]
    apart = [building([config]) for config in configs]
    runs = [run for both, each in zip(floors, apart, strict=True) for run in (*both, each)]
    *taken, together = fastest(rounds, [*runs, building(configs)])
    rows = [
        _row(config.name, copies * len(work.samples), built) | _floors(built.cpu, codec.cpu, pixels.cpu)
        for config, work, codec, pixels, built in zip(
            configs, works, taken[0::3], taken[1::3], taken[2::3], strict=True
        )
    ]
    if len(configs) > 1:
        saved = {"at once / apart": round(together.cpu / sum(built.cpu for built in taken[2::3]), 2)}
        samples = copies * sum(len(work.samples) for work in works)
        rows.append(_row("all at once", samples, together) | saved)
    return rows


def _row(name: str, samples: int, taken: Taken) -> dict[str, object]:
    return {
        "config": name,
        "samples": samples,
        "per second": round(samples / taken.wall, 1),
        "core ms a sample": round(1000 * taken.cpu / samples, 2),
        "build / codec": "",
        "build / pixels": "",
        "at once / apart": "",
    }


def _floors(built: float, codec: float, pixels: float) -> dict[str, object]:
    return {"build / codec": round(built / codec, 2), "build / pixels": round(built / pixels, 2)}


def read_again(source: Source, spec: str, limit: int, copies: int, folder: Path) -> Source:
    """A folder of links to the first `limit` pictures of the folder source that `spec` names, so many of each."""
    scheme, _, where = spec.partition(":")
    if scheme != "folder":
        raise typer.BadParameter(f"only pictures of a folder: source can be read again, not {spec}")
    entries = itertools.islice(source.index("image"), limit or None)
    pictures = [Path(where.partition("?")[0]).expanduser() / entry.id for entry in entries]
    return registry().source(f"folder:{linked(pictures, copies, folder)}")


def main(
    source: Annotated[str, typer.Option(help="The items, as for 'ssl4rl build'.")] = "embedded:photos",
    task: Annotated[list[str], typer.Option(help="May be repeated.")] = TASKS,
    limit: Annotated[int, typer.Option(help="Items; 0 for all.")] = 200,
    copies: Annotated[int, typer.Option(help="How many times a build reads each item of a folder.", min=1)] = 1,
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
    opened, configs = registry().source(source), parse_configs(task, registry())
    with tempfile.TemporaryDirectory() as name, Console(stderr=True).status("measuring"):
        folder = Path(name)
        works = [collect(opened, config, options) for config in configs]
        if copies > 1:
            opened = read_again(opened, source, limit, copies, folder / "pictures")
            options = options.model_copy(update={"limit": 0})
        rows = compare(works, configs, opened, options, copies, rounds, folder)
    read = f", read {copies} times" if copies > 1 else ""
    show(rows, as_json=as_json, title=f"{source}{read}, {image_format}, up to {max_side} pixels, one core")


if __name__ == "__main__":
    typer.run(main)
