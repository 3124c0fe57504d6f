"""The tables of docs/studies.md, from the results that are kept: a line for each seed in every cell."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from study_overhead import Overhead
from study_runs import (
    ALONE,
    CURRICULUM,
    DIFFICULTY,
    LABELS,
    MIXES,
    PROBES,
    RANDOM,
    ROTATIONS,
    RUN_SEEDS,
    TRANSFER,
    Kept,
    Run,
)

from ssl4rl_core.atomic import write_named

Row = Mapping[str, str]
Wanted = Callable[[Mapping[str, Any]], bool]
Results = Sequence[Sequence[Mapping[str, Any]] | None]
"""What a run found, for each seed; None where that seed has not been run."""


def write_tables(page: Path, kept: Path, steps: int) -> None:
    """Put each table between its two marks in a page, `<!-- mixes -->` and `<!-- /mixes -->`."""
    text = page.read_text(encoding="utf-8")
    for study, table in TABLES.items():
        mark = re.compile(f"(<!-- {study} -->\n).*?(<!-- /{study} -->)", re.DOTALL)
        if not mark.search(text):
            raise SystemExit(f"{page} has no marks of {study}: write <!-- {study} --> and <!-- /{study} -->")
        filled = _markdown(table(kept, steps))
        text = mark.sub(lambda found, filled=filled: f"{found[1]}\n{filled}\n{found[2]}", text)
    write_named(page, text.encode())


def _markdown(rows: Sequence[Row]) -> str:
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([row[column] for column in head] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _read(kept: Path, run: Run, steps: int, part: str) -> Results:
    found = [Kept(kept, run, seed, steps).read() for seed in RUN_SEEDS]
    return [None if each is None else each[part] for each in found]


def _cell(results: Results, wanted: Wanted) -> str:
    """The accuracy that each seed had, with its interval, bold where that lies above chance."""
    lines = []
    for of_seed in results:
        asked = [each for each in of_seed or () if wanted(each)]
        if not asked:
            lines.append("not run")
            continue
        (one,) = asked
        figure = f"{100 * one['accuracy']:.1f} ({100 * one['low']:.0f} to {100 * one['high']:.0f})"
        lines.append(f"**{figure}**" if one["low"] > one["chance"] else figure)
    return "<br>".join(lines)


def _chance(results: Results, wanted: Wanted) -> str:
    found = {f"{100 * each['chance']:.1f}" for of_seed in results for each in of_seed or () if wanted(each)}
    return " ".join(sorted(found)) or "?"


def _of(task: str, level: str = "easy", stage: str = "end") -> Wanted:
    """Whether a result is of a task at a level, whose other params its name goes on with."""
    return lambda each: each["task"] == task and each["level"].split("-")[0] == level and each["stage"] == stage


def _on(source: str) -> Wanted:
    return lambda each: each["source"] == source


def _difficulty(kept: Path, steps: int) -> list[Row]:
    rows = []
    for run in DIFFICULTY:
        task, level = run.name.split("-")
        results = _read(kept, run, steps, "results")
        rows.append(
            {
                "level": level,
                "chance": _chance(results, _of(task, level)),
                "after the format start": _cell(results, _of(task, level, "format")),
                "after GRPO": _cell(results, _of(task, level)),
            }
        )
    return rows


def _curriculum(kept: Path, steps: int) -> list[Row]:
    rows = []
    for run in CURRICULUM:
        results = _read(kept, run, steps, "results")
        cells = {level: _cell(results, _of("rotation", level)) for level in ROTATIONS}
        rows.append({"levels drawn": run.curriculum} | cells)
    return rows


def _mixes(kept: Path, steps: int) -> list[Row]:
    chances = {
        run.name.removesuffix("-easy"): _chance(_read(kept, run, steps, "results"), lambda each: True) for run in ALONE
    }
    rows = []
    for run in MIXES:
        results, trained = _read(kept, run, steps, "results"), _name(run).split(", ")
        cells = {
            f"{task} (chance {chance})": _cell(results, _of(task)) if task in trained else ""
            for task, chance in chances.items()
        }
        rows.append({"trained on": _name(run)} | cells)
    return rows


def _transfer(kept: Path, steps: int) -> list[Row]:
    start = ALONE[0]
    parts = {
        "random weights": (RANDOM, "before"),
        f"format start alone ({_name(start)})": (start, "before"),
        **{f"GRPO on {_name(run)}": (run, "after") for run in TRANSFER if run.tasks},
        "trained on the labels (upper bound)": (LABELS, "labels"),
    }
    rows, chances = [], _read(kept, start, steps, "before")
    for name, (run, part) in parts.items():
        results = _read(kept, run, steps, part)
        cells = {f"{probe} (chance {_chance(chances, _on(probe))})": _cell(results, _on(probe)) for probe in PROBES}
        rows.append({"eyes": name} | cells)
    return rows


def _overhead(kept: Path, steps: int) -> list[Row]:
    return [
        {
            "repeat": str(number),
            "bare TRL, s a step": f"{each['bare_seconds']:.3f}",
            "ssl4rl, s a step": f"{each['ssl4rl_seconds']:.3f}",
            "overhead": f"{each['overhead_percent']:+.1f} %",
            "samples and rewards, ms a prompt": f"{each['own_ms_a_prompt']:.2f}",
        }
        for number, each in enumerate(Overhead(kept).read() or [], start=1)
    ] or [{"repeat": "not run"}]


def _name(run: Run) -> str:
    return run.name.removesuffix("-easy").replace("+", ", ")


TABLES: Mapping[str, Callable[[Path, int], list[Row]]] = {
    "difficulty": _difficulty,
    "curriculum": _curriculum,
    "mixes": _mixes,
    "transfer": _transfer,
    "overhead": _overhead,
}
