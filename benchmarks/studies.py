"""What the choice of task, its difficulty, mixes and curricula are worth at tiny scale: the studies of docs/studies.md.

    python benchmarks/studies.py                       # all that is not done yet, then the tables
    python benchmarks/studies.py --study curriculum --jobs 2
    python benchmarks/studies.py --tables              # the tables alone, from what is kept

Each run takes minutes of one core, all of them hours. A finished run is kept as a few kilobytes of JSON, and the
command goes on where it stopped; a run whose settings have changed is done again. Seeds 0, 1 and 2 of every run.
"""

import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

# Before torch is loaded, here and in the processes that are started from here.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

HERE = Path(__file__).parent
STEPS = 200
KEPT = HERE / "studies"
PAGE = HERE.parent / "docs" / "studies.md"
ALL = ("difficulty", "curriculum", "mixes", "transfer", "overhead")


def main(
    study: Annotated[list[str] | None, typer.Option(help=f"May be repeated; default: {', '.join(ALL)}.")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="May be repeated; default: 0, 1 and 2.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Of GRPO, in every run.")] = STEPS,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at once, each on a core of its own.")] = 1,
    kept: Annotated[Path, typer.Option(metavar="DIR", help="Where results are kept.")] = KEPT,
    page: Annotated[Path, typer.Option(metavar="FILE", help="The page whose tables are written anew.")] = PAGE,
    tables: Annotated[bool, typer.Option("--tables", help="Only write the tables.")] = False,
) -> None:
    """Do what is missing of the studies and write their tables."""
    studies = study or ALL
    if unknown := [each for each in studies if each not in ALL]:
        raise typer.BadParameter(f"no study {unknown[0]!r}: {', '.join(ALL)}")
    from study_tables import write_tables

    if steps != STEPS and (kept == KEPT or page == PAGE):
        raise typer.BadParameter(f"the kept results are of {STEPS} steps: name another --kept and --page for {steps}")
    try:
        if not tables:
            _do_missing(studies, seed or (0, 1, 2), steps, jobs, kept)
    finally:  # what is done is shown, however this ends
        write_tables(page, kept, steps)


def _do_missing(studies: Sequence[str], seeds: Sequence[int], steps: int, jobs: int, folder: Path) -> None:
    from study_overhead import Overhead
    from study_runs import STUDIES, Kept, runs_of

    # Run by run, so that an interrupted study has all seeds of some.
    runs = runs_of([study for study in studies if study in STUDIES])
    wanted = [Kept(folder, run, seed, steps) for run in runs for seed in seeds]
    missing = [kept for kept in wanted if kept.read() is None]
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with (
        tempfile.TemporaryDirectory() as work,
        Progress(*columns, console=Console(stderr=True)) as progress,
        ProcessPoolExecutor(jobs, get_context("spawn")) as pool,
    ):
        bar = progress.add_task("runs", total=len(wanted), completed=len(wanted) - len(missing))
        running = {pool.submit(kept.do, Path(work) / kept.path.stem): kept for kept in missing}
        try:
            for done in as_completed(running):
                done.result()
                progress.update(bar, advance=1, description=running[done].path.stem)
        finally:
            pool.shutdown(cancel_futures=True)
    overhead = Overhead(folder)
    if "overhead" in studies and overhead.read() is None:
        overhead.do()


if __name__ == "__main__":
    typer.run(main)
