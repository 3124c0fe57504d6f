"""Probe tasks for leaks: `python benchmarks/blind_probe.py SOURCE [--task NAME[:LEVEL]]... [--samples N]`.

Renders N samples of each config from a source (as many variants of each item as that takes) and prints what a
classifier on sizes, lengths, numbers and ids reaches (ssl4rl_core.testing.probe) beside the best constant guess. Exit
code 1 where a config leaks.
"""

import itertools
import time
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.progress import track

from ssl4rl_core import Sample, Skip, Splitter, TaskConfig, UsageError, View, parse_configs, registry, render
from ssl4rl_core.samples import Item
from ssl4rl_core.testing.probe import probe_all


def items(view: View, max_side: int) -> list[Item]:
    """All items that can be read, each read once."""
    index, loaded = view.source.index(view.kind), []
    for position in track(range(len(index)), "reading"):
        try:
            loaded.append(view.source.load(view.kind, index[position], max_side=max_side))
        except Skip:
            continue
    return loaded


def samples(config: TaskConfig, pool: list[Item], view: View, count: int) -> Iterator[Sample]:
    """`count` samples of a config: first one of each item, then a second variant of each, and so on."""
    left = count
    for variant in itertools.count():
        before = left
        for item in pool:
            if not left:
                return
            try:
                sample = render(config, item, view, variant=variant)
            except Skip:
                continue
            left -= 1
            yield sample
        if left == before:
            raise UsageError(f"no item of {view.source.name} can become a question of {config.name}")


def main(
    source: Annotated[str, typer.Argument(help="source of the items, for example folder:photos")],
    task: Annotated[list[str], typer.Option(help="task to probe, NAME[:LEVEL]; may be given again")],
    count: Annotated[int, typer.Option("--samples", min=50, help="samples of each config")] = 2000,
    max_side: Annotated[int, typer.Option(help="longer side of the pictures, pixels")] = 256,
) -> None:
    """Probe tasks for answers that sizes, lengths, numbers or ids give away."""
    configs = parse_configs(task, registry())
    opened = registry().source(source)
    # All items on one side: what is probed is the question, not the split.
    splitter = Splitter(test_fraction=0)
    views = {kind: opened.view(kind, "train", splitter, max_side=max_side) for kind in {c.task.kind for c in configs}}
    pools = {kind: items(view, max_side) for kind, view in views.items()}
    started = time.perf_counter()
    results = probe_all(samples(c, pools[c.task.kind], views[c.task.kind], count) for c in configs)
    for result in results:
        verdict = "at chance" if result.passes else "LEAKS"
        print(
            f"{result.config:20} n {result.n:5}  probe {result.score:.3f}  constant guess {result.chance:.3f}  "
            f"p {result.p_value:.3g}  {verdict}"
        )
    print(f"{time.perf_counter() - started:.0f} s")
    raise typer.Exit(0 if all(result.passes for result in results) else 1)


if __name__ == "__main__":
    typer.run(main)
