"""How many more samples a core builds than scripts of the kind that papers publish, and where that comes from.

    python benchmarks/paper_scripts.py --source folder:photos --limit 200

A script, written anew after what those of arXiv 2510.16416 do: for each sample it decodes a picture at its full
resolution, crops or rotates it, encodes what the question shows as PNG with Pillow's settings, and gathers all in a
list, which it writes as one parquet file at the end.

"at defaults" is `ssl4rl build --task NAME`: three levels, JPEG, up to 512 pixels. "equal pixels, PNG" builds one level
at full resolution as PNG, and the script encodes the very pictures of that build, so that only the way differs.
"""

import io
import itertools
import random
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from codec import collect
from PIL import Image
from rich.console import Console
from timing import fastest

from data_builders import BuildOptions, build
from ssl4rl_core import parse_configs, registry
from ssl4rl_core.cli.tables import JsonOption, show
from ssl4rl_core.sources import Source

FULL_RESOLUTION = 65500


def rotation(image: Image.Image) -> tuple[list[Image.Image], str]:
    """The picture, the picture turned, and the angle."""
    angle = random.choice([0, 90, 180, 270])
    return [image, image.rotate(angle, expand=True)], str(angle)


def jigsaw(image: Image.Image) -> tuple[list[Image.Image], str]:
    """The picture with its four tiles shuffled, and their order."""
    width, height = image.width // 2, image.height // 2
    corners = [(0, 0), (width, 0), (0, height), (width, height)]
    order = random.sample(range(4), 4)
    shuffled = Image.new("RGB", (2 * width, 2 * height))
    for place, tile in zip(corners, order, strict=True):
        left, top = corners[tile]
        shuffled.paste(image.crop((left, top, left + width, top + height)), place)
    return [shuffled], str(order)


def position(image: Image.Image) -> tuple[list[Image.Image], str]:
    """The picture, a quarter of it, and which."""
    width, height = image.width // 2, image.height // 2
    row, column = random.randrange(2), random.randrange(2)
    box = (column * width, row * height, (column + 1) * width, (row + 1) * height)
    return [image, image.crop(box)], str((row, column))


OPERATIONS: dict[str, Callable[[Image.Image], tuple[list[Image.Image], str]]] = {
    "rotation": rotation,
    "jigsaw": jigsaw,
    "position": position,
}
TASKS = list(OPERATIONS)


@dataclass(frozen=True)
class Script:
    """Makes one sample of each file."""

    task: str
    files: Sequence[bytes]
    shown: Sequence[Sequence[Image.Image]] = ()
    """What to encode for each sample instead of what the operation gave; empty for that."""

    def run(self, out: Path) -> None:
        """Make the samples and write the parquet file."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = []
        for file, shown in itertools.zip_longest(self.files, self.shown):
            pictures, answer = OPERATIONS[self.task](Image.open(io.BytesIO(file)).convert("RGB"))
            rows.append({"images": [_png(each) for each in shown or pictures], "answer": answer})
        pq.write_table(pa.Table.from_pylist(rows), out)


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def compare(task: str, source: Source, limit: int, rounds: int, folder: Path) -> list[dict[str, object]]:
    """A row for each way to compare."""
    number = itertools.count()
    paper = parse_configs([f"{task}:paper"], registry())
    equal = BuildOptions(limit=limit, max_side=FULL_RESOLUTION, image_format="png")
    work = collect(source, paper[0], equal)
    # A task that skips items would leave files and pictures unmatched.
    assert len(work.files) == len(work.samples), "the source holds pictures that cannot be used: choose another"
    levels = parse_configs([task], registry())

    def script(shown: Sequence[Sequence[Image.Image]]) -> Callable[[], object]:
        return lambda: Script(task, work.files, shown).run(folder / f"{next(number)}.parquet")

    def builder(configs: Iterable, options: BuildOptions) -> Callable[[], object]:
        return lambda: build(list(configs), source, folder / str(next(number)), **options.model_dump())

    runs = [
        script(()),
        builder(levels, BuildOptions(limit=limit)),
        script([sample.images for sample in work.samples]),
        builder(paper, equal),
    ]
    scripted, built, scripted_equal, built_equal = (each.cpu for each in fastest(rounds, runs))
    samples = len(work.samples)
    return [
        _row(task, "at defaults", samples / scripted, len(levels) * samples / built),
        _row(task, "equal pixels, PNG", samples / scripted_equal, samples / built_equal),
    ]


def _row(task: str, what: str, script: float, builder: float) -> dict[str, object]:
    return {
        "task": task,
        "compared": what,
        "script, per core-second": round(script, 1),
        "build, per core-second": round(builder, 1),
        "build / script": round(builder / script, 2),
    }


def main(
    source: Annotated[str, typer.Option(help="The pictures, as for 'ssl4rl build'.")] = "embedded:photos",
    task: Annotated[list[str], typer.Option(help=f"{', '.join(TASKS)}; may be repeated.")] = TASKS,
    limit: Annotated[int, typer.Option(help="Pictures.", min=1)] = 200,
    rounds: Annotated[int, typer.Option(help="Rounds of which the fastest counts.", min=1)] = 3,
    as_json: JsonOption = False,
) -> None:
    """Compare building with scripts that make one sample at a time, as PNG, in one process."""
    opened = registry().source(source)
    rows = []
    with tempfile.TemporaryDirectory() as folder, Console(stderr=True).status("measuring"):
        for name in task:
            (here := Path(folder) / name).mkdir()
            rows += compare(name, opened, limit, rounds, here)
    show(rows, as_json=as_json, title=f"{source}, {limit} pictures, one core")


if __name__ == "__main__":
    typer.run(main)
