"""One page about one run or several: what was learned, how it went, what the model says, and how to do it again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssl4rl_core.errors import UsageError
from ssl4rl_core.pages import write_page
from ssl4rl_core.training.curves import window
from ssl4rl_core.training.exhibits import before_and_after, failures
from ssl4rl_core.training.findings import Finding, findings
from ssl4rl_core.training.recipe_groups import by_recipe, flat
from ssl4rl_core.training.report_tables import accuracy_tables, comparison, outcome_rows, transfer_tables
from ssl4rl_core.training.run_folder import STAGE_NAMES, Run, read_runs
from ssl4rl_core.training.training_charts import health_charts, legend, overall_charts, task_charts


def report(runs: Sequence[str | Path], out: str | Path | None = None) -> list[Finding]:
    """Write a self-contained HTML report about one run or several, and return what it says of each config.

    Runs of one recipe, which differ in seed and output alone, are shown over one another with their mean and range.
    Runs of several recipes stand side by side: a table of what the recipes do not agree on, and a colour for each.

    The same curves can be watched while a run trains: TRL sends every metric to TensorBoard, Weights & Biases or
    trackio where the recipe says `grpo: {report_to: tensorboard}` (or `wandb`, `trackio`; the package must be
    installed). What belongs to a config has the name there that it has in metrics.jsonl, `rewards/answer/CONFIG`,
    `rewards/format/CONFIG`, `frac_reward_zero_std/CONFIG`, `completion_length/CONFIG`, `share/CONFIG`, after the
    `train/` that transformers puts before all; what belongs to the whole mix has TRL's (`rewards/answer/mean`).

    Args:
        runs: folders as `train` and `evaluate` leave them.
        out: where the page goes; by default `report.html`, in the folder of the run where there is one.

    Raises:
        UsageError: a folder holds no run.
        Ssl4rlError: a run cannot be read.
        MissingExtra: matplotlib is not installed.
    """
    if not runs:
        raise UsageError("a report needs a run: name its folder, as in 'ssl4rl report runs/demo'")
    read = read_runs([Path(run) for run in runs])
    groups, found = by_recipe(read), findings(read)
    first = next((run for run in read if run.completions or run.failures), None)
    write_page(
        report_path(runs, out),
        "report.html.j2",
        title=f"Report: {', '.join(run.name for run in read)}",
        runs=read,
        models=_models(read),
        findings=found,
        legend=legend(groups),
        comparison=comparison(groups),
        stages=list(STAGE_NAMES.values()),
        tables=accuracy_tables(groups),
        transfer=transfer_tables(groups),
        skipped=_skipped(read),
        overall=overall_charts(groups),
        tasks=task_charts(groups),
        smoothing=window(max((len(run.metrics) for run in read), default=0)),
        health=health_charts(groups),
        outcomes=outcome_rows(groups),
        failures=failures(first) if first else [],
        samples=before_and_after(first) if first else [],
        samples_of=first.name if first and len(read) > 1 else "",
        recipes=_distinct([(run.name, run.recipe) for run in read if run.recipe]),
        environments=_distinct([(run.name, _versions(run)) for run in read if run.environment]),
        lost=sum(run.lost for run in read),
    )
    return found


def report_path(runs: Sequence[str | Path], out: str | Path | None) -> Path:
    """Where the report of these runs goes."""
    if out is not None:
        return Path(out)
    return Path(runs[0]) / "report.html" if len(runs) == 1 else Path("report.html")


def _models(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(result.model for run in runs for result in run.results if result.model))


def _skipped(runs: Sequence[Run]) -> list[tuple[str, Any]]:
    """Why items were left out of training, and how many."""
    skipped = [run.config.get("skipped") for run in runs]
    return [line for counts in skipped if isinstance(counts, dict) for line in counts.items()]


def _versions(run: Run) -> list[tuple[str, str]]:
    """The environment as lines: ("torch", "2.14")."""
    return [(key.removeprefix("packages."), str(value)) for key, value in flat(run.environment).items()]


def _distinct(named: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Values with the names of the runs that share them."""
    values: list[Any] = []
    names: list[list[str]] = []
    for name, value in named:
        if value not in values:
            values.append(value)
            names.append([])
        names[values.index(value)].append(name)
    return [(", ".join(shared), value) for shared, value in zip(names, values, strict=True)]
