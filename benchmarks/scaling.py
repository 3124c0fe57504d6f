"""What a second worker brings, beside what a second process brings to the codec floor, in one run.

    python benchmarks/scaling.py --pictures photos --copies 10

The builder is timed with one worker and with two, from call to return: starting processes, loading plugins and the end,
when one worker has nothing left to do, count. The floor is decoding and encoding alone, once in one process and halved
in two that are up and ready. Wall time; the fastest of several interleaved rounds. The pictures are read --copies times
over, through links in a temporary folder, since what starting costs is the same however long a build takes.
"""

import itertools
import multiprocessing
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from codec import Work, collect
from copies import linked
from rich.console import Console
from timing import fastest

from data_builders import BuildOptions, build
from ssl4rl_core import parse_configs, registry
from ssl4rl_core.cli.tables import JsonOption, show

TASKS = ["rotation:paper"]

_works: list[Work] = []


def keep(works: list[Work]) -> None:
    """In a process of the floor: hold what it has to do."""
    _works.extend(works)


def do(part: slice, times: int) -> None:
    """Do a part of the kept work, so many times."""
    for _, work in itertools.product(range(times), _works):
        replace(work, files=work.files[part], samples=work.samples[part]).do()


def compare(pictures: Path, tasks: list[str], copies: int, rounds: int, folder: Path) -> list[dict[str, object]]:
    """A row for the floor, one for the builder, and one for how they compare."""
    photos = linked(sorted(pictures.iterdir()), copies, folder / "photos")
    configs, number = parse_configs(tasks, registry()), itertools.count()
    source, options = registry().source(f"folder:{photos}"), BuildOptions(shard_size=50)
    once = registry().source(f"folder:{pictures}")
    works = [collect(once, config, options) for config in configs]
    keep(works)

    def building(workers: int) -> None:
        build(configs, source, folder / str(next(number)), workers=workers, **options.model_dump())

    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn"), keep, (works,)) as pool:

        def halved() -> None:
            list(pool.map(do, [slice(0, None, 2), slice(1, None, 2)], [copies] * 2))

        halved()  # so that both are up
        runs = [partial(do, slice(None), copies), halved, partial(building, 1), partial(building, 2)]
        floor, floor_of_two, built, built_by_two = (each.wall for each in fastest(rounds, runs))
    return [
        _row("codec floor", floor, floor_of_two, floor / floor_of_two),
        _row("build", built, built_by_two, built / built_by_two),
        _row("build / floor", built / floor, built_by_two / floor_of_two, built / built_by_two / floor * floor_of_two),
    ]


def _row(what: str, one: float, two: float, scaling: float) -> dict[str, object]:
    return {
        "": what,
        "one process, s": round(one, 2),
        "two processes, s": round(two, 2),
        "scaling": round(scaling, 3),
    }


def main(
    pictures: Annotated[Path, typer.Option(help="A folder of pictures.", exists=True, file_okay=False)],
    task: Annotated[list[str], typer.Option(help="May be repeated.")] = TASKS,
    copies: Annotated[int, typer.Option(help="How many times each picture is read.", min=1)] = 10,
    rounds: Annotated[int, typer.Option(help="Rounds of which the fastest counts.", min=1)] = 3,
    as_json: JsonOption = False,
) -> None:
    """Compare the builder's scaling from one worker to two with that of decoding and encoding alone."""
    with tempfile.TemporaryDirectory() as folder, Console(stderr=True).status("measuring"):
        rows = compare(pictures, task, copies, rounds, Path(folder))
    show(rows, as_json=as_json, title=f"{pictures}, read {copies} times, {', '.join(task)}")


if __name__ == "__main__":
    typer.run(main)
