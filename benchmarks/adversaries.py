"""Let every adversary answer 10,000 questions of every task and level: does any earn more than chance?

    python benchmarks/adversaries.py
    python benchmarks/adversaries.py --task jigsaw --format boxed --json

Adversaries (ssl4rl_core.testing.adversaries) do not look at the content and only the record is scored, so small
pictures serve: synthetic ones of 48 x 48 pixels, and the graphs that networkx ships. Exit code 1 where one earns more
than chance: one-sided p < 0.001, adjusted (Holm) for all adversaries, tasks and levels together.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Annotated

import typer
from rich.progress import track

from ssl4rl_core import Record, TaskConfig, parse_configs, registry
from ssl4rl_core.testing.adversaries import ADVERSARIES, Trial, adjusted, try_adversaries
from ssl4rl_core.testing.memory import synthetic_source
from ssl4rl_core.testing.sampling import draw_samples

SIDE = 48


def all_levels(names: list[str]) -> list[TaskConfig]:
    """Every level of the named tasks, or of all tasks that may be trained on, with small pictures."""
    tasks = registry().tasks
    names = names or [name for name, task in sorted(tasks.items()) if task.reward]
    configs = parse_configs([f"{name}:{level}" for name in names for level in tasks[name].levels], registry())
    return [
        replace(config, params=config.params.model_copy(update={"size": 28}))
        if "size" in type(config.params).model_fields
        else config
        for config in configs
    ]


def records(configs: list[TaskConfig], graphs: str, count: int) -> Iterator[list[Record]]:
    """`count` records of each config."""
    sources = {"image": synthetic_source(200, width=SIDE, height=SIDE), "graph": registry().source(graphs)}
    for config in configs:
        yield [sample.record for _, sample in draw_samples([config], sources[config.task.domain], count)]


def show(trials: list[Trial], shown: int = 3) -> None:
    """For each config the adversaries that earn most beside chance."""
    for name in dict.fromkeys(trial.config for trial in trials):
        best = sorted((t for t in trials if t.config == name), key=lambda trial: -trial.score)[:shown]
        earned = ", ".join(f"{trial.adversary} {trial.score:.4f}" for trial in best)
        worst = min(trial.p_value for trial in trials if trial.config == name)
        print(f"{name:24} n {best[0].n}  chance {best[0].chance:.4f}  best: {earned}  smallest p {worst:.3g}")


def main(
    task: Annotated[list[str] | None, typer.Option(help="a task, all of its levels; may be given again")] = None,
    response_format: Annotated[str, typer.Option("--format", help="how to answer")] = "think_answer",
    graphs: Annotated[str, typer.Option(help="source of the graph tasks")] = "embedded:graphs",
    count: Annotated[int, typer.Option("--samples", min=2, help="samples of each task and level")] = 10_000,
    as_json: Annotated[bool, typer.Option("--json", help="print every trial")] = False,
) -> None:
    """Adversaries against every task and level."""
    started, trials = time.perf_counter(), []
    configs, asked = all_levels(task or []), registry().format(response_format)
    for each in track(records(configs, graphs, count), "configs", total=len(configs), disable=as_json):
        trials += try_adversaries(each, asked, registry())
    trials = adjusted(trials)
    if as_json:
        print(json.dumps([asdict(trial) for trial in trials], indent=2))
    else:
        show(trials)
        failed = [trial for trial in trials if not trial.passes]
        print(
            f"{len(ADVERSARIES)} adversaries, {len(configs)} configs, {count} samples each: {len(failed)} above chance"
        )
        for trial in failed:
            print(f"  {trial.config}: {trial.adversary} earns {trial.score:.4f}, chance {trial.chance:.4f}")
        print(f"{time.perf_counter() - started:.0f} s")
    raise typer.Exit(0 if all(trial.passes for trial in trials) else 1)


if __name__ == "__main__":
    typer.run(main)
